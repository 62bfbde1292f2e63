"""Sessions that share connections and have one during transactions only: nobody finds what another
left, what outlasts a transaction has its session keep the connection, and it is the right session
that is announced, masked and cancelled.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql
from psycopg.pq import DiagnosticField, ExecStatus

from tests import wireclient as w
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, PASSWORD, ROLE, Estate, Running, wait_for

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
"""

PINS = {
    "temporary table": ["CREATE TEMP TABLE mine AS SELECT 1 AS id"],
    "setting": ["SET work_mem = '99MB'"],
    "set_config": ["SELECT set_config('work_mem', '98MB', false)"],
    "role": ["SET ROLE shared_other"],
    "advisory lock": ["SELECT pg_advisory_lock(4711)"],
    "listen": ["LISTEN gossip"],
    "cursor with hold": ["DECLARE c CURSOR WITH HOLD FOR SELECT 1"],
    "prepared": ["PREPARE p AS SELECT 1"],
    "code": ["DO $$ BEGIN PERFORM set_config('work_mem', '96MB', false); END $$"],
    "function": ["SELECT leaves_a_lock()"],
    "view": ["SELECT * FROM locking"],
    "trigger": ["INSERT INTO triggered VALUES (1)"],
    "amid a transaction": ["BEGIN", "CREATE TEMP TABLE mine (id int)", "COMMIT"],
    "code amid a transaction": ["BEGIN", "SELECT leaves_a_lock()", "COMMIT"],
}
FREE = {
    "select": ["SELECT count(*) FROM notes"],
    "write": ["UPDATE notes SET body = body WHERE id = 1"],
    "serial": ["INSERT INTO numbered (body) VALUES ('x') RETURNING id"],
    "plain trigger": ["INSERT INTO stamped VALUES (1)"],
    "transaction": ["BEGIN", "SET LOCAL work_mem = '95MB'", "SELECT 1", "COMMIT"],
    "cursor": ["BEGIN", "DECLARE c CURSOR FOR SELECT 1", "FETCH c", "COMMIT"],
    "set_config local": ["SELECT set_config('work_mem', '94MB', true)"],
    "transaction lock": ["SELECT pg_advisory_xact_lock(4712)"],
    "notify": ["NOTIFY gossip, 'psst'"],
    "reset": ["RESET work_mem", "RESET ALL", "UNLISTEN *", "DISCARD ALL"],
    "random": ["SELECT random()"],
    "row security": ["SELECT * FROM notes ORDER BY random() LIMIT 1"],
    "failed": ["SELECT 1/0"],
    "asyncpg's reset": [
        "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;",
    ],
}
UNPINNED = {
    "UNLISTEN *": ["LISTEN gossip", "UNLISTEN *"],
    "RESET ALL": ["SET work_mem = '93MB'", "RESET ALL"],
    "DISCARD ALL": ["DO $$ BEGIN END $$", "LISTEN gossip", "DISCARD ALL"],
    "unlocked": ["SELECT pg_advisory_lock(4713)", "SELECT pg_advisory_unlock_all()"],
    "closed": ["DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE ALL"],
}

STATE = """SELECT
  (SELECT json_agg(json_build_array(name, setting) ORDER BY name) FROM pg_settings
    WHERE name <> 'application_name' AND name NOT LIKE 'plpgsql.%'),
  pg_my_temp_schema() = 0, session_user, current_user, current_schemas(true),
  (SELECT count(*) FROM pg_listening_channels()),
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())"""

