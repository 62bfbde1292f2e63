"""Connections to databases that outlive the client sessions they served ("session pooling").

One `Pools` per worker: `login` asks it for a connection, `conductor` gives one back when a session
has ended with nothing under way. Rules: a connection is given to a session only if a new one would
have been the same (equal `Key`, the server's own word after cleaning, see `cleaning`); it is never
shared by two database users; a cancel request for the session before is over, delivered, before the
connection is used again; whatever is unexpected closes it. What a session is announced as is SET on
each hand-over, and startup values are nobody's (`session/announce` keeps it true after RESET ALL).
"""

import asyncio
import random
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from appliance.config.schema import Pooling, PoolingMode, SchemaCheck, TargetConfig
from appliance.dataplane.cleaning import Footprint, Unclean
from appliance.dataplane.connections import (
    NO_SIDE,
    Login,
    Upstream,
    UpstreamRefused,
    UpstreamUnreachable,
)
from appliance.dataplane.keeping import Keeping, Key
from appliance.dataplane.lending import Lender, first
from appliance.dataplane.lulls import Lulls
from appliance.model.errors import ProtocolViolation
from appliance.session.announce import APPLICATION_NAME
from appliance.session.backend import Backend, Left
from appliance.session.settings import LEASED_PINNING, PINNING
from appliance.telemetry.log import Log
from appliance.telemetry.metrics import Metrics

CLEAN_SECONDS_MAX = 5.0
TAKE_SECONDS_MAX = 2.0
"""A kept connection that does not answer its hand-over for so long is dead."""
LOOK_AGAIN_SECONDS = 1.0
"""A footprint older than that is asked for again, whenever a connection changes hands."""
CLEANING_WAIT_SECONDS = 0.05
"""Waited for a connection that is being cleaned, rather than opening another."""
SWEEP_SECONDS = 1.0
UNFIT_SECONDS = 60.0
"""A key whose connections cannot be kept is tried again after so long."""
LIFETIME_SPREAD = 0.1
HIGH_BYTES = 65_536
NAME_BYTES_MAX = 63
"""What the server keeps of application_name."""

_log = Log("pool")
UNCLEAN = (
    Unclean,
    UpstreamRefused,
    UpstreamUnreachable,
    ProtocolViolation,
    OSError,  # TimeoutError and ConnectionError are two of it
)


class Kept:
    """One connection that belongs to a pool: used by a session, being cleaned, or idle."""

    __slots__ = (
        "backend",
        "fresh",
        "idle_since",
        "last",
        "looked",
        "opened",
        "pool",
        "standing",
        "told",
        "until",
        "upstream",
    )

    def __init__(self, pool: "Pool", upstream: Upstream, now: float) -> None:
        self.pool = pool
        self.upstream = upstream
        self.opened = now
        spread = 1 - LIFETIME_SPREAD * random.random()  # noqa: S311 - no secret
        self.until = now + pool.pooling.lifetime_s_max * spread
        self.fresh = pool.fresh_as(upstream.parameters)
        """Settings as the server reported them at login; never changed."""
        self.standing = ""
        """Footprint.standing at login; '' for a connection that will not be kept."""
        self.told: tuple[str, ...] = ()
        """What it answered to a `session/settings` Pinning when it was handed over."""
        self.idle_since = self.looked = now
        """`looked`: when its footprint was seen last."""
        self.backend = Backend()
        """What it holds that is ours, between two sessions or where it is lent."""
        self.last: object = None
        """Where it is lent: the session that used it last, None since it was opened or cleaned."""

    def give_back(self, left: Left, cancels: tuple[asyncio.Task[bool], ...] = ()) -> bool:
        """The session that used it has ended, and nothing is due; `cancels`: those whose delivery
        is under way. -> whether it is taken; if not, the caller closes it. Either way it is the
        caller's no longer.
        """
        return self.pool.take_back(self, left, cancels)

    def lost(self) -> None:
        """The session that used it closed it."""
        self.pool.let_go(self)


