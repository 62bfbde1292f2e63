"""Held statements on the wire, with real clients: what the database saw is asked of its own log and
tables, what approvers see of the request.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from appliance.approval.request import State
from appliance.link.approvals import Ask, Use, Used, Withdraw
from tests import clusters
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend import stage
from tests.endtoend.held import Held
from tests.endtoend.holds import POLICY, UPDATE, Scene, staged
from tests.endtoend.stage import DATABASE, Estate, wait_for


@pytest.fixture(scope="module")
def vault(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 18 that logs every statement it is sent."""
    settings = {"max_connections": "320", "log_statement": "all"}
    with EmbeddedPostgres(server_folder / "eholds", 18, settings=settings) as server:
        stage.furnish(server)
        yield server


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Scene]:
    with staged(Estate(tmp_path_factory.mktemp("holds"), vault, authority)) as made:
        yield made


@pytest.fixture
def scene(service: Scene) -> Scene:
    service.begin()
    return service


def test_approved(scene: Scene) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE).statusmessage)
        ask = scene.control.hold()
        assert ask.waits
        assert ask.asked.sql == UPDATE and "changed" not in ask.asked.redacted
        assert ask.asked.principal == "bob" and ask.asked.database == DATABASE
        assert [t.action for t in ask.asked.touched if t.name == "notes"] == ["update"]
        assert ask.asked.complete and ask.asked.reasons == ("Changes need a second pair of eyes.",)
        wait_for(lambda: any(ask.asked.id in n for n in scene.notices) or None, "a notice")
        assert held.waits and scene.body() == "note 7"
        scene.control.approve(ask)
        assert held.done() == "UPDATE 1"
        assert scene.body() == "changed" and scene.ran() == 1
        assert bob.execute("SELECT 1").fetchone() == (1,)
    record = scene.running.recorded("statement_decided", request=ask.asked.id)
    assert record["approved_by"] == "bob" and record["decision"]["effect"] == "hold"
    assert "refusal" not in record


def test_denied(scene: Scene) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        scene.control.rule(ask, State.DENIED, "eve", "not on a Friday")
        error = held.refused()
        assert error.sqlstate == "42501"
        said = str(error)
        assert "denied by eve" in said and "not on a Friday" in said and ask.asked.id in said
        assert bob.execute("SELECT 1").fetchone() == (1,)
    assert scene.untouched
    records = scene.running.records("statement_decided", session=ask.asked.session)
    assert [r["refusal"]["code"] for r in records if "refusal" in r] == ["hold_denied"]


def test_expired(scene: Scene) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        scene.control.rule(ask, State.EXPIRED, "")
        assert "nobody approved it in time" in str(held.refused())
        assert bob.execute("SELECT 1").fetchone() == (1,)
    assert scene.untouched


def test_the_worker_ends_a_wait_that_control_forgets(estate: Callable[[], Estate]) -> None:
    with staged(estate(), hold_ms_max=1_000) as scene, scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        assert "in time" in str(held.refused())
        assert scene.control.took(Withdraw).reason == "expired"
        scene.control.rule(ask, State.APPROVED)  # too late
        assert scene.control.quiet()
        assert scene.untouched


def test_a_use_that_is_not_stored_releases_nothing(scene: Scene) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        scene.control.rule(ask, State.APPROVED)
        scene.control.let(ask, ok=False, reason="used already")
        assert "used already" in str(held.refused())
    assert scene.untouched


def test_the_client_cancels(scene: Scene) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        bob.cancel()
        error = held.refused()
        assert error.sqlstate == "57014"
        assert scene.control.took(Withdraw).id == ask.asked.id
        scene.control.rule(ask, State.APPROVED)
        assert bob.execute("SELECT 1").fetchone() == (1,)
        assert scene.control.quiet()
    assert scene.untouched