FURNISHED = f"""
CREATE ROLE shared_other; GRANT shared_other TO {ROLE};
CREATE ROLE shared_second LOGIN PASSWORD '{PASSWORD}';
GRANT CREATE ON DATABASE {DATABASE} TO {ROLE};
"""
OBJECTS = f"""
CREATE TABLE numbered (id serial PRIMARY KEY, body text);
CREATE TABLE triggered (id int);
CREATE FUNCTION leaves_a_lock() RETURNS int LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_advisory_lock(4714); RETURN 1; END';
CREATE FUNCTION on_triggered() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN PERFORM set_config(''work_mem'', ''92MB'', false); RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON triggered FOR EACH ROW EXECUTE FUNCTION on_triggered();
CREATE TABLE stamped (id int, at timestamptz);
CREATE FUNCTION on_stamped() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN IF NEW.at IS NULL THEN NEW.at := now(); END IF; RETURN NEW; END';
CREATE TRIGGER t BEFORE INSERT ON stamped FOR EACH ROW EXECUTE FUNCTION on_stamped();
CREATE VIEW locking AS SELECT pg_try_advisory_lock(4715);
GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE};
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA public TO shared_second;
"""


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Callable[..., Estate]:
    with psycopg.connect(vault.uri(), autocommit=True) as root:
        root.execute(FURNISHED)
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as root:
        root.execute(OBJECTS)

    def make(**pooling: Any) -> Estate:
        estate = Estate(tmp_path_factory.mktemp("sharing"), vault, authority)
        estate.write("policy.yaml", POLICY)
        target = estate.configuration["targets"][0]
        target["pooling"] = {"mode": "transaction", **pooling}
        estate.configuration["admin_database"] = {"name": "sallyport", "groups": ["dba"]}
        return estate

    return make


@pytest.fixture(scope="module")
def one(made: Callable[..., Estate]) -> Iterator[Running]:
    """There is one connection only."""
    with made(servers_max=1, wait_s_max=3).serve() as running:
        yield running


@pytest.fixture(scope="module")
def few(made: Callable[..., Estate]) -> Iterator[Running]:
    """There are two: where one session keeps one, all others share the other."""
    with made(servers_max=2).serve() as running:
        yield running


@pytest.fixture
def root(vault: EmbeddedPostgres) -> Iterator[Connection]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        yield connection


@contextlib.contextmanager
def session(running: Running, user: str = "bob", **parameters: Any) -> Iterator[Connection]:
    with running.connect(user, f"{user}-password", **parameters) as connection:
        yield connection


def run(connection: Connection, texts: list[str]) -> None:
    for text in texts:
        with contextlib.suppress(errors.DivisionByZero):
            connection.execute(text)  # type: ignore[call-overload]


def value(connection: Connection, text: str, *arguments: Any) -> Any:
    row = connection.execute(text, arguments or None).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]


def pid(connection: Connection) -> int:
    return int(value(connection, "SELECT pg_backend_pid()"))


def pools(running: Running) -> dict[str, Any]:
    """The line of SHOW POOLS."""
    with running.connect("bob", "bob-password", dbname="sallyport") as admin:
        cursor = admin.execute("SHOW POOLS")
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    (line,) = (row for row in found if row["pool_mode"] == "transaction" and row["user"] == ROLE)
    return line


@pytest.mark.parametrize("what", FREE)
def test_what_leaves_nothing_lets_others_have_the_connection(one: Running, what: str) -> None:
    """There is one: were it kept, the other session would wait for it in vain."""
    with session(one) as first, session(one) as second:
        before = second.execute(STATE).fetchone()
        run(first, FREE[what])
        assert second.execute(STATE).fetchone() == before
        run(first, FREE[what])
        assert pid(first) == pid(second)


@pytest.mark.parametrize("what", PINS)
def test_what_outlasts_a_transaction_keeps_the_connection(few: Running, what: str) -> None:
    with session(few) as first, session(few) as second, session(few) as third:
        before = second.execute(STATE).fetchone()
        run(first, PINS[what])
        own, state = pid(first), first.execute(STATE).fetchone()
        for other in (second, third) * 2:
            assert other.execute(STATE).fetchone() == before
            assert pid(other) != own
        assert pid(first) == own
        assert first.execute(STATE).fetchone() == state
    with session(few) as last:
        assert last.execute(STATE).fetchone() == before


@pytest.mark.parametrize("what", UNPINNED)
def test_what_is_gone_lets_it_go(one: Running, what: str) -> None:
    with session(one) as first, session(one) as second:
        before = second.execute(STATE).fetchone()
        run(first, UNPINNED[what])
        assert second.execute(STATE).fetchone() == before
        assert value(first, "SELECT 1") == 1


