"""Samples -> figures: medians over the rounds, ratios of medians, and the range of the ratios round
by round. Pure; called by `bench.__main__`.
"""

import statistics
from collections.abc import Sequence
from typing import TypedDict

from bench.samples import Sample


class Figure(TypedDict):
    """A ratio's `low` and `high` are those of single rounds; its `median` is one of medians."""

    median: float
    low: float
    high: float
    rounds: int


PROXIES = (
    *("pgbouncer", "pgbouncer-tx", "haproxy", "permissive", "governed", "asking"),
    *("pgbouncer-shared", "permissive-shared", "governed-shared"),
    *("pgbouncer-canned", "permissive-canned", "governed-canned", "governed-canned-two"),
)
TARGETS = ("direct", "direct-canned", *PROXIES)


class Results:
    """All samples of a run. Samples of one case and target stand in the order of the rounds.
    `peer` is the proxy that others are measured against."""

    def __init__(self, samples: Sequence[Sample], peer: str = "pgbouncer") -> None:
        self.peer = peer
        self._samples: dict[tuple[str, str], list[Sample]] = {}
        for sample in samples:
            self._samples.setdefault((sample.case, sample.target), []).append(sample)
        self.cases = list(dict.fromkeys(case for case, _ in self._samples))
        self.targets = {target for _, target in self._samples}

    def measures(self, case: str, target: str) -> list[str]:
        found = self._samples.get((case, target))
        return list(found[0].measures) if found else []

    def values(self, case: str, target: str, measure: str) -> list[float]:
        found = self._samples.get((case, target), ())
        return [s.measures[measure] for s in found if measure in s.measures]

    def plain(self, case: str, target: str, measure: str) -> Figure | None:
        return _figure(self.values(case, target, measure))

    def ratio(self, case: str, over: str, under: str, measure: str) -> Figure | None:
        """`over`'s median divided by `under`'s."""
        return _ratio(self.values(case, over, measure), self.values(case, under, measure))

    def between(self, over: tuple[str, str], under: tuple[str, str], measure: str) -> Figure | None:
        """The same of two (case, target)."""
        return _ratio(self.values(*over, measure), self.values(*under, measure))

    def added(self, case: str, target: str, reference: str) -> Figure | None:
        """Median latency that `target` adds to direct, against what `reference` adds."""
        direct = self.values(case, "direct", "p50_us")
        pairs = [self.values(case, name, "p50_us") for name in (target, reference)]
        if not all(pairs):
            return None
        ours, theirs = ([v - d for v, d in zip(p, direct, strict=True)] for p in pairs)
        return _ratio(ours, theirs)

    def figures(self) -> dict[str, Figure]:
        """Everything, under keys `case/target/measure` and the summarising keys."""
        found: dict[str, Figure | None] = {}
        for case in self.cases:
            for target in TARGETS:
                canned = target.endswith("-canned") * "-canned"
                for measure in self.measures(case, target):
                    key = f"{case}/{target}/{measure}"
                    found[key] = self.plain(case, target, measure)
                    for other in ("direct", self.peer):
                        if target != other + canned:
                            ratio = self.ratio(case, target, other + canned, measure)
                            found[f"{key}_vs_{other}"] = ratio
        found |= self._summary()
        return {key: figure for key, figure in found.items() if figure is not None}

    def _summary(self) -> dict[str, Figure | None]:
        """The keys by which the product is judged (bench/README.md)."""
        loaded = [c for c in self.cases if c.startswith("S-") and c.endswith(("-c8", "-c32"))]
        queries = [self.ratio(case, "governed", self.peer, "tps") for case in loaded]
        own = [self.ratio(case, "governed", "permissive", "tps") for case in loaded]
        masked, plain = "canned-text-masked", "canned-text-plain"
        governed = "governed-canned"
        return {
            "cpu_ratio": self.ratio("S-prepared-c8", "governed", self.peer, "cpu_us"),
            "qps_ratio": _lowest(queries),
            "added_p50_ratio": self.added("select1-one-cpu", "governed", self.peer),
            "permissive_ratio": _lowest(own),
            "miss_p99_ratio": self.ratio("misses", "governed", "pgbouncer", "p99_us"),
            "bulk_direct_ratio": self.ratio("bulk-text-masked", "governed", "direct", "rows_s"),
            "bulk_binary_direct_ratio": self.ratio(
                "bulk-binary-masked", "governed", "direct", "rows_s"
            ),
            "bulk_pgbouncer_ratio": self.ratio(masked, governed, "pgbouncer-canned", "rows_s"),
            "mask_ratio": self.between((masked, governed), (plain, governed), "rows_s"),
            "tls_connect_ratio": self.ratio("connect-tls", "governed", "pgbouncer", "tps"),
            "idle_bytes": self.plain("idle", "governed", "idle_bytes"),
            "two_workers_ratio": self.ratio(
                "canned-many", "governed-canned-two", governed, "rows_s"
            ),
        }


SUMMARY = (
    *("cpu_ratio", "qps_ratio", "added_p50_ratio", "permissive_ratio", "miss_p99_ratio"),
    *(
        "bulk_direct_ratio",
        "bulk_binary_direct_ratio",
        "bulk_pgbouncer_ratio",
        "mask_ratio",
        "tls_connect_ratio",
    ),
    *("idle_bytes", "two_workers_ratio", "hit_us", "miss_us"),
)


def _figure(values: Sequence[float]) -> Figure | None:
    if not values:
        return None
    return Figure(
        median=round(statistics.median(values), 4),
        low=round(min(values), 4),
        high=round(max(values), 4),
        rounds=len(values),
    )


def _ratio(over: Sequence[float], under: Sequence[float]) -> Figure | None:
    middle = statistics.median(under) if under else 0.0
    if not over or middle <= 0:
        return None
    each = [one / other for one, other in zip(over, under, strict=True) if other > 0]
    return Figure(
        median=round(statistics.median(over) / middle, 4),
        low=round(min(each), 4),
        high=round(max(each), 4),
        rounds=len(each),
    )


def _lowest(figures: Sequence[Figure | None]) -> Figure | None:
    known = [figure for figure in figures if figure is not None]
    return min(known, key=lambda figure: figure["median"]) if known else None
