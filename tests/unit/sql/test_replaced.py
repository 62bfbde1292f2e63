"""What somebody put in place of the server's own functions, operators, views and types, or beside
them in its schemas, on real servers: nothing there is harmless for its name."""

from collections.abc import Iterator

import psycopg
import pytest

from appliance.model.catalog import Catalog
from appliance.model.facts import StatementFacts
from appliance.sql.functions import EFFECTS, harmless
from appliance.sql.lineage import CatalogLineage
from tests.unit.sql.conftest import Database, read_catalog
from tests.unit.sql.test_comparisons import analysed

BASE = """
CREATE SCHEMA told;
CREATE TABLE told.t (id int, label text, pin text);
CREATE FUNCTION told.f(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION told.cmp(text, text) RETURNS int LANGUAGE plpgsql IMMUTABLE
  AS 'BEGIN RETURN 0; END';
"""
TELLS = "LANGUAGE sql AS 'SELECT max(pin) FROM told.t'"
BEHIND_INDEX = """CREATE OPERATOR CLASS told.c FOR TYPE text USING btree AS OPERATOR 1 <,
    OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 told.cmp(text, text);"""
COMPARED = """CREATE TYPE told.k AS (a text);
CREATE FUNCTION told.less(told.k, told.k) RETURNS boolean LANGUAGE plpgsql
  AS 'BEGIN RETURN true; END';
CREATE FUNCTION told.order(told.k, told.k) RETURNS int LANGUAGE plpgsql IMMUTABLE
  AS 'BEGIN RETURN 0; END';
CREATE OPERATOR told.<! (LEFTARG = told.k, RIGHTARG = told.k, FUNCTION = told.less);
CREATE OPERATOR told.=! (LEFTARG = told.k, RIGHTARG = told.k, FUNCTION = told.less);
CREATE OPERATOR told.>! (LEFTARG = told.k, RIGHTARG = told.k, FUNCTION = told.less);
CREATE OPERATOR told.<=! (LEFTARG = told.k, RIGHTARG = told.k, FUNCTION = told.less);
CREATE OPERATOR told.>=! (LEFTARG = told.k, RIGHTARG = told.k, FUNCTION = told.less);
CREATE OPERATOR CLASS told.kc DEFAULT FOR TYPE told.k USING btree AS OPERATOR 1 told.<!,
  OPERATOR 2 told.<=!, OPERATOR 3 told.=!, OPERATOR 4 told.>=!, OPERATOR 5 told.>!,
  FUNCTION 1 told.order(told.k, told.k);
CREATE TABLE told.ks (k told.k);"""

# (definitions, statement): what the statement runs or shows is not the server's.
OTHERS = [
    (f"CREATE FUNCTION pg_catalog.lower(varchar) RETURNS text {TELLS}", "select lower(label)"),
    (
        f"CREATE FUNCTION pg_catalog.lower(varchar) RETURNS text {TELLS}",
        "select pg_catalog.lower('')",
    ),
    (
        f"CREATE OR REPLACE FUNCTION pg_catalog.upper(text) RETURNS text {TELLS}",
        "select upper(label)",
    ),
    (
        f"CREATE OR REPLACE FUNCTION pg_catalog.lpad(text, int) RETURNS text IMMUTABLE {TELLS}",
        "select lpad(label, 2)",
    ),
    (
        "CREATE OR REPLACE FUNCTION pg_catalog.obj_description(oid, name) RETURNS text STABLE"
        " LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
        "select obj_description(1, 'pg_class')",
    ),
    (
        "CREATE OR REPLACE FUNCTION pg_catalog.col_description(oid, int) RETURNS text"
        " LANGUAGE sql AS 'SELECT CAST(told.f(NULL) AS text)'",
        "select col_description(1, 1)",
    ),
    (
        f"CREATE FUNCTION information_schema._pg_more() RETURNS text {TELLS}",
        "select information_schema._pg_more()",
    ),
    (
        f"CREATE FUNCTION told.joined(varchar, varchar) RETURNS text {TELLS}; CREATE OPERATOR"
        " pg_catalog.|| (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = told.joined)",
        "select label || 'x'",
    ),
    (
        f"CREATE FUNCTION told.joined(varchar, varchar) RETURNS text {TELLS}; CREATE OPERATOR"
        " pg_catalog.|| (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = told.joined)",
        "select label operator(pg_catalog.||) 'x'",
    ),
    (
        "CREATE OR REPLACE FUNCTION pg_catalog.integer_pl_date(integer, date) RETURNS date"
        " LANGUAGE sql AS 'SELECT CAST(max(pin) AS date) FROM told.t'",
        "select id + date '2020-01-01'",
    ),
    (
        "CREATE AGGREGATE pg_catalog.max(varchar) (SFUNC = told.last, STYPE = text)",
        "select max(label)",
    ),
    ("CREATE DOMAIN pg_catalog.word AS text CHECK (told.f(VALUE))", "select label::word"),
    (
        "CREATE DOMAIN pg_catalog.word AS text CHECK (told.f(VALUE))",
        "select label::pg_catalog.word",
    ),
    (
        "ALTER DOMAIN information_schema.sql_identifier ADD CHECK (told.f(VALUE::text))",
        "select label::information_schema.sql_identifier",
    ),
    (
        "ALTER DOMAIN information_schema.sql_identifier ADD CHECK (told.f(VALUE::text))",
        "select table_name from information_schema.tables, told",
    ),
    (f"{BEHIND_INDEX} CREATE INDEX ON told.t (label told.c)", "select id"),
    (f"{BEHIND_INDEX} CREATE INDEX ON told.t (label told.c)", "insert into told.t values (1)"),
    (COMPARED, "select row(label)::told.k"),
    (COMPARED, "select k from told.ks, told"),
]
SHOWN = [
    "CREATE VIEW information_schema.more AS SELECT pin FROM told.t",
    "CREATE OR REPLACE VIEW information_schema.collation_character_set_applicability AS SELECT"
    " NULL::information_schema.sql_identifier AS collation_catalog,"
    " NULL::information_schema.sql_identifier AS collation_schema,"
    " NULL::information_schema.sql_identifier AS collation_name,"
    " NULL::information_schema.sql_identifier AS character_set_catalog,"
    " NULL::information_schema.sql_identifier AS character_set_schema,"
    " pin::information_schema.sql_identifier AS character_set_name FROM told.t",
]


