"""Keeps a database's schema as it is, for as long as nobody wants to change it, so that not every
statement has to ask whether it still is.

One per `catalogs.DatabaseCatalog` of a target with `schema_check: lease`; the hit paths of its
sessions look at `lease`. A *guard* is a connection of the appliance's own with an open transaction
that holds what has to be written for any change (`SchemaHold.take`); a *watcher* is another one,
which is asked all the time whether anybody waits for that, and whether the guard still holds it.
As soon as somebody waits, or a session of this appliance says that it is about to (`step_aside`),
all of it is let go of: what is under way under the lease then, and has not been answered, is for
the hit path to run again.

Rules: `Lease.value` is 0 unless nothing can have changed since it was given this number; the guard
waits for nobody; nobody waits longer for it than until the next look, LOOK_SECONDS; whoever changes
the schema often is left alone for long.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import msgspec

from _speedups.chunks import guard, unguard
from _speedups.leases import Lease, since_boot
from appliance.dataplane.connections import Row, Upstream, UpstreamRefused, UpstreamUnreachable
from appliance.dataplane.looking import Looking, Repeated
from appliance.model.errors import ProtocolViolation
from appliance.session.lessons import Lessons
from appliance.telemetry.log import Log
from appliance.telemetry.metrics import Metrics

LOOK_SECONDS = 0.05
TRUST_SECONDS = 1.0
"""A look holds good for so long: no server gives up a connection that it cannot reach sooner."""
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.25, 10.0
"""How long it stays away once somebody wanted to change something; doubled while that goes on."""
GOOD_SECONDS = 30.0
"""A lease that lasted so long begins with the shortest pause again."""
IDLE_SECONDS = 60.0
"""Nobody used it."""
REFUSED_SECONDS = 300.0
"""The database does not allow it: asked again after that."""
WRITERS_SECONDS_MAX = 5.0
"""How long it holds what others must have been over with, before it tries again later."""
GUARD_SECONDS = 4.0
"""Then another guard relieves the one that holds: a server lets none hold for ten, unless it hears
of it, so that nobody waits longer for an appliance that is gone."""
CARE_SECONDS = 60.0
"""How often it is asked whether the catalogs are due for cleaning."""
AWAY_SECONDS = 150.0
"""So long it stays away for that, once in AWAY_EVERY_SECONDS."""
AWAY_EVERY_SECONDS = 3_600
"""By the clock: all workers, and all appliances, stay away at one time."""

_FAILURES = (UpstreamRefused, UpstreamUnreachable, ProtocolViolation, TimeoutError, OSError)
_NOT_NOW = ("55P03",)
_NOT_ALLOWED = ("42501", "25006", "0A000", "55000")
"""No privilege; a standby."""

log = Log("catalog")


class SchemaHold(msgspec.Struct, frozen=True):
    """How it is done in one dialect: statements."""

    prepare: tuple[str, ...]
    """Said first on guard and watcher."""
    own_number: str
    """-> what the server calls the session."""
    server: str
    """-> which server it is, and since when it runs."""
    begin: str
    take: str
    """All or nothing, and waits for nobody."""
    parts: int
    """How many things that takes."""
    end: str
    watch: str
    """With {pid} of the guard -> (how many wait for what it holds, how much of that it holds)."""
    writers: str
    """-> transactions that may have changed something before it was taken, and are not over."""
    still_writing: str
    """With {numbers} of transactions -> how many of them are not over."""
    remedy: str
    """For people, where the database does not allow it."""
    neglected: str
    """-> how much there is that the server would clean if it were free."""
    repeated: Callable[[str, tuple[str, ...]], Repeated]
    """A statement that is expected to be answered by this row."""


class SchemaLease:
    """Of one database. Nothing runs unless somebody asks."""

    def __init__(
        self,
        hold: SchemaHold,
        connect: Callable[[], Awaitable[Upstream]],
        query: Callable[[Upstream, str], Awaitable[list[Row]]],
        terminate: bytes,
        metrics: Metrics,
    ) -> None:
        self._metrics = metrics
        self._counted = 0
        self.lease = Lease()
        self.lessons = Lessons()
        self.refused = ""
        """SQLSTATE with which the database did not allow it."""
        self._hold = hold
        self._connect = connect
        self._query = query
        self._terminate = terminate
        self.server = ""
        """Where it is held; sessions elsewhere have no use for it."""
        self._guard: Upstream | None = None
        self._spare: Upstream | None = None
        """The guard that relieves it next."""
        self._watcher: Upstream | None = None
        self._numbers = 0
        self._descriptor = -1
        self._keeping: asyncio.Task[None] | None = None
        self._aside = asyncio.Event()
        self._looking: Looking | None = None
        self._pid = 0
        self._cared = 0.0
        self._away = 0.0
        """Of which hour, say, it has stayed away."""

    def want(self) -> None:
        """Somebody could use it."""
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())

    def step_aside(self) -> None:
        """The schema is about to be changed by somebody who need not wait until that is seen."""
        self._void()
        self._aside.set()
        if self._looking is not None:
            self._looking.end()

    def close(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
        self._leave()

    # --- rounds -----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        pause = PAUSE_SECONDS_MIN
        try:
            while True:
                self._aside.clear()
                begun, wait = loop.time(), 0.0
                try:
                    if await self._taken():
                        wait = await self._watched()
                    await self._let_go()
                except _FAILURES as error:
                    wait = self._failed(error)
                except Exception as error:
                    log.error("schema_lease_failed", error=type(error).__name__)
                    self._leave()
                    wait = REFUSED_SECONDS
                held = loop.time() - begun
                pause = (
                    PAUSE_SECONDS_MIN if held > GOOD_SECONDS else min(2 * pause, PAUSE_SECONDS_MAX)
                )
                await asyncio.sleep(wait or pause)
                await self._wanted()
        finally:
            self._leave()

    async def _wanted(self) -> None:
        missed = self.lease.missed
        while self.lease.missed == missed:  # noqa: ASYNC110 - it is counted in C
            await asyncio.sleep(PAUSE_SECONDS_MIN)

    def _failed(self, error: Exception) -> float:
        """-> seconds until it is tried again; 0 = the usual pause."""
        self._leave()
        code = error.fields.get("C", "") if isinstance(error, UpstreamRefused) else ""
        if code not in _NOT_ALLOWED:
            return 0.0
        if not self.refused:
            log.warning("schema_lease_refused", sqlstate=code, remedy=self._hold.remedy)
        self.refused = code
        return REFUSED_SECONDS

    async def _taken(self) -> bool:
        """Whether all is held, nobody waits for it, and what others had changed before is seen."""
        hold, loop = self._hold, asyncio.get_running_loop()
        watcher = self._watcher = await self._usable(self._watcher)
        guard = self._guard = await self._usable(self._guard)
        self._pid = await self._takes(guard)
        if not self._pid:
            return False
        self._listen_to(guard)
        self.refused = ""
        self.server = str((await self._ask(watcher, hold.server))[0][0])
        writers = [str(row[0]) for row in await self._ask(watcher, hold.writers)]
        numbers = ",".join(number for number in writers if number.isdecimal())
        until = loop.time() + WRITERS_SECONDS_MAX
        while numbers:
            text = hold.still_writing.format(numbers=numbers)
            if (await self._ask(watcher, text))[0][0] == "0":
                break
            if not await self._looked() or loop.time() > until:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        if not await self._looked():
            return False
        self._numbers += 1
        self._rest_on(self._descriptor)
        self.lease.value = self._numbers
        self._metrics.schema_leases += 1
        return True

    async def _takes(self, guard: Upstream) -> int:
        """-> what the server calls the guard, which holds all now; 0: it cannot. Raises
        UpstreamRefused."""
        pid = int((await self._ask(guard, self._hold.own_number))[0][0] or 0)
        await self._ask(guard, self._hold.begin)
        try:
            await self._ask(guard, self._hold.take)
        except UpstreamRefused as refused:
            await self._ask(guard, self._hold.end)
            if refused.fields.get("C") in _NOT_NOW:
                return 0
            raise
        return pid

    async def _relieved(self) -> bool:
        """Whether another guard holds all, without a break, and the one before it is free."""
        before, value = self._guard, self.lease.value
        spare = self._spare = await self._usable(self._spare)
        pid = await self._takes(spare)
        if not pid or before is None:
            return False
        overlaps = await self._held_by(self._pid) == self._hold.parts
        if not overlaps or self.lease.value != value or not self.lease.live():
            await self._ask(spare, self._hold.end)
            return False
        self._guard, self._spare, self._pid = spare, before, pid
        self._listen_to(spare)
        before.side.detach()
        await self._ask(before, self._hold.end)
        return True

    async def _held_by(self, pid: int) -> int:
        assert self._watcher is not None
        row = (await self._ask(self._watcher, self._hold.watch.format(pid=pid)))[0]
        return int(row[1] or 0)

    async def _watched(self) -> float:
        """While it can be held. -> seconds to stay away, 0 = the usual pause."""
        loop = asyncio.get_running_loop()
        used = self.lease.used
        idle_since = guarded_since = loop.time()
        while await self._looked():
            now = loop.time()
            if now - guarded_since > GUARD_SECONDS:
                guarded_since = now
                if not await self._relieved():
                    return 0.0
            if self.lease.used != used:
                used, idle_since = self.lease.used, now
            elif now - idle_since > IDLE_SECONDS:
                return 0.0
            if now > self._cared + CARE_SECONDS:
                self._cared = now
                hour = time.time() // AWAY_EVERY_SECONDS
                if hour != self._away and await self._ask_number(self._hold.neglected):
                    self._away = hour
                    return AWAY_SECONDS
            ends = (guarded_since + GUARD_SECONDS, idle_since + IDLE_SECONDS)
            await self._look_on(min(*ends, self._cared + CARE_SECONDS))
        return 0.0

    async def _look_on(self, due: float) -> None:
        """Until then, by the loop's time, until it is to step aside, or until another look in the
        usual way is to tell. Raises TimeoutError as `_ask`."""
        loop = asyncio.get_running_loop()

        def seen(asked: float) -> bool:
            self.lease.until = asked + TRUST_SECONDS
            self._count()
            return loop.time() < due and self._descriptor >= 0

        if self._aside.is_set() or self._watcher is None:
            return
        self._looking = Looking(
            self._watcher.side,
            self._hold.repeated(self._hold.watch.format(pid=self._pid), self._held),
            LOOK_SECONDS,
            TRUST_SECONDS,
            seen,
        )
        try:
            await self._looking.go_on()
        finally:
            self._looking = None

    async def _looked(self) -> bool:
        """Whether it is held, and nobody waits."""
        self._count()
        if self._aside.is_set() or self._watcher is None:
            return False
        asked = since_boot()
        row = (await self._ask(self._watcher, self._hold.watch.format(pid=self._pid)))[0]
        self.lease.until = asked + TRUST_SECONDS
        return row == self._held and self._descriptor >= 0

    @property
    def _held(self) -> tuple[str, ...]:
        """The answer to `SchemaHold.watch` while all is as it should be."""
        return ("0", str(self._hold.parts))

    def _count(self) -> None:
        used, self._counted = self.lease.used - self._counted, self.lease.used
        self._metrics.statements_leased += used
        self._metrics.lessons_heard += self.lessons.take_heard()

    async def _ask_number(self, text: str) -> int:
        assert self._watcher is not None
        return int((await self._ask(self._watcher, text))[0][0] or 0)

    async def _ask(self, upstream: Upstream, text: str) -> list[Row]:
        """Raises TimeoutError after TRUST_SECONDS."""
        async with asyncio.timeout(TRUST_SECONDS):
            return await self._query(upstream, text)

    # --- connections ------------------------------------------------------------------------------

    async def _usable(self, upstream: Upstream | None) -> Upstream:
        if upstream is not None and not upstream.side.ended:
            return upstream
        upstream = await self._connect()
        try:
            for text in self._hold.prepare:
                await self._ask(upstream, text)
        except BaseException:
            upstream.side.abort()
            raise
        return upstream

    def _listen_to(self, guard: Upstream) -> None:
        """From here on the guard says nothing unless it is ended: then the lease is void at once,
        whether that is read here first, or seen by `Lease.live` before."""
        transport = guard.side.transport
        connection = None if transport is None else transport.get_extra_info("socket")
        if connection is None:
            raise ConnectionResetError("the guard is gone")
        before, self._descriptor = self._descriptor, os.dup(connection.fileno())
        try:
            guard.side.attach(lambda _said: self._void(), lambda: self._changed(guard), 1 << 16)
            guard.side.read(True)
            if self.lease.value:
                self._rest_on(self._descriptor)
        finally:
            if before >= 0:
                os.close(before)

    def _rest_on(self, descriptor: int) -> None:
        """The connection that the lease looks at; -1 = none."""
        unguard(self.lease)
        self.lease.descriptor = descriptor
        if descriptor >= 0:
            guard(self.lease)

    def _changed(self, guard: Upstream) -> None:
        if guard.side.ended:
            self._void()

    def _void(self) -> None:
        self.lease.value = 0
        self.lessons.clear()
        self._rest_on(-1)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    async def _let_go(self) -> None:
        self._void()
        guard = self._guard
        if guard is None or guard.side.ended:
            return
        guard.side.detach()
        await self._ask(guard, self._hold.end)

    def _leave(self) -> None:
        self._void()
        for upstream in (self._guard, self._spare, self._watcher):
            if upstream is not None:
                upstream.side.detach()
                upstream.side.write(self._terminate)
                upstream.side.close()
        self._guard = self._spare = self._watcher = None
