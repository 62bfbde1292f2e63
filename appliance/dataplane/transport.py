"""One end of a TCP or TLS connection as the data path wants it: no copies in, bounded buffers,
coupled pausing.

Made by `listener` (clients) and `upstreams` (databases), driven by `login` while a session is being
set up and by `conductor` from then on. Rule: all connections of a worker read into one shared
buffer, so a receiver must be done with a chunk when it returns.
"""

import asyncio
import contextlib
import errno
import ssl
from collections.abc import Callable

from _speedups.chunks import Chunks, share
from appliance.model.errors import ProtocolViolation
from appliance.model.limits import AUTH_MESSAGE_BYTES_MAX, RECEIVE_BUFFER_BYTES

PENDING_BYTES_MAX = 2 * AUTH_MESSAGE_BYTES_MAX
CLOSING_SECONDS_MAX = 5.0
"""A peer that does not read our last words, or does not end TLS, has this long for it."""
HANDSHAKE_SECONDS_MAX = 10.0

share(bytearray(RECEIVE_BUFFER_BYTES))

Receiver = Callable[[memoryview], None]


class Side(Chunks, asyncio.BufferedProtocol):
    """A connection. Until `attach`, what arrives is kept (bounded) for `receive`; afterwards it
    goes to the receiver, unless the session's hit path takes it.
    """

    __slots__ = (
        "_on_change", "_patience", "_pending", "_receiver", "_waiter", "ended", "name", "pauses",
        "ssl",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        """'client' or 'upstream'."""
        self.ended = False
        """The peer sent its end of stream."""
        self.pauses = 0
        """How often it was not read for a while."""
        self._pending = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._receiver: Receiver | None = None
        self._on_change: Callable[[], None] | None = None
        self.ssl: ssl.SSLObject | None = None
        """None = what comes and goes is plain, or TLS is not there yet."""
        self._patience: asyncio.TimerHandle | None = None
        """Until a closing connection is aborted."""

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def chunk(self, chunk: memoryview) -> None:
        if self._receiver is not None:
            self._receiver(chunk)
            return
        self._pending += chunk
        if self.narrow > 0:
            self.narrow -= len(chunk)
            if self.narrow <= 0:
                self.read(False)  # at once: what comes next may be TLS
        if len(self._pending) > PENDING_BYTES_MAX:
            self.read(False)
        self._wake()

    def eof_received(self) -> bool:
        if self.unopened:
            self.offer_opened()
        self.ended = True
        self._wake()
        self._changed()
        if self.ssl is None:
            return True  # plain TCP stays open for what is still to be sent; TLS cannot
        if not self.closing:
            self.close()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        self.lost = self.ended = True
        self.transport = None
        if self._patience is not None:
            self._patience.cancel()
        self._wake()
        self._changed()

    def pause_writing(self) -> None:
        self.writing_paused = True
        self._changed()

    def resume_writing(self) -> None:
        self.writing_paused = False
        self._wake()
        self._changed()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()

    # for login

    async def receive(self) -> None:
        """Returns when something arrived since the last call, raises ConnectionResetError at the
        end of the stream.
        """
        if self.ended:
            raise ConnectionResetError(f"{self.name} closed the connection")
        self.read(True)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def at_least(self, count: int) -> bytearray:
        """The pending bytes, once there are `count` of them."""
        if count > PENDING_BYTES_MAX:
            raise ProtocolViolation(self.name, "message too long during login")
        while len(self._pending) < count:
            await self.receive()
        return self._pending

    def take(self, count: int) -> bytes:
        taken = bytes(self._pending[:count])
        del self._pending[:count]
        return taken

    async def exactly(self, count: int) -> bytes:
        """So many bytes, and not one more is taken from the socket, neither now nor until the next
        call: what follows may not be for us.
        """
        if count > PENDING_BYTES_MAX:
            raise ProtocolViolation(self.name, "message too long during login")
        while len(self._pending) < count:
            self.narrow = count - len(self._pending)
            await self.receive()
        return self.take(count)

    @property
    def pending(self) -> int:
        return len(self._pending)

    async def message(self) -> tuple[int, bytes]:
        """One framed message during login: (type, whole frame)."""
        head = await self.at_least(5)
        length = int.from_bytes(head[1:5], "big")
        if not 4 <= length <= AUTH_MESSAGE_BYTES_MAX:
            raise ProtocolViolation(self.name, "message of impossible length during login")
        await self.at_least(length + 1)
        frame = self.take(length + 1)
        return frame[0], frame

    async def messages(self) -> list[tuple[int, bytes]]:
        """All framed messages that are here whole, once there is one: (type, body)."""
        found: list[tuple[int, bytes]] = []
        while not found:
            if len(self._pending) < 5:
                await self.receive()
                continue
            pending, at, size = bytes(self._pending), 0, len(self._pending)
            while at + 5 <= size:
                length = int.from_bytes(pending[at + 1 : at + 5], "big")
                if not 4 <= length <= AUTH_MESSAGE_BYTES_MAX:
                    raise ProtocolViolation(self.name, "message of impossible length")
                if at + length >= size:
                    break
                found.append((pending[at], pending[at + 5 : at + length + 1]))
                at += length + 1
            del self._pending[:at]
            if not found:
                await self.receive()
        return found

    # for both

    def write_all(self, pieces: list[bytes | memoryview]) -> int:
        """-> how many bytes that was."""
        whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.write(whole)
        return len(whole)

    def read(self, wanted: bool) -> None:
        if wanted == self.reading or self.transport is None or self.lost:
            return
        self.reading = wanted
        if not wanted:
            self.pauses += 1
        if wanted and self.unopened:  # comes first, and not before this returns
            asyncio.get_running_loop().call_soon(self._read_on)
        else:
            self._read_socket(wanted)

    def _read_on(self) -> None:
        try:
            self.offer_opened()
        except BaseException:  # nobody else ends it
            self.abort()
            raise
        if self.reading and not self.lost and not self.closing:
            self._read_socket(True)

    def _read_socket(self, wanted: bool) -> None:
        if self.polled:
            self.watch(wanted)
        elif self.transport is None or self.transport.is_closing():
            return
        elif wanted:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def close(self) -> None:
        """Ends the connection after what was written has gone out, or CLOSING_SECONDS_MAX later."""
        self.leave()
        if self.transport is None or self.lost:
            return
        if self._patience is None:
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(CLOSING_SECONDS_MAX, self.abort)
        before, self.closing = self.closing, True
        if self.ssl is None or self.transport.is_closing():
            self.transport.close()
        elif not before:
            self._end_tls(self.ssl, self.transport)

    def _end_tls(self, tls: ssl.SSLObject, transport: asyncio.Transport) -> None:
        """Says that nothing follows (close_notify). Until the other end says that, too, what comes
        is read, and is for nobody: a socket that is closed with something unread takes back what it
        has not sent."""
        with contextlib.suppress(ssl.SSLError):  # the other end's is not there yet
            tls.unwrap()
        self.flush_tls()
        if self.ended:
            transport.close()
            return
        try:
            transport.write_eof()
        except OSError:  # it is gone already, and that was not told yet
            transport.close()
        else:
            transport.resume_reading()

    def abort(self) -> None:
        self.leave()
        if self.transport is not None:
            self.transport.abort()

    # for the conductor

    def attach(self, receiver: Receiver, on_change: Callable[[], None], high_bytes: int) -> None:
        """From here on chunks go to `receiver`, and `on_change` hears of pausing and endings. What
        is pending goes first.
        """
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=high_bytes)
        self._receiver, self._on_change = receiver, on_change
        pending, self._pending = self._pending, bytearray()
        if pending:
            receiver(memoryview(pending))
        if self.ended:
            on_change()

    def hasten(self) -> None:
        """What arrives is read by the worker's poller, and what is written goes straight to the
        socket, where there is a poller.
        """
        transport = self.transport
        if self.polled or transport is None or self.lost or transport.is_closing():
            return
        connection = transport.get_extra_info("socket")
        if connection is None:
            return
        transport.pause_reading()
        if not self.poll(connection.fileno(), self.reading) and self.reading:
            transport.resume_reading()

    def detach(self) -> None:
        """Back to `receive`: what arrives is kept again, by way of the transport."""
        self._receiver = self._on_change = None
        if self.polled:
            self.leave()
            if self.reading and self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()

    @property
    def local(self) -> tuple[str, int]:
        """Address and port of our end, ('', 0) once it is gone."""
        found = None if self.transport is None else self.transport.get_extra_info("sockname")
        return (str(found[0]), int(found[1])) if isinstance(found, tuple) else ("", 0)

    def certificate(self) -> bytes | None:
        """The peer's certificate in DER, None without TLS or certificate."""
        tls = self.ssl
        return None if tls is None else tls.getpeercert(binary_form=True)


