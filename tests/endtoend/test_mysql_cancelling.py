"""Statements that are cancelled: by KILL from another session, by policy's clock, by a client that
leaves. Databases are told over a connection of their own.
"""

import threading
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.identity.verifiers import User
from tests import mariadb as servers
from tests.clusters import Authority
from tests.endtoend.stage import Estate, Running, listener, verifier, wait_for

DATABASE, ROLE, PASSWORD = "cancelled", "sleeper", "what only sallyport knows"
SLEEP = "SELECT SLEEP(60)"
POLICY = """
version: 1
rules:
  - {id: everything, effect: allow, actions: [everything]}
  - id: hurry
    effect: limit
    principals: {names: [bob]}
    statement_timeout: 300ms
"""


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, mariadb: EmbeddedMariaDB, authority: Authority
) -> Iterator[Running]:
    servers.run(
        mariadb,
        f"CREATE DATABASE IF NOT EXISTS {DATABASE}",
        f"CREATE OR REPLACE USER {ROLE}@'%' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT ALL ON {DATABASE}.* TO {ROLE}@'%'",
    )
    estate = Estate(tmp_path_factory.mktemp("cancelling"), mariadb, authority)  # type: ignore[arg-type]
    estate.write("policy.yaml", POLICY)
    role = {"principals": ["*"], "user": ROLE, "credential": estate.secret("role", PASSWORD)}
    estate.configuration["targets"] = [estate.target("vault", dialect="mysql", roles=[role])]
    estate.configuration["listeners"] = [listener("main")]
    estate.configuration["workers"] = 2
    estate.users(
        *(User(name=name, verifier=verifier(f"{name}-password")) for name in ("alice", "bob"))
    )
    with estate.serve() as running:
        yield running


def connect(proxy: Running, user: str) -> "pymysql.connections.Connection[Any]":
    return pymysql.connect(
        host="127.0.0.1",
        port=proxy.ports["main"],
        user=user,
        password=f"{user}-password",
        database=DATABASE,
    )


def running(mariadb: EmbeddedMariaDB) -> int:
    """How many sleep now."""
    text = f"SELECT COUNT(*) FROM information_schema.processlist WHERE info = '{SLEEP}'"
    return int(servers.run(mariadb, text)[0][0][0])


class Sleeping(threading.Thread):
    """A statement that goes on in a thread of its own."""

    def __init__(self, proxy: Running, mariadb: EmbeddedMariaDB, user: str) -> None:
        super().__init__()
        self.connection = connect(proxy, user)
        self.told: tuple[Any, ...] = ()
        self.start()
        wait_for(lambda: running(mariadb), "the statement to run")

    def run(self) -> None:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(SLEEP)
        except pymysql.err.MySQLError as error:
            self.told = error.args


def test_kill_query_ends_what_another_session_of_mine_runs(
    proxy: Running, mariadb: EmbeddedMariaDB
) -> None:
    """As the mariadb client does for Ctrl-C: over a second connection, to whichever worker."""
    sleeping = Sleeping(proxy, mariadb, "alice")
    with connect(proxy, "alice") as other:
        other.query(f"KILL QUERY {sleeping.connection.thread_id()}")
    sleeping.join(20)
    assert sleeping.told[0] == 1317 and not running(mariadb)
    with sleeping.connection.cursor() as cursor:  # and it goes on
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == ((1,),)
    sleeping.connection.close()


def test_sessions_of_others_are_not_there(proxy: Running, mariadb: EmbeddedMariaDB) -> None:
    """They may work as one database user: the database itself would let them."""
    sleeping = Sleeping(proxy, mariadb, "alice")
    with connect(proxy, "bob") as other, pytest.raises(pymysql.err.MySQLError) as caught:
        other.query(f"KILL {sleeping.connection.thread_id()}")
    assert caught.value.args[0] == 1094
    assert running(mariadb)
    with connect(proxy, "alice") as own:
        own.query(f"KILL {sleeping.connection.thread_id()}")
    sleeping.join(20)
    assert sleeping.told and not running(mariadb)
    with pytest.raises(pymysql.err.MySQLError):
        sleeping.connection.query("SELECT 1")


def test_a_client_that_leaves_leaves_nothing_running(
    proxy: Running, mariadb: EmbeddedMariaDB
) -> None:
    sleeping = Sleeping(proxy, mariadb, "alice")
    sleeping.connection._sock.shutdown(2)
    sleeping.join(20)
    wait_for(lambda: not running(mariadb), "the end of the statement")


def test_time_that_policy_gives(proxy: Running, mariadb: EmbeddedMariaDB) -> None:
    with connect(proxy, "bob") as bob, bob.cursor() as cursor:
        with pytest.raises(pymysql.err.MySQLError) as caught:
            cursor.execute(SLEEP)
        assert "policy" in str(caught.value)
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == ((1,),)
    assert not running(mariadb)
