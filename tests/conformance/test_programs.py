"""pgbench in its three modes and pg_dump to pg_restore, through Sallyport."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.clusters import installed_program
from tests.conformance.conftest import ROLE, TRUSTED, Governed

OTHER = "elsewhere"


def program(name: str) -> Path:
    found = installed_program(name)
    if found is None:
        pytest.skip(f"no {name} on this machine: apt-get install postgresql")
    return found


def run(*command: str | Path) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def elsewhere(governed: Governed) -> Iterator[str]:
    """An empty database of the same owner."""
    with psycopg.connect(governed.superuser, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {OTHER} WITH (FORCE)".encode())
        server.execute(f"CREATE DATABASE {OTHER} OWNER {ROLE}".encode())
        yield OTHER
        server.execute(f"DROP DATABASE {OTHER} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def bench_tables(governed: Governed, elsewhere: str) -> str:
    """pgbench's tables, made through Sallyport."""
    run(program("pgbench"), "-i", "-s", "1", "-q", governed.uri(elsewhere))
    return elsewhere


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("script", ["select-only", "tpcb-like"])
def test_pgbench(governed: Governed, bench_tables: str, mode: str, script: str) -> None:
    said = run(
        program("pgbench"),
        *("-n", "-M", mode, "-b", script, "-c", "4", "-t", "50"),
        governed.uri(bench_tables),
    )
    assert "number of transactions actually processed: 200/200" in said
    failed = re.search(r"number of failed transactions: (\d+)", said)
    assert failed is None or failed[1] == "0"


def test_dump_and_restore(governed: Governed, elsewhere: str, tmp_path: Path) -> None:
    """A dump through Sallyport is the dump; restored through Sallyport it dumps the same."""
    options = ("--no-owner",)
    dumps = []
    for name, uri in (("direct", governed.direct()), ("through", governed.uri(person=TRUSTED))):
        dumps.append(tmp_path / f"{name}.sql")
        run(program("pg_dump"), *options, "-f", dumps[-1], uri)
    assert plain(dumps[0]) == plain(dumps[1])
    archive = tmp_path / "archive"
    run(
        program("pg_dump"),
        "-Fc",
        *options,
        "-f",
        archive,
        governed.uri(person=TRUSTED),
    )
    with psycopg.connect(governed.superuser, autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
        server.execute(f"CREATE DATABASE restored OWNER {ROLE}".encode())
        try:
            run(
                program("pg_restore"),
                "--no-owner",
                "-d",
                governed.uri("restored", TRUSTED),
                archive,
            )
            again = tmp_path / "again.sql"
            run(program("pg_dump"), *options, "-f", again, governed.direct("restored"))
            assert sorted(plain(again)) == sorted(plain(dumps[0]))  # heap order may differ
        finally:
            server.execute("DROP DATABASE restored WITH (FORCE)")


def plain(dump: Path) -> list[str]:
    """Without the lines that differ by chance (\\restrict's random key)."""
    return [line for line in dump.read_text().splitlines() if not line.startswith("\\")]


def test_a_masked_table_is_dumped_masked(governed: Governed, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    done = subprocess.run(
        [program("pg_dump"), "-t", "api_keys", "-f", dump, governed.uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    dumped = dump.read_text()
    assert "COPY public.api_keys" in dumped
    assert "sk_live_" not in dumped
