"""From a text to its verdict, now or later, in an exchange session.

Used by `exchange_commands` for every statement; `decisions` is its like for PostgreSQL. What cannot
be decided at once makes the machine wait: a long text is analysed elsewhere, a catalog is loaded,
settings that may have changed are asked of the server.
"""

import msgspec

from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.model.facts import Action, Facts
from appliance.model.limits import INLINE_ANALYSIS_BYTES_MAX
from appliance.model.refusal import Refusal
from appliance.policy.evaluate import DEFAULT_RULE
from appliance.session import changes, flow, said_again, told
from appliance.session.counted import limit_of
from appliance.session.dialect import Forms
from appliance.session.effects import AnalyseText, CheckFooting, RefreshCatalog
from appliance.session.exchange_blast import unlimitable
from appliance.session.exchange_estimates import ExchangeEstimates
from appliance.session.exchange_rests import rests_of
from appliance.session.exchange_state import ExchangeState, Question, Running, Statement
from appliance.session.inflight import Bound
from appliance.session.outdated import may_be_outdated
from appliance.session.parking import ESTIMATES, Parking, refused
from appliance.session.released import bounds_writes
from appliance.session.state import Continuation, Waiting

ANALYSES_MAX = 3
"""How often one text is analysed again because the catalog or the settings changed meanwhile."""
CHECKS_MAX = 2
"""How often one text is judged anew because of what it rests on."""
PROBES_MAX = 3
"""How often one statement asks for the settings: a cancel may hit the question."""
SETTINGS, TEMPORARIES = "settings", "temporaries"
TEMPORARIES_ASKED_MAX = 300
"""Questions about temporary relations for one text."""


