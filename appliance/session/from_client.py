"""Messages from the client: each is decided and forwarded, refused, or kept until it can be.

Part of `machine`. Rules: message types come from one table, and a type that is not in it never gets
here; a refused message is replaced by one that the server must reject, so that the server itself
keeps reply order and transaction state.
"""

from collections.abc import Callable

import msgspec

from _speedups.hitcycle import Hit
from _speedups.pgframe import HEAD, TAIL, WHOLE
from appliance.audit.record import ProtocolKind
from appliance.model.errors import ProtocolViolation
from appliance.model.facts import Action
from appliance.model.refusal import Refusal, RefusalCode
from appliance.session import changes, flow, otherwise, told
from appliance.session.blast import Blast
from appliance.session.decisions import Decisions
from appliance.session.effects import ArmTimeout, BeginSchemaChange, Bytes, EndSession
from appliance.session.inflight import Bound, Execution, Portal, Prepared
from appliance.session.second_look import SecondLook
from appliance.session.shared import Shared, shown_name
from appliance.session.state import (
    HEADER,
    PARSE_EXTRA_BYTES_MAX,
    Run,
    SessionState,
    Sparing,
    kept,
)
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind
from appliance.wire.postgres.prepared import Names

BIND_NAMES_BYTES_MAX = 4096
UNREAD = b"\xff"
"""Stands for a setting's name in a Bind too long to be gathered: not a name that is let through."""


