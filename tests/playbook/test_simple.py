"""Simple queries, refused ones, and what the database must not say."""

import pytest

from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.limits import Limits
from appliance.session.effects import (
    BeginSchemaChange,
    EndSession,
    NoteSchemaChange,
    SettleSchemaChange,
)
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.playbook import answers, gone, says
from tests.playbook.speech import (
    BODY_COLUMN,
    BOUND,
    CLOSED,
    COPY_DONE,
    COPY_IN,
    COPY_OUT,
    EMAIL_COLUMN,
    EMPTY,
    FAILED,
    FLUSH,
    ID_COLUMN,
    IDLE,
    IN_TRANSACTION,
    NAME_COLUMN,
    NO_DATA,
    PARSED,
    SUSPENDED,
    SYNC,
    SYNTAX_ERROR,
    TERMINATE,
    complete,
    computed,
    copy_data,
    described,
    failure,
    parameters,
    query,
    row,
    rows,
)
from tests.playbook.transcript import (
    Asks,
    Cut,
    Decided,
    Finished,
    client,
    refusal,
    upstream,
)
from tests.playbook.world import ANN, DAN, MASKED, SECRET, Open

READ = "SELECT id, email FROM customers"
SHAPE = described(ID_COLUMN, EMAIL_COLUMN)
REJECTED = refusals.rejected_query()


def test_a_masked_result(play: Open) -> None:
    assert (
        play(ANN)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        >> answers(SHAPE, rows(("1", SECRET), ("2", None)), complete("SELECT 2"), IDLE)
        << client(SHAPE, rows(("1", MASKED), ("2", None)), complete("SELECT 2"), IDLE)
        << Finished(rows=2, cells_masked=1, sensitive_unmasked_cells=0, command_tag="SELECT 2")
    )


def test_who_may_see_it_raw_is_counted(play: Open) -> None:
    result = SHAPE + rows(("1", SECRET), ("2", SECRET)) + complete("SELECT 2") + IDLE
    assert (
        play(DAN)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        >> answers(result)
        << client(result)
        << Finished(rows=2, cells_masked=0, sensitive_unmasked_cells=2)
    )


def test_several_statements_in_one_text(play: Open) -> None:
    """Each result is held against the plan of its own statement."""
    text = "SELECT body FROM notes; DELETE FROM notes WHERE id = 1; SELECT email FROM customers"
    notes, emails = described(BODY_COLUMN), described(EMAIL_COLUMN)
    assert (
        play(ANN)
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        >> answers(notes, row("plain"), complete("SELECT 1"), complete("DELETE 1"))
        << client(notes, row("plain"), complete("SELECT 1"), complete("DELETE 1"))
        >> answers(emails, row(SECRET), complete("SELECT 1"), IDLE)
        << client(emails, row(MASKED), complete("SELECT 1"), IDLE)
        << Finished(rows=2, cells_masked=1)
    )


def test_several_statements_of_which_one_is_refused(play: Open) -> None:
    assert (
        play(DAN)
        >> says(query("SELECT 1; DROP TABLE notes"))
        << Decided(refused="denied")
        << upstream(REJECTED)
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("denied")
        << client(IDLE)
    )


def test_an_error_in_the_second_statement(play: Open) -> None:
    failed = failure("22012", "division by zero")
    assert (
        play(DAN)
        >> says(query("SELECT 1; SELECT 1/0"))
        << Decided()
        << upstream(query("SELECT 1; SELECT 1/0"))
        >> answers(described(computed("?column?")), row("1"), complete("SELECT 1"), failed, IDLE)
        << client(described(computed("?column?")), row("1"), complete("SELECT 1"), failed, IDLE)
        << Finished("failed", rows=1, sqlstate="22012")
    )


def test_an_empty_text(play: Open) -> None:
    assert (
        play(ANN)
        >> says(query(" "))
        << Decided()
        << upstream(query(" "))
        >> answers(EMPTY, IDLE)
        << client(EMPTY, IDLE)
        << Finished()
    )


def test_texts_behind_each_other(play: Open) -> None:
    assert (
        play(ANN)
        >> says(query(READ), query("SELECT 1"))
        << Decided()
        << Decided()
        << upstream(query(READ), query("SELECT 1"))
        >> answers(SHAPE, row("1", SECRET), complete("SELECT 1"), IDLE)
        << client(SHAPE, row("1", MASKED), complete("SELECT 1"), IDLE)
        << Finished(rows=1)
        >> answers(described(computed("?column?")), row("1"), complete("SELECT 1"), IDLE)
        << client(described(computed("?column?")), row("1"), complete("SELECT 1"), IDLE)
        << Finished(rows=1)
    )


