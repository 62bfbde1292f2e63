"""Exchange sessions, in MySQL's words: what is decided, recorded, forwarded, masked and refused."""

import struct

import pytest

from appliance.approval.request import State
from appliance.audit.record import ProtocolKind
from appliance.link.approvals import Known, Ruled, Used
from appliance.model.ending import Ending
from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.model.limits import Limits
from appliance.policy.compile import compile_documents
from appliance.session.effects import EndOther
from appliance.sql.mysql.estimates import EXPLAIN
from tests.playbook.exchange_world import (
    EMAIL,
    EMAIL_REWORDED,
    ID,
    NAME,
    NEW,
    OK,
    PROBE,
    PROBED,
    TRACKED,
    answers,
    execute,
    explained,
    gone,
    happens,
    played,
    prepare,
    query,
    reply,
    says,
    sent,
)
from tests.playbook.world import ANN, DAN, GUS, HELD, NO_NOTES, SECRET, UNMASKED
from tests.unit.wire.mysql.packets_said import column, eof, error, ok, prepared, text_row

PERMISSIVE = compile_documents(
    [
        (
            "policy.yaml",
            b"version: 1\nrules: [{id: all, effect: allow, actions: [everything]}]\n",
        )
    ]
)
SIMPLE, PARSE, EXECUTE = ProtocolKind.SIMPLE, ProtocolKind.PARSE, ProtocolKind.EXECUTE
READ = "SELECT id, email FROM customers"
ROWS = (b"\x02", ID, EMAIL, eof(), text_row("1", SECRET), text_row("2", None), eof())
MASKED = (b"\x02", ID, EMAIL_REWORDED, eof(), text_row("1", "****"), text_row("2", None), eof())
MORE, IN_TRANSACTION = 8, 1


def error_of(content: bytes) -> tuple[int, int, str]:
    """(sequence number, error number, words) of an error packet."""
    assert content[4] == 0xFF
    return content[3], struct.unpack_from("<H", content, 5)[0], content[13:].decode()


def test_rows_pass_to_whoever_owes_nothing() -> None:
    asked, told = played(says(query(READ)), answers(*ROWS))
    assert asked.upstream == sent(query(READ)) and asked.decided == ((SIMPLE, ""),)
    assert told.client == reply(*ROWS) and told.finished == (("completed", 2, 0),)


def test_rows_are_masked_for_whoever_owes_it() -> None:
    asked, told = played(says(query(READ)), answers(*ROWS), principal=ANN)
    assert asked.upstream == sent(query(READ))
    assert told.client == reply(*MASKED) and told.finished == (("completed", 2, 1),)


def test_the_same_without_eof_packets() -> None:
    rows = (b"\x02", ID, EMAIL, text_row("1", SECRET), ok(header=0xFE))
    masked = (b"\x02", ID, EMAIL_REWORDED, text_row("1", "****"), ok(header=0xFE))
    _, told = played(says(query(READ)), answers(*rows), principal=ANN, capabilities=NEW)
    assert told.client == reply(*masked)


def test_a_refusal_never_reaches_the_database() -> None:
    refused, passed, done = played(
        says(query("DROP TABLE notes")), says(query("SELECT 1")), answers(*COMPUTED)
    )
    assert refused.upstream == b"" and refused.decided == ((SIMPLE, "denied"),)
    assert error_of(refused.client)[:2] == (1, 1142)
    assert "Tables are not dropped here; see rule no-drop, or" in error_of(refused.client)[2]
    assert passed.upstream == sent(query("SELECT 1"))
    assert done.finished == (("completed", 1, 0),)


COMPUTED = (b"\x01", column("1"), eof(), text_row("1"), eof())


def test_what_comes_ahead_waits_its_turn() -> None:
    """One command at a time is with the database; each reply is numbered for its own command."""
    first, second, third = played(
        says(query("SELECT 1"), query("DROP TABLE notes"), b"\x0e", query("SELECT 2")),
        answers(*COMPUTED),
        answers(OK),
    )
    assert first.upstream == sent(query("SELECT 1")) and first.client == b""
    assert second.upstream == sent(b"\x0e")
    assert second.client.startswith(reply(*COMPUTED))
    assert error_of(second.client[len(reply(*COMPUTED)) :])[0] == 1
    assert third.upstream == sent(query("SELECT 2")) and third.client == reply(OK)


