"""Statements that are sent over masked relations: what goes upstream, and what may come back."""

import pytest

from appliance.model.errors import Refused
from tests.playbook.playbook import answers, says
from tests.playbook.speech import (
    BOUND,
    EMAIL_COLUMN,
    IDLE,
    PARSED,
    SYNC,
    bind,
    complete,
    computed,
    describe_portal,
    described,
    execute,
    parse,
    query,
    row,
)
from tests.playbook.transcript import Cut, Decided, Finished, Sent, client, upstream
from tests.playbook.world import ANN, DAN, Open

UPPER = "SELECT upper(email) FROM customers WHERE email <> ''"
TEXT = 25
MASKED = (
    '"pg_catalog"."upper"("email")',
    'FROM (SELECT "t"."id" AS "id"',
    'FROM "public"."customers" AS "t") AS "customers"',
    'OPERATOR("pg_catalog".<>)',
)
RESULT = described(computed("upper", TEXT)) + row("****") + complete("SELECT 1")


def test_a_query(play: Open) -> None:
    assert (
        play(ANN)
        >> says(query(UPPER))
        << Decided()
        << Sent(*MASKED)
        >> answers(RESULT, IDLE)
        << client(RESULT, IDLE)
        << Finished(rows=1, cells_masked=0)
    )


def test_as_it_is_for_who_owes_none(play: Open) -> None:
    assert play(DAN) >> says(query(UPPER)) << Decided() << upstream(query(UPPER))


def test_prepared_and_executed_twice(play: Open) -> None:
    values = described(computed("upper", TEXT))
    once = row("****") + complete("SELECT 1")
    assert (
        play(ANN)
        >> says(parse(UPPER, "s"), bind("s"), describe_portal(), execute(), SYNC)
        << [Decided("parse"), Decided("execute"), Sent(*MASKED)]
        << upstream(bind("s"), describe_portal(), execute(), SYNC)
        >> answers(PARSED, BOUND, values, once, IDLE)
        << client(PARSED, BOUND, values, once, IDLE)
        << Finished(rows=1)
        >> says(bind("s"), execute(), SYNC)
        << Decided("execute")
        << upstream(bind("s"), describe_portal(), execute(), SYNC)
        >> answers(BOUND, values, once, IDLE)
        << client(BOUND, once, IDLE)
        << Finished(rows=1)
    )


@pytest.mark.parametrize("columns", [(EMAIL_COLUMN,), (computed("a"), computed("b"))])
def test_a_masked_column_that_arrives_all_the_same(play: Open, columns: tuple[object, ...]) -> None:
    """The rewrite was passed by, or another result came: nothing of it reaches the client."""
    assert (
        play(ANN)
        >> says(query(UPPER))
        << Decided()
        << Sent(*MASKED)
        >> answers(described(*columns))  # type: ignore[arg-type]
        << Cut(Refused)
    )


def test_only_what_needs_it_of_several(play: Open) -> None:
    assert (
        play(ANN)
        >> says(query(f"SELECT 1 AS one -- first\n; {UPPER}; SELECT email FROM customers"))
        << Decided()
        << Sent("SELECT 1 AS one -- first\n", *MASKED, "\n;\nSELECT email FROM customers")
    )