class ExchangeDecisions:
    """The deciding part of one session's machine."""

    def __init__(self, state: ExchangeState) -> None:
        self._state = state
        self.parking = Parking(state, self.examine, ExchangeEstimates(state))

    def consider(
        self, text: bytes, then: Continuation, bound: Bound | None = None, runs: bool = True
    ) -> None:
        """Gets the verdict on `text`, now or later, and goes on with `then`. `bound`: where policy
        holds it, it may wait here for an approval of just that. `runs`: `then` has it run."""
        self.examine(Waiting(text, then, vouch=runs, bound=bound))

    def examine(self, waiting: Waiting) -> None:
        state = self._state
        judge = state.judge
        if judge.needs_catalog:
            stale = judge.catalog.lineage is None and waiting.may_refresh(judge.catalog.failure)
            if stale or (self._changing and not waiting.quiet):
                waiting.refreshed = waiting.quiet = True
                self._wait(waiting, RefreshCatalog())
                return
        if not state.settings.certain:
            self._ask_settings(waiting)
            return
        if self._ask_temporaries(waiting):
            return
        settings = state.settings.current
        verdict = judge.recall(waiting.text, settings, state.now)
        if verdict is None:
            if len(waiting.text) > INLINE_ANALYSIS_BYTES_MAX:
                self._wait(waiting, AnalyseText(waiting.text, settings, judge.entitlements.owed))
                return
            facts = judge.analyse_inline(waiting.text, settings)
            verdict = judge.judge(waiting.text, facts, settings, state.now)
        self.settle(waiting, verdict)

    def settle(self, waiting: Waiting, verdict: flow.Verdict) -> None:
        """Goes on with a verdict; one that failed on an unknown name is tried once more with a
        fresh catalog.
        """
        verdict = self.parking.released(waiting, _unasked(verdict))
        asked = self._state.judge.needs_catalog
        if may_be_outdated(verdict, asked=asked) and not waiting.refreshed:
            waiting.refreshed = True
            self._wait(waiting, RefreshCatalog())
            return
        refusal = told.reshaped_past() if waiting.outdated else self._refusal(verdict)
        refusal = refusal or self._unkept(waiting, verdict)
        if refusal is not None:
            verdict = msgspec.structs.replace(verdict, refusal=refusal, memo=[])
        elif verdict.released is not None and waiting.bound is not None and self._state.approvals:
            self.parking.park(waiting, verdict)
            return
        elif self._is_doubted(waiting, verdict):
            self._wait(waiting, CheckFooting(verdict.footing))
            waiting.asked = verdict.footing
            return
        waiting.then(verdict)

    def _unkept(self, waiting: Waiting, verdict: flow.Verdict) -> Refusal | None:
        """Why nobody is asked for a number of rows, to which it could not be kept."""
        released = verdict.released
        if released is None or waiting.bound is None or not self._state.approvals:
            return None
        return self._unlimitable(released.facts) if bounds_writes(released) else None

    def _unlimitable(self, facts: Facts) -> Refusal | None:
        lineage = self._state.judge.catalog.lineage
        catalog = None if lineage is None else lineage.catalog
        return unlimitable(facts, catalog, self._state.locked)

    def _is_doubted(self, waiting: Waiting, verdict: flow.Verdict) -> bool:
        """Whether it has to be asked first if what it rests on is as it was judged."""
        rests = rests_of(verdict)
        if rests is None or not (rests.first and waiting.vouch and self._state.vouches):
            return False
        if self._state.tables_held and Action.LOCK not in verdict.facts.actions:
            return False
        return bool(waiting.found != verdict.footing)

    def looked_before(self, holds: bool) -> None:
        """The answer to that."""
        waiting = self.take_waiting()
        if holds:
            waiting.found = waiting.asked
        elif waiting.checks >= CHECKS_MAX:
            waiting.vouch = False
            waiting.outdated = True
        waiting.checks += 1
        self.examine(waiting)

    def _refusal(self, verdict: flow.Verdict) -> Refusal | None:
        """What speaks against it beside policy."""
        if self._changing and (verdict.refusal is None or verdict.refusal.rule == DEFAULT_RULE):
            return told.schema_changing()
        if verdict.refusal is not None:
            return None
        facts = verdict.facts
        if Action.SIGNAL_BACKEND in facts.actions:
            return told.signals_others()  # what it names are the database's own numbers
        limited = limit_of(facts, verdict.decision) is not None
        if limited and (refusal := self._unlimitable(facts)) is not None:
            return refusal
        if not verdict.restricted:
            return None
        if said_again.asks(facts) and (self._state.words_suspect or len(facts.statements) > 1):
            return told.may_quote()
        if not changes.settled_before(facts, len(facts.statements)) and len(facts.statements) > 1:
            return told.settings_in_doubt()
        return told.reshaped_amid() if changes.goes_on_after_change(facts) else None

    @property
    def _changing(self) -> bool:
        """Another session is changing the schema, and this principal owes masks."""
        judge = self._state.judge
        return judge.catalog.changing_for(self._state.recorder.session) and judge.entitlements.owes

    def _wait(self, waiting: Waiting, request: AnalyseText | RefreshCatalog | CheckFooting) -> None:
        if self._state.waiting is not None:
            raise InvariantBroken("two statements wait at once")
        self._state.waiting = waiting
        waiting.epoch = self.epoch()
        self._state.turn.requests.append(request)

    def take_waiting(self) -> Waiting:
        waiting, self._state.waiting = self._state.waiting, None
        if waiting is None:
            raise InvariantBroken("an answer nobody waits for")
        return waiting

    def analysed(self, facts: Facts, forms: Forms | None) -> None:
        """Facts of the text that waits; made anew when what they rest on changed meanwhile."""
        waiting = self.take_waiting()
        settings, now = self._state.settings.current, self._state.now
        if waiting.epoch != self.epoch():
            if waiting.analyses < ANALYSES_MAX:
                waiting.analyses += 1
                self.examine(waiting)
                return
            facts, forms = flow.outdated(waiting.text, settings), None
        keep = waiting.epoch == self.epoch()
        judge = self._state.judge
        self.settle(
            waiting, judge.judge(waiting.text, facts, settings, now, keep=keep, forms=forms)
        )

    def epoch(self) -> tuple[str, str, str]:
        judge, settings = self._state.judge, self._state.settings
        unknown = judge.needs_catalog and judge.catalog.lineage is None
        if unknown or not settings.certain or self._changing:
            return ("", "", "")
        return judge.epoch(settings.current)

    def alike(self, text: bytes, verdict: flow.Verdict) -> bytes | None:
        """The text without its constants, where the verdict holds for all that differ in them."""
        if not verdict.plain or self._state.hits.path is None:
            return None
        return self._state.judge.alike(text, verdict, self._state.settings.current)

    # --- questions --------------------------------------------------------------------------------

    def _ask_settings(self, waiting: Waiting) -> None:
        state = self._state
        if state.running is not None:
            raise InvariantBroken("a question amid a command")
        if waiting.probes >= PROBES_MAX:
            raise ProtocolViolation("upstream", "settings could not be read")
        waiting.probes += 1
        state.waiting = waiting
        state.running = Running(None)
        state.running.question = Question(SETTINGS, waiting)
        state.turn.upstream.append(state.codec.ask(state.settings.probe))

    def _ask_temporaries(self, waiting: Waiting) -> bool:
        """Asks what a name in the text stands for that may be a temporary relation's."""
        state, judge = self._state, self._state.judge
        version = judge.snapshot.version if judge.entitlements.owes else ""
        asked = state.settings.doubts(waiting.text, version)
        if asked is None:
            return False
        waiting.probes += 1
        if waiting.probes > TEMPORARIES_ASKED_MAX:
            raise ProtocolViolation("upstream", "temporary relations could not be read")
        state.waiting = waiting
        state.running = Running(None)
        state.running.question = Question(TEMPORARIES, waiting)
        state.turn.upstream.append(state.codec.ask(asked))
        return True

    def answered(self, question: Question) -> None:
        """The upstream has answered, or failed to."""
        if question.subject in ESTIMATES:
            if question.failed and not self._state.codec.autocommits:
                self._state.status = ord("T")  # what an error leaves open nobody says
            self.parking.estimated(question)
            return
        waiting = self.take_waiting()
        if question.subject == TEMPORARIES:
            self._state.settings.told(question.rows, question.error)
        elif not question.failed and len(question.rows) == 1:
            self._state.settings.probed(question.rows[0])
        self.examine(waiting)

    def read_otherwise(self, statement: Statement) -> bool:
        """Whether the server read a prepared statement under other settings than those that its
        text is judged under now."""
        then, now = statement.settings, self._state.settings.current
        return (then.database, then.modes, then.encoding) != (now.database, now.modes, now.encoding)


def _unasked(verdict: flow.Verdict) -> flow.Verdict:
    """What a write spares is not asked here: it counts as sparing nothing."""
    if verdict.sweeping is not None:
        return verdict.sweeping
    if verdict.released is not None and verdict.released.sweeping is not None:
        return refused(verdict, told.not_asked())
    return verdict
