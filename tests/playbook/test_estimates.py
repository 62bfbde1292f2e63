"""What the planner expects of a held statement is asked in front of its request, and leaves
nothing behind: not in the transaction, not for the client to read."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from appliance.approval.request import Effect, State
from appliance.link.approvals import Known, Ruled, Used
from appliance.session import estimates
from appliance.session.effects import AskApproval, EndSession, UseApproval, WithdrawApproval
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
    NO_DATA,
    PARSED,
    SYNC,
    SYNTAX_ERROR,
    TERMINATE,
    complete,
    computed,
    describe_portal,
    described,
    execute,
    failure,
    parse,
    query,
    remark,
    row,
)
from tests.playbook.transcript import (
    Asks,
    Decided,
    Expectation,
    Finished,
    client,
    error,
    notice,
    refusal,
    upstream,
)
from tests.playbook.world import ANN, DAN, HELD, Open, Session

UPDATE = "UPDATE notes SET body = 'x'"
CHANGE = "UPDATE notes SET body = $1"
NAME = refusals.QUESTION_NAME
CLOSE = m.close(m.STATEMENT, NAME)
PLAN: Any = {
    "Node Type": "ModifyTable",
    "Plan Rows": 0,
    "Plans": [{"Node Type": "Seq Scan", "Parent Relationship": "Outer", "Plan Rows": 42}],
}
STEP = PARSED + BOUND + complete("SET") + CLOSED + CLOSED
NOT_IN_TIME = failure("57014", "canceling statement due to statement timeout")
BY_NAME = "Table is locked by carol"


def told(*text: bytes, name: bytes = NAME) -> bytes:
    sent = b""
    for each in text:
        sent += m.parse(name, each) + m.bind_unparameterised(name, name) + m.execute(name)
        sent += m.close(m.PORTAL, name) + m.close(m.STATEMENT, name)
    return sent


def asked(text: str = UPDATE, values: bytes = b"", inside: bool = False) -> list[Expectation]:
    explain = m.parse(NAME, b"EXPLAIN (FORMAT JSON) " + text.encode())
    explain += values or m.bind_unparameterised(NAME, NAME)
    explain += m.execute(NAME) + m.close(m.PORTAL, NAME) + CLOSE
    before = estimates.BEFORE_INSIDE if inside else estimates.BEFORE
    after = estimates.AFTER_INSIDE if inside else estimates.AFTER
    return upstream(CLOSE, told(*before), explain, told(*after), CLOSE, SYNC)


def undone(inside: bool = False) -> list[Expectation]:
    after = estimates.AFTER_INSIDE if inside else estimates.AFTER
    return upstream(m.close(m.PORTAL, NAME), CLOSE, told(*after), CLOSE, SYNC)


def planned(plan: Any = PLAN, inside: bool = False, aside: bytes = b"") -> bytes:
    """The database's answers."""
    shown = PARSED + BOUND + aside + row(json.dumps([{"Plan": plan}])) + complete("EXPLAIN")
    before, after = (4, 2) if inside else (3, 1)
    ready = IN_TRANSACTION if inside else IDLE
    return CLOSED + STEP * before + shown + CLOSED + CLOSED + STEP * after + CLOSED + ready


def unplanned(why: bytes = NOT_IN_TIME, ready: bytes = FAILED, inside: bool = False) -> bytes:
    return CLOSED + STEP * (4 if inside else 3) + why + ready


def taken_back(inside: bool = False) -> bytes:
    after = STEP * (2 if inside else 1)
    return CLOSED + CLOSED + after + CLOSED + (IN_TRANSACTION if inside else IDLE)


class AsksFor(Asks):
    """An AskApproval with this effect."""

    def __init__(self, rows: int | None = None, note: str = "") -> None:
        super().__init__(AskApproval)
        self._effect = Effect(rows_estimated=rows, note=note)

    def matches(self, thing: Any) -> bool:
        return super().matches(thing) and thing.asked.effect == self._effect


def known() -> Event:
    return happens(
        "known",
        lambda session, now: session.machine.approval_known(
            Known("", "q1", State.PENDING, "https://x/q1", "", now + 60), now
        ),
    )


def approved() -> Event:
    return happens(
        "approved",
        lambda session, now: session.machine.approval_ruled(Ruled("q1", State.APPROVED), now),
    )


def used() -> Event:
    return happens(
        "used",
        lambda session, now: session.machine.approval_used(Used("q1", True, "s1", "eve"), now),
    )


def given_up(why: str) -> Event:
    return happens(why, lambda session, now: session.machine.give_up_waiting(why, now))


