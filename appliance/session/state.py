"""What a session's machine knows, and the few things every part of it does: send, record, finish.

Owned by `machine`; `decisions`, `from_client` and `from_upstream` work on it. Rule: a statement
goes upstream only through `send`, after `record` put its record into the same turn.
"""

import enum
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast

from _speedups.pgframe import GATHER, GATHER_OR_STREAM, STREAM, FrameSplitter
from _speedups.rowflow import RowFlow
from appliance.approval.request import Asked
from appliance.audit.record import Outcome, ProtocolKind
from appliance.model.approval import OnHold
from appliance.model.limits import (
    CONTROL_FRAME_BYTES_MAX,
    FRAME_BYTES_MAX,
    MESSAGE_TEXT_BYTES_MAX,
    Limits,
)
from appliance.model.refusal import Refusal
from appliance.model.spare import EMPTY, Fifo
from appliance.session import flow
from appliance.session.announce import Announcement
from appliance.session.backend import Backend
from appliance.session.chosen import Chosen
from appliance.session.effects import Bytes, Turn
from appliance.session.hits import Hits
from appliance.session.inflight import Bound, Execution, Portal, Prepared
from appliance.session.pace import SamplePace
from appliance.session.records import Recorder, parts_of
from appliance.session.results import ResultLocks
from appliance.session.settings import SettingsTracker
from appliance.session.shown import shown_parameters
from appliance.session.unchanged import Unchanged
from appliance.sql.footing import Footing, still
from appliance.sql.lineage import CatalogLineage
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, ExpectedReplies, Kind
from appliance.wire.postgres.prepared import Names

Continuation = Callable[[flow.Verdict], None]
Run = tuple[int, int, int, Bytes]
"""(message type, part, count of whole frames, bytes): see `_speedups.pgframe`."""

PARSE_EXTRA_BYTES_MAX = 64 * 1024
"""What a Parse message may hold beside its text: a name and parameter types."""
VOUCHED_SECONDS = 0.05
"""How long nothing is asked again in one pipeline."""
HEADER = 5
"""Type byte and length."""


class Sparing(NamedTuple):
    """A judged statement of which the database is asked what its writes spare."""

    verdict: flow.Verdict
    types: tuple[int, ...]
    """Of the client's parameters, as its Parse gave them."""
    bind: bytes | None
    """The body of the client's Bind; None for a simple Query."""
    refuse: Callable[[flow.Verdict], bytes]
    """Records the refusal of a statement that the upstream will skip, and gives its error."""
    anew: Callable[[flow.Granted], None] | None = None
    """Begins once more with a statement that got an approval after the locks of its check were let
    go of; None of one whose locks are the client's own."""


class Parked:
    """A held statement (`parking`)."""

    __slots__ = (
        "asked",
        "dry_run",
        "expires",
        "given_up",
        "rehearsed",
        "request",
        "step",
        "tries",
        "url",
        "verdict",
        "waiting",
    )

    def __init__(
        self, waiting: "Waiting", verdict: flow.Verdict, asked: Asked, step: enum.Enum
    ) -> None:
        self.waiting = waiting
        self.verdict = verdict
        self.asked = asked
        self.step = step
        self.request = ""
        """The id it is stored under, as soon as that is known."""
        self.url = ""
        self.expires = 0.0
        self.given_up = ""
        """Why it ends as soon as the database has answered what it expects of it."""
        self.rehearsed = False
        """Whether it was looked at for a dry run."""
        self.dry_run = ""
        """Id of the record of the one that is under way."""
        self.tries = 0
        """How often that question was taken back in vain."""

    @property
    def text(self) -> bytes:
        """What is sent once it is approved: over masked relations, for who owes masks."""
        released = self.verdict.released
        return (b"" if released is None else released.rewritten) or self.waiting.text

    @property
    def ticket(self) -> bool:
        """The client does not wait."""
        return self.asked.terms.on_hold is OnHold.TICKET


DOUBTS_MAX = 20
"""How often a statement waits for the catalog because somebody changes some schema here."""


