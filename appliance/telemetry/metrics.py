"""The catalogue of everything that is counted, and the plain-integer registry a worker counts in.

Workers (`dataplane/*`) increment attributes (`metrics.rows += 12`) and send `snapshot()` with each
heartbeat; the supervisor adds snapshots up (`add_up`) and `control/admin` turns the sum into
Prometheus text (`families`). Rule: labels are bounded by this file: never SQL text, a principal, an
address or any other input.

Naming follows https://prometheus.io/docs/practices/naming/ : base units, `_total` for counters.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final, NamedTuple

import msgspec

PREFIX = "sallyport_"

Number = int | float

SECONDS_BOUNDS: Final = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)


class Histogram(msgspec.Struct):
    """Durations in seconds. `counts[i]` are those <= SECONDS_BOUNDS[i] and above the one before;
    the last entry is everything longer.
    """

    counts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(SECONDS_BOUNDS) + 1))
    seconds: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS_BOUNDS, seconds)] += 1
        self.seconds += seconds

    def add(self, counts: list[int], seconds: float) -> None:
        """`counts` as here; `seconds` is their sum."""
        self.counts = [mine + more for mine, more in zip(self.counts, counts, strict=True)]
        self.seconds += seconds


class Metrics(msgspec.Struct):
    """One worker's totals since its start. Every attribute has an entry in CATALOGUE (a test says
    so).
    """

    clients_accepted: int = 0
    clients_refused_limit: int = 0
    clients_refused_tls: int = 0
    clients_refused_protocol: int = 0
    logins_ok: int = 0
    logins_failed: int = 0
    logins_timeout: int = 0
    logins_pending: int = 0
    sessions: int = 0
    connections_cut_violation: int = 0
    connections_cut_invariant: int = 0
    connections_cut_plan: int = 0
    connections_cut_upstream: int = 0

    upstream_connects_ok: int = 0
    upstream_connects_failed: int = 0
    upstream_reused: int = 0
    upstream_kept: int = 0
    upstream_unkept: int = 0
    cancels_routed: int = 0
    cancels_unknown: int = 0

    statements_allowed: int = 0
    statements_denied: int = 0
    statements_held: int = 0
    statements_refused: int = 0
    statements_would_be_denied: int = 0
    statements_running: int = 0

    analyses_cached: int = 0
    analyses_inline: int = 0
    analyses_child: int = 0
    analysis_failures_syntax: int = 0
    analysis_failures_limit: int = 0
    analysis_failures_timeout: int = 0
    analysis_failures_crashed: int = 0
    analyzer_restarts: int = 0
    analyzer_queue: int = 0
    decisions_cached: int = 0
    decisions_evaluated: int = 0

    catalog_loads_ok: int = 0
    catalog_loads_failed: int = 0
    schema_leases: int = 0
    statements_leased: int = 0
    lessons_heard: int = 0
    parses_spared: int = 0

    rows: int = 0
    cells_masked: int = 0
    cells_sensitive_unmasked: int = 0
    cells_sampled: int = 0
    classifications_proposed: int = 0
    bytes_to_client: int = 0
    bytes_to_upstream: int = 0
    pauses_client: int = 0
    pauses_upstream: int = 0

    control_links: int = 0

    audit_records: int = 0
    audit_bytes: int = 0
    audit_failures: int = 0

    loop_lag_seconds: float = 0.0

    login_seconds: Histogram = msgspec.field(default_factory=Histogram)
    analysis_seconds: Histogram = msgspec.field(default_factory=Histogram)
    statement_seconds: Histogram = msgspec.field(default_factory=Histogram)
    added_seconds: Histogram = msgspec.field(default_factory=Histogram)

    def snapshot(self) -> dict[str, Number]:
        """Flat, for `Heartbeat.stats`: attribute -> value; a histogram gives one key per bucket and
        `|sum`.
        """
        flat: dict[str, Number] = {}
        for attribute in self.__struct_fields__:
            value = getattr(self, attribute)
            if isinstance(value, Histogram):
                for bound, count in zip((*SECONDS_BOUNDS, "+Inf"), value.counts, strict=True):
                    flat[f"{attribute}|{bound}"] = count
                flat[f"{attribute}|sum"] = value.seconds
            else:
                flat[attribute] = value
        return flat


class Family(NamedTuple):
    """One Prometheus metric. `kind`: counter, gauge (summed over workers), gauge_max, histogram."""

    name: str
    kind: str
    help: str
    label: str = ""
    """Label name, '' for none."""


class Series(NamedTuple):
    """Where an attribute of `Metrics` shows."""

    family: Family
    value: str = ""
    """Label value."""


_CLIENTS_REFUSED = Family(
    "clients_refused_total", "counter", "Connections turned away before a login.", "reason"
)
_LOGINS = Family("logins_total", "counter", "Logins by outcome.", "outcome")
_CUT = Family("connections_cut_total", "counter", "Sessions ended by the appliance.", "reason")
_CONNECTS = Family(
    "upstream_connects_total", "counter", "Connections opened to databases.", "outcome"
)
_POOLED = Family(
    "upstream_pool_total", "counter", "Pooled connections: reused, kept, or not fit to be kept.",
    "outcome",
)  # fmt: skip
_CANCELS = Family("cancels_total", "counter", "Cancel requests of clients.", "outcome")
_STATEMENTS = Family("statements_total", "counter", "Statements by what was decided.", "effect")
_ANALYSES = Family(
    "analyses_total", "counter", "Statement texts turned into facts, by where.", "place"
)
_ANALYSIS_FAILURES = Family(
    "analysis_failures_total", "counter", "Statement texts that could not be analysed.", "code"
)
_DECISIONS = Family("decisions_total", "counter", "Policy decisions, by how found.", "source")
_CATALOG_LOADS = Family(
    "catalog_loads_total", "counter", "Reads of a database's catalog.", "outcome"
)
_BYTES = Family("relayed_bytes_total", "counter", "Bytes written, by to whom.", "to")
_PAUSES = Family(
    "backpressure_pauses_total", "counter", "Times a peer was not read to let the other catch up.",
    "peer",
)  # fmt: skip

CATALOGUE: Final[Mapping[str, Series]] = {
    "clients_accepted": Series(
        Family("clients_accepted_total", "counter", "Client connections accepted.")
    ),
    "clients_refused_limit": Series(_CLIENTS_REFUSED, "limit"),
    "clients_refused_tls": Series(_CLIENTS_REFUSED, "tls"),
    "clients_refused_protocol": Series(_CLIENTS_REFUSED, "protocol"),
    "logins_ok": Series(_LOGINS, "ok"),
    "logins_failed": Series(_LOGINS, "failed"),
    "logins_timeout": Series(_LOGINS, "timeout"),
    "logins_pending": Series(Family("logins_pending", "gauge", "Clients that are logging in.")),
    "sessions": Series(Family("sessions", "gauge", "Client sessions open.")),
    "connections_cut_violation": Series(_CUT, "protocol_violation"),
    "connections_cut_invariant": Series(_CUT, "invariant"),
    "connections_cut_plan": Series(_CUT, "mask_plan"),
    "connections_cut_upstream": Series(_CUT, "upstream_lost"),
    "upstream_connects_ok": Series(_CONNECTS, "ok"),
    "upstream_connects_failed": Series(_CONNECTS, "failed"),
    "upstream_reused": Series(_POOLED, "reused"),
    "upstream_kept": Series(_POOLED, "kept"),
    "upstream_unkept": Series(_POOLED, "unkept"),
    "cancels_routed": Series(_CANCELS, "routed"),
    "cancels_unknown": Series(_CANCELS, "unknown"),
    "statements_allowed": Series(_STATEMENTS, "allow"),
    "statements_denied": Series(_STATEMENTS, "deny"),
    "statements_held": Series(_STATEMENTS, "hold"),
    "statements_refused": Series(_STATEMENTS, "refuse"),
    "statements_would_be_denied": Series(
        Family(
            "statements_observed_total", "counter", "Allowed statements that observed rules deny."
        )
    ),
    "statements_running": Series(
        Family("statements_running", "gauge", "Statements sent and not yet finished.")
    ),
    "analyses_cached": Series(_ANALYSES, "cache"),
    "analyses_inline": Series(_ANALYSES, "worker"),
    "analyses_child": Series(_ANALYSES, "analyzer"),
    "analysis_failures_syntax": Series(_ANALYSIS_FAILURES, "syntax"),
    "analysis_failures_limit": Series(_ANALYSIS_FAILURES, "limit"),
    "analysis_failures_timeout": Series(_ANALYSIS_FAILURES, "timeout"),
    "analysis_failures_crashed": Series(_ANALYSIS_FAILURES, "crashed"),
    "analyzer_restarts": Series(
        Family("analyzer_restarts_total", "counter", "Analyzer processes started anew.")
    ),
    "analyzer_queue": Series(
        Family("analyzer_queue", "gauge", "Statements waiting for an analyzer process.")
    ),
    "decisions_cached": Series(_DECISIONS, "cache"),
    "decisions_evaluated": Series(_DECISIONS, "evaluated"),
    "catalog_loads_ok": Series(_CATALOG_LOADS, "ok"),
    "catalog_loads_failed": Series(_CATALOG_LOADS, "failed"),
    "schema_leases": Series(
        Family("schema_leases_total", "counter", "Times that a schema was held as it is.")
    ),
    "statements_leased": Series(
        Family("statements_leased_total", "counter", "Statements sent under that, without a check.")
    ),
    "lessons_heard": Series(
        Family("lessons_heard_total", "counter", "Texts of which a session learned from another.")
    ),
    "parses_spared": Series(
        Family("parses_spared_total", "counter", "Parses that the server did not have to do again.")
    ),
    "rows": Series(Family("rows_total", "counter", "Result rows sent to clients.")),
    "cells_masked": Series(Family("cells_masked_total", "counter", "Cells masked on the wire.")),
    "cells_sensitive_unmasked": Series(
        Family(
            "cells_sensitive_unmasked_total", "counter", "Classified cells that left unmasked."
        )
    ),
    "cells_sampled": Series(
        Family("cells_sampled_total", "counter", "Unclassified cells looked at after they left.")
    ),
    "classifications_proposed": Series(
        Family(
            "classifications_proposed_total", "counter", "Unclassified columns that ought not be."
        )
    ),
    "bytes_to_client": Series(_BYTES, "client"),
    "bytes_to_upstream": Series(_BYTES, "upstream"),
    "pauses_client": Series(_PAUSES, "client"),
    "pauses_upstream": Series(_PAUSES, "upstream"),
    "control_links": Series(
        Family("worker_control_links", "gauge", "Workers whose link to the control process is up.")
    ),
    "audit_records": Series(Family("audit_records_total", "counter", "Audit records appended.")),
    "audit_bytes": Series(Family("audit_written_bytes_total", "counter", "Audit bytes appended.")),
    "audit_failures": Series(
        Family(
            "audit_failures_total", "counter", "Appends to the audit log that failed (refusals)."
        )
    ),
    "loop_lag_seconds": Series(
        Family("loop_lag_seconds", "gauge_max", "Longest event loop delay since the last beat.")
    ),
    "login_seconds": Series(
        Family("login_duration_seconds", "histogram", "From accept to ready.")
    ),
    "analysis_seconds": Series(
        Family("analysis_duration_seconds", "histogram", "From text to facts, uncached.")
    ),
    "statement_seconds": Series(
        Family("statement_duration_seconds", "histogram", "From text received to reply finished.")
    ),
    "added_seconds": Series(
        Family(
            "added_latency_seconds", "histogram",
            "From a client's bytes to their forwarding: decided, recorded. Without what was known"
            " to the last bit (faster), or waited for something.",
        )
    ),
}  # fmt: skip


def _series(key: str) -> Series | None:
    return CATALOGUE.get(key.partition("|")[0])


def add_up(snapshots: Iterable[Mapping[str, Number]]) -> dict[str, Number]:
    """The sum of several workers' snapshots (the maximum where the catalogue says so). Keys that
    the catalogue does not know are dropped: labels stay bounded whatever a worker sends.
    """
    total: dict[str, Number] = {}
    for snapshot in snapshots:
        for key, value in snapshot.items():
            series = _series(key)
            if series is None:
                continue
            if series.family.kind == "gauge_max":
                total[key] = max(total.get(key, 0), value)
            else:
                total[key] = total.get(key, 0) + value
    return total


def lasting(snapshot: Mapping[str, Number]) -> dict[str, Number]:
    """What of a dead worker's last snapshot goes on counting: everything but gauges."""
    return {
        key: value
        for key, value in snapshot.items()
        if (series := _series(key)) and series.family.kind in ("counter", "histogram")
    }