@pytest.mark.parametrize("user", ["bob", "alice"])
def test_a_name_that_is_taken_is_not_given_again(one: Running, user: str) -> None:
    """Whoever forgets that it is would run another statement than the one that it has there."""
    with session(one, user) as connection:
        raw = connection.pgconn
        for _ in range(2):
            assert raw.prepare(b"b", b"SELECT 'first'").status == ExecStatus.COMMAND_OK
            again = raw.prepare(b"b", b"SELECT 'second'")
            assert again.error_field(DiagnosticField.SQLSTATE) == b"42P05"
            assert raw.exec_prepared(b"b", []).get_value(0, 0) == b"first"
            connection.execute("DEALLOCATE b")
    login = f"postgresql://{user}:{user}-password@127.0.0.1:{one.ports['main']}/{DATABASE}"
    with w.WireClient.login(login) as wire:
        got = wire.ask(w.parse("p", "SELECT 'one'"), w.parse("p", "SELECT 'other'"), w.SYNC)
        assert [message.kind for message in got] == ["1", "E", "Z"]
        assert got[1].fields["C"] == "42P05"
        got = wire.ask(w.bind("", "p"), w.describe("P"), w.execute(), w.SYNC)
        assert w.rows(got) == [[b"one"]]


def test_a_pinned_session_has_others_wait_and_then_end(one: Running) -> None:
    with session(one) as first, session(one) as second:
        first.execute("LISTEN gossip")
        with pytest.raises(psycopg.OperationalError, match="free in time"):
            second.execute("SELECT 1")
        assert value(first, "SELECT 1") == 1


def test_each_is_announced_as_itself(one: Running, root: Connection) -> None:
    ask = (
        "SELECT current_setting('sallyport.principal'), current_setting('sallyport.session'),"
        " current_setting('application_name')"
    )
    with session(one, "bob", application_name="x") as bob, session(one, "alice") as alice:
        for _ in range(3):
            for connection, user in ((bob, "bob"), (alice, "alice")):
                row = connection.execute(ask).fetchone()
                assert row is not None
                assert row[0] == user and row[2].startswith(f"{user}/{row[1]}")
                named = value(
                    root, "SELECT application_name FROM pg_stat_activity WHERE pid = %s", pid(bob)
                )
                assert named.startswith("bob/")
                connection.execute("RESET ALL")
        assert bob.info.parameter_status("application_name") == "x"


def test_masks_are_those_of_whoever_asks(one: Running) -> None:
    ask = "SELECT ssn FROM people ORDER BY id LIMIT 1"
    with session(one, "bob") as bob, session(one, "alice") as alice:
        for _ in range(6):
            assert value(bob, ask) == "123-45-6001"
            assert value(alice, ask) == "****"
        with session(one, "alice", prepare_threshold=0) as prepared:
            for _ in range(4):
                assert value(prepared, ask) == "****"
                assert value(bob, ask) == "123-45-6001"
                assert value(prepared, "SELECT count(*) FROM people WHERE ssn LIKE '123%'") == 0


def test_masks_hold_when_the_schema_changes_past_us(one: Running, root: Connection) -> None:
    root.execute("CREATE VIEW looked_at AS SELECT id, ssn FROM people")
    root.execute(f"GRANT SELECT ON looked_at TO {ROLE}")
    try:
        with session(one, "bob") as bob, session(one, "alice") as alice:
            for _ in range(4):
                wait_for(
                    lambda: _answers(alice, "SELECT count(*) FROM looked_at"), "the view is known"
                )
                value(bob, "SELECT 1")
            for change in (
                "CREATE OR REPLACE VIEW looked_at AS SELECT id, ssn || '' AS ssn FROM people",
                "CREATE OR REPLACE VIEW looked_at AS SELECT id, reverse(ssn) AS ssn FROM people",
            ):
                root.execute(change)
                found = _tried(alice, "SELECT ssn FROM looked_at ORDER BY id LIMIT 1")
                assert "6001" not in str(found) and "1006" not in str(found)
                value(bob, "SELECT 1")
    finally:
        root.execute("DROP VIEW looked_at")


def _answers(connection: Connection, text: str) -> bool:
    return not isinstance(_tried(connection, text), Exception)


def _tried(connection: Connection, text: str) -> Any:
    try:
        return value(connection, text)
    except psycopg.Error as error:
        return error