class Pool:
    """The connections of one key."""

    def __init__(self, pools: "Pools", key: Key, target: TargetConfig, keeping: Keeping) -> None:
        self._pools = pools
        self.keeping = keeping
        self.key = key
        self.target = target
        self.pooling: Pooling = target.pooling
        self.idle: deque[Kept] = deque()
        """The one used last is at the right: it is used next."""
        self.used: set[Kept] = set()
        self.cleaning: set[asyncio.Task[None]] = set()
        self.opening = 0
        self.being_cancelled = 0
        """Of those in `cleaning`: whose cancel requests are waited for."""
        self.asked = 0.0
        """When a session wanted one last."""
        self._fresh: dict[str, str] = {}
        self.unfit_until = 0.0
        self.unfit = ""
        self.closed = False
        """The configuration changed: nothing of this comes into use again, but for sessions that
        share its connections already."""
        lends = target.pooling.mode is PoolingMode.TRANSACTION
        self.lender = Lender(self) if lends else None
        leased = target.schema_check is SchemaCheck.LEASE
        self._pinning = LEASED_PINNING if leased else PINNING

    def fresh_as(self, parameters: dict[str, str]) -> dict[str, str]:
        """Equal settings are one dictionary: there may be many connections."""
        if parameters != self._fresh:
            self._fresh = dict(parameters)
        return self._fresh

    # --- lent -------------------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Connections there are, or will be in a moment."""
        return len(self.idle) + len(self.used) + len(self.cleaning) + self.opening

    @property
    def metrics(self) -> Metrics:
        return self._pools.metrics

    def now(self) -> float:
        return self._pools.now()

    def waited(self, seconds: float) -> None:
        """A session has, so long, for a connection of these."""
        self._pools.waited += seconds

    def spawn(self, coroutine) -> None:  # type: ignore[no-untyped-def]
        self._pools.spawn(coroutine)

    def expected(self, announced: Mapping[str, str]) -> Upstream | None:
        """What a session would be told of its connection, where one was lent lately: it begins
        without."""
        if (
            self.lender is None
            or self.closed
            or self.unfit
            or not self._fresh
            or not self._living(self.now())
        ):
            return None
        name = announced.get(APPLICATION_NAME, "")[:NAME_BYTES_MAX]
        shown = {**self._fresh, APPLICATION_NAME: name}
        return Upstream(NO_SIDE, shown, 1 + random.randrange(2**31 - 1), b"", [])  # noqa: S311 - no secret

    async def opened(self) -> Kept:
        """Raises as `obtain` does."""
        return await self._opened(self._pools.now())

    async def make_sole(
        self,
        kept: Kept,
        announced: Mapping[str, str],
        parameters: Mapping[str, str],
        cancels: tuple[asyncio.Task[bool], ...],
    ) -> Kept:
        """Cleans a connection that a session has, in place of claiming it: it is that session's
        alone from here on. -> it, or a new one where it is not as it was (the server has read its
        configuration again, say). Raises as `obtain` does, and Unclean.
        """
        side = kept.upstream.side
        side.detach()
        try:
            async with asyncio.timeout(CLEAN_SECONDS_MAX):
                await _all_delivered(cancels)
                keeping, key = self.keeping, self.key
                args = (kept.upstream, key, self.pooling, kept.fresh)
                await keeping.clean(*args, Left(False, parameters), kept.standing)
                handed = await keeping.hand_over(*args, announced, None, self._pinning)
        except UNCLEAN as error:
            self._log_unkept(error)
            self.opening += 1  # nobody else gets its place
            try:
                self._close(kept)
                return await self._new_sole(announced)
            finally:
                self.opening -= 1
        except BaseException:
            self._close(kept)
            raise
        kept.upstream, kept.told = kept.upstream._replace(parameters=handed.shown), handed.told
        kept.looked = self._pools.now()
        kept.backend = Backend()
        return kept

    async def _new_sole(self, announced: Mapping[str, str]) -> Kept:
        async with asyncio.timeout(CLEAN_SECONDS_MAX):
            kept = await self._opened(self._pools.now())
        self.used.add(kept)
        if not await self._handed_over(kept, announced):
            raise Unclean("settings")
        return kept

    # --- into use ---------------------------------------------------------------------------------

    async def obtain(self, announced: Mapping[str, str]) -> Kept | None:
        """None: this session is to have a connection of its own. Raises UpstreamRefused,
        UpstreamUnreachable, ProtocolViolation as `open_upstream` does. Callers set the deadline.
        """
        now = self._pools.now()
        self.asked = now
        if self.lender is not None:
            return await first(self.lender, announced)
        if not self.idle and self.cleaning:
            self._pools.lulls.begin()
            await asyncio.wait(
                tuple(self.cleaning),
                timeout=CLEANING_WAIT_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
        try:
            while self.idle:
                kept = self.idle.pop()
                self.used.add(kept)
                if await self._handed_over(kept, announced):
                    self._pools.metrics.upstream_reused += 1
                    return kept
            return await self._open(announced, now)
        finally:
            self._warm()

    async def _handed_over(self, kept: Kept, announced: Mapping[str, str]) -> bool:
        """Whether it took the session's name, and still is what it was."""
        side, now = kept.upstream.side, self._pools.now()
        side.detach()
        standing = self._looked_for(kept, now)
        try:
            if now > kept.until or side.ended or side.pending:
                raise Unclean("old")
            async with asyncio.timeout(TAKE_SECONDS_MAX):
                handed = await self.keeping.hand_over(
                    kept.upstream,
                    self.key,
                    self.pooling,
                    kept.fresh,
                    announced,
                    standing,
                    self._pinning,
                )
            if standing is not None:
                kept.looked = now
        except UNCLEAN as error:
            self._close(kept)
            if isinstance(error, TimeoutError):
                self._look_at_idle()
            return False
        except BaseException:
            self._close(kept)
            raise
        kept.upstream, kept.told = kept.upstream._replace(parameters=handed.shown), handed.told
        return True

    def _look_at_idle(self) -> None:
        """One did not answer, so perhaps none would (a firewall forgot them, another machine is the
        server now): all are made to answer at once, and nobody waits for one after the other."""
        while self.idle:
            kept = self.idle.pop()
            if not self.take_back(kept, Left(False, kept.upstream.parameters), ()):
                self._close(kept)

    @staticmethod
    def _looked_for(kept: Kept, now: float) -> str | None:
        """What its standing must be still, if it is time to look."""
        return kept.standing if now - kept.looked > LOOK_AGAIN_SECONDS else None

    async def _open(self, announced: Mapping[str, str], now: float) -> Kept | None:
        self.opening += 1
        try:
            kept = await self._opened(now)
        finally:
            self.opening -= 1
        self.used.add(kept)
        if await self._handed_over(kept, announced):
            return kept
        self.found_unfit("the session's settings were not taken", now)
        return None

    async def _opened(self, now: float) -> Kept:
        """A new connection that is nobody's yet."""
        upstream = await self.keeping.open(self.target, self.key)
        kept = Kept(self, upstream, now)
        self._pools.metrics.upstream_connects_ok += 1
        try:
            seen = await self.keeping.look(upstream, self.pooling)
        except Unclean:  # a role that may not look: not kept
            seen = Footprint("", "not answering")
        except BaseException:
            upstream.side.abort()
            raise
        kept.standing = "" if seen.unfit else seen.standing
        if seen.unfit:
            self.found_unfit(seen.unfit, now)
        return kept

    def found_unfit(self, reason: str, now: float) -> None:
        """For a while, new sessions have connections of their own."""
        self.unfit, self.unfit_until = reason, now + UNFIT_SECONDS
        _log.warning("not_pooled", target=self.key.target, user=self.key.login.user, reason=reason)

    # --- out of use -------------------------------------------------------------------------------

    def take_back(
        self,
        kept: Kept,
        left: Left,
        cancels: tuple[asyncio.Task[bool], ...],
    ) -> bool:
        """See `Kept.give_back`."""
        self.used.discard(kept)
        if self._over or not kept.standing or self._pools.now() > kept.until:
            self._has_room()
            return False
        task = asyncio.get_running_loop().create_task(self._cleaned(kept, left, cancels))
        self.cleaning.add(task)
        task.add_done_callback(self.cleaning.discard)
        return True

    async def _cleaned(
        self,
        kept: Kept,
        left: Left,
        cancels: tuple[asyncio.Task[bool], ...],
    ) -> None:
        kept.upstream.side.detach()
        try:
            if not (left.in_transaction or self.lender is not None):
                await self._pools.lulls.come()
            now = self._pools.now()
            standing = self._looked_for(kept, now)
            async with asyncio.timeout(CLEAN_SECONDS_MAX):
                self.being_cancelled += bool(cancels)
                try:
                    await _all_delivered(cancels)
                finally:
                    self.being_cancelled -= bool(cancels)
                own = await self.keeping.clean(
                    kept.upstream, self.key, self.pooling, kept.fresh, left, standing
                )
            if standing is not None:
                kept.looked = now
        except UNCLEAN as error:
            self._log_unkept(error)
            self._close(kept)
        except BaseException:
            self._close(kept)
            raise
        else:
            self._keep(kept, own)

    def _log_unkept(self, error: Exception) -> None:
        reason = error.reason if isinstance(error, Unclean) else type(error).__name__
        _log.info("not_kept", target=self.key.target, reason=reason)

    def _keep(self, kept: Kept, own: frozenset[bytes] = frozenset()) -> None:
        unasked = kept.backend.unasked + 1
        kept.backend, kept.last = Backend(), None
        kept.backend.unasked = unasked
        kept.backend.own.update(own)
        if self.lender is not None:
            self.lender.idle(kept)
        else:
            self.put_by(kept)

    def put_by(self, kept: Kept) -> None:
        """Among the idle ones, if there is room."""
        self.used.discard(kept)
        if self._over or len(self.idle) >= self.pooling.idle_per_key_max:
            self._close(kept)
            return
        self._pools.metrics.upstream_kept += 1
        kept.idle_since = self._pools.now()
        self.idle.append(kept)
        side = kept.upstream.side
        side.read(True)
        side.attach(lambda _chunk: self._stirred(kept), lambda: self._stirred(kept), HIGH_BYTES)
        self._pools.kept_one(self.target)

    def _stirred(self, kept: Kept) -> None:
        """An idle connection said something, or ended: nobody asked it."""
        if kept in self.idle:
            self.idle.remove(kept)
            self._close(kept)

    def close_one(self, kept: Kept) -> None:
        """It is not to be used again."""
        self._close(kept)

    def let_go(self, kept: Kept) -> None:
        """Somebody else closes it."""
        self.used.discard(kept)
        self._has_room()

    def _has_room(self) -> None:
        if self.lender is not None and self.lender.waiting:
            asyncio.get_running_loop().call_soon(self.lender.has_room)

    def _close(self, kept: Kept) -> None:
        self.used.discard(kept)
        self._has_room()
        self._pools.metrics.upstream_unkept += 1
        side = kept.upstream.side
        side.detach()
        side.write(self.keeping.terminate)
        side.close()

    def drop_oldest(self) -> None:
        self._close(self.idle.popleft())

    @property
    def _over(self) -> bool:
        return self.closed and not (self.lender is not None and self.lender.borrowers)

    def drain(self) -> None:
        self.closed = True
        while self.idle:
            self.drop_oldest()

    def sweep(self, now: float) -> None:
        """Closes what is too old, or too long unused (but for the spare ones of a living pool)."""
        if self.lender is not None:
            self.lender.sweep(now)
        wanted = self.pooling.spare if self._living(now) else 0
        for kept in list(self.idle):
            stale = now - kept.idle_since > self.pooling.idle_s_max and len(self.idle) > wanted
            if stale or now > kept.until:
                self.idle.remove(kept)
                self._close(kept)
        if wanted:
            self._warm()

    def _living(self, now: float) -> bool:
        return now - self.asked <= self.pooling.lifetime_s_max

    def forgotten(self, now: float) -> bool:
        """Whether nothing depends on this pool any more."""
        busy = self.idle or self.used or self.cleaning or self.opening
        busy = busy or (self.lender is not None and self.lender.borrowers)
        waiting = self.pooling.spare and self._living(now) and not self.closed
        return not (busy or waiting or now < self.unfit_until)

    # --- in advance -------------------------------------------------------------------------------

    def _warm(self) -> None:
        missing = self.pooling.spare - len(self.idle) - len(self.cleaning) - self.opening
        able = not (
            self.closed or self.unfit_until or self.opening or self._pools.full(self.target)
        )
        if missing > 0 and able:
            self.opening += 1
            self._pools.spawn(self._warmed())

    async def _warmed(self) -> None:
        try:
            async with asyncio.timeout(CLEAN_SECONDS_MAX):
                kept = await self._opened(self._pools.now())
        except UNCLEAN as error:
            _log.info("not_opened", target=self.key.target, reason=type(error).__name__)
            return
        finally:
            self.opening -= 1
        if kept.standing:
            self._keep(kept)
        else:
            self._close(kept)


async def _all_delivered(cancels: tuple[asyncio.Task[bool], ...]) -> None:
    """They are waited for, not cancelled with us: see `cancels`. Raises Unclean."""
    if cancels:
        await asyncio.wait(cancels)
        if not all(map(_delivered, cancels)):
            raise Unclean("a cancel request may still come")


def _delivered(cancel: asyncio.Task[bool]) -> bool:
    return not cancel.cancelled() and cancel.exception() is None and cancel.result()


class Pools:
    """All pools of one worker."""

    def __init__(self, metrics: Metrics, lulls: Lulls) -> None:
        self.metrics, self.lulls = metrics, lulls
        self.waited = 0.0
        """Seconds that clients have waited for connections, all together."""
        self._pools: dict[Key, Pool] = {}
        self._drained: set[Pool] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[Pool]:
        return iter([*self._pools.values(), *self._drained])

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Meanwhile a client waits for a connection."""
        began = monotonic()
        try:
            yield
        finally:
            self.waited += monotonic() - began

    def pool(
        self,
        target: TargetConfig,
        login: Login,
        database: str,
        settings: Mapping[str, str],
        announced: Mapping[str, str],
        keeping: Keeping,
    ) -> Pool | None:
        """For a session with these startup settings; None = it is to have a connection of its own.
        `announced`: what names the session, application_name among them.
        """
        if target.pooling.mode is PoolingMode.NONE:
            return None
        if not "".join(announced.values()).isascii():
            return None  # a SET is converted between encodings, a startup packet is not
        said = tuple(sorted((n, v) for n, v in settings.items() if n not in announced))
        key = Key(target.name, login, database, said, frozenset(announced))
        found = self._pools.get(key)
        if found is None:
            found = self._pools[key] = Pool(self, key, target, keeping)
            self._sweep_soon()
        if found.unfit_until > self.now():
            return None
        found.unfit_until = 0.0
        return found

    def kept_one(self, target: TargetConfig) -> None:
        """A connection went idle: of too many, the one that was unused longest goes."""
        while self._idle(target) > target.pooling.idle_max:
            filled = (p for p in self._of(target) if p.idle)
            min(filled, key=lambda p: p.idle[0].idle_since).drop_oldest()
        self._sweep_soon()

    def full(self, target: TargetConfig) -> bool:
        return self._idle(target) >= target.pooling.idle_max

    def _of(self, target: TargetConfig) -> Iterator[Pool]:
        return (pool for pool in self._pools.values() if pool.key.target == target.name)

    def _idle(self, target: TargetConfig) -> int:
        return sum(len(pool.idle) for pool in self._of(target))

    def drain(self) -> None:
        """The configuration was read anew: what was opened before serves no new session."""
        for pool in self._pools.values():
            pool.drain()
            self._drained.add(pool)
        self._pools.clear()

    async def close(self) -> None:
        self.drain()
        if self._sweeper is not None:
            self._sweeper.cancel()
        tasks = [*self._tasks, *(task for pool in self._drained for task in pool.cleaning)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def spawn(self, coroutine) -> None:  # type: ignore[no-untyped-def]
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _sweep_soon(self) -> None:
        if self._sweeper is None:
            loop = asyncio.get_running_loop()
            self._sweeper = loop.call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeper, now = None, self.now()
        for pool in self:
            pool.sweep(now)
            if pool.forgotten(now):
                if self._pools.get(pool.key) is pool:  # and not the one that came after it
                    del self._pools[pool.key]
                self._drained.discard(pool)
        if self._pools or self._drained:
            self._sweep_soon()
