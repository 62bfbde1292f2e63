"""MySQL's hit path against the machine alone: the same conversation, with and without it, gives the
client the same bytes and the trail the same records.
"""

import random
import socket
import struct
from collections.abc import Iterator

import msgspec
import pytest

from _speedups.leases import Lease
from _speedups.myframe import packets
from appliance.audit.record import StatementDecided, StatementFinished
from appliance.model.errors import ProtocolViolation
from appliance.model.facts import FunctionUse
from appliance.model.principal import Principal
from tests.playbook.exchange_world import OLD, execute, reply
from tests.playbook.world import ANN, DAN, POLICY, SECRET, UNMASKED
from tests.unit.session.hit_fronts import NOW, Front
from tests.unit.session.my_hit_fronts import (
    CAPABILITIES,
    PREPARED,
    READ,
    MyFront,
    MyWired,
    bound,
    command,
    converse,
    query,
)
from tests.unit.session.test_hits import assert_told_whole, plain, sorts, told
from tests.unit.wire.mysql.packets_said import column, eof, text_row


def front_of(kind: type[Front], capabilities: int, *arguments: object) -> Front:
    made = type(kind.__name__, (kind,), {"capabilities": capabilities})
    return made(*arguments)  # type: ignore[no-any-return]


@pytest.mark.parametrize("capabilities", CAPABILITIES, ids=["old", "new", "tracked", "attributes"])
@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes masks", "owes none"])
@pytest.mark.parametrize("seed", range(8))
def test_with_and_without(principal: Principal, capabilities: int, seed: int) -> None:
    alone = front_of(MyFront, capabilities, principal, False, random.Random(seed))
    choices = random.Random(seed + 1)
    if seed % 2:
        hitting = front_of(MyWired, capabilities, principal, choices)
    else:
        hitting = front_of(MyFront, capabilities, principal, True, choices)
    for front in (alone, hitting):
        converse(front, seed, 180)
        front.leave()
    assert hitting.taken > 40
    assert plain(hitting.read) == plain(alone.read)
    if principal is ANN:
        assert SECRET.encode() not in hitting.read
    assert sorts(told(hitting.records)) == sorts(told(alone.records))
    if isinstance(hitting, MyWired):
        assert_told_whole(hitting)
    assert hitting.database.texts == alone.database.texts
    assert hitting.machine.totals == alone.machine.totals


def settled(principal: Principal, capabilities: int = OLD) -> Front:
    """A session in which READ and the first of PREPARED are taken by the path."""
    front = front_of(MyFront, capabilities, principal, True, random.Random(1))
    for payload in (b"\x16" + PREPARED[0].encode(), execute(1, bound(1)), *[query(READ)] * 3):
        front.say(command(front, payload))
        front.answer()
    for payload in (query(READ), execute(1, bound(1))):
        before = front.taken
        front.say(command(front, payload))
        front.answer()
        assert front.taken == before + 1
    return front


def takes(front: Front, chunk: bytes) -> bool:
    taken = front.path.client(chunk, NOW)
    if taken:
        front.path.drop()
    return bool(taken)


@pytest.mark.parametrize("capabilities", [OLD, CAPABILITIES[3]], ids=["old", "attributes"])
@pytest.mark.parametrize("payload", [query(READ), execute(1, bound(1))], ids=["text", "binary"])
def test_what_is_malformed_is_the_machines(payload: bytes, capabilities: int) -> None:
    front = settled(DAN, capabilities)
    good = command(front, payload)
    assert takes(front, good)
    for index in range(len(good)):
        for byte in (good[index] ^ 1, 0xFF):
            bad = good[:index] + bytes((byte,)) + good[index + 1 :]
            if takes(front, bad):  # NULLs, types as before, or values
                assert payload[0] == 0x17 and (index in (14, 15) or index > 17)
        assert not takes(front, good[:index])
        assert not takes(front, good + good[: index + 1])


def test_types_are_those_of_the_execution_before() -> None:
    front = settled(DAN)
    assert takes(front, command(front, execute(1, bound(1, types=False))))
    other = command(front, execute(1, bound(1, kind=3)))
    assert not takes(front, other)
    front.say(other)
    front.answer()
    assert takes(front, other)
    assert not takes(front, command(front, execute(1, bound(1))))


