"""Catalog queries on real servers: what they give; the epoch moves when it must, and only then."""

from collections.abc import Iterator
from time import perf_counter

import psycopg
import pytest

from appliance.sql import reader
from tests.unit.sql.conftest import Database, read_catalog


def epoch(connection: psycopg.Connection) -> str:
    row = connection.execute(reader.EPOCH_QUERY).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return str(row[0])


def stamp_of(connection: psycopg.Connection, name: str) -> str:
    relation = read_catalog(connection).relation_named("scratch", name)
    assert relation is not None
    return relation.stamp


@pytest.fixture(scope="module")
def playground(any_database: Database) -> Iterator[psycopg.Connection]:
    """An empty database to change. Every statement is a transaction: one transaction that changes
    a row twice does not give it a second xmin.
    """
    with any_database.connect() as admin:
        admin.execute("CREATE DATABASE scratch TEMPLATE template0 STRATEGY file_copy")
        uri = any_database.uri.rsplit("/", 1)[0] + "/scratch"
        with psycopg.connect(uri, autocommit=True) as connection:
            yield connection
        admin.execute("DROP DATABASE scratch WITH (FORCE)")


@pytest.fixture
def scratch(playground: psycopg.Connection) -> Iterator[psycopg.Connection]:
    for statement in MADE.split(";"):
        playground.execute(statement.encode())
    yield playground
    playground.execute("DROP SCHEMA IF EXISTS scratch, other, another, public CASCADE")
    playground.execute("CREATE SCHEMA public")
    playground.execute("DISCARD TEMP")


MADE = """
CREATE SCHEMA scratch;
CREATE TABLE scratch.t (a int, b text, g text DEFAULT 'x');
CREATE SEQUENCE scratch.s;
CREATE TYPE scratch.shade AS ENUM ('a');
CREATE VIEW scratch.v AS SELECT a FROM scratch.t;
CREATE MATERIALIZED VIEW scratch.m AS SELECT a FROM scratch.t;
CREATE FUNCTION scratch.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION scratch.number(scratch.shade) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION scratch.near(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION scratch.ok(text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE FUNCTION scratch.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE TABLE scratch.quiet (a int, b text);
CREATE TRIGGER t BEFORE INSERT ON scratch.quiet EXECUTE FUNCTION scratch.fire();
ALTER TABLE scratch.quiet DISABLE TRIGGER t;
CREATE POLICY p ON scratch.quiet USING (true);
CREATE DOMAIN scratch.short AS text;
CREATE TABLE scratch.p (a int) PARTITION BY LIST (a);
CREATE TABLE scratch.p1 PARTITION OF scratch.p FOR VALUES IN (1)
"""


def test_relations_columns_and_definitions(any_database: Database) -> None:
    catalog = any_database.catalog
    clients = catalog.relation_named("public", "clients")
    assert clients is not None
    assert clients.kind == "r"
    assert [column.name for column in clients.columns][-2:] == ["email_key", "tier"]
    key = clients.column("email_key")
    assert key is not None
    assert (key.generated, key.expression) == ("s", "lower(email)")
    name = clients.column("name")
    assert name is not None
    assert name.not_null
    # Attribute numbers, not positions: a column was dropped before this one.
    assert key.attnum == 10
    view = catalog.relation_named("public", "v_clients")
    assert view is not None
    assert "public.clients" in view.definition
    partition = catalog.relation_named("public", "payments_2024")
    assert partition is not None
    assert [catalog.relations[p].name for p in partition.parents] == ["payments"]
    ruled = catalog.relation_named("public", "ruled")
    assert ruled is not None
    assert ruled.has_rules
    assert catalog.relation_named("pg_catalog", "pg_class") is not None
    assert catalog.relation_named("information_schema", "tables") is not None


def test_functions_operators_and_types(any_database: Database) -> None:
    catalog = any_database.catalog
    (function,) = catalog.functions["public", "client_email"]
    assert (function.kind, function.language, function.arguments) == ("f", "sql", "integer")
    assert len(function.digest) == 64
    assert catalog.functions["public", "touch"][0].kind == "p"
    assert catalog.operators == {("shadow", "<~>")}
    assert ("public", "mood") in catalog.types
    assert ("public", "country_code") in catalog.types
    assert not catalog.casts
    assert catalog.server_version_num // 10_000 in (16, 18)
    assert {"public", "hr", "pg_catalog"} <= set(catalog.schemas)


def test_any_role_may_read_it(any_database: Database) -> None:
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute("CREATE ROLE nobody_in_particular; SET ROLE nobody_in_particular")
        for name, text in reader.QUERIES.items():
            if name not in ("begin", "end"):
                connection.execute(text)  # type: ignore[call-overload]


def test_the_search_path_is_left_alone(any_database: Database) -> None:
    with any_database.connect() as connection:
        connection.execute("SET search_path = hr")
        catalog = read_catalog(connection)
        assert connection.execute("SHOW search_path").fetchone() == ("hr",)
    view = catalog.relation_named("public", "v_clients")
    assert view is not None
    assert "public.clients" in view.definition


