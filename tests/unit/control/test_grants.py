"""Standing grants: who may agree, what they let pass, and that taking them back works at once."""

import asyncio
from typing import Any

import pytest

from appliance.approval.request import Effect, State, Touched
from appliance.approval.standing import GrantState, StandingGrant
from appliance.control.desk import Conflict, NotAllowed, Unknown
from appliance.model.approval import Need
from tests.desk import (
    ALICE,
    BOB,
    CAROL,
    COPILOT,
    DAN,
    EVE,
    START,
    Desks,
    asked,
    person,
    scope,
    terms,
)

TOUCHED = (
    Touched("update", "shop", "orders", ("status",)),
    Touched("select", "shop", "orders", ("id",)),
)


async def active(desks: Desks, **different: Any) -> StandingGrant:
    until = desks.clock.now + 3_600
    made = await desks.approvals.propose_grant(BOB, scope(**different), until, "release day")
    return await desks.approvals.rule_grant(CAROL, made.id, True)


async def test_a_grant_approves_what_lies_inside_it(desks: Desks) -> None:
    grant = await active(desks)
    request = await desks.held.ask(asked(touched=TOUCHED), waits=True)
    assert (request.state, request.ended_by) == (State.APPROVED, f"grant:{grant.id}")
    await desks.held.use(request.asked.id, request.asked.binding, "session")
    outside = await desks.held.ask(
        asked(touched=(*TOUCHED, Touched("update", "shop", "orders", ("total",)))), waits=True
    )
    assert outside.state is State.PENDING
    [found] = await desks.approvals.grants(EVE)
    assert (found.used, found.decided_groups) == (1, CAROL.groups)
    assert desks.trail.events()[:5] == [
        "grant_proposed",
        "grant_ruled",
        "request_made",
        "request_ruled",
        "request_used",
    ]


@pytest.mark.parametrize(
    ("effect", "scope_max", "limit"),
    [
        (Effect(rows_estimated=4, rows_allowed=5), 10, 5),
        (Effect(rows_estimated=4, rows_allowed=5), None, 5),
        (Effect(rows_estimated=4), 10, 10),
        (Effect(rows_counted=4, rows_allowed=12), 10, 10),
        (Effect(rows_estimated=4), None, None),
    ],
)
async def test_what_is_used_may_write_so_many_rows(
    desks: Desks, effect: Effect, scope_max: int | None, limit: int | None
) -> None:
    """The rows that a standing grant is for are a limit, and not an estimate only."""
    await active(desks, rows_max=scope_max)
    request = await desks.held.ask(asked(touched=TOUCHED, effect=effect), waits=True)
    given = (request.asked.id, request.asked.binding, "session", "once")
    assert (await desks.held.use(*given)).rows_max == limit
    assert (await desks.held.use(*given)).rows_max == limit  # the same use, told again


async def test_revoking_ends_what_was_approved_and_not_used(desks: Desks) -> None:
    grant = await active(desks)
    request = await desks.held.ask(asked(touched=TOUCHED), waits=True)
    await desks.approvals.revoke_grant(DAN, grant.id, "over")
    with pytest.raises(Conflict, match="denied"):
        await desks.held.use(request.asked.id, request.asked.binding, "session")
    ended = await desks.approvals.request(BOB, request.asked.id)
    assert (ended.state, ended.ended_by) == (State.DENIED, "dan")
    assert (await desks.held.ask(asked(touched=TOUCHED), waits=True)).state is State.PENDING
    with pytest.raises(Conflict, match="revoked"):
        await desks.approvals.revoke_grant(DAN, grant.id)


async def test_a_grant_ends_with_its_time(desks: Desks) -> None:
    grant = await active(desks)
    desks.clock.advance(3_595)
    request = await desks.held.ask(asked(touched=TOUCHED, time=desks.clock.now), waits=True)
    assert request.expires == grant.until
    desks.clock.advance(5)
    with pytest.raises(Conflict, match="expired"):
        await desks.held.use(request.asked.id, request.asked.binding, "session")
    later = await desks.held.ask(asked(touched=TOUCHED, time=desks.clock.now), waits=True)
    assert later.state is State.PENDING
    await desks.expiry.round()
    [found] = await desks.approvals.grants(BOB)
    assert found.state is GrantState.EXPIRED


