"""What a database said of earlier statements (warnings, errors) and can be asked for again: whether
it may quote masked cells.

Asked by `exchange_decisions` before a statement is sent, told by `exchange_commands` of each one
that is. Rule: words stay suspect until a statement that surely wipes them, and touches nothing
masked, has been sent.
"""

from appliance.model.facts import Action, Confidence, Facts, Flag
from appliance.session.flow import Verdict

_WIPING = frozenset(("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt"))
"""Statements that, when they use a relation, begin with no warnings."""


def asks(facts: Facts) -> bool:
    """Whether it shows what the database said before."""
    return any(Flag.READS_DIAGNOSTICS in statement.flags for statement in facts.statements)


def may_quote(verdict: Verdict) -> bool:
    """Whether what the database says of it may quote a cell that is masked for somebody: for whom
    it was not asked when nothing is owed."""
    facts = verdict.facts
    if not verdict.restricted or facts.confidence is not Confidence.EXACT:
        return True
    if Action.CALL in facts.actions:
        return True
    if any(s.functions or s.functions_below for s in facts.statements):
        return True
    return any(plan.touches for plan in verdict.plans)


def after(verdict: Verdict, suspect: bool) -> bool:
    """Whether the words are suspect once this has been sent."""
    if may_quote(verdict):
        return True
    (first, *more) = verdict.facts.statements or (None,)
    if first is None or more or first.kind not in _WIPING:
        return suspect
    return suspect and not first.relations
