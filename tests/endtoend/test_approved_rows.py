"""An approval for so many rows, with real clients, a real database and the real control process:
what changes more rows than approvers saw (and a tenth) changes nothing."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend import stage
from tests.endtoend.decided import Person, connect, installed
from tests.endtoend.held import Held
from tests.endtoend.stage import DATABASE, Estate, Running

POLICY = """
version: 1
classifications:
  ssn: ["*.public.people.ssn"]
rules:
  - {id: work, effect: allow, actions: [read, session, write]}
  - id: so-many
    effect: hold
    actions: [update, delete, insert]
    message: Changes need a second pair of eyes.
    hold: {max_rows: approved + 10%}
  - {id: hide, effect: mask, principals: {names: [erin]}, classifications: [ssn],
     mask: {method: redact}}
"""
FEW = "UPDATE notes SET body = 'changed' WHERE id <= 10"
COUNT = "SELECT count(*) FROM notes WHERE body = 'changed'"


@pytest.fixture(scope="module")
def logged(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 18 that logs every statement it is sent."""
    with EmbeddedPostgres(server_folder / "erows", 18, settings={"log_statement": "all"}) as server:
        stage.furnish(server)
        yield server


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, logged: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("rows"), logged, authority)
    with installed(estate, POLICY) as running:
        yield running


@pytest.fixture
def direct(logged: EmbeddedPostgres) -> Iterator[Any]:
    with psycopg.connect(logged.uri(database=DATABASE), autocommit=True) as made:
        made.execute("DELETE FROM notes WHERE id > 100")
        made.execute("UPDATE notes SET body = 'note ' || id WHERE body <> 'note ' || id")
        made.execute("ANALYZE notes")
        yield made


def changed(direct: Any) -> int:
    return int(direct.execute(COUNT).fetchone()[0])


def shown(bob: Person, principal: str = "alice") -> dict[str, Any]:
    effect: dict[str, Any] = bob.pending(principal)["asked"]["effect"]
    return effect


def test_as_many_as_were_approved(service: Running, direct: Any) -> None:
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        held = Held(lambda: alice.execute(FEW).rowcount)
        effect = shown(bob)
        assert 8 <= effect["rows_estimated"] <= 12
        assert effect["rows_allowed"] == -(-effect["rows_estimated"] * 110 // 100)
        page = bob.get(f"/requests/{bob.pending('alice')['asked']['id']}")
        assert "at most" in page.text and "rolled back" in page.text
        bob.vote(bob.pending("alice"))
        assert held.done() == 10 and changed(direct) == 10


@pytest.mark.parametrize("inside", [False, True], ids=["autocommit", "in a transaction"])
def test_more_than_were_approved_change_nothing(
    service: Running, direct: Any, inside: bool
) -> None:
    """Rows that came to be while it waited are not what was approved."""
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        if inside:
            alice.execute("BEGIN")
            alice.execute("SELECT 1")
        held = Held(lambda: alice.execute(f"{FEW} RETURNING id").fetchall())
        allowed = shown(bob)["rows_allowed"]
        direct.execute("INSERT INTO notes SELECT 0 - n, 'late' FROM generate_series(1, 20) n")
        bob.vote(bob.pending("alice"))
        error = held.refused()
        assert error.sqlstate == "54000"
        assert f"affected 30 rows, and {allowed} were approved at most" in str(error)
        if inside:
            assert alice.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
            alice.execute("ROLLBACK")
        assert alice.execute("SELECT 1").fetchone() == (1,)
    assert changed(direct) == 0
    direct.execute("DELETE FROM notes WHERE id < 1")
    decided = service.recorded("statement_decided", approved_by="bob")
    assert decided["decision"]["rows_written_max"]
    finished = service.records("statement_finished", outcome="rolled_back")
    assert {one["rows"] for one in finished if "rows" in one} == set()


def test_a_bound_statement(service: Running, direct: Any) -> None:
    async def run() -> str:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=service.ports["main"], user="alice", password="alice-password",
            database=DATABASE, ssl=False,
        )  # fmt: skip
        try:
            return await connection.execute("UPDATE notes SET body = $1 WHERE id <= $2", "x", 10)
        finally:
            connection.terminate()

    with Person(service, "bob") as bob:
        held = Held(lambda: asyncio.run(run()))
        effect = shown(bob)
        direct.execute("INSERT INTO notes SELECT 0 - n, 'late' FROM generate_series(1, 90) n")
        bob.vote(bob.pending("alice"))
        with pytest.raises(asyncpg.PostgresError, match=rf"{effect['rows_allowed']} were approved"):
            held.done()
    assert direct.execute("SELECT count(*) FROM notes WHERE body = 'x'").fetchone() == (0,)
    direct.execute("DELETE FROM notes WHERE id < 1")


