"""One change to what control keeps: a transaction, its audit records, and who hears of it.

Used by `approvals`, `held`, `grants` and `expiry`. Rules: the records are written inside the
transaction, before it commits: a change that cannot be recorded does not happen; where the commit
fails after that, a record says so. Whoever watches hears of a change only after it was committed.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from appliance.audit.record import ChangeUnstored, Record
from appliance.control.desk import Change, Unavailable
from appliance.control.store import Store, StoreUnavailable, Transaction
from appliance.control.trail import Minting, Recorder, TrailUnavailable
from appliance.telemetry.log import Log

WATCHED_CHANGES_MAX = 1_000
"""Changes kept for a watcher who does not fetch them; then the oldest are dropped."""

log = Log("control")


class Work:
    """An open transaction and what goes with it."""

    def __init__(self, tx: Transaction, minting: Minting) -> None:
        self.tx = tx
        self.now = minting.now()
        self.records: list[Record] = []
        self.changes: list[Change] = []
        self._minting = minting

    def id(self) -> str:
        return self._minting.id()

    def record(self, record: Record) -> None:
        self.records.append(record)

    def tell(self, kind: str, id: str, state: str = "") -> None:
        self.changes.append(Change(kind, id, state))


class Changes:
    """Everybody's way to change something."""

    def __init__(self, store: Store, recorder: Recorder, minting: Minting) -> None:
        self._store = store
        self._recorder = recorder
        self._minting = minting
        self._listeners: list[Callable[[Change], None]] = []
        self._watchers: set[asyncio.Queue[Change]] = set()
        store.listen(self.publish)

    @contextlib.asynccontextmanager
    async def work(self) -> AsyncIterator[Work]:
        """Commits when the block ends, records included; does nothing when it raises. Raises
        Unavailable where store or trail fail."""
        written: list[Record] = []
        try:
            async with self._store.transaction() as tx:
                work = Work(tx, self._minting)
                yield work
                await self._recorder.write(work.records)
                written = work.records
                for change in work.changes:
                    await tx.announce(change)
        except TrailUnavailable as error:
            log.error("change_not_recorded", reason=str(error))
            raise Unavailable("this cannot be recorded now, so nothing was changed") from error
        except StoreUnavailable as error:
            log.error("store_failed", reason=str(error))
            self._take_back(written, "the store failed")
            raise Unavailable("the store cannot be reached now") from error
        except asyncio.CancelledError:
            self._take_back(written, "interrupted")
            raise
        for change in work.changes:
            self.publish(change)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Transaction]:
        """For looking only. Raises Unavailable."""
        try:
            async with self._store.transaction() as tx:
                yield tx
        except StoreUnavailable as error:
            log.error("store_failed", reason=str(error))
            raise Unavailable("the store cannot be reached now") from error

    def _take_back(self, written: list[Record], reason: str) -> None:
        if written:
            ids = tuple(record.id for record in written)
            now = self._minting.now()
            self._recorder.owe(
                [ChangeUnstored(id=self._minting.id(), time=now, records=ids, reason=reason)]
            )

    def listen(self, told: Callable[[Change], None]) -> None:
        """`told` hears of every change (of others, too), at once, and must not block."""
        self._listeners.append(told)

    def publish(self, change: Change) -> None:
        for told in self._listeners:
            told(change)
        for queue in self._watchers:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(change)

    async def watch(self) -> AsyncIterator[Change]:
        queue: asyncio.Queue[Change] = asyncio.Queue(WATCHED_CHANGES_MAX)
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)
