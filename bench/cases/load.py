"""pgbench against one target.

Logins, and what each session's first statements cost, are left out (but where they are what is
measured): rates and latencies are of what ends behind the run's first seconds (`_warm_seconds`),
and from the CPU what a run of one transaction per client costs is taken off.
"""

import contextlib
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.proc import cpu_seconds, resident_bytes, tree
from bench.stage import DATABASE, PASSWORD, USER, Stage, Target

ONE_CPU = {0}
MUCH = 10
"""Transactions of each client that make a run worth anything."""
SECONDS_MAX = 30


@dataclass(frozen=True)
class Pgbench:
    """`script` '' is pgbench's own -S (one SELECT by primary key)."""

    name: str
    mode: str
    clients: int
    script: str = ""
    one_cpu: bool = False
    """Client, proxy and database on one processor: latency without waiting for another to wake."""
    connecting: bool = False
    """A new connection for every query."""
    tls: bool = False
    kind: str = "queries"

    def wants(self, target: Target) -> bool:
        able = (target.tls or not self.tls) and (target.prepared or self.mode != "prepared")
        return target.kind == self.kind and able

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]:
        """Raises RuntimeError when a transaction failed."""
        with (
            _pinned([stage.server_pid, *target.roots]) if self.one_cpu else _anywhere(),
            tempfile.TemporaryDirectory(prefix="sallyport-bench-") as folder,
        ):
            place = Path(folder)
            login_cpu, logged_in = 0.0, 0
            if not self.connecting:
                login_cpu, logged_in, _ = self._pgbench(stage, target, ["-t", "1"], place)
            for log in place.glob("log*"):
                log.unlink()
            length = seconds + self._warm_seconds
            cpu, done, tps = self._pgbench(stage, target, ["-T", str(length)], place)
            while done < MUCH * self.clients and length < SECONDS_MAX:  # others use the machine
                length *= 3
                for log in place.glob("log*"):
                    log.unlink()
                cpu, done, tps = self._pgbench(stage, target, ["-T", str(length)], place)
            latencies, settled_tps = self._settled(place)
        found = {
            "tps": tps if self.connecting else settled_tps,
            "p50_us": round(statistics.median_grouped(latencies), 3),  # pgbench's are whole µs
            "p99_us": latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
        }
        if target.roots:
            found["cpu_us"] = max(0.0, cpu - login_cpu) / max(1, done - logged_in) * 1e6
            found["rss_mib"] = resident_bytes(target.pids()) / 2**20
        return found

    @property
    def _warm_seconds(self) -> int:
        return 0 if self.connecting else 1 + self.clients // 16

    def _settled(self, folder: Path) -> tuple[list[int], float]:
        """-> (latencies in µs in their order, transactions per second) of those that ended behind
        the first seconds ("pgbench", Per-Transaction Logging: client, number, latency, script, Unix
        time in seconds and µs)."""
        lines = [
            line.split(None, 6)
            for log in folder.glob("log*")
            for line in log.read_text().splitlines()
        ]
        ended = [(int(parts[4]) + int(parts[5]) / 1e6, int(parts[2])) for parts in lines]
        begun = min(at for at, _ in ended) + self._warm_seconds
        kept = [(at, latency) for at, latency in ended if at >= begun] or ended
        passed = max(at for at, _ in kept) - (begun if len(kept) < len(ended) else kept[0][0])
        return sorted(latency for _, latency in kept), len(kept) / max(passed, 1e-3)

    def _pgbench(
        self, stage: Stage, target: Target, length: list[str], folder: Path
    ) -> tuple[float, int, float]:
        """-> (CPU seconds of the target, transactions, transactions per second)."""
        what = ["-S"]
        if self.script:
            script = folder / "script.sql"
            script.write_text(self.script)
            what = ["-f", str(script)]
        how = ["-M", self.mode, "-c", str(self.clients), "-j", "1", *["-C"] * self.connecting]
        log = ["--log", f"--log-prefix={folder / 'log'}"]
        place = ["-h", "127.0.0.1", "-p", str(target.port), "-U", USER, DATABASE]
        before = cpu_seconds(target.pids())
        done = subprocess.run(
            [stage.loader, "-n", *what, *how, *length, *log, *place],
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=_on_one_cpu if self.one_cpu else None,
            env={
                **os.environ,
                "PGPASSWORD": PASSWORD,
                "PGSSLMODE": "require" if self.tls else "disable",
            },
        )
        cpu = cpu_seconds(target.pids()) - before
        processed = re.search(r"actually processed: (\d+)", done.stdout)
        # With -C, the time spent on connecting is what is measured.
        tps = re.search(r"tps = ([0-9.]+) \((?:without|including)", done.stdout)
        if processed is not None and not int(processed.group(1)) and not done.returncode:
            return cpu, 0, 0.0
        if done.returncode or processed is None or tps is None:
            raise RuntimeError(f"{self.name} on {target.name}: {done.stdout}{done.stderr[-1000:]}")
        return cpu, int(processed.group(1)), float(tps.group(1))


@contextlib.contextmanager
def _pinned(roots: list[int]) -> Iterator[None]:
    """These processes and all below them on one processor."""
    everywhere = os.sched_getaffinity(0)
    _bind(roots, ONE_CPU)
    try:
        yield
    finally:
        _bind(roots, everywhere)


@contextlib.contextmanager
def _anywhere() -> Iterator[None]:
    yield


def _bind(roots: list[int], processors: set[int]) -> None:
    for pid in (pid for root in roots for pid in tree(root)):
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(task.name), processors)


def _on_one_cpu() -> None:
    os.sched_setaffinity(0, ONE_CPU)
