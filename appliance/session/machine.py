"""The PostgreSQL session between login and end: client bytes in, upstream bytes in, a `Turn` out. Sans-IO.

Driven by `dataplane/conductor`, one call per chunk. It keeps three things true:
- every message that earns a reply stands in `expected`, so each reply has exactly one meaning;
- a statement is forwarded only from `_forward_*`, after its record was put in the turn (record before forward);
- rows are forwarded only under a `ResultLock` that was made for that very portal or query (plan before row).

What cannot be decided at once (analysis elsewhere, a catalog to load, settings to probe) makes the machine *wait*: the
client's further messages stay in `_runs`, bounded because the conductor stops reading a client that waits.
"""

from collections import deque
from collections.abc import Callable

from _speedups.pgframe import GATHER, GATHER_OR_STREAM, HEAD, STREAM, TAIL, WHOLE, FrameSplitter

from appliance.audit.record import Outcome, ProtocolKind
from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.model.facts import Action, Facts
from appliance.model.limits import (
    CONTROL_FRAME_BYTES_MAX,
    FRAME_BYTES_MAX,
    INLINE_ANALYSIS_BYTES_MAX,
    MESSAGE_TEXT_BYTES_MAX,
    Limits,
)
from appliance.model.refusal import Refusal, RefusalCode
from appliance.policy.snapshot import Snapshot
from appliance.session import flow
from appliance.session.announce import Announcement
from appliance.session.effects import (
    AnalyseText,
    ArmTimeout,
    Bytes,
    CancelStatement,
    EndSession,
    NoteSchemaChange,
    RefreshCatalog,
    Turn,
)
from appliance.session.inflight import Execution, Portal, Prepared, ResultLock
from appliance.session.records import Recorder, parts_of
from appliance.session.results import ResultLocks
from appliance.session.settings import PROBE, PROBE_ANSWERS, SettingsTracker
from appliance.sql.lineage import CatalogLineage
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, ExpectedReplies, Kind
from appliance.wire.postgres.prepared import Names

Continuation = Callable[[flow.Verdict], None]
Run = tuple[int, int, int, Bytes]

BIND_NAMES_BYTES_MAX = 4096
HEADER = 5


class Waiting:
    """A statement whose verdict needs something that is not there yet."""

    __slots__ = ("refreshed", "text", "then")

    def __init__(self, text: bytes, then: Continuation) -> None:
        self.text = text
        self.then = then
        self.refreshed = False


