"""Public keys of token issuers, from a file or over HTTP: fetched early, kept on failure, asked
again for a new key id.

Called by the worker at login of a token; `find` never waits longer than its deadline, and logins of
one issuer share one fetch. Rule: what was once good stays in use until something better has been
parsed.
"""

import asyncio
import http.client
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from appliance.config.schema import OidcProvider
from appliance.identity.token_keys import TokenKeys

FETCH_S_MAX = 5.0
KEY_SET_BYTES_MAX = 1024 * 1024
REFETCH_S_MIN = 10.0
"""Least time between two fetches because of an unknown key id: a stranger's tokens must not
hammer the issuer."""


class KeySource:
    """The keys of one provider."""

    def __init__(
        self,
        provider: OidcProvider,
        *,
        clock: Callable[[], float] = time.monotonic,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.provider = provider
        self.keys = TokenKeys()
        self._clock = clock
        self._warn = warn
        self._tried: float | None = None
        self._running: asyncio.Task[None] | None = None

    async def find(self, kid: str | None, algorithm: str) -> TokenKeys:
        """The keys to verify with; fetched first when they are old or do not have this one. Never
        raises for a failed fetch: then the old keys (perhaps none) are the answer."""
        if self.keys.find(kid, algorithm) is None:
            if self._age() >= REFETCH_S_MIN or self._running is not None:
                await self.refresh()
        elif self._age() >= self.provider.jwks_refresh_s:
            self._begin()  # in the background: what is there is good
        return self.keys

    async def refresh(self) -> None:
        """Waits for the fetch that runs, or a new one."""
        await asyncio.shield(self._begin())

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _age(self) -> float:
        return float("inf") if self._tried is None else self._clock() - self._tried

    def _begin(self) -> asyncio.Task[None]:
        if self._running is None:
            self._tried = self._clock()
            self._running = asyncio.get_running_loop().create_task(self._refresh())
        return self._running

    async def _refresh(self) -> None:
        try:
            text = await asyncio.wait_for(
                asyncio.to_thread(key_set_text, self.provider), FETCH_S_MAX * 2
            )
            self.keys = TokenKeys.parse(text)
        except (OSError, ValueError, http.client.HTTPException, TimeoutError) as error:
            self._warn(f"keys of issuer {self.provider.name} not read: {type(error).__name__}")
        finally:
            self._running = None


def key_set_text(provider: OidcProvider) -> bytes:
    """Blocking; for a thread. Raises OSError, ValueError, http.client.HTTPException."""
    if provider.jwks_file is not None:
        return read_key_file(provider.jwks_file)
    assert provider.jwks_url is not None
    return fetch(provider.jwks_url, provider.jwks_ca)


def read_key_file(path: Path) -> bytes:
    with path.open("rb") as stream:
        content = stream.read(KEY_SET_BYTES_MAX + 1)
    if len(content) > KEY_SET_BYTES_MAX:
        raise ValueError("the key set is longer than 1 MiB")
    return content


def fetch(url: str, ca: Path | None) -> bytes:
    """GET without redirects, proxies or cookies; status 200, at most 1 MiB, within the deadline."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        connection = http.client.HTTPSConnection(
            host, parts.port, timeout=FETCH_S_MAX, context=context
        )
    else:
        connection = http.client.HTTPConnection(host, parts.port, timeout=FETCH_S_MAX)
    deadline = time.monotonic() + FETCH_S_MAX
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise ValueError(f"the issuer answered {response.status}")
        content = b""
        while piece := response.read1(65_536):
            content += piece
            if len(content) > KEY_SET_BYTES_MAX or time.monotonic() > deadline:
                raise ValueError("the key set is too long or came too slowly")
        return content
    finally:
        connection.close()
