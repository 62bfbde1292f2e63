"""What changes between two messages of one session, or between two statements of one message:
nothing raw comes through, however long somebody can make the gap.

Catalogs are compared once a minute here. What is in `people.ssn` begins with SECRET.
"""

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests import wireclient as w
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running

POLICY = """
version: 1
known_relations: ["*.g.*", "*.demo.*", "*.early.*"]
rules:
  - {id: all, effect: allow, actions: [everything]}
  - id: no-ssn
    effect: mask
    principals: {names: [alice]}
    resources: ["*.g.people.ssn", "*.base.people.ssn", "*.base.log.ssn"]
    mask: {method: redact}
"""

SCHEMA = f"""
DROP SCHEMA IF EXISTS g, demo, early CASCADE;
CREATE SCHEMA g;
CREATE SCHEMA demo;
CREATE SCHEMA early;
CREATE TABLE g.people (id int PRIMARY KEY, name text, ssn text);
INSERT INTO g.people SELECT n, 'person ' || n, 'SECRET-' || n FROM generate_series(1, 3) n;
CREATE TABLE g.orders (id int PRIMARY KEY, note text);
INSERT INTO g.orders SELECT n, 'order ' || n FROM generate_series(1, 3) n;
CREATE TABLE demo.people (id int PRIMARY KEY, name text, ssn text);
INSERT INTO demo.people VALUES (1, 'person demo', 'demo');
CREATE FUNCTION g.name_of(int) RETURNS text LANGUAGE sql STABLE
  AS 'SELECT p.name FROM g.people p WHERE p.id = $1';
CREATE VIEW g.seen AS SELECT id, name FROM g.people;
CREATE VIEW g.over AS SELECT id, name FROM g.seen;
CREATE FUNCTION g.through(int) RETURNS text LANGUAGE sql STABLE
  AS 'SELECT o.name FROM g.over o WHERE o.id = $1';
CREATE FUNCTION g.peek(x int[]) RETURNS text LANGUAGE plpgsql
  AS $$ BEGIN RETURN (SELECT string_agg(ssn, ',') FROM g.people); END $$;
GRANT ALL ON SCHEMA g, demo, early TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA g, demo TO {ROLE};
ALTER SCHEMA g OWNER TO {ROLE};
ALTER SCHEMA demo OWNER TO {ROLE};
ALTER FUNCTION g.peek(int[]) OWNER TO {ROLE};
GRANT CREATE ON DATABASE {DATABASE} TO {ROLE};
"""

LASTING = f"""
CREATE SCHEMA base AUTHORIZATION {ROLE};
CREATE SCHEMA spare AUTHORIZATION {ROLE};
CREATE TABLE base.people AS SELECT 1 AS id, 'SECRET-1' AS ssn;
CREATE TABLE spare.people AS SELECT 1 AS id, 'open' AS ssn;
CREATE TABLE base.log (id int, ssn text) PARTITION BY LIST (id);
CREATE TABLE base.log_1 PARTITION OF base.log FOR VALUES IN (1);
CREATE TABLE base.log_2 (id int, ssn text);
INSERT INTO base.log VALUES (1, 'SECRET-1');
GRANT ALL ON ALL TABLES IN SCHEMA base, spare TO {ROLE};
"""
"""What is there before the database is first seen."""

SWAP = """BEGIN; ALTER TABLE g.people RENAME name TO x; ALTER TABLE g.people RENAME ssn TO name;
ALTER TABLE g.people RENAME x TO ssn; COMMIT"""

TELLING = """CREATE OR REPLACE FUNCTION g.name_of(int) RETURNS text LANGUAGE sql STABLE
AS 'SELECT p.ssn FROM g.people p WHERE p.id = $1'"""

Connection = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    made = Estate(tmp_path_factory.mktemp("gaps"), vault, authority)
    made.write("policy.yaml", POLICY)
    made.configuration["limits"] = {"catalog_refresh_ms": 60_000}
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        connection.execute(LASTING.encode())
    with made.serve() as running:
        yield running


@pytest.fixture
def direct(vault: EmbeddedPostgres) -> Iterator[Connection]:
    """Whoever changes the schema without asking."""
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        yield connection


@pytest.fixture
def alice(proxy: Running, direct: Connection) -> Iterator[w.WireClient]:
    uri = f"postgresql://alice:alice-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    client = w.WireClient.login(uri)
    yield client
    client.socket.close()


