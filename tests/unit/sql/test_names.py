"""Name resolution: search_path, temporary relations, shadowing, functions, operators and casts."""

from collections.abc import Callable

import msgspec
import pytest

from appliance.model.catalog import Catalog, Function, SessionSettings
from appliance.model.facts import (
    Action,
    Confidence,
    Facts,
    Flag,
    FunctionUse,
    StatementFacts,
)
from appliance.sql.lineage import CatalogLineage
from appliance.sql.names import search_path
from tests.unit.sql.conftest import DATABASE, Database


def settings(
    *path: str, role: str = "", certain: bool = True, temporary: frozenset[str] = frozenset()
) -> SessionSettings:
    return SessionSettings(
        database=DATABASE,
        search_path=path,
        role=role,
        certain=certain,
        temp_relations=temporary,
    )


def altered(database: Database, change: Callable[[Catalog], dict[str, object]]) -> Database:
    catalog = msgspec.structs.replace(database.catalog, **change(database.catalog))
    return Database(database.uri, CatalogLineage(catalog), database.settings)


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        (("public",), "public"),
        (("shadow", "public"), "shadow"),
        (("nowhere", "shadow"), "shadow"),
        (("$user", "public"), "shadow"),
    ],
)
def test_a_table_is_found_along_the_search_path(
    database: Database, path: tuple[str, ...], schema: str
) -> None:
    facts = database.one("select email from clients", settings(*path, role="shadow"))
    assert [use.schema for use in facts.relations] == [schema]
    assert facts.outputs[0].origin == database.key(f"{schema}.clients.email")


def test_the_catalog_comes_first_unless_it_is_listed() -> None:
    assert search_path(settings("public")) == ("pg_temp", "pg_catalog", "public")
    assert search_path(settings("public", "pg_catalog")) == ("pg_temp", "public", "pg_catalog")
    assert search_path(settings("pg_temp", "$user", "public", role="app")) == (
        *("pg_catalog", "pg_temp", "app", "public"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "select email from nowhere",
        "select email from public.nowhere",
        "select email from other_database.public.clients",
        "select nothing from clients",
        "select c.nothing from clients c",
        "select clients.email from clients c",
        "select id from clients, orders",
        "select email from (select * from clients, shadow.clients) x",
        "select x.* from clients",
        "select email from pg_temp.clients",
        "select * from clients natural join nowhere",
        "select * from clients join orders using (email)",
        "update clients set tier = nothing",
        "insert into clients (id) select nothing from orders",
        "select (select nothing) from clients",
        "with c as (select 1 as one) select email from c",
    ],
)
def test_what_does_not_resolve_makes_it_partial(database: Database, text: str) -> None:
    facts = database.one(text, settings("public"))
    assert facts.confidence is Confidence.PARTIAL
    assert facts.unresolved


def test_an_unresolved_name_uses_up_everything_in_reach(database: Database) -> None:
    facts = database.one("select c.id from clients c where nothing > 1")
    assert database.key("clients.email") in facts.consumed
    inner = database.one("select (select nothing from orders) from clients")
    assert {database.key("clients.ssn"), database.key("orders.note")} <= inner.consumed


def test_system_columns_are_known_and_hold_nothing(database: Database) -> None:
    facts = database.one("select ctid, c.xmin, tableoid from clients c where xmin is not null")
    assert facts.confidence is Confidence.EXACT
    assert [column.origin and column.origin[1] for column in facts.outputs] == [-1, -2, -6]
    assert facts.consumed == frozenset()
    assert database.one("select ctid from v_clients").confidence is Confidence.PARTIAL


def test_uncertain_settings_leave_unqualified_names_unresolved(database: Database) -> None:
    unsure = settings("public", certain=False)
    assert database.one("select email from clients", unsure).confidence is Confidence.PARTIAL
    assert database.one("select email from public.clients", unsure).confidence is Confidence.EXACT
    assert database.one("select 1", unsure).confidence is Confidence.EXACT