class Waiting:
    """A statement whose verdict needs something that is not there yet."""

    __slots__ = (
        "analyses",
        "aside",
        "asked",
        "bound",
        "checks",
        "doubted",
        "epoch",
        "found",
        "grant",
        "let_go",
        "looked",
        "outdated",
        "probes",
        "quiet",
        "refreshed",
        "simple",
        "sparing",
        "text",
        "then",
        "vouch",
    )

    def __init__(
        self,
        text: bytes,
        then: Continuation,
        vouch: bool = True,
        simple: bool = False,
        bound: Bound | None = None,
    ) -> None:
        self.text = text
        self.then = then
        self.bound = bound
        """It may be held here for an approval; None: here it is refused if policy holds it."""
        self.grant: flow.Granted | None = None
        """The approval it has got."""
        self.simple = simple
        """It came in a Query, which ends what the client left open of a pipeline."""
        self.vouch = vouch
        """The server is asked whether what the text rests on is as it was judged."""
        self.checks = 0
        """How often it was, in vain."""
        self.aside: Footing | None = None
        """What is locked, while another session of ours looks whether it is as it was: this one's
        transaction sees an old snapshot.
        """
        self.asked: Any = None
        self.found: Any = None
        """What a connection of the appliance's own is asked about, and what it found as judged."""
        self.outdated = False
        """It was not, again and again."""
        self.refreshed = False
        self.doubted = 0
        """How often the catalog was read for it, and could be stale again before it was used."""
        self.looked = False
        """The catalog was compared for a dry run of it."""
        self.quiet = False
        """It has waited for other sessions' schema changes to end."""
        self.analyses = 0
        self.probes = 0
        self.epoch = ("", "", "")
        """Under which its analysis was asked for."""
        self.sparing: Sparing | None = None
        """It is judged, and waits for what the database says to this."""
        self.let_go = False
        """The locks of its check were let go of: with an approval it begins anew."""

    def may_refresh(self, failure: str) -> bool:
        """Whether a catalog that is not there is read for it. `failure`: why it could not be, last;
        '' = it could, but somebody has changed something since."""
        if not self.refreshed:
            return True
        self.doubted += 1
        return not failure and self.doubted < DOUBTS_MAX


class Question:
    """What the upstream is being asked by us (`questions`), for a statement that waits."""

    __slots__ = (
        "amid",
        "answers",
        "discards",
        "due",
        "ends",
        "error",
        "footing",
        "holds",
        "in_transaction",
        "leased",
        "noted",
        "pins",
        "replaced",
        "subject",
        "tag",
        "verdict",
        "waiting",
        "whole",
    )

    def __init__(self, subject: str, waiting: Waiting, due: int, amid: bool) -> None:
        self.subject = subject
        """settings, temporaries, check, sparing, isolation, estimate, estimate undone, dry run,
        let go."""
        self.waiting = waiting
        self.due = due
        """How many answers make it whole."""
        self.answers: list[str] = []
        self.amid = amid
        """It stands amid the client's pipeline."""
        self.ends = True
        """A Sync of ours ends it."""
        self.error: dict[str, str] | None = None
        """Fields of the upstream's error, had it one."""
        self.verdict: flow.Verdict | None = None
        self.footing: Footing | None = None
        self.holds = False
        self.in_transaction = False
        self.discards = False
        self.leased = 0
        """`Lease.value` when it was asked."""
        self.pins = False
        """The answers are those of a `settings.Pinning`."""
        self.whole: bytearray | None = None
        """An answer that may be long, as DataRow frames (`estimates.ANSWER_BYTES_MAX`)."""
        self.noted = False
        """A check found all as it was judged, but somebody began or ended a schema change, perhaps
        of something else: whoever is slow meets many of those.
        """
        self.replaced: Expected | None = None
        """What is not sent when its record cannot be written: of a dry run."""
        self.tag = b""
        """The command tag of a dry run."""


