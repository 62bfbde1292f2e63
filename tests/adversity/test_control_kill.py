"""kill -9 of the control process at any moment: what it answered is so, and nothing else is."""

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.approval.request import Asked, Request, State
from appliance.control.policy_link import PolicyLink
from appliance.control.store_sqlite import SqliteStore
from appliance.link.approvals import Ask, Known, Ruled, Use, Used
from appliance.link.messages import PolicyDocument
from tests.controlled import Controlled, Linked, controlled
from tests.desk import BOB, Clock, Desks, asked, desks_of
from tests.unit.control.notify.standins import becomes

ROUNDS = 6
AT_ONCE = 12


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="sp-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Told:
    """What the control process and the desk have answered so far."""

    def __init__(self) -> None:
        self.asked: dict[str, Asked] = {}
        self.kept: set[str] = set()
        self.voted: set[str] = set()
        self.approved: set[str] = set()
        self.used: set[str] = set()


async def work(link: Linked, desks: Desks, told: Told) -> None:
    """Asks, votes for every second one, uses what is approved; until the link ends."""
    for _ in range(AT_ONCE):
        _ask(link, told)
    while (message := await link.next()) is not None:
        match message:
            case Known(id=id, state=State.PENDING):
                told.kept.add(id)
                if int(id, 16) % 2:
                    told.voted.add(id)
                    await desks.approvals.vote(BOB, id, True)
                    told.approved.add(id)
            case Ruled(request=id, state=State.APPROVED):
                one = told.asked[id]
                link.say(Use(id, one.binding, one.session))
            case Used(request=id, ok=ok):
                assert ok
                told.used.add(id)
                _ask(link, told)
            case _:
                raise AssertionError(message)


def _ask(link: Linked, told: Told) -> None:
    one = asked(time=time.time())
    told.asked[one.id] = one
    link.say(Ask(one))


def judge(request: Request, told: Told) -> None:
    """What is stored against what was answered."""
    id = request.asked.id
    assert request.asked == told.asked[id]
    assert request.used <= 1
    if id in told.used:
        assert (request.state, request.used) == (State.USED, 1)
    if id in told.approved:
        assert request.state in (State.APPROVED, State.USED, State.WITHDRAWN)
    if id not in told.voted:
        assert request.state in (State.PENDING, State.WITHDRAWN)
        assert (request.votes, request.used) == ((), 0)
    if request.state in (State.APPROVED, State.USED):
        assert [vote.person for vote in request.votes] == ["bob"]


async def one_life(process: Controlled, told: Told, seconds: float) -> None:
    await process.start()
    clock = Clock(time.time())
    async with process.linked() as link, desks_of(SqliteStore(process.store), clock=clock) as desks:
        working = asyncio.create_task(work(link, desks, told))
        await asyncio.sleep(seconds)
        await process.kill()
        await working
        found = await desks.approvals.requests(BOB, limit=500)
    there = {request.asked.id for request in found}
    assert told.kept <= there <= told.asked.keys()
    for request in found:
        judge(request, told)


async def test_killed_at_any_moment(folder: Path) -> None:
    chance, told = random.Random(5), Told()
    async with controlled(folder) as process:
        for _ in range(ROUNDS):
            await one_life(process, told, chance.uniform(0.2, 1.5))
        assert told.used and told.kept - told.voted
        await process.start()
        assert await process.end() == 0
        proof = process.proof()
        assert proof.errors == 0, proof.findings
        assert [chain.worker for chain in proof.chains] == [999]


async def test_what_was_pending_and_what_was_approved_go_on_after_a_kill(folder: Path) -> None:
    async with controlled(folder) as process:
        pending, approved = asked(time=time.time()), asked(time=time.time())
        await process.start()
        clock = Clock(time.time())
        async with process.linked() as link:
            link.say(Ask(pending), Ask(approved))
            for _ in range(2):
                assert (await link.hear(Known)).state is State.PENDING
        async with desks_of(SqliteStore(process.store), clock=clock) as desks:
            await desks.approvals.vote(BOB, approved.id, True, "go on")
            await process.kill()
        await process.start()
        async with process.linked() as link:
            link.say(Ask(pending))
            known = await link.hear(Known)
            assert (known.request, known.state) == (pending.id, State.PENDING)
            link.say(Use(pending.id, pending.binding, pending.session))
            assert not (await link.hear(Used)).ok
            link.say(Ask(approved))
            known = await link.hear(Known)
            assert (known.state, known.by, known.reason) == (State.APPROVED, "bob", "go on")
            link.say(Use(approved.id, approved.binding, approved.session))
            assert (await link.hear(Used)).ok
            await process.kill()
        await process.start()
        async with process.linked() as link:
            link.say(Use(approved.id, approved.binding, approved.session))
            assert not (await link.hear(Used)).ok
        assert await process.end() == 0
        assert process.proof().errors == 0


async def test_a_second_control_process_does_not_start_beside_it(folder: Path) -> None:
    async with controlled(folder) as process, controlled(folder) as second:
        await process.start()
        with pytest.raises(AssertionError):
            await second.start()
        assert await process.end() == 0


POLICY = "version: 1\nrules: [{{id: read-{0}, effect: allow, actions: [select]}}]\n"


async def test_the_active_policy_outlasts_kills_in_the_middle_of_a_change(folder: Path) -> None:
    """What was answered is active; what was not is, or what was before; and it is whole."""
    chance = random.Random(5)
    async with controlled(folder) as process:
        link = PolicyLink(process.socket, "node-1", lambda: None)
        linking = asyncio.create_task(link.run())
        try:
            await process.start()
            before: tuple[PolicyDocument, ...] = ()
            answered = 0
            for number in range(2 * ROUNDS):
                new = (PolicyDocument("p.yaml", POLICY.format(number).encode()),)
                proposing = asyncio.create_task(link.propose(new, (), ()))
                await asyncio.sleep(0 if number == 0 else chance.random() * 0.1)
                if number == 0:
                    await proposing
                await process.kill()
                answer = await proposing
                await process.start()
                await _agreed(link)
                active = () if link.active is None else link.active.documents
                assert active in (before, new)
                if answer.serial:
                    answered += 1
                    assert active == new
                before = active
            assert answered
        finally:
            linking.cancel()
            await asyncio.wait((linking,))
        assert await process.end() == 0
        assert process.proof().exit_code == 0


async def _agreed(link: PolicyLink) -> None:
    """Until a control process has said what its store holds."""

    def told() -> bool:
        return link.active is not None and 0 < link.standing == link.active.serial

    await becomes(told)