def test_what_cannot_be_recorded_does_not_run() -> None:
    """An idle command goes up in its place, and its reply becomes the refusal."""
    asked, told, after = played(
        says(query(READ), recorded=False), answers(OK), says(query("SELECT 1"))
    )
    assert asked.upstream == sent(b"\x0e") and asked.client == b"" and asked.decided == ()
    assert error_of(told.client)[:2] == (1, 1105) and "unrecorded" in error_of(told.client)[2]
    assert told.finished == ()
    assert after.upstream == sent(query("SELECT 1"))


# --- settings -------------------------------------------------------------------------------------


def test_settings_are_asked_for_before_the_first_text() -> None:
    asked, told = played(says(query(READ)), PROBED, settled=False)
    assert asked.upstream == sent(b"\x03" + PROBE) and asked.decided == ()
    assert told.client == b"" and told.upstream == sent(query(READ))


def test_settings_are_asked_for_behind_what_may_change_them() -> None:
    text = "SET SESSION sql_mode = 'ANSI_QUOTES'"
    changed, done, asked, told = played(says(query(text)), answers(OK), says(query(READ)), PROBED)
    assert changed.upstream == sent(query(text)) and done.upstream == b""
    assert asked.upstream == sent(b"\x03" + PROBE)
    assert told.upstream == sent(query(READ))


def test_a_question_that_fails_is_asked_again_and_no_more_than_that() -> None:
    cancelled = answers(error(1317, b"70100"))
    once = played(says(query(READ)), cancelled, PROBED, settled=False)
    assert once[1].upstream == sent(b"\x03" + PROBE) and once[2].upstream == sent(query(READ))
    with pytest.raises(ProtocolViolation, match="settings"):
        played(says(query(READ)), cancelled, cancelled, cancelled, settled=False)


def test_what_the_server_reports_is_asked_for() -> None:
    tracked = b"\x01\x05\x04shop"
    changed = ok(status=0x4002, tracked=True) + b"\0" + bytes((len(tracked),)) + tracked
    *_, asked = played(
        says(query("SELECT 1")), answers(changed), says(query(READ)), capabilities=TRACKED
    )
    assert asked.upstream == sent(b"\x03" + PROBE)


def test_another_database() -> None:
    used, done, asked, _ = played(says(b"\x02other"), answers(OK), says(query(READ)), PROBED)
    assert used.upstream == sent(b"\x02other") and used.decided == ((SIMPLE, ""),)
    assert done.client == reply(OK)
    assert asked.upstream == sent(b"\x03" + PROBE)


# --- several results, errors, limits --------------------------------------------------------------


def test_every_result_of_a_text_has_a_lock_of_its_own() -> None:
    text = f"SELECT id FROM customers; {READ}"
    first = (b"\x01", ID, eof(), text_row("7"), eof(MORE))
    said = (*first, *ROWS)
    _, told = played(says(query(text)), answers(*said), principal=ANN)
    assert told.client == reply(*first, *MASKED)
    assert told.finished == (("completed", 3, 1),)


def test_more_results_than_were_planned_are_thrown_away() -> None:
    said = (b"\x02", ID, EMAIL, eof(), eof(MORE), *ROWS)
    _, told, after = played(
        says(query(READ)), answers(*said), says(query("SELECT 1")), principal=ANN
    )
    begun = reply(b"\x02", ID, EMAIL_REWORDED, eof(), eof(MORE))
    assert told.client.startswith(begun)
    assert error_of(told.client[len(begun) :])[0] == 6
    assert told.finished == (("failed", 0, 0),) and "NoteSchemaChange" in told.requests
    assert after.upstream == sent(query("SELECT 1"))


def test_a_masked_column_that_nobody_planned_is_thrown_away() -> None:
    said = (b"\x02", ID, EMAIL, eof(), text_row("1", SECRET), eof(MORE), *COMPUTED)
    _, told, after = played(
        says(query("SELECT id, name FROM customers")),
        answers(*said),
        says(query("SELECT 1")),
        principal=ANN,
    )
    assert error_of(told.client)[0] == 1 and told.finished == (("failed", 0, 0),)
    assert after.upstream == sent(query("SELECT 1"))