class SessionState:
    """See the comments of its parts; changed from inside one machine call only."""

    __slots__ = (
        "announcement", "approvals", "backend", "bind_prefix", "bytes_out", "cells_masked",
        "changing", "chosen", "client_frames", "client_in_pipeline", "copy_ended",
        "copy_piece_open", "copying_in", "discarding", "ending", "expected", "fetched", "flow",
        "forgetting", "growing", "hits", "holding", "in_pipeline", "judge", "letting",
        "lexing_in_doubt", "limits", "locks", "looked_up", "made", "now", "opened", "pace",
        "parked", "pins", "portals", "question", "quiet_for", "recorder", "rehearsed_at",
        "reports_in_doubt", "reshaped", "reshaping", "rows", "rows_whole",
        "running_in_pipeline", "runs", "sensitive_unmasked", "settings", "settled_throughout",
        "shares", "soiled", "statements", "status", "told_fatal", "turn", "upstream_frames",
        "vouched", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        judge: flow.Judge,
        recorder: Recorder,
        settings: SettingsTracker,
        announcement: Announcement,
        locks: ResultLocks,
        limits: Limits,
        pace: SamplePace | None = None,
        backend: Backend | None = None,
    ) -> None:
        self.judge = judge
        self.recorder = recorder
        self.settings = settings
        self.announcement = announcement
        self.locks = locks
        self.limits = limits
        self.pace = SamplePace(0) if pace is None else pace
        self.client_frames = FrameSplitter("client", client_rules(limits))
        self.upstream_frames = FrameSplitter("upstream", upstream_rules(None))
        self.flow = RowFlow(self.upstream_frames, self.pace, self)
        self.turn = Turn()
        self.now = 0.0
        # What is due, and what names mean.
        self.expected = ExpectedReplies()
        self.statements: Names[Prepared] = Names()
        self.portals: Names[Portal] = Names()
        locks.named.protocol = self._protocol_name
        locks.named.still = self.still
        self.status = ord("I")
        """Transaction status as the upstream said it last."""
        self.opened = 0
        """`Lease.value` at a time from which on the open transaction has begun."""
        # A statement that waits, and the client's messages behind it.
        self.waiting: Waiting | None = None
        self.runs: Fifo[Run] = Fifo()
        self.question: Question | None = None
        self._begin_sharing(Backend() if backend is None else backend)
        self.hits = Hits(recorder, self.backend.unchanged, self.pace)
        self.looked_up: dict[Footing, str] = {}
        """What the names of what was looked at meant then, in a transaction whose snapshot does not
        move; '' in any other."""
        self.forgetting: Execution | None = None
        """The last statement that was sent behind which ours may be prepared no longer."""
        self.holding = False
        """A check of ours opened a transaction to hold locks in; the client knows of none."""
        self.reshaping = 0.0
        """When a statement was last sent that may change the schema."""
        self.vouched: dict[Footing, float] = {}
        """What is locked in the state in which the catalog has it, in the transaction that the
        client's next message will be part of -> since when.
        """
        self.growing: frozenset[Footing] = EMPTY
        """Of these, what could get a part with masked columns all the same (`sql/adoption`)."""
        self.quiet_for: Waiting | None = None
        """The statement that waits until all replies before it have come."""
        self.reshaped = False
        """The open transaction changed the schema: others see that when it ends."""
        self.made: frozenset[tuple[str, str]] = EMPTY
        """(schema, name) of relations that the open transaction made, of a session that owes masks:
        forgotten with whatever is taken back."""
        self.changing = False
        """A schema change of ours is under way (told to other sessions by the catalog)."""
        self._begin_approvals()
        self._begin_pipeline()
        self._begin_pieces()
        self._begin_sums()

    def _begin_sharing(self, backend: Backend) -> None:
        """The connection to the upstream, whose session need not be this one's alone."""
        self.backend = backend
        """The upstream, as far as it holds something of ours."""
        self.shares = False
        """It shares its connections with other sessions, and has one during transactions only."""
        self.pins: frozenset[str] = EMPTY  # why it keeps the one that it has (`shared`)
        self.settled_throughout = True  # no statement could have changed a setting, or prepared
        self.soiled = False  # it was, or is, pinned to this connection: something may be left there
        self.letting: frozenset[str] = EMPTY  # of `pins`, gone when the server is ready

    def _begin_approvals(self) -> None:
        self.parked: Parked | None = None
        """The statement that waits for an approval; it is `waiting`, too."""
        self.chosen = Chosen()
        self.rehearsed_at = float("-inf")
        """When a statement was last run to be rolled back."""
        self.approvals = False
        """Whether there is anybody to ask."""

    def _begin_pipeline(self) -> None:
        """COPY FROM STDIN, and what is open of the extended protocol."""
        self.copying_in = False
        self.in_pipeline = False
        """Messages of the extended protocol went upstream, and no Sync after them: a Sync of ours
        would end their transaction.
        """
        self.client_in_pipeline = False
        """Some of them are the client's, who will send that Sync."""
        self.running_in_pipeline = False
        """The client has bound or executed something among them: a Sync of ours would end that."""
        self.lexing_in_doubt = False
        """What is under way may change how the server reads texts; cleared by a ReadyForQuery,
        which is when the server reports such settings.
        """
        self.reports_in_doubt = False
        """The same of the settings that the server reports."""
        self.copy_piece_open = False
        """The head of a CopyData frame went upstream: the rest of it must, too."""
        self.copy_ended = False
        """The client has sent CopyDone or CopyFail."""

    def _begin_pieces(self) -> None:
        """Frames that come in pieces."""
        self.discarding = False
        self.bind_prefix: bytearray | None = None
        self.rows_whole = False
        """DataRows are gathered: they are masked or counted out one by one."""

    def _begin_sums(self) -> None:
        """For the records of the session, and its end."""
        self.ending = False
        self.told_fatal = False
        """The client has read the upstream's own last words."""
        self.rows = 0
        self.bytes_out = 0
        self.cells_masked = 0
        self.sensitive_unmasked = 0
        self.fetched: dict[str, int] = {}
        """Rows that FETCH has got from each SQL cursor, where policy limits rows."""

    @property
    def own_statements(self) -> set[bytes]:
        """Names of our own prepared statements that the upstream holds."""
        return self.backend.own

    @property
    def unchanged(self) -> Unchanged:
        return self.backend.unchanged

    def _protocol_name(self, space: str, name: str, now: bool) -> flow.Verdict | None:
        """SQL's EXECUTE, FETCH and MOVE share the protocol's names."""
        key = name.encode()
        if space == "statement":
            prepared = self.statements.confirmed(key) if now else self.statements.lookup(key)
            return None if prepared is None else prepared.verdict
        portal = self.portals.confirmed(key) if now else self.portals.lookup(key)
        return None if portal is None else portal.verdict

    @property
    def is_copying(self) -> bool:
        """The client is sending what it copies in."""
        return self.copying_in and not self.copy_ended

    @property
    def lineage(self) -> CatalogLineage | None:
        """The present catalog's, with this session's own temporary relations."""
        lineage = self.judge.catalog.lineage
        own = self.settings.current.temporaries
        if lineage is None:
            return None
        return cast(CatalogLineage, lineage.with_temporaries(own))  # PostgreSQL's, as all of this

    def still(self, rests: Footing) -> bool:
        """Whether the present catalog has all of it as it was judged."""
        lineage = self.lineage
        return lineage is not None and still(rests, lineage)

    @property
    def may_pin(self) -> bool:
        """Whether settings can be made the session's own now (`settings.Pinning`): it is
        between transactions."""
        return self.status == ord("I") and not self.in_pipeline

    def runs_code(self, verdict: flow.Verdict) -> None:
        """It is about to be sent."""
        if verdict.code:
            self.reports_in_doubt = True
            self.settings.unsettle_by_code()

    def vouches(self, footing: Footing) -> bool:
        """Whether what a text rests on needs no look: it was found as it was judged, and is
        locked. What cannot be locked (functions, names that newly shadow others) is looked at again
        after a while.
        """
        since = self.vouched.get(footing)
        return since is not None and self.now - since <= VOUCHED_SECONDS

    def vouches_for(self, portal: Portal) -> bool:
        """Whether a portal needs no look: what it reads is locked since it was bound; functions are
        read when they run.
        """
        rests = portal.verdict.footing
        lasting = rests is None or not rests.calls
        fresh = portal.vouched > self.reshaping
        return bool(portal.vouched) and (
            lasting or (fresh and self.now - portal.vouched <= VOUCHED_SECONDS)
        )

    def vouch_for_nothing(self) -> None:
        """What is locked may not stay so, and a lock does not hold off the session itself, which
        may change the schema now."""
        self.vouched.clear()
        self.reshaping = self.now

    def vouch(self, footing: Footing, growing: bool) -> None:
        self.vouched[footing] = self.now
        if growing:
            self.growing |= {footing}
        elif self.growing:
            self.growing -= {footing}

    def executing(self) -> None:
        """A statement was sent that may take any time: what cannot be locked is looked at again
        behind it."""
        for footing in [f for f in self.vouched if f.calls or f in self.growing]:
            del self.vouched[footing]
        self.growing = EMPTY

    def send(self, message: Bytes, expected: Expected) -> None:
        if self.status == ord("I") and not (self.in_pipeline or len(self.expected)):
            self.opened = self.hits.held
        self.in_pipeline = expected.kind not in (Kind.SYNC, Kind.QUERY)
        self.client_in_pipeline = self.in_pipeline and (
            self.client_in_pipeline or not expected.injected
        )
        runs = expected.kind in (Kind.BIND, Kind.EXECUTE) and not expected.injected
        self.running_in_pipeline = self.in_pipeline and (self.running_in_pipeline or runs)
        if not self.in_pipeline:
            self.holding = False
            self.vouched.clear()  # their locks end with the transaction
            self.looked_up.clear()
        self.expected.push(expected)
        self.turn.upstream.append(message)

    def gate(
        self,
        expected: Expected,
        rejected: Callable[[], bytes],
        runs: Expected | None = None,
    ) -> None:
        """Remembers how to refuse the message sent next, should its record not be written. `runs`:
        what would have run after it, and never does.
        """

        def refuse(error: bytes) -> bytes:
            expected.error = error
            if runs is not None:
                runs.error = error
            return rejected()

        record = self.turn.records[-1]
        self.turn.gated.append((len(self.turn.upstream), refuse, record))

    def record(
        self,
        protocol: ProtocolKind,
        text: bytes,
        verdict: flow.Verdict,
        refusal: Refusal | None,
        prepared: bytes = b"",
        parameters: int = 0,
        parameter_types: tuple[int, ...] = (),
    ) -> str:
        record_id = self.recorder.reference(self.now)
        if not verdict.memo:
            lineage = self.judge.catalog.lineage
            verdict.memo.append(
                parts_of(text, verdict, None if lineage is None else lineage.catalog)
            )
        parts = verdict.memo[0]
        self.turn.records.append(
            self.recorder.decided(
                record_id,
                self.now,
                protocol,
                parts,
                refusal,
                prepared,
                parameters,
                parameter_types,
                verdict.granted,
            )
        )
        return record_id

    def record_unread(
        self, shown: str, length: int, protocol: ProtocolKind, refusal: Refusal
    ) -> str:
        record_id = self.recorder.reference(self.now)
        self.turn.records.append(
            self.recorder.decided_unread(record_id, self.now, protocol, shown, length, refusal)
        )
        return record_id

    def finish(self, execution: Execution, outcome: Outcome) -> None:
        if execution is self.forgetting:
            self.forgetting = None
        portal = execution.portal
        hit = execution.hit if portal is None else portal.hit
        if hit is not None:
            hit.took(self.now - execution.started, True)
            if outcome is Outcome.COMPLETED:
                self.hits.tell(hit, self.judge.principal, self.settings, self.locks.made_with)
        if execution.renames:
            self.settle_names(execution)
        self.turn.records.append(self.recorder.finished(execution, self.now, outcome))

    def settle_names(self, execution: Execution, completed: int = -1) -> None:
        """What statement `completed` of a text let go of is gone; -1: the rest of it never ran."""
        left = []
        for entry in execution.renames:
            index, names, name = entry
            if index == completed:
                names.confirm(name)
            elif completed < 0:
                names.abandon(name)
            else:
                left.append(entry)
        execution.renames = left

    def choose_row_mode(self) -> None:
        """Rows that will be masked, counted out or reworded come whole; all others flow through in
        pieces.

        Called whenever an execution may have become the one whose rows are due.
        """
        head = self.expected.head
        if head is None or not isinstance(head.subject, Execution):
            return
        execution = head.subject
        lock = execution.lock if execution.portal is None else execution.portal.lock
        masked = (
            (lock is not None and lock.masker is not None)
            or execution.verdict.decision.row_limit is not None
            or execution.rows_max is not None
        )
        own = not execution.verdict.plain and self.announcement.shows(execution.verdict.facts)
        self.gather_rows(masked or own)

    def gather_rows(self, whole: bool) -> None:
        if whole != self.rows_whole:
            self.rows_whole = whole
            most = self.limits.masked_row_bytes_max if whole else None
            self.upstream_frames.follow(upstream_rules(most))

    def notice(self, message: str, hint: str) -> None:
        self.to_client(refusals.notice("00000", message, hint))

    shown_parameters = staticmethod(shown_parameters)

    def to_client(self, content: Bytes) -> None:
        self.turn.client.append(kept(content))


