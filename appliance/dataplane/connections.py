"""A connection to a database before anything is said on it: what a login needs, what comes of it,
TCP, and TLS as the target's ladder wants it.

Used by `upstreams` (PostgreSQL) and `conversing` (protocols whose logins are conversations). Rule:
what went wrong is told without addresses and secrets.
"""

import asyncio
import socket
import ssl
from typing import Any, NamedTuple

from appliance.config.schema import TargetConfig, TargetTlsMode
from appliance.dataplane.transport import Side, upgrade
from appliance.wire.conversation import Met

Row = tuple[str | None, ...]
"""One row of an answer to a statement of ours, as text."""


class UpstreamRefused(Exception):
    """The database answered the login with an error; `fields` as in ErrorResponse."""

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields.get("C", ""))
        self.fields = fields


class UpstreamUnreachable(Exception):
    """No connection, or no acceptable TLS. `reason` names what, without addresses or secrets."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Login(NamedTuple):
    """Who we are to the database."""

    user: str
    password: bytes | None
    certificate: tuple[str, str] | None = None
    """(certificate file, key file) for TLS client authentication."""


NO_SIDE = Side("upstream")
"""Stands for the connection of a session that has none now: takes nothing and says nothing."""


class Upstream(NamedTuple):
    """A logged-in session with a database."""

    side: Side
    parameters: dict[str, str]
    pid: int
    secret: bytes
    notices: list[bytes]
    met: Met | None = None
    """What the database says of itself to everybody, where its protocol has that."""
    own: Any = None
    """What the protocol's own code knows of it besides."""


async def connect_plain(target: TargetConfig) -> Side:
    loop = asyncio.get_running_loop()
    _transport, side = await loop.create_connection(
        lambda: Side("upstream"), target.host, target.port
    )
    connection = None if side.transport is None else side.transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return side


def tls_context(target: TargetConfig, login: Login | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    mode = target.tls.mode
    if mode in (TargetTlsMode.VERIFY_CA, TargetTlsMode.VERIFY_FULL):
        context.check_hostname = mode is TargetTlsMode.VERIFY_FULL
        context.verify_mode = ssl.CERT_REQUIRED
        if target.tls.ca is not None:
            context.load_verify_locations(str(target.tls.ca))
        else:
            context.load_default_certs()
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    own = login.certificate if login is not None and login.certificate else None
    if own is not None:
        context.load_cert_chain(*own)
    elif target.tls.certificate is not None:
        context.load_cert_chain(str(target.tls.certificate), str(target.tls.key))
    return context


async def secured(side: Side, target: TargetConfig, login: Login | None) -> None:
    """TLS on an open connection, verified as far as the target's ladder says. Raises OSError,
    UpstreamUnreachable, ProtocolViolation."""
    name = target.tls.server_name or target.host
    try:
        await upgrade(side, tls_context(target, login), server_name=name)
    except OSError:  # of which one is a ValueError, too
        raise
    except (TypeError, ValueError):
        raise UpstreamUnreachable(
            "the database's name is none that TLS can ask for; see tls.server_name of the target"
        ) from None


def unreachable(error: OSError) -> UpstreamUnreachable:
    """What the log and the client are told of it."""
    if isinstance(error, ConnectionResetError):
        return UpstreamUnreachable("the database closed the connection")
    if isinstance(error, ssl.SSLCertVerificationError):
        return UpstreamUnreachable(
            f"the database's certificate is not acceptable: {error.verify_message}"
        )
    if isinstance(error, ssl.SSLError):
        return UpstreamUnreachable(f"TLS with the database failed: {error.reason}")
    return UpstreamUnreachable(f"cannot connect to the database: {error.strerror}")
