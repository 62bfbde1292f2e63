"""Statements that SQL itself names, in an exchange session: PREPARE from a constant text, EXECUTE.

Part of `exchange_commands`. What is prepared is judged as a text of its own, and so is each EXECUTE
of it, under the policy, catalog and settings of that moment: a name is only another way to say it.
Rules: the server prepares the very text that was judged, or its rewritten form; a name is known
only while nothing that was sent since may have changed what it stands for; what is not known is SQL
that nobody has seen.
"""

from typing import Protocol

import msgspec

from appliance.audit.record import ProtocolKind
from appliance.model.facts import Action, Confidence, Facts
from appliance.model.naming import NamedText
from appliance.model.refusal import Refusal
from appliance.policy.evaluate import DEFAULT_RULE
from appliance.session import changes, flow, said_again, told
from appliance.session.exchange_decisions import ExchangeDecisions
from appliance.session.exchange_state import ExchangeState, Running, Statement
from appliance.session.inflight import Bound, Execution
from appliance.wire.exchange import Command, Wish


class Carrying(Protocol):
    """What of `exchange_commands` is used here."""

    def judged(self, command: Command, verdict: flow.Verdict) -> None: ...
    def refuse(self, refusal: Refusal, reference: str) -> None: ...
    def forward(self, running: Running, rewritten: bytes = b"") -> None: ...
    def before_forward(self, execution: Execution, text: bytes, values: bytes = b"") -> None: ...
    def changed_under(self, statement: Statement, verdict: flow.Verdict) -> Refusal | None: ...


class ExchangeNamed:
    """The part of one session's machine that knows these names."""

    def __init__(
        self, state: ExchangeState, decisions: ExchangeDecisions, commands: Carrying
    ) -> None:
        self._state = state
        self._decisions = decisions
        self._commands = commands

    def begin(self, command: Command) -> bool:
        """Whether a text is one of these, and is dealt with here."""
        found = self._told(command)
        if found is None or command.wish is not Wish.QUERY:
            return False
        if found.verb == "prepare":
            self._decisions.consider(
                command.text, lambda verdict: self._prepare(command, verdict), runs=False
            )
        elif found.verb == "execute":
            self._execute(command, self._state.named.get(found.name))
        else:
            return False
        return True

    def names(self, command: Command) -> bool:
        """Whether a text is one of these: no server prepares it."""
        return self._told(command) is not None

    def _told(self, command: Command) -> NamedText | None:
        state = self._state
        return state.judge.dialect.named(command.text, state.settings.current)

    # --- PREPARE ----------------------------------------------------------------------------------

    def _prepare(self, command: Command, verdict: flow.Verdict) -> None:
        """`verdict`: on the PREPARE itself; the settings are known now."""
        found = self._told(command)
        (statement,) = verdict.facts.statements if len(verdict.facts.statements) == 1 else (None,)
        seen = statement is not None and Action.DYNAMIC_SQL not in statement.actions
        if found is None or found.text is None or verdict.refusal is not None or not seen:
            self._commands.judged(command, verdict)
            return
        if self._state.prepared_full and found.name not in self._state.named:
            self._commands.refuse(told.too_many_statements(), "")
            return
        name, text = found.name, found.text
        self._decisions.consider(
            text, lambda inner: self._prepared(command, name, text, inner), runs=False
        )

    def _prepared(self, command: Command, name: str, text: bytes, verdict: flow.Verdict) -> None:
        state = self._state
        settings = state.settings.current
        refusal = _unasked(verdict)
        sent = state.judge.dialect.preparing(name, verdict.rewritten or text, settings)
        if refusal is None and sent is None:
            refusal = told.unrewritable("it would not be read as it was judged")
        statement = Statement(0, text, verdict, settings)
        statement.name = name
        recorded = _of_text(verdict, sent or b"")
        record_id = state.record(ProtocolKind.PARSE, command.text, recorded, refusal, statement)
        state.named.pop(name, None)  # a PREPARE that fails lets go of it, too
        if refusal is not None or sent is None:
            self._commands.refuse(refusal or told.unknown_named(), record_id)
            return
        state.words_suspect = state.words_suspect or said_again.may_quote(verdict)
        self._commands.forward(Running(command, verdict, None, statement), sent)

    # --- EXECUTE ----------------------------------------------------------------------------------

    def _execute(self, command: Command, statement: Statement | None) -> None:
        if statement is not None:
            known = statement
            self._decisions.consider(
                known.text, lambda verdict: self._execute_judged(command, known, verdict)
            )
            return
        self._decisions.consider(
            command.text, lambda verdict: self._unknown(command, verdict), Bound(command.text)
        )

    def _unknown(self, command: Command, verdict: flow.Verdict) -> None:
        """A name that may stand for anything: only who may run what nobody has seen may run it."""
        if verdict.refusal is not None and verdict.refusal.rule == DEFAULT_RULE:
            verdict = msgspec.structs.replace(verdict, refusal=told.unknown_named())
        self._commands.judged(command, verdict)

    def _execute_judged(
        self, command: Command, statement: Statement, verdict: flow.Verdict
    ) -> None:
        state = self._state
        otherwise = self._decisions.read_otherwise(statement)
        refusal = (
            (told.prepared_otherwise() if otherwise else None)
            or _unasked(verdict)
            or self._commands.changed_under(statement, verdict)
            or state.judge.permits(Action.EXECUTE, state.now)
        )
        record_id = state.record(
            ProtocolKind.SIMPLE, command.text, _of_text(verdict, b""), refusal, statement
        )
        if refusal is not None:
            self._commands.refuse(refusal, record_id)
            return
        execution = Execution(record_id, verdict, state.now)
        self._commands.before_forward(execution, statement.text)
        self._commands.forward(Running(command, verdict, execution))


def _of_text(verdict: flow.Verdict, sent: bytes) -> flow.Verdict:
    """For the record of a text that only names what was judged: it shows that, with the digests of
    the client's own text and of what is `sent` in its place."""
    return msgspec.structs.replace(verdict, rewritten=sent, memo=[])


def _unasked(verdict: flow.Verdict) -> Refusal | None:
    """Nobody can be shown what an EXECUTE is bound to."""
    return verdict.refusal if verdict.released is None else told.held_prepare(verdict.refusal)


_RENAMING = frozenset(
    (Action.DYNAMIC_SQL, Action.PREPARE, Action.EXECUTE, Action.CALL, Action.DO, Action.OPAQUE)
)


def refused_names(named: dict[str, Statement], facts: Facts) -> None:
    """A PREPARE was refused: a server lets go of the name before it fails."""
    for statement in facts.statements:
        if statement.prepared is not None and statement.prepared.verb == "prepare":
            named.pop(statement.prepared.name.lower(), None)


def forget_names(named: dict[str, Statement], facts: Facts) -> None:
    """Lets go of what may stand for something else once a text has been sent: code may prepare and
    deallocate by any name."""
    if not named:
        return
    if changes.calls_code(facts) or facts.confidence is Confidence.OPAQUE:
        named.clear()
    for statement in facts.statements:
        use = statement.prepared
        if use is not None and use.verb == "deallocate" and use.name.isascii():
            named.pop(use.name.lower(), None)
        elif use is not None or not _RENAMING.isdisjoint(statement.actions):
            named.clear()
