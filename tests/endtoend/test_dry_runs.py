"""Held writes that are run once and rolled back, with real clients and the real control process:
approvers see a count, the database keeps nothing, and nobody gets a write or a secret out of it."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.clusters import SALLYPORT, Authority, EmbeddedPostgres
from tests.endtoend import stage
from tests.endtoend.decided import Person, connect, installed
from tests.endtoend.held import Held
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running

POLICY = """
version: 1
classifications:
  ssn: ["*.public.citizens.ssn"]
rules:
  - {id: work, effect: allow, actions: [any]}
  - id: counted
    effect: hold
    actions: [write]
    hold: {dry_run: true, max_rows: approved + 10%, expires: 1min}
  - {id: hide, effect: mask, principals: {names: [erin]}, classifications: [ssn],
     mask: {method: redact}}
"""
SCHEMA = f"""
CREATE TABLE citizens (id int PRIMARY KEY, ssn text UNIQUE, name text);
INSERT INTO citizens SELECT n, '123-45-' || (6000 + n), 'c' FROM generate_series(1, 50) n;
CREATE TABLE numbered (id serial PRIMARY KEY, body text);
CREATE TABLE plain (id int PRIMARY KEY, body text);
INSERT INTO plain SELECT n, CASE WHEN n <= 7 THEN 'rare' ELSE 'common' END
  FROM generate_series(1, 1000) n;
CREATE VIEW few AS SELECT * FROM plain WHERE id < 10;
ANALYZE;
GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE};
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE};
"""
# The planner does not know that the two conditions go together.
MISJUDGED = "UPDATE plain SET body = 'x' WHERE body = 'rare' AND id <= 7"


@pytest.fixture(scope="module")
def logged(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 18 that logs every statement it is sent."""
    with EmbeddedPostgres(server_folder / "edry", 18, settings={"log_statement": "all"}) as server:
        stage.furnish(server)
        with psycopg.connect(server.uri(database=DATABASE), autocommit=True) as root:
            root.execute(SCHEMA.encode())
        yield server


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, logged: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("dry"), logged, authority)
    with installed(estate, POLICY) as running:
        yield running


@pytest.fixture
def direct(logged: EmbeddedPostgres) -> Iterator[Any]:
    with psycopg.connect(logged.uri(database=DATABASE), autocommit=True) as made:
        yield made


def held_effect(
    service: Running, user: str, text: str, *, before: str = "", **values: Any
) -> dict[str, Any]:
    """What approvers see of this statement, which is taken back then."""
    with connect(service, user) as client, Person(service, "bob") as bob:
        if before:
            client.execute(before.encode())
        held = Held(lambda: client.execute(text.encode(), **values))
        effect: dict[str, Any] = bob.pending(user)["asked"].get("effect", {})
        client.cancel()
        held.refused()
        return effect


def test_approvers_see_the_count(service: Running, direct: Any, logged: EmbeddedPostgres) -> None:
    begins = logged.log.stat().st_size
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        held = Held(lambda: alice.execute(f"{MISJUDGED} RETURNING id").fetchall())
        request = bob.pending("alice")
        effect = request["asked"]["effect"]
        assert effect["rows_counted"] == 7 != effect["rows_estimated"]
        assert effect["rows_allowed"] == 8
        count = "SELECT count(*) FROM plain WHERE body = 'x'"
        assert direct.execute(count).fetchone() == (0,)
        page = bob.get(f"/requests/{request['asked']['id']}").text
        assert "counted" in page and "at most" in page
        bob.vote(request)
        assert len(held.done()) == 7
        assert direct.execute(count).fetchone() == (7,)
    direct.execute("UPDATE plain SET body = 'rare' WHERE body = 'x'")
    log = logged.log.read_bytes()[begins:].decode(errors="replace")
    ran = [
        line.partition("sallyport: question/sallyport: question: ")[2].strip()
        for line in log.splitlines() if "execute sallyport: question" in line
    ]  # fmt: skip
    at = next(n for n, text in enumerate(ran) if MISJUDGED in text and "EXPLAIN" not in text)
    assert ran[at - 3] == "BEGIN ISOLATION LEVEL READ COMMITTED" and ran[at + 1] == "ROLLBACK"
    begun = service.recorded("dry_run_begun", request=request["asked"]["id"])
    ended = service.recorded("dry_run_ended", begun=begun["id"])
    assert (ended["rows"], ended["outcome"]) == (7, "completed")
    assert "rare" not in json.dumps(begun) and begun["statement"]["sql"].startswith("UPDATE plain")
    made = service.recorded("request_made", request=request["asked"]["id"])
    assert begun["time"] <= ended["time"] <= made["time"]


