"""The hit path against the machine alone: the same conversation, with and without it, gives the
client the same bytes and the trail the same records.

A little database answers both: it knows prepared statements, skips to Sync after an error, has a
log that moves and a catalog that changes, and sends its answers in pieces.
"""

import asyncio
import errno
import os
import random
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from _speedups.auditchain import ChainEnd
from _speedups.chunks import Chunks, share
from _speedups.hitcycle import Count, HitLedger
from _speedups.pghits import HitPath
from appliance.audit.chain import parse_line
from appliance.audit.encode import decode_record, encode_record
from appliance.audit.record import (
    Entry,
    Outcome,
    ProtocolKind,
    StatementDecided,
    StatementFinished,
)
from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.principal import Principal
from appliance.session.effects import RefreshCatalog, Turn
from appliance.session.hits import HELD
from appliance.sql.lineage import CatalogLineage
from appliance.telemetry.metrics import SECONDS_BOUNDS
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.speech import (
    BOUND,
    CLOSED,
    EMAIL_COLUMN,
    IDLE,
    NOTE_ID_COLUMN,
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
    CUSTOMERS,
    DAN,
    NAMES_MASKED,
    POLICY,
    SECRET,
    UNMASKED,
    Session,
    catalog,
)

READ = "SELECT email FROM customers"
ONE = "SELECT email FROM customers WHERE id = {}"
AT_SOURCE = "SELECT upper(email) AS email FROM customers"
NOTES = "SELECT id FROM notes WHERE id = {}"
WRITE = "INSERT INTO notes VALUES ({}, 'x')"


def notice(about: bytes) -> bytes:
    """It quotes a cell that the statement touches."""
    text = SECRET if b"email" in about else "a note"
    return m.error_fields(
        m.NOTICE_RESPONSE, {"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": text}
    )


NOW = 1_700_000_000.0


def stamped(newest: str) -> CatalogLineage:
    return CatalogLineage(msgspec.structs.replace(catalog(newest), newest=newest))


class Database:
    """Answers what it is sent. Raw cells come out only of texts that ask for them."""

    def __init__(self) -> None:
        self.position = 1
        self.newest = "1"
        self.statements: dict[bytes, bytes] = {}
        self.portals: dict[bytes, tuple[bytes, bytes]] = {}
        self.skipping = False
        self.fails = False
        self.notices = False
        self.moved = False
        """`customers` is not what it was."""
        self.texts: list[bytes] = []
        """What was executed."""

    def answer(self, content: bytes) -> bytes:
        said = b""
        while content:
            length = 1 + int.from_bytes(content[1:5], "big")
            frame, content = content[:length], content[length:]
            said += self._one(frame[0], frame[5:])
        return said

    def _one(self, kind: int, body: bytes) -> bytes:
        if kind == m.SYNC:
            self.skipping = False
            self.portals.clear()
            return IDLE
        if self.skipping:
            return b""
        if kind == m.QUERY:
            shape, rows, tag = self._run(body[:-1], b"")
            return self._failed(body) + IDLE if self._fail() else shape + rows + tag + IDLE
        if kind == m.PARSE:
            name, text, _ = body.split(b"\0", 2)
            self.statements[name] = text
            return PARSED
        if kind == m.BIND:
            portal, name, rest = body.split(b"\0", 2)
            self.portals[portal] = (self.statements[name], rest)
            return BOUND
        if kind == m.CLOSE:
            (self.statements if body[:1] == b"S" else self.portals).pop(body[1:-1], None)
            return CLOSED
        if kind == m.DESCRIBE:
            text, _ = self.portals[body[1:-1]]
            return self._run(text, b"")[0] or m.frame(m.NO_DATA, b"")
        if kind == m.EXECUTE:
            text, rest = self.portals[body.split(b"\0")[0]]
            if b"lsn" not in text and self._fail():
                self.skipping = True
                return self._failed(text)
            _, rows, tag = self._run(text, rest)
            self.skipping = not tag
            return rows + tag
        return b""

    def _fail(self) -> bool:
        failed, self.fails = self.fails, False
        return failed

    @staticmethod
    def _failed(about: bytes) -> bytes:
        return failure("22012", f"bad: {SECRET if b'email' in about else 'a note'}")

    def _run(self, text: bytes, bound: bytes) -> tuple[bytes, bytes, bytes]:
        """(shape, rows, tag); without a tag the rows are an error."""
        if b"Sallyport: something was written" in text:
            asked = bound[8 : 8 + int.from_bytes(bound[4:8], "big")].decode()
            if asked != self._log().replace("-", "/"):
                return b"", failure("42704", "unrecognized configuration parameter"), b""
            return b"", row("="), complete("SELECT 1")
        if b"transactionid" in text:
            asked, last = self._texts(bound)[2:4]
            found = f"{self.newest}+0/{CUSTOMERS}:{'2' * self.moved}"
            found = found if "customers" in self._texts(bound)[0] else f"{self.newest}+0/16402:"
            here = self._log()
            quiet = "q" if last == here else ""
            body = "=" if asked == here else found
            return b"", row(f"read committed/{here}{quiet}/{body}"), complete("SELECT 1")
        if b"json_agg" in text:
            return b"", row("[]"), complete("SELECT 1")
        if text.startswith(b"SHOW"):
            return b"", row('"$user", public' if b"path" in text else "none"), complete("SHOW")
        self.texts.append(text)
        extra = notice(text) if self.notices else b""
        if text.startswith(b"INSERT"):
            return b"", extra, complete("INSERT 0 1")
        if b"notes" in text:
            return described(NOTE_ID_COLUMN), extra + row("1") + row("2"), complete("SELECT 2")
        raw = text.startswith(b"SELECT email FROM customers")
        shape = described(EMAIL_COLUMN if raw else computed("email", 25))
        shown = SECRET if raw or text == AT_SOURCE.encode() else "****"
        return shape, extra + row(shown), complete("SELECT 1")

    def _log(self) -> str:
        return f"0-{self.position}"

    @staticmethod
    def _texts(bound: bytes) -> list[str]:
        reader = m.Reader(bound, "upstream")
        reader.u16()
        return [reader.take(reader.i32()).decode() for _ in range(reader.u16())]


