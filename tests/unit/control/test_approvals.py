"""The desk: who may say what, what comes of it, and that it is recorded first."""

import asyncio

import msgspec
import pytest

from appliance.approval.request import Parameter, State
from appliance.control.desk import Conflict, NotAllowed, Unavailable, Unknown
from appliance.model.approval import Need
from tests.desk import ALICE, BOB, CAROL, COPILOT, DAN, EVE, Desks, asked, person, terms


async def test_a_vote_approves_and_the_approval_is_used_once(desks: Desks) -> None:
    made = await desks.held.ask(asked(), waits=True)
    assert made.state is State.PENDING
    assert made.expires == made.asked.time + 300
    ruled = await desks.approvals.vote(BOB, made.asked.id, True, "looks  good\n")
    assert (ruled.state, ruled.ended_by, ruled.reason) == (State.APPROVED, "bob", "looks good")
    assert ruled.expires == desks.clock.now + 600
    used, _ = await desks.held.use(made.asked.id, made.asked.binding, "session")
    assert (used.state, used.used) == (State.USED, 1)
    with pytest.raises(Conflict, match="used"):
        await desks.held.use(made.asked.id, made.asked.binding, "session")
    assert desks.trail.events() == [
        "request_made",
        "request_voted",
        "request_ruled",
        "request_used",
    ]


async def test_a_denial_decides_and_needs_a_reason(desks: Desks) -> None:
    made = await desks.held.ask(asked(terms=terms(needs=(Need("r", 2),))), waits=True)
    with pytest.raises(Conflict, match="reason"):
        await desks.approvals.vote(BOB, made.asked.id, False, "  ")
    await desks.approvals.vote(BOB, made.asked.id, True)
    ruled = await desks.approvals.vote(CAROL, made.asked.id, False, "not today")
    assert (ruled.state, ruled.ended_by, ruled.reason) == (State.DENIED, "carol", "not today")
    with pytest.raises(Conflict, match="denied"):
        await desks.held.use(made.asked.id, made.asked.binding, "session")
    with pytest.raises(Conflict, match="denied"):
        await desks.approvals.vote(BOB, made.asked.id, True)


@pytest.mark.parametrize(
    ("who", "words"),
    [
        (COPILOT, "only people"),
        (ALICE, "does not have the role"),
        (EVE, "does not have the role"),
        (DAN, "does not have the role"),
        (person("alice", "approver"), "on your behalf"),
        (person("frank", "approver", groups=("sales",)), "other groups"),
    ],
)
async def test_who_may_not_vote(desks: Desks, who: object, words: str) -> None:
    made = await desks.held.ask(asked(terms=terms(needs=(Need("r", 1, ("dba",)),))), waits=True)
    with pytest.raises(NotAllowed, match=words):
        await desks.approvals.vote(who, made.asked.id, True)  # type: ignore[arg-type]
    assert (await desks.approvals.request(BOB, made.asked.id)).votes == ()
    assert desks.trail.events() == ["request_made"]


async def test_two_of_two_and_nobody_twice(desks: Desks) -> None:
    made = await desks.held.ask(asked(terms=terms(needs=(Need("r", 2),))), waits=True)
    once = await desks.approvals.vote(BOB, made.asked.id, True)
    assert once.state is State.PENDING
    with pytest.raises(NotAllowed, match="voted"):
        await desks.approvals.vote(BOB, made.asked.id, True)
    twice = await desks.approvals.vote(CAROL, made.asked.id, True)
    assert (twice.state, twice.ended_by) == (State.APPROVED, "bob, carol")


async def test_whoever_has_no_role_sees_their_own(desks: Desks) -> None:
    own = await desks.held.ask(asked(), waits=True)
    other = await desks.held.ask(asked(principal="etl", on_behalf_of=None), waits=True)
    for who in (ALICE, COPILOT):
        assert await desks.approvals.requests(who) == [own]
        assert await desks.approvals.request(who, own.asked.id) == own
        with pytest.raises(Unknown):
            await desks.approvals.request(who, other.asked.id)
        with pytest.raises(Unknown):
            await desks.approvals.vote(who, other.asked.id, True)
    assert await desks.approvals.requests(BOB) == [other, own]
    assert await desks.approvals.requests(BOB, principal="etl") == [other]
    assert await desks.approvals.requests(BOB, before=other.asked.id) == [own]
    assert await desks.approvals.requests(BOB, state=State.APPROVED) == []