class Sample(NamedTuple):
    """One exported value of a family."""

    value: Number
    label: str = ""


class Exported(NamedTuple):
    """A family with its values, ready for an exposition format."""

    family: Family
    samples: tuple[Sample, ...] = ()
    buckets: tuple[tuple[str, int], ...] = ()
    """Of a histogram: (upper bound in seconds, cumulative count), '+Inf' last."""
    seconds: float = 0.0
    """Of a histogram: sum."""


def families(total: Mapping[str, Number]) -> list[Exported]:
    """A sum of snapshots as families, in the catalogue's order; absent attributes show as 0."""
    grouped: dict[Family, list[Sample]] = {}
    exported: list[Exported] = []
    for attribute, (family, label) in CATALOGUE.items():
        if family.kind == "histogram":
            exported.append(_exported_histogram(attribute, family, total))
        elif family in grouped:
            grouped[family].append(Sample(total.get(attribute, 0), label))
        else:
            grouped[family] = [Sample(total.get(attribute, 0), label)]
    return [Exported(family, tuple(found)) for family, found in grouped.items()] + exported


def _exported_histogram(attribute: str, family: Family, total: Mapping[str, Number]) -> Exported:
    bounds = [str(bound) for bound in (*SECONDS_BOUNDS, "+Inf")]
    counts = accumulate(int(total.get(f"{attribute}|{bound}", 0)) for bound in bounds)
    seconds = float(total.get(f"{attribute}|sum", 0.0))
    return Exported(family, buckets=tuple(zip(bounds, counts, strict=True)), seconds=seconds)
