"""A statement that policy holds: parked where it is, until somebody decides or it gives up.

Part of `machine`, used by `decisions` in front of everything that a statement does to the server.
Rules: the verdict of a held text is a refusal until it is replaced by its `released` form, which
happens here only, for a grant whose binding is computed anew from the statement as it stands now;
only an answer that the use of the grant is stored (`used`) makes a grant.

Steps: estimating -> asked -> pending -> using -> released, or refused at any of them.
"""

import enum
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import msgspec

from appliance.approval import binding, extent
from appliance.approval.request import Asked, Effect, Parameter, State, Touched
from appliance.audit.record import Outcome
from appliance.link.approvals import Known, Used
from appliance.model.approval import OnHold
from appliance.model.catalog import SessionSettings
from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.model.facts import Confidence, Flag
from appliance.model.refusal import Refusal
from appliance.session import dry_runs, estimates, flow, told
from appliance.session.chosen import Chosen
from appliance.session.effects import AskApproval, Turn, UseApproval, WithdrawApproval
from appliance.session.inflight import Bound
from appliance.session.questions import DRY_RUN
from appliance.session.records import Recorder, parts_of
from appliance.session.released import bounds_writes, under
from appliance.session.state import Parked, Waiting
from appliance.sql.lineage import CatalogLineage

NAMES_MAX = 256
UNDOING_MAX = 3
"""How often it is tried to end a transaction of our own."""
ESTIMATES = frozenset(("isolation", "estimate", "estimate undone", DRY_RUN))
"""Questions that `estimated` gets the answers to."""

Settle = Callable[[Waiting], None]


class Step(enum.Enum):
    ESTIMATING = "estimating"
    ASKED = "asked"
    PENDING = "pending"
    USING = "using"


class Settings(Protocol):
    """What a session knows of its settings."""

    @property
    def current(self) -> SessionSettings: ...
    @property
    def parameters(self) -> dict[str, str]: ...
    def lexes_as_standard(self) -> bool: ...


class Place(Protocol):
    """Where statements are parked: the state of a machine (`session/state`, `exchange_state`)."""

    now: float
    turn: Turn
    parked: Parked | None
    waiting: Waiting | None
    chosen: Chosen
    rehearsed_at: float
    """When a statement was last run to be rolled back."""

    @property
    def lineage(self) -> CatalogLineage | None:
        """What a dry run is judged by; None = there is none."""

    @property
    def judge(self) -> flow.Judge: ...
    @property
    def recorder(self) -> Recorder: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def status(self) -> int: ...
    @property
    def running_in_pipeline(self) -> bool: ...
    @property
    def holding(self) -> bool: ...
    @property
    def reports_in_doubt(self) -> bool: ...
    def notice(self, message: str, hint: str) -> None:
        """Tells the client something while it waits, where its protocol has a way."""

    def shown_parameters(self, bound: Bound, verdict: flow.Verdict) -> tuple[Parameter, ...]: ...


class Answered(Protocol):
    """A question of `ESTIMATES` that was answered, or failed."""

    @property
    def subject(self) -> str: ...


Q = TypeVar("Q", bound=Answered)
Q_contra = TypeVar("Q_contra", bound=Answered, contravariant=True)


class Asking(Protocol[Q_contra]):
    """Questions to the database about a parked statement (`session/questions`,
    `exchange_estimates`)."""

    @property
    def unrehearsed(self) -> str:
        """Why no statement is run to be counted, for approvers; '' = some are."""

    def objection(self, verdict: flow.Verdict, bound: Bound) -> str:
        """Why the planner is not asked about a statement as this session is, for approvers; '' = it
        may be."""

    def foreseen(self, verdict: flow.Verdict, bound: Bound) -> Effect | None:
        """What is known of it without a question, or that nothing will be; None: ask."""

    def ask_isolation(self, waiting: Waiting) -> None: ...
    def ask_estimate(self, waiting: Waiting, text: bytes, bound: Bound) -> None: ...
    def undo_estimate(self, waiting: Waiting, inside: bool) -> None: ...
    def ask_dry_run(self, waiting: Waiting, text: bytes, bound: Bound) -> None: ...
    def keeps_snapshot(self, isolation: Q_contra) -> bool:
        """Whether the transaction keeps what it has seen once."""

    def effect_of(self, estimate: Q_contra, verdict: flow.Verdict, bound: Bound) -> Effect: ...
    def counted(self, dry_run: Q_contra) -> dry_runs.Counted: ...


