"""Other appliances on the same store: whom they serve, and ending a session that one of them has.

Made by `main` where the store is one that several use; asked by `approvals`. Rules: what another
appliance says of its sessions counts for STALE_SECONDS; an order to end one is a row in the store,
which only the appliance that serves the session carries out and takes away; whoever gave it waits
for that. The order was recorded by whoever gave it.
"""

import asyncio
import contextlib

import msgspec

from appliance.control.approvals import LiveSessions
from appliance.control.changes import Changes
from appliance.control.desk import Change, DeskError, LiveSession
from appliance.telemetry.log import Log

TELL_SECONDS = 1.0
BEAT_SECONDS = 4.0
"""How often they are told even when nothing changed."""
STALE_SECONDS = 10.0
TOLD_MAX = 500
"""Sessions of one appliance; of more, the busiest."""
ORDER_SECONDS_MAX = 3.0
"""For another appliance to carry it out."""
LOOK_SECONDS = 0.1
ENDING = "session_end"
"""Kind of the change that tells of an order; its state is the appliance's name."""

_decoder = msgspec.json.Decoder(tuple[LiveSession, ...])
log = Log("control")


class Neighbours:
    """See the module's docstring. Of the appliance called `node`."""

    def __init__(self, changes: Changes, sessions: LiveSessions, node: str) -> None:
        self._changes = changes
        self._sessions = sessions
        self._node = node
        self._told = b""
        self._told_at = float("-inf")
        self._ordered = asyncio.Event()
        changes.listen(self._on_change)

    def _on_change(self, change: Change) -> None:
        if change.kind == "missed" or (change.kind == ENDING and change.state == self._node):
            self._ordered.set()

    async def run(self) -> None:
        """Tells others of our sessions, carries out what they order. For ever."""
        while True:
            try:
                await self._tell()
                await self._obey()
            except DeskError as error:
                log.warning("neighbours_postponed", reason=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TELL_SECONDS):
                    await self._ordered.wait()

    async def _tell(self) -> None:
        live = sorted(
            self._sessions.live(), key=lambda one: (one.seen.state == "idle", one.seen.since)
        )
        said = msgspec.json.encode(live[:TOLD_MAX])
        clock = asyncio.get_running_loop().time()
        if said == self._told and clock - self._told_at < BEAT_SECONDS:
            return
        async with self._changes.work() as work:
            await work.tx.rows(
                "INSERT INTO appliances (node, seen, sessions) VALUES ($1, $2, $3) "
                "ON CONFLICT (node) DO UPDATE SET seen = excluded.seen, "
                "sessions = excluded.sessions",
                *(self._node, work.now, said.decode()),
            )
        self._told, self._told_at = said, clock

    async def _obey(self) -> None:
        self._ordered.clear()
        async with self._changes.work() as work:
            old = work.now - STALE_SECONDS
            await work.tx.rows("DELETE FROM session_ends WHERE made < $1 RETURNING session", old)
            orders = await work.tx.rows(
                "SELECT session, person, reason FROM session_ends WHERE node = $1", self._node
            )
            served = {one.seen.id for one in self._sessions.live()}
            for session, person, reason in orders:
                told = await self._sessions.end(session, person, reason)
                if told or session not in served:
                    gone = "DELETE FROM session_ends WHERE session = $1 RETURNING session"
                    await work.tx.rows(gone, session)

    async def live(self) -> list[LiveSession]:
        """Sessions of the others. Raises Unavailable."""
        async with self._changes.work() as work:
            rows = await work.tx.rows(
                "SELECT node, sessions FROM appliances WHERE node <> $1 AND seen > $2 "
                "ORDER BY node",
                *(self._node, work.now - STALE_SECONDS),
            )
        found: list[LiveSession] = []
        for node, said in rows:
            try:
                told = _decoder.decode(said)
            except msgspec.MsgspecError:  # of another version: its own console shows them
                log.warning("neighbour_not_understood")
                continue
            found += (msgspec.structs.replace(one, node=node) for one in told)
        return found

    async def end(self, session: str, node: str, by: str, reason: str) -> bool:
        """Has another appliance end a session of its own; whether it did. Raises Unavailable."""
        async with self._changes.work() as work:
            await work.tx.rows(
                "INSERT INTO session_ends (session, node, person, reason, made) "
                "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (session) DO NOTHING",
                *(session, node, by, reason, work.now),
            )
            work.tell(ENDING, session, node)
        clock = asyncio.get_running_loop().time
        until = clock() + ORDER_SECONDS_MAX
        while clock() < until:
            await asyncio.sleep(LOOK_SECONDS)
            async with self._changes.reading() as tx:
                if not await tx.rows("SELECT 1 FROM session_ends WHERE session = $1", session):
                    return True
        async with self._changes.work() as work:  # it shall not happen when nobody expects it
            left = await work.tx.rows(
                "DELETE FROM session_ends WHERE session = $1 RETURNING session", session
            )
        return not left
