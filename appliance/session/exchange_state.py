"""What an exchange session knows while it goes on; changed from inside one machine call only.

Used by `exchange` and its parts. Here one command is answered before the next: what a client sends
ahead waits in `queue`, and at most one command is `current`.
"""

import enum
from collections import deque
from collections.abc import Hashable
from typing import NamedTuple, Protocol

from appliance.approval.request import Parameter
from appliance.audit import compose
from appliance.audit.record import DecisionPart, Outcome, ProtocolKind, RulePart, StatementPart
from appliance.model.catalog import SessionSettings
from appliance.model.decision import Effect
from appliance.model.errors import InvariantBroken
from appliance.model.limits import Limits
from appliance.model.refusal import Refusal
from appliance.session import flow, told
from appliance.session.chosen import Chosen
from appliance.session.effects import Turn
from appliance.session.exchange_hits import ExchangeHits
from appliance.session.inflight import Bound, Execution
from appliance.session.records import Recorder, parts_of
from appliance.session.results import ResultLocks
from appliance.session.shown import PARAMETERS_SHOWN_MAX, SHOWN_CHARS_MAX, touches_classified
from appliance.session.state import Parked, Waiting
from appliance.wire.exchange import Bytes, Codec, Command, Done, Ended, Failed


class Tracker(Protocol):
    """What a dialect's session settings are, as the server said them last (its `sql` package has
    one). Rule: a value is certain only if the server said so after the last statement that could
    have changed it."""

    parameters: dict[str, str]

    @property
    def current(self) -> SessionSettings: ...
    @property
    def certain(self) -> bool: ...
    @property
    def probe(self) -> bytes:
        """A statement that asks for them, in one row, and changes nothing."""

    def probed(self, values: list[str | None]) -> None: ...
    def unsettle(self) -> None: ...
    def reported(self, name: str, value: str) -> None:
        """The server says along with a reply that it changed."""

    def shift_temporaries(self, made: frozenset[tuple[str, str]], policy: str) -> None:
        """A statement is on its way that may make these temporary relations, and change or drop
        any. `policy`: version of the policy under which masks are owed, '' = none is."""

    def doubts(self, text: bytes, policy: str) -> bytes | None:
        """A question about a temporary relation that must be answered before `text` is judged."""

    def told(self, rows: list[list[str | None]], error: int | None) -> None:
        """The answer, or the number of the error it got."""

    def reset(self) -> None:
        """The session is as it was after login."""

    def lexes_as_standard(self) -> bool: ...

    @property
    def lexing(self) -> int:
        """By which rules texts are read now, as the hit path's lexer knows them; -1 = by none of
        them."""


class Statement:
    """A prepared one."""

    __slots__ = (
        "bound",
        "columns",
        "cursor",
        "description",
        "kinds",
        "long",
        "name",
        "number",
        "parameters",
        "settings",
        "text",
        "unfit",
        "verdict",
    )

    def __init__(
        self, number: int, text: bytes, verdict: flow.Verdict, settings: SessionSettings
    ) -> None:
        self.number = number
        self.name = ""
        """SQL's own, of one that a text prepared; it has no number then."""
        self.text = text
        self.verdict = verdict
        """As it was sent: its `rewritten` is what the server has."""
        self.settings = settings
        """Under which the server read it."""
        self.description = b""
        """Of its result, when it was prepared."""
        self.parameters = 0
        self.kinds: tuple[int, ...] = ()
        """Types of the parameters, as an execution gave them last."""
        self.long = False
        """Pieces of long values came for its next execution: approvers cannot see them."""
        self.unfit: Refusal | None = None
        """Why its next execution is refused: a long value was too long."""
        self.cursor: Execution | None = None
        """The execution whose rows are being fetched."""


class Step(enum.Enum):
    OPENING = "opening"
    RUNNING = "running"
    ENDING = "ending"


class Limited:
    """One write under a limit."""

    __slots__ = ("held", "inside", "refusal", "rewritten", "rows_max", "step")

    def __init__(self, rows_max: int, inside: bool, rewritten: bytes) -> None:
        self.rows_max = rows_max
        self.inside = inside
        """The transaction is the client's."""
        self.rewritten = rewritten
        self.step = Step.OPENING
        self.held: Done | Failed | None = None
        """The reply, until it is settled."""
        self.refusal: Refusal | None = None


