"""DDL past the appliance, by a direct connection, right before a statement of somebody who owes
masks: what was judged is what runs, or it is judged anew.

Catalogs are compared once a minute here, so that nothing but the check in the client's own session
can notice. What is in `people.ssn` begins with SECRET.
"""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.pq import ConnStatus, ExecStatus

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running
from tests.wireclient import SYNC as WIRE_SYNC
from tests.wireclient import WireClient
from tests.wireclient import bind as wire_bind
from tests.wireclient import execute as wire_execute
from tests.wireclient import parse as wire_parse

POLICY = """
version: 1
known_relations: ["*.c.copied", "*.c.parted", "*.c.people", "*.c.people2", "*.c.put"]
rules:
  - {id: all, effect: allow, actions: [everything]}
  - id: no-ssn
    effect: mask
    principals: {names: [alice]}
    resources: ["*.c.people.ssn", "*.c.people2.ssn", "*.early.people.name", "*.c.people.title"]
    mask: {method: redact}
"""

SCHEMA = f"""
DROP SCHEMA IF EXISTS c, early CASCADE;
CREATE SCHEMA c;
CREATE SCHEMA early;
CREATE TABLE c.people (id int PRIMARY KEY, name text, ssn text);
INSERT INTO c.people SELECT n, 'person ' || n, 'SECRET-' || n FROM generate_series(1, 3) n;
CREATE TABLE c.copied AS SELECT id, ssn AS name FROM c.people;
CREATE TABLE c.put (id bigint, name text);
CREATE TABLE c.parted (id int, name text) PARTITION BY LIST (id);
CREATE VIEW c.seen AS SELECT id, name FROM c.people;
CREATE VIEW c.over AS SELECT id, name FROM c.seen;
GRANT ALL ON SCHEMA c, early TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA c TO {ROLE};
"""

Connection = psycopg.Connection[tuple[Any, ...]]
Ask = Callable[[Connection, str], str]


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    made = Estate(tmp_path_factory.mktemp("coherence"), vault, authority)
    made.write("policy.yaml", POLICY)
    made.configuration["limits"] = {"catalog_refresh_ms": 60_000}
    with made.serve() as running:
        yield running


@pytest.fixture
def direct(vault: EmbeddedPostgres) -> Iterator[Connection]:
    """Whoever changes the schema without asking."""
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        yield connection


@pytest.fixture
def alice(proxy: Running, direct: Connection) -> Iterator[Connection]:
    with proxy.connect("alice", "alice-password") as connection:
        yield connection


def simple(connection: Connection, text: str) -> str:
    with psycopg.ClientCursor(connection) as cursor:
        return str(cursor.execute(text).fetchall())  # type: ignore[arg-type]


def extended(connection: Connection, text: str) -> str:
    return str(connection.execute(text, prepare=False, binary=True).fetchall())  # type: ignore[arg-type]


def prepared(connection: Connection, text: str) -> str:
    connection.prepare_threshold = 0
    return str(connection.execute(text, prepare=True).fetchall())  # type: ignore[arg-type]


def by_cursor(connection: Connection, text: str) -> str:
    with connection.transaction(), connection.cursor("look") as cursor:
        return str(cursor.execute(text).fetchall())  # type: ignore[arg-type]


def by_copy(connection: Connection, text: str) -> str:
    with connection.cursor() as cursor, cursor.copy(f"COPY ({text}) TO STDOUT") as copied:  # type: ignore[arg-type]
        return str(list(copied.rows()))


def in_transaction(connection: Connection, text: str) -> str:
    with connection.transaction():
        connection.execute("SELECT count(*) FROM c.parted")
        return simple(connection, text)


