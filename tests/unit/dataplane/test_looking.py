"""A question that is asked again and again: what counts as the same answer, and what is owed."""

import asyncio
from collections.abc import Callable
from typing import cast

import pytest

from appliance.dataplane import upstreams
from appliance.dataplane.looking import ANSWER_BYTES_MAX, Looking
from appliance.dataplane.transport import Side
from appliance.wire.postgres import messages as m

LOOK = upstreams.repeated("EXECUTE watch (7)", ("0", "40"))
SHAPE = m.frame(m.ROW_DESCRIPTION, b"\0\2" + b"count\0" + bytes(18) + b"count\0" + bytes(18))
DONE = m.frame(m.COMMAND_COMPLETE, b"SELECT 1\0")
READY = m.ready_for_query(ord("I"))


def row(*values: bytes) -> bytes:
    body = b"".join(len(value).to_bytes(4, "big") + value for value in values)
    return m.frame(m.DATA_ROW, len(values).to_bytes(2, "big") + body)


EXPECTED = SHAPE + row(b"0", b"40") + DONE + READY


def test_the_expected_answer() -> None:
    assert LOOK.question == m.query(b"EXECUTE watch (7)")
    assert LOOK.is_whole(EXPECTED)
    assert LOOK.is_expected(EXPECTED)
    assert not any(LOOK.is_whole(EXPECTED[:end]) for end in range(len(EXPECTED)))


@pytest.mark.parametrize(
    "answer",
    [
        SHAPE + row(b"1", b"40") + DONE + READY,
        SHAPE + row(b"0", b"39") + DONE + READY,
        SHAPE + row(b"1", b"40") + row(b"0", b"40") + DONE + READY,
        SHAPE + row(b"0", b"40") + row(b"1", b"40") + DONE + READY,
        SHAPE + DONE + READY,
        row(b"0", b"40") + DONE + READY,
        m.frame(m.ERROR_RESPONSE, b"SERROR\0\0") + READY,
        m.frame(m.NOTICE_RESPONSE, b"SNOTICE\0\0") + EXPECTED,
        SHAPE + row(b"0", b"40") + DONE + m.ready_for_query(ord("T")),
        EXPECTED + EXPECTED,
        b"",
        b"T",
    ],
)
def test_anything_else(answer: bytes) -> None:
    assert not LOOK.is_expected(answer)


class Wire:
    """A connection whose answers are given by hand."""

    def __init__(self) -> None:
        self.ended = False
        self.asked = 0
        self.receiver: Callable[[memoryview], None] | None = None
        self.changed: Callable[[], None] = lambda: None

    def attach(
        self, receiver: Callable[[memoryview], None], changed: Callable[[], None], _high: int
    ) -> None:
        self.receiver, self.changed = receiver, changed

    def detach(self) -> None:
        self.receiver = None

    def read(self, _wanted: bool) -> None:
        """It is."""

    def write(self, content: bytes) -> None:
        assert content == LOOK.question
        self.asked += 1

    def abort(self) -> None:
        self.ended = True

    def say(self, content: bytes) -> None:
        assert self.receiver is not None
        self.receiver(memoryview(content))


class Stand:
    def __init__(self, seconds_max: float = 5.0, enough: int = 1_000) -> None:
        self.wire, self.seen, self._enough = Wire(), 0, enough
        self.looking = Looking(
            cast(Side, self.wire), LOOK, 0.001, seconds_max, lambda _asked: self._see()
        )
        self.task = asyncio.create_task(self.looking.go_on())

    def _see(self) -> bool:
        self.seen += 1
        return self.seen < self._enough

    async def asked(self, number: int) -> None:
        async with asyncio.timeout(5):
            while self.wire.asked < number:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.001)


async def test_it_goes_on_while_the_same_is_answered() -> None:
    stand = Stand(enough=5)
    for number in range(1, 6):
        await stand.asked(number)
        await asyncio.sleep(0.005)
        assert stand.wire.asked == number, "one at a time"
        for piece in (EXPECTED[:9], EXPECTED[9:]):
            stand.wire.say(piece)
    await stand.task
    assert stand.seen == 5
    assert not stand.wire.ended
    assert stand.wire.receiver is None


async def test_another_answer_ends_it() -> None:
    stand = Stand()
    await stand.asked(1)
    stand.wire.say(SHAPE + row(b"1", b"40") + DONE + READY)
    await stand.task
    assert stand.seen == 0
    assert not stand.wire.ended, "it owes nothing"


@pytest.mark.parametrize(
    "ending",
    [
        lambda stand: stand.looking.end(),
        lambda stand: stand.wire.say(b"x" * (ANSWER_BYTES_MAX + 1)),
    ],
    ids=["something else is to be done", "no end of it"],
)
async def test_a_connection_that_owes_an_answer_is_ended(
    ending: Callable[[Stand], None],
) -> None:
    stand = Stand()
    await stand.asked(1)
    ending(stand)
    await stand.task
    assert stand.seen == 0
    assert stand.wire.ended


async def test_no_answer() -> None:
    stand = Stand(seconds_max=0.01)
    with pytest.raises(TimeoutError):
        await stand.task
    assert stand.wire.asked == 1
    assert stand.wire.ended


async def test_a_connection_that_ends() -> None:
    stand = Stand()
    await stand.asked(1)
    stand.wire.ended = True
    stand.wire.changed()
    await stand.task
    assert stand.seen == 0


async def test_what_nobody_asked_for_is_no_answer() -> None:
    stand = Stand()
    await asyncio.sleep(0)
    stand.wire.say(EXPECTED)
    await stand.task
    assert stand.seen == 0
