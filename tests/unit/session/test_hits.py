"""The hit path against the machine alone: the same conversation, with and without it, gives the
client the same bytes and the trail the same records.
"""

import asyncio
import errno
import os
import random
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from _speedups.auditchain import ChainEnd
from _speedups.chunks import Chunks, share
from _speedups.hitcycle import Hit, HitLedger
from appliance.audit.brief import Completer
from appliance.audit.chain import parse_line
from appliance.audit.encode import decode_record
from appliance.audit.record import (
    Entry,
    Outcome,
    ProtocolKind,
    StatementDecided,
    StatementFinished,
)
from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.principal import Principal
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.speech import (
    BOUND,
    CLOSED,
    EMAIL_COLUMN,
    IDLE,
    PARSED,
    SYNC,
    bind,
    complete,
    computed,
    describe_portal,
    described,
    execute,
    failure,
    parse,
    query,
    row,
)
from tests.playbook.world import (
    ANN,
    DAN,
    POLICY,
    SECRET,
    UNMASKED,
)
from tests.unit.session import hit_fronts
from tests.unit.session.hit_fronts import (
    NOTES,
    NOW,
    READ,
    Front,
    Hold,
    Wired,
    converse,
)

NOTICE = m.frame(ord("N"), b"SNOTICE\0VNOTICE\0C00000\0Mhello\0\0")


def plain(read: bytes) -> bytes:
    return re.sub(rb"quote [0-9a-z]+", b"quote", read)


def told(records: list[Entry]) -> list[Any]:
    """What must be equal. A statement that was withheld was decided once more, and its Parse."""
    withheld = {
        r.decided
        for r in records
        if isinstance(r, StatementFinished) and r.outcome is Outcome.WITHHELD
    }
    facts: list[Any] = []
    for record in records:
        if isinstance(record, StatementDecided):
            if record.id not in withheld:
                facts.append(msgspec.structs.replace(record, id="", time=0, sequence=0))
            elif facts and getattr(facts[-1], "protocol", None) is ProtocolKind.PARSE:
                facts.pop()
        elif isinstance(record, StatementFinished) and record.decided not in withheld:
            facts.append(msgspec.structs.replace(record, id="", time=0, decided="", duration_ms=0))
    return facts


def sorts(facts: list[Any]) -> list[Any]:
    """A Parse's record comes with the Execute's, or before it."""
    return sorted(map(repr, facts))


@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes masks", "owes none"])
@pytest.mark.parametrize("seed", range(25))
def test_with_and_without(principal: Principal, seed: int) -> None:
    alone = Front(principal, False, random.Random(seed))
    choices = random.Random(seed + 1)
    hitting = Wired(principal, choices) if seed % 2 else Front(principal, True, choices)
    for front in (alone, hitting):
        converse(front, seed, 180)
        front.leave()
    assert hitting.taken > 20
    assert plain(hitting.read) == plain(alone.read)
    if principal is ANN:
        assert SECRET.encode() not in hitting.read
    assert sorts(told(hitting.records)) == sorts(told(alone.records))
    if isinstance(hitting, Wired):
        assert_told_whole(hitting)
    # Nothing runs that was not meant to, or twice. (Texts sent in place of others are equal, too.)
    assert sorted(hitting.database.texts) == sorted(alone.database.texts)


def test_what_asks_is_a_wish_for_the_lease() -> None:
    """Also where the path knows nothing that it could miss it with."""
    hold = Hold()
    front = Front(ANN, True, random.Random(0), hold)
    front.say(m.query(READ.encode()))
    front.answer()
    assert front.taken == 0
    assert hold.lease.missed == 1
    front.leave()


def slow(monkeypatch: pytest.MonkeyPatch, seconds: float) -> Front:
    """Under a lease, with a database that takes so long for each answer."""
    hold = Hold()
    hold.take()
    front = Front(ANN, True, random.Random(0), hold)
    answers = front.database.answer

    def answer(sent: bytes) -> bytes:
        monkeypatch.setattr(hit_fronts, "NOW", hit_fronts.NOW + seconds)
        return bytes(answers(sent))

    monkeypatch.setattr(front.database, "answer", answer)
    return front


