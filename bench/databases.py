"""What is measured of each database: its stage, its cases, and the proxy that others are measured
against."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from bench import stage, stage_mysql
from bench.cases import Case
from bench.cases.all import MYSQL, POSTGRESQL
from bench.figures import TARGETS
from bench.stage import Stage


class Measured(NamedTuple):
    """One entry of `--db`. `targets`: all there can be; `programs`: proxies that are left out where
    they are not installed; `micro`: whether the micro-benchmarks belong to it."""

    stage: Callable[[Path], AbstractContextManager[Stage]]
    cases: tuple[Case, ...]
    targets: tuple[str, ...]
    peer: str
    programs: tuple[str, ...]
    latest: str
    micro: bool


DATABASES = {
    "postgresql": Measured(
        stage.stage,
        POSTGRESQL,
        TARGETS,
        "pgbouncer",
        ("pgbouncer", "haproxy"),
        "latest.json",
        micro=True,
    ),
    "mysql": Measured(
        stage_mysql.stage,
        MYSQL,
        ("direct", "haproxy", "permissive", "governed"),
        "haproxy",
        ("haproxy",),
        "latest-mysql.json",
        micro=False,
    ),
}
