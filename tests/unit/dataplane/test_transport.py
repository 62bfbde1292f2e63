"""A connection whose socket is read by the worker's poller is, for whoever drives it, like one that
the event loop's transport reads.
"""

import asyncio
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

from _speedups.chunks import Poller, poll_with, share
from _speedups.hitcycle import HitLedger
from appliance.dataplane.loop_work import work_of
from appliance.dataplane.transport import RECEIVE_BUFFER_BYTES, Side
from appliance.telemetry.metrics import SECONDS_BOUNDS

HIGH = 64 * 1024


class Peer:
    """One side under test, what it was told, and the other end of its connection."""

    def __init__(self, side: Side, far: socket.socket) -> None:
        self.side = side
        self.far = far
        self.arrived = bytearray()
        self.changes = 0
        self.moved = asyncio.Event()

    def take(self, chunk: memoryview) -> None:
        self.arrived += chunk
        self.moved.set()

    def changed(self) -> None:
        self.changes += 1
        self.moved.set()

    async def until(self, size: int) -> bytes:
        async with asyncio.timeout(10):
            while len(self.arrived) < size:
                self.moved.clear()
                await self.moved.wait()
        return bytes(self.arrived)

    async def told(self, changes: int = 1) -> None:
        async with asyncio.timeout(10):
            while self.changes < changes:
                self.moved.clear()
                await self.moved.wait()

    async def end(self) -> None:
        """Both ends are closed when this returns."""
        self.far.close()
        self.side.abort()
        async with asyncio.timeout(10):
            while not self.side.lost:
                self.moved.clear()
                await self.moved.wait()


class Settling:
    """A round that is asked to settle."""

    def __init__(self) -> None:
        self.settled = 0
        self.ledger = HitLedger(lambda: None, lambda: None, secrets.token_bytes, SECONDS_BOUNDS)

    def settle(self) -> None:
        self.settled += 1


def on_uvloop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[bool], None]:
    """Twice: with a poller, and with the transport alone."""

    async def run(polled: bool) -> None:
        made = Settling()
        loop = asyncio.get_running_loop()
        poller = Poller(made.ledger, made.settle, work_of(loop))
        if polled:
            loop.add_reader(poller, poller.serve)
            poll_with(poller)
        try:
            await test()
        finally:
            poll_with(None)

    @pytest.mark.parametrize("polled", [True, False])
    def tested(polled: bool) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(polled))

    return tested


async def connect(pair: Callable[[], tuple[socket.socket, socket.socket]] | None = None) -> Peer:
    near, far = (pair or socket.socketpair)()
    for one in (near, far):
        one.setblocking(False)
    side = Side("client")
    await asyncio.get_running_loop().connect_accepted_socket(lambda: side, near)
    peer = Peer(side, far)
    side.attach(peer.take, peer.changed, HIGH)
    side.hasten()
    return peer


async def drained(peer: Peer, size: int) -> bytes:
    loop, content = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(10):
        while len(content) < size:
            content += await loop.sock_recv(peer.far, 65536)
    return bytes(content)


def over_tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.create_connection(listening.getsockname())
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening.accept()[0], far


@on_uvloop
async def test_an_urgent_byte_ends_a_read_and_not_what_is_read() -> None:
    """A read stops there (tcp(7)), without having taken all that has come."""
    peer = await connect(over_tcp)
    peer.far.send(b"abc")
    peer.far.send(b"!", socket.MSG_OOB)
    peer.far.send(b"def")
    assert await peer.until(6) == b"abcdef"
    peer.far.send(b"!", socket.MSG_OOB)
    peer.far.send(b"ghi")
    assert await peer.until(9) == b"abcdefghi"
    await peer.end()


async def test_a_side_that_cannot_be_watched_ends() -> None:
    """epoll_ctl(2) has limits; what nobody reads must not stay open."""
    made = Settling()
    poll_with(Poller(made.ledger, made.settle))
    peer = await connect()
    try:
        peer.side.leave()
        with tempfile.TemporaryFile() as never_watched, pytest.raises(PermissionError):
            peer.side.poll(never_watched.fileno(), True)
    finally:
        poll_with(None)
    assert peer.side.transport.is_closing()
    await peer.end()


@on_uvloop
async def test_chunks_come_and_go() -> None:
    peer = await connect()
    for number in range(20):
        peer.far.send(b"to %d." % number)
        await peer.until(len(peer.arrived) + 1)
        peer.side.write(b"fro %d." % number)
    expected = b"".join(b"to %d." % number for number in range(20))
    assert await peer.until(len(expected)) == expected
    expected = b"".join(b"fro %d." % number for number in range(20))
    assert await drained(peer, len(expected)) == expected
    await peer.end()


