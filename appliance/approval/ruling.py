"""Who may agree to a request, and when it is decided.

Used by `control` for every vote. Pure. Rules: nobody agrees to what they, or an agent of theirs,
asked for (four eyes), unless policy says so; no agent agrees to anything; a vote counts for a rule
only if its voter is in one of the rule's groups; one denial decides.
"""

from collections.abc import Iterable

from appliance.approval.people import Who
from appliance.approval.request import Asked, Person, Request, State, Vote
from appliance.model.approval import Need
from appliance.model.principal import PrincipalKind

APPROVER = "approver"


def objection(request: Request, person: Person) -> str:
    """Why this person may not decide on this request, '' if they may. A reason to give them."""
    asked = request.asked
    if request.state is not State.PENDING:
        return f"this request is {request.state.value}"
    if person.kind is not PrincipalKind.HUMAN:
        return "only people can decide on requests"
    if APPROVER not in person.roles:
        return "your account does not have the role approver"
    who, distinct = person.who, person.distinct
    if who.may_be_same(asked.who, distinct):
        return "nobody decides on a request of their own" + _namesake(who, asked.who)
    if asked.may_be_for(who, distinct) and not asked.terms.human_may_approve:
        words = "this was asked for on your behalf, so somebody else has to decide"
        return words + _namesake(who, asked.behind or asked.who)
    for vote in request.votes:
        if who.may_be_same(vote.who, distinct):
            return "you have voted on this request already" + _namesake(who, vote.who)
    if not any(counts(need, person.groups, request) for need in asked.terms.needs):
        return "the rules that hold this statement ask for somebody in other groups"
    return ""


def _namesake(who: Who, other: Who) -> str:
    """What to add when it is not sure that they are the same."""
    if who.is_same(other):
        return ""
    return f" (for all we know, {other.name} of {other.source} is you: `control.namesakes`)"


def counts(need: Need, groups: Iterable[str], request: Request) -> bool:
    """Whether the vote of somebody in these groups counts for what a rule asks."""
    if not need.groups:
        return True
    wanted = set(need.groups)
    if request.escalated:
        wanted |= set(request.asked.terms.escalate_groups)
    return not wanted.isdisjoint(groups)


def outcome(request: Request, votes: Iterable[Vote]) -> State:
    """PENDING, APPROVED or DENIED after these votes."""
    cast = tuple(votes)
    if any(not vote.approve for vote in cast):
        return State.DENIED
    if any(vote.break_glass for vote in cast):
        return State.APPROVED
    needs = request.asked.terms.needs or (Need(rule=""),)
    satisfied = all(len(agreeing(need, cast, request)) >= need.approvals for need in needs)
    return State.APPROVED if satisfied else State.PENDING


def agreeing(need: Need, votes: Iterable[Vote], request: Request) -> frozenset[Who]:
    """Who has agreed, as far as this rule is concerned."""
    return frozenset(v.who for v in votes if v.approve and counts(need, v.groups, request))


def missing(asked: Asked, votes: Iterable[Vote], request: Request) -> tuple[tuple[Need, int], ...]:
    """(rule's need, approvals still missing), of those that are not satisfied."""
    cast = tuple(votes)
    left = ((n, n.approvals - len(agreeing(n, cast, request))) for n in asked.terms.needs)
    return tuple((need, count) for need, count in left if count > 0)
