"""Tables that become parts of others (INHERIT) past the appliance, and are let go of: what they
hold is not shown to somebody who owes masks on it.

Catalogs are compared once a minute here. What is in `part.name` begins with SECRET.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running
from tests.endtoend.test_coherence import (
    Ask,
    Connection,
    among_others,
    by_copy,
    by_cursor,
    by_execute,
    extended,
    in_transaction,
    is_repeatable,
    prepared,
    simple,
)

POLICY = """
version: 1
known_relations: ["*.c.*"]
rules:
  - {id: all, effect: allow, actions: [everything]}
  - id: no-names
    effect: mask
    principals: {names: [alice]}
    resources: ["*.c.part.name", "*.c.parted.name"]
    mask: {method: redact}
"""

SCHEMA = f"""
DROP SCHEMA IF EXISTS c CASCADE;
CREATE SCHEMA c;
CREATE TABLE c.people (id int, name text);
INSERT INTO c.people VALUES (1, 'PERSON 1');
CREATE TABLE c.child () INHERITS (c.people);
CREATE TABLE c.part (id int, name text);
INSERT INTO c.part VALUES (2, 'SECRET-2');
CREATE TABLE c.first (id int);
CREATE TABLE c.gate () INHERITS (c.first);
CREATE TABLE c.parted (id int, name text);
GRANT ALL ON SCHEMA c TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA c TO {ROLE};
"""
ALL = "SELECT upper(name) FROM c.people"
BEHIND = "SELECT upper(p.name) FROM c.first f FULL JOIN c.people p USING (id)"
"""The planner takes the parts of `first` before it looks for those of `people`."""

repeatable = is_repeatable(simple)


def by_temporary(connection: Connection, text: str) -> str:
    connection.execute("DROP TABLE IF EXISTS pg_temp.kept")
    connection.execute(f"CREATE TEMPORARY TABLE kept AS {text}".encode())
    return simple(connection, "SELECT * FROM pg_temp.kept")


def by_lasting_cursor(connection: Connection, text: str) -> str:
    connection.execute("CLOSE ALL")
    connection.execute(f"DECLARE k CURSOR WITH HOLD FOR {text}".encode())
    return simple(connection, "FETCH ALL FROM k")


WAYS = {
    ask.__name__: ask
    for ask in (
        simple,
        extended,
        prepared,
        by_cursor,
        by_copy,
        in_transaction,
        by_execute,
        among_others,
        by_temporary,
        by_lasting_cursor,
    )
} | {"repeatable": repeatable}


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    made = Estate(tmp_path_factory.mktemp("parts"), vault, authority)
    made.write("policy.yaml", POLICY)
    made.configuration["limits"] = {"catalog_refresh_ms": 60_000}
    with made.serve() as running:
        yield running


def connected(vault: EmbeddedPostgres) -> Connection:
    return psycopg.connect(vault.uri(database=DATABASE), autocommit=True)


@pytest.fixture
def direct(vault: EmbeddedPostgres) -> Iterator[Connection]:
    with connected(vault) as connection:
        connection.execute(SCHEMA.encode())
        yield connection


@pytest.fixture
def alice(proxy: Running, direct: Connection) -> Iterator[Connection]:
    with proxy.connect("alice", "alice-password") as connection:
        yield connection


def told(ask: Ask, connection: Connection, text: str) -> str:
    try:
        return ask(connection, text)
    except psycopg.Error as refused:
        return f"refused: {refused}"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parent", ["c.people", "c.child"])
def test_one_that_came(direct: Connection, alice: Connection, parent: str, way: str) -> None:
    for _ in range(4):
        assert "PERSON" in WAYS[way](alice, ALL)
    direct.execute(f"ALTER TABLE c.part INHERIT {parent}".encode())
    answer = told(WAYS[way], alice, ALL)
    assert "SECRET" not in answer


@pytest.mark.parametrize("way", WAYS)
def test_one_that_came_and_went_while_a_statement_waited_for_it(
    vault: EmbeddedPostgres, direct: Connection, alice: Connection, way: str
) -> None:
    for _ in range(4):
        assert "PERSON" in WAYS[way](alice, BEHIND)
    with connected(vault) as keeper, connected(vault) as taker, ThreadPoolExecutor(1) as pool:
        keeper.execute("BEGIN; LOCK TABLE c.gate IN ACCESS EXCLUSIVE MODE")
        asked = pool.submit(told, WAYS[way], alice, BEHIND)
        wait_for_lock(direct, "c.gate")
        direct.execute("ALTER TABLE c.part INHERIT c.people")
        taker.execute("BEGIN; ALTER TABLE c.part NO INHERIT c.people")
        keeper.execute("COMMIT")
        wait_for_lock(direct, "c.part")
        taker.execute("COMMIT")
        answer = asked.result(20)
    assert "SECRET" not in answer
    assert "40001" in answer or "57P03" in answer or "schema" in answer or "PERSON" in answer


def test_what_else_the_transaction_has_open_is_no_such_part(
    direct: Connection, alice: Connection
) -> None:
    """A table of the same columns that somebody changes meanwhile in ways that wait for nobody."""
    assert "PERSON" in simple(alice, ALL)
    with alice.transaction():
        assert simple(alice, "SELECT name FROM c.people WHERE id = 1") == "[('PERSON 1',)]"
        assert simple(alice, "SELECT name FROM c.parted") == "[]"
        direct.execute("ALTER TABLE c.first ALTER id SET STATISTICS 7")
        direct.execute("CREATE TABLE c.other (id int)")
        assert simple(alice, "SELECT name FROM c.people WHERE id = 1") == "[('PERSON 1',)]"


def wait_for_lock(direct: Connection, name: str) -> None:
    """Somebody waits to read it."""
    text = "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (direct.execute(text, (name,)).fetchone() or (0,))[0]:
            return
        time.sleep(0.01)
    pytest.fail(f"nobody waits for {name}")
