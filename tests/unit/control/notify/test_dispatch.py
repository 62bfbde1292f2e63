"""Everybody hears of everything, at least once, and nobody waits for anybody."""

import asyncio
from collections.abc import Callable

import msgspec

from appliance.approval.request import State
from appliance.control.notify.mail_message import composed, recipients
from appliance.control.notify.notice import Event
from appliance.control.notify.outbox import Outbox
from appliance.control.notify.sink import NotDelivered, Undeliverable
from appliance.control.notify.slack_blocks import message
from appliance.control.notify.words import headline
from appliance.control.policies import PolicyVersions
from appliance.control.store import Store
from appliance.link.messages import PolicyDocument
from tests.desk import ALICE, BOB, CAROL, Desks, asked, desks_of, person, scope, terms
from tests.unit.control.notify.standins import URL, Scripted, becomes, dispatching


async def test_a_request_is_told_from_asking_to_its_use(desks: Desks) -> None:
    sink = Scripted()
    async with dispatching(desks, sink):
        request = await desks.held.ask(asked(), True)
        await sink.until(1)
        id = request.asked.id
        await desks.approvals.vote(BOB, id, True, "go on")
        await sink.until(2)
        await desks.held.use(id, request.asked.binding, "s")
        await sink.until(3)
    assert sink.events() == ["request.made", "request.approved", "request.used"]
    made, ruled, _ = sink.got
    assert (made.url, made.id) == (f"{URL}/requests/{id}", f"{id}.made")
    assert (ruled.by, ruled.reason, ruled.state) == ("bob", "go on", "approved")
    assert sink.references == ["", f"thread of {id}", f"thread of {id}"]
    assert sink.closed


async def test_other_ends(desks: Desks) -> None:
    sink = Scripted()
    terms_ = terms(escalate_seconds=60, escalate_groups=("security",))
    async with dispatching(desks, sink) as clock:
        lapsing = await desks.held.ask(asked(terms=terms_), True)
        await sink.until(1)
        clock.advance(61)
        await desks.expiry.round()
        await sink.until(2)
        clock.advance(300)
        await desks.expiry.round()
        await sink.until(3)
        assert sink.events()[1:] == ["request.escalated", "request.expired"]
        denied = await desks.held.ask(asked(time=clock.now()), True)
        await desks.approvals.vote(BOB, denied.asked.id, False, "no")
        await sink.until(5)
        gone = await desks.held.ask(asked(time=clock.now()), True)
        await desks.held.withdraw(gone.asked.id, "disconnected")
        await sink.until(7)
        loud = await desks.held.ask(asked(time=clock.now()), True)
        oncall = msgspec.structs.replace(ALICE, groups=("oncall",))
        await desks.approvals.break_glass(oncall, loud.asked.id, "prod is down")
        await sink.until(9)
    assert {n.event.value for n in sink.got[3:]} == {
        "request.made",
        "request.denied",
        "request.withdrawn",
        "request.break_glass",
    }
    assert sink.got[-1].reason == "prod is down"
    assert sink.got[0].subject == lapsing.asked.id


async def test_standing_grants_are_told_and_what_they_let_pass_is_not(desks: Desks) -> None:
    sink = Scripted()
    async with dispatching(desks, sink):
        grant = await desks.approvals.propose_grant(
            CAROL, scope(), desks.clock.now + 3600, "a migration"
        )
        await sink.until(1)
        await desks.approvals.rule_grant(BOB, grant.id, True)
        await sink.until(2)
        await desks.approvals.revoke_grant(BOB, grant.id)
        await sink.until(3)
    assert sink.events() == ["grant.proposed", "grant.approved", "grant.revoked"]
    assert [n.by for n in sink.got] == ["carol", "bob", "bob"]


