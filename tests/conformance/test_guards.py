"""corpus/guards_rows.yaml on a real server, under the shipped preset guards.yaml: what must be
stopped is, what must pass does. Each case runs in a transaction that is rolled back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import yaml

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend import stage

ROOT = Path(__file__).parents[2]
CORPUS = yaml.safe_load((ROOT / "tests/corpus/guards_rows.yaml").read_text())
SCHEMA = """
CREATE TYPE mood AS ENUM ('low', 'high');
CREATE SEQUENCE counter;
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE products (id int PRIMARY KEY, sku text NOT NULL UNIQUE, title text NOT NULL,
  price numeric NOT NULL, stock int NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, customer_id int NOT NULL, placed_on date NOT NULL);
CREATE TABLE order_items (order_id int REFERENCES orders ON DELETE CASCADE, product_id int);
CREATE TABLE events (id int PRIMARY KEY, kind text NOT NULL, n int NOT NULL, done boolean,
  at timestamptz NOT NULL DEFAULT '2024-03-03');
CREATE TABLE ledger (id int);
CREATE TABLE staff (id int PRIMARY KEY, boss int);
CREATE TABLE only_ids (id int);
CREATE INDEX events_kind ON events (kind);
CREATE VIEW v_events AS SELECT id, kind, n FROM events;
CREATE FUNCTION wipe_all() RETURNS int LANGUAGE sql AS 'DELETE FROM events; SELECT 1';
CREATE PROCEDURE wipe() LANGUAGE sql AS 'DELETE FROM events';
CREATE FUNCTION wipe_trigger() RETURNS trigger LANGUAGE plpgsql
  AS 'BEGIN DELETE FROM events; RETURN NULL; END';
INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 9) n;
INSERT INTO products SELECT n, 'SKU-' || lpad(n::text, 2, '0'), 'Product ' || n, n * 3.5, n
  FROM generate_series(1, 20) n;
INSERT INTO orders SELECT n, 1 + n % 9, '2024-01-01'::date + n FROM generate_series(1, 12) n;
INSERT INTO order_items SELECT n, n FROM generate_series(1, 12) n;
INSERT INTO events SELECT n, (ARRAY['click', 'view', 'buy'])[1 + n % 3], n,
  (ARRAY[true, false, NULL])[1 + n % 3] FROM generate_series(1, 200) n;
