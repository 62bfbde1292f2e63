"""What the machine wants done; only `dataplane/conductor` carries it out, in the order of `Turn`'s
fields.

Rule: records before bytes. `Turn.records` is appended to the spool before a byte of `Turn.upstream`
is written.
"""

from collections.abc import Callable, Container, Mapping
from typing import Any

import msgspec

from _speedups.hitcycle import Hit
from appliance.approval.request import Asked
from appliance.model.catalog import ColumnKey, SessionSettings
from appliance.model.decision import Mask
from appliance.model.ending import Ending

Bytes = bytes | memoryview


class AnalyseText(msgspec.Struct, frozen=True):
    """Have `text` analysed elsewhere; answer with `machine.analysed(facts)`.

    `owed`: the masks to make its forms for (`session/rewriting`), should it need them.
    """

    text: bytes
    settings: SessionSettings
    owed: Mapping[ColumnKey, Mask] = {}


class RefreshCatalog(msgspec.Struct, frozen=True):
    """Have the catalog (re)loaded; answer with `machine.catalog_ready()`, which looks at the
    catalog port again. `reload`: also when the catalog seems to be as before.
    """

    reload: bool = False


class BeginSchemaChange(msgspec.Struct, frozen=True):
    """A statement that changes the schema is on its way: until `SettleSchemaChange`, what names
    mean to other sessions may change at any moment.
    """

    masked: bool = False
    """Of a session that owes masks: no raw value gets into what it makes."""


class SettleSchemaChange(msgspec.Struct, frozen=True):
    """The transaction of such statements ended."""


class NoteSchemaChange(msgspec.Struct, frozen=True):
    """A statement that changes the schema completed: the catalog must be read anew before it is
    used again.
    """


class NoteCleanRelations(msgspec.Struct, frozen=True):
    """A session that owes masks made these (schema, name), and its transaction is committed: what
    is in them is masked, or its own.
    """

    names: frozenset[tuple[str, str]]


class ArmTimeout(msgspec.Struct, frozen=True):
    """Call `machine.timed_out(execution)` after that time; it knows whether the execution still
    runs.
    """

    execution: Any
    milliseconds: int


class CancelStatement(msgspec.Struct, frozen=True):
    """Have the upstream cancel what it runs for this session."""


class CheckFooting(msgspec.Struct, frozen=True):
    """Ask whether what a text rests on is as it was judged, over a connection of the appliance's
    own; answer with `machine.footing_told`."""

    footing: Any
    """As the session's dialect makes it."""
    since: int = 0
    """`unchanged.Unchanged.since` when the statement was sent, where there is such a thing."""
    refresh: bool = False
    """If it is not, the catalog is brought up to date before that is told."""


class EndOther(msgspec.Struct, frozen=True):
    """End another session of the same principal, or what it runs; answer with
    `machine.other_ended`."""

    ending: Ending


class SampleRows(msgspec.Struct, frozen=True):
    """Look for unclassified data in rows that were queued for the client, once they have left."""

    description: bytes
    """Body of the RowDescription of their result (its formats are those of a statement, perhaps).
    """
    rows: bytes
    """`count` whole DataRow frames."""
    count: int
    classified: tuple[Container[ColumnKey], ...]
    """Columns that policy knows already."""
    hit: Hit | None = None
    """What the hit path knows of the statement, to be told (`Dull`) when there was nothing to
    look at.
    """


class AskApproval(msgspec.Struct, frozen=True):
    """Have this statement approved; answer with `machine.approval_known`, and later `ruled`, or
    `approval_failed`. `waits`: the client waits for it.
    """

    asked: Asked
    waits: bool


class UseApproval(msgspec.Struct, frozen=True):
    """Have the use of an approval stored; answer with `machine.approval_used`."""

    request: str
    binding: str


class WithdrawApproval(msgspec.Struct, frozen=True):
    """Nobody waits for it any longer."""

    request: str
    reason: str


class LogInAnew(msgspec.Struct, frozen=True):
    """End this session, and have the client log in again over its connection, beginning with
    `words`, a message of its protocol. Nothing of the client's lies unread here.
    """

    words: bytes
    sequence: int
    """The protocol's number of that message, where it counts them."""


class PinConnection(msgspec.Struct, frozen=True):
    """From here on the session needs its connection for itself: have it cleaned of what sessions
    before left there; answer with `machine.pinned`.
    """


class EndSession(msgspec.Struct, frozen=True):
    """Close both sides once what was written before has gone out."""

    reason: str


Request = (
    AnalyseText
    | RefreshCatalog
    | BeginSchemaChange
    | SettleSchemaChange
    | NoteSchemaChange
    | NoteCleanRelations
    | ArmTimeout
    | CancelStatement
    | EndOther
    | CheckFooting
    | SampleRows
    | AskApproval
    | UseApproval
    | WithdrawApproval
    | PinConnection
    | EndSession
    | LogInAnew
)


class Turn:
    """The outcome of one call of the machine."""

    __slots__ = ("begun", "client", "gated", "records", "requests", "upstream")

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.gated: list[tuple[int, Callable[[bytes], bytes], Any]] = []
        """(index into `upstream`, how to refuse that message, its record): for when `records`
        cannot be appended.
        """
        self.upstream: list[Bytes] = []
        self.client: list[Bytes] = []
        self.requests: list[Request] = []
        self.begun = 0.0
        """The conductor's: when the client's bytes that caused it came."""

    def __bool__(self) -> bool:
        return bool(self.records or self.upstream or self.client or self.requests)
