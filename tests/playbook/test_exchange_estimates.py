"""What the database expects of a held statement, asked in an exchange session: approvers see it,
the client sees nothing of it, and nothing is left of the question."""

import struct
from typing import Any

import pytest

from appliance.approval.request import Effect, State
from appliance.audit.record import ProtocolKind
from appliance.link.approvals import Known
from appliance.policy.compile import compile_documents
from appliance.session.effects import AskApproval
from appliance.session.exchange_blast import UNDO
from appliance.sql.mysql.estimates import EXPLAIN
from tests.playbook.exchange_world import (
    Event,
    Session,
    answers,
    execute,
    explained,
    happens,
    played,
    prepare,
    query,
    says,
    sent,
)
from tests.playbook.world import ANN, DAN, HELD
from tests.unit.wire.mysql.packets_said import column, eof, error, ok, prepared, text_row

UPDATE = "UPDATE notes SET body = 'x' WHERE id < 9"
BEGUN, MANUAL = 3, 0
"""Status flags: autocommit amid a transaction; no autocommit."""
ASKED = EXPLAIN.decode()


def asks(*events: Event, **options: Any) -> tuple[Effect, list[Any]]:
    """The effect in the request that the last event caused, and what was seen."""
    found: list[Effect] = []

    def looked(session: Session, now: float) -> Any:
        assert session.machine.parked is not None
        found.append(session.machine.parked.asked.effect)
        return session.machine.approval_known(Known("a1", "q1", State.PENDING), now)

    options = {"policy": HELD, "approvals": True, **options}
    seen = played(*events, happens(looked), **options)
    assert seen[-2].requests == (AskApproval.__name__,)
    return found[0], seen


def test_approvers_see_how_many_rows_the_server_expects() -> None:
    effect, (asked, told, _) = asks(says(query(UPDATE)), explained(12))
    assert asked.upstream == sent(query(ASKED + UPDATE)) and asked.decided == ()
    assert effect == Effect(rows_estimated=12) and told.client == told.upstream == b""


def test_only_the_statement_of_a_text_is_asked_about() -> None:
    _, (asked, *_) = asks(says(query(f"{UPDATE} ;\n -- it")), explained(12))
    assert asked.upstream == sent(query(ASKED + UPDATE + " "))


def test_one_that_the_server_does_not_know() -> None:
    effect, _ = asks(says(query(UPDATE)), explained(None))
    assert effect.rows_estimated is None and "does not say" in effect.note
    effect, _ = asks(says(query(UPDATE)), answers(error(1969)))
    assert effect == Effect(note="the database gave no estimate (error 1969)")


def test_no_row_at_all() -> None:
    effect, _ = asks(says(query(UPDATE)), explained("Impossible WHERE"))
    assert effect == Effect(rows_estimated=0)


@pytest.mark.parametrize("answer", [explained(4, status=1), answers(error(1969))])
def test_without_autocommit_nothing_stays_open(answer: Event) -> None:
    """An error does not tell whether a transaction was begun for it."""
    _, (_, _, asked, undone, told, _) = asks(
        says(query("SELECT 1")),
        answers(b"\x01", column("1"), eof(MANUAL), text_row("1"), eof(MANUAL)),
        says(query(UPDATE)),
        answer,
        answers(ok(0, MANUAL)),
    )
    assert asked.upstream == sent(query(ASKED + UPDATE))
    assert undone.upstream == sent(b"\x03" + UNDO) and undone.client == told.client == b""


def test_inside_a_transaction_nothing_is_asked() -> None:
    effect, seen = asks(
        says(query("BEGIN")),
        answers(ok(0, BEGUN)),
        says(query(UPDATE)),
    )
    assert seen[2].upstream == b"" and "take part in its transaction" in effect.note


def test_what_the_next_transaction_is_to_be_like_is_not_used_up() -> None:
    kept = [says(query("SET TRANSACTION READ ONLY")), answers(ok())]
    effect, seen = asks(*kept, says(query(UPDATE)))
    assert seen[2].upstream == b"" and "SET TRANSACTION" in effect.note
    over = [says(query("COMMIT")), answers(ok())]
    effect, _ = asks(*kept, *over, says(query(UPDATE)), explained(1))
    assert effect == Effect(rows_estimated=1)


def test_the_values_of_an_execution_are_in_the_question() -> None:
    text = "UPDATE notes SET body = ? WHERE id < ? - ? AND body <> ?"
    numbers = struct.pack("<qI", -7, 4_000_000_000)
    bound = b"\x08\1\xfe\0\x08\0\x03\x80\xfe\0" + b"\x04a'\\b" + numbers  # the last is NULL
    _, (_, _, asked, *_) = asks(
        says(prepare(text)),
        answers(prepared(3, 0, 4), *[column("?")] * 4, eof()),
        says(execute(3, bound)),
        explained(1),
    )
    told = "SET body =  _utf8mb4 X'61275c62' WHERE id <  -7 -  4000000000 AND body <>  NULL"
    assert asked.upstream == sent(query(f"{ASKED}UPDATE notes {told}"))


def test_what_the_server_says_of_it_is_not_asked_for_again() -> None:
    """EXPLAIN leaves a note with the statement as it was planned, cells read ahead included."""
    *_, warned = played(
        says(query("UPDATE notes SET body = 'x'")),
        explained(1),
        happens(lambda s, now: s.machine.approval_known(Known("a1", "q1", State.DENIED), now)),
        says(query("SHOW WARNINGS")),
        policy=HELD_AND_MASKED,
        principal=ANN,
        approvals=True,
    )
    assert warned.upstream == b"" and warned.decided[0][0] is ProtocolKind.SIMPLE
    assert warned.decided[0][1]


HELD_AND_MASKED = compile_documents(
    [
        (
            "policy.yaml",
            b"""
version: 1
classifications: {mail: ["*.public.customers.email"]}
rules:
  - {id: all, effect: allow, actions: [everything]}
  - {id: ask, effect: hold, actions: [update]}
  - {id: hide, effect: mask, classifications: [mail], mask: {method: redact}}
""",
        )
    ]
)


def test_a_client_that_gives_up_meanwhile() -> None:
    *_, given_up, told = played(
        says(query(UPDATE)),
        happens(lambda s, now: s.machine.give_up_waiting("cancelled", now)),
        answers(error(1317)),
        policy=HELD,
        approvals=True,
        principal=DAN,
    )
    assert given_up.client == b"" and told.requests == ()
    assert told.decided == ((ProtocolKind.SIMPLE, "hold_withdrawn"),)
