"""`schema_check: lease`: reads that ask nothing while the schema is held, and everything that may
happen to that hold while they run. What is in `ssn` begins with SECRET.
"""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from appliance.dataplane import upstreams
from appliance.sql import still
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running, wait_for

POLICY = """
version: 1
known_relations: ["*.l.*", "*.early.*"]
rules:
  - {id: all, effect: allow, actions: [everything]}
  - id: no-ssn
    effect: mask
    principals: {names: [alice]}
    resources: ["*.l.people.ssn", "*.early.people.name"]
    mask: {method: redact}
"""

EARLY = (
    "CREATE TABLE early.people AS SELECT id, ssn AS name FROM l.people;"
    f"GRANT SELECT ON early.people TO {ROLE};"
)
SCHEMA = f"""
DROP SCHEMA IF EXISTS l, early CASCADE;
CREATE SCHEMA l;
CREATE SCHEMA early;
CREATE TABLE l.people (id int PRIMARY KEY, name text, ssn text);
INSERT INTO l.people SELECT n, 'person ' || n, 'SECRET-' || n FROM generate_series(1, 3) n;
CREATE VIEW l.seen AS SELECT id, name FROM l.people;
GRANT ALL ON SCHEMA l, early TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA l TO {ROLE};
"""
TELLING = "CREATE OR REPLACE VIEW l.seen AS SELECT id, upper(ssn) AS name FROM l.people"
HARMLESS = "CREATE OR REPLACE VIEW l.seen AS SELECT id, name FROM l.people"
SEEN = "SELECT lower(name) FROM l.seen WHERE id = 1"
PEOPLE = "SELECT upper(name) FROM people WHERE id = 1"
HOLDERS = """SELECT DISTINCT l.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
    WHERE l.relation = 'pg_class'::regclass AND l.mode = 'ShareLock' AND l.granted
      AND a.application_name = 'sallyport lease'"""

CARE = "VACUUM ANALYZE"
"""For catalogs that autovacuum is due for, it stays away for minutes."""

HELD_SECONDS_MAX = 30.0
"""It stays away for up to 10 seconds from who changes much."""

Connection = psycopg.Connection[tuple[Any, ...]]
Ask = Callable[[Connection], str]


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    made = Estate(tmp_path_factory.mktemp("lease"), vault, authority)
    made.write("policy.yaml", POLICY)
    made.configuration["limits"] = {"catalog_refresh_ms": 60_000}
    (target,) = made.configuration["targets"]
    with psycopg.connect(vault.uri(), autocommit=True) as root:
        root.execute("DROP ROLE IF EXISTS keeper")
        root.execute("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'keeper-password'")
    credential = made.secret("keeper", "keeper-password")
    target["catalog"] = {"user": "keeper", "credential": credential}
    target["schema_check"] = "lease"
    with made.serve() as running:
        yield running


@pytest.fixture
def direct(vault: EmbeddedPostgres) -> Iterator[Connection]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        connection.execute(CARE)
        yield connection


def simple(text: str) -> Ask:
    def ask(connection: Connection) -> str:
        with psycopg.ClientCursor(connection) as cursor:
            return str(cursor.execute(text).fetchall())  # type: ignore[arg-type]

    return ask


def extended(text: str) -> Ask:
    return lambda c: str(c.execute(text, prepare=False, binary=True).fetchall())  # type: ignore[arg-type]


def prepared(text: str) -> Ask:
    def ask(connection: Connection) -> str:
        connection.prepare_threshold = 0
        return str(connection.execute(text, prepare=True).fetchall())  # type: ignore[arg-type]

    return ask


def amid(text: str) -> Ask:
    """In a transaction of its own, again and again."""

    def ask(connection: Connection) -> str:
        with connection.transaction():
            return ", ".join({simple(text)(connection) for _ in range(5)})

    return ask


