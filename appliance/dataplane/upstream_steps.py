"""A connection to a database whose protocol is written as conversations (`wire/conversation`):
carries out their steps over TCP and TLS.

Named in `protocols`; knows no protocol. Rule: as in `connections`.
"""

from collections.abc import Callable, Generator
from typing import Any, Protocol

from appliance.config.schema import TargetConfig, TargetTlsMode
from appliance.dataplane.connections import (
    Login,
    Row,
    Upstream,
    UpstreamRefused,
    UpstreamUnreachable,
    connect_plain,
    secured,
    unreachable,
)
from appliance.dataplane.conversing import converse
from appliance.dataplane.transport import Side
from appliance.wire.conversation import Met, Unacceptable, UpstreamRejected

Steps = Generator[Any, Any, Any]

_LADDER = {
    TargetTlsMode.DISABLE: "disable",
    TargetTlsMode.ALLOW: "prefer",  # the stronger way round, as in `upstreams`
    TargetTlsMode.PREFER: "prefer",
}


def encryption(target: TargetConfig) -> str:
    """'disable', 'prefer' or 'require': what the ladder says about whether there is to be TLS."""
    return _LADDER.get(target.tls.mode, "require")


class Established(Protocol):
    """What a login conversation returns."""

    @property
    def thread(self) -> int: ...
    @property
    def met(self) -> Met: ...
    @property
    def parameters(self) -> dict[str, str]: ...


class SteppedUpstreams:
    """The functions of `protocols.SpokenProtocol` for such a protocol."""

    def __init__(
        self,
        log_in: Callable[[str, bytes | None, str, str, dict[str, str]], Steps],
        query: Callable[[Any, bytes], Steps],
        cancelling: Callable[[Any, int], Steps],
        terminate: bytes,
    ) -> None:
        """`log_in`: (user, password, database, encryption, settings); it returns an Established.
        `query`: (Established, text), which returns rows. `cancelling`: (Established, thread).
        """
        self._log_in = log_in
        self._query = query
        self._cancelling = cancelling
        self._terminate = terminate

    async def open_upstream(
        self, target: TargetConfig, login: Login, database: str, settings: dict[str, str]
    ) -> Upstream:
        side = await opened(target)
        steps = self._log_in(login.user, login.password, database, encryption(target), settings)
        found: Established = await conversed(side, steps, target, login)
        return Upstream(side, dict(found.parameters), found.thread, b"", [], found.met, found)

    async def query(self, upstream: Upstream, text: str) -> list[Row]:
        rows: list[Row] = await spoken(upstream.side, self._query(upstream.own, text.encode()))
        return rows

    async def cancel(self, target: TargetConfig, login: Login, upstream: Upstream) -> bool:
        """Over another session of the same user."""
        other = await self.open_upstream(target, login, "", {})
        try:
            await spoken(other.side, self._cancelling(other.own, upstream.pid))
        finally:
            other.side.write(self._terminate)
            other.side.close()
        return True


async def opened(target: TargetConfig) -> Side:
    """Raises UpstreamUnreachable."""
    try:
        return await connect_plain(target)
    except OSError as error:
        raise unreachable(error) from None


async def conversed(side: Side, steps: Steps, target: TargetConfig, login: Login | None) -> Any:
    """What `steps` returns. Raises UpstreamRefused, UpstreamUnreachable, ProtocolViolation; then
    the connection is closed.
    """

    async def secure() -> None:
        await secured(side, target, login)

    try:
        return await converse(side, steps, secure)
    except UpstreamRejected as error:
        side.abort()
        raise UpstreamRefused(error.fields) from None
    except Unacceptable as error:
        side.abort()
        raise UpstreamUnreachable(error.reason) from None
    except OSError as error:
        side.abort()
        raise unreachable(error) from None
    except BaseException:
        side.abort()
        raise


async def spoken(side: Side, steps: Steps) -> Any:
    """A statement or command on a connection that is logged in; it stays open after a refusal.
    Raises UpstreamRefused, UpstreamUnreachable, ProtocolViolation, OSError.
    """

    async def secure() -> None:
        raise UpstreamUnreachable("TLS amid a session")

    try:
        return await converse(side, steps, secure)
    except UpstreamRejected as error:
        raise UpstreamRefused(error.fields) from None
    except Unacceptable as error:
        raise UpstreamUnreachable(error.reason) from None
