"""The way in: failures, spans, prepared names, settings; and that no bytes make it raise."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.catalog import SessionSettings
from appliance.model.facts import Action, Confidence, Facts, Flag, PreparedUse
from appliance.model.limits import COMMENT_COUNT_MAX, NESTING_MAX, Limits
from appliance.sql.analysis import UNPARSED, analyse
from appliance.sql.parse import RawStatement
from tests.unit.sql.conftest import Database

SETTINGS = SessionSettings(database="d")
FORMS = [
    line
    for line in Path(__file__).with_name("forms.sql").read_text().splitlines()
    if not line.startswith("--")
]


def facts(text: bytes | str, limits: Limits | None = None) -> Facts:
    encoded = text.encode() if isinstance(text, str) else text
    return analyse(encoded, None, SETTINGS, limits or Limits())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"select 1\0; drop table x", "nul_byte"),
        (b"\0", "nul_byte"),
        (b"select '\xff'", "encoding"),
        (b"select \xc3", "encoding"),
        (b"select from where", "syntax"),
        (b"selec 1", "syntax"),
        (b"select 'unterminated", "syntax"),
        (b"/* unterminated", "syntax"),
        (b"select 1 +" * (NESTING_MAX // 4) + b" 1", "syntax"),
        (b"select " + b"(" * (NESTING_MAX + 5) + b"1" + b")" * (NESTING_MAX + 5), "too_deep"),
        (b"select " + b"(" * 600 + b"1" + b")" * 600 + b"+ (select 1)" * 10, None),
        (b"/**/" * (COMMENT_COUNT_MAX + 1) + b"select 1", "too_many_comments"),
        (b"select 1" + b" " * Limits().statement_bytes_max, "too_long"),
        (b"select " + b"1+" * 20_000 + b"1", "too_deep"),
        (b"select 1" + b" union all select 1" * 20_000, "too_deep"),
        (b"select 1" + b" union all select 1" * 600, "too_deep"),
        (b"select " + b"not " * 20_000 + b"true", "too_deep"),
        (b"select " + b"a." * 30_000 + b"a", None),
        (b"select " + b"(select " * 900 + b"1" + b")" * 900, "too_deep"),
        (b"select " + b"case when true then " * 450 + b"1" + b" end" * 450, "too_deep"),
        (b"select a" + b"[1]" * 20_000, None),
        (b"select '1'" + b"::text" * 20_000, "too_deep"),
    ],
)
def test_what_cannot_be_analysed_says_why(text: bytes, code: str | None) -> None:
    found = facts(text)
    if code is None:
        assert found.failure is None or found.failure.code == "too_deep"
        return
    assert found.failure is not None
    assert found.failure.code == code
    (statement,) = found.statements
    assert statement.kind == UNPARSED
    assert statement.actions == (Action.OPAQUE,)
    assert not statement.outputs_known
    assert found.confidence is Confidence.OPAQUE


def test_a_syntax_error_has_a_position_in_characters() -> None:
    found = facts("select 'é' frm x y")
    assert found.failure is not None
    assert found.failure.cursor == 16
    assert found.failure.message == 'syntax error at or near "x"'


@pytest.mark.parametrize(
    "text", ["select 1 '5105-secret'", "select x 5105105105105", "select $$s$$ 'a"]
)
def test_a_syntax_error_repeats_no_literal(text: str) -> None:
    found = facts(text)
    assert found.failure is not None
    assert "secret" not in found.failure.message
    assert "5105" not in found.failure.message


def test_statements_have_spans_in_bytes() -> None:
    text = "select 'é';\n  drop table x ;; update y set z = 1"
    found = facts(text)
    pieces = [text.encode()[s.span[0] : sum(s.span)].decode().strip() for s in found.statements]
    assert pieces == ["select 'é'", "drop table x", "update y set z = 1"]


@pytest.mark.parametrize("text", ["", ";", ";;  ;", "-- nothing", "/* nothing */", "\n\t"])
def test_nothing_to_do_is_no_statement(text: str) -> None:
    assert facts(text).statements == ()
    assert facts(text).failure is None


def test_the_redacted_text_has_no_literals() -> None:
    found = facts("select * from clients where ssn = '078-05-1120' and n = 4711 -- note: 4711")
    assert "clients" in found.redacted
    assert "078" not in found.redacted
    assert "4711" not in found.redacted
    assert "078" not in facts("select '078-05-1120' frm").redacted


def test_what_a_measured_execute_gives_is_not_known() -> None:
    """EXPLAIN ANALYZE shows the volume of rows that the plan of `p` would have masked."""
    assert facts("explain execute p").statements[0].unresolved == ()
    assert facts("explain analyze execute p").statements[0].unresolved


def test_fingerprints_group_and_digests_name_the_settings() -> None:
    one, other = facts("select 1 from a where x = 1"), facts("select 1 from a where x = 2")
    assert one.fingerprint == other.fingerprint != ""
    assert one.settings_digest == SETTINGS.digest()


@pytest.mark.parametrize(
    ("text", "verb", "name"),
    [
        ("prepare p as select 1", "prepare", "p"),
        ('prepare "P q" as select 1', "prepare", "P q"),
        ("execute p", "execute", "p"),
        ("explain analyze execute p", "execute", "p"),
        ("create temp table x as execute p", "execute", "p"),
        ("deallocate p", "deallocate", "p"),
        ("deallocate all", "deallocate", ""),
        ("declare c cursor for select 1", "declare", "c"),
        ("fetch all in c", "fetch", "c"),
        ("move 2 c", "fetch", "c"),
        ("close c", "close", "c"),
        ("close all", "close", ""),
    ],
)
def test_names_shared_with_the_protocol(text: str, verb: str, name: str) -> None:
    assert facts(text).statements[0].prepared == PreparedUse(verb, name)


@pytest.mark.parametrize("text", ["execute p", "fetch 3 from c", "call p()"])
def test_outputs_that_the_text_does_not_tell(text: str) -> None:
    assert not facts(text).statements[0].outputs_known


@pytest.mark.parametrize(
    "text", ["begin", "move c", "copy x to stdout", "set a.b = 1", "truncate x"]
)
def test_no_outputs(text: str) -> None:
    statement = facts(text).statements[0]
    assert statement.outputs_known
    assert statement.outputs == ()


@pytest.mark.parametrize(
    ("text", "changed"),
    [
        ("set search_path = a, b", {("search_path", "a, b")}),
        ("set Search_Path to 'a'", {("search_path", "a")}),
        ("reset search_path", {("search_path", "")}),
        ("set x.y to default", {("x.y", "")}),
        ("set session authorization bob", {("session_authorization", "bob")}),
        ("set time zone 'UTC'", {("timezone", "UTC")}),
        ("set local statement_timeout = 5", {("statement_timeout", "5")}),
        ("reset all", {("all", "")}),
        ("select set_config('A.b', 'c', false)", {("a.b", "c")}),
        (
            "select set_config(setting_name => 'a.b', new_value => 'c', is_local => true)",
            {("a.b", "c")},
        ),
        ("select set_config('a.b', x, false) from y", {("a.b", "")}),
        ("select set_config('a', '1', true), set_config('b', '2', true)", {("a", "1"), ("b", "2")}),
        ("select set_config('a' || 'b', '1', true)", {("", "")}),
        ("prepare p as select set_config('a', '1', true)", {("a", "1")}),
        ("explain analyze select set_config('a', '1', true)", {("a", "1")}),
        ("select current_setting('a')", set()),
    ],
)
def test_settings_that_a_statement_changes(text: str, changed: set[tuple[str, str]]) -> None:
    statement = facts(text).statements[0]
    assert set(statement.settings) == changed
    assert (statement.setting in changed) if changed else statement.setting is None


def test_dynamic_code_is_opaque() -> None:
    found = facts("do $$ begin end $$")
    assert found.confidence is Confidence.OPAQUE
    assert Flag.DYNAMIC in found.statements[0].flags


def test_writes_and_schema_changes_are_flagged() -> None:
    def flags(text: str) -> frozenset[Flag]:
        return facts(text).statements[0].flags

    assert flags("insert into x values (1)") == {Flag.WRITES}
    assert flags("truncate x") == {Flag.WRITES}
    assert flags("create table x (a int)") == {Flag.WRITES, Flag.CHANGES_SCHEMA}
    assert flags("select * into y from x") == {Flag.WRITES, Flag.CHANGES_SCHEMA}
    assert flags("select 1") == frozenset()
    assert flags("explain insert into x values (1)") == frozenset()
    assert Flag.WRITES in flags("explain analyze insert into x values (1)")
    assert Flag.WRITES in flags("with x as (delete from y where z = 1) select 1")


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(text: bytes) -> None:
    facts(text)


TOKENS = sorted(
    {word for form in FORMS for word in form.replace("(", " ( ").replace(")", " ) ").split()}
)


@given(
    form=st.sampled_from(FORMS),
    place=st.integers(0, 60),
    words=st.lists(st.sampled_from(TOKENS), max_size=6),
)
def test_no_broken_statement_makes_it_raise(
    database: Database, form: str, place: int, words: list[str]
) -> None:
    pieces = form.split()
    pieces[place : place + 1] = words
    found = database.facts(" ".join(pieces))
    assert found.failure is None or found.failure.code == "syntax"


@pytest.mark.parametrize("copies", [50, 200])
def test_long_but_flat_statements_are_fine(database: Database, copies: int) -> None:
    columns = ", ".join(["email"] * copies)
    arms = " or ".join(f"id = {n}" for n in range(copies))
    joins = " ".join(f"join orders o{n} on o{n}.id = c.id" for n in range(min(copies, 100)))
    found = database.one(
        f"select {columns} from clients c {joins} where {arms}".replace("email", "c.email")
        .replace(" or id", " or c.id")
        .replace("where id", "where c.id")
    )
    assert found.confidence is Confidence.EXACT
    assert len(found.outputs) == copies


def test_a_tree_of_an_unknown_shape_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = RawStatement(
        "SelectStmt", {"targetList": [{"ResTarget": {"val": {"A_Expr": 7}}}]}, 0, 8
    )
    monkeypatch.setattr("appliance.sql.analysis.parse", lambda text, limits: [shape])
    found = facts("select 1")
    assert found.failure is not None
    assert found.failure.code == "crashed"
    assert found.confidence is Confidence.OPAQUE
