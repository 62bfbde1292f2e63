"""What the first statements of a session cost: `python -m bench.first`.

Prints medians in milliseconds, over sessions one after another on one pooled connection: of logging
in, and of the first three reads.
"""

import contextlib
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import psycopg

from bench.stage import DATABASE, PASSWORD, USER, stage

SESSIONS = 20
WARMING = 3
PAUSE_SECONDS = 0.1
STEPS = ("login", "first", "second", "third")
TARGETS = ("permissive", "governed")


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="sallyport-bench-") as folder,
        stage(Path(folder)) as on,
    ):
        ports = {target.name: target.port for target in on.targets}
        for name in TARGETS:
            rounds = [measure(ports[name], number) for number in range(WARMING + SESSIONS)][
                WARMING:
            ]
            medians = map(statistics.median, zip(*rounds, strict=True))
            print(name, *(f"{step} {ms:.2f}" for step, ms in zip(STEPS, medians, strict=True)))


def measure(port: int, number: int) -> list[float]:
    """Milliseconds of each step of one session."""
    uri = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"
    times = [time.perf_counter()]
    with contextlib.closing(psycopg.connect(uri, autocommit=True)) as session:
        times.append(time.perf_counter())
        for step in range(len(STEPS) - 1):
            account = 1 + number * len(STEPS) + step
            text = f"SELECT abalance FROM pgbench_accounts WHERE aid = {account};"
            session.pgconn.exec_(text.encode())
            times.append(time.perf_counter())
    time.sleep(PAUSE_SECONDS)  # until the connection is cleaned
    return [1_000 * (end - begin) for begin, end in itertools.pairwise(times)]


if __name__ == "__main__":
    main()