@pytest.mark.parametrize(
    "different",
    [
        {"terms": terms(needs=(Need("r", 2),))},
        {"terms": terms(needs=(Need("r", 1, ("dba",)),))},  # carol is in security
        {"on_behalf_of": "carol"},
        {"effect": Effect(rows_estimated=11)},
        {"effect": Effect()},
        {"functions": ("shop.anything",)},
        {"complete": False},
        {"touched": ()},
        {"target": "other"},
        {"principal": "copilot2"},
    ],
)
async def test_a_grant_approves_no_more_than_whoever_agreed_to_it_could(
    desks: Desks, different: dict[str, Any]
) -> None:
    await active(desks, rows_max=10)
    usual = {"touched": TOUCHED, "effect": Effect(rows_estimated=10)}
    assert (await desks.held.ask(asked(**usual), waits=True)).state is State.APPROVED
    request = await desks.held.ask(asked(**{**usual, **different}), waits=True)
    assert request.state is State.PENDING


@pytest.mark.parametrize(
    ("who", "words"),
    [
        (BOB, "of their own"),
        (DAN, "does not have the role"),
        (COPILOT, "only people"),
        (person("copilot", "approver"), "for you, too"),
    ],
)
async def test_who_may_not_agree(desks: Desks, who: Any, words: str) -> None:
    made = await desks.approvals.propose_grant(BOB, scope(), START + 60, "why not")
    with pytest.raises(NotAllowed, match=words):
        await desks.approvals.rule_grant(who, made.id, True)
    with pytest.raises(Unknown):
        await desks.approvals.rule_grant(ALICE, made.id, True)


@pytest.mark.parametrize(
    ("different", "until", "reason", "words"),
    [
        ({}, START, "x", "ends within"),
        ({}, START + 91 * 86_400, "x", "ends within"),
        ({}, START + 60, " ", "reason"),
        ({"principals": ()}, START + 60, "x", "principals"),
        ({"actions": ("",)}, START + 60, "x", "actions"),
        ({"resources": ("orders",)}, START + 60, "x", "schema.relation"),
        ({"resources": ("a.b.c.d",)}, START + 60, "x", "schema.relation"),
        ({"rows_max": -1}, START + 60, "x", "rows_max"),
    ],
)
async def test_proposals_that_make_no_sense(
    desks: Desks, different: dict[str, Any], until: float, reason: str, words: str
) -> None:
    with pytest.raises(Conflict, match=words):
        await desks.approvals.propose_grant(BOB, scope(**different), until, reason)
    assert await desks.approvals.grants(BOB) == []


async def test_programs_propose_for_themselves_and_see_their_own(desks: Desks) -> None:
    with pytest.raises(NotAllowed):
        await desks.approvals.propose_grant(COPILOT, scope(principals=("*",)), START + 60, "x")
    made = await desks.approvals.propose_grant(COPILOT, scope(), START + 60, "x")
    desks.clock.advance(1)
    other = await desks.approvals.propose_grant(BOB, scope(principals=("etl",)), START + 60, "x")
    assert await desks.approvals.grants(COPILOT) == [made]
    assert await desks.approvals.grants(BOB) == [other, made]
    with pytest.raises(Unknown):
        await desks.approvals.revoke_grant(COPILOT, other.id)
    with pytest.raises(NotAllowed):
        await desks.approvals.revoke_grant(EVE, other.id)
    denied = await desks.approvals.rule_grant(CAROL, other.id, False, "no")
    assert denied.state is GrantState.DENIED


async def test_revoked_while_it_is_used(desks: Desks) -> None:
    """Whatever the order: once revoked, nothing more is approved by it."""
    for _ in range(4):
        grant = await active(desks)
        request, _ = await asyncio.gather(
            desks.held.ask(asked(touched=TOUCHED), waits=True),
            desks.approvals.revoke_grant(DAN, grant.id),
        )
        now = await desks.approvals.request(BOB, request.asked.id)
        assert now.state in (State.PENDING, State.DENIED)
