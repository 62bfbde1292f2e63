"""Commands from the client: each is decided and forwarded, refused, or kept until it can be.

Part of `exchange`. Rules: what a client wants comes from the codec's table, and anything else is
refused; a refused command is answered by us, and the upstream never hears of it.
"""

from collections.abc import Callable

import msgspec

from appliance.audit.record import Outcome, ProtocolKind
from appliance.model.ending import Ending
from appliance.model.errors import ProtocolViolation
from appliance.model.facts import Action
from appliance.model.refusal import Refusal
from appliance.session import changes, flow, said_again, told
from appliance.session.counted import limit_of
from appliance.session.effects import ArmTimeout, BeginSchemaChange, EndOther, EndSession, LogInAnew
from appliance.session.exchange_blast import ExchangeBlast
from appliance.session.exchange_decisions import ExchangeDecisions
from appliance.session.exchange_fence import ExchangeFences
from appliance.session.exchange_named import ExchangeNamed, forget_names, refused_names
from appliance.session.exchange_state import ExchangeState, Running, Statement
from appliance.session.inflight import Bound, Execution
from appliance.wire.exchange import LAST_PREPARED, Command, Wish


class ExchangeCommands:
    """The client's half of one session's machine."""

    def __init__(
        self,
        state: ExchangeState,
        decisions: ExchangeDecisions,
        blast: ExchangeBlast,
        fences: ExchangeFences,
    ) -> None:
        self._state = state
        self._decisions = decisions
        self._blast = blast
        self._fences = fences
        self._named = ExchangeNamed(state, decisions, self)

    def run(self, command: Command) -> None:
        """A command whose turn it is. Those that earn a reply are `current` until it has come."""
        state = self._state
        if command.wish not in _SILENT:
            state.current = command
            state.codec.begin(command)
        _WISHES[command.wish](self, command)

    # --- texts ------------------------------------------------------------------------------------

    def _query(self, command: Command) -> None:
        ending = self._state.judge.dialect.ending(command.text)
        if ending is not None:
            self._end_other(command, ending)
            return
        if self._named.begin(command):
            return
        self._decisions.consider(
            command.text,
            lambda verdict: self.judged(command, verdict),
            Bound(command.text),
        )

    def _end_other(self, command: Command, ending: Ending) -> None:
        """Everybody may end what is theirs: policy is not asked, and the trail is told."""
        state = self._state
        state.begin_errand(command)
        state.turn.requests.append(EndOther(ending))

    def other_ended(self, found: bool) -> None:
        state = self._state
        state.end_errand(Outcome.COMPLETED if found else Outcome.FAILED)
        if found:
            state.to_client(state.codec.done())
            state.current = None
        else:
            self.refuse(told.no_such_session(), "")

    def judged(self, command: Command, verdict: flow.Verdict) -> None:
        seen = bool(verdict.memo)
        record_id = self._state.record(ProtocolKind.SIMPLE, command.text, verdict, verdict.refusal)
        if verdict.refusal is not None:
            refused_names(self._state.named, verdict.facts)
            self.refuse(verdict.refusal, record_id)
            return
        execution = Execution(record_id, verdict, self._state.now)
        if command.wish is Wish.QUERY:
            folded = self._decisions.alike(command.text, verdict)
            execution.hit = self._state.hits.queried(command.text, verdict, folded, seen)
        self.before_forward(execution, command.text)
        rewritten = verdict.rewritten if command.wish is Wish.QUERY else b""
        self.forward(Running(command, verdict, execution), rewritten)

    def _prepare(self, command: Command) -> None:
        if self._named.names(command):
            refusal = told.not_preparable()
            unread = msgspec.structs.replace(
                command, shown="(names a prepared statement)", length=len(command.text)
            )
            self.refuse(refusal, self._state.record_unread(unread, refusal))
            return
        if self._state.prepared_full:
            self.refuse(told.too_many_statements(), "")
            return
        self._decisions.consider(
            command.text, lambda verdict: self._prepared(command, verdict), runs=False
        )

    def _prepared(self, command: Command, verdict: flow.Verdict) -> None:
        """A text that policy holds is prepared, but waits for an approval when it is executed."""
        judged = verdict
        if verdict.released is not None and self._state.approvals:
            judged = verdict.released
        record_id = self._state.record(ProtocolKind.PARSE, command.text, judged, judged.refusal)
        if judged.refusal is not None:
            self.refuse(judged.refusal, record_id)
            return
        settings = self._state.settings.current
        self._state.words_suspect = self._state.words_suspect or said_again.may_quote(judged)
        statement = Statement(0, command.text, judged, settings)
        self.forward(Running(command, judged, None, statement), judged.rewritten)

    # --- prepared statements ----------------------------------------------------------------------

    def _of(self, command: Command) -> Statement | None:
        number = command.statement
        if number == LAST_PREPARED:
            number = self._state.last_prepared
        return self._state.statements.get(number)

    def _execute(self, command: Command) -> None:
        statement = self._of(command)
        if statement is None:
            self.refuse(told.unknown_statement(), "")
            return
        self._end_cursor(statement)
        kinds = statement.kinds
        if not command.unseen:
            kinds = self._state.codec.kinds(command.bound, statement.parameters, kinds)
        bound = Bound(statement.text, command.bound, kinds, command.bound, statement.parameters)
        self._decisions.consider(
            statement.text,
            lambda verdict: self._execute_judged(command, statement, kinds, verdict),
            None if statement.long or command.unseen else bound,
        )

    def _execute_judged(
        self,
        command: Command,
        statement: Statement,
        kinds: tuple[int, ...],
        verdict: flow.Verdict,
    ) -> None:
        refusal = statement.unfit or verdict.refusal or self.changed_under(statement, verdict)
        if any(each.prepared is not None for each in verdict.facts.statements):
            refusal = refusal or told.executes_unasked()  # (no server prepares such a text)
        if verdict.released is not None and (statement.long or command.unseen):
            refusal = told.held_unseen(verdict.refusal)
        record_id = self._state.record(
            ProtocolKind.EXECUTE, statement.text, verdict, refusal, statement
        )
        if refusal is not None:
            self.refuse(refusal, record_id)
            return
        taught = not (statement.long or command.unseen or command.cursor)
        statement.kinds = kinds
        once, statement.long = statement.long, False
        execution = Execution(record_id, verdict, self._state.now)
        if taught:
            execution.hit = self._state.hits.executed(
                statement.number, verdict, command.bound, statement.parameters
            )
        else:
            self._state.hits.forgets(statement.number)
        self.before_forward(execution, statement.text, bytes(command.bound))
        running = Running(command, verdict, execution, statement)
        running.once = once
        self.forward(running)

    def changed_under(self, statement: Statement, verdict: flow.Verdict) -> Refusal | None:
        """A statement whose meaning changed since it was prepared is not what was decided then:
        prepare it again.
        """
        if statement.verdict.rewritten != verdict.rewritten:
            return told.prepared_otherwise()
        if self._decisions.read_otherwise(statement):
            return told.prepared_otherwise()
        return None

    def _long_value(self, command: Command) -> None:
        statement = self._of(command)
        if statement is None:
            return  # the server would say nothing either
        self._state.hits.forgets(statement.number)
        if command.refusal is not None:
            statement.unfit = command.refusal
            return
        statement.long = True
        self._state.turn.upstream.append(self._state.codec.send(command))

    def _fetch(self, command: Command) -> None:
        statement = self._of(command)
        if statement is None or statement.cursor is None:
            self.refuse(told.unknown_statement(), "")
            return
        execution = statement.cursor
        self._send(Running(command, execution.verdict, execution, statement))
        self._state.choose_row_mode(execution)

    def _reset(self, command: Command) -> None:
        statement = self._of(command)
        if statement is None:
            self.refuse(told.unknown_statement(), "")
            return
        self._end_cursor(statement)
        statement.long, statement.unfit = False, None
        self._send(Running(command))

    def _close(self, command: Command) -> None:
        statement = self._of(command)
        if statement is None:
            return
        self._end_cursor(statement)
        self._state.hits.forgets(statement.number)
        del self._state.statements[statement.number]
        self._state.turn.upstream.append(self._state.codec.send(command))

    def _end_cursor(self, statement: Statement) -> None:
        if statement.cursor is not None:
            self._state.finish(statement.cursor, Outcome.COMPLETED)
            statement.cursor = None

    # --- the rest ---------------------------------------------------------------------------------

    def _passed(self, command: Command) -> None:
        self._send(Running(command))

    def _reset_session(self, command: Command) -> None:
        self._send(Running(command))

    def _log_in_anew(self, command: Command) -> None:
        """What a client is to prove comes next: whatever it sent ahead was said as nobody."""
        state = self._state
        if state.queue or state.codec.client_midway:
            raise ProtocolViolation("client", "messages behind a change of user")
        state.ending = True
        state.turn.requests.append(LogInAnew(command.payload, command.sequence))

    def _refused(self, command: Command) -> None:
        refusal = command.refusal or told.not_here("this command")
        self.refuse(refusal, self._state.record_unread(command, refusal))

    def _end(self, command: Command) -> None:
        state = self._state
        state.ending = True
        if not state.pooled:  # of a pooled connection the conductor disposes
            state.turn.upstream.append(state.codec.send(command))
        state.turn.requests.append(EndSession("client_closed"))

    def refuse(self, refusal: Refusal, reference: str) -> None:
        state = self._state
        said = msgspec.structs.replace(refusal, reference=reference)
        state.to_client(state.codec.refused(said))
        state.current = None

    def forward(self, running: Running, rewritten: bytes = b"") -> None:
        """Sends what was recorded."""
        execution = running.execution
        verdict = None if execution is None else execution.verdict
        rows_max = None if verdict is None else limit_of(verdict.facts, verdict.decision)
        if rows_max is not None:
            self._blast.begin(running, rewritten, rows_max)
            return
        if self._fences.is_due(running):
            self._fences.begin(running, rewritten)
            return
        self._state.gate(running, told.unrecorded())
        self._send(running, rewritten)

    def _send(self, running: Running, rewritten: bytes = b"") -> None:
        state, command = self._state, running.command
        assert command is not None
        state.running = running
        state.turn.upstream.append(state.codec.send(command, rewritten or None))

    def before_forward(self, execution: Execution, text: bytes, values: bytes = b"") -> None:
        """What running this statement changes in what we know."""
        state, verdict = self._state, execution.verdict
        execution.shapes = state.judge.catalog.shapes
        state.words_suspect = said_again.after(verdict, state.words_suspect)
        forget_names(state.named, verdict.facts)
        timeout_ms = verdict.decision.statement_timeout_ms
        if timeout_ms is not None:
            state.turn.requests.append(ArmTimeout(execution, timeout_ms))
        chosen = state.chosen
        chosen.note(verdict.facts, execution.record_id, text, values)
        chosen.idle()  # no transaction takes a setting back here
        calls = changes.calls_code(verdict.facts)
        state.one_shot = changes.isolates_next(verdict.facts, state.one_shot)
        if verdict.plain and not calls:
            return
        if calls or changes.shifts_temporaries(verdict.facts):
            owes = state.judge.entitlements.owes
            version = state.judge.snapshot.version if owes else ""
            state.settings.shift_temporaries(changes.temporaries(verdict.facts), version)
        state.tables_held = state.tables_held and changes.keeps_tables(verdict.facts)
        state.steady = frozenset()  # it may end the transaction, or go back to a savepoint
        if changes.changes_schema(verdict.facts) and not state.changing:
            state.changing = True
            state.turn.requests.append(BeginSchemaChange(verdict.restricted))
        state.locked |= Action.LOCK in verdict.facts.actions
        if verdict.code or changes.unsettles(verdict.facts):
            state.settings.unsettle()


_SILENT = frozenset((Wish.LONG_VALUE, Wish.CLOSE, Wish.END))
"""They earn no reply."""

_WISHES: dict[Wish, Callable[[ExchangeCommands, Command], None]] = {
    Wish.QUERY: ExchangeCommands._query,
    Wish.SAID: ExchangeCommands._query,
    Wish.PREPARE: ExchangeCommands._prepare,
    Wish.EXECUTE: ExchangeCommands._execute,
    Wish.LONG_VALUE: ExchangeCommands._long_value,
    Wish.FETCH: ExchangeCommands._fetch,
    Wish.RESET: ExchangeCommands._reset,
    Wish.CLOSE: ExchangeCommands._close,
    Wish.PASSED: ExchangeCommands._passed,
    Wish.RESET_SESSION: ExchangeCommands._reset_session,
    Wish.LOG_IN_ANEW: ExchangeCommands._log_in_anew,
    Wish.END: ExchangeCommands._end,
    Wish.REFUSED: ExchangeCommands._refused,
}
