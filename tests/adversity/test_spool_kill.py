"""kill -9 of a writer in mid-load: what it said is written is there, and the trail proves."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.audit import checkpoint
from appliance.audit.encode import decode_record
from appliance.audit.record import SpoolRecovered, WorkerStarted
from appliance.audit.verify import Report, verify_trail
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer
from appliance.spool.trail_folder import FolderTrail

WRITER = """
import os, sys, time
from pathlib import Path
from appliance.audit.record import WorkerStarted
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer

root = Path(sys.argv[1])
spool = Spool(root / "audit", 0, load_or_create_signer(root / "keys"), segment_bytes_max=200_000)
number = 0
while True:
    batch = range(number, number + 7)
    ids = [(f"{sys.argv[2]}-{i}", i) for i in batch]
    spool.append([WorkerStarted(id=n, time=1.0, worker=0, pid=i, version="v") for n, i in ids])
    number = batch.stop
    os.write(1, b"%d\\n" % number)  # the statement "is forwarded" only now
    time.sleep(float(sys.argv[3]))
    if number % 700 == 0:
        spool.tick(time.time() + number)
"""


def prove(root: Path) -> Report:
    keys = checkpoint.public_keys((root / "keys" / "audit-ed25519.pub").read_bytes())
    return verify_trail(FolderTrail(root / "audit"), keys)


def run_and_kill(root: Path, name: str, seconds: float) -> int:
    """How many records the writer said were written before it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), name, "0"], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        first = writer.stdout.readline()
        assert first, "the writer did not start"
        time.sleep(seconds)
        os.kill(writer.pid, signal.SIGKILL)
        told = (first + writer.stdout.read()).split(b"\n")
    return int(told[-2])


@pytest.mark.parametrize("round_", range(3))
def test_nothing_told_is_lost(tmp_path: Path, round_: int) -> None:
    told = {name: run_and_kill(tmp_path, name, 0.15 + 0.05 * round_) for name in ("a", "b")}
    # A third life begins with a tail torn as a power loss would.
    folder = tmp_path / "audit" / "w0"
    newest = checkpoint.segment_order(p.name for p in folder.iterdir())[-1]
    with (folder / newest).open("ab") as file:
        file.write(b'{"seq":99999,"prev":"00')
    assert prove(tmp_path).exit_code == 1
    spool = Spool(tmp_path / "audit", 0, load_or_create_signer(tmp_path / "keys"))
    spool.close()
    report = prove(tmp_path)
    assert report.exit_code == 0, report.findings
    assert report.chains[0].signed == report.chains[0].last
    assert "torn" in {f.code for f in report.findings}
    trail = FolderTrail(tmp_path / "audit")
    records = [
        decode_record(line)
        for segment in checkpoint.segment_order(trail.names(0))
        for line in trail.lines(0, segment)
    ]
    for name, count in told.items():
        written = {r.pid for r in records if isinstance(r, WorkerStarted) and r.id[0] == name}
        assert written >= set(range(count))
    assert sum(isinstance(r, SpoolRecovered) for r in records) >= 1


def test_a_live_trail_verifies_while_it_grows(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), "a", "0.0005"], stdout=subprocess.DEVNULL
    ) as writer:
        try:
            deadline = time.monotonic() + 10
            while not (tmp_path / "audit" / "w0" / "head.json").exists():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            for _ in range(5):
                time.sleep(0.1)
                report = prove(tmp_path)
                assert report.exit_code == 0, report.findings
        finally:
            os.kill(writer.pid, signal.SIGKILL)
