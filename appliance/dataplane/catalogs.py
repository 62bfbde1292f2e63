"""The catalogs of governed databases: loaded over a session of our own, polled by epoch, replaced
as a whole.

Used by `conductor` (refresh, schema changes) and read through `session/flow.CatalogPort`. Rule: a
catalog that may be stale shows no lineage at all until it has been checked, so nothing can rest on
it; a failed load keeps it that way.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection
from itertools import islice
from pathlib import Path

import msgspec

from _speedups.hitcycle import Count
from _speedups.leases import Lease
from appliance.config.schema import SchemaCheck, TargetConfig
from appliance.dataplane.aside import Aside, Asker
from appliance.dataplane.baseline import Baseline, baseline_path
from appliance.dataplane.cancels import SchemaChange
from appliance.dataplane.connections import Login, Upstream, UpstreamRefused, UpstreamUnreachable
from appliance.dataplane.leasing import Leases
from appliance.dataplane.protocols import protocol_of
from appliance.dataplane.schema_lease import SchemaLease
from appliance.dataplane.vouching import Footing, Voucher
from appliance.model.catalog import Catalog
from appliance.model.errors import ProtocolViolation
from appliance.model.stands import Stands
from appliance.session.dialect import SessionLineage
from appliance.telemetry.metrics import Metrics

LOAD_SECONDS_MAX = 30.0
IDLE_SECONDS_MAX = 60.0
QUIET_SECONDS_MAX = 5.0
QUIET_POLL_SECONDS = 0.02
LEAVING_SECONDS = 1.0
TOLD_SECONDS_MAX = 30.0
"""How long a schema change that another worker told of is believed to be under way."""
CACHE_LOOKUP_FAILED = "XX000"
MET_MAX = 5
"""Schema changes met while one catalog is read, before that counts as failed."""
SHAPERS_KEPT_MAX = 1_024
"""Schema changes of which it is known whose they were."""


class DatabaseCatalog:
    """The catalog of one database of one target, as every session on it sees it."""

    def __init__(
        self,
        target: TargetConfig,
        database: str,
        login: Login,
        metrics: Metrics,
        refresh_ms: int,
        baseline: Baseline | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_change` is called when a schema change begins here."""
        self._on_change = on_change
        self._target = target
        self._protocol = protocol_of(target)
        self.database = database
        self.peers: list[DatabaseCatalog] = [self]
        """All that are of the same database, read by different users: what changes is told to
        each."""
        self._login = login
        self._metrics = metrics
        self._refresh_seconds = refresh_ms / 1000
        self._upstream: Upstream | None = None
        self.generation = Count()
        """Moves with everything that a decision may rest on here: the hit path compares it."""
        self._kept: SessionLineage | None = None
        self.baseline = baseline or Baseline(None)
        self._epoch = ""
        self._reloads = 0
        self._is_fresh = False
        self._changes = 0
        self.shapes = 0
        """Counts the beginnings and ends of schema changes, by whatever session of this appliance:
        a statement during which it moved may have met another schema than it was judged under.
        """
        self._shapers: deque[str] = deque(maxlen=SHAPERS_KEPT_MAX)
        """Sessions that moved `shapes`, the last ones."""
        self._changing: dict[str, float] = {}
        """Sessions with a schema change under way -> when that is no longer believed."""
        self._changing_unmasked: set[str] = set()
        """Those of them that do not surely owe masks."""
        self._refreshing: asyncio.Task[None] | None = None
        self._polling: asyncio.Task[None] | None = None
        self._rereading = False
        self.failure = ""
        self.sessions = 0
        source = self._protocol.catalog
        talks = (self._connected, self._protocol.query)
        self.hold: SchemaLease | None = None
        """Keeps all of it as it is, now and then; None: that is not wanted, or cannot be."""
        if source.hold is not None and target.schema_check is SchemaCheck.LEASE:
            self.hold = SchemaLease(source.hold, *talks, self._protocol.terminate, metrics)
        self._aside = None
        if source.aside is not None:
            self._aside = Aside(source.aside, *talks, self._protocol.terminate)
        self._voucher = self._leases = None
        if source.stamp is not None:
            self._voucher = Voucher(self, *talks, source, self._protocol.terminate)
            self._leases = Leases(self._voucher, *talks, self._protocol.terminate)

    async def stands(self, footing: Footing, asker: Asker, *, refresh: bool) -> Stands:
        """How what a text rests on is now to the catalog that it was judged under. `refresh`: if
        otherwise, this is up to date with it afterwards."""
        stands = Stands.OTHERWISE
        if self._aside is not None:
            stands = await self._aside.stands(footing, asker)
        elif self._voucher is not None and await self._voucher.holds(footing):
            stands = Stands.AS_JUDGED
        if refresh and stands in (Stands.OTHERWISE, Stands.UNKNOWN):
            await self.refresh()
        return stands

    def lease(self, footing: Footing) -> Lease | None:
        """What has to be held while a statement with this footing begins and describes its result,
        for it not to be looked after; None: there is no such thing."""
        return None if self._leases is None else self._leases.of(footing)

    @property
    def lineage(self) -> SessionLineage | None:
        return self._kept if self._fresh else None

    @property
    def kept(self) -> SessionLineage | None:
        return self._kept

    @property
    def _fresh(self) -> bool:
        return self._is_fresh

    @_fresh.setter
    def _fresh(self, fresh: bool) -> None:
        self.generation.value += fresh != self._is_fresh
        self._is_fresh = fresh

    def note_change(self) -> None:
        """The schema may have changed: nothing rests on it until the epoch was compared."""
        for peer in self.peers:
            peer._note_change()

    def _note_change(self) -> None:
        self.generation.value += 1
        self._fresh = False
        self._changes += 1

    def begin_change(
        self, session: str, seconds: float = float("inf"), *, masked: bool = False
    ) -> None:
        """`session` sends a statement that changes the schema. `seconds` bounds how long its end is
        waited for, when another worker told of it. `masked`: it surely owes masks.
        """
        until = asyncio.get_running_loop().time() + seconds
        for peer in self.peers:
            peer._changing[session] = until
            if not masked:
                peer._changing_unmasked.add(session)
                peer.baseline.doubt_clean()
            peer._reshape(session)
            peer._note_change()
            if peer.hold is not None:
                peer.hold.step_aside()
        self._on_change()

    def settle_change(self, session: str) -> None:
        """Its transaction ended, or the session did."""
        for peer in self.peers:
            if session in peer._changing_unmasked:
                peer._changing_unmasked.remove(session)
                peer.baseline.doubt_clean()
            if peer._changing.pop(session, None) is not None:
                peer._reshape(session)
                peer._note_change()

    def note_clean(self, names: Collection[tuple[str, str]], owner: str) -> None:
        """A session that owes masks, and acts as `owner` there, has made these relations. Who else
        makes any meanwhile may have made what bears their names by now.
        """
        if not self._changing_unmasked:
            self.baseline.note_clean(names, owner)

    def _reshape(self, session: str) -> None:
        self.shapes += 1
        self._shapers.append(session)

    def reshaped_by_others(self, since: int, session: str) -> bool:
        """Whether `shapes` was moved by a session other than this one since it was `since`."""
        count = self.shapes - since
        last = islice(reversed(self._shapers), count)
        return count > len(self._shapers) or any(other != session for other in last)

    def changing_for(self, session: str) -> bool:
        """Whether a session other than this one has a schema change under way."""
        if not self._changing:
            return False
        now = asyncio.get_running_loop().time()
        for other in [other for other, until in self._changing.items() if until < now]:
            self.settle_change(other)
        return any(other != session for other in self._changing)

    async def quiet(self, session: str) -> None:
        """Returns when no other session's schema change is under way, or after a few seconds."""
        for _ in range(int(QUIET_SECONDS_MAX / QUIET_POLL_SECONDS)):
            if not self.changing_for(session):
                return
            await asyncio.sleep(QUIET_POLL_SECONDS)

    async def refresh(self, *, reload: bool = False) -> None:
        """Brings it up to date with what is there now (a load that runs already may have looked
        before); concurrent callers share one load, unless it fails. Never raises: `failure` says
        what went wrong.
        `reload`: all of it is read, whatever the epoch says.
        """
        self._changes += 1
        if reload:
            self._epoch = ""
        if self._refreshing is not None:
            await asyncio.shield(self._refreshing)
            if not self.failure:
                return
            # It began before it was asked for here: what it failed on may be gone (a database that
            # was dropped and made again).
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self._refresh())
            self._refreshing.add_done_callback(self._refreshed)
            # What takes longer than it is polled (a lock in the way) is not fresh meanwhile.
            asyncio.get_running_loop().call_later(
                self._refresh_seconds, self._overdue, self._refreshing
            )
        await asyncio.shield(self._refreshing)

    async def reread(self) -> None:
        """The same, and all of it is read after this was called, whatever the epoch says. What
        turns out to be as it was stays under its version.
        """
        self._rereading = True
        await self.refresh()

    def _overdue(self, task: asyncio.Task[None]) -> None:
        if not task.done():
            self._fresh = False

    def _refreshed(self, _task: asyncio.Task[None]) -> None:
        self._refreshing = None
        if self._polling is None:
            self._leave()

    def begin(self) -> None:
        """A session starts to use it."""
        self.sessions += 1
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())

    def end(self) -> None:
        """A session is done with it; some time after the last one our connection is closed."""
        self.sessions -= 1

    def let_go(self) -> None:
        """Closes our connection at once where no session is: the server wants a database to itself
        when it is dropped, renamed or copied.
        """
        if self._polling is not None and not self.sessions:
            self._polling.cancel()
            self._polling = None
            self._leave()

    async def close(self) -> None:
        polling, self._polling = self._polling, None
        if polling is not None:
            polling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await polling
        self._leave()

    async def _poll(self) -> None:
        """A net for changes made past us: compares epochs while sessions are open."""
        idle_seconds = 0.0
        while self.sessions or idle_seconds < IDLE_SECONDS_MAX:
            await asyncio.sleep(self._refresh_seconds)
            idle_seconds = 0.0 if self.sessions else idle_seconds + self._refresh_seconds
            if self._kept is not None:
                await self.refresh()
        self._polling = None
        self._leave()

    def _leave(self) -> None:
        self._disconnect()
        if self._aside is not None:
            self._aside.close()
        if self._voucher is not None:
            self._voucher.close()
        if self._leases is not None:
            self._leases.close()
        if self.hold is not None:
            self.hold.close()
        self._fresh = False

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(LOAD_SECONDS_MAX):
                await self._load_as_it_is()
            self.failure = ""
            self._fresh = True
            self._metrics.catalog_loads_ok += 1
        except (
            UpstreamRefused,
            UpstreamUnreachable,
            ProtocolViolation,
            TimeoutError,
            OSError,
            LookupError,
            ValueError,
        ) as e:
            self._metrics.catalog_loads_failed += 1
            self._disconnect()
            self._fresh = False
            self.failure = _reason(e)

    async def _load_as_it_is(self) -> None:
        """Again where a change was noted meanwhile, which may not have been seen, and where one was
        met: what prints definitions looks at what is there now, not at the snapshot that all else
        is read in, and fails on what has just been dropped. Again, too, where a connection that was
        kept turns out to have been ended meanwhile (with its database, or with the server).
        """
        seen, met = -1, 0
        kept = self._upstream
        if kept is not None and kept.side.ended:
            kept = None
        while seen != self._changes:
            seen = self._changes
            try:
                await self._load()
            except UpstreamRefused as refused:
                if refused.fields.get("C") != CACHE_LOOKUP_FAILED or met >= MET_MAX:
                    raise
                seen, met = -1, met + 1
                self._disconnect()
            except (ConnectionError, UpstreamUnreachable):
                if kept is None or kept is not self._upstream:
                    raise
                seen, kept = -1, None
                self._disconnect()

    async def _connected(self) -> Upstream:
        protocol, source = self._protocol, self._protocol.catalog
        upstream = await protocol.open_upstream(
            self._target, self._login, self.database, source.settings
        )
        try:
            for text in source.prepare:
                await protocol.query(upstream, text)
        except BaseException:
            upstream.side.abort()
            raise
        return upstream

    async def _load(self) -> None:
        protocol, source = self._protocol, self._protocol.catalog
        upstream = self._upstream
        if upstream is None or upstream.side.ended:
            upstream = self._upstream = await self._connected()
            self._epoch = ""
        rereading, self._rereading = self._rereading, False
        epoch = str((await protocol.query(upstream, source.epoch))[0][0])
        as_it_was = self._kept is not None and epoch == self._epoch and not self.baseline.moved()
        if as_it_was and not rereading:
            return
        self._fresh = False  # it did change: nothing rests on the old one while the new is read
        for _ in range(MET_MAX):
            asked = source.queries.items()
            rows = {name: await protocol.query(upstream, text) for name, text in asked}
            if source.at_once:
                break
            # Of several states something may be in there that never was together; under an epoch
            # that comes back, two catalogs would be one.
            before, epoch = epoch, str((await protocol.query(upstream, source.epoch))[0][0])
            if before == epoch == str(rows["epoch"][0][0]):
                break
        else:
            raise TimeoutError
        catalog = source.build(self._target.name, self.database, rows)
        kept, self._epoch = self._kept, epoch
        if as_it_was and kept is not None and self._says(catalog, kept.catalog):
            return
        if kept is not None and kept.catalog.version.startswith(catalog.version):
            # Read anew because a session found something else than the epoch tells: nothing kept
            # under the same version may be used again.
            self._reloads += 1
            version = f"{catalog.version}+{self._reloads}"
            catalog = msgspec.structs.replace(catalog, version=version)
        self._kept = source.lineage(self.baseline.applied(catalog))
        self.generation.value += 1

    def _says(self, catalog: Catalog, known: Catalog) -> bool:
        """Whether what was read is what is known, but for its version."""
        read = self.baseline.applied(catalog)
        return bool(msgspec.structs.replace(read, version=known.version) == known)

    def _disconnect(self) -> None:
        if self._upstream is not None:
            self._upstream.side.close()
            self._upstream = None


