"""Held statements on the workers' side: found again or not, used once, bounded, expired."""

import asyncio
from typing import Any

import msgspec
import pytest

from appliance.approval.request import Request, State
from appliance.control import held as held_module
from appliance.control.desk import Conflict, DeskError, Unknown
from appliance.control.held import Crowded
from appliance.model.approval import Need
from tests.desk import BOB, CAROL, START, Desks, asked, terms


async def approved(desks: Desks, waits: bool = False, **different: Any) -> Request:
    made = await desks.held.ask(asked(**different), waits)
    return await desks.approvals.vote(BOB, made.asked.id, True)


def again(request: Request, **different: Any) -> Any:
    """The same statement, sent anew."""
    return asked(binding=request.asked.binding, terms=request.asked.terms, **different)


async def test_asking_again_by_the_same_id_changes_nothing(desks: Desks) -> None:
    first = asked()
    made = await desks.held.ask(first, waits=True)
    assert await desks.held.ask(first, waits=True) == made
    await desks.approvals.vote(BOB, first.id, True)
    assert (await desks.held.ask(first, waits=True)).state is State.APPROVED
    assert desks.trail.events().count("request_made") == 1
    with pytest.raises(Conflict, match="another request"):
        await desks.held.ask(asked(id=first.id), waits=True)


async def test_a_ticket_is_found_again_pending_and_approved(desks: Desks) -> None:
    made = await desks.held.ask(asked(), waits=False)
    assert (await desks.held.ask(again(made), waits=False)).asked.id == made.asked.id
    await desks.approvals.vote(BOB, made.asked.id, True)
    found = await desks.held.ask(again(made), waits=False)
    assert (found.asked.id, found.state) == (made.asked.id, State.APPROVED)
    await desks.held.use(found.asked.id, found.asked.binding, "session")
    anew = await desks.held.ask(again(made), waits=False)
    assert (anew.asked.id != made.asked.id, anew.state) == (True, State.PENDING)


@pytest.mark.parametrize(
    "different",
    [
        {"binding": "f" * 64},
        {"principal": "etl"},
        {"terms": terms(needs=(Need("agents-ask", 2),))},
        {"terms": terms(uses=2)},
    ],
)
async def test_an_approval_is_for_that_statement_that_principal_those_terms(
    desks: Desks, different: dict[str, Any]
) -> None:
    made = await approved(desks)
    another = msgspec.structs.replace(again(made), **different)
    found = await desks.held.ask(another, waits=False)
    assert (found.asked.id != made.asked.id, found.state) == (True, State.PENDING)


async def test_what_a_waiting_client_asked_for_is_its_own_until_it_was_used(desks: Desks) -> None:
    several = terms(uses=2)
    made = await approved(desks, waits=True, terms=several)
    assert (await desks.held.ask(again(made), waits=True)).state is State.PENDING
    assert (await desks.held.ask(again(made), waits=False)).state is State.PENDING
    await desks.held.use(made.asked.id, made.asked.binding, "session")
    found = await desks.held.ask(again(made), waits=True)
    assert (found.asked.id, found.state) == (made.asked.id, State.APPROVED)


async def test_use_demands_the_binding(desks: Desks) -> None:
    made = await approved(desks)
    with pytest.raises(Conflict, match="another statement"):
        await desks.held.use(made.asked.id, "f" * 64, "session")
    with pytest.raises(Unknown):
        await desks.held.use("nothing", made.asked.binding, "session")
    pending = await desks.held.ask(asked(), waits=True)
    with pytest.raises(Conflict, match="pending"):
        await desks.held.use(pending.asked.id, pending.asked.binding, "session")
    assert (await desks.approvals.request(BOB, made.asked.id)).used == 0


async def test_an_approval_cannot_be_used_when_its_time_is_over(desks: Desks) -> None:
    made = await approved(desks)
    desks.clock.advance(600)
    with pytest.raises(Conflict, match="expired"):
        await desks.held.use(made.asked.id, made.asked.binding, "session")
    anew = await desks.held.ask(again(made, time=desks.clock.now), waits=False)
    assert anew.asked.id != made.asked.id
    await desks.expiry.round()
    assert (await desks.approvals.request(BOB, made.asked.id)).state is State.EXPIRED


