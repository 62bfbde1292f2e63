"""Accepts clients on the sockets a worker was given, one `login.Attempt` each.

Made by `worker`. Rule: accepting waits for nobody. A silent or slow client costs one coroutine
under a deadline, and the numbers of sessions and of unfinished logins are bounded; beyond them a
client is told so and let go.
"""

import asyncio
import errno
import socket
import ssl

from appliance.audit.record import ClientPart, LoginFailed
from appliance.config.schema import Listener
from appliance.dataplane.admin import Session
from appliance.dataplane.arriving import Again
from appliance.dataplane.cancels import Cancels
from appliance.dataplane.catalogs import Catalogs
from appliance.dataplane.conductor import Conductor
from appliance.dataplane.login import Attempt, tls_reason
from appliance.dataplane.protocols import SpokenProtocol, spoken_at
from appliance.dataplane.services import Services
from appliance.dataplane.transport import Side, shake_hands
from appliance.session.effects import LogInAnew

ACCEPTS_PER_TURN_MAX = 64
ACCEPT_PAUSE_SECONDS = 0.1
"""Out of descriptors or memory: clients wait in the backlog meanwhile."""
TLS_HANDSHAKE_RECORD = b"\x16"
"""First byte of a TLS connection (RFC 8446, 5.1): direct TLS, without SSLRequest."""
PEEKED_BYTES_MAX = 64
"""More than any protocol's request for TLS has, so that one with something behind it is told."""


class ClientListener:
    """One listening socket."""

    def __init__(
        self,
        name: str,
        listening: socket.socket,
        services: Services,
        cancels: Cancels,
        catalogs: Catalogs,
        sessions: set[Session],
    ) -> None:
        self._name = name
        self._socket = listening
        self._services = services
        self._cancels = cancels
        self._catalogs = catalogs
        self._sessions = sessions
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        protocol = self._protocol
        if protocol is not None:
            protocol.ready()
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._accept)

    def close(self) -> None:
        """No new clients; those on their way in go on."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN_MAX):
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._loop.remove_reader(self._socket)  # it stays readable: no busy loop
                    self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._resume)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._serve(connection, address[0], address[1]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket, self._accept)

    async def _serve(self, connection: socket.socket, host: str, port: int) -> None:
        services = self._services
        limits = services.governance.configuration.limits
        metrics = services.metrics
        metrics.clients_accepted += 1
        protocol = self._protocol
        if protocol is None:  # removed by a reload
            connection.close()
            return
        pending = metrics.logins_pending
        if len(self._sessions) >= limits.sessions_max or pending >= limits.logins_pending_max:
            metrics.clients_refused_limit += 1
            _turn_away(connection, protocol)
            return
        metrics.logins_pending += 1
        try:
            async with asyncio.timeout(limits.login_ms_max / 1000):
                side = await self._side(connection, protocol)
        except (TimeoutError, OSError) as error:  # silent, gone, or no TLS we accept
            metrics.clients_refused_tls += 1
            connection.close()
            if isinstance(error, ssl.SSLError):
                self._owe_failure(host, port, tls_reason(error))
            return
        finally:
            metrics.logins_pending -= 1
        await self._log_in(side, host, port)

    async def _log_in(self, side: Side, host: str, port: int, again: Again | None = None) -> None:
        listener = self._services.governance.configuration.listener(self._name)
        if listener is None:
            side.abort()
            return
        metrics = self._services.metrics
        metrics.logins_pending += 1
        try:
            session = await self._attempt(side, listener, host, port, again).run()
        finally:
            metrics.logins_pending -= 1
        if session is not None and not session.ended:
            self._sessions.add(session)
            session.on_end = self._sessions.discard
            if isinstance(session, Conductor):
                session.on_login = self._log_in_again

    def _log_in_again(self, before: Conductor, side: Side, wish: LogInAnew) -> None:
        assert before.client is not None
        again = Again(wish.words, wish.sequence, before.asked)
        where = (before.client.address, before.client.port)
        task = self._loop.create_task(self._log_in(side, *where, again))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _owe_failure(self, host: str, port: int, reason: str) -> None:
        """Direct TLS failed before anything was said."""
        now = self._services.now()
        self._services.owe(
            LoginFailed(
                id=self._services.new_id(now),
                time=now,
                claimed="",
                reason=reason,
                client=ClientPart(host, port, self._name, tls=True),
            )
        )

    @property
    def _protocol(self) -> SpokenProtocol | None:
        """None: configuration has no such listener any more."""
        configuration = self._services.governance.configuration
        listener = configuration.listener(self._name)
        return None if listener is None else spoken_at(listener, configuration)

    def _attempt(
        self, side: Side, listener: Listener, host: str, port: int, again: Again | None
    ) -> Attempt:
        address, services = (host, port), self._services
        return Attempt(
            side,
            listener,
            address,
            services,
            self._cancels,
            self._catalogs,
            self._sessions,
            again,
        )

    async def _side(self, connection: socket.socket, protocol: SpokenProtocol) -> Side:
        """The first byte tells direct TLS from everything else; it is looked at, not taken. A
        client that waits to be greeted has none.
        """
        first = b"" if protocol.speaks_first else await self._peek(connection)
        context: ssl.SSLContext | None = None
        direct = first[:1] == TLS_HANDSHAKE_RECORD and protocol.alpn is not None
        if direct:
            context = self._context()
            if context is None:
                raise ConnectionAbortedError("TLS is not configured here")
        elif protocol.tls_request is not None and first == protocol.tls_request.words:
            context = self._context()
            if context is not None:  # what comes behind our answer is TLS, or nothing that we read
                connection.recv(len(first))
                connection.send(protocol.tls_request.granted)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        side = Side("client")
        await self._loop.connect_accepted_socket(lambda: side, connection)
        if context is not None:
            await shake_hands(side, context)
        if direct:
            tls = side.ssl
            if tls is None or tls.selected_alpn_protocol() != protocol.alpn:
                side.abort()
                raise ConnectionAbortedError("direct TLS without the ALPN name of the protocol")
        return side

    def _context(self) -> ssl.SSLContext | None:
        return self._services.governance.contexts[self._name].context

    async def _peek(self, connection: socket.socket) -> bytes:
        """What has come first, PEEKED_BYTES_MAX at most."""
        try:
            peeked = connection.recv(PEEKED_BYTES_MAX, socket.MSG_PEEK)
        except BlockingIOError:
            readable: asyncio.Future[None] = self._loop.create_future()
            self._loop.add_reader(connection, _resolve, readable)
            try:
                await readable
            finally:
                self._loop.remove_reader(connection)
            peeked = connection.recv(PEEKED_BYTES_MAX, socket.MSG_PEEK)
        if not peeked:
            raise ConnectionResetError("the client left")
        return peeked


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _turn_away(connection: socket.socket, protocol: SpokenProtocol) -> None:
    """Best effort: the client may not speak yet, but most read what comes."""
    try:
        connection.send(protocol.turned_away)
    except OSError:
        return
    finally:
        connection.close()