def test_a_cursor_over_what_nobody_planned_is_not_read() -> None:
    *_, told, fetched = played(
        says(prepare("SELECT id, name FROM customers")),
        answers(prepared(3, 2, 0), ID, NAME, eof()),
        says(execute(3, flags=1)),
        answers(b"\x02", ID, EMAIL, eof(0x40)),
        says(b"\x1c\x03\0\0\0\1\0\0\0"),
        principal=ANN,
    )
    assert error_of(told.client)[0] == 1 and told.finished == (("failed", 0, 0),)
    assert error_of(fetched.client)[1] == 1243 and fetched.upstream == b""


def test_what_is_prepared_otherwise_than_planned_is_closed() -> None:
    _, told, executed = played(
        says(prepare("SELECT id, name FROM customers")),
        answers(*PREPARED),
        says(execute(3)),
        principal=ANN,
    )
    assert error_of(told.client)[0] == 1 and told.upstream == sent(b"\x19\x03\0\0\0")
    assert error_of(executed.client)[1] == 1243


def test_masked_at_the_source() -> None:
    asked, told = played(
        says(query("SELECT upper(email) FROM customers")),
        answers(b"\x01", column("upper(email)"), eof(), text_row("****"), eof()),
        principal=ANN,
    )
    assert b"AS `email` FROM" in asked.upstream and asked.upstream != sent(
        query("SELECT upper(email) FROM customers")
    )
    assert told.finished == (("completed", 1, 0),)


def test_at_the_source_no_masked_column_may_arrive() -> None:
    _, told = played(
        says(query("SELECT email FROM customers ORDER BY email")),
        answers(b"\x01", EMAIL, eof(), text_row(SECRET), eof()),
        principal=ANN,
    )
    assert error_of(told.client)[0] == 1 and told.finished == (("failed", 0, 0),)


def test_errors_lose_their_words_where_they_could_quote() -> None:
    duplicate = error(1062, b"23000", f"Duplicate entry '{SECRET}' for key".encode())
    text = "INSERT INTO notes (id, body) VALUES (1, 'x')"
    for principal, withheld in ((ANN, True), (DAN, False)):
        _, told = played(says(query(text)), answers(duplicate), principal=principal)
        assert (SECRET in error_of(told.client)[2]) is not withheld
        assert error_of(told.client)[1] == 1062
        assert told.finished == (("failed", 0, 0),)


def test_an_error_amid_rows() -> None:
    said = (*ROWS[:6], error(1317, b"70100", b"interrupted"))
    _, told = played(says(query(READ)), answers(*said), principal=ANN)
    assert told.client.startswith(reply(*MASKED[:6]))
    assert told.finished == (("cancelled", 2, 1),)


def test_a_row_limit_leaves_rows_out() -> None:
    rows = [text_row(str(n), "x") for n in range(5)]
    _, told = played(
        says(query("SELECT id, name FROM customers")),
        answers(b"\x02", ID, NAME, eof(), *rows, eof()),
        principal=GUS,
    )
    assert told.client == reply(b"\x02", ID, NAME, eof(), *rows[:2], eof())
    assert told.finished == (("completed", 2, 0),)


def test_time_is_bounded_by_policy() -> None:
    asked, cancelled, told = played(
        says(query("SELECT id FROM customers")),
        happens(lambda s, now: s.machine.timed_out(s.state.running.execution, now)),  # type: ignore[union-attr, arg-type]
        answers(error(1317, b"70100", b"interrupted")),
        principal=GUS,
    )
    assert "ArmTimeout" in asked.requests and cancelled.requests == ("CancelStatement",)
    assert "500 ms" in error_of(told.client)[2]


def test_a_file_of_the_clients_is_never_asked_for() -> None:
    with pytest.raises(ProtocolViolation):
        played(says(query("SELECT 1")), answers(b"\xfb/etc/passwd"))