class SessionMachine:
    """One session. Every public method returns the Turn it caused; times are unix seconds, given."""

    def __init__(
        self,
        judge: flow.Judge,
        recorder: Recorder,
        settings: SettingsTracker,
        announcement: Announcement,
        locks: ResultLocks,
        limits: Limits,
    ) -> None:
        self._judge = judge
        self._recorder = recorder
        self._settings = settings
        self._announcement = announcement
        self._locks = locks
        self._limits = limits
        self._client_frames = client_splitter(limits)
        self._upstream_frames = upstream_splitter()
        self._expected = ExpectedReplies()
        self._statements: Names[Prepared] = Names()
        self._portals: Names[Portal] = Names()
        self._runs: deque[Run] = deque()
        self._waiting: Waiting | None = None
        self._probe: list[str] | None = None
        self._probe_after: Waiting | None = None
        self._turn = Turn()
        self._now = 0.0
        self._status = ord("I")
        self._copying_in = False
        self._copy_ended = False
        self._discarding = False
        self._bind_prefix: bytearray | None = None
        self._rows_masked = False
        self._ending = False
        self.told_fatal = False
        """The client has read the upstream's own last words."""
        self.rows = 0
        self.bytes_out = 0
        self.cells_masked = 0
        self.sensitive_unmasked = 0

    # --- what the conductor asks ------------------------------------------------------------------

    @property
    def waiting(self) -> bool:
        """The client is not to be read."""
        return self._waiting is not None or len(self._expected) >= self._limits.inflight_max

    @property
    def idle(self) -> bool:
        """Nothing is under way and no transaction is open: a drain may end the session here."""
        return not len(self._expected) and self._waiting is None and self._status == ord("I")

    @property
    def busy(self) -> bool:
        """The upstream may be working for us: worth a cancel when the client is gone."""
        return bool(len(self._expected))

    @property
    def analysis_lineage(self) -> CatalogLineage | None:
        """The catalog that a text analysed elsewhere is read against."""
        return self._judge.catalog.lineage if self._judge.needs_catalog else None

    @property
    def statements(self) -> int:
        return self._recorder.statements

    def take_policy(self, snapshot: Snapshot) -> None:
        self._judge.snapshot = snapshot

    # --- input ------------------------------------------------------------------------------------

    def client_received(self, chunk: Bytes, now: float) -> Turn:
        self._begin(now)
        frames = self._client_frames
        try:
            frames.feed(chunk)
            while (run := frames.next_run()) is not None:
                if self._waiting is not None or self._runs:
                    self._runs.append((run[0], run[1], run[2], bytes(run[3])))
                else:
                    self._client_run(run)
        except ValueError as error:
            raise ProtocolViolation("client", str(error)) from None
        return self._end()

    def upstream_received(self, chunk: Bytes, now: float) -> Turn:
        self._begin(now)
        frames = self._upstream_frames
        try:
            frames.feed(chunk)
            while (run := frames.next_run()) is not None:
                self._upstream_run(run)
        except ValueError as error:
            raise ProtocolViolation("upstream", str(error)) from None
        self._drain_runs()
        return self._end()

    def analysed(self, facts: Facts, now: float) -> Turn:
        """Answer to AnalyseText."""
        self._begin(now)
        waiting = self._take_waiting()
        verdict = self._judge.judge(waiting.text, facts, self._settings.current, now)
        self._settle(waiting, verdict)
        self._drain_runs()
        return self._end()

    def catalog_ready(self, now: float) -> Turn:
        """Answer to RefreshCatalog, whether it succeeded or not (the catalog port says)."""
        self._begin(now)
        waiting = self._take_waiting()
        self._examine(waiting)
        self._drain_runs()
        return self._end()

    def refuse_turn(self, turn: Turn) -> None:
        """The records of `turn` could not be appended: each statement in it is replaced by a refused one."""
        error = refusals.error_response(self.audit_refusal())
        for index, refuse, _record in turn.gated:
            turn.upstream[index] = refuse(error)

    @staticmethod
    def audit_refusal() -> Refusal:
        return Refusal(
            RefusalCode.AUDIT_UNAVAILABLE,
            "the audit trail cannot be written, and nothing runs unrecorded",
            "tell the administrators of the appliance; statements pass again as soon as it can be written",
            rule="builtin:record-before-forward",
            sqlstate="58030",
        )

    def timed_out(self, execution: Execution, now: float) -> Turn:
        """A statement's time (an obligation of policy) is over: cancelled, unless it is done."""
        self._begin(now)
        if any(expected.subject is execution for expected in self._expected):
            execution.timed_out = True
            self._turn.requests.append(CancelStatement())
        return self._end()

    def disconnected(self, now: float) -> Turn:
        """A peer is gone: what was under way is finished in the records."""
        self._begin(now)
        for expected in self._expected:
            if isinstance(expected.subject, Execution) and not expected.error:
                self._finish(expected.subject, Outcome.DISCONNECTED)
        return self._end()

    def _begin(self, now: float) -> None:
        self._now = now
        self._turn = Turn()

    def _end(self) -> Turn:
        turn, self._turn = self._turn, Turn()
        return turn

    def _drain_runs(self) -> None:
        while self._runs and self._waiting is None:
            self._client_run(self._runs.popleft())

    # --- client messages --------------------------------------------------------------------------

    def _client_run(self, run: Run) -> None:
        kind, part, _count, content = run
        if self._ending:
            return
        if part != WHOLE:
            self._client_piece(kind, part, content)
            return
        if self._expected.skipping and kind not in (m.SYNC, m.TERMINATE):
            return  # the upstream would skip it, too ("Extended Query": discard until Sync)
        if self._copying_in and kind not in _ALLOWED_WHILE_COPYING:
            raise ProtocolViolation("client", "a message that is not part of COPY during COPY")
        _CLIENT[kind](self, content)

    def _client_piece(self, kind: int, part: int, content: Bytes) -> None:
        """Part of a frame too long to be gathered."""
        if kind == m.COPY_DATA:
            if not self._expected.skipping:
                self._turn.upstream.append(_kept(content))
            return
        if kind == m.BIND:
            self._bind_piece(part, content)
            return
        if part == HEAD:  # a Query or Parse beyond the limit: nothing of it is kept
            self._discarding = True
            if not self._expected.skipping:
                length = int.from_bytes(bytes(content[1:HEADER]), "big") - 4
                self._refuse_unread(kind, length)
        elif part == TAIL:
            self._discarding = False

    def _refuse_unread(self, kind: int, length: int) -> None:
        refusal = flow.too_long(length, self._limits.statement_bytes_max)
        protocol = ProtocolKind.SIMPLE if kind == m.QUERY else ProtocolKind.PARSE
        reference = self._record_unread("(longer than is analysed)", length, protocol, refusal)
        error = _error(refusal, reference)
        if kind == m.QUERY:
            self._send(refusals.rejected_query(), Expected(Kind.QUERY, error=error))
        else:
            self._send(refusals.rejected_parse(), Expected(Kind.PARSE, error=error))

    def _query(self, content: Bytes) -> None:
        text = m.parse_query(content[HEADER:])
        self._consider(text, lambda verdict: self._query_judged(text, verdict))

    def _query_judged(self, text: bytes, verdict: flow.Verdict) -> None:
        refusal = self._refusal(verdict)
        record_id = self._record(ProtocolKind.SIMPLE, text, verdict, refusal)
        if refusal is not None:
            error = _error(refusal, record_id)
            self._send(refusals.rejected_query(), Expected(Kind.QUERY, error=error))
            return
        execution = Execution(record_id, verdict, self._now)
        expected = Expected(Kind.QUERY, execution)
        self._before_forward(execution)
        self._gate(expected, refusals.rejected_query)
        forwarded = self._announcement.rewritten(verdict.facts) or text
        self._send(m.query(forwarded), expected)

    def _parse(self, content: Bytes) -> None:
        message = m.parse_parse(content[HEADER:])
        self._check_name(message.name)
        if len(self._statements) >= self._limits.prepared_statements_max:
            raise ProtocolViolation("client", "too many prepared statements")
        self._consider(message.text, lambda verdict: self._parse_judged(message, verdict))

    def _parse_judged(self, message: m.ParseMessage, verdict: flow.Verdict) -> None:
        refusal = self._refusal(verdict)
        record_id = self._record(
            ProtocolKind.PARSE,
            message.text,
            verdict,
            refusal,
            message.name,
            0,
            message.parameter_types,
        )
        if refusal is not None:
            error = _error(refusal, record_id)
            self._send(refusals.rejected_parse(), Expected(Kind.PARSE, error=error))
            return
        prepared = Prepared(message.name, message.text, message.parameter_types, verdict)
        expected = Expected(Kind.PARSE, prepared, message.name)
        self._statements.begin(message.name, prepared)
        self._gate(expected, refusals.rejected_parse)
        text = self._announcement.rewritten(verdict.facts) or message.text
        self._send(m.parse(message.name, text, message.parameter_types), expected)

    def _bind(self, content: Bytes) -> None:
        message = m.parse_bind(content[HEADER:])
        self._bind_named(message.portal, message.statement, message.parameters, _kept(content))

    def _bind_piece(self, part: int, content: Bytes) -> None:
        """A Bind too long to gather: its names are read, the rest flows."""
        if part == HEAD:
            if self._expected.skipping:
                self._discarding = True
            else:
                self._bind_prefix = bytearray()
        if self._discarding:
            self._discarding = part != TAIL
            return
        if self._bind_prefix is None:
            self._turn.upstream.append(_kept(content))
            return
        prefix = self._bind_prefix
        prefix += content
        portal, found_portal, rest = bytes(
            prefix[HEADER : HEADER + BIND_NAMES_BYTES_MAX]
        ).partition(b"\0")
        statement, found_statement, _ = rest.partition(b"\0")
        if not (found_portal and found_statement):
            if len(prefix) >= BIND_NAMES_BYTES_MAX or part == TAIL:
                raise ProtocolViolation("client", "names in a Bind message are too long")
            return
        self._bind_prefix = None
        if not self._bind_named(portal, statement, -1, bytes(prefix)):
            self._discarding = part != TAIL

    def _bind_named(self, portal: bytes, statement: bytes, parameters: int, content: Bytes) -> bool:
        self._check_name(portal)
        prepared = self._statements.lookup(statement)
        if prepared is None:
            error = _native("26000", f'prepared statement "{_shown(statement)}" does not exist')
            self._send(refusals.rejected_bind(), Expected(Kind.BIND, error=error))
            return False
        if len(self._portals) >= self._limits.prepared_statements_max:
            raise ProtocolViolation("client", "too many portals")
        bound = Portal(portal, prepared, max(parameters, 0))
        self._portals.begin(portal, bound)
        self._send(content, Expected(Kind.BIND, bound, portal))
        return True

    def _describe(self, content: Bytes) -> None:
        what, name = m.parse_describe_or_close(content[HEADER:])
        self._check_name(name)
        if what == m.STATEMENT:
            prepared = self._statements.lookup(name)
            self._send(_kept(content), Expected(Kind.DESCRIBE_STATEMENT, prepared, name))
            return
        portal = self._portals.lookup(name)
        if portal is not None:
            portal.described = True
        self._send(_kept(content), Expected(Kind.DESCRIBE_PORTAL, portal, name))

    def _execute(self, content: Bytes) -> None:
        name, _limit = m.parse_execute(content[HEADER:])
        portal = self._portals.lookup(name)
        if portal is None:
            error = _native("34000", f'portal "{_shown(name)}" does not exist')
            self._send(refusals.rejected_execute(), Expected(Kind.EXECUTE, error=error))
            return
        message = _kept(content)
        verdict = portal.prepared.verdict
        if verdict.decision.cacheable and verdict.epoch == self._epoch():
            self._execute_judged(portal, message, verdict)
        else:
            self._consider(
                portal.prepared.text, lambda again: self._execute_judged(portal, message, again)
            )

    def _execute_judged(self, portal: Portal, message: Bytes, verdict: flow.Verdict) -> None:
        prepared = portal.prepared
        refusal = self._refusal(verdict) or self._changed_under(prepared.verdict, verdict)
        record_id = self._record(
            ProtocolKind.EXECUTE,
            prepared.text,
            verdict,
            refusal,
            prepared.name,
            portal.parameters,
            prepared.parameter_types,
        )
        if refusal is not None:
            error = _error(refusal, record_id)
            self._send(refusals.rejected_execute(), Expected(Kind.EXECUTE, error=error))
            return
        prepared.verdict = verdict
        if (verdict.restricted or verdict.sensitive) and not portal.described:
            portal.described = True  # clients that skip Describe still get a plan before their rows
            self._send(
                m.describe(m.PORTAL, portal.name),
                Expected(Kind.DESCRIBE_PORTAL, portal, portal.name, injected=True),
            )
        execution = Execution(record_id, verdict, self._now, portal)
        expected = Expected(Kind.EXECUTE, execution)
        self._before_forward(execution)
        self._gate(expected, refusals.rejected_execute)
        self._send(message, expected)

    def _changed_under(self, then: flow.Verdict, now: flow.Verdict) -> Refusal | None:
        """A statement whose meaning changed since it was parsed is not what was decided then: parse it again."""
        if not now.restricted or then.plans == now.plans:
            return None
        return Refusal(
            RefusalCode.STALE,
            "what this prepared statement rests on changed since it was prepared",
            "prepare it again",
            rule="builtin:prepared-meaning",
            sqlstate="26000",
        )

    def _close(self, content: Bytes) -> None:
        what, name = m.parse_describe_or_close(content[HEADER:])
        self._check_name(name)
        if what == m.STATEMENT:
            self._statements.begin(name, None)
        else:
            self._portals.begin(name, None)
        self._send(_kept(content), Expected(Kind.CLOSE, what, name))

    def _sync(self, content: Bytes) -> None:
        if self._copying_in and not self._copy_ended:
            return  # ignored by the upstream while it copies in ("COPY Operations"): not sent at all
        self._expected.skipping = False
        self._send(_kept(content), Expected(Kind.SYNC))

    def _flush(self, content: Bytes) -> None:
        if not (self._copying_in and not self._copy_ended):
            self._turn.upstream.append(_kept(content))

    def _copy_data(self, content: Bytes) -> None:
        self._turn.upstream.append(_kept(content))

    def _copy_end(self, content: Bytes) -> None:
        self._copy_ended = True
        self._turn.upstream.append(_kept(content))

    def _function_call(self, _content: Bytes) -> None:
        refusal = Refusal(
            RefusalCode.FUNCTION_CALL_PROTOCOL,
            "function calls by the fastpath message are not let through",
            "call the function in a SELECT statement",
            rule="builtin:function-call-protocol",
            sqlstate="0A000",
        )
        reference = self._record_unread("(FunctionCall)", 0, ProtocolKind.FUNCTION_CALL, refusal)
        self._send(
            refusals.rejected_query(), Expected(Kind.QUERY, error=_error(refusal, reference))
        )

    def _terminate(self, content: Bytes) -> None:
        self._ending = True
        self._turn.upstream.append(_kept(content))
        self._turn.requests.append(EndSession("client_closed"))

    def _password(self, _content: Bytes) -> None:
        raise ProtocolViolation("client", "a password message after login")

    def _check_name(self, name: bytes) -> None:
        if name.startswith(refusals.REFUSED_NAME):
            raise ProtocolViolation("client", "a reserved name")

    def _refusal(self, verdict: flow.Verdict) -> Refusal | None:
        if verdict.refusal is not None:
            return verdict.refusal
        if verdict.restricted and (refusal := self._locks.named.require(verdict)) is not None:
            return refusal
        return self._announcement.refusal_for(verdict.facts)

    # --- deciding ---------------------------------------------------------------------------------

    def _consider(self, text: bytes, then: Continuation) -> None:
        """Gets the verdict on `text`, now or later, and goes on with `then`."""
        self._examine(Waiting(text, then))

    def _examine(self, waiting: Waiting) -> None:
        if self._judge.needs_catalog:
            if self._judge.catalog.lineage is None and not waiting.refreshed:
                waiting.refreshed = True
                self._wait(waiting, RefreshCatalog())
                return
            if not self._settings.certain and self._may_probe():
                self._send_probe(waiting)
                return
        settings = self._settings.current
        verdict = self._judge.recall(waiting.text, settings, self._now)
        if verdict is None:
            if not self._settings.lexes_as_standard() and not _reads_the_same(
                waiting.text, self._settings.parameters
            ):
                facts = flow.unreadable(waiting.text, settings)
            elif len(waiting.text) > INLINE_ANALYSIS_BYTES_MAX:
                self._wait(waiting, AnalyseText(waiting.text, settings))
                return
            else:
                facts = self._judge.analyse_inline(waiting.text, settings)
            verdict = self._judge.judge(waiting.text, facts, settings, self._now)
        self._settle(waiting, verdict)

    def _settle(self, waiting: Waiting, verdict: flow.Verdict) -> None:
        """Goes on with a verdict; one that failed on an unknown name is tried once more with a fresh catalog."""
        if (
            verdict.refusal is not None
            and verdict.refusal.code is RefusalCode.UNRESOLVED
            and not waiting.refreshed
        ):
            waiting.refreshed = True
            self._wait(waiting, RefreshCatalog())
            return
        waiting.then(verdict)

    def _wait(self, waiting: Waiting, request: AnalyseText | RefreshCatalog) -> None:
        if self._waiting is not None:
            raise InvariantBroken("two statements wait at once")
        self._waiting = waiting
        self._turn.requests.append(request)

    def _take_waiting(self) -> Waiting:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            raise InvariantBroken("an answer nobody waits for")
        return waiting

    def _may_probe(self) -> bool:
        return not len(self._expected) and not self._expected.skipping and self._status != ord("E")

    def _send_probe(self, waiting: Waiting) -> None:
        self._waiting = self._probe_after = waiting
        self._probe = []
        self._send(m.query(PROBE), Expected(Kind.QUERY, injected=True))

    def _probe_done(self) -> None:
        values, self._probe = self._probe, None
        waiting, self._probe_after = self._probe_after, None
        if values is None or waiting is None or len(values) != PROBE_ANSWERS:
            raise ProtocolViolation("upstream", "settings could not be read")
        self._settings.probed(values)
        self._waiting = None
        self._examine(waiting)

    def _epoch(self) -> tuple[str, str, str]:
        if self._judge.needs_catalog and (
            self._judge.catalog.lineage is None or not self._settings.certain
        ):
            return ("", "", "")
        return self._judge.epoch(self._settings.current)

    def _record(
        self,
        protocol: ProtocolKind,
        text: bytes,
        verdict: flow.Verdict,
        refusal: Refusal | None,
        prepared: bytes = b"",
        parameters: int = 0,
        parameter_types: tuple[int, ...] = (),
    ) -> str:
        record_id = self._recorder.reference(self._now)
        lineage = self._judge.catalog.lineage
        if not verdict.memo:
            verdict.memo.append(parts_of(text, verdict, None if lineage is None else lineage.catalog))
        parts = verdict.memo[0]
        self._turn.records.append(
            self._recorder.decided(
                record_id,
                self._now,
                protocol,
                parts,
                refusal,
                prepared,
                parameters,
                parameter_types,
            )
        )
        return record_id

    def _record_unread(
        self, shown: str, length: int, protocol: ProtocolKind, refusal: Refusal
    ) -> str:
        record_id = self._recorder.reference(self._now)
        self._turn.records.append(
            self._recorder.decided_unread(record_id, self._now, protocol, shown, length, refusal)
        )
        return record_id

    # --- forwarding -------------------------------------------------------------------------------

    def _before_forward(self, execution: Execution) -> None:
        """What running this statement changes in what we know."""
        verdict = execution.verdict
        if flow.unsettles(verdict.facts):
            self._settings.unsettle(True)
        elif self._settings.touched_in_transaction and Action.TRANSACTION in verdict.facts.actions:
            self._settings.unsettle(True)  # a rollback takes settings back
        timeout_ms = verdict.decision.statement_timeout_ms
        if timeout_ms is not None:
            self._turn.requests.append(ArmTimeout(execution, timeout_ms))
        temporary = flow.temporary_names(verdict.facts)
        if temporary:
            self._settings.add_temporary(temporary)

    def _gate(self, expected: Expected, rejected: Callable[[], bytes]) -> None:
        """Remembers how to refuse the message sent next, should the turn's records not be written."""

        def refuse(error: bytes) -> bytes:
            expected.error = error
            return rejected()

        record = self._turn.records[-1]
        self._turn.gated.append((len(self._turn.upstream), refuse, record))

    def _send(self, message: Bytes, expected: Expected) -> None:
        self._expected.push(expected)
        self._turn.upstream.append(message)

    # --- upstream messages ------------------------------------------------------------------------

    def _upstream_run(self, run: Run) -> None:
        kind, part, count, content = run
        if kind == m.DATA_ROW:
            self._rows(part, count, content)
        elif kind == m.COPY_DATA:
            self._copy_out(count, content)
        elif part != WHOLE:
            raise ProtocolViolation("upstream", "a message in pieces that may not be")
        else:
            _UPSTREAM[kind](self, content)

    def _to_client(self, content: Bytes) -> None:
        self._turn.client.append(_kept(content))

    def _rows(self, part: int, count: int, content: Bytes) -> None:
        head = self._expected.head
        if head is None or head.kind not in (Kind.EXECUTE, Kind.QUERY):
            raise ProtocolViolation("upstream", "rows that are not due")
        if head.injected:
            self._probe_row(content)
            return
        execution = head.subject
        if not isinstance(execution, Execution):
            raise ProtocolViolation("upstream", "rows for a refused statement")
        lock = execution.lock if execution.portal is None else execution.portal.lock
        limit = execution.verdict.decision.row_limit
        if limit is not None:
            if part != WHOLE:
                raise InvariantBroken("a limited row in pieces")
            content, count = first_rows(content, count, limit - execution.result_rows)
            execution.result_rows += count
            if not count:
                return
        execution.rows += count
        self.rows += count
        if execution.verdict.restricted:
            if lock is None or not lock.rows_expected:
                raise InvariantBroken("a row before its plan")
            if lock.masker is not None:
                if part != WHOLE:
                    raise InvariantBroken("a masked row in pieces")
                before = lock.masker.cells_masked
                content = lock.masker.mask(content, count)
                masked = lock.masker.cells_masked - before
                execution.cells_masked += masked
                self.cells_masked += masked
        if lock is not None and lock.sensitive_columns:
            execution.sensitive_unmasked += count * lock.sensitive_columns
            self.sensitive_unmasked += count * lock.sensitive_columns
        execution.bytes_out += len(content)
        self.bytes_out += len(content)
        self._to_client(content)

    def _probe_row(self, content: Bytes) -> None:
        reader = m.Reader(content[HEADER:], "upstream")
        if self._probe is None or reader.u16() != 1:
            raise ProtocolViolation("upstream", "settings could not be read")
        self._probe.append(reader.take(reader.i32()).decode("utf-8", "replace"))
        reader.end()

    def _row_description(self, content: Bytes) -> None:
        head = self._expected.head
        if head is None:
            raise ProtocolViolation("upstream", "a RowDescription that is not due")
        if head.kind is Kind.QUERY:
            if head.injected:
                return
            if isinstance(head.subject, Execution):
                head.subject.lock = self._lock_query(head.subject, content)
                self._choose_row_mode()
        elif head.kind is Kind.DESCRIBE_PORTAL:
            self._expected.pop(Kind.DESCRIBE_PORTAL)
            self._lock_portal(head.subject, content)
            self._choose_row_mode()
        else:
            self._expected.pop(Kind.DESCRIBE_STATEMENT)
        if not head.injected:
            self._to_client(content)

    def _lock_query(self, execution: Execution, content: Bytes) -> ResultLock | None:
        verdict = execution.verdict
        if not verdict.restricted and not verdict.sensitive:
            return None
        columns = m.parse_row_description(content[HEADER:])
        return self._locks.lock(verdict, execution.statement_index, columns)

    def _lock_portal(self, portal: Portal | None, content: Bytes) -> None:
        if portal is None:
            return
        verdict = portal.prepared.verdict
        if verdict.restricted or verdict.sensitive:
            columns = m.parse_row_description(content[HEADER:])
            portal.lock = self._locks.lock(verdict, 0, columns)

    def _no_data(self, content: Bytes) -> None:
        head = self._expected.pop(Kind.DESCRIBE_STATEMENT, Kind.DESCRIBE_PORTAL)
        if isinstance(head.subject, Portal):
            head.subject.lock = ResultLock(None, rows_expected=False)
        if not head.injected:
            self._to_client(content)

    def _parameter_description(self, content: Bytes) -> None:
        head = self._expected.head
        if head is None or head.kind is not Kind.DESCRIBE_STATEMENT:
            raise ProtocolViolation("upstream", "a ParameterDescription that is not due")
        self._to_client(content)

    def _parse_complete(self, content: Bytes) -> None:
        done = self._expected.pop(Kind.PARSE)
        if done.error:
            raise ProtocolViolation("upstream", "a refused statement was accepted")
        self._statements.confirm(done.name)
        self._to_client(content)

    def _bind_complete(self, content: Bytes) -> None:
        done = self._expected.pop(Kind.BIND)
        if done.error:
            raise ProtocolViolation("upstream", "a refused statement was accepted")
        self._portals.confirm(done.name)
        self._choose_row_mode()
        self._to_client(content)

    def _close_complete(self, content: Bytes) -> None:
        done = self._expected.pop(Kind.CLOSE)
        (self._statements if done.subject == m.STATEMENT else self._portals).confirm(done.name)
        self._to_client(content)

    def _command_complete(self, content: Bytes) -> None:
        head = self._expected.head
        if head is None or head.kind not in (Kind.EXECUTE, Kind.QUERY):
            raise ProtocolViolation("upstream", "a CommandComplete that is not due")
        self._end_copy()
        if head.injected:
            return
        tag = m.parse_command_complete(content[HEADER:])
        execution = head.subject
        if isinstance(execution, Execution):
            execution.tag = _shown(tag[:64])
            execution.statement_index += 1
            execution.lock = None
            self._completed(execution, tag)
            limit = execution.verdict.decision.row_limit
            if limit is not None and execution.result_rows >= limit and tag.startswith(b"SELECT"):
                content = self._limited(execution, content)
            execution.result_rows = 0
        if head.kind is Kind.EXECUTE:
            self._expected.pop(Kind.EXECUTE)
            if isinstance(execution, Execution):
                self._finish(execution, Outcome.COMPLETED)
            self._choose_row_mode()
        self._to_client(content)

    def _limited(self, execution: Execution, content: Bytes) -> Bytes:
        """A result that reached its row limit says so, and its tag tells what the client got."""
        rows = execution.result_rows
        self._to_client(
            refusals.notice(
                "01000", f"the result ends after {rows} rows: policy limits rows here", ""
            )
        )
        return m.frame(m.COMMAND_COMPLETE, m.cstring(f"SELECT {rows}"))

    def _completed(self, execution: Execution, tag: bytes) -> None:
        if execution.verdict.restricted:
            self._locks.named.completed(execution.verdict, execution.statement_index - 1)
        if tag in (b"DISCARD ALL", b"DEALLOCATE ALL"):
            self._statements.forget_confirmed()
        if flow.reshapes(execution.verdict.facts):
            self._turn.requests.append(NoteSchemaChange())

    def _empty_query(self, content: Bytes) -> None:
        head = self._expected.head
        if head is None or head.kind not in (Kind.EXECUTE, Kind.QUERY):
            raise ProtocolViolation("upstream", "an EmptyQueryResponse that is not due")
        if head.kind is Kind.EXECUTE:
            self._expected.pop(Kind.EXECUTE)
            if isinstance(head.subject, Execution):
                self._finish(head.subject, Outcome.COMPLETED)
            self._choose_row_mode()
        self._to_client(content)

    def _portal_suspended(self, content: Bytes) -> None:
        head = self._expected.pop(Kind.EXECUTE)
        if isinstance(head.subject, Execution):
            self._finish(head.subject, Outcome.COMPLETED)
        self._choose_row_mode()
        self._to_client(content)

    def _copy_in(self, content: Bytes) -> None:
        head = self._expected.head
        if head is None or head.kind not in (Kind.EXECUTE, Kind.QUERY) or head.injected:
            raise ProtocolViolation("upstream", "a CopyInResponse that is not due")
        self._expected.drop_syncs_behind_head()
        if len(self._expected) > 1:
            raise ProtocolViolation("client", "statements pipelined behind COPY FROM STDIN")
        self._copying_in, self._copy_ended = True, False
        self._to_client(content)

    def _copy_out_begins(self, content: Bytes) -> None:
        head = self._expected.head
        if head is None or not isinstance(head.subject, Execution):
            raise ProtocolViolation("upstream", "a CopyOutResponse that is not due")
        self._to_client(content)

    def _copy_out(self, count: int, content: Bytes) -> None:
        head = self._expected.head
        if head is None or not isinstance(head.subject, Execution):
            raise ProtocolViolation("upstream", "copied rows that are not due")
        execution = head.subject
        if execution.verdict.restricted and execution.verdict.decision.masks:
            raise InvariantBroken("COPY of masked columns was let through")
        execution.rows += count
        execution.bytes_out += len(content)
        self.rows += count
        self.bytes_out += len(content)
        self._to_client(content)

    def _copy_done(self, content: Bytes) -> None:
        head = self._expected.head
        if head is None or not isinstance(head.subject, Execution):
            raise ProtocolViolation("upstream", "a CopyDone that is not due")
        self._to_client(content)

    def _end_copy(self) -> None:
        self._copying_in = self._copy_ended = False

    def _error(self, content: Bytes) -> None:
        self._end_copy()
        head = self._expected.head
        if head is None or head.kind is Kind.SYNC:
            self._error_out_of_turn(content)
            return
        fields = m.parse_error_fields(content[HEADER:])
        if head.injected and head.kind is Kind.QUERY:
            raise ProtocolViolation("upstream", "settings could not be read")
        if isinstance(head.subject, Execution):
            head.subject.sqlstate = fields.get("C", "XX000")
        if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
            self.told_fatal = True
            self._to_client(self._worded(head, content))
            return
        if head.error:
            self._to_client(head.error)
        else:
            self._to_client(self._worded(head, content))
        if head.kind is Kind.QUERY:
            head.failed = True
            return
        for skipped in self._expected.skip_to_sync():
            self._abandon(skipped)
        self._choose_row_mode()

    def _worded(self, head: Expected, content: Bytes) -> Bytes:
        """The server's error as this client may read it."""
        if isinstance(head.subject, Execution) and head.subject.timed_out:
            return refusals.timed_out(head.subject.verdict.decision.statement_timeout_ms or 0)
        verdict = _verdict_of(head)
        if verdict is not None and verdict.withhold:
            return refusals.withhold_values(content[HEADER:], m.ERROR_RESPONSE)
        return content

    def _error_out_of_turn(self, content: Bytes) -> None:
        """FATAL (the server goes away), or an error raised at commit time, at Sync."""
        fields = m.parse_error_fields(content[HEADER:])
        self.told_fatal = fields.get("V", fields.get("S")) in ("FATAL", "PANIC")
        if self._judge.entitlements.owes:
            self._to_client(refusals.withhold_values(content[HEADER:], m.ERROR_RESPONSE))
        else:
            self._to_client(content)

    def _abandon(self, skipped: Expected) -> None:
        if isinstance(skipped.subject, Prepared) and skipped.kind is Kind.PARSE:
            self._statements.abandon(skipped.name)
        elif isinstance(skipped.subject, Portal) and skipped.kind is Kind.BIND:
            self._portals.abandon(skipped.name)
        elif skipped.kind is Kind.CLOSE:
            (self._statements if skipped.subject == m.STATEMENT else self._portals).abandon(
                skipped.name
            )
        elif isinstance(skipped.subject, Execution) and not skipped.error:
            self._finish(skipped.subject, _failure(skipped.subject))

    def _notice(self, content: Bytes) -> None:
        head = self._expected.head
        verdict = None if head is None else _verdict_of(head)
        if verdict is not None and verdict.withhold:
            self._to_client(refusals.withhold_values(content[HEADER:], m.NOTICE_RESPONSE))
        else:
            self._to_client(content)

    def _notification(self, content: Bytes) -> None:
        self._to_client(content)

    def _parameter_status(self, content: Bytes) -> None:
        name, value = m.parse_parameter_status(content[HEADER:])
        self._settings.reported(name.decode(), value.decode("utf-8", "replace"))
        shown = self._announcement.shown(name, value)
        self._to_client(content if shown is None else m.parameter_status(name.decode(), shown))

    def _ready(self, content: Bytes) -> None:
        done = self._expected.pop(Kind.SYNC, Kind.QUERY)
        self._status = m.parse_ready_for_query(content[HEADER:])
        self._end_copy()
        if self._status == ord("I"):
            self._portals.forget_confirmed()
            if self._settings.touched_in_transaction:
                self._settings.unsettle(False)
                self._settings.touched_in_transaction = False
        self._choose_row_mode()
        if done.injected:
            self._probe_done()
            return
        if isinstance(done.subject, Execution) and not done.error:
            self._finish(done.subject, _failure(done.subject) if done.failed else Outcome.COMPLETED)
        self._to_client(content)

    def _finish(self, execution: Execution, outcome: Outcome) -> None:
        self._turn.records.append(self._recorder.finished(execution, self._now, outcome))

    def _choose_row_mode(self) -> None:
        """Rows that will be masked come whole; all others flow through in pieces."""
        head = self._expected.head
        lock = None
        if head is not None and isinstance(head.subject, Execution):
            execution = head.subject
            lock = execution.lock if execution.portal is None else execution.portal.lock
        masked = lock is not None and lock.masker is not None
        if head is not None and isinstance(head.subject, Execution):
            masked = masked or head.subject.verdict.decision.row_limit is not None
        if masked != self._rows_masked:
            self._rows_masked = masked
            if masked:
                self._upstream_frames.rule(
                    m.DATA_ROW, GATHER, self._limits.masked_row_bytes_max, batch=True
                )
            else:
                self._upstream_frames.rule(m.DATA_ROW, STREAM, FRAME_BYTES_MAX, batch=True)


