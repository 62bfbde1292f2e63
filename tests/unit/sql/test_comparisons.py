"""What a write's outcome tells of a masked column, on real servers.

Each telling case is run twice, with one and with another value in the masked column: the outcomes
differ, and `told_by` says so. The others are ordinary work, of which nothing may be said. Column
`pin` is masked, everywhere.
"""

from collections.abc import Iterator

import psycopg
import pytest

from appliance.masking.masked_relations import MaskedRelations, Unmaskable
from appliance.masking.oracles import told_by
from appliance.model.catalog import Catalog, ColumnKey, SessionSettings
from appliance.model.decision import Mask, MaskMethod
from appliance.model.facts import Facts
from appliance.model.limits import Limits
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage
from tests.unit.sql.conftest import DATABASE, Database, read_catalog

MASKED = "pin"

BASE = """
CREATE SCHEMA told;
CREATE TABLE told.t (id int PRIMARY KEY, label text, pin text, more text);
CREATE TABLE told.child (id int PRIMARY KEY, k text DEFAULT '5', more text);
CREATE TABLE told.ranges (id int PRIMARY KEY, r int4range, pin int4range, note text);
INSERT INTO told.t VALUES (1, 'a', '{raw}', 'm'), (2, 'b', '0', 'n');
INSERT INTO told.ranges VALUES (1, '[1,2)', '[{raw},9)', 'x'), (2, '[4,6)', '[1,3)', 'y');
"""
VALUES = ("5", "7")

CLONE = "ALTER TABLE told.t ADD v text GENERATED ALWAYS AS (label || pin) "
SUPPRESS = "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
ROW = "CREATE TRIGGER g BEFORE UPDATE OR DELETE ON told.t FOR EACH ROW "
LOUD = f"{ROW} WHEN ({{}}) EXECUTE FUNCTION told.refuse()"
REFUSE = """CREATE FUNCTION told.refuse() RETURNS trigger LANGUAGE plpgsql
    AS $$ BEGIN RAISE 'no'; END $$;"""

FAILING = "100 / (ascii(pin) - 53)"

MOVING = """
CREATE TABLE told.parts (id int, region text, pin text) PARTITION BY LIST (region);
CREATE TABLE told.a PARTITION OF told.parts FOR VALUES IN ('a');
CREATE TABLE told.b PARTITION OF told.parts FOR VALUES IN ('b') PARTITION BY LIST (region);
CREATE TABLE told.b1 PARTITION OF told.b FOR VALUES IN ('b');
CREATE UNIQUE INDEX ON told.b1 (pin);
INSERT INTO told.parts SELECT 1, 'a', pin FROM told.t WHERE id = 1;
INSERT INTO told.parts VALUES (2, 'b', '5')
"""