async def test_the_same_attempt_is_the_same_use(desks: Desks) -> None:
    made = await approved(desks, terms=terms(uses=2))
    for _ in range(3):
        used, _ = await desks.held.use(made.asked.id, made.asked.binding, "session", "first")
        assert used.used == 1
    await desks.held.use(made.asked.id, made.asked.binding, "session", "second")
    used, _ = await desks.held.use(made.asked.id, made.asked.binding, "s", "first")
    assert used.used == 2
    with pytest.raises(Conflict, match="another statement"):
        await desks.held.use(made.asked.id, "f" * 64, "session", "first")
    with pytest.raises(Conflict, match="used"):
        await desks.held.use(made.asked.id, made.asked.binding, "session", "third")
    assert desks.trail.events().count("request_used") == 2


async def test_an_hour_later_an_approval_is_void(desks: Desks) -> None:
    """Usable for ten minutes; whether the clock's errands were run or not."""
    for errands in (False, True):
        made = await approved(desks, time=desks.clock.now)
        desks.clock.advance(599)
        again = await approved(desks, time=desks.clock.now)
        desks.clock.advance(3_600 - 599)
        if errands:
            await desks.expiry.round()
        for one in (made, again):
            with pytest.raises(Conflict, match="expired"):
                await desks.held.use(one.asked.id, one.asked.binding, "session")


async def test_a_client_that_is_gone_takes_its_request_along(desks: Desks) -> None:
    waiting = await desks.held.ask(asked(), waits=True)
    ticket = await desks.held.ask(asked(), waits=False)
    unused = await approved(desks, waits=True)
    for request in (waiting, ticket, unused):
        await desks.held.withdraw(request.asked.id, "disconnected")
    states = [(await desks.approvals.request(BOB, r.asked.id)).state for r in (waiting, ticket)]
    assert states == [State.WITHDRAWN, State.PENDING]
    with pytest.raises(Conflict, match="withdrawn"):
        await desks.held.use(unused.asked.id, unused.asked.binding, "session")
    await desks.held.withdraw("nothing", "cancelled")
    assert (await desks.held.ask(waiting.asked, waits=True)).state is State.WITHDRAWN


async def test_a_request_expires_by_when_it_was_asked(desks: Desks) -> None:
    made = await desks.held.ask(asked(time=START - 100), waits=True)
    desks.clock.advance(199)
    await desks.expiry.round()
    assert (await desks.approvals.request(BOB, made.asked.id)).state is State.PENDING
    desks.clock.advance(1)
    with pytest.raises(Conflict, match="expired"):
        await desks.approvals.vote(BOB, made.asked.id, True)
    await desks.expiry.round()
    ended = await desks.approvals.request(BOB, made.asked.id)
    assert (ended.state, ended.ended) == (State.EXPIRED, desks.clock.now)
    assert (await desks.held.ask(asked(time=START - 301), waits=True)).state is State.EXPIRED
    later = await desks.held.ask(asked(time=START + 10_000), waits=True)  # a clock ahead of ours
    assert later.expires == desks.clock.now + 300


async def test_escalation_lets_more_people_decide(desks: Desks) -> None:
    needs = (Need("r", 1, ("dba",)),)
    rising = terms(needs=needs, escalate_seconds=60, escalate_groups=("security",))
    made = await desks.held.ask(asked(terms=rising), waits=True)
    watching = desks.approvals.watch()
    heard = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    with pytest.raises(DeskError, match="other groups"):
        await desks.approvals.vote(CAROL, made.asked.id, True)
    desks.clock.advance(59)
    await desks.expiry.round()
    assert not (await desks.approvals.request(BOB, made.asked.id)).escalated
    desks.clock.advance(1)
    await desks.expiry.round()
    await desks.expiry.round()
    assert (await heard).kind == "request_escalated"
    assert desks.trail.events().count("request_escalated") == 1
    assert (await desks.approvals.vote(CAROL, made.asked.id, True)).state is State.APPROVED


