"""Replies from the database: each belongs to what was sent last, and passes to the client or not.

Part of `exchange`. Rules: rows pass only under a ResultLock made for that very result; the texts of
errors are withheld where they could carry masked values; a reply that is not due never gets here
(the codec sees to that).
"""

from collections.abc import Callable

import msgspec

from appliance.audit.record import Outcome
from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.refusal import Refusal
from appliance.session import changes, told
from appliance.session.effects import NoteCleanRelations, NoteSchemaChange, SettleSchemaChange
from appliance.session.exchange_blast import ExchangeBlast
from appliance.session.exchange_decisions import ExchangeDecisions
from appliance.session.exchange_fence import ExchangeFences
from appliance.session.exchange_footing import ExchangeFooting
from appliance.session.exchange_rests import rests_of
from appliance.session.exchange_state import ExchangeState, Question, Running
from appliance.session.inflight import Execution
from appliance.wire.exchange import (
    Command,
    Described,
    Done,
    Ended,
    Failed,
    Passed,
    Prepared,
    Reply,
    Rows,
    Wish,
)


class ExchangeReplies:
    """The database's half of one session's machine."""

    def __init__(
        self,
        state: ExchangeState,
        decisions: ExchangeDecisions,
        blast: ExchangeBlast,
        fences: ExchangeFences,
        footing: ExchangeFooting,
        again: Callable[[Command], None],
    ) -> None:
        """`again`: carries a command out anew that nothing was answered to."""
        self._state = state
        self._decisions = decisions
        self._blast = blast
        self._fences = fences
        self._footing = footing
        self._again = again

    def take(self, reply: Reply) -> None:
        running = self._state.running
        if running is None:
            raise ProtocolViolation("upstream", "a reply that is not due")
        if isinstance(reply, Done | Ended):
            self._state.status = ord("T" if reply.in_transaction else "I")
        if isinstance(reply, Failed) or self._state.status == ord("I"):
            self._state.steady = frozenset()  # a deadlock ends a transaction
        if running.question is not None:
            self._answer(running.question, reply)
        elif running.refusal is not None:
            self._stood_in(running, reply)
        elif running.limited is not None:
            if self._blast.take(running, running.limited, reply):
                self._over()
        else:
            answer: Reply | None = reply
            if running.fence is not None:
                answer = self._fences.take(running, running.fence, reply)
            if answer is not None:
                self._take_own(running, answer)

    def _take_own(self, running: Running, reply: Reply) -> None:
        """A reply to the client's own command."""
        if running.discarded is not None:
            self._discard(running, running.discarded, reply)
        else:
            self._replied(running, reply)

    def _replied(self, running: Running, reply: Reply) -> None:
        match reply:
            case Rows():
                self._rows(running, reply)
            case Described():
                self._described(running, reply)
            case Ended():
                self._ended(running, reply)
            case Done():
                self._done(running, reply)
            case Failed():
                self._failed(running, reply)
            case Prepared():
                self._prepared(running, reply)
            case Passed():
                self._passed(running, reply)

    # --- not the client's -------------------------------------------------------------------------

    def _answer(self, question: Question, reply: Reply) -> None:
        match reply:
            case Rows(piece=False, giant=False):
                question.rows += self._state.codec.answers(reply.content)
            case Rows():
                raise ProtocolViolation("upstream", "an answer of another form than was asked for")
            case Described():
                codec = self._state.codec
                codec.whole_rows(ANSWER_BYTES_MAX)
                question.columns = tuple(c.name for c in codec.columns(reply.description))
            case Failed():
                question.failed, question.error = True, reply.number
                self._question_over(question)
            case _:
                self._question_over(question)

    def _question_over(self, question: Question) -> None:
        self._state.running = None
        self._decisions.answered(question)

    def _stood_in(self, running: Running, reply: Reply) -> None:
        """The idle command that was sent in place of what could not be recorded."""
        if not isinstance(reply, Done) or running.refusal is None:
            raise ProtocolViolation("upstream", "not the answer to an idle command")
        self._state.to_client(self._state.codec.refused(running.refusal))
        self._over()

    # --- results ----------------------------------------------------------------------------------

    def _described(self, running: Running, reply: Described) -> None:
        state, execution = self._state, running.execution
        if execution is None:
            state.to_client(state.codec.replied(reply))
            return
        verdict = execution.verdict
        execution.lock = None
        try:
            if verdict.restricted or verdict.sensitive:
                self._require_same_schema(execution)
                described = self._places(running, reply)
                execution.lock = state.locks.lock(verdict, execution.statement_index, described)
        except Refused as refused:
            self._begin_discarding(running, refused.refusal, reply)
            return
        state.choose_row_mode(execution)
        if not self._footing.doubts(running):
            self._show(running, execution, reply)
        elif self._fences.is_missed(running):
            running.again = self._may_again(running)
            self._begin_discarding(running, told.reshaped_past(), reply)
        else:
            self._footing.ask(running, reply)

    def _places(self, running: Running, reply: Described) -> bytes:
        """The description that says what each column is read from."""
        statement, command = running.statement, running.command
        wanted = command is not None and command.cursor
        if not wanted or statement is None or not statement.description:
            return reply.description
        return self._state.codec.as_prepared(reply.description, statement.description)

    def looked_after(self, holds: bool) -> None:
        """Whether what a described result rests on is as it was judged."""
        running, reply = self._footing.answered(holds)
        execution = running.execution
        if execution is None:
            raise InvariantBroken("a result of nothing")
        if holds:
            self._show(running, execution, reply)
            return
        running.again = self._may_again(running)
        self._begin_discarding(running, told.reshaped_past(), reply)

    def _may_again(self, running: Running) -> bool:
        """It only reads, and nothing of its answer has left: it is judged anew, and runs again."""
        state, execution, command = self._state, running.execution, running.command
        rests = None if execution is None else rests_of(execution.verdict)
        if execution is None or rests is None or rests.first or execution.statement_index:
            return False
        if command is None or command.wish not in _AGAIN or command.cursor or command.unseen:
            return False
        state.repeated += 1
        return not running.once and state.repeated <= REPEATS_MAX

    def _show(self, running: Running, execution: Execution, reply: Described) -> None:
        state = self._state
        hidden = () if execution.lock is None else execution.lock.hidden
        shown = state.codec.replied(reply, hidden)
        state.to_client(shown)
        if reply.kept:
            self._kept(running, execution)
            return
        state.hits.described(execution, reply.content, execution.lock, shown)

    def _begin_discarding(self, running: Running, refusal: Refusal, reply: Described) -> None:
        """No row of it has left: the statement is refused, though it has run. What the plan was
        made with may be out of date."""
        state = self._state
        running.discarded = refusal
        state.codec.whole_rows(0)
        state.turn.requests.append(NoteSchemaChange())
        if reply.kept:
            self._discarded(running, refusal)

    def _discard(self, running: Running, refusal: Refusal, reply: Reply) -> None:
        over = isinstance(reply, Failed) or (isinstance(reply, Done | Ended) and not reply.more)
        if over:
            self._discarded(running, refusal)

    def _discarded(self, running: Running, refusal: Refusal) -> None:
        state, execution = self._state, running.execution
        if execution is not None:
            execution.sqlstate = refusal.sqlstate
            self._settle_schema(execution)
            state.finish(execution, Outcome.FAILED)
        if running.again and running.command is not None:
            self._over()
            self._again(running.command)
            return
        if execution is not None:
            said = msgspec.structs.replace(refusal, reference=execution.record_id)
            state.to_client(state.codec.refused(said))
        self._over()

    def _require_same_schema(self, execution: Execution) -> None:
        """Raises Refused when a schema change may have come between judging and planning: the
        result may be computed from other columns than were judged."""
        catalog, session = self._state.judge.catalog, self._state.recorder.session
        if not execution.verdict.restricted:
            return
        if catalog.shapes != execution.shapes or catalog.changing_for(session):
            raise Refused(told.schema_changed())

    def _rows(self, running: Running, rows: Rows) -> None:
        state, execution = self._state, running.execution
        if execution is None:
            state.to_client(state.codec.replied(rows))
            return
        verdict, lock = execution.verdict, execution.lock
        limit = verdict.decision.row_limit
        if limit is not None:
            if rows.piece:
                raise InvariantBroken("a limited row in pieces")
            rows = state.codec.first(rows, max(limit - execution.result_rows, 0))
            if not rows.count:
                return
        execution.result_rows += rows.count
        execution.rows += rows.count
        state.rows += rows.count
        content = state.codec.replied(rows) if lock is None or lock.masker is None else b""
        if verdict.restricted and (lock is None or not lock.rows_expected):
            raise InvariantBroken("a row before its plan")
        if lock is not None and lock.masker is not None:
            before = lock.masker.cells_masked
            content = state.codec.masked(rows, lock.masker)
            masked = lock.masker.cells_masked - before
            execution.cells_masked += masked
            state.cells_masked += masked
        if lock is not None and lock.sensitive_columns:
            execution.sensitive_unmasked += rows.count * lock.sensitive_columns
            state.sensitive_unmasked += rows.count * lock.sensitive_columns
        execution.bytes_out += len(content)
        state.bytes_out += len(content)
        state.to_client(content)

    def _ended(self, running: Running, reply: Ended) -> None:
        state, execution = self._state, running.execution
        state.to_client(state.codec.replied(reply))
        if execution is None:
            if not reply.more:
                self._over()
            return
        if reply.kept and not reply.exhausted:
            self._kept(running, execution)
            return
        fetched = running.command is not None and running.command.wish is Wish.FETCH
        if fetched and not reply.exhausted:
            self._over()
            return
        self._next_result(execution)
        if not reply.more:
            self._complete(running, execution)

    def _kept(self, running: Running, execution: Execution) -> None:
        """The rows stay with a cursor: more are fetched under the lock of this very execution."""
        if running.statement is None:
            raise ProtocolViolation("upstream", "a cursor of no statement")
        running.statement.cursor = execution
        self._over()

    def _next_result(self, execution: Execution) -> None:
        execution.statement_index += 1
        execution.lock = None
        execution.result_rows = 0

    def _done(self, running: Running, reply: Done) -> None:
        state, execution = self._state, running.execution
        state.to_client(state.codec.replied(reply))
        for name, value in reply.changed:
            state.settings.reported(name, value)
        if execution is not None:
            execution.tag = f"OK {reply.affected}"
            self._next_result(execution)
        if reply.more:
            return
        if execution is not None:
            self._complete(running, execution)
            return
        if running.command is not None and running.command.wish is Wish.RESET_SESSION:
            self._forget_all()
        if running.statement is not None and running.statement.name:
            state.named[running.statement.name] = running.statement
        self._over()

    def _forget_all(self) -> None:
        """The session is as it was after login."""
        state = self._state
        for statement in state.statements.values():
            if statement.cursor is not None:
                state.finish(statement.cursor, Outcome.COMPLETED)
        state.statements.clear()
        state.named.clear()
        state.hits.forgets_all()
        state.tables_held = False
        state.settings.reset()
        state.chosen.reset()

    def _failed(self, running: Running, reply: Failed) -> None:
        state, execution = self._state, running.execution
        verdict = running.verdict
        withheld = verdict is not None and verdict.withhold
        if execution is not None and execution.timed_out and reply.interrupted:
            milliseconds = execution.verdict.decision.statement_timeout_ms or 0
            state.to_client(state.codec.refused(told.timed_out(milliseconds)))
        else:
            state.to_client(state.codec.withheld(reply) if withheld else state.codec.replied(reply))
        if execution is None:
            self._over()
            return
        execution.sqlstate = reply.sqlstate
        if any(s.settings for s in execution.verdict.facts.statements):
            state.chosen.unlike(execution.record_id)  # a part of it may have been set
            state.chosen.idle()
        self._settle_schema(execution)
        if running.statement is not None and running.statement.cursor is execution:
            running.statement.cursor = None
        state.finish(execution, Outcome.CANCELLED if reply.interrupted else Outcome.FAILED)
        self._over()

    def _prepared(self, running: Running, reply: Prepared) -> None:
        state, statement = self._state, running.statement
        if statement is None or running.verdict is None:
            raise ProtocolViolation("upstream", "a prepared statement that is not due")
        hidden: tuple[bool, ...] = ()
        verdict = running.verdict
        try:
            if verdict.restricted and reply.columns:
                hidden = state.locks.lock(verdict, 0, reply.description).hidden
        except Refused as refused:
            state.turn.upstream.append(state.codec.close(reply.statement))
            state.turn.requests.append(NoteSchemaChange())
            state.to_client(state.codec.refused(refused.refusal))
            self._over()
            return
        statement.number, statement.parameters = reply.statement, reply.parameters
        statement.description = reply.description if reply.columns else b""
        state.statements[reply.statement] = statement
        state.last_prepared = reply.statement
        state.to_client(state.codec.replied(reply, hidden))
        self._over()

    def _passed(self, running: Running, reply: Passed) -> None:
        state = self._state
        state.to_client(state.codec.replied(reply))
        if running.execution is not None:
            self._complete(running, running.execution)
        else:
            self._over()

    # --- ends -------------------------------------------------------------------------------------

    def _complete(self, running: Running, execution: Execution) -> None:
        state = self._state
        if not execution.verdict.plain:
            state.tables_held |= changes.holds_tables(execution.verdict.facts)
            self._settle_schema(execution)
            if execution.verdict.restricted:
                self._note_clean(execution)
        if running.statement is not None and running.statement.cursor is execution:
            running.statement.cursor = None
        state.finish(execution, Outcome.COMPLETED)
        self._over()

    def _settle_schema(self, execution: Execution) -> None:
        """DDL commits by itself here, and may have done something even where it failed."""
        state, facts = self._state, execution.verdict.facts
        if changes.reshapes(facts):
            state.turn.requests.append(NoteSchemaChange())
        if state.changing and changes.changes_schema(facts):
            state.changing = False
            state.turn.requests.append(SettleSchemaChange())

    def _note_clean(self, execution: Execution) -> None:
        state = self._state
        kept = state.judge.catalog.kept
        schemas = () if kept is None else kept.catalog.schemas
        facts = execution.verdict.facts
        if made := changes.made_relations(facts.statements, state.settings.current, schemas):
            state.turn.requests.append(NoteCleanRelations(made))

    def _over(self) -> None:
        """The present command is answered to its end."""
        self._state.running = None
        self._state.current = None


ANSWER_BYTES_MAX = 64 * 1024
_AGAIN = frozenset((Wish.QUERY, Wish.EXECUTE))
REPEATS_MAX = 3
"""How often one command runs again because of schema changes past us."""