INSERT INTO only_ids SELECT id FROM events;
INSERT INTO staff VALUES (1, NULL), (2, 1), (3, 1), (4, 2);
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
"""


@pytest.fixture(scope="module")
def guarded(
    server_folder: Path, authority: Authority
) -> Iterator[tuple[stage.Running, EmbeddedPostgres]]:
    with EmbeddedPostgres(server_folder / "guards", 18) as server:
        with psycopg.connect(server.uri(), autocommit=True) as root:
            root.execute("CREATE ROLE app LOGIN PASSWORD 'app-password'")
            root.execute("CREATE DATABASE vault")
        with psycopg.connect(server.uri(database="vault"), autocommit=True) as root:
            root.execute(SCHEMA)
        estate = stage.Estate(server_folder / "guards-estate", server, authority)
        estate.write("policy.yaml", (ROOT / "config/policies/guards.yaml").read_bytes())
        with estate.serve() as running:
            yield running, server


@pytest.fixture(scope="module")
def session(
    guarded: tuple[stage.Running, EmbeddedPostgres],
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with guarded[0].connect("alice", "alice-password", autocommit=True) as connection:
        yield connection


def parted(case: str) -> tuple[str, list[Any] | None]:
    """A case's text, with psycopg's placeholders if it has values, and the values."""
    text, dashes, values = case.rpartition(" -- [")
    if not dashes:
        return case, None
    return text.replace("%", "%%").replace("?", "%s"), json.loads("[" + values)


def run(connection: psycopg.Connection[tuple[Any, ...]], case: str) -> psycopg.Error | None:
    """The error of a case, None when it ran; everything is taken back."""
    text, values = parted(case)
    connection.execute("BEGIN")
    try:
        if text.startswith("copy"):
            with connection.cursor().copy(text) as copy:  # type: ignore[call-overload]
                for _ in copy:
                    pass
        else:
            connection.execute(text, values)  # type: ignore[call-overload]
    except psycopg.Error as error:
        return error
    finally:
        connection.execute("ROLLBACK")
    return None


def refused(error: psycopg.Error | None) -> bool:
    return error is not None and "code: " in (error.diag.message_detail or "")


@pytest.mark.parametrize("case", CORPUS["stopped"])
def test_is_stopped(session: psycopg.Connection[tuple[Any, ...]], case: str) -> None:
    assert refused(error := run(session, case)), error


@pytest.mark.parametrize("case", CORPUS["passed"])
def test_passes(session: psycopg.Connection[tuple[Any, ...]], case: str) -> None:
    assert run(session, case) is None


@pytest.mark.parametrize("case", [c for c in CORPUS["stopped"] if " -- [" in c])
def test_values_alone_decide(session: psycopg.Connection[tuple[Any, ...]], case: str) -> None:
    """The corpus says what it means: the same text is let through with a value that spares rows,
    or is stopped before any value is known."""
    text, _, values = case.rpartition(" -- [")
    other = f"{text} -- [" + values.replace("-1", "100").replace("[0", "[100")
    assert isinstance(run(session, other), psycopg.Error | None)


async def test_binary_parameters_of_a_driver_that_asks_for_types(
    guarded: tuple[stage.Running, EmbeddedPostgres],
) -> None:
    """asyncpg: types described first, values bound in binary, one statement bound many times."""
    running, _ = guarded
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=running.ports["main"],
        user="alice",
        password="alice-password",
        database="vault",
        ssl=False,
    )
    try:
        transaction = connection.transaction()
        await transaction.start()
        spare = await connection.prepare("DELETE FROM events WHERE id > $1 RETURNING id")
        assert len(await spare.fetch(150)) == 50
        assert len(await spare.fetch(100)) == 50
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await spare.fetch(-1)
        await transaction.rollback()
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.executemany(
                "UPDATE products SET price = $1 WHERE id > $2", [(1, 19), (2, 18), (0, 0)]
            )
        assert await connection.fetchval("SELECT count(*) FROM products WHERE price < 3") == 0
        assert await connection.fetchval("SELECT count(*) FROM events") == 200
    finally:
        await connection.close()


def test_nothing_was_lost(guarded: tuple[stage.Running, EmbeddedPostgres]) -> None:
    with psycopg.connect(guarded[1].uri(database="vault")) as root:
        assert stage.one(root, "SELECT count(*) FROM events") == 200
        assert stage.one(root, "SELECT count(*) FROM ledger") == 0


def test_an_error_of_the_question_refuses(session: psycopg.Connection[tuple[Any, ...]]) -> None:
    """A question that fails is no licence; the session goes on."""
    assert refused(run(session, "delete from events where id > 1 / (n - n)"))
    assert session.execute("SELECT 1").fetchone() == (1,)


def test_pipelined_statements_are_asked_about_in_order(
    session: psycopg.Connection[tuple[Any, ...]],
) -> None:
    with session.pipeline():
        session.execute("BEGIN")
        first = session.execute("DELETE FROM events WHERE id > %s", [100])
        second = session.execute("SELECT count(*) FROM events")
        third = session.execute("DELETE FROM events WHERE id <= %s", [50])
    assert (first.rowcount, second.fetchone(), third.rowcount) == (100, (100,), 50)
    session.execute("ROLLBACK")
    with pytest.raises(psycopg.Error), session.pipeline():
        session.execute("BEGIN")
        session.execute("DELETE FROM events WHERE id > %s", [100])
        session.execute("DELETE FROM events WHERE id <= %s", [100])
    session.execute("ROLLBACK")
    assert session.execute("SELECT count(*) FROM events").fetchone() == (200,)
