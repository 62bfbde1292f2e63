"""The poller is told of what a lease's guard says or does: of what it read when it was told of
nothing, nobody has to look."""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from _speedups.chunks import Poller, guard, poll_with, unguard
from _speedups.leases import Lease, since_boot
from tests.unit.dataplane.test_transport import HIGH, Peer, Settling, connect, over_tcp

EVENTS_MAX = 64


class Stand:
    """Peers that are read by one poller, and a lease; `looks`: what was found as each was read."""

    def __init__(self, poller: Poller, made: Settling, peers: list[Peer]) -> None:
        self.poller, self.peers = poller, peers
        self.lease = Lease()
        self.ends = socket.socketpair()
        self.looks: list[bool] = []
        self.between: Callable[[], object] = lambda: None
        """Done once a first one was read."""
        self._made = made

    def take(self, _chunk: memoryview) -> None:
        self.looks.append(self.lease.live_in(self._made.ledger.reading))
        between, self.between = self.between, lambda: None
        between()

    def hold(self, ends: tuple[socket.socket, socket.socket] | None = None) -> None:
        unguard(self.lease)
        self.ends = ends or self.ends
        self.lease.descriptor = self.ends[0].fileno()
        guard(self.lease)

    def read(self, count: int | None = None) -> list[bool]:
        self.looks.clear()
        for peer in self.peers[:count]:
            peer.far.send(b"1")
        self.poller.serve()
        return self.looks

    def speak(self) -> None:
        self.ends[1].send(b"E")


@contextlib.asynccontextmanager
async def stand(count: int = 3) -> AsyncIterator[Stand]:
    made = Settling()
    poller = Poller(made.ledger, made.settle)
    poll_with(poller)
    peers = [await connect(over_tcp) for _ in range(count)]
    found = Stand(poller, made, peers)
    for peer in peers:
        peer.side.attach(found.take, peer.changed, HIGH)
    try:
        yield found
    finally:
        unguard(found.lease)
        poll_with(None)
        for end in found.ends:
            end.close()
        for peer in peers:
            await peer.end()


async def test_what_was_told_of_when_the_guard_was_quiet_needs_no_look() -> None:
    """Not even of the last moment: those had come before it spoke."""
    async with stand() as on:
        on.hold()
        on.between = on.speak
        assert on.read() == [True, True, True]
        assert on.read() == [False, False, False]
        assert on.read() == [False, False, False], "it is not told twice"


async def test_without_it_each_reading_looks() -> None:
    async with stand() as on:
        on.lease.descriptor = on.ends[0].fileno()
        on.between = on.speak
        assert on.read() == [True, True, True]
        assert on.read() == [False, False, False]
        on.lease.descriptor = -1
        assert on.read() == [False, False, False]


@pytest.mark.parametrize(
    "ends",
    [
        lambda on: on.speak(),
        lambda on: on.ends[1].close(),
        lambda on: on.ends[1].shutdown(socket.SHUT_WR),
    ],
    ids=["it says why", "its server is gone", "it says nothing more"],
)
async def test_a_guard_that_is_ended_before(ends: Callable[[Stand], object]) -> None:
    for when in ("before it is guarded", "while it is"):
        async with stand() as on:
            if when == "while it is":
                on.hold()
                assert on.read() == [True, True, True]
            ends(on)
            if when != "while it is":
                on.hold()
            assert on.read() == [False, False, False]


async def test_another_guard_relieves_it() -> None:
    async with stand() as on:
        on.hold()
        before, after = on.ends, socket.socketpair()
        on.hold(after)
        before[1].send(b"is free now")
        assert on.read() == [True, True, True]
        on.speak()
        assert on.read() == [False, False, False]
        for end in before:
            end.close()


async def test_a_lease_that_was_not_looked_at_lately() -> None:
    async with stand() as on:
        on.hold()
        on.lease.until = since_boot() - 1
        assert on.read() == [False, False, False]
        on.lease.until = since_boot() + 60
        assert on.read() == [True, True, True]
        on.lease.descriptor = -1
        assert on.read() == [False, False, False]


async def test_the_reading_in_which_it_began_to_be_told_of() -> None:
    """What else is read then may have come before."""
    async with stand() as on:
        on.lease.descriptor = on.ends[0].fileno()
        on.between = lambda: (on.speak(), on.hold())
        assert on.read() == [True, True, True], "by the look before"
        assert on.read() == [False, False, False]

        on.ends[0].recv(10)
        unguard(on.lease)
        on.lease.descriptor = -1
        on.between = lambda: (on.hold(), on.speak())
        assert on.read() == [False, False, False]


async def test_more_than_are_told_of_at_once() -> None:
    """The guard may be one of those that are not."""
    async with stand(EVENTS_MAX + 1) as on:
        on.hold()
        on.speak()
        assert not any(on.read())
        on.poller.serve()
        assert on.looks == [False] * (EVENTS_MAX + 1)
        for end in on.ends:
            end.close()
        on.hold(socket.socketpair())
        on.between = on.speak
        looks = on.read()
        assert len(looks) >= EVENTS_MAX - 1
        assert looks[0]
        assert not any(looks[1:]), "it is not known, so each is looked at"