class Readers:
    """Alices that read without a pause; `answers` is all that they got. `anew`: each time in a new
    session."""

    def __init__(self, proxy: Running, asks: list[Ask], *first: str, anew: bool = False) -> None:
        self.answers: list[str] = []
        self._anew = anew
        self._proxy, self._first = proxy, first
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read, args=(ask,)) for ask in asks]

    def __enter__(self) -> "Readers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _read(self, ask: Ask) -> None:
        while not self._stop.is_set():
            with self._proxy.connect("alice", "alice-password") as alice:
                for text in self._first:
                    alice.execute(text)  # type: ignore[arg-type]
                while not self._stop.is_set():
                    try:
                        self.answers.append(ask(alice))
                    except psycopg.OperationalError:
                        break
                    except psycopg.Error as refused:
                        self.answers.append(str(refused))
                    if self._anew:
                        break

    @property
    def raw(self) -> list[str]:
        return [answer for answer in self.answers if "SECRET" in answer.upper()]


def held(direct: Connection) -> list[int]:
    return [row[0] for row in direct.execute(HOLDERS)]


def wait_until_used(proxy: Running, direct: Connection) -> None:
    wait_for(lambda: held(direct), "the schema is held", HELD_SECONDS_MAX)
    proxy.metric_reaches(proxy.metric("statements_leased_total") + 50, "statements_leased_total")


def end_guard_and_swap(direct: Connection) -> None:
    """The guard is ended, and the view tells for a moment, without a wait for anybody to notice."""
    direct.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'sallyport lease'"
    )
    direct.execute(TELLING)
    time.sleep(0.1)
    direct.execute(HARMLESS)


WAYS = [simple, extended, prepared, amid]


def test_reads_under_a_lease_are_masked_as_ever(proxy: Running, direct: Connection) -> None:
    texts = [
        "SELECT ssn FROM l.people WHERE id = 1",
        "SELECT upper(ssn) || name FROM l.people WHERE id = 1",
        "SELECT count(*) FROM l.people WHERE ssn LIKE 'SECRET%'",
    ]
    with Readers(proxy, [way(text) for way in WAYS for text in texts]) as readers:
        wait_until_used(proxy, direct)
    assert not readers.raw
    assert {"[('****',)]", "[('****person 1',)]", "[(0,)]"} >= {*readers.answers}


def test_whoever_reads_in_transactions_only_has_it_too(proxy: Running, direct: Connection) -> None:
    with Readers(proxy, [amid(SEEN)]) as readers:
        wait_until_used(proxy, direct)
    assert {*readers.answers} == {"[('person 1',)]"}