def repeatable(connection: Connection, text: str) -> str:
    """Its snapshot is from before the change; names are read as of now all the same."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    try:
        with connection.transaction():
            connection.execute("SELECT count(*) FROM c.parted")
            change_now()
            return simple(connection, text)
    finally:
        connection.isolation_level = None


_later: list[Callable[[], object]] = []


def change_now() -> None:
    while _later:
        _later.pop()()


WAYS = [simple, extended, prepared, by_cursor, by_copy, in_transaction, repeatable]
TELLING = "CREATE OR REPLACE VIEW c.seen AS SELECT id, upper(ssn) AS name FROM c.people"
HARMLESS = "CREATE OR REPLACE VIEW c.seen AS SELECT id, name FROM c.people"
CHANGES = {
    "a view replaced": (TELLING, "SELECT lower(name) FROM c.seen ORDER BY id"),
    "a view below a view replaced": (TELLING, "SELECT name FROM c.over ORDER BY id"),
    "a view in place of a table": (
        "BEGIN; DROP VIEW c.seen CASCADE; ALTER TABLE c.people RENAME TO people2;"
        "CREATE VIEW c.people AS SELECT id, upper(ssn) AS name, name AS ssn FROM c.people2;"
        f"GRANT SELECT ON c.people TO {ROLE}; COMMIT",
        "SELECT lower(name) FROM c.people ORDER BY id",
    ),
    "a table shadows another": (
        "BEGIN; CREATE TABLE early.people AS SELECT id, ssn AS name FROM c.people;"
        f"GRANT SELECT ON early.people TO {ROLE}; COMMIT",
        "SELECT upper(name) FROM people ORDER BY id",
    ),
}


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("change", CHANGES)
def test_nothing_raw_after_a_change(
    proxy: Running, direct: Connection, alice: Connection, change: str, ask: Ask
) -> None:
    ddl, text = CHANGES[change]
    alice.execute("SET search_path = early, c")
    simple(alice, text)  # what the test before has made is not there any more
    for _ in range(4):  # the log's end is known to be a good place after two of them
        assert "PERSON" in ask(alice, text).upper()
    if ask is repeatable:
        _later.append(lambda: direct.execute(ddl.encode()))
    else:
        direct.execute(ddl.encode())
    answer = ""
    for _ in range(2):
        try:
            answer = ask(alice, text)
        except psycopg.Error as refused:
            answer = str(refused)
        assert "SECRET" not in answer.upper()


@pytest.mark.parametrize("ask", WAYS)
def test_who_waited_for_a_lock_meets_the_new_schema(
    proxy: Running, direct: Connection, alice: Connection, ask: Ask
) -> None:
    """The change is not visible when the statement comes, and is when its lock is got."""
    text = CHANGES["a view replaced"][1]
    assert "person" in ask(alice, text)
    answers: list[str] = []

    def look() -> None:
        try:
            answers.append(ask(alice, text))
        except psycopg.Error as refused:
            answers.append(str(refused))

    with direct.transaction():
        direct.execute(TELLING)
        looker = threading.Thread(target=look)
        looker.start()
        time.sleep(0.3)
    looker.join(20)
    assert answers
    assert "SECRET" not in answers[0].upper()


@pytest.mark.parametrize("ask", [simple, extended, by_cursor, by_copy])
def test_an_unrelated_change_is_not_noticed_by_the_client(
    direct: Connection, alice: Connection, ask: Ask
) -> None:
    """Judged anew, and answered."""
    text = "SELECT upper(name) FROM c.people ORDER BY id"
    assert "PERSON 1" in ask(alice, text)
    direct.execute("ALTER TABLE c.people ADD COLUMN more int")
    assert "PERSON 1" in ask(alice, text)
    direct.execute("CREATE TABLE early.people2 ()")
    direct.execute("VACUUM FULL c.people")
    assert "PERSON 1" in ask(alice, text)


def test_a_storm_of_changes(proxy: Running, direct: Connection) -> None:
    """Nothing raw comes through any gap."""
    stop = threading.Event()
    answers: list[str] = []

    def look(ask: Ask) -> None:
        while not stop.is_set():
            with proxy.connect("alice", "alice-password") as alice:
                while not stop.is_set():
                    try:
                        answers.append(ask(alice, CHANGES["a view replaced"][1]))
                    except psycopg.OperationalError:
                        break
                    except psycopg.Error as refused:
                        answers.append(str(refused))

    lookers = [threading.Thread(target=look, args=(ask,)) for ask in (simple, extended, prepared)]
    for looker in lookers:
        looker.start()
    for number in range(30):
        direct.execute(TELLING if number % 2 else HARMLESS)
        time.sleep(0.2)
    direct.execute(HARMLESS)
    until = time.monotonic() + 10  # a busy machine may not have come to an answer
    while time.monotonic() < until and not any("person" in answer for answer in answers):
        time.sleep(0.1)
    stop.set()
    for looker in lookers:
        looker.join(20)
    assert any("person" in answer for answer in answers)
    assert not [answer for answer in answers if "SECRET" in answer.upper()]


def is_repeatable(ask: Ask) -> Ask:
    """The same by somebody whose transactions see what was when they began."""

    def asked(connection: Connection, text: str) -> str:
        connection.execute("SET default_transaction_isolation = 'repeatable read'")
        return ask(connection, text)

    return asked


def by_execute(connection: Connection, text: str) -> str:
    connection.execute("DEALLOCATE ALL")
    connection.execute(f"PREPARE look AS {text}".encode())
    return simple(connection, "EXECUTE look")


def among_others(connection: Connection, text: str) -> str:
    with psycopg.ClientCursor(connection) as cursor:
        cursor.execute(f"SET lock_timeout = 0; {text}".encode())
        cursor.nextset()
        return str(cursor.fetchall())


LATE: dict[str, Ask] = {ask.__name__: ask for ask in (by_copy, by_execute, among_others)}
"""The server looks their names up when they run."""
READ_COMMITTED = {ask.__name__: ask for ask in (simple, extended, prepared, in_transaction)}
REPEATABLE = {f"repeatable {name}": is_repeatable(ask) for name, ask in READ_COMMITTED.items()}
SHADOWS = {
    "made": (
        "BEGIN; CREATE TABLE early.people AS SELECT id, ssn AS name FROM c.people;"
        f"GRANT SELECT ON early.people TO {ROLE}; COMMIT",
        "DROP TABLE early.people",
    ),
    "renamed": (
        "ALTER TABLE early.other RENAME TO people",
        "ALTER TABLE early.people RENAME TO other",
    ),
}


@pytest.mark.parametrize("shadow", SHADOWS)
@pytest.mark.parametrize("asked", [*READ_COMMITTED, *REPEATABLE, *LATE, "by_cursor"])
def test_a_shadow_that_falls_at_any_moment(
    proxy: Running, direct: Connection, asked: str, shadow: str
) -> None:
    """A table that takes the place of another by its schema alone locks nothing that is in use, and
    its transaction may end between the look in front of a statement and its names."""
    ask = {**READ_COMMITTED, **REPEATABLE, **LATE, "by_cursor": by_cursor}[asked]
    falls, rises = SHADOWS[shadow]
    direct.execute("CREATE TABLE early.other AS SELECT id, ssn AS name FROM c.people")
    direct.execute("GRANT SELECT ON early.other TO PUBLIC")
    answers: list[str] = []
    for _ in range(5):
        stop = threading.Event()

        def look(stop: threading.Event = stop) -> None:
            while not stop.is_set():
                with proxy.connect("alice", "alice-password") as alice:
                    alice.execute("SET search_path = early, c")
                    while not (stop.is_set() or alice.closed):
                        try:
                            answers.append(ask(alice, "SELECT upper(name) FROM people ORDER BY id"))
                        except psycopg.Error as refused:
                            answers.append(str(refused))

        lookers = [threading.Thread(target=look) for _ in range(3)]
        for looker in lookers:
            looker.start()
        before = len(answers)
        while len(answers) < before + 60:
            time.sleep(0.01)
        direct.execute(falls.encode())
        time.sleep(0.05)
        stop.set()
        for looker in lookers:
            looker.join(20)
        direct.execute(rises.encode())
    assert any("PERSON" in answer for answer in answers), {*answers}
    assert not [answer for answer in answers if "SECRET" in answer.upper()]


def test_a_portal_that_is_read_in_parts_is_looked_at_once(
    proxy: Running, direct: Connection
) -> None:
    """What anybody makes meanwhile is nothing to it."""
    where = f"postgres://alice:alice-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    text = "SELECT id, ssn FROM c.people ORDER BY id"
    with WireClient.login(where) as client:
        client.query("BEGIN")
        for number, message in enumerate((wire_parse("", text) + wire_bind(), b"", b"")):
            told = client.ask(message + wire_execute("", 1), WIRE_SYNC)
            assert [each.row[0] for each in told if each.kind == "D"] == [b"%d" % (number + 1)]
            direct.execute(f"CREATE FUNCTION c.f{number}() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        client.query("COMMIT")


def test_ours_that_was_deallocated_amid_a_pipeline(alice: Connection) -> None:
    text = "SELECT name FROM c.people WHERE id = 1"
    assert "person 1" in extended(alice, text)
    with alice.pipeline():
        first = alice.execute(text)
        alice.execute("DEALLOCATE ALL")
        last = alice.execute(text)
        assert first.fetchone() == last.fetchone() == ("person 1",)


def test_what_a_write_returns_is_described_once_it_is_done(proxy: Running) -> None:
    """As the server does it for a Query: one that fails is answered by its error alone."""
    where = f"postgres://alice:alice-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    with WireClient.login(where) as client:

        def kinds(text: str) -> str:
            return "".join(each.kind for each in client.query(text))

        assert kinds("INSERT INTO notes VALUES (1, 'x') RETURNING id") == "EZ"
        assert kinds("SELECT 1 / (id - id) FROM notes") == "TEZ"
        client.query("BEGIN")
        assert kinds("INSERT INTO notes VALUES (777, 'x') RETURNING id") == "TDCZ"
        assert kinds("UPDATE notes SET body = 'y' WHERE id < 0 RETURNING id") == "TCZ"
        assert kinds("EXPLAIN (COSTS OFF) SELECT id FROM notes").startswith("TD")
        assert kinds("INSERT INTO notes VALUES (1, 'x') RETURNING id") == "EZ"
        client.query("ROLLBACK")


def test_a_transaction_that_begins_with_a_backslash(alice: Connection) -> None:
    for text in ("BEGIN -- \\", "SELECT name FROM c.copied", "SELECT name FROM c.copied"):
        with psycopg.ClientCursor(alice) as cursor:
            cursor.execute(text)
    alice.execute("COMMIT")


def test_temporary_tables(alice: Connection) -> None:
    """Read, written and described as the server has them, whatever a rollback took back."""
    for ask in (simple, extended, prepared):
        alice.execute("CREATE TEMP TABLE t (a int, b text)")
        alice.execute("INSERT INTO t VALUES (1, 'x')")
        assert ask(alice, "SELECT b || '!' FROM t WHERE a = 1") == "[('x!',)]"
        with alice.transaction(force_rollback=True):
            alice.execute("ALTER TABLE t ADD COLUMN c int")
            alice.execute("CREATE TEMP TABLE u (d int)")
            assert ask(alice, "SELECT t.*, u.d FROM pg_temp.t LEFT JOIN u ON true") == (
                "[(1, 'x', None, None)]"
            )
        assert ask(alice, "SELECT * FROM t") == "[(1, 'x')]"
        with pytest.raises(psycopg.errors.UndefinedTable):
            ask(alice, "SELECT * FROM u")
        alice.execute("CREATE TEMP VIEW seen AS SELECT a + 1 AS more FROM t")
        assert ask(alice, "SELECT more FROM seen") == "[(2,)]"
        alice.execute("DISCARD TEMP")
        with pytest.raises(psycopg.errors.UndefinedTable):
            ask(alice, "SELECT * FROM t")


def test_a_temporary_table_that_a_commit_drops(alice: Connection) -> None:
    with alice.transaction():
        alice.execute("CREATE TEMP TABLE people ON COMMIT DROP AS SELECT 1 AS id, 'mine' AS ssn")
        assert simple(alice, "SELECT upper(ssn) FROM people") == "[('MINE',)]"
    alice.execute("SET search_path = c")
    assert simple(alice, "SELECT ssn FROM people WHERE id = 1") == "[('****',)]"


def test_a_temporary_table_shadows_another(alice: Connection) -> None:
    alice.execute("SET search_path = c")
    assert simple(alice, "SELECT ssn FROM people WHERE id = 1") == "[('****',)]"
    alice.execute("CREATE TEMP TABLE people AS SELECT 1 AS id, 'mine' AS ssn")
    assert simple(alice, "SELECT ssn FROM people WHERE id = 1") == "[('mine',)]"
    alice.execute("DROP TABLE people")
    assert simple(alice, "SELECT ssn FROM people WHERE id = 1") == "[('****',)]"


def test_what_was_made_before_masks_were_owed_is_not_read(
    proxy: Running, direct: Connection
) -> None:
    """Another principal's session: nothing is asked about temporary relations there."""
    with proxy.connect("bob", "bob-password") as bob:
        bob.execute("CREATE TEMP TABLE t AS SELECT ssn FROM c.people")
        assert "SECRET" in simple(bob, "SELECT upper(ssn) FROM t")


