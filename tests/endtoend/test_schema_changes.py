"""Schema changes while somebody who owes masks works: no answer rests on the schema before.

Fresh eyes got raw values out in each of these ways once. DDL goes through Sallyport here; what goes
round it is noticed by polling (LIMITS.md).
"""

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running

POLICY = """
version: 1
rules:
  - {id: all, effect: allow, actions: [everything]}
  - id: no-ssn
    effect: mask
    principals: {names: [alice]}
    resources: ["*.*.people.ssn"]
    mask: {method: redact}
"""

HARMLESS = "CREATE OR REPLACE VIEW seen AS SELECT id, 'nobody' AS name, ssn FROM people"
TELLING = "CREATE OR REPLACE VIEW seen AS SELECT id, upper(ssn) AS name, ssn FROM people"
LOOK = "SELECT name FROM seen WHERE id = 1"
ANSWERED_SECONDS_MAX = 120.0


@pytest.fixture(scope="module", params=["1", "2"])
def proxy(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    authority: Authority,
) -> Iterator[Running]:
    """One worker, and two: a change through one of them concerns the other's sessions."""
    made = Estate(tmp_path_factory.mktemp("schema"), vault, authority)
    made.write("policy.yaml", POLICY)
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as root:
        root.execute(f"GRANT CREATE ON SCHEMA public TO {ROLE}")
        root.execute(f"GRANT CREATE ON DATABASE {DATABASE} TO {ROLE}")
        root.execute(f"ALTER ROLE {ROLE} CREATEDB")
        root.execute(f"ALTER TABLE people OWNER TO {ROLE}")
    with made.serve("--workers", request.param) as running:
        yield running


def bob(proxy: Running) -> "psycopg.Connection[tuple[object, ...]]":
    return proxy.connect("bob", "bob-password")


def looks(proxy: Running, text: str, answers: list[str], stop: threading.Event) -> None:
    """Alice asks and asks; a session that was ended is opened anew."""
    while not stop.is_set():
        with proxy.connect("alice", "alice-password") as alice:
            while not stop.is_set():
                try:
                    answers.append(str(alice.execute(text).fetchall()))  # type: ignore[arg-type]
                except psycopg.OperationalError:
                    answers.append("ended")
                    break
                except psycopg.Error as refusal:
                    answers.append(refusal.sqlstate or "")


def test_a_view_that_is_swapped_and_swapped_back(proxy: Running) -> None:
    """However slow the machine is: it is swapped a dozen times, and until there are answers."""
    answers: list[str] = []
    stop = threading.Event()
    with bob(proxy) as changing:
        changing.execute(HARMLESS)
        lookers = [
            threading.Thread(target=looks, args=(proxy, LOOK, answers, stop)) for _ in range(4)
        ]
        for looker in lookers:
            looker.start()
        swaps, end = 0, time.monotonic() + ANSWERED_SECONDS_MAX
        try:
            while swaps < 12 or (len(answers) <= 50 and time.monotonic() < end):
                swaps += 1
                time.sleep(0.1)
                changing.execute(TELLING)
                time.sleep(0.1)
                changing.execute(HARMLESS)
            while "[('nobody',)]" not in answers and time.monotonic() < end:
                time.sleep(0.1)
        finally:
            time.sleep(0.5)
            stop.set()
            for looker in lookers:
                looker.join(30)
    assert "[('nobody',)]" in answers and len(answers) > 50
    assert not [answer for answer in answers if "123-45" in answer]


@pytest.mark.parametrize("prepared", [False, True])
def test_a_statement_that_waits_for_the_lock(proxy: Running, prepared: bool) -> None:
    answers: list[str] = []
    with bob(proxy) as changing, proxy.connect("alice", "alice-password") as alice:
        changing.execute(HARMLESS)
        if prepared:
            alice.execute("PREPARE look AS " + LOOK)  # type: ignore[arg-type]

        def look() -> None:
            text = "EXECUTE look" if prepared else LOOK
            try:
                answers.append(str(alice.execute(text).fetchall()))  # type: ignore[arg-type]
            except psycopg.Error as refusal:
                answers.append(str(refusal))

        with changing.transaction():
            changing.execute(TELLING)
            looker = threading.Thread(target=look)
            looker.start()
            time.sleep(0.8)
        looker.join(30)
        look()
        changing.execute(HARMLESS)
    assert len(answers) == 2 and not [answer for answer in answers if "123-45" in answer]