@pytest.fixture
def connection(any_database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(any_database.uri) as connection:
        connection.execute(BASE.encode())
        yield connection
        connection.rollback()


def one(connection: psycopg.Connection, text: str) -> StatementFacts:
    if " from " not in text and text.startswith("select"):
        text += " from told.t, told"
    text = text.replace(", told", ", (select 1) told")
    (facts,) = analysed(read_catalog(connection, inside=True), text).statements
    assert not facts.unresolved
    return facts


def runs_another(facts: StatementFacts) -> bool:
    return bool(facts.functions or facts.functions_below or facts.reads_inside)


@pytest.mark.parametrize(("definitions", "text"), OTHERS)
def test_what_is_not_the_servers(
    connection: psycopg.Connection, definitions: str, text: str
) -> None:
    if "AGGREGATE" in definitions:
        connection.execute(f"CREATE FUNCTION told.last(text, text) RETURNS text {TELLS}".encode())
    if "told.ks" not in text and "_pg_more" not in text:  # that is nothing before
        assert not runs_another(one(connection, text.split("::word")[0])) or "word" in text
    connection.execute(definitions.encode())
    assert runs_another(one(connection, text))


@pytest.mark.parametrize("definition", SHOWN)
def test_views_in_the_servers_schemas_have_their_origins(
    connection: psycopg.Connection, definition: str
) -> None:
    connection.execute(definition.encode())
    name = definition.split(" VIEW ")[1].split()[0]
    catalog = read_catalog(connection, inside=True)
    assert (
        pin_of(catalog)
        in analysed(catalog, f"select * from {name}").statements[0].outputs[-1].sources
    )


def pin_of(catalog: Catalog) -> tuple[int, int]:
    return catalog.by_name["told", "t"], 3


def test_the_servers_own_are_harmless(any_database: Database) -> None:
    """Of everything on the allow-list that is not compiled; and there are such functions."""
    catalog = any_database.catalog
    lineage = CatalogLineage(catalog)
    listed = [name for name in catalog.interpreted if harmless(name) or name in EFFECTS]
    assert len(listed) > 15
    assert [name for name in listed if lineage.unseen.is_replaced(name)] == []
    inside = catalog.interpreted_within
    assert "+" in inside and [n for n in inside if lineage.unseen.is_replaced_within(n)] == []
    own = [name for name in catalog.interpreted if name.startswith("_pg_")]
    assert own and [name for name in own if lineage.unseen.is_replaced(name)] == []
    assert not lineage.unseen.anywhere.functions


def test_nothing_is_known_of_a_function_that_is_not_in_the_catalog(database: Database) -> None:
    assert not CatalogLineage(database.catalog).unseen.is_original(1)