def swap_if_let(direct: Connection) -> None:
    """Unless the appliance holds what would be changed."""
    direct.execute("SET lock_timeout = '1s'")
    try:
        direct.execute(SWAP)
    except psycopg.errors.LockNotAvailable:
        direct.execute("ROLLBACK")


def ask(client: w.WireClient, text: str) -> str:
    """Everything that comes back, as text."""
    return shown(client.ask(w.query(text)))


def shown(messages: list[w.Message]) -> str:
    return " ".join(f"{m.kind}:{m.body!r}" for m in messages)


BESIDE = {
    "a query": "SELECT upper(name) FROM g.people",
    "a copy": "COPY (SELECT name FROM g.people) TO STDOUT",
    "another": "EXECUTE q",
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
def test_execute_beside_another_statement(
    direct: Connection, alice: w.WireClient, beside: str
) -> None:
    """Both are looked at, not the first one only."""
    ask(alice, "PREPARE p AS SELECT note FROM g.orders")
    ask(alice, "PREPARE q AS SELECT upper(p.name) FROM g.people p")
    assert "PERSON" in ask(alice, beside).upper()
    assert "order 1" in ask(alice, "SELECT note FROM g.orders")
    direct.execute(SWAP)
    assert "SECRET" not in ask(alice, f"EXECUTE p; {beside}")


@pytest.mark.parametrize("view", ["seen", "over"])
def test_a_view_that_a_function_reads(direct: Connection, alice: w.WireClient, view: str) -> None:
    text = "SELECT g.through(id) FROM g.orders"
    for _ in range(4):
        assert "person" in ask(alice, text)
    direct.execute(f"CREATE OR REPLACE VIEW g.{view} AS SELECT id, ssn AS name FROM g.people")
    assert "SECRET" not in ask(alice, text)


def test_fetch_after_a_function_changed(direct: Connection, alice: w.WireClient) -> None:
    assert "person" in ask(alice, "SELECT g.name_of(id) FROM g.orders")
    ask(alice, "BEGIN")
    ask(alice, "DECLARE c CURSOR FOR SELECT g.name_of(id) FROM g.orders")
    direct.execute("SET lock_timeout = '1s'")
    try:
        direct.execute(SWAP)
    except psycopg.errors.LockNotAvailable:
        print("LOCKED")
        direct.execute("ROLLBACK")
    assert "SECRET" not in ask(alice, "FETCH ALL FROM c")


def test_execute_of_a_portal_after_a_function_changed(
    direct: Connection, alice: w.WireClient
) -> None:
    assert "person" in ask(alice, "SELECT g.name_of(id) FROM g.orders")
    alice.send(w.parse("", "SELECT g.name_of(id) FROM g.orders") + w.bind() + w.FLUSH)
    time.sleep(0.5)
    direct.execute("SET lock_timeout = '1s'")
    try:
        direct.execute(SWAP)
    except psycopg.errors.LockNotAvailable:
        print("LOCKED")
        direct.execute("ROLLBACK")
    assert "SECRET" not in shown(alice.ask(w.execute() + w.SYNC))


def test_a_pipeline_that_stays_open(direct: Connection, alice: w.WireClient) -> None:
    text = "SELECT g.name_of(id) FROM g.orders"
    assert "person" in ask(alice, text)
    alice.send(w.parse("", text) + w.bind() + w.execute() + w.FLUSH)
    time.sleep(0.5)
    direct.execute("SET lock_timeout = '1s'")
    try:
        direct.execute(SWAP)
    except psycopg.errors.LockNotAvailable:
        print("LOCKED")
        direct.execute("ROLLBACK")
    got = shown(alice.ask(w.parse("", text) + w.bind() + w.execute() + w.SYNC))
    assert "SECRET" not in got


def test_a_pipeline_and_a_replaced_function(direct: Connection, alice: w.WireClient) -> None:
    text = "SELECT g.name_of(id) FROM g.orders"
    assert "person" in ask(alice, text)
    alice.send(w.parse("", text) + w.bind() + w.execute() + w.FLUSH)
    time.sleep(0.5)
    direct.execute(TELLING)
    got = shown(alice.ask(w.parse("", text) + w.bind() + w.execute() + w.SYNC))
    assert "SECRET" not in got


def test_fetch_after_a_function_was_replaced(direct: Connection, alice: w.WireClient) -> None:
    ask(alice, "BEGIN")
    ask(alice, "DECLARE c CURSOR FOR SELECT g.name_of(id) FROM g.orders")
    direct.execute(TELLING)
    assert "SECRET" not in ask(alice, "FETCH ALL FROM c")


def test_fetch_by_pieces(direct: Connection, alice: w.WireClient) -> None:
    """What nobody changed goes on."""
    ask(alice, "BEGIN")
    ask(alice, "DECLARE c CURSOR FOR SELECT g.name_of(id) FROM g.orders")
    assert "person 1" in ask(alice, "FETCH 1 FROM c")
    direct.execute("CREATE FUNCTION early.other() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    ask(alice, "FETCH 1 FROM c")
    ask(alice, "COMMIT")


def test_execute_of_a_portal_after_a_function_was_replaced(
    direct: Connection, alice: w.WireClient
) -> None:
    text = "SELECT g.name_of(id) FROM g.orders"
    assert "person" in ask(alice, text)
    alice.send(w.parse("", text) + w.bind() + w.FLUSH)
    time.sleep(0.5)
    direct.execute(TELLING)
    assert "SECRET" not in shown(alice.ask(w.execute() + w.SYNC))


def test_a_portal_is_read_by_pieces(direct: Connection, alice: w.WireClient) -> None:
    """What nobody changed goes on."""
    text = "SELECT g.name_of(id) FROM g.orders"
    alice.send(w.parse("", text) + w.bind() + w.execute(rows=1) + w.FLUSH)
    for row in (2, 3):
        time.sleep(0.2)
        alice.send(w.execute(rows=1) + w.FLUSH)
        assert f"person {row - 1}" in shown(alice.until("s"))
    assert "person 3" in shown(alice.ask(w.SYNC))


def test_a_pipeline_and_a_new_shadow(direct: Connection, alice: w.WireClient) -> None:
    ask(alice, "SET search_path = early, g")
    text = "SELECT upper(name) FROM people"
    assert "PERSON" in ask(alice, text)
    alice.send(w.parse("", text) + w.bind() + w.execute() + w.FLUSH)
    time.sleep(0.5)
    direct.execute(
        "CREATE VIEW early.people AS SELECT id, ssn AS name FROM g.people;"
        f"GRANT SELECT ON early.people TO {ROLE}"
    )
    got = shown(alice.ask(w.parse("", text) + w.bind() + w.execute() + w.SYNC))
    assert "SECRET" not in got


RENAMED = "ALTER SCHEMA spare RENAME TO other; ALTER SCHEMA base RENAME TO spare"
BACK = "ALTER SCHEMA spare RENAME TO base; ALTER SCHEMA other RENAME TO spare"
OF_A_SCHEMA = [
    "SELECT upper(ssn) FROM spare.people",
    "COPY (SELECT ssn FROM spare.people) TO STDOUT",
]


@pytest.mark.parametrize("text", OF_A_SCHEMA)
def test_schemas_renamed(direct: Connection, alice: w.WireClient, text: str) -> None:
    """No row but the schemas' own changes with it."""
    for _ in range(4):
        assert "open" in ask(alice, text).lower()
    direct.execute(RENAMED)
    try:
        assert "SECRET" not in ask(alice, text)
    finally:
        direct.execute(BACK)


WORDS = f"""
CREATE DOMAIN early.word AS text;
CREATE TABLE early.words AS SELECT 1 AS id, 'open'::early.word AS ssn;
ALTER TABLE early.words OWNER TO {ROLE};
ALTER DOMAIN early.word OWNER TO {ROLE};
"""


def extended(text: str, name: str = "") -> bytes:
    return w.parse(name, text) + w.bind("", name) + w.execute()


@pytest.mark.parametrize("again", ["parsed again", "bound again"])
def test_a_column_dropped_in_ones_own_pipeline(
    direct: Connection, alice: w.WireClient, again: str
) -> None:
    """A lock holds others off, not oneself."""
    direct.execute(WORDS.encode())
    text = "SELECT (SELECT upper(ssn) FROM early.words) FROM g.people"
    assert "OPEN" in ask(alice, text)
    first, drop = extended(text, "a"), extended("DROP DOMAIN early.word CASCADE")
    last = extended(text) if again == "parsed again" else w.bind("", "a") + w.execute()
    for step in (first, drop):
        alice.send(step, w.FLUSH)
        alice.until("CE")
    got = shown(alice.ask(last + w.SYNC))
    assert "E:" in got
    assert "SECRET" not in got


@pytest.mark.parametrize("begin", ["", "BEGIN; ", "SELECT 1; "])
def test_a_column_dropped_in_the_same_text(
    direct: Connection, alice: w.WireClient, begin: str
) -> None:
    direct.execute(WORDS.encode())
    text = "SELECT (SELECT upper(ssn) FROM early.words) FROM g.people LIMIT 1"
    assert "OPEN" in ask(alice, text)
    drop = f"{begin}DROP DOMAIN early.word CASCADE"
    assert "SECRET" not in ask(alice, f"{drop}; {text}")
    ask(alice, "ROLLBACK")
    ask(alice, f"{drop}; UPDATE g.orders SET note = ({text})")
    ask(alice, "COMMIT")
    assert "SECRET" not in str(direct.execute("SELECT note FROM g.orders").fetchall())


@pytest.mark.parametrize("call", ["SELECT early.telling()", "SELECT early.loud(early.telling())"])
def test_a_column_of_a_functions_body_dropped_in_the_same_text(
    direct: Connection, alice: w.WireClient, call: str
) -> None:
    """The body is read when it is called, after the change."""
    direct.execute(WORDS.encode())
    direct.execute(
        "CREATE FUNCTION early.telling() RETURNS text LANGUAGE sql AS"
        " 'SELECT (SELECT upper(ssn) FROM early.words) FROM g.people LIMIT 1';"
        "CREATE FUNCTION early.loud(text) RETURNS text LANGUAGE sql AS 'SELECT upper($1)'"
    )
    assert "OPEN" in ask(alice, call)
    for change in ("DROP DOMAIN early.word CASCADE", "ALTER TABLE early.words DROP COLUMN ssn"):
        assert "SECRET" not in ask(alice, f"{change}; {call}")
    ask(alice, f"BEGIN; DROP DOMAIN early.word CASCADE; COMMIT; {call}")


@pytest.mark.parametrize("wrap", ["{}", "EXPLAIN ANALYZE {}", "CREATE TEMP TABLE x AS {}"])
def test_arguments_of_execute_are_worked_out_before_its_names(
    direct: Connection, alice: w.WireClient, wrap: str
) -> None:
    ask(alice, "SET search_path = demo")
    ask(alice, "PREPARE p(text) AS SELECT upper(ssn) || $1 FROM people")
    assert "DEMO" in ask(alice, "EXECUTE p(lower('X'))")
    for call in ("set_config('search_path', 'g', false)", "set_config('search_path', 'g', true)"):
        assert "SECRET" not in ask(alice, wrap.format(f"EXECUTE p({call})"))
        assert "SECRET" not in ask(alice, "SELECT * FROM x")


@pytest.mark.parametrize("name", ["people", "pg_temp.people"])
def test_a_savepoint_takes_a_temporary_table_back(
    direct: Connection, alice: w.WireClient, name: str
) -> None:
    """In the same text: what is read behind it is the lasting one."""
    ask(alice, "SET search_path = g")
    text = f"SELECT upper(ssn) FROM {name}"
    ask(alice, "BEGIN; SAVEPOINT s")
    ask(alice, "CREATE TEMP TABLE people AS SELECT 'mine' AS ssn")
    assert "MINE" in ask(alice, text)
    assert "SECRET" not in ask(alice, f"ROLLBACK TO s; {text}")
    ask(alice, "ROLLBACK")


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
def test_a_column_dropped_in_ones_own_transaction(
    direct: Connection, alice: w.WireClient, level: str
) -> None:
    """No other session sees that: its name means a column of an outer query now."""
    direct.execute(WORDS.encode())
    text = "SELECT (SELECT upper(ssn) FROM early.words) FROM g.people"
    assert "OPEN" in ask(alice, text)
    ask(alice, f"BEGIN ISOLATION LEVEL {level}")
    assert "OPEN" in ask(alice, text)
    assert "DROP DOMAIN" in ask(alice, "DROP DOMAIN early.word CASCADE")
    assert "SECRET" not in ask(alice, text)
    ask(alice, "ROLLBACK")
    assert "OPEN" in ask(alice, text)


def test_ones_own_writes_in_an_old_snapshot(direct: Connection, alice: w.WireClient) -> None:
    ask(alice, "BEGIN ISOLATION LEVEL REPEATABLE READ")
    ask(alice, "UPDATE g.orders SET note = note")
    ask(alice, "CREATE TEMP TABLE mine AS SELECT 'mine' AS ssn")
    assert "MINE" in ask(alice, "SELECT upper(ssn) FROM mine")
    assert "PERSON" in ask(alice, "SELECT upper(name) FROM g.people")
    ask(alice, "ROLLBACK")


@pytest.mark.parametrize("part", ["log_1", "log_2"])
def test_a_partition_that_is_one_no_more(
    direct: Connection, alice: w.WireClient, part: str
) -> None:
    """It has the rows still, and the masks; also one that became one after it was first seen."""
    text = f"SELECT upper(ssn) FROM base.{part}"
    direct.execute("CREATE TABLE IF NOT EXISTS base.told (id int)")
    if part == "log_2":
        ask(alice, text)
        direct.execute("ALTER TABLE base.log ATTACH PARTITION base.log_2 FOR VALUES IN (2)")
        direct.execute("INSERT INTO base.log VALUES (2, 'SECRET-2')")
    assert "SECRET" not in ask(alice, text)
    direct.execute(f"ALTER TABLE base.log DETACH PARTITION base.{part}".encode())
    assert "D:" in ask(alice, text)
    assert "SECRET" not in ask(alice, text)
    direct.execute("DROP TABLE base.told")
    assert "SECRET" not in ask(alice, f"SELECT ssn FROM base.{part}")


def test_a_function_renamed_in_ones_own_transaction(
    direct: Connection, alice: w.WireClient
) -> None:
    ask(alice, "SET search_path = g")
    ask(alice, "BEGIN")
    ask(alice, "ALTER FUNCTION g.peek(int[]) RENAME TO abs")
    got = ask(alice, "SELECT abs(ARRAY[1])")
    assert "SECRET" not in got
    got = ask(alice, "SELECT abs(ARRAY[1]) FROM g.orders")
    assert "SECRET" not in got


def test_a_function_renamed_past_us(direct: Connection, alice: w.WireClient) -> None:
    ask(alice, "SET search_path = g")
    assert "E:" in ask(alice, "SELECT abs(ARRAY[1]) FROM g.orders")
    direct.execute("ALTER FUNCTION g.peek(int[]) RENAME TO abs")
    got = ask(alice, "SELECT abs(ARRAY[1]) FROM g.orders")
    assert "SECRET" not in got


def test_search_path_of_the_server_configuration(
    vault: EmbeddedPostgres, direct: Connection, alice: w.WireClient
) -> None:
    text = "SELECT upper(ssn) FROM people"
    try:
        direct.execute("ALTER SYSTEM SET search_path = demo")
        direct.execute("SELECT pg_reload_conf()")
        time.sleep(0.5)
        ask(alice, "RESET search_path")
        for _ in range(4):
            assert "DEMO" in ask(alice, text)
        direct.execute("ALTER SYSTEM SET search_path = g")
        direct.execute("SELECT pg_reload_conf()")
        time.sleep(0.5)
        assert "SECRET" not in ask(alice, text)
    finally:
        direct.execute("ALTER SYSTEM RESET search_path")
        direct.execute("SELECT pg_reload_conf()")


def test_a_text_that_takes_its_time(direct: Connection, alice: w.WireClient) -> None:
    """Its first statement runs for as long as its author wants."""
    text = (
        "SELECT count(*) FROM generate_series(1, 4000000) a WHERE a % 7 = 3;"
        "SELECT upper(name) FROM g.people"
    )
    assert "PERSON" in ask(alice, text)
    done = threading.Event()

    def change() -> None:
        time.sleep(0.15)
        direct.execute(SWAP)
        done.set()

    other = threading.Thread(target=change)
    other.start()
    got = ask(alice, text)
    other.join(20)
    assert "SECRET" not in got


def test_a_text_that_takes_its_time_and_copies(direct: Connection, alice: w.WireClient) -> None:
    text = (
        "SELECT count(*) FROM generate_series(1, 4000000) a WHERE a % 7 = 3;"
        "COPY (SELECT name FROM g.people) TO STDOUT"
    )
    assert "person" in ask(alice, text)

    def change() -> None:
        time.sleep(0.15)
        direct.execute(SWAP)

    other = threading.Thread(target=change)
    other.start()
    got = ask(alice, text)
    other.join(20)
    assert "SECRET" not in got


SPYING = """CREATE FUNCTION g.spy() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN NEW.name := (SELECT max(ssn) FROM g.people); RETURN NEW; END $$;
"""
BENEATH = {
    "a partition": "CREATE TRIGGER spy BEFORE UPDATE ON g.parted_1 FOR EACH ROW"
    " EXECUTE FUNCTION g.spy()",
    "a child": "CREATE TRIGGER spy BEFORE UPDATE ON g.child FOR EACH ROW EXECUTE FUNCTION g.spy()",
    "a new child": "CREATE TABLE g.late () INHERITS (g.parent);"
    "INSERT INTO g.late VALUES (1, 'late');"
    "CREATE TRIGGER spy BEFORE UPDATE ON g.late FOR EACH ROW EXECUTE FUNCTION g.spy()",
    "whatever refers to it": "CREATE TRIGGER spy BEFORE UPDATE ON g.referring FOR EACH ROW"
    " EXECUTE FUNCTION g.spy()",
}


@pytest.mark.parametrize("change", BENEATH.values(), ids=BENEATH)
@pytest.mark.parametrize("table", ["parted", "parent"])
def test_what_a_write_reaches_beneath(
    direct: Connection, alice: w.WireClient, change: str, table: str
) -> None:
    """A trigger there, made past us, is code that nobody vouched for."""
    direct.execute(
        SPYING + "CREATE TABLE g.parted (id int PRIMARY KEY, name text) PARTITION BY LIST (id);"
        "CREATE TABLE g.parted_1 PARTITION OF g.parted FOR VALUES IN (1, 2);"
        "CREATE TABLE g.parent (id int PRIMARY KEY, name text);"
        "CREATE TABLE g.child () INHERITS (g.parent);"
        "CREATE TABLE g.referring (id int REFERENCES g.parted ON UPDATE CASCADE,"
        " other int REFERENCES g.parent ON UPDATE CASCADE, name text);"
        "INSERT INTO g.parted VALUES (1, 'x'); INSERT INTO g.parent VALUES (1, 'x');"
        "INSERT INTO g.child VALUES (1, 'x'); INSERT INTO g.referring VALUES (1, 1, 'x');"
        f"GRANT ALL ON ALL TABLES IN SCHEMA g TO {ROLE}"
    )
    text = f"UPDATE g.{table} SET id = 3 - id RETURNING name"
    for _ in range(4):
        assert "UPDATE" in ask(alice, text)
    direct.execute(change.encode())
    ask(alice, text)
    assert "SECRET" not in str(direct.execute("SELECT * FROM g.referring").fetchall())
    for each in ("parted", "parent"):
        assert "SECRET" not in str(direct.execute(f"SELECT * FROM g.{each}").fetchall())


TYPES = f"""
CREATE FUNCTION g.ck(text) RETURNS bool LANGUAGE plpgsql AS
  $$ BEGIN RAISE EXCEPTION '%', (SELECT max(ssn) FROM g.people); END $$;
CREATE DOMAIN g.dd AS text;
CREATE DOMAIN g.word AS text;
CREATE DOMAIN g.other AS text CHECK (g.ck(value));
CREATE VIEW g.typed AS SELECT name::g.dd AS name FROM g.people;
CREATE FUNCTION g.made() RETURNS text LANGUAGE sql AS $$ SELECT 'a'::g.dd::text $$;
GRANT ALL ON ALL TABLES IN SCHEMA g TO {ROLE};
"""
CONDITION = "ALTER DOMAIN g.dd ADD CHECK (g.ck(value)) NOT VALID"
OF_TYPES = [
    (CONDITION, "SELECT 'a'::g.dd"),
    (CONDITION, "SELECT '{a}'::g.dd[]"),
    (CONDITION, "SELECT name::g.dd FROM g.people"),
    (CONDITION, "SELECT name FROM g.typed"),
    (CONDITION, "SELECT g.made()"),
    ("CREATE DOMAIN early.word AS text CHECK (g.ck(value))", "SELECT 'a'::word"),
    ("CREATE DOMAIN early.word AS text CHECK (g.ck(value))", "SELECT name::word FROM g.people"),
    (
        "ALTER DOMAIN g.other SET SCHEMA early; ALTER DOMAIN early.other RENAME TO word",
        "SELECT 'a'::word",
    ),
]


@pytest.mark.parametrize(("change", "text"), OF_TYPES)
def test_types_changed_past_us(
    direct: Connection, alice: w.WireClient, change: str, text: str
) -> None:
    """A domain's condition is code that runs wherever a value of it is made."""
    direct.execute(TYPES.encode())
    ask(alice, "SET search_path = early, g")
    for _ in range(4):
        assert "D:" in ask(alice, text)
    direct.execute(change.encode())
    assert "SECRET" not in ask(alice, text)
