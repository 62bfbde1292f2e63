"""A connection under TLS is, for whoever drives it, like one without: the other end is Python's own
`ssl`.
"""

import asyncio
import secrets
import socket
import ssl
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from appliance.dataplane.transport import CLOSING_SECONDS_MAX, Side, shake_hands, upgrade
from appliance.model.errors import ProtocolViolation
from tests.clusters import Authority
from tests.unit.dataplane.test_transport import HIGH, Peer, on_uvloop, over_tcp

ALERT = 0x15
"""Content types of records (RFC 8446, 5.1): what an attacker would want to see is none of these."""
HANDSHAKE = 0x16
CHANGE_CIPHER_SPEC = 0x14


class Contexts:
    """Both ends'. With `demanding`, the server wants a certificate."""

    def __init__(self, folder: Path) -> None:
        authority = Authority.create(folder / "authority")
        leaf = authority.issue("localhost", "localhost", "127.0.0.1")
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(leaf.certificate, leaf.key)
        self.demanding = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.demanding.load_cert_chain(leaf.certificate, leaf.key)
        self.demanding.load_verify_locations(authority.certificate)
        self.demanding.verify_mode = ssl.CERT_REQUIRED
        self.client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client.load_verify_locations(authority.certificate)


_made: list[Contexts] = []
_sides: list[Side] = []
_fars: list[socket.socket] = []


def ending(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[bool], None]:
    """`on_uvloop`, and no side is left open."""

    async def bounded() -> None:
        try:
            async with asyncio.timeout(30):
                await test()
        finally:
            while _fars:
                _fars.pop().close()
            while _sides:
                side = _sides.pop()
                side.abort()
                async with asyncio.timeout(10):
                    while not side.lost:  # noqa: ASYNC110 - it tells nobody here
                        await asyncio.sleep(0.01)

    return on_uvloop(bounded)


@pytest.fixture(scope="module", autouse=True)
def contexts(tmp_path_factory: pytest.TempPathFactory) -> None:
    _made[:] = [Contexts(tmp_path_factory.mktemp("tls"))]


