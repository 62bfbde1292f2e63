"""One measured run: pgbench against one target. Called by `bench.__main__`.

CPU per query leaves out logins: what a run of one transaction per client costs is taken off.
"""

import os
import re
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.proc import cpu_seconds, resident_bytes
from bench.stage import DATABASE, PASSWORD, USER, Stage, Target


@dataclass(frozen=True)
class Case:
    """`script` '' is pgbench's own -S (one SELECT by primary key)."""

    name: str
    mode: str
    clients: int
    script: str = ""


CASES = (
    Case("select1-simple-c1", "simple", 1, "SELECT 1;\n"),
    *(
        Case(f"S-{mode}-c{clients}", mode, clients)
        for mode in ("simple", "extended", "prepared")
        for clients in (1, 8)
    ),
)


@dataclass(frozen=True)
class Sample:
    """`cpu_us` is the proxy's per query, all its processes; latencies in microseconds."""

    case: str
    target: str
    tps: float
    p50_us: float
    p99_us: float
    cpu_us: float
    rss_mib: float


def run(stage: Stage, case: Case, target: Target, seconds: int) -> Sample:
    """Raises RuntimeError when a transaction failed."""
    with tempfile.TemporaryDirectory(prefix="sallyport-bench-") as folder:
        login_cpu, logged_in, _ = _pgbench(stage, case, target, ["-t", "1"], Path(folder))
        for log in Path(folder).glob("log*"):
            log.unlink()
        cpu, done, tps = _pgbench(stage, case, target, ["-T", str(seconds)], Path(folder))
        latencies = sorted(
            int(line.split(None, 3)[2])
            for log in Path(folder).glob("log*")
            for line in log.read_text().splitlines()
        )
    return Sample(
        case.name,
        target.name,
        tps,
        statistics.median(latencies),
        latencies[min(len(latencies) - 1, int(len(latencies) * 0.99))],
        max(0.0, cpu - login_cpu) / max(1, done - logged_in) * 1e6,
        resident_bytes(target.pids()) / 2**20,
    )


def _pgbench(
    stage: Stage, case: Case, target: Target, length: list[str], folder: Path
) -> tuple[float, int, float]:
    """-> (CPU seconds of the target, transactions, transactions per second without connecting)."""
    what = ["-S"]
    if case.script:
        script = folder / "script.sql"
        script.write_text(case.script)
        what = ["-f", str(script)]
    command = [str(stage.pgbench), "-n", *what, "-M", case.mode, "-c", str(case.clients), "-j", "1"]
    log = ["--log", f"--log-prefix={folder / 'log'}"]
    place = ["-h", "127.0.0.1", "-p", str(target.port), "-U", USER, DATABASE]
    before = cpu_seconds(target.pids())
    done = subprocess.run(
        [*command, *length, *log, *place],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PGPASSWORD": PASSWORD, "PGSSLMODE": "disable"},
    )
    cpu = cpu_seconds(target.pids()) - before
    processed = re.search(r"actually processed: (\d+)", done.stdout)
    tps = re.search(r"tps = ([0-9.]+) \(without", done.stdout)
    if done.returncode or processed is None or tps is None:
        raise RuntimeError(f"{case.name} on {target.name}: {done.stderr[-1000:]}")
    return cpu, int(processed.group(1)), float(tps.group(1))
