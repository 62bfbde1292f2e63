"""PREPARE, EXECUTE and DEALLOCATE in SQL: what is told of them, and that nothing is told of what
could be read in two ways."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.catalog import SessionSettings
from appliance.model.facts import Action, Confidence, Flag
from appliance.model.naming import NamedText
from appliance.sql.mysql.ending import ending
from appliance.sql.mysql.naming import PREPARED_BYTES_MAX, named, preparing
from appliance.sql.mysql.words import readable
from tests.unit.sql.mysql.shop import SETTINGS, facts, only

PLAIN = SessionSettings(database="shop", modes=("NO_BACKSLASH_ESCAPES",))
ANSI = SessionSettings(database="shop", modes=("ANSI_QUOTES",))
LATIN = SessionSettings(database="shop", encoding="latin1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("prepare p from 'select 1'", NamedText("prepare", "p", b"select 1")),
        ("PREPARE `P` FROM\t'select ''a'''; ", NamedText("prepare", "p", b"select 'a'")),
        ("prepare p from \"select 'a'\"", NamedText("prepare", "p", b"select 'a'")),
        (r"prepare p from 'select \'a\\n\''", NamedText("prepare", "p", rb"select 'a\n'")),
        ("prepare p from 'é'", NamedText("prepare", "p", "é".encode())),
        ("prepare p from 'select 1' -- done", NamedText("prepare", "p", b"select 1")),
        ("execute p", NamedText("execute", "p")),
        ("EXECUTE `Select` ;", NamedText("execute", "select")),
        ("execute p using @a , @b", NamedText("execute", "p")),
        ("deallocate prepare P", NamedText("deallocate", "p")),
        ("drop prepare p;", NamedText("deallocate", "p")),
    ],
)
def test_what_is_told(text: str, expected: NamedText) -> None:
    assert named(text.encode(), SETTINGS) == expected


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("prepare p from x'53'", SETTINGS),
        ("prepare p from @x", SETTINGS),
        ("prepare p from concat('a', 'b')", SETTINGS),
        ("prepare p from 'a' 'b'", SETTINGS),
        ("prepare p from 'a'; select 1", SETTINGS),
        ("prepare p from 'a", SETTINGS),
        ("prepare p from /*!50000 'a' */", SETTINGS),
        ("prepare p from 'a' /*! using @a */", SETTINGS),
        ("prepare p from n'a'", SETTINGS),
        ("prepare p from _utf8'a'", SETTINGS),
        ('prepare p from "select 1"', ANSI),
        (r"prepare p from 'a\'b'", PLAIN),
        ("prepare p from 'é'", LATIN),
        ("prepare p from 'a'", SessionSettings(database="shop", modes=("ORACLE",))),
        ("prepare p from 'a'", SessionSettings(database="shop", encoding="gbk")),
        ("prepare p from 'a'", SessionSettings(database="shop", certain=False)),
    ],
)
def test_what_is_prepared_is_not_told_where_it_may_be_something_else(
    text: str, settings: SessionSettings
) -> None:
    found = named(text.encode(), settings)
    assert found is None or found.text is None


@pytest.mark.parametrize(
    "text",
    [
        "execute immediate",
        "execute immediate 'select 1'",
        "execute p using 1",
        "execute p using (select 1)",
        "execute p using @a, 2",
        "execute p; select 1",
        "execute é",
        "execute `a b`",
        "/* */ execute p",
        "execute p /*! using @a */",
        "deallocate p",
        "prepare é from 'select 1'",
        "select 1",
        "",
    ],
)
def test_what_is_none_of_these(text: str) -> None:
    assert named(text.encode(), SETTINGS) is None


@given(st.text(alphabet="ab'\"\\\n?%_;é\0 ", max_size=20), st.sampled_from([SETTINGS, PLAIN, ANSI]))
def test_what_is_sent_is_read_as_what_was_judged(text: str, settings: SessionSettings) -> None:
    """Raw NULs are no part of a text that is read."""
    said = preparing("p", text.encode(), settings)
    if said is not None:
        assert named(said, settings) == NamedText("prepare", "p", text.encode())
    else:
        assert "\0" in text


@pytest.mark.parametrize(
    ("text", "actions", "flags"),
    [
        ("prepare p from 'select ssn from customers'", "prepare select", set()),
        (
            "prepare p from 'delete from customers'",
            "prepare delete",
            {Flag.WRITES, Flag.NO_WHERE},
        ),
        ("prepare p from 'drop table customers'", "prepare drop", None),
        ("prepare p from 'set global max_connections = 1'", "prepare set alter_system", None),
    ],
)
def test_all_that_it_would_do_has_to_be_allowed(
    text: str, actions: str, flags: set[Flag] | None
) -> None:
    statement = only(text)
    assert [action.value for action in statement.actions] == actions.split()
    assert (statement.kind, statement.confidence) == ("PrepareStmt", Confidence.EXACT)
    assert statement.prepared is not None and statement.prepared.verb == "prepare"
    assert not (statement.outputs or statement.consumed or statement.settings)
    assert flags is None or statement.flags == flags


@pytest.mark.parametrize("inner", ["selec 1", "select 1 from", "select ''", "select /*!9 1"])
def test_what_cannot_be_read_is_a_failure_of_the_whole(inner: str) -> None:
    found = facts(f"prepare p from '{inner}'")
    assert found.failure is not None and found.confidence is Confidence.OPAQUE


@pytest.mark.parametrize(
    "text",
    [
        "prepare p from 'select 1; select 2'",
        "prepare p from ''",
        "prepare p from 'execute q'",
        "prepare p from 'deallocate prepare q'",
        "prepare p from 'prepare q from ''select 1'''",
        "prepare p from 'execute immediate ''select 1'''",
        "prepare p from 'select 1'; execute p",
        "select 1; prepare p from 'select 1'",
        "prepare p from @x",
        "prepare p from 'select 1' 'x'",
        "execute p",
        "execute p using @a",
        "execute immediate 'select 1'",
    ],
)
def test_the_rest_is_run_from_strings(text: str) -> None:
    found = facts(text)
    assert Action.DYNAMIC_SQL in found.actions or found.failure is not None
    assert found.confidence is Confidence.OPAQUE


@pytest.mark.parametrize(
    "text", ["execute p", "execute p using @a", "drop prepare p", "prepare p from", "kill 1", ""]
)
def test_blanks_are_read_once(text: str) -> None:
    """Patterns that try each blank in two places would take hours for a text of a megabyte."""
    long = (" " * 1_000_000 + text + " " * 1_000_000 + "; x").encode()
    assert named(long, SETTINGS) is None and ending(long) is None
    oracle = SessionSettings(database="shop", modes=("ORACLE",))
    assert readable(long.replace(b"kill 1", b"set sql_mode = 0"), oracle) is not None


def test_only_so_much_is_prepared_by_name() -> None:
    """What is longer is SQL from a string that nobody has seen, and not lexed here."""
    room = PREPARED_BYTES_MAX - len("prepare p from ''")
    for length, told in ((room, True), (room + 1, False)):
        found = named(f"prepare p from '{'x' * length}'".encode(), SETTINGS)
        assert found is not None and (found.text is not None) is told
    assert preparing("p", b"x" * PREPARED_BYTES_MAX, SETTINGS) is None
    assert Action.DYNAMIC_SQL in facts(f"prepare p from 'select 1 {' ' * room}'").actions


def test_literals_are_not_shown() -> None:
    text = "prepare p from 'select ''secret'', \"other\" from orders where id = 42'"
    shown = facts(text).redacted
    assert "orders" in shown
    assert not any(word in shown for word in ("secret", 'other"', "42"))
