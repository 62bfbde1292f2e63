"""Obligations that count: rows and time."""

import pytest

from appliance.model.limits import Limits
from appliance.session.effects import ArmTimeout, CancelStatement
from tests.playbook.playbook import Playbook, answers, happens, says, time_is_over
from tests.playbook.speech import (
    BODY_COLUMN,
    BOUND,
    EMAIL_COLUMN,
    IDLE,
    IN_TRANSACTION,
    PARSED,
    SUSPENDED,
    SYNC,
    bind,
    complete,
    describe_portal,
    described,
    execute,
    failure,
    parse,
    query,
    row,
    rows,
)
from tests.playbook.transcript import (
    Asks,
    Decided,
    Finished,
    client,
    error,
    notice,
    upstream,
)
from tests.playbook.world import DAN, GUS, LEA, MASKED, SECRET, Open

READ = "SELECT body FROM notes"
SHAPE = described(BODY_COLUMN)
ARMED = Asks(ArmTimeout, milliseconds=500)


def asked(book: Playbook, text: str, answer: bytes, result: bytes) -> Playbook:
    """One Query and what comes of it, where nothing is cut."""
    return (
        book
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        << ARMED
        >> answers(answer)
        << client(result)
        << Finished()
    )


@pytest.mark.parametrize("limited", [GUS, LEA], ids=["raw", "masked"])
def test_a_result_is_cut(play: Open, limited: object) -> None:
    """The tag says how many rows the client got; a notice says why."""
    text, shape = "SELECT email FROM customers", described(EMAIL_COLUMN)
    shown = SECRET if limited is GUS else MASKED
    assert (
        play(limited)
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        << ARMED
        >> answers(shape, row(SECRET) * 5, complete("SELECT 5"), IDLE)
        << client(shape, row(shown) * 2)
        << notice("after 2 rows")
        << client(complete("SELECT 2"), IDLE)
        << Finished(rows=2)
    )


def test_a_result_that_fits(play: Open) -> None:
    whole = SHAPE + row("a") * 2 + complete("SELECT 2") + IDLE
    assert asked(play(GUS), READ, whole, whole)


def test_each_result_of_a_text_has_its_own_limit(play: Open) -> None:
    text = f"{READ}; {READ}"
    each = SHAPE + row("a") * 2 + complete("SELECT 2")
    assert asked(play(GUS), text, each + each + IDLE, each + each + IDLE)


def test_a_portal_read_in_parts_has_one_limit(play: Open) -> None:
    assert (
        play(GUS)
        >> says(parse(READ), bind(), describe_portal(), execute("", 1), execute("", 5), SYNC)
        << [Decided("parse"), Decided("execute"), Decided("execute"), ARMED, ARMED]
        << upstream(parse(READ), bind(), describe_portal(), execute("", 1), execute("", 5), SYNC)
        >> answers(PARSED, BOUND, SHAPE, row("1"), SUSPENDED)
        << client(PARSED, BOUND, SHAPE, row("1"), SUSPENDED)
        << Finished(rows=1)
        >> answers(row("2"), row("3"), row("4"), complete("SELECT 3"), IDLE)
        << client(row("2"))
        << notice("after 2 rows")
        << client(complete("SELECT 1"), IDLE)
        << Finished(rows=1)
    )


def test_a_cursor_read_in_parts_has_one_limit(play: Open) -> None:
    begun = complete("BEGIN") + IN_TRANSACTION
    declared = complete("DECLARE CURSOR") + IN_TRANSACTION
    first = SHAPE + row("1") + complete("FETCH 1") + IN_TRANSACTION
    book = asked(play(GUS), "BEGIN", begun, begun)
    book = asked(book, f"DECLARE c CURSOR FOR {READ}", declared, declared)
    book = asked(book, "FETCH 1 FROM c", first, first)
    assert (
        book
        >> says(query("FETCH 5 FROM c"))
        << Decided()
        << upstream(query("FETCH 5 FROM c"))
        << ARMED
        >> answers(SHAPE, rows(("2",), ("3",)), complete("FETCH 2"), IN_TRANSACTION)
        << client(SHAPE, row("2"))
        << notice("after 2 rows")
        << client(complete("FETCH 1"), IN_TRANSACTION)
        << Finished(rows=1)
    )


def test_time_is_over(play: Open) -> None:
    """Cancelled by us, and said so."""
    assert (
        play(GUS)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        << ARMED
        >> time_is_over()
        << Asks(CancelStatement)
        >> answers(failure("57014", "canceling statement due to user request"), IDLE)
        << error("57014", "policy gives it 500 ms", lacks=["user request"])
        << client(IDLE)
        << Finished("cancelled", sqlstate="57014")
    )


def test_time_is_over_too_late(play: Open) -> None:
    whole = SHAPE + row("a") + complete("SELECT 1") + IDLE
    assert asked(play(GUS), READ, whole, whole) >> time_is_over()


def test_a_cancel_of_the_clients_own_keeps_its_words(play: Open) -> None:
    cancelled = failure("57014", "canceling statement due to user request")
    assert (
        play(GUS)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        << ARMED
        >> answers(cancelled, IDLE)
        << client(cancelled, IDLE)
        << Finished("cancelled")
    )


def test_a_client_that_is_not_to_be_read(play: Open) -> None:
    """So many replies are due that what comes next has to wait in the network."""

    def full(wanted: bool) -> object:
        def act(session: object, now: float) -> None:
            assert session.machine.full is wanted  # type: ignore[attr-defined]

        return happens("look", act)

    assert (
        play(DAN, limits=Limits(inflight_max=2))
        >> full(False)
        >> says(SYNC, SYNC)
        << upstream(SYNC, SYNC)
        >> full(True)
        >> answers(IDLE)
        << client(IDLE)
        >> full(False)
    )


def test_time_is_over_for_one_that_waits_behind_another(play: Open) -> None:
    """A cancel would hit the other."""
    cancelled = failure("57014", "canceling statement due to user request")
    result = SHAPE + complete("SELECT 0") + IDLE
    assert (
        play(GUS)
        >> says(query(READ), query(READ))
        << [Decided(), Decided(), ARMED, ARMED]
        << upstream(query(READ), query(READ))
        >> time_is_over()
        << ARMED
        >> answers(result)
        << client(result)
        << Finished()
        >> time_is_over()
        << Asks(CancelStatement)
        >> answers(cancelled, IDLE)
        << error("57014", "policy gives it 500 ms")
        << client(IDLE)
        << Finished("cancelled")
    )


def test_no_more_is_under_way_than_may_be(play: Open) -> None:
    """However many statements come in one chunk."""
    result = SHAPE + complete("SELECT 0") + IDLE
    assert (
        play(DAN, limits=Limits(inflight_max=2))
        >> says(query(READ) * 3)
        << [Decided(), Decided()]
        << upstream(query(READ) * 2)
        >> answers(result)
        << client(result)
        << [Finished(), Decided()]
        << upstream(query(READ))
        >> answers(result, result)
        << client(result, result)
        << [Finished(), Finished()]
    )
