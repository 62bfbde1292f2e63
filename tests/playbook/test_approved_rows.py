"""An approval for so many rows: a released write that affects more is undone, and what nobody can
count is not held for it."""

from collections.abc import Callable
from typing import Any

import pytest

from appliance.approval.request import Effect, State
from appliance.link.approvals import Known, Ruled, Used
from appliance.session.effects import AskApproval, UseApproval, WithdrawApproval
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.playbook import Event, Playbook, answers, gone, happens, says
from tests.playbook.speech import (
    BOUND,
    CLOSED,
    FLUSH,
    IDLE,
    NO_DATA,
    NO_SUCH_PORTAL,
    PARSED,
    SYNC,
    SYNTAX_ERROR,
    complete,
    execute,
    parse,
    query,
)
from tests.playbook.test_blast import REJECTED, counted
from tests.playbook.test_estimates import asked, given_up, known, planned
from tests.playbook.transcript import Asks, Decided, Finished, client, error, notice, upstream
from tests.playbook.world import BOUNDED, DAN, Open

UPDATE = "UPDATE notes SET body = 'x'"
CHANGE = "UPDATE notes SET body = $1"
NAME = refusals.QUERY_NAME
ENDED = m.close(m.PORTAL, NAME) + SYNC


class AsksFor(Asks):
    """An AskApproval with exactly this effect."""

    def __init__(self, **effect: Any) -> None:
        super().__init__(AskApproval)
        self._effect = Effect(**effect)

    def matches(self, thing: Any) -> bool:
        return super().matches(thing) and thing.asked.effect == self._effect


def approved(rows_max: int | None, ticket: bool = False) -> list[Event]:
    def found(session: Any, now: float) -> Any:
        return session.machine.approval_known(
            Known("", "q1", State.APPROVED, "", "", now + 60), now
        )

    def used(session: Any, now: float) -> Any:
        return session.machine.approval_used(Used("q1", True, "s1", "eve", rows_max=rows_max), now)

    def ruled(session: Any, now: float) -> Any:
        return session.machine.approval_ruled(Ruled("q1", State.APPROVED), now)

    return [happens("known", found) if ticket else happens("ruled", ruled), happens("used", used)]


@pytest.fixture
def held(play: Open) -> Callable[..., Playbook]:
    def open_held(principal: Any = DAN, **more: Any) -> Any:
        return play(principal, **{"policy": BOUNDED, "approvals": True, **more})

    return open_held


def waiting(play: Playbook, rows_max: int | None) -> Playbook:
    """Held, shown to approvers with 42 rows expected, and approved."""
    ruled, used = approved(rows_max)
    return (
        play
        >> says(query(UPDATE))
        << asked()
        >> answers(planned())
        << AsksFor(rows_estimated=42, rows_allowed=47)
        >> known()
        << notice("waiting for it")
        >> ruled
        << Asks(UseApproval)
        >> used
    )


def test_within_what_was_approved(held: Open) -> None:
    assert (
        waiting(held(), 47)
        << Decided()
        << counted(UPDATE)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA, complete("UPDATE 47"))
        << upstream(ENDED)
        << Finished(command_tag="UPDATE 47")
        >> answers(CLOSED, IDLE)
        << client(complete("UPDATE 47"), IDLE)
    )


def test_one_row_more_is_undone(held: Open) -> None:
    assert (
        waiting(held(), 47)
        << Decided()
        << counted(UPDATE)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA, complete("UPDATE 48"))
        << upstream(REJECTED, FLUSH)
        << Finished("rolled_back", sqlstate="54000")
        >> answers(NO_SUCH_PORTAL)
        << client()
        << error(
            "54000",
            "this write affected 48 rows, and 47 were approved at most: it was rolled back",
            D="rule: builtin:approved-rows",
        )
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def test_an_approval_that_names_no_number_releases_nothing(held: Open) -> None:
    assert (
        waiting(held(), None)
        << Decided(refused="hold_mismatch")
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << error(says="for no number of rows")
        << client(IDLE)
    )