def test_a_refusal_keeps_the_session_and_the_state_of_its_transaction(play: Open) -> None:
    assert (
        play(DAN)
        >> says(query("BEGIN"))
        << Decided()
        << upstream(query("BEGIN"))
        >> answers(complete("BEGIN"), IN_TRANSACTION)
        << client(complete("BEGIN"), IN_TRANSACTION)
        << Finished()
        >> says(query("DROP TABLE notes"), query("SELECT 1"))
        << Decided(refused="denied")
        << Decided()
        << upstream(REJECTED, query("SELECT 1"))
        >> answers(SYNTAX_ERROR, FAILED)
        << refusal("denied")
        << client(FAILED)
        >> answers(failure("25P02", "current transaction is aborted"), FAILED)
        << client(failure("25P02", "current transaction is aborted"), FAILED)
        << Finished("failed", sqlstate="25P02")
    )


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("UPDATE customers SET email = lower(email)", "masked_column_used"),
        ("UPDATE customers c SET name = c.email || 'x'", "masked_column_used"),
        ("CREATE VIEW v AS SELECT email FROM customers", "unmaskable"),
        ("SELECT no_such_function(1)", "denied"),
        ("SELEC 1", "unparsable"),
        ("COPY customers TO '/tmp/x'", "denied"),
        ("DO 'BEGIN END'", "denied"),
        ("EXECUTE nobody_prepared_this", "stale"),
        ('PREPARE "sallyport: x" AS SELECT 1', "denied"),
        ("SET sallyport.principal = 'dan'", "forged_identity"),
        ("SELECT set_config('sallyport.principal', 'dan', false)", "forged_identity"),
    ],
)
def test_refused_to_who_owes_masks(play: Open, text: str, code: str) -> None:
    assert (
        play(ANN)
        >> says(query(text))
        << Decided(refused=code)
        << upstream(REJECTED)
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal(code)
        << client(IDLE)
    )


def test_the_function_call_message(play: Open) -> None:
    assert (
        play(DAN)
        >> says(m.frame(m.FUNCTION_CALL, b"\0\0\0\1\0\0\0\0\0\0"))
        << Decided("function_call", refused="function_call_protocol")
        << upstream(REJECTED)
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("function_call_protocol")
        << client(IDLE)
    )


def test_a_text_beyond_the_limit_is_dropped_unread(play: Open) -> None:
    long = query("SELECT '" + "x" * 8_000 + "'")
    assert (
        play(DAN, limits=Limits(statement_bytes_max=1_000))
        >> says(long)
        << Decided(refused="too_long")
        << upstream(REJECTED)
        >> says(query("SELECT 1"))
        << Decided()
        << upstream(query("SELECT 1"))
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("too_long")
        << client(IDLE)
    )


def test_a_schema_change_is_told(play: Open) -> None:
    text = "CREATE TABLE other (id int)"
    assert (
        play(DAN)
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        << Asks(BeginSchemaChange)
        >> answers(complete("CREATE TABLE"))
        << client(complete("CREATE TABLE"))
        << Asks(NoteSchemaChange)
        >> answers(IDLE)
        << client(IDLE)
        << Asks(SettleSchemaChange)
        << Asks(NoteSchemaChange)
        << Finished()
    )


def test_the_client_says_goodbye(play: Open) -> None:
    assert play(DAN) >> says(TERMINATE) << upstream(TERMINATE) << Asks(EndSession)


def test_a_peer_goes_in_the_middle(play: Open) -> None:
    assert (
        play(DAN)
        >> says(query(READ), query("SELECT 1"), query("DROP TABLE notes"))
        << Decided()
        << Decided()
        << Decided(refused="denied")
        << upstream(query(READ), query("SELECT 1"), REJECTED)
        >> answers(SHAPE, row("1", SECRET))
        << client(SHAPE, row("1", SECRET))
        >> gone()
        << Finished("disconnected", rows=1, sensitive_unmasked_cells=1)
        << Finished("disconnected", rows=0)
    )


# --- what the database may not do -----------------------------------------------------------------

UNDUE = {
    "rows": row("1"),
    "description": SHAPE,
    "no data": NO_DATA,
    "parameters": parameters(),
    "parsed": PARSED,
    "bound": BOUND,
    "closed": CLOSED,
    "complete": complete("SELECT 1"),
    "suspended": SUSPENDED,
    "empty": EMPTY,
    "ready": IDLE,
    "copy in": COPY_IN,
    "copy out": COPY_OUT,
    "copied": copy_data(b"x"),
    "copy done": COPY_DONE,
}


@pytest.mark.parametrize("undue", UNDUE.values(), ids=UNDUE)
def test_replies_that_nobody_waits_for(play: Open, undue: bytes) -> None:
    assert play(ANN) >> answers(undue) << Cut(ProtocolViolation, "upstream")


@pytest.mark.parametrize(
    "undue",
    [UNDUE[name] for name in ("parsed", "bound", "closed", "no data", "parameters", "suspended")],
)
def test_replies_that_are_not_a_querys(play: Open, undue: bytes) -> None:
    assert (
        play(ANN)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        >> answers(undue)
        << Cut(ProtocolViolation, "upstream")
        >> gone()
        << Finished("disconnected")
    )


