"""The MariaDB that tests and the demo start: as a plain user, with TLS, ended by its pid."""

import contextlib
import os
import ssl
from pathlib import Path

import pymysql
import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from tests import mariadb as servers
from tests.clusters import Authority


def test_it_runs_as_a_plain_user_and_offers_tls(
    mariadb: EmbeddedMariaDB, authority: Authority
) -> None:
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with contextlib.closing(servers.connect(mariadb, ssl=context)) as connection:
        cursor = connection.cursor()
        cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
        assert cursor.fetchone() == ("Ssl_version", "TLSv1.3")
        cursor.execute("SELECT CURRENT_USER()")
        assert cursor.fetchone() == ("root@127.0.0.1",)
    status = Path(f"/proc/{mariadb.pid}/status").read_text()
    shown = next(line for line in status.splitlines() if line.startswith("Uid:")).split()
    assert os.geteuid() == 0 or shown[1] == str(os.geteuid())


def test_nobody_gets_in_without_a_password(mariadb: EmbeddedMariaDB) -> None:
    accounts = servers.run(mariadb, "SELECT User, Host FROM mysql.user ORDER BY 1, 2")[0]
    came = {"", "root", "mariadb.sys", "mysql", "PUBLIC"}  # others are those of other tests
    assert [account for account in accounts if account[0] in came] == [
        ("mariadb.sys", "localhost"),
        ("root", "127.0.0.1"),
        ("root", "localhost"),
    ]
    for user in ("root", ""):
        with pytest.raises(pymysql.err.OperationalError):
            servers.connect(mariadb, user, "")


def test_no_password_among_its_arguments_or_left_in_a_file(mariadb: EmbeddedMariaDB) -> None:
    arguments = Path(f"/proc/{mariadb.pid}/cmdline").read_bytes()
    assert mariadb.password.encode() not in arguments
    holding = [
        path.name
        for path in mariadb.folder.rglob("*.*")
        if path.is_file() and mariadb.password.encode() in path.read_bytes()
    ]
    assert holding == ["superuser.password"]


def test_a_restart_finds_what_was_there(tmp_path: Path) -> None:
    server = servers.mariadb_server(tmp_path / "my")
    with server:
        servers.run(server, "CREATE DATABASE kept", "CREATE TABLE kept.t (n INT)")
        servers.run(server, "INSERT INTO kept.t VALUES (7)")
        first = server.pid
    with server:
        assert servers.run(server, "SELECT n FROM kept.t") == [((7,),)]
        assert server.pid != first


def test_what_only_the_whole_package_has_is_loaded(mariadb: EmbeddedMariaDB) -> None:
    if "auth_ed25519" not in servers.plugins():
        pytest.skip("the plugins are not here: scripts/mariadb.sh")
    rows = servers.run(
        mariadb, "SELECT PLUGIN_STATUS FROM information_schema.PLUGINS WHERE PLUGIN_NAME='ed25519'"
    )
    assert rows == [(("ACTIVE",),)]