def test_a_schema_change_is_told_to_others() -> None:
    asked, told = played(says(query("CREATE TABLE t (a int)")), answers(OK), policy=UNMASKED)
    assert "BeginSchemaChange" in asked.requests
    assert {"NoteSchemaChange", "SettleSchemaChange"} <= set(told.requests)


# --- prepared statements --------------------------------------------------------------------------

PREPARED = (prepared(3, 2, 0), ID, EMAIL, eof())
BINARY = (b"\x02", ID, EMAIL, eof(), b"\0\0\1\0\0\0\x15" + SECRET.encode(), eof())
BINARY_MASKED = (b"\x02", ID, EMAIL_REWORDED, eof(), b"\0\0\1\0\0\0\x04****", eof())


def test_prepared_and_executed() -> None:
    asked, told, again, rows = played(
        says(prepare(READ)), answers(*PREPARED), says(execute(3)), answers(*BINARY), principal=ANN
    )
    assert asked.upstream == sent(prepare(READ)) and asked.decided == ((PARSE, ""),)
    assert told.client == reply(prepared(3, 2, 0), ID, EMAIL_REWORDED, eof())
    assert again.upstream == sent(execute(3)) and again.decided == ((EXECUTE, ""),)
    assert rows.client == reply(*BINARY_MASKED) and rows.finished == (("completed", 1, 1),)


def test_an_execution_right_behind_its_prepare() -> None:
    """As MariaDB's clients send it, with no number of their own."""
    asked, told, rows = played(
        says(prepare(READ), execute(0xFFFFFFFF)), answers(*PREPARED), answers(*BINARY)
    )
    assert asked.upstream == sent(prepare(READ))
    assert told.upstream == sent(execute(0xFFFFFFFF))
    assert rows.client == reply(*BINARY)


def test_a_cursor_keeps_its_lock() -> None:
    opened = (b"\x02", ID, EMAIL, eof(0x40))
    first, last = BINARY[4], b"\0\0\2\0\0\0\x15" + SECRET.encode()
    fetch = b"\x1c\x03\0\0\0\1\0\0\0"
    _, _, _, told, _, one, _, two = played(
        says(prepare(READ)),
        answers(*PREPARED),
        says(execute(3, flags=1)),
        answers(*opened),
        says(fetch),
        answers(first, eof(0x40)),
        says(fetch),
        answers(last, eof(0x80)),
        principal=ANN,
    )
    assert told.finished == one.finished == ()
    assert one.client == reply(BINARY_MASKED[4], eof(0x40))
    assert two.client == reply(last[:6] + b"\x04****", eof(0x80))
    assert two.finished == (("completed", 2, 2),)


def test_a_server_that_has_put_the_rows_aside_tells_the_alias_for_the_column() -> None:
    """What it is read from was told before, even where another column is called so."""
    alias = column("name", "customers", "public", org_name="email")
    aside = column("name", "customers", "public")
    fetch = b"\x1c\x03\0\0\0\1\0\0\0"
    *_, told, _, rows = played(
        says(prepare("SELECT id, email AS name FROM customers")),
        answers(prepared(3, 2, 0), ID, alias, eof()),
        says(execute(3, flags=1)),
        answers(b"\x02", ID, aside, eof(0x40)),
        says(fetch),
        answers(BINARY[4], eof(0x80)),
        principal=ANN,
    )
    assert told.finished == () and rows.client == reply(BINARY_MASKED[4], eof(0x80))


@pytest.mark.parametrize("ending", [b"\x19\x03\0\0\0", b"\x1a\x03\0\0\0", b"\x1f", execute(3)])
def test_a_cursor_ends_with_its_statement(ending: bytes) -> None:
    opened = (b"\x02", ID, EMAIL, eof(0x40))
    events = [
        says(prepare(READ)),
        answers(*PREPARED),
        says(execute(3, flags=1)),
        answers(*opened),
        says(ending),
    ]
    if ending[0] in (0x1A, 0x1F):
        events.append(answers(OK))
    told = played(*events, principal=ANN)
    assert [f for seen in told for f in seen.finished] == [("completed", 0, 0)]