class Front:
    """A session with everything around it but sockets; `hits` says whether the path is there."""

    def __init__(self, principal: Principal, hits: bool, choices: random.Random) -> None:
        self.session = Session(principal, lineage=stamped("1"))
        self.machine = self.session.machine
        self.database = Database()
        self.choices = choices
        self.read = b""
        self.records: list[Entry] = []
        self.taken = 0
        self._to_database = b""
        self._behind = b""
        self._generation = Count()
        self.ledger = HitLedger(lambda: None, lambda: None, secrets.token_bytes, SECONDS_BOUNDS)
        self.path: HitPath | None = None
        if hits:
            state = self.session.state
            self.path = state.hits.path = HitPath(
                self.ledger,
                self._generation,
                state.recorder.sequence,
                state.pace,
                state.statements.settled,
                "s1",
                HELD,
                4096,
            )
            self.path.owner = self

    # what the path asks of a conductor

    def fall_back(self, rest: bytes) -> None:
        assert self.path is not None
        if self.path.underway:
            self.machine.take_over()
        if rest:
            self._carry_out(self.machine.upstream_received(rest, NOW))

    def proviso_failed(self, chunk: bytes) -> None:
        self._carry_out(self.machine.client_received(chunk, NOW))

    def aside(self, kind: int, frame: bytes) -> bytes:
        return self.machine.aside(kind, frame)

    def catch_up(self) -> None:
        assert self.path is not None
        if self.path.underway:
            self.machine.take_over()
        behind, self._behind = self._behind, b""
        self._carry_out(self.machine.client_received(behind, NOW))

    # the world's side

    def say(self, chunk: bytes) -> None:
        path = self.path
        if path is not None and path.underway:
            if path.in_question:
                self._behind += chunk
                return
            self.machine.take_over()
        elif path is not None and path.client(chunk, NOW):
            self.taken += 1
            self.records += [decode_record(b"{%b%b}" % line[:2]) for line in path.lines]
            self._to_database += path.forward()
            return
        self._carry_out(self.machine.client_received(chunk, NOW))

    def _carry_out(self, turn: Turn) -> None:
        self._keep_finished()
        self.records += [decode_record(encode_record(record)) for record in turn.records]
        self._to_database += b"".join(map(bytes, turn.upstream))
        self.read += b"".join(map(bytes, turn.client))
        for request in turn.requests:
            if isinstance(request, RefreshCatalog):
                self._generation.value += 1
                if self.session.port.lineage is None or (
                    self.session.port.lineage.catalog.newest != self.database.newest
                ):
                    self.session.port.take(stamped(self.database.newest))
                self._carry_out(self.machine.catalog_ready(NOW))

    def _keep_finished(self) -> None:
        self.records += [decode_record(b"{%b}" % line) for line in self.ledger.take_finished()]

    def answer(self) -> None:
        """The database answers, in pieces, until it has nothing more to say."""
        while self._to_database:
            sent, self._to_database = self._to_database, b""
            said = self.database.answer(sent)
            while said:
                cut = self.choices.randint(1, len(said)) if self.choices.random() < 0.3 else 1 << 20
                self._hear(said[:cut])
                said = said[cut:]
        self._keep_finished()

    def _hear(self, chunk: bytes) -> None:
        path = self.path
        if path is None or not path.underway:
            self._carry_out(self.machine.upstream_received(chunk, NOW))
            return
        out, rest = path.upstream(chunk, NOW)
        self.read += out
        if rest is not None:
            self.fall_back(rest)
        if self._behind and not path.in_question:
            self.catch_up()

    def leave(self) -> None:
        self._carry_out(self.machine.disconnected(NOW))


class End(Chunks):
    """An end of a connection of `Wired`."""

    def __init__(self, front: "Wired", wrote: Callable[[bytes], None], upstream: bool) -> None:
        self.transport = cast(asyncio.Transport, SimpleNamespace(write=wrote))
        self._front, self._upstream = front, upstream

    def chunk(self, chunk: memoryview) -> None:
        self._front.by_the_machine(bytes(chunk), self._upstream)

    def say(self, chunk: bytes) -> None:
        self.get_buffer(-1)[: len(chunk)] = chunk
        self.buffer_updated(len(chunk))