def _reason(error: Exception) -> str:
    if isinstance(error, UpstreamRefused):
        return f"the database answered SQLSTATE {error.fields.get('C', 'XX000')}"
    if isinstance(error, UpstreamUnreachable):
        return error.reason
    return "it took too long" if isinstance(error, TimeoutError) else type(error).__name__


class Catalogs:
    """All of a worker's, by (target, database)."""

    def __init__(self, metrics: Metrics, refresh_ms: int, folder: Path | None = None) -> None:
        self._folder = folder
        """Of the baselines."""
        self._metrics = metrics
        self._refresh_ms = refresh_ms
        self._databases: dict[tuple[str, str, str], DatabaseCatalog] = {}
        """By target, database and, where each user sees a catalog of its own, who reads it."""
        self._peers: dict[tuple[str, str], list[DatabaseCatalog]] = {}
        self._letting_go: set[str] = set()
        """Targets whose idle databases are about to be looked at again."""

    def of(self, target: TargetConfig, database: str, login: Login) -> DatabaseCatalog:
        """Shared by all sessions there; read with the login of whoever came first, or, where what
        a user sees is what it has privileges for and nobody is named to read it, by each user
        for its own sessions: nobody's depends on who else comes.
        """
        reader = ""
        if protocol_of(target).catalog.whole_server:
            database = ""
            reader = login.user if target.catalog is None else ""
        key = (target.name, database, reader)
        known = self._databases.get(key)
        if known is None:
            known = self._databases[key] = DatabaseCatalog(
                target,
                database,
                login,
                self._metrics,
                self._refresh_ms,
                self._baseline(target.name, f"{database}@{reader}" if reader else database),
                lambda: self._let_go(target.name),
            )
            known.peers = self._peers.setdefault(key[:2], [])
            known.peers.append(known)
        return known

    def _let_go(self, target: str) -> None:
        """A schema change begins somewhere on this target: it may be a DROP DATABASE, for which the
        server waits five seconds. Looked at twice, for a session that is just leaving.
        """
        if target in self._letting_go:
            return
        self._letting_go.add(target)
        self._leave_idle(target)
        asyncio.get_running_loop().call_later(LEAVING_SECONDS, self._let_go_again, target)

    def _let_go_again(self, target: str) -> None:
        self._letting_go.discard(target)
        self._leave_idle(target)

    def _leave_idle(self, target: str) -> None:
        for (name, _, _), database in self._databases.items():
            if name == target:
                database.let_go()

    def _baseline(self, target: str, database: str) -> Baseline:
        if self._folder is None:
            return Baseline(None)
        return Baseline(baseline_path(self._folder, target, database))

    def told_by(self, change: SchemaChange) -> None:
        """Another worker's session begins or ends a schema change."""
        if change.begun:
            self._let_go(change.target)
        for known in self._peers.get((change.target, change.database), ())[:1]:
            if change.begun:
                known.begin_change(change.session, TOLD_SECONDS_MAX)
            else:
                known.settle_change(change.session)

    async def close(self) -> None:
        for database in self._databases.values():
            await database.close()
