"""`sallyport demo` as people run it: the tour holds, and Ctrl-C leaves nothing behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import psycopg
import pytest

from tests.clusters import SALLYPORT

pytestmark = pytest.mark.slow

START_SECONDS_MAX = 60.0


def demo(folder: Path, *options: str) -> list[str]:
    return [str(SALLYPORT), "demo", "--folder", str(folder), "--listen", "127.0.0.1:0", *options]


def variables(folder: Path) -> dict[str, str]:
    """What `.demo/env` sets, as a shell reads it."""
    script = f". {folder / 'env'}; env -0"
    found = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    pairs = [entry.partition("=") for entry in found.stdout.split("\0") if entry]
    return {name: value for name, _, value in pairs}


def descendants(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listing]


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_tour_shows_what_it_says(server_folder: Path) -> None:
    folder = server_folder / "tour"
    done = subprocess.run(
        demo(folder, "--tour-only"), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "NOT AS IT MUST BE" not in done.stdout
    assert "OK: complete and unaltered" in done.stdout
    assert done.stderr == ""
    again = subprocess.run(
        demo(folder, "--tour-only"), capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_stays_up_and_ends_with_everything_it_started(
    server_folder: Path, number: signal.Signals
) -> None:
    folder = server_folder / f"up{number}"
    output = server_folder / f"up{number}.out"
    with output.open("w") as file:
        running = subprocess.Popen(demo(folder, "--no-tour"), stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while "Now you" not in output.read_text():
            assert running.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        children = descendants(running.pid)
        assert len(children) == 2, "PostgreSQL and sallyport serve"
        names = variables(folder)
        emails = {name: email(names[name]) for name in ("ALICE_URI", "BOB_URI", "COPILOT_URI")}
        assert emails["BOB_URI"] == email(names["DIRECT_URI"])
        assert emails["ALICE_URI"] == emails["COPILOT_URI"] == "d***@***.com"
        assert Path(names["SALLYPORT_CA"]).exists() and Path(names["SALLYPORT_DATA"]).is_dir()
    finally:
        running.send_signal(number)
        status = running.wait(60)
    assert status == (-9 if number is signal.SIGKILL else 0), output.read_text()
    deadline = time.monotonic() + 10
    while not all(map(ended, children)):
        assert time.monotonic() < deadline, "something was left running"
        time.sleep(0.05)


def email(uri: str) -> object:
    with psycopg.connect(uri) as connection:
        row = connection.execute("SELECT email FROM customers WHERE id = 1").fetchone()
    assert row is not None
    return row[0]
