"""What looks its names up only when it runs leaves when another session has said that they meant
what was judged."""

import pytest

from appliance.model.errors import Refused
from appliance.model.stands import Stands
from appliance.session import told as words
from appliance.session.effects import CheckFooting, Turn
from appliance.session.questions import BLOCK_NAME
from appliance.session.resting import Resting
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.playbook import Event, Playbook, answers, gone, happens, says
from tests.playbook.speech import (
    BOUND,
    CLOSED,
    COPY_DONE,
    COPY_OUT,
    FLUSH,
    IDLE,
    NO_DATA,
    PARSED,
    SYNC,
    bind,
    complete,
    copy_data,
    execute,
    failure,
    parse,
    query,
    row,
)
from tests.playbook.test_checks import QUERY, SHAPE, asked, proof, proved, stamped, told
from tests.playbook.transcript import Asks, Cut, Decided, Finished, client, upstream
from tests.playbook.world import ANN, MASKED, SECRET, Open, Session

OUT = "COPY (SELECT id FROM customers) TO STDOUT"
SEVERAL = "SET lock_timeout = 0; SELECT email FROM customers"
AMID, FAILED = m.ready_for_query(ord("T")), m.ready_for_query(ord("E"))
LINES = copy_data(b"1\n") + copy_data(b"2\n")
END = (COPY_DONE, complete("COPY 2"), CLOSED, IDLE)
READY = (CLOSED, PARSED, BOUND, proved(), NO_DATA)


def looked(stands: Stands, newest: str = "") -> Event:
    """`newest`: another catalog was read meanwhile; '' = the one that there was could not be."""

    def act(session: Session, now: float) -> Turn:
        if stands is Stands.OTHERWISE:
            session.port.doubt()
        if newest:
            session.port.take(stamped(newest))
        return session.machine.footing_told(stands, now)

    return happens("looked", act)


def copying(book: Playbook) -> Playbook:
    sent = (
        m.close(m.STATEMENT, QUERY)
        + m.parse(QUERY, OUT.encode())
        + m.bind_unparameterised(QUERY, QUERY)
        + proof(True)
        + m.describe(m.PORTAL, QUERY)
        + m.execute(QUERY)
    )
    book = book >> says(query(OUT)) << asked() >> answers(told())
    return book << Decided() << upstream(sent, FLUSH)


ENDED = (m.close(m.PORTAL, QUERY), SYNC)
"""Sent once it has been looked at: until then its transaction holds what its names meant."""


def test_a_copy_waits_until_somebody_has_looked(play: Open) -> None:
    """With all that comes behind it, however it comes."""
    book = copying(play(ANN, lineage=stamped())) >> answers(*READY, COPY_OUT, LINES)
    book = book << Asks(CheckFooting) >> answers(LINES)
    book = book >> looked(Stands.AS_JUDGED) << client(COPY_OUT, LINES, LINES) << upstream(*ENDED)
    book = book >> answers(*END) << client(COPY_DONE, complete("COPY 2"), IDLE)
    assert book << Finished(command_tag="COPY 2")


def test_what_is_not_as_it_was_judged_does_not_leave(play: Open) -> None:
    book = copying(play(ANN, lineage=stamped())) >> answers(*READY, COPY_OUT, LINES, *END)
    assert (
        book
        << Asks(CheckFooting)
        >> looked(Stands.OTHERWISE)
        << Cut(Refused, words.reshaped_past().message)
    )


def test_an_error_tells_no_values_then(play: Open) -> None:
    failed = failure("22P02", f"no number: {SECRET}")
    book = copying(play(ANN, lineage=stamped())) >> answers(*READY, failed)
    book = book << Asks(CheckFooting) >> looked(Stands.OTHERWISE)
    said = refusals.withhold_values(failed[5:], ord("E"))
    book = book << client(said) << Finished("failed") << upstream(SYNC)
    assert book >> answers(IDLE) << client(IDLE)


def test_what_would_be_decided_as_it_was_leaves(play: Open) -> None:
    """Something changed that is nothing to it."""
    book = copying(play(ANN, lineage=stamped())) >> answers(*READY, COPY_OUT, LINES)
    book = book << Asks(CheckFooting) >> looked(Stands.OTHERWISE, "2")
    assert book << client(COPY_OUT, LINES) << upstream(*ENDED)


def test_a_part_that_was_let_go_of_ends_it_whatever_the_catalog_says(play: Open) -> None:
    book = copying(play(ANN, lineage=stamped())) >> answers(*READY, COPY_OUT, LINES)
    book = book << Asks(CheckFooting) >> looked(Stands.STRANGER, "2")
    assert book << Cut(Refused, words.reshaped_past().message)


