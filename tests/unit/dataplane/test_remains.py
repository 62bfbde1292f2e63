"""A session that ended is taken apart once, and not before everything of it is over."""

import asyncio
import sys

import pytest

from appliance.dataplane import remains
from appliance.dataplane.lulls import Lulls
from appliance.dataplane.remains import Remains
from appliance.model.circles import take_apart


class Ended:
    """A session."""

    def __init__(self) -> None:
        self.lingers = True
        self.apart = 0

    def take_apart(self) -> None:
        assert not self.lingers
        self.apart += 1


async def lull(lulls: Lulls) -> None:
    lulls.begin()
    await asyncio.sleep(0)


async def test_what_is_over_goes_with_the_next_lull() -> None:
    session, lulls = Ended(), Lulls()
    session.lingers = False
    Remains(session, lulls)
    await asyncio.sleep(0)
    assert not session.apart
    await lull(lulls)
    await lull(lulls)
    assert session.apart == 1


async def test_it_goes_when_the_client_has_gone() -> None:
    session, lulls = Ended(), Lulls()
    left = Remains(session, lulls)
    left.stir()
    await lull(lulls)
    left.stir()
    await lull(lulls)
    assert not session.apart
    session.lingers = False
    left.stir()
    left.stir()
    await lull(lulls)
    left.stir()
    await lull(lulls)
    assert session.apart == 1


async def test_it_is_looked_after_without_being_stirred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remains, "LOOK_AGAIN_SECONDS", 0.01)
    session = Ended()
    Remains(session, Lulls())
    await asyncio.sleep(0.05)
    assert not session.apart
    session.lingers = False
    await asyncio.sleep(0.05)
    assert session.apart == 1


class Part:
    def __init__(self, other: object) -> None:
        self.other = other


class Slotted:
    __slots__ = ("mine", "unset")

    def __init__(self, other: object) -> None:
        self.mine = other


class Both(Slotted):
    def __init__(self, other: object) -> None:
        super().__init__(other)
        self.other = other


@pytest.mark.parametrize("kind", [Part, Slotted, Both])
def test_what_is_taken_apart_refers_to_nothing(kind: type) -> None:
    other = Ended()
    before = sys.getrefcount(other)
    part = kind(other)
    assert sys.getrefcount(other) > before
    take_apart(part, kind(part))
    assert sys.getrefcount(other) == before
    assert not hasattr(part, "mine") and not hasattr(part, "other")