def test_a_temporary_relation_is_not_known_and_hides_the_table(database: Database) -> None:
    hidden = settings("public", temporary=frozenset({"clients", "mine"}))
    facts = database.one("select email from clients", hidden)
    assert facts.confidence is Confidence.PARTIAL
    assert facts.relations[0].oid == database.key("clients.email")[0]
    mine = database.one("select a from mine", hidden)
    assert mine.confidence is Confidence.PARTIAL
    assert (mine.relations[0].schema, mine.relations[0].oid) == ("pg_temp", 0)
    assert database.one("select email from public.clients", hidden).confidence is Confidence.EXACT


@pytest.mark.parametrize(
    ("text", "schemas"),
    [
        ("delete from mine where true", ["pg_temp"]),
        ("delete from gone where true", [""]),
        ("delete from pg_temp.gone where true", [""]),
        ("delete from pg_temp_3.mine where true", ["pg_temp_3"]),
        ("delete from seen where true", [""]),
        ("lock seen", [""]),
        ("drop view seen", ["pg_temp"]),
        ("drop table gone", [""]),
        ("create index on mine (a)", ["pg_temp"]),
        ("prepare p as delete from mine where true", [""]),
        ("prepare p as select from mine", ["pg_temp"]),
        ("create index on mine (a); drop table mine", ["pg_temp", "pg_temp"]),
        ("drop table mine; delete from mine where true", ["pg_temp", ""]),
        ("rollback; delete from mine where true", [""]),
        ("rollback to s; delete from mine where true", [""]),
        ("begin; delete from mine where true", ["pg_temp"]),
        ("set search_path = public, pg_temp; drop table mine", [""]),
        ("create temp table n (a int); delete from n", ["pg_temp", "pg_temp"]),
        ("create temp table if not exists n (a int); delete from n", ["pg_temp", ""]),
        ("create temp view n as select 1; delete from n", ["pg_temp", ""]),
    ],
)
def test_what_is_written_is_surely_a_table_of_the_sessions_own(
    database: Database, text: str, schemas: list[str]
) -> None:
    own = msgspec.structs.replace(
        settings("public", temporary=frozenset({"mine", "gone", "seen"})),
        temp_kinds=frozenset({("mine", "r"), ("seen", "v")}),
    )
    facts = database.facts(text, own)
    assert [use.schema for s in facts.statements for use in s.relations] == schemas
    late = msgspec.structs.replace(own, search_path=("public", "pg_temp"))
    changed = database.facts(text.rpartition(";")[2], late).statements[-1]
    if not changed.actions or changed.kind == "PrepareStmt":
        return
    assert {use.schema for use in changed.relations} <= {"", "pg_temp_3"}


def test_cte_names_come_before_tables(database: Database) -> None:
    facts = database.one("with clients as (select 1 as email) select email from clients")
    assert (facts.relations, facts.consumed) == ((), frozenset())
    qualified = database.one("with clients as (select 1 as email) select email from public.clients")
    assert qualified.outputs[0].origin == database.key("clients.email")


def test_a_text_that_sets_the_path_is_not_certain_afterwards(database: Database) -> None:
    first, second = database.facts("set search_path = shadow; select email from clients").statements
    assert first.settings == (("search_path", "shadow"),)
    assert second.confidence is Confidence.PARTIAL
    _, after_ddl = database.facts(
        "alter table clients rename to x; select email from clients"
    ).statements
    assert after_ddl.confidence is Confidence.PARTIAL


# Functions.