def test_one_text_that_goes_on_after_its_transaction(alice: Connection) -> None:
    """Between the two statements whoever waits for a lock gets it."""
    with alice.transaction():
        alice.execute("SELECT count(*) FROM c.people")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="transaction"):
            simple(alice, "COMMIT; SELECT upper(name) FROM c.people")
        raise psycopg.Rollback
    assert simple(alice, "SELECT 1; SELECT 2") == "[(1,)]"


@pytest.mark.parametrize("first", ["rolled back", "dropped", "renamed", "taken", "failed"])
def test_another_table_under_the_name_of_what_she_made(
    direct: Connection, alice: Connection, first: str
) -> None:
    """What alice makes herself is known. What bears its name later was made by somebody else."""
    own = "CREATE TABLE c.late (id int)"
    if first == "rolled back":
        with alice.transaction(force_rollback=True):
            alice.execute(own)
    elif first == "failed":
        with pytest.raises(psycopg.errors.DuplicateColumn):
            alice.execute("CREATE TABLE c.late (id int, id int)")
    elif first == "taken":
        alice.execute(own)
        direct.execute("DROP TABLE c.late")
    else:
        alice.execute(own)
        alice.execute(
            "DROP TABLE c.late" if first == "dropped" else "ALTER TABLE c.late RENAME TO d"
        )
    direct.execute(
        f"CREATE TABLE c.late AS SELECT ssn AS x FROM c.people; GRANT ALL ON c.late TO {ROLE}"
    )
    for ask in (simple, extended):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="nobody has said"):
            ask(alice, "SELECT x FROM c.late")


