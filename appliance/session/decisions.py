"""From a text to its verdict, now or later.

Used by `from_client` for every statement. What cannot be decided at once makes the machine wait: a
long text is analysed elsewhere, a catalog is loaded, settings that may have changed are asked of
the server. One statement waits at a time; the client's messages behind it stay in order.
"""

import msgspec

from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.model.facts import Action, Facts, PreparedUse
from appliance.model.limits import INLINE_ANALYSIS_BYTES_MAX
from appliance.model.refusal import Refusal, RefusalCode
from appliance.policy.evaluate import DEFAULT_RULE
from appliance.session import flow
from appliance.session.effects import AnalyseText, Bytes, RefreshCatalog
from appliance.session.rewriting import Forms
from appliance.session.settings import PROBE
from appliance.session.state import Continuation, Question, SessionState, Waiting
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind

ANALYSES_MAX = 3
"""How often one text is analysed again because the catalog or the settings changed meanwhile."""

PROBES_MAX = 3
"""A statement asks for the settings again when a cancel request hit the question."""


class Decisions:
    """The deciding part of one session's machine."""

    def __init__(self, state: SessionState) -> None:
        self._state = state

    def consider(self, text: bytes, then: Continuation) -> None:
        """Gets the verdict on `text`, now or later, and goes on with `then`."""
        self.examine(Waiting(text, then))

    def ask(self, text: bytes, question: Question, then: Continuation) -> None:
        """Asks the database what a text's writes spare, and goes on with the verdict that follows
        from the answer.
        """
        waiting = Waiting(text, then)
        waiting.question = question
        self.examine(waiting)

    def examine(self, waiting: Waiting) -> None:
        if self._state.expected.skipping:
            return  # an error came in between: the upstream skips this, too
        if waiting.question is not None:
            self._pose(waiting, waiting.question)
            return
        if self._state.judge.needs_catalog:
            stale = self._state.judge.catalog.lineage is None and not waiting.refreshed
            if stale or (self._changing and not waiting.quiet):
                waiting.refreshed = waiting.quiet = True
                self._wait(waiting, RefreshCatalog())
                return
            if not self._state.settings.certain and self._ask(waiting):
                return
        if self._state.lexing_in_doubt and not self._state.in_pipeline and self._busy:
            self._await_quiet(waiting)
            return
        settings = self._state.settings.current
        if not self._reads_as_we_do(waiting.text):  # before any cache: its keys know no lexing
            unread = flow.unreadable(waiting.text, settings)
            now = self._state.now
            self.settle(
                waiting,
                self._state.judge.judge(waiting.text, unread, settings, now, keep=False),
            )
            return
        verdict = self._state.judge.recall(waiting.text, settings, self._state.now)
        if verdict is None:
            if len(waiting.text) > INLINE_ANALYSIS_BYTES_MAX:
                owed = self._state.judge.entitlements.owed
                self._wait(waiting, AnalyseText(waiting.text, settings, owed))
                return
            facts = self._state.judge.analyse_inline(waiting.text, settings)
            verdict = self._state.judge.judge(waiting.text, facts, settings, self._state.now)
        self.settle(waiting, verdict)

    def settle(self, waiting: Waiting, verdict: flow.Verdict) -> None:
        """Goes on with a verdict; one that failed on an unknown name is tried once more with a
        fresh catalog.
        """
        if self._state.expected.skipping:
            return
        if (
            verdict.refusal is not None
            and verdict.refusal.code is RefusalCode.UNRESOLVED
            and not waiting.refreshed
        ):
            waiting.refreshed = True
            self._wait(waiting, RefreshCatalog())
            return
        if self._changing and (verdict.refusal is None or verdict.refusal.rule == DEFAULT_RULE):
            verdict = msgspec.structs.replace(verdict, refusal=flow.schema_changing(), memo=[])
        if self._crosses_transaction(verdict):
            verdict = msgspec.structs.replace(verdict, refusal=flow.settings_in_doubt(), memo=[])
        waiting.then(verdict)

    def _crosses_transaction(self, verdict: flow.Verdict) -> bool:
        """A transaction's end may take settings back in the middle of this very text."""
        facts = verdict.facts
        return (
            verdict.restricted
            and self._state.settings.touched_in_transaction
            and len(facts.statements) > 1
            and Action.TRANSACTION in facts.actions
        )

    def _wait(self, waiting: Waiting, request: AnalyseText | RefreshCatalog) -> None:
        if self._state.waiting is not None:
            raise InvariantBroken("two statements wait at once")
        self._state.waiting = waiting
        waiting.epoch = self.epoch()
        self._state.turn.requests.append(request)

    def analysed(self, facts: Facts, forms: Forms | None) -> None:
        """Facts of the text that waits; made anew when what they rest on changed meanwhile."""
        waiting = self.take_waiting()
        if waiting.epoch != self.epoch() and waiting.analyses < ANALYSES_MAX:
            waiting.analyses += 1
            self.examine(waiting)
            return
        settings, now = self._state.settings.current, self._state.now
        keep = waiting.epoch == self.epoch()
        verdict = self._state.judge.judge(
            waiting.text, facts, settings, now, keep=keep, forms=forms
        )
        self.settle(waiting, verdict)

    def take_waiting(self) -> Waiting:
        waiting, self._state.waiting = self._state.waiting, None
        if waiting is None:
            raise InvariantBroken("an answer nobody waits for")
        return waiting

    def _reads_as_we_do(self, text: bytes) -> bool:
        """Whether the server will read this text as our parser does: under the settings it has
        reported, and under any that what is under way may bring.
        """
        settings = self._state.settings
        if settings.lexes_as_standard() and not self._state.lexing_in_doubt:
            return True
        plain = not self._state.lexing_in_doubt and settings.standard_strings()
        return text.isascii() and (plain or b"\\" not in text)

    @property
    def _busy(self) -> bool:
        return bool(len(self._state.expected))

    def _ask(self, waiting: Waiting) -> bool:
        """Whether the settings will be asked for first: once all replies before are in, unless the
        transaction has failed, in which the upstream answers nothing.
        """
        if self._busy:
            self._await_quiet(waiting)
            return True
        if self._state.status == ord("E"):
            return False
        self._send_probe(waiting)
        return True

    def _await_quiet(self, waiting: Waiting) -> None:
        self._state.waiting = self._state.quiet_for = waiting
        if self._state.in_pipeline:
            self._state.turn.upstream.append(m.FLUSH_FRAME)

    def resume(self) -> None:
        """Replies came in: goes on with the statement that waited for them."""
        waiting = self._state.quiet_for
        if waiting is not None and (self._state.expected.skipping or not self._busy):
            self._state.quiet_for = self._state.waiting = None
            self.examine(waiting)

    def _send_probe(self, waiting: Waiting) -> None:
        """In the extended protocol, under names of its own: a Query would take the client's unnamed
        statement and portal away. A Sync ends it unless it stands amid a pipeline.
        """
        if waiting.probes >= PROBES_MAX:
            raise ProtocolViolation("upstream", "settings could not be read")
        waiting.probes += 1
        self._state.waiting = self._state.probe_after = waiting
        self._state.probe = []
        self._state.gather_rows(True)
        amid, name = self._state.in_pipeline, refusals.PROBE_NAME
        for text in PROBE:
            self._inject(m.parse(name, text), Kind.PARSE)
            self._inject(m.bind_unparameterised(name, name), Kind.BIND)
            self._inject(m.execute(name), Kind.EXECUTE)
            self._inject(m.close(m.PORTAL, name), Kind.CLOSE)
            last = amid and text is PROBE[-1]
            self._inject(m.close(m.STATEMENT, name), Kind.CLOSE, last)
        if amid:
            self._state.turn.upstream.append(m.FLUSH_FRAME)
        else:
            self._inject(m.SYNC_FRAME, Kind.SYNC, True)

    def _pose(self, waiting: Waiting, question: Question) -> None:
        """Sends a question once all replies before are in. In a failed transaction the upstream
        refuses the statement itself.
        """
        checks = question.verdict.checks
        unbound = question.bind is None and any(check.parameters for check in checks)
        if self._state.status == ord("E"):
            waiting.then(answered(question.verdict, False))
        elif unbound:
            waiting.then(answered(question.verdict, True))
        elif self._busy:
            self._await_quiet(waiting)
        else:
            self._send_question(waiting, question)

    def _send_question(self, waiting: Waiting, question: Question) -> None:
        self._state.waiting = self._state.probe_after = waiting
        self._state.probe = []
        self._state.gather_rows(True)
        amid, name = self._state.in_pipeline, refusals.QUESTION_NAME
        checks = question.verdict.checks
        for check in checks:
            self._inject(m.close(m.STATEMENT, name), Kind.CLOSE)  # of one that ended in an error
            given, bind = question.types, question.bind
            types = tuple(given[n - 1] if n <= len(given) else 0 for n in check.parameters)
            self._inject(m.parse(name, check.sql.encode(), types), Kind.PARSE)
            bound = m.bind_unparameterised(name, name)
            if bind is not None:
                bound = m.bind_again(bind, name, check.parameters)
            self._inject(bound, Kind.BIND)
            self._inject(m.execute(name), Kind.EXECUTE)
            self._inject(m.close(m.PORTAL, name), Kind.CLOSE)
            last = amid and check is checks[-1]
            self._inject(m.close(m.STATEMENT, name), Kind.CLOSE, last)
        if amid:
            self._state.turn.upstream.append(m.FLUSH_FRAME)
        else:
            self._inject(m.SYNC_FRAME, Kind.SYNC, True)

    def _inject(self, message: bytes, kind: Kind, last: bool = False) -> None:
        name = refusals.PROBE_NAME if last else b""
        self._state.send(message, Expected(kind, name=name, injected=True))

    def probe_passed(self, done: Expected) -> None:
        """One reply to the probe came; after the last one the statement goes on, or asks again
        where an error (somebody's cancel request) cut the probe short.
        """
        if done.name != refusals.PROBE_NAME:
            return
        values, self._state.probe = self._state.probe, None
        waiting, self._state.probe_after = self._state.probe_after, None
        if values is None or waiting is None:
            raise ProtocolViolation("upstream", "settings could not be read")
        self._state.waiting = None
        if waiting.question is not None:
            verdict = waiting.question.verdict
            spared = values == ["f"] * len(verdict.checks)
            waiting.then(answered(verdict, not spared))
            return
        if len(values) == len(PROBE):
            self._state.settings.probed(values)
        self.examine(waiting)

    def probe_failed(self, error: Bytes) -> Bytes | None:
        """The upstream answered the probe with an error. -> what the client is to read of it: amid
        its pipeline, which the upstream now skips.
        """
        if not self._state.expected.skipping:
            return None  # our own Sync is still due: see `probe_passed`
        waiting = self._state.probe_after
        self._state.probe = self._state.probe_after = self._state.waiting = None
        question = None if waiting is None else waiting.question
        if question is None:
            return error
        return question.refuse(answered(question.verdict, True))

    @property
    def _changing(self) -> bool:
        """Another session is changing the schema, and this principal owes masks."""
        judge = self._state.judge
        return judge.catalog.changing_for(self._state.recorder.session) and judge.entitlements.owes

    def epoch(self) -> tuple[str, str, str]:
        if self._state.judge.needs_catalog and (
            self._state.judge.catalog.lineage is None
            or not self._state.settings.certain
            or self._changing
        ):
            return ("", "", "")
        return self._state.judge.epoch(self._state.settings.current)

    def refusal(self, verdict: flow.Verdict) -> Refusal | None:
        if verdict.refusal is not None:
            return verdict.refusal
        if verdict.plain:
            return None
        if any(_reserved(statement.prepared) for statement in verdict.facts.statements):
            return flow.reserved_name()
        named = self._state.locks.named
        refusal = named.require(verdict) if verdict.restricted else named.outdated(verdict)
        if refusal is not None:
            return refusal
        return self._state.announcement.refusal_for(verdict.facts)


def answered(verdict: flow.Verdict, sweeping: bool) -> flow.Verdict:
    """A verdict once the database has said whether the writes spare no row."""
    return verdict.sweeping if sweeping and verdict.sweeping is not None else verdict


def _reserved(use: PreparedUse | None) -> bool:
    """Whether SQL names a statement or cursor as only we do."""
    return use is not None and use.name.encode().startswith(refusals.RESERVED)