def test_what_was_approved_first_binds_a_ticket(held: Open) -> None:
    """Sent again it is estimated again, but what approvers saw is the limit."""
    found, used = approved(3, ticket=True)
    assert (
        held()
        >> says(query(UPDATE))
        << asked()
        >> answers(planned())
        << AsksFor(rows_estimated=42, rows_allowed=47)
        >> found
        << Asks(UseApproval)
        >> used
        << Decided()
        << counted(UPDATE)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA, complete("UPDATE 4"))
        << upstream(REJECTED, FLUSH)
        << Finished("rolled_back", sqlstate="54000")
        >> answers(NO_SUCH_PORTAL)
        << client()
        << error("54000", "4 rows, and 3 were approved")
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def test_of_a_bound_statement(held: Open) -> None:
    values = m.bind_texts(b"", b"", [b"x"])
    ruled, used = approved(47)
    assert (
        held()
        >> says(parse(CHANGE), values, execute(), SYNC)
        << Decided("parse")
        << upstream(parse(CHANGE), FLUSH)
        >> answers(PARSED)
        << client(PARSED)
        << asked(CHANGE, m.bind_again(values[5:], refusals.QUESTION_NAME, [1]))
        >> answers(planned())
        << AsksFor(rows_estimated=42, rows_allowed=47)
        >> known()
        << notice("waiting")
        >> ruled
        << Asks(UseApproval)
        >> used
        << Decided("execute")
        << upstream(values, m.describe(m.PORTAL, b""), execute(), FLUSH)
        >> answers(BOUND, NO_DATA, complete("UPDATE 48"))
        << client(BOUND)
        << upstream(refusals.rejected_execute(), FLUSH)
        << Finished("rolled_back", sqlstate="54000")
        >> answers(NO_SUCH_PORTAL)
        << error("54000", "47 were approved at most")
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{UPDATE}; {UPDATE}", "a text of several statements is not told apart"),
        ("UPDATE notes SET body = mine()", "execute_function may write rows"),
        (f"EXPLAIN ANALYZE {UPDATE}", "what EXPLAIN ANALYZE writes is not counted"),
        (f"WITH w AS ({UPDATE} RETURNING 1) DELETE FROM notes USING w", "a write in WITH"),
    ],
)
def test_what_cannot_be_counted_is_not_held(held: Open, text: str, why: str) -> None:
    assert (
        held()
        >> says(query(text))
        << Decided(refused="limit")
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << error("54000", why)
        << client(IDLE)
    )


def test_what_nobody_estimates_is_refused(held: Open) -> None:
    """Here: behind another statement of its pipeline."""
    read, unbound = "SELECT 1", m.bind_texts(b"", b"", [])
    values = m.bind_texts(b"", b"", [b"x"])
    assert (
        held()
        >> says(parse(read), unbound, execute(), parse(CHANGE), values, SYNC)
        << [Decided("parse"), Decided("execute"), Decided("parse")]
        << upstream(
            parse(read), unbound, m.describe(m.PORTAL, b""), execute(), parse(CHANGE), FLUSH
        )
        >> answers(PARSED, BOUND, NO_DATA, complete("SELECT 0"), PARSED)
        << Finished()
        << client(PARSED, BOUND, complete("SELECT 0"), PARSED)
        << Decided("execute", refused="hold_unavailable")
        << upstream(refusals.rejected_bind(), SYNC)
    )


def test_a_read_has_no_rows_to_be_bounded(held: Open) -> None:
    text = "SELECT body FROM notes"
    assert (
        held()
        >> says(query(text))
        << asked(text)
        >> answers(planned({"Node Type": "Seq Scan", "Plan Rows": 9}))
        << AsksFor(rows_estimated=9)
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_given_up(held: Open) -> None:
    play = held() >> says(query(UPDATE)) << asked() >> given_up("cancelled")
    assert (
        play
        >> answers(planned())
        << Decided(refused="hold_withdrawn")
        << upstream(refusals.rejected_query())
    )