@pytest.mark.parametrize(
    "before",
    [
        b"\x18" + struct.pack("<IH", 1, 0) + b"a long value",
        execute(1, bound(1), flags=1),
        b"\x19" + struct.pack("<I", 1),
        b"\x1f",
    ],
    ids=["long value", "cursor", "closed", "session reset"],
)
def test_a_statement_that_only_the_machine_knows_to_deal_with(before: bytes) -> None:
    front = settled(DAN)
    front.say(command(front, before))
    front.answer()
    assert not takes(front, command(front, execute(1, bound(1))))


def test_nothing_is_taken_once_the_catalog_moves() -> None:
    front = settled(ANN)
    front._generation.value += 1
    assert not takes(front, command(front, query(READ)))


def test_a_catalog_that_moves_amid_a_cycle_is_seen_before_the_first_row() -> None:
    front = settled(ANN)
    front.read = b""
    front.say(command(front, query(READ)))
    assert front.path.underway
    front._generation.value += 1
    front.session.port.shapes += 1
    front.answer()
    assert SECRET.encode() not in front.read
    assert b"schema" in front.read and front.read[4] == 0xFF


@pytest.mark.parametrize(
    "described",
    [
        column("mail", "customers", "public"),
        column("email", "customers", "public", org_name="name"),
        column("email", "notes", "public"),
        column("email"),
    ],
)
def test_rows_come_under_the_lock_that_was_taught(described: bytes) -> None:
    """A result that is described otherwise is the machine's, which shows nothing raw of it."""
    front = settled(ANN)
    front.read, before = b"", front.taken
    front.say(command(front, query(READ)))
    assert front.taken == before + 1
    front._hear(reply(b"\1", described, eof(), text_row(SECRET), eof()))
    assert SECRET.encode() not in front.read


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_packets_out_of_order_end_the_session(number: int) -> None:
    front = settled(ANN)
    front.say(command(front, query(READ)))
    payloads = (b"\1", column("email", "customers", "public"), eof(), text_row("x"), eof())
    said = [packets(p, n + (n >= number)) for n, p in enumerate(payloads, 1)]
    with pytest.raises(ProtocolViolation):
        front._hear(b"".join(said))


def test_more_than_is_due_ends_the_session() -> None:
    front = settled(DAN)
    front.say(command(front, query(READ)))
    result = (b"\1", column("email", "customers", "public"), eof(), text_row("x"), eof())
    with pytest.raises(ProtocolViolation):
        front._hear(reply(*result) + packets(text_row("y"), 6))


def test_a_transaction_that_ends_by_itself_is_seen() -> None:
    """What the server says along with an answer is the machine's to know."""
    front = settled(DAN)
    front.say(command(front, query("BEGIN")))
    front.answer()
    assert front.machine.in_transaction
    before = front.taken
    front.say(command(front, query(READ)))
    front.database.inside = False
    front.answer()
    assert front.taken == before + 1
    assert not front.machine.in_transaction


LEAVING_SOMETHING = {
    "user variables": {"sets_variables": True},
    "a routine": {"functions": (FunctionUse("public", "noted"),)},
    "a trigger": {"functions_below": (FunctionUse("public", "noted"),)},
    "a trusted routine": {"calls": (FunctionUse("public", "noted", (9,)),)},
}


@pytest.mark.parametrize("more", LEAVING_SOMETHING.values(), ids=LEAVING_SOMETHING)
@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes masks", "owes none"])
def test_what_leaves_something_in_the_session_is_not_taught(
    principal: Principal, more: dict[str, object]
) -> None:
    """An approval binds to what a session set for itself, and code may have changed anything: both
    are followed by the machine. Everything else about these verdicts is as it was taken before."""
    front = settled(principal)
    hits, verdict = front.session.state.hits, front.path.exact[READ.encode()].verdict
    (statement,) = verdict.facts.statements
    changed = msgspec.structs.replace(statement, **more)
    facts = msgspec.structs.replace(verdict.facts, statements=(changed,))
    leaving = msgspec.structs.replace(verdict, facts=facts)
    assert leaving.plain and hits.queried(b"SELECT 1", verdict, None, True) is not None
    assert hits.queried(b"SELECT 2", leaving, None, True) is None
    assert hits.queried(b"SELECT 2", leaving, b"SELECT ?", False) is None
    assert hits.executed(1, leaving, bound(1), 1) is None


