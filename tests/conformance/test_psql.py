"""psql through Sallyport says what it says directly: meta-commands, \\copy, \\watch, completion."""

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conformance.conftest import Governed

COMMANDS = [
    r"\d",
    r"\d customers",
    r"\d+ orders",
    r"\d+ customer_contacts",
    r"\d best_customers",
    r"\d orders_customer",
    r"\d support_tickets_id_seq",
    r"\dt+",
    r"\dv",
    r"\dm",
    r"\di",
    r"\ds",
    r"\dn+",
    r"\df",
    r"\df pg_catalog.upper",
    r"\sv customer_contacts",
    r"\dT",
    r"\do pg_catalog.=",
    r"\dp",
    r"\ddp",
    r"\du",
    r"\dx",
    r"\dC",
    r"\dD",
    r"\dO",
    r"\dl",
    r"\dP",
    r"\l",
    r"\encoding",
    r"\conninfo",
    "SELECT 1 AS a, NULL AS b, 'x' AS c",
    "SELECT count(*), sum(total) FROM orders WHERE placed_on < '2025-01-01'",
    "TABLE revenue_by_country ORDER BY country",
    "EXPLAIN (COSTS OFF) SELECT * FROM customers WHERE id = 1",
    "SHOW search_path",
    "SELECT 1; SELECT 2",
    "SELECT 1/0",
]


def run(psql: Path, uri: str, *arguments: str, text: str = "") -> tuple[int, str, str]:
    done = subprocess.run(
        [psql, uri, "-X", *arguments],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PAGER": "cat", "LC_ALL": "C.UTF-8"},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != r"\conninfo"])
def test_a_command_says_the_same(psql: Path, governed: Governed, command: str) -> None:
    direct = run(psql, governed.direct(), "-c", command)
    through = run(psql, governed.uri(), "-c", command)
    assert through == direct
    assert direct[1] or direct[2]


def test_what_is_not_there_is_refused_before_the_database_says_so(
    psql: Path, governed: Governed
) -> None:
    """Unknown means refuse for whoever owes a mask; the session goes on."""
    script = "SELECT no_such_column FROM customers;\nSELECT 'still here';"
    status, said, complained = run(psql, governed.uri(), "-At", text=script)
    assert (status, said) == (0, "still here\n")
    assert "no_such_column" in complained and "code: unresolved" in complained


def test_conninfo_shows_tls(psql: Path, governed: Governed) -> None:
    status, said, _ = run(psql, governed.uri(), "-c", r"\conninfo")
    assert status == 0
    assert f'port "{governed.port}"' in said and "TLSv1.3" in said


def test_copy_out_and_in(psql: Path, governed: Governed, tmp_path: Path) -> None:
    files = []
    for name, uri in (("direct", governed.direct()), ("through", governed.uri())):
        files.append(tmp_path / name)
        copy = rf"\copy (SELECT * FROM orders ORDER BY id) TO '{files[-1]}' CSV HEADER"
        assert run(psql, uri, "-c", copy) == (0, "COPY 8000\n", "")
    assert files[0].read_bytes() == files[1].read_bytes()
    script = rf"""
    CREATE TABLE copied (LIKE orders);
    \copy copied FROM '{files[1]}' CSV HEADER
    SELECT count(*), sum(total) FROM copied;
    DROP TABLE copied;
    """
    direct = run(psql, governed.direct(), "-At", text=script)
    assert direct[0] == 0 and "COPY 8000" in direct[1]
    assert run(psql, governed.uri(), "-At", text=script) == direct


def test_watch(psql: Path, governed: Governed) -> None:
    with subprocess.Popen(
        [psql, governed.uri(), "-X", "-At"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write("SELECT 'tock' \\watch 0.2\n")
        process.stdin.close()
        seen = 0
        for line in process.stdout:
            seen += line.strip() == "tock"
            if seen == 3:
                break
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert seen == 3


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("SELECT * FROM support_t\t", "support_tickets"),
        ("SELECT count(*) FROM customers WHERE date_of_\t", "date_of_birth"),
        ("UPDATE support_tickets SET sub\t", "subject"),
        ("SET timezone TO 'Europe/Lon\t", "London'"),
        ("GRANT SELECT ON api_k\t", "api_keys"),
        ("DROP VIEW revenue\t", "revenue_by_country"),
    ],
)
def test_tab_completion(psql: Path, governed: Governed, typed: str, expected: str) -> None:
    answers = [complete(psql, uri, typed) for uri in (governed.direct(), governed.uri())]
    assert answers[0] == answers[1]
    assert expected in answers[1]


def complete(psql: Path, uri: str, typed: str) -> str:
    """What the line is after the tab, on a terminal of its own."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(psql, ["psql", uri, "-X"], {**os.environ, "TERM": "dumb", "PS1": ""})
    try:
        read_until(terminal, "=>", 15)
        # Readline answers key by key: the mark is echoed when the tab has been dealt with.
        os.write(terminal, f"{typed}~".encode())
        said = read_until(terminal, "~", 15)
        os.write(terminal, b"\x03\\q\n")
        read_until(terminal, None, 0.5)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)
    return said.replace("\x07", "").strip()


def read_until(terminal: int, mark: str | None, seconds: float) -> str:
    """Everything up to `mark`, or what comes within `seconds` of silence when there is none."""
    said = ""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (mark is None or mark not in said):
        ready, _, _ = select.select([terminal], [], [], 0.3)
        if not ready:
            if mark is None:
                break
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:
            break
        if not piece:
            break
        said += piece.decode(errors="replace")
    if mark is not None:
        assert mark in said, said
    return said
