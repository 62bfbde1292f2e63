"""How the tests of protocol dangers talk to a session, and what they look at afterwards."""

import struct

from tests.adversity.stage import Proxy
from tests.wireclient import (
    Message,
    WireClient,
    rows,
    status,
)

SSL_REQUEST = struct.pack("!II", 8, 80877103)


GSSENC_REQUEST = struct.pack("!II", 8, 80877104)


EVIL = r"SELECT 'a\', '; DROP TABLE doomed; --'"
"""One string constant and another to whoever reads backslashes plainly, a DROP to all others."""


def fresh(proxy: Proxy) -> WireClient:
    return WireClient(proxy.running.host, proxy.running.port)


def usable(client: WireClient, state: str = "I") -> None:
    got = client.query("SELECT 41 + 1")
    assert rows(got) == [[b"42"]] and status(got) == state


def content(messages: list[Message]) -> bytes:
    return b"".join(one.body for one in messages)


def cut(client: WireClient, sqlstate: str = "08P01") -> None:
    """The session ends with this error."""
    seen = client.rest()
    assert seen and seen[-1].kind == "E", [str(one) for one in seen]
    assert seen[-1].fields["C"] == sqlstate and seen[-1].fields["S"] == "FATAL"


def doomed(proxy: Proxy) -> bool:
    """Whether the table that nobody may drop is gone."""
    return proxy.cluster.ask("SELECT to_regclass('doomed') IS NULL") == [(True,)]