def test_psql_interrupted(scene: Scene) -> None:
    bin_dir = clusters.installed_postgres()
    if bin_dir is None:
        pytest.skip("no psql on this machine: apt-get install postgresql")
    environment = {**os.environ, "PGPASSWORD": "bob-password", "PGSSLMODE": "disable"}
    port = scene.running.ports["main"]
    psql = subprocess.Popen(
        [bin_dir / "psql", f"host=127.0.0.1 port={port} dbname={DATABASE} user=bob", "-X"],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    assert psql.stdin is not None
    psql.stdin.write(UPDATE + ";\n")
    psql.stdin.flush()
    scene.control.hold()
    psql.send_signal(signal.SIGINT)
    assert scene.control.took(Withdraw).reason == "cancelled"
    said, _ = psql.communicate(timeout=20)
    assert "waiting for it (request" in said and "canceling statement due to user request" in said
    assert scene.untouched


def test_the_client_is_killed(scene: Scene) -> None:
    script = (
        "import psycopg,sys; c=psycopg.connect(sys.argv[1],autocommit=True); c.execute(sys.argv[2])"
    )
    port = scene.running.ports["main"]
    uri = f"postgresql://bob:bob-password@127.0.0.1:{port}/{DATABASE}?sslmode=disable"
    client = subprocess.Popen([sys.executable, "-c", script, uri, UPDATE])
    ask = scene.control.hold()
    client.kill()
    client.wait()
    assert scene.control.took(Withdraw).reason == "disconnected"
    scene.control.rule(ask, State.APPROVED)
    assert scene.control.quiet()
    assert scene.untouched


def test_in_a_transaction(scene: Scene) -> None:
    with scene.connect(autocommit=False) as bob:
        bob.execute("SELECT 1")
        held = Held(lambda: bob.execute(UPDATE).rowcount)
        ask = scene.control.hold()
        assert ask.asked.in_transaction
        scene.control.approve(ask)
        assert held.done() == 1
        assert scene.body() == "note 7"
        bob.rollback()
        assert scene.body() == "note 7"
        held = Held(lambda: bob.execute(UPDATE).rowcount)
        ask = scene.control.hold()
        scene.control.rule(ask, State.DENIED, reason="no")
        held.refused()
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            bob.execute("SELECT 1")
        bob.rollback()
        with pytest.raises(psycopg.Error, match="while a transaction is"):
            bob.execute("ALTER TABLE notes ADD x int")
        bob.rollback()
    assert scene.body() == "note 7" and scene.ran() == 1


def test_one_of_a_pipeline(scene: Scene) -> None:
    """Order is kept: what stands before it is answered, what stands behind it waits."""
    with scene.connect() as bob:

        def run() -> list[Any]:
            with bob.pipeline():
                cursors = [
                    bob.execute("SELECT body FROM notes WHERE id = %s", (7,)),
                    bob.execute("UPDATE notes SET body = %s WHERE id = %s", ("piped", 7)),
                    bob.execute("SELECT body FROM notes WHERE id = %s", (7,)),
                ]
            return [cursors[0].fetchone(), cursors[1].rowcount, cursors[2].fetchone()]

        held = Held(run)
        ask = scene.control.hold()
        assert [p.shown for p in ask.asked.parameters] == ["piped", "7"]
        assert "one transaction" in ask.asked.effect.note
        assert scene.untouched
        scene.control.approve(ask)
        assert held.done() == [("note 7",), 1, ("piped",)]


def test_prepared_each_execution_needs_its_own(scene: Scene) -> None:
    """psycopg prepares it; each Bind waits, and its values are what is approved."""
    update = "UPDATE notes SET body = %s WHERE id = %s"
    with scene.connect() as bob:
        bindings = set()
        for n in range(3):
            held = Held(lambda n=n: bob.execute(update, (f"v{n}", 7), prepare=True).rowcount)
            ask = scene.control.hold()
            bindings.add(ask.asked.binding)
            scene.control.approve(ask)
            assert held.done() == 1 and scene.body() == f"v{n}"
        assert len(bindings) == 3
        held = Held(lambda: bob.execute(update, ("again", 7), prepare=True).rowcount)
        scene.control.rule(scene.control.hold(), State.DENIED, reason="no")
        held.refused()
        assert scene.body() == "v2"
        with pytest.raises(psycopg.Error, match="PREPARE would spare"):
            bob.execute("PREPARE p AS UPDATE notes SET body = 'x'")


async def test_asyncpg(scene: Scene) -> None:
    loop = asyncio.get_running_loop()
    connection = await asyncpg.connect(
        host="127.0.0.1", port=scene.running.ports["main"], user="bob", password="bob-password",
        database=DATABASE, ssl=False,
    )  # fmt: skip
    try:
        for n in range(2):
            task = asyncio.create_task(
                connection.execute("UPDATE notes SET body = $1 WHERE id = $2", f"a{n}", 7)
            )
            ask = await loop.run_in_executor(None, scene.control.hold)
            await loop.run_in_executor(None, scene.control.approve, ask)
            assert await task == "UPDATE 1"
            assert scene.body() == f"a{n}"
        task = asyncio.create_task(
            connection.fetch("UPDATE notes SET body = $1 RETURNING id", "all", timeout=1)
        )
        await loop.run_in_executor(None, scene.control.hold)
        with pytest.raises(TimeoutError):
            await task
        assert (await loop.run_in_executor(None, scene.control.took, Withdraw)).reason
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()
    assert scene.body() == "a1"


def test_who_owes_masks_waits_too(scene: Scene) -> None:
    """The check of what it rests on comes after the wait, so nothing is locked meanwhile."""
    text = "UPDATE people SET ssn = '000' WHERE id = 3 RETURNING id, ssn"
    with scene.connect("alice") as alice:
        held = Held(lambda: alice.execute(text).fetchall())
        ask = scene.control.hold()
        locks = "SELECT count(*) FROM pg_locks WHERE relation = 'people'::regclass"
        assert scene.direct.execute(locks).fetchone() == (0,)
        scene.control.approve(ask)
        assert held.done() == [(3, "000")]  # what she wrote herself
        assert alice.execute("SELECT ssn FROM people WHERE id = 3").fetchall() == [("****",)]
        held = Held(lambda: alice.execute("UPDATE people SET ssn = %s WHERE id = %s", ("1", 3)))
        ask = scene.control.hold()
        assert [p.shown for p in ask.asked.parameters] == [None, None]
        scene.control.approve(ask)
        held.done()


LOCKS = (  # of clients: autovacuum comes when it likes
    "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE usename = 'app'"
    " AND relation IN ('notes'::regclass, 'people'::regclass)"
)
PEOPLE_LOCKED = f"{LOCKS} AND relation = 'people'::regclass"
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state LIKE 'idle in %'"


def test_what_the_planner_expects(scene: Scene) -> None:
    """With the values that are bound; nothing runs for it, and nothing is held."""
    scene.direct.execute("ANALYZE notes")
    with scene.connect() as bob:

        def expected(text: str, values: tuple[Any, ...] | None = None, **more: Any) -> int | None:
            held = Held(lambda: bob.execute(text, values, **more))
            ask = scene.control.hold()
            assert scene.direct.execute(LOCKS).fetchone() == (0,)
            assert scene.direct.execute(OPEN).fetchone() == (0,)
            scene.control.rule(ask, State.DENIED, reason="no")
            held.refused()
            assert not ask.asked.effect.note
            return ask.asked.effect.rows_estimated

        assert expected("UPDATE notes SET body = 'x' RETURNING id") == 100
        assert expected(UPDATE) == 1
        ranged = "UPDATE notes SET body = %s WHERE id < %s"
        for prepare in (False, True):
            assert expected(ranged, ("x", 5), prepare=prepare) < 10
            assert expected(ranged, ("x", 95), prepare=prepare) > 80
        assert bob.execute("SHOW statement_timeout").fetchone() == ("0",)
    assert scene.untouched and scene.ran("SET body") == 0


def test_an_estimate_in_a_transaction(scene: Scene) -> None:
    """Nothing of it stays, also when it fails: no lock, setting, savepoint or error."""
    blocked = "UPDATE people SET ssn = '1' WHERE id = 3"
    with scene.connect(autocommit=False) as bob, scene.connect() as eve:
        bob.execute("SAVEPOINT mine")
        held = Held(lambda: bob.execute(UPDATE).rowcount)
        ask = scene.control.hold()
        assert ask.asked.effect.rows_estimated == 1 and not ask.asked.effect.note
        assert scene.direct.execute(LOCKS).fetchone() == (0,)
        scene.control.approve(ask)
        assert held.done() == 1
        for client in (bob, eve):
            with scene.direct.transaction():
                scene.direct.execute("LOCK TABLE people")
                held = Held(lambda c=client: c.execute(blocked).rowcount)
                ask = scene.control.hold()
            assert ask.asked.effect.rows_estimated is None
            assert "another session has locked" in ask.asked.effect.note
            assert scene.direct.execute(PEOPLE_LOCKED).fetchone() == (0,)
            scene.control.approve(ask)
            assert held.done() == 1
            client.execute("SELECT 1")
            if client is bob:
                for name, value in (("transaction_read_only", "off"), ("statement_timeout", "0")):
                    assert client.execute(f"SHOW {name}").fetchone() == (value,)
                client.execute("ROLLBACK TO mine")
                client.commit()
        assert scene.direct.execute(OPEN).fetchone() == (0,)
    assert scene.body() == "note 7" and scene.ran("SET ssn") == 2
    assert not [n for n in scene.notices if "waiting for it" not in n]


def test_where_the_planner_is_not_asked(scene: Scene) -> None:
    """It says why; the statement waits all the same."""
    for begin, text, why in (
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", UPDATE, "keeps a snapshot"),
        ("SELECT 1", f"{UPDATE}; SELECT 1", "several statements"),
        ("SELECT 1", "UPDATE notes SET body = pg_sleep(9)::text || f_unknown()", "harmless"),
        ("SELECT 1", "UPDATE no_such_table SET body = ''", "not all of this"),
    ):
        with scene.connect() as bob:
            bob.execute(begin)
            held = Held(lambda b=bob, t=text: b.execute(t))
            ask = scene.control.hold()
            assert ask.asked.effect.rows_estimated is None and why in ask.asked.effect.note
            scene.control.rule(ask, State.DENIED, reason="no")
            held.refused()
            bob.rollback()
    assert scene.untouched


def test_who_owes_masks_reads_no_estimate(scene: Scene) -> None:
    with scene.connect("alice") as alice:
        alice.execute("SET client_min_messages = debug1")
        alice.execute("SET debug_print_plan = on")
        held = Held(lambda: alice.execute("UPDATE people SET ssn = '0' WHERE id = %s", (3,)))
        ask = scene.control.hold()
        assert ask.asked.effect.rows_estimated == 1
        scene.control.rule(ask, State.DENIED, reason="no")
        assert "rows" not in str(held.refused())
    assert all("waiting for it" in n for n in scene.notices)


def test_an_estimate_tells_nothing_of_masked_values(scene: Scene) -> None:
    """Who asked sees the figure too: the planner is asked about what would run, with masks."""
    scene.direct.execute("ANALYZE people")

    def expected(client: psycopg.Connection, end: str, *values: str) -> int | None:
        text = f"UPDATE notes SET body = 'x' FROM people p WHERE p.id = notes.id AND p.ssn < {end}"
        held = Held(lambda: client.execute(text, values))
        ask = scene.control.hold()
        scene.control.rule(ask, State.DENIED, reason="no")
        held.refused()
        return ask.asked.effect.rows_estimated

    with scene.connect("bob") as bob, scene.connect("alice") as alice:
        assert expected(bob, "'!'") != expected(bob, "'~'")
        assert expected(alice, "'!'") == expected(alice, "'~'") is not None
        assert expected(alice, "%s", "!") == expected(alice, "%s", "~") is not None


def test_tickets(scene: Scene) -> None:
    insert = "INSERT INTO notes VALUES (%s, 'by ticket')"
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(insert, (101,)))
        ask = scene.control.hold()
        assert not ask.waits
        error = held.refused()
        detail = json.loads(str(error.diag.message_detail))
        assert detail["code"] == "hold_ticket" and detail["request"] == ask.asked.id
        assert detail["url"].endswith(ask.asked.id) and detail["expires"]
        assert bob.execute("SELECT 1").fetchone() == (1,)
        held = Held(lambda: bob.execute(insert, (101,)).rowcount)
        again = scene.control.took(Ask)
        assert again.asked.binding == ask.asked.binding
        scene.control.known(again, State.APPROVED, ask.asked.id)
        use = scene.control.let(again)
        assert use.id == ask.asked.id
        assert held.done() == 1
        held = Held(lambda: bob.execute(insert, (102,)))
        other = scene.control.hold()
        assert other.asked.binding != ask.asked.binding
        held.refused()


