"""Whether what a statement rests on is as it was judged, asked for a session that cannot."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.dataplane.aside import Aside, Asker
from appliance.dataplane.connections import UpstreamRefused, UpstreamUnreachable
from appliance.model.stands import Stands

AS_JUDGED, OTHERWISE = Stands.AS_JUDGED, Stands.OTHERWISE


class World:
    def __init__(self, *answers: Any) -> None:
        self.answers = [*answers]
        self.connections: list[Any] = []
        self.asked: list[str] = []

    async def connect(self) -> Any:
        written: list[bytes] = []
        side = SimpleNamespace(ended=False, write=written.append, close=lambda: None)
        self.connections.append(SimpleNamespace(side=side, written=written))
        return self.connections[-1]

    async def query(self, _upstream: object, text: str) -> list[tuple[str]]:
        self.asked.append(text)
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [(answer,)]

    def told(self, *footings: str) -> list[Stands]:
        async def ask() -> list[Stands]:
            aside = Aside(
                lambda footing, pid, since: f"about {footing} for {pid} since {since}",
                self.connect,
                self.query,
                b"bye",
            )
            return [await aside.stands(footing, Asker(7, 42)) for footing in footings]

        return asyncio.run(ask())


def test_what_the_server_says_over_one_connection() -> None:
    world = World("=", "", "?")
    assert world.told("a", "b", "c") == [AS_JUDGED, OTHERWISE, Stands.STRANGER]
    assert (
        world.asked == [f"about {name} for 7 since 42" for name in "abc"]
        and len(world.connections) == 1
    )


@pytest.mark.parametrize("lost", [ConnectionResetError(), UpstreamUnreachable("gone")])
def test_a_connection_that_was_ended_meanwhile_is_made_again(lost: Exception) -> None:
    world = World("=", lost, "=")
    assert world.told("a", "b") == [AS_JUDGED, AS_JUDGED] and len(world.connections) == 2


def test_what_cannot_be_read_holds_nothing_and_the_next_is_asked_anew() -> None:
    world = World(UpstreamRefused({"C": "42501"}), ConnectionResetError(), "=")
    assert world.told("a", "b", "c") == [Stands.UNKNOWN, Stands.UNKNOWN, AS_JUDGED]
    assert [one.written for one in world.connections] == [[b"bye"], [b"bye"], []]