@pytest.fixture
def held(play: Open) -> Callable[..., Playbook]:
    def open_held(principal: Any = DAN, **more: Any) -> Any:
        return play(principal, **{"policy": HELD, "approvals": True, **more})

    return open_held


def begun(play: Any) -> Any:
    """In a transaction of the client's."""
    return (
        play
        >> says(query("BEGIN"))
        << Decided()
        << upstream(query("BEGIN"))
        >> answers(complete("BEGIN"), IN_TRANSACTION)
        << Finished()
        << client(complete("BEGIN"), IN_TRANSACTION)
    )


def isolation_asked() -> list[Expectation]:
    return upstream(told(estimates.ISOLATION, name=refusals.PROBE_NAME)[: -0 or None], SYNC)


def isolated(level: str, ready: bytes = IN_TRANSACTION) -> bytes:
    return PARSED + BOUND + row(level) + complete("SHOW") + CLOSED + CLOSED + ready


def test_in_front_of_the_request(held: Open) -> None:
    """And once it is approved the statement goes its way."""
    assert (
        held()
        >> says(query(UPDATE))
        << asked()
        >> answers(planned())
        << AsksFor(42)
        >> known()
        << notice("waiting for it", lacks=["42"])
        >> approved()
        << Asks(UseApproval)
        >> used()
        << Decided()
        << upstream(query(UPDATE))
        >> answers(complete("UPDATE 1"), IDLE)
        << Finished()
        << client(complete("UPDATE 1"), IDLE)
    )


def test_with_the_values_of_a_bind(held: Open) -> None:
    """Amid a pipeline that has run nothing yet. What comes behind waits."""
    values = m.bind_texts(b"", b"", [b"x"])
    again = m.bind_again(values[5:], NAME, [1])
    assert (
        held()
        >> says(parse(CHANGE), values, execute(), SYNC)
        << Decided("parse")
        << upstream(parse(CHANGE), FLUSH)
        >> answers(PARSED)
        << client(PARSED)
        << asked(CHANGE, again)
        >> answers(planned())
        << AsksFor(42)
        >> known()
        << notice("waiting")
        >> approved()
        << Asks(UseApproval)
        >> used()
        << Decided("execute")
        << upstream(values, describe_portal(), execute(), SYNC)
        >> answers(BOUND, NO_DATA, complete("UPDATE 1"), IDLE)
        << Finished()
        << client(BOUND, complete("UPDATE 1"), IDLE)
    )


def test_behind_another_of_a_pipeline_nothing_is_asked(held: Open) -> None:
    """The Sync that ends the question would commit what stands before it."""
    read, values = "SELECT 1", m.bind_texts(b"", b"", [b"x"])
    unbound = m.bind_texts(b"", b"", [])
    assert (
        held()
        >> says(parse(read), unbound, execute(), parse(CHANGE), values, execute(), SYNC)
        << [Decided("parse"), Decided("execute"), Decided("parse")]
        << upstream(parse(read), unbound, describe_portal(), execute(), parse(CHANGE), FLUSH)
        >> answers(PARSED, BOUND, described(computed("n")), row("1"), complete("SELECT 1"), PARSED)
        << Finished()
        << client(PARSED, BOUND, row("1"), complete("SELECT 1"), PARSED)
        << AsksFor(note="not estimated: it stands behind others in one transaction")
        >> gone()
        << Asks(WithdrawApproval)
    )


@pytest.mark.parametrize(
    ("why", "note"),
    [
        (NOT_IN_TIME, "the database gave no estimate in time"),
        (failure("42501", "denied for secret"), "the database gave no estimate (SQLSTATE 42501)"),
        (
            failure("55P03", BY_NAME),
            "the database gave no estimate: another session has locked what this touches",
        ),
    ],
)
@pytest.mark.parametrize("inside", [False, True], ids=["autocommit", "in a transaction"])
def test_an_estimate_that_fails(held: Open, why: bytes, note: str, inside: bool) -> None:
    """It is taken back, nobody but the approvers reads of it, and the statement waits."""
    ready = IN_TRANSACTION if inside else IDLE
    conversation = begun(held()) if inside else held()
    conversation = conversation >> says(query(UPDATE))
    if inside:
        conversation = conversation << isolation_asked() >> answers(isolated("read committed"))
    assert (
        conversation
        << asked(inside=inside)
        >> answers(unplanned(why, inside=inside))
        << undone(inside)
        >> answers(taken_back(inside))
        << AsksFor(note=note)
        >> known()
        << notice("waiting")
        >> approved()
        << Asks(UseApproval)
        >> used()
        << Decided()
        << upstream(query(UPDATE))
        >> answers(complete("UPDATE 1"), ready)
        << Finished()
        << client(complete("UPDATE 1"), ready)
    )


