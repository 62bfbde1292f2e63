"""Where turns of one session wait until their records are on the disk and the other workers know of
the schema change that they begin.

Owned by `conductor`. Rule: they pass in order, and never before.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from appliance.dataplane.transport import Side
from appliance.session.effects import Turn
from appliance.spool.spool import Spool, SpoolUnavailable

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]


class Gate:
    """`withhold` refuses a turn whose records are perhaps not on the disk; `opened` is called when
    nothing waits any more."""

    def __init__(
        self,
        upstream: Side,
        spool: Spool,
        spawn: Spawn,
        withhold: Callable[[Turn], None],
        opened: Callable[[], None],
    ) -> None:
        self._upstream = upstream
        self._spool = spool
        self._spawn = spawn
        self._withhold = withhold
        self._opened = opened
        self._task: asyncio.Task[None] | None = None
        self.waiting: list[Turn] = []
        self.announcing: list[asyncio.Task[None]] = []
        """Announcements of schema changes that are on their way to other workers."""

    @property
    def closed(self) -> bool:
        """Whatever goes upstream has to wait behind what does already."""
        return self._task is not None

    def hold(self, turn: Turn) -> None:
        self.waiting.append(turn)
        if self._task is None:
            self._task = self._spawn(self._open())

    async def _open(self) -> None:
        try:
            while self.waiting:
                waiting = list(self.waiting)
                while self.announcing:
                    await asyncio.wait((self.announcing.pop(0),))
                try:
                    await self._spool.durable()
                except SpoolUnavailable:
                    for turn in waiting:
                        self._withhold(turn)
                for turn in waiting:
                    self.waiting.pop(0)
                    self._upstream.write_all(turn.upstream)
        finally:
            self._task = None
        self._opened()