class Fence:
    """Around one read: a transaction of ours."""

    __slots__ = ("endings", "held", "rewritten", "step")

    def __init__(self, rewritten: bytes) -> None:
        self.rewritten = rewritten
        self.step = Step.OPENING
        self.held: Done | Ended | Failed | None = None
        """The last reply, until our transaction has ended."""
        self.endings = 0


class Running:
    """What the upstream was sent and has not answered to its end."""

    __slots__ = (
        "again",
        "command",
        "discarded",
        "execution",
        "fence",
        "limited",
        "once",
        "question",
        "refusal",
        "statement",
        "verdict",
    )

    def __init__(
        self,
        command: Command | None,
        verdict: flow.Verdict | None = None,
        execution: Execution | None = None,
        statement: Statement | None = None,
    ) -> None:
        self.command = command
        """None: a question of ours."""
        self.verdict = verdict
        self.execution = execution
        self.statement = statement
        self.refusal: Refusal | None = None
        """It could not be recorded: an idle command was sent in its place, and this is the
        reply."""
        self.discarded: Refusal | None = None
        """Its result is not what was planned: whatever comes of it is thrown away, and this is the
        reply."""
        self.again = False
        """When all of it is thrown away, the command is carried out anew."""
        self.limited: Limited | None = None
        """How many rows it may affect, and where that stands."""
        self.fence: Fence | None = None
        """The transaction of ours that it stands in."""
        self.once = False
        """It cannot be carried out again: values came ahead of it."""
        self.question: Question | None = None


class Errand(NamedTuple):
    """A command that the appliance carries out."""

    record_id: str
    begun: float


class Question:
    """What the upstream is being asked by us, for a statement that waits."""

    __slots__ = ("columns", "error", "failed", "rows", "subject", "waiting")

    def __init__(self, subject: str, waiting: Waiting) -> None:
        self.subject = subject
        self.waiting = waiting
        self.columns: tuple[str, ...] = ()
        """Names of the values of a row."""
        self.rows: list[list[str | None]] = []
        self.failed = False
        self.error: int | None = None


