"""What clients do over the life of a session, through Sallyport: interrupting, preparing, changing
the schema, ending a transaction in two phases. As somebody who owes masks and as somebody who does
not."""

import asyncio
import contextlib
import os
import pty
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy

from tests.conformance.conftest import PASSWORD, PERSON, TRUSTED, Governed
from tests.conformance.test_drivers import context
from tests.conformance.test_psql import read_until, run

PEOPLE = [PERSON, TRUSTED]


@pytest.fixture(params=PEOPLE)
def person(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def scratch(governed: Governed) -> Iterator[str]:
    """The name of a table that is dropped afterwards, whoever made it."""
    name = f"scratch_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(governed.direct(), autocommit=True) as direct:
        direct.execute("SET lock_timeout = '5s'")
        direct.execute(f"DROP TABLE IF EXISTS {name}".encode())


async def asyncpg_as(governed: Governed, person: str) -> "asyncpg.Connection[Any]":
    return await asyncpg.connect(
        host=governed.host,
        port=governed.port,
        user=person,
        password=PASSWORD,
        database="shop",
        ssl=context(governed),
    )


# --- psql --------------------------------------------------------------------------------------


def test_control_c_ends_the_statement_and_not_the_session(
    psql: Path, governed: Governed, person: str
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        uri = governed.uri(person=person)
        os.execve(psql, ["psql", uri, "-X"], {**os.environ, "TERM": "dumb", "PAGER": "cat"})
    try:
        read_until(terminal, "=>", 15)
        os.write(terminal, b"SELECT count(*) FROM generate_series(1, 10000000000);\n")
        time.sleep(0.7)
        os.write(terminal, b"\x03")
        read_until(terminal, "canceling statement due to user request", 10)
        os.write(terminal, b"SELECT 6 * 7 AS answer;\n")
        assert "42" in read_until(terminal, "(1 row)", 10)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


SCRIPT = r"""
\set wanted 3
\set ON_ERROR_STOP 1
SELECT id FROM orders WHERE id = :wanted;
SELECT id AS kept FROM orders WHERE id = 4 \gset
\echo :kept
SELECT id, total, placed_on FROM orders \gdesc
SELECT 1 / 0;
SELECT 'not reached';
"""


def test_variables_gset_gdesc_and_on_error_stop(
    psql: Path, governed: Governed, person: str
) -> None:
    direct = run(psql, governed.direct(), "-At", text=SCRIPT)
    through = run(psql, governed.uri(person=person), "-At", text=SCRIPT)
    assert through == direct
    assert direct[0] == 3 and "not reached" not in direct[1]


def test_bind(psql: Path, governed: Governed, person: str) -> None:
    version = subprocess.run([psql, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.split()[2].split(".")[0]) < 16:
        pytest.skip("psql before 16 has no \\bind")
    script = "SELECT $1::int + $2::int \\bind 40 2 \\g\n"
    assert run(psql, governed.uri(person=person), "-At", text=script) == (0, "42\n", "")


# --- cancel ------------------------------------------------------------------------------------


async def test_a_cancel_never_hits_the_next_statement(governed: Governed, person: str) -> None:
    """Drivers go on when their cancel connection ends, so it ends when the database has it."""
    connection = await asyncpg_as(governed, person)
    try:
        for _ in range(10):
            with pytest.raises(asyncio.TimeoutError):
                await connection.fetchval(
                    "SELECT count(*) FROM generate_series(1, 1000000000)", timeout=0.05
                )
            assert await connection.fetchval("SELECT 42") == 42
    finally:
        await connection.close()


# --- names and plans ---------------------------------------------------------------------------


async def test_the_unnamed_statement_outlives_a_change_of_settings(
    governed: Governed, person: str
) -> None:
    """Asking for settings that may have changed takes nothing of the client's away."""
    connection = await asyncpg_as(governed, person)
    try:
        statement = await connection.prepare("SELECT id FROM orders WHERE id = $1", name="")
        await connection.execute("SET search_path TO public, pg_catalog")
        unnamed = await connection.prepare("SELECT id + 1 FROM orders WHERE id = $1", name="")
        assert await unnamed.fetchval(7) == 8
        assert statement is not unnamed
    finally:
        await connection.close()


async def test_sql_names_of_protocol_statements_and_portals(
    governed: Governed, person: str
) -> None:
    connection = await asyncpg_as(governed, person)
    try:
        text = "SELECT id FROM orders ORDER BY id LIMIT 3"
        statement = await connection.prepare(text, name="three")
        assert [tuple(row) for row in await connection.fetch("EXECUTE three")] == [(1,), (2,), (3,)]
        assert statement.get_name() == "three"
        async with connection.transaction():
            cursor = await connection.cursor("SELECT id FROM orders ORDER BY id")
            await cursor.forward(10)
            assert (await cursor.fetchrow())["id"] == 11
    finally:
        await connection.close()


async def test_sql_names_are_masked_like_what_they_name(governed: Governed) -> None:
    answers = {}
    for person in PEOPLE:
        connection = await asyncpg_as(governed, person)
        try:
            text = "SELECT api_key FROM api_keys ORDER BY id LIMIT 5"
            statement = await connection.prepare(text, name="keys")
            answers[person] = [row["api_key"] for row in await connection.fetch("EXECUTE keys")]
            assert statement.get_name() == "keys"
        finally:
            await connection.close()
    assert not set(answers[PERSON]) & set(answers[TRUSTED])
    assert len(answers[PERSON]) == len(answers[TRUSTED]) == 5


@pytest.mark.parametrize("threshold", [0, None])
def test_a_prepared_statement_when_its_table_is_made_anew(
    governed: Governed, person: str, scratch: str, threshold: int | None
) -> None:
    with psycopg.connect(governed.uri(person=person), autocommit=True) as connection:
        connection.prepare_threshold = threshold
        for number in range(3):
            connection.execute(f"DROP TABLE IF EXISTS {scratch}".encode())
            connection.execute(f"CREATE TABLE {scratch} (id int)".encode())
            connection.execute(f"INSERT INTO {scratch} VALUES (%s)".encode(), [number])
            found = connection.execute(f"SELECT id FROM {scratch}".encode()).fetchall()
            assert found == [(number,)]


def test_a_table_made_in_a_transaction_is_known_after_it(
    governed: Governed, person: str, scratch: str
) -> None:
    with psycopg.connect(governed.uri(person=person)) as connection:
        for _ in range(2):
            with connection.transaction():
                connection.execute(f"DROP TABLE IF EXISTS {scratch}".encode())
                connection.execute(f"CREATE TABLE {scratch} (id int)".encode())
            connection.execute(f"INSERT INTO {scratch} VALUES (5)".encode())
            assert connection.execute(f"SELECT * FROM {scratch}".encode()).fetchone() == (5,)
            connection.commit()


def test_an_unknown_table_has_the_state_programs_look_for(governed: Governed, person: str) -> None:
    with psycopg.connect(governed.uri(person=person), autocommit=True) as connection:
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM nowhere_to_be_found")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute("SELECT no_such_column FROM orders")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_settings_changed_in_a_pipeline(governed: Governed, person: str) -> None:
    with psycopg.connect(governed.uri(person=person), autocommit=True) as connection:
        with connection.pipeline():
            connection.execute("SET search_path TO pg_catalog, public")
            cursor = connection.execute("SELECT count(*) FROM orders")
            connection.execute("RESET search_path")
            again = connection.execute("SELECT count(*) FROM orders")
        assert cursor.fetchone() == again.fetchone() == (8000,)


# --- two phases, SQLAlchemy on asyncpg ---------------------------------------------------------


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_two_phase_transactions(governed: Governed, person: str, scratch: str, end: str) -> None:
    with psycopg.connect(governed.direct(), autocommit=True) as direct:
        direct.execute(f"CREATE TABLE {scratch} (id int)".encode())
    with contextlib.closing(psycopg.connect(governed.uri(person=person))) as connection:
        xid = connection.xid(1, uuid.uuid4().hex, "branch")
        connection.tpc_begin(xid)
        connection.execute(f"INSERT INTO {scratch} VALUES (1)".encode())
        connection.tpc_prepare()
    with contextlib.closing(psycopg.connect(governed.uri(person=person))) as connection:
        shown = {found.gtrid for found in connection.tpc_recover()}
        # Names are texts of other sessions: who owes masks sees that there is one.
        assert shown == {None} if person == PERSON else xid.gtrid in shown
        connection.rollback()
        if end == "commit":
            connection.tpc_commit(xid)
        else:
            connection.tpc_rollback(xid)
        found = connection.execute(f"SELECT count(*) FROM {scratch}".encode()).fetchone()
    assert found == (1 if end == "commit" else 0,)


async def test_sqlalchemy_on_asyncpg(governed: Governed, person: str) -> None:
    pytest.importorskip("greenlet", reason="SQLAlchemy needs greenlet for asyncpg")
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(
        sqlalchemy.URL.create(
            "postgresql+asyncpg", person, PASSWORD, governed.host, governed.port, "shop"
        ),
        connect_args={"ssl": context(governed)},
    )
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(
                lambda sync: sqlalchemy.inspect(sync).get_columns("orders")
            )
            statement = sqlalchemy.text("SELECT id FROM orders WHERE id < :top ORDER BY id")
            for top in (3, 5):
                rows = await connection.execute(statement, {"top": top})
                assert [row[0] for row in rows] == list(range(1, top))
        assert "total" in {column["name"] for column in found}
    finally:
        await engine.dispose()
