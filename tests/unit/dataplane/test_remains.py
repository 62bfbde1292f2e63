"""A session that ended is taken apart once, and not before everything of it is over."""

import asyncio

import pytest

from appliance.dataplane import remains
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


async def some_rounds() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_over_goes_with_the_next_round() -> None:
    session = Ended()
    session.lingers = False
    Remains(session)
    assert not session.apart
    await some_rounds()
    assert session.apart == 1


async def test_it_goes_when_the_client_has_gone() -> None:
    session = Ended()
    left = Remains(session)
    await some_rounds()
    left.stir()
    await some_rounds()
    assert not session.apart
    session.lingers = False
    left.stir()
    left.stir()
    await some_rounds()
    left.stir()
    await some_rounds()
    assert session.apart == 1


async def test_it_is_looked_after_without_being_stirred(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remains, "LOOK_AGAIN_SECONDS", 0.01)
    session = Ended()
    Remains(session)
    await asyncio.sleep(0.05)
    assert not session.apart
    session.lingers = False
    await asyncio.sleep(0.05)
    assert session.apart == 1


def test_what_is_taken_apart_refers_to_nothing() -> None:
    class Part:
        def __init__(self, other: object) -> None:
            self.other = other

    first = Part(None)
    first.other = second = Part(first)
    take_apart(first, second)
    assert not vars(first) and not vars(second)
    with pytest.raises(TypeError):
        take_apart(object())
