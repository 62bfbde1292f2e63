"""Which writes may be run to be rolled back, on a real schema; and that what is said to leave
nothing behind leaves nothing."""

from collections.abc import Iterator

import msgspec
import psycopg
import pytest

from appliance.model.limits import Limits
from appliance.sql import functions
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage
from appliance.sql.rehearsal import VOLATILE, VOLATILE_PREFIX, objection
from tests.unit.sql.conftest import Database, read_catalog

MADE = """
CREATE SCHEMA dry;
SET LOCAL search_path = dry;
CREATE FUNCTION code(int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION clean(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TABLE plain (id int PRIMARY KEY, body text DEFAULT lower('X'), at timestamptz DEFAULT now());
CREATE TABLE numbered (id serial PRIMARY KEY, body text);
CREATE TABLE identified (id int GENERATED ALWAYS AS IDENTITY, body text);
CREATE TABLE unique_ids (id uuid DEFAULT gen_random_uuid(), body text);
CREATE TABLE seeded (id int, body text CHECK (setseed(0.5) IS NOT NULL));
CREATE TABLE counting (id int CHECK (id > 0 OR nextval('numbered_id_seq') > 0), body text);
CREATE TABLE checked (id int CHECK (code(id) > 0), body text);
CREATE TABLE fired (id int, body text);
CREATE TRIGGER t BEFORE UPDATE ON fired FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TABLE same (id int, body text);
CREATE TRIGGER t BEFORE UPDATE ON same FOR EACH ROW
  EXECUTE FUNCTION pg_catalog.suppress_redundant_updates_trigger();
CREATE TABLE ruled (id int, body text);
CREATE RULE r AS ON UPDATE TO ruled DO ALSO DELETE FROM plain;
CREATE TABLE referring (id int REFERENCES plain, body text);
CREATE TABLE parent (id int PRIMARY KEY, body text);
CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE, body text);
CREATE VIEW seen AS SELECT * FROM plain;
CREATE TABLE secured (id int, body text);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secured USING (setseed(0.1) IS NOT NULL);
CREATE TABLE parted (id int, body text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TRIGGER t BEFORE UPDATE ON parted_1 FOR EACH ROW EXECUTE FUNCTION fire();
CREATE TABLE whole (id int, body text) PARTITION BY RANGE (id);
CREATE TABLE whole_1 PARTITION OF whole FOR VALUES FROM (0) TO (10);
CREATE DOMAIN odd AS int CHECK (code(VALUE) > 0);
CREATE DOMAIN small AS int CHECK (VALUE < 10);
CREATE TABLE typed (id odd, body text);
CREATE TABLE typed_small (id small, body text);
CREATE FOREIGN DATA WRAPPER far;
CREATE SERVER away FOREIGN DATA WRAPPER far;
CREATE FOREIGN TABLE abroad (id int, body text) SERVER away;
CREATE TABLE family (id int, body text);
CREATE FOREIGN TABLE cousin () INHERITS (family) SERVER away;
"""
SAFE = [
    "UPDATE plain SET body = 'x' WHERE id = 1",
    "UPDATE plain SET body = upper(body) || now()::text WHERE id IN (SELECT id FROM numbered)",
    "DELETE FROM plain USING numbered WHERE plain.id = numbered.id RETURNING plain.*",
    "INSERT INTO plain (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET body = 'y'",
    "INSERT INTO unique_ids (body) VALUES ('x')",
    "UPDATE numbered SET body = 'x'",
    "DELETE FROM numbered",
    "DELETE FROM referring",
    "DELETE FROM plain",
    "UPDATE same SET body = 'x'",
    "UPDATE whole SET body = 'x'",
    "MERGE INTO plain p USING whole w ON p.id = w.id WHEN MATCHED THEN UPDATE SET body = w.body",
]
UNSAFE = [
    ("UPDATE plain SET body = 'x' WHERE random() < 0.5", "random()"),
    ("UPDATE plain SET body = pg_catalog.random()::text", "random()"),
    ("UPDATE plain SET body = 'x' WHERE setseed(0.1) IS NULL", "setseed()"),
    ("UPDATE plain SET id = nextval('numbered_id_seq')", "does more"),
    ("UPDATE plain SET body = 'x' WHERE pg_advisory_lock(1) IS NULL", "does more"),
    ("UPDATE plain SET body = pg_notify('a', 'b')::text", "does more"),
    ("UPDATE plain SET body = set_config('a.b', 'c', false)", "does more"),
    ("UPDATE plain SET body = code(1)::text", "does more"),
    ("UPDATE plain SET id = clean(1)", "not the database's own"),
    ("INSERT INTO numbered (body) VALUES ('x')", "nextval()"),
    ("INSERT INTO identified (body) VALUES ('x')", "nextval()"),
    ("UPDATE numbered SET id = DEFAULT", "nextval()"),
    ("MERGE INTO numbered n USING plain p ON n.id = p.id"
     " WHEN NOT MATCHED THEN INSERT (body) VALUES ('x')", "nextval()"),
    ("UPDATE seeded SET body = 'x'", "setseed()"),
    ("UPDATE counting SET body = 'x'", "nextval()"),
    ("UPDATE checked SET body = 'x'", "not the database's own"),
    ("UPDATE fired SET body = 'x'", "not the database's own"),
    ("DELETE FROM parted", "not the database's own"),
    ("UPDATE ruled SET body = 'x'", "not all of it"),
    ("DELETE FROM parent", "child"),
    ("UPDATE seen SET body = 'x'", "seen is not a table"),
    ("UPDATE plain SET body = 'x' FROM seen", "seen is not a table"),
    ("UPDATE secured SET body = 'x'", "row security"),
    ("UPDATE plain SET body = 'x' FROM secured", "row security"),
    ("UPDATE typed SET body = 'x'", "not the database's own"),
    ("UPDATE typed_small SET body = 'x'", "run code"),
    ("UPDATE abroad SET body = 'x'", "another server"),
    ("UPDATE family SET body = 'x'", "another server"),
    ("DELETE FROM plain USING family", "another server"),
    ("UPDATE plain SET body = 'x' FROM whole w TABLESAMPLE system (10)", "samples"),
    ("UPDATE nothing SET body = 'x'", "not all of it"),
    ("SELECT 1", "does more"),
    ("SELECT body FROM plain FOR UPDATE", "does more"),
    ("TRUNCATE plain", "does more"),
    ("COPY plain FROM STDIN", "does more"),
    ("EXPLAIN ANALYZE UPDATE plain SET body = 'x'", "does more"),
    ("UPDATE plain SET body = 'x'; SELECT 1", "several"),
    ("DO $$ BEGIN END $$", "does more"),
    ("CALL nothing()", "does more"),
    ("COMMIT", "does more"),
    ("WITH a AS (DELETE FROM parent RETURNING id) UPDATE plain SET body = 'x' FROM a", "child"),
]  # fmt: skip


