"""Two sources of identity that both know a bob, over both stores: nothing of the one's is the
other's; whether one may decide for the other is the configuration's to say; older rows keep what
they meant."""

from collections.abc import Callable

import msgspec
import pytest

from appliance.approval.people import Who
from appliance.approval.request import Person, Request, State, Touched
from appliance.approval.standing import GrantState
from appliance.config.control import Control, Namesakes, Roles
from appliance.console.people import Identity, person_of
from appliance.control.desk import Conflict, LiveSession, NotAllowed, Unknown
from appliance.control.held import Held
from appliance.control.store import Store
from appliance.link.approvals import SessionSeen
from appliance.model.approval import HoldTerms, Need
from appliance.model.principal import LOCAL, PrincipalKind
from tests.desk import START, Desks, asked, desks_of, person, scope

OKTA = "okta"
BOB = person("bob", source=LOCAL, distinct=True)
OTHER = person("bob", source=OKTA, distinct=True)


def staff(source: str, distinct: bool = True, name: str = "bob") -> Person:
    return msgspec.structs.replace(
        person(name, "viewer", "approver", source=source, groups=("dba",)), distinct=distinct
    )


async def of_bob(desks: Desks, source: str = LOCAL, **different: object) -> Request:
    """A request of his own."""
    usual = {"principal": "bob", "kind": PrincipalKind.HUMAN, "on_behalf_of": None}
    return await desks.held.ask(asked(**{**usual, "source": source, **different}), waits=True)


async def test_what_is_the_ones_is_not_the_others(desks: Desks) -> None:
    mine = (await of_bob(desks)).asked.id
    for_him = (await of_bob(desks, principal="agent", on_behalf_of="bob")).asked.id
    seen = await desks.approvals.requests(BOB)
    assert {one.asked.id for one in seen} == {mine, for_him}
    assert await desks.approvals.requests(OTHER) == []
    for id in (mine, for_him):
        with pytest.raises(Unknown):
            await desks.approvals.request(OTHER, id)
        with pytest.raises(Unknown):
            await desks.approvals.withdraw(OTHER, id)
        with pytest.raises(Unknown):
            await desks.approvals.break_glass(
                msgspec.structs.replace(OTHER, groups=("oncall",)), id, "fire"
            )
    viewer = staff(OKTA)
    with pytest.raises(NotAllowed):  # sees it by role, it is not theirs all the same
        await desks.approvals.withdraw(viewer, mine)
    assert (await desks.approvals.withdraw(BOB, mine)).state is State.WITHDRAWN


async def test_different_people_decide_for_each_other(desks: Desks) -> None:
    request = await of_bob(desks)
    with pytest.raises(NotAllowed, match="of their own"):
        await desks.approvals.vote(staff(LOCAL), request.asked.id, True)
    ruled = await desks.approvals.vote(staff(OKTA), request.asked.id, True)
    assert (ruled.state, ruled.ended_by) == (State.APPROVED, "bob")
    by_token = await of_bob(desks, OKTA, principal="agent", on_behalf_of="bob")
    assert (await desks.approvals.vote(staff(LOCAL), by_token.asked.id, True)).state is (
        State.APPROVED
    )


async def test_whom_the_users_file_means_by_a_name_nobody_knows(desks: Desks) -> None:
    """An agent of the users file that acts for bob: which one, it does not say."""
    request = await of_bob(desks, principal="agent", on_behalf_of="bob")
    for source in (LOCAL, OKTA):
        with pytest.raises(NotAllowed, match="on your behalf"):
            await desks.approvals.vote(staff(source), request.asked.id, True)


async def test_when_nobody_is_sure_they_do_not(desks: Desks) -> None:
    """It may be one person with two accounts, who would approve what they asked for."""
    request = await of_bob(desks)
    with pytest.raises(NotAllowed, match="bob of users file is you"):
        await desks.approvals.vote(staff(OKTA, distinct=False), request.asked.id, True)
    for_him = await of_bob(desks, principal="agent", on_behalf_of="bob")
    with pytest.raises(NotAllowed, match="for all we know"):
        await desks.approvals.vote(staff(OKTA, distinct=False), for_him.asked.id, True)
    carol = staff(OKTA, distinct=False, name="carol")
    assert (await desks.approvals.vote(carol, request.asked.id, True)).state is State.APPROVED


async def test_two_of_two_are_two_people(desks: Desks) -> None:
    terms = HoldTerms(needs=(Need(rule="r", approvals=2),))
    request = await desks.held.ask(asked(terms=terms), waits=True)
    id = request.asked.id
    assert (await desks.approvals.vote(staff(LOCAL), id, True)).state is State.PENDING
    with pytest.raises(NotAllowed, match="already"):
        await desks.approvals.vote(staff(LOCAL), id, True)
    with pytest.raises(NotAllowed, match="already"):
        await desks.approvals.vote(staff(OKTA, distinct=False), id, True)
    ruled = await desks.approvals.vote(staff(OKTA), id, True)
    assert ruled.state is State.APPROVED
    assert ruled.ended_by == "bob (users file), bob (okta)"
    votes = [r for r in desks.trail.records if r.__struct_config__.tag == "request_voted"]
    assert [r.source for r in votes] == [LOCAL, OKTA]  # type: ignore[attr-defined]