def test_what_she_made_in_a_transaction_is_known(alice: Connection) -> None:
    with alice.transaction():
        alice.execute("SELECT 1")
        alice.execute("CREATE TABLE c.kept (id int)")
    alice.execute("INSERT INTO c.kept VALUES (7)")
    assert simple(alice, "SELECT * FROM c.kept") == "[(7,)]"


def test_a_refusal_for_a_constraint_is_for_one_that_is_there(
    direct: Connection, alice: Connection
) -> None:
    """That a write would tell of a mask is the catalog's word, which may be an old one."""
    refused = "would tell of c.people.{}"
    excluding = "ALTER TABLE c.people ADD CONSTRAINT lone EXCLUDE (id WITH =) WHERE ({} <> '')"
    write = "INSERT INTO c.people (id, ssn) VALUES (7, 'SECRET-1')"
    direct.execute("ALTER TABLE c.people ADD COLUMN title text")
    direct.execute(excluding.format("ssn").encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=refused.format("ssn")):
        alice.execute(write)
    alice.rollback()
    direct.execute("ALTER TABLE c.people DROP CONSTRAINT lone")
    direct.execute(excluding.format("title").encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=refused.format("title")):
        alice.execute(write)
    alice.rollback()
    direct.execute("ALTER TABLE c.people DROP CONSTRAINT lone")
    alice.execute(write)


