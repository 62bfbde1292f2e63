"""Temporary tables of somebody who owes masks, on MariaDB: what is put into them is masked, and
what a name means is what the server takes it for, whatever made, renamed or dropped it."""

from collections.abc import Iterator

import pymysql
import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from tests.clusters import Authority
from tests.endtoend.governed_mariadb import Cursor, alice_at, direct_cursor, governed, told
from tests.endtoend.stage import Running

DATABASE = "passing"
POLICY = """
version: 1
rules:
  - {id: all, effect: allow, actions: [everything]}
  - id: no-ssn
    effect: mask
    principals: {names: [alice]}
    resources: ["*.passing.people.ssn"]
    mask: {method: redact}
"""
SCHEMA = (
    f"DROP DATABASE IF EXISTS {DATABASE}",
    f"CREATE DATABASE {DATABASE}",
    f"USE {DATABASE}",
    "CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(20), ssn VARCHAR(20))",
    "INSERT INTO people VALUES (1, 'one', 'SECRET-1'), (2, 'two', 'SECRET-2')",
    "CREATE VIEW seen AS SELECT id, UPPER(ssn) AS loud FROM people",
)


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, mariadb: EmbeddedMariaDB, authority: Authority
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("passing")
    with governed(folder, mariadb, authority, DATABASE, SCHEMA, POLICY) as running:
        yield running


@pytest.fixture
def direct(mariadb: EmbeddedMariaDB) -> Iterator[Cursor]:
    with direct_cursor(mariadb, SCHEMA) as cursor:
        yield cursor


@pytest.fixture
def alice(proxy: Running, direct: Cursor) -> Iterator[Cursor]:
    with alice_at(proxy, DATABASE) as cursor:
        yield cursor


def does(cursor: Cursor, *texts: str) -> None:
    for text in texts:
        assert "refused" not in told(cursor, text), text


FILLED = {
    "as a query": ("CREATE TEMPORARY TABLE t AS SELECT id, ssn AS v FROM people",),
    "with columns of its own": (
        "CREATE TEMPORARY TABLE t (id INT, v VARCHAR(30)) SELECT id, ssn AS v FROM people",
    ),
    "through a view": ("CREATE TEMPORARY TABLE t SELECT id, loud AS v FROM seen",),
    "by an insert": (
        "CREATE TEMPORARY TABLE t (id INT, v VARCHAR(30))",
        "INSERT INTO t SELECT id, ssn FROM people",
    ),
    "by an update": (
        "CREATE TEMPORARY TABLE t AS SELECT id, name AS v FROM people",
        "UPDATE t JOIN people p USING (id) SET t.v = p.ssn",
    ),
    "by a subquery": (
        "CREATE TEMPORARY TABLE t AS SELECT id, name AS v FROM people",
        "UPDATE t SET v = (SELECT ssn FROM people p WHERE p.id = t.id)",
    ),
    "by a replacement": (
        "CREATE TEMPORARY TABLE t (id INT PRIMARY KEY, v VARCHAR(30))",
        "REPLACE INTO t SELECT id, CONCAT(ssn, '') FROM people",
    ),
    "on a duplicate": (
        "CREATE TEMPORARY TABLE t (id INT PRIMARY KEY, v VARCHAR(30))",
        "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        "INSERT INTO t SELECT id, ssn FROM people ON DUPLICATE KEY UPDATE v = VALUES(v)",
    ),
}


@pytest.mark.parametrize("way", FILLED)
def test_what_is_put_into_one_is_masked(alice: Cursor, way: str) -> None:
    does(alice, *FILLED[way])
    assert told(alice, "SELECT id, v FROM t ORDER BY id") == "((1, '****'), (2, '****'))"
    assert "SECRET" not in told(alice, "SELECT t.v, p.ssn FROM t JOIN people p USING (id)")