def test_prepared_statements_are_their_sessions_own(one: Running) -> None:
    """Of the same name with other texts, of other names with the same text, dropped and made
    again."""
    with session(one, prepare_threshold=0) as first, session(one, prepare_threshold=0) as second:
        for turn in range(5):
            assert value(first, "SELECT %s + 1", turn) == turn + 1
            assert value(second, "SELECT %s + 2", turn) == turn + 2
            assert value(first, "SELECT %s * 3", turn) == turn * 3
            assert value(second, "SELECT %s + 1", turn) == turn + 1
        first.execute("DEALLOCATE ALL")
        assert value(second, "SELECT %s + 2", 5) == 7
        assert value(first, "SELECT %s + 1", 5) == 6


def test_one_cannot_see_what_others_prepared(one: Running) -> None:
    with session(one, prepare_threshold=0) as first:
        assert value(first, "SELECT 'a secret of the first'") == "a secret of the first"
        for begin in ("", "BEGIN"):
            with session(one) as second:
                if begin:
                    second.execute("BEGIN")
                    second.execute("SELECT 1")
                texts = value(
                    second, "SELECT string_agg(statement, ',') FROM pg_prepared_statements"
                )
                assert "secret" not in (texts or "")
                with contextlib.suppress(psycopg.Error):
                    second.execute('EXECUTE "sallyport: 1"')
            assert value(first, "SELECT 'a secret of the first'") == "a secret of the first"


def test_what_sequences_said_is_for_nobody_else(one: Running) -> None:
    with session(one) as first, session(one) as second:
        with first.transaction():
            first.execute("INSERT INTO numbered (body) VALUES ('mine')")
            assert value(first, "SELECT lastval()") == value(
                first, "SELECT currval('numbered_id_seq')"
            )
        with pytest.raises(errors.ObjectNotInPrerequisiteState):
            second.execute("SELECT lastval()")


def test_a_temporary_table_and_notifications_work(few: Running) -> None:
    with session(few) as first, session(few) as second, session(few) as third:
        first.execute("CREATE TEMP TABLE mine (id int)")
        first.execute("LISTEN gossip")
        for number in range(3):
            first.execute("INSERT INTO mine VALUES (%s)", (number,))
            second.execute("SELECT pg_notify('gossip', %s)", (str(number),))
            assert value(third, "SELECT 1") == 1
        heard = [one.payload for one in first.notifies(timeout=5, stop_after=3)]
        assert heard == ["0", "1", "2"]
        assert value(first, "SELECT count(*) FROM mine") == 3
        with pytest.raises(errors.UndefinedTable):
            second.execute("SELECT * FROM mine")


def test_session_locks_hold_between_transactions(few: Running) -> None:
    with session(few) as first, session(few) as second, session(few) as third:
        first.execute("SELECT pg_advisory_lock(99)")
        for other in (second, third) * 2:
            assert value(other, "SELECT pg_try_advisory_xact_lock(99)") is False
        value(first, "SELECT 1")
        assert value(second, "SELECT pg_try_advisory_xact_lock(99)") is False
        first.execute("SELECT pg_advisory_unlock(99)")
        assert value(second, "SELECT pg_try_advisory_xact_lock(99)") is True


def test_a_cancel_request_reaches_its_own_statement_only(one: Running) -> None:
    with session(one) as first, session(one) as second:
        value(first, "SELECT 1")
        value(second, "SELECT 1")
        for _ in range(20):  # it has no connection, or one that does nothing: to cancel is nothing
            first.cancel()
            assert value(second, "SELECT count(*) FROM generate_series(1, 20000)") == 20000
        timer = threading.Timer(0.5, second.cancel)
        timer.start()
        with pytest.raises(errors.QueryCanceled):
            second.execute("SELECT pg_sleep(20)")
        timer.join()
        assert value(first, "SELECT 1") == 1