@pytest.mark.parametrize(
    "change",
    [
        "SET search_path TO pg_catalog, public",
        "SET datestyle TO german",
        "SET timezone TO 'Asia/Tokyo'",
    ],
)
def test_an_approval_binds_to_settings(scene: Scene, change: str) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        before = scene.control.hold()
        scene.control.rule(before, State.DENIED, reason="no")
        held.refused()
        bob.execute(change)
        held = Held(lambda: bob.execute(UPDATE))
        after = scene.control.hold()
        assert after.asked.binding != before.asked.binding
        scene.control.rule(after, State.DENIED, reason="no")
        held.refused()


def test_bindings_differ_by_letter_parameter_and_person(scene: Scene) -> None:
    seen = []
    for user in ("bob", "alice"):
        with scene.connect(user) as client:
            for text, values in (
                (UPDATE, None),
                (UPDATE + " ", None),
                ("UPDATE notes SET body = %s", ("a",)),
                ("UPDATE notes SET body = %s", ("b",)),
            ):
                held = Held(lambda c=client, t=text, v=values: c.execute(t, v))
                ask = scene.control.hold()
                seen.append(ask.asked.binding)
                scene.control.rule(ask, State.DENIED, reason="no")
                held.refused()
    assert len(set(seen)) == len(seen)