class Far:
    """The other end."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self.connection = connection

    async def send(self, content: bytes) -> None:
        await asyncio.to_thread(self.connection.sendall, content)

    async def receive(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            received = await asyncio.to_thread(self.connection.recv, size - len(content))
            assert received, "the connection ended"
            content += received
        return content


async def plain() -> tuple[Side, socket.socket]:
    near, far = over_tcp()
    near.setblocking(False)
    far.settimeout(10)
    side = Side("client")
    await asyncio.get_running_loop().connect_accepted_socket(lambda: side, near)
    _sides.append(side)
    _fars.append(far)
    return side, far


async def secured(context: ssl.SSLContext | None = None) -> tuple[Side, Far]:
    side, far = await plain()
    wrapped, _ = await asyncio.gather(
        asyncio.to_thread(_made[0].client.wrap_socket, far, server_hostname="localhost"),
        shake_hands(side, context or _made[0].server),
    )
    wrapped.suppress_ragged_eofs = False
    _fars.append(wrapped)
    return side, Far(wrapped)


async def half_read() -> tuple[Side, Far]:
    """ "ab" was read of "abcdefg"."""
    side, far = await secured()
    asked = asyncio.create_task(side.exactly(2))
    await asyncio.sleep(0)
    await far.send(b"abcdefg")
    assert await asked == b"ab"
    return side, far


async def driven() -> tuple[Peer, Far]:
    side, far = await secured()
    peer = Peer(side, far.connection)
    side.attach(peer.take, peer.changed, HIGH)
    side.hasten()
    return peer, far


@ending
async def test_what_goes_in_comes_out() -> None:
    peer, far = await driven()
    sizes = (1, 5, 16_384, 16_385, 100_000, 1, 700_000, 3)
    for size in sizes:
        content = secrets.token_bytes(size)
        _, arrived = await asyncio.gather(far.send(content), peer.until(len(peer.arrived) + size))
        assert arrived[-size:] == content
        peer.side.write(memoryview(content))
        assert await far.receive(size) == content
    assert len(peer.arrived) == sum(sizes)


@ending
async def test_nothing_arrives_while_it_is_not_read_and_nothing_is_lost() -> None:
    peer, far = await driven()
    taken = peer.take

    def once(chunk: memoryview) -> None:
        taken(chunk)
        peer.side.read(False)

    peer.side.attach(once, peer.changed, HIGH)
    content = secrets.token_bytes(600_000)
    sending = asyncio.create_task(far.send(content))
    size = 0
    while size < len(content):
        await peer.until(size + 1)
        size = len(peer.arrived)
        await asyncio.sleep(0.01)
        assert len(peer.arrived) == size
        peer.side.read(True)
        peer.side.read(False)
        peer.side.read(True)
    await sending
    assert bytes(peer.arrived) == content


@ending
async def test_as_much_as_was_asked_for_and_no_more() -> None:
    side, far = await half_read()
    assert side.pending == 0
    assert await side.exactly(4) == b"cdef"
    assert await side.exactly(1) == b"g"
    far.connection.close()
    await side.receive()
    assert side.ended and not side.pending


@ending
async def test_the_other_end_says_that_nothing_follows() -> None:
    peer, far = await driven()
    await far.send(b"last words")
    await asyncio.to_thread(far.connection.unwrap)  # returns once we have said so, too
    await peer.told()
    assert peer.side.ended
    assert bytes(peer.arrived) == b"last words"


@ending
async def test_the_other_end_hears_that_nothing_follows() -> None:
    peer, far = await driven()
    peer.side.write(b"x" * 300_000)
    peer.side.write(b"last words")
    peer.side.close()
    peer.side.write(b"not any more")
    content = await far.receive(300_010)
    assert content.endswith(b"xlast words")
    assert await asyncio.to_thread(far.connection.recv, 1) == b""  # and no ragged end


@ending
async def test_last_words_reach_an_end_that_still_speaks() -> None:
    peer, far = await driven()
    far.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    peer.side.write(b"x" * 500_000)
    peer.side.write(b"last words")
    peer.side.close()
    await far.send(b"one more statement")
    await asyncio.sleep(0.05)
    assert (await far.receive(500_010)).endswith(b"xlast words")
    assert await asyncio.to_thread(far.connection.recv, 1) == b""
    assert not peer.arrived
    far.connection.close()
    async with asyncio.timeout(1):
        await peer.told()


@ending
async def test_who_does_not_end_tls_is_ended() -> None:
    side, _far = await secured()
    begun = time.monotonic()
    side.close()
    while not side.lost:  # noqa: ASYNC110 - it tells nobody here
        await asyncio.sleep(0.05)
    assert time.monotonic() - begun < CLOSING_SECONDS_MAX + 2


@ending
async def test_a_receiver_that_fails_ends_the_connection() -> None:
    def fail(chunk: memoryview) -> None:
        raise ValueError(len(chunk))

    failures: list[object] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    side, _far = await half_read()
    side.attach(fail, lambda: None, HIGH)
    side.read(True)
    while not side.lost:  # noqa: ASYNC110 - it tells nobody here
        await asyncio.sleep(0.01)
    assert [str(failure) for failure in failures] == ["5"]


@ending
async def test_what_is_no_tls_ends_the_connection() -> None:
    peer, far = await driven()
    await far.send(b"before")
    await peer.until(6)
    with socket.socket(fileno=far.connection.detach()) as below:
        below.settimeout(10)
        below.sendall(b"\x17\x03\x03\x00\x20" + b"Q" * 32)
        await peer.told()
        assert peer.side.ended
        assert bytes(peer.arrived) == b"before"


@ending
async def test_nothing_is_said_in_plaintext_behind_a_failed_handshake() -> None:
    side, far = await plain()
    context = _made[0].client
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    shaking = asyncio.create_task(shake_hands(side, _made[0].demanding))
    content = b""
    with far:
        while True:
            try:
                client.do_handshake()
            except ssl.SSLWantReadError:
                await asyncio.to_thread(far.sendall, outgoing.read())
                received = await asyncio.to_thread(far.recv, 65536)
                content += received
                incoming.write(received)
            else:
                break
        await asyncio.to_thread(far.sendall, outgoing.read())  # and no certificate among it
        with pytest.raises(ssl.SSLError):
            await shaking
        side.write(b"an error that somebody could read")
        while received := await asyncio.to_thread(far.recv, 65536):
            content += received
            incoming.write(received)
        with pytest.raises(ssl.SSLError, match="certificate required"):
            client.read(1)
    while content:
        assert content[0] in (CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, 0x17)
        content = content[5 + int.from_bytes(content[3:5], "big") :]


@ending
async def test_plaintext_before_the_handshake_is_no_part_of_what_follows() -> None:
    side, far = await plain()
    with far:
        far.sendall(b"SELECT 1")
        await side.receive()
        with pytest.raises(ProtocolViolation):
            await upgrade(side, _made[0].server)
        with pytest.raises(ssl.SSLError):
            await shake_hands(side, _made[0].server)
        assert side.ssl is None