def test_a_killed_connection_is_one_sessions_trouble(one: Running, root: Connection) -> None:
    with session(one) as first, session(one) as second:
        own = pid(first)
        assert pid(second) == own
        root.execute("SELECT pg_terminate_backend(%s)", (own,))
        wait_for(
            lambda: value(root, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", own) == 0,
            "its end",
        )
        assert value(first, "SELECT 1") == 1  # the second had it last
        with pytest.raises(psycopg.OperationalError):
            second.execute("SELECT 1")


def test_other_database_users_never_share(made: Callable[..., Estate]) -> None:
    estate = made(servers_max=1)
    estate.secret("second", PASSWORD)
    own = {"principals": ["alice"], "user": "shared_second", "credential": "file:second.secret"}
    estate.configuration["targets"][0]["roles"].insert(0, own)
    with estate.serve() as running, session(running) as bob, session(running, "alice") as alice:
        for _ in range(3):
            assert value(bob, "SELECT session_user") == ROLE
            assert value(alice, "SELECT session_user") == "shared_second"
            assert pid(bob) != pid(alice)


def test_many_sessions_on_few_connections(few: Running) -> None:
    """Each reads its own writes, in transactions and out of them."""
    failed: list[str] = []

    def work(number: int) -> None:
        with session(few, "bob", prepare_threshold=number % 3 or None) as c:
            for turn in range(25):
                with c.transaction():
                    key = 10_000 + number
                    c.execute("DELETE FROM notes WHERE id = %s", (key,))
                    c.execute("INSERT INTO notes VALUES (%s, %s)", (key, f"{number}.{turn}"))
                body = value(c, "SELECT body FROM notes WHERE id = %s", key)
                if body != f"{number}.{turn}":
                    failed.append(f"{number}: {body}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failed and not any(thread.is_alive() for thread in threads)
    with session(few) as c:
        assert value(c, "SELECT count(*) FROM notes WHERE id >= 10000") == 16
        c.execute("DELETE FROM notes WHERE id >= 10000")


def test_show_pools_counts(made: Callable[..., Estate]) -> None:
    with made(servers_max=2, wait_s_max=30).serve() as running, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(session(running)) for _ in range(5)]
        for client in clients:
            value(client, "SELECT 1")
        shown = pools(running)
        assert (shown["cl_active"], shown["cl_waiting"], shown["sv_active"]) == (5, 0, 0)
        assert 1 <= shown["sv_idle"] <= 2
        clients[0].execute("BEGIN")
        clients[1].execute("BEGIN")
        waiter = threading.Thread(target=lambda: value(clients[2], "SELECT 1"))
        waiter.start()
        shown = wait_for(
            lambda: line if (line := pools(running))["cl_waiting"] else None, "a client that waits"
        )
        assert (shown["cl_active"], shown["cl_waiting"]) == (4, 1)
        assert (shown["sv_active"], shown["sv_idle"]) == (2, 0)
        clients[0].execute("COMMIT")
        waiter.join(10)
        assert not waiter.is_alive()
        clients[1].execute("COMMIT")
        assert pools(running)["sv_active"] == 0


def test_unused_connections_are_closed(made: Callable[..., Estate], root: Connection) -> None:
    estate = made(idle_s_max=1)
    with estate.serve() as running, session(running, application_name="stays") as c:
        own = pid(c)
        gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        wait_for(lambda: value(root, gone, own) == 0, "the end of the connection")
        assert value(c, "SELECT 1") == 1


def test_all_is_recorded_under_its_session(one: Running) -> None:
    with session(one, "bob") as bob, session(one, "alice") as alice:
        marks = {"bob": "AS of_bob", "alice": "AS of_alice"}
        for _ in range(3):
            for user, connection in (("bob", bob), ("alice", alice)):
                connection.execute(sql.SQL(f"SELECT 1 {marks[user]}"))
    for user in marks:
        opened = {r["session"] for r in one.records("session_opened", principal=user)}
        decided = wait_for(
            lambda user=user: [  # type: ignore[misc]
                r
                for r in one.records("statement_decided")
                if f"of_{user}" in r["statement"].get("sql", "")
            ],
            "records",
        )
        assert len(decided) == 3 and {r["session"] for r in decided} <= opened


def test_a_waiting_client_that_leaves_takes_nothing_along(one: Running) -> None:
    with session(one) as first:
        first.execute("BEGIN")
        second = one.connect("bob", "bob-password")
        second.pgconn.send_query(b"SELECT 1")
        time.sleep(0.2)
        second.close()
        assert value(first, "SELECT 1") == 1
        first.execute("COMMIT")
    with session(one) as third:
        assert value(third, "SELECT 1") == 1
