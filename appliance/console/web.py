"""HTTP in front of the app: uvicorn on the configured address, bounded in every direction.

Used by `serve` and by tests. Rules: a request's head has HEAD_SECONDS to arrive and HEAD_BYTES_MAX;
no word of a proxy's headers is believed; nothing of a request is logged.
"""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from appliance.config.control import Control
from appliance.console import pacing
from appliance.telemetry.log import Log

HEAD_SECONDS = 10.0
HEAD_BYTES_MAX = 32 * 1024
CONNECTIONS_MAX = 512
KEEP_ALIVE_SECONDS = 30
GOODBYE_SECONDS = 2

log = Log("console")


class CannotListen(ValueError):
    """The text is for the administrator."""


class Crowd:
    """Who is connected from where: one address does not take every place."""

    def __init__(self, of_one_max: int) -> None:
        self._of_one_max = of_one_max
        self._here: Counter[str] = Counter()

    def admits(self, whence: str) -> bool:
        """Whether there is a place, which is taken then."""
        if self._here[whence] >= self._of_one_max:
            return False
        self._here[whence] += 1
        return True

    def leaves(self, whence: str) -> None:
        self._here[whence] -= 1
        if self._here[whence] <= 0:
            del self._here[whence]


class _Config(uvicorn.Config):
    crowd: Crowd


class BoundedProtocol(H11Protocol):
    """uvicorn's, with a deadline for each request's head: a connection that says nothing, or says
    it a byte at a time, would otherwise stay for ever."""

    _waiting: asyncio.TimerHandle | None = None
    _whence = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        whence = pacing.whence(str(peer[0])) if peer else "?"
        if not self._crowd.admits(whence):
            transport.abort()
            return
        self._whence = whence
        self._watch()

    def data_received(self, chunk: bytes) -> None:
        super().data_received(chunk)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._calm()
        if self._whence:
            self._crowd.leaves(self._whence)
            self._whence = ""
        super().connection_lost(exc)

    @property
    def _crowd(self) -> Crowd:
        assert isinstance(self.config, _Config)
        return self.config.crowd

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._calm()
        elif self._waiting is None and self.timeout_keep_alive_task is None:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _calm(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _too_slow(self) -> None:
        self._waiting = None
        if not self.transport.is_closing():
            self.transport.abort()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own business."""
        yield


class Web:
    """The listening app; an async context manager."""

    def __init__(self, app: ASGIApp, control: Control, listening: Sequence[socket.socket]) -> None:
        """`listening`: bound sockets, which are closed at the end."""
        tls: dict[str, Any] = {}
        if control.tls is not None:
            tls = {"ssl_certfile": control.tls.certificate, "ssl_keyfile": control.tls.key}
        config = _Config(
            app,
            http=BoundedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GOODBYE_SECONDS,
            h11_max_incomplete_event_size=HEAD_BYTES_MAX,
            **tls,
        )
        config.crowd = Crowd(control.connections_per_address)
        self._server = _Server(config)
        self._listening = list(listening)
        self._running: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        return int(self._listening[0].getsockname()[1])

    async def __aenter__(self) -> "Web":
        """Raises CannotListen (a certificate that does not fit)."""
        try:
            self._server.config.load()
        except OSError as error:
            self._close()
            raise CannotListen(f"control.tls: {error.strerror or 'cannot be used'}") from error
        self._running = asyncio.create_task(self._server.serve(sockets=self._listening), name="web")
        # uvicorn has a flag, no event.
        while not self._server.started and not self._running.done():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if self._running.done():
            self._running.result()
        log.info("console_listening", port=self.port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._running is not None
        self._server.should_exit = True
        await self._running
        self._close()

    def _close(self) -> None:
        for one in self._listening:
            one.close()

    async def ended(self) -> None:
        """Waits for the web server's own end, which nobody asked for."""
        assert self._running is not None
        await asyncio.shield(self._running)
