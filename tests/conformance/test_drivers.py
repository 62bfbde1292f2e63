"""psycopg 3, asyncpg and SQLAlchemy through Sallyport, unmodified: what they do is what they do
directly. Tables that a test makes are its own and dropped again."""

import asyncio
import datetime
import decimal
import json
import ssl
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.types.json import Jsonb
from sqlalchemy import orm

from tests.conformance.conftest import PASSWORD, PERSON, TRUSTED, Governed

QUERY = """SELECT id, name, date_of_birth, balance, credit_score, preferences, tags, created_at
FROM customers ORDER BY id LIMIT 200"""


@pytest.fixture
def through(governed: Governed) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(governed.uri(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def direct(governed: Governed) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(governed.direct(), autocommit=True) as connection:
        yield connection


@pytest.fixture
def table(direct: psycopg.Connection[Any]) -> Iterator[str]:
    """An empty table (id int primary key, note text) for one test."""
    name = f"scratch_{uuid.uuid4().hex[:12]}"
    direct.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, note text)".encode())
    yield name
    direct.execute(f"DROP TABLE {name}".encode())


# --- psycopg 3 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("prepare", [False, True])
def test_psycopg_rows(
    through: psycopg.Connection[Any],
    direct: psycopg.Connection[Any],
    binary: bool,
    prepare: bool,
) -> None:
    answers = [
        connection.execute(QUERY.encode(), prepare=prepare, binary=binary).fetchall()
        for connection in (direct, through)
    ]
    assert answers[0] == answers[1]
    assert len(answers[1]) == 200
    assert isinstance(answers[1][0][3], decimal.Decimal)


def test_psycopg_parameters_of_many_types(through: psycopg.Connection[Any]) -> None:
    values = (
        7,
        2**40,
        1.5,
        decimal.Decimal("12.30"),
        "Grüße\n'\"",
        b"\x00\xff",
        True,
        None,
        datetime.date(2024, 2, 29),
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        uuid.UUID(int=5),
        [1, None, 3],
    )
    marks = ", ".join(["%s::int", "%s::bigint", "%s::float8", "%s::numeric", "%s::text"])
    rest = ", ".join(["%s::bytea", "%s::bool", "%s::text", "%s::date", "%s::timestamptz"])
    text = f"SELECT {marks}, {rest}, %s::uuid, %s::int[], %s::jsonb"
    for binary in (False, True):
        cursor = through.execute(text.encode(), (*values, Jsonb({"a": [1]})), binary=binary)
        assert cursor.fetchone() == (*values, {"a": [1]})


def test_psycopg_prepared_statement_is_used_again(through: psycopg.Connection[Any]) -> None:
    through.prepare_threshold = 0
    for number in range(1, 20):
        row = through.execute("SELECT id FROM customers WHERE id = %s", [number]).fetchone()
        assert row == (number,)


def test_psycopg_pipeline(through: psycopg.Connection[Any], table: str) -> None:
    insert = f"INSERT INTO {table} VALUES (%s, %s)".encode()
    with through.pipeline():
        cursors = [through.execute("SELECT %s::int", [n]) for n in range(50)]
        through.cursor().executemany(insert, [(n, str(n)) for n in range(50)])
    assert [cursor.fetchone() for cursor in cursors] == [(n,) for n in range(50)]
    assert through.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (50,)


def test_psycopg_pipeline_with_an_error(through: psycopg.Connection[Any], table: str) -> None:
    insert = f"INSERT INTO {table} VALUES (%s, 'x')".encode()
    with pytest.raises(psycopg.errors.UniqueViolation), through.pipeline():
        through.execute(insert, [1])
        through.execute(insert, [1])
        through.execute(insert, [2])
    assert through.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("binary", [False, True])
def test_psycopg_server_cursor(through: psycopg.Connection[Any], binary: bool) -> None:
    with through.transaction(), through.cursor("far", binary=binary, scrollable=True) as cursor:
        cursor.itersize = 500
        cursor.execute("SELECT id FROM orders ORDER BY id")
        assert [row[0] for row in cursor] == list(range(1, 8001))
        cursor.scroll(10, mode="absolute")
        assert cursor.fetchone() == (11,)


def test_psycopg_stream(through: psycopg.Connection[Any]) -> None:
    with through.cursor() as cursor:
        numbers = [row[0] for row in cursor.stream("SELECT id FROM orders ORDER BY id")]
    assert numbers == list(range(1, 8001))


@pytest.mark.parametrize("form", ["TEXT", "CSV", "BINARY"])
def test_psycopg_copy(
    through: psycopg.Connection[Any], direct: psycopg.Connection[Any], form: str
) -> None:
    statement = f"COPY (SELECT * FROM orders ORDER BY id) TO STDOUT (FORMAT {form})".encode()
    answers = []
    for connection in (direct, through):
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            answers.append(b"".join(bytes(block) for block in copy))
    assert answers[0] == answers[1]
    assert len(answers[0]) > 100_000


@pytest.mark.parametrize("form", ["TEXT", "BINARY"])
def test_psycopg_copy_in(through: psycopg.Connection[Any], table: str, form: str) -> None:
    statement = f"COPY {table} FROM STDIN (FORMAT {form})".encode()
    with through.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["int4", "text"])
        for number in range(5_000):
            copy.write_row((number, f"row {number}"))
    found = through.execute(f"SELECT count(*), sum(id) FROM {table}".encode()).fetchone()
    assert found == (5_000, sum(range(5_000)))


