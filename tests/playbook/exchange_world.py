"""Conversations with an exchange session's machine, in MySQL's words: without sockets, without
sleeping.

`played` lets events happen to a fresh session, whole, byte by byte, and in odd pieces: all must
come to the same. Everything is real (analysis, policy, plans, masks, codec) but the database, whose
part the test speaks. Whatever a conversation is about, it is held against the invariants: what goes
upstream has its record in the same turn, and whoever owes masks never reads what they cover.
"""

import hashlib
import itertools
import random
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from _speedups.myframe import packets
from appliance.audit.record import ProtocolKind, StatementDecided, StatementFinished
from appliance.model.catalog import Catalog, Column, Relation
from appliance.model.limits import Limits
from appliance.model.principal import Client, Principal, Target
from appliance.policy.snapshot import Snapshot
from appliance.session.cache import Cache
from appliance.session.effects import Request, Turn
from appliance.session.exchange import Exchange
from appliance.session.exchange_blast import KEEP, KEEP_INSIDE, OPEN, OPEN_INSIDE, UNDO, UNDO_INSIDE
from appliance.session.exchange_results import NamedReading
from appliance.session.exchange_state import ExchangeState
from appliance.session.flow import Judge
from appliance.session.named import NamedPlans
from appliance.session.records import Recorder
from appliance.session.results import ResultLocks
from appliance.sql.mysql.dialect import MYSQL
from appliance.sql.mysql.estimates import EXPLAIN
from appliance.sql.mysql.lineage import MyLineage
from appliance.sql.mysql.session_settings import PROBE, MySettings
from appliance.wire.mysql.codec import MyCodec
from appliance.wire.mysql.startup import Capability
from tests.playbook.world import ANN, CUSTOMERS, DAN, NOTES, POLICY, SECRET, Port
from tests.unit.wire.mysql.packets_said import LONG, VARCHAR, column, eof, ok, text_row

OLD = int(Capability.PROTOCOL_41 | Capability.MULTI_STATEMENTS | Capability.MULTI_RESULTS)
NEW = OLD | int(Capability.DEPRECATE_EOF)
TRACKED = NEW | int(Capability.SESSION_TRACK)
SETTLED = ["shop", "STRICT_TRANS_TABLES", "utf8mb4", "utf8mb4", "utf8mb4"]
"""The answer to the probe."""
ID = column("id", "customers", "public", LONG)
NAME = column("name", "customers", "public")
EMAIL = column("email", "customers", "public")
EMAIL_REWORDED = column("email", "customers", "public", length=1024)


def _relation(oid: int, name: str, columns: dict[str, int]) -> Relation:
    made = tuple(
        Column(n, each, kind, type_text="int(11)")
        if kind == LONG
        else Column(n, each, kind, type_text="varchar(255)", collation="utf8mb4_general_ci")
        for n, (each, kind) in enumerate(columns.items(), 1)
    )
    return Relation(oid, "public", name, "r", made)


def catalog(version: str = "1") -> Catalog:
    """The two tables of `world`, in a database that is called as its schema there."""
    relations = (
        _relation(CUSTOMERS, "customers", {"id": LONG, "name": VARCHAR, "email": VARCHAR}),
        _relation(NOTES, "notes", {"id": LONG, "body": VARCHAR}),
    )
    return Catalog(
        target="try",
        database="public",
        version=version,
        server_version_num=101_100,
        schemas=("public",),
        relations={relation.oid: relation for relation in relations},
        by_name={(relation.schema, relation.name): relation.oid for relation in relations},
        functions={},
    )


LINEAGE = MyLineage(catalog())


class Session:
    """One session before its first command."""

    def __init__(
        self,
        principal: Principal = DAN,
        *,
        policy: Snapshot = POLICY,
        lineage: MyLineage | None = LINEAGE,
        settled: bool = True,
        capabilities: int = OLD,
        limits: Limits | None = None,
        approvals: bool = False,
    ) -> None:
        limits = limits or Limits()
        numbers = itertools.count(1)
        self.port = Port(lineage)  # type: ignore[arg-type]
        self.settings = MySettings("public", {})
        if settled:
            self.settings.probed(["public", *SETTLED[1:]])
        self.judge = Judge(
            policy,
            principal,
            Client("192.0.2.7", 5000, "try", True, "play"),
            Target("try", "mysql"),
            "public",
            self.port,  # type: ignore[arg-type]
            limits,
            Cache(limits.decision_cache_entries_max),
            MYSQL,
        )
        self.codec = MyCodec(capabilities, limits)
        self.state = ExchangeState(
            self.judge,
            Recorder("s1", principal, "try", "public", lambda now: f"r{next(numbers):05}"),
            self.settings,
            ResultLocks(self.judge, {}, NamedPlans(), NamedReading(self.codec)),
            self.codec,
            limits,
        )
        self.state.approvals = approvals
        self.machine = Exchange(self.state)


class Event(NamedTuple):
    """Something that happens: bytes from a peer, or what `act` does."""

    side: str
    content: bytes = b""
    act: Callable[[Session, float], Turn] | None = None
    recorded: bool = True
    """False: the spool does not take the records of this event."""


def says(*payloads: bytes, recorded: bool = True) -> Event:
    """The client sends commands."""
    return Event("client", b"".join(packets(p, 0) for p in payloads), recorded=recorded)


def answers(*payloads: bytes, first: int = 1) -> Event:
    """The database sends one reply."""
    return Event("upstream", reply(*payloads, first=first))


def happens(act: Callable[[Session, float], Turn]) -> Event:
    return Event("", act=act)


def gone() -> Event:
    return happens(lambda session, now: session.machine.disconnected(now))


