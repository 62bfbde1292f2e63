"""Messages from the database: each answers what is due first, and passes to the client or not.

Part of `machine`. Rules: a reply that is not due is a violation; rows pass only under a ResultLock
made for that very portal or query; the texts of errors and notices are withheld where they could
carry masked values.
"""

from collections.abc import Callable

from _speedups.pgframe import WHOLE
from appliance.audit.record import Outcome
from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.facts import PreparedUse
from appliance.model.spare import EMPTY
from appliance.session import changes, estimates, flow, told
from appliance.session.blast import Blast
from appliance.session.decisions import Decisions
from appliance.session.effects import (
    Bytes,
    NoteCleanRelations,
    NoteSchemaChange,
    SampleRows,
    SettleSchemaChange,
)
from appliance.session.inflight import Execution, Portal, Prepared, ResultLock, first_frames
from appliance.session.questions import BLOCK_NAME, COUNTED, DRY_RUN, PROVED
from appliance.session.second_look import outlasts
from appliance.session.shared import PARSE_COMPLETE, Shared
from appliance.session.state import HEADER, Run, SessionState, kept
from appliance.sql.footing import stands_alone
from appliance.sql.stamps import MOVED_SQLSTATE
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind

CURSORS_MAX = 4_096
"""SQL cursors of one session whose rows are counted; beyond them a limited client gets none."""

_TAKEN_BACK = frozenset({b"ROLLBACK", b"PREPARE TRANSACTION"})
"""Tags, of ROLLBACK TO as well, after which what the transaction made is not there, or not yet."""


