"""Names that SQL and the protocol share: PREPARE and EXECUTE, DECLARE and FETCH."""

import pytest

from appliance.model.errors import Refused
from appliance.session.effects import NoteSchemaChange
from appliance.wire.postgres import refusals
from tests.playbook.playbook import Event, Playbook, answers, happens, says
from tests.playbook.speech import (
    BODY_COLUMN,
    BOUND,
    EMAIL_COLUMN,
    IDLE,
    IN_TRANSACTION,
    PARSED,
    SYNC,
    bind,
    complete,
    described,
    execute,
    failure,
    parse,
    query,
    row,
)
from tests.playbook.transcript import Asks, Cut, Decided, Finished, client, error, upstream
from tests.playbook.world import ANN, DAN, MASKED, NAMES_MASKED, NO_NOTES, SECRET, Open

RESHAPED = [Asks(NoteSchemaChange), Asks(NoteSchemaChange)]
"""What EXECUTE ran may have been anything."""
SHAPE = described(EMAIL_COLUMN)
READ = "SELECT email FROM customers"
NOTES = "SELECT body FROM notes"
RESULT = SHAPE + row(SECRET) + complete("SELECT 1") + IDLE
MASKED_RESULT = SHAPE + row(MASKED) + complete("SELECT 1") + IDLE


def takes(policy: object) -> Event:
    return happens("policy", lambda session, now: session.machine.take_policy(policy))  # type: ignore[arg-type]


def ran(book: Playbook, text: str, tag: str, ready: bytes = IDLE) -> Playbook:
    return (
        book
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        >> answers(complete(tag), ready)
        << client(complete(tag), ready)
        << Finished()
    )


def refused(book: Playbook, text: str, code: str = "stale") -> Playbook:
    return book >> says(query(text)) << Decided(refused=code) << upstream(refusals.rejected_query())


def test_execute_is_held_against_the_plan_of_what_was_prepared(play: Open) -> None:
    assert (
        ran(play(ANN), f"PREPARE p AS {READ}", "PREPARE")
        >> says(query("EXECUTE p"))
        << Decided()
        << upstream(query("EXECUTE p"))
        >> answers(RESULT)
        << client(MASKED_RESULT)
        << RESHAPED
        << Finished(cells_masked=1)
    )


def test_execute_that_gives_another_result(play: Open) -> None:
    assert (
        ran(play(ANN), f"PREPARE p AS {NOTES}", "PREPARE")
        >> says(query("EXECUTE p"))
        << Decided()
        << upstream(query("EXECUTE p"))
        >> answers(RESULT)
        << Cut(Refused, "stale")
    )


def test_a_prepare_that_failed_names_nothing(play: Open) -> None:
    text = f"PREPARE p AS {READ}"
    exists = failure("42P05", 'prepared statement "p" already exists')
    book = (
        play(ANN)
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        >> answers(exists, IDLE)
        << error("42P05", "already exists")
        << client(IDLE)
        << Finished("failed")
    )
    assert refused(book, "EXECUTE p")


def test_what_was_let_go_of(play: Open) -> None:
    book = ran(play(ANN), f"PREPARE p AS {READ}", "PREPARE")
    assert refused(ran(book, "DEALLOCATE p", "DEALLOCATE"), "EXECUTE p")
    book = ran(play(ANN), f"PREPARE p AS {READ}", "PREPARE")
    assert refused(ran(book, "DEALLOCATE ALL", "DEALLOCATE ALL"), "EXECUTE p")


def test_a_cursor(play: Open) -> None:
    book = ran(play(ANN), "BEGIN", "BEGIN", IN_TRANSACTION)
    book = ran(book, f"DECLARE c CURSOR FOR {READ}", "DECLARE CURSOR", IN_TRANSACTION)
    book = (
        book
        >> says(query("FETCH 1 FROM c"))
        << Decided()
        << upstream(query("FETCH 1 FROM c"))
        >> answers(SHAPE, row(SECRET), complete("FETCH 1"), IN_TRANSACTION)
        << client(SHAPE, row(MASKED), complete("FETCH 1"), IN_TRANSACTION)
        << Finished(cells_masked=1)
    )
    assert refused(ran(book, "CLOSE c", "CLOSE CURSOR", IN_TRANSACTION), "FETCH 1 FROM c")