def test_a_policy_that_changed_holds_for_what_was_prepared() -> None:
    *_, refused = played(
        says(prepare("SELECT body FROM notes")),
        answers(prepared(3, 1, 0), column("body", "notes", "public"), eof()),
        happens(lambda s, now: _take(s, now)),
        says(execute(3)),
    )
    assert refused.upstream == b"" and refused.decided == ((EXECUTE, "denied"),)


def _take(session, now):  # type: ignore[no-untyped-def]
    session.machine.take_policy(NO_NOTES)
    return session.machine.give_up_waiting("", now)


def test_what_was_prepared_under_another_database_is_prepared_again() -> None:
    *_, told = played(
        says(prepare(READ)),
        answers(*PREPARED),
        says(query("USE other")),
        answers(OK),
        says(execute(3)),
        PROBED,  # another database than at first
    )
    assert told.upstream == b"" and told.decided == ((EXECUTE, "stale"),)


@pytest.mark.parametrize("command", [execute(9), b"\x1c\x09\0\0\0\1\0\0\0", b"\x1a\x09\0\0\0"])
def test_statements_that_nobody_prepared(command: bytes) -> None:
    (told,) = played(says(command))
    assert error_of(told.client)[:2] == (1, 1243) and told.upstream == b""


def test_closing_one_earns_no_reply() -> None:
    _, _, closed, unknown, executed = played(
        says(prepare(READ)),
        answers(*PREPARED),
        says(b"\x19\x03\0\0\0"),
        says(b"\x19\x03\0\0\0"),
        says(execute(3)),
    )
    assert closed.upstream == sent(b"\x19\x03\0\0\0") and closed.client == b""
    assert (unknown.upstream, unknown.client) == (b"", b"")
    assert error_of(executed.client)[1] == 1243


def test_long_values_flow_and_too_long_ones_spoil_the_execution() -> None:
    text = "INSERT INTO notes (id, body) VALUES (1, ?)"
    limits = Limits(statement_bytes_max=1_000, bind_bytes_max=1_000)
    piece = b"\x18\x03\0\0\0\0\0"
    bound = b"\0\1\xfc\0"
    prepared_one = answers(prepared(3, 0, 1), column("?"), eof())
    _, _, sent_on, run, _ = played(
        says(prepare(text)),
        prepared_one,
        says(piece + b"abc"),
        says(execute(3, bound)),
        answers(OK),
        limits=limits,
    )
    assert sent_on.upstream == sent(piece + b"abc") and sent_on.client == b""
    assert run.upstream == sent(execute(3, bound))
    _, _, silent, refused, reset = played(
        says(prepare(text)),
        prepared_one,
        says(piece + bytes(100_000)),
        says(execute(3, bound)),
        says(b"\x1a\x03\0\0\0"),
        limits=limits,
    )
    assert (silent.upstream, silent.client) == (b"", b"")
    assert refused.upstream == b"" and refused.decided == ((EXECUTE, "too_long"),)
    assert reset.upstream == sent(b"\x1a\x03\0\0\0")


def test_only_so_many_statements() -> None:
    *_, told = played(
        says(prepare(READ)),
        answers(*PREPARED),
        says(prepare(READ)),
        limits=Limits(prepared_statements_max=1),
    )
    assert error_of(told.client)[1] == 1461 and told.upstream == b""


# --- other commands -------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"\x12binlog", b"\x05new", b"\x0d", b"\x7f", b"\xfa\0"])
def test_commands_that_are_not_let_through(payload: bytes) -> None:
    refused, after = played(says(payload), says(b"\x0e"))
    assert refused.upstream == b"" and refused.decided == ((SIMPLE, "unknown_message"),)
    assert error_of(refused.client)[0] == 1
    assert after.upstream == sent(b"\x0e")


def test_a_text_beyond_the_limit() -> None:
    limits = Limits(statement_bytes_max=1_000, bind_bytes_max=1_000)
    refused, after = played(says(query("x" * 100_000)), says(b"\x0e"), limits=limits)
    assert refused.decided == ((SIMPLE, "too_long"),) and error_of(refused.client)[1] == 1153
    assert after.upstream == sent(b"\x0e")