# name -> (definitions, statement); those that need PostgreSQL 18 last.
TELLING = {
    "unique key of the partition that a row moves to": (
        MOVING,
        "UPDATE told.parts SET region = 'b' WHERE id = 1",
    ),
    "check": (
        "ALTER TABLE told.t ADD CHECK (label <> pin)",
        "UPDATE told.t SET label = '5' WHERE id = 1",
    ),
    "check not validated": (
        "ALTER TABLE told.t ADD CHECK (pin <> '5') NOT VALID",
        "UPDATE told.t SET label = 'q'",
    ),
    "check that depends on a setting": (
        "ALTER TABLE told.t ADD CHECK (pin <> '5' OR"
        " current_setting('told.x', true) IS DISTINCT FROM 'on'); SET LOCAL told.x = 'on'",
        "UPDATE told.t SET label = 'q'",
    ),
    "check of a whole row": (
        "ALTER TABLE told.t ADD CHECK (t <> ROW(1, 'z', '5', 'm')::told.t)",
        "UPDATE told.t SET label = 'z' WHERE id = 1",
    ),
    "index expression": (
        "CREATE INDEX ON told.t ((100 / (ascii(label) - ascii(pin))))",
        "UPDATE told.t SET label = '5' WHERE id = 1",
    ),
    "index predicate": (
        "CREATE INDEX ON told.t (label) WHERE pin = '5'",
        "UPDATE told.t SET label = (SELECT string_agg(md5(n::text), '')"
        " FROM generate_series(1, 500) n) WHERE id = 1",
    ),
    "unique index over both": (
        "CREATE UNIQUE INDEX ON told.t (label, pin); INSERT INTO told.t VALUES (3, 'z', '5')",
        "UPDATE told.t SET label = 'z' WHERE id = 1",
    ),
    "partial unique index, inserting": (
        "CREATE UNIQUE INDEX ON told.t (label) WHERE pin = '5'",
        "INSERT INTO told.t VALUES (9, 'a', '5')",
    ),
    "unique prefix, inserting": (
        "CREATE UNIQUE INDEX ON told.t (left(pin, 1))",
        "INSERT INTO told.t VALUES (9, 'a', '5555')",
    ),
    "exclusion with expressions": (
        "UPDATE told.ranges SET pin = '[4,6)' WHERE id = 2;"
        "ALTER TABLE told.ranges DROP CONSTRAINT ranges_pkey, ADD EXCLUDE USING gist"
        " (int4range(id, id, '[]') WITH &&, pin WITH &&)",
        "UPDATE told.ranges SET id = 1 WHERE id = 2",
    ),
    "exclusion, inserting": (
        "ALTER TABLE told.ranges ADD EXCLUDE USING gist (pin WITH &&)",
        "INSERT INTO told.ranges VALUES (3, '[8,9)', '[5,6)')",
    ),
    "partial exclusion, inserting": (
        "ALTER TABLE told.ranges ADD EXCLUDE USING gist (r WITH &&) WHERE (lower(pin) = 5)",
        "INSERT INTO told.ranges VALUES (3, '[1,9)', '[5,6)')",
    ),
    "partial exclusion, all of it changed": (
        "ALTER TABLE told.ranges ADD EXCLUDE USING gist (r WITH &&) WHERE (lower(pin) = 5)",
        "UPDATE told.ranges SET r = '[1,9)', pin = '[5,6)' WHERE id = 2",
    ),
    "stored column that may fail": (
        "ALTER TABLE told.t ADD g int GENERATED ALWAYS AS (100 / (ascii(label) - ascii(pin)))"
        " STORED",
        "UPDATE told.t SET label = '5' WHERE id = 1",
    ),
    "stored column, too long": (
        "UPDATE told.t SET pin = '' WHERE pin = '7';"
        "ALTER TABLE told.t ADD g varchar(4) GENERATED ALWAYS AS (label || pin) STORED",
        "UPDATE told.t SET label = 'xxxx' WHERE id = 1",
    ),
    "stored column that may be NULL": (
        "UPDATE told.t SET pin = NULL WHERE pin = '5'; ALTER TABLE told.t ADD g text"
        " GENERATED ALWAYS AS (coalesce(label, pin)) STORED NOT NULL",
        "UPDATE told.t SET label = NULL WHERE id = 1",
    ),
    "check of a stored column": (
        CLONE + "STORED; ALTER TABLE told.t ADD CHECK (v <> 'x5')",
        "UPDATE told.t SET label = 'x' WHERE id = 1",
    ),
    "default that refers": (
        "CREATE UNIQUE INDEX k ON told.t (pin); ALTER TABLE told.child ADD FOREIGN KEY (k)"
        " REFERENCES told.t (pin)",
        "INSERT INTO told.child (id) VALUES (1)",
    ),
    "key computed from it": (
        "ALTER TABLE told.t ADD g text GENERATED ALWAYS AS (lower(pin)) STORED UNIQUE;"
        "ALTER TABLE told.child ADD FOREIGN KEY (k) REFERENCES told.t (g)",
        "INSERT INTO told.child VALUES (1, '5')",
    ),
    "redundant updates suppressed": (
        "CREATE TRIGGER s BEFORE UPDATE ON told.t FOR EACH ROW " + SUPPRESS,
        "UPDATE told.t SET pin = '5' WHERE id = 1",
    ),
    "trigger's condition": (
        REFUSE + LOUD.format("OLD.pin LIKE '5%'"),
        "UPDATE told.t SET label = 'q'",
    ),
    "trigger's condition, deleting": (
        REFUSE + LOUD.format("OLD.pin LIKE '5%'"),
        "DELETE FROM told.t WHERE id = 1",
    ),
    "trigger's condition, the old value of what is written": (
        REFUSE + LOUD.format("OLD.pin LIKE '5%'"),
        "UPDATE told.t SET pin = '1'",
    ),
    "trigger on a change": (
        REFUSE + LOUD.format("OLD.pin IS DISTINCT FROM NEW.pin").replace(" OR DELETE", ""),
        "UPDATE told.t SET pin = '5' WHERE id = 1",
    ),
    "trigger on any change": (
        REFUSE + LOUD.format("OLD.* IS DISTINCT FROM NEW.*").replace(" OR DELETE", ""),
        "UPDATE told.t SET pin = '5' WHERE id = 1",
    ),
    "words that no longer fit": (
        "ALTER TABLE told.t ADD v tsvector; CREATE TRIGGER w BEFORE UPDATE ON told.t FOR EACH ROW"
        " EXECUTE FUNCTION tsvector_update_trigger(v, 'pg_catalog.simple', label, pin);"
        "UPDATE told.t SET pin = (SELECT string_agg(md5(n::text), ' ')"
        " FROM generate_series(1, CASE pin WHEN '5' THEN 20000 ELSE 1 END) n) WHERE id = 1",
        "UPDATE told.t SET label = (SELECT string_agg(md5(n::text), ' ')"
        " FROM generate_series(50000, 70000) n) WHERE id = 1",
    ),
    "a field of a document": (
        "ALTER TABLE told.t ALTER pin TYPE jsonb USING CASE pin WHEN '5' THEN '{}' ELSE '7' END"
        "::jsonb",
        "UPDATE told.t SET pin['a']['b'] = '1' WHERE id = 1",
    ),
    "an element of an array": (
        "ALTER TABLE told.t ALTER pin TYPE int[] USING CASE pin WHEN '5' THEN '{1}'"
        " ELSE '{{1}}' END::int[]",
        "INSERT INTO told.t VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET pin[1] = 2",
    ),
    "row security that looks elsewhere": (
        "ALTER TABLE told.child ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON told.child USING"
        " (EXISTS (SELECT FROM told.t WHERE t.pin = child.k)); CREATE ROLE told_writer;"
        "GRANT ALL ON SCHEMA told TO told_writer; GRANT ALL ON ALL TABLES IN SCHEMA told"
        " TO told_writer; SET LOCAL ROLE told_writer",
        "INSERT INTO told.child VALUES (1, '5')",
    ),
    "partition key": (
        "CREATE TABLE told.parts (id int, pin text, more text) PARTITION BY RANGE (id, pin);"
        "CREATE TABLE told.low PARTITION OF told.parts FOR VALUES FROM (0, '') TO (9, '6');"
        "INSERT INTO told.parts SELECT id, pin FROM told.t",
        "UPDATE told.parts SET id = 9 WHERE id = 1",
    ),
    "statistics of an expression": (
        f"CREATE STATISTICS told.s ON ({FAILING}) FROM told.t",
        "ANALYZE told.t",
    ),
    "statistics of an expression of a parent": (
        "CREATE TABLE told.parts (id int, pin text) PARTITION BY LIST (id);"
        "CREATE TABLE told.first PARTITION OF told.parts FOR VALUES IN (1);"
        "INSERT INTO told.parts SELECT id, pin FROM told.t WHERE id = 1;"
        f"CREATE STATISTICS told.s ON ({FAILING}) FROM told.first",
        "ANALYZE told.parts",
    ),
    "statistics of any expression": (
        f"CREATE STATISTICS told.s ON ({FAILING}) FROM told.t",
        "ANALYZE",
    ),
    "a unique index is made": (
        "UPDATE told.t SET pin = '5' WHERE id = 2",
        "CREATE UNIQUE INDEX ON told.t (pin)",
    ),
    "a unique index of a materialised view": (
        "UPDATE told.t SET pin = '5' WHERE id = 2;"
        "CREATE MATERIALIZED VIEW told.m AS SELECT id, pin FROM told.t",
        "CREATE UNIQUE INDEX ON told.m (pin)",
    ),
    "a materialised view with a unique index": (
        "UPDATE told.t SET pin = '5' WHERE id = 2; CREATE MATERIALIZED VIEW told.m AS"
        " SELECT id, pin FROM told.t WITH NO DATA; CREATE UNIQUE INDEX ON told.m (pin)",
        "REFRESH MATERIALIZED VIEW told.m",
    ),
    "a materialised view that computes": (
        f"CREATE MATERIALIZED VIEW told.m AS SELECT {FAILING} AS q FROM told.t WITH NO DATA",
        "REFRESH MATERIALIZED VIEW told.m",
    ),
    "a materialised view's condition": (
        f"CREATE MATERIALIZED VIEW told.m AS SELECT id FROM told.t WHERE {FAILING} > 0"
        " WITH NO DATA",
        "REFRESH MATERIALIZED VIEW told.m",
    ),
}
TELLING_18 = {
    "NOT NULL not validated": (
        "UPDATE told.t SET pin = NULL WHERE pin = '5';"
        "ALTER TABLE told.t ADD CONSTRAINT n NOT NULL pin NOT VALID",
        "UPDATE told.t SET label = 'q'",
    ),
    "check of a virtual column": (
        CLONE + "VIRTUAL; ALTER TABLE told.t ADD CHECK (v <> 'x5')",
        "UPDATE told.t SET label = 'x' WHERE id = 1",
    ),
    "NOT NULL of a virtual column": (
        "UPDATE told.t SET pin = NULL WHERE pin = '5'; ALTER TABLE told.t ADD g text"
        " GENERATED ALWAYS AS (coalesce(label, pin)) VIRTUAL NOT NULL",
        "UPDATE told.t SET label = NULL WHERE id = 1",
    ),
}