def test_a_table_dropped_and_made_again(direct: Connection, alice: Connection) -> None:
    """Policy names a column of `early.people`: that was another table."""
    direct.execute(
        f"CREATE TABLE early.people (name text, other text); GRANT ALL ON early.people TO {ROLE}"
    )
    assert simple(alice, "SELECT name, other FROM early.people") == "[]"
    direct.execute(
        "DROP TABLE early.people; CREATE TABLE early.people AS SELECT id AS name, ssn AS other "
        f"FROM c.people; GRANT ALL ON early.people TO {ROLE}"
    )
    assert "SECRET" not in simple(alice, "SELECT other FROM early.people")


def test_what_is_new_is_closed_until_it_is_known(
    proxy: Running, direct: Connection, alice: Connection
) -> None:
    """A copy somebody made; a column somebody added; what alice makes herself, and a partition."""
    assert "SELECT" in alice.execute("SELECT 1 FROM notes").statusmessage  # type: ignore[operator]
    direct.execute(
        f"CREATE TABLE c.fresh AS SELECT ssn AS x FROM c.people; GRANT ALL ON c.fresh TO {ROLE}"
    )
    for ask in (simple, extended, by_copy):
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="nobody has said"):
            ask(alice, "SELECT x FROM c.fresh")
    alice.execute("CREATE TABLE IF NOT EXISTS c.fresh (x text)")  # no table of hers
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="nobody has said"):
        simple(alice, "SELECT x FROM c.fresh")
    direct.execute("CREATE OR REPLACE VIEW c.seen AS SELECT 1 AS id, x AS name FROM c.fresh")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="nobody has said"):
        simple(alice, "SELECT name FROM c.over")
    with proxy.connect("bob", "bob-password") as bob:
        assert "SECRET" in simple(bob, "SELECT x FROM c.fresh")
    direct.execute("ALTER TABLE notes ADD COLUMN IF NOT EXISTS late text DEFAULT 'SECRET'")
    try:
        assert simple(alice, "SELECT id, late FROM notes WHERE id = 1") == "[(1, None)]"
    finally:
        direct.execute("ALTER TABLE notes DROP COLUMN late")
    alice.execute("CREATE TABLE c.mine (id int)")
    alice.execute("INSERT INTO c.mine VALUES (7)")
    assert simple(alice, "SELECT * FROM c.mine") == "[(7,)]"


