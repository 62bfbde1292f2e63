"""What the clock does to requests and grants: they expire, escalate, and are forgotten in the end.

Run by `main` in each control process. Rules: what is due is asked of the store each time, so a
restart misses nothing; each is carried out in a transaction that looks again, so several processes
on one store do no harm; nothing rests on this being on time, because an expired approval cannot be
used and an expired request cannot be voted on anyway.
"""

import asyncio
from collections.abc import Callable

from appliance.control.changes import Changes
from appliance.control.desk import DeskError
from appliance.control.grants import Grants
from appliance.control.held import Held
from appliance.telemetry.log import Log

ROUND_SECONDS = 0.5
BATCH = 200
KEPT_SECONDS = 90 * 86_400
"""How long what has ended can be looked up; the audit trail remembers longer."""
FORGET_SECONDS = 60.0

log = Log("control")


class Expiry:
    """The clock's errands."""

    def __init__(
        self, changes: Changes, held: Held, grants: Grants, now: Callable[[], float]
    ) -> None:
        self._changes = changes
        self._held = held
        self._grants = grants
        self._now = now
        self._forgot = 0.0

    async def run(self) -> None:
        """For ever; a store that cannot be reached is tried again."""
        while True:
            try:
                await self.round()
            except DeskError as error:
                log.warning("expiry_postponed", reason=str(error))
            await asyncio.sleep(ROUND_SECONDS)

    async def round(self) -> None:
        """Everything that is due now. Raises Unavailable."""
        now = self._now()
        for id in await self._held.due(now, BATCH):
            await self._held.lapse(id)
        for id in await self._grants.due(now, BATCH):
            await self._grants.lapse(id)
        if now - self._forgot >= FORGET_SECONDS:
            async with self._changes.work() as work:
                await work.tx.forget(now - KEPT_SECONDS, now, BATCH)
            self._forgot = now
