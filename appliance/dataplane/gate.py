"""Where one session's turns wait until they may go upstream: records on the disk (where that is
configured), and a schema change known to the other workers.

Owned by `conductor`. Rules: turns pass in the order they came; what is not surely on the disk is
refused, and the trail hears of it.
"""

import asyncio
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from appliance.audit.record import Record
from appliance.config.schema import Durability
from appliance.dataplane.services import Services
from appliance.dataplane.withheld import withheld
from appliance.session.driven import Machine
from appliance.session.effects import BeginSchemaChange, Bytes, Turn
from appliance.spool.spool import SpoolUnavailable

Spawn = Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]


class Gate:
    """`send` writes upstream, `count` is told of what was owed to the trail, `opened` is called
    when nothing waits any longer.
    """

    __slots__ = (
        "_announcing", "_count", "_machine", "_opened", "_send", "_services", "_session",
        "_spawn", "_synced", "_task", "_waiting",
    )  # fmt: skip

    def __init__(
        self,
        machine: Machine,
        services: Services,
        session: str,
        spawn: Spawn,
        send: Callable[[list[Bytes]], object],
        count: Callable[[list[Record]], None],
        opened: Callable[[], None],
    ) -> None:
        self._machine = machine
        self._services = services
        self._session = session
        self._spawn = spawn
        self._send = send
        self._count = count
        self._opened = opened
        self._waiting: list[Turn] = []
        self._task: asyncio.Task[None] | None = None
        self._announcing: list[asyncio.Task[None]] = []
        self._synced = services.governance.configuration.durability is Durability.DISK

    @property
    def closed(self) -> bool:
        """Turns wait here."""
        return bool(self._waiting)

    def announce(self, announcement: Coroutine[Any, Any, None]) -> None:
        """What is sent from now on waits until this is done."""
        self._announcing.append(self._spawn(announcement))

    def pass_on(self, turn: Turn) -> None:
        """Sends what a turn has for upstream, at once or in its order."""
        announced = any(isinstance(r, BeginSchemaChange) for r in turn.requests)
        if self._task is None and not announced and not (self._synced and turn.records):
            self._send(turn.upstream)
            if turn.begun and turn.records:
                self._services.metrics.added_seconds.observe(perf_counter() - turn.begun)
            return
        self._waiting.append(turn)
        if self._task is None:
            self._task = self._spawn(self._open())

    async def _open(self) -> None:
        try:
            while self._waiting:
                waiting = list(self._waiting)
                while self._announcing:
                    await asyncio.wait((self._announcing.pop(0),))
                try:
                    await self._services.spool.durable()
                except SpoolUnavailable:
                    for turn in waiting:
                        self._withhold(turn)
                for turn in waiting:
                    self._waiting.pop(0)
                    self._send(turn.upstream)
        finally:
            self._task = None
        self._opened()

    def _withhold(self, turn: Turn) -> None:
        """Recorded as allowed, but perhaps not on the disk."""
        self._machine.refuse_turn(turn)
        now = self._services.now()
        records = list(withheld(turn, self._session, now, self._services.new_id))
        self._services.spool.owe(records)
        self._count(records)