def test_in_a_transaction_behind_a_savepoint(held: Open) -> None:
    assert (
        begun(held())
        >> says(query(UPDATE))
        << isolation_asked()
        >> answers(isolated("read committed"))
        << asked(inside=True)
        >> answers(planned(inside=True))
        << AsksFor(42)
        >> gone()
        << Asks(WithdrawApproval)
    )


@pytest.mark.parametrize("level", ["repeatable read", "serializable", ""])
def test_a_snapshot_is_not_taken_early(held: Open, level: str) -> None:
    note = "not estimated: its transaction keeps a snapshot, which the question would take"
    assert (
        begun(held())
        >> says(query(UPDATE))
        << isolation_asked()
        >> answers(isolated(level))
        << AsksFor(note=note)
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_a_transaction_that_cannot_be_mended(held: Open) -> None:
    """Its savepoint was not there yet when somebody cancelled: it has failed, and says so."""
    unknown = CLOSED + CLOSED + failure("3B001", "savepoint does not exist") + FAILED
    play = (
        begun(held())
        >> says(query(UPDATE))
        << isolation_asked()
        >> answers(isolated("read committed"))
        << asked(inside=True)
        >> answers(CLOSED, NOT_IN_TIME, FAILED)
        << undone(True)
    )
    for _ in range(2):
        play = play >> answers(unknown) << undone(True)
    assert (
        play
        >> answers(unknown)
        << Decided(refused="hold_unavailable")
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, FAILED)
        << refusal("hold_unavailable")
        << client(FAILED)
    )


@pytest.mark.parametrize("why", ["cancelled", "drained"])
def test_a_client_that_gives_up_meanwhile(held: Open, why: str) -> None:
    """Nobody is asked; the refusal comes in its place, behind the database's answer."""
    assert (
        held()
        >> says(query(UPDATE))
        << asked()
        >> given_up(why)
        >> answers(unplanned())
        << undone()
        >> answers(taken_back())
        << Decided(refused="hold_withdrawn")
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << error(says="waited for an approval")
        << client(IDLE)
    )


def test_a_client_that_is_gone_meanwhile(held: Open) -> None:
    assert held() >> says(query(UPDATE)) << asked() >> gone()


def test_a_client_that_says_good_bye_meanwhile(held: Open) -> None:
    assert (
        held()
        >> says(query(UPDATE), TERMINATE)
        << asked()
        >> answers(planned())
        << AsksFor(42)
        >> given_up("cancelled")
        << Decided(refused="hold_withdrawn")
        << [Asks(WithdrawApproval), Asks(EndSession)]
        << upstream(refusals.rejected_query(), TERMINATE)
    )


def test_nothing_the_database_says_of_it_is_passed_on(held: Open) -> None:
    """A session may have its plans logged to itself."""
    log = remark("plan: {PLANNEDSTMT ... 42}", "LOG")
    assert (
        held(ANN)
        >> says(query(UPDATE))
        << asked()
        >> answers(planned(aside=log + remark("42 rows")))
        << AsksFor(42)
        >> gone()
        << Asks(WithdrawApproval)
    )


def test_a_plan_without_end_is_not_kept() -> None:
    """Nor does it end the session. (Its bytes one by one would take a while.)"""

    def by_the_page(content: bytes) -> Iterable[bytes]:
        return (content[n : n + 999] for n in range(0, len(content), 999))

    plan = {**PLAN, "Output": "x" * (estimates.ANSWER_BYTES_MAX + 1)}
    assert (
        Playbook(lambda: Session(policy=HELD, approvals=True), (by_the_page,))
        >> says(query(UPDATE))
        << asked()
        >> answers(planned(plan))
        << AsksFor(note="not estimated: the plan is too long")
        >> gone()
        << Asks(WithdrawApproval)
    )


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (f"{UPDATE}; {UPDATE}", "a text of several statements is not estimated"),
        (
            "UPDATE notes SET body = mine()",
            "not estimated: planning could run functions that are not known to be harmless",
        ),
        (
            f"EXPLAIN ANALYZE {UPDATE}",
            "the planner is not asked about statements of this kind",
        ),
    ],
)
def test_what_is_not_asked_about(held: Open, text: str, note: str) -> None:
    assert held() >> says(query(text)) << AsksFor(note=note) >> gone() << Asks(WithdrawApproval)
