"""Tables that become parts of others (INHERIT) past the appliance, and are let go of: what they
hold is not shown to somebody who owes masks on it.

Catalogs are compared once a minute here. What is in `part.name` begins with SECRET.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

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
from tests.wireclient import SYNC as WIRE_SYNC
from tests.wireclient import WireClient, rows
from tests.wireclient import bind as wire_bind
from tests.wireclient import execute as wire_execute
from tests.wireclient import parse as wire_parse

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

STORM_SECONDS = 2.0

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


@contextmanager
def comes_and_goes(vault: EmbeddedPostgres, direct: Connection) -> Iterator[None]:
    """What is sent within it waits for a part of `first`; behind it, `part` has become a part of
    `people`, and was let go of while the planner waited for it."""
    with connected(vault) as keeper, connected(vault) as taker:
        keeper.execute("BEGIN; LOCK TABLE c.gate IN ACCESS EXCLUSIVE MODE")
        yield
        wait_for_lock(direct, "c.gate")
        direct.execute("ALTER TABLE c.part INHERIT c.people")
        taker.execute("BEGIN; ALTER TABLE c.part NO INHERIT c.people")
        keeper.execute("COMMIT")
        wait_for_lock(direct, "c.part")
        taker.execute("COMMIT")


@pytest.mark.parametrize("way", WAYS)
def test_one_that_came_and_went_while_a_statement_waited_for_it(
    vault: EmbeddedPostgres, direct: Connection, alice: Connection, way: str
) -> None:
    for _ in range(4):
        assert "PERSON" in WAYS[way](alice, BEHIND)
    with ThreadPoolExecutor(1) as pool:
        with comes_and_goes(vault, direct):
            asked = pool.submit(told, WAYS[way], alice, BEHIND)
        answer = asked.result(20)
    assert "SECRET" not in answer
    assert "schema" in answer or "PERSON" in answer


@pytest.mark.parametrize("way", ["simple", "prepared", "by_cursor", "by_copy", "repeatable"])
def test_a_storm(proxy: Running, direct: Connection, way: str) -> None:
    answers: list[str] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            with proxy.connect("alice", "alice-password") as alice:
                while not (stop.is_set() or alice.closed):
                    answers.append(told(WAYS[way], alice, ALL))

    lookers = [threading.Thread(target=look) for _ in range(3)]
    for looker in lookers:
        looker.start()
    ends = time.monotonic() + STORM_SECONDS
    while time.monotonic() < ends:
        direct.execute("ALTER TABLE c.part INHERIT c.people")
        direct.execute("ALTER TABLE c.part NO INHERIT c.people")
        time.sleep(0.02)
    stop.set()
    for looker in lookers:
        looker.join(20)
    assert any("PERSON" in answer for answer in answers)
    assert not [answer for answer in answers if "SECRET" in answer]


def test_its_rows_are_not_counted_by_explain(
    vault: EmbeddedPostgres, direct: Connection, alice: Connection
) -> None:
    text = f"EXPLAIN (ANALYZE, COSTS OFF) {BEHIND} WHERE p.name LIKE 'SECRET%'"
    assert "child" in simple(alice, text)
    with ThreadPoolExecutor(1) as pool:
        with comes_and_goes(vault, direct):
            asked = pool.submit(told, simple, alice, text)
        assert "the schema was changed" in asked.result(20)


@pytest.mark.parametrize("text", [f"BEGIN; {ALL}; COMMIT", f"{ALL}; COMMIT"])
def test_a_text_that_lets_go_of_its_locks_before_they_are_looked_at(
    alice: Connection, text: str
) -> None:
    with pytest.raises(psycopg.Error, match="could become a part of one"):
        simple(alice, text)


def test_what_would_be_stored_without_a_look(direct: Connection, alice: Connection) -> None:
    direct.execute("CREATE MATERIALIZED VIEW c.kept AS SELECT * FROM c.people")
    direct.execute(f"ALTER MATERIALIZED VIEW c.kept OWNER TO {ROLE}".encode())
    with pytest.raises(psycopg.Error, match="could become a part of one"):
        alice.execute("REFRESH MATERIALIZED VIEW c.kept")


def test_what_else_the_transaction_has_open_is_no_such_part(
    direct: Connection, alice: Connection
) -> None:
    """A table of the same columns: that somebody changes meanwhile in ways that wait for nobody, or
    that it has made itself."""
    assert "PERSON" in simple(alice, ALL)
    with alice.transaction():
        assert simple(alice, "SELECT name FROM c.people WHERE id = 1") == "[('PERSON 1',)]"
        assert simple(alice, "SELECT name FROM c.parted") == "[]"
        direct.execute("ALTER TABLE c.first ALTER id SET STATISTICS 7")
        direct.execute("CREATE TABLE c.other (id int)")
        assert simple(alice, "SELECT name FROM c.people WHERE id = 1") == "[('PERSON 1',)]"


def test_a_table_that_it_has_made_itself_is_no_such_part(
    direct: Connection, alice: Connection
) -> None:
    for ask in (simple, by_copy):
        with alice.transaction(force_rollback=True):
            alice.execute("CREATE TABLE c.mine (LIKE c.people)")
            direct.execute("INSERT INTO c.people VALUES (7, 'PERSON 7')")
            assert "PERSON" in ask(alice, ALL)


def test_a_portal_that_was_bound_before_something_else_was_looked_at(
    vault: EmbeddedPostgres, proxy: Running, direct: Connection
) -> None:
    """Its proof is of what was open when it was bound; one that failed has proved nothing."""
    where = f"postgres://alice:alice-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    with WireClient.login(where) as client:
        client.ask(wire_parse("p", BEHIND), WIRE_SYNC)
        client.query("BEGIN")
        with comes_and_goes(vault, direct):
            client.send(wire_bind("k", "p"), WIRE_SYNC)
        client.until()
        client.query("SELECT count(*) FROM c.parted")
        client.query("SAVEPOINT a")
        for _ in range(2):
            said = client.ask(wire_execute("k"), WIRE_SYNC)
            assert "SECRET" not in str([*map(str, said)]) + str(rows(said))
            client.query("ROLLBACK TO a")


@pytest.mark.parametrize("closed", [True, False])
def test_a_plan_that_was_never_run(
    vault: EmbeddedPostgres, proxy: Running, direct: Connection, closed: bool
) -> None:
    """The server keeps it for what is prepared."""
    where = f"postgres://alice:alice-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    with WireClient.login(where) as client:
        run = wire_bind("k", "p"), wire_execute("k"), WIRE_SYNC
        client.ask(wire_parse("p", BEHIND), WIRE_SYNC)
        assert "PERSON" in str(rows(client.ask(*run)))  # there is a plan, which is made anew
        broken = b"" if closed else wire_parse("q", "SELECT FROM FROM")
        with comes_and_goes(vault, direct):
            client.send(wire_bind("k", "p"), broken, WIRE_SYNC)
        client.until()
        for _ in range(4):
            said = client.ask(*run)
            assert "SECRET" not in str(rows(said)) and "PERSON" in str(rows(said))


def wait_for_lock(direct: Connection, name: str) -> None:
    """Somebody waits to read it."""
    text = "SELECT count(*) FROM pg_locks WHERE relation = %s::regclass AND NOT granted"
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if (direct.execute(text, (name,)).fetchone() or (0,))[0]:
            return
        time.sleep(0.01)
    pytest.fail(f"nobody waits for {name}")