async def test_nothing_but_the_redacted_statement_is_kept_or_told(desks: Desks) -> None:
    sink = Scripted(script=[NotDelivered("x")])
    async with dispatching(desks, sink):
        await desks.held.ask(asked(sql="SELECT 'hunter2'", redacted="SELECT ?"), True)
        await sink.until_tried(1)
        async with desks.store.transaction() as tx:
            rows = await tx.rows("SELECT body FROM notices")
    assert len(rows) == 1 and "SELECT ?" in rows[0][0] and "hunter2" not in rows[0][0]
    assert b"hunter2" not in msgspec.json.encode(sink.tried)


async def test_failures_are_tried_again_later_each_time_as_the_same_notice(desks: Desks) -> None:
    sink = Scripted(script=[NotDelivered("x"), NotDelivered("x"), ValueError("a bug"), None])
    async with dispatching(desks, sink) as clock:
        await desks.held.ask(asked(), True)
        await sink.until_tried(1)
        start = clock.now()
        await clock.pass_until(lambda: len(sink.got) == 1, 0.5)
    assert len(sink.tried) == 4 and len({n.id for n in sink.tried}) == 1
    assert 1 + 2 + 4 <= clock.now() - start < 20  # half of 2, 4, 8 seconds: no jitter here


async def test_a_receiver_that_asks_for_patience_gets_it(desks: Desks) -> None:
    sink = Scripted(script=[NotDelivered("answered 429", 100.0)])
    async with dispatching(desks, sink) as clock:
        await desks.held.ask(asked(), True)
        await sink.until_tried(1)
        start = clock.now()
        await clock.pass_until(lambda: len(sink.got) == 1, 5)
    assert clock.now() - start >= 100


async def test_a_sink_that_hangs_delays_no_vote_and_no_other_sink(desks: Desks) -> None:
    stuck, well = Scripted("stuck", ["hang"] * 100), Scripted("well")
    async with dispatching(desks, stuck, well):
        for count in range(1, 9):
            request = await desks.held.ask(asked(), True)
            await well.until(2 * count - 1)
            ruled = await desks.approvals.vote(BOB, request.asked.id, True)
            assert ruled.state is State.APPROVED
            await well.until(2 * count)
        assert stuck.tried and not stuck.got and not stuck.cancelled
    assert stuck.cancelled == len(stuck.tried)


async def test_an_attempt_that_hangs_is_ended_and_made_again(desks: Desks) -> None:
    sink = Scripted(script=["hang"])
    async with dispatching(desks, sink) as clock:
        await desks.held.ask(asked(), True)
        await sink.until_tried(1)
        await clock.pass_until(lambda: bool(sink.got))
    assert sink.cancelled == 1


async def test_what_cannot_be_delivered_is_given_up_and_the_next_is_told(desks: Desks) -> None:
    sink = Scripted(script=[Undeliverable("too long")])
    async with dispatching(desks, sink):
        request = await desks.held.ask(asked(), True)
        await sink.until_tried(1)
        await desks.approvals.vote(BOB, request.asked.id, True)
        await sink.until(1)
    assert sink.events() == ["request.approved"]


async def test_updates_do_not_overtake(desks: Desks) -> None:
    sink = Scripted(script=[NotDelivered("x", 30.0)])
    async with dispatching(desks, sink) as clock:
        request = await desks.held.ask(asked(), True)
        await sink.until_tried(1)
        await desks.approvals.vote(BOB, request.asked.id, True)
        await clock.pass_until(lambda: len(sink.got) == 2)
    assert sink.events() == ["request.made", "request.approved"]


async def test_people_are_not_asked_for_what_is_decided(desks: Desks) -> None:
    people = Scripted("people", [NotDelivered("x", 30.0)], for_people=True)
    async with dispatching(desks, people) as clock:
        request = await desks.held.ask(asked(terms=terms(wait_seconds=20)), True)
        await people.until_tried(1)
        clock.advance(25)
        await desks.expiry.round()
        await clock.pass_until(lambda: len(people.got) == 1)
    assert people.events() == ["request.expired"]
    assert request.asked.id == people.got[0].subject


