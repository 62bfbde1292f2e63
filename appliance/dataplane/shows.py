"""What the admin database shows: tables of names and numbers, in pgbouncer's words and columns
(the manual of pgbouncer 1.18, "Admin console, SHOW commands"; what has no meaning here, or is not
known, is left out, `worker` and `target` are ours).

Called by `admin`. Rule: no SQL text, no secret, no cell; one worker's own view.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import NamedTuple

from appliance import __version__
from appliance.config.schema import Pooling, PoolingMode, TargetConfig
from appliance.dataplane import cancelling
from appliance.dataplane.pool import Kept, Pool, Pools
from appliance.dataplane.services import Services
from appliance.model.principal import Client

Value = str | int | None


class Seen(NamedTuple):
    """One client session, as it may be shown."""

    session: str
    principal: str
    database: str
    state: str
    """active, idle, or idle in transaction; waiting = a statement waits for its verdict."""
    client: Client
    client_tls: str
    began: float
    """Unix seconds."""
    target: str = ""
    host: str = ""
    port: int = 0
    user: str = ""
    """Of the database; '' where there is none (the admin database)."""
    pid: int = 0
    upstream_tls: str = ""
    mode: PoolingMode = PoolingMode.NONE
    """How it has its connection: its own, out of a pool, or one that others share."""
    free: bool = False
    """Such a one that it has, but does not use."""
    waits: float = 0.0
    """Since when it waits for such a one, loop time; 0 = it does not."""
    held_up: bool = False
    """Such a one that it would not need, but for cancel requests on their way to it."""
    cancels: int = 0
    """Clients that wait until what runs here is cancelled."""
    client_local: tuple[str, int] = ("", 0)
    """Our end of its client's connection: address and port."""
    upstream_local: tuple[str, int] = ("", 0)
    requested: float = 0.0
    """When its client sent something last, unix seconds."""

    def waited(self) -> float:
        """Seconds, until now."""
        return asyncio.get_running_loop().time() - self.waits if self.waits else 0.0

    @property
    def server_state(self) -> str:
        if self.held_up:
            return "being_canceled"
        return "idle" if self.free else "active"


class Table(NamedTuple):
    columns: tuple[str, ...]
    rows: list[tuple[Value, ...]]


class Scene(NamedTuple):
    """All that is looked at."""

    services: Services
    sessions: list[Seen]

    @property
    def pools(self) -> Pools:
        return self.services.pools

    @property
    def worker(self) -> int:
        return self.services.worker


def show(what: str, scene: Scene) -> Table | None:
    """`what`: the lower-case word behind SHOW. None = there is no such table."""
    making = _TABLES.get(what)
    return None if making is None else making(scene)