def first_rows(content: Bytes, count: int, left: int) -> tuple[Bytes, int]:
    """The first `left` of `count` whole DataRow frames."""
    if count <= left:
        return content, count
    end = 0
    for _ in range(max(left, 0)):
        end += 1 + int.from_bytes(bytes(content[end + 1 : end + HEADER]), "big")
    return content[:end], max(left, 0)


def client_splitter(limits: Limits) -> FrameSplitter:
    """Message types a client may send after login, and how long each may be."""
    frames = FrameSplitter("client")
    small = 64 * 1024
    statement = limits.statement_bytes_max
    for kind, mode, ceiling in (
        (m.QUERY, GATHER_OR_STREAM, statement + 5),
        (m.PARSE, GATHER_OR_STREAM, statement + small),
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


def upstream_splitter() -> FrameSplitter:
    """Message types an upstream may send after login. CopyBothResponse (replication) is not among them."""
    frames = FrameSplitter("upstream")
    for kind in _UPSTREAM:
        frames.rule(kind, GATHER, CONTROL_FRAME_BYTES_MAX)
    for kind in (m.ERROR_RESPONSE, m.NOTICE_RESPONSE):
        frames.rule(kind, GATHER, MESSAGE_TEXT_BYTES_MAX)
    frames.rule(m.DATA_ROW, STREAM, FRAME_BYTES_MAX, batch=True)
    frames.rule(m.COPY_DATA, STREAM, FRAME_BYTES_MAX, batch=True)
    return frames


def _kept(content: Bytes) -> bytes:
    """A run is a view into a shared buffer until the next chunk: what is sent must be our own."""
    return content if isinstance(content, bytes) else bytes(content)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _native(sqlstate: str, message: str) -> bytes:
    return m.error_fields(
        m.ERROR_RESPONSE, {"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": message}
    )


def _error(refusal: Refusal, reference: str) -> bytes:
    return refusals.error_response(
        Refusal(
            refusal.code,
            refusal.message,
            refusal.remedy,
            refusal.rule,
            reference,
            refusal.sqlstate,
            refusal.position,
        )
    )


def _failure(execution: Execution) -> Outcome:
    return Outcome.CANCELLED if execution.sqlstate == "57014" else Outcome.FAILED


def _verdict_of(expected: Expected) -> flow.Verdict | None:
    subject = expected.subject
    if isinstance(subject, Execution):
        return subject.verdict
    if isinstance(subject, Portal):
        return subject.prepared.verdict
    return subject.verdict if isinstance(subject, Prepared) else None


def _reads_the_same(text: bytes, parameters: dict[str, str]) -> bool:
    """Whether a text means the same to our parser although the session's lexing settings are not ours: ASCII in any
    client encoding, as long as strings are standard or there is no backslash."""
    return text.isascii() and (
        parameters.get("standard_conforming_strings", "on") == "on" or b"\\" not in text
    )


_ALLOWED_WHILE_COPYING = frozenset(
    (m.COPY_DATA, m.COPY_DONE, m.COPY_FAIL, m.SYNC, m.FLUSH, m.TERMINATE)
)

_CLIENT: dict[int, Callable[[SessionMachine, Bytes], None]] = {
    m.QUERY: SessionMachine._query,
    m.PARSE: SessionMachine._parse,
    m.BIND: SessionMachine._bind,
    m.DESCRIBE: SessionMachine._describe,
    m.EXECUTE: SessionMachine._execute,
    m.CLOSE: SessionMachine._close,
    m.SYNC: SessionMachine._sync,
    m.FLUSH: SessionMachine._flush,
    m.COPY_DATA: SessionMachine._copy_data,
    m.COPY_DONE: SessionMachine._copy_end,
    m.COPY_FAIL: SessionMachine._copy_end,
    m.FUNCTION_CALL: SessionMachine._function_call,
    m.TERMINATE: SessionMachine._terminate,
    m.PASSWORD: SessionMachine._password,
}

_UPSTREAM: dict[int, Callable[[SessionMachine, Bytes], None]] = {
    m.ROW_DESCRIPTION: SessionMachine._row_description,
    m.NO_DATA: SessionMachine._no_data,
    m.PARAMETER_DESCRIPTION: SessionMachine._parameter_description,
    m.PARSE_COMPLETE: SessionMachine._parse_complete,
    m.BIND_COMPLETE: SessionMachine._bind_complete,
    m.CLOSE_COMPLETE: SessionMachine._close_complete,
    m.COMMAND_COMPLETE: SessionMachine._command_complete,
    m.EMPTY_QUERY_RESPONSE: SessionMachine._empty_query,
    m.PORTAL_SUSPENDED: SessionMachine._portal_suspended,
    m.COPY_IN_RESPONSE: SessionMachine._copy_in,
    m.COPY_OUT_RESPONSE: SessionMachine._copy_out_begins,
    m.COPY_DONE: SessionMachine._copy_done,
    m.ERROR_RESPONSE: SessionMachine._error,
    m.NOTICE_RESPONSE: SessionMachine._notice,
    m.NOTIFICATION_RESPONSE: SessionMachine._notification,
    m.PARAMETER_STATUS: SessionMachine._parameter_status,
    m.READY_FOR_QUERY: SessionMachine._ready,
}
