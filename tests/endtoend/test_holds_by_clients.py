"""Holds as psql and asyncpg meet them, over both stores, with the real control process; the
database's own log says that nothing ran that nobody approved, and nothing twice.
"""

import asyncio
import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psycopg
import pytest

from tests import clusters
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.asking import PROGRAMS, Asking, asking
from tests.endtoend.books import Books
from tests.endtoend.decided import Person, connect, installed, postgres_store
from tests.endtoend.held import Held
from tests.endtoend.stage import DATABASE, Estate, Running, wait_for

POLICY = """
version: 1
rules:
  - {id: work, effect: allow, actions: [read, session, write]}
  - {id: ask-first, effect: hold, actions: [update], message: Changes need a second pair of eyes.}
  - {id: briefly, effect: hold, actions: [delete], hold: {expires: 2s}}
  - {id: by-ticket, effect: hold, actions: [insert], hold: {on_hold: ticket}}
  - {id: alone, effect: hold, actions: [truncate], hold: {in_transaction: refuse}}
  - {id: may, effect: allow, actions: [truncate]}
"""
OVER = ("pending", "approved")
ROUNDS = 3
"""Of a race between an approval and a kill."""


@pytest.fixture
def direct(logging_vault: EmbeddedPostgres) -> Iterator[Any]:
    with psycopg.connect(logging_vault.uri(database=DATABASE), autocommit=True) as made:
        assert made.execute("SHOW log_statement").fetchone() == ("all",)
        yield made


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    logging_vault: EmbeddedPostgres,
    authority: Authority,
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("clients"), logging_vault, authority)
    more = {} if request.param == "sqlite" else postgres_store(estate)
    with installed(estate, POLICY, **more) as running:
        yield running


@pytest.fixture
def bob(service: Running) -> Iterator[Person]:
    with Person(service, "bob") as made:
        yield made


@pytest.fixture(params=PROGRAMS)
def ask(request: pytest.FixtureRequest, service: Running) -> Iterator[Callable[..., Asking]]:
    """Sends statements as alice."""
    if request.param == "psql" and clusters.installed_program("psql") is None:
        pytest.skip("no psql on this machine: apt-get install postgresql")
    with contextlib.ExitStack() as stack:
        yield lambda *texts: stack.enter_context(asking(service, request.param, "alice", *texts))


def update(mark: str) -> str:
    return f"UPDATE notes SET body = '{mark}' WHERE id = 7"


def body(direct: Any) -> str:
    return str(direct.execute("SELECT body FROM notes WHERE id = 7").fetchone()[0])


def asked_for(bob: Person, mark: str, state: str = "pending") -> dict[str, Any]:
    """The request for the statement with this mark, waited for."""

    def look() -> Any:
        found = bob.get("/api/v1/requests", params={"state": state, "limit": 500})
        return [
            one
            for one in found.json()["requests"]
            if mark in one["asked"]["sql"]
            or any(p.get("shown") == mark for p in one["asked"].get("parameters", ()))
        ]

    found: dict[str, Any] = wait_for(look, f"a request for {mark}")[0]
    return found


def ends(bob: Person, request: dict[str, Any]) -> str:
    """The state that a request comes to, waited for."""
    path = f"/api/v1/requests/{request['asked']['id']}"
    wait_for(lambda: bob.get(path).json()["state"] not in OVER, "its end", seconds=40)
    return str(bob.get(path).json()["state"])


def test_approved(
    service: Running, books: Books, bob: Person, ask: Callable[..., Asking], direct: Any
) -> None:
    mark = books.mark()
    client = ask(update(mark))
    request = asked_for(bob, mark)
    assert client.waits and books.ran(mark) == 0
    books.approved[mark] += 1
    assert bob.vote(request).status_code == 200
    said = client.said()
    assert "UPDATE 1" in said and body(direct) == mark
    assert f"request {request['asked']['id']}" in said and "Changes need a second pair" in said
    assert ends(bob, request) == "used"
    record = service.recorded("statement_decided", request=request["asked"]["id"])
    assert record["approved_by"] == "bob"