def _clients(scene: Scene) -> Table:
    columns = (
        "type", "user", "database", "state", "addr", "port", "local_addr", "local_port",
        "connect_time", "request_time", "wait", "wait_us", "close_needed", "ptr", "link",
        "remote_pid", "tls", "application_name", "target", "worker",
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = [
        (
            "C", one.principal, one.database, "waiting" if one.waits else "active",
            one.client.address, one.client.port, *one.client_local, _time(one.began),
            _time(one.requested), *_seconds_and_micros(one.waited()), 0, one.session[-12:],
            str(one.pid) if one.pid else "", 0, one.client_tls, one.client.application,
            one.target, scene.worker,
        )
        for one in sorted(scene.sessions, key=lambda one: one.began)
    ]  # fmt: skip
    return Table(columns, rows)


def _servers(scene: Scene) -> Table:
    """Without `request_time`: not all that a client sends goes on to a server."""
    columns = (
        "type", "user", "database", "state", "addr", "port", "local_addr", "local_port",
        "connect_time", "wait", "wait_us", "close_needed", "ptr", "link", "remote_pid", "tls",
        "target", "worker",
    )  # fmt: skip
    opened = {kept.upstream.pid: kept.opened for pool in scene.pools for kept in pool.used}
    rows: list[tuple[Value, ...]] = [
        (
            "S", one.user, one.database, one.server_state, one.host, one.port,
            *one.upstream_local, _since(opened[one.pid]) if one.pid in opened else _time(one.began),
            0, 0, 0, str(one.pid), one.session[-12:], one.pid, one.upstream_tls, one.target,
            scene.worker,
        )
        for one in scene.sessions
        if one.pid
    ]  # fmt: skip
    rows += [
        (
            "S", pool.key.login.user, pool.key.database, "idle", pool.target.host,
            pool.target.port, *kept.upstream.side.local, _since(kept.opened), 0, 0,
            int(_old(kept)), str(kept.upstream.pid), "", kept.upstream.pid,
            tls_of(kept.upstream.side.ssl), pool.key.target, scene.worker,
        )
        for pool in scene.pools
        for kept in pool.idle
    ]  # fmt: skip
    return Table(columns, rows)


class _Line:
    """Of SHOW POOLS. There is no state for what waits to be cancelled (a request goes on at once),
    nor for idle connections that have to be looked at first (all have)."""

    def __init__(self) -> None:
        self.clients = self.waiting = self.cancelling_clients = 0
        self.active = self.cancelling = self.being_cancelled = self.idle = 0
        self.tested = self.login = 0
        self.longest = 0.0
        """Seconds that a client has waited."""

    def add_session(self, one: Seen) -> None:
        self.waiting += bool(one.waits)
        self.clients += not one.waits
        self.cancelling_clients += one.cancels
        self.longest = max(self.longest, one.waited())
        if one.pid:
            state = one.server_state
            self.active += state == "active"
            self.idle += state == "idle"
            self.being_cancelled += state == "being_canceled"

    def add_pool(self, pool: Pool) -> None:
        self.idle += len(pool.idle)
        self.being_cancelled += pool.being_cancelled
        self.tested += len(pool.cleaning) - pool.being_cancelled
        self.tested += 0 if pool.lender is None else pool.lender.verifying
        self.login += pool.opening

    @property
    def values(self) -> tuple[int, ...]:
        return (
            self.clients, self.waiting, self.cancelling_clients, 0, self.active, self.cancelling,
            self.being_cancelled, self.idle, 0, self.tested, self.login,
            *_seconds_and_micros(self.longest),
        )  # fmt: skip


def _pools(scene: Scene) -> Table:
    columns = (
        "database", "user", "cl_active", "cl_waiting", "cl_active_cancel_req",
        "cl_waiting_cancel_req", "sv_active", "sv_active_cancel", "sv_being_canceled", "sv_idle",
        "sv_used", "sv_tested", "sv_login", "maxwait", "maxwait_us", "pool_mode", "target",
        "worker",
    )  # fmt: skip
    lines: defaultdict[cancelling.Place, _Line] = defaultdict(_Line)
    for one in scene.sessions:
        if one.pid or one.mode is PoolingMode.TRANSACTION:
            lines[one.target, one.database, one.user, one.mode.value].add_session(one)
    for pool in scene.pools:
        key, mode = pool.key, pool.pooling.mode.value
        lines[key.target, key.database, key.login.user, mode].add_pool(pool)
    for place, count in cancelling.carried.items():
        lines[place].cancelling += count
    rows: list[tuple[Value, ...]] = [
        (database, user, *line.values, mode, target, scene.worker)
        for (target, database, user, mode), line in sorted(lines.items(), key=lambda item: item[0])
    ]
    return Table(columns, rows)


def _databases(scene: Scene) -> Table:
    columns = (
        "name", "host", "port", "database", "force_user", "pool_size", "min_pool_size",
        "reserve_pool", "pool_mode", "max_connections", "current_connections", "paused",
        "disabled", "worker",
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for target in scene.services.governance.configuration.targets:
        pooling = target.pooling
        names = ("*",) if target.databases == "*" else target.databases
        rows += [
            (
                target.name, target.host, target.port, name, None, _pool_size(pooling),
                pooling.spare, 0, pooling.mode.value, 0, _connections(scene, target, name), 0, 0,
                scene.worker,
            )
            for name in names
        ]  # fmt: skip
    return Table(columns, rows)


def _pool_size(pooling: Pooling) -> int:
    """Of one user, database and startup settings: how many there are where they are shared, how
    many are kept unused where they are not; 0 = there is no pool."""
    sizes = {
        PoolingMode.TRANSACTION: pooling.servers_max,
        PoolingMode.SESSION: pooling.idle_per_key_max,
        PoolingMode.NONE: 0,
    }
    return sizes[pooling.mode]


def _connections(scene: Scene, target: TargetConfig, database: str) -> int:
    """To a database, '*' = to all of a target: of pools, and of sessions with their own."""
    pooled = sum(
        pool.count
        for pool in scene.pools
        if pool.key.target == target.name and database in ("*", pool.key.database)
    )
    return pooled + sum(
        one.target == target.name and database in ("*", one.database)
        for one in scene.sessions
        if one.pid and one.mode is PoolingMode.NONE
    )


def _stats(scene: Scene) -> Table:
    """Totals since the worker began, averages over the last period (`periods`); of all databases
    together, which is how they are counted. Transactions are not counted."""
    columns = (
        "database", "total_query_count", "total_received", "total_sent", "total_query_time",
        "total_wait_time", "avg_query_count", "avg_recv", "avg_sent", "avg_query_time",
        "avg_wait_time", "total_server_assignment_count", "worker",
    )  # fmt: skip
    metrics, periods = scene.services.metrics, scene.services.periods
    whole, average = periods.totals(), periods.averages(monotonic())
    assigned = metrics.upstream_reused + metrics.upstream_connects_ok
    row: tuple[Value, ...] = (
        "*", whole.queries, whole.received, whole.sent, whole.query_micros, whole.wait_micros,
        *average, assigned, scene.worker,
    )  # fmt: skip
    return Table(columns, [row])


def _version(scene: Scene) -> Table:
    del scene
    return Table(("version",), [(f"Sallyport {__version__}",)])


_TABLES: dict[str, Callable[[Scene], Table]] = {
    "clients": _clients,
    "servers": _servers,
    "pools": _pools,
    "databases": _databases,
    "stats": _stats,
    "version": _version,
}

HELP = "SHOW HELP|" + "|".join(name.upper() for name in sorted(_TABLES))


def tls_of(tls: object) -> str:
    """Version and cipher, as pgbouncer shows them; '' without TLS."""
    version, cipher = getattr(tls, "version", None), getattr(tls, "cipher", None)
    if version is None or cipher is None:
        return ""
    return f"{version()}/{(cipher() or ('?',))[0]}"


def _seconds_and_micros(seconds: float) -> tuple[int, int]:
    return divmod(round(seconds * 1e6), 1_000_000)


def _old(kept: Kept) -> bool:
    return asyncio.get_running_loop().time() > kept.until


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _since(loop_time: float) -> str:
    return _time(Services.now() - (asyncio.get_running_loop().time() - loop_time))