def test_psycopg_copy_in_that_is_given_up(through: psycopg.Connection[Any], table: str) -> None:
    statement = f"COPY {table} FROM STDIN".encode()
    with pytest.raises(ZeroDivisionError), through.cursor().copy(statement) as copy:
        copy.write_row((1, "x"))
        _ = 1 / 0
    assert through.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,)


def test_psycopg_transactions(through: psycopg.Connection[Any], table: str) -> None:
    insert = f"INSERT INTO {table} VALUES (%s, 'x')".encode()
    with through.transaction():
        through.execute(insert, [1])
        with pytest.raises(psycopg.errors.UniqueViolation), through.transaction():
            through.execute(insert, [1])
        through.execute(insert, [2])
    assert through.execute(f"SELECT id FROM {table} ORDER BY id".encode()).fetchall() == [
        (1,),
        (2,),
    ]


@pytest.mark.parametrize(("person", "payload"), [(TRUSTED, "ding"), (PERSON, "")])
def test_psycopg_notifications(
    governed: Governed, direct: psycopg.Connection[Any], person: str, payload: str
) -> None:
    """A payload may be any cell of any table: it is withheld from whoever owes a mask."""
    with psycopg.connect(governed.uri(person=person), autocommit=True) as connection:
        connection.execute("LISTEN doorbell")
        direct.execute("NOTIFY doorbell, 'ding'")
        received = list(connection.notifies(timeout=10, stop_after=1))
    assert [(note.channel, note.payload) for note in received] == [("doorbell", payload)]


def test_psycopg_cancel(governed: Governed) -> None:
    with psycopg.connect(governed.uri(), autocommit=True) as connection:
        timer = threading.Timer(0.3, connection.cancel_safe)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT count(*) FROM generate_series(1, 10000000000)")
        timer.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_psycopg_async(governed: Governed) -> None:
    async with await psycopg.AsyncConnection.connect(governed.uri()) as connection:
        async with connection.pipeline():
            cursors = [await connection.execute("SELECT %s::int", [n]) for n in range(20)]
        assert [await cursor.fetchone() for cursor in cursors] == [(n,) for n in range(20)]
        async with connection.cursor("distant") as cursor:
            await cursor.execute("SELECT id FROM customers ORDER BY id")
            assert [row[0] async for row in cursor] == list(range(1, 2001))


# --- asyncpg -----------------------------------------------------------------------------------


def context(governed: Governed) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=governed.ca)


@pytest.fixture
async def fast(governed: Governed) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(
        host=governed.host,
        port=governed.port,
        user=PERSON,
        password=PASSWORD,
        database="shop",
        ssl=context(governed),
    )
    try:
        yield connection
    finally:
        await connection.close()


async def test_asyncpg_cached_statements_run_again_without_describe(
    fast: "asyncpg.Connection[Any]",
) -> None:
    for number in range(1, 200):
        row = await fast.fetchrow("SELECT id, balance FROM customers WHERE id = $1", number)
        assert row["id"] == number and isinstance(row["balance"], decimal.Decimal)


