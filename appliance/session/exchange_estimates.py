"""How many rows the database expects a held statement to write, asked in an exchange session.

Used by `exchange_decisions`, asked by `parking`. The question is the dialect's (`Dialect.explain`),
and asked outside transactions only: inside one it would take a snapshot, and keep locks, that the
client has not asked for. What was begun for it is rolled back. Rule: the answer is for approvers;
what the database could be asked to say of it once more counts as suspect (`said_again`).
"""

from collections.abc import Sequence

from appliance.approval.request import Effect
from appliance.model.dialect import Expectation
from appliance.model.errors import InvariantBroken
from appliance.session.dry_runs import Counted
from appliance.session.exchange_blast import UNDO
from appliance.session.exchange_state import ExchangeState, Question, Running
from appliance.session.flow import Verdict
from appliance.session.inflight import Bound
from appliance.session.state import Waiting

ESTIMATE, UNDONE = "estimate", "estimate undone"


class ExchangeEstimates:
    """The part of one session's machine that asks."""

    unrehearsed = "no statement is tried out on this database"

    def __init__(self, state: ExchangeState) -> None:
        self._state = state

    def objection(self, verdict: Verdict, bound: Bound) -> str:
        state = self._state
        if state.status != ord("I") or state.locked or state.tables_held:
            return "not estimated: the question would take part in its transaction"
        if state.one_shot:
            return "not estimated: the question would use up what SET TRANSACTION said"
        if verdict.rewritten:
            return "not estimated: it runs over masked columns"
        return ""

    def foreseen(self, verdict: Verdict, bound: Bound) -> Effect | None:
        asked = self._question(verdict, bound)
        return _effect(asked) if isinstance(asked, Expectation) else None

    def ask_estimate(self, waiting: Waiting, text: bytes, bound: Bound) -> None:
        parked = self._state.parked
        verdict = None if parked is None else parked.verdict.released
        asked = None if verdict is None else self._question(verdict, bound)
        if not isinstance(asked, bytes):
            raise InvariantBroken("an estimate of nothing")
        self._ask(ESTIMATE, waiting, asked)
        self._state.words_suspect = True

    def undo_estimate(self, waiting: Waiting, inside: bool) -> None:
        self._ask(UNDONE, waiting, UNDO)

    def _question(self, verdict: Verdict, bound: Bound) -> bytes | Expectation:
        """With the values that it is bound to."""
        state, judge = self._state, self._state.judge
        literals: Sequence[bytes] | None = ()
        if bound.body is not None:
            literals = state.codec.literals(bound.body, bound.arity, bound.types)
        if literals is None:
            return Expectation(None, "not estimated: its values have no literals")
        lineage, settings = judge.catalog.lineage, state.settings.current
        catalog = None if lineage is None else lineage.catalog
        (statement,) = verdict.facts.statements
        start, length = statement.span
        text = bound.text[start : start + length]  # without what stands around it
        return judge.dialect.explain(text, verdict.facts, literals, settings, catalog)

    def _ask(self, subject: str, waiting: Waiting, text: bytes) -> None:
        state = self._state
        state.waiting = waiting
        state.running = Running(None)
        state.running.question = Question(subject, waiting)
        state.turn.upstream.append(state.codec.ask(text))

    def effect_of(self, estimate: Question, verdict: Verdict, bound: Bound) -> Effect:
        if estimate.failed:
            return Effect(note=f"the database gave no estimate (error {estimate.error})")
        lines = [dict(zip(estimate.columns, row, strict=True)) for row in estimate.rows]
        return _effect(self._state.judge.dialect.explained(lines))

    # Never asked here: nothing is inside a transaction (`objection`), nothing runs (`unrehearsed`).

    def ask_isolation(self, waiting: Waiting) -> None:
        raise InvariantBroken("a question that is never asked")

    def ask_dry_run(self, waiting: Waiting, text: bytes, bound: Bound) -> None:
        raise InvariantBroken("a question that is never asked")

    def keeps_snapshot(self, isolation: Question) -> bool:
        raise InvariantBroken("an answer to what nobody asked")

    def counted(self, dry_run: Question) -> Counted:
        raise InvariantBroken("an answer to what nobody asked")


def _effect(expected: Expectation) -> Effect:
    return Effect(rows_estimated=expected.rows, note=expected.note)
