"""The hit path in the client's open transactions: what it takes there, under which lease, and what
becomes of a statement that runs when the lease breaks.
"""

import random
from collections.abc import Callable
from typing import Any

import pytest

from _speedups.leases import Lease
from appliance.audit.record import Outcome, StatementDecided, StatementFinished
from appliance.model.principal import Principal
from appliance.wire.postgres import messages as m
from tests.playbook.speech import (
    FAILED,
    IN_TRANSACTION,
    SYNC,
    bind,
    complete,
    describe_portal,
    execute,
    failure,
    parse,
    query,
    row,
)
from tests.playbook.world import ANN, DAN, SECRET
from tests.unit.session.hit_fronts import (
    AT_SOURCE,
    BEGIN,
    COMMIT,
    NOTES,
    NOW,
    READ,
    WRITE,
    Front,
    Hold,
    Wired,
    converse,
)
from tests.unit.session.test_hits import plain, sorts, told

EXTENDED = parse(READ) + bind() + describe_portal() + execute() + SYNC
UNDESCRIBED = parse(READ) + bind() + execute() + SYNC
FORMS = pytest.mark.parametrize(
    "chunk", [query(READ), EXTENDED, UNDESCRIBED], ids=["query", "extended", "undescribed"]
)


def say(front: Front, *chunks: bytes) -> bytes:
    """-> what the client reads of it."""
    front.read = b""
    for chunk in chunks:
        front.say(chunk)
        front.answer()
    return front.read


class Whole(random.Random):
    """Of a front whose database sends its answers in one piece each."""

    def random(self) -> float:
        return 0.99


def begun(
    chunk: bytes, principal: Principal = ANN, *, hits: bool = True, wired: bool = False
) -> Front:
    """A session that has begun a transaction under the lease, and knows the chunk."""
    hold = Hold()
    hold.take()
    choices = Whole()
    front = Wired(principal, choices, hold) if wired else Front(principal, hits, choices, hold)
    say(front, *[chunk] * 4, m.query(BEGIN), chunk)
    return front


def in_pieces(front: Front, cut: int, meanwhile: Callable[[], None]) -> bool:
    """The answer to what was sent comes in two. -> False: the first had enough for the client."""
    sent, front._to_database = front._to_database, b""
    said: bytes = front.database.answer(sent)
    assert SECRET.encode() in said
    if cut:
        front._hear(said[:cut])
    early = bool(front.read)
    meanwhile()
    front._hear(said[cut:])
    front.answer()
    assert SECRET.encode() not in front.read
    return not early


