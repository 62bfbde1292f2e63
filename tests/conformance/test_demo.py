"""`sallyport demo` as people run it: the tour holds, and Ctrl-C leaves nothing behind."""

import os
import queue
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from appliance.cli.demo.mariadb import programs
from appliance.cli.demo.sample import KINDS
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


@pytest.mark.parametrize("database", sorted(KINDS))
def test_the_tour_shows_what_it_says(server_folder: Path, database: str) -> None:
    demand(database)
    folder = server_folder / f"tour-{database}"
    for _ in range(2):
        done = subprocess.run(
            demo(folder, "--tour-only", "--database", database),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr
        assert "NOT AS IT MUST BE" not in done.stdout
        assert "OK: complete and unaltered" in done.stdout
        assert_both_sides_of_an_approval_are_shown(done.stdout, *SAID[database])
        assert done.stderr == ""


SAID = {
    "postgresql": ("NOTICE", "UPDATE 1", "DELETE 1"),
    "mysql": ("WAITS", "OK, 1 row", "OK, 1 row"),
}
"""Of what waits, and of what has run."""


def demand(database: str) -> None:
    if database == "mysql" and programs() is None:
        pytest.skip("no MariaDB here: scripts/mariadb.sh")


def assert_both_sides_of_an_approval_are_shown(
    tour: str, waiting: str, updated: str, deleted: str
) -> None:
    """What was held, what was said to it, what the trail keeps: whether it is so, the tour checks
    by itself."""
    _, _, waits = tour.partition("An UPDATE that waits")
    waits, _, denied = waits.partition("An UPDATE that somebody denies")
    denied, _, ticket = denied.partition("A ticket, for clients that do not wait")
    ticket, _, trail = ticket.partition("$ sallyport audit tail")
    assert waits.index(waiting) < waits.index("APPROVES") < waits.index(updated)
    assert denied.index(waiting) < denied.index("DENIES") < denied.index("REFUSED")
    assert "denied by bob" in denied
    assert ticket.index('"code": "hold_ticket"') < ticket.index("APPROVES")
    assert ticket.index("APPROVES") < ticket.index(deleted) < ticket.rindex("REFUSED")
    for words in ("agrees: the customer called", "denied: they are on their way"):
        assert words in trail


def test_who_has_sourced_the_environment_decides_as_bob(server_folder: Path) -> None:
    folder = server_folder / "approver"
    output = server_folder / "approver.out"
    with up(folder, output):
        assert (folder / "env").stat().st_mode & 0o777 == 0o600
        names = variables(folder)
        assert "bob (admin, approver, auditor)" in command(names, "whoami")
        assert names["SALLYPORT_URL"] in output.read_text()
        update = "UPDATE orders SET quantity = 77 WHERE id = 7"
        notices: queue.Queue[str] = queue.Queue()
        with psycopg.connect(names["COPILOT_URI"], autocommit=True) as copilot:
            copilot.add_notice_handler(lambda d: notices.put(str(d.message_primary)))
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(copilot.execute, update)
                try:
                    request = notices.get(timeout=30).rpartition("(request ")[2].rstrip(")")
                    assert update in command(names, "approvals", "list")
                    told = command(names, "approvals", "approve", request, "--reason", "fine")
                    assert "bob approved: fine" in told
                    assert waiting.result(30).statusmessage == "UPDATE 1"
                finally:
                    copilot.cancel_safe(timeout=10)


def test_mariadb_s_own_program_gets_in_by_what_the_environment_names(server_folder: Path) -> None:
    demand("mysql")
    folder, output = server_folder / "mariadb", server_folder / "mariadb.out"
    with up(folder, output, "--database", "mysql"):
        names = variables(folder)
        shown = output.read_text()
        assert all(f'mariadb --defaults-file="${who}_CNF"' in shown for who in ("ALICE", "DIRECT"))
        emails = {who: mariadb_email(folder, who) for who in ("ALICE", "BOB", "COPILOT", "DIRECT")}
        assert emails["ALICE"] == emails["COPILOT"] == "d***@***.com"
        assert emails["BOB"] == emails["DIRECT"] != emails["ALICE"]
        for who in emails:
            assert Path(names[f"{who}_CNF"]).stat().st_mode & 0o777 == 0o600
        update = "UPDATE orders SET quantity = 77 WHERE id = 7"
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(mariadb_program, folder, "COPILOT", update)
            deadline = time.monotonic() + START_SECONDS_MAX
            while update not in (listed := command(names, "approvals", "list")):
                assert time.monotonic() < deadline and not waiting.done(), listed
                time.sleep(0.1)
            request = next(line.split()[0] for line in listed.splitlines() if update in line)
            told = command(names, "approvals", "approve", request, "--reason", "fine")
            assert "bob approved: fine" in told
            assert waiting.result(30) == ""
        changed = "SELECT quantity FROM orders WHERE id = 7"
        assert mariadb_program(folder, "DIRECT", changed) == "quantity\n77\n"


def mariadb_email(folder: Path, who: str) -> str:
    return mariadb_program(folder, who, "SELECT email FROM customers WHERE id = 1").split()[1]


def mariadb_program(folder: Path, who: str, sql: str) -> str:
    """As somebody types it who has sourced `.demo/env`."""
    script = f'. {folder / "env"}; mariadb --defaults-file="${who}_CNF" -e "{sql}"'
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def command(names: dict[str, str], *words: str) -> str:
    """What a command says to whoever has sourced `.demo/env`."""
    done = subprocess.run(
        [SALLYPORT, *words], env=names, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def up(folder: Path, output: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A demo without tour, from when it says what to do next; ended afterwards."""
    with output.open("w") as file:
        running = subprocess.Popen(demo(folder, "--no-tour", *options), stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while "any driver with TLS will do" not in output.read_text():
            assert running.poll() is None and time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        yield running
    finally:
        running.terminate()
        running.wait(60)


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
        while "No psql?" not in output.read_text():
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
