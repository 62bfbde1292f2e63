"""Runs the micro-benchmarks (`bench/test_micro_*.py`) with pytest-benchmark. Called by
`bench.__main__`; each can be run alone with pytest, too.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.figures import Figure

HERE = Path(__file__).parent
AT_ONCE = 1000
"""Statements in one call of `test_micro_decision.test_hit`."""


def run() -> dict[str, Figure]:
    """-> `micro/<file>/<test>`: microseconds of one call, from the fastest to the slowest quartile;
    of one statement: `hit_us`, `miss_us`.

    Raises RuntimeError when one of them fails (they assert ceilings).
    """
    with tempfile.TemporaryDirectory(prefix="sallyport-bench-") as folder:
        report = Path(folder) / "micro.json"
        options = [
            "-q",
            "-p",
            "no:cacheprovider",
            "--benchmark-quiet",
            "--benchmark-columns=median",
        ]
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, f"--benchmark-json={report}", HERE],
            cwd=HERE.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"micro-benchmarks failed:\n{done.stdout[-4000:]}")
        benchmarks = json.loads(report.read_text())["benchmarks"]
    found = {_key(one["fullname"]): _figure(one["stats"]) for one in benchmarks}
    hit, miss = found["micro/decision/hit"], found["micro/decision/miss"]
    return found | {"hit_us": _each(hit, AT_ONCE), "miss_us": miss}


def _each(figure: Figure, count: int) -> Figure:
    return Figure(
        median=round(figure["median"] / count, 3),
        low=round(figure["low"] / count, 3),
        high=round(figure["high"] / count, 3),
        rounds=figure["rounds"],
    )


def _key(fullname: str) -> str:
    file, _, test = fullname.partition("::")
    return f"micro/{Path(file).stem.removeprefix('test_micro_')}/{test.removeprefix('test_')}"


def _figure(stats: dict[str, float]) -> Figure:
    return Figure(
        median=round(stats["median"] * 1e6, 3),
        low=round(stats["q1"] * 1e6, 3),
        high=round(stats["q3"] * 1e6, 3),
        rounds=int(stats["rounds"]),
    )
