"""A session's machine played turn by turn: `book >> event << effect << effect`.

Beside the playbooks one folder up, which play a conversation as a whole: here every effect of an
event is asserted, in order, before the next event, so a test can stand in the middle of one (a
statement that waits, a policy that changes). Effects nobody asserted fail the test.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from appliance.audit.record import Outcome, StatementDecided, StatementFinished
from appliance.config.schema import Announce
from appliance.model.catalog import Catalog, Column, Relation
from appliance.model.limits import Limits
from appliance.model.principal import Client, Principal, Target
from appliance.policy.compile import compile_documents
from appliance.session.announce import Announcement
from appliance.session.effects import AnalyseText, ArmTimeout, Request, Turn
from appliance.session.flow import Cache, Judge
from appliance.session.machine import SessionMachine
from appliance.session.named import NamedPlans
from appliance.session.records import Recorder
from appliance.session.results import ResultLocks
from appliance.session.settings import SettingsTracker
from appliance.session.state import SessionState
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage
from tests.wireclient import Message

CUSTOMERS, NOTES = 1000, 2000
INT4, TEXT = 23, 25


def _relation(oid: int, name: str, *columns: tuple[str, int]) -> Relation:
    made = tuple(Column(n, name, kind) for n, (name, kind) in enumerate(columns, 1))
    return Relation(oid, "public", name, "r", made)


RELATIONS = (
    _relation(CUSTOMERS, "customers", ("id", INT4), ("name", TEXT), ("ssn", TEXT), ("score", INT4)),
    _relation(NOTES, "notes", ("id", INT4), ("body", TEXT)),
)
CATALOG = Catalog(
    target="vault",
    database="vault",
    version="c1",
    server_version_num=180000,
    schemas=("public", "pg_catalog"),
    relations={relation.oid: relation for relation in RELATIONS},
    by_name={(relation.schema, relation.name): relation.oid for relation in RELATIONS},
    functions={},
)
POLICY = """
version: 1
rules:
  - {id: work, effect: allow, actions: [read, session, write, create_temporary, calls]}
  - {id: no-drop, effect: deny, actions: [drop], message: Nothing is dropped here.}
"""
MASKS = """
  - effect: mask
    id: mask-ssn
    resources: [vault.public.customers.ssn]
    mask: {method: keep_last, keep: 4}
"""


class FakeCatalog:
    """What the session sees of its database's catalog; `lineage` None = must be loaded."""

    def __init__(self) -> None:
        self.lineage: CatalogLineage | None = CatalogLineage(CATALOG)
        self.failure = ""


def machine(
    policy: str = POLICY + MASKS,
    catalog: FakeCatalog | None = None,
    limits: Limits | None = None,
) -> SessionMachine:
    """A session of alice on `vault`, who owes a mask on customers.ssn unless `policy` says else."""
    limits = limits or Limits()
    principal = Principal("alice", groups=("analysts",))
    numbers = iter(range(1, 1_000_000))
    judge = Judge(
        compile_documents([("test.yaml", policy.encode())]),
        principal,
        Client("127.0.0.1", 5000, "main", tls=False),
        Target("vault"),
        "vault",
        catalog or FakeCatalog(),
        limits,
        Cache(64),
    )
    settings = SettingsTracker("vault", {"client_encoding": "UTF8"})
    settings.probed(["public", "none", "alice"])
    state = SessionState(
        judge,
        Recorder("session", principal, "vault", "vault", lambda _now: f"id-{next(numbers)}"),
        settings,
        Announcement(principal, "session", Announce.VARIABLE),
        ResultLocks(judge, {}, NamedPlans()),
        limits,
    )
    return SessionMachine(state)


# --- events ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """Something that happens to the machine."""

    name: str
    feed: Callable[["Book"], Turn] = field(repr=False)


def client(*frames: bytes) -> Event:
    content = b"".join(frames)
    return Event(f"client {content[:60]!r}", lambda b: b.machine.client_received(content, b.now))


def upstream(*frames: bytes) -> Event:
    content = b"".join(frames)
    return Event(
        f"upstream {content[:60]!r}", lambda b: b.machine.upstream_received(content, b.now)
    )


def _analysed(book: "Book") -> Turn:
    request = book.asked
    assert isinstance(request, AnalyseText), "nothing was to be analysed"
    lineage = book.machine.analysis_lineage
    facts = analyse(request.text, lineage, request.settings, Limits())
    return book.machine.analysed(facts, book.now)


def _timed_out(book: "Book") -> Turn:
    assert isinstance(book.armed, ArmTimeout), "no timeout was armed"
    return book.machine.timed_out(book.armed.execution, book.now)


ANALYSED = Event("analysed", _analysed)
TIMED_OUT = Event("timed out", _timed_out)
CATALOG_READY = Event("catalog ready", lambda book: book.machine.catalog_ready(book.now))
CLIENT_GONE = Event("a peer is gone", lambda book: book.machine.disconnected(book.now))


