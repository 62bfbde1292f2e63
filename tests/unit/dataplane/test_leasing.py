"""Leases: what is held, by whom, and when it is said that nothing is."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import pytest

from _speedups.leases import Lease
from appliance.dataplane import leasing
from appliance.dataplane.connections import Upstream, UpstreamRefused
from appliance.dataplane.leasing import BEGIN, END, Leases
from appliance.dataplane.vouching import Footing, Voucher

SECONDS_MAX = 10.0


class Part(NamedTuple):
    key: str
    known: str = "as judged"

    @property
    def question(self) -> str:
        return f"ask {self.key}"

    @property
    def use(self) -> str:
        return f"use {self.key}"

    def now(self, _catalog: object) -> str:
        return self.known


class Rests(NamedTuple):
    parts: Sequence[Part]

    @property
    def steady(self) -> frozenset[Hashable] | None:
        return frozenset(part.key for part in self.parts)


class Side:
    """Of a guard."""

    def __init__(self, server: "Server") -> None:
        self.ours, self.theirs = socket.socketpair()
        self.transport = self
        self.ended = False
        self._told = asyncio.Event()
        self._server = server

    def get_extra_info(self, _name: str) -> socket.socket:
        return self.ours

    async def receive(self) -> None:
        await self._told.wait()
        raise ConnectionResetError

    def killed(self) -> None:
        """As a server does it: the socket first."""
        self.theirs.shutdown(socket.SHUT_RDWR)
        self.ended = True
        self._told.set()

    def write(self, _content: bytes) -> None:
        self._server.open.discard(self)

    def close(self) -> None:
        self.ours.close()


class Server:
    """Keeps what its connections use from changing."""

    def __init__(self) -> None:
        self.sides: list[Side] = []
        self.open: set[Side] = set()
        """With a transaction."""
        self.refused: set[str] = set()
        self.changing = asyncio.Event()
        self.changing.set()
        self.changed = False
        self.uses = self.looks = 0

    async def connect(self) -> Upstream:
        side = Side(self)
        self.sides.append(side)
        return cast(Upstream, NamedUpstream(side))

    async def query(self, upstream: Upstream, text: str) -> list[Any]:
        side = cast(Side, upstream.side)
        if side.ended:
            raise ConnectionResetError
        if text == BEGIN:
            assert side not in self.open
            self.open.add(side)
        elif text == END:
            self.open.discard(side)
        elif text.startswith("use "):
            self.uses += 1
            if text[4:] in self.refused:
                raise UpstreamRefused({"M": "no"})
            await self.changing.wait()
        return []

    async def read(self, _upstream: Upstream, parts: Any) -> dict[Hashable, str]:
        parts = list(parts)
        self.looks += len(parts)
        return {part.key: "otherwise" if self.changed else "same" for part in parts}

    def is_as_judged(self, footing: Footing, found: dict[Hashable, str]) -> bool:
        return all(found[part.key] == "same" for part in footing.parts)


class NamedUpstream(NamedTuple):
    side: Side


@pytest.fixture
def server() -> Server:
    return Server()


@contextlib.contextmanager
def leases_of(server: Server) -> Iterator[Leases]:
    made = Leases(cast(Voucher, server), server.connect, server.query, b"quit")
    try:
        yield made
    finally:
        made.close()
        for side in server.sides:
            side.ours.close()
            side.theirs.close()


def footing(*keys: str) -> Footing:
    return cast(Footing, Rests(tuple(map(Part, keys))))


async def until(wanted: Callable[[], bool]) -> None:
    for _ in range(int(SECONDS_MAX / 0.002)):
        if wanted():
            return
        await asyncio.sleep(0.002)
    raise TimeoutError("it does not come to that")


async def held(leases: Leases, *keys: str) -> Lease:
    lease = leases.of(footing(*keys))
    assert lease is not None
    await until(lambda: bool(lease.value) and lease.live())
    return lease


def played(test: Any) -> Any:
    def run(server: Server) -> None:
        asyncio.run(test(server))

    run.__name__ = test.__name__
    return run


@played
async def test_guards_relieve_each_other_without_a_break(server: Server) -> None:
    with leases_of(server) as leases:
        lease = await held(leases, "a", "b")
        value, uses, looks = lease.value, server.uses, server.looks
        while server.uses < uses + 8:
            lease.used += 1
            assert lease.value == value and lease.live() and server.open
            await asyncio.sleep(0.005)
        assert len(server.sides) == 2 and server.looks == looks


@played
async def test_whoever_changes_something_does_not_wait_long(server: Server) -> None:
    """The guard that has to wait makes the other let go."""
    with leases_of(server) as leases:
        lease = await held(leases, "a")
        server.changing.clear()
        await until(lambda: not lease.value)
        await until(lambda: len(server.open) == 1)  # the one that waits
        server.changed = True
        server.changing.set()
        uses = server.uses
        while server.uses < uses + 2:
            lease.used += 1
            assert not lease.value
            await asyncio.sleep(0.005)
        server.changed = False
        await until(lambda: bool(lease.value))


@played
async def test_a_guard_that_is_killed_holds_nothing(server: Server) -> None:
    with leases_of(server) as leases:
        lease = await held(leases, "a")
        value = lease.value
        for side in server.sides:
            side.killed()
        assert not lease.live()
        await until(lambda: bool(lease.value) and lease.value != value and lease.live())


@played
async def test_what_may_not_be_used_is_not_leased(server: Server) -> None:
    server.refused.add("b")
    with leases_of(server) as leases:
        both = leases.of(footing("a", "b"))
        await held(leases, "a")
        assert both is not None and not both.value
        assert leases.of(footing("a", "b")) is None


@played
async def test_what_nobody_uses_is_let_go_of(server: Server) -> None:
    with leases_of(server) as leases:
        lease = await held(leases, "a")
        await until(lambda: not lease.value and not server.open)
        assert (await held(leases, "a")).value


@played
async def test_another_footing_of_the_same_is_another_lease(server: Server) -> None:
    with leases_of(server) as leases:
        lease = await held(leases, "a")
        other = leases.of(cast(Footing, Rests((Part("a", "otherwise"),))))
        assert other is not None and other is not lease and not lease.value


@played
async def test_there_is_a_bound(server: Server) -> None:
    with leases_of(server) as leases:
        for number in range(leasing.LEASES_MAX):
            assert leases.of(footing(str(number))) is not None
        assert leases.of(footing("one more")) is None


@played
async def test_nothing_is_held_once_it_is_closed(server: Server) -> None:
    with leases_of(server) as leases:
        lease = await held(leases, "a")
    assert not lease.value and not lease.live() and not server.open
