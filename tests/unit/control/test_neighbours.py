"""Live sessions of two appliances on one store: seen and ended from either, by whoever may."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from appliance.control import neighbours as neighbours_module
from appliance.control.desk import Conflict, LiveSession, NotAllowed, Unknown
from appliance.control.neighbours import Neighbours
from appliance.control.store import Store
from appliance.link.approvals import SessionSeen
from tests.desk import ALICE, BOB, DAN, Desks, desks_of


class Served:
    """Sessions of one appliance; `deaf`: their worker cannot be reached."""

    def __init__(self, *ids: str) -> None:
        self.ids = list(ids)
        self.ended: list[tuple[str, str, str]] = []
        self.deaf = False

    def live(self) -> list[LiveSession]:
        return [
            LiveSession(
                "as the worker calls it", 0,
                SessionSeen(id, "alice", "human", "shop", "shop", "10.0.0.1", 1.0),
            )
            for id in self.ids
        ]  # fmt: skip

    async def end(self, session: str, by: str, reason: str) -> bool:
        if self.deaf or session not in self.ids:
            return False
        self.ended.append((session, by, reason))
        self.ids.remove(session)
        return True


@contextlib.asynccontextmanager
async def running(desks: Desks) -> AsyncIterator[None]:
    neighbours = desks.approvals._others
    assert isinstance(neighbours, Neighbours)
    task = asyncio.create_task(neighbours.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


@contextlib.asynccontextmanager
async def two(new_store: Callable[[], Store], here: Served, there: Served) -> AsyncIterator[Any]:
    async with (
        desks_of(new_store(), sessions=here, shared=True) as one,
        desks_of(new_store(), sessions=there, shared=True, node="node-2") as other,
        running(one),
        running(other),
    ):
        for desks in (one, other):
            async with asyncio.timeout(20):
                await desks.store.hearing.wait()  # type: ignore[attr-defined]
        await seen(one, "s-there")
        yield one, other


async def seen(desks: Desks, id: str) -> LiveSession:
    async with asyncio.timeout(20):
        while True:
            for one in await desks.approvals.sessions(DAN):
                if one.seen.id == id:
                    return one
            await asyncio.sleep(0.05)


pytestmark = pytest.mark.parametrize("new_store", ["postgresql"], indirect=True)


async def test_seen_and_ended_from_the_other(new_store: Callable[[], Store]) -> None:
    here, there = Served("s-here"), Served("s-there")
    async with two(new_store, here, there) as (one, other):
        assert (await seen(one, "s-there")).node == "node-2"
        assert (await seen(other, "s-here")).node == "node-1"
        assert [s.seen.id for s in await one.approvals.sessions(ALICE)] == ["s-here", "s-there"]
        begun = asyncio.get_running_loop().time()
        await one.approvals.end_session(DAN, "s-there", "leaks")
        assert asyncio.get_running_loop().time() - begun < 2.0
        assert there.ended == [("s-there", "dan", "leaks")] and not here.ended
        assert one.trail.events() == ["admin_acted"]
        with pytest.raises(NotAllowed):
            await one.approvals.end_session(BOB, "s-there")
        with pytest.raises(Unknown):
            await one.approvals.end_session(DAN, "nobody's")


async def test_an_appliance_that_does_not_answer(
    new_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours_module, "ORDER_SECONDS_MAX", 0.5)
    here, there = Served(), Served("s-there")
    async with two(new_store, here, there) as (one, _):
        there.deaf = True
        with pytest.raises(Conflict, match="cannot be reached"):
            await one.approvals.end_session(DAN, "s-there")
        there.deaf = False
        await asyncio.sleep(1.5)
        assert not there.ended  # not later, when nobody expects it


async def test_what_is_stale_is_not_shown(new_store: Callable[[], Store]) -> None:
    here, there = Served("s-here"), Served("s-there")
    async with two(new_store, here, there) as (one, other):
        other.clock.advance(-100)
        there.ids.append("another")
        async with asyncio.timeout(20):
            while len(await one.approvals.sessions(DAN)) != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