class ExchangeState:
    """See the comments of its parts."""

    running_in_pipeline = False
    holding = False
    reports_in_doubt = False
    rehearsed_at = float("-inf")
    lineage = None
    status = ord("I")
    """ord("T") in a transaction, as the upstream said last."""

    def __init__(
        self,
        judge: flow.Judge,
        recorder: Recorder,
        settings: Tracker,
        locks: ResultLocks,
        codec: Codec,
        limits: Limits,
    ) -> None:
        self.judge = judge
        self.recorder = recorder
        self.settings = settings
        self.locks = locks
        self.codec = codec
        self.limits = limits
        self.hits = ExchangeHits(recorder)
        self.turn = Turn()
        self.now = 0.0
        self.approvals = False
        self.parked: Parked | None = None
        self.chosen = Chosen()
        self.waiting: Waiting | None = None
        self.queue: deque[Command] = deque()
        self.queued_bytes = 0
        self.current: Command | None = None
        self.running: Running | None = None
        self._recorded: tuple[flow.Verdict, tuple[StatementPart, DecisionPart]] | None = None
        self.errand: Errand | None = None
        """The present command is carried out by the appliance."""
        self.statements: dict[int, Statement] = {}
        self.named: dict[str, Statement] = {}
        """By the names that SQL gave them, as far as it is sure what these stand for."""
        self.last_prepared = 0
        self._words_suspect = False
        self.pooled = False
        """The connection is not the session's own: its end is not this session's to say."""
        self.vouches = True
        """What statements rest on is held against the server, for principals who owe masks."""
        self.tables_held = False
        """It has locked tables by name, and may use no others: they stay as they were found before
        that, and cannot always be looked at from elsewhere."""
        self.repeated = 0
        """How often the present command was carried out anew."""
        self.steady: frozenset[Hashable] = frozenset()
        """What the open transaction has opened, and found as it was judged."""
        self.ending = False
        self.told_fatal = False
        self.locked = False
        """It has locked tables by name: beginning a transaction would let go of them."""
        self.one_shot = False
        """It has said what its next transaction is to be like."""
        self.changing = False
        self.rows = self.bytes_out = self.cells_masked = self.sensitive_unmasked = 0

    @property
    def prepared_full(self) -> bool:
        """No more statements may be prepared."""
        return len(self.statements) + len(self.named) >= self.limits.prepared_statements_max

    @property
    def words_suspect(self) -> bool:
        """What the upstream said of statements so far may quote masked cells (`said_again`)."""
        path = self.hits.path
        return self._words_suspect if path is None else path.words_suspect

    @words_suspect.setter
    def words_suspect(self, suspect: bool) -> None:
        self._words_suspect = suspect
        if self.hits.path is not None:
            self.hits.path.words_suspect = suspect

    # --- for `parking` ----------------------------------------------------------------------------

    def notice(self, message: str, hint: str) -> None:
        """There is no way to tell a client anything amid a command."""

    def shown_parameters(self, bound: Bound, verdict: flow.Verdict) -> tuple[Parameter, ...]:
        if bound.body is None:
            return ()
        hidden = touches_classified(verdict)
        found = self.codec.parameters(bound.body, bound.arity, bound.types)
        return tuple(
            Parameter(kind, None, True)
            if value is None
            else Parameter(kind, None if hidden else value[:SHOWN_CHARS_MAX])
            for kind, value in found[:PARAMETERS_SHOWN_MAX]
        )

    # --- records ----------------------------------------------------------------------------------

    def record(
        self,
        protocol: ProtocolKind,
        text: bytes,
        verdict: flow.Verdict,
        refusal: Refusal | None,
        statement: Statement | None = None,
    ) -> str:
        record_id = self.recorder.reference(self.now)
        if not verdict.memo:
            verdict.memo.append(self._parts_of(text, verdict))
        self.turn.records.append(
            self.recorder.decided(
                record_id,
                self.now,
                protocol,
                verdict.memo[0],
                refusal,
                b"" if statement is None else (statement.name or str(statement.number)).encode(),
                0 if statement is None else statement.parameters,
                granted=verdict.granted,
            )
        )
        return record_id

    def _parts_of(self, text: bytes, verdict: flow.Verdict) -> tuple[StatementPart, DecisionPart]:
        """As for the text before, where that differed in constants only."""
        before = self._recorded
        if (
            before is not None
            and before[0].facts is verdict.facts
            and before[0].decision is verdict.decision
            and not (before[0].rewritten or verdict.rewritten)
        ):
            return compose.of_text(before[1][0], text), before[1][1]
        lineage = self.judge.catalog.lineage
        parts = parts_of(text, verdict, None if lineage is None else lineage.catalog)
        self._recorded = (verdict, parts)
        return parts

    def begin_errand(self, command: Command) -> None:
        """The appliance itself does it, for the client's own sessions."""
        text = command.text.decode("ascii", "replace").strip()
        part = compose.unread_part(text, "", len(command.text))
        rule = RulePart(told.OWN_SESSIONS, Effect.ALLOW.value)
        allowed = DecisionPart(effect=Effect.ALLOW, rules=(rule,))
        record_id = self.recorder.reference(self.now)
        decided = self.recorder.decided(
            record_id, self.now, ProtocolKind.SIMPLE, (part, allowed), None
        )
        self.turn.records.append(decided)
        self.errand = Errand(record_id, self.now)

    def end_errand(self, outcome: Outcome) -> None:
        if self.errand is None:
            raise InvariantBroken("an answer nobody waits for")
        self.turn.records.append(
            self.recorder.errand_finished(*self.errand, now=self.now, outcome=outcome)
        )
        self.errand = None

    def record_unread(self, command: Command, refusal: Refusal) -> str:
        record_id = self.recorder.reference(self.now)
        self.turn.records.append(
            self.recorder.decided_unread(
                record_id,
                self.now,
                ProtocolKind.SIMPLE,
                command.shown,
                command.length,
                refusal,
            )
        )
        return record_id

    def finish(self, execution: Execution, outcome: Outcome) -> None:
        self.turn.records.append(self.recorder.finished(execution, self.now, outcome))

    def choose_row_mode(self, execution: Execution) -> None:
        """Rows that will be masked or counted out come whole; all others flow through in pieces."""
        masked = execution.lock is not None and execution.lock.masker is not None
        limited = execution.verdict.decision.row_limit is not None
        self.codec.whole_rows(self.limits.masked_row_bytes_max if masked or limited else 0)

    def to_client(self, content: Bytes) -> None:
        self.turn.client.append(content if isinstance(content, bytes) else bytes(content))

    def gate(self, running: Running, refusal: Refusal) -> None:
        """Remembers how to refuse the message sent next, should its record not be written."""

        def refuse(_error: bytes) -> bytes:
            running.refusal = refusal
            return self.codec.idle()

        self.turn.gated.append((len(self.turn.upstream), refuse, self.turn.records[-1]))