def test_what_nobody_can_count_is_not_held(service: Running, direct: Any) -> None:
    with connect(service, "alice") as alice:
        with pytest.raises(psycopg.Error, match="what was approved at most") as caught:
            alice.execute(f"{FEW}; {FEW}")
        assert caught.value.sqlstate == "54000"
        with alice.transaction(), alice.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            with pytest.raises(psycopg.Error, match="for a number of rows"), alice.transaction():
                cursor.execute(FEW)
    assert changed(direct) == 0


def test_a_standing_grant_is_for_so_many_rows(service: Running, direct: Any) -> None:
    """The planner's guess lets it through; what it really changes is counted."""
    scope = {
        "principals": ["alice"], "targets": ["vault"], "actions": ["update", "select"],
        "resources": ["public.notes*"], "rows_max": 12,
    }  # fmt: skip
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        with Person(service, "alice") as proposing:
            proposal = {"scope": scope, "until": time.time() + 600, "reason": "the migration"}
            made = proposing.post("/api/v1/grants", json=proposal)
            assert made.status_code == 201, made.text
        id = made.json()["id"]
        bob.post(f"/api/v1/grants/{id}/rule", json={"approve": True, "reason": ""})
        assert alice.execute(FEW).rowcount == 10
        direct.execute("INSERT INTO notes SELECT 0 - n, 'late' FROM generate_series(1, 20) n")
        with pytest.raises(psycopg.Error, match=r"1[012] were approved"):
            alice.execute("UPDATE notes SET body = 'more' WHERE id <= 10")
        bob.post(f"/api/v1/grants/{id}/revoke", json={})
    assert direct.execute("SELECT count(*) FROM notes WHERE body = 'more'").fetchone() == (0,)
    direct.execute("DELETE FROM notes WHERE id < 1")


def test_figures_are_not_for_who_asks(service: Running, direct: Any) -> None:
    """They come before any approval: whoever owes masks could ask them about raw values."""
    with connect(service, "erin") as client, Person(service, "bob") as bob:
        held = Held(lambda: client.execute(FEW))
        request = bob.pending("erin")
        id = request["asked"]["id"]
        assert request["asked"]["effect"]["rows_estimated"]
        with Person(service, "erin") as erin:
            assert not erin.get(f"/api/v1/requests/{id}").json()["asked"].get("effect")
            listed = erin.get("/api/v1/requests").json()["requests"]
            assert not any(one["asked"].get("effect") for one in listed)
            assert "estimated" not in erin.get(f"/requests/{id}").text.replace("not estimated", "")
            ended = erin.post(f"/api/v1/requests/{id}/withdraw").json()
            assert ended["state"] == "withdrawn" and not ended["asked"].get("effect")
        held.refused()


def test_the_planner_is_asked_about_masks_where_they_are_owed(
    service: Running, logged: EmbeddedPostgres, direct: Any
) -> None:
    """Its statistics know how often a raw value occurs."""
    guess = (
        "UPDATE notes SET body = 'guessed' WHERE EXISTS"
        " (SELECT FROM people p WHERE p.ssn LIKE '123-45-6001' AND p.id = notes.id)"
    )
    planned: dict[str, list[str]] = {}
    for user in ("erin", "alice"):
        begins = logged.log.stat().st_size
        with connect(service, user) as client, Person(service, "bob") as bob:
            held = Held(lambda: client.execute(guess))
            bob.pending(user)
            client.cancel()
            held.refused()
        lines = logged.log.read_bytes()[begins:].decode(errors="replace").splitlines()
        planned[user] = [line for line in lines if "EXPLAIN (FORMAT JSON)" in line]
    raw, masked = planned["alice"], planned["erin"]
    assert raw and masked and len(raw) == len(masked)
    assert all("p.ssn LIKE '123" in line for line in raw)
    assert not any("ssn LIKE" in line for line in masked)
    assert all("'****'" in line for line in masked)
