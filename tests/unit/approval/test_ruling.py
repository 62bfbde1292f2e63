"""Who may decide, and when it is decided."""

import msgspec
import pytest

from appliance.approval import ruling
from appliance.approval.request import Asked, Person, Request, State, Vote
from appliance.model.approval import HoldTerms, Need
from appliance.model.approval import joined as both
from appliance.model.principal import PrincipalKind

ROLES = frozenset({"approver"})


def request_of(terms: HoldTerms | None = None, **changes: object) -> Request:
    asked = Asked(
        id="r1", binding="b", time=0.0, session="s", principal="copilot",
        kind=PrincipalKind.AGENT, on_behalf_of="alice", target="shop", database="shop",
        sql="UPDATE t SET a = 1", terms=terms or HoldTerms(needs=(Need("ask"),)),
    )  # fmt: skip
    pending = Request(asked=asked, state=State.PENDING, expires=300.0)
    return msgspec.structs.replace(pending, **changes)


def person(name: str, *groups: str, **changes: object) -> Person:
    return Person(name, groups=groups, **{"roles": ROLES, **changes})  # type: ignore[arg-type]


def vote(name: str, *groups: str, approve: bool = True) -> Vote:
    return Vote(name, approve, 1.0, groups=groups)


@pytest.mark.parametrize(
    ("who", "why"),
    [
        (person("bob", roles=frozenset({"viewer"})), "role approver"),
        (person("copilot"), "of their own"),
        (person("alice"), "on your behalf"),
        (person("claude", kind=PrincipalKind.AGENT), "only people"),
        (person("ci", kind=PrincipalKind.SERVICE), "only people"),
    ],
)
def test_who_may_not(who: Person, why: str) -> None:
    assert why in ruling.objection(request_of(), who)


def test_somebody_else_may() -> None:
    assert ruling.objection(request_of(), person("bob")) == ""


def test_the_human_behind_it_may_where_policy_says_so() -> None:
    terms = HoldTerms(needs=(Need("ask"),), human_may_approve=True)
    assert ruling.objection(request_of(terms), person("alice")) == ""


def test_nobody_votes_twice_or_too_late() -> None:
    voted = request_of(votes=(vote("bob"),))
    assert "already" in ruling.objection(voted, person("bob"))
    assert "denied" in ruling.objection(request_of(state=State.DENIED), person("eve"))


def test_groups() -> None:
    terms = HoldTerms(needs=(Need("ask", 1, ("dba",)),), escalate_groups=("oncall",))
    asked = request_of(terms)
    assert "other groups" in ruling.objection(asked, person("bob", "oncall"))
    assert ruling.objection(asked, person("bob", "dba")) == ""
    escalated = request_of(terms, escalated=True)
    assert ruling.objection(escalated, person("bob", "oncall")) == ""


def test_several_people_of_several_rules() -> None:
    """Each rule is satisfied by itself; one person of both groups counts for both."""
    asked = request_of(HoldTerms(needs=(Need("a", 2, ("dba",)), Need("b", 1, ("privacy",)))))
    bob, dan, pia = vote("bob", "dba"), vote("dan", "dba", "privacy"), vote("pia", "privacy")
    assert ruling.outcome(asked, [bob]) is State.PENDING
    assert ruling.outcome(asked, [bob, pia]) is State.PENDING
    assert ruling.outcome(asked, [bob, dan]) is State.APPROVED
    assert ruling.missing(asked.asked, [bob, pia], asked) == ((Need("a", 2, ("dba",)), 1),)
    assert ruling.outcome(asked, [bob, dan, vote("eve", approve=False)]) is State.DENIED


def test_terms_that_meet_are_the_strictest() -> None:
    one = HoldTerms(needs=(Need("a"),), wait_seconds=60, uses=3, human_may_approve=True)
    other = HoldTerms(needs=(Need("b", 2),), grant_seconds=30, in_transaction=False)
    met = both(one, other)
    assert met is not None and met.needs == (Need("a"), Need("b", 2))
    assert (met.wait_seconds, met.grant_seconds, met.uses) == (60, 30, 1)
    assert not met.in_transaction and not met.human_may_approve
    assert both(None, one) == one and both(one, None) == one