async def test_an_emergency_is_for_members_only_and_loud(desks: Desks) -> None:
    made = await desks.held.ask(asked(), waits=True)
    oncall = person("alice", groups=("oncall",), via="cli")
    for who in (ALICE, person("copilot", groups=("oncall",), kind=COPILOT.kind)):
        with pytest.raises(NotAllowed):
            await desks.approvals.break_glass(who, made.asked.id, "fire")
    with pytest.raises(Unknown):
        await desks.approvals.break_glass(person("zoe", groups=("oncall",)), made.asked.id, "fire")
    with pytest.raises(Conflict, match="reason"):
        await desks.approvals.break_glass(oncall, made.asked.id, "")
    ruled = await desks.approvals.break_glass(oncall, made.asked.id, "fire")
    assert (ruled.state, ruled.ended_by) == (State.APPROVED, "alice")
    loud = [r for r in desks.trail.records if getattr(r, "break_glass", False)]
    assert len(loud) == 2


async def test_only_whoever_asked_withdraws(desks: Desks) -> None:
    made = await desks.held.ask(asked(), waits=False)
    with pytest.raises(NotAllowed):
        await desks.approvals.withdraw(BOB, made.asked.id)
    ended = await desks.approvals.withdraw(ALICE, made.asked.id)
    assert ended.state is State.WITHDRAWN
    with pytest.raises(Conflict):
        await desks.approvals.vote(BOB, made.asked.id, True)


async def test_what_cannot_be_recorded_does_not_happen(desks: Desks) -> None:
    made = await desks.held.ask(asked(), waits=True)
    desks.trail.broken = True
    with pytest.raises(Unavailable):
        await desks.approvals.vote(BOB, made.asked.id, True)
    with pytest.raises(Unavailable):
        await desks.held.ask(asked(), waits=True)
    desks.trail.broken = False
    assert await desks.approvals.requests(BOB) == [made]
    await desks.approvals.vote(BOB, made.asked.id, True)
    desks.trail.broken = True
    with pytest.raises(Unavailable):
        await desks.held.use(made.asked.id, made.asked.binding, "session")
    desks.trail.broken = False
    used, _ = await desks.held.use(made.asked.id, made.asked.binding, "session")
    assert used.used == 1


async def test_watchers_hear_what_was_committed(desks: Desks) -> None:
    watching = desks.approvals.watch()
    heard = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    made = await desks.held.ask(asked(), waits=True)
    assert (await heard).id == made.asked.id
    await desks.approvals.vote(BOB, made.asked.id, True)
    change = await anext(watching)
    assert (change.kind, change.state) == ("request_ruled", "approved")


async def test_values_are_for_whoever_decides_and_whoever_it_concerns(desks: Desks) -> None:
    secret = "UPDATE people SET ssn = '123-45-6789' WHERE id = $1"
    made = await desks.held.ask(
        asked(
            sql=secret, redacted="UPDATE people SET ssn = $_", parameters=(Parameter("int4", "7"),)
        ),
        waits=True,
    )
    for whole in (BOB, ALICE, COPILOT):
        assert (await desks.approvals.request(whole, made.asked.id)).asked == made.asked
    for role in ("viewer", "admin", "auditor"):
        looker = person("zoe", role)
        shown = await desks.approvals.request(looker, made.asked.id)
        (listed,) = await desks.approvals.requests(looker)
        for one in (shown, listed):
            assert one.asked.sql == "UPDATE people SET ssn = $_"
            assert one.asked.parameters == (Parameter("int4", None),)
            assert one.asked.binding == made.asked.binding


async def test_an_agent_has_the_requests_of_whom_it_acts_for(desks: Desks) -> None:
    """The same agent comes for several humans, each with a token of their own."""
    made = await desks.held.ask(asked(), waits=True)
    other = msgspec.structs.replace(COPILOT, on_behalf_of="mallory")
    with pytest.raises(Unknown):
        await desks.approvals.request(other, made.asked.id)
    with pytest.raises(Unknown):
        await desks.approvals.withdraw(other, made.asked.id)
    assert await desks.approvals.requests(other) == []
    mine = msgspec.structs.replace(COPILOT, on_behalf_of="alice")
    assert [one.asked.id for one in await desks.approvals.requests(mine)] == [made.asked.id]
    assert (await desks.approvals.withdraw(mine, made.asked.id)).state is State.WITHDRAWN
