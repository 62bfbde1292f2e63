"""Masking at the source amid what else a session does: temporary relations, prepared statements,
and our own questions before a statement.

Catalogs are compared once a minute here: only the client's own session can notice a change. What is
in `ssn` begins with SECRET.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running

POLICY = """
version: 1
known_relations: ["*.c.*", "*.early.*"]
rules:
  - {id: all, effect: allow, actions: [everything]}
  - {id: sparing, effect: deny, actions: [update, delete], flags: [no_where, trivial_where]}
  - id: no-ssn
    effect: mask
    principals: {names: [alice]}
    resources: ["*.c.people.ssn", "*.c.staff.ssn"]
    mask: {method: redact}
"""

SCHEMA = f"""
DROP SCHEMA IF EXISTS c, early CASCADE;
CREATE SCHEMA c;
CREATE TABLE c.people (id int PRIMARY KEY, name text, ssn text);
INSERT INTO c.people SELECT n, 'person ' || n, 'SECRET-' || n FROM generate_series(1, 3) n;
CREATE TABLE c.workers AS SELECT id, ssn FROM c.people;
CREATE TABLE c.plain AS SELECT n AS id FROM generate_series(0, 2) n;
CREATE VIEW c.labels AS SELECT id, 'a ' || ssn AS label FROM c.people;
GRANT ALL ON SCHEMA c TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA c TO {ROLE};
"""

Connection = psycopg.Connection[tuple[Any, ...]]
Ask = Callable[[Connection, str], Any]


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    made = Estate(tmp_path_factory.mktemp("sessions"), vault, authority)
    made.write("policy.yaml", POLICY)
    made.configuration["limits"] = {"catalog_refresh_ms": 60_000}
    with made.serve() as running:
        yield running


@pytest.fixture
def direct(vault: EmbeddedPostgres) -> Iterator[Connection]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        yield connection


@pytest.fixture
def alice(proxy: Running, direct: Connection) -> Iterator[Connection]:
    with proxy.connect("alice", "alice-password") as connection:
        connection.execute("SET statement_timeout = '20s'")
        yield connection


def simple(connection: Connection, text: str) -> Any:
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(text)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else cursor.rowcount


def extended(connection: Connection, text: str) -> Any:
    cursor = connection.execute(text, prepare=False, binary=True)  # type: ignore[arg-type]
    return cursor.fetchall() if cursor.description else cursor.rowcount


def prepared(connection: Connection, text: str) -> Any:
    connection.prepare_threshold = 0
    cursor = connection.execute(text, prepare=True)  # type: ignore[arg-type]
    return cursor.fetchall() if cursor.description else cursor.rowcount


def in_transaction(connection: Connection, text: str) -> Any:
    with connection.transaction():
        simple(connection, "SELECT count(*) FROM c.plain")
        return simple(connection, text)


WAYS = [simple, extended, prepared, in_transaction]


@pytest.mark.parametrize("ask", WAYS)
def test_temporary_tables_beside_masked_ones(alice: Connection, ask: Ask) -> None:
    """What is put into them are masks; where they are named, a rewritten statement finds them."""
    ask(alice, "CREATE TEMP TABLE mine AS SELECT id, lower(ssn) AS low FROM c.people")
    assert ask(alice, "SELECT count(DISTINCT low) FROM mine") == [(1,)]
    joined = "FROM c.people p JOIN mine m USING (id) WHERE p.ssn = upper(m.low)"
    assert ask(alice, f"SELECT p.ssn || m.low {joined} AND id = 1") == [("********",)]
    assert ask(alice, f"INSERT INTO mine SELECT id, 'new ' || ssn {joined}") == 3
    assert ask(alice, "SELECT low FROM pg_temp.mine WHERE id = 1 ORDER BY low") == [
        ("****",),
        ("new ****",),
    ]
    assert ask(alice, "SELECT (NULL::mine).low, max(upper(ssn)) FROM c.people") == [(None, "****")]
    assert ask(alice, "UPDATE mine SET low = 'x' WHERE id = 1") == 2
    ask(alice, "CREATE TEMP TABLE people AS SELECT 1 AS id, 'own' AS ssn")
    both = "SELECT o.ssn || lower(p.ssn) FROM people o JOIN c.people p USING (id)"
    assert ask(alice, both) == [("own****",)]
    ask(alice, "DROP TABLE people, mine")


@pytest.mark.parametrize("ask", WAYS)
def test_a_temporary_view_over_what_is_masked_later(
    direct: Connection, alice: Connection, ask: Ask
) -> None:
    """Masks are owed by what a view names today, not by what it named when it was made."""
    ask(alice, "CREATE TEMP VIEW seen AS SELECT id + 0 AS id, ssn || '' AS plain FROM c.workers")
    ask(alice, "CREATE TEMP VIEW over AS SELECT * FROM seen")
    assert ask(alice, "SELECT plain FROM over WHERE id = 1") == [("SECRET-1",)]
    direct.execute("ALTER TABLE c.workers RENAME TO staff")
    for text in ("SELECT plain FROM over", "SELECT count(*) FROM seen WHERE plain <> ''"):
        with pytest.raises(psycopg.Error) as refused:
            ask(alice, text)
        assert "SECRET" not in str(refused.value)
        assert "masked" in str(refused.value) or "changed" in str(refused.value)
    alice.execute("DISCARD TEMP")


def test_a_temporary_view_that_calls_what_nobody_vouches_for(
    direct: Connection, alice: Connection
) -> None:
    """An operator's function, too, which was harmless when the view was made."""
    direct.execute(
        "CREATE FUNCTION c.same(int, int) RETURNS bool LANGUAGE sql IMMUTABLE RETURN $1 = $2;"
        "CREATE OPERATOR c.=== (FUNCTION = c.same, LEFTARG = int, RIGHTARG = int)"
    )
    alice.execute("CREATE TEMP VIEW called AS SELECT id FROM c.plain WHERE c.same(id, 1)")
    alice.execute("CREATE TEMP VIEW operated AS SELECT id FROM c.plain WHERE id OPERATOR(c.===) 1")
    for name in ("called", "operated"):
        assert simple(alice, f"SELECT id FROM {name}") == [(1,)]
    direct.execute(
        "CREATE OR REPLACE FUNCTION c.same(int, int) RETURNS bool LANGUAGE plpgsql"
        " AS 'BEGIN RETURN true; END'"
    )
    for name in ("called", "operated"):
        with pytest.raises(psycopg.Error, match="same"):
            simple(alice, f"SELECT id FROM {name}")


