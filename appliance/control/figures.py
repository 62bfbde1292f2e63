"""Counts what the control process does, for /metrics.

Fed by `trail` with every record that was written, since everything that happens here is one; what
is kept in the store is looked at now and then by `run`. Rule: counting never fails anything.
"""

import asyncio
from collections.abc import Callable, Iterable

from appliance.approval.people import Who
from appliance.approval.standing import GrantState
from appliance.audit.record import (
    GrantRuled,
    Record,
    RequestMade,
    RequestRuled,
    RequestUsed,
    SignedIn,
    SignInFailed,
)
from appliance.control.grants import GRANTS_MAX
from appliance.control.store import Store, StoreUnavailable
from appliance.telemetry.control_metrics import ControlMetrics
from appliance.telemetry.log import Log

LOOK_SECONDS = 5.0
_GRANTS = {
    "active": "grants_agreed",
    "denied": "grants_denied",
    "revoked": "grants_revoked",
    "expired": "grants_expired",
}
_DECIDED = ("approved", "denied")
_ID_TIME_DIGITS = 12
"""An id begins with its milliseconds in hex (`audit.record.new_id`)."""

log = Log("control")


class Figures:
    """One control process's."""

    def __init__(self) -> None:
        self.metrics = ControlMetrics()

    def count(self, records: Iterable[Record]) -> None:
        """They were written."""
        metrics = self.metrics
        for record in records:
            match record:
                case RequestMade():
                    metrics.requests_made += 1
                case RequestRuled(state=state):
                    self._ruled(record, state)
                case RequestUsed():
                    metrics.requests_used += 1
                case GrantRuled(state=state) if state in _GRANTS:
                    self._add(_GRANTS[state])
                case SignedIn():
                    metrics.sign_ins_ok += 1
                case SignInFailed():
                    metrics.sign_ins_failed += 1
                case _:
                    continue

    def _ruled(self, record: RequestRuled, state: str) -> None:
        name = f"requests_{state}"
        if name in ControlMetrics.__struct_fields__:
            self._add(name)
        self.metrics.glass_broken += record.break_glass
        asked = _asked_at(record.request)
        if state in _DECIDED and not record.by.startswith("grant:") and asked is not None:
            self.metrics.decided_after(max(0.0, record.time - asked))

    def _add(self, name: str) -> None:
        setattr(self.metrics, name, getattr(self.metrics, name) + 1)

    async def run(self, store: Store, workers: Callable[[], int]) -> None:
        """For ever. `workers`: how many are linked."""
        while True:
            self.metrics.workers_linked = workers()
            try:
                await self.look(store)
                self.metrics.store_reachable = 1
            except StoreUnavailable as error:
                self.metrics.store_reachable = 0
                log.debug("figures_postponed", reason=str(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self, store: Store) -> None:
        """What is in the store now. Raises StoreUnavailable."""
        async with store.transaction() as tx:
            self.metrics.requests_pending = (await tx.crowd(Who("", ""))).requests
            active = await tx.grants(state=GrantState.ACTIVE, proposed_by="", limit=GRANTS_MAX)
            self.metrics.grants_standing = len(active)
            rows = await tx.rows("SELECT state, count(*) FROM notices GROUP BY state")
        found = {str(state): int(count) for state, count in rows}
        self.metrics.notices_waiting = found.get("waiting", 0)
        self.metrics.notices_given_up = found.get("given_up", 0)
        self.metrics.notices_delivered = found.get("delivered", 0)


def _asked_at(id: str) -> float | None:
    """Unix seconds."""
    try:
        return int(id[:_ID_TIME_DIGITS], 16) / 1000
    except ValueError:
        return None
