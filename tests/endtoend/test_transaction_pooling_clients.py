"""Programs and drivers on shared connections: psql, pgbench, asyncpg with its cache and its pool,
SQLAlchemy.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy

from tests.clusters import Authority, EmbeddedPostgres, installed_program
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running

POLICY = """
version: 1
rules:
  - {id: all, effect: allow, actions: [everything]}
"""
CONNECTIONS = 4


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("clients"), vault, authority)
    estate.write("policy.yaml", POLICY)
    pooling = {"mode": "transaction", "servers_max": CONNECTIONS}
    estate.configuration["targets"][0]["pooling"] = pooling
    with estate.serve() as served:
        yield served


def _uri(running: Running, scheme: str = "postgresql") -> str:
    return f"{scheme}://bob:bob-password@127.0.0.1:{running.ports['main']}/{DATABASE}"


@pytest.fixture
def program() -> Callable[[str], Path]:
    def find(name: str) -> Path:
        found = installed_program(name)
        if found is None:
            pytest.skip(f"no {name} on this machine")
        return found

    return find


def _furnish(root: psycopg.Connection[Any], pgbench: Path, vault: EmbeddedPostgres) -> None:
    row = root.execute("SELECT to_regclass('pgbench_accounts')").fetchone()
    if row is None or row[0] is None:
        done = [pgbench, "-i", "-q", "-s", "1", vault.uri(database=DATABASE)]
        subprocess.run(done, check=True, capture_output=True, timeout=120)
        root.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}")


def _pgbench(running: Running, command: list[Any]) -> str:
    done = subprocess.run(
        [*command, "-n", _uri(running)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PGSSLMODE": "disable"},
    )
    assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_reading(
    running: Running, vault: EmbeddedPostgres, program: Callable[[str], Path], mode: str
) -> None:
    """Eight clients in one thread on four connections, each of which changes hands all the time."""
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as root:
        _furnish(root, program("pgbench"), vault)
    said = _pgbench(running, [program("pgbench"), "-S", "-M", mode, "-c", "8", "-t", "200"])
    assert "number of transactions actually processed: 1600/1600" in said


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(
    running: Running, vault: EmbeddedPostgres, program: Callable[[str], Path], mode: str
) -> None:
    """32 clients on four connections. A thread each: pgbench prepares its statements by a call that
    waits, in which it serves none of its other clients, who may have all the connections."""
    command = [program("pgbench"), "-M", mode, "-c", "32", "-j", "32", "-t", "5", "-b", "tpcb-like"]
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as root:
        _furnish(root, program("pgbench"), vault)
        said = _pgbench(running, command)
        assert "number of transactions actually processed: 160/160" in said
        row = root.execute(
            "SELECT (SELECT sum(abalance) FROM pgbench_accounts) ="
            " (SELECT sum(delta) FROM pgbench_history), count(*)"
            " FROM pg_stat_activity WHERE usename = %s AND datname = %s"
            " AND application_name NOT LIKE 'sallyport catalog%%'",
            (ROLE, DATABASE),
        ).fetchone()
        assert row is not None and row[0] and row[1] <= CONNECTIONS


def test_psql(running: Running, program: Callable[[str], Path]) -> None:
    said = subprocess.run(
        [program("psql"), _uri(running) + "?sslmode=disable", "-qXAt", "-v", "ON_ERROR_STOP=1"],
        input="""SET work_mem = '90MB';
\\d notes
CREATE TEMP TABLE own AS SELECT 1 AS id;
SELECT count(*) FROM own; SHOW work_mem;
BEGIN; DECLARE c CURSOR FOR SELECT 7; FETCH c; COMMIT;
\\copy own to stdout
""",
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    assert "body|text" in said and said.splitlines()[-4:] == ["1", "90MB", "7", "1"]


def test_asyncpg_with_its_statement_cache(running: Running) -> None:
    """More connections than there are to the database; each has the same statements cached."""

    async def work(number: int) -> None:
        connection = await asyncpg.connect(_uri(running), ssl=False)
        try:
            for turn in range(10):
                assert await connection.fetchval("SELECT $1::int + 1", turn) == turn + 1
                assert await connection.fetchval("SELECT $1::text", str(number)) == str(number)
                async with connection.transaction():
                    await connection.execute("SET LOCAL work_mem = '91MB'")
                    assert await connection.fetchval("SHOW work_mem") == "91MB"
                assert await connection.fetchval("SHOW work_mem") != "91MB"
                own = await connection.prepare("SELECT $1::int * 2")
                assert await own.fetchval(turn) == turn * 2
        finally:
            await connection.close()

    async def all_of_them() -> None:
        async with asyncio.timeout(60):
            await asyncio.gather(*(work(number) for number in range(12)))

    asyncio.run(all_of_them())


def test_asyncpgs_pool_and_listeners(running: Running) -> None:
    """Its reset, after each use, lets go of what pinned a connection."""

    async def use() -> None:
        async with asyncpg.create_pool(_uri(running), ssl=False, min_size=8, max_size=8) as pool:
            heard: asyncio.Queue[str] = asyncio.Queue()
            for _ in range(3):
                async with pool.acquire() as listener:
                    await listener.add_listener("gossip", lambda *a: heard.put_nowait(a[3]))
                    await pool.execute("SELECT pg_notify('gossip', 'psst')")
                    assert await asyncio.wait_for(heard.get(), 10) == "psst"
                    await listener.reset(timeout=10)
                asked = [pool.fetchval("SELECT $1::int", number) for number in range(30)]
                assert await asyncio.gather(*asked) == list(range(30))

    asyncio.run(use())


def test_sqlalchemy(running: Running) -> None:
    arguments: dict[str, Any] = {"sslmode": "disable", "prepare_threshold": 2}
    engine = sqlalchemy.create_engine(
        _uri(running, "postgresql+psycopg"), pool_size=8, connect_args=arguments
    )
    try:
        connections = [engine.connect() for _ in range(8)]
        for turn in range(6):
            for connection in connections:
                found = connection.execute(sqlalchemy.text("SELECT :n + 1"), {"n": turn})
                assert found.scalar_one() == turn + 1
                connection.commit()
        for connection in connections:
            connection.close()
    finally:
        engine.dispose()
