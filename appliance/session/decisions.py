"""From a text to its verdict, now or later.

Used by `from_client` for every statement. What cannot be decided at once makes the machine wait: a
long text is analysed elsewhere, a catalog is loaded, settings that may have changed are asked of
the server. One statement waits at a time; the client's messages behind it stay in order.
"""

import msgspec

from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.model.facts import Action, Facts, PreparedUse
from appliance.model.limits import INLINE_ANALYSIS_BYTES_MAX
from appliance.model.refusal import Refusal
from appliance.policy.evaluate import DEFAULT_RULE
from appliance.session import changes, flow, told
from appliance.session.counted import executes_uncounted, fetches_write
from appliance.session.dialect import Forms
from appliance.session.effects import (
    AnalyseText,
    NoteSchemaChange,
    PinConnection,
    RefreshCatalog,
)
from appliance.session.inflight import Bound
from appliance.session.outdated import may_be_outdated
from appliance.session.parking import ESTIMATES, Parking, refused
from appliance.session.pinning import CODE, PREPARED
from appliance.session.questions import Questions, answered
from appliance.session.released import under
from appliance.session.resting import Resting
from appliance.session.state import (
    DOUBTS_MAX,
    Continuation,
    Question,
    SessionState,
    Sparing,
    Waiting,
)
from appliance.session.unchanged import read_answer
from appliance.sql.encodings import reads_alike
from appliance.sql.footing import BACKSLASH
from appliance.sql.stamps import LATEST_SNAPSHOT
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals

ANALYSES_MAX = 3
"""How often one text is analysed again because the catalog or the settings changed meanwhile."""

PROBES_MAX = 3
"""A statement asks for the settings again when a cancel request hit the question."""

CHECKS_MAX = 3
"""How often a statement is judged anew because what it rests on is not as it was judged."""

_NOT_AGAIN = frozenset(("57014", "55P03"))
"""SQLSTATEs of a check that is not asked again: cancelled, or a lock was not to be had in time."""


