"""Texts to trees to texts: what `deparse` prints means what it was given, or it prints nothing."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from appliance.sql.deparse import Undeparsable, deparse, same_statement, same_tree
from appliance.sql.deparse.expressions import EXPRESSIONS
from appliance.sql.deparse.json import JSON_EXPRESSIONS
from appliance.sql.deparse.printer import PLACES
from appliance.sql.deparse.xml import XML_EXPRESSIONS
from appliance.sql.parse import RawStatement, parse_decoded

NEWEST = 180_000
FOLDER = Path(__file__).parent


def parsed(text: str) -> RawStatement:
    statements = parse_decoded(text, len(text.encode()))
    assert isinstance(statements, list), (text, statements)
    (statement,) = statements
    return statement


def lines(name: str) -> list[str]:
    """One statement a line; what begins with -- or # is a heading."""
    found = (line.strip() for line in (FOLDER / name).read_text().splitlines())
    return [line for line in found if line and not line.startswith(("--", "#"))]


def corpus() -> list[str]:
    """Attacks, ordinary questions and guarded statements; each a JSON string."""
    return [json.loads(line) for line in lines("deparse_corpus.jsonl")]


def lineage_cases() -> list[str]:
    """Without DDL."""
    texts = [line.split(" | ")[0] for line in lines("lineage_cases.txt")]
    return [text for text in texts if not text.startswith(("alter ", "create "))]


def shown(text: str, version: int = NEWEST) -> str:
    kind, body, *_ = parsed(text)
    return deparse(kind, body, version)


def refusal(text: str, version: int = NEWEST) -> str:
    with pytest.raises(Undeparsable) as caught:
        shown(text, version)
    return caught.value.why


def round_trip(text: str, version: int = NEWEST) -> str:
    kind, body, *_ = parsed(text)
    printed = deparse(kind, body, version)
    assert same_statement(kind, body, printed), (text, printed)
    again = parsed(printed)
    assert deparse(again.kind, again.body, version) == printed, (text, printed)
    return printed


def test_there_are_enough_cases() -> None:
    assert len(set(lines("deparse_cases.sql"))) >= 350
    assert len(corpus()) >= 500


@pytest.mark.parametrize(
    "text",
    [
        *lines("deparse_cases.sql"),
        *corpus(),
        *[text for text in lines("forms.sql") if not text.startswith("show ")],
        *lines("forms_18.sql"),
        *lineage_cases(),
    ],
)
def test_what_is_printed_is_the_same_statement(text: str) -> None:
    round_trip(text)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ('select A, "B" from s.T', 'SELECT "a", "B" FROM "s"."t"'),
        ("select a + 1", 'SELECT "a" + (1)'),
        ("select a operator(pg_catalog.=) b", 'SELECT "a" OPERATOR("pg_catalog".=) "b"'),
        ("select operator(-) 1", "SELECT OPERATOR(-) (1)"),
        ("select E'a\\\\b''c'", "SELECT E'a\\\\b''c'"),
        ("select x::int", 'SELECT CAST("x" AS "pg_catalog"."int4")'),
        (
            "select extract(year from x)",
            'SELECT "pg_catalog"."extract"(\'year\', "x")',
        ),
        (
            "select a from b join (c join d on e) using (f)",
            'SELECT "a" FROM "b" JOIN ("c" JOIN "d" ON "e") USING ("f")',
        ),
        ("delete from only t", 'DELETE FROM ONLY "t"'),
        ("declare c cursor for select 1", 'DECLARE "c" CURSOR FOR SELECT 1'),
    ],
)
def test_the_text(text: str, printed: str) -> None:
    assert shown(text) == printed


# --- Refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "create table t (a int)",
        "create view v as select 1",
        "create materialized view v as select 1",
        "create function f() returns int language sql as 'select 1'",
        "drop table t",
        "alter table t add b int",
        "truncate t",
        "grant select on t to r",
        "begin",
        "set a = b",
        "show a",
        "do 'x'",
        "call p()",
        "lock table t",
        "refresh materialized view v",
        "explain refresh materialized view v",
        "explain create materialized view v as select 1",
        "fetch 1 from c",
        "close c",
        "deallocate p",
        "vacuum",
        "listen x",
        "copy t to 'file'",
        "copy t from 'file'",
        "copy t to program 'x'",
        "copy (select 1) to program 'x'",
        "insert into t values (1) on conflict (a s.op (x = 1)) do nothing",
    ],
)
def test_what_is_not_printed(text: str) -> None:
    assert "secret" not in refusal(text)