def test_control_is_away(scene: Scene) -> None:
    with scene.connect() as bob:
        scene.control.kill()
        with pytest.raises(psycopg.Error, match="none can be asked for right now") as caught:
            bob.execute(UPDATE)
        assert caught.value.sqlstate == "57P03"
        assert bob.execute("SELECT 1").fetchone() == (1,)
    assert scene.untouched


def test_control_is_killed_while_it_holds(scene: Scene) -> None:
    """The statement goes on waiting, and is asked again when control is back."""
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE).rowcount)
        ask = scene.control.hold()
        scene.control.kill()
        time.sleep(0.5)
        assert held.waits
        scene.control.start()
        again = scene.control.took(Ask)
        assert again.asked == ask.asked
        scene.control.known(again)
        assert held.waits and scene.body() == "note 7"
        scene.control.approve(again)
        assert held.done() == 1 and scene.body() == "changed" and scene.ran() == 1


def test_approved_while_control_was_away(scene: Scene) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE).rowcount)
        ask = scene.control.hold()
        scene.control.kill()
        scene.control.start()
        again = scene.control.took(Ask)
        scene.control.known(again, State.APPROVED)
        scene.control.let(ask)
        assert held.done() == 1


def test_the_link_breaks_amid_a_use(scene: Scene) -> None:
    """Nobody knows whether the use was stored: the statement does not run."""
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        scene.control.rule(ask, State.APPROVED)
        scene.control.took(Use)
        scene.control.kill()
        assert "none can be asked for right now" in str(held.refused())
    assert scene.untouched