async def test_a_restart_loses_nothing_and_tells_nothing_twice(desks: Desks) -> None:
    first = Scripted(script=[None, "hang"])
    async with dispatching(desks, first):
        request = await desks.held.ask(asked(), True)
        await first.until(1)
        await desks.held.ask(asked(), True)
        await first.until_tried(2)
    await desks.approvals.vote(BOB, request.asked.id, True)  # while nobody watches
    second = Scripted()
    async with dispatching(desks, second) as clock:
        await second.until(1)
        assert second.events() == ["request.approved"]
        await clock.pass_until(lambda: len(second.got) == 2)  # its claim has to run out
    assert second.got[1].id == first.tried[1].id


async def test_a_new_sink_is_not_told_of_old_times(desks: Desks) -> None:
    await desks.held.ask(asked(), True)
    desks.clock.advance(10)
    sink = Scripted()
    async with dispatching(desks, sink):
        await desks.held.ask(asked(time=desks.clock.now), True)
        await sink.until(1)
        await asyncio.sleep(0.05)
    assert len(sink.got) == 1


async def test_two_appliances_on_one_store_tell_once(
    desks: Desks, new_store: Callable[[], Store]
) -> None:
    if desks.store.name == "sqlite":  # one appliance, two dispatchers: claims are the same
        one, two = Scripted(), Scripted()
        async with dispatching(desks, one), dispatching(desks, two):
            for _ in range(20):
                await desks.held.ask(asked(), True)
            await _all(one, two, 20)
        return
    async with desks_of(new_store()) as other:
        one, two = Scripted(), Scripted()
        async with dispatching(desks, one), dispatching(other, two):
            for _ in range(20):
                await desks.held.ask(asked(), True)
            await _all(one, two, 20)


async def _all(one: Scripted, two: Scripted, count: int) -> None:
    await becomes(lambda: len(one.got) + len(two.got) >= count)
    await asyncio.sleep(0.1)
    ids = [n.id for n in one.tried + two.tried]
    assert len(ids) == len(set(ids)) == count


async def test_the_outbox_forgets(desks: Desks) -> None:
    sink = Scripted()
    async with dispatching(desks, sink):
        await desks.held.ask(asked(), True)
        await sink.until(1)
    await Outbox(desks.store).forget(desks.clock.now + 1)
    async with desks.store.transaction() as tx:
        assert not await tx.rows("SELECT 1 FROM notices")
        assert not await tx.rows("SELECT 1 FROM notice_threads")


async def test_policy_changes_are_told_and_a_rollback_loudly(desks: Desks) -> None:
    """To everybody who can be told, once, by whichever appliance."""
    rule = "version: 1\nrules: [{{id: read-{0}, effect: allow, actions: [select]}}]"
    versions = PolicyVersions(desks.changes, "node-1")
    sink = Scripted()
    async with dispatching(desks, sink):
        for name in ("one", "two"):
            await versions.propose((PolicyDocument("p", rule.format(name).encode()),))
        active = await versions.in_force()
        assert active is not None
        admin = person("dan", "admin", via="cli")
        await versions.roll_back(admin, "two opens <everything>", active.id)
        await sink.until(3)
    assert [one.event for one in sink.got] == [
        Event.POLICY_CHANGED,
        Event.POLICY_CHANGED,
        Event.POLICY_ROLLED_BACK,
    ]
    told = sink.got[-1]
    assert (told.by, told.reason, told.url.rpartition("/")[0]) == (
        "dan",
        "two opens <everything>",
        f"{URL}/policy/versions",
    )
    assert headline(told).startswith("POLICY ROLLED BACK: version ")
    shown = message(told)
    assert shown["text"].startswith("<!channel> ")
    assert "&lt;everything&gt;" in shown["text"]
    addresses = {"dba": ("dba@x.test",), "*": ("all@x.test",)}
    assert recipients(told, addresses, ()) == ["dba@x.test", "all@x.test"]
    assert recipients(sink.got[0], addresses, ()) == ["all@x.test"]
    mail = composed(told, "s@x.test", ["all@x.test"], 0.0)
    assert mail["Importance"] == "high"
    assert "POLICY ROLLED BACK" in mail["Subject"]