def test_an_open_change_is_told_and_passes(proxy: Running) -> None:
    """Whoever owes masks waits a moment for it, hears of it, and goes on when it has ended."""
    with bob(proxy) as changing, proxy.connect("alice", "alice-password") as alice:
        changing.execute(HARMLESS)
        assert alice.execute(LOOK).fetchall() == [("nobody",)]
        with changing.transaction():
            changing.execute("CREATE TABLE passing (id int)")
            with pytest.raises(psycopg.errors.CannotConnectNow, match="changing the schema"):
                alice.execute(LOOK)
        changing.execute("DROP TABLE passing")
        assert alice.execute(LOOK).fetchall() == [("nobody",)]


def test_ones_own_change_beside_what_rests_on_nothing(proxy: Running) -> None:
    """In one text."""
    with proxy.connect("alice", "alice-password") as alice:
        for text in (
            "SELECT 1; CREATE TABLE own (id int); SELECT now() IS NOT NULL",
            "DROP TABLE own; VALUES (true)",
        ):
            cursor = psycopg.ClientCursor(alice)
            cursor.execute(text.encode())
            while cursor.nextset():
                pass
            assert cursor.fetchall() == [(True,)]


def test_ones_own_change_in_a_pipeline(proxy: Running) -> None:
    with proxy.connect("alice", "alice-password") as alice:
        with alice.pipeline():
            before = alice.execute("SELECT 1")
            alice.execute("CREATE TABLE own (id int)")
            after = alice.execute("SELECT 2, now() IS NOT NULL")
            alice.execute("DROP TABLE own")
            last = alice.execute("SELECT 3")
        assert [cursor.fetchone() for cursor in (before, after, last)] == [(1,), (2, True), (3,)]


@pytest.mark.parametrize("end", ["DROP SCHEMA nearer CASCADE", "ALTER SCHEMA nearer RENAME TO far"])
def test_ones_own_change_that_gives_a_name_another_meaning(proxy: Running, end: str) -> None:
    """`people` is a table of her own until the schema goes that stands first in the path."""
    with proxy.connect(
        "alice", "alice-password", "main", options="-csearch_path=nearer,public"
    ) as alice:
        alice.execute("CREATE SCHEMA nearer")
        alice.execute("CREATE TABLE nearer.people (id int, ssn text)")
        count = "SELECT count(*) FROM people WHERE ssn LIKE '123-%'"
        try:
            assert alice.execute(count).fetchall() == [(0,)]
            with pytest.raises(psycopg.Error), alice.pipeline():
                alice.execute(end.encode())
                told = alice.execute(count).fetchall()
                assert told == [(0,)], told
                raise psycopg.Error("nothing was told")
        finally:
            with bob(proxy) as other:
                other.execute("DROP SCHEMA IF EXISTS nearer CASCADE")
                other.execute("DROP SCHEMA IF EXISTS far CASCADE")


@pytest.mark.parametrize("text", ["DROP DATABASE brief", "CREATE DATABASE more TEMPLATE brief"])
def test_a_database_that_nobody_is_on_any_more_is_free(proxy: Running, text: str) -> None:
    """Our own session there, which reads its catalog, does not keep it in use."""
    with bob(proxy) as other:
        other.execute("CREATE DATABASE brief")
        try:
            with proxy.connect("alice", "alice-password", dbname="brief") as alice:
                alice.execute("CREATE TABLE people (id int, ssn text)")
                assert alice.execute("SELECT ssn FROM people").fetchall() == []
            other.execute(text.encode())
        finally:
            for name in ("brief", "more"):
                other.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
