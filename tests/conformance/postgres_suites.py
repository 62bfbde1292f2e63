"""Drivers' own test suites at a PostgreSQL 18 and through a permissive Sallyport.

    python -m tests.conformance.postgres_suites psycopg=FOLDER[:PYTHON] asyncpg=FOLDER[:PYTHON]

See `suites`. psycopg's is run without `slow`, asyncpg's without its test of how the source looks.
"""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from tests.clusters import EmbeddedPostgres, sallyport_try
from tests.conformance import suites
from tests.conformance.suites import Laid, Sides
from tests.redteam import servers

USER = PASSWORD = "postgres"
SETTINGS = {
    "max_prepared_transactions": "10",
    "wal_level": "logical",
    "max_connections": "300",
}
PLAIN = ("-p", "no:randomly", "-p", "no:xdist", "--timeout", "60")


def _lay_psycopg(source: Path, folder: Path, port: int) -> Laid:
    for name in ("tests", "tools"):
        shutil.copytree(source / name, folder / name)
    shutil.copyfile(source / "pyproject.toml", folder / "pyproject.toml")
    dsn = (
        f"host=127.0.0.1 port={port} user={USER} password={PASSWORD} dbname=psycopg sslmode=disable"
    )
    return Laid((*PLAIN, "-m", "not slow", "--test-dsn", dsn, "tests"))


def _lay_asyncpg(source: Path, folder: Path, port: int) -> Laid:
    shutil.copytree(source / "tests", folder / "tests")
    environment = {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": USER,
        "PGPASSWORD": PASSWORD,
        "PGDATABASE": "asyncpg",
        "PGSSLMODE": "disable",
    }
    return Laid((*PLAIN, "tests", "--ignore", "tests/test__sourcecode.py"), environment)


@contextlib.contextmanager
def _sides() -> Iterator[Sides]:
    with tempfile.TemporaryDirectory(prefix="sp-suites-") as text:
        folder = Path(text)
        bin_dir = servers.chosen(18).bin_dir
        with EmbeddedPostgres(folder / "pg", bin_dir=bin_dir, settings=SETTINGS) as server:
            with psycopg.connect(server.uri(), autocommit=True) as root:
                root.execute(f"ALTER ROLE {USER} PASSWORD '{PASSWORD}'")

            def fresh(name: str) -> None:
                place = sql.Identifier(name)
                with psycopg.connect(server.uri(password=PASSWORD), autocommit=True) as root:
                    root.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(place))
                    root.execute(sql.SQL("CREATE DATABASE {}").format(place))

            with sallyport_try(server.uri(password=PASSWORD), folder) as running:
                yield Sides({"direct": server.port, "through": running.port}, fresh)


if __name__ == "__main__":
    known = {"psycopg": _lay_psycopg, "asyncpg": _lay_asyncpg}
    sys.exit(suites.main(__doc__ or "", known, _sides()))