class FromUpstream:
    """The database's half of one session's machine."""

    __slots__ = ("_blast", "_decisions", "_shared", "_state")

    def __init__(self, state: SessionState, decisions: Decisions, blast: Blast) -> None:
        self._state = state
        self._decisions = decisions
        self._blast = blast
        self._shared = Shared(state)

    def run(self, run: Run) -> None:
        kind, part, count, content = run
        if kind == m.DATA_ROW:
            self._rows(part, count, content)
        elif kind == m.COPY_DATA:
            self._copy_out(count, content)
        elif part != WHOLE:
            raise ProtocolViolation("upstream", "a message in pieces that may not be")
        else:
            _UPSTREAM[kind](self, content)

    def _rows(self, part: int, count: int, content: Bytes) -> None:
        head = self._state.expected.head
        if head is None or head.kind not in (Kind.EXECUTE, Kind.QUERY):
            raise ProtocolViolation("upstream", "rows that are not due")
        if head.injected:
            if head.name not in PROVED:
                self._probe_row(part, content)
            return
        _require_forwarded(head)
        execution = head.subject
        if not isinstance(execution, Execution):
            raise ProtocolViolation("upstream", "rows for a refused statement")
        if execution.rows_max is None:
            self._tell(execution)
            self._pass_rows(execution, part, count, content)
            return
        if part != WHOLE or execution.portal is None or execution.portal.kept is None:
            raise InvariantBroken("rows of a limited write that cannot be kept")
        execution.portal.kept.keep(count, content)

    def _pass_rows(self, execution: Execution, part: int, count: int, content: Bytes) -> None:
        lock = execution.lock if execution.portal is None else execution.portal.lock
        limit = execution.verdict.decision.row_limit
        if limit is not None:
            if part != WHOLE:
                raise InvariantBroken("a limited row in pieces")
            content, count = first_rows(content, count, limit - self._given(execution))
            self._give(execution, count)
            if not count:
                return
        execution.rows += count
        self._state.rows += count
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
                self._state.cells_masked += masked
        if lock is not None and lock.sensitive_columns:
            execution.sensitive_unmasked += count * lock.sensitive_columns
            self._state.sensitive_unmasked += count * lock.sensitive_columns
        if not execution.verdict.plain and self._state.announcement.shows(execution.verdict.facts):
            if part != WHOLE:
                raise InvariantBroken("a reworded row in pieces")
            content = self._state.announcement.answer(bytes(content))
        execution.bytes_out += len(content)
        self._state.bytes_out += len(content)
        self._state.to_client(content)
        if self._state.pace.due <= self._state.now and part == WHOLE:
            self._sample(execution, count)

    def _sample(self, execution: Execution, count: int) -> None:
        """Has the rows that were just queued for the client looked at, where they are described."""
        portal = execution.portal
        described = execution.description if portal is None else portal.any_description
        if described:
            self._state.pace.taken(self._state.now)
            known = (execution.verdict.decision.owed, execution.verdict.sensitive)
            rows = bytes(self._state.turn.client[-1])  # bytes already: `to_client` keeps them
            hit = execution.hit if portal is None else portal.hit
            sample = SampleRows(described[HEADER:], rows, count, known, hit)
            self._state.turn.requests.append(sample)

    def _probe_row(self, part: int, content: Bytes) -> None:
        question = self._state.question
        if question is not None and question.subject == DRY_RUN:
            return  # what it RETURNs is for nobody
        if question is not None and question.whole is not None:
            if len(question.whole) <= estimates.ANSWER_BYTES_MAX:
                question.whole += content[: estimates.ANSWER_BYTES_MAX + 1]
            return
        reader = m.Reader(content[HEADER:], "upstream")
        if question is None or part != WHOLE:
            raise ProtocolViolation("upstream", "an answer to no question")
        for _ in range(reader.u16()):
            question.answers.append(reader.take(reader.i32()).decode("utf-8", "replace"))
        reader.end()

    def _row_description(self, content: Bytes) -> None:
        head = self._state.expected.head
        if head is None:
            raise ProtocolViolation("upstream", "a RowDescription that is not due")
        _require_forwarded(head)
        content = kept(content)
        described = content if len(content) <= self._state.pace.description_bytes_max else b""
        if head.kind is Kind.QUERY:
            if isinstance(head.subject, Execution):
                head.subject.description = described
                head.subject.lock = self._lock_query(head.subject, content)
                self._state.hits.described(head.subject.hit, content, head.subject.lock)
                self._state.choose_row_mode()
        elif head.kind is Kind.DESCRIBE_PORTAL:
            self._state.expected.pop(Kind.DESCRIBE_PORTAL)
            if head.subject is not None:
                head.subject.description = described
                self._lock_portal(head.subject, content)
                self._state.hits.described(head.subject.hit, content, head.subject.lock)
            self._state.choose_row_mode()
        else:
            self._state.expected.pop(Kind.DESCRIBE_STATEMENT)
            if head.subject is not None:
                head.subject.description = described
            self._state.choose_row_mode()
        if head.injected or self._blast.describes(head.within, content):
            return
        if head.within is None or changes.is_described_first(head.within.verdict.facts):
            self._state.to_client(content)
        else:
            head.within.untold = content

    def _tell(self, execution: Execution) -> None:
        """What it gives is described before its first row."""
        if execution.untold:
            self._state.to_client(execution.untold)
            execution.untold = b""

    def _lock_query(self, execution: Execution, content: Bytes) -> ResultLock | None:
        verdict = execution.verdict
        if not verdict.restricted and not verdict.sensitive:
            return None
        self._require_same_schema(verdict, execution.shapes, execution.statement_index)
        return self._state.locks.lock(verdict, execution.statement_index, bytes(content[HEADER:]))

    def _changes_on_their_way(self) -> bool:
        return any(
            isinstance(expected.subject, Execution)
            and changes.changes_schema(expected.subject.verdict.facts)
            for expected in self._state.expected
        )

    def _require_same_schema(self, verdict: flow.Verdict, shapes: int, index: int = 0) -> None:
        """Raises Refused when a schema change may have come between judging and planning: the
        result of statement `index` may be computed from other columns than were judged. (Once a
        result is described the server holds its locks.)
        """
        catalog, session = self._state.judge.catalog, self._state.recorder.session
        if not verdict.restricted:
            return
        others = catalog.changing_for(session)
        if catalog.shapes == shapes and not others:
            return
        others = others or catalog.reshaped_by_others(shapes, session)
        if others or not self._stands_alone(verdict, index):
            raise Refused(told.schema_changed())

    def _stands_alone(self, verdict: flow.Verdict, index: int) -> bool:
        """Whether this session's own schema changes, which make no function, cannot touch it."""
        kept, statements = self._state.judge.catalog.kept, verdict.facts.statements
        return (
            kept is not None
            and index < len(statements)
            and stands_alone(statements[index], kept.catalog)
        )

    def _lock_portal(self, portal: Portal, content: Bytes) -> None:
        verdict = portal.verdict
        if verdict.restricted or verdict.sensitive:
            self._require_same_schema(verdict, portal.shapes)
            portal.lock = self._state.locks.lock(verdict, 0, bytes(content[HEADER:]))

    def _no_data(self, content: Bytes) -> None:
        head = self._state.expected.pop(Kind.DESCRIBE_STATEMENT, Kind.DESCRIBE_PORTAL)
        if isinstance(head.subject, Portal):
            head.subject.lock = ResultLock(None, rows_expected=False)
        self._state.choose_row_mode()
        if not head.injected and head.within is None:
            self._state.to_client(content)

    def _parameter_description(self, content: Bytes) -> None:
        head = self._state.expected.head
        if head is None or head.kind is not Kind.DESCRIBE_STATEMENT:
            raise ProtocolViolation("upstream", "a ParameterDescription that is not due")
        self._state.to_client(content)

    def _parse_complete(self, content: Bytes) -> None:
        done = self._state.expected.pop(Kind.PARSE)
        if done.injected:
            self._decisions.questions.parsed(done)
            return
        if done.error:
            raise ProtocolViolation("upstream", "a refused statement was accepted")
        self._state.statements.confirm(done.name)
        self._state.choose_row_mode()
        self._state.to_client(content)

    def _bind_complete(self, content: Bytes) -> None:
        done = self._state.expected.pop(Kind.BIND)
        if done.injected:
            return
        if done.error:
            raise ProtocolViolation("upstream", "a refused statement was accepted")
        self._state.portals.confirm(done.name)
        self._state.choose_row_mode()
        self._state.to_client(content)

    def _close_complete(self, content: Bytes) -> None:
        done = self._state.expected.pop(Kind.CLOSE)
        if done.injected:
            self._decisions.questions.passed(done)
            if done.name in PROVED:
                self._decisions.resting.proved(done.subject)
                self._state.choose_row_mode()
            return
        if isinstance(done.subject, Prepared):  # it was prepared on this connection before
            self._state.statements.confirm(done.name)
            self._state.choose_row_mode()
            self._state.to_client(PARSE_COMPLETE)
            return
        (self._state.statements if done.subject == m.STATEMENT else self._state.portals).confirm(
            done.name
        )
        self._state.choose_row_mode()
        self._state.to_client(content)

    def _command_complete(self, content: Bytes) -> None:
        head = self._state.expected.head
        if head is None or head.kind not in (Kind.EXECUTE, Kind.QUERY):
            raise ProtocolViolation("upstream", "a CommandComplete that is not due")
        _require_forwarded(head)
        self._end_copy()
        if head.injected:
            self._state.expected.pop(Kind.EXECUTE)
            if head.name == COUNTED and self._state.question is not None:
                self._state.question.tag = m.parse_command_complete(content[HEADER:])
            return
        tag = m.parse_command_complete(content[HEADER:])
        if tag in _TAKEN_BACK:
            self._state.made = EMPTY
        execution, silent = head.subject, False
        if isinstance(execution, Execution):
            self._tell(execution)
            execution.tag = _shown(tag[:64])
            if execution.rows_max is not None:
                if self._blast.exceeds(execution, tag):
                    return
                content = self._pass_kept(execution, content)
                silent = self._blast.completes(execution, kept(content))
            execution.statement_index += 1
            execution.lock = None
            execution.description = b""
            if not execution.verdict.plain:
                self._completed(execution, tag)
                self._shared.completed(execution)
                content = self._shared.tag(execution, content)
            if execution.verdict.decision.row_limit is not None:
                content = self._limited(execution, tag, content)
            execution.result_rows = 0
        if head.kind is Kind.EXECUTE:
            self._state.expected.pop(Kind.EXECUTE)
            if isinstance(execution, Execution):
                self._state.finish(execution, Outcome.COMPLETED)
            self._state.choose_row_mode()
        if not silent:
            self._state.to_client(content)

    def _pass_kept(self, execution: Execution, complete: Bytes) -> Bytes:
        """A limited write affected no more than it may: its rows leave. -> what ends them."""
        runs, suspended = self._blast.released(execution)
        if described := self._blast.described(execution):
            self._state.to_client(described)
        for count, rows in runs:
            self._pass_rows(execution, WHOLE, count, rows)
        return m.frame(m.PORTAL_SUSPENDED, b"") if suspended else complete

    def _given(self, execution: Execution) -> int:
        """Rows the client has had of a limited result, be it read in parts: by Execute with a row
        count, or by FETCH.
        """
        cursor = _fetched_cursor(execution)
        if cursor is not None:
            if cursor not in self._state.fetched and len(self._state.fetched) >= CURSORS_MAX:
                return execution.verdict.decision.row_limit or 0
            return self._state.fetched.get(cursor, 0)
        return execution.result_rows if execution.portal is None else execution.portal.rows

    def _give(self, execution: Execution, count: int) -> None:
        execution.result_rows += count
        cursor = _fetched_cursor(execution)
        if cursor is not None and count:
            self._state.fetched[cursor] = self._state.fetched.get(cursor, 0) + count
        if execution.portal is not None:
            execution.portal.rows += count

    def _limited(self, execution: Execution, tag: bytes, content: Bytes) -> Bytes:
        """The CommandComplete of a result that was cut says how many rows the client got."""
        verb, _, number = tag.partition(b" ")
        use = _use(execution, execution.statement_index - 1)
        if verb in (b"DECLARE", b"CLOSE") and use is not None:
            self._state.fetched.pop(use.name, None)
        if verb not in (b"SELECT", b"FETCH") or number == b"%d" % execution.result_rows:
            return content
        limit, rows = execution.verdict.decision.row_limit, execution.result_rows
        self._state.to_client(
            refusals.notice(
                "01000", f"the result ends after {limit} rows: policy limits rows here", ""
            )
        )
        return m.frame(m.COMMAND_COMPLETE, m.cstring(f"{verb.decode()} {rows}"))

    def _completed(self, execution: Execution, tag: bytes) -> None:
        self._state.chosen.completed(tag)
        self._state.settle_names(execution, execution.statement_index - 1)
        self._state.locks.named.completed(execution.verdict, execution.statement_index - 1)
        if tag in (b"DISCARD ALL", b"DEALLOCATE ALL"):
            self._state.statements.forget_confirmed()
            self._state.own_statements.clear()
        if execution.verdict.restricted and tag not in _TAKEN_BACK:
            self._note_made(execution)
        if changes.reshapes(execution.verdict.facts):
            self._state.reshaped = True
            self._state.turn.requests.append(NoteSchemaChange())

    def _note_made(self, execution: Execution) -> None:
        kept, settings = self._state.judge.catalog.kept, self._state.settings.current
        schemas = () if kept is None else kept.catalog.schemas
        statements = execution.verdict.facts.statements
        done = statements[execution.statement_index - 1 : execution.statement_index]
        self._state.made |= changes.made_relations(done, settings, schemas)

    def _empty_query(self, content: Bytes) -> None:
        head = self._state.expected.head
        if head is None or head.kind not in (Kind.EXECUTE, Kind.QUERY):
            raise ProtocolViolation("upstream", "an EmptyQueryResponse that is not due")
        _require_forwarded(head)
        _require_uncounted(head)
        if head.kind is Kind.EXECUTE:
            self._state.expected.pop(Kind.EXECUTE)
            if isinstance(head.subject, Execution):
                self._state.finish(head.subject, Outcome.COMPLETED)
            self._state.choose_row_mode()
        self._state.to_client(content)

    def _portal_suspended(self, content: Bytes) -> None:
        _require_uncounted(self._state.expected.head)
        head = self._state.expected.pop(Kind.EXECUTE)
        _require_forwarded(head)
        if isinstance(head.subject, Execution):
            self._state.finish(head.subject, Outcome.COMPLETED)
        self._state.choose_row_mode()
        self._state.to_client(content)

    def _copy_in(self, content: Bytes) -> None:
        head = self._state.expected.head
        if head is None or head.kind not in (Kind.EXECUTE, Kind.QUERY) or head.injected:
            raise ProtocolViolation("upstream", "a CopyInResponse that is not due")
        _require_forwarded(head)
        self._state.expected.drop_syncs_behind_head()
        if len(self._state.expected) > 1 or self._state.waiting is not None:
            raise ProtocolViolation("client", "statements pipelined behind COPY FROM STDIN")
        self._state.copying_in, self._state.copy_ended = True, False
        self._state.to_client(content)

    def _copy_out_begins(self, content: Bytes) -> None:
        head = self._state.expected.head
        if head is None or not isinstance(head.subject, Execution):
            raise ProtocolViolation("upstream", "a CopyOutResponse that is not due")
        copying = head.subject
        self._require_same_schema(copying.verdict, copying.shapes, copying.statement_index)
        _require_forwarded(head)
        self._state.to_client(content)

    def _copy_out(self, count: int, content: Bytes) -> None:
        head = self._state.expected.head
        if head is None or not isinstance(head.subject, Execution):
            raise ProtocolViolation("upstream", "copied rows that are not due")
        execution = head.subject
        if execution.verdict.restricted and not self._copies_freely(execution):
            raise InvariantBroken("COPY of masked columns was let through")
        execution.rows += count
        execution.bytes_out += len(content)
        self._state.rows += count
        self._state.bytes_out += len(content)
        self._state.to_client(content)

    @staticmethod
    def _copies_freely(execution: Execution) -> bool:
        """Whether the plan of the running statement says that it touches nothing masked, or masks
        only."""
        plans, index = execution.verdict.plans, execution.statement_index
        return index < len(plans) and (plans[index].at_source or not plans[index].touches)

    def _copy_done(self, content: Bytes) -> None:
        head = self._state.expected.head
        if head is None or not isinstance(head.subject, Execution):
            raise ProtocolViolation("upstream", "a CopyDone that is not due")
        self._state.to_client(content)

    def _end_copy(self) -> None:
        self._state.copying_in = self._state.copy_ended = False

    def _error(self, content: Bytes) -> None:
        self._end_copy()
        self._state.made = EMPTY
        head = self._state.expected.head
        if head is None or head.kind is Kind.SYNC:
            self._error_out_of_turn(content)
            return
        fields = m.parse_error_fields(content[HEADER:])
        if outlasts(head):
            self._state.backend.plans_doubted = True
        if not head.injected or head.within is not None:
            self._state.chosen.failed()
        execution = head.subject if head.within is None else head.within
        if isinstance(execution, Execution):
            execution.sqlstate = fields.get("C", "XX000")
        if fields.get("V", fields.get("S")) in ("FATAL", "PANIC"):
            self._state.told_fatal = True
            self._state.to_client(self._worded(head, content))
            return
        self._shared.failed(head, fields.get("C", ""))
        if head.injected and self._state.question is not None:
            self._skip()
            shown = self._decisions.questions.failed(fields, content)
            if shown is not None:
                self._state.to_client(shown)
            return
        if head.error:
            self._state.to_client(head.error)
        elif head.name in PROVED and fields.get("C") == MOVED_SQLSTATE:
            self._state.to_client(head.subject)
            self._state.turn.requests.append(NoteSchemaChange())
            if isinstance(execution, Execution):
                execution.sqlstate = told.catalog_moved({}).sqlstate
        else:
            self._state.to_client(self._worded(head, content))
        if head.kind is Kind.QUERY:
            head.failed = True
            return
        self._skip()

    def _skip(self) -> None:
        for skipped in self._state.expected.skip_to_sync():
            self._abandon(skipped)
        self._state.vouched.clear()
        self._state.choose_row_mode()

    def _worded(self, head: Expected, content: Bytes) -> Bytes:
        """The server's error as this client may read it."""
        if isinstance(head.subject, Execution) and head.subject.timed_out:
            return refusals.timed_out(head.subject.verdict.decision.statement_timeout_ms or 0)
        verdict = _verdict_of(head)
        if head.name == BLOCK_NAME or (verdict is not None and verdict.withhold):
            return refusals.withhold_values(content[HEADER:], m.ERROR_RESPONSE)
        return content

    def _error_out_of_turn(self, content: Bytes) -> None:
        """FATAL (the server goes away), or an error raised at commit time, at Sync."""
        self._state.made = EMPTY
        fields = m.parse_error_fields(content[HEADER:])
        self._state.chosen.failed()
        if (head := self._state.expected.head) is not None:
            head.failed = True  # it is what stands at the commit
        self._state.told_fatal = fields.get("V", fields.get("S")) in ("FATAL", "PANIC")
        if self._state.judge.entitlements.owes:
            self._state.to_client(refusals.withhold_values(content[HEADER:], m.ERROR_RESPONSE))
        else:
            self._state.to_client(content)

    def _abandon(self, skipped: Expected) -> None:
        self._shared.unsent(skipped)
        if skipped.injected and skipped.kind is not Kind.DESCRIBE_PORTAL:
            return
        if isinstance(skipped.subject, Prepared) and skipped.kind in (Kind.PARSE, Kind.CLOSE):
            self._state.statements.abandon(skipped.name)
        elif isinstance(skipped.subject, Portal) and skipped.kind is Kind.BIND:
            self._state.portals.abandon(skipped.name)
        elif skipped.kind is Kind.CLOSE:
            (
                self._state.statements if skipped.subject == m.STATEMENT else self._state.portals
            ).abandon(skipped.name)
        elif isinstance(skipped.subject, Portal) and skipped.subject.lock is None:
            skipped.subject.described = False  # that Describe never ran: the next Execute needs one
        elif isinstance(skipped.subject, Execution):
            self._end_of(skipped.subject, skipped)

    def _notice(self, content: Bytes) -> None:
        """What the server would say to its log (which a client may ask to be told) measures what it
        works with, and comes when a statement is over, too: not for who owes masks.
        """
        if self._state.judge.entitlements.owes and refusals.is_diagnostic(content[HEADER:]):
            return
        question = self._state.question
        if question is not None and question.subject.startswith(("estimate", DRY_RUN)):
            return  # it is for approvers, and a server may be told to talk about it
        head = self._state.expected.head
        verdict = None if head is None else _verdict_of(head)
        at_commit = (
            head is not None and head.kind is Kind.SYNC and self._state.judge.entitlements.owes
        )
        if at_commit or (verdict is not None and verdict.withhold):
            self._state.to_client(refusals.withhold_values(content[HEADER:], m.NOTICE_RESPONSE))
        else:
            self._state.to_client(content)

    def _notification(self, content: Bytes) -> None:
        """A payload is text another session chose, a trigger's row perhaps: withheld from whoever
        owes masks.
        """
        if self._state.judge.entitlements.owes:
            content = m.without_payload(content[HEADER:])
        self._state.to_client(content)

    def _parameter_status(self, content: Bytes) -> None:
        name, value = m.parse_parameter_status(content[HEADER:])
        self._state.settings.reported(name.decode(), value.decode("utf-8", "replace"))
        shown = self._state.announcement.shown(name, value)
        if self._state.announcement.lost(name, value):
            self._state.announcement.due = True
        self._state.to_client(
            content if shown is None else m.parameter_status(name.decode(), shown)
        )

    def _ready(self, content: Bytes) -> None:
        done = self._state.expected.pop(Kind.SYNC, Kind.QUERY)
        before, self._state.status = self._state.status, m.parse_ready_for_query(content[HEADER:])
        self._shared.ready(before)
        self._end_copy()
        if self._state.lexing_in_doubt:
            self._state.lexing_in_doubt = any(
                isinstance(due.subject, Execution) and due.subject.unsettles_lexing
                for due in self._state.expected
            )
        if self._state.reports_in_doubt:
            self._state.reports_in_doubt = any(
                isinstance(due.subject, Execution)
                and (verdict := due.subject.verdict)
                and (verdict.code or changes.unsettles_reports(verdict.facts))
                for due in self._state.expected
            )
        if self._state.status == ord("I"):
            if self._state.made:
                self._state.turn.requests.append(NoteCleanRelations(self._state.made))
                self._state.made = EMPTY
            self._state.portals.forget_confirmed()
            self._state.settings.transaction_ended()
            self._state.chosen.idle(self._state.expected.head is not None)
            if self._state.changing and not self._changes_on_their_way():
                self._state.changing = False
                self._state.turn.requests.append(SettleSchemaChange())
            if self._state.reshaped:
                self._state.reshaped = False
                self._state.turn.requests.append(NoteSchemaChange())
        if not len(self._state.expected):
            self._state.settings.all_reported()
        self._state.choose_row_mode()
        if done.injected:
            self._decisions.questions.passed(done)
            return
        if isinstance(done.subject, Execution):
            self._end_of(done.subject, done)
        elif done.subject and not done.failed:  # what ends a Query that was counted (`blast`)
            self._state.to_client(done.subject)
        if not done.goes_on:
            self._state.to_client(content)

    def _end_of(self, execution: Execution, due: Expected) -> None:
        """A Query's end, or that of an Execute that failed or was skipped."""
        if due.error:  # it could not be recorded and was replaced: it never ran
            self._state.settle_names(execution)
            return
        failed = due.failed or due.kind is Kind.EXECUTE
        self._state.finish(execution, _failure(execution) if failed else Outcome.COMPLETED)


