"""The question whether a write spares any row: asked when only the database knows, in the
statement's own words, and never when they could be read otherwise."""

from collections.abc import Callable

import pytest

from appliance.model.facts import Action, Facts, Flag
from tests.unit.sql.conftest import Database


def questions(facts: Facts) -> list[tuple[str, tuple[int, ...]]]:
    return [(" ".join(c.sql.split()), c.parameters) for s in facts.statements for c in s.checks]


def test_the_question_of_a_delete(database: Database) -> None:
    assert questions(database.facts("delete from events where n > 3 returning id")) == [
        (
            "SELECT EXISTS (SELECT FROM events ) AND NOT EXISTS "
            "(SELECT FROM events WHERE ( n > 3 ) IS NOT TRUE )",
            (),
        )
    ]


def test_the_question_of_a_joined_update_with_parameters(database: Database) -> None:
    text = (
        "update events e set kind = $1 from orders o where o.id = e.id and o.total > $3 and $3 <> 1"
    )
    assert questions(database.facts(text)) == [
        (
            "SELECT EXISTS (SELECT FROM events e ) AND NOT EXISTS (SELECT FROM events e WHERE NOT "
            "EXISTS (SELECT FROM orders o WHERE o.id = e.id and o.total > $1 and $1 <> 1 ) )",
            (3,),
        )
    ]


@pytest.mark.parametrize(
    "text",
    [
        "delete from events where id = 1",
        "delete from events where id = $1 and n > 3",
        "delete from events where id in (1, 2) or id = 7",
        "delete from events where (id, n) = (1, 2)",
        "delete from events where id = any ($1)",
        "explain delete from events where n > 3",
        "create temp table tt (a int); delete from tt where a > 1",
        "select * from events where n > 3",
    ],
)
def test_what_names_its_rows_is_not_asked_about(database: Database, text: str) -> None:
    facts = database.facts(text)
    assert not questions(facts)
    assert all(Flag.TRIVIAL_WHERE not in s.flags for s in facts.statements)


@pytest.mark.parametrize(
    "text",
    [
        "delete from events where n > 3 and client_email(id) is null",
        "delete from events where nextval('events_id_seq') > id",
        "delete from events where n > 3 and pg_advisory_lock(id) is null",
        "prepare p as delete from events where n > 3",
        "with events as (select 1 as id) delete from events using events x where n > x.id",
        "with x as (delete from orders returning id) delete from events using x where n > x.id",
    ],
)
def test_what_cannot_be_asked_counts_as_every_row(database: Database, text: str) -> None:
    facts = database.facts(text)
    assert not questions(facts)
    assert any(Flag.TRIVIAL_WHERE in s.flags for s in facts.statements)


def test_words_that_look_like_others(database: Database) -> None:
    text = (
        "with x as (select 1 as a), y as (select a from x) /* where */ update only events set kind"
        " = case when n is distinct from 3 then 'from' else $$ where $$ end from y as \"where\""
        " where n > \"where\".a and kind is not distinct from 'é'"
    )
    ((question, _),) = questions(database.facts(text))
    assert question.startswith("WITH x as (select 1 as a), y as (select a from x)")
    assert question.count("ONLY events") == 2
    assert "kind is not distinct from 'é'" in question


def test_it_works_without_a_catalog(blind: Callable[[str], Facts]) -> None:
    assert questions(blind("delete from events where n > $1"))


def test_writes_are_counted_at_any_depth(database: Database) -> None:
    writes = {
        "select 1": 0,
        "delete from clients": 1,
        "with d as (delete from clients returning id) select * from d": 1,
        "with d as (delete from clients), e as (select 1) insert into clients values (1)": 2,
        "explain analyze delete from clients": 1,
        "explain delete from clients": 0,
        "prepare p as delete from clients": 1,
        "copy clients from stdin": 0,
    }
    for text, number in writes.items():
        assert database.one(text).writes == number, text


def test_what_is_written_beneath(database: Database) -> None:
    def beneath(text: str) -> set[tuple[Action, str]]:
        return {(use.action, use.name) for use in database.one(text).beneath}

    assert beneath("delete from v_clients where id = 1") == {(Action.DELETE, "clients")}
    assert beneath("update v_clients set mail = 'x' where id = 1") == {(Action.UPDATE, "clients")}
    assert beneath("delete from payments_2024 where id = 1") == {(Action.DELETE, "payments")}
    assert beneath("truncate payments") == {(Action.TRUNCATE, "payments_2024")}
    assert beneath("insert into patients values (1)") == {(Action.INSERT, "people")}
    assert beneath("copy patients from stdin") == {(Action.COPY_FROM, "people")}
    assert beneath("explain delete from v_clients where id = 1") == set()
    assert beneath("select * from v_clients") == set()
    assert beneath("delete from orders where id = 1") == set()


CARRIED_ON = [
    ("delete from houses where id = 1", {"delete rooms", "update chairs room"}),
    ("delete from v_houses where number = 1",
     {"delete houses", "delete rooms", "update chairs room"}),
    ("delete from rooms where id = 1", {"update chairs room"}),
    ("update houses set id = 2 where id = 1", {"update rooms house"}),
    ("update v_houses set number = 2", {"update houses", "update rooms house"}),
    ("update houses set street = 'x' where id = 1", set()),
    ("insert into houses values (1, 'x') on conflict (id) do update set id = 7",
     {"update rooms house"}),
    ("merge into houses h using orders o on h.id = o.id when matched then delete",
     {"delete rooms", "update chairs room"}),
    ("with gone as (delete from houses returning id) select 1",
     {"delete rooms", "update chairs room"}),
    ("truncate houses cascade", {"truncate rooms", "truncate chairs", "truncate lamps"}),
    ("truncate houses", set()),
    ("delete from chairs", set()),
    ("explain delete from houses", set()),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CARRIED_ON, ids=[text for text, _ in CARRIED_ON])
def test_what_foreign_keys_carry_a_write_on_to(
    database: Database, text: str, expected: set[str]
) -> None:
    beneath = database.one(text).beneath
    found = {" ".join((use.action.value, use.name, *use.columns)) for use in beneath}
    assert found == expected
