"""Cancel requests to the database for one session, over connections of their own.

Owned by `conductor`; `pool` waits for those under way before it reuses a connection. Rule: a
request that was perhaps not dealt with counts as under way for ever.
"""

import asyncio
from collections import Counter
from typing import Protocol

from appliance.config.schema import PoolingMode, TargetConfig
from appliance.dataplane.connections import Login, Upstream, UpstreamRefused, UpstreamUnreachable
from appliance.dataplane.protocols import SpokenProtocol
from appliance.model.errors import ProtocolViolation
from appliance.telemetry.log import Log

CANCEL_SECONDS_MAX = 10.0
CANCELS_MAX = 16
CANCEL_PAUSE_SECONDS = 0.1

_log = Log("session")
_background: set[asyncio.Task[bool]] = set()


class Session(Protocol):
    """The conductor, as far as it is needed here."""

    @property
    def database(self) -> str: ...
    @property
    def kept(self) -> object | None: ...
    @property
    def sharing(self) -> object | None: ...


Place = tuple[str, str, str, str]
"""Target, database, database user, pooling mode: a line of SHOW POOLS."""


def mode_of(session: Session) -> PoolingMode:
    """How it has its connection."""
    if session.sharing is not None:
        return PoolingMode.TRANSACTION
    return PoolingMode.NONE if session.kept is None else PoolingMode.SESSION


carried: Counter[Place] = Counter()
"""Connections that carry a cancel request now."""


class Cancelling:
    """As the protocol of that connection has it done."""

    __slots__ = (
        "_login", "_protocol", "_sending", "_session", "_target", "_upstream", "underway",
    )  # fmt: skip

    def __init__(
        self,
        protocol: SpokenProtocol,
        target: TargetConfig,
        login: Login,
        upstream: Upstream,
        session: Session,
    ) -> None:
        self._session = session
        self._protocol = protocol
        self._target = target
        self._login = login
        self._upstream = upstream
        self.underway: dict[asyncio.Task[bool], None] = {}
        """Cancel requests on their way, and those that perhaps are still."""
        self._sending = 0

    @property
    def busy(self) -> bool:
        """Some are on their way."""
        return bool(self._sending)

    def concerns(self, upstream: Upstream) -> bool:
        return self._upstream.side is upstream.side

    def send(self, statements: int = 1) -> asyncio.Task[bool]:
        """The task ends when it is delivered."""
        task = asyncio.get_running_loop().create_task(self._send_cancels(statements))
        _background.add(task)
        task.add_done_callback(_background.discard)
        self.underway[task] = None
        self._sending += 1
        task.add_done_callback(self._sent)
        return task

    def _sent(self, task: asyncio.Task[bool]) -> None:
        self._sending -= 1
        if not task.cancelled() and task.exception() is None and task.result():
            self.underway.pop(task, None)

    async def _send_cancels(self, statements: int) -> bool:
        """One request cancels one statement; what a client that is gone pipelined behind it lies in
        the server's buffer and would run on.
        """
        delivered = await self._send_cancel()
        for _ in range(min(statements, CANCELS_MAX) - 1):
            await asyncio.sleep(CANCEL_PAUSE_SECONDS)
            delivered &= await self._send_cancel()
        return delivered

    async def _send_cancel(self) -> bool:
        """Whether the server has surely dealt with it."""
        session, user = self._session, self._login.user
        place = self._target.name, session.database, user, mode_of(session).value
        carried[place] += 1
        try:
            async with asyncio.timeout(CANCEL_SECONDS_MAX):
                return await self._protocol.cancel(self._target, self._login, self._upstream)
        except (
            UpstreamRefused,
            UpstreamUnreachable,
            TimeoutError,
            OSError,
            ProtocolViolation,
        ) as error:
            _log.warning(
                "cancel request not delivered", target=self._target.name, reason=str(error)
            )
            return False
        finally:
            carried[place] -= 1
            if not carried[place]:
                del carried[place]
