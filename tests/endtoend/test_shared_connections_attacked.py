"""Two people whose sessions share one connection to the database ("transaction pooling"): what one
does to it does not reach the other, however it is done, and what was found out on one connection is
not believed on the next.

Everywhere there is one connection, unless it is said that there are two: so each statement of the
second person follows right behind what the first one left.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from appliance.identity.verifiers import User
from tests import wireclient as w
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, PASSWORD, ROLE, Estate, Running, verifier, wait_for
from tests.endtoend.stage import one as first_cell

Connection = psycopg.Connection[tuple[Any, ...]]

POLICY = """
version: 1
rules:
  - {id: all, effect: allow, actions: [everything]}
  - id: no-ssn
    effect: mask
    principals: {names: [alice]}
    resources: ["*.public.people.ssn"]
    mask: {method: redact}
  - id: closed
    effect: deny
    principals: {names: [dave]}
    actions: [any]
    resources: ["*.public.people"]
"""
RAW = "123-45-"
PEOPLE = "SELECT ssn FROM people ORDER BY id LIMIT 1"
WHO = "SELECT current_setting('sallyport.principal')"

STATEMENTS = [
    "CREATE SCHEMA leaves",
    "CREATE FUNCTION leaves.a_lock() RETURNS int LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM pg_advisory_lock(4900); RETURN 1; END'",
    "CREATE FUNCTION leaves.of(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS"
    " 'BEGIN PERFORM pg_advisory_lock(4900); RETURN true; END'",
    "CREATE FUNCTION leaves.on_change() RETURNS trigger LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM pg_advisory_lock(4900); RETURN coalesce(NEW, OLD); END'",
    "CREATE FUNCTION leaves.sum(int, int) RETURNS int LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM pg_advisory_lock(4900); RETURN $1 + $2; END'",
    "CREATE FUNCTION leaves.through_sql() RETURNS int LANGUAGE sql AS 'SELECT leaves.a_lock()'",
    "CREATE FUNCTION leaves.setting() RETURNS text LANGUAGE sql AS"
    " $$SELECT set_config('work_mem', '88MB', false)$$",
    "CREATE AGGREGATE leaves.total(int) (SFUNC = leaves.sum, STYPE = int, INITCOND = '0')",
    "CREATE OPERATOR leaves.<+> (LEFTARG = int, RIGHTARG = int, FUNCTION = leaves.sum)",
    "CREATE TYPE leaves.kind AS (n int)",
    "CREATE FUNCTION leaves.of_kind(leaves.kind) RETURNS int LANGUAGE plpgsql AS"
    " 'BEGIN PERFORM pg_advisory_lock(4900); RETURN 1; END'",
    "CREATE CAST (leaves.kind AS int) WITH FUNCTION leaves.of_kind(leaves.kind)",
    "CREATE DOMAIN leaves.checked AS int CHECK (leaves.of(VALUE))",
    "CREATE TABLE leaves.by_default (id int, n int DEFAULT leaves.a_lock())",
    "CREATE TABLE leaves.by_check (id int CHECK (leaves.of(id)))",
    "CREATE TABLE leaves.generated (id int, n bool GENERATED ALWAYS AS (leaves.of(id)) STORED)",
    "CREATE TABLE leaves.indexed (id int)",
    "CREATE INDEX ON leaves.indexed (leaves.of(id))",
    "CREATE TABLE leaves.rows_hidden (id int)",
    "INSERT INTO leaves.rows_hidden VALUES (1)",
    "ALTER TABLE leaves.rows_hidden ENABLE ROW LEVEL SECURITY",
    "CREATE POLICY p ON leaves.rows_hidden USING (leaves.of(id))",
    "CREATE TABLE leaves.parent (id int PRIMARY KEY)",
    "CREATE TABLE leaves.child (id int REFERENCES leaves.parent ON DELETE CASCADE)",
    "CREATE TRIGGER t AFTER DELETE ON leaves.child FOR EACH ROW"
    " EXECUTE FUNCTION leaves.on_change()",
    "CREATE TABLE leaves.deferred (id int)",
    "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON leaves.deferred DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION leaves.on_change()",
    "CREATE TABLE leaves.truncated (id int)",
    "CREATE TRIGGER t BEFORE TRUNCATE ON leaves.truncated EXECUTE FUNCTION leaves.on_change()",
    "CREATE TABLE leaves.parts (id int) PARTITION BY LIST (id)",
    "CREATE TABLE leaves.part PARTITION OF leaves.parts FOR VALUES IN (1)",
    "CREATE TRIGGER t BEFORE INSERT ON leaves.part FOR EACH ROW"
    " EXECUTE FUNCTION leaves.on_change()",
    "CREATE TABLE leaves.ruled (id int)",
    "CREATE RULE r AS ON INSERT TO leaves.ruled DO ALSO SELECT leaves.a_lock()",
    "CREATE VIEW leaves.seen AS SELECT leaves.a_lock() AS n",
    "CREATE VIEW leaves.over AS SELECT n + 1 AS n FROM leaves.seen",
    "CREATE VIEW leaves.instead AS SELECT 1 AS n",
    "CREATE TRIGGER t INSTEAD OF INSERT ON leaves.instead FOR EACH ROW"
    " EXECUTE FUNCTION leaves.on_change()",
    "CREATE TABLE leaves.checked_rows (n leaves.checked)",
    f"GRANT ALL ON SCHEMA leaves TO {ROLE}",
    f"GRANT ALL ON ALL TABLES IN SCHEMA leaves TO {ROLE}",
    f"CREATE ROLE shared_lesser; GRANT shared_lesser TO {ROLE}",
    f"GRANT CREATE ON SCHEMA public TO {ROLE}",
    "CREATE SCHEMA aside",
    "CREATE TABLE aside.people (id int, ssn text)",
    "INSERT INTO aside.people VALUES (1, 'nothing')",
    f"GRANT ALL ON SCHEMA aside TO {ROLE}; GRANT ALL ON ALL TABLES IN SCHEMA aside TO {ROLE}",
]
TAKEN_BACK = [
    "DROP SCHEMA leaves, aside CASCADE",
    f"REVOKE CREATE ON SCHEMA public FROM {ROLE}",
    "DROP ROLE shared_lesser",
    "DROP ROLE IF EXISTS shared_apart",
]
CODE = {
    "function": "SELECT leaves.a_lock()",
    "function in SQL": "SELECT leaves.through_sql()",
    "set_config in SQL": "SELECT leaves.setting()",
    "in FROM": "SELECT * FROM leaves.a_lock()",
    "aggregate": "SELECT leaves.total(n) FROM generate_series(1, 2) n",
    "window": "SELECT leaves.total(n) OVER () FROM generate_series(1, 2) n",
    "operator": "SELECT 1 OPERATOR(leaves.<+>) 2",
    "cast": "SELECT CAST(ROW(1)::leaves.kind AS int)",
    "domain": "SELECT 1::leaves.checked",
    "default": "INSERT INTO leaves.by_default (id) VALUES (1)",
    "check": "INSERT INTO leaves.by_check VALUES (1)",
    "generated column": "INSERT INTO leaves.generated (id) VALUES (1)",
    "index": "INSERT INTO leaves.indexed VALUES (1)",
    "row security": "SELECT * FROM leaves.rows_hidden",
    "cascade": "WITH i AS (INSERT INTO leaves.parent VALUES (1)) SELECT 1;"
    "INSERT INTO leaves.child VALUES (1); DELETE FROM leaves.parent",
    "deferred": "INSERT INTO leaves.deferred VALUES (1)",
    "truncate": "TRUNCATE leaves.truncated",
    "partition": "INSERT INTO leaves.parts VALUES (1)",
    "rule": "INSERT INTO leaves.ruled VALUES (1)",
    "view": "SELECT * FROM leaves.seen",
    "view over a view": "SELECT * FROM leaves.over",
    "instead of": "INSERT INTO leaves.instead VALUES (1)",
    "domain of a column": "INSERT INTO leaves.checked_rows VALUES (1)",
    "explained": "EXPLAIN ANALYZE SELECT leaves.a_lock()",
    "cursor": "BEGIN; DECLARE c CURSOR FOR SELECT leaves.a_lock(); FETCH c; COMMIT",
    "copy": "COPY (SELECT leaves.a_lock()) TO STDOUT",
    "returning": "UPDATE notes SET body = body WHERE id = 1 RETURNING leaves.a_lock()",
    "conflict": "INSERT INTO notes VALUES (1, '') ON CONFLICT (id)"
    " DO UPDATE SET body = notes.body WHERE leaves.of(notes.id)",
    "merge": "MERGE INTO notes USING (SELECT 1 AS id) s ON notes.id = s.id"
    " WHEN MATCHED AND leaves.of(s.id) THEN DO NOTHING",
}


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Callable[..., Estate]]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as root:
        for text in STATEMENTS:
            root.execute(text)  # type: ignore[call-overload]

    def make(**pooling: Any) -> Estate:
        estate = Estate(tmp_path_factory.mktemp("attacked"), vault, authority)
        estate.write("policy.yaml", POLICY)
        estate.users(
            *(
                User(name=name, groups=("staff",), verifier=verifier(f"{name}-password"))
                for name in ("alice", "bob", "dave")
            )
        )
        estate.configuration["targets"][0]["pooling"] = {"mode": "transaction", **pooling}
        return estate

    yield make
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as root:
        for text in TAKEN_BACK:
            root.execute(text)  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def one(made: Callable[..., Estate]) -> Iterator[Running]:
    with made(servers_max=1, wait_s_max=5).serve() as running:
        yield running


@pytest.fixture(scope="module")
def two(made: Callable[..., Estate]) -> Iterator[Running]:
    with made(servers_max=2, wait_s_max=5).serve() as running:
        yield running


@pytest.fixture
def root(vault: EmbeddedPostgres) -> Iterator[Connection]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        yield connection


def session(running: Running, user: str, **parameters: Any) -> Connection:
    return running.connect(user, f"{user}-password", **parameters)


@contextlib.contextmanager
def wires(running: Running, *users: str) -> Iterator[list[w.WireClient]]:
    port = running.ports["main"]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                w.WireClient.login(
                    f"postgresql://{user}:{user}-password@127.0.0.1:{port}/{DATABASE}"
                )
            )
            for user in users
        ]


def bound(statement: str = "") -> bytes:
    return w.bind("", statement) + w.describe("P") + w.execute() + w.SYNC


def cell(got: list[w.Message]) -> bytes | None:
    (row,) = w.rows(got)
    return row[0]


def ended(running: Running, user: str, count: int) -> None:
    """Waits until so many sessions of `user` are over."""

    def over() -> bool:
        opened = {r["session"] for r in running.records("session_opened", principal=user)}
        closed = {r["session"] for r in running.records("session_closed")}
        return len(opened & closed) >= count

    wait_for(over, f"the end of {user}'s session")


# --- the connection itself ----------------------------------------------------------------------


@pytest.mark.parametrize("what", CODE)
def test_code_that_may_leave_something_keeps_the_connection(two: Running, what: str) -> None:
    """Where it lies hidden: the other sessions share the other connection."""
    with (
        session(two, "bob") as bob,
        session(two, "alice") as alice,
        session(two, "dave") as dave,
    ):
        if what == "copy":
            with bob.cursor().copy(CODE[what]) as copy:
                assert list(copy)
        else:
            bob.execute(CODE[what])  # type: ignore[call-overload]
        own = first_cell(bob, "SELECT pg_backend_pid()")
        for other in (alice, dave) * 2:
            assert first_cell(other, "SELECT pg_backend_pid()") != own
            assert first_cell(other, "SELECT pg_try_advisory_xact_lock(4900)") is (
                what == "set_config in SQL"
            )
        assert first_cell(bob, "SELECT pg_backend_pid()") == own


@pytest.mark.parametrize(
    "text", ["SET ROLE shared_lesser", "SELECT set_config('role', 'shared_lesser', false)"]
)
def test_a_role_stays_when_settings_are_reset(one: Running, text: str) -> None:
    """RESET ALL does not take a role back; getting the greater one again by itself would be worse
    than keeping the connection."""
    with session(one, "bob") as bob:
        bob.execute(text)  # type: ignore[call-overload]
        bob.execute("SET work_mem = '90MB'")
        bob.execute("RESET ALL")
        assert first_cell(bob, "SELECT current_user") == "shared_lesser"
        bob.execute("DISCARD ALL")
        with session(one, "alice") as alice:
            assert first_cell(alice, "SELECT current_user") == ROLE
        assert first_cell(bob, "SELECT current_user") == ROLE


def test_the_next_is_named_when_the_one_before_left_amid_a_claim(one: Running) -> None:
    """Bob's session is gone while the connection is being named for him: whoever had it before has
    it named anew."""
    with session(one, "alice") as alice:
        pid = first_cell(alice, "SELECT pg_backend_pid()")
        os.kill(pid, signal.SIGSTOP)
        try:
            bob = session(one, "bob")
            bob.pgconn.send_query(b"SELECT 1")
            bob.pgconn.flush()
            bob.pgconn.finish()
            ended(one, "bob", 1)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert first_cell(alice, WHO) == "alice"
        assert first_cell(alice, PEOPLE) == "****"


def test_who_leaves_while_a_connection_is_opened_takes_none_along(
    made: Callable[..., Estate], vault: EmbeddedPostgres
) -> None:
    """There are two connections, of which Alice keeps one."""
    postmaster = vault.pid
    with (
        made(servers_max=2, wait_s_max=5).serve() as running,
        session(running, "alice") as alice,
        session(running, "dave") as dave,
    ):
        alice.execute("BEGIN")
        os.kill(postmaster, signal.SIGSTOP)
        try:
            bob = session(running, "bob")
            bob.pgconn.send_query(b"SELECT 1")
            bob.pgconn.flush()
            bob.pgconn.finish()
            ended(running, "bob", 1)
        finally:
            os.kill(postmaster, signal.SIGCONT)
        assert first_cell(dave, WHO) == "dave"
        alice.execute("COMMIT")


def test_what_a_lost_client_began_is_rolled_back(one: Running) -> None:
    bob = session(one, "bob")
    bob.execute("BEGIN")
    bob.execute("INSERT INTO notes VALUES (9001, 'half done')")
    bob.pgconn.finish()
    with session(one, "alice") as alice:
        assert first_cell(alice, "SELECT count(*) FROM notes WHERE id = 9001") == 0
        assert alice.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_memory_tells_nothing_of_what_others_prepared(one: Running, root: Connection) -> None:
    root.execute(f"GRANT pg_read_all_stats TO {ROLE}")
    try:
        _memory_tells_nothing(one)
    finally:
        root.execute(f"REVOKE pg_read_all_stats FROM {ROLE}")


def _memory_tells_nothing(one: Running) -> None:
    ask = "SELECT string_agg(ident, ' ') FROM pg_backend_memory_contexts"
    with session(one, "bob", prepare_threshold=0) as bob:
        assert first_cell(bob, "SELECT 'a secret of bob'") == "a secret of bob"
        with session(one, "dave") as dave:
            assert "secret of bob" not in (first_cell(dave, ask) or "")
            dave.execute("DISCARD ALL")
        assert first_cell(bob, "SELECT 'a secret of bob'") == "a secret of bob"
        with session(one, "dave") as dave, dave.transaction():
            assert first_cell(dave, "SELECT 1") == 1
            assert "secret of bob" not in (first_cell(dave, ask) or "")


# --- statements that were prepared --------------------------------------------------------------


def test_the_unnamed_statement_is_whose_it_was(one: Running) -> None:
    """Dave prepares the unnamed statement, Bob's takes its place on the same connection, and Dave
    binds his: also where Bob's runs without the machine, on the hit path."""
    with wires(one, "bob", "dave") as (bob, dave):
        ask = w.parse("", PEOPLE) + bound()
        for _ in range(8):
            assert cell(bob.ask(ask)).startswith(RAW.encode())
        for _ in range(4):
            dave.ask(w.parse("", "SELECT body FROM notes WHERE id = 1"), w.SYNC)
            for _ in range(3):
                assert cell(bob.ask(ask)).startswith(RAW.encode())
            assert cell(dave.ask(bound())) == b"note 1"
            assert cell(bob.ask(bound())).startswith(RAW.encode())


