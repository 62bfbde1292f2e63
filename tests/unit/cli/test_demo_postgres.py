"""The launcher starts real servers, as whoever runs the tests, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psycopg
import pytest

from appliance.cli.demo import embedded as launcher
from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.cli.demo.unprivileged import NOBODY, CannotRun, Disguise
from tests.clusters import Authority


def answer(server: EmbeddedPostgres, query: str) -> object:
    with psycopg.connect(server.uri()) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("version", [16, 18])
def test_a_server_runs_and_runs_again_on_the_same_folder(tmp_path: Path, version: int) -> None:
    server = EmbeddedPostgres(tmp_path, version, settings={"max_connections": "17"})
    with server:
        assert str(answer(server, "select version()")).startswith(f"PostgreSQL {version}.")
        assert answer(server, "show max_connections") == "17"
        assert answer(server, "show server_encoding") == "UTF8"
        with psycopg.connect(server.uri()) as connection:
            connection.execute("create table kept as select 42 as x")
        first = server.pid
    assert gone(first)
    with server:
        assert answer(server, "select x from kept") == 42


def test_a_wrong_password_is_refused(tmp_path: Path) -> None:
    with EmbeddedPostgres(tmp_path) as server, pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.uri(password="wrong"))


def test_another_uid_is_used_where_namespaces_are_forbidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root needs this")
    nobody = Disguise(
        ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"), NOBODY
    )
    monkeypatch.setattr(launcher, "disguise", lambda: nobody)
    tmp_path.chmod(0o700)  # what that uid cannot enter
    server = EmbeddedPostgres(tmp_path)
    with server:
        assert answer(server, "select 1") == 1
        assert Path(f"/proc/{server.pid}").stat().st_uid == NOBODY


def test_a_long_folder_gets_its_socket_elsewhere(tmp_path: Path) -> None:
    server = EmbeddedPostgres(tmp_path / ("x" * 100))
    with server:
        assert list(server.socket_folder.glob(".s.PGSQL.*"))
        stage = server.socket_folder
        assert stage != server.folder
    assert not stage.exists()


def test_a_wanted_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedPostgres(tmp_path, port=taken.getsockname()[1])
        with pytest.raises(CannotRun, match="Address already in use"):
            server.start()


def test_an_unknown_version_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match="no embedded PostgreSQL 9"):
        EmbeddedPostgres(tmp_path, 9)


def test_tls_of_the_machines_own_server(
    postgres_tls: EmbeddedPostgres, authority: Authority
) -> None:
    options = f"?sslmode=verify-full&sslrootcert={authority.certificate}"
    with psycopg.connect(postgres_tls.uri() + options) as connection:
        row = connection.execute(
            "select ssl, version from pg_stat_ssl where pid = pg_backend_pid()"
        ).fetchone()
    assert row == (True, "TLSv1.3")


def test_the_server_dies_with_its_starter(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from appliance.cli.demo.postgres import EmbeddedPostgres
        print(EmbeddedPostgres(Path(sys.argv[1])).start().pid, flush=True)
        time.sleep(60)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.send_signal(signal.SIGKILL)
    assert gone(pid)