def test_denied(books: Books, bob: Person, ask: Callable[..., Asking]) -> None:
    mark = books.mark()
    client = ask(update(mark), "SELECT 1")
    request = asked_for(bob, mark)
    assert bob.vote(request, approve=False, reason="not on a Friday").status_code == 200
    said = client.said()
    assert "42501" in said and "denied by bob: not on a Friday" in said
    assert request["asked"]["id"] in said
    assert "SELECT 1" in said or "(1 row)" in said  # the session goes on
    assert bob.vote(request).status_code == 409 and ends(bob, request) == "denied"


def test_expired(books: Books, bob: Person, ask: Callable[..., Asking]) -> None:
    mark = books.mark()
    client = ask(f"DELETE FROM notes WHERE body = '{mark}'")
    request = asked_for(bob, mark)
    said = client.said()
    assert "42501" in said and "nobody approved it in time" in said
    assert ends(bob, request) == "expired" and bob.vote(request).status_code == 409


def test_killed(books: Books, bob: Person, ask: Callable[..., Asking]) -> None:
    mark = books.mark()
    client = ask(update(mark))
    request = asked_for(bob, mark)
    client.kill()
    assert ends(bob, request) == "withdrawn" and bob.vote(request).status_code == 409


def test_interrupted(books: Books, bob: Person, ask: Callable[..., Asking]) -> None:
    """Ctrl-C; what comes behind it is answered where the client goes on."""
    mark = books.mark()
    client = ask(update(mark), "SELECT 1")
    request = asked_for(bob, mark)
    client.interrupt()
    said = client.said()
    assert "57014" in said and ("SELECT 1" in said or client.program == "psql")
    assert ends(bob, request) == "withdrawn" and bob.vote(request).status_code == 409


def test_in_a_transaction(
    books: Books, bob: Person, ask: Callable[..., Asking], direct: Any
) -> None:
    before, taken_back, kept = body(direct), books.mark(), books.mark()
    client = ask("BEGIN", update(taken_back), "ROLLBACK", "BEGIN", update(kept), "COMMIT")
    for mark in (taken_back, kept):
        request = asked_for(bob, mark)
        assert request["asked"]["in_transaction"] and body(direct) == before
        books.approved[mark] += 1
        assert bob.vote(request).status_code == 200
    assert client.said().count("UPDATE 1") == 2 and body(direct) == kept
    refused = ask("BEGIN", "TRUNCATE notes", "ROLLBACK").said()
    assert "while a transaction is" in refused and body(direct) == kept


def test_denied_in_a_transaction(books: Books, bob: Person, ask: Callable[..., Asking]) -> None:
    """It has failed, as after any error: nothing of it stays."""
    first, second = books.mark(), books.mark()
    client = ask("BEGIN", update(first), update(second), "COMMIT")
    books.approved[first] += 1
    assert bob.vote(asked_for(bob, first)).status_code == 200
    assert bob.vote(asked_for(bob, second), approve=False, reason="no").status_code == 200
    said = client.said()
    assert "UPDATE 1" in said and "ROLLBACK" in said


def test_several_in_one_text(books: Books, bob: Person, service: Running, direct: Any) -> None:
    """One request for all of it: none of it runs before, all of it in order behind."""
    first, second = books.mark(), books.mark()
    with connect(service, "alice") as alice:
        text = f"{update(first)}; {update(second)}; SELECT body FROM notes WHERE id = 7"
        held = Held(lambda: alice.execute(text))
        request = asked_for(bob, second)
        assert first in request["asked"]["sql"] and held.waits
        assert books.ran(first) == books.ran(second) == 0
        books.approved[first] += 1  # one entry of the log, by its first mark
        assert bob.vote(request).status_code == 200
        held.done()
    assert body(direct) == second


