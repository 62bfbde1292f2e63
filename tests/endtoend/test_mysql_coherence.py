"""DDL past the appliance, by a direct connection to MariaDB, right before or amid what somebody who
owes masks sends: what was judged is what is shown, or it is judged anew.

Catalogs are compared once a minute here, so that nothing but the look after each statement can
notice. What is in `people.ssn` begins with SECRET.
"""

import contextlib
import random
import struct
import threading
from collections.abc import Iterator

import pymysql
import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from tests.clusters import Authority
from tests.endtoend.governed_mariadb import Cursor, alice_at, direct_cursor, governed, told
from tests.endtoend.stage import Running
from tests.redteam.mysql.wire import CLOSE, Session

DATABASE = "coherent"
POLICY = """
version: 1
known_relations: ["*.coherent.*"]
rules:
  - {id: all, effect: allow, actions: [everything]}
  - id: no-ssn
    effect: mask
    principals: {names: [alice]}
    resources: ["*.coherent.people.ssn"]
    mask: {method: redact}
"""
SCHEMA = (
    f"DROP DATABASE IF EXISTS {DATABASE}",
    f"CREATE DATABASE {DATABASE}",
    f"USE {DATABASE}",
    "CREATE TABLE people (id INT PRIMARY KEY, name VARCHAR(20), ssn VARCHAR(20))",
    "INSERT INTO people VALUES (1, 'one', 'SECRET-1'), (2, 'two', 'SECRET-2')",
    "CREATE TABLE copied (id INT PRIMARY KEY, name VARCHAR(20))",
    "CREATE TABLE made (id INT PRIMARY KEY, n INT, twice INT AS (n * 2) VIRTUAL)",
    "INSERT INTO made (id, n) VALUES (1, 4)",
    "CREATE TABLE taken (id INT PRIMARY KEY, name VARCHAR(20))",
    "INSERT INTO taken VALUES (1, 'one')",
    "CREATE VIEW seen AS SELECT id, name FROM people",
    "CREATE VIEW above AS SELECT id, name FROM seen",
    "CREATE VIEW put AS SELECT id, name FROM people",
    "CREATE SQL SECURITY DEFINER VIEW grouped AS SELECT MAX(name) AS name FROM people",
)
SWAPPED = "CREATE OR REPLACE VIEW seen AS SELECT id, ssn AS name FROM people"


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, mariadb: EmbeddedMariaDB, authority: Authority
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("coherent")
    slow = {"catalog_refresh_ms": 60_000}
    with governed(folder, mariadb, authority, DATABASE, SCHEMA, POLICY, **slow) as running:
        yield running


@pytest.fixture
def direct(mariadb: EmbeddedMariaDB) -> Iterator[Cursor]:
    """Whoever changes the schema without asking."""
    with direct_cursor(mariadb, SCHEMA) as cursor:
        yield cursor


@pytest.fixture
def alice(proxy: Running, direct: Cursor) -> Iterator[Cursor]:
    with alice_at(proxy, DATABASE) as cursor:
        yield cursor