def test_views_swapped_at_any_moment(proxy: Running, direct: Connection) -> None:
    """Between two changes the lease comes back, or does not; every swap is done at once."""
    choices, waits = random.Random(7), []
    leases = proxy.metric("schema_leases_total")
    with Readers(proxy, [way(SEEN) for way in WAYS]) as readers:
        wait_until_used(proxy, direct)
        for number in range(40):
            begun = time.monotonic()
            direct.execute(TELLING if number % 2 else HARMLESS)
            waits.append(time.monotonic() - begun)
            if number % 8 == 7:
                direct.execute(CARE)
            time.sleep(choices.choice((0.0, 0.05, 0.3, 0.8)))
        direct.execute(HARMLESS)
        size = len(readers.answers)
        wait_for(lambda: any("person" in a for a in readers.answers[size:]), "an answer afterwards")
    assert not readers.raw
    assert sorted(waits)[len(waits) // 2] < 0.2
    assert proxy.metric("schema_leases_total") > leases


def test_the_guard_is_ended_and_the_schema_changed_at_once(
    proxy: Running, direct: Connection, vault: EmbeddedPostgres
) -> None:
    """Nobody needs to have noticed that it is gone."""
    with Readers(proxy, [way(SEEN) for way in WAYS]) as readers:
        for _ in range(8):
            wait_for(lambda: held(direct), "the schema is held", HELD_SECONDS_MAX)
            time.sleep(0.1)
            end_guard_and_swap(direct)
        size = len(readers.answers)
        wait_for(lambda: any("person" in a for a in readers.answers[size:]), "an answer afterwards")
    assert not readers.raw


@pytest.mark.parametrize("ask", WAYS)
def test_what_was_changed_before_and_committed_later(
    proxy: Running, direct: Connection, ask: Callable[[str], Ask]
) -> None:
    """A table that shadows another is made by a transaction that began before the schema could be
    held, and locks nothing that the reader uses."""
    with Readers(proxy, [ask(PEOPLE)] * 2, "SET search_path = early, l") as readers:
        wait_until_used(proxy, direct)
        with direct.transaction():
            direct.execute(EARLY.encode())
            time.sleep(1.5)
            assert any("PERSON" in answer for answer in readers.answers)
        time.sleep(0.5)
        wait_for(lambda: held(direct), "the schema is held", HELD_SECONDS_MAX)
    assert not readers.raw


SHADOW = (
    "CREATE TABLE early.people AS SELECT id, 'open' AS name, 'open' AS ssn FROM l.people;"
    f"GRANT SELECT ON early.people TO {ROLE};"
)


@pytest.mark.parametrize("way", [simple, prepared])
def test_a_transaction_that_knows_names_from_before(
    proxy: Running, direct: Connection, way: Callable[[str], Ask]
) -> None:
    """A table shadows another, of which an open transaction keeps the lock that it has: its server
    process need not look for what was changed. All others read the new one by now."""
    text, path = "SELECT lower(ssn) FROM people WHERE id = 1", "SET search_path = early, l"
    with (
        Readers(proxy, [simple(text), amid(text)], path) as readers,
        proxy.connect("alice", "alice-password") as alice,
    ):
        wait_until_used(proxy, direct)
        alice.execute(path)
        with alice.transaction():
            found = [way(text)(alice) for _ in range(3)]
            direct.execute(SHADOW.encode())
            wait_for(lambda: readers.answers[-1] == "[('open',)]", "the new table is read")
            wait_until_used(proxy, direct)
            for _ in range(20):
                try:
                    with alice.transaction():
                        found.append(way(text)(alice))
                except psycopg.Error as refused:
                    found.append(str(refused))
    assert not readers.raw
    assert not [answer for answer in found if "secret-1" in answer.lower()]
    assert found[0] == "[('****',)]"


def test_a_search_path_of_the_servers_configuration(
    proxy: Running, direct: Connection, vault: EmbeddedPostgres
) -> None:
    """Read again while the schema is held: it is no change of the schema."""
    direct.execute(EARLY.encode())

    def configure(path: str) -> None:
        direct.execute(f"ALTER SYSTEM SET search_path = {path}".encode())
        direct.execute("SELECT pg_reload_conf()")
        wait_for(lambda: direct.execute("SHOW search_path").fetchone() == (path,), "the new path")

    direct.execute("RESET search_path")
    try:
        configure("l")
        with Readers(proxy, [way(PEOPLE) for way in WAYS]) as readers:
            wait_until_used(proxy, direct)
            configure("early, l")
            time.sleep(0.5)
        assert any("PERSON" in answer for answer in readers.answers)
        assert not readers.raw
    finally:
        direct.execute("ALTER SYSTEM RESET search_path")
        direct.execute("SELECT pg_reload_conf()")


def test_temporary_tables_and_own_changes_wait_for_next_to_nothing(
    proxy: Running, direct: Connection
) -> None:
    with (
        Readers(proxy, [simple(SEEN)]) as readers,
        proxy.connect("bob", "bob-password") as bob,
    ):
        for index, change in enumerate(("CREATE TEMP TABLE x{} (a int)", "CREATE TABLE l.x{} ()")):
            wait_until_used(proxy, direct)
            begun = time.monotonic()
            bob.execute(change.format(index))  # type: ignore[arg-type]
            assert time.monotonic() - begun < 2.0
    assert not readers.raw


def test_nobody_elses_operators_run_as_the_guard(proxy: Running, direct: Connection) -> None:
    """Whoever may make an operator in `public` could have it meant by a text of ours."""
    direct.execute(
        "CREATE TABLE l.loot (who text); GRANT ALL ON l.loot TO PUBLIC; GRANT USAGE ON SCHEMA l TO"
        " PUBLIC; CREATE FUNCTION public.spy(oid, regclass) RETURNS boolean LANGUAGE plpgsql AS $$"
        " BEGIN INSERT INTO l.loot VALUES (current_user); RETURN true; END $$;"
        "CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = regclass, FUNCTION = public.spy)"
    )
    try:
        with Readers(proxy, [simple("SELECT lower(name) FROM l.seen")]):
            wait_until_used(proxy, direct)
        spied = direct.execute("SELECT DISTINCT who FROM l.loot").fetchall()
        assert spied == [("postgres",)]  # who looks at locks here, by that operator
    finally:
        direct.execute("DROP OPERATOR public.= (oid, regclass); DROP FUNCTION public.spy")


def test_a_frozen_appliance_keeps_nobody_waiting_for_long(
    proxy: Running, direct: Connection
) -> None:
    with Readers(proxy, [simple(SEEN)]):
        wait_until_used(proxy, direct)
        pids = [proxy.pid, *proxy.worker_pids()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            direct.execute("SET lock_timeout = '20s'")
            direct.execute("CREATE TEMP TABLE late (a int)")
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def test_guards_relieve_each_other_while_it_is_used(proxy: Running, direct: Connection) -> None:
    with Readers(proxy, [way(SEEN) for way in WAYS]) as readers:
        wait_until_used(proxy, direct)
        first, leases = held(direct), proxy.metric("schema_leases_total")
        wait_for(lambda: held(direct) and not {*first} & {*held(direct)}, "another guard", 20)
        wait_until_used(proxy, direct)
        assert proxy.metric("schema_leases_total") == leases
    assert not readers.raw


def test_a_look_is_answered_as_it_is_expected(vault: EmbeddedPostgres) -> None:
    """Byte for byte: else each look goes the long way."""
    uri = vault.uri(database=DATABASE)
    with (
        psycopg.connect(uri) as guard,
        psycopg.connect(uri, autocommit=True) as watcher,
        socket.socket(fileno=os.dup(watcher.fileno())) as wire,
    ):
        for text in still.PREPARE:
            watcher.execute(text)  # type: ignore[arg-type]
        look = upstreams.repeated(
            still.WATCH.format(pid=guard.info.backend_pid), ("0", str(len(still.CATALOGS)))
        )
        wire.settimeout(10)
        for text, expected in (("SELECT 1", False), (still.LOCKS, True)):
            guard.execute(text)  # type: ignore[arg-type]
            wire.sendall(look.question)
            answer = b""
            while not look.is_whole(answer):
                answer += wire.recv(4096)
            assert look.is_expected(answer) == expected


def test_it_is_let_go_of_when_nobody_reads(proxy: Running, direct: Connection) -> None:
    with Readers(proxy, [simple(SEEN)]):
        wait_until_used(proxy, direct)
    wait_for(lambda: not held(direct), "it is let go of", 90)


def test_who_may_not_lock_has_every_statement_looked_after(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> None:
    made = Estate(tmp_path_factory.mktemp("unprivileged"), vault, authority)
    made.write("policy.yaml", POLICY)
    made.configuration["targets"][0]["schema_check"] = "lease"
    with (
        psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as direct,
        made.serve() as running,
    ):
        direct.execute(SCHEMA.encode())
        with Readers(running, [simple(SEEN)]) as readers:
            wait_for(
                lambda: "schema_lease_refused" in running.child.text(), "it is said in the log"
            )
            assert "pg_maintain" in running.child.text()
            direct.execute(TELLING)
            time.sleep(0.3)
        assert any("person" in answer for answer in readers.answers)
        assert not readers.raw
        assert not running.metric("statements_leased_total")