SETTINGS = {
    "DateStyle": ("SQL, DMY", "SELECT to_char('01/02/2026'::date, 'MM')", b"01", b"02"),
    "TimeZone": (
        "Asia/Tokyo",
        "SELECT to_char('2026-01-01 12:00'::timestamptz AT TIME ZONE 'UTC', 'HH24')",
        b"12",
        b"03",
    ),
    "IntervalStyle": (
        "sql_standard",
        "SELECT extract(hour FROM '-1 day 2 hours'::interval)",
        b"2",
        b"-2",
    ),
    "array_nulls": ("off", "SELECT ('{NULL}'::text[])[1]", None, b"NULL"),
    "transform_null_equals": ("on", "SELECT NULL = NULL", None, b"t"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_what_constants_mean_is_no_matter_of_whoever_prepared_first(
    one: Running, name: str
) -> None:
    """The server reads constants when a statement is prepared, by the settings of that moment."""
    value, text, usual, meant = SETTINGS[name]
    with wires(one, "bob", "alice") as (bob, alice):
        assert cell(alice.ask(w.parse("own", text), bound("own"))) == usual
        plain = text + " -- prepared by bob first"
        bob.query(f"BEGIN; SET LOCAL {name} = '{value}'")
        assert cell(bob.ask(w.parse("s", plain), bound("s"))) == meant
        assert cell(bob.ask(w.parse("t", text), bound("t"))) == meant
        bob.query("COMMIT")
        assert cell(alice.ask(w.parse("t", plain), bound("t"))) == usual
        assert cell(alice.ask(w.parse("u", text), bound("u"))) == usual
        assert cell(bob.ask(bound("s"))) == usual
        bob.query(f"SET {name} = '{value}'")
        bob.query("RESET ALL")
        assert cell(alice.ask(bound("t"))) == usual


def test_quotes_end_where_they_did_when_it_was_judged(two: Running) -> None:
    """A text that is one constant while standard_conforming_strings is off, and reads a masked
    column while it is on; and the other way round."""
    inside = r"SELECT '\' || (SELECT min(ssn) FROM people) || '\' "
    outside = r"SELECT '\'' || (SELECT min(ssn) FROM people) || '\''"
    with wires(two, "bob", "alice") as (bob, alice):
        for number, text in enumerate((inside, outside)):
            name = f"q{number}"
            for user in (bob, alice):
                user.query("BEGIN; SET LOCAL standard_conforming_strings = off")
                user.ask(w.parse(name, text), w.SYNC)
                user.query("ROLLBACK")
                bob.query("SELECT 1")
                got = [*alice.ask(bound(name)), *alice.ask(w.parse("", text), bound())]
                bob.query("DISCARD ALL")
                bob.query("SELECT 1")
                got += [*alice.ask(bound(name)), *alice.ask(w.parse("", text), bound())]
                assert RAW not in str(w.rows(got))
                alice.query("DISCARD ALL")


def test_names_mean_what_they_do_where_it_is_bound(one: Running) -> None:
    """Prepared while `people` was another table, bound when it is that again."""
    for name in ("", "p"):
        with wires(one, "bob", "alice") as (bob, alice):
            alice.query("BEGIN; SET LOCAL search_path = aside")
            got = alice.ask(w.parse(name, "SELECT ssn FROM people"), bound(name))
            assert cell(got) == b"nothing"
            alice.query("COMMIT")
            assert len(w.rows(bob.query("SELECT ssn FROM people"))) == 10
            if name:
                found = w.rows(alice.ask(bound(name)))
                assert found == [[b"****"]] * 10 or not found
            found = w.rows(alice.ask(w.parse("", "SELECT ssn FROM people"), bound()))
            assert found == [[b"****"]] * 10


def test_a_temporary_table_of_that_name_is_gone_with_its_connection(one: Running) -> None:
    with wires(one, "bob", "alice") as (bob, alice):
        alice.query("CREATE TEMP TABLE people AS SELECT 1 AS id, 'nothing' AS ssn")
        assert cell(alice.ask(w.parse("p", "SELECT ssn FROM people"), bound("p"))) == b"nothing"
        alice.query("DISCARD ALL")
        assert len(w.rows(bob.query("SELECT ssn FROM people"))) == 10
        assert not w.rows(alice.ask(bound("p")))
        got = w.rows(alice.ask(w.parse("p", "SELECT ssn FROM people"), bound("p")))
        assert got == [[b"****"]] * 10
        assert w.rows(alice.query("SELECT ssn FROM people")) == [[b"****"]] * 10


def test_a_table_that_was_rolled_back_is_not_known_as_ones_own(
    one: Running, root: Connection
) -> None:
    """Alice made it and took it back; what has its name later, by Bob, is raw."""
    with session(one, "alice") as alice, session(one, "bob") as bob:
        alice.execute("BEGIN")
        alice.execute("CREATE TABLE looks_own (id int, ssn text)")
        alice.execute("ROLLBACK")
        alice.execute("DISCARD ALL")
        try:
            bob.execute("CREATE TABLE looks_own AS SELECT id, ssn FROM people")
            for _ in range(3):
                with contextlib.suppress(psycopg.Error):
                    assert RAW not in str(alice.execute("SELECT ssn FROM looks_own").fetchall())
                assert first_cell(bob, "SELECT ssn FROM looks_own").startswith(RAW)
        finally:
            root.execute("DROP TABLE IF EXISTS looks_own")


@pytest.mark.parametrize("form", ["query", "unnamed", "named"])
def test_what_was_found_unchanged_on_one_connection_is_not_believed_on_another(
    two: Running, root: Connection, form: str
) -> None:
    """Alice's statement has its positions on two connections. The schema changes past us while Bob
    keeps one of them: on the other it is noticed as well."""
    root.execute("DROP VIEW IF EXISTS moved")
    root.execute("CREATE VIEW moved AS SELECT id, 'nothing'::text AS ssn FROM people")
    root.execute(f"GRANT SELECT ON moved TO {ROLE}")
    text = "SELECT ssn FROM moved ORDER BY id LIMIT 1"
    try:
        with wires(two, "alice", "bob", "bob") as (alice, bob, other):

            def ask() -> str:
                if form == "query":
                    got = alice.query(text)
                elif form == "unnamed":
                    got = alice.ask(w.parse("", text), bound())
                else:
                    got = alice.ask(bound("m"))
                return str(w.rows(got))

            if form == "named":
                wait_for(
                    lambda: "E" not in w.kinds(alice.ask(w.parse("m", text), w.SYNC)), "the view"
                )
            else:
                wait_for(lambda: "nothing" in ask(), "the view")
            for holder in (bob, other) * 3:  # by turns each has the connection that alice had
                holder.query("BEGIN")
                holder.query("SELECT 1")
                assert "nothing" in ask()
                assert "nothing" in ask()
                holder.query("COMMIT")
            bob.query("BEGIN")
            bob.query("SELECT 1")
            root.execute("CREATE OR REPLACE VIEW moved AS SELECT id, ssn || '' AS ssn FROM people")
            assert RAW not in ask()
            other.query("SELECT 1")
            bob.query("COMMIT")
            for holder in (other, bob):
                holder.query("BEGIN")
                holder.query("SELECT 1")
                assert RAW not in ask()
                holder.query("COMMIT")
    finally:
        root.execute("DROP VIEW moved")


def test_a_name_of_ours_is_nobodys(one: Running) -> None:
    """Prepared statements of all lie under names of ours on the connection."""
    with wires(one, "bob", "dave") as (bob, dave):
        bob.ask(w.parse("s", PEOPLE), bound("s"))
        for number in range(4):
            name = f"sallyport: {number}"
            for pieces in (
                bound(name),
                w.describe("S", name) + w.SYNC,
                w.parse(name, "SELECT 1") + w.SYNC,
                w.query(f'EXECUTE "{name}"'),
                w.query(f'DEALLOCATE "{name}"'),
                w.query(f'EXPLAIN EXECUTE "{name}"'),
                w.query(f'PREPARE "{name}" AS SELECT 1'),
            ):
                with wires(one, "dave") as (other,):
                    assert w.error(other.ask(pieces))
                    other.ask(w.close("S", name), w.SYNC)
                assert cell(bob.ask(bound("s"))).startswith(RAW.encode())
        assert dave.query("DEALLOCATE ALL")[0].kind == "C"
        assert cell(bob.ask(bound("s"))).startswith(RAW.encode())


def test_one_that_is_deallocated_leaves_the_others(one: Running) -> None:
    """By the name that its client gave it, in SQL and in the protocol."""
    with wires(one, "bob", "dave") as (bob, dave):
        for user in (bob, dave):
            for number in range(4):
                assert cell(
                    user.ask(w.parse(f"s{number}", f"SELECT {number}"), bound(f"s{number}"))
                )
        got = bob.query("DEALLOCATE s1")
        assert w.kinds(got) == "CZ" and got[0].tag == "DEALLOCATE", got
        got = bob.ask(w.parse("", "DEALLOCATE s2"), w.bind(), w.execute(), w.SYNC)
        assert w.kinds(got) == "12CZ" and got[2].tag == "DEALLOCATE"
        assert w.kinds(bob.ask(w.close("S", "s3"), w.SYNC)) == "3Z"
        for number in (1, 2, 3):
            assert w.error(bob.ask(bound(f"s{number}")))["C"] == "26000"
            assert cell(dave.ask(bound(f"s{number}"))) == b"%d" % number
        assert cell(bob.ask(bound("s0"))) == b"0"
        assert w.error(bob.query("DEALLOCATE s1"))["C"] == "26000"


def test_a_statement_that_cannot_be_prepared_anew_is_an_error_and_no_more(
    two: Running, root: Connection
) -> None:
    root.execute("CREATE TABLE passing (id int)")
    root.execute(f"GRANT ALL ON passing TO {ROLE}")
    with wires(two, "bob", "bob") as (bob, other):
        wait_for(
            lambda: "E" not in w.kinds(bob.ask(w.parse("s", "SELECT id FROM passing"), w.SYNC)),
            "the table",
        )
        assert w.rows(bob.ask(bound("s"))) == []
        root.execute("DROP TABLE passing")
        for holder in (other, other):
            holder.query("BEGIN")
            holder.query("SELECT 1")
            got = bob.ask(bound("s"))
            assert w.error(got)["C"] == "42P01" and w.status(got) == "I"
            assert cell(bob.ask(w.parse("", "SELECT 1"), bound())) == b"1"
            holder.query("COMMIT")


def test_a_channel_left_is_silent(one: Running, root: Connection) -> None:
    with wires(one, "bob", "alice") as (bob, alice):
        bob.query("LISTEN gossip")
        root.execute("NOTIFY gossip, 'for bob'")
        assert bob.read().kind == "A"
        bob.query("UNLISTEN *")
        assert cell(alice.query("SELECT 1")) == b"1"
        root.execute("NOTIFY gossip, 'for nobody'")
        assert w.kinds(alice.query("SELECT 1")) == "TDCZ"
        assert w.kinds(bob.query("SELECT 1")) == "TDCZ"


def test_a_second_database_user_has_connections_of_its_own(
    made: Callable[..., Estate], root: Connection
) -> None:
    root.execute(f"CREATE ROLE shared_apart LOGIN PASSWORD '{PASSWORD}'")
    estate = made(servers_max=1)
    estate.configuration["targets"][0]["roles"].insert(
        0, {"principals": ["dave"], "user": "shared_apart", "credential": "file:app.secret"}
    )
    with (
        estate.serve() as running,
        session(running, "bob") as bob,
        session(running, "dave") as dave,
    ):
        for _ in range(3):
            assert first_cell(bob, "SELECT current_user") == ROLE
            assert first_cell(dave, "SELECT current_user") == "shared_apart"
