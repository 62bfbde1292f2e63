"""`python bench/compare.py --against bench/results/baseline.json`: what got worse since.

Compares ratios only (machines differ), and calls worse what moved by more than `--tolerance` and
out of the range of the baseline's rounds. Exit status 1 when anything did.
"""

import argparse
import json
import re
import sys
from pathlib import Path

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


THEIRS = re.compile("/(pgbouncer|haproxy|direct)/")
"""Figures of others."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, default=RESULTS / "baseline.json")
    parser.add_argument("--results", type=Path, default=RESULTS / "latest.json")
    parser.add_argument("--tolerance", type=float, default=0.15, help="0.15 = 15 per cent")
    options = parser.parse_args()
    old, new = (json.loads(p.read_text())["figures"] for p in (options.against, options.results))
    worse = 0
    for key in sorted(old.keys() & new.keys()):
        verdict = judge(key, old[key], new[key], options.tolerance)
        if verdict:
            worse += verdict == "WORSE"
            print(f"{verdict:6} {key}: {old[key]['median']:.3f} -> {new[key]['median']:.3f}")
    print(f"{worse} worse, of {len(old.keys() & new.keys())} figures in both")
    return 1 if worse else 0


def judge(key: str, old: dict[str, float], new: dict[str, float], tolerance: float) -> str:
    """'WORSE', 'better' or '' (the same, or not a ratio of ours)."""
    measure = key.rpartition("/")[2]
    if measure not in MORE_IS_BETTER + LESS_IS_BETTER or THEIRS.search(key):
        return ""
    change = new["median"] / old["median"] - 1
    inside = old["low"] <= new["median"] <= old["high"]
    if inside or abs(change) <= tolerance:
        return ""
    return "better" if (change > 0) == (measure in MORE_IS_BETTER) else "WORSE"


if __name__ == "__main__":
    sys.exit(main())