@pytest.mark.parametrize(
    ("text", "number", "statement_only"),
    [("KILL QUERY 5", 5, True), (" kill  5 ;", 5, False), ("Kill Hard Connection 12", 12, False)],
)
def test_own_sessions_are_ended_by_the_appliance(
    text: str, number: int, statement_only: bool
) -> None:
    asked: list[object] = []

    def answer(found: bool):  # type: ignore[no-untyped-def]
        def act(session, now):  # type: ignore[no-untyped-def]
            asked[:] = [r for r in session.state.turn.requests if isinstance(r, EndOther)] or asked
            return session.machine.other_ended(found, now)

        return happens(act)

    sent_off, done = played(says(query(text)), answer(True))
    assert asked[0] == EndOther(Ending(number, statement_only))
    assert (sent_off.upstream, sent_off.client, done.upstream) == (b"", b"", b"")
    assert sent_off.decided == ((SIMPLE, ""),) and done.finished == (("completed", 0, 0),)
    assert done.client == reply(b"\0\0\0\2\0\0\0")
    _, none = played(says(query(text)), answer(False))
    assert error_of(none.client)[:2] == (1, 1094) and none.finished == (("failed", 0, 0),)


def test_by_message_as_well_as_by_text() -> None:
    (asked,) = played(says(b"\x0c\x05\0\0\0"))
    assert asked.requests == ("EndOther",) and asked.upstream == b""


@pytest.mark.parametrize(
    "text", ["KILL QUERY ID 5", "KILL USER app", "KILL 1 + 1", "SELECT 1; KILL 5", "/* */ KILL 5"]
)
def test_sessions_are_ended_in_no_other_way(text: str) -> None:
    (told,) = played(says(query(text)), policy=PERMISSIVE)
    assert told.upstream == b"" and told.decided[0][1] in ("denied", "unparsable", "opaque")


def test_last_words_stand_where_the_client_looks_for_them() -> None:
    numbers = []

    def speak(session, now):  # type: ignore[no-untyped-def]
        numbers.append(session.machine.last_words("57P01", "over")[3])
        return session.machine.remind(now)

    played(happens(speak), says(query(READ)), answers(*ROWS[:5]), happens(speak))
    assert numbers[:2] == [1, 6]


def test_the_end() -> None:
    ended, late = played(says(b"\x01"), says(b"\x0e"))
    assert ended.upstream == sent(b"\x01") and ended.requests == ("EndSession",)
    assert (late.upstream, late.client) == (b"", b"")


def test_what_was_under_way_is_finished_in_the_records() -> None:
    *_, over = played(says(query(READ)), answers(*ROWS[:5]), gone())
    assert over.finished == (("disconnected", 1, 0),)
    *_, over = played(
        says(prepare(READ)),
        answers(*PREPARED),
        says(execute(3, flags=1)),
        answers(b"\x02", ID, EMAIL, eof(0x40)),
        gone(),
    )
    assert over.finished == (("disconnected", 0, 0),)


def test_transactions_are_seen() -> None:
    states = []

    def note(session, now):  # type: ignore[no-untyped-def]
        states.append((session.machine.in_transaction, session.machine.idle))
        return session.machine.remind(now)

    played(
        says(query("BEGIN")),
        happens(note),
        answers(ok(status=IN_TRANSACTION)),
        happens(note),
        says(query("COMMIT")),
        answers(OK),
        happens(note),
    )
    assert states[:3] == [(False, False), (True, False), (False, True)]


def test_what_cannot_be_bound_to_a_plan_never_passes() -> None:
    """Rows without a description are none."""
    with pytest.raises((ProtocolViolation, InvariantBroken)):
        played(says(query(READ)), answers(text_row("1", SECRET)), principal=ANN)


def test_the_catalog_is_waited_for() -> None:
    asked, told = played(
        says(query(READ)),
        happens(lambda s, now: (s.port.take(LINEAGE_HERE), s.machine.catalog_ready(now))[1]),
        principal=ANN,
        lineage=None,
    )
    assert asked.requests == ("RefreshCatalog",) and asked.upstream == b""
    assert told.upstream == sent(query(READ))


from tests.playbook.exchange_world import LINEAGE as LINEAGE_HERE  # noqa: E402

# --- approvals ------------------------------------------------------------------------------------

UPDATE = "UPDATE notes SET body = 'x' WHERE id = 1"


