"""corpus/guards.yaml: what guards must see anywhere in a statement, and what they must not."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from appliance.model.facts import Action, Facts, Flag
from tests.unit.sql.conftest import Database

CORPUS = Path(__file__).parents[2] / "corpus" / "guards.yaml"
UNGUARDED = {Flag.WRITES, Flag.CHANGES_SCHEMA}

# These need what only the catalog knows: NOT NULL columns, that a name is another relation's.
NEEDS_CATALOG = (
    "where id is not null",
    "e.id = f.id",
    "e.id = id",
    "where random() < 2",
)


def _cases() -> Iterator[tuple[str, str, str]]:
    for section in yaml.safe_load(CORPUS.read_text()).values():
        for line in section:
            actions, flags, text = line.split("|", 2)
            yield actions.strip(), flags.strip(), text.strip()


CASES = list(_cases())


def seen(facts: Facts) -> tuple[set[Action], set[Flag]]:
    assert facts.failure is None
    flags = {flag for statement in facts.statements for flag in statement.flags}
    return set(facts.actions), flags - UNGUARDED


@pytest.mark.parametrize(("actions", "flags", "text"), CASES, ids=[c[2] for c in CASES])
def test_guards_see_it(database: Database, actions: str, flags: str, text: str) -> None:
    found = seen(database.facts(text))
    assert found == ({Action(a) for a in actions.split()}, {Flag(f) for f in flags.split()})


@pytest.mark.parametrize(("actions", "flags", "text"), CASES, ids=[c[2] for c in CASES])
def test_guards_work_without_a_catalog(
    blind: Callable[[str], Facts], actions: str, flags: str, text: str
) -> None:
    """Nothing is missed but what only the catalog tells; more may be reported."""
    found_actions, found_flags = seen(blind(text))
    wanted = {Action(a) for a in actions.split()} - {
        Action.EXECUTE_FUNCTION,
        Action.ALTER_SYSTEM,
        Action.ROLE,
    }
    assert wanted <= found_actions
    if not any(words in text for words in NEEDS_CATALOG):
        assert {Flag(f) for f in flags.split()} <= found_flags


def test_temporary_relations_may_be_emptied(database: Database) -> None:
    facts = database.facts(
        "create temp table tt (a int); truncate tt; delete from tt; update tt set a = 1"
    )
    flags = {flag for statement in facts.statements for flag in statement.flags}
    assert Flag.NO_WHERE not in flags
    assert [use.schema for s in facts.statements for use in s.relations] == ["pg_temp"] * 4


def test_a_temporary_name_that_is_also_a_table_is_guarded(database: Database) -> None:
    facts = database.facts("create temp table events (a int); delete from events")
    assert Flag.NO_WHERE in facts.statements[1].flags
    assert facts.statements[1].relations[0].schema == "public"


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("delete from seen", Flag.NO_WHERE),
        ("delete from seen where true", Flag.TRIVIAL_WHERE),
        ("update seen set n = 1", Flag.NO_WHERE),
        (
            "merge into seen using (select 1) z on true when matched then delete",
            Flag.TRIVIAL_WHERE,
        ),
    ],
)
def test_what_lies_below_a_temporary_view_is_guarded(
    database: Database, text: str, flag: Flag
) -> None:
    facts = database.facts(f"create temp view seen as select * from events; {text}")
    assert flag in facts.statements[1].flags