@pytest.mark.parametrize(
    ("text", "functions"),
    [
        ("select client_email(1)", {("public", "client_email")}),
        ("select public.client_email(1)", {("public", "client_email")}),
        ("select full_contact(c) from clients c", {("public", "full_contact")}),
        ("select c.full_contact from clients c", {("public", "full_contact")}),
        ("select (c).full_contact from clients c", {("public", "full_contact")}),
        ("select * from all_clients()", {("public", "all_clients")}),
        ("select nosuch(1)", {("", "nosuch")}),
        ("select nowhere.f(1)", {("nowhere", "f")}),
        ("select pg_temp.lower('x')", {("pg_temp", "lower")}),
        ("select shadow.lower('x')", {("shadow", "lower")}),
        ("select pg_sleep(1)", {("", "pg_sleep")}),
        ("select pg_catalog.pg_sleep(1)", {("pg_catalog", "pg_sleep")}),
        ("select lower('x'), count(*), now() from clients", set()),
        ("select pg_catalog.lower('x')", set()),
        ("select information_schema._pg_char_max_length(1, 2)", set()),
        ("select 1 operator(shadow.<~>) 2", {("shadow", "operator <~>")}),
        ("select 1 operator(pg_catalog.+) 2", set()),
        (
            "select id from clients order by id using operator(shadow.<~>)",
            {("shadow", "operator <~>")},
        ),
        (
            "select max(id) over (order by client_email(id)) from clients",
            {("public", "client_email")},
        ),
        ("insert into events (kind) values (client_email(1))", {("public", "client_email")}),
        ("update events set kind = client_email(1) where id = 1", {("public", "client_email")}),
        ("create table x (a text default client_email(1))", {("public", "client_email")}),
        ("call touch(1)", {("public", "touch")}),
    ],
)
def test_functions_that_are_not_harmless_are_named(
    database: Database, text: str, functions: set[tuple[str, str]]
) -> None:
    found = {(use.schema, use.name) for use in database.one(text).functions}
    named = {(schema or "", name) for schema, name in functions}
    assert {(s if (s, n) in named else "", n) for s, n in found} == named


def named(facts: StatementFacts) -> list[tuple[str, str]]:
    return [(use.schema, use.name) for use in facts.functions]


def test_a_user_function_of_a_built_ins_name_is_not_the_built_in(database: Database) -> None:
    """It may fit the arguments better than the built-in one, wherever it stands in the path."""
    text = "select lower(email) from clients"
    assert database.one(text, settings("public")).functions == ()
    shadowed = database.one(text, settings("public", "shadow"))
    assert named(shadowed) == [("shadow", "lower")]
    assert Action.EXECUTE_FUNCTION in shadowed.actions


def test_operators_outside_the_catalog_are_functions(database: Database) -> None:
    assert database.one("select 1 <~> 2", settings("public")).functions == ()
    found = database.one("select 1 <~> 2", settings("public", "shadow"))
    assert named(found) == [("shadow", "operator <~>")]
    (near,) = database.catalog.functions["shadow", "near"]
    assert found.functions[0].candidates == (near.oid,)


def test_functions_of_extensions_that_only_compute_are_harmless(database: Database) -> None:
    def extended(catalog: Catalog) -> dict[str, object]:
        similarity = Function(
            99, "public", "similarity", "f", "c", "text, text", extension="pg_trgm"
        )
        other = Function(98, "public", "crosstab", "f", "c", "text", extension="tablefunc")
        more = {("public", "similarity"): (similarity,), ("public", "crosstab"): (other,)}
        return {
            "functions": {**catalog.functions, **more},
            "extension_operators": frozenset({("public", "%")}),
        }

    found = altered(database, extended)
    assert found.one("select similarity(name, 'x') from clients where name % 'x'").functions == ()
    assert found.one("select 'a' operator(public.%) 'b'").functions == ()
    crosstab = found.one("select * from crosstab('select 1') as t(a int)")
    assert crosstab.functions == (FunctionUse("public", "crosstab", (98,)),)
    assert {Action.DYNAMIC_SQL} < set(crosstab.actions)
    assert Flag.DYNAMIC in crosstab.flags


def test_rules_make_a_write_partial(database: Database) -> None:
    facts = database.one("insert into ruled values (1, 'x')")
    assert facts.confidence is Confidence.PARTIAL
    assert database.one("select note from ruled").confidence is Confidence.EXACT