async def upgrade(side: Side, context: ssl.SSLContext, *, server_name: str | None = None) -> None:
    """Puts TLS on an open connection: as a server when `server_name` is None. Raises ssl.SSLError,
    OSError.
    """
    if side.pending:
        raise ProtocolViolation(side.name, "plaintext bytes before the TLS handshake")
    await shake_hands(side, context, server_name=server_name)


async def shake_hands(
    side: Side, context: ssl.SSLContext, *, server_name: str | None = None
) -> None:
    """As `upgrade`, where what has come already belongs to TLS."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        tls = context.wrap_bio(incoming, outgoing, side.name == "client", server_name)
        async with asyncio.timeout(HANDSHAKE_SECONDS_MAX):
            while not _is_done(tls):
                side.write(outgoing.read())
                if not side.pending:
                    await side.receive()
                incoming.write(side.take(side.pending))
    except BaseException as error:
        side.write(outgoing.read())  # an alert that says why
        side.close()  # nothing is ever said in plaintext behind that
        if isinstance(error, TimeoutError):
            raise ConnectionAbortedError(
                errno.ETIMEDOUT, f"{side.name} did not finish the TLS handshake in time"
            ) from None
        raise
    side.write(outgoing.read())
    if side.lost:
        raise ConnectionResetError(f"{side.name} left behind the TLS handshake")
    side.ssl = tls
    side.secure(tls, incoming, outgoing)
    side.offer_opened()


def _is_done(tls: ssl.SSLObject) -> bool:
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
