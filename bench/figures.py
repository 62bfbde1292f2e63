"""Samples -> figures: medians over the rounds, ratios of medians, and the range of the ratios round
by round. Pure; called by `bench.__main__`.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import TypedDict

from bench.load import Sample


class Figure(TypedDict):
    """A ratio's `low` and `high` are those of single rounds; its `median` is one of medians."""

    median: float
    low: float
    high: float
    rounds: int


Value = Callable[[Sample], float]
MEASURES: dict[str, Value] = {
    "tps": lambda s: s.tps,
    "p50_us": lambda s: s.p50_us,
    "p99_us": lambda s: s.p99_us,
    "cpu_us": lambda s: s.cpu_us,
    "rss_mib": lambda s: s.rss_mib,
}
PROXIES = ("pgbouncer", "permissive", "governed")


class Results:
    """All samples of a run. Samples of one case and target stand in the order of the rounds."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples: dict[tuple[str, str], list[Sample]] = {}
        for sample in samples:
            self._samples.setdefault((sample.case, sample.target), []).append(sample)
        self.cases = list(dict.fromkeys(case for case, _ in self._samples))
        self.targets = {target for _, target in self._samples}

    def values(self, case: str, target: str, value: Value) -> list[float]:
        return [value(sample) for sample in self._samples.get((case, target), ())]

    def plain(self, case: str, target: str, measure: str) -> Figure | None:
        return _figure(self.values(case, target, MEASURES[measure]))

    def ratio(self, case: str, over: str, under: str, measure: str) -> Figure | None:
        """`over`'s median divided by `under`'s."""
        value = MEASURES[measure]
        return _ratio(self.values(case, over, value), self.values(case, under, value))

    def added(self, case: str, target: str, reference: str) -> Figure | None:
        """Median latency that `target` adds to direct, against what `reference` adds."""
        direct = self.values(case, "direct", MEASURES["p50_us"])
        pairs = [self.values(case, name, MEASURES["p50_us"]) for name in (target, reference)]
        if not all(pairs):
            return None
        ours, theirs = ([v - d for v, d in zip(p, direct, strict=True)] for p in pairs)
        return _ratio(ours, theirs)

    def figures(self) -> dict[str, Figure]:
        """Everything, under keys `case/target/measure` and the summarising keys."""
        found: dict[str, Figure | None] = {}
        for case in self.cases:
            for target in ("direct", *PROXIES):
                for measure in MEASURES:
                    if target != "direct" or measure in ("tps", "p50_us", "p99_us"):
                        found[f"{case}/{target}/{measure}"] = self.plain(case, target, measure)
                found[f"{case}/{target}/tps_vs_direct"] = self.ratio(case, target, "direct", "tps")
                for measure in ("tps", "p50_us", *(("cpu_us",) if target != "direct" else ())):
                    key = f"{case}/{target}/{measure}_vs_pgbouncer"
                    found[key] = self.ratio(case, target, "pgbouncer", measure)
        found |= self._summary()
        return {key: figure for key, figure in found.items() if figure is not None}

    def _summary(self) -> dict[str, Figure | None]:
        loaded = [case for case in self.cases if case.startswith("S-") and case.endswith("-c8")]
        queries = [self.ratio(case, "governed", "pgbouncer", "tps") for case in loaded]
        own = [self.ratio(case, "governed", "permissive", "tps") for case in loaded]
        return {
            "cpu_ratio": self.ratio("S-prepared-c8", "governed", "pgbouncer", "cpu_us"),
            "qps_ratio": _lowest(queries),
            "added_p50_ratio": self.added("select1-simple-c1", "governed", "pgbouncer"),
            "permissive_ratio": _lowest(own),
        }


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