def test_a_text_that_gives_a_variable_its_value_is_the_machines() -> None:
    front = settled(DAN)
    text = "SELECT @seen := id FROM notes WHERE body = 'x'"
    for _ in range(4):
        before = front.taken
        front.say(command(front, query(text)))
        front.answer()
        assert front.taken == before
    assert text.encode() not in front.path.exact


def test_what_was_taught_meanwhile_holds_under_its_own_epoch_only() -> None:
    front = settled(ANN)
    front.machine.take_policy(UNMASKED)
    front.say(command(front, query(READ)) + command(front, query(READ)))
    front.machine.take_policy(POLICY)
    front.answer()
    front.read = b""
    for _ in range(4):
        front.say(command(front, query(READ)))
        front.answer()
    assert SECRET.encode() not in front.read and front.read.count(b"****") == 4


def test_words_of_the_database_are_suspect_behind_a_hit() -> None:
    """SHOW WARNINGS could quote what a statement of the path met."""
    front = settled(ANN)
    front.session.state.words_suspect = False
    front.say(command(front, query(READ)))
    front.answer()
    front.read = b""
    front.say(command(front, query("SHOW WARNINGS")))
    front.answer()
    assert front.read[4] == 0xFF


def test_last_words_amid_a_cycle_have_their_number() -> None:
    front = settled(DAN)
    front.say(command(front, query(READ)))
    front._hear(reply(b"\1", column("email", "customers", "public"), eof(), text_row("x")))
    assert front.path.underway
    assert front.machine.last_words("57P01", "ended")[3] == 5


def test_records_in_order() -> None:
    front = front_of(MyFront, OLD, ANN, True, random.Random(1))
    converse(front, 1, 200)
    front.leave()
    numbers = [r.sequence for r in front.records if isinstance(r, StatementDecided)]
    assert numbers == sorted(set(numbers)) == list(range(1, len(numbers) + 1))
    decided = {r.id for r in front.records if isinstance(r, StatementDecided)}
    finished = [r.decided for r in front.records if isinstance(r, StatementFinished)]
    assert len(decided) == len(numbers)
    assert len(finished) == len(set(finished)) and decided.issuperset(finished)


Leased = tuple[Front, Lease, socket.socket]


@pytest.fixture
def leased() -> Iterator[Leased]:
    """What READ rests on has to be held; and the other end of what holds it."""
    front = settled(ANN)
    ours, theirs = socket.socketpair()
    lease = Lease()
    lease.value, lease.descriptor = 7, ours.fileno()
    front.path.exact[READ.encode()].lease = lease
    with ours, theirs:
        yield front, lease, theirs


RESULT = (b"\1", column("email", "customers", "public"), eof(), text_row(SECRET), eof())


def shown_by_the_path(front: Front) -> bool:
    """Whether the path itself deals with what describes the result."""
    out, rest = front.path.upstream(reply(*RESULT), NOW)
    assert SECRET.encode() not in out
    assert (rest is None) == bool(out)
    return bool(out)


def test_a_statement_whose_lease_is_held_throughout(leased: Leased) -> None:
    front, lease, _theirs = leased
    assert lease.live()
    front.say(command(front, query(READ)))
    assert front.path.underway and lease.used == 1
    assert shown_by_the_path(front)


def test_nothing_is_taken_without_its_lease(leased: Leased) -> None:
    front, lease, _theirs = leased
    lease.value = 0
    assert not takes(front, command(front, query(READ)))


@pytest.mark.parametrize("how", ["let go", "held anew", "said something", "ended", "closed"])
def test_a_lease_that_is_lost_before_the_result_is_described(leased: Leased, how: str) -> None:
    front, lease, theirs = leased
    front.say(command(front, query(READ)))
    if how == "let go":
        lease.value = 0
    elif how == "held anew":
        lease.value = 8
    elif how == "said something":
        theirs.send(b"\1")
    elif how == "ended":
        theirs.close()
    else:
        lease.descriptor = -1
    assert not shown_by_the_path(front)