def test_the_version_is_the_epoch(any_database: Database) -> None:
    with any_database.connect() as connection:
        assert read_catalog(connection).version == epoch(connection)


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE scratch.n (a int)",
        "DROP VIEW scratch.v",
        "ALTER TABLE scratch.t RENAME TO u",
        "ALTER TABLE scratch.t SET SCHEMA public",
        "ALTER SCHEMA scratch RENAME TO other",
        "ALTER TABLE scratch.t RENAME COLUMN b TO c",
        "ALTER TABLE scratch.t ADD COLUMN c int",
        "ALTER TABLE scratch.t DROP COLUMN b",
        "ALTER TABLE scratch.t ALTER COLUMN b TYPE varchar",
        "ALTER TABLE scratch.t ALTER COLUMN b SET NOT NULL",
        "ALTER TABLE scratch.t ADD COLUMN k text GENERATED ALWAYS AS (upper(b)) STORED",
        "CREATE OR REPLACE VIEW scratch.v AS SELECT a + 1 AS a FROM scratch.t",
        "ALTER VIEW scratch.v RENAME COLUMN a TO z",
        "CREATE OR REPLACE FUNCTION scratch.f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "DROP FUNCTION scratch.f()",
        "CREATE FUNCTION public.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
        "CREATE RULE r AS ON INSERT TO scratch.t DO ALSO NOTHING",
        "ALTER TABLE scratch.p DETACH PARTITION scratch.p1",
        "CREATE TYPE scratch.mood AS ENUM ('a')",
        "CREATE DOMAIN scratch.d AS text",
        "CREATE OPERATOR scratch.@@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = scratch.near)",
        "CREATE CAST (scratch.shade AS int) WITH FUNCTION scratch.number(scratch.shade)",
        "CREATE SCHEMA another",
        "ALTER DOMAIN scratch.short ADD CHECK (scratch.ok(VALUE))",
        "ALTER DOMAIN scratch.short SET DEFAULT 'x'",
        "CREATE TRIGGER u AFTER UPDATE ON scratch.t EXECUTE FUNCTION scratch.fire()",
        "ALTER TABLE scratch.quiet ENABLE TRIGGER t",
        "ALTER TABLE scratch.t ADD CHECK (scratch.ok(b))",
        "CREATE INDEX ON scratch.t (scratch.ok(b))",
        "CREATE INDEX ON scratch.t (a) WHERE scratch.ok(b)",
        "ALTER TABLE scratch.quiet ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY q ON scratch.quiet USING (scratch.ok(b))",
        "ALTER TABLE scratch.t ALTER a SET DEFAULT 2",
    ],
)
def test_the_epoch_moves_with_what_names_mean(scratch: psycopg.Connection, change: str) -> None:
    before = epoch(scratch)
    scratch.execute(change.encode())
    assert epoch(scratch) != before


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO scratch.t VALUES (1, 'x')",
        "TRUNCATE scratch.t",
        "ANALYZE scratch.t",
        "REFRESH MATERIALIZED VIEW scratch.m",
        "CREATE TEMP TABLE mine (a int GENERATED ALWAYS AS IDENTITY, b text DEFAULT 'x')",
        "CREATE TEMP VIEW mine AS SELECT 1 AS a",
        "SELECT nextval('scratch.s')",
        "GRANT SELECT ON scratch.t TO PUBLIC",
    ],
)
def test_the_epoch_stays_with_what_they_hold(scratch: psycopg.Connection, change: str) -> None:
    before = epoch(scratch)
    scratch.execute(change.encode())
    assert epoch(scratch) == before


@pytest.mark.parametrize(
    "change",
    [
        "CREATE UNIQUE INDEX ON scratch.t (a, b)",
        "CREATE INDEX ON scratch.t (a) WHERE b = 'x'",
        "ALTER TABLE scratch.t ADD CHECK (b <> 'x') NOT VALID",
        "ALTER TABLE scratch.t VALIDATE CONSTRAINT loose",
        "ALTER TABLE scratch.quiet ADD FOREIGN KEY (a) REFERENCES scratch.t (a)",
        "CREATE TRIGGER r BEFORE UPDATE ON scratch.t FOR EACH ROW"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ],
)
def test_a_stamp_changes_with_what_a_write_looks_at(
    scratch: psycopg.Connection, change: str
) -> None:
    scratch.execute(
        "ALTER TABLE scratch.t ADD UNIQUE (a), ADD CONSTRAINT loose CHECK (b <> 'y') NOT VALID;"
        "ALTER TABLE scratch.quiet ADD FOREIGN KEY (a) REFERENCES scratch.t (a)"
    )
    before = stamp_of(scratch, "t")
    scratch.execute(change.encode())
    assert stamp_of(scratch, "t") != before


def test_reading_is_quick(any_database: Database) -> None:
    """Generous bounds for a busy machine; 500 tables take about 100 ms, the epoch 6."""
    with any_database.connect() as connection:
        started = perf_counter()
        read_catalog(connection)
        epoch_started = perf_counter()
        epoch(connection)
        ended = perf_counter()
    assert epoch_started - started < 1.0
    assert ended - epoch_started < 0.3


def test_wrong_rows_are_an_error() -> None:
    with pytest.raises(KeyError):
        reader.build_catalog("t", "d", {})