ORDINARY = {
    "statistics": ("", "ANALYZE told.t"),
    "statistics of texts": (
        "CREATE STATISTICS told.s ON (lower(pin)) FROM told.t",
        "ANALYZE told.t",
    ),
    "statistics of another relation": (
        f"CREATE STATISTICS told.s ON ({FAILING}) FROM told.t",
        "ANALYZE told.child",
    ),
    "an index": ("", "CREATE INDEX ON told.t (pin)"),
    "a unique index of other columns": ("", "CREATE UNIQUE INDEX ON told.t (label) INCLUDE (pin)"),
    "a materialised view that shows": (
        "CREATE MATERIALIZED VIEW told.m AS SELECT id, pin FROM told.t;"
        "CREATE UNIQUE INDEX ON told.m (id)",
        "REFRESH MATERIALIZED VIEW told.m",
    ),
    "nothing beside": ("", "UPDATE told.t SET label = 'q'"),
    "a check that all rows pass": (
        "ALTER TABLE told.t ADD CHECK (pin <> 'x')",
        "UPDATE told.t SET label = 'q'",
    ),
    "a check on the time": (
        "ALTER TABLE told.t ADD pinned date, ADD CHECK (pinned <= CURRENT_DATE)",
        "UPDATE told.t SET label = 'q'",
    ),
    "own values": (
        "ALTER TABLE told.t ADD CHECK (pin <> 'x') NOT VALID",
        "INSERT INTO told.t VALUES (3, 'c', '9')",
    ),
    "texts joined": (CLONE + "STORED", "UPDATE told.t SET label = 'q'"),
    "texts joined, never NULL": (CLONE + "STORED NOT NULL", "UPDATE told.t SET label = 'q'"),
    "numbers as text": (
        "ALTER TABLE told.t ADD g text GENERATED ALWAYS AS (id::text || ' ' || lower(pin)) STORED",
        "UPDATE told.t SET id = 20 WHERE id = 2",
    ),
    "texts joined in an index": (
        "CREATE INDEX ON told.t ((label || upper(pin)), coalesce(more, pin))",
        "UPDATE told.t SET label = 'q'",
    ),
    "several columns in an index": (
        "CREATE INDEX ON told.t (label, pin)",
        "UPDATE told.t SET label = 'q'",
    ),
    "included columns": (
        "CREATE UNIQUE INDEX ON told.t (id) INCLUDE (pin)",
        "UPDATE told.t SET id = 8 WHERE id = 1",
    ),
    "its own expression index": (
        "CREATE UNIQUE INDEX ON told.t (lower(pin))",
        "INSERT INTO told.t VALUES (3, 'c', '9')",
    ),
    "an exclusion of other columns": (
        "ALTER TABLE told.ranges ADD EXCLUDE USING gist (pin WITH &&)",
        "UPDATE told.ranges SET note = 'q'",
    ),
    "an element of another array": (
        "ALTER TABLE told.t ADD numbers int[]",
        "UPDATE told.t SET numbers[1] = 2",
    ),
    "no default": (
        "CREATE UNIQUE INDEX k ON told.t (pin); ALTER TABLE told.child ALTER k DROP DEFAULT,"
        " ADD FOREIGN KEY (k) REFERENCES told.t (pin)",
        "INSERT INTO told.child (id) VALUES (1)",
    ),
    "redundant updates of other columns": (
        "CREATE TRIGGER s BEFORE UPDATE ON told.t FOR EACH ROW " + SUPPRESS,
        "UPDATE told.t SET label = 'q'",
    ),
    "a trigger on the change of other columns": (
        REFUSE + LOUD.format("OLD.pin IS DISTINCT FROM NEW.pin").replace(" OR DELETE", ""),
        "UPDATE told.t SET label = 'q'",
    ),
    "a trigger on any change": (
        "CREATE TRIGGER s BEFORE UPDATE ON told.t FOR EACH ROW"
        f" WHEN (OLD.* IS DISTINCT FROM NEW.*) {SUPPRESS}",
        "UPDATE told.t SET label = 'q'",
    ),
    "a trigger's condition on other columns": (
        REFUSE + LOUD.format("OLD.label = 'zz'"),
        "UPDATE told.t SET label = 'q'",
    ),
    "a disabled trigger": (
        REFUSE + LOUD.format("OLD.pin LIKE '5%'") + "; ALTER TABLE told.t DISABLE TRIGGER g",
        "UPDATE told.t SET label = 'q'",
    ),
}