def test_a_use_is_said_again_as_the_same_attempt(scene: Scene) -> None:
    """Its answer got lost with the link: control, back, tells what became of that very use."""
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE).rowcount)
        ask = scene.control.hold()
        scene.control.rule(ask, State.APPROVED)
        first = scene.control.took(Use)
        scene.control.kill()
        scene.control.start()
        again = scene.control.took(Use)
        assert first == again and again.attempt
        scene.control.say(Used(again.id, True, again.session, "bob"))
        scene.control.say(Used(again.id, True, again.session, "bob"))
        assert held.done() == 1 and scene.ran() == 1
        later = Held(lambda: bob.execute(UPDATE).rowcount)
        other = scene.control.approve(scene.control.hold())
        assert later.done() == 1 and other.attempt not in ("", again.attempt)


def test_the_worker_is_killed_while_it_holds(scene: Scene) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        (worker, *_) = scene.running.worker_pids()
        scene.control.greeted.clear()
        os.kill(worker, signal.SIGKILL)
        held.refused()
        assert scene.control.greeted.wait(20)
        scene.control.rule(ask, State.APPROVED)
        assert scene.control.quiet()
    assert scene.untouched
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE).rowcount)
        scene.control.approve(scene.control.hold())
        assert held.done() == 1 and scene.ran() == 1