async def test_there_is_an_end_to_what_waits(desks: Desks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_module, "PENDING_OF_PRINCIPAL_MAX", 2)
    monkeypatch.setattr(held_module, "PENDING_MAX", 3)
    made = [await desks.held.ask(asked(), waits=True) for _ in range(2)]
    with pytest.raises(Crowded, match="of yours"):
        await desks.held.ask(asked(), waits=True)
    await desks.held.ask(asked(principal="etl"), waits=True)
    with pytest.raises(Crowded, match="too many"):
        await desks.held.ask(asked(principal="other"), waits=True)
    await desks.approvals.vote(BOB, made[0].asked.id, False, "no")
    await desks.held.ask(asked(), waits=True)
    monkeypatch.setattr(held_module, "ASKED_BYTES_MAX", 100)
    with pytest.raises(Conflict, match="review"):
        await desks.held.ask(asked(principal="big"), waits=True)


async def test_what_ended_long_ago_is_forgotten(desks: Desks) -> None:
    made = await approved(desks)
    await desks.held.use(made.asked.id, made.asked.binding, "session", "attempt")
    desks.clock.advance(91 * 86_400)
    new = await desks.held.ask(asked(time=desks.clock.now), waits=True)
    await desks.expiry.round()
    assert await desks.approvals.requests(BOB) == [new]


async def exactly_one(*attempts: Any) -> list[Any]:
    """Runs them at once; the results of those that did not raise DeskError."""
    results = await asyncio.gather(*attempts, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, DeskError):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def test_one_of_many_concurrent_uses_wins(desks: Desks) -> None:
    made = await approved(desks)
    uses = [desks.held.use(made.asked.id, made.asked.binding, f"s{n}", f"a{n}") for n in range(10)]
    assert len(await exactly_one(*uses)) == 1
    same = await approved(desks)
    uses = [desks.held.use(same.asked.id, same.asked.binding, "s", "a") for n in range(6)]
    assert await exactly_one(*uses)
    assert desks.trail.events().count("request_used") == 2


async def test_concurrent_votes_are_both_counted_once(desks: Desks) -> None:
    made = await desks.held.ask(asked(terms=terms(needs=(Need("r", 2),))), waits=True)
    votes = [desks.approvals.vote(who, made.asked.id, True) for who in (BOB, BOB, CAROL, CAROL)]
    assert len(await exactly_one(*votes)) == 2
    ruled = await desks.approvals.request(BOB, made.asked.id)
    assert (ruled.state, {vote.person for vote in ruled.votes}) == (
        State.APPROVED,
        {"bob", "carol"},
    )


async def test_yes_and_no_at_once_have_one_outcome(desks: Desks) -> None:
    for _ in range(5):
        made = await desks.held.ask(asked(), waits=True)
        id = made.asked.id
        votes = (
            desks.approvals.vote(BOB, id, True),
            desks.approvals.vote(CAROL, id, False, "no"),
            desks.held.withdraw(id, "cancelled"),
        )
        await exactly_one(*votes)
        ended = await desks.approvals.request(BOB, id)
        assert ended.state in (State.APPROVED, State.DENIED, State.WITHDRAWN)
        rulings = [r for r in desks.trail.records if getattr(r, "request", "") == id]
        states = [r.state for r in rulings if type(r).__name__ == "RequestRuled"]  # type: ignore[attr-defined]
        if ended.state is State.WITHDRAWN:  # also after it had been approved, and never used
            assert states in (["withdrawn"], ["approved", "withdrawn"])
        else:
            assert states == [ended.state.value]


async def test_the_same_ticket_asked_for_at_once_is_one_request(desks: Desks) -> None:
    first = asked()
    same = [asked(binding=first.binding, terms=first.terms) for _ in range(6)]
    made = await asyncio.gather(*(desks.held.ask(one, waits=False) for one in same))
    assert len({request.asked.id for request in made}) == 1


async def test_a_vote_in_the_last_moment_counts_or_not_but_never_half(desks: Desks) -> None:
    made = await desks.held.ask(asked(), waits=True)
    desks.clock.advance(300)
    await exactly_one(
        desks.approvals.vote(BOB, made.asked.id, True), desks.held.lapse(made.asked.id)
    )
    ended = await desks.approvals.request(BOB, made.asked.id)
    assert (ended.state, ended.votes) == (State.EXPIRED, ())
