"""Key sources against a real HTTP server: fetched once, kept on failure, asked again for a new
key id, bounded."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import RSAKey

from appliance.cli.authority import issue, make_authority
from appliance.config.schema import OidcProvider
from appliance.dataplane import jwks
from appliance.dataplane.jwks import KeySource

FIRST = RSAKey.generate_key(2048, {"kid": "first"})
SECOND = RSAKey.generate_key(2048, {"kid": "second"})


def key_set(*keys: RSAKey) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


class Issuer:
    """Answers every request with `body`, or what `raw` says."""

    def __init__(self) -> None:
        self.body = key_set(FIRST)
        self.status = b"200 OK"
        self.stall = False
        self.requests = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            await reader.readuntil(b"\r\n\r\n")
            self.requests += 1
            head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (self.status, len(self.body))
            writer.write(head + (b"" if self.stall else self.body))
            await writer.drain()
            if self.stall:
                await reader.read()
        writer.close()

    @contextlib.asynccontextmanager
    async def listening(self, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0, ssl=context)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def provider(**where: Any) -> OidcProvider:
    return OidcProvider(name="p", issuer="i", audience=("a",), **where)


async def test_fetched_once_for_many() -> None:
    issuer, clock = Issuer(), Clock()
    async with issuer.listening() as port:
        source = KeySource(provider(jwks_url=f"http://127.0.0.1:{port}/keys?x=1"), clock=clock)
        found = await asyncio.gather(*(source.find("first", "RS256") for _ in range(20)))
        assert all(keys.find("first", "RS256") is not None for keys in found)
        assert issuer.requests == 1
        await source.find("first", "RS256")
        assert issuer.requests == 1
        await source.close()


async def test_new_key_id_asks_again_but_not_at_a_strangers_pace() -> None:
    issuer, clock = Issuer(), Clock()
    async with issuer.listening() as port:
        source = KeySource(provider(jwks_url=f"http://127.0.0.1:{port}/"), clock=clock)
        await source.find("first", "RS256")
        issuer.body = key_set(FIRST, SECOND)
        for _ in range(10):
            assert (await source.find("second", "RS256")).find("second", "RS256") is None
        assert issuer.requests == 1
        clock.now += jwks.REFETCH_S_MIN
        assert (await source.find("second", "RS256")).find("second", "RS256") is not None
        assert issuer.requests == 2


async def test_old_keys_are_renewed_in_the_background() -> None:
    issuer, clock = Issuer(), Clock()
    async with issuer.listening() as port:
        source = KeySource(provider(jwks_url=f"http://127.0.0.1:{port}/"), clock=clock)
        await source.find("first", "RS256")
        issuer.body = key_set(SECOND)
        clock.now += 301
        assert (await source.find("first", "RS256")).find("first", "RS256") is not None
        await source.refresh()
        assert source.keys.find("first", "RS256") is None


@pytest.mark.parametrize(
    "change",
    [
        {"body": b"no json"},
        {"body": b'{"keys": []}'},
        {"body": b"x" * (jwks.KEY_SET_BYTES_MAX + 1)},
        {"status": b"500 Oops"},
        {"status": b"302 Found"},
    ],
)
async def test_failures_keep_the_old_keys(change: dict[str, Any]) -> None:
    issuer, clock = Issuer(), Clock()
    warnings: list[str] = []
    async with issuer.listening() as port:
        source = KeySource(
            provider(jwks_url=f"http://127.0.0.1:{port}/"), clock=clock, warn=warnings.append
        )
        await source.refresh()
        for name, value in change.items():
            setattr(issuer, name, value)
        await source.refresh()
        assert issuer.requests == 2
        assert source.keys.find("first", "RS256") is not None
        assert len(warnings) == 1


async def test_issuer_that_is_away_or_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_S_MAX", 0.2)
    issuer = Issuer()
    issuer.stall = True
    async with issuer.listening() as port:
        source = KeySource(provider(jwks_url=f"http://127.0.0.1:{port}/"))
        async with asyncio.timeout(3):
            assert len(await source.find("first", "RS256")) == 0
    away = KeySource(provider(jwks_url=f"http://127.0.0.1:{port}/"))
    assert len(await away.find("first", "RS256")) == 0


async def test_https_is_verified(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    pair = issue(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    issuer = Issuer()
    async with issuer.listening(context) as port:
        url = f"https://127.0.0.1:{port}/"
        trusting = KeySource(provider(jwks_url=url, jwks_ca=authority.certificate))
        assert len(await trusting.find("first", "RS256")) == 1
        doubting = KeySource(provider(jwks_url=url))
        assert len(await doubting.find("first", "RS256")) == 0


async def test_file(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", Clock()
    path.write_bytes(key_set(FIRST))
    source = KeySource(provider(jwks_file=path), clock=clock)
    assert len(await source.find("first", "RS256")) == 1
    path.write_bytes(key_set(FIRST, SECOND))
    clock.now += jwks.REFETCH_S_MIN
    assert len(await source.find("second", "RS256")) == 2
