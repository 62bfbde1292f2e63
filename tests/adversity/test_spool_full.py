"""A disk that really fills up: refused, nothing torn, and it goes on once there is room."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.audit.record import Record, WorkerStarted
from appliance.spool.spool import Spool, SpoolUnavailable
from appliance.spool.spool_key import load_or_create_signer

# Mounts need privileges: the whole scenario runs in its own user and mount namespace.
SCENARIO = """
import os, sys
from pathlib import Path
from appliance.audit import checkpoint
from appliance.audit.record import WorkerStarted
from appliance.audit.verify import verify_trail
from appliance.spool.trail_folder import FolderTrail
from appliance.spool.spool import Spool, SpoolUnavailable
from appliance.spool.spool_key import load_or_create_signer

root = Path(sys.argv[1])
disk = root / "disk"
signer = load_or_create_signer(root / "keys")
ballast = disk / "ballast"
ballast.write_bytes(bytes(200_000))
spool = Spool(disk / "audit", 0, signer, segment_bytes_max=50_000)
written, refused = [], 0
for number in range(5000):
    try:
        spool.append(
            [WorkerStarted(id=str(number), time=1.0, worker=0, pid=number, version="x" * 300)]
        )
        written.append(number)
    except SpoolUnavailable as error:
        refused += 1
        assert spool.fault == "ENOSPC" and not spool.available
        if refused == 50:
            ballast.unlink()
    spool.tick(1e12 + number)
    if refused >= 50 and len(written) and written[-1] > number - 1 and number % 400 == 399:
        break
spool.close()
trail = FolderTrail(disk / "audit")
report = verify_trail(trail, checkpoint.public_keys(signer.public_pem()))
import json
print(json.dumps({
    "refused": refused,
    "after": sum(n > written[0] for n in written),
    "written": len(written),
    "records": report.records,
    "errors": [f.text for f in report.findings if f.error],
    "notes": sorted({f.code for f in report.findings if not f.error}),
}))
"""


def _in_tiny_disk(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    (root / "disk").mkdir()
    command = f'mount -t tmpfs -o size=512k tmpfs "{root}/disk" && exec "$0" -c "$1" "{root}"'
    return subprocess.run(
        [
            *["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"],
            command,
            sys.executable,
            script,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_full_disk_refuses_and_heals(tmp_path: Path) -> None:
    done = _in_tiny_disk(tmp_path, SCENARIO)
    if "mount" in done.stderr or "unshare" in done.stderr:
        pytest.skip("no mount namespace here: " + done.stderr.strip()[:80])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["refused"] >= 50
    assert found["written"] > 100
    assert found["errors"] == []
    assert "outage" in found["notes"]
    assert found["records"] > found["written"]


def test_dev_full_is_unavailable_not_an_accident(tmp_path: Path) -> None:
    """/dev/full answers ENOSPC to every write: the kernel's own word, no privileges needed."""
    spool = Spool(tmp_path / "audit", 0, load_or_create_signer(tmp_path / "keys"))
    good, spool._descriptor = spool._descriptor, os.open("/dev/full", os.O_WRONLY)
    for _ in range(3):
        with pytest.raises(SpoolUnavailable) as refused:
            spool.append(_records())
        assert refused.value.errno in {errno.ENOSPC, errno.EINVAL}
    os.close(spool._descriptor)
    spool._descriptor = good
    spool.append(_records())
    assert spool.available
    spool.close()


def _records() -> list[Record]:
    return [WorkerStarted(id="x", time=1.0, worker=0, pid=1, version="1")]