@pytest.mark.parametrize(
    ("version", "text"),
    [
        (140_000, "with recursive a(n) as (select 1) search depth first by n set o select 1"),
        (140_000, "with recursive a(n) as (select 1) cycle n set c using p select 1"),
        (140_000, "select 1 from t group by distinct a"),
        (140_000, "select 1 from a join b using (x) as j"),
        (140_000, "select extract(year from a)"),
        (140_000, "declare c asensitive cursor for select 1"),
        (150_000, "merge into t using u on true when matched then delete"),
        (160_000, "select 1 from (select 1)"),
        (160_000, "select system_user"),
        (160_000, "select 0xFFFFFFFFFFFFFFFFFF"),
        (160_000, "select 1_000.5"),
        (160_000, "select a is json"),
        (160_000, "select json_object('a': 1)"),
        (160_000, "select json_object()"),
        (160_000, "select json_array(1)"),
        (160_000, "select json_array(select 1)"),
        (160_000, "select json_objectagg(a: b)"),
        (160_000, "select json_arrayagg(a)"),
        (160_000, "select xmlserialize(content a as text indent)"),
        (170_000, "select a at local"),
        (170_000, "select json('x')"),
        (170_000, "select json_scalar(1)"),
        (170_000, "select json_serialize(a)"),
        (170_000, "select json_value(a, '$')"),
        (170_000, "select * from json_table(a, '$' columns (b int))"),
        (170_000, "merge into t using u on true when not matched by source then delete"),
        (170_000, "merge into t using u on true when matched then delete returning t.a"),
        (170_000, "with a as (merge into t using u on true when matched then delete) select 1"),
        (170_000, "merge into t using u on true when matched then delete returning merge_action()"),
        (180_000, "update t set a = 1 returning with (old as o) o.a"),
    ],
)
def test_what_is_newer_than_the_server(version: int, text: str) -> None:
    round_trip(text, version)
    assert "newer than the server" in refusal(text, version - 1)


def test_not_matched_by_target_is_printed_without_saying_so() -> None:
    text = "merge into t using u on true when not matched by target then do nothing"
    assert "BY TARGET" not in round_trip(text, 150_000)


def test_an_unknown_node() -> None:
    statement = parsed("select 1")
    body = {**statement.body, "targetList": [{"ResTarget": {"val": {"Novelty": {}}}}]}
    with pytest.raises(Undeparsable, match="Novelty"):
        deparse("SelectStmt", body, NEWEST)
    with pytest.raises(Undeparsable, match="Novelty"):
        deparse("Novelty", {}, NEWEST)


def test_too_deep() -> None:
    operand = called = selected = parsed("select 1").body["targetList"][0]["ResTarget"]["val"]
    for _ in range(5_000):
        plus, f = [{"String": {"sval": "+"}}], [{"String": {"sval": "f"}}]
        operand = {"A_Expr": {"kind": "AEXPR_OP", "name": plus, "rexpr": operand}}
        call = {"funcname": f, "args": [called], "funcformat": "COERCE_EXPLICIT_CALL"}
        called = {"FuncCall": call}
        query = {**parsed("select").body, "targetList": [{"ResTarget": {"val": selected}}]}
        selected = {"SubLink": {"subLinkType": "EXPR_SUBLINK", "subselect": {"SelectStmt": query}}}
    for deep in (operand, called, selected):
        statement = {**parsed("select").body, "targetList": [{"ResTarget": {"val": deep}}]}
        with pytest.raises(Undeparsable, match="too deeply"):
            deparse("SelectStmt", statement, NEWEST)


@pytest.mark.parametrize("chain", [" + ", " || ", " and ", " or "])
def test_long_chains(chain: str) -> None:
    round_trip("select " + chain.join("a" * 200))


def test_names_and_words_that_break_out_are_refused_or_quoted() -> None:
    for name in ('x"; drop table t --', "a b", 'a""', "é"):
        quoted = '"' + name.replace('"', '""') + '"'
        for text in (f"select {quoted}", f"select 1 from {quoted}", f"select {quoted}()"):
            assert quoted in round_trip(text)
    for value in ("'; drop table t --", "\\'", "$$", "\n", "/*"):
        round_trip("select '" + value.replace("'", "''") + "'")
    body = copy.deepcopy(parsed("select a + b").body)
    body["targetList"][0]["ResTarget"]["val"]["A_Expr"]["name"][0]["String"]["sval"] = "-- x"
    with pytest.raises(Undeparsable):
        deparse("SelectStmt", body, NEWEST)
    for value in ("1; drop table t", "1e", "0x", "", "1 2"):
        body = {"A_Const": {"fval": {"fval": value}}}
        statement = {**parsed("select 1").body, "targetList": [{"ResTarget": {"val": body}}]}
        with pytest.raises(Undeparsable):
            deparse("SelectStmt", statement, NEWEST)
    nul = {"A_Const": {"sval": {"sval": "a\0b"}}}
    statement = {**parsed("select 1").body, "targetList": [{"ResTarget": {"val": nul}}]}
    with pytest.raises(Undeparsable, match="NUL"):
        deparse("SelectStmt", statement, NEWEST)


