"""What a call may mean: the functions a statement depends on, and those that trust can cover."""

from collections.abc import Callable

import msgspec
import psycopg
import pytest

from appliance.model.catalog import Catalog, Function, SessionSettings
from appliance.model.facts import FunctionUse, StatementFacts
from appliance.sql.lineage import CatalogLineage
from tests.unit.sql.conftest import DATABASE, Database, read_catalog


def function(oid: int, schema: str, name: str, extension: str = "") -> Function:
    return Function(oid, schema, name, "f", "c", "text", 25, extension=extension)


def having(database: Database, *functions: Function) -> Database:
    known = dict(database.catalog.functions)
    for each in functions:
        key = (each.schema, each.name)
        known[key] = (*known.get(key, ()), each)
    catalog = msgspec.structs.replace(database.catalog, functions=known)
    return Database(database.uri, CatalogLineage(catalog), database.settings)


def path(*schemas: str, certain: bool = True) -> SessionSettings:
    return SessionSettings(database=DATABASE, search_path=schemas, certain=certain)


def only(facts: StatementFacts) -> FunctionUse:
    (use,) = facts.functions
    return use


def test_every_overload_in_the_path_is_a_candidate(database: Database) -> None:
    made = having(
        database, function(1, "public", "f"), function(2, "hr", "f"), function(3, "public", "f")
    )
    assert only(made.one("select f('x')", path("public", "hr"))) == FunctionUse(
        "public", "f", (1, 3, 2)
    )
    assert only(made.one("select f('x')", path("hr"))).candidates == (2,)
    assert only(made.one("select hr.f('x')", path("public"))).candidates == (2,)
    assert only(made.one("select nowhere.f('x')")).candidates == ()
    assert only(made.one("select f('x')", path("shadow"))).candidates == ()


def test_extensions_that_only_compute_are_no_candidates_but_are_depended_on(
    database: Database,
) -> None:
    made = having(database, function(1, "public", "f", "pg_trgm"), function(2, "hr", "f"))
    pure = made.one("select f('x')", path("public"))
    assert pure.functions == ()
    assert pure.calls == (FunctionUse("public", "f", (1,)),)
    mixed = made.one("select f('x')", path("public", "hr"))
    assert only(mixed).candidates == (2,)
    assert mixed.calls == (FunctionUse("public", "f", (1, 2)),)


def test_a_name_that_is_also_an_unlisted_built_in_is_nobodys_to_trust(database: Database) -> None:
    made = having(database, function(1, "public", "pg_sleep"), function(2, "public", "lower"))
    assert only(made.one("select pg_sleep('x')", path("public"))).candidates == ()
    assert only(made.one("select public.pg_sleep('x')")).candidates == (1,)
    assert only(made.one("select lower('x')", path("public"))).candidates == (2,)


def test_while_the_search_path_is_not_certain_every_schema_is_in_it(database: Database) -> None:
    assert database.one("select lower('x')", path("public")).functions == ()
    doubtful = database.one("select lower('x')", path("public", certain=False))
    assert only(doubtful).schema == "shadow"
    doubtful = database.one("select 1 <~> 2", path("public", certain=False))
    assert only(doubtful).name == "operator <~>"


def test_names_that_others_could_take_are_told(database: Database) -> None:
    """Also those of pg_catalog, where a superuser can make overloads."""
    facts = database.one("select lower('x') || upper('y'), hr.f(1), pg_catalog.now() from clients")
    assert facts.names_called == {"lower", "upper", "||", "now"}


def test_call_and_explain(database: Database) -> None:
    touch = database.catalog.functions["public", "touch"][0]
    assert only(database.one("call touch(1)")).candidates == (touch.oid,)
    called = database.one("explain select client_email(1)")
    assert called.calls == called.functions != ()
    assert "client_email" in called.names_called


CHANGES = """
CREATE FUNCTION own(int) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN $1::text; END';
CREATE FUNCTION own_immutable(text) RETURNS text LANGUAGE plpgsql IMMUTABLE
  AS 'BEGIN RETURN $1; END';
CREATE VIEW calling AS SELECT own(id) AS word FROM orders;
CREATE VIEW above AS SELECT word FROM calling;
CREATE MATERIALIZED VIEW kept AS SELECT own(id) AS word FROM orders;
CREATE TABLE generating (id int, note text,
  made text GENERATED ALWAYS AS (own_immutable(note)) STORED);
CREATE FUNCTION gives(OUT a int, OUT b text) LANGUAGE sql AS $$ SELECT 1, 'x' $$;
CREATE FUNCTION one_given(OUT a int) LANGUAGE sql AS $$ SELECT 1 $$;
CREATE FUNCTION table_given() RETURNS TABLE (a int, b int) LANGUAGE sql AS $$ SELECT 1, 2 $$;
CREATE FUNCTION unnamed(OUT int, OUT text) LANGUAGE sql AS $$ SELECT 1, 'x' $$;
CREATE FUNCTION recorded() RETURNS record LANGUAGE sql AS $$ SELECT 1, 'x' $$;
CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
"""


@pytest.fixture(scope="module")
def calling(any_database: Database) -> Database:
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(CHANGES)
        return Database(
            any_database.uri, CatalogLineage(read_inside(connection)), any_database.settings
        )