def _require_forwarded(head: Expected) -> None:
    """What stands in for a refused message earns an error and nothing else."""
    if head.error:
        raise ProtocolViolation("upstream", "a refused statement was accepted")


def _require_uncounted(head: Expected | None) -> None:
    """A limited write ends with a tag or an error."""
    execution = None if head is None else head.subject
    if isinstance(execution, Execution) and execution.rows_max is not None:
        raise ProtocolViolation("upstream", "a write that ends without saying what it affected")


def _use(execution: Execution, index: int) -> PreparedUse | None:
    statements = execution.verdict.facts.statements
    return statements[index].prepared if index < len(statements) else None


def _fetched_cursor(execution: Execution) -> str | None:
    """The SQL cursor that the running statement fetches from."""
    use = _use(execution, execution.statement_index)
    return use.name if use is not None and use.verb == "fetch" else None


def first_rows(content: Bytes, count: int, left: int) -> tuple[Bytes, int]:
    """The first `left` of `count` whole DataRow frames."""
    if count <= left:
        return content, count
    return first_frames(content, max(left, 0)), max(left, 0)


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _failure(execution: Execution) -> Outcome:
    return Outcome.CANCELLED if execution.sqlstate == "57014" else Outcome.FAILED


def _verdict_of(expected: Expected) -> flow.Verdict | None:
    subject = expected.subject
    if isinstance(subject, Execution):
        return subject.verdict
    if isinstance(subject, Portal):
        return subject.verdict
    return subject.verdict if isinstance(subject, Prepared) else None


