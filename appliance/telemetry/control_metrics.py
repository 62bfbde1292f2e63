"""What the control process counts: requests and how long they waited, grants, sign-ins, notices,
links to workers.

Counted by `control/figures`, sent with each heartbeat, shown by `control/exposition` beside the
workers' figures (`metrics`, whose vocabulary this uses). Rule: labels are of this file; what is
kept in the store (gauges) is the same on every appliance that uses it.
"""

from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate
from typing import Final

import msgspec

from appliance.telemetry.metrics import Exported, Family, Number, Sample, Series

WAIT_SECONDS_BOUNDS: Final = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600)
"""People decide, not machines."""
_BOUNDS = tuple(str(bound) for bound in (*WAIT_SECONDS_BOUNDS, "+Inf"))


class ControlMetrics(msgspec.Struct):
    """Of one control process since its start; gauges as they were looked at last."""

    requests_made: int = 0
    requests_approved: int = 0
    requests_denied: int = 0
    requests_expired: int = 0
    requests_withdrawn: int = 0
    requests_used: int = 0
    requests_pending: int = 0
    glass_broken: int = 0
    grants_agreed: int = 0
    grants_denied: int = 0
    grants_revoked: int = 0
    grants_expired: int = 0
    grants_standing: int = 0
    sign_ins_ok: int = 0
    sign_ins_failed: int = 0
    notices_waiting: int = 0
    notices_given_up: int = 0
    notices_delivered: int = 0
    workers_linked: int = 0
    store_reachable: int = 0
    chains_doubted: int = 0
    wait_counts: list[int] = msgspec.field(default_factory=lambda: [0] * len(_BOUNDS))
    wait_seconds: float = 0.0

    def decided_after(self, seconds: float) -> None:
        self.wait_counts[bisect_left(WAIT_SECONDS_BOUNDS, seconds)] += 1
        self.wait_seconds += seconds

    def snapshot(self) -> dict[str, Number]:
        """Flat, for `Heartbeat.stats`."""
        flat: dict[str, Number] = {name: getattr(self, name) for name in CONTROL_CATALOGUE}
        flat |= {f"wait|{bound}": n for bound, n in zip(_BOUNDS, self.wait_counts, strict=True)}
        flat["wait|sum"] = self.wait_seconds
        return flat


_REQUESTS = Family(
    "requests_total", "counter", "Requests for approval, by what came of them.", "state"
)
_GRANTS = Family("grants_total", "counter", "Standing grants, by what was decided.", "state")
_SIGN_INS = Family("sign_ins_total", "counter", "Sign-ins at API and console.", "outcome")
_NOTICES = Family("notices", "gauge", "Notices in the store, by what became of them.", "state")

CONTROL_CATALOGUE: Final[Mapping[str, Series]] = {
    "requests_made": Series(_REQUESTS, "made"),
    "requests_approved": Series(_REQUESTS, "approved"),
    "requests_denied": Series(_REQUESTS, "denied"),
    "requests_expired": Series(_REQUESTS, "expired"),
    "requests_withdrawn": Series(_REQUESTS, "withdrawn"),
    "requests_used": Series(_REQUESTS, "used"),
    "requests_pending": Series(
        Family("requests_pending", "gauge", "Requests in the store that nobody has decided on.")
    ),
    "glass_broken": Series(
        Family("break_glass_total", "counter", "Requests approved by whoever made them.")
    ),
    "grants_agreed": Series(_GRANTS, "active"),
    "grants_denied": Series(_GRANTS, "denied"),
    "grants_revoked": Series(_GRANTS, "revoked"),
    "grants_expired": Series(_GRANTS, "expired"),
    "grants_standing": Series(Family("grants_standing", "gauge", "Standing grants in force.")),
    "sign_ins_ok": Series(_SIGN_INS, "ok"),
    "sign_ins_failed": Series(_SIGN_INS, "failed"),
    "notices_waiting": Series(_NOTICES, "waiting"),
    "notices_given_up": Series(_NOTICES, "given_up"),
    "notices_delivered": Series(_NOTICES, "delivered"),
    "workers_linked": Series(
        Family("control_links", "gauge", "Workers that the control process talks with.")
    ),
    "chains_doubted": Series(
        Family("audit_chains_doubted", "gauge", "Audit chains that are not what control has seen.")
    ),
    "store_reachable": Series(
        Family("control_store_reachable", "gauge", "Whether the store answered when asked last.")
    ),
}
_WAIT = Family(
    "request_wait_seconds", "histogram", "From a request to the decision on it by somebody."
)


def control_families(told: Mapping[str, Number]) -> list[Exported]:
    """A snapshot as families; what it does not say shows as 0, what is not known is left out."""
    grouped: dict[Family, list[Sample]] = {}
    for name, (family, label) in CONTROL_CATALOGUE.items():
        grouped.setdefault(family, []).append(Sample(told.get(name, 0), label))
    counts = accumulate(int(told.get(f"wait|{bound}", 0)) for bound in _BOUNDS)
    buckets = tuple(zip(_BOUNDS, counts, strict=True))
    waited = Exported(_WAIT, buckets=buckets, seconds=float(told.get("wait|sum", 0.0)))
    return [Exported(family, tuple(found)) for family, found in grouped.items()] + [waited]
