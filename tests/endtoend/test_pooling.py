"""Connections to a database that several client sessions use one after the other: who comes next
finds what a new connection would have given, and nothing of who was there before.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from appliance.cli.demo.embedded import free_port
from appliance.dataplane import cleaning
from appliance.session.backend import UNASKED_MAX
from appliance.session.own_statements import CHECK_NAME, OWN, STILL_NAME
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, PASSWORD, ROLE, Estate, Running, furnish, wait_for

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

STATE = """SELECT
  (SELECT json_agg(json_build_array(name, setting, reset_val) ORDER BY name) FROM pg_settings
    WHERE name NOT IN ('application_name')),
  (SELECT json_agg(nspname) FROM pg_namespace WHERE oid = pg_my_temp_schema()
    AND EXISTS (SELECT FROM pg_depend WHERE refobjid = pg_my_temp_schema())),
  session_user, current_user, current_schemas(true),
  (SELECT count(*) FROM pg_cursors WHERE name <> ''),
  (SELECT count(*) FROM pg_listening_channels()),
  (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
  (SELECT count(*) FROM pg_prepared_statements), current_setting('sallyport.other', true)"""

POLLUTIONS = {
    "temporary table": ["CREATE TEMP TABLE notes AS SELECT 1 AS id, 'forged'::text AS body"],
    "temporary view": ["CREATE TEMP VIEW people AS SELECT 1 AS id"],
    "temporary function": [
        "CREATE TEMP TABLE t (x int)",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ],
    "settings": ["SET work_mem = '99MB'", "SET DateStyle = 'SQL, DMY'", "SET timezone = 'UTC'"],
    "statement_timeout": ["SET statement_timeout = 100000"],
    "search_path": ["CREATE SCHEMA IF NOT EXISTS decoy", "SET search_path = decoy, public"],
    "read only": ["SET default_transaction_read_only = on", "SET jit = off"],
    "role": ["SET ROLE pooled_other"],
    "advisory lock": ["SELECT pg_advisory_lock(4711)", "SELECT pg_advisory_lock_shared(1, 2)"],
    "listen": ["LISTEN gossip", "NOTIFY gossip, 'psst'"],
    "cursor with hold": ["DECLARE c CURSOR WITH HOLD FOR SELECT 1"],
    "open transaction": ["BEGIN", "INSERT INTO notes VALUES (1000, 'never')"],
    "failed transaction": ["BEGIN", "INSERT INTO notes VALUES (1001, 'never')", "SELECT 1/0"],
    "prepared": ["PREPARE p AS SELECT 1"],
    "sequence": ["CREATE TEMP SEQUENCE s", "SELECT nextval('s')"],
    "client_encoding": ["SET client_encoding = 'LATIN1'"],
    "strings": ["SET standard_conforming_strings = off", "SET bytea_output = 'escape'"],
}  # fmt: skip


TEMPORARY = ("temporary table", "temporary view", "temporary function", "sequence")
"""The schema that they were in stays on the search path: such a connection is not kept."""


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Callable[..., Estate]:
    with psycopg.connect(vault.uri(), autocommit=True) as root:
        if not root.execute("SELECT FROM pg_roles WHERE rolname = 'pooled_other'").fetchone():
            root.execute(f"CREATE ROLE pooled_other; GRANT pooled_other TO {ROLE}")
            root.execute(f"CREATE ROLE pooled_alone LOGIN PASSWORD '{PASSWORD}'")
        root.execute(f"GRANT CREATE ON DATABASE {DATABASE} TO {ROLE}")

    def make(user: str = ROLE, **pooling: Any) -> Estate:
        estate = Estate(tmp_path_factory.mktemp("pooling"), vault, authority)
        estate.write("policy.yaml", POLICY)
        target = estate.configuration["targets"][0]
        target["pooling"] = {"mode": "session", **pooling}
        target["roles"][0]["user"] = user
        return estate

    return make


@pytest.fixture(scope="module")
def pooled(made: Callable[..., Estate]) -> Iterator[Running]:
    with made().serve() as running:
        yield running


@pytest.fixture
def root(vault: EmbeddedPostgres) -> Iterator[Connection]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        yield connection


def pid_of(connection: Connection) -> int:
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def kept(root: Connection, pid: int) -> bool:
    """Whether the connection is idle in its pool, cleaned."""
    return _named(root, pid) == "sallyport (unused)"


def _named(root: Connection, pid: int) -> str | None:
    found = root.execute(
        "SELECT application_name FROM pg_stat_activity WHERE pid = %s AND state = 'idle'"
        " AND query NOT LIKE 'DISCARD%%'",
        (pid,),
    ).fetchone()
    return None if found is None else found[0]


def leave(root: Connection, connection: Connection) -> int:
    """Ends a session; -> pid of its connection, once that lies in its pool."""
    pid = connection.info.backend_pid
    connection.close()
    wait_for(lambda: kept(root, pid), "the connection in its pool")
    return pid


def test_each_session_is_announced_as_itself(pooled: Running, root: Connection) -> None:
    """Also after a reset, which brings startup values back: those are nobody's."""
    pids = set()
    ask = "SELECT current_setting('sallyport.principal'), current_setting('sallyport.session')"

    def announced(c: Connection) -> tuple[Any, ...]:
        """As the session and as others see it; psycopg prepares nothing."""
        named = "SELECT application_name FROM pg_stat_activity WHERE pid = %s"
        own, seen = c.execute(ask).fetchone(), root.execute(named, (c.info.backend_pid,)).fetchone()
        assert own is not None and seen is not None
        return (*own, *seen)

    for user in ("alice", "bob", "alice"):
        with contextlib.closing(
            pooled.connect(user, f"{user}-password", application_name="x")
        ) as c:
            session = pooled.recorded("session_opened", principal=user)["session"][-12:]
            expected = (user, session, f"{user}/{session} x")
            assert announced(c) == expected
            for prepare in (False, True):
                for reset in ("RESET ALL", "DISCARD ALL"):
                    c.execute(reset, prepare=prepare)
                    assert announced(c) == expected, (reset, prepare)
                    assert c.execute("SHOW application_name").fetchone() == ("x",)
                c.execute("BEGIN")
                c.execute("RESET ALL", prepare=prepare)
                assert announced(c) == expected
                c.execute("ROLLBACK")
                assert announced(c) == expected
            with c.pipeline():
                c.execute("RESET ALL")
                amid = c.execute(ask)
                assert amid.fetchone() == expected[:2]
            with contextlib.suppress(psycopg.errors.DivisionByZero), c.pipeline():
                c.execute("DISCARD ALL")
                c.execute("SELECT 1/0")
            assert announced(c) == expected
            pids.add(leave(root, c))
    assert len(pids) == 1


def test_a_reset_runs_beside_nothing_that_could_ask_who_works(pooled: Running) -> None:
    with pooled.connect("bob", "bob-password") as c:
        for text in (
            "RESET ALL; SELECT current_setting('sallyport.principal')",
            "INSERT INTO notes VALUES (2000, 'deferred') ; RESET ALL",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="RESET ALL"):
                c.execute(text)
        # what asyncpg sends between two users of a connection
        c.execute("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;")
        assert c.execute("SELECT current_setting('sallyport.principal')").fetchone() == ("bob",)


@pytest.mark.parametrize("name", POLLUTIONS)
def test_nothing_is_left(
    name: str, pooled: Running, root: Connection, vault: EmbeddedPostgres
) -> None:
    with psycopg.connect(vault.uri(ROLE, PASSWORD, DATABASE), autocommit=True) as direct:
        fresh = direct.execute(STATE).fetchone()
    with contextlib.closing(pooled.connect("bob", "bob-password", autocommit=True)) as polluter:
        for text in POLLUTIONS[name]:
            with contextlib.suppress(psycopg.errors.DivisionByZero):
                polluter.execute(text)
        pid = polluter.info.backend_pid
        polluter.close()
    reused = name not in TEMPORARY
    ended = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    wait_for(
        lambda: kept(root, pid) if reused else root.execute(ended, (pid,)).fetchone() == (0,),
        "the connection in its pool, or closed",
    )
    with pooled.connect("bob", "bob-password") as c:
        assert (pid_of(c) == pid) is reused
        assert c.info.parameter_status("client_encoding") == "UTF8"
        assert c.execute(STATE).fetchone() == fresh
        assert c.execute("SELECT count(*), max(body) FROM notes WHERE id = 1").fetchone() == (
            1, "note 1",
        )  # fmt: skip
        assert c.execute("SELECT count(*) FROM notes WHERE id >= 1000").fetchone() == (0,)
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            c.execute("SELECT lastval()")
        assert list(c.notifies(timeout=0.05)) == []


def test_random_numbers_are_not_those_another_chose(pooled: Running, root: Connection) -> None:
    with contextlib.closing(pooled.connect("bob", "bob-password")) as c:
        c.execute("SELECT setseed(0.25)")
        chosen = [c.execute("SELECT random()").fetchone() for _ in range(2)]
        c.execute("SELECT setseed(0.25)")
        leave(root, c)
    with pooled.connect("bob", "bob-password") as c:
        assert c.execute("SELECT random()").fetchone() not in chosen


def test_own_masks_on_one_connection(pooled: Running, root: Connection) -> None:
    """The names and prepared statements of the session before mean nothing."""
    pids = set()
    for user, ssn in (("bob", "123-45-6001"), ("alice", "****"), ("bob", "123-45-6001")) * 2:
        with contextlib.closing(pooled.connect(user, f"{user}-password")) as c:
            for _ in range(2):
                answer = c.execute("SELECT ssn FROM people WHERE id = 1", prepare=True).fetchone()
                assert answer == (ssn,)
                in_use = c.execute("SELECT lower(ssn) FROM people WHERE id = 1").fetchone()
                assert in_use == (ssn,)
            c.execute("PREPARE mine AS SELECT ssn FROM people")
            pids.add(leave(root, c))
    assert len(pids) == 1


def test_other_startup_settings_mean_another_connection(pooled: Running, root: Connection) -> None:
    with contextlib.closing(pooled.connect("bob", "bob-password")) as c:
        plain = leave(root, c)
    for options, ask, told in (
        ({"options": "-c timezone=Asia/Tokyo"}, "SHOW timezone", "Asia/Tokyo"),
        ({"client_encoding": "LATIN1"}, "SHOW client_encoding", "LATIN1"),
        ({"options": "-c search_path=pg_catalog"}, "SHOW search_path", "pg_catalog"),
    ):
        with contextlib.closing(pooled.connect("bob", "bob-password", **options)) as c:
            assert pid_of(c) != plain
            assert c.execute(ask).fetchone() == (told,)
            c.execute("RESET ALL")
            assert c.execute(ask).fetchone() == (told,)
            other = leave(root, c)
        with contextlib.closing(pooled.connect("bob", "bob-password", **options)) as c:
            assert pid_of(c) == other and c.execute(ask).fetchone() == (told,)
            leave(root, c)


def test_the_name_a_client_gives_is_told_to_it(pooled: Running, root: Connection) -> None:
    for name in ("one", "two", ""):
        with contextlib.closing(pooled.connect("bob", "bob-password", application_name=name)) as c:
            assert c.info.parameter_status("application_name") == name
            c.execute("RESET ALL")
            assert c.info.parameter_status("application_name") == name
            leave(root, c)


def test_what_begins_differently_is_not_used_again(pooled: Running, root: Connection) -> None:
    """ALTER ROLE ... SET reaches new sessions only; so it must be a new connection that comes."""
    with contextlib.closing(pooled.connect("bob", "bob-password")) as c:
        before = leave(root, c)
    try:
        root.execute(f"ALTER ROLE {ROLE} IN DATABASE {DATABASE} SET work_mem = '77MB'")
        time.sleep(1.1)  # what was looked at within the last second is not looked at again
        with pooled.connect("bob", "bob-password") as c:
            assert pid_of(c) != before
            assert c.execute("SHOW work_mem").fetchone() == ("77MB",)
    finally:
        root.execute(f"ALTER ROLE {ROLE} IN DATABASE {DATABASE} RESET work_mem")


def test_a_role_that_may_no_longer_log_in(pooled: Running, root: Connection) -> None:
    with contextlib.closing(pooled.connect("bob", "bob-password")) as c:
        leave(root, c)
    try:
        root.execute(f"ALTER ROLE {ROLE} NOLOGIN")
        time.sleep(1.1)
        assert "refused" in pooled.refusal("bob", "bob-password")
    finally:
        root.execute(f"ALTER ROLE {ROLE} LOGIN")


def test_sessions_that_may_hold_what_nobody_sees(
    made: Callable[..., Estate], root: Connection
) -> None:
    """With a login trigger a new connection does what a kept one would not: none is kept."""
    root.execute("CREATE FUNCTION greet() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
    root.execute("CREATE EVENT TRIGGER greeting ON login EXECUTE FUNCTION greet()")
    try:
        with made().serve() as running:
            pids = set()
            for _ in range(3):
                with running.connect("bob", "bob-password") as c:
                    pids.add(pid_of(c))
                    assert c.execute("SHOW sallyport.principal").fetchone() == ("bob",)
            assert len(pids) == 3
            assert "a login trigger" in running.child.text()
    finally:
        root.execute("DROP EVENT TRIGGER greeting; DROP FUNCTION greet")


def test_a_connection_that_ends_in_the_pool(pooled: Running, root: Connection) -> None:
    with contextlib.closing(pooled.connect("bob", "bob-password")) as c:
        before = leave(root, c)
    root.execute("SELECT pg_terminate_backend(%s)", (before,))
    with pooled.connect("bob", "bob-password") as c:
        assert pid_of(c) != before


def test_a_server_that_does_not_take_the_name(pooled: Running, root: Connection) -> None:
    """Another connection takes its place, and the client notices nothing but the wait."""
    with contextlib.closing(pooled.connect("bob", "bob-password")) as c:
        before = leave(root, c)
    with frozen(before), pooled.connect("bob", "bob-password") as c:
        asked = "SELECT pg_backend_pid(), current_setting('sallyport.principal')"
        row = c.execute(asked).fetchone()
        assert row is not None and row[0] != before and row[1] == "bob"


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A server process that does nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_session_that_was_cut_gives_nothing_back(pooled: Running, root: Connection) -> None:
    """A client that leaves amid a statement: it is cancelled, and the connection closed."""
    c = pooled.connect("bob", "bob-password")
    pid = c.info.backend_pid
    c.pgconn.send_query(b"SELECT pg_sleep(30)")
    time.sleep(0.2)
    c.close()
    gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
    wait_for(lambda: root.execute(gone, (pid,)).fetchone() == (0,), "its end")


def test_a_late_cancel_hits_nobody_else(pooled: Running, root: Connection) -> None:
    """The request of a session that is over must not reach the next one's statement."""
    hits = 0
    for _ in range(40):
        first = pooled.connect("bob", "bob-password")
        first.execute("SELECT 1")
        late = threading.Thread(target=lambda c=first: c.pgconn.get_cancel().cancel())  # type: ignore[misc]
        late.start()
        first.close()
        with pooled.connect("bob", "bob-password") as second:
            try:
                second.execute("SELECT pg_sleep(0.02)")
            except psycopg.errors.QueryCanceled:
                hits += 1
        late.join()
    assert hits == 0


def test_reload_empties_the_pool(made: Callable[..., Estate], root: Connection) -> None:
    with made().serve() as running:
        with contextlib.closing(running.connect("bob", "bob-password")) as c:
            before = leave(root, c)
        living = running.connect("bob", "bob-password")
        assert pid_of(living) == before
        other = leave(root, running.connect("alice", "alice-password"))
        assert running.reload()
        with running.connect("bob", "bob-password") as c:
            assert pid_of(c) not in (before, other)
        used = pid_of(living)
        living.close()
        with running.connect("bob", "bob-password") as c:
            assert pid_of(c) != used


def test_lifetimes_and_spares(made: Callable[..., Estate], root: Connection) -> None:
    counted = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'pooled_alone'"
    unused = counted + " AND application_name = 'sallyport (unused)'"
    with made("pooled_alone", lifetime_s_max=2, idle_s_max=1, spare=0).serve() as running:
        with contextlib.closing(running.connect("bob", "bob-password")) as c:
            leave(root, c)
        wait_for(lambda: root.execute(unused).fetchone() == (0,), "the end of the unused one")
        living = running.connect("bob", "bob-password")
        pid = pid_of(living)
        time.sleep(2)
        living.close()
        with running.connect("bob", "bob-password") as c:
            assert pid_of(c) != pid
    with made("pooled_alone", spare=2, lifetime_s_max=60, idle_s_max=1).serve() as running:
        with running.connect("bob", "bob-password"):
            wait_for(lambda: root.execute(unused).fetchone() == (2,), "two spare ones")
        time.sleep(2.5)  # longer than others may be unused
        assert root.execute(unused).fetchone() == (2,)
        ready = running.metric("upstream_pool_total", outcome="reused")
        with running.connect("bob", "bob-password"):
            running.metric_reaches(ready + 1, "upstream_pool_total", outcome="reused")


def test_a_server_that_was_restarted(
    tmp_path: Path, authority: Authority, server_folder: Path
) -> None:
    with EmbeddedPostgres(server_folder / "pool18", 18, port=free_port()) as server:
        furnish(server)
        estate = Estate(tmp_path / "estate", server, authority)
        estate.configuration["targets"][0]["pooling"] = {"mode": "session"}
        with estate.serve() as running:
            for _ in range(2):
                with running.connect("bob", "bob-password") as c:
                    c.execute("SELECT 1")
            server.stop()
            assert "database" in running.refusal("bob", "bob-password")
            server.start()
            with running.connect("bob", "bob-password") as c:
                assert c.execute("SELECT 1").fetchone() == (1,)


# --- statements of our own ------------------------------------------------------------------------

OURS = """SELECT name, md5(statement), from_sql, prepare_time FROM pg_prepared_statements
  WHERE name IN ('sallyport: check', 'sallyport: proof', 'sallyport: still') ORDER BY name"""


def masked(running: Running, root: Connection) -> int:
    """A session that owes masks, and what checks it. -> its connection."""
    with contextlib.closing(running.connect("alice", "alice-password")) as c:
        read = "SELECT ssn FROM people ORDER BY id LIMIT 1"
        assert c.execute(read, prepare=False).fetchone() == ("****",)
        c.execute("BEGIN")
        c.execute("UPDATE notes SET body = body WHERE id = -1", prepare=False)
        c.execute("COMMIT")
        for _ in range(2):
            c.execute("SELECT 1 AS mine", prepare=True)
        return leave(root, c)


def prepared(running: Running, root: Connection, pid: int, *texts: str) -> list[tuple[Any, ...]]:
    """What of ours is there, seen by somebody who may look, who then says `texts`."""
    with contextlib.closing(running.connect("bob", "bob-password")) as c:
        assert c.info.backend_pid == pid
        found = c.execute(OURS, prepare=False).fetchall()
        others = "SELECT name FROM pg_prepared_statements WHERE name NOT LIKE 'sallyport: %'"
        assert c.execute(others, prepare=False).fetchall() == []
        for text in texts:
            c.execute(text, prepare=False)
        leave(root, c)
    return found


def test_checks_stay_prepared_between_sessions(pooled: Running, root: Connection) -> None:
    """They take milliseconds to parse and plan. The client's own statements go."""
    pid = masked(pooled, root)
    before = prepared(pooled, root, pid)
    assert {row[0] for row in before} >= {"sallyport: check", "sallyport: proof"}
    assert masked(pooled, root) == pid
    assert set(before) <= set(prepared(pooled, root, pid))
    for number in range(UNASKED_MAX + 1):
        assert bool(prepared(pooled, root, pid)) == (number < UNASKED_MAX)
    assert masked(pooled, root) == pid
    assert prepared(pooled, root, pid)


@pytest.mark.parametrize(
    "touched",
    [
        "SET transform_null_equals = on",
        "SELECT set_config('DateStyle', 'SQL, DMY', false)",
        "PREPARE p AS SELECT 1",
        "SET ROLE pooled_other",
        "DO $$ BEGIN PERFORM 1; END $$",
        "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL';"
        """ EXECUTE 'PREPARE "sallyport: check" AS SELECT 1'; END $$""",
    ],
)
def test_none_stays_behind_what_could_have_changed_settings(
    pooled: Running, root: Connection, touched: str
) -> None:
    pid = masked(pooled, root)
    assert prepared(pooled, root, pid, touched)
    assert prepared(pooled, root, pid) == []


@pytest.mark.parametrize("planted", ["nothing", "by SQL", "another text", "another name"])
def test_the_server_tells_ours_by_text_and_by_who_prepared_them(
    vault: EmbeddedPostgres, planted: str
) -> None:
    check, query = CHECK_NAME.decode(), OWN[CHECK_NAME].text
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as c:
        c.pgconn.prepare(b"sallyport: still", OWN[STILL_NAME].text.encode())
        match planted:
            case "by SQL":
                c.execute(f'PREPARE "{check}" AS {query}'.encode())
            case "another text":
                c.pgconn.prepare(CHECK_NAME, query.encode() + b" ")
            case "another name":
                c.pgconn.prepare(b"mine", query.encode())
            case _:
                c.pgconn.prepare(CHECK_NAME, query.encode())
        found = c.pgconn.exec_(cleaning.LEFTOVERS_BUT_OURS)
        row = [found.get_value(0, index) for index in range(found.nfields)]
    left = planted != "nothing"
    assert row[0] == (b"t" if left else b"f")
    names = {STILL_NAME} if left else {STILL_NAME, CHECK_NAME}
    assert set((row[6] or b"").split(b",")) == names
