"""What EXPLAIN shows of the sizes of columns that nothing uses, on a real server.

Each telling text is explained twice, with short and with long values in a column: the plans differ,
and the column is in `consumed`. The others show the same, and it is not.
"""

from collections.abc import Iterator

import psycopg
import pytest

from tests.unit.sql.conftest import Database, read_catalog
from tests.unit.sql.test_comparisons import analysed

BASE = """
CREATE SCHEMA told;
CREATE TABLE told.t (id int PRIMARY KEY, label text, pin text);
CREATE TABLE told.u (id int PRIMARY KEY, more text);
INSERT INTO told.t SELECT n, 'l' || n, repeat('{raw}', 20) FROM generate_series(1, 20) n;
INSERT INTO told.u SELECT n, 'm' || n FROM generate_series(1, 20) n;
CREATE VIEW told.whole AS SELECT * FROM told.t OFFSET 0;
CREATE VIEW told.flat AS SELECT * FROM told.t;
CREATE VIEW told.kept AS WITH k AS MATERIALIZED (SELECT * FROM told.t) SELECT id, label FROM k;
CREATE VIEW told.over_kept AS SELECT id FROM told.kept;
ANALYZE told.t, told.u;
"""
SIZES = ("", "wide")
EXPLAIN = "EXPLAIN "
ANALYZE = "EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off) "

TELLING = [
    EXPLAIN + "WITH k AS MATERIALIZED (SELECT * FROM told.t) SELECT id FROM k",
    EXPLAIN + "SELECT u.id FROM told.u u, (SELECT * FROM told.t OFFSET 0) s WHERE u.id = s.id"
    " FOR UPDATE OF u",
    EXPLAIN + "SELECT u.id FROM told.u u, told.whole s WHERE u.id = s.id FOR SHARE OF u",
    EXPLAIN + "UPDATE told.u u SET more = 'x' FROM (SELECT * FROM told.t OFFSET 0) s"
    " WHERE s.id = u.id",
    EXPLAIN + "DELETE FROM told.u USING told.whole s WHERE s.id = u.id",
    EXPLAIN + "MERGE INTO told.u USING told.whole s ON s.id = u.id WHEN MATCHED THEN DELETE",
    EXPLAIN + "SELECT id FROM told.kept",
    EXPLAIN + "SELECT id FROM told.over_kept",
    ANALYZE + "SELECT u.id FROM told.u u, told.whole s WHERE u.id = s.id ORDER BY u.more"
    " FOR UPDATE OF u",
]
ORDINARY = [
    EXPLAIN + "SELECT id FROM told.t",
    EXPLAIN + "SELECT id FROM told.flat ORDER BY label",
    EXPLAIN + "SELECT id FROM told.whole",
    EXPLAIN + "SELECT t.id FROM told.t, told.u WHERE t.id = u.id ORDER BY more FOR UPDATE",
    EXPLAIN + "UPDATE told.u SET more = 'x' FROM told.t WHERE t.id = u.id",
    ANALYZE + "SELECT id FROM told.t ORDER BY label",
    ANALYZE + "SELECT id, count(*) OVER (ORDER BY label) FROM told.flat",
]


@pytest.fixture
def connection(any_database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(any_database.uri) as connection:
        yield connection
        connection.rollback()


def plans(connection: psycopg.Connection, text: str) -> list[object]:
    found: list[object] = []
    for raw in SIZES:
        connection.rollback()
        connection.execute(BASE.format(raw=raw).encode())
        found.append(connection.execute(text.encode()).fetchall())
    return found


def consumes(connection: psycopg.Connection, text: str) -> bool:
    catalog = read_catalog(connection, inside=True)
    (facts,) = analysed(catalog, text).statements
    assert not facts.unresolved
    relation = catalog.relation_named("told", "t")
    assert relation is not None
    pin = relation.column("pin")
    assert pin is not None
    return (relation.oid, pin.attnum) in facts.consumed


@pytest.mark.parametrize("text", TELLING)
def test_telling(connection: psycopg.Connection, text: str) -> None:
    short, long = plans(connection, text)
    assert short != long, "this tells nothing"
    assert consumes(connection, text)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_work(connection: psycopg.Connection, text: str) -> None:
    short, long = plans(connection, text)
    assert short == long, "this tells"
    assert not consumes(connection, text)
