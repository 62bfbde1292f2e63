"""Group fdatasync: many waiters, one call to the disk at a time, in a thread.

Called by `spool` for `durability: disk`. The rule: a waiter returns only after an fdatasync that
*began* after its records were written; a failed one fails everybody who waited for it (after EIO
the kernel may forget which pages were dirty, so trying the same descriptor again proves nothing).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class GroupSync:
    """`prepare` is called on the event loop and returns the job that the thread runs."""

    def __init__(
        self,
        prepare: Callable[[], Callable[[], None]],
        seconds_max: float,
        written: Callable[[], int],
    ) -> None:
        self._prepare = prepare
        self._seconds_max = seconds_max
        self._thread = ThreadPoolExecutor(1, "audit-sync")
        self._running: asyncio.Task[None] | None = None
        self._written = written
        """How many writes there were."""
        self.synced = 0
        self.rounds = 0

    async def reach(self) -> None:
        """Returns once all that was written before the call is on the disk. Raises OSError."""
        wanted = self._written()
        async with asyncio.timeout(self._seconds_max):  # TimeoutError is an OSError
            while self.synced < wanted:
                if self._running is None or self._running.done():
                    self._running = asyncio.create_task(self._round())
                    self._running.add_done_callback(_retrieve)
                await asyncio.shield(self._running)

    async def _round(self) -> None:
        covers, job = self._written(), self._prepare()
        await asyncio.get_running_loop().run_in_executor(self._thread, job)
        self.synced = max(self.synced, covers)
        self.rounds += 1

    def later(self) -> None:
        """Syncs in the background without anybody waiting."""
        self._thread.submit(self._prepare())

    def run(self, job: Callable[[], None]) -> None:
        """Any other job, in the same thread: one after another, in the order given."""
        self._thread.submit(job)

    def drain(self) -> None:
        """Waits until everything given so far has run."""
        self._thread.submit(_nothing).result()

    def close(self) -> None:
        self._thread.shutdown(wait=True)


def _nothing() -> None:
    pass


def _retrieve(task: asyncio.Task[None]) -> None:
    """Every waiter may have left by its own deadline; then nobody else asks for the exception."""
    if not task.cancelled():
        task.exception()