UPSTREAM_TYPES = (
    m.ROW_DESCRIPTION,
    m.NO_DATA,
    m.PARAMETER_DESCRIPTION,
    m.PARSE_COMPLETE,
    m.BIND_COMPLETE,
    m.CLOSE_COMPLETE,
    m.COMMAND_COMPLETE,
    m.EMPTY_QUERY_RESPONSE,
    m.PORTAL_SUSPENDED,
    m.COPY_IN_RESPONSE,
    m.COPY_OUT_RESPONSE,
    m.COPY_DONE,
    m.ERROR_RESPONSE,
    m.NOTICE_RESPONSE,
    m.NOTIFICATION_RESPONSE,
    m.PARAMETER_STATUS,
    m.READY_FOR_QUERY,
)


@lru_cache(maxsize=4)
def client_rules(limits: Limits) -> FrameSplitter:
    """Message types a client may send after login, and how long each may be: for `follow`."""
    frames = FrameSplitter("client")
    small = 64 * 1024
    statement = limits.statement_bytes_max
    for kind, mode, ceiling in (
        (m.QUERY, GATHER_OR_STREAM, statement + 5),
        (m.PARSE, GATHER_OR_STREAM, statement + PARSE_EXTRA_BYTES_MAX),
        (m.BIND, GATHER_OR_STREAM, limits.bind_bytes_max),
        (m.DESCRIBE, GATHER, small),
        (m.EXECUTE, GATHER, small),
        (m.CLOSE, GATHER, small),
        (m.SYNC, GATHER, 4),
        (m.FLUSH, GATHER, 4),
        (m.TERMINATE, GATHER, 4),
        (m.FUNCTION_CALL, GATHER, CONTROL_FRAME_BYTES_MAX),
        (m.PASSWORD, GATHER, small),
        (m.COPY_DONE, GATHER, 4),
        (m.COPY_FAIL, GATHER, small),
    ):
        frames.rule(kind, mode, ceiling)
    frames.rule(m.COPY_DATA, STREAM, FRAME_BYTES_MAX, batch=True)
    return frames


@lru_cache(maxsize=4)
def upstream_rules(gathered_bytes_max: int | None) -> FrameSplitter:
    """Message types an upstream may send after login: for `follow`. CopyBothResponse (replication)
    is not among them. DataRows up to this length are gathered, None = they stream.
    """
    frames = FrameSplitter("upstream")
    for kind in UPSTREAM_TYPES:
        frames.rule(kind, GATHER, CONTROL_FRAME_BYTES_MAX)
    for kind in (m.ERROR_RESPONSE, m.NOTICE_RESPONSE):
        frames.rule(kind, GATHER, MESSAGE_TEXT_BYTES_MAX)
    if gathered_bytes_max is None:
        frames.rule(m.DATA_ROW, STREAM, FRAME_BYTES_MAX, batch=True)
    else:
        frames.rule(m.DATA_ROW, GATHER, gathered_bytes_max, batch=True)
    frames.rule(m.COPY_DATA, STREAM, FRAME_BYTES_MAX, batch=True)
    return frames


def kept(content: Bytes) -> bytes:
    """A run is a view into a shared buffer until the next chunk: what is sent must be our own."""
    return content if isinstance(content, bytes) else bytes(content)