# --- same_statement ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select 1", "SELECT /* x */ 1"),
        ("select extract(year from a)", "select pg_catalog.extract('year', a)"),
        ("select a and (b and c)", "select a and (b and c)"),
        ("copy t to stdout csv header", "copy t to stdout (format 'csv', header true)"),
    ],
)
def test_spellings_of_one_statement(one: str, other: str) -> None:
    kind, body, *_ = parsed(one)
    assert same_statement(kind, body, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select 1", "select 2"),
        ("select 1", "select 1; select 1"),
        ("select 1", ""),
        ("select 1", "select"),
        ("select 1", "select 1 from"),
        ("select 1", "select 1\0"),
        ("select 1", "select '1'"),
        ("select 1", "select 1.0"),
        ("select 0", "select null"),
        ("select '1'", "select 1"),
        ("select a and (b and c)", "select a and b and c"),
        ("select a from t", "select a from only t"),
        ("select extract(year from a)", "select extract('year', a)"),
        ("copy t to stdout csv header", "copy t to stdout (format 'csv', header false)"),
        ("select a", "select a as a"),
        ("select '\\'", "select '\ud800'"),
        ("delete from t", "select 1"),
    ],
)
def test_different_statements(one: str, other: str) -> None:
    kind, body, *_ = parsed(one)
    assert not same_statement(kind, body, other)


def test_a_nested_conjunction_on_the_left_is_the_flat_one() -> None:
    def conjunction(*arguments: Any) -> Any:
        return {"BoolExpr": {"boolop": "AND_EXPR", "args": list(arguments)}}

    a, b, c, d = ({"ParamRef": {"number": number}} for number in (1, 2, 3, 4))
    nested = conjunction(conjunction(conjunction(a, b), c), d)
    assert same_tree(nested, conjunction(a, b, c, d))
    assert not same_tree(nested, conjunction(a, b, d, c))
    assert not same_tree(nested, conjunction(a, conjunction(b, c, d)))
    body = {**parsed("select").body, "whereClause": nested}
    assert same_statement("SelectStmt", body, deparse("SelectStmt", body, NEWEST))


# --- Mutations: nothing of a tree is left out --------------------------------------------------

# Not compared: where things stood, and how a call was written.
_INDIFFERENT = PLACES | {"funcformat"}


def mutations(tree: Any) -> Iterator[tuple[str, Any]]:
    """Copies of `tree`, each with one field dropped, altered, or added."""
    for path in places(tree, ()):
        for change in (dropped, altered, novel):
            mutated = copy.deepcopy(tree)
            spot = mutated
            for step in path[:-1]:
                spot = spot[step]
            if change(spot, path[-1]):
                yield f"{change.__name__} {'.'.join(map(str, path))}", mutated