class FromClient:
    """The client's half of one session's machine."""

    __slots__ = ("_blast", "_decisions", "_resting", "_second_look", "_shared", "_state")

    def __init__(
        self, state: SessionState, decisions: Decisions, blast: Blast, second_look: SecondLook
    ) -> None:
        self._state, self._decisions, self._resting = state, decisions, decisions.resting
        self._blast, self._second_look = blast, second_look
        self._shared = Shared(state)

    def run(self, run: Run) -> None:
        kind, part, _count, content = run
        state = self._state
        if state.ending:
            return
        if part != WHOLE:
            self._piece(kind, part, content)
            return
        if state.expected.skipping and kind not in (m.SYNC, m.TERMINATE):
            return  # the upstream would skip it, too ("Extended Query": discard until Sync)
        if state.copying_in:
            self._check_copying(kind)
        if kind in _LOOKING_UP:
            state.settings.planned_alone()
        _CLIENT[kind](self, content)

    def _check_copying(self, kind: int) -> None:
        if self._state.is_copying and kind not in _ALLOWED_WHILE_COPYING:
            raise ProtocolViolation("client", "a message that is not part of COPY during COPY")

    def _piece(self, kind: int, part: int, content: Bytes) -> None:
        """Part of a frame too long to be gathered."""
        if kind == m.COPY_DATA:
            if part == HEAD:
                self._state.copy_piece_open = not self._state.expected.skipping
            if self._state.copy_piece_open:  # a frame goes up whole, or the server loses step
                self._state.turn.upstream.append(kept(content))
            if part == TAIL:
                self._state.copy_piece_open = False
                self._blast.release()
            return
        if part == HEAD:
            self._check_copying(kind)
        if kind == m.BIND:
            if part == HEAD:
                self._state.settings.planned_alone()
            self._bind_piece(part, content)
            return
        if part == HEAD:  # a Query or Parse beyond the limit: nothing of it is kept
            self._state.discarding = True
            if not self._state.expected.skipping:
                self._refuse_unread(kind, int.from_bytes(content[1:HEADER], "big") - 4)
        elif part == TAIL:
            self._state.discarding = False

    def _refuse_unread(self, kind: int, length: int) -> None:
        refusal = told.too_long(length, self._state.limits.statement_bytes_max)
        simple = kind == m.QUERY
        protocol = ProtocolKind.SIMPLE if simple else ProtocolKind.PARSE
        reference = self._state.record_unread(
            "(longer than is analysed)", length, protocol, refusal
        )
        error = _error(refusal, reference)
        rejected = refusals.rejected_query() if simple else refusals.rejected_parse()
        self._state.send(rejected, Expected(Kind.QUERY if simple else Kind.PARSE, error=error))

    def _query(self, content: Bytes) -> None:
        if len(content) - 1 > self._state.limits.statement_bytes_max + 5:  # whole in one chunk
            self._refuse_unread(m.QUERY, len(content) - HEADER)
            return
        text = m.parse_query(content[HEADER:])
        self._decisions.consider(
            text,
            lambda verdict: self._query_judged(text, verdict),
            simple=True,
            bound=Bound(text),
        )

    def _query_judged(
        self, text: bytes, verdict: flow.Verdict, granted: flow.Granted | None = None
    ) -> None:
        if verdict.refusal is not None or verdict.sweeping is None:
            self._query_settled(text, verdict)
            return

        def refuse(settled: flow.Verdict) -> bytes:
            refusal = settled.refusal or told.not_asked()
            return _error(refusal, self._state.record(ProtocolKind.SIMPLE, text, settled, refusal))

        def anew(grant: flow.Granted) -> None:
            self._decisions.consider(
                text,
                lambda again: self._query_judged(text, again, grant),
                simple=True,
                bound=Bound(text),
                granted=grant,
            )

        self._decisions.ask(
            text,
            Sparing(verdict, (), None, refuse, anew),
            lambda settled: self._query_settled(text, settled),
            Bound(text),
            granted,
        )

    def _query_settled(self, text: bytes, verdict: flow.Verdict) -> None:
        refusal, seen = self._decisions.refusal(verdict), bool(verdict.memo)
        record_id = self._state.record(ProtocolKind.SIMPLE, text, verdict, refusal)
        if refusal is not None:
            error = _error(refusal, record_id)
            self._state.send(refusals.rejected_query(), Expected(Kind.QUERY, error=error))
            return
        hit = self._state.hits.query(text, verdict, self._decisions.alike(text, verdict), seen)
        execution = self._resting.execution(text, verdict, record_id)
        if self._state.holding or execution.rows_max is not None:
            self._query_held(text, verdict, record_id, hit)
            return
        execution.hit = hit
        expected = Expected(Kind.QUERY, execution)
        sent = self._forwarded(text, verdict)  # before the names in it are taken back
        self._before_forward(execution, text)
        if not verdict.plain and self._state.announcement.resets(verdict.facts):
            self._state.announcement.due = True
        self._second_look.begin(expected)
        self._state.gate(expected, refusals.rejected_query)
        self._state.send(m.query(sent), expected)
        self._second_look.sent(expected)

    def _forwarded(self, text: bytes, verdict: flow.Verdict) -> bytes:
        """What is sent for a text."""
        if verdict.plain:
            return verdict.rewritten or text
        announced = self._state.announcement.rewritten(verdict.facts)
        return self._shared.deallocation(verdict) or announced or verdict.rewritten or text

    def _query_held(
        self, text: bytes, verdict: flow.Verdict, record_id: str, hit: Hit | None
    ) -> None:
        """A Query of one statement, in messages of the extended protocol: so that it runs in the
        transaction that holds what it rests on, or so that its rows are counted before that ends.
        A Query there is no way: PostgreSQL 17 and later would leave that transaction open behind
        it (postgres.c, exec_simple_query).
        """
        send, name = self._state.send, refusals.QUERY_NAME
        prepared = Prepared(name, text, (), verdict)
        portal = Portal(name, prepared, 0)
        portal.described, portal.hit = True, hit
        self._resting.bound(portal, vouched=True)
        execution = self._resting.execution(text, verdict, record_id, portal)
        sent = self._forwarded(text, verdict)
        self._before_forward(execution, text)
        send(m.close(m.STATEMENT, name), Expected(Kind.CLOSE, injected=True))
        parsed = Expected(Kind.PARSE, prepared, injected=True, within=execution)
        runs = Expected(Kind.EXECUTE, execution)
        self._state.gate(parsed, refusals.rejected_parse, runs)
        send(m.parse(name, sent), parsed)
        bound = Expected(Kind.BIND, portal, injected=True, within=execution)
        send(m.bind_unparameterised(name, name), bound)
        self._resting.prove(verdict, execution)
        described = Expected(Kind.DESCRIBE_PORTAL, portal, name, within=execution)
        send(m.describe(m.PORTAL, name), described)
        self._blast.send(m.execute(name), runs, execution, simple=True)
        if not self._second_look.sent(runs, simple=True) and execution.rows_max is None:
            send(m.close(m.PORTAL, name), Expected(Kind.CLOSE, injected=True))
            send(m.SYNC_FRAME, Expected(Kind.SYNC))

    def _parse(self, content: Bytes) -> None:
        if len(content) - 1 > self._state.limits.statement_bytes_max + PARSE_EXTRA_BYTES_MAX:
            self._refuse_unread(m.PARSE, len(content) - HEADER)
            return
        message = m.parse_parse(content[HEADER:])
        error = refusals.unacceptable(message.name)
        if not error and len(self._state.statements) >= self._state.limits.prepared_statements_max:
            error = refusals.plain_error("53400", "too many prepared statements in this session")
        error = error or self._shared.taken(message.name)
        if error:
            self._state.send(refusals.rejected_parse(), Expected(Kind.PARSE, error=error))
            return
        self._decisions.consider(message.text, lambda verdict: self._parse_judged(message, verdict))

    def _parse_judged(self, message: m.ParseMessage, verdict: flow.Verdict) -> None:
        """A text that policy holds is prepared, but stays refused until it is bound and approved
        with its values.
        """
        judged = verdict
        if verdict.released is not None and self._state.approvals:
            judged = verdict.released
        refusal, seen = self._decisions.refusal(judged), bool(verdict.memo)
        record_id = self._state.record(
            ProtocolKind.PARSE,
            message.text,
            judged,
            refusal,
            message.name,
            0,
            message.parameter_types,
        )
        if refusal is not None:
            error = _error(refusal, record_id)
            self._state.send(refusals.rejected_parse(), Expected(Kind.PARSE, error=error))
            return
        prepared = Prepared(message.name, message.text, message.parameter_types, verdict)
        if seen:
            self._state.hits.parsed(prepared, verdict)
        prepared.sent = self._forwarded(message.text, verdict)
        self._shared.clear()
        sent, earns = self._shared.parse(prepared)
        expected = Expected(earns, prepared, message.name)
        self._state.statements.begin(message.name, prepared)
        self._state.gate(expected, refusals.rejected_parse)
        self._state.send(sent, expected)

    def _bind(self, content: Bytes) -> None:
        message = m.parse_bind(content[HEADER:])
        prepared, frame = self._state.statements.lookup(message.statement), kept(content)
        if prepared is not None and not prepared.verdict.plain:
            named = self._state.announcement.naming_parameters(prepared.verdict.facts)
            values = m.bind_parameters(frame[HEADER:], named) if named else ()
            refusal = self._state.announcement.refusal_of_names(values)
            if refusal is not None:
                self._refuse_bind(prepared, prepared.verdict, message.parameters, refusal)
                return
        if prepared is None or not self._judged_anew(prepared.verdict):
            self._bind_named(message.portal, message.statement, message.parameters, frame)
            return
        body = frame[HEADER:]
        formats_and_values = body[len(message.portal) + len(message.statement) + 2 :]
        bound = Bound(prepared.text, formats_and_values, prepared.parameter_types, body)
        self._decisions.consider(
            prepared.text,
            lambda verdict: self._bind_judged(message, frame, prepared, verdict, bound),
            bound=bound,
        )

    def _judged_anew(self, verdict: flow.Verdict) -> bool:
        """Whether a statement is looked at again when it is bound: also where names may mean
        something else by now, for the server looks them up anew. (Rules of now, at its Execute.)
        """
        pins = self._state.shares and not verdict.pins <= self._state.pins
        moved = verdict.epoch[1:] != self._decisions.epoch()[1:]
        return bool(verdict.restricted or verdict.released) or pins or moved

    def _bind_judged(
        self,
        message: m.BindMessage,
        frame: bytes,
        prepared: Prepared,
        verdict: flow.Verdict,
        bound: Bound,
    ) -> None:
        """Judged again before its portal is described: what the description is held against must
        be of the present catalog. The server, too, reads the text anew at Bind when something it
        rests on changed (plancache.c, RevalidateCachedQuery).
        """
        refusal = self._decisions.refusal(verdict) or otherwise.sent(prepared, verdict)
        if refusal is None:
            if verdict.granted is None:  # an approval is for these values alone
                prepared.verdict = verdict
            self._bind_named(
                message.portal,
                message.statement,
                message.parameters,
                frame,
                verdict.restricted,
                verdict,
                bound,
            )
            return
        self._refuse_bind(prepared, verdict, message.parameters, refusal)

    def _refuse_bind(
        self, prepared: Prepared, verdict: flow.Verdict, parameters: int, refusal: Refusal
    ) -> None:
        record_id = self._state.record(
            ProtocolKind.EXECUTE,
            prepared.text,
            verdict,
            refusal,
            prepared.name,
            parameters,
            prepared.parameter_types,
        )
        error = _error(refusal, record_id)
        self._state.send(refusals.rejected_bind(), Expected(Kind.BIND, error=error))

    def _bind_piece(self, part: int, content: Bytes) -> None:
        """A Bind too long to gather: its names are read, the rest flows."""
        if part == HEAD:
            if self._state.expected.skipping:
                self._state.discarding = True
            else:
                self._state.bind_prefix = bytearray()
        if self._state.discarding:
            self._state.discarding = part != TAIL
            return
        if self._state.bind_prefix is None:
            self._state.turn.upstream.append(kept(content))
            return
        prefix = self._state.bind_prefix
        prefix += content
        portal, found_portal, rest = bytes(
            prefix[HEADER : HEADER + BIND_NAMES_BYTES_MAX]
        ).partition(b"\0")
        statement, found_statement, _ = rest.partition(b"\0")
        if not (found_portal and found_statement):
            if len(prefix) >= BIND_NAMES_BYTES_MAX or part == TAIL:
                raise ProtocolViolation("client", "names in a Bind message are too long")
            return
        self._state.bind_prefix = None
        if self._state.expected.skipping:  # an error came in between
            self._state.discarding = part != TAIL
            return
        self._state.discarding = part != TAIL  # the rest of what is not bound, now or later
        self._bind_long(portal, statement, bytes(prefix))

    def _bind_long(self, portal: bytes, statement: bytes, begun: bytes) -> None:
        """`begun`: the beginning of a Bind of which the rest flows. What follows is kept back while
        this waits, as any message."""
        prepared = self._state.statements.lookup(statement)
        if prepared is not None:
            verdict, refusal = prepared.verdict, None
            if self._state.announcement.naming_parameters(verdict.facts):
                refusal = self._state.announcement.refusal_of_names([UNREAD])
            elif verdict.released is not None:
                refusal = told.held_unseen(verdict.refusal)
            if refusal is not None:
                self._refuse_bind(prepared, verdict, 0, refusal)
                return
            if self._judged_anew(verdict):
                self._decisions.consider(
                    prepared.text,
                    lambda again: self._bind_long_judged(portal, prepared, again, begun),
                )
                return
        if self._bind_named(portal, statement, -1, begun):
            self._state.discarding = False

    def _bind_long_judged(
        self, portal: bytes, prepared: Prepared, verdict: flow.Verdict, begun: bytes
    ) -> None:
        refusal = self._decisions.refusal(verdict) or otherwise.sent(prepared, verdict)
        if refusal is not None:
            self._refuse_bind(prepared, verdict, 0, refusal)
            return
        prepared.verdict = verdict
        if self._bind_named(portal, prepared.name, -1, begun, verdict.restricted, verdict):
            self._state.discarding = False

    def _bind_named(
        self,
        portal: bytes,
        statement: bytes,
        parameters: int,
        content: Bytes,
        vouched: bool = False,
        verdict: flow.Verdict | None = None,
        approved: Bound | None = None,
    ) -> bool:
        prepared = self._state.statements.lookup(statement)
        error = refusals.unacceptable(portal)
        if prepared is None:
            error = refusals.plain_error(
                "26000", f'prepared statement "{shown_name(statement)}" does not exist'
            )
        elif len(self._state.portals) >= self._state.limits.prepared_statements_max:
            error = refusals.plain_error("53400", "too many portals in this session")
        if error or prepared is None:
            self._state.send(refusals.rejected_bind(), Expected(Kind.BIND, error=error))
            return False
        bound = Portal(portal, prepared, max(parameters, 0))
        if verdict is not None and verdict.granted is not None:
            bound.verdict, bound.approved = verdict, approved
        settings = any(s.settings for s in bound.verdict.facts.statements)
        if parameters >= 0 and (settings or bound.verdict.sweeping is not None):
            bound.bind = bytes(content[HEADER:])
        self._resting.bound(bound, vouched=vouched)
        content = self._shared.bind(prepared, content)
        self._state.portals.begin(portal, bound)
        self._state.send(content, Expected(Kind.BIND, bound, portal))
        if bound.verdict.code:
            self._state.settings.planned = bound
        return True

    def _describe(self, content: Bytes) -> None:
        what, name = m.parse_describe_or_close(content[HEADER:])
        if error := refusals.unacceptable(name):
            kind = Kind.DESCRIBE_STATEMENT if what == m.STATEMENT else Kind.DESCRIBE_PORTAL
            self._state.send(refusals.rejected_describe(what), Expected(kind, error=error))
            return
        if what == m.STATEMENT:
            prepared = self._state.statements.lookup(name)
            sent = kept(content)
            if prepared is not None:
                sent = m.describe(m.STATEMENT, self._shared.name_of(prepared))
            self._state.send(sent, Expected(Kind.DESCRIBE_STATEMENT, prepared, name))
            return
        portal = self._state.portals.lookup(name)
        if portal is not None:
            portal.described = True
        self._state.send(kept(content), Expected(Kind.DESCRIBE_PORTAL, portal, name))

    def _execute(self, content: Bytes) -> None:
        name, _limit = m.parse_execute(content[HEADER:])
        portal = self._state.portals.lookup(name)
        settings = self._state.settings
        if settings.planned is portal:
            settings.planned = None  # what its execution does is to come
        settings.planned_alone()
        if portal is None:
            error = refusals.plain_error("34000", f'portal "{shown_name(name)}" does not exist')
            self._state.send(refusals.rejected_execute(), Expected(Kind.EXECUTE, error=error))
            return
        message = kept(content)
        verdict = portal.verdict
        current = verdict.decision.cacheable and verdict.epoch == self._decisions.epoch()
        current &= verdict.granted is None or not self._state.reports_in_doubt
        vouched = self._state.vouches_for(portal)
        if current and (vouched or not verdict.restricted):
            self._execute_judged(portal, message, verdict)
        else:
            self._decisions.consider(
                portal.prepared.text,
                lambda again: self._execute_judged(portal, message, again),
                vouch=not vouched,
                bound=portal.approved if verdict.granted is not None else None,
                granted=verdict.granted,
            )

    def _ask_about(self, portal: Portal, message: Bytes, verdict: flow.Verdict) -> None:
        """What a bound statement's writes spare depends on the values it was bound to."""
        prepared = portal.prepared

        def refuse(settled: flow.Verdict) -> bytes:
            refusal = settled.refusal or told.not_asked()
            return _error(refusal, self._record_execute(portal, settled, refusal))

        def go_on(settled: flow.Verdict) -> None:
            portal.asked = True
            self._execute_judged(portal, message, settled)

        sparing = Sparing(verdict, prepared.parameter_types, portal.bind, refuse)
        bound = portal.approved
        footing = verdict.footing
        if bound is None and portal.bind is not None and (footing is None or not footing.calls):
            # What it rests on is locked since its Bind; functions cannot be.
            values = _values(portal)
            bound = Bound(prepared.text, values, prepared.parameter_types, portal.bind)
        self._decisions.ask(prepared.text, sparing, go_on, bound)

    def _record_execute(
        self, portal: Portal, verdict: flow.Verdict, refusal: Refusal | None
    ) -> str:
        prepared = portal.prepared
        return self._state.record(
            ProtocolKind.EXECUTE,
            prepared.text,
            verdict,
            refusal,
            prepared.name,
            portal.parameters,
            prepared.parameter_types,
        )

    def _execute_judged(self, portal: Portal, message: Bytes, verdict: flow.Verdict) -> None:
        if verdict.refusal is None and verdict.sweeping is not None and not portal.asked:
            self._ask_about(portal, message, verdict)
            return
        prepared = portal.prepared
        refusal = self._decisions.refusal(verdict) or otherwise.bound(portal, verdict)
        record_id = self._record_execute(portal, verdict, refusal)
        if refusal is not None:
            error = _error(refusal, record_id)
            self._state.send(refusals.rejected_execute(), Expected(Kind.EXECUTE, error=error))
            if verdict.released is not None:  # from its next Bind on it waits for an approval
                prepared.verdict = verdict
            return
        portal.verdict = verdict
        if not (portal.asked or verdict.granted):  # what this portal came to is no other's
            prepared.verdict = verdict
        if (verdict.restricted or verdict.sensitive) and not portal.described:
            portal.described = True  # clients that skip Describe still get a plan before their rows
            described = Expected(Kind.DESCRIBE_PORTAL, portal, portal.name, injected=True)
            self._state.send(m.describe(m.PORTAL, portal.name), described)
        portal.hit = self._state.hits.executed(portal, verdict)
        execution = self._resting.execution(prepared.text, verdict, record_id, portal)
        expected = Expected(Kind.EXECUTE, execution)
        self._before_forward(execution, prepared.text, _values(portal, record_id))
        self._resting.prove(verdict, execution)
        self._state.gate(expected, refusals.rejected_execute)
        self._blast.send(message, expected, execution)
        self._second_look.sent(expected)
        self._state.executing()
        if not verdict.plain and self._state.announcement.resets(verdict.facts):
            self._decisions.questions.announce_behind(self._state.announcement.again)
        if self._state.expected.head is expected:  # a portal is resumed: no BindComplete comes
            self._state.choose_row_mode()

    def _close(self, content: Bytes) -> None:
        what, name = m.parse_describe_or_close(content[HEADER:])
        if error := refusals.unacceptable(name):
            self._state.send(
                refusals.rejected_describe(what), Expected(Kind.DESCRIBE_PORTAL, error=error)
            )
            return
        if what == m.STATEMENT:
            self._state.statements.begin(name, None)
        else:
            self._state.portals.begin(name, None)
        sent = self._shared.close(what, name) or kept(content)
        self._state.send(sent, Expected(Kind.CLOSE, what, name))

    def _sync(self, content: Bytes) -> None:
        if self._state.is_copying:
            return  # the upstream ignores it while copying in ("COPY Operations")
        self._state.expected.skipping = False
        self._state.send(kept(content), Expected(Kind.SYNC))

    def _flush(self, content: Bytes) -> None:
        if not self._state.is_copying:
            self._state.turn.upstream.append(kept(content))

    def _copy_data(self, content: Bytes) -> None:
        self._state.turn.upstream.append(kept(content))

    def _copy_end(self, content: Bytes) -> None:
        self._state.copy_ended = True
        self._state.turn.upstream.append(kept(content))
        self._blast.copied()

    def _function_call(self, _content: Bytes) -> None:
        refusal = Refusal(
            RefusalCode.FUNCTION_CALL_PROTOCOL,
            "function calls by the fastpath message are not let through",
            "call the function in a SELECT statement",
            rule="builtin:function-call-protocol",
            sqlstate="0A000",
        )
        reference = self._state.record_unread(
            "(FunctionCall)", 0, ProtocolKind.FUNCTION_CALL, refusal
        )
        self._state.send(
            refusals.rejected_query(), Expected(Kind.QUERY, error=_error(refusal, reference))
        )

    def _terminate(self, content: Bytes) -> None:
        self._state.ending = True
        if not self._state.announcement.again:  # of a pooled connection the conductor disposes
            self._state.turn.upstream.append(kept(content))
        self._state.turn.requests.append(EndSession("client_closed"))

    def _password(self, _content: Bytes) -> None:
        raise ProtocolViolation("client", "a password message after login")

    def _before_forward(self, execution: Execution, *given: bytes) -> None:
        """What running this statement changes in what we know. `given`: its text, its values."""
        verdict = execution.verdict
        execution.shapes = self._state.judge.catalog.shapes
        self._shared.before(execution)
        timeout_ms = verdict.decision.statement_timeout_ms
        if timeout_ms is not None:
            self._state.turn.requests.append(ArmTimeout(execution, timeout_ms))
        self._state.runs_code(verdict)
        if verdict.plain:
            return
        if changes.reshapes(verdict.facts) or changes.unlocks(verdict.facts):
            self._state.vouch_for_nothing()
        if changes.changes_schema(verdict.facts):
            self._state.changing = True
            self._state.turn.requests.append(BeginSchemaChange(verdict.restricted))
        if changes.forgets(verdict.facts):
            self._state.forgetting = execution
        self._state.chosen.note(verdict.facts, execution.record_id, *given)
        self._state.reports_in_doubt |= changes.unsettles_reports(verdict.facts)
        settings = self._state.settings
        # A transaction's end, or a step back, takes settings back.
        touched = settings.touched_in_transaction and Action.TRANSACTION in verdict.facts.actions
        if touched or changes.unsettles(verdict.facts):
            settings.unsettle(True)
        if settings.code_in_transaction and changes.runs_more(verdict.facts):
            self._state.reports_in_doubt = True
            settings.unsettle_by_code()
        if touched or changes.unsettles_lexing(verdict.facts):
            execution.unsettles_lexing = self._state.lexing_in_doubt = True
        self._rename(execution)
        self._note_temporaries(verdict)
        if verdict.restricted and (shifted := changes.shifted_names(verdict.facts)):
            self._state.settings.shift(shifted)

    def _note_temporaries(self, verdict: flow.Verdict) -> None:
        settings = self._state.settings
        temporary = changes.temporary_names(verdict.facts)
        if temporary:
            settings.add_temporary(temporary)
        ends = Action.TRANSACTION in verdict.facts.actions and settings.has_temporaries
        if ends or changes.shifts_temporaries(verdict.facts):
            settings.temporaries_foreign |= not verdict.restricted and not ends
            settings.unsettle_temporaries()

    def _rename(self, execution: Execution) -> None:
        """From now on the protocol's names that this SQL uses mean nothing to us, unless it turns
        out that it never ran.
        """
        for index, statement in enumerate(execution.verdict.facts.statements):
            use = statement.prepared
            if use is None or use.verb in ("execute", "fetch"):
                continue
            names: Names[Prepared] | Names[Portal] = self._state.portals
            if use.verb in ("prepare", "deallocate"):
                names = self._state.statements
            known = names.names()
            gone = {use.name.encode()} & known if use.name else known - {b""}
            for name in gone:
                names.begin(name, None)
                execution.renames.append((index, names, name))


