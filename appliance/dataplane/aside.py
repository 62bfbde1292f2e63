"""Asks a database whether what a statement rests on is as it was judged, for a session that cannot
ask by itself in that moment (`session/second_look`).

One per `catalogs.DatabaseCatalog` whose source has such a question. It asks over a connection of
its own, so that reading a catalog is not in its way. Rule: whoever asks gets an answer that was
read after they asked; what cannot be read holds nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from appliance.dataplane.connections import Row, Upstream, UpstreamRefused, UpstreamUnreachable
from appliance.model.errors import ProtocolViolation
from appliance.model.stands import Stands

SECONDS_MAX = 10.0

_FAILURES = (UpstreamRefused, UpstreamUnreachable, ProtocolViolation, TimeoutError, OSError)


class Asker(NamedTuple):
    """Whose statement it is."""

    pid: int
    """Of its session on the server."""
    since: int
    """As `CheckFooting.since`."""


class Aside:
    """Of one catalog."""

    def __init__(
        self,
        question: Callable[[Any, int, int], str],
        connect: Callable[[], Awaitable[Upstream]],
        query: Callable[[Upstream, str], Awaitable[list[Row]]],
        terminate: bytes,
    ) -> None:
        """`question`: as `CatalogSource.aside`."""
        self._question = question
        self._connect = connect
        self._query = query
        self._terminate = terminate
        self._upstream: Upstream | None = None
        self._turn = asyncio.Lock()

    async def stands(self, footing: Any, asker: Asker) -> Stands:
        text = self._question(footing, *asker)
        async with self._turn:
            try:
                async with asyncio.timeout(SECONDS_MAX):
                    return await self._asked(text)
            except _FAILURES:
                self.close()
                return Stands.UNKNOWN

    async def _asked(self, text: str) -> Stands:
        """Once more where the connection that was kept turns out to have been ended meanwhile."""
        kept = self._upstream
        try:
            return await self._answer(text)
        except (ConnectionError, UpstreamUnreachable):
            if kept is None or kept is not self._upstream:
                raise
            self.close()
            return await self._answer(text)

    async def _answer(self, text: str) -> Stands:
        if self._upstream is None or self._upstream.side.ended:
            self._upstream = await self._connect()
        return Stands((await self._query(self._upstream, text))[0][0])

    def close(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.side.write(self._terminate)
            upstream.side.close()