def known(state: State = State.PENDING):  # type: ignore[no-untyped-def]
    return happens(lambda s, now: s.machine.approval_known(Known("a1", "q1", state), now))


def ruled(state: State):  # type: ignore[no-untyped-def]
    return happens(lambda s, now: s.machine.approval_ruled(Ruled("q1", state, "bea"), now))


def used(ok: bool = True):  # type: ignore[no-untyped-def]
    return happens(lambda s, now: s.machine.approval_used(Used("q1", ok, by="bea"), now))


def test_a_held_statement_runs_once_it_is_approved() -> None:
    estimated, asked, pending, approved, released, done = played(
        says(query(UPDATE), b"\x0e"),
        explained(1),
        known(),
        ruled(State.APPROVED),
        used(),
        answers(ok(1)),
        policy=HELD,
        approvals=True,
    )
    assert estimated.upstream == sent(query(EXPLAIN.decode() + UPDATE))
    assert asked.requests == ("AskApproval",) and asked.upstream == asked.client == b""
    assert asked.decided == () and pending.client == b""  # nothing can be said amid a command
    assert approved.requests == ("UseApproval",) and approved.upstream == b""
    assert released.upstream == sent(query(UPDATE)) and released.decided == ((SIMPLE, ""),)
    assert done.client == reply(ok(1)) and done.upstream == sent(b"\x0e")


@pytest.mark.parametrize("state", [State.DENIED, State.EXPIRED])
def test_a_held_statement_that_nobody_wants(state: State) -> None:
    *_, told = played(
        says(query(UPDATE)), explained(1), known(), ruled(state), policy=HELD, approvals=True
    )
    assert told.upstream == b"" and error_of(told.client)[0] == 1
    assert told.decided[0][1] in ("hold_denied", "hold_expired")


def test_giving_up_while_it_waits() -> None:
    *_, told, after = played(
        says(query(UPDATE)),
        explained(1),
        known(),
        happens(lambda s, now: s.machine.give_up_waiting("cancelled", now)),
        says(query("SELECT 1")),
        policy=HELD,
        approvals=True,
    )
    assert told.requests == ("WithdrawApproval",) and error_of(told.client)[1] == 1317
    assert after.upstream == sent(query("SELECT 1"))


def test_held_without_anybody_to_ask() -> None:
    (told,) = played(says(query(UPDATE)), policy=HELD)
    assert told.decided == ((SIMPLE, "hold_unavailable"),) and told.upstream == b""


BOUND = b"\0\1\xfd\0\x01y"
HELD_TEXT = "UPDATE notes SET body = ? WHERE id = 1"


def test_what_is_prepared_is_held_when_it_is_executed_with_its_values() -> None:
    prepared_it, _, estimated, asked, _, _, released = played(
        says(prepare(HELD_TEXT)),
        answers(prepared(3, 0, 1), column("?"), eof()),
        says(execute(3, BOUND)),
        explained(1),
        known(),
        ruled(State.APPROVED),
        used(),
        policy=HELD,
        approvals=True,
    )
    assert prepared_it.upstream == sent(prepare(HELD_TEXT))
    bound = HELD_TEXT.replace("?", " _utf8mb4 X'79'")
    assert estimated.upstream == sent(query(EXPLAIN.decode() + bound))
    assert asked.requests == ("AskApproval",)
    assert released.upstream == sent(execute(3, BOUND)) and released.decided == ((EXECUTE, ""),)


def test_approvers_see_values_or_it_is_not_held() -> None:
    """A value that was sent in pieces is not looked at."""
    *_, told = played(
        says(prepare(HELD_TEXT)),
        answers(prepared(3, 0, 1), column("?"), eof()),
        says(b"\x18\x03\0\0\0\0\0abc"),
        says(execute(3, b"\0\1\xfc\0")),
        policy=HELD,
        approvals=True,
    )
    assert told.upstream == b"" and told.decided == ((EXECUTE, "hold_unavailable"),)


def test_gone_while_it_waits() -> None:
    *_, over = played(
        says(query(UPDATE)), explained(1), known(), gone(), policy=HELD, approvals=True
    )
    assert over.requests == ("WithdrawApproval",)