@pytest.mark.parametrize(
    ("seconds", "used"), [(0.9, [0, 0, 1, 2, 3]), (1.1, [0, 0, 1, 1, 2]), (11, [0, 0, 0, 0, 0])]
)
def test_that_asking_takes_long_is_no_reason_to_go_on_asking(
    monkeypatch: pytest.MonkeyPatch, seconds: float, used: list[int]
) -> None:
    """Where many ask, it is the asking that takes everybody long. What takes long without asks the
    next time: it might have to run twice, and there is little to spare."""
    front = slow(monkeypatch, seconds)
    found = []
    for _ in used:
        front.say(m.query(READ.encode()))
        front.answer()
        found.append(front.hold.lease.used if front.hold else 0)
    front.leave()
    assert found == used


@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes masks", "owes none"])
@pytest.mark.parametrize("seed", range(25))
def test_with_a_lease_and_without(principal: Principal, seed: int) -> None:
    """It is let go of, or its guard is ended, while statements are under way: what the changed
    schema answers is asked for again."""
    alone = Front(principal, False, random.Random(seed))
    choices, hold = random.Random(seed + 1), Hold()
    hitting = Wired(principal, choices, hold) if seed % 2 else Front(principal, True, choices, hold)
    for front in (alone, hitting):
        converse(front, seed, 180)
        front.leave()
    assert hitting.taken > 20
    assert (hold.lease.used > 5) == (principal is ANN)
    assert plain(hitting.read) == plain(alone.read)
    if principal is ANN:
        assert SECRET.encode() not in hitting.read
    assert sorts(told(hitting.records)) == sorts(told(alone.records))
    if isinstance(hitting, Wired):
        assert_told_whole(hitting)
    again = Counter(hitting.database.ran) - Counter(alone.database.ran)
    assert not Counter(alone.database.ran) - Counter(hitting.database.ran)
    assert all(text.startswith(b"SELECT") for text in again)
    assert sum(again.values()) <= hold.lease.used


@pytest.mark.parametrize(
    ("reading", "opening", "kept"),
    [(7, b"", True), (8, b"", False), (0, b"", False), (7, NOTICE, False)],
    ids=["same reading", "another", "none", "what shows nothing"],
)
def test_one_look_at_the_lease_is_enough_for_a_reading(
    reading: int, opening: bytes, kept: bool
) -> None:
    """Of answers that had begun before it, as far as that shows."""
    hold = Hold()
    hold.take()
    one = Front(ANN, True, random.Random(0), hold)
    other = Front(ANN, True, random.Random(0), hold, one.ledger)
    answers = []
    for front in (one, other):
        for _ in range(5):
            front.say(m.query(READ.encode()))
            front.answer()
        assert front.path.client(m.query(READ.encode()), NOW)
        assert front.path.under
        one.ledger.reading = 7
        answers.append(front.database.answer(front.path.forward()))
        assert one.ledger.reading == 0
    one.ledger.reading = 7
    assert one.path.upstream(answers[0], NOW)[0]
    hold.end()
    one.ledger.reading = reading
    before = other.database.texts.copy()
    other._hear(opening + answers[1])
    assert (b"Z" in other.read) and SECRET.encode() not in other.read
    assert (len(other._to_database) == 0) == kept
    assert other.database.texts == before
    assert hold.lease.live_in(reading) == (reading == 7)
    hold.let_go()
    assert not hold.lease.live_in(reading)
    hold.close()


def test_a_text_that_is_recalled_as_what_does_not_hold_may_be_known_as_itself() -> None:
    front = Front(DAN, True, random.Random(0))
    texts = [NOTES.format(number).encode() for number in range(5)]
    for text in texts:
        front.say(m.query(text))
        front.answer()
    assert front.taken > 2
    path = front.path
    ((key, good),) = path.alike.items()
    assert not path.exact
    path.alike[key] = Hit(good.verdict, ("another", "", ""), good.bound, good.provisional)
    assert not path.client(m.query(texts[1]), NOW)
    path.exact[texts[1]] = good
    assert path.client(m.query(texts[1]), NOW)
    path.drop()
    assert not path.client(m.query(texts[2]), NOW)
    path.alike[key] = good
    assert path.client(m.query(texts[2]), NOW)
    path.drop()
    front.leave()


