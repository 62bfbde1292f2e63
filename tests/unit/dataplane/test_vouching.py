"""Whether what statements rest on is as the catalog has it: asked of a server that changes."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.dataplane.connections import UpstreamRefused
from appliance.dataplane.vouching import BEGIN, END, Voucher

SOURCE = SimpleNamespace(stamp=str, hasty=(), busy="1205")


class World:
    """A server with one thing in it, and a catalog that is brought up to date when asked to."""

    def __init__(self) -> None:
        self.there = "one"
        self.read = "one"
        self.kept: Any = SimpleNamespace(catalog="one")
        self.asked = 0
        self.refreshes = 0
        self.amid: list[str] = []
        """What is there from the next refresh on."""
        self.refuses = self.shows_nothing = self.busy = False

    @property
    def lineage(self) -> Any:
        return self.kept

    async def reread(self) -> None:
        self.refreshes += 1
        if self.amid:
            self.there = self.amid.pop(0)
        if self.there.lower() != self.read.lower():  # letters' case is nothing to a catalog
            self.read = self.there
            self.kept = SimpleNamespace(catalog=self.there)

    async def connect(self) -> Any:
        side = SimpleNamespace(ended=False, write=lambda _octets: None, close=lambda: None)
        return SimpleNamespace(side=side)

    async def query(self, _upstream: object, text: str) -> list[tuple[str | None, ...]]:
        if text in (BEGIN, END, Part.use):
            return []
        self.asked += 1
        if self.busy:
            raise UpstreamRefused({"C": "HY000", "N": "1205"})
        if self.refuses or (self.shows_nothing and text == "SHOW"):
            raise UpstreamRefused({"C": "42S02"})
        await asyncio.sleep(0)
        return [(self.there,)]

    def voucher(self) -> Voucher:
        return Voucher(self, self.connect, self.query, SOURCE, b"")


class Part:
    use = "USE"

    def __init__(self, known: str) -> None:
        self.key = ("relation", "thing")
        self.known = known
        self.questions = (("SHOW",), ("LOOK", "AGAIN"))

    def now(self, catalog: Any) -> str:
        return str(catalog).lower()


def footing(known: str = "one") -> Any:
    return SimpleNamespace(parts=(Part(known),))


def told(world: World, *steps: Any) -> list[bool]:
    async def asked() -> list[bool]:
        voucher, found = world.voucher(), []
        for step in steps:
            if callable(step):
                step()
            else:
                found.append(await voucher.holds(step))
        return found

    return asyncio.run(asked())


def test_what_is_known_is_asked_once() -> None:
    world = World()
    assert told(world, footing(), footing()) == [True, True]
    assert world.refreshes == 1 and world.asked == 3  # looked at, learnt; looked at


def test_what_changed_holds_no_more() -> None:
    world = World()
    changed = lambda: setattr(world, "there", "two")  # noqa: E731
    assert told(world, footing(), changed, footing(), footing("two")) == [True, False, True]


def test_what_changed_in_nothing_that_matters_holds() -> None:
    world = World()
    changed = lambda: setattr(world, "there", "ONE")  # noqa: E731
    assert told(world, footing(), changed, footing(), footing()) == [True, True, True]
    assert world.refreshes == 2


def test_a_change_amid_the_learning_is_not_learnt() -> None:
    world = World()
    world.amid = ["two", "two"]
    assert told(world, footing()) == [False]
    assert told(world, footing("two")) == [True]


def test_what_the_server_does_not_say_holds_nothing() -> None:
    world = World()
    world.refuses = True
    assert told(world, footing()) == [False]


def test_what_somebody_waits_to_change_holds_not_and_is_not_learnt() -> None:
    world = World()
    waits = lambda: setattr(world, "busy", True)  # noqa: E731
    ended = lambda: setattr(world, "busy", False)  # noqa: E731
    assert told(world, footing(), waits, footing(), ended, footing()) == [True, False, True]
    assert world.refreshes == 1


def test_what_is_not_shown_is_looked_at() -> None:
    world = World()
    world.shows_nothing = True
    changed = lambda: setattr(world, "there", "two")  # noqa: E731
    assert told(world, footing(), footing(), changed, footing()) == [True, True, False]


@pytest.mark.parametrize("error", [OSError(), TimeoutError()])
def test_neither_does_a_server_that_is_away(error: Exception) -> None:
    world = World()

    async def connect() -> Any:
        raise error

    world.connect = connect  # type: ignore[method-assign]
    assert told(world, footing()) == [False]


def test_those_who_ask_meanwhile_are_answered_together() -> None:
    world = World()

    async def asked() -> list[bool]:
        voucher = world.voucher()
        await voucher.holds(footing())
        before = world.asked
        found = await asyncio.gather(*(voucher.holds(footing()) for _ in range(10)))
        assert world.asked == before + 1
        return found

    assert asyncio.run(asked()) == [True] * 10


def test_who_waits_when_it_closes_is_told() -> None:
    world = World()

    async def asked() -> bool:
        voucher = world.voucher()
        waiting = asyncio.ensure_future(voucher.holds(footing()))
        await asyncio.sleep(0)
        voucher.close()
        return await waiting

    assert asyncio.run(asked()) is False