@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes", "owes nothing"])
def test_named_under_another_policy(play: Open, principal: object) -> None:
    book = ran(play(principal), f"PREPARE p AS {NOTES}", "PREPARE") >> takes(NO_NOTES)
    assert refused(book, "EXECUTE p")


def test_more_is_masked_by_now(play: Open) -> None:
    book = ran(play(ANN), "PREPARE p AS SELECT name FROM customers", "PREPARE")
    assert refused(book >> takes(NAMES_MASKED), "EXECUTE p")


def test_execute_of_what_the_protocol_prepared(play: Open) -> None:
    assert (
        play(ANN)
        >> says(parse(READ, "p"), SYNC)
        << Decided("parse")
        << upstream(parse(READ, "p"), SYNC)
        >> answers(PARSED, IDLE)
        << client(PARSED, IDLE)
        >> says(query("EXECUTE p"))
        << Decided()
        << upstream(query("EXECUTE p"))
        >> answers(RESULT)
        << client(MASKED_RESULT)
        << RESHAPED
        << Finished(cells_masked=1)
    )


def prepared(book: Playbook, text: str) -> Playbook:
    return (
        book
        >> says(parse(text, "p"), SYNC)
        << Decided("parse")
        << upstream(parse(text, "p"), SYNC)
        >> answers(PARSED, IDLE)
        << client(PARSED, IDLE)
    )


def test_a_name_of_the_protocol_taken_by_sql(play: Open) -> None:
    """DEALLOCATE and PREPARE give the name another meaning: Bind may no longer use the old one."""
    book = ran(prepared(play(ANN), NOTES), "DEALLOCATE p", "DEALLOCATE")
    assert (
        ran(book, f"PREPARE p AS {READ}", "PREPARE")
        >> says(bind("p"), execute(), SYNC)
        << upstream(refusals.rejected_bind(), refusals.rejected_execute(), SYNC)
        >> answers(failure("26000", "no"), IDLE)
        << error("26000", '"p" does not exist')
        << client(IDLE)
    )


def test_a_deallocate_that_failed_took_nothing(play: Open) -> None:
    failed = failure("25P02", "current transaction is aborted")
    assert (
        prepared(play(ANN), NOTES)
        >> says(query("DEALLOCATE p"))
        << Decided()
        << upstream(query("DEALLOCATE p"))
        >> answers(failed, IDLE)
        << error("25P02", "current transaction is aborted")
        << client(IDLE)
        << Finished("failed")
        >> says(bind("p"), SYNC)
        << upstream(bind("p"), SYNC)
        >> answers(BOUND, IDLE)
        << client(BOUND, IDLE)
    )


def test_explain_execute_shows_a_plan_and_not_the_rows(play: Open) -> None:
    shape = described(("QUERY PLAN", (0, 0), 25))
    result = shape + row("Seq Scan on notes") + complete("EXPLAIN") + IDLE
    assert (
        ran(play(ANN), f"PREPARE p AS {NOTES}", "PREPARE")
        >> says(query("EXPLAIN EXECUTE p"))
        << Decided()
        << upstream(query('EXPLAIN ("costs" \'off\', "buffers" \'off\') EXECUTE "p"'))
        >> answers(result)
        << client(result)
        << Finished()
    )


def test_body_is_not_masked(play: Open) -> None:
    result = described(BODY_COLUMN) + row("a note") + complete("SELECT 1") + IDLE
    assert (
        ran(play(ANN), f"PREPARE p AS {NOTES}", "PREPARE")
        >> says(query("EXECUTE p"))
        << Decided()
        << upstream(query("EXECUTE p"))
        >> answers(result)
        << client(result)
        << RESHAPED
        << Finished(cells_masked=0)
    )
