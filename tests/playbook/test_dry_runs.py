"""A held write that policy wants counted: recorded, run, taken back, and only then asked about."""

from collections.abc import Callable
from typing import Any

import pytest

from appliance.approval.request import Effect
from appliance.audit.record import DryRunBegun, DryRunEnded
from appliance.session import dry_runs, estimates
from appliance.session.effects import AskApproval, RefreshCatalog, WithdrawApproval
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.playbook import Event, Playbook, answers, gone, happens, says
from tests.playbook.speech import (
    BOUND,
    CLOSED,
    FAILED,
    FLUSH,
    IDLE,
    IN_TRANSACTION,
    PARSED,
    SYNC,
    SYNTAX_ERROR,
    complete,
    execute,
    failure,
    parse,
    query,
    remark,
    row,
)
from tests.playbook.test_estimates import (
    NOT_IN_TIME,
    PLAN,
    STEP,
    asked,
    begun,
    given_up,
    isolated,
    isolation_asked,
    planned,
    taken_back,
    told,
    undone,
)
from tests.playbook.transcript import (
    Asks,
    Decided,
    Expectation,
    client,
    error,
    upstream,
)
from tests.playbook.world import ANN, DAN, REHEARSED, Open

UPDATE = "UPDATE notes SET body = 'x'"
CHANGE = "UPDATE notes SET body = $1"
NAME = refusals.QUESTION_NAME
CLOSE = m.close(m.STATEMENT, NAME)


class Begun(Expectation):
    channel = "record"

    def matches(self, thing: Any) -> bool:
        return isinstance(thing, DryRunBegun) and thing.session == "s1" and bool(thing.request)

    def words(self) -> str:
        return "DryRunBegun"


class Ended(Expectation):
    channel = "record"

    def __init__(self, outcome: str = "completed", rows: int = 0, sqlstate: str = "") -> None:
        self._came = (outcome, rows, sqlstate)

    def matches(self, thing: Any) -> bool:
        return (
            isinstance(thing, DryRunEnded)
            and (thing.outcome.value, thing.rows, thing.sqlstate) == self._came
        )

    def words(self) -> str:
        return f"DryRunEnded {self._came}"


class AsksFor(Asks):
    """An AskApproval with exactly this effect."""

    def __init__(self, **effect: Any) -> None:
        super().__init__(AskApproval)
        self._effect = Effect(**effect)

    def matches(self, thing: Any) -> bool:
        return super().matches(thing) and thing.asked.effect == self._effect


def looked() -> Event:
    """The catalog was compared."""
    return happens("looked", lambda session, now: session.machine.catalog_ready(now))


def run(text: str = UPDATE, values: bytes = b"", inside: bool = False) -> list[Expectation]:
    before = dry_runs.BEFORE_INSIDE if inside else dry_runs.BEFORE
    after = estimates.AFTER_INSIDE if inside else estimates.AFTER
    sent = m.parse(NAME, text.encode()) + (values or m.bind_unparameterised(NAME, NAME))
    sent += m.execute(NAME) + m.close(m.PORTAL, NAME) + CLOSE
    return upstream(CLOSE, told(*before), sent, told(*after), CLOSE, SYNC)


def ran(tag: str, inside: bool = False, aside: bytes = b"") -> bytes:
    shown = PARSED + BOUND + aside + complete(tag) + CLOSED + CLOSED
    after = STEP * (2 if inside else 1)
    ready = IN_TRANSACTION if inside else IDLE
    return CLOSED + STEP * 3 + shown + after + CLOSED + ready


@pytest.fixture
def held(play: Open) -> Callable[..., Playbook]:
    def open_held(principal: Any = DAN, **more: Any) -> Any:
        return play(principal, **{"policy": REHEARSED, "approvals": True, **more})

    return open_held


def estimated(play: Playbook, text: str = UPDATE) -> Playbook:
    return (
        play
        >> says(query(text))
        << Asks(RefreshCatalog)
        >> looked()
        << asked(text)
        >> answers(planned())
    )


