"""A connection to a database that comes to nothing is closed, whatever ends it."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from appliance.config.schema import Role, TargetConfig, TargetTls, TargetTlsMode
from appliance.dataplane.connections import UpstreamUnreachable
from appliance.dataplane.upstreams import connect
from appliance.model.errors import ProtocolViolation
from tests.unit.dataplane.test_transport import on_uvloop

SSL_REQUEST_BYTES = 8
ROLES = (Role(principals=("*",), user="app"),)


async def _tried(answer: bytes, expected: type[BaseException], tls: TargetTls) -> None:
    ended = asyncio.Event()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(SSL_REQUEST_BYTES)
        writer.write(answer)
        try:
            while await reader.read(4096):
                pass
        except ConnectionResetError:
            pass
        ended.set()
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        target = TargetConfig(name="shop", host="127.0.0.1", port=port, tls=tls, roles=ROLES)
        with pytest.raises(expected):
            async with asyncio.timeout(0.3):
                await connect(target, None)
        async with asyncio.timeout(5):
            await ended.wait()


def trying(
    answer: bytes, expected: type[BaseException], tls: TargetTls
) -> Callable[[], Coroutine[None, None, None]]:
    async def tried() -> None:
        await _tried(answer, expected, tls)

    return tried


REQUIRED = TargetTls(mode=TargetTlsMode.REQUIRE)
test_it_says_nothing = on_uvloop(trying(b"", TimeoutError, REQUIRED))
test_it_has_no_tls = on_uvloop(trying(b"N", UpstreamUnreachable, REQUIRED))
test_it_has_no_process = on_uvloop(trying(b"E", UpstreamUnreachable, REQUIRED))
test_it_speaks_before_tls = on_uvloop(trying(b"S-----", ProtocolViolation, REQUIRED))
test_it_stops_amid_the_handshake = on_uvloop(trying(b"S", TimeoutError, REQUIRED))
test_its_authority_is_not_there = on_uvloop(
    trying(
        b"S",
        UpstreamUnreachable,
        TargetTls(mode=TargetTlsMode.VERIFY_CA, ca=Path("/nonexistent/ca.crt")),
    )
)
NAMELESS = TargetTls(mode=TargetTlsMode.REQUIRE, server_name=".leading.dot")
test_its_name_is_none = on_uvloop(trying(b"S", UpstreamUnreachable, NAMELESS))