def unrecorded(event: Event) -> Event:
    """The same event while the trail cannot be written."""

    def feed(book: "Book") -> Turn:
        turn = event.feed(book)
        book.machine.refuse_turn(turn)
        gated = {id(record) for _, _, record in turn.gated}
        turn.records = [record for record in turn.records if id(record) not in gated]
        return turn

    return Event(f"unrecorded {event.name}", feed)


# --- effects --------------------------------------------------------------------------------------

Got = tuple[str, Any]


@dataclass(frozen=True)
class Effect:
    """An assertion on one effect."""

    name: str
    holds: Callable[[Got], bool] = field(repr=False)


NOTHING: list[Effect] = []
"""`<< NOTHING`: the event had no effect."""


def _frame(side: str, frame: bytes) -> Effect:
    return Effect(f"{side} {frame!r}", lambda got: got == (side, frame))


def to_upstream(*frames: bytes) -> list[Effect]:
    return [_frame("to upstream", frame) for frame in frames]


def to_client(*frames: bytes) -> list[Effect]:
    return [_frame("to client", frame) for frame in frames]


def error(sqlstate: str, contains: str = "") -> list[Effect]:
    """An ErrorResponse for the client."""

    def holds(got: Got) -> bool:
        side, frame = got
        if side != "to client" or frame[:1] != b"E":
            return False
        fields = Message("E", frame[5:]).fields
        return fields["C"] == sqlstate and contains in str(fields)

    return [Effect(f"error {sqlstate} {contains}", holds)]


def notice(contains: str) -> list[Effect]:
    def holds(got: Got) -> bool:
        return got[0] == "to client" and got[1][:1] == b"N" and contains.encode() in got[1]

    return [Effect(f"notice {contains}", holds)]


def decided(sql: str = "", refused: bool = False) -> list[Effect]:
    """A StatementDecided was put on record."""

    def holds(got: Got) -> bool:
        record = got[1]
        return (
            isinstance(record, StatementDecided)
            and (record.refusal is not None) == refused
            and sql in record.statement.sql
        )

    return [Effect(f"decided {sql!r} refused={refused}", holds)]


def finished(outcome: Outcome = Outcome.COMPLETED, **values: object) -> list[Effect]:
    """A StatementFinished was put on record, with these values."""

    def holds(got: Got) -> bool:
        record = got[1]
        return (
            isinstance(record, StatementFinished)
            and record.outcome is outcome
            and all(getattr(record, name) == value for name, value in values.items())
        )

    return [Effect(f"finished {outcome} {values}", holds)]


def requested(kind: type[Request]) -> list[Effect]:
    return [Effect(f"requested {kind.__name__}", lambda got: isinstance(got[1], kind))]


class Book:
    """See the module. `now` is a clock that only moves by hand."""

    def __init__(self, machine: SessionMachine) -> None:
        self.machine = machine
        self.now = 1_000.0
        self.asked: Request | None = None
        self.armed: ArmTimeout | None = None
        self._effects: list[Got] = []
        self._event = "(the beginning)"
        self._asserted = True

    def __rshift__(self, event: Event) -> Self:
        self.done()
        self._event = event.name
        turn = event.feed(self)  # what it raises is the test's to assert
        self._asserted = False
        self._effects = self._of(turn)
        return self

    def __lshift__(self, effects: list[Effect]) -> Self:
        self._asserted = True
        if not effects:
            assert not self._effects, f"after {self._event}: {self._effects}"
        for effect in effects:
            assert self._effects, f"after {self._event}: {effect} did not come"
            got = self._effects.pop(0)
            assert effect.holds(got), f"after {self._event}: {got} instead of {effect}"
        return self

    def done(self) -> None:
        """Nothing is left that nobody asserted."""
        assert self._asserted, f"what {self._event} caused was not asserted: {self._effects}"
        assert not self._effects, f"after {self._event} nobody asserted {self._effects}"

    def _of(self, turn: Turn) -> list[Got]:
        """In the order in which the conductor carries a turn out."""
        effects: list[Got] = [("record", record) for record in turn.records]
        effects += [("to client", frame) for frame in frames(b"".join(map(bytes, turn.client)))]
        effects += [("to upstream", f) for f in frames(b"".join(map(bytes, turn.upstream)))]
        for request in turn.requests:
            self.asked = request
            if isinstance(request, ArmTimeout):
                self.armed = request
            effects.append(("request", request))
        return effects


def frames(content: bytes) -> list[bytes]:
    """Whole frames; what is left over is one more."""
    found = []
    while content:
        end = 1 + int.from_bytes(content[1:5], "big") if len(content) >= 5 else len(content)
        found.append(content[:end])
        content = content[end:]
    return found