class Decisions:
    """The deciding part of one session's machine."""

    __slots__ = ("_state", "parking", "questions", "resting")

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self.questions = Questions(state, self._answered)
        self.resting = Resting(state, self.questions)
        self.parking = Parking(state, self.examine, self.questions)

    def consider(
        self,
        text: bytes,
        then: Continuation,
        *,
        vouch: bool = True,
        simple: bool = False,
        bound: Bound | None = None,
        granted: flow.Granted | None = None,
    ) -> None:
        """Gets the verdict on `text`, now or later, and goes on with `then`. Not to `vouch`: what
        it rests on was locked and looked at before. `bound`: where policy holds it, it may wait
        here for an approval of just that, unless it was `granted` before.
        """
        waiting = Waiting(text, then, vouch, simple, bound)
        waiting.grant = granted
        self.examine(waiting)

    def ask(
        self,
        text: bytes,
        sparing: Sparing,
        then: Continuation,
        bound: Bound | None = None,
        granted: flow.Granted | None = None,
    ) -> None:
        """Asks the database what a text's writes spare, and goes on with the verdict that follows
        from the answer. `granted`: an approval that it has got, should it need one.
        """
        waiting = Waiting(text, then, bound=bound)
        waiting.sparing = sparing
        waiting.grant = sparing.verdict.granted or granted
        self.examine(waiting)

    def examine(self, waiting: Waiting) -> None:
        if self._state.expected.skipping:
            return  # an error came in between: the upstream skips this, too
        if self._state.announcement.due and self._announce(waiting):
            return
        sparing = waiting.sparing
        if waiting.let_go and waiting.grant and sparing is not None and sparing.anew is not None:
            sparing.anew(waiting.grant)
            return
        if waiting.sparing is not None:
            if self._held_meanwhile(waiting, waiting.sparing.verdict):
                waiting.then(refused(waiting.sparing.verdict, told.held_anew()))
            else:
                self._pose(waiting, waiting.sparing)
            return
        if self._state.judge.needs_catalog:
            catalog = self._state.judge.catalog
            stale = catalog.lineage is None and waiting.may_refresh(catalog.failure)
            if stale or (self._changing and not waiting.quiet):
                waiting.refreshed = waiting.quiet = True
                self._wait(waiting, RefreshCatalog())
                return
            settled = self._state.settings.certain and not self._to_pin(waiting)
            if not settled and self._ask(waiting):
                return
        if self._state.lexing_in_doubt and not self._state.in_pipeline and self._busy:
            self._await_quiet(waiting)
            return
        settings = self._state.settings.current
        if not self.reads_as_we_do(waiting.text):  # before any cache: its keys know no lexing
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
        verdict = self.parking.released(waiting, verdict)
        if self._state.expected.skipping or self._needs_temporaries(waiting, verdict):
            return
        if self._may_be_outdated(verdict) and not waiting.refreshed:
            waiting.refreshed = True
            self._wait(waiting, RefreshCatalog())
            return
        if self._changing and (verdict.refusal is None or verdict.refusal.rule == DEFAULT_RULE):
            verdict = msgspec.structs.replace(verdict, refusal=told.schema_changing(), memo=[])
        if self._crosses_transaction(verdict):
            verdict = msgspec.structs.replace(verdict, refusal=told.settings_in_doubt(), memo=[])
        allowed = verdict.restricted and verdict.refusal is None
        if allowed and changes.goes_on_after_change(verdict.facts):
            verdict = msgspec.structs.replace(verdict, refusal=told.reshaped_amid(), memo=[])
        elif allowed and self._stores_amid(verdict):
            verdict = msgspec.structs.replace(verdict, refusal=told.stored_amid(), memo=[])
        elif allowed and self._adopts_amid(verdict):
            verdict = msgspec.structs.replace(verdict, refusal=told.adopted_amid(), memo=[])
        if self._parks(waiting, verdict):
            return
        if verdict.pins and self._state.shares and self._pins(waiting, verdict):
            return
        if not self._needs_check(waiting, verdict):
            waiting.then(verdict)

    def _parks(self, waiting: Waiting, verdict: flow.Verdict) -> bool:
        """Whether it waits for an approval now: with nothing under way, and known settings, which
        the approval is bound to. In a failed transaction it is refused as it would be anyway.
        """
        if verdict.released is None or waiting.bound is None or not self._state.approvals:
            return False
        if any(_prepares(statement.prepared) for statement in verdict.facts.statements):
            waiting.then(refused(verdict, told.held_prepare(verdict.refusal)))
            return True
        if self._failed:
            return False
        hold = verdict.released.decision.hold
        if self._busy:
            self._await_quiet(waiting)
        elif hold is not None and hold.dry_run and not waiting.looked and waiting.sparing is None:
            waiting.looked = waiting.refreshed = True  # a new trigger is nothing to run into
            self._wait(waiting, RefreshCatalog())
        elif self._state.settings.certain or not self._ask(waiting):
            self.parking.park(waiting, verdict)
        return True

    def _pins(self, waiting: Waiting, verdict: flow.Verdict) -> bool:
        """Whether the connection first becomes the session's own, as one that nobody else has used:
        amid a transaction as far as that goes then, that is without what others prepared.
        """
        state = self._state
        if verdict.refusal is not None or self._failed:
            return False
        if self._busy:
            self._await_quiet(waiting)
            return True
        amid = state.in_pipeline or state.status != ord("I") or bool(state.pins)
        state.pins |= verdict.pins
        if state.backend.sole or (amid and verdict.pins.isdisjoint((CODE, PREPARED))):
            return False
        if amid:
            state.backend.sole = True
            self._count_probe(waiting)
            self.questions.ask_scrubbed(waiting)
        else:
            self._wait(waiting, PinConnection())
        return True

    def _may_be_outdated(self, verdict: flow.Verdict) -> bool:
        lineage = self._state.judge.catalog.lineage
        comes_from_server = lineage is not None and bool(lineage.catalog.newest)
        return may_be_outdated(verdict, asked=comes_from_server)

    def _needs_temporaries(self, waiting: Waiting, verdict: flow.Verdict) -> bool:
        """Whether the session's own temporary relations are asked for first."""
        settings = self._state.settings
        if verdict.restricted:
            wanted = changes.names_relations(verdict.facts)
        else:  # whether it is a table of its own that it concerns, and no lasting one
            lost = verdict.refusal is not None and changes.names_unknown(verdict.facts)
            wanted = lost and self._state.judge.needs_catalog
        if settings.temporaries_certain or not wanted or self._failed:
            return False
        if self._busy:
            self._await_quiet(waiting)
        else:
            self._count_probe(waiting)
            self.questions.ask_temporaries(waiting)
        return True

    def _needs_check(self, waiting: Waiting, verdict: flow.Verdict) -> bool:
        """Whether the server is asked first if what this text rests on is as it was judged, and
        holds it like that. In a failed transaction nothing runs but its end.
        """
        if verdict.refusal is not None or not verdict.restricted or not waiting.vouch:
            return False
        footing = self.resting.footing(verdict)
        if footing is None and BACKSLASH in waiting.text:
            footing = self.resting.bare()
        if footing is None or self._state.vouches(footing):
            return False
        if self._failed:
            if len(verdict.facts.statements) == 1:
                return False
            refused = msgspec.structs.replace(verdict, refusal=told.settings_in_doubt(), memo=[])
            waiting.then(refused)
        elif self._begins_isolated(verdict):
            refused = msgspec.structs.replace(verdict, refusal=told.isolated_amid(), memo=[])
            waiting.then(refused)
        elif waiting.aside == footing:
            self._state.vouch(footing, self.resting.adopts(footing, verdict))
            return False
        elif self._busy:
            self._await_quiet(waiting)
        else:
            discards = self._state.backend.plans_in_doubt and self.resting.adopts(footing, verdict)
            held = changes.holds(verdict.facts)
            self.questions.ask_check(waiting, verdict, footing, held, discards)
        return True

    def _begins_isolated(self, verdict: flow.Verdict) -> bool:
        """A text that says, amid other statements, how its transaction is isolated: nothing can be
        locked in front of it, so anything may change before its later statements run.
        """
        statements = verdict.facts.statements
        return len(statements) > 1 and any(s.isolates for s in statements)

    def _stores_amid(self, verdict: flow.Verdict) -> bool:
        """Whether something is stored by a text that ends its own transaction: by then nothing can
        be undone. What was inserted stays hidden, but for what names meant otherwise."""
        facts, named = verdict.facts, self._state.locks.named
        ends = Action.TRANSACTION in facts.actions or self._state.client_in_pipeline
        if len(facts.statements) == 1 or not ends:
            return False  # `second_look` ends its transaction, or somebody who waits
        for statement in facts.statements:
            use, runs = statement.prepared, statement
            if use is not None and use.verb == "execute":
                runs = named.executed(use.name) or statement
            if changes.stores_what_it_reads(runs):
                return True
        return False

    def _adopts_amid(self, verdict: flow.Verdict) -> bool:
        """The same, behind a statement of its text that may take any time, or where its locks are
        gone before it is looked at again; or it is stored so without a look."""
        facts = verdict.facts
        ends = Action.TRANSACTION in facts.actions or self._state.client_in_pipeline
        unseen = changes.names_behind_work(facts) or (ends and len(facts.statements) > 1)
        if not (unseen or any(s.kind == "RefreshMatViewStmt" for s in facts.statements)):
            return False
        footing = self.resting.footing(verdict)
        return footing is not None and self.resting.adopts(footing, verdict)

    @property
    def _failed(self) -> bool:
        """The transaction has failed: the upstream answers nothing."""
        return self._state.status == ord("E") and not self._busy

    def _crosses_transaction(self, verdict: flow.Verdict) -> bool:
        """A transaction's end, or a step back to a savepoint, may take settings back in the middle
        of this very text, and lets go of the locks that keep relations as they were judged.
        """
        facts = verdict.facts
        if not verdict.restricted or len(facts.statements) == 1:
            return False
        touched = self._state.settings.touched_in_transaction
        return (touched and Action.TRANSACTION in facts.actions) or changes.goes_on_unlocked(facts)

    def _wait(
        self, waiting: Waiting, request: AnalyseText | RefreshCatalog | PinConnection
    ) -> None:
        if self._state.waiting is not None:
            raise InvariantBroken("two statements wait at once")
        self._state.waiting = waiting
        waiting.epoch = self.epoch()
        self._state.turn.requests.append(request)

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
        verdict = self._state.judge.judge(
            waiting.text, facts, settings, now, keep=keep, forms=forms
        )
        self.settle(waiting, verdict)

    def take_waiting(self) -> Waiting:
        waiting, self._state.waiting = self._state.waiting, None
        if waiting is None:
            raise InvariantBroken("an answer nobody waits for")
        return waiting

    def reads_as_we_do(self, text: bytes) -> bool:
        """Whether the server will read this text as our parser does: under the settings it has
        reported, and under any that what is under way may bring.
        """
        settings = self._state.settings
        if not settings.stores_utf8() and not reads_alike(text):
            return False
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
        if self._failed:
            return False
        self._count_probe(waiting)
        self.questions.ask_settings(waiting)
        return True

    def _announce(self, waiting: Waiting) -> bool:
        """Whether the session's name is SET first, as `_ask`."""
        if self._failed:
            return False  # what was reset in this transaction comes back with its end
        if self._busy:
            self._await_quiet(waiting)
        else:
            self._count_probe(waiting)
            self.questions.ask_announced(waiting, self._state.announcement.again)
        return True

    def _to_pin(self, waiting: Waiting) -> bool:
        """Whether settings that are known are asked for again, once they can be pinned."""
        state = self._state
        return not (state.settings.pinned or waiting.probes or self._busy) and state.may_pin

    @staticmethod
    def _count_probe(waiting: Waiting) -> None:
        if waiting.probes >= PROBES_MAX:
            raise ProtocolViolation("upstream", "settings could not be read")
        waiting.probes += 1

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

    def _answered(self, question: Question) -> None:
        """A question of ours is answered, or an error (somebody's cancel request) cut it short and
        it is asked again.
        """
        whole = question.error is None and len(question.answers) == question.due
        if question.subject in ESTIMATES:
            self.parking.estimated(question)
            return
        if question.subject == "check":
            self._checked(question, question.answers[0] if whole else None)
            return
        if question.subject == "sparing":
            self._spared(question)
            return
        if question.subject == "let go":
            if question.verdict is None:
                raise InvariantBroken("nothing was let go of")
            if not self._parks(question.waiting, question.verdict):
                question.waiting.then(question.verdict)
            return
        if question.subject == "scrubbed" and not whole:
            self._state.backend.sole = False
        elif whole and question.subject == "announced":
            self._state.announcement.due = False
        elif whole and question.subject == "settings":
            self._state.settings.probed(question.answers, question.pins)
        elif whole and question.subject != "scrubbed":
            self._state.settings.temporaries_told(question.answers[0])
        self.examine(question.waiting)

    def _pose(self, waiting: Waiting, sparing: Sparing) -> None:
        """Asks once all replies before are in. In a failed transaction the upstream refuses the
        statement itself.
        """
        checks = sparing.verdict.checks
        unbound = sparing.bind is None and any(check.parameters for check in checks)
        if self._failed:
            waiting.then(answered(sparing.verdict, False))
        elif unbound:
            waiting.then(answered(sparing.verdict, True))
        elif self._busy:
            self._await_quiet(waiting)
        else:
            self.questions.ask_sparing(waiting, sparing)

    def _held_meanwhile(self, waiting: Waiting, verdict: flow.Verdict) -> bool:
        """Whether it waited for an approval since it was judged, and is no longer judged so."""
        if waiting.grant is None or waiting.grant is verdict.granted:
            return False
        if verdict.epoch != self.epoch():
            return True
        if verdict.decision.cacheable:
            return False
        state = self._state
        settings, now = state.settings.current, state.now
        again = state.judge.judge(waiting.text, verdict.facts, settings, now, keep=False)
        if again.released is not None:
            again = under(again.released, waiting.grant)
        sweeping = [v.sweeping and v.sweeping.decision for v in (again, verdict)]
        return again.decision != verdict.decision or sweeping[0] != sweeping[1]

    def _spared(self, question: Question) -> None:
        """Anything but a plain "false" to each check counts as sparing no row."""
        waiting, verdict = question.waiting, question.verdict
        if verdict is None:
            raise InvariantBroken("a question about no statement")
        spares = question.error is None and question.answers == ["f"] * question.due
        settled = answered(verdict, not spares)
        if question.error is not None and settled.restricted and settled.refusal is None:
            # What it rests on was let go of with the transaction that failed.
            settled = msgspec.structs.replace(settled, refusal=told.not_asked(), memo=[])
        settled = self.parking.released(waiting, settled)
        sparing = waiting.sparing
        begun = self._state.holding and self._state.status == ord("I")
        lets_go = sparing is not None and sparing.anew is not None and begun
        if lets_go and settled.released is not None and waiting.bound and self._state.approvals:
            waiting.let_go = True
            self.questions.let_go(waiting, settled)
        elif not self._parks(waiting, settled):
            waiting.then(settled)

    def _checked(self, question: Question, answer: str | None) -> None:
        waiting, footing, verdict = question.waiting, question.footing, question.verdict
        if footing is None or verdict is None:
            raise InvariantBroken("a check of nothing")
        said = None if answer is None else read_answer(answer)
        if said is not None:
            self._state.unchanged.since = said.oldest
            if question.discards:
                self._state.backend.plans_discarded()
            self._state.looked_up[footing] = said.looked_up
            if not self.resting.knows(footing, said.looked_up):
                self._differs(question, verdict)
                return
        if said is not None and not said.settled:
            self._state.settings.unsettle(False)
            said = None
        if said is not None and question.in_transaction and said.isolation not in LATEST_SNAPSHOT:
            # An old snapshot tells what was, and what this transaction itself has changed. What is
            # locked now changes no more: another session of ours can tell whether others have.
            if said.writes and not self._state.unchanged.held(footing, said):
                self._differs(question, verdict)
                return
            waiting.aside, waiting.refreshed = footing, True
            self._state.holding = self._holds(question, verdict)
            waiting.checks += 1
            if waiting.checks > CHECKS_MAX:
                waiting.then(_moved(verdict, {}))
            else:
                self._wait(waiting, RefreshCatalog())
        elif said is None or not self._state.unchanged.holds(footing, said):
            self._differs(question, verdict)
        elif verdict.epoch != self.epoch():
            question.noted = True
            self._differs(question, verdict)
        else:
            if question.leased and question.leased == self._state.hits.leased:
                self._state.unchanged.found_under(footing, question.leased)
            self._state.vouch(footing, self.resting.adopts(footing, verdict))
            self._state.holding = self._holds(question, verdict)
            waiting.then(verdict)

    @staticmethod
    def _holds(question: Question, verdict: flow.Verdict) -> bool:
        """Whether a Query goes on in the messages in which its check began."""
        single = len(verdict.facts.statements) == 1
        return question.holds and question.waiting.simple and single

    def _differs(self, question: Question, verdict: flow.Verdict) -> None:
        """What is there is not what was judged: the locks are let go of, the catalog is brought up
        to date, and the statement is judged anew; in the end it is refused.
        """
        waiting = question.waiting
        if question.error is None and question.holds and not question.amid:
            question.error = {}
            self._state.question, self._state.waiting = question, waiting
            self.questions.release()
            return
        waiting.checks += not question.noted
        waiting.doubted += question.noted
        spent = waiting.checks >= CHECKS_MAX or waiting.doubted >= DOUBTS_MAX
        error = question.error or {}
        if self._failed or spent or error.get("C") in _NOT_AGAIN:
            # The next one is judged by what is there then.
            self._state.turn.requests.append(NoteSchemaChange())
            waiting.then(_moved(verdict, error))
            return
        waiting.refreshed = True
        if not question.noted:
            self._state.settings.unsettle_temporaries()
        self._wait(waiting, RefreshCatalog(reload=waiting.checks > 1))

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

    def alike(self, text: bytes, verdict: flow.Verdict) -> bytes | None:
        """The text without its constants, where the verdict holds for all that differ in them."""
        if not verdict.plain or self._state.hits.path is None:
            return None
        return self._state.judge.alike(text, verdict, self._state.settings.current)

    def refusal(self, verdict: flow.Verdict) -> Refusal | None:
        if verdict.refusal is not None:
            return verdict.refusal
        if verdict.plain:
            return None
        if any(_reserved(statement.prepared) for statement in verdict.facts.statements):
            return told.reserved_name()
        named = self._state.locks.named
        refusal = (
            named.unasked(verdict.facts)
            or executes_uncounted(verdict.facts, verdict.decision, named.executed)
            or fetches_write(verdict.facts, named.bound)
        )
        if refusal is not None:
            return refusal
        refusal = named.require(verdict) if verdict.restricted else named.outdated(verdict)
        if refusal is not None:
            return refusal
        return self._state.announcement.refusal_for(verdict.facts)


def _moved(verdict: flow.Verdict, error: dict[str, str]) -> flow.Verdict:
    return msgspec.structs.replace(verdict, refusal=told.catalog_moved(error), memo=[])


def _prepares(use: PreparedUse | None) -> bool:
    return use is not None and use.verb == "prepare"


def _reserved(use: PreparedUse | None) -> bool:
    """Whether SQL names a statement or cursor as only we do."""
    return use is not None and use.name.encode().startswith(refusals.RESERVED)