def read_inside(connection: psycopg.Connection) -> Catalog:
    with connection.transaction(force_rollback=True):  # gives the search_path back
        return read_catalog(connection, inside=True)


def test_views_pass_on_what_they_call(calling: Database) -> None:
    own = calling.catalog.functions["public", "own"][0]
    for view in ("calling", "above"):
        facts = calling.one(f"select word from {view}")
        assert facts.functions == () and facts.unresolved == ()
        assert facts.functions_below == (FunctionUse("public", "own", (own.oid,)),)
        assert facts.calls == facts.functions_below
    assert calling.one("select id from orders").functions_below == ()


def test_what_a_materialized_view_holds_was_made_by_functions_of_then(calling: Database) -> None:
    assert "kept" in calling.one("select word from kept").unresolved[0]


def test_generated_columns_call_functions(calling: Database) -> None:
    for text in (
        "select made from generating",
        "select * from generating",
        "select g from generating g",
    ):
        (use,) = calling.one(text).functions_below
        assert (use.schema, use.name, len(use.candidates)) == ("public", "own_immutable", 1), text
    assert calling.one("select id, note from generating").functions_below == ()


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("gives()", ["a", "b"]),
        ("gives() as g (x)", ["x", "b"]),
        ("one_given() as g", ["a"]),
        ("table_given()", ["a", "b"]),
        ("unnamed()", ["column1", "column2"]),
        ("own(1)", ["own"]),
        ("own(1) as o", ["o"]),
        ("recorded() as r (c int, d text)", ["c", "d"]),
        ("recorded()", None),
    ],
)
def test_columns_of_functions_in_from(
    calling: Database, text: str, columns: list[str] | None
) -> None:
    facts = calling.one(f"select * from {text}")
    assert ([o.name for o in facts.outputs] if facts.outputs_known else None) == columns


DEFINITIONS = [
    "CREATE OR REPLACE FUNCTION own(int) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN END'",
    "ALTER FUNCTION own(int) SECURITY DEFINER",
    "ALTER FUNCTION own(int) SET search_path = 'hr'",
    "ALTER FUNCTION own(int) VOLATILE",
    "ALTER FUNCTION own(int) OWNER TO somebody_else",
    "ALTER FUNCTION own(int) STRICT",
]


def test_the_digest_covers_the_definition(any_database: Database) -> None:
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(CHANGES)
        connection.execute("CREATE ROLE somebody_else")
        seen = {read_inside(connection).functions["public", "own"][0].digest}
        for change in DEFINITIONS:
            connection.execute(change.encode())
            seen.add(read_inside(connection).functions["public", "own"][0].digest)
    assert len(seen) == len(DEFINITIONS) + 1


def test_the_digest_of_an_aggregate_covers_its_parts(any_database: Database) -> None:
    def digest(connection: psycopg.Connection, change: str) -> str:
        connection.execute(change.encode())
        return read_inside(connection).functions["public", "total"][0].digest

    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(CHANGES)
        part = "CREATE OR REPLACE FUNCTION part(int, int) RETURNS int LANGUAGE sql AS 'SELECT {}'"
        whole = "CREATE OR REPLACE AGGREGATE total (int) (SFUNC = {}, STYPE = int, INITCOND = '{}')"
        seen = [
            digest(connection, "SELECT"),
            digest(connection, whole.format("int4pl", 1)),
            digest(connection, part.format("$1") + ";" + whole.format("part", 1)),
            digest(connection, part.format("$2")),
        ]
    assert len(set(seen)) == len(seen)
    assert all(len(each) == 64 for each in seen)


def test_blind(blind: Callable[[str], object]) -> None:
    """Without a catalog nothing is known to be trusted."""
    (facts,) = blind("select public.f(1), g(2)").statements  # type: ignore[attr-defined]
    assert all(use.candidates == () for use in facts.functions)
    assert facts.calls == ()


def test_what_somebody_adds_to_an_extension_is_judged_by_itself(any_database: Database) -> None:
    """Compiled code of an extension that only computes is known; other code may be anybody's."""
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(
            "CREATE EXTENSION vector;"
            "CREATE FUNCTION said() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';"
            "CREATE FUNCTION said(int, int) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';"
            "CREATE FUNCTION told() RETURNS text LANGUAGE sql AS 'SELECT ssn FROM public.clients';"
            "CREATE OPERATOR === (FUNCTION = said, LEFTARG = int, RIGHTARG = int);"
            "ALTER EXTENSION vector ADD FUNCTION said();"
            "ALTER EXTENSION vector ADD FUNCTION told();"
            "ALTER EXTENSION vector ADD OPERATOR === (int, int)"
        )
        lineage = CatalogLineage(read_catalog(connection, inside=True))
    made = Database(any_database.uri, lineage, any_database.settings)
    assert only(made.one("select said()")).name == "said"
    assert only(made.one("select 1 === 2")).name == "operator ==="
    assert made.names(made.one("select told()").reads_inside) == {"clients.*", "clients.ssn"}
    assert not made.one("select '[1]'::vector <-> '[2]'::vector, vector_dims('[1]')").functions