class Parking(Generic[Q]):
    """The part of one session's machine that holds. `again` judges a waiting statement anew."""

    def __init__(self, state: Place, again: Settle, questions: Asking[Q]) -> None:
        self._state = state
        self._again = again
        self._questions = questions

    # --- in ---------------------------------------------------------------------------------------

    def park(self, waiting: Waiting, verdict: flow.Verdict) -> None:
        """Nothing is under way, and the session's settings are known."""
        state = self._state
        bound, released = waiting.bound, verdict.released
        terms = verdict.decision.hold
        assert bound is not None and released is not None and terms is not None
        if self._inside and not terms.in_transaction:
            waiting.then(refused(verdict, told.held_in_transaction(verdict.refusal)))
            return
        if state.reports_in_doubt:
            waiting.then(refused(verdict, told.held_unreported(verdict.refusal)))
            return
        asked = self._asked(bound, released)
        state.waiting = waiting
        parked = state.parked = Parked(waiting, verdict, asked, Step.ESTIMATING)
        why = self._unasked(waiting, bound, released)
        foreseen = Effect(note=why) if why else self._questions.foreseen(released, bound)
        if foreseen is not None:
            self._ask(parked, foreseen)
        elif state.status != ord("I"):
            self._questions.ask_isolation(waiting)
        else:
            self._questions.ask_estimate(waiting, parked.text, bound)

    @property
    def _inside(self) -> bool:
        """Whether locks are kept meanwhile: of the client's transaction (a pipeline may have begun
        one that no ReadyForQuery has told of yet), or of a check of ours.
        """
        state = self._state
        return state.status != ord("I") or state.running_in_pipeline or state.holding

    def binding(self, bound: Bound) -> str:
        """Of a statement as it would run now."""
        state = self._state
        return binding.digest(
            text=bound.text,
            parameters=bound.parameters,
            parameter_types=bound.types,
            principal=state.judge.principal,
            target=state.judge.target.name,
            database=state.judge.database,
            settings=state.settings.current.digest(),
            chosen=state.chosen.digest,
            reported=state.settings.parameters,
        )

    def released(self, waiting: Waiting, verdict: flow.Verdict) -> flow.Verdict:
        """What a held verdict becomes under the grant that its statement got, if it got one. Where
        policy demands something else by now, it is held anew."""
        grant, bound = waiting.grant, waiting.bound
        if grant is None or verdict.released is None:
            return verdict
        if verdict.released.decision.hold != grant.terms:
            waiting.grant = None
            return verdict
        if self._state.reports_in_doubt:
            return refused(verdict, told.held_unreported(verdict.refusal))
        if bound is None or self.binding(bound) != grant.binding:
            return refused(verdict, told.granted_otherwise(grant.request))
        return under(verdict.released, grant)

    # --- what the database expects of it ----------------------------------------------------------

    def _unasked(self, waiting: Waiting, bound: Bound, released: flow.Verdict) -> str:
        """Why the planner is not asked, '' = it is. A Sync ends the question, whatever comes of it,
        and would end what the client, or a check of ours, has begun before it."""
        state = self._state
        if why := estimates.unasked(released.facts):
            return why
        if state.running_in_pipeline or state.holding:
            return "not estimated: it stands behind others in one transaction"
        if released.restricted and waiting.sparing is not None and not waiting.let_go:
            return "not estimated: what it rests on is locked already"
        text = released.rewritten or bound.text
        if len(text) + len(bound.body or b"") > estimates.TEXT_BYTES_MAX:
            return "not estimated: the statement is too long"
        if not state.settings.lexes_as_standard():
            return "not estimated: the session's encoding is not UTF-8"
        return self._questions.objection(released, bound)

    def estimated(self, question: Q) -> None:
        """A question of `ESTIMATES` is answered, or failed."""
        state, parked = self._state, self._state.parked
        if parked is None or parked.step is not Step.ESTIMATING:
            raise InvariantBroken("an estimate of nothing")
        bound, released = parked.waiting.bound, parked.verdict.released
        if bound is None or released is None:
            raise InvariantBroken("an estimate of nothing")
        state.waiting = parked.waiting
        if question.subject == "isolation" and not parked.given_up:
            if not self._questions.keeps_snapshot(question):
                self._questions.ask_estimate(parked.waiting, parked.text, bound)
                return
            parked.asked = _with(parked.asked, Effect(note=_SNAPSHOT))
        elif question.subject == "estimate":
            effect = self._questions.effect_of(question, released, bound)
            parked.asked = _with(parked.asked, effect)
        elif question.subject == DRY_RUN:
            self._counted(parked, question)
        self._undone(parked)

    def _undone(self, parked: Parked) -> None:
        """Goes on once nothing is left of the question."""
        state, inside = self._state, parked.asked.in_transaction
        if state.status == ord("T" if inside else "I"):
            if not self._rehearses(parked):
                self._ask(parked, parked.asked.effect)
        elif parked.tries < UNDOING_MAX:
            parked.tries += 1
            self._questions.undo_estimate(parked.waiting, inside)
        elif inside:  # as it would have been anyway: the transaction has failed
            refusal = parked.verdict.refusal
            assert refusal is not None
            self._refuse(refusal)
        else:
            raise ProtocolViolation("upstream", "a transaction of ours does not end")

    def _rehearses(self, parked: Parked) -> bool:
        """Whether it is run now, to be rolled back: where policy asks for that, and it leaves
        nothing behind. Recorded first."""
        state, released = self._state, parked.verdict.released
        if parked.rehearsed or parked.given_up or not parked.asked.terms.dry_run:
            return False
        parked.rehearsed = True
        assert released is not None and parked.waiting.bound is not None
        effect, since = parked.asked.effect, state.now - state.rehearsed_at
        why = self._questions.unrehearsed or dry_runs.objection(
            released, parked.text, effect, state.lineage, since
        )
        if not parked.waiting.looked:
            why = "it turned out to need an approval only when it was about to run"
        if why:
            parked.asked = _with(parked.asked, dry_runs.uncounted(effect, why))
            return False
        state.rehearsed_at, parked.tries = state.now, 0
        lineage = state.judge.catalog.lineage
        catalog = None if lineage is None else lineage.catalog
        statement = parts_of(parked.waiting.text, released, catalog)[0]
        begun = state.recorder.dry_run_begun(state.now, parked.asked.id, statement)
        state.turn.records.append(begun)
        parked.dry_run = begun.id
        self._questions.ask_dry_run(parked.waiting, parked.text, parked.waiting.bound)
        return True

    def _counted(self, parked: Parked, question: Q) -> None:
        """A dry run is over."""
        effect, state = parked.asked.effect, self._state
        begun, parked.dry_run = parked.dry_run, ""
        ran, rows, sqlstate = self._questions.counted(question)
        if not ran:
            unrecorded = dry_runs.uncounted(effect, "it could not be recorded")
            parked.asked = _with(parked.asked, unrecorded)
            return
        outcome = Outcome.COMPLETED
        if sqlstate:
            outcome = Outcome.CANCELLED if sqlstate == "57014" else Outcome.FAILED
        state.turn.records.append(
            state.recorder.dry_run_ended(begun, state.now, outcome, rows or 0, sqlstate)
        )
        parked.asked = _with(parked.asked, dry_runs.counted(effect, rows, sqlstate))

    def _ask(self, parked: Parked, effect: Effect) -> None:
        if parked.given_up:
            self._refuse(told.hold_given_up(parked.given_up, ""))
            return
        terms, released = parked.asked.terms, parked.verdict.released
        if released is not None and bounds_writes(released):
            effect = extent.bounded(effect, terms.rows_margin or 0)
            if effect.rows_allowed is None:
                self._refuse(told.held_uncounted(parked.verdict.refusal, effect.note))
                return
        parked.asked = _with(parked.asked, effect)
        parked.step = Step.ASKED
        waits = terms.on_hold is OnHold.WAIT
        self._state.turn.requests.append(AskApproval(parked.asked, waits))

    # --- what becomes of it -----------------------------------------------------------------------

    def known(self, known: Known) -> None:
        """It is stored as this request, which may have been asked for before."""
        parked = self._state.parked
        if parked is None or parked.step is not Step.ASKED:
            return
        request, held = known.request, parked.verdict.refusal
        parked.request, parked.url, parked.expires = request, known.url, known.expires
        if known.state is State.APPROVED:
            self._use(parked)
        elif known.state is not State.PENDING:
            self._refuse(told.not_approved(request, known.state, known.by, known.reason))
        elif parked.ticket:
            self._refuse(told.ticket(held, request, known.url, known.poll, known.expires))
        else:
            parked.step = Step.PENDING
            self._tell(told.holding_words(held, request))

    def ruled(self, request: str, state: State, by: str, reason: str) -> None:
        """Somebody decided, or nobody in time."""
        parked = self._state.parked
        if parked is None or parked.request != request or parked.step is not Step.PENDING:
            return
        if state is State.APPROVED:
            self._use(parked)
        elif state is not State.PENDING:
            self._refuse(told.not_approved(request, state, by, reason))

    def used(self, used: Used) -> None:
        """Whether the use of the approval is stored."""
        parked, request = self._state.parked, used.request
        if parked is None or parked.request != request or parked.step is not Step.USING:
            return
        if not used.ok:
            self._refuse(told.not_usable(request, used.reason))
            return
        waiting, asked = self._leave(parked), parked.asked
        grant = flow.Granted(request, asked.binding, used.by, asked.terms, used.rows_max)
        waiting.grant = grant
        self._again(waiting)

    def failed(self, reason: str) -> None:
        """Approvals are not to be had now."""
        parked = self._state.parked
        if parked is not None and parked.step is not Step.ESTIMATING:
            self._refuse(told.control_away(parked.verdict.refusal, reason))

    def give_up(self, why: str) -> None:
        """The client cancels, or the session has to end: cancelled, drained, expired."""
        parked = self._state.parked
        if parked is None:
            return
        if parked.step is Step.ESTIMATING:  # the database's answer comes first
            if why != "expired":  # that was another's time
                parked.given_up = why
            return
        self._withdraw(parked, why)
        if why == "expired":
            self._refuse(told.not_approved(parked.request, State.EXPIRED, "", ""))
        else:
            self._refuse(told.hold_given_up(why, parked.request))

    def disconnected(self) -> None:
        """The session is over."""
        state, parked = self._state, self._state.parked
        state.parked = None
        if parked is not None and parked.step is not Step.ESTIMATING:
            self._withdraw(parked, "disconnected")
        elif parked is not None and parked.dry_run:
            lost = state.recorder.dry_run_ended(parked.dry_run, state.now, Outcome.DISCONNECTED)
            state.turn.records.append(lost)

    def remind(self) -> None:
        """A sign of life for people and for what watches idle connections."""
        parked = self._state.parked
        if parked is not None and parked.step is Step.PENDING:
            left = max(0, int(parked.expires - self._state.now))
            self._tell(told.still_holding_words(parked.request, left))

    def _use(self, parked: Parked) -> None:
        parked.step = Step.USING
        self._state.turn.requests.append(UseApproval(parked.request, parked.asked.binding))

    def _withdraw(self, parked: Parked, why: str) -> None:
        if not parked.ticket:
            request = parked.request or parked.asked.id
            self._state.turn.requests.append(WithdrawApproval(request, why))

    def _leave(self, parked: Parked) -> Waiting:
        self._state.parked = self._state.waiting = None
        waiting: Waiting = parked.waiting
        return waiting

    def _refuse(self, refusal: Refusal) -> None:
        parked = self._state.parked
        assert parked is not None
        self._leave(parked).then(refused(parked.verdict, refusal))

    def _tell(self, message: str) -> None:
        parked = self._state.parked
        assert parked is not None
        hint = f"decide at {parked.url}" if parked.url else "approvers were told"
        self._state.notice(message, f"{hint} (cancel to give up)")

    # --- what approvers see -----------------------------------------------------------------------

    def _asked(self, bound: Bound, released: flow.Verdict) -> Asked:
        state, judge = self._state, self._state.judge
        principal, facts = judge.principal, released.facts
        terms = released.decision.hold
        assert terms is not None
        statements = facts.statements
        touched = [
            Touched(use.action.value, use.schema, use.name, use.columns)
            for s in statements
            for use in (*s.relations, *s.beneath)
        ]
        named = {touch.action for touch in touched}
        touched += [Touched(a.value) for a in facts.actions if a.value not in named]
        return Asked(
            id=state.recorder.reference(state.now),
            binding=self.binding(bound),
            time=state.now,
            session=state.recorder.session,
            principal=principal.name,
            kind=principal.kind,
            groups=principal.groups,
            on_behalf_of=principal.on_behalf_of,
            source=principal.source,
            address=judge.client.address,
            application=judge.client.application,
            target=judge.target.name,
            environment=judge.target.environment,
            database=judge.database,
            sql=bound.text.decode("utf-8", "replace"),
            redacted=facts.redacted,
            parameters=state.shown_parameters(bound, released),
            touched=tuple(dict.fromkeys(touched))[:NAMES_MAX],
            complete=_complete(released) and len(touched) <= NAMES_MAX,
            functions=_functions(released),
            flags=tuple(sorted({f.value for s in statements for f in s.flags})),
            terms=terms,
            reasons=tuple(
                reason.message or reason.rule
                for reason in released.decision.reasons
                if reason.effect == "hold" and not reason.observed
            ),
            effect=Effect(),
            in_transaction=self._inside,
            policy_version=released.decision.policy_version,
        )


_SNAPSHOT = "not estimated: its transaction keeps a snapshot, which the question would take"


def _with(asked: Asked, effect: Effect) -> Asked:
    return msgspec.structs.replace(asked, effect=effect)


def refused(verdict: flow.Verdict, refusal: Refusal) -> flow.Verdict:
    return msgspec.structs.replace(verdict, refusal=refusal, released=None, memo=[])


def _complete(verdict: flow.Verdict) -> bool:
    """Whether nothing about what it does is unknown."""
    return verdict.facts.confidence is Confidence.EXACT and not any(
        s.unresolved or Flag.DYNAMIC in s.flags for s in verdict.facts.statements
    )


def _functions(verdict: flow.Verdict) -> tuple[str, ...]:
    uses = (u for s in verdict.facts.statements for u in (*s.functions, *s.functions_below))
    names = (f"{use.schema}.{use.name}".removeprefix(".") for use in uses)
    return tuple(dict.fromkeys(names))[:NAMES_MAX]