def _values(portal: Portal, otherwise: str = "") -> bytes:
    """Formats and values that a portal was bound to, as they stand in its Bind; `otherwise` where
    they were not kept."""
    if portal.bind is None:
        return otherwise.encode()
    read = m.parse_bind(portal.bind)
    return portal.bind[len(read.portal) + len(read.statement) + 2 :]


def _error(refusal: Refusal, reference: str) -> bytes:
    return refusals.error_response(msgspec.structs.replace(refusal, reference=reference))


_ALLOWED_WHILE_COPYING = frozenset(
    (m.COPY_DATA, m.COPY_DONE, m.COPY_FAIL, m.SYNC, m.FLUSH, m.TERMINATE)
)

_LOOKING_UP = frozenset((m.QUERY, m.PARSE, m.BIND))
_CLIENT: dict[int, Callable[[FromClient, Bytes], None]] = {
    m.QUERY: FromClient._query,
    m.PARSE: FromClient._parse,
    m.BIND: FromClient._bind,
    m.DESCRIBE: FromClient._describe,
    m.EXECUTE: FromClient._execute,
    m.CLOSE: FromClient._close,
    m.SYNC: FromClient._sync,
    m.FLUSH: FromClient._flush,
    m.COPY_DATA: FromClient._copy_data,
    m.COPY_DONE: FromClient._copy_end,
    m.COPY_FAIL: FromClient._copy_end,
    m.FUNCTION_CALL: FromClient._function_call,
    m.TERMINATE: FromClient._terminate,
    m.PASSWORD: FromClient._password,
}
