"""Time limits of one session's running statements, as policy sets them.

Owned by `conductor`. Rule: a limit goes off at most once, and not after its statement's record of
completion or the session's end.
"""

import asyncio
from collections.abc import Callable, Iterable

from appliance.audit.record import Record, StatementFinished
from appliance.session.effects import ArmTimeout


class TimeLimits:
    """`expired` is called with what was armed."""

    __slots__ = ("_expired", "_timers")

    def __init__(self, expired: Callable[[ArmTimeout], None]) -> None:
        self._expired = expired
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """By the id of the statement's record."""

    def arm(self, wanted: ArmTimeout) -> None:
        self._timers[wanted.execution.record_id] = asyncio.get_running_loop().call_later(
            wanted.milliseconds / 1000, self._over, wanted
        )

    def heed(self, records: Iterable[Record]) -> None:
        """What has finished needs no limit any more."""
        if self._timers:
            for record in records:
                if isinstance(record, StatementFinished) and record.decided in self._timers:
                    self._timers.pop(record.decided).cancel()

    def cancel(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _over(self, wanted: ArmTimeout) -> None:
        self._timers.pop(wanted.execution.record_id, None)
        self._expired(wanted)