class Wired(Front):
    """The same by way of both ends' buffers, and with a trail: as a worker does it."""

    def __init__(self, principal: Principal, choices: random.Random) -> None:
        super().__init__(principal, True, choices)
        share(bytearray(65536))
        self._trail = ChainEnd()
        self._trail.size_max = 1 << 40
        self._trail.descriptor = os.open(os.devnull, os.O_WRONLY)
        self.ledger.write_to(self._trail, lambda number, finished: None)
        self._client = End(self, self._to_client, False)
        self._upstream = End(self, self._sent, True)
        assert self.path is not None
        self.path.attach(self._client, self._upstream)

    def _to_client(self, content: bytes) -> None:
        self.read += content

    def _sent(self, content: bytes) -> None:
        self._to_database += content

    def by_the_machine(self, chunk: bytes, upstream: bool) -> None:
        receive = self.machine.upstream_received if upstream else self.machine.client_received
        self._carry_out(receive(chunk, NOW))

    def behind(self, chunk: bytes) -> None:
        assert self.path is not None
        if self.path.in_question:
            self._behind += chunk
            self.path.crowded = True
            return
        self.machine.take_over()
        self.by_the_machine(chunk, False)

    def catch_up(self) -> None:
        assert self.path is not None
        self.path.crowded = False
        super().catch_up()

    def say(self, chunk: bytes) -> None:
        assert self.path is not None
        self._client.say(chunk)
        if self.ledger.due:
            self.taken += 1
            self.records += [decode_record(b"{%b%b}" % line[:2]) for line in self.path.lines]
            self._keep_finished()
            before = self._to_database
            assert self.ledger.write_due()
            assert len(self._to_database) > len(before)

    def _hear(self, chunk: bytes) -> None:
        self._upstream.say(chunk)

    def leave(self) -> None:
        super().leave()
        os.close(self._trail.descriptor)


def cycles(choices: random.Random, prepared: bool) -> bytes:
    text = choices.choice((READ, READ, ONE, NOTES, AT_SOURCE, WRITE)).format(choices.randint(1, 99))
    unnamed = parse(text) + bind()
    return choices.choice(
        (
            query(text),
            query(text),
            unnamed + describe_portal() + execute() + SYNC,
            unnamed + execute() + SYNC,
            *((bind("p"), bind("p") + describe_portal()) if prepared else ()),
        )
    )


def converse(front: Front, seed: int, steps: int) -> None:
    """The same for equal seeds, whichever front it is (pieces come from `front.choices`)."""
    choices = random.Random(seed)
    front.say(parse(READ, "p") + SYNC)
    front.answer()
    for _ in range(steps):
        event = choices.random()
        database = front.database
        if event < 0.05:
            database.position += 1
        elif event < 0.08:
            database.position, database.newest = (
                database.position + 1,
                str(choices.randint(1, 9**9)),
            )
        elif event < 0.1:
            front.machine.take_policy(choices.choice((POLICY, NAMES_MASKED)))
        database.fails = choices.random() < 0.05
        database.notices = choices.random() < 0.05
        chunk = cycles(choices, True)
        if not chunk.endswith(SYNC) and chunk[0] != m.QUERY:
            chunk += execute() + SYNC
        front.say(chunk)
        if choices.random() < 0.1:
            front.say(cycles(choices, False))
        front.answer()
        database.fails = False


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
    # Nothing runs that was not meant to, or twice. (Texts sent in place of others are equal, too.)
    assert sorted(hitting.database.texts) == sorted(alone.database.texts)


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
    path.exact[READ.encode()].dull_until = NOW + 4  # there was nothing to look at
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


def on_wires(end: ChainEnd) -> tuple[Front, Wire, list[str]]:
    """A front that knows READ, between wires, whose records are written behind `end`."""
    share(bytearray(65536))
    front = Front(DAN, True, random.Random(1))
    path = front.path
    assert path is not None
    for _ in range(6):
        front.say(query(READ))
        front.answer()
    log: list[str] = []
    client = Wire(log, "client")
    path.attach(client, Wire(log, "database"))
    path.owner = SimpleNamespace(
        unrecorded=lambda chunk: log.append("unrecorded"), cut=lambda error: log.append("cut")
    )
    front.ledger.take_finished()
    front.ledger.write_to(end, lambda number, _: log.append(errno.errorcode[number]))
    return front, client, log


def test_records_are_in_the_file_before_anything_is_forwarded(tmp_path: Path) -> None:
    end = ChainEnd()
    end.size_max = 1 << 20
    front, client, log = on_wires(end)
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
    front, client, log = on_wires(end)
    end.descriptor = full = os.open("/dev/full", os.O_WRONLY)
    client.say(query(READ))
    assert front.ledger.write_due()
    assert log == ["ENOSPC", "unrecorded"]
    assert (end.descriptor, end.seq, end.records, end.head) == (-1, 0, 0, b"0" * 64)
    assert front.path is not None
    assert not front.path.underway
    os.close(full)