def test_counted(held: Open) -> None:
    """What it returns and says goes nowhere."""
    aside = row("1", "raw") + remark("a notice") + row("2", "raw")
    assert (
        estimated(held())
        << Begun()
        << run()
        >> answers(ran("UPDATE 17", aside=aside))
        << Ended(rows=17)
        << AsksFor(rows_estimated=42, rows_counted=17)
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_with_the_values_of_a_bind(held: Open) -> None:
    values = m.bind_texts(b"", b"", [b"x"])
    again = m.bind_again(values[5:], NAME, [1])
    assert (
        held()
        >> says(parse(CHANGE), values, execute(), SYNC)
        << Decided("parse")
        << upstream(parse(CHANGE), FLUSH)
        >> answers(PARSED)
        << client(PARSED)
        << Asks(RefreshCatalog)
        >> looked()
        << asked(CHANGE, again)
        >> answers(planned())
        << Begun()
        << run(CHANGE, again)
        >> answers(ran("UPDATE 3"))
        << Ended(rows=3)
        << AsksFor(rows_estimated=42, rows_counted=3)
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_in_a_transaction_behind_a_savepoint(held: Open) -> None:
    assert (
        begun(held())
        >> says(query(UPDATE))
        << Asks(RefreshCatalog)
        >> looked()
        << isolation_asked()
        >> answers(isolated("read committed"))
        << asked(inside=True)
        >> answers(planned(inside=True))
        << Begun()
        << run(inside=True)
        >> answers(ran("UPDATE 5", inside=True))
        << Ended(rows=5)
        << AsksFor(rows_estimated=42, rows_counted=5)
        >> gone()
        << Asks(WithdrawApproval)
    )


@pytest.mark.parametrize(
    ("why", "outcome", "note"),
    [
        (NOT_IN_TIME, "cancelled", "not counted: it was not done in time"),
        (
            failure("55P03", "locked by carol"),
            "failed",
            "not counted: another session has locked what it touches",
        ),
        (
            failure("23505", "Key (email)=(ada@example.org) already exists"),
            "failed",
            "not counted: it failed with SQLSTATE 23505, and would now",
        ),
    ],
)
def test_one_that_fails_is_taken_back(held: Open, why: bytes, outcome: str, note: str) -> None:
    sqlstate = m.parse_error_fields(why[5:])["C"]
    assert (
        estimated(held())
        << Begun()
        << run()
        >> answers(CLOSED, STEP * 3, PARSED, BOUND, why, FAILED)
        << Ended(outcome, sqlstate=sqlstate)
        << undone()
        >> answers(taken_back())
        << AsksFor(rows_estimated=42, note=note)
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_what_cannot_be_recorded_is_not_run(held: Open) -> None:
    """In its place goes one that the server rejects, and approvers see why there is no count."""
    instead = refusals.rejected_parse() + m.bind_unparameterised(NAME, NAME)
    instead += m.execute(NAME) + m.close(m.PORTAL, NAME) + CLOSE
    told_around = (CLOSE, told(*dry_runs.BEFORE), instead, told(*estimates.AFTER), CLOSE, SYNC)
    assert (
        held()
        >> says(query(UPDATE))
        << Asks(RefreshCatalog)
        >> looked()
        << asked()
        >> answers(planned(), recorded=False)
        << upstream(*told_around)
        >> answers(CLOSED, STEP * 3, SYNTAX_ERROR, FAILED)
        << undone()
        >> answers(taken_back())
        << AsksFor(rows_estimated=42, note="not counted: it could not be recorded")
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_the_session_ends_amid_it(held: Open) -> None:
    assert estimated(held()) << Begun() << run() >> gone() << Ended("disconnected")


def test_a_client_that_gives_up_meanwhile(held: Open) -> None:
    assert (
        estimated(held())
        << Begun()
        << run()
        >> given_up("cancelled")
        >> answers(ran("UPDATE 1"))
        << Ended(rows=1)
        << Decided(refused="hold_withdrawn")
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << error(says="waited for an approval")
        << client(IDLE)
    )


def test_a_client_that_gave_up_before_is_not_counted(held: Open) -> None:
    play = held() >> says(query(UPDATE)) << Asks(RefreshCatalog) >> looked() << asked()
    assert (
        play
        >> given_up("cancelled")
        >> answers(planned())
        << Decided(refused="hold_withdrawn")
        << upstream(refusals.rejected_query())
    )


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (
            "UPDATE notes SET body = 'x' WHERE random() < 1",
            "not counted: it calls random(), which is not the same each time",
        ),
        (
            "UPDATE notes SET body = nextval('s')",
            "not counted: it does more than write rows",
        ),
    ],
)
def test_what_is_not_run(held: Open, text: str, note: str) -> None:
    assert (
        held()
        >> says(query(text))
        << Asks(RefreshCatalog)
        >> looked()
        << asked(text)
        >> answers(planned())
        << AsksFor(rows_estimated=42, note=note)
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_what_the_planner_finds_too_large_is_not_run(held: Open) -> None:
    plan = {**PLAN, "Plans": [{**PLAN["Plans"][0], "Plan Rows": dry_runs.ROWS_MAX + 1}]}
    assert (
        held()
        >> says(query(UPDATE))
        << Asks(RefreshCatalog)
        >> looked()
        << asked()
        >> answers(planned(plan))
        << AsksFor(
            rows_estimated=dry_runs.ROWS_MAX + 1,
            note="not counted: it would touch too many rows",
        )
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_what_touches_masked_columns_of_who_owes_masks_is_not_run(held: Open) -> None:
    """Whether it fails would tell of raw values: of a unique index, say."""
    text = "UPDATE customers SET email = 'guess@example.org' WHERE id = 1"
    assert (
        held(ANN)
        >> says(query(text))
        << Asks(RefreshCatalog)
        >> looked()
        << asked(text)
        >> answers(planned())
        << AsksFor(
            rows_estimated=42,
            note="not counted: it touches masked columns, and masks are owed",
        )
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_one_after_another(held: Open) -> None:
    """Each writes, though nothing stays: not as often as a client likes."""

    def soon(session: Any, now: float) -> Any:
        session.state.rehearsed_at = now  # the playbook's clock goes by whole seconds
        return session.machine.client_received(query(UPDATE), now)

    assert (
        held()
        >> happens("soon", soon)
        << Asks(RefreshCatalog)
        >> happens("looked", lambda session, now: session.machine.catalog_ready(now))
        << asked()
        >> happens(
            "planned at once",
            lambda session, now: session.machine.upstream_received(
                planned(), session.state.rehearsed_at + 0.9
            ),
        )
        << AsksFor(
            rows_estimated=42,
            note="not counted: another statement of its session was counted just now",
        )
        >> gone()
        << Asks(WithdrawApproval)
    )