@pytest.mark.parametrize("ask", WAYS)
def test_a_view_in_a_rewritten_text_is_replaced(
    direct: Connection, alice: Connection, ask: Ask
) -> None:
    """Its definition of then is part of what was sent: never again."""
    text = "SELECT label || '!' FROM c.labels WHERE id = 1"
    assert ask(alice, text) == [("a ****!",)]
    direct.execute(
        "CREATE OR REPLACE VIEW c.labels AS SELECT id, 'b ' || ssn AS label FROM c.people"
    )
    try:
        assert ask(alice, text) == [("b ****!",)]
    except psycopg.errors.InvalidSqlStatementName:
        assert ask is prepared
        alice.execute("DEALLOCATE ALL")
        assert ask(alice, text) == [("b ****!",)]


@pytest.mark.parametrize("ask", WAYS)
def test_a_table_below_a_view_moves(direct: Connection, alice: Connection, ask: Ask) -> None:
    """A rewritten text names it, a client's does not: another takes its name."""
    text = "SELECT label || '!' FROM c.labels WHERE id = 1"
    assert ask(alice, text) == [("a ****!",)]
    direct.execute(
        "ALTER SCHEMA c RENAME TO early; CREATE SCHEMA c;"
        "CREATE TABLE c.plain AS SELECT 1 AS id;"
        "CREATE TABLE c.people AS SELECT id, ssn AS name, 'another' AS ssn FROM early.people;"
        "CREATE VIEW c.labels AS SELECT id, 'c ' || name AS label FROM c.people;"
        f"GRANT ALL ON SCHEMA c TO {ROLE}; GRANT ALL ON ALL TABLES IN SCHEMA c TO {ROLE}"
    )
    with (
        pytest.raises(psycopg.errors.InvalidSqlStatementName) if ask is prepared else nullcontext()
    ):
        assert ask(alice, text) == [("c SECRET-1!",)]  # `name` is not masked: of the new ones