@pytest.mark.parametrize("kind", b"RKvWV!x\0")
def test_unknown_messages(play: Open, kind: int) -> None:
    """Among them replication's CopyBothResponse and what belongs to a login."""
    assert play(DAN) >> answers(m.frame(kind, b"\0")) << Cut(ProtocolViolation, "upstream")
    assert play(DAN) >> says(m.frame(kind, b"\0")) << Cut(ProtocolViolation, "client")


def test_a_password_after_login(play: Open) -> None:
    assert play(DAN) >> says(m.password(b"x")) << Cut(ProtocolViolation, "client: a password")


@pytest.mark.parametrize(
    "answer", [row("1"), complete("SELECT 1"), COPY_IN, COPY_OUT, SHAPE, EMPTY]
)
def test_a_refused_statement_that_gives_something(play: Open, answer: bytes) -> None:
    """By the policy, or because it could not be recorded."""
    assert (
        play(DAN)
        >> says(query("DROP TABLE notes"))
        << Decided(refused="denied")
        << upstream(REJECTED)
        >> answers(answer)
        << Cut(ProtocolViolation, "upstream")
    )
    assert (
        play(ANN)
        >> says(query(READ), recorded=False)
        << upstream(REJECTED)
        >> answers(answer)
        << Cut(ProtocolViolation, "upstream: a refused statement was accepted")
    )


def test_rows_before_their_plan(play: Open) -> None:
    assert (
        play(ANN)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        >> answers(row("1", SECRET))
        << Cut(InvariantBroken, "a row before its plan")
        >> gone()
        << Finished("disconnected")
    )


def test_rows_of_the_second_statement_before_its_plan(play: Open) -> None:
    """The lock of the first result is not the second's."""
    text = "SELECT body FROM notes; SELECT email FROM customers"
    assert (
        play(ANN)
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        >> answers(described(BODY_COLUMN), row("x"), complete("SELECT 1"))
        << client(described(BODY_COLUMN), row("x"), complete("SELECT 1"))
        >> answers(row(SECRET))
        << Cut(InvariantBroken, "a row before its plan")
    )


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (described(ID_COLUMN), "1 columns came where 2 were expected"),
        (described(EMAIL_COLUMN, ID_COLUMN), "another place"),
        (described(ID_COLUMN, NAME_COLUMN), "another place"),
        (described(ID_COLUMN, computed("email", 25)), "another place"),
        (described(EMAIL_COLUMN, EMAIL_COLUMN), "another place"),
    ],
)
def test_a_description_that_is_not_the_plan(play: Open, shape: bytes, why: str) -> None:
    assert (
        play(ANN)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        >> answers(shape, row("1", SECRET))
        << Cut(Refused, why)
    )


def test_a_result_without_a_statement(play: Open) -> None:
    """One more result than the text has statements."""
    assert (
        play(ANN)
        >> says(query("SELECT body FROM notes"))
        << Decided()
        << upstream(query("SELECT body FROM notes"))
        >> answers(described(BODY_COLUMN), complete("SELECT 0"))
        << client(described(BODY_COLUMN), complete("SELECT 0"))
        >> answers(described(EMAIL_COLUMN))
        << Cut(Refused, "no plan was made for")
    )


@pytest.mark.parametrize(
    "malformed",
    [
        b"\0\1\0\0\0\x05ab",
        b"\0\2\0\0\0\1a\xff\xff\xff",
        b"\0\2\0\0\0\1a\xff\xff\xff\xffmore",
        b"\0\3\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\0",
    ],
)
def test_malformed_rows_of_a_masked_result(play: Open, malformed: bytes) -> None:
    assert (
        play(ANN)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        >> answers(SHAPE)
        << client(SHAPE)
        >> answers(m.frame(m.DATA_ROW, malformed))
        << Cut(ProtocolViolation, "upstream")
    )


def test_sync_and_flush_alone(play: Open) -> None:
    assert play(DAN) >> says(FLUSH, SYNC) << upstream(FLUSH, SYNC) >> answers(IDLE) << client(IDLE)


def test_what_a_turn_did_before_it_broke_off(play: Open) -> None:
    """The finished record of the first statement is not lost with the second's violation."""
    assert (
        play(DAN)
        >> says(query("SELECT 1"), query("SELECT 2"))
        << [Decided(), Decided()]
        << upstream(query("SELECT 1"), query("SELECT 2"))
        >> answers(described(computed("?column?")), row("1"), complete("SELECT 1"), IDLE, PARSED)
        << Cut(ProtocolViolation)
        >> gone()
        << Finished(rows=1)
        << Finished("disconnected")
    )


def test_what_a_turn_that_broke_off_did_not_forward(play: Open) -> None:
    assert (
        play(DAN)
        >> says(query("SELECT 1"), m.frame(m.SYNC, b"x"))
        << Cut(ProtocolViolation)
        >> gone()
        << Decided()
        << Finished("withheld")
    )