_UPSTREAM: dict[int, Callable[[FromUpstream, Bytes], None]] = {
    m.ROW_DESCRIPTION: FromUpstream._row_description,
    m.NO_DATA: FromUpstream._no_data,
    m.PARAMETER_DESCRIPTION: FromUpstream._parameter_description,
    m.PARSE_COMPLETE: FromUpstream._parse_complete,
    m.BIND_COMPLETE: FromUpstream._bind_complete,
    m.CLOSE_COMPLETE: FromUpstream._close_complete,
    m.COMMAND_COMPLETE: FromUpstream._command_complete,
    m.EMPTY_QUERY_RESPONSE: FromUpstream._empty_query,
    m.PORTAL_SUSPENDED: FromUpstream._portal_suspended,
    m.COPY_IN_RESPONSE: FromUpstream._copy_in,
    m.COPY_OUT_RESPONSE: FromUpstream._copy_out_begins,
    m.COPY_DONE: FromUpstream._copy_done,
    m.ERROR_RESPONSE: FromUpstream._error,
    m.NOTICE_RESPONSE: FromUpstream._notice,
    m.NOTIFICATION_RESPONSE: FromUpstream._notification,
    m.PARAMETER_STATUS: FromUpstream._parameter_status,
    m.READY_FOR_QUERY: FromUpstream._ready,
}
