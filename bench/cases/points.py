"""sysbench's oltp_point_select against one target: one SELECT by primary key after the other.

CPU per query leaves out logins: what a run of one query per client costs is taken off.
"""

import re
import subprocess
from dataclasses import dataclass

from bench.proc import cpu_seconds, resident_bytes
from bench.stage import Stage, Target
from bench.stage_mysql import connecting

MODES = {"text": "disable", "prepared": "auto"}
"""As sysbench calls them."""


@dataclass(frozen=True)
class PointSelects:
    """`mode`: text or prepared."""

    name: str
    mode: str
    clients: int

    def wants(self, target: Target) -> bool:
        return target.kind == "queries"

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]:
        """Raises RuntimeError when a query failed."""
        login_cpu, logged_in, _ = self._sysbench(
            stage, target, f"--events={self.clients}", "--time=0"
        )
        cpu, done, text = self._sysbench(stage, target, f"--time={seconds}", "--histogram=on")
        rate = re.search(r"queries:\s+\d+\s+\(([0-9.]+) per sec", text)
        if rate is None:
            raise RuntimeError(f"{self.name} on {target.name}: {text}")
        spread = [(float(ms), int(count)) for ms, count in HISTOGRAM.findall(text)]
        found = {
            "tps": float(rate.group(1)),
            "p50_us": _quantile(spread, 0.5) * 1000,
            "p99_us": _quantile(spread, 0.99) * 1000,
        }
        if target.roots:
            found["cpu_us"] = max(0.0, cpu - login_cpu) / max(1, done - logged_in) * 1e6
            found["rss_mib"] = resident_bytes(target.pids()) / 2**20
        return found

    def _sysbench(self, stage: Stage, target: Target, *options: str) -> tuple[float, int, str]:
        """-> (CPU seconds of the target, queries, what sysbench said)."""
        command = [
            *(stage.loader, "oltp_point_select", *connecting(target.port)),
            *(f"--threads={self.clients}", f"--db-ps-mode={MODES[self.mode]}", *options, "run"),
        ]
        before = cpu_seconds(target.pids())
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        cpu = cpu_seconds(target.pids()) - before
        count = re.search(r"total number of events:\s+(\d+)", done.stdout)
        failed = re.search(r"(FATAL|ignored errors:\s+[1-9])", done.stdout + done.stderr)
        if done.returncode or count is None or failed:
            said = done.stdout[-500:] + done.stderr[-1000:]
            raise RuntimeError(f"{self.name} on {target.name}: {said}")
        return cpu, int(count.group(1)), done.stdout


HISTOGRAM = re.compile(r"^\s+([0-9.]+) \|\**\s+(\d+)$", re.MULTILINE)
"""Milliseconds, and how many queries took about that long."""


def _quantile(spread: list[tuple[float, int]], part: float) -> float:
    """Of values that come so many times, lowest first."""
    left = part * sum(count for _, count in spread)
    for value, count in spread:
        left -= count
        if left <= 0:
            return value
    return 0.0
