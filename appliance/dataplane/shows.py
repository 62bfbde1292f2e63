"""What the admin database shows: tables of names and numbers, in pgbouncer's words and columns
(pgbouncer's manual, "Admin console, SHOW commands"; what has no meaning here is left out, `worker`
and `target` are ours).

Called by `admin`. Rule: no SQL text, no secret, no cell; one worker's own view.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from appliance import __version__
from appliance.config.schema import PoolingMode
from appliance.dataplane.pool import Kept, Pools
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
    pooled: bool = False
    lent: bool = False
    """Its connections are shared with others."""
    free: bool = False
    """Such a one that it has, but does not use."""
    waits: float = 0.0
    """Since when it waits for such a one, loop time; 0 = it does not."""


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
        "type", "user", "database", "state", "addr", "port", "connect_time", "ptr", "link",
        "remote_pid", "tls", "application_name", "target", "worker",
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = [
        (
            "C", one.principal, one.database, one.state, one.client.address, one.client.port,
            _time(one.began), one.session[-12:], str(one.pid) if one.pid else "",
            0, one.client_tls, one.client.application, one.target, scene.worker,
        )
        for one in sorted(scene.sessions, key=lambda one: one.began)
    ]  # fmt: skip
    return Table(columns, rows)


def _servers(scene: Scene) -> Table:
    columns = (
        "type", "user", "database", "state", "addr", "port", "connect_time", "close_needed",
        "ptr", "link", "remote_pid", "tls", "target", "worker",
    )  # fmt: skip
    opened = {kept.upstream.pid: kept.opened for pool in scene.pools for kept in pool.used}
    rows: list[tuple[Value, ...]] = [
        (
            "S", one.user, one.database, "idle" if one.free else "active", one.host, one.port,
            _since(opened[one.pid]) if one.pid in opened else _time(one.began), 0,
            str(one.pid), one.session[-12:], one.pid, one.upstream_tls, one.target, scene.worker,
        )
        for one in scene.sessions
        if one.pid
    ]  # fmt: skip
    rows += [
        (
            "S", pool.key.login.user, pool.key.database, "idle", pool.target.host,
            pool.target.port, _since(kept.opened), int(_old(kept)), str(kept.upstream.pid),
            "", kept.upstream.pid, tls_of(kept.upstream.side.ssl), pool.key.target,
            scene.worker,
        )
        for pool in scene.pools
        for kept in pool.idle
    ]  # fmt: skip
    return Table(columns, rows)


def _pools(scene: Scene) -> Table:
    columns = (
        "database", "user", "cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_tested",
        "sv_login", "maxwait", "maxwait_us", "pool_mode", "target", "worker",
    )  # fmt: skip
    counts: dict[tuple[str, str, str, str], list[int]] = {}
    waits: dict[tuple[str, str, str, str], float] = {}
    now = asyncio.get_running_loop().time()
    for one in scene.sessions:
        if not one.pid and not one.lent:
            continue
        pooled = PoolingMode.SESSION if one.pooled else PoolingMode.NONE
        mode = (PoolingMode.TRANSACTION if one.lent else pooled).value
        place = (one.target, one.database, one.user, mode)
        found = counts.setdefault(place, [0] * 6)
        found[1 if one.waits else 0] += 1
        if one.pid:
            found[3 if one.free else 2] += 1
        if one.waits:
            waits[place] = max(waits.get(place, 0.0), now - one.waits)
    for pool in scene.pools:
        place = (pool.key.target, pool.key.database, pool.key.login.user, pool.pooling.mode.value)
        found = counts.setdefault(place, [0] * 6)
        found[3] += len(pool.idle)
        found[4] += len(pool.cleaning)
        found[5] += pool.opening
    rows: list[tuple[Value, ...]] = [
        (
            place[1],
            place[2],
            *n,
            int(waits.get(place, 0.0)),
            round(waits.get(place, 0.0) % 1 * 1e6),
            place[3],
            place[0],
            scene.worker,
        )
        for place, n in sorted(counts.items())
    ]
    return Table(columns, rows)


def _databases(scene: Scene) -> Table:
    columns = (
        "name", "host", "port", "database", "force_user", "pool_size", "min_pool_size",
        "pool_mode", "max_connections", "current_connections", "paused", "disabled", "worker",
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for target in scene.services.governance.configuration.targets:
        pooling = target.pooling
        idle = sum(len(pool.idle) for pool in scene.pools if pool.key.target == target.name)
        used = sum(one.target == target.name for one in scene.sessions)
        names = ("*",) if target.databases == "*" else target.databases
        rows += [
            (
                target.name, target.host, target.port, name, None, pooling.idle_per_key_max,
                pooling.spare, pooling.mode.value, 0, idle + used, 0, 0, scene.worker,
            )
            for name in names
        ]  # fmt: skip
    return Table(columns, rows)


def _stats(scene: Scene) -> Table:
    """Totals since the worker began; of all databases together, which is how they are counted."""
    columns = (
        "database", "total_query_count", "total_received", "total_sent", "total_query_time",
        "total_wait_time", "avg_query_time", "total_server_assignment_count", "worker",
    )  # fmt: skip
    metrics = scene.services.metrics
    queries = metrics.statements_allowed
    micros = round(metrics.statement_seconds.seconds * 1e6)
    assigned = metrics.upstream_reused + metrics.upstream_connects_ok
    row: tuple[Value, ...] = (
        "*", queries, metrics.bytes_to_upstream, metrics.bytes_to_client, micros,
        0, micros // queries if queries else 0, assigned, scene.worker,
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


def _old(kept: Kept) -> bool:
    return asyncio.get_running_loop().time() > kept.until


def _time(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _since(loop_time: float) -> str:
    return _time(Services.now() - (asyncio.get_running_loop().time() - loop_time))