def test_ordinary_work(alice: Cursor) -> None:
    does(
        alice,
        "CREATE TEMPORARY TABLE IF NOT EXISTS t (id INT, n INT, twice INT AS (n * 2) VIRTUAL)",
        "CREATE INDEX by_n ON t (n)",
        "INSERT INTO t (id, n) VALUES (1, 10), (2, 20)",
        "ALTER TABLE t ADD COLUMN note TEXT",
        "UPDATE t SET note = 'x' WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
    )
    assert told(alice, f"SELECT twice, note FROM {DATABASE}.t") == "((20, 'x'),)"
    assert "TEMPORARY" in told(alice, "SHOW CREATE TABLE t")
    assert "twice" in told(alice, "DESCRIBE t")
    assert "refused" not in told(alice, "EXPLAIN SELECT * FROM t WHERE n = 10")
    does(alice, "TRUNCATE TABLE t")
    assert told(alice, "SELECT COUNT(*) FROM t JOIN people p ON p.id = t.id") == "((0,),)"
    does(
        alice,
        "CREATE TEMPORARY TABLE another LIKE people",
        "INSERT INTO another SELECT * FROM people",
    )
    assert "SECRET" not in told(alice, "SELECT * FROM another")


def test_prepared_statements(alice: Cursor) -> None:
    with alice.connection.cursor(pymysql.cursors.DictCursor) as cursor:
        does(cursor, "CREATE TEMPORARY TABLE t (id INT)", "INSERT INTO t VALUES (4)")
        cursor.execute("SELECT * FROM t WHERE id = %s", (4,))
        assert cursor.fetchall() == [{"id": 4}]


NAMES = (
    "CREATE TEMPORARY TABLE people (id INT)",
    f"CREATE TEMPORARY TABLE {DATABASE}.seen (i INT)",
)


@pytest.mark.parametrize("text", NAMES)
def test_none_hides_a_lasting_relation(alice: Cursor, text: str) -> None:
    assert "a temporary one would hide it" in told(alice, text)
    assert "one" in told(alice, "SELECT name FROM people")


@pytest.mark.parametrize("one_text", [False, True])
@pytest.mark.parametrize(
    "drop", ["DROP TABLE t", "DROP TEMPORARY TABLE t", "ALTER TABLE t RENAME u"]
)
def test_one_that_is_gone_hides_nothing(
    alice: Cursor, direct: Cursor, drop: str, one_text: bool
) -> None:
    """The other way round: a lasting one of the name comes later, past the appliance."""
    does(
        alice,
        "CREATE TEMPORARY TABLE t (id INT, ssn VARCHAR(9))",
        "INSERT INTO t VALUES (7, 'own')",
    )
    assert "own" in told(alice, "SELECT ssn FROM t")
    direct.execute("CREATE TABLE t AS SELECT id, ssn FROM people")
    assert "own" in told(alice, "SELECT ssn FROM t")
    if one_text:
        found = told(alice, f"{drop}; SELECT ssn FROM {DATABASE}.t")
        assert "refused" in found and "SECRET" not in found
    else:
        does(alice, drop)
    for text in ("SELECT ssn FROM t", f"SELECT * FROM {DATABASE}.t", "SELECT UPPER(ssn) FROM t"):
        assert "SECRET" not in told(alice, text)


def test_what_came_of_a_statement_is_asked(alice: Cursor) -> None:
    assert "Duplicate column" in told(alice, "CREATE TEMPORARY TABLE t (id INT, id INT)")
    assert "1146" in told(alice, "SELECT id FROM t")
    does(alice, "START TRANSACTION", "CREATE TEMPORARY TABLE t (id INT)", "ROLLBACK")
    assert told(alice, "SELECT id FROM t") == "()"  # (it is no part of the transaction)
    does(alice, "CREATE OR REPLACE TEMPORARY TABLE t (other INT)")
    assert told(alice, "SELECT other FROM t") == "()"
    does(alice, "RENAME TABLE t TO u")
    assert told(alice, "SELECT other FROM u") == "()" and "1146" in told(alice, "SELECT 1 FROM t")


def test_a_reset_session_has_none(proxy: Running, direct: Cursor) -> None:
    with alice_at(proxy, DATABASE) as alice:
        does(alice, "CREATE TEMPORARY TABLE t (id INT)")
        alice.connection._execute_command(0x1F, b"")
        alice.connection._read_ok_packet()
        told(alice, f"USE {DATABASE}")
        direct.execute("CREATE TABLE t AS SELECT id, ssn FROM people")
        assert "SECRET" not in told(alice, "SELECT ssn FROM t")
    with alice_at(proxy, DATABASE) as alice:
        assert "SECRET" not in told(alice, "SELECT ssn FROM t")


def test_in_one_text(alice: Cursor) -> None:
    text = "CREATE TEMPORARY TABLE t AS SELECT ssn FROM people; SELECT * FROM t"
    assert "SECRET" not in told(alice, text)
    while alice.nextset():
        assert "SECRET" not in str(alice.fetchall())