async def test_rows_from_before_mean_what_they_meant(desks: Desks) -> None:
    request = await of_bob(desks, source="")
    for source in (LOCAL, OKTA):
        assert len(await desks.approvals.requests(person("bob", source=source))) == 1
        with pytest.raises(NotAllowed, match="of their own"):
            await desks.approvals.vote(staff(source), request.asked.id, True)
    by_name = person("bob")
    newer = await of_bob(desks)
    assert {r.asked.id for r in await desks.approvals.requests(by_name)} >= {newer.asked.id}


async def test_grants_are_for_people_too(desks: Desks) -> None:
    until = START + 3_600
    grant = await desks.approvals.propose_grant(staff(LOCAL), scope(), until, "work")
    with pytest.raises(NotAllowed, match="of their own"):
        await desks.approvals.rule_grant(staff(LOCAL), grant.id, True)
    with pytest.raises(NotAllowed, match="of their own"):
        await desks.approvals.rule_grant(staff(OKTA, distinct=False), grant.id, True)
    assert await desks.approvals.grants(OTHER) == []
    with pytest.raises(Unknown):
        await desks.approvals.revoke_grant(OTHER, grant.id, "x")
    ruled = await desks.approvals.rule_grant(staff(OKTA), grant.id, True)
    assert ruled.state is GrantState.ACTIVE
    assert (await desks.approvals.revoke_grant(BOB, grant.id, "over")).state is GrantState.REVOKED


async def test_a_grant_can_say_from_where(desks: Desks) -> None:
    """And whoever decides on one for their namesake elsewhere is another person."""
    terms = scope(principals=("bob",), sources=(OKTA,))
    grant = await desks.approvals.propose_grant(
        staff(LOCAL, name="eve"), terms, START + 3_600, "work"
    )
    with pytest.raises(NotAllowed, match="for you, too"):
        await desks.approvals.rule_grant(staff(OKTA), grant.id, True)
    with pytest.raises(NotAllowed, match="for you, too"):
        await desks.approvals.rule_grant(staff(LOCAL, distinct=False), grant.id, True)
    await desks.approvals.rule_grant(staff(LOCAL), grant.id, True)
    with pytest.raises(Conflict):
        await desks.approvals.propose_grant(BOB, scope(sources=()), START + 60, "x")


@pytest.mark.parametrize("distinct", [True, False])
async def test_a_grant_does_not_approve_what_its_decider_asks_for(
    new_store: Callable[[], Store], distinct: bool
) -> None:
    async with desks_of(new_store()) as desks:
        held = Held(desks.changes, "node-1", distinct=distinct)
        wide = scope(principals=("*",))
        grant = await desks.approvals.propose_grant(
            staff(LOCAL, name="eve"), wide, START + 3_600, "work"
        )
        async with desks.changes.work() as work:
            found = await work.tx.grant(grant.id)
            assert found is not None
            await work.tx.put_grant(
                msgspec.structs.replace(
                    found,
                    state=GrantState.ACTIVE,
                    decided_by="bob",
                    decided_source=OKTA,
                    decided=START,
                )
            )
        touched = (Touched("update", "shop", "orders", ("status",)),)
        ask = {"principal": "bob", "kind": PrincipalKind.HUMAN, "on_behalf_of": None}
        states = [
            (await held.ask(asked(**ask, source=source, touched=touched), True)).state
            for source in (OKTA, LOCAL)
        ]
        expected = State.APPROVED if distinct else State.PENDING
        assert states == [State.PENDING, expected]


async def test_sessions_are_seen_by_whose_they_are(new_store: Callable[[], Store]) -> None:
    class Live:
        def live(self) -> list[LiveSession]:
            seen = SessionSeen("s", "bob", "human", "t", "d", "", 1.0, source=LOCAL)
            return [LiveSession("n", 0, seen)]

        async def end(self, session: str, by: str, reason: str) -> bool:
            return True

    async with desks_of(new_store(), sessions=Live()) as desks:
        assert len(await desks.approvals.sessions(BOB)) == 1
        assert await desks.approvals.sessions(OTHER) == []


async def test_one_does_not_fill_the_others_room(desks: Desks) -> None:
    for _ in range(2):
        await of_bob(desks)
    async with desks.changes.reading() as tx:
        assert (await tx.crowd(Who(LOCAL, "bob"))).of_principal == 2
        assert (await tx.crowd(Who(OKTA, "bob"))).of_principal == 0


def test_the_configuration_says_what_a_namesake_is() -> None:
    identity = Identity("bob", OKTA)
    told = {
        mode: person_of(identity, Control(roles=Roles(), namesakes=mode), "console")
        for mode in Namesakes
    }
    assert Control().namesakes is Namesakes.UNSURE
    assert (told[Namesakes.UNSURE].source, told[Namesakes.UNSURE].distinct) == (OKTA, False)
    assert (told[Namesakes.DIFFERENT].source, told[Namesakes.DIFFERENT].distinct) == (OKTA, True)
    assert (told[Namesakes.SAME].source, told[Namesakes.SAME].distinct) == ("", False)