async def test_asyncpg_when_a_table_changes_behind_its_back(
    governed: Governed, direct: psycopg.Connection[Any], table: str
) -> None:
    """Refused, or right; soon right; never a row that was not checked."""
    direct.execute(f"INSERT INTO {table} VALUES (1, 'x')".encode())
    pool = asyncpg.create_pool(governed.uri(), ssl=context(governed), min_size=1, max_size=1)
    async with pool:
        assert tuple(await pool.fetchrow(f"SELECT * FROM {table}")) == (1, "x")
        direct.execute(f"ALTER TABLE {table} ADD COLUMN more int DEFAULT 5".encode())
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                row = await pool.fetchrow(f"SELECT * FROM {table}")
            except (asyncpg.PostgresError, asyncpg.InterfaceError):
                await asyncio.sleep(0.2)
                continue
            assert tuple(row) == (1, "x", 5)
            return
    pytest.fail("still refused")


async def test_asyncpg_types_copy_and_cursor(fast: "asyncpg.Connection[Any]", table: str) -> None:
    row = await fast.fetchrow("SELECT preferences, tags FROM customers WHERE id = 2")
    assert set(json.loads(row["preferences"])) == {"language", "dark_mode"}
    assert isinstance(row["tags"], list)
    await fast.copy_records_to_table(table, records=[(n, str(n)) for n in range(1_000)])
    assert await fast.fetchval(f"SELECT count(*) FROM {table}") == 1_000
    async with fast.transaction():
        seen = [record["id"] async for record in fast.cursor("SELECT id FROM orders ORDER BY id")]
    assert seen == list(range(1, 8001))


async def test_asyncpg_pool_and_errors(governed: Governed) -> None:
    pool = asyncpg.create_pool(governed.uri(), ssl=context(governed), min_size=1, max_size=4)
    async with pool:
        async with pool.acquire() as connection:
            with pytest.raises(asyncpg.DivisionByZeroError):
                await connection.fetch("SELECT 1 / 0")
            assert await connection.fetchval("SELECT 42") == 42
        async with pool.acquire() as connection:  # given back and reset in between
            assert await connection.fetchval("SELECT 43") == 43
            await connection.executemany("SELECT $1::int", [(n,) for n in range(20)])


# --- SQLAlchemy --------------------------------------------------------------------------------


class Declared(orm.DeclarativeBase):
    pass


class Ticket(Declared):
    __tablename__ = "support_tickets"
    id: orm.Mapped[int] = orm.mapped_column(sqlalchemy.Identity(), primary_key=True)
    customer_id: orm.Mapped[int]
    opened_by: orm.Mapped[str]
    subject: orm.Mapped[str]
    status: orm.Mapped[str]


@pytest.fixture
def engine(governed: Governed) -> Iterator[sqlalchemy.Engine]:
    uri = governed.uri().replace("postgresql://", "postgresql+psycopg://")
    created = sqlalchemy.create_engine(uri)
    yield created
    created.dispose()


def test_sqlalchemy_orm(engine: sqlalchemy.Engine) -> None:
    with orm.Session(engine) as session:
        ticket = Ticket(customer_id=1, opened_by="orm", subject="hello", status="open")
        session.add(ticket)
        session.flush()
        made = ticket.id
        ticket.status = "closed"
        session.commit()
        found = session.scalars(
            sqlalchemy.select(Ticket).where(Ticket.opened_by == "orm", Ticket.id == made)
        ).one()
        assert found.status == "closed"
        session.delete(found)
        session.commit()


def test_sqlalchemy_reflection(governed: Governed, engine: sqlalchemy.Engine) -> None:
    uri = governed.direct().replace("postgresql://", "postgresql+psycopg://")
    straight = sqlalchemy.create_engine(uri)
    answers = [_reflected(one) for one in (straight, engine)]
    straight.dispose()
    assert answers[0] == answers[1]
    assert {"customers", "orders", "customer_contacts"} <= set(answers[1])


def _reflected(engine: sqlalchemy.Engine) -> dict[str, object]:
    found = sqlalchemy.MetaData()
    found.reflect(engine, views=True)
    inspector = sqlalchemy.inspect(engine)
    return {
        name: (
            [(column.name, str(column.type), column.nullable) for column in table.columns],
            sorted(str(key.target_fullname) for key in table.foreign_keys),
            inspector.get_indexes(name),
            inspector.get_pk_constraint(name),
        )
        for name, table in sorted(found.tables.items())
    }
