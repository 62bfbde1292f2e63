"""Samples -> figures: medians over the rounds, ratios of medians, and the range of the ratios round
by round. Pure; called by `bench.__main__`.
"""

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

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


class Key(NamedTuple):
    """A figure by which the product is judged (bench/README.md): the lowest over the cases that
    match `cases`."""

    name: str
    cases: str
    measure: str
    over: str
    under: str
    """'' = the measure of `over` itself."""
    under_case: str = ""
    """Where it is not the same."""
    added: bool = False
    """What the two add to direct."""


PEER = "the peer"
LOADED = r"S-\w+-c(8|32)"
KEYS = (
    Key("cpu_ratio", "S-prepared-c8", "cpu_us", "governed", PEER),
    Key("qps_ratio", LOADED, "tps", "governed", PEER),
    Key("added_p50_ratio", "select1-one-cpu", "p50_us", "governed", PEER, added=True),
    Key("permissive_ratio", LOADED, "tps", "governed", "permissive"),
    Key("miss_p99_ratio", "misses", "p99_us", "governed", PEER),
    Key("bulk_direct_ratio", "bulk-text-masked", "rows_s", "governed", "direct"),
    Key("bulk_binary_direct_ratio", "bulk-binary-masked", "rows_s", "governed", "direct"),
    Key(
        *("bulk_pgbouncer_ratio", "canned-text-masked", "rows_s"),
        *("governed-canned", "pgbouncer-canned"),
    ),
    Key(
        *("mask_ratio", "canned-text-masked", "rows_s", "governed-canned", "governed-canned"),
        under_case="canned-text-plain",
    ),
    Key("tls_connect_ratio", "connect-tls", "tps", "governed", PEER),
    Key("idle_bytes", "idle", "idle_bytes", "governed", ""),
    Key("two_workers_ratio", "canned-many", "rows_s", "governed-canned-two", "governed-canned"),
)
SUMMARY = (*(key.name for key in KEYS), "hit_us", "miss_us")
MUSTS = {
    "cpu_ratio": (1.15, False),
    "qps_ratio": (0.90, True),
    "added_p50_ratio": (1.15, False),
    "permissive_ratio": (0.95, True),
    "miss_p99_ratio": (1.5, False),
    "bulk_direct_ratio": (0.85, True),
    "bulk_pgbouncer_ratio": (1.3, True),
    "mask_ratio": (0.88, True),
    "tls_connect_ratio": (0.8, True),
    "idle_bytes": (16384.0, False),
    "hit_us": (3.0, False),
    "miss_us": (600.0, False),
}
"""Figure -> (what it must be, whether more is better)."""


def judged(case: str, target: str, peer: str) -> bool:
    """Whether one of the KEYS is made of it."""
    name = PEER if target == peer else target
    for key in KEYS:
        over = re.fullmatch(key.cases, case) and (
            name == key.over or (key.added and name == "direct")
        )
        under = re.fullmatch(key.under_case or key.cases, case) and name == key.under
        if over or under:
            return True
    return False


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

    def values(self, case: str, target: str, measure: str) -> dict[int, float]:
        """By round."""
        found = self._samples.get((case, target), ())
        return {s.round: s.measures[measure] for s in found if measure in s.measures}

    def plain(self, case: str, target: str, measure: str) -> Figure | None:
        return _figure(list(self.values(case, target, measure).values()))

    def ratio(self, case: str, over: str, under: str, measure: str) -> Figure | None:
        """`over`'s median divided by `under`'s."""
        return _ratio(self.values(case, over, measure), self.values(case, under, measure))

    def key(self, key: Key) -> Figure | None:
        found = self._lowest(key)
        return found[1] if found else None

    def each(self, name: str) -> list[float]:
        """What single rounds gave for the figure that `figures` has by this name."""
        for key in KEYS:
            if key.name == name:
                found = self._lowest(key)
                return _quotients(*self._sides(key, found[0])) if found else []
        case, _, rest = name.partition("/")
        target, _, measured = rest.partition("/")
        measure, _, other = measured.partition("_vs_")
        over = self.values(case, target, measure)
        if not other:
            return list(over.values())
        return _quotients(over, self.values(case, other + _canned(target), measure))

    def _lowest(self, key: Key) -> tuple[str, Figure] | None:
        """-> (the case, its figure)"""
        found = ((case, self._one(key, case)) for case in self.cases)
        known = [(case, figure) for case, figure in found if figure is not None]
        return min(known, key=lambda one: one[1]["median"]) if known else None

    def _one(self, key: Key, case: str) -> Figure | None:
        if not re.fullmatch(key.cases, case):
            return None
        over, under = self._sides(key, case)
        return _figure(list(over.values())) if under is None else _ratio(over, under)

    def _sides(self, key: Key, case: str) -> tuple[dict[int, float], dict[int, float] | None]:
        """What is divided by what, by round; by None = not at all."""
        over = self.values(case, key.over, key.measure)
        if not key.under:
            return over, None
        other = self.peer if key.under == PEER else key.under
        under = self.values(key.under_case or case, other, key.measure)
        if key.added:
            direct = self.values(case, "direct", key.measure)
            return _beyond(over, direct), _beyond(under, direct)
        return over, under

    def figures(self) -> dict[str, Figure]:
        """Everything, under keys `case/target/measure` and the summarising keys."""
        found: dict[str, Figure | None] = {}
        for case in self.cases:
            for target in TARGETS:
                canned = _canned(target)
                for measure in self.measures(case, target):
                    key = f"{case}/{target}/{measure}"
                    found[key] = self.plain(case, target, measure)
                    for other in ("direct", self.peer):
                        if target != other + canned:
                            ratio = self.ratio(case, target, other + canned, measure)
                            found[f"{key}_vs_{other}"] = ratio
        found |= {key.name: self.key(key) for key in KEYS}
        return {key: figure for key, figure in found.items() if figure is not None}


def _canned(target: str) -> str:
    """How those are called that are in front of the same."""
    return target.endswith("-canned") * "-canned"


def _beyond(values: Mapping[int, float], least: Mapping[int, float]) -> dict[int, float]:
    return {number: values[number] - least[number] for number in values.keys() & least.keys()}


def _figure(values: Sequence[float]) -> Figure | None:
    if not values:
        return None
    return Figure(
        median=round(statistics.median(values), 4),
        low=round(min(values), 4),
        high=round(max(values), 4),
        rounds=len(values),
    )


def _ratio(over: Mapping[int, float], under: Mapping[int, float]) -> Figure | None:
    """Of the rounds that had both."""
    both = sorted(over.keys() & under.keys())
    middle = statistics.median(under[n] for n in both) if both else 0.0
    if middle <= 0:
        return None
    each = _quotients(over, under)
    return Figure(
        median=round(statistics.median(over[n] for n in both) / middle, 4),
        low=round(min(each), 4),
        high=round(max(each), 4),
        rounds=len(each),
    )


def _quotients(over: Mapping[int, float], under: Mapping[int, float] | None) -> list[float]:
    """Of the rounds that had both; without `under`, all that there are."""
    if under is None:
        return list(over.values())
    return [over[n] / under[n] for n in sorted(over.keys() & under.keys()) if under[n] > 0]