@on_uvloop
async def test_more_than_a_socket_takes_goes_out_in_order_and_pauses() -> None:
    peer = await connect()
    pieces = [bytes([number]) * 100_000 for number in range(30)]
    for piece in pieces:
        peer.side.write_all([memoryview(piece)])
    assert peer.side.writing_paused
    assert await drained(peer, 3_000_000) == b"".join(pieces)
    await peer.told(2)
    assert not peer.side.writing_paused
    peer.side.write(b"afterwards")
    assert await drained(peer, 10) == b"afterwards"
    await peer.end()


@on_uvloop
async def test_nothing_comes_while_reading_is_not_wanted() -> None:
    peer = await connect()
    peer.side.read(False)
    peer.far.send(b"held")
    await asyncio.sleep(0.02)
    assert (peer.arrived, peer.side.pauses) == (b"", 1)
    peer.side.read(True)
    assert await peer.until(4) == b"held"
    await peer.end()


@on_uvloop
async def test_more_than_a_buffer_takes_is_read_to_its_end() -> None:
    """Though the kernel tells of it once."""
    share(bytearray(100))
    try:
        peer = await connect()
        for size in (99, 100, 101, 250, 1000):
            peer.far.send(b"z" * size)
            assert await peer.until(len(peer.arrived) + size)
        peer.far.send(b"z" * 250)
        peer.far.shutdown(socket.SHUT_WR)
        assert await peer.until(1800) == b"z" * 1800
        await peer.told()
        assert peer.side.ended
        await peer.end()
    finally:
        share(bytearray(RECEIVE_BUFFER_BYTES))


@on_uvloop
async def test_the_end_of_a_stream_leaves_the_other_direction_open() -> None:
    peer = await connect()
    peer.far.send(b"last")
    peer.far.shutdown(socket.SHUT_WR)
    await peer.told()
    assert peer.arrived == b"last"
    assert peer.side.ended
    assert not peer.side.lost
    peer.side.write(b"answer")
    assert await drained(peer, 6) == b"answer"
    assert peer.changes == 1
    await peer.end()


@on_uvloop
async def test_a_connection_that_breaks_is_lost() -> None:
    peer = await connect()
    peer.far.close()
    async with asyncio.timeout(10):
        while not peer.side.lost:
            peer.side.write(b"x" * 1000)
            await asyncio.sleep(0)
    assert not peer.side.polled
    peer.side.write(b"into the void")
    await peer.end()


@on_uvloop
async def test_close_lets_what_was_written_go_out() -> None:
    peer = await connect()
    peer.side.write(b"y" * 1_000_000)
    peer.side.close()
    assert not peer.side.polled
    assert await drained(peer, 1_000_000) == b"y" * 1_000_000
    assert await asyncio.get_running_loop().sock_recv(peer.far, 10) == b""
    await peer.end()


@on_uvloop
async def test_who_detaches_gets_what_comes_by_the_transport() -> None:
    peer = await connect()
    peer.side.detach()
    assert not peer.side.polled
    peer.far.send(b"kept")
    async with asyncio.timeout(10):
        assert await peer.side.at_least(4) == b"kept"
    peer.side.take(4)
    peer.side.attach(peer.take, peer.changed, HIGH)
    peer.side.hasten()
    peer.far.send(b"again")
    assert await peer.until(5) == b"again"
    await peer.end()


async def test_a_receiver_that_fails_loses_its_own_connection_only() -> None:
    made = Settling()
    poller = Poller(made.ledger, made.settle)
    poll_with(poller)
    one, other = await connect(), await connect()
    poll_with(None)

    def fail(_chunk: memoryview) -> None:
        raise ValueError("broken")

    one.side.attach(fail, one.changed, HIGH)
    one.far.send(b"1")
    other.far.send(b"2")
    with pytest.raises(ValueError, match="broken"):
        for _ in range(10):
            poller.serve()
    poller.serve()
    assert other.arrived == b"2"
    await one.end()
    await other.end()


async def test_the_round_is_settled_before_the_poller_reads_again() -> None:
    made = Settling()
    poller = Poller(made.ledger, made.settle)
    poll_with(poller)
    one, other = await connect(), await connect()
    poll_with(None)

    def want(_chunk: memoryview) -> None:
        assert made.ledger.within
        made.ledger.wanted = made.ledger.turns = True

    for peer in (one, other):
        peer.side.attach(want, peer.changed, HIGH)
        peer.far.send(b"1")
    poller.serve()
    assert (made.settled, made.ledger.within) == (1, False)
    await one.end()
    await other.end()