CHANGES = {
    "a view": (SWAPPED, "SELECT name FROM seen"),
    "a view below a view": (SWAPPED, "SELECT name FROM above"),
    "a view that computes": (
        "CREATE OR REPLACE VIEW grouped AS SELECT MAX(ssn) AS name FROM people",
        "SELECT name FROM grouped",
    ),
    "a table that becomes a view": (
        "DROP TABLE taken; CREATE VIEW taken AS SELECT id, ssn AS name FROM people",
        "SELECT name FROM taken",
    ),
    "a view made anew": (
        "DROP VIEW put; CREATE VIEW put AS SELECT id, ssn AS name FROM people",
        "SELECT CONCAT(name, '') AS n, COUNT(*) FROM put GROUP BY 1",
    ),
    "a plan": (SWAPPED, "EXPLAIN SELECT name FROM seen WHERE name = 'SECRET-1'"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_are_seen_by_the_next_statement(alice: Cursor, direct: Cursor, change: str) -> None:
    altered, asked = CHANGES[change]
    before = told(alice, asked)
    assert "SECRET" not in before and any(word in before for word in ("people", "one", "two"))
    for text in altered.split(";"):
        direct.execute(text)
    after = told(alice, asked)
    assert "SECRET" not in after, after
    assert "two" not in after or change == "a plan", after


def test_what_is_read_again_is_masked(alice: Cursor, direct: Cursor) -> None:
    assert told(alice, "SELECT name FROM seen WHERE id = 1") == "(('one',),)"
    direct.execute(SWAPPED)
    assert told(alice, "SELECT name FROM seen WHERE id = 1") == "(('****',),)"


def test_what_is_computed_from_other_columns(alice: Cursor, direct: Cursor) -> None:
    assert told(alice, "SELECT twice FROM made") == "((8,),)"
    direct.execute("ALTER TABLE made DROP COLUMN twice, ADD COLUMN twice INT AS (n * 3) VIRTUAL")
    assert told(alice, "SELECT twice FROM made") == "((12,),)"


def test_writes_are_looked_after_before_they_are_sent(alice: Cursor, direct: Cursor) -> None:
    assert "refused" not in told(alice, "INSERT INTO copied SELECT id + 10, name FROM seen")
    direct.execute("SELECT COUNT(*) FROM copied")
    assert direct.fetchall() == ((2,),)
    direct.execute(SWAPPED)
    told(alice, "INSERT INTO copied SELECT id, name FROM seen")
    direct.execute("SELECT COUNT(*) FROM copied WHERE name LIKE 'SECRET%'")
    assert direct.fetchall() == ((0,),)


def test_variables_are_looked_after_before(alice: Cursor, direct: Cursor) -> None:
    told(alice, "SELECT name INTO @x FROM seen WHERE id = 1")
    direct.execute(SWAPPED)
    told(alice, "SELECT name INTO @x FROM seen WHERE id = 1")
    assert "SECRET" not in told(alice, "SELECT @x")


def test_a_refusal_is_of_what_is_there(alice: Cursor, direct: Cursor) -> None:
    asked = "SELECT name FROM grouped FOR UPDATE"
    view = "CREATE OR REPLACE SQL SECURITY DEFINER VIEW grouped AS SELECT MAX({}) AS name"
    for _ in range(2):
        direct.execute(f"{view.format('ssn')} FROM people")
        assert "refused" in told(alice, asked)
        direct.execute(f"{view.format('name')} FROM people")
        assert told(alice, asked) == "(('two',),)"


def test_an_open_transaction_keeps_what_it_has_read(alice: Cursor, direct: Cursor) -> None:
    told(alice, "START TRANSACTION")
    assert "one" in told(alice, "SELECT name FROM seen")
    direct.execute("SET lock_wait_timeout = 1")
    with pytest.raises(pymysql.err.OperationalError, match="Lock wait timeout"):
        direct.execute(SWAPPED)
    assert "one" in told(alice, "SELECT name FROM seen")
    told(alice, "COMMIT")
    direct.execute(SWAPPED)
    assert "one" not in told(alice, "SELECT name FROM seen")


def test_a_savepoint_lets_go_of_it(alice: Cursor, direct: Cursor) -> None:
    told(alice, "START TRANSACTION")
    told(alice, "SAVEPOINT s")
    assert "one" in told(alice, "SELECT name FROM seen")
    told(alice, "ROLLBACK TO SAVEPOINT s")
    direct.execute("SET lock_wait_timeout = 1")
    with contextlib.suppress(pymysql.err.OperationalError):
        direct.execute(SWAPPED)
    assert "SECRET" not in told(alice, "SELECT name FROM seen")


def test_other_changes_disturb_nobody(alice: Cursor, direct: Cursor) -> None:
    assert "one" in told(alice, "SELECT name FROM seen")
    direct.execute("CREATE TABLE another (id INT)")
    direct.execute("ALTER TABLE people COMMENT 'of another kind'")
    direct.execute("INSERT INTO people VALUES (3, 'three', 'SECRET-3')")
    assert "three" in told(alice, "SELECT name FROM seen")


def test_whenever_a_change_comes(alice: Cursor, direct: Cursor) -> None:
    """Amid reads that never pause, at any moment of theirs."""
    chance = random.Random(5)
    back = SWAPPED.replace("ssn AS name", "name")
    for _ in range(12):
        assert "one" in until(alice, "SELECT id, name FROM seen", "one")
        swapping = threading.Timer(chance.random() / 50, direct.execute, (SWAPPED,))
        swapping.start()
        found = until(alice, "SELECT id, name FROM seen", "****")
        swapping.join()
        assert "SECRET" not in found
        direct.execute(back)


@pytest.mark.parametrize(("prepared", "ends"), [(False, True), (True, False)])
def test_a_view_that_is_swapped_and_swapped_back(
    proxy: Running, mariadb: EmbeddedMariaDB, direct: Cursor, prepared: bool, ends: bool
) -> None:
    """Nothing raw comes meanwhile, and answers come again when it is over."""
    over, chance = threading.Event(), random.Random(7)

    def swap() -> None:
        with direct_cursor(mariadb, (f"USE {DATABASE}",)) as own:
            while not over.is_set():
                own.execute(SWAPPED)
                over.wait(chance.choice((0, 0, 0.01, 0.1)))
                own.execute(SWAPPED.replace("ssn AS name", "name"))
                over.wait(chance.choice((0, 0, 0.01, 0.1)))

    swapping = threading.Thread(target=swap)
    where = ("127.0.0.1", proxy.ports["main"])
    session = Session(
        where, "alice", "alice-password", database=DATABASE, deprecate_eof=not ends, seconds=30
    )
    swapping.start()
    try:
        for _ in range(15):
            if prepared:
                number, *_ = session.prepare(b"SELECT id, name FROM seen")
                if number:
                    session.execute(number, [])
                    session.command(struct.pack("<BI", CLOSE, number), "nothing")
            else:
                session.query(b"SELECT id, name FROM seen")
    finally:
        over.set()
        swapping.join()
    session.query(b"SELECT id, name FROM seen")
    answer = session.packets[-3:]
    session.close()
    assert not any(b"SECRET" in packet for packet in session.packets)
    assert any(b"one" in packet or b"****" in packet for packet in answer)


def test_a_read_leaves_no_transaction_and_takes_nothing_away(alice: Cursor) -> None:
    told(alice, "SET completion_type = CHAIN")
    assert "one" in told(alice, "SELECT SQL_CALC_FOUND_ROWS name FROM seen ORDER BY id LIMIT 1")
    assert told(alice, "SELECT FOUND_ROWS(), @@in_transaction") == "((2, 0),)"
    assert "1242" in told(alice, "SELECT name, (SELECT id FROM seen) FROM seen")
    assert told(alice, "SELECT @@in_transaction") == "((0,),)"


def until(cursor: Cursor, text: str, wanted: str) -> str:
    """All that it says until it says that."""
    found = ""
    while wanted not in found:
        found += told(cursor, text)
    return found


def test_who_reads_the_catalog_may_see_some_columns_only(
    proxy: Running, mariadb: EmbeddedMariaDB, alice: Cursor, direct: Cursor
) -> None:
    """SHOW CREATE TABLE is not for such a user."""
    whole = "GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO reader@'%'"
    direct.execute("REVOKE ALL PRIVILEGES, GRANT OPTION FROM reader@'%'")
    try:
        direct.execute("GRANT SELECT (id, name, ssn) ON coherent.people TO reader@'%'")
        direct.execute("GRANT SELECT (id, n, twice) ON coherent.made TO reader@'%'")
        told(alice, "CREATE TABLE a_change (id INT)")  # so that the catalog is read anew
        assert "****" in told(alice, "SELECT id, ssn FROM people")
        assert told(alice, "SELECT twice FROM made") == "((8,),)"
        direct.execute("ALTER TABLE made DROP twice, ADD twice INT AS (n * 5) VIRTUAL")
        direct.execute("GRANT SELECT (id, n, twice) ON coherent.made TO reader@'%'")
        assert told(alice, "SELECT twice FROM made") == "((20,),)"
    finally:
        direct.execute(whole)


def test_tables_that_the_session_itself_has_locked(alice: Cursor, direct: Cursor) -> None:
    """As a dump does it, being restored: behind the ALTER nobody else can look at the table."""
    for text in (
        "LOCK TABLES copied WRITE",
        "ALTER TABLE copied DISABLE KEYS",
        "SET autocommit = 0",
        "INSERT INTO copied VALUES (31, 'x'), (32, 'y')",
        "UPDATE copied SET name = 'z' WHERE id = 31",
    ):
        assert "refused" not in told(alice, text), text
    assert told(alice, "SELECT COUNT(*) FROM copied") == "((2,),)"
    for text in ("COMMIT", "SET autocommit = 1", "UNLOCK TABLES"):
        told(alice, text)
    assert "one" in told(alice, "SELECT name FROM seen")
    direct.execute(SWAPPED)
    assert "SECRET" not in told(alice, "SELECT name FROM seen")


def test_what_is_locked_is_looked_after_before(alice: Cursor, direct: Cursor) -> None:
    assert "one" in told(alice, "SELECT name FROM seen")
    direct.execute(SWAPPED)
    told(alice, "LOCK TABLES seen READ")
    assert "SECRET" not in told(alice, "SELECT name FROM seen")
    told(alice, "UNLOCK TABLES")
