"""What can wait until a worker has little else to do, and nobody waits for: the connection of who
left is cleaned, what is left of their session is taken apart.

Kept by `services`. `pool` and `remains` leave work here; a login says that there is a lull where
its client computes for a while. Rule: nothing waits longer than LULL_SECONDS_MAX.
"""

import asyncio
from collections.abc import Callable

LULL_SECONDS_MAX = 0.01
"""Who leaves often comes back at once, and is served before."""


class Lulls:
    """Of one worker."""

    def __init__(self) -> None:
        self._work: list[Callable[[], None]] = []
        self._latest: asyncio.TimerHandle | None = None

    def leave(self, work: Callable[[], None]) -> None:
        """Done once, in the next lull."""
        self._work.append(work)
        if self._latest is None:
            loop = asyncio.get_running_loop()
            self._latest = loop.call_later(LULL_SECONDS_MAX, self.begin)

    async def come(self) -> None:
        """Returns in the next lull."""
        coming = asyncio.get_running_loop().create_future()
        self.leave(lambda: None if coming.done() else coming.set_result(None))
        await coming

    def begin(self) -> None:
        """There is one, or somebody waits after all: what was left here is done behind what is
        being done."""
        if self._latest is None:
            return
        self._latest.cancel()
        self._latest = None
        work, self._work = self._work, []
        call_soon = asyncio.get_running_loop().call_soon
        for each in work:
            call_soon(each)