SLOW = "(SELECT count(*) FROM generate_series(1, 2500000))"
NAMED = """CREATE FUNCTION c.named(int) RETURNS text LANGUAGE sql STABLE SET search_path = early, c
  AS 'SELECT upper(name) FROM people WHERE id = $1'"""
PUT = "SELECT count(*) FROM c.put WHERE name LIKE 'SECRET%'"
AMID: dict[str, tuple[str, ...]] = {
    "copied": (f"COPY (SELECT {SLOW}, upper(name) FROM people) TO STDOUT",),
    "a function": (f"SELECT s.n, c.named(1) FROM {SLOW} s(n)",),
    "a function, often": (f"SELECT s.n, c.named(1) FROM {SLOW} s(n)",) * 6,
    "fetched": ("BEGIN", f"DECLARE k CURSOR FOR SELECT {SLOW}, c.named(1)", "FETCH 1 FROM k"),
    "executed": (f"PREPARE e AS SELECT {SLOW}, c.named(1)", "EXECUTE e"),
    "several": (f"SELECT {SLOW}; SELECT upper(name) FROM people",),
    "stored behind": (f"SELECT {SLOW}; INSERT INTO c.put SELECT id, name FROM people",),
    "stored by a function": (f"INSERT INTO c.put SELECT s.n, c.named(1) FROM {SLOW} s(n)",),
    "stored and ended": (f"BEGIN; SELECT {SLOW}; INSERT INTO c.put SELECT * FROM people; COMMIT",),
}