def test_without_a_catalog_everything_named_is_unresolved(blind: Callable[[str], Facts]) -> None:
    (facts,) = blind("select email from clients where lower(name) = 'x'").statements
    assert facts.confidence is Confidence.PARTIAL
    assert [(use.schema, use.name, use.oid) for use in facts.relations] == [("", "clients", 0)]
    assert not facts.consumed
    (nothing,) = blind("select 1").statements
    assert nothing.confidence is Confidence.EXACT


# What is read and written.


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("select email, id from clients where tier = 1", [("select", "clients", "id email tier")]),
        ("select * from orders", [("select", "orders", "id client_id total note")]),
        ("select o from orders o", [("select", "orders", "* id client_id total note")]),
        ("select count(*) from orders", [("select", "orders", "")]),
        ("select mail from v_clients", [("select", "v_clients", "mail")]),
        ("insert into events (kind, n) values ('a', 1)", [("insert", "events", "kind n")]),
        ("insert into events values (1, 'a')", [("insert", "events", "id kind n")]),
        (
            "insert into events (kind) select note from orders returning id",
            [
                ("insert", "events", "kind"),
                ("select", "orders", "note"),
                ("select", "events", "id"),
            ],
        ),
        ("update events set n = 1 where id = 2", [("update", "events", "n")]),
        ("delete from events where id = 2", [("delete", "events", "")]),
        ("truncate events, orders", [("truncate", "events", ""), ("truncate", "orders", "")]),
        ("drop table events, nowhere", [("drop", "events", ""), ("drop", "nowhere", "")]),
        ("drop schema hr", [("drop", "*", "")]),
        ("alter table events add column x int", [("alter", "events", "")]),
        ("create index on events (n)", [("create", "events", "")]),
        (
            "grant select on events, orders to public",
            [("grant", "events", ""), ("grant", "orders", "")],
        ),
        ("lock table events", [("lock", "events", "")]),
        ("vacuum events", [("maintain", "events", "")]),
        ("refresh materialized view mv_clients", [("maintain", "mv_clients", "")]),
        ("comment on column events.kind is 'x'", [("comment", "events", "")]),
        ("copy events (kind) to stdout", [("copy_to", "events", "kind")]),
        ("copy events from stdin", [("copy_from", "events", "id kind n")]),
        ("explain update events set n = 1", [("explain", "events", "n")]),
        (
            "create table x as select id from orders",
            [("create", "x", ""), ("select", "orders", "id")],
        ),
        (
            "merge into events e using orders o on e.id = o.id when matched then update set n = 1",
            [("merge", "events", ""), ("select", "orders", "id"), ("update", "events", "n")],
        ),
    ],
)
def test_relations_with_their_columns(
    database: Database, text: str, uses: list[tuple[str, str, str]]
) -> None:
    facts = database.one(text)
    found = [(use.action.value, use.name, " ".join(use.columns)) for use in facts.relations]
    assert found == uses
    oids = {use.name: use.oid for use in facts.relations}
    assert all(oid or name in ("nowhere", "x", "*") for name, oid in oids.items())


@pytest.mark.parametrize(
    "text",
    [
        "select system_user from clients",
        "select id from clients where system_user = 'x'",
        "select json_object('a': ssn) from clients",
        "select json_value(profile, '$.a') from clients",
        "select * from json_table('[]', '$' columns (a text path '$.a')) t",
        "merge into orders o using clients c on c.id = o.id when matched then do nothing"
        " returning merge_action()",
    ],
)
def test_what_an_older_server_reads_differently_is_not_known(database: Database, text: str) -> None:
    """A column that is not there, a function nobody knows, or a syntax error."""
    assert database.one(text).confidence is Confidence.EXACT
    assert not database.one(text).functions
    older = altered(database, lambda catalog: {"server_version_num": 150_018}).one(text)
    named = [call.name for call in older.functions]
    assert older.confidence is not Confidence.EXACT or named in (["json_value"], ["merge_action"])