def reply(*payloads: bytes, first: int = 1) -> bytes:
    return b"".join(packets(payload, first + index) for index, payload in enumerate(payloads))


def query(text: str) -> bytes:
    return b"\x03" + text.encode()


def prepare(text: str) -> bytes:
    return b"\x16" + text.encode()


def execute(statement: int, bound: bytes = b"", flags: int = 0) -> bytes:
    return b"\x17" + struct.pack("<IBI", statement, flags, 1) + bound


PROBED = answers(b"\x05", *(column(name) for name in "abcde"), eof(), text_row(*SETTLED), eof())
"""The answer to the probe, in a session with EOF packets."""


class Seen(NamedTuple):
    """What came of one event."""

    client: bytes
    upstream: bytes
    decided: tuple[tuple[ProtocolKind, str], ...]
    """(protocol, code of the refusal or '')."""
    finished: tuple[tuple[str, int, int], ...]
    """(outcome, rows, cells masked)."""
    requests: tuple[str, ...]


OWN = (PROBE, OPEN, KEEP, UNDO, OPEN_INSIDE, KEEP_INSIDE, UNDO_INSIDE)


def _is_own(text: bytes) -> bool:
    """Nobody's statement: what the appliance itself asks, or does."""
    return text in OWN or text.startswith(EXPLAIN)


"""Texts of ours."""


class Performance:
    def __init__(self, make: Callable[[], Session], split: Callable[[bytes], Iterable[bytes]]):
        self.session = make()
        self._split = split
        self._read = b""
        self._now = 1_000_000.0
        self._open: set[str] = set()
        self._promised: list[str] = []
        """Digests of texts that were recorded and not sent yet; "" for an execution."""

    def perform(self, event: Event) -> Seen:
        self._now += 1
        machine = self.session.machine
        turns = []
        if event.act is not None:
            turns.append(event.act(self.session, self._now))
        for piece in self._split(event.content) if event.content else ():
            received = machine.client_received
            if event.side == "upstream":
                received = machine.upstream_received
            turns.append(received(memoryview(bytearray(piece)), self._now))
        for turn in turns:
            if not event.recorded and turn.records:
                lost = {id(record) for _, _, record in turn.gated}
                machine.refuse_turn(turn)
                turn.records = [r for r in turn.records if id(r) not in lost]
            self._watch(turn)
        return _seen(turns)

    def _watch(self, turn: Turn) -> None:
        """Nothing goes upstream before its record; a write that is counted goes a turn later."""
        allowed = [r for r in turn.records if isinstance(r, StatementDecided) and not r.refusal]
        for record in allowed:
            shown = record.statement
            executed = record.protocol is ProtocolKind.EXECUTE
            self._promised.append("" if executed else shown.sent_digest or shown.text_digest)
        for message in map(bytes, turn.upstream):
            if message[4] == 0x17:
                self._promised.remove("")
            elif message[4] in (0x03, 0x16) and not _is_own(message[5:]):
                self._promised.remove(hashlib.sha256(message[5:]).hexdigest())
        for record in turn.records:
            if isinstance(record, StatementFinished):
                self._open.remove(record.decided)
            elif record in allowed and record.protocol is not ProtocolKind.PARSE:
                self._open.add(record.id)
        self._read = self._read[-len(SECRET) :] + b"".join(map(bytes, turn.client))
        if self.session.judge.entitlements.owes:
            assert SECRET.encode() not in self._read, "a masked value reached the client"


def _seen(turns: Sequence[Turn]) -> Seen:
    records = [record for turn in turns for record in turn.records]
    requests: list[Request] = [request for turn in turns for request in turn.requests]
    return Seen(
        b"".join(bytes(part) for turn in turns for part in turn.client),
        b"".join(bytes(part) for turn in turns for part in turn.upstream),
        tuple(
            (r.protocol, "" if r.refusal is None else r.refusal.code.value)
            for r in records
            if isinstance(r, StatementDecided)
        ),
        tuple(
            (r.outcome.value, r.rows, r.cells_masked)
            for r in records
            if isinstance(r, StatementFinished)
        ),
        tuple(type(request).__name__ for request in requests),
    )


def _odd(seed: int) -> Callable[[bytes], Iterable[bytes]]:
    chance = random.Random(seed)

    def split(content: bytes) -> Iterable[bytes]:
        at = 0
        while at < len(content):
            size = chance.choice((1, 2, 3, 5, 8, 40))
            yield content[at : at + size]
            at += size

    return split


def played(*events: Event, principal: Principal = DAN, **surroundings: Any) -> list[Seen]:
    """What comes of each event; of the last session, too, however bytes were cut."""
    splits = [lambda content: [content], lambda content: [bytes((b,)) for b in content], _odd(7)]
    told: list[list[Seen]] = []
    for split in splits:
        performance = Performance(lambda: Session(principal, **surroundings), split)
        told.append([performance.perform(event) for event in events])
    assert told[0] == told[1] == told[2]
    return told[0]


__all__ = ["ANN", "DAN", "NEW", "OLD", "TRACKED"]
OK = ok()


def explained(*rows: int | str | None, status: int = 2) -> Event:
    """What the server expects: one line for each figure; a word in place of one is what it says
    instead."""
    columns = ("id", "select_type", "table", "rows", "filtered", "Extra")
    lines = (
        text_row("1", "SIMPLE", "t", None, None, row)
        if isinstance(row, str)
        else text_row("1", "SIMPLE", "t", None if row is None else str(row), "100.00", "")
        for row in rows
    )
    return answers(bytes((len(columns),)), *map(column, columns), eof(status), *lines, eof(status))


def sent(*payloads: bytes) -> bytes:
    """Commands as they go upstream."""
    return b"".join(reply(payload, first=0) for payload in payloads)