@pytest.fixture(scope="module")
def world(
    any_database: Database,
) -> Iterator[tuple[psycopg.Connection, Database, CatalogLineage]]:
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(MADE)
        yield connection, any_database, CatalogLineage(read_catalog(connection, inside=True))


World = tuple[psycopg.Connection, Database, CatalogLineage]


def said(world: World, text: str) -> str:
    settings = msgspec.structs.replace(world[1].settings, search_path=("dry",))
    facts = analyse(text.encode(), world[2], settings, Limits())
    return objection(text.encode(), facts, world[2])


@pytest.mark.parametrize("text", SAFE)
def test_what_leaves_nothing(world: World, text: str) -> None:
    """It is run and rolled back here, too: sequences and seed are as they were."""
    assert said(world, text) == ""
    connection = world[0]
    if connection.info.server_version < 170000 and "MERGE" in text:
        return
    left = (
        "SELECT (SELECT string_agg(coalesce(last_value::text, '-'), ',' ORDER BY sequencename)"
        " FROM pg_sequences WHERE schemaname = 'dry'), (SELECT count(*) FROM pg_locks"
        " WHERE locktype = 'advisory')"
    )
    before = connection.execute(left).fetchone()
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL search_path = dry")
        connection.execute(text.encode())
    assert connection.execute(left).fetchone() == before


@pytest.mark.parametrize(("text", "why"), UNSAFE, ids=[text for text, _ in UNSAFE])
def test_what_may_leave_something(world: World, text: str, why: str) -> None:
    assert why in said(world, text)


def test_without_a_schema_nothing_is_run() -> None:
    assert objection(b"UPDATE t SET a = 1", None, None)  # type: ignore[arg-type]


def test_every_volatile_function_is_known(any_database: Database) -> None:
    """A new one on the allow-list of harmless functions is not run by a dry run."""
    volatile = """SELECT DISTINCT proname FROM pg_proc
        WHERE provolatile = 'v' AND pronamespace = 'pg_catalog'::regnamespace"""
    with any_database.connect() as connection:
        names = {str(name) for (name,) in connection.execute(volatile)}
    harmless = {name for name in names if functions.harmless(name)}
    known = {name for name in harmless if name in VOLATILE or name.startswith(VOLATILE_PREFIX)}
    assert harmless == known