def test_policy_changes_its_mind(scene: Scene) -> None:
    """What was approved under one policy is decided by the one that holds when it runs."""
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        forbidding = POLICY.replace(
            "effect: hold, actions: [update]", "effect: deny, actions: [update]"
        )
        (scene.running.folder / "policy.yaml").write_text(forbidding)
        assert scene.running.reload()
        scene.control.approve(ask)
        assert "second pair of eyes" in str(held.refused())
        (scene.running.folder / "policy.yaml").write_text(POLICY)
        assert scene.running.reload()
    assert scene.untouched


def test_an_administrator_ends_the_session(scene: Scene) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        wait_for(
            lambda: (
                scene.control.sessions
                and [s.state for s in scene.control.sessions.sessions] == ["held"]
            ),
            "the session shown as held",
        )
        scene.control.end(ask.asked.session)
        assert "terminating connection due to administrator command" in str(held.refused())
        assert scene.control.took(Withdraw).reason == "disconnected"
    assert scene.running.recorded("session_closed", session=ask.asked.session)["reason"] == (
        "ended_by_administrator"
    )


def test_a_drain_ends_the_wait(estate: Callable[[], Estate]) -> None:
    with staged(estate()) as scene, scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        scene.control.hold()
        scene.running.signal(signal.SIGTERM)
        assert "the appliance is being stopped" in str(held.refused())
        assert scene.control.took(Withdraw).reason == "drained"


def test_two_hundred_at_once_while_others_work(scene: Scene) -> None:
    """What waits costs the others nothing: their latency with and without it, side by side."""
    workers = [scene.connect() for _ in range(50)]

    def median() -> float:
        times = []
        for n in range(400):
            begun = time.perf_counter()
            workers[n % 50].execute("SELECT body FROM notes WHERE id = 3")
            times.append(time.perf_counter() - begun)
        return sorted(times)[len(times) // 2]

    alone = median()
    waiting = [scene.connect() for _ in range(200)]
    held = [Held(lambda c=c: c.execute(UPDATE).rowcount) for c in waiting]
    asks = [scene.control.hold() for _ in held]
    assert len({ask.asked.id for ask in asks}) == 200
    with_holds = median()
    for ask in asks:
        scene.control.rule(ask, State.DENIED, reason="no")
    for one in held:
        one.refused()
    for connection in (*workers, *waiting):
        connection.close()
    assert with_holds < 3 * alone + 0.002
    assert scene.untouched