@pytest.fixture
def shadowed(direct: Connection, alice: Connection) -> Connection:
    """Names can be taken by `early.other` while alice's statement runs."""
    direct.execute("CREATE TABLE early.other AS SELECT id, ssn AS name FROM c.people")
    direct.execute("GRANT SELECT ON early.other TO PUBLIC")
    direct.execute(NAMED.encode())
    alice.execute("SET search_path = early, c")
    return alice


def said(connection: Connection, text: str) -> str:
    """All that the server answers to a Query."""
    raw = connection.pgconn.exec_(text.encode())
    if raw.status == ExecStatus.COPY_OUT:
        rows = []
        while (size_and_row := connection.pgconn.get_copy_data(0))[0] > 0:
            rows.append(bytes(size_and_row[1]).decode())
        while (last := connection.pgconn.get_result()) is not None:
            rows.append(last.error_message.decode() if last.error_message else "")
        return str(rows)
    error = raw.error_message.decode() if raw.error_message else ""
    values = [raw.get_value(r, c) for r in range(raw.ntuples) for c in range(raw.nfields)]
    return error + str(values)


def said_amid(connection: Connection, text: str, direct: Connection, change: str) -> str:
    """All that the server answers to a Query, during which something is changed."""
    over = threading.Event()
    runs = """SELECT FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()
        AND query = %s AND clock_timestamp() > query_start + interval '0.1 s'"""

    def watch() -> None:
        while not (direct.execute(runs, (text,)).rowcount or over.is_set()):
            time.sleep(0.01)
        direct.execute(change.encode())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return said(connection, text)
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("amid", AMID)
def test_names_that_come_to_mean_another_table_while_it_runs(
    direct: Connection, shadowed: Connection, amid: str
) -> None:
    *before, last = AMID[amid]
    for text in before:
        said(shadowed, text)
    answer = said_amid(shadowed, last, direct, "ALTER TABLE early.other RENAME TO people")
    assert "SECRET" not in answer.upper()
    assert direct.execute(PUT.encode()).fetchone() == (0,)


@pytest.mark.parametrize("amid", sorted({*AMID} - {"executed", "fetched", "stored and ended"}))
@pytest.mark.parametrize("changed", ["CREATE SCHEMA aside", "CREATE UNIQUE INDEX ON c.people (id)"])
def test_what_changes_nothing_for_it_does_not_end_it(
    direct: Connection, shadowed: Connection, amid: str, changed: str
) -> None:
    direct.execute("DROP SCHEMA IF EXISTS aside")
    *before, last = AMID[amid]
    for text in before:
        said(shadowed, text)
    answer = said_amid(shadowed, last, direct, changed)
    direct.execute("DROP SCHEMA IF EXISTS aside")
    assert "schema" not in answer and shadowed.pgconn.status == ConnStatus.OK
    assert "PERSON" in answer or "stored" in amid


def test_temporary_relations_of_the_sessions_own(alice: Connection) -> None:
    """No other session sees them, and what becomes of them is nothing to others."""
    for text in ("CREATE TEMP TABLE own (id int)", "PREPARE z AS SELECT * FROM own"):
        said(alice, text)
    said(alice, "INSERT INTO own VALUES (5)")
    for text in ("EXECUTE z", "COPY own TO STDOUT", "SELECT 1; SELECT * FROM own"):
        assert "5" in said(alice, text)
    said(alice, "PREPARE put AS INSERT INTO own VALUES (6) RETURNING id")
    assert "6" in said(alice, "EXECUTE put")


def test_others_read_on_while_somebody_drops_temporary_tables(
    proxy: Running, alice: Connection
) -> None:
    stop = threading.Event()

    def churn() -> None:
        with proxy.connect("alice", "alice-password") as other:
            while not stop.is_set():
                for text in ("CREATE TEMP TABLE own AS SELECT 1", "DROP TABLE own"):
                    said(other, text)
                stop.wait(0.2)

    churning = threading.Thread(target=churn)
    churning.start()
    for _ in range(300):
        assert "PERSON" in said(alice, "SELECT upper(name) FROM c.people")
    stop.set()
    churning.join(10)