def assert_told_whole(front: Wired) -> None:
    """The trail is one chain, and has every record, whole or brief."""
    before, briefly = "0" * 64, 0
    for content, whole in zip(front.written, front.whole, strict=True):
        completer, found = Completer(), []
        for raw in content.splitlines(keepends=True):
            line = parse_line(raw, before)
            assert line is not None
            assert line.sound
            assert line.prev == before
            before, briefly = line.hash, briefly + line.brief
            found.append(completer.record(raw)[1])
        assert found == whole
    assert (briefly > 0) == (front.reach > 0)


def test_records_in_order() -> None:
    front = Front(ANN, True, random.Random(1))
    converse(front, 1, 200)
    front.leave()
    numbers = [r.sequence for r in front.records if isinstance(r, StatementDecided)]
    assert numbers == sorted(set(numbers)) == list(range(1, len(numbers) + 1))
    decided = {r.id for r in front.records if isinstance(r, StatementDecided)}
    finished = [r.decided for r in front.records if isinstance(r, StatementFinished)]
    assert len(decided) == len(numbers)
    assert len(finished) == len(set(finished)) and decided.issuperset(finished)
    assert any(
        r.outcome is Outcome.WITHHELD for r in front.records if isinstance(r, StatementFinished)
    )


def test_what_is_malformed_is_the_machines() -> None:
    front = Front(DAN, True, random.Random(1))
    converse(front, 3, 40)
    path = front.path
    assert path is not None
    good = bind("p") + describe_portal() + execute() + SYNC
    while not path.client(good, NOW):
        front.say(good)
        front.answer()
    path.drop()
    for index in range(len(good)):
        for byte in (good[index] ^ 1, 0xFF):
            bad = good[:index] + bytes((byte,)) + good[index + 1 :]
            if path.client(bad, NOW):  # a number of no meaning to us: result formats
                path.drop()
                assert bad[:1] == b"B"
        assert not path.client(good[:index], NOW)
        assert not path.client(good + good[: index + 1], NOW)


@pytest.mark.parametrize("length", [12, 4096, 0x00FFFFFF, 0x3FFFFFFF])
def test_a_bind_that_claims_to_be_longer_than_what_came_is_the_machines(length: int) -> None:
    """Nothing behind the chunk is looked at."""
    front = Front(DAN, True, random.Random(1))
    converse(front, 3, 40)
    assert front.path is not None
    for opening in (b"", parse(READ)):
        name = b"" if opening else b"p"
        forged = b"B" + length.to_bytes(4) + b"\0" + name + bytes(3)
        assert not front.path.client(opening + forged, NOW)


def test_nothing_is_taken_once_the_catalog_moves() -> None:
    front = Front(ANN, True, random.Random(1))
    converse(front, 5, 40)
    path = front.path
    assert path is not None
    for _ in range(6):
        front.say(query(READ))
        front.answer()
    before = front.taken
    front.say(query(READ))
    front.answer()
    assert front.taken == before + 1
    front._generation.value += 1
    assert not path.client(query(READ), NOW)
    assert refusals.RESERVED not in front.read


def settled(principal: Principal, *texts: str) -> Front:
    """A session in which these texts are taken by the path."""
    front = Front(principal, True, random.Random(1))
    for text in texts:
        for _ in range(8):
            front.say(query(text))
            front.answer()
    before = front.taken
    front.say(query(texts[-1]))
    front.answer()
    assert front.taken == before + 1
    return front


def test_one_statement_at_a_time_is_left_to_be_looked_at() -> None:
    """Not those of all sessions, nor all that come until there are rows."""
    front = settled(DAN, READ)
    path, pace = front.path, front.session.state.pace
    assert path is not None and path.client(query(READ), NOW)
    path.drop()
    pace.change(4)
    assert not path.client(query(READ), NOW)
    for after in (0.0, 0.03):
        assert path.client(query(READ), NOW + after)
        path.drop()
    assert path.client(query(READ), NOW + 0.04)  # a statement has its turn seldom
    path.drop()
    assert not path.client(query(READ), NOW + 0.3)
    path.exact[READ.encode()].dull.until = NOW + 4  # there was nothing to look at
    assert path.client(query(READ), NOW + 3.9)
    path.drop()
    assert not path.client(query(READ), NOW + 4.0)