def turning(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the path begins and ends from now on."""
    turned: list[int] = []
    forward = Front._forward

    def noted(front: Front) -> None:
        if front.path.hit.turns:
            turned.append(front.path.hit.turns)
        forward(front)

    monkeypatch.setattr(Front, "_forward", noted)
    return turned


@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes masks", "owes none"])
@pytest.mark.parametrize("seed", range(12))
def test_transactions_with_and_without(
    principal: Principal, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun and ended by the path, and by the machine, in turns."""
    turned = turning(monkeypatch)
    alone = Front(principal, False, random.Random(seed))
    choices, hold = random.Random(seed + 1), Hold()
    hold.take()
    hitting = Wired(principal, choices, hold) if seed % 2 else Front(principal, True, choices, hold)
    for front in (alone, hitting):
        converse(front, seed, 180, calm=True)
        front.leave()
    if not isinstance(hitting, Wired):
        assert turned.count(ord("T")) > 10 and turned.count(ord("I")) > 10
    assert plain(hitting.read) == plain(alone.read)
    assert sorts(told(hitting.records)) == sorts(told(alone.records))
    assert hitting.database.ran == alone.database.ran
    assert principal is DAN or SECRET.encode() not in hitting.read


def settled_turns(principal: Principal = ANN) -> Front:
    """A session whose path begins and ends transactions, under a lease."""
    front = begun(query(READ), principal)
    say(front, *[m.query(COMMIT), m.query(BEGIN)] * 3, m.query(COMMIT))
    assert takes(front, m.query(BEGIN))
    return front


def test_the_path_begins_and_ends_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    front = settled_turns()
    say(front, *[UNDESCRIBED] * 3)
    monkeypatch.setattr(front.machine, "take_over", None)
    asked, taken, state = front.database.asked, front.taken, front.session.state
    assert say(front, m.query(BEGIN)) == complete("BEGIN") + IN_TRANSACTION
    assert (state.status, front.machine.in_transaction, front.machine.idle) == (
        ord("T"),
        True,
        False,
    )
    assert say(front, query(READ)).endswith(row("****") + complete("SELECT 1") + IN_TRANSACTION)
    assert say(front, UNDESCRIBED).endswith(IN_TRANSACTION)
    assert say(front, m.query(COMMIT)) == complete("COMMIT") + m.ready_for_query(ord("I"))
    assert (state.status, front.machine.in_transaction, front.machine.idle) == (
        ord("I"),
        False,
        True,
    )
    assert (front.database.asked, front.taken) == (asked, taken + 4)
    assert front.path.bound is None and state.portals.lookup(b"") is None
    front.leave()


@pytest.mark.parametrize("shape", [b"", describe_portal()], ids=["undescribed", "described"])
@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes masks", "owes none"])
def test_the_same_in_messages_of_the_extended_protocol(
    principal: Principal, named: bool, shape: bytes
) -> None:
    fronts, read = [], []
    for hits in (True, False):
        front = begun(query(READ), principal, hits=hits)
        say(front, m.query(COMMIT))
        chunks = []
        for name, text in (("b", "BEGIN"), ("c", "COMMIT")):
            cycle = bind(name if named else "") + shape + execute() + SYNC
            chunks.append(cycle if named else parse(text) + cycle)
            if named:
                say(front, parse(text, name) + SYNC)
        say(front, *chunks * 3)
        taken = front.taken
        read.append([say(front, chunk) for chunk in (chunks[0], query(READ), chunks[1])])
        assert front.taken == taken + 3 * hits
        fronts.append(front)
    assert read[0] == read[1]
    assert sorts(told(fronts[0].records)) == sorts(told(fronts[1].records))
    state: Any = fronts[0].session.state
    assert state.status == ord("I")
    assert fronts[0].path.bound is None and state.portals.lookup(b"") is None
    for front in fronts:
        front.leave()


def test_what_it_has_begun_knows_of_the_lease_in_front_of_it() -> None:
    front = settled_turns()
    assert front.hold is not None
    say(front, m.query(BEGIN))
    assert front.session.state.opened == front.path.opened == front.hold.lease.value
    front.hold.take()  # another one
    assert not takes(front, query(READ))
    say(front, query(READ), m.query(COMMIT))
    front.hold.let_go()
    assert takes(front, m.query(BEGIN))
    say(front, m.query(BEGIN))
    front.hold.take()
    assert front.session.state.opened == front.path.opened == 0
    for _ in range(3):
        say(front, query(READ))
        assert not takes(front, query(READ))
    front.leave()


@pytest.mark.parametrize("text", [b"COMMIT", b"ROLLBACK", b"BEGIN"])
def test_what_only_warns_is_the_machine_s(text: bytes) -> None:
    """There is no transaction, or there is one already."""
    front = settled_turns()
    say(front, *[m.query(BEGIN), m.query(b"ROLLBACK")] * 3)
    if text == BEGIN:
        say(front, m.query(BEGIN))
    assert not takes(front, m.query(text))
    front.leave()


@pytest.mark.parametrize(
    "text",
    [
        b"BEGIN ISOLATION LEVEL SERIALIZABLE",
        b"START TRANSACTION READ ONLY",
        b"COMMIT AND CHAIN",
        b"BEGIN; SELECT 1",
        b"SAVEPOINT commit",
        b"ROLLBACK TO begin",
        b"/* */ BEGIN",
    ],
)
def test_what_does_more_is_not_taught(text: bytes) -> None:
    front = settled_turns(DAN)
    for _ in range(3):
        state: Any = front.session.state
        say(front, m.query(text))
        front.database.status = state.status = ord("I")
    assert text not in front.path.exact
    front.leave()


@pytest.mark.parametrize("begins", [b"begin;", b" Start Transaction ", b"BEGIN WORK"])
@pytest.mark.parametrize("ends", [b"end", b"Commit;", b"ABORT", b"rollback work"])
def test_spelt_as_clients_do(begins: bytes, ends: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    front = settled_turns(DAN)
    transaction = front.database._transaction
    monkeypatch.setattr(
        front.database, "_query", lambda text: transaction(BEGIN if text == begins else COMMIT)
    )
    for _ in range(3):
        say(front, m.query(begins), m.query(ends))
    assert takes(front, m.query(begins))
    say(front, m.query(begins))
    assert takes(front, m.query(ends))
    front.leave()


@pytest.mark.parametrize(
    "doubt",
    ["touched_in_transaction", "code_in_transaction", "shifting", "made", "chosen", "shares"],
)
def test_what_hangs_on_a_transaction_has_it_ended_by_the_machine(
    doubt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = settled_turns()
    say(front, m.query(BEGIN))
    assert takes(front, m.query(COMMIT))
    state: Any = front.session.state
    if doubt == "shifting":
        state.settings.shift(frozenset(("notes",)))
    elif doubt == "made":
        state.made = frozenset((("public", "x"),))
    elif doubt == "chosen":
        state.chosen.unlike("")
    elif doubt == "shares":
        monkeypatch.setattr(state, "shares", True)
    else:
        setattr(state.settings, doubt, True)
    say(front, SYNC)
    assert not takes(front, m.query(COMMIT))
    monkeypatch.undo()
    assert say(front, m.query(COMMIT)) == complete("COMMIT") + m.ready_for_query(ord("I"))
    front.leave()


@pytest.mark.parametrize("sqlstate", ["23503", "23505", "P0001", "40001"])
def test_a_commit_that_fails_is_told_by_the_machine(sqlstate: str) -> None:
    """What was put off until then may quote what is masked."""
    read = []
    fields = {"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": "no", "D": f"Key (x)=({SECRET})"}
    for hits in (True, False):
        front = settled_turns() if hits else begun(query(READ), hits=False)
        if hits:
            say(front, m.query(BEGIN))
        front.read, taken = b"", front.taken
        front.say(m.query(COMMIT))
        assert front.taken == taken + hits
        front._to_database, front.database.status = b"", ord("I")
        idle = m.ready_for_query(ord("I"))
        front._hear(m.error_fields(m.ERROR_RESPONSE, fields) + idle)
        read.append(plain(front.read))
        assert front.session.state.status == ord("I")
        assert not hits or takes(front, m.query(BEGIN))
        front.leave()
    assert read[0] == read[1]
    assert f"C{sqlstate}".encode() in read[0] and SECRET.encode() not in read[0]


def test_a_begin_that_the_machine_takes_over_began_under_what_was_held_before() -> None:
    front = settled_turns()
    assert front.hold is not None
    front.hold.let_go()
    front.say(m.query(BEGIN))
    assert front.path.underway and front.path.opened == 0
    front.hold.take()
    front.say(query(READ))  # amid the cycle
    front.answer()
    assert front.session.state.status == ord("T") and front.session.state.opened == 0
    front.leave()


def takes(front: Front, chunk: bytes) -> bool:
    taken: bool = front.path.client(chunk, NOW)
    front.path.drop()
    return taken


def outcomes(front: Front) -> list[Outcome]:
    return [r.outcome for r in front.records if isinstance(r, StatementFinished)]


@FORMS
@pytest.mark.parametrize("wired", [False, True], ids=["front", "wired"])
def test_nothing_is_asked_under_a_lease_that_is_older_than_the_transaction(
    chunk: bytes, wired: bool
) -> None:
    front = begun(chunk, wired=wired)
    asked, taken = front.database.asked, front.taken
    alone = begun(chunk, hits=False)
    assert say(front, chunk, chunk) == say(alone, chunk, chunk)
    assert (front.database.asked, front.taken) == (asked, taken + 2)
    assert say(front, m.query(COMMIT)) == say(alone, m.query(COMMIT))
    for each in (front, alone):
        each.leave()


@FORMS
def test_a_transaction_that_is_older_than_the_lease_asks(chunk: bytes) -> None:
    """What was changed in between, its server process need not have heard of."""
    front = begun(chunk)
    assert front.hold is not None and takes(front, chunk)
    front.hold.let_go()
    assert not takes(front, chunk)
    front.hold.take()
    for _ in range(4):
        asked, taken = front.database.asked, front.taken
        say(front, chunk)
        assert (front.database.asked, front.taken) == (asked + 1, taken)
    say(front, m.query(COMMIT), m.query(BEGIN), chunk)
    assert takes(front, chunk)
    front.leave()


def test_what_began_a_pipeline_began_its_transaction() -> None:
    """Not the message at which the lease had come."""
    front = begun(query(READ))
    assert front.hold is not None
    say(front, m.query(COMMIT))
    front.hold.let_go()
    front.say(parse("BEGIN") + bind() + execute())
    front.hold.take()
    say(front, SYNC)
    assert front.session.state.opened == 0
    for _ in range(3):
        say(front, query(READ))
        assert not takes(front, query(READ))
    front.leave()


@FORMS
@pytest.mark.parametrize("wired", [False, True], ids=["front", "wired"])
def test_an_answer_under_a_broken_lease_is_asked_for_again(chunk: bytes, wired: bool) -> None:
    """Wherever it is cut."""
    for cut in range(0, 1000, 1 + 6 * wired):
        front = begun(chunk, wired=wired)
        expected = say(front, chunk)
        assert front.hold is not None
        front.read, taken = b"", front.taken
        front.say(chunk)
        assert front.taken == taken + 1
        front.database.betrays = True
        if not in_pieces(front, cut, front.hold.end):
            break
        assert front.read == expected
        assert expected.endswith(IN_TRANSACTION) and row("****") in expected
        say(front, m.query(COMMIT))
        assert Outcome.WITHHELD in outcomes(front)
        front.leave()
    front.leave()
    assert cut >= 10


@FORMS
@pytest.mark.parametrize("wired", [False, True], ids=["front", "wired"])
def test_a_transaction_that_is_lost_under_a_broken_lease_says_why(
    chunk: bytes, wired: bool
) -> None:
    """The error of the statement may quote what a changed schema has shown it."""
    for cut in range(0, 1000, 1 + 6 * wired):
        front = begun(chunk, wired=wired)
        assert front.hold is not None
        front.read = b""
        front.say(chunk)
        front.database.fails = True
        if not in_pieces(front, cut, front.hold.end):
            break
        error, ready = front.read[: -len(FAILED)], front.read[-len(FAILED) :]
        assert ready == FAILED
        assert error[0] == m.ERROR_RESPONSE and len(error) == 1 + int.from_bytes(error[1:5])
        assert b"C40001\0" in error and b"Hroll back" in error
        decided = [r.id for r in front.records if isinstance(r, StatementDecided)]
        assert decided[-1].encode() in error
        assert front.machine._state.backend.plans_doubted
        assert b"25P02" in say(front, chunk)
        assert say(front, m.query(b"ROLLBACK")).endswith(m.ready_for_query(ord("I")))
        (last,) = [
            r.outcome
            for r in front.records
            if isinstance(r, StatementFinished) and r.decided == decided[-1]
        ]
        assert last is not Outcome.COMPLETED
        assert row("****") in say(front, chunk)
        front.leave()
    front.leave()
    assert cut >= 10


@FORMS
def test_an_error_under_a_lease_that_holds_is_the_statement_s(chunk: bytes) -> None:
    read = []
    for hits in (True, False):
        front = begun(chunk, hits=hits)
        front.database.fails = True
        read.append(plain(say(front, chunk)))
        read.append(plain(say(front, m.query(COMMIT))))
        front.leave()
    assert read[:2] == read[2:]
    assert b"C22012\0" in read[0] and SECRET.encode() not in read[0]
    assert b"ROLLBACK\0" in read[1]


@pytest.mark.parametrize("sqlstate", ["P0001", "57014", "42704"])
def test_an_error_of_parse_or_bind_is_the_statement_s(sqlstate: str) -> None:
    """Nothing is asked in front of it, and the schema is held."""
    front = begun(UNDESCRIBED)
    front.read, taken = b"", front.taken
    front.say(UNDESCRIBED)
    assert front.taken == taken + 1
    front.database.answer(front._to_database)
    front._to_database, front.database.status = b"", ord("E")
    front._hear(failure(sqlstate, f"said {SECRET}") + FAILED)
    front.answer()
    assert f"C{sqlstate}".encode() in front.read and front.read.endswith(FAILED)
    assert (SECRET.encode() in front.read) == (sqlstate != "P0001")
    assert outcomes(front)[-1] is Outcome.FAILED
    front.leave()


class Cycle:
    """What the client does with the unnamed portal that a statement has left."""

    AGAIN = execute() + SYNC
    SHAPE = describe_portal() + SYNC
    CLOSED = m.close(m.PORTAL, b"") + SYNC
    GONE = m.query(COMMIT)


@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes masks", "owes none"])
@pytest.mark.parametrize(
    "behind",
    [
        (Cycle.AGAIN,),
        (Cycle.SHAPE, Cycle.AGAIN),
        (Cycle.SHAPE[:-5] + Cycle.AGAIN,),
        (Cycle.CLOSED, UNDESCRIBED, Cycle.AGAIN),
        (query(NOTES.format(1)), UNDESCRIBED, Cycle.AGAIN),
        (EXTENDED, Cycle.AGAIN),
        (Cycle.AGAIN, UNDESCRIBED, Cycle.SHAPE),
    ],
)
@pytest.mark.parametrize("first", [UNDESCRIBED, EXTENDED], ids=["undescribed", "described"])
def test_the_unnamed_portal_outlives_its_cycle(
    principal: Principal, behind: tuple[bytes, ...], first: bytes
) -> None:
    alone, hitting = (begun(first, principal, hits=hits) for hits in (False, True))
    taken = hitting.taken
    for chunk in (first, *behind, Cycle.GONE):
        assert say(hitting, chunk) == say(alone, chunk)
        assert principal is DAN or SECRET.encode() not in hitting.read
    assert hitting.taken > taken
    assert sorts(told(hitting.records)) == sorts(told(alone.records))
    for front in (alone, hitting):
        front.leave()


def test_portals_of_other_statements_are_not_mixed_up() -> None:
    """The path binds one, then another; the machine goes on with the last."""
    fronts = []
    for hits in (True, False):
        front = begun(UNDESCRIBED, hits=hits)
        other = parse(AT_SOURCE) + bind() + execute() + SYNC
        say(front, *[other] * 4)
        fronts.append(front)
        front.read = b""
    hitting, alone = fronts
    taken = hitting.taken
    for chunk in (UNDESCRIBED, other, Cycle.AGAIN, UNDESCRIBED, Cycle.AGAIN):
        assert say(hitting, chunk) == say(alone, chunk)
        assert SECRET.encode() not in hitting.read
    assert hitting.taken == taken + 3
    for front in fronts:
        front.leave()


@pytest.mark.parametrize("text", [NOTES.format(1), WRITE.format(1), READ])
def test_what_owes_nothing_needs_no_lease(text: str) -> None:
    front = Front(DAN, True, random.Random(0))
    say(front, *[query(text)] * 4, m.query(BEGIN))
    assert takes(front, query(text))
    assert say(front, query(text)).endswith(IN_TRANSACTION)
    assert say(front, m.query(COMMIT)) == complete("COMMIT") + m.ready_for_query(ord("I"))
    front.leave()


def test_code_that_may_leave_anything_is_followed_by_the_machine() -> None:
    """Behind it the machine has to look; in front of a transaction's end it does at each message,
    behind that the path does."""
    front = Front(DAN, True, random.Random(0))
    say(front, *[query(READ)] * 4)
    (hit,) = front.path.exact.values()
    assert hit.amid
    hit.amid = False
    assert takes(front, query(READ))
    say(front, m.query(BEGIN))
    assert not takes(front, query(READ))
    hit.amid = True
    assert takes(front, query(READ))
    front.leave()


def test_what_the_planning_of_a_portal_did_is_looked_at_first() -> None:
    """It was bound, and not executed: its code may have set anything."""
    front = begun(query(READ))
    settings: Any = front.session.state.settings
    settings.planned = object()
    say(front, SYNC)
    assert settings.planned is not None and not takes(front, query(READ))
    say(front, query(READ))
    assert settings.planned is None and not settings.pinned and not takes(front, query(READ))
    front.leave()


def test_in_a_failed_transaction_nothing_is_taken() -> None:
    front = begun(query(NOTES.format(1)), DAN)
    front.database.fails = True
    assert say(front, query(READ)).endswith(FAILED)
    assert not takes(front, query(NOTES.format(1)))
    assert not front.path.armed
    front.leave()


def test_who_shares_connections_has_its_transactions_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that the client prepared, this connection need not know."""
    front = begun(query(READ))
    assert takes(front, query(READ))
    state: Any = front.session.state
    monkeypatch.setattr(state, "shares", True)
    say(front, query(NOTES.format(1)))
    assert not front.path.armed
    front.leave()


def test_the_machine_sees_when_a_statement_ends_the_transaction() -> None:
    """A text that was known as one that does not: a procedure of the server may."""
    front = begun(query(NOTES.format(1)), DAN)
    front.read = b""
    front.say(query(NOTES.format(1)))
    sent, front._to_database = front._to_database, b""
    said = front.database.answer(sent)
    front.database.status = ord("I")
    front._hear(said[: -len(IN_TRANSACTION)] + m.ready_for_query(ord("I")))
    assert front.read.endswith(m.ready_for_query(ord("I")))
    assert front.session.state.status == ord("I")
    front.leave()


def test_a_lease_is_wanted_also_in_a_transaction() -> None:
    hold = Hold()
    front = Front(ANN, True, random.Random(0), hold)
    say(front, *[query(READ)] * 4, m.query(BEGIN), query(READ))
    missed = hold.lease.missed
    say(front, query(READ))
    assert hold.lease.missed > missed
    assert isinstance(front.path.lease, Lease)
    front.leave()