@pytest.mark.parametrize("ask", WAYS)
def test_what_a_write_spares_is_asked_beside_the_check(alice: Connection, ask: Ask) -> None:
    """First whether what it rests on is as it was, then whether any row is spared; one that
    rests on masked columns is not asked about."""
    assert ask(alice, "SELECT count(*) FROM c.plain") == [(3,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="sparing"):
        ask(alice, "DELETE FROM c.plain WHERE id >= 0")
    assert ask(alice, "SELECT count(*) FROM c.plain") == [(3,)]
    assert ask(alice, "DELETE FROM c.plain WHERE id > 0") == 2
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(alice, "DELETE FROM c.people WHERE ssn <> 'SECRET-1'")
    assert ask(alice, "SELECT count(*) FROM c.people") == [(3,)]


@pytest.mark.parametrize("ask", WAYS)
def test_a_question_that_ends_in_an_error(alice: Connection, ask: Ask) -> None:
    """The client gets an answer, and its session goes on."""
    for _ in range(2):
        with pytest.raises(psycopg.Error):
            ask(alice, "DELETE FROM c.plain WHERE 1 / id >= 0")
        assert ask(alice, "SELECT count(*) FROM c.plain") == [(3,)]
    with pytest.raises(psycopg.Error), alice.transaction():
        simple(alice, "DELETE FROM c.plain WHERE 1 / id >= 0")
    assert ask(alice, "SELECT upper(max(ssn)) FROM c.people") == [("****",)]


EXPLAINED = [
    ("SELECT 1 FROM c.people WHERE ssn LIKE 'a%'", ""),
    ("SELECT max(p.ssn) FROM c.people p, c.plain", ""),
    ("SELECT lower(ssn) FROM c.people", "ANALYZE off, "),
    ("EXECUTE waiting", ""),
]


@pytest.mark.parametrize(("text", "more"), EXPLAINED)
@pytest.mark.parametrize("ask", WAYS)
def test_explain_tells_no_sizes_of_masked_cells(
    alice: Connection, direct: Connection, ask: Ask, text: str, more: str
) -> None:
    """Costs come with the average width of raw values; buffers and log volumes follow them."""
    prepare = "PREPARE waiting AS SELECT p.ssn FROM c.people p CROSS JOIN c.plain"
    explain = f"EXPLAIN ({more}BUFFERS, COSTS, VERBOSE) {text}"
    alice.execute(prepare.encode())
    direct.execute(prepare.encode())
    told = str(ask(alice, explain))
    assert "Scan" in told
    assert "on c.people" in told
    for word in ("cost=", "width=", "Buffers", "WAL"):
        assert word not in told
    assert "width=" in str(simple(direct, explain))


@pytest.mark.parametrize("ask", WAYS)
def test_explain_tells_sizes_where_nothing_is_masked(alice: Connection, ask: Ask) -> None:
    assert "width=" in str(ask(alice, "EXPLAIN SELECT name FROM c.people WHERE id = 1"))


@pytest.mark.parametrize("ask", WAYS)
def test_explain_analyze_tells_how_much_memory_raw_values_take(alice: Connection, ask: Ask) -> None:
    for text in (
        "SELECT name, rank() OVER (ORDER BY name), ssn FROM c.people",
        "UPDATE c.people SET name = 'x' WHERE id = 1",
    ):
        with pytest.raises(psycopg.Error, match="EXPLAIN ANALYZE tells how much memory"):
            ask(alice, f"EXPLAIN (ANALYZE) {text}")
    assert "Memory" in str(ask(alice, "EXPLAIN ANALYZE SELECT id FROM c.plain ORDER BY id"))
    assert "actual" in str(ask(alice, "EXPLAIN ANALYZE UPDATE c.plain SET id = 9 WHERE id = 1"))