@pytest.mark.parametrize(
    "chunk", [query(READ), parse(READ) + bind() + describe_portal() + execute() + SYNC]
)
def test_a_proviso_that_fails_shows_the_client_nothing(chunk: bytes) -> None:
    """Wherever the answer is cut."""
    for cut in range(1, 60):
        front = settled(ANN, READ)
        for _ in range(3):
            front.say(chunk)
            front.answer()
        front.database.position += 1
        front.read, before = b"", front.taken
        front.say(chunk)
        assert front.taken == before + 1
        sent, front._to_database = front._to_database, b""
        said = front.database.answer(sent)
        front._hear(said[:cut])
        assert not front.read
        front._hear(said[cut:])
        front.answer()
        extended = b"" if chunk[0] == m.QUERY else PARSED + BOUND
        shape = described(EMAIL_COLUMN)
        assert front.read == extended + shape + row("****") + complete("SELECT 1") + IDLE


@pytest.mark.parametrize("held", [True, False], ids=["query", "extended"])
@pytest.mark.parametrize("sqlstate", ["P0001", "57014"])
def test_an_error_in_front_of_the_proviso_is_not_shown(held: bool, sqlstate: str) -> None:
    """Constants are worked out while a statement is parsed and planned, by functions that may be
    other ones by now. That it was cancelled is said."""
    front = settled(ANN, READ)
    chunk = query(READ) if held else parse(READ) + bind() + describe_portal() + execute() + SYNC
    for _ in range(3):
        front.say(chunk)
        front.answer()
    front.read, before = b"", front.taken
    front.say(chunk)
    assert front.taken == before + 1
    front._to_database = b""
    front._hear(CLOSED if held else PARSED)
    front._hear(failure(sqlstate, f"said {SECRET}") + IDLE)
    front.answer()
    if sqlstate == "57014":
        assert front.read.endswith(failure(sqlstate, f"said {SECRET}") + IDLE)
        return
    assert SECRET.encode() not in front.read
    extended = b"" if held else PARSED + BOUND
    shape = described(EMAIL_COLUMN)
    assert front.read == extended + shape + row("****") + complete("SELECT 1") + IDLE


def test_where_another_statement_was_looked_at_says_nothing_of_this_one() -> None:
    """A relation changed, and what was asked since rests on another."""
    front = settled(ANN, READ)
    front.database.position += 1
    front.database.moved = True
    for _ in range(8):
        front.say(query(NOTES.format(1)))
        front.answer()
    before = front.taken
    front.say(query(READ))
    assert front.taken == before


def test_what_was_taught_meanwhile_holds_under_its_own_epoch_only() -> None:
    """The epoch is one, another, and the first again, and the session was never quiet between."""
    front = settled(ANN, READ)
    front.machine.take_policy(UNMASKED)
    front.say(query(READ) + query(READ))
    front.machine.take_policy(POLICY)
    front.answer()
    front.read = b""
    for _ in range(4):
        front.say(query(READ))
        front.answer()
    assert SECRET.encode() not in front.read and front.read.count(b"****") == 4


@pytest.mark.parametrize("shape", [m.frame(m.NO_DATA, b""), described(computed("email", 25)), b""])
def test_rows_come_under_the_lock_that_was_taught(shape: bytes) -> None:
    """Rows without a description, or with another one: the machine ends the session."""
    front = settled(ANN, READ)
    chunk = bind() + execute() + SYNC
    for _ in range(3):
        front.say(parse(READ) + chunk)
        front.answer()
    before = front.taken
    front.say(parse(READ) + chunk)
    assert front.taken == before + 1
    front.read = b""
    said = PARSED + BOUND + BOUND + row("=") + complete("SELECT 1") + shape + row(SECRET)
    with pytest.raises((InvariantBroken, ProtocolViolation, Refused)):
        front._hear(said + complete("SELECT 1") + IDLE)
    assert SECRET.encode() not in front.read


class Wire(Chunks):
    """An end of a connection, and its transport, which notes what is written to it."""

    def __init__(self, log: list[str], name: str) -> None:
        written = f"to {name}"
        self.transport = cast(
            asyncio.Transport, SimpleNamespace(write=lambda _: log.append(written))
        )

    def say(self, chunk: bytes) -> None:
        self.get_buffer(-1)[: len(chunk)] = chunk
        self.buffer_updated(len(chunk))


