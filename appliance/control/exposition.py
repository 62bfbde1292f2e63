"""The state of the service as Prometheus text. Called by `control/admin` for each scrape.

Rule: families and labels come from `telemetry/metrics` and from the configuration (target names),
never from clients.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import appliance
from appliance.telemetry.control_metrics import control_families
from appliance.telemetry.log import lines_dropped
from appliance.telemetry.metrics import PREFIX, Exported, Number, families

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Report(msgspec.Struct, frozen=True):
    """The service at one moment."""

    checks: Mapping[str, bool]
    """What readiness takes: name -> fulfilled."""
    totals: Mapping[str, Number]
    """Sum of the workers' snapshots."""
    processes: Mapping[str, int]
    """Name -> process id."""
    workers_ready: int
    workers: int
    restarts: int
    reloads: Mapping[str, int]
    """Outcome -> count."""
    generation: int
    """Of the documents in use."""
    targets: Mapping[str, bool]
    """Name -> reachable, as far as known."""
    control: bool | None = None
    """Whether the control process is ready; None = none is configured here."""
    control_figures: Mapping[str, Number] | None = None
    """Its snapshot; None = it has none, or none is configured here."""


def exposition(report: Report) -> bytes:
    """Text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_ReportCollector(report))
    return generate_latest(registry)


class _ReportCollector(Collector):
    def __init__(self, report: Report) -> None:
        self._report = report

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        yield from (_metric(exported) for exported in families(self._report.totals))
        if self._report.control_figures is not None:
            yield from map(_metric, control_families(self._report.control_figures))
        yield from _service_metrics(self._report)


def _metric(exported: Exported) -> Metric:
    family = exported.family
    name = PREFIX + family.name
    if family.kind == "histogram":
        buckets = [(bound, float(count)) for bound, count in exported.buckets]
        histogram = HistogramMetricFamily(name, family.help)
        histogram.add_metric([], buckets, exported.seconds)
        return histogram
    labels = [family.label] if family.label else []
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(name, family.help, labels=labels)
    for sample in exported.samples:
        metric.add_metric([sample.label] if labels else [], sample.value)
    return metric


def _service_metrics(report: Report) -> Iterable[Metric]:
    build = GaugeMetricFamily(f"{PREFIX}build_info", "Version in use.", labels=["version"])
    build.add_metric([appliance.__version__], 1)
    yield build
    yield GaugeMetricFamily(f"{PREFIX}workers", "Workers wanted.", value=report.workers)
    yield GaugeMetricFamily(
        f"{PREFIX}workers_ready", "Workers that accept clients.", value=report.workers_ready
    )
    yield CounterMetricFamily(
        f"{PREFIX}worker_restarts_total", "Workers started anew.", value=report.restarts
    )
    yield GaugeMetricFamily(
        f"{PREFIX}configuration_generation",
        "Grows with each accepted reload.",
        value=report.generation,
    )
    yield CounterMetricFamily(
        f"{PREFIX}log_lines_dropped_total",
        "Log lines of the supervisor nobody read in time.",
        value=lines_dropped(),
    )
    yield _labelled(CounterMetricFamily, "reloads_total", "Reloads.", "outcome", report.reloads)
    yield _labelled(
        GaugeMetricFamily,
        "target_reachable",
        "Whether the last attempt to reach a database succeeded.",
        "target",
        {name: int(reachable) for name, reachable in report.targets.items()},
    )
    yield _labelled(
        GaugeMetricFamily,
        "ready_check",
        "What readiness takes; 1 = fulfilled.",
        "check",
        {name: int(fulfilled) for name, fulfilled in report.checks.items()},
    )
    yield _labelled(
        GaugeMetricFamily,
        "resident_memory_bytes",
        "Memory of each process.",
        "process",
        {name: resident_bytes(pid) for name, pid in report.processes.items()},
    )


def _labelled(
    kind: type[CounterMetricFamily] | type[GaugeMetricFamily],
    name: str,
    text: str,
    label: str,
    values: Mapping[str, int],
) -> Metric:
    metric = kind(PREFIX + name, text, labels=[label])
    for value, number in values.items():
        metric.add_metric([value], number)
    return metric


def resident_bytes(pid: int) -> int:
    """Resident set of a process (proc(5), statm), 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return 0
