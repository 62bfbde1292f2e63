"""Connections to a MariaDB that serve one session after another: nothing of a session is there for
the next, and none is shared by two database users."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.identity.verifiers import User
from appliance.policy.presets import PERMISSIVE
from tests import mariadb as servers
from tests.clusters import Authority
from tests.endtoend.stage import Estate, Running, listener, verifier, wait_for

DATABASE, PASSWORD = "pooled", "what only sallyport knows"


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, mariadb: EmbeddedMariaDB, authority: Authority
) -> Iterator[Running]:
    servers.run(
        mariadb,
        f"CREATE DATABASE IF NOT EXISTS {DATABASE}",
        f"CREATE OR REPLACE TABLE {DATABASE}.numbered (id INT AUTO_INCREMENT PRIMARY KEY, n INT)",
        f"CREATE OR REPLACE USER one@'%' IDENTIFIED BY '{PASSWORD}'",
        f"CREATE OR REPLACE USER two@'%' IDENTIFIED BY '{PASSWORD}'",
        "CREATE OR REPLACE ROLE reader",
        f"GRANT ALL ON {DATABASE}.* TO one@'%', two@'%'",
        "GRANT reader TO one@'%'",
    )
    estate = Estate(tmp_path_factory.mktemp("pooling"), mariadb, authority)  # type: ignore[arg-type]
    estate.write("policy.yaml", PERMISSIVE)
    credential = estate.secret("role", PASSWORD)
    roles = [
        {"groups": ["analysts"], "user": "one", "credential": credential},
        {"principals": ["*"], "user": "two", "credential": credential},
    ]
    pooling = {"mode": "session", "idle_per_key_max": 1}
    target = estate.target("vault", dialect="mysql", roles=roles, pooling=pooling)
    estate.configuration["targets"] = [target]
    estate.configuration["listeners"] = [listener("main")]
    estate.users(
        *(
            User(name=name, groups=(group,), verifier=verifier(f"{name}-password"))
            for name, group in (("alice", "analysts"), ("anna", "analysts"), ("bob", "dba"))
        )
    )
    with estate.serve() as running:
        yield running


@contextlib.contextmanager
def session(
    proxy: Running, user: str, database: str | None = DATABASE
) -> "Iterator[pymysql.cursors.Cursor]":
    connection = pymysql.connect(
        host="127.0.0.1",
        port=proxy.ports["main"],
        user=user,
        password=f"{user}-password",
        database=database,
    )
    kept = proxy.metric("upstream_pool_total", outcome="kept")
    with connection, connection.cursor() as cursor:
        yield cursor
    proxy.metric_reaches(kept + 1, "upstream_pool_total", outcome="kept")


def rows(cursor: Any, *texts: str) -> list[Any]:
    found = []
    for text in texts:
        cursor.execute(text)
        found.append(cursor.fetchall())
    return found


LOOKS = (
    "SELECT DATABASE(), CURRENT_USER(), CURRENT_ROLE()",
    "SELECT @secret, @@session.sql_mode, @@session.autocommit, @@session.time_zone",
    "SELECT LAST_INSERT_ID(), @@session.last_insert_id, @@session.insert_id",
    "SELECT @@session.profiling, @@session.sql_select_limit, @@session.tx_isolation",
    "SELECT IS_USED_LOCK('mine'), @@in_transaction, @@session.character_set_results",
    "SHOW PROFILES",
    "SHOW WARNINGS",
)


def test_nothing_of_a_session_is_there_for_the_next(proxy: Running) -> None:
    with session(proxy, "alice") as alice:
        fresh = rows(alice, *LOOKS)
        connection = rows(alice, "SELECT CONNECTION_ID()")
    with session(proxy, "alice") as alice:
        assert rows(alice, "SELECT CONNECTION_ID()") == connection
        rows(
            alice,
            "SET @secret = 'x', SESSION sql_mode = 'ANSI', autocommit = 0, time_zone = '+05:00'",
            "SET ROLE reader",
            "SET ROLE NONE",
            "SET SESSION profiling = 1, sql_select_limit = 7",
            "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "CREATE TEMPORARY TABLE scratch (secret INT)",
            "PREPARE kept FROM 'SELECT 1'",
            "DO GET_LOCK('mine', 1)",
            "INSERT INTO numbered (n) VALUES (1)",
            "HANDLER numbered OPEN",
            "SELECT 'quoted in a profile'",
            "SELECT 1/0",
            "USE information_schema",
        )
    with session(proxy, "anna") as anna:
        assert rows(anna, "SELECT CONNECTION_ID()") == connection
        assert rows(anna, *LOOKS) == fresh
        assert rows(anna, "SELECT COUNT(*) FROM numbered") == [((0,),)]
        for text in ("SELECT * FROM scratch", "EXECUTE kept", "HANDLER numbered READ FIRST"):
            with pytest.raises(pymysql.err.MySQLError):
                rows(anna, text)


def test_random_numbers_are_not_the_session_befores(proxy: Running) -> None:
    seeds = "SET SESSION rand_seed1 = 1, rand_seed2 = 2"
    with session(proxy, "alice") as alice:
        (_, mine, later) = rows(alice, seeds, "SELECT RAND()", "SELECT RAND()")
        rows(alice, seeds, "SELECT RAND()")
    with session(proxy, "anna") as anna:
        assert rows(anna, "SELECT RAND()")[0] not in (mine, later)


def test_a_session_without_a_database_has_none(proxy: Running) -> None:
    with session(proxy, "alice", None) as alice:
        rows(alice, f"USE {DATABASE}")
    with session(proxy, "anna", None) as anna:
        assert rows(anna, "SELECT DATABASE()") == [((None,),)]


def test_no_connection_is_shared_by_database_users(proxy: Running) -> None:
    with session(proxy, "alice") as alice:
        first = rows(alice, "SELECT CONNECTION_ID(), CURRENT_USER()")
    with session(proxy, "bob") as bob:
        second = rows(bob, "SELECT CONNECTION_ID(), CURRENT_USER()")
    assert first[0][0][1] == "one@%" and second[0][0][1] == "two@%"
    assert first[0][0][0] != second[0][0][0]


def test_one_that_the_database_closed_is_not_given(
    proxy: Running, mariadb: EmbeddedMariaDB
) -> None:
    with session(proxy, "alice") as alice:
        (((connection,),),) = rows(alice, "SELECT CONNECTION_ID()")
    servers.run(mariadb, f"KILL {connection}")
    wait_for(
        lambda: all(
            row[0] != connection
            for row in servers.run(mariadb, "SELECT id FROM information_schema.processlist")[0]
        ),
        "the end of the connection",
    )
    with session(proxy, "alice") as alice:
        (((other,),),) = rows(alice, "SELECT CONNECTION_ID()")
    assert other != connection
