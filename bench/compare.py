"""`python bench/compare.py --against bench/results/baseline.json`: what got worse since.

Compares ratios only (machines differ). Worse is a median that is worse, where the intervals in
which the two medians are (some 95%) have nothing in common; and what reached its must (MUSTS) and
does not any more. Where there are not six rounds of both, an old range of rounds and `--tolerance`
stand in for the intervals. Exit status 1 when anything is worse, 2 when nothing can be compared.
"""

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.document import Document, Unreadable, read
from bench.figures import MUSTS, Figure, Results

RESULTS = Path(__file__).with_name("results")
MORE_IS_BETTER = (
    *("tps_vs_direct", "tps_vs_pgbouncer", "rows_s_vs_direct", "rows_s_vs_pgbouncer"),
    *("qps_ratio", "permissive_ratio", "bulk_direct_ratio", "bulk_pgbouncer_ratio", "mask_ratio"),
    *("tls_connect_ratio", "two_workers_ratio", "tps_vs_haproxy", "rows_s_vs_haproxy"),
    *("bulk_binary_direct_ratio",),
)
LESS_IS_BETTER = (
    *("cpu_us_vs_pgbouncer", "p50_us_vs_pgbouncer", "cpu_ratio", "added_p50_ratio"),
    *("miss_p99_ratio", "idle_bytes", "hit_us", "miss_us", "cpu_us_vs_haproxy"),
    *("p50_us_vs_haproxy",),
)
THEIRS = re.compile(r"/(pgbouncer|haproxy|direct)(-\w+)?/")
"""Figures of others."""
MISSED = 0.025
"""How likely a median may be beyond one end of its interval."""
NAMED_MAX = 10


class Interval(NamedTuple):
    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.3f}–{self.high:.3f}]"


class Side(NamedTuple):
    """One of the two files' values of a figure. `each`: of single rounds, if they are known."""

    figure: Figure
    each: Sequence[float] = ()

    @property
    def median(self) -> float:
        return self.figure["median"]


class Verdict(NamedTuple):
    """`word`: WORSE, better, or '' (no difference that can be told); `ground` is for people."""

    word: str
    ground: str = ""
    by_range: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, default=RESULTS / "baseline.json")
    parser.add_argument("--results", type=Path, default=RESULTS / "latest.json")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.15,
        help="of what has fewer than six rounds; 0.15 = 15 per cent (default)",
    )
    options = parser.parse_args(arguments)
    try:
        old, new = read(options.against), read(options.results)
    except Unreadable as error:
        print(f"bench.compare: {error}", file=sys.stderr)
        return 2
    found = {
        key: judge(key, was, now, options.tolerance)
        for key, (was, now) in _sides(old, new).items()
        if _is_judged(key)
    }
    if not found:
        print(
            f"bench.compare: {options.against} and {options.results} have no ratio in common",
            file=sys.stderr,
        )
        return 2
    return _told(old, new, found)


def _told(old: Document, new: Document, found: dict[str, Verdict]) -> int:
    """-> the exit status"""
    for key, verdict in found.items():
        if verdict.word:
            moved = f"{old.figures[key]['median']:.3f} -> {new.figures[key]['median']:.3f}"
            print(f"{verdict.word:6} {key}: {moved} {verdict.ground}")
    if missing := sorted(old.figures.keys() - new.figures.keys()):
        more = f" and {len(missing) - NAMED_MAX} more" if len(missing) > NAMED_MAX else ""
        names = ", ".join(missing[:NAMED_MAX])
        print(f"{len(missing)} figures of the baseline are missing: {names}{more}")
    if rough := [key for key, verdict in found.items() if verdict.by_range]:
        print(f"{len(rough)} judged by range and tolerance only, for want of six rounds of both")
    worse = sum(verdict.word == "WORSE" for verdict in found.values())
    print(f"{worse} worse, of {len(found)} ratios in both")
    return 1 if worse else 0


def judge(key: str, old: Side, new: Side, tolerance: float) -> Verdict:
    more = key.rpartition("/")[2] in MORE_IS_BETTER
    if key in MUSTS and _reaches(key, old.median) and not _reaches(key, new.median):
        return Verdict("WORSE", f"(must be {'≥' if more else '≤'} {MUSTS[key][0]:g})")
    word = "better" if (new.median > old.median) == more else "WORSE"
    before, after = interval(old.each), interval(new.each)
    if before is None or after is None:
        inside = old.figure["low"] <= new.median <= old.figure["high"]
        near = abs(new.median - old.median) <= tolerance * abs(old.median)
        return Verdict("" if inside or near else word, "(by its range of rounds)", by_range=True)
    rose, fell = before.high < after.low, after.high < before.low
    told = rose if new.median > old.median else fell
    return Verdict(word if told else "", f"({before} -> {after})")


def interval(values: Sequence[float]) -> Interval | None:
    """In which the median of what gave these values is, with 95% at least, whatever their
    distribution: between two of them in their order, by the binomial distribution (the 4th and the
    12th of 15). None = too few."""
    count, ordered = len(values), sorted(values)
    below, outside = 0, 0.5**count
    while outside <= MISSED and below < count // 2:
        below += 1
        outside += math.comb(count, below) * 0.5**count
    return Interval(ordered[below - 1], ordered[-below]) if below else None


def _is_judged(key: str) -> bool:
    measure = key.rpartition("/")[2]
    return measure in MORE_IS_BETTER + LESS_IS_BETTER and THEIRS.search(key) is None


def _reaches(key: str, value: float) -> bool:
    must, more = MUSTS[key]
    return value >= must if more else value <= must


def _sides(old: Document, new: Document) -> dict[str, tuple[Side, Side]]:
    """Figures that both have."""
    was, now = _results(old), _results(new)
    return {
        key: (Side(old.figures[key], was.each(key)), Side(new.figures[key], now.each(key)))
        for key in sorted(old.figures.keys() & new.figures.keys())
    }


def _results(document: Document) -> Results:
    on_mysql = any(key.endswith("_vs_haproxy") for key in document.figures)
    return Results(document.samples, "haproxy" if on_mysql else "pgbouncer")


if __name__ == "__main__":
    sys.exit(main())
