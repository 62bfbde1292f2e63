"""What has to be told, kept in the control store until it was told or given up.

Used by `dispatch` alone, over any `store.Store`. Rules: a notice is kept once per sink, whoever
derives it and however often; it is given to one courier at a time, for a while (`claim`), so a
courier that dies loses nothing and several appliances on one store do not tell twice; of one
subject only the oldest that waits is given, so updates never overtake. Bodies hold no more than
notices do.
"""

from collections.abc import Iterable

import msgspec

from appliance.control.notify.notice import Notice
from appliance.control.store import Store, Transaction

WAITING_MAX = 10_000
"""Per sink; beyond them notices are dropped and counted."""


class Delivery(msgspec.Struct, frozen=True):
    """A notice on its way to one sink. `made`: when it was kept, unix seconds."""

    sink: str
    notice: Notice
    made: float
    attempts: int
    reference: str
    """Of the subject's last delivery, '' = this is the first."""


class Outbox:
    """All methods raise StoreUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def since(self, sink: str, now: float) -> float:
        """When this sink was first configured: what happened before is not told to it."""
        async with self._store.transaction() as tx:
            await tx.rows(
                "INSERT INTO notice_sinks (sink, since) VALUES ($1, $2) "
                "ON CONFLICT (sink) DO NOTHING",
                *(sink, now),
            )
            rows = await tx.rows("SELECT since FROM notice_sinks WHERE sink = $1", sink)
        return float(rows[0][0])

    async def put(self, kept: Iterable[tuple[str, Notice]], now: float) -> int:
        """(sink, notice) each, those that are there already left alone. Returns how many there was
        no room for."""
        dropped = 0
        async with self._store.transaction() as tx:
            room: dict[str, int] = {}
            for sink, notice in kept:
                if sink not in room:
                    room[sink] = WAITING_MAX - await _waiting(tx, sink)
                if room[sink] <= 0:
                    dropped += 1
                    continue
                room[sink] -= 1
                await tx.rows(
                    "INSERT INTO notices (sink, id, subject, position, made, due, attempts, state, "
                    "body) VALUES ($1, $2, $3, $4, $5, $5, 0, 'waiting', $6) "
                    "ON CONFLICT (sink, id) DO NOTHING",
                    *(sink, notice.id, notice.subject, notice.rank, now),
                    msgspec.json.encode(notice).decode(),
                )
        return dropped

    async def claim(self, sink: str, now: float, until: float, limit: int) -> list[Delivery]:
        """What is due, for this caller alone until then."""
        async with self._store.transaction() as tx:
            rows = await tx.rows(
                "UPDATE notices SET due = $3, attempts = attempts + 1 WHERE sink = $1 "
                "AND state = 'waiting' AND due <= $2 AND id IN (SELECT n.id FROM notices n "
                "WHERE n.sink = $1 AND n.state = 'waiting' AND n.due <= $2 AND NOT EXISTS ("
                "SELECT 1 FROM notices o WHERE o.sink = $1 AND o.subject = n.subject "
                "AND o.state = 'waiting' AND o.position < n.position) "
                "ORDER BY n.due, n.id LIMIT $4) RETURNING body, made, attempts",
                *(sink, now, until, limit),
            )
            found = [(msgspec.json.decode(r[0], type=Notice), r[1], r[2]) for r in rows]
            return [
                Delivery(sink, notice, made, attempts, await _reference(tx, sink, notice.subject))
                for notice, made, attempts in found
            ]

    async def next_due(self, sink: str) -> float | None:
        """When something of this sink is due, None = nothing waits."""
        async with self._store.transaction() as tx:
            rows = await tx.rows(
                "SELECT min(due) FROM notices WHERE sink = $1 AND state = 'waiting'", sink
            )
        return rows[0][0] if rows else None

    async def delivered(self, delivery: Delivery, reference: str, now: float) -> None:
        async with self._store.transaction() as tx:
            await _end(tx, delivery, "delivered")
            if reference:
                await tx.rows(
                    "INSERT INTO notice_threads (sink, subject, reference, made) "
                    "VALUES ($1, $2, $3, $4) ON CONFLICT (sink, subject) "
                    "DO UPDATE SET reference = excluded.reference",
                    *(delivery.sink, delivery.notice.subject, reference, now),
                )

    async def given_up(self, delivery: Delivery) -> None:
        async with self._store.transaction() as tx:
            await _end(tx, delivery, "given_up")

    async def postpone(self, delivery: Delivery, due: float) -> None:
        async with self._store.transaction() as tx:
            await tx.rows(
                "UPDATE notices SET due = $3 WHERE sink = $1 AND id = $2 AND state = 'waiting'",
                *(delivery.sink, delivery.notice.id, due),
            )

    async def forget(self, before: float) -> None:
        """Removes what was kept before, told or not (also of sinks that are gone). Has to be longer
        ago than anything is still derived."""
        async with self._store.transaction() as tx:
            await tx.rows("DELETE FROM notices WHERE made < $1", before)
            await tx.rows("DELETE FROM notice_threads WHERE made < $1", before)


async def _waiting(tx: Transaction, sink: str) -> int:
    rows = await tx.rows("SELECT count(*) FROM notices WHERE sink = $1 AND state = 'waiting'", sink)
    return int(rows[0][0])


async def _reference(tx: Transaction, sink: str, subject: str) -> str:
    rows = await tx.rows(
        "SELECT reference FROM notice_threads WHERE sink = $1 AND subject = $2", sink, subject
    )
    return str(rows[0][0]) if rows else ""


async def _end(tx: Transaction, delivery: Delivery, state: str) -> None:
    """The row stays for a while, so that the notice is not derived and told anew; its body goes."""
    await tx.rows(
        "UPDATE notices SET state = $3, body = '' WHERE sink = $1 AND id = $2",
        *(delivery.sink, delivery.notice.id, state),
    )