def places(node: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if key in _INDIFFERENT:
            continue
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def dropped(spot: Any, key: Any) -> bool:
    if not spot[key] and (isinstance(spot, list) or spot[key] != {}):
        return False  # a placeholder for nothing; an empty text, which may be left out
    del spot[key]
    return True


def altered(spot: Any, key: Any) -> bool:
    value = spot[key]
    if isinstance(value, bool):
        spot[key] = not value
    elif isinstance(value, int):
        spot[key] = value + 1
    elif isinstance(value, str):
        spot[key] = value + "x"
    elif isinstance(value, list):
        value.append(value[0])
    else:
        return False
    return True


def novel(spot: Any, key: Any) -> bool:
    if not isinstance(spot[key], dict):
        return False
    spot[key]["novelty"] = True
    return True


MUTATED = [
    "select distinct on (a) a + 1 as b, f(distinct x order by y) filter (where z) over (w rows 1"
    " preceding) from s.t as u(v) left join lateral (select 1) q using (k) where not a in (1, 2)"
    " group by rollup (a), b having c window w as (order by d desc nulls last) order by 1 limit 5"
    " offset 2 for update of t skip locked",
    "with recursive a(n) as not materialized (select 1 union all select 2) search depth first by n"
    " set o cycle n set c using p select case a when 1 then (b).c[2:3] else array[$1] end,"
    " cast(x as numeric(3, 1)[]), b'1', 1.5, null, true, '' from a, f() as (g int collate h)",
    "insert into s.t as u (a, b[1]) overriding user value values (1, default) on conflict (a"
    " collate c d desc) where e do update set (f, g) = (select 1, 2), h = 3 where i returning with"
    " (old as o) o.a as j",
    "update only t set a = 1, (b, c) = row(2, 3) from u where current of d returning *",
    "delete from t using u where a is not null or b is distinct from any (c)".replace(
        "is distinct from any", "= any"
    ),
    "merge into t as x using u on true when matched and a then update set b = 1 when not matched"
    " then insert (c) overriding user value values (2) when not matched by source then delete"
    " returning merge_action()",
    "explain (analyze, format json, x 1) declare c binary cursor with hold for values (1)",
    "prepare p (int, text[]) as select $1",
    "copy t (a) from stdin with (format csv, force_null (b), header true) where c",
    "create temp table if not exists t (a) using heap with (x.b = 1, c = off) on commit drop"
    " tablespace d as execute e(1) with no data",
    "select 1 into unlogged t",
    "select json_value(a format json encoding utf8, '$' passing b as c returning int default 1 on"
    " empty error on error), json_objectagg(a: b absent on null with unique returning text),"
    " json_arrayagg(a order by b null on null), json_array(select 1), a is json object with unique",
    "select * from json_table(a, '$' as p columns (b for ordinality, c int path 'x' omit quotes, d"
    " int exists, e json format json with wrapper, nested path 'y' as z columns (f int)) error on"
    " error) t",
    "select xmlelement(name a, xmlattributes(b as c), d), xmlroot(a, version b, standalone no),"
    " xmlserialize(content a as text indent), xmlparse(content a), a is document",
    "select * from xmltable(xmlnamespaces('a' as b), 'c' passing d columns e int path f default g"
    " not null, h for ordinality) x",
    "select * from a tablesample system (1) repeatable (2), rows from (f(1), g() as (h int)) with"
    " ordinality, (b natural full join c) as d(e), i join j using (k) as l",
    "select a like b, a between b and c, a similar to b escape c, nullif(a, b), a is true, "
    "(a, b) = (1, 2), greatest(a, b), grouping(a), a collate b.c, current_timestamp(3),"
    " exists (select 1), a <> all (select 1), f(variadic x => y), count(*), mode() within group"
    " (order by a using operator(s.<))",
]


@pytest.mark.parametrize("text", MUTATED)
def test_a_changed_tree_is_refused_or_another_text(text: str) -> None:
    kind, body, *_ = parsed(text)
    assert same_statement(kind, body, deparse(kind, body, NEWEST))
    changes = 0
    for what, mutated in mutations(body):
        changes += 1
        assert not same_tree(body, mutated), what
        try:
            printed = deparse(kind, mutated, NEWEST)
        except Undeparsable:
            continue
        assert not same_statement(kind, body, printed), (what, printed)
    assert changes > 20


# --- Splices: every expression in every place --------------------------------------------------

# Only some places have these; elsewhere their text is no SQL.
_PLACED = {"CurrentOfExpr", "GroupingSet", "NamedArgExpr", "SetToDefault"}
_MOVABLE = {*EXPRESSIONS, *JSON_EXPRESSIONS, *XML_EXPRESSIONS} - _PLACED


def expressions(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a tree that holds an expression, as container and key."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if isinstance(value, dict) and len(value) == 1:
            (kind,) = value
            if kind in _MOVABLE:
                yield node, key
        if isinstance(value, dict | list):
            yield from expressions(value)


def test_expressions_in_each_others_places() -> None:
    """What is printed of a tree that no text ever gave either is not SQL or means that tree."""
    chance = random.Random(7)
    trees = [parsed(text) for text in lines("deparse_cases.sql") + lines("deparse_rows.sql")]
    pool: dict[str, list[Any]] = {}
    for tree in trees:
        for spot, key in expressions(tree.body):
            (kind,) = spot[key]
            pool.setdefault(kind, []).append(spot[key])
    same = 0
    for _ in range(3_000):
        kind, body, *_ = chance.choice(trees)
        mixed = copy.deepcopy(body)
        places = list(expressions(mixed))
        if not places:
            continue
        spot, key = chance.choice(places)
        spot[key] = chance.choice(pool[chance.choice(sorted(pool))])
        try:
            printed = deparse(kind, mixed, NEWEST)
        except Undeparsable:
            continue
        if same_statement(kind, mixed, printed):
            same += 1
        else:
            assert not isinstance(parse_decoded(printed, len(printed.encode())), list), printed
    assert same > 2_500