def on_wires(end: ChainEnd, ledger: HitLedger | None = None) -> tuple[Front, Wire, Wire, list[str]]:
    """A front that knows READ, between wires (client, database), whose records are written behind
    `end`."""
    share(bytearray(65536))
    front = Front(DAN, True, random.Random(1), ledger=ledger)
    path = front.path
    assert path is not None
    for _ in range(6):
        front.say(query(READ))
        front.answer()
    log: list[str] = []
    client, database = Wire(log, "client"), Wire(log, "database")
    path.attach(client, database)
    path.owner = SimpleNamespace(
        unrecorded=lambda chunk: log.append("unrecorded"), cut=lambda error: log.append("cut")
    )
    front.ledger.take_finished()
    front.ledger.write_to(
        end, lambda number, _, refused: log.append((errno.errorcode[number], refused))
    )
    return front, client, database, log


def trail(folder: Path) -> ChainEnd:
    end = ChainEnd()
    end.size_max = 1 << 20
    end.descriptor = os.open(folder / "trail", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return end


def test_records_are_in_the_file_before_anything_is_forwarded(tmp_path: Path) -> None:
    end = ChainEnd()
    end.size_max = 1 << 20
    front, client, _, log = on_wires(end)
    assert front.path is not None
    client.say(query(READ))
    assert log == []
    assert not front.ledger.write_due()  # there is no file yet
    assert (log, len(front.ledger.due)) == ([], 1)
    end.descriptor = os.open(tmp_path / "trail", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    assert front.ledger.write_due()
    assert (log, front.path.unsent) == (["to database"], False)
    line = (tmp_path / "trail").read_bytes()
    parsed = parse_line(line)
    assert parsed is not None
    assert parsed.sound
    assert (parsed.seq, parsed.hash.encode()) == (end.seq, end.head) == (1, end.head)
    assert (end.size, end.lines, end.records, end.written) == (len(line), 1, 1, len(line))
    assert isinstance(decode_record(line), StatementDecided)
    os.close(end.descriptor)


def test_what_cannot_be_recorded_is_not_forwarded() -> None:
    end = ChainEnd()
    end.size_max = 1 << 20
    front, client, _, log = on_wires(end)
    end.descriptor = full = os.open("/dev/full", os.O_WRONLY)
    client.say(query(READ))
    assert front.ledger.write_due()
    assert log == [("ENOSPC", True), "unrecorded"]
    assert (end.descriptor, end.seq, end.records, end.head) == (-1, 0, 0, b"0" * 64)
    assert front.path is not None
    assert not front.path.underway
    os.close(full)


def test_a_path_that_leaves_while_it_asks_ends_its_own_session_only(tmp_path: Path) -> None:
    """Its owner may let go of it, or give the wire to another, and fail behind that."""
    front, client, _, log = on_wires(trail(tmp_path))
    path = front.path
    other = SimpleNamespace(cut=lambda error: log.append("another was cut"))

    def behind(chunk: bytes) -> None:
        path.detach()
        successor, *_ = on_wires(trail(tmp_path), front.ledger)
        successor.path.owner = other
        successor.path.attach(client, Wire(log, "database"))
        raise RuntimeError("later")

    path.owner.behind = behind
    client.say(query(READ))
    client.say(query(READ))  # the first one waits
    assert log == ["cut"]


def test_a_connection_is_another_s_only_behind_what_came_with_its_answer(tmp_path: Path) -> None:
    front, client, database, log = on_wires(trail(tmp_path))
    path = front.path
    path.telling = True
    path.owner.settled = lambda: log.append("settled")
    path.owner.fall_back = lambda rest: log.append(f"rest of {len(rest)}")
    client.say(query(READ))
    assert front.ledger.write_due()
    notice_begins = b"N\0\0\0\x40S"
    database.say(front.database.answer(query(READ)) + notice_begins)
    assert log == ["to database", "to client", "rest of 6", "settled"]


def test_a_session_that_fails_behind_the_write_holds_up_no_other(tmp_path: Path) -> None:
    end = trail(tmp_path)
    one, client, database, log = on_wires(end)
    _, other_client, _, other_log = on_wires(end, one.ledger)

    def fail(_content: bytes) -> None:
        raise RuntimeError("broken")

    database.transport = cast(asyncio.Transport, SimpleNamespace(write=fail))
    client.say(query(READ))
    other_client.say(query(READ))
    assert one.ledger.write_due()
    assert (log, other_log) == (["cut"], ["to database"])