def test_the_trail_can_still_be_proved(service: Running) -> None:
    said = subprocess.run(
        [SALLYPORT, "audit", "verify", str(service.data / "audit")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    listed = subprocess.run(
        [SALLYPORT, "audit", "search", "--data", str(service.data), "--principal", "alice"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert listed.returncode in (0, 1), listed.stderr


def test_in_a_transaction(service: Running, direct: Any) -> None:
    """What the client has done in it counts, and stays; the savepoint of ours does not."""
    before = "BEGIN; SAVEPOINT mine"
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        alice.execute(before.encode())
        held = Held(lambda: alice.execute(MISJUDGED).rowcount)
        request = bob.pending("alice")
        assert request["asked"]["effect"]["rows_counted"] == 7
        assert request["asked"]["in_transaction"]
        bob.vote(request)
        assert held.done() == 7
        alice.execute("ROLLBACK TO SAVEPOINT mine")
        alice.execute("COMMIT")
    assert direct.execute("SELECT count(*) FROM plain WHERE body = 'x'").fetchone() == (0,)


def test_a_bound_statement(service: Running) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=service.ports["main"], user="alice", password="alice-password",
            database=DATABASE, ssl=False,
        )  # fmt: skip
        try:
            await connection.execute("DELETE FROM plain WHERE body = $1 AND id <= $2", "rare", 3)
        finally:
            connection.terminate()

    with Person(service, "bob") as bob:
        held = Held(lambda: asyncio.run(run()))
        request = bob.pending("alice")
        assert request["asked"]["effect"]["rows_counted"] == 3
        bob.vote(request, approve=False, reason="no")
        with pytest.raises(asyncpg.PostgresError):
            held.done()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("INSERT INTO numbered (body) VALUES ('x')", "public.numbered calls nextval()"),
        ("UPDATE plain SET body = 'x' WHERE random() < 2", "it calls random()"),
        ("UPDATE plain SET body = 'x' FROM few WHERE few.id = plain.id", "few is not a table"),
    ],
)
def test_what_leaves_something_is_only_estimated(
    service: Running, direct: Any, text: str, note: str
) -> None:
    state = "SELECT last_value, is_called FROM numbered_id_seq"
    before = direct.execute(state).fetchone()
    effect = held_effect(service, "alice", text)
    assert note in effect["note"] and "rows_counted" not in effect
    assert effect["rows_estimated"] is not None
    assert direct.execute(state).fetchone() == before


def test_a_trigger_made_a_moment_ago_is_not_run_into(service: Running, direct: Any) -> None:
    """By somebody past us: the schema is looked at in front of each."""
    assert (
        held_effect(service, "alice", "UPDATE plain SET body = body WHERE id = 1")["rows_counted"]
        == 1
    )
    direct.execute("CREATE SEQUENCE IF NOT EXISTS left_by_trigger")
    direct.execute(
        "CREATE OR REPLACE FUNCTION leave() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM nextval('left_by_trigger'); RETURN new; END $$"
    )
    try:
        direct.execute(
            "CREATE TRIGGER leaving BEFORE UPDATE ON plain FOR EACH ROW EXECUTE FUNCTION leave()"
        )
        with connect(service, "alice") as alice, pytest.raises(psycopg.Error) as caught:
            alice.execute("UPDATE plain SET body = body WHERE id = 1")
        assert "functions that are not known to be harmless" in str(caught.value)
        called = "SELECT is_called FROM left_by_trigger"
        assert direct.execute(called).fetchone() == (False,)
    finally:
        direct.execute("DROP TRIGGER IF EXISTS leaving ON plain")


def test_a_unique_index_answers_no_guesses(service: Running, direct: Any) -> None:
    """Who owes masks cannot ask, by statements that nobody approves, whether a value exists."""
    effects = [
        held_effect(service, "erin", f"INSERT INTO citizens VALUES ({n}, '{ssn}', 'x')")
        for n, ssn in ((901, "123-45-6001"), (902, "999-99-9999"))
    ]
    assert effects[0] == effects[1] and "masks are owed" in effects[0]["note"]
    assert (
        "23505"
        in held_effect(service, "alice", "INSERT INTO citizens VALUES (901, '123-45-6001', 'x')")[
            "note"
        ]
    )


def test_a_lock_in_the_way_is_not_waited_for(service: Running, direct: Any) -> None:
    with direct.transaction():
        direct.execute("SELECT FROM plain WHERE id = 3 FOR UPDATE")
        effect = held_effect(service, "alice", "UPDATE plain SET body = 'x' WHERE id = 3")
    assert "another session has locked what it touches" in effect["note"]


def _cancel_until(over: threading.Event, session: Any, failed: list[psycopg.Error]) -> None:
    """Soon, and now and then: the first may come before there is anything to cancel."""
    pause = 0.01
    while not over.wait(pause):
        try:
            session.cancel()
        except psycopg.Error as error:
            failed.append(error)
        pause = 1.0


def test_a_cancel_amid_it_leaves_nothing(service: Running, direct: Any) -> None:
    """Cancels that hit whatever is being asked: the table is as it was, and the session usable."""
    failed: list[psycopg.Error] = []
    with connect(service, "alice") as alice:
        for _ in range(5):
            over = threading.Event()
            cancelling = threading.Thread(target=_cancel_until, args=(over, alice, failed))
            cancelling.start()
            with pytest.raises(psycopg.Error):
                alice.execute("UPDATE plain SET body = 'x' WHERE id <= 900")
            over.set()
            cancelling.join()
            assert alice.execute("SELECT count(*) FROM plain WHERE body = 'x'").fetchone() == (0,)
            assert alice.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert direct.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
    ).fetchone() == (0,)
    assert not failed