def test_one_of_a_pipeline(books: Books, bob: Person, service: Running, direct: Any) -> None:
    """What stands before it is answered, what stands behind it waits; denied, nothing stays."""
    before = body(direct)
    for approve in (False, True):
        mark, other = books.mark(), books.mark()
        with connect(service, "alice") as alice, alice.pipeline() as pipeline:
            one = alice.execute("SELECT body FROM notes WHERE id = %s", (7,))
            two = alice.execute("UPDATE notes SET body = %s WHERE id = %s", (mark, 7))
            three = alice.execute("SELECT body, %s FROM notes WHERE id = %s", (other, 7))
            held = Held(pipeline.sync)
            request = asked_for(bob, mark)
            assert books.ran(mark) == books.ran(other) == 0
            if approve:
                books.approved.update((mark, other))
                assert bob.vote(request).status_code == 200
                held.done()
                assert one.fetchone() == (before,) and two.rowcount == 1
                assert three.fetchone() == (mark, other)
            else:
                assert bob.vote(request, approve=False, reason="no").status_code == 200
                assert "denied by bob" in str(held.refused())
        assert body(direct) == (mark if approve else before)


def worker_pid(service: Running) -> int:
    return next(
        pid
        for pid in service.worker_pids()
        if b"appliance.dataplane.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def control_pid(service: Running) -> int:
    return next(
        pid
        for pid in service.worker_pids()
        if b"appliance.console.serve" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )


def serves_again(service: Running) -> None:
    """A worker is back, and its link to control."""

    def answers() -> bool:
        with contextlib.suppress(psycopg.Error), connect(service, "alice") as alice:
            return bool(alice.execute("SELECT 1").fetchone())
        return False

    wait_for(answers, "a worker", seconds=60)


def test_the_worker_is_killed(
    service: Running, books: Books, bob: Person, ask: Callable[..., Asking]
) -> None:
    mark = books.mark()
    client = ask(update(mark))
    request = asked_for(bob, mark)
    os.kill(worker_pid(service), signal.SIGKILL)
    assert "UPDATE 1" not in client.said()
    assert ends(bob, request) == "withdrawn" and bob.vote(request).status_code == 409
    serves_again(service)
    again = books.mark()
    client = ask(update(again))
    books.approved[again] += 1
    assert bob.vote(asked_for(bob, again)).status_code == 200
    assert "UPDATE 1" in client.said()


def test_the_worker_is_killed_as_it_is_approved(
    service: Running, books: Books, bob: Person
) -> None:
    """At any moment of it: it ran once or not at all, and once only if its use is stored."""
    chance = random.Random(51)
    for _ in range(ROUNDS):
        mark = books.mark()
        books.undecided.add(mark)
        with asking(service, "asyncpg", "alice", update(mark)) as client:
            request = asked_for(bob, mark)
            killing = threading.Timer(
                chance.uniform(0, 0.04), os.kill, (worker_pid(service), signal.SIGKILL)
            )
            killing.start()
            assert bob.vote(request).status_code in (200, 409)
            killing.join()
            said = client.said()
        state = ends(bob, request)
        assert state in ("used", "withdrawn")
        if "UPDATE 1" in said or books.ran(mark):
            assert state == "used" and books.ran(mark) == 1
        serves_again(service)


def back_from(service: Running, kill: Callable[[], None]) -> None:
    started = service.child.text().count('"event":"console_listening"')
    kill()
    wait_for(
        lambda: service.child.text().count('"event":"console_listening"') > started,
        "control to come back",
        seconds=60,
    )


def test_control_is_killed(
    service: Running, books: Books, bob: Person, ask: Callable[..., Asking], direct: Any
) -> None:
    mark = books.mark()
    client = ask(update(mark))
    request = asked_for(bob, mark)
    back_from(service, lambda: os.kill(control_pid(service), signal.SIGKILL))
    with Person(service, "bob") as again:
        assert asked_for(again, mark)["asked"] == request["asked"]
        assert client.waits and books.ran(mark) == 0
        books.approved[mark] += 1
        assert again.vote(request).status_code == 200
        assert "UPDATE 1" in client.said() and body(direct) == mark
        assert ends(again, request) == "used"


def test_control_is_killed_as_it_is_approved(service: Running, books: Books) -> None:
    """At any moment of it. A vote that was answered stands; one that was not may be cast again."""
    chance = random.Random(52)
    for _ in range(ROUNDS):
        mark = books.mark()
        books.undecided.add(mark)
        with asking(service, "asyncpg", "alice", update(mark)) as client:
            answered = _voted_amid_a_kill(service, mark, chance.uniform(0, 0.06))
            with Person(service, "bob") as bob:
                found = bob.get("/api/v1/requests", params={"state": "pending"}).json()["requests"]
                waiting = [one for one in found if mark in one["asked"]["sql"]]
                assert not (waiting and answered), "an answered vote was lost"
                for one in waiting:
                    assert bob.vote(one).status_code == 200
                said = client.said()
                assert ("UPDATE 1" in said) == (books.ran(mark) == 1)
                assert "UPDATE 1" in said or "none can be asked for right now" in said


def _voted_amid_a_kill(service: Running, mark: str, delay: float) -> bool:
    """Whether the vote was answered before control was gone."""
    with Person(service, "bob") as bob:
        request = asked_for(bob, mark)
        pid = control_pid(service)

        def kill_amid_the_vote() -> None:
            killing = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
            killing.start()
            with contextlib.suppress(httpx.TransportError):
                answers.append(bob.vote(request).status_code)
            killing.join()

        answers: list[int] = []
        back_from(service, kill_amid_the_vote)
        return answers == [200]


CROWD, OTHERS, EACH = 200, 50, 30


async def _latencies(others: list[asyncpg.Connection]) -> list[float]:
    """Seconds of EACH statements of every one of them, all at work at once, sorted."""
    times: list[float] = []

    async def work(connection: asyncpg.Connection) -> None:
        for number in range(EACH):
            begun = time.perf_counter()
            await connection.fetchval("SELECT body FROM notes WHERE id = $1", number + 10)
            times.append(time.perf_counter() - begun)

    await asyncio.gather(*(work(one) for one in others))
    return sorted(times)


def _votes(service: Running, marks: list[str]) -> None:
    """Every second one is approved, the others are denied."""
    with Person(service, "bob") as bob:
        asked = wait_for(
            lambda: found if len(found := _crowd(bob)) == CROWD else None,
            "all of them",
            seconds=60,
        )
        for number, mark in enumerate(marks):
            (request,) = (one for one in asked if mark in one["asked"]["sql"])
            assert bob.vote(request, approve=number % 2 == 0, reason="crowd").status_code == 200


def _crowd(bob: Person) -> list[dict[str, Any]]:
    found = bob.get("/api/v1/requests", params={"state": "pending", "limit": 500})
    requests: list[dict[str, Any]] = found.json()["requests"]
    return requests


async def test_two_hundred_wait_while_others_work(service: Running, books: Books) -> None:
    """Fifty others at work all the time, before, meanwhile and after."""
    where = {
        "host": "127.0.0.1", "port": service.ports["main"], "user": "alice", "ssl": False,
        "password": "alice-password", "database": DATABASE,
    }  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:

        async def come() -> asyncpg.Connection:
            made = await asyncpg.connect(**where)
            stack.callback(made.terminate)
            return made

        others = [await come() for _ in range(OTHERS)]
        await _latencies(others)
        before = await _latencies(others)
        marks = [books.mark() for _ in range(CROWD)]
        waiting = [await come() for _ in marks]
        held = [
            asyncio.create_task(one.execute(update(mark)))
            for one, mark in zip(waiting, marks, strict=True)
        ]
        with Person(service, "bob") as bob:
            while len(_crowd(bob)) < CROWD:  # noqa: ASYNC110 - what is waited for is elsewhere
                await asyncio.sleep(0.1)
        meanwhile = await _latencies(others)
        books.approved.update(marks[::2])
        await asyncio.to_thread(_votes, service, marks)
        answers = await asyncio.gather(*held, return_exceptions=True)
        after = await _latencies(others)
    assert answers[::2] == ["UPDATE 1"] * (CROWD // 2)
    assert {getattr(one, "sqlstate", one) for one in answers[1::2]} == {"42501"}
    for part, most in ((0.5, 1.5), (0.95, 2.0)):
        usual = max(one[int(len(one) * part)] for one in (before, after))
        found = meanwhile[int(len(meanwhile) * part)]
        assert found < most * usual + 0.005, f"{part}: {found * 1e3:.1f} ms, {usual * 1e3:.1f} ms"