@pytest.fixture
def connection(any_database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(any_database.uri) as connection:
        yield connection
        connection.rollback()


def prepared(connection: psycopg.Connection, definitions: str, raw: str) -> None:
    connection.rollback()
    connection.execute(BASE.format(raw=raw).encode())
    connection.execute((definitions or "SELECT").encode())


def outcome(connection: psycopg.Connection, statement: str) -> tuple[str, int]:
    """(SQLSTATE, rows changed)."""
    try:
        return "", connection.execute(statement.encode()).rowcount
    except psycopg.Error as error:
        return error.sqlstate or "?", -1


def judged(
    connection: psycopg.Connection, statement: str, unique_writes: bool = True
) -> tuple[ColumnKey | None, Catalog]:
    catalog = read_catalog(connection, inside=True)
    owed = {
        (oid, column.attnum): Mask(MaskMethod.NULL, unique_writes=unique_writes)
        for oid, relation in catalog.relations.items()
        for column in relation.columns
        if relation.schema == "told" and column.name.startswith(MASKED)
    }
    facts = analysed(catalog, statement)
    assert not facts.statements[0].unresolved
    return told_by(facts.statements[0], owed, catalog), catalog


def analysed(catalog: Catalog, statement: str) -> Facts:
    settings = SessionSettings(database=DATABASE, role="postgres")
    return analyse(statement.encode(), CatalogLineage(catalog), settings, Limits())


def check_telling(
    connection: psycopg.Connection, definitions: str, statement: str, unique_writes: bool = True
) -> None:
    outcomes = []
    for raw in VALUES:
        prepared(connection, definitions, raw)
        outcomes.append(outcome(connection, statement))
    assert outcomes[0] != outcomes[1], "this tells nothing"
    prepared(connection, definitions, VALUES[0])
    key, catalog = judged(connection, statement, unique_writes)
    assert key is not None
    assert catalog.relations[key[0]].columns[key[1] - 1].name == MASKED


@pytest.mark.parametrize(("definitions", "statement"), TELLING.values(), ids=TELLING)
def test_telling(connection: psycopg.Connection, definitions: str, statement: str) -> None:
    check_telling(connection, definitions, statement)


@pytest.mark.parametrize(("definitions", "statement"), TELLING_18.values(), ids=TELLING_18)
def test_telling_since_18(database: Database, definitions: str, statement: str) -> None:
    with psycopg.connect(database.uri) as connection:
        check_telling(connection, definitions, statement)
        connection.rollback()


@pytest.mark.parametrize(("definitions", "statement"), ORDINARY.values(), ids=ORDINARY)
def test_ordinary_work(connection: psycopg.Connection, definitions: str, statement: str) -> None:
    prepared(connection, definitions, VALUES[0])
    assert judged(connection, statement)[0] is None
    assert outcome(connection, statement)[0] in ("", "P0001")


UNIQUE = "CREATE UNIQUE INDEX ON told.t (pin)"
PARTED = """
CREATE TABLE told.parted (id int, pin text) PARTITION BY LIST (id);
CREATE TABLE told.first PARTITION OF told.parted FOR VALUES IN (1);
CREATE UNIQUE INDEX ON told.first (pin);
INSERT INTO told.parted SELECT 1, pin FROM told.t WHERE id = 1;
"""
DEFAULTED = """CREATE TABLE told.given (id int, pin {} UNIQUE);
INSERT INTO told.given SELECT 1, pin::int FROM told.t WHERE id = 1"""
UNNAMED = "INSERT INTO told.given (id) VALUES (9)"
GUESS = "INSERT INTO told.t (id, pin) VALUES (9, '5')"
GUESSES = {
    "unique index": (UNIQUE, GUESS),
    "no error": (UNIQUE, GUESS + " ON CONFLICT DO NOTHING"),
    "unique constraint": ("ALTER TABLE told.t ADD UNIQUE (pin)", GUESS),
    "constraint checked late": (
        "ALTER TABLE told.t ADD UNIQUE (pin) DEFERRABLE",
        "UPDATE told.t SET pin = '5' WHERE id = 2",
    ),
    "with another column": ("CREATE UNIQUE INDEX ON told.t (label, pin)",
        "INSERT INTO told.t (id, label, pin) VALUES (9, 'a', '5')"),
    "by that other column": (
        "CREATE UNIQUE INDEX ON told.t (label, pin)",
        "UPDATE told.t SET label = 'a', pin = '5' WHERE id = 2",
    ),
    "of an expression": ("CREATE UNIQUE INDEX ON told.t (lower(pin))", GUESS),
    "of a generated column": (
        "ALTER TABLE told.t ADD v text GENERATED ALWAYS AS (lower(pin)) STORED UNIQUE", GUESS
    ),
    "all columns": (UNIQUE, "INSERT INTO told.t VALUES (9, 'z', '5', 'm')"),
    "rows that are read": (UNIQUE, "INSERT INTO told.t SELECT 9, 'z', '5', 'm'"),
    "upsert": (
        UNIQUE,
        "INSERT INTO told.t (id, pin) VALUES (2, '6')"
        " ON CONFLICT (id) DO UPDATE SET pin = '5'",
    ),
    "through a view": (
        UNIQUE + "; CREATE VIEW told.seen AS SELECT id AS n, pin AS p FROM told.t",
        "INSERT INTO told.seen (n, p) VALUES (9, '5')",
    ),
    "default": (DEFAULTED.format("text DEFAULT '5'"), UNNAMED),
    "default of a domain": (
        "CREATE DOMAIN told.five AS text DEFAULT '5';" + DEFAULTED.format("told.five"), UNNAMED
    ),
    "default that the session chooses": (
        DEFAULTED.format("text DEFAULT current_setting('told.x', true)")
        + "; SET LOCAL told.x = '5'",
        UNNAMED,
    ),
    "default from a sequence": (
        "CREATE SEQUENCE told.s;" + DEFAULTED.format("int DEFAULT nextval('told.s')")
        + "; SELECT setval('told.s', 5, false)",
        UNNAMED,
    ),
    "identity": (
        DEFAULTED.format("int GENERATED BY DEFAULT AS IDENTITY (START 5)"), UNNAMED
    ),
    "index of a partition": (PARTED, "INSERT INTO told.parted VALUES (1, '5')"),
    "the partition itself": (PARTED, "INSERT INTO told.first VALUES (1, '5')"),
}  # fmt: skip
NO_GUESSES = {
    "no unique key": ("", GUESS),
    "another column": (UNIQUE, "INSERT INTO told.t (id, label) VALUES (9, 'q')"),
    "another column changes": (UNIQUE, "UPDATE told.t SET label = 'q' WHERE id = 1"),
    "a key without it": (UNIQUE, "UPDATE told.t SET id = 9 WHERE id = 1"),
    "a part of the key": (
        "CREATE UNIQUE INDEX ON told.t (label, pin)",
        "INSERT INTO told.t (id, label) VALUES (9, 'a')",
    ),
    "all by default, with none": (
        "CREATE TABLE told.free (id int DEFAULT 3, pin text UNIQUE)",
        "INSERT INTO told.free (id) VALUES (9)",
    ),
    "rows go": (UNIQUE, "DELETE FROM told.t WHERE id = 1"),
}


@pytest.mark.parametrize(("definitions", "statement"), GUESSES.values(), ids=GUESSES)
def test_guesses_where_policy_refuses_them(
    connection: psycopg.Connection, definitions: str, statement: str
) -> None:
    check_telling(connection, definitions, statement, unique_writes=False)
    assert judged(connection, statement)[0] is None


def test_a_merge_may_write_any_column(database: Database) -> None:
    with psycopg.connect(database.uri) as connection:
        prepared(connection, UNIQUE, VALUES[0])
        merge = "MERGE INTO told.t USING told.child c ON t.id = c.id"
        merge += " WHEN NOT MATCHED THEN INSERT (id, pin) VALUES (9, '5')"
        assert judged(connection, merge, unique_writes=False)[0] is not None
        assert judged(connection, merge)[0] is None
        connection.rollback()


@pytest.mark.parametrize(("definitions", "statement"), NO_GUESSES.values(), ids=NO_GUESSES)
def test_what_is_no_guess(connection: psycopg.Connection, definitions: str, statement: str) -> None:
    prepared(connection, definitions, VALUES[0])
    assert judged(connection, statement, unique_writes=False)[0] is None


FILLED = """
CREATE TABLE told.words (id int, pin text, other text, tsv tsvector, "Tsv 2" tsvector,
  n int GENERATED ALWAYS AS (length(tsv)) STORED) PARTITION BY LIST (id);
CREATE TABLE told.first PARTITION OF told.words FOR VALUES IN (1);
CREATE TRIGGER w BEFORE INSERT OR UPDATE ON told.{0} FOR EACH ROW EXECUTE FUNCTION
  tsvector_update_trigger(tsv, 'pg_catalog.english', pin);
CREATE TRIGGER v BEFORE INSERT OR UPDATE ON told.{0} FOR EACH ROW EXECUTE FUNCTION
  tsvector_update_trigger_column("Tsv 2", other, other);
"""


@pytest.mark.parametrize("relation", ["words", "first"])
@pytest.mark.parametrize("trigger_on", ["words", "first"])
def test_what_a_trigger_fills_comes_from_what_it_reads(
    connection: psycopg.Connection, relation: str, trigger_on: str
) -> None:
    prepared(connection, FILLED.format(trigger_on), "5")
    lineage = CatalogLineage(read_catalog(connection, inside=True))
    found = lineage.catalog.relation_named("told", relation)
    assert found is not None
    sources = {
        column.name: {
            lineage.column_name(*key)
            for key in lineage.of((found.oid, column.attnum)).sources
            if key != (found.oid, column.attnum)
        }
        - {column.name}
        for column in found.columns
    }
    assert sources == {
        "id": set(),
        "pin": set(),
        "other": set(),
        "tsv": {"pin"},
        "Tsv 2": {"other"},
        "n": {"tsv", "pin"},
    }


def test_a_built_in_trigger_that_is_not_known(connection: psycopg.Connection) -> None:
    """Nobody can trust it. Those that are known are no function to be trusted."""
    prepared(
        connection,
        "CREATE TRIGGER s BEFORE UPDATE ON told.t FOR EACH ROW " + SUPPRESS + ";"
        "CREATE TRIGGER r AFTER INSERT ON told.child FOR EACH ROW EXECUTE FUNCTION"
        ' "RI_FKey_check_ins"()',
        "5",
    )
    catalog = read_catalog(connection, inside=True)
    triggers = {
        name: catalog.relations[catalog.by_name["told", name]].triggers for name in ("t", "child")
    }
    assert triggers == {"t": (), "child": (0,)}


def test_what_a_trigger_fills_is_withheld(connection: psycopg.Connection) -> None:
    prepared(connection, FILLED.format("words"), "5")
    lineage = CatalogLineage(read_catalog(connection, inside=True))
    found = lineage.catalog.relation_named("told", "words")
    assert found is not None
    owed = {(found.oid, column.attnum): Mask(MaskMethod.NULL) for column in found.columns[1:2]}
    relations = MaskedRelations(lineage, owed)
    masked = relations.of(found.oid)
    assert masked is not None
    assert set(masked.withheld) == {"tsv"}
    assert masked.hidden == {"pin", "tsv", "n"}
    with pytest.raises(Unmaskable):
        relations.cell(masked, "n", "t")
