"""A session's machine, put together: one function per kind of machine.

Named in `protocols`, called by `login` when the upstream is there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from _speedups.hitcycle import Count
from _speedups.leases import Lease
from _speedups.pghits import HitPath
from appliance.config.schema import Durability, SchemaCheck
from appliance.dataplane.connections import Upstream
from appliance.dataplane.schema_lease import SchemaLease
from appliance.dataplane.services import Governance, Services
from appliance.model.limits import Limits
from appliance.session.announce import Announcement
from appliance.session.backend import Backend
from appliance.session.exchange import Exchange
from appliance.session.exchange_results import NamedReading
from appliance.session.exchange_state import ExchangeState, Tracker
from appliance.session.flow import CACHED_TEXT_BYTES_MAX, Judge
from appliance.session.hits import HELD
from appliance.session.machine import SessionMachine
from appliance.session.named import NamedPlans
from appliance.session.postgres import PostgresReading
from appliance.session.records import Recorder
from appliance.session.results import ResultLocks
from appliance.session.settings import SettingsTracker
from appliance.session.state import SessionState
from appliance.wire.exchange import Codec


class MachineParts(NamedTuple):
    """What every machine is made of."""

    judge: Judge
    recorder: Recorder
    announcement: Announcement
    generation: Count
    """Of the catalog."""
    lease: Callable[[Any], Lease | None]
    """`DatabaseCatalog.lease`."""
    hold: SchemaLease | None
    """`DatabaseCatalog.hold`."""
    database: str
    upstream: Upstream
    services: Services
    governance: Governance
    pooled: bool
    """The upstream outlives the session."""
    backend: Backend | None
    """What it holds that is ours, where it was another session's; None = nothing."""
    told: tuple[str, ...]
    """What it answered to a `session/settings` Pinning; empty where that was not asked."""
    settings: dict[str, str]
    """What the client asked for at login (`arriving.Asked`)."""


def postgres_machine(parts: MachineParts) -> SessionMachine:
    services, governance = parts.services, parts.governance
    limits = governance.configuration.limits
    state = SessionState(
        parts.judge,
        parts.recorder,
        SettingsTracker(parts.database, parts.upstream.parameters, parts.told),  # the session's own
        parts.announcement,
        ResultLocks(parts.judge, governance.token_keys, NamedPlans(), PostgresReading()),
        limits,
        services.alarm.pace,
        parts.backend,
    )
    state.approvals = services.approvals is not None
    state.hits.reports_path = state.settings.reports_path
    if governance.configuration.durability is not Durability.DISK:
        state.hits.path = _hit_path(parts, state)
        hold = parts.hold
        if hold is not None:
            state.hits.path.lease, state.hits.want_lease = hold.lease, hold.want
            state.hits.leased_at, state.hits.lessons = lambda: hold.server, hold.lessons
            state.hits.process = str(parts.upstream.pid)
    return SessionMachine(state)


def exchange_machine(
    parts: MachineParts,
    codec: Callable[[Any, Limits], Codec],
    tracker: Callable[[str, dict[str, str]], Tracker],
    hit_path: Callable[..., Any],
) -> Exchange:
    """`codec`: (what the login established, limits). `tracker`: (database, parameters).
    `hit_path`: what the login established, and what every hit path is made with."""
    governance = parts.governance
    limits = governance.configuration.limits
    made = codec(parts.upstream.own, limits)
    state = ExchangeState(
        parts.judge,
        parts.recorder,
        tracker(parts.database, parts.upstream.parameters),
        ResultLocks(parts.judge, governance.token_keys, NamedPlans(), NamedReading(made)),
        made,
        limits,
    )
    state.approvals = parts.services.approvals is not None
    state.pooled = parts.pooled
    if governance.configuration.durability is not Durability.DISK:
        state.hits.path = hit_path(
            parts.upstream.own,
            parts.services.round.ledger,
            parts.generation,
            state.recorder.sequence,
            state.recorder.session,
            _text_bytes_max(limits),
        )
    name = parts.judge.target.name
    target = next(each for each in governance.configuration.targets if each.name == name)
    state.hits.lease_of = parts.lease
    state.vouches = state.hits.vouches = target.schema_check is not SchemaCheck.POLL
    return Exchange(state)


def _hit_path(parts: MachineParts, state: SessionState) -> HitPath:
    limits = parts.governance.configuration.limits
    return HitPath(
        parts.services.round.ledger,
        parts.generation,
        state.recorder.sequence,
        state.pace,
        state.statements.settled,
        state.recorder.session,
        HELD,
        _text_bytes_max(limits),
    )


def _text_bytes_max(limits: Limits) -> int:
    """Of texts that a hit path may know."""
    return min(limits.statement_bytes_max, CACHED_TEXT_BYTES_MAX)
