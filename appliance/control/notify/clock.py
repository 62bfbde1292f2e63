"""Time as `dispatch` needs it: what it is, and waiting for something or until later.

Given to everything in this package that waits, so that tests move time by hand.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""
        ...

    async def wait(self, happened: asyncio.Event, seconds: float) -> bool:
        """Until it is set (True), at most so long (False)."""
        ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    async def wait(self, happened: asyncio.Event, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await happened.wait()
        except TimeoutError:
            return False
        return True
