"""COPY in and out."""

import pytest

from appliance.model.errors import InvariantBroken, ProtocolViolation
from tests.playbook.playbook import answers, gone, says
from tests.playbook.speech import (
    BOUND,
    COPY_DONE,
    COPY_IN,
    COPY_OUT,
    FLUSH,
    IDLE,
    NO_DATA,
    PARSED,
    SYNC,
    bind,
    complete,
    copy_data,
    copy_fail,
    describe_portal,
    execute,
    failure,
    parse,
    query,
)
from tests.playbook.transcript import (
    Cut,
    Decided,
    Finished,
    Sent,
    client,
    error,
    upstream,
)
from tests.playbook.world import ANN, DAN, GUS, Open

IN = "COPY notes FROM STDIN"
OUT = "COPY notes TO STDOUT"
LINES = copy_data(b"1\tone\n") + copy_data(b"2\ttwo\n")


def test_in(play: Open) -> None:
    """Sync and Flush within it are the database's to ignore, so they do not get there."""
    assert (
        play(DAN)
        >> says(query(IN))
        << Decided()
        << upstream(query(IN))
        >> answers(COPY_IN)
        << client(COPY_IN)
        >> says(LINES, SYNC, FLUSH, LINES, COPY_DONE)
        << upstream(LINES, LINES, COPY_DONE)
        >> answers(complete("COPY 4"), IDLE)
        << client(complete("COPY 4"), IDLE)
        << Finished(command_tag="COPY 4")
        >> says(query("SELECT 1"))
        << Decided()
        << upstream(query("SELECT 1"))
    )


def test_in_by_the_extended_protocol(play: Open) -> None:
    """The Sync that libpq sends with the Execute is ignored by the server: no reply is due."""
    assert (
        play(DAN)
        >> says(parse(IN), bind(), describe_portal(), execute(), SYNC)
        << [Decided("parse"), Decided("execute")]
        << upstream(parse(IN), bind(), describe_portal(), execute(), SYNC)
        >> answers(PARSED, BOUND, NO_DATA, COPY_IN)
        << client(PARSED, BOUND, NO_DATA, COPY_IN)
        >> says(LINES, COPY_DONE, SYNC)
        << upstream(LINES, COPY_DONE, SYNC)
        >> answers(complete("COPY 2"), IDLE)
        << client(complete("COPY 2"), IDLE)
        << Finished()
    )


def test_in_given_up(play: Open) -> None:
    failed = failure("57014", "COPY from stdin failed: changed my mind")
    assert (
        play(DAN)
        >> says(query(IN))
        << Decided()
        << upstream(query(IN))
        >> answers(COPY_IN)
        << client(COPY_IN)
        >> says(LINES, copy_fail("changed my mind"))
        << upstream(LINES, copy_fail("changed my mind"))
        >> answers(failed, IDLE)
        << client(failed, IDLE)
        << Finished("cancelled", sqlstate="57014")
    )


def test_in_that_fails_on_the_way(play: Open) -> None:
    """What the client still sends goes up and is ignored there."""
    failed = failure("22P02", "invalid input syntax for type integer")
    assert (
        play(DAN)
        >> says(query(IN))
        << Decided()
        << upstream(query(IN))
        >> answers(COPY_IN)
        << client(COPY_IN)
        >> says(LINES)
        << upstream(LINES)
        >> answers(failed)
        << client(failed)
        >> says(LINES, COPY_DONE)
        << upstream(LINES, COPY_DONE)
        >> answers(IDLE)
        << client(IDLE)
        << Finished("failed")
        >> says(query("SELECT 1"))
        << Decided()
        << upstream(query("SELECT 1"))
    )


def test_in_by_who_owes_masks_says_nothing_of_values(play: Open) -> None:
    failed = failure("22P02", 'invalid input syntax for type integer: "x1"', W="COPY notes, line 1")
    assert (
        play(ANN)
        >> says(query(IN))
        << Decided()
        << upstream(query(IN))
        >> answers(COPY_IN)
        << client(COPY_IN)
        >> says(LINES, COPY_DONE)
        << upstream(LINES, COPY_DONE)
        >> answers(failed, IDLE)
        << error("22P02", "withheld", lacks=["x1", "line 1"])
        << client(IDLE)
        << Finished("failed")
    )


@pytest.mark.parametrize("message", [query("SELECT 1"), parse("SELECT 1"), bind(), execute()])
def test_other_messages_during_copy(play: Open, message: bytes) -> None:
    assert (
        play(DAN)
        >> says(query(IN))
        << Decided()
        << upstream(query(IN))
        >> answers(COPY_IN)
        << client(COPY_IN)
        >> says(message)
        << Cut(ProtocolViolation, "not part of COPY")
        >> gone()
        << Finished("disconnected")
    )


def test_statements_pipelined_behind_it(play: Open) -> None:
    """The server would take them for rows."""
    assert (
        play(DAN)
        >> says(query(IN), query("SELECT 1"))
        << [Decided(), Decided()]
        << upstream(query(IN), query("SELECT 1"))
        >> answers(COPY_IN)
        << Cut(ProtocolViolation, "pipelined behind COPY")
    )


@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes", "owes nothing"])
def test_out(play: Open, principal: object) -> None:
    result = COPY_OUT + LINES + COPY_DONE + complete("COPY 2") + IDLE
    assert (
        play(principal)
        >> says(query(OUT))
        << Decided()
        << upstream(query(OUT))
        >> answers(result)
        << client(result)
        << Finished(rows=2, command_tag="COPY 2")
    )


def test_out_of_what_is_masked(play: Open) -> None:
    """The masks are copied: the query is rewritten, and its lines are let through."""
    assert (
        play(ANN)
        >> says(query("COPY customers TO STDOUT"))
        << Decided()
        << Sent('COPY (SELECT "t"."id" AS "id"', "CASE WHEN", '"public"."customers"', "STDOUT")
        >> answers(COPY_OUT, copy_data(b"1\tada\ta***@***.org\n"), COPY_DONE)
        << client(COPY_OUT, copy_data(b"1\tada\ta***@***.org\n"), COPY_DONE)
        >> answers(complete("COPY 1"), IDLE)
        << client(complete("COPY 1"), IDLE)
        << Finished(rows=1, command_tag="COPY 1")
    )


def test_out_where_rows_are_limited(play: Open) -> None:
    assert (
        play(GUS)
        >> says(query(OUT))
        << Decided(refused="limit")
        << upstream(query("sallyport refused this statement"))
    )


def test_copied_rows_of_a_query_that_copies_nothing(play: Open) -> None:
    """A database that streams masked columns by COPY where a SELECT was asked for."""
    text = "SELECT email FROM customers"
    assert (
        play(ANN)
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        >> answers(COPY_OUT)
        << client(COPY_OUT)
        >> answers(copy_data(b"ada.byron@example.org\n"))
        << Cut(InvariantBroken, "COPY of masked columns")
    )


def test_copy_data_outside_of_copy_is_ignored_by_the_server(play: Open) -> None:
    assert play(DAN) >> says(LINES, COPY_DONE) << upstream(LINES, COPY_DONE)