@pytest.mark.parametrize("adopts", [True, False])
def test_what_nobody_could_look_at(
    play: Open, monkeypatch: pytest.MonkeyPatch, adopts: bool
) -> None:
    """What has no part, and can get none, would be decided as it was."""
    monkeypatch.setattr(Resting, "adopts", lambda *_: adopts)
    book = copying(play(ANN, lineage=stamped())) >> answers(*READY, COPY_OUT, LINES)
    book = book << Asks(CheckFooting) >> looked(Stands.UNKNOWN, "2")
    if adopts:
        assert book << Cut(Refused, words.reshaped_past().message)
    else:
        assert book << client(COPY_OUT, LINES) << upstream(*ENDED)


def test_what_the_client_says_behind_it_waits(play: Open) -> None:
    """A COMMIT, say."""
    sent = (parse(OUT, "p"), bind("p"), m.describe(m.PORTAL, b""), execute())
    book = play(ANN, lineage=stamped()) >> says(*sent, SYNC) << asked() >> answers(told())
    book = book << [Decided("parse"), Decided("execute")]
    book = book << upstream(*sent[:3], proof(True), sent[3], FLUSH)
    book = book >> answers(PARSED, BOUND, NO_DATA, proved(), COPY_OUT, LINES)
    book = book << client(PARSED, BOUND, NO_DATA) << Asks(CheckFooting)
    assert book >> looked(Stands.AS_JUDGED) << client(COPY_OUT, LINES) << upstream(SYNC)


def block(text: bytes) -> bytes:
    name = BLOCK_NAME
    sent = m.parse(name, text) + m.bind_unparameterised(name, name) + m.execute(name)
    return sent + m.close(m.PORTAL, name) + m.close(m.STATEMENT, name)


def told_block(tag: str) -> bytes:
    return PARSED + BOUND + complete(tag) + CLOSED + CLOSED


def several(play: Open) -> Playbook:
    book = play(ANN, lineage=stamped()) >> says(query(SEVERAL)) << asked() >> answers(told())
    book = book << Decided() << upstream(block(b"BEGIN"), query(SEVERAL))
    book = book >> answers(told_block("BEGIN"), complete("SET")) << Asks(CheckFooting)
    return book >> answers(SHAPE, row(SECRET))


def test_each_of_several_statements_is_looked_at_before_what_they_did_stays(play: Open) -> None:
    book = (
        several(play) >> looked(Stands.AS_JUDGED) << client(complete("SET")) << Asks(CheckFooting)
    )
    book = book >> looked(Stands.AS_JUDGED) << client(SHAPE, row(MASKED))
    book = book >> answers(complete("SELECT 1"), AMID) << client(complete("SELECT 1"))
    book = book << Finished(cells_masked=1) << upstream(block(b"COMMIT"), SYNC)
    assert book >> answers(told_block("COMMIT"), IDLE) << client(IDLE)


def test_one_of_several_that_fails_takes_back_what_the_others_did(play: Open) -> None:
    failed = failure("22012", "division by zero")
    book = (
        several(play) >> looked(Stands.AS_JUDGED) << client(complete("SET")) << Asks(CheckFooting)
    )
    book = book >> looked(Stands.AS_JUDGED) << client(SHAPE, row(MASKED)) >> answers(failed, FAILED)
    book = book << client(refusals.withhold_values(failed[5:], ord("E"))) << Finished("failed")
    book = book << upstream(block(b"ROLLBACK"), SYNC)
    assert book >> answers(told_block("ROLLBACK"), IDLE) << client(IDLE)


def test_a_commit_that_fails_is_said_without_values(play: Open) -> None:
    failed = failure("P0001", f"there is {SECRET}")
    book = (
        several(play) >> looked(Stands.AS_JUDGED) << client(complete("SET")) << Asks(CheckFooting)
    )
    book = book >> looked(Stands.AS_JUDGED) << client(SHAPE, row(MASKED))
    book = book >> answers(complete("SELECT 1"), AMID) << client(complete("SELECT 1"))
    book = book << Finished(cells_masked=1) << upstream(block(b"COMMIT"), SYNC)
    book = book >> answers(PARSED, BOUND, failed, IDLE)
    assert book << client(refusals.withhold_values(failed[5:], ord("E")), IDLE)


@pytest.mark.parametrize("answer", [COPY_OUT, complete("COPY 0")])
def test_a_client_that_leaves_meanwhile(play: Open, answer: bytes) -> None:
    book = copying(play(ANN, lineage=stamped())) >> answers(*READY, answer)
    assert book << Asks(CheckFooting) >> gone() << Finished("disconnected")