async def test_readings_are_numbered() -> None:
    """As long as what was told of is bytes, and nothing was sent."""
    made = Settling()
    poller = Poller(made.ledger, made.settle)
    poll_with(poller)
    peers = [await connect(over_tcp) for _ in range(3)]
    poll_with(None)
    seen: list[int] = []

    def note(_chunk: memoryview) -> None:
        seen.append(made.ledger.reading)

    for peer in peers:
        peer.side.attach(note, peer.changed, HIGH)
        peer.far.send(b"1")
    poller.serve()
    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert seen[0] > 0
    assert made.ledger.reading == 0
    peers[0].far.send(b"1")
    peers[1].far.send(b"1")
    peers[1].far.shutdown(socket.SHUT_WR)
    peers[2].far.send(b"1")
    await asyncio.sleep(0.05)
    poller.serve()
    assert seen[3] > seen[0]
    assert seen[4:] == [0, 0]
    for peer in peers:
        await peer.end()


@pytest.mark.parametrize("asks", [False, True])
def test_a_poller_that_waits_for_more_gives_way_to_the_loop(asks: bool) -> None:
    """When its time is over, which is said once: the wait itself has no end."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_others_come_while_it_waits(asks))


async def _others_come_while_it_waits(asks: bool) -> None:
    loop, made = asyncio.get_running_loop(), Settling()
    work = work_of(loop) if asks else None
    poller = Poller(made.ledger, made.settle, work, 300_000_000)
    loop.add_reader(poller, poller.serve)
    peer = await _done_where_it_is(poller, made)
    near, far = socket.socketpair()
    near.setblocking(False)
    came = asyncio.Event()
    loop.add_reader(near, lambda: came.set() if near.recv(64) else None)
    delays = []
    for _ in range(5):
        came.clear()
        with ThreadPoolExecutor(1) as helper:
            others = helper.submit(_say, peer.far, far)
            async with asyncio.timeout(10):
                await came.wait()
            delays.append(time.monotonic() - others.result())
    assert 0.1 < sorted(delays)[2] < 0.3  # it had waited for 0.1 s when they came
    assert bytes(peer.arrived) == b"1" * 5
    loop.remove_reader(near)
    near.close()
    far.close()
    await peer.end()


def test_a_poller_serves_on_as_long_as_the_loop_has_nothing_to_do() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_served_on())


async def _served_on() -> None:
    loop, made = asyncio.get_running_loop(), Settling()
    poller = Poller(made.ledger, made.settle, work_of(loop), 5_000_000)
    begun: list[float] = []

    def serve() -> None:
        begun.append(time.monotonic())
        poller.serve()

    loop.add_reader(poller, serve)
    peer = await _done_where_it_is(poller, made)
    begun.clear()
    with ThreadPoolExecutor(1) as helper:
        talking = loop.run_in_executor(helper, _talk, peer.far)
        timed = loop.create_future()
        loop.call_later(0.1, lambda: timed.set_result(time.monotonic()))
        since = time.monotonic()
        async with asyncio.timeout(10):
            late = await timed - since - 0.1
            said = await talking
    assert late < 0.05  # a timer waits for a bell, not for the end
    spent = time.monotonic() - since
    assert len(begun) < spent / 0.005 / 4  # without asking the loop: once per bell
    peer.far.send(b"!")  # it is watched again
    assert (await peer.until(said + 1)).endswith(b"!")
    await peer.end()


def _talk(far: socket.socket) -> int:
    """-> bytes said, one every millisecond."""
    until, said = time.monotonic() + 0.4, 0
    while time.monotonic() < until:
        far.send(b"1")
        said += 1
        time.sleep(0.001)
    return said


@pytest.mark.parametrize("nanoseconds", [0, -1, 1_000_000_000])
def test_a_bell_that_would_never_ring(nanoseconds: int) -> None:
    made = Settling()
    with pytest.raises(ValueError, match="bell"):
        Poller(made.ledger, made.settle, nanoseconds=nanoseconds)


async def _done_where_it_is(poller: Poller, made: Settling) -> Peer:
    """Polled; what it receives gives the event loop nothing to do."""
    poll_with(poller)
    peer = await connect()
    poll_with(None)

    def take(chunk: memoryview) -> None:
        peer.take(chunk)
        made.ledger.stirred = False

    peer.side.attach(take, peer.changed, HIGH)
    return peer


def _say(here: socket.socket, far: socket.socket) -> float:
    """-> when `far` did."""
    time.sleep(0.01)  # the loop rests
    here.send(b"1")  # it is served, and waited for more from here on
    time.sleep(0.1)
    far.send(b"x")
    return time.monotonic()
