"""Whether what statements rest on is still as the catalog has it, for databases of which a session
cannot find that out by itself.

One per `catalogs.DatabaseCatalog` that needs it, asked by `conductor` (`CheckFooting`). It asks
over a connection of its own, so that reading a catalog is not in its way. A thing's stamp (what the
server says of it) is known when the catalog was read while a transaction kept the thing from
changing: as long as the stamp is the same, so is the thing. Rules: whoever asks gets an answer that
was read after they asked; what cannot be read holds nothing, nor what somebody waits to change.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, Protocol

from appliance.dataplane.connections import Row, Upstream, UpstreamRefused, UpstreamUnreachable
from appliance.model.catalog import Catalog
from appliance.model.errors import ProtocolViolation
from appliance.session.dialect import SessionLineage

SECONDS_MAX = 10.0
STAMPS_MAX = 100_000
BEGIN, END = "START TRANSACTION", "ROLLBACK"
"""Between them all that was used stays as it is."""
BUSY = "busy"
"""No stamp: somebody waits to change it, and until then it cannot be looked at."""


class Part(Protocol):
    """One thing that a text rests on (its dialect's `footing`)."""

    @property
    def key(self) -> Hashable: ...
    @property
    def known(self) -> Any: ...
    @property
    def questions(self) -> Sequence[Sequence[str]]:
        """Each in turn, until all texts of one are answered."""

    @property
    def use(self) -> str:
        """Uses it, and returns nothing."""

    def now(self, catalog: Catalog, /) -> Any: ...


class Footing(Protocol):
    @property
    def parts(self) -> Sequence[Part]: ...
    @property
    def steady(self) -> frozenset[Hashable] | None:
        """As in `session/exchange_footing.Rests`."""


class Catalogued(Protocol):
    """What is needed of `catalogs.DatabaseCatalog`."""

    @property
    def lineage(self) -> SessionLineage | None: ...
    async def reread(self) -> None: ...


class Source(Protocol):
    """What is needed of `catalog_source.CatalogSource`."""

    @property
    def stamp(self) -> Callable[[Sequence[Row]], str] | None: ...
    @property
    def hasty(self) -> Sequence[str]: ...
    @property
    def busy(self) -> str: ...


class Voucher:
    """Of one catalog."""

    def __init__(
        self,
        catalog: Catalogued,
        connect: Callable[[], Awaitable[Upstream]],
        query: Callable[[Upstream, str], Awaitable[list[Row]]],
        source: Source,
        terminate: bytes,
    ) -> None:
        self._catalog = catalog
        self._connect = connect
        self._query = query
        self._source = source
        self._terminate = terminate
        self._upstream: Upstream | None = None
        self._due: list[tuple[Footing, asyncio.Future[bool]]] = []
        self._working: asyncio.Task[None] | None = None
        self._stamps: dict[Hashable, tuple[Any, str]] = {}
        """Of each thing: what the catalog says of it, and what the server said then."""

    async def holds(self, footing: Footing) -> bool:
        """Those who ask while others are answered are answered together."""
        asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._due.append((footing, asked))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        return await asked

    def close(self) -> None:
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
        self._answer([False] * len(self._due))
        self._disconnect()

    def _answer(self, answers: Iterable[bool]) -> None:
        due, self._due = self._due, []
        for (_, asked), answer in zip(due, answers, strict=True):
            if not asked.done():
                asked.set_result(answer)

    async def _work(self) -> None:
        """Whatever happens, nobody waits for an answer that does not come."""
        try:
            await self._answer_all()
        finally:
            if self._working is asyncio.current_task():
                self._working = None
                self._answer([False] * len(self._due))

    async def _answer_all(self) -> None:
        while self._due:
            due, self._due = self._due, []
            answers = [False] * len(due)
            try:
                async with asyncio.timeout(SECONDS_MAX):
                    answers = await self._looked([footing for footing, _ in due])
            except (
                UpstreamRefused, UpstreamUnreachable, ProtocolViolation, TimeoutError, OSError
            ):  # fmt: skip
                self._disconnect()
            finally:
                for (_, asked), answer in zip(due, answers, strict=True):
                    if not asked.done():
                        asked.set_result(answer)

    async def _looked(self, footings: Sequence[Footing]) -> list[bool]:
        parts = {part.key: part for footing in footings for part in footing.parts}
        found = await self._read(parts.values())
        if BUSY not in found.values() and not all(
            self._is_known(part, found) for footing in footings for part in footing.parts
        ):
            found = await self._learnt(list(parts.values()))
        return [self.is_as_judged(footing, found) for footing in footings]

    def is_as_judged(self, footing: Footing, found: dict[Hashable, str]) -> bool:
        """`found`: what the server says of its parts now."""
        return all(self._is_known(part, found) for part in footing.parts)

    def _is_known(self, part: Part, found: dict[Hashable, str]) -> bool:
        known, stamp = self._stamps.get(part.key, (None, ""))
        return bool(stamp) and stamp == found[part.key] and bool(known == part.known)

    async def _learnt(self, parts: Sequence[Part]) -> dict[Hashable, str]:
        """Stamps of things as the catalog has them now: it is read while they are kept from
        changing. (An epoch does not tell of what changed and changed back.)"""
        upstream = await self._connected()
        await self._query(upstream, BEGIN)
        try:
            kept = await self._kept(upstream, parts)
            found = await self._read(parts)
            if kept and BUSY not in found.values():
                await self._catalog.reread()
                lineage = self._catalog.lineage
                if lineage is not None:
                    self._learn(parts, found, lineage.catalog)
        finally:
            await self._query(upstream, END)
        return found

    async def _kept(self, upstream: Upstream, parts: Iterable[Part]) -> bool:
        """Has them stay as they are until the open transaction ends, as far as they can; False:
        somebody waits to change one."""
        for part in parts:
            try:
                await self._query(upstream, part.use)
            except UpstreamRefused as refused:
                if self._is_busy(refused):
                    return False
        return True

    def _learn(self, parts: Iterable[Part], found: dict[Hashable, str], catalog: Catalog) -> None:
        if len(self._stamps) > STAMPS_MAX:
            self._stamps.clear()
        for part in parts:
            now = part.now(catalog)
            if now is None:
                self._stamps.pop(part.key, None)
            else:
                self._stamps[part.key] = now, found[part.key]

    async def _read(self, parts: Iterable[Part]) -> dict[Hashable, str]:
        """What the server says now; '' for what it says nothing of, BUSY for what somebody waits to
        change. Nobody is waited for: whoever asks may have it open until they get an answer."""
        return await self.read(await self._connected(), parts)

    async def _connected(self) -> Upstream:
        if self._upstream is None or self._upstream.side.ended:
            self._upstream = await self._connect()
            for text in self._source.hasty:
                await self._query(self._upstream, text)
        return self._upstream

    async def read(self, upstream: Upstream, parts: Iterable[Part]) -> dict[Hashable, str]:
        """The same, over another connection."""
        return {part.key: await self._asked(upstream, part) for part in parts}

    async def _asked(self, upstream: Upstream, part: Part) -> str:
        for texts in part.questions:
            try:
                rows = [row for text in texts for row in await self._query(upstream, text)]
            except UpstreamRefused as refused:
                if self._is_busy(refused):
                    return BUSY
                continue
            assert self._source.stamp is not None
            return self._source.stamp(rows)
        return ""

    def _is_busy(self, refused: UpstreamRefused) -> bool:
        return bool(self._source.busy) and refused.fields.get("N") == self._source.busy

    def _disconnect(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.side.write(self._terminate)
            upstream.side.close()
