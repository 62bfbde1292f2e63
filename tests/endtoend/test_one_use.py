"""An approval that is good for one use, used by many at once: by connections of two workers, and by
two appliances on one store. The database's own log says that it ran once.
"""

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.books import Books
from tests.endtoend.decided import Person, connect, installed, postgres_store
from tests.endtoend.stage import Estate, Running

POLICY = """
version: 1
rules:
  - {id: work, effect: allow, actions: [read, session, write]}
  - {id: by-ticket, effect: hold, actions: [update], hold: {on_hold: ticket, expires: 1min}}
"""
AT_ONCE, ROUNDS = 12, 6


@pytest.fixture(params=["sqlite", "postgresql"])
def two_workers(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    logging_vault: EmbeddedPostgres,
    authority: Authority,
) -> Iterator[tuple[Running, Running]]:
    estate = Estate(tmp_path / "one", logging_vault, authority)
    estate.configuration["workers"] = 2
    more = {} if request.param == "sqlite" else postgres_store(estate)
    with installed(estate, POLICY, **more) as running:
        yield running, running


@pytest.fixture
def two_appliances(
    tmp_path: Path, logging_vault: EmbeddedPostgres, authority: Authority
) -> Iterator[tuple[Running, Running]]:
    one, other = (Estate(tmp_path / name, logging_vault, authority) for name in ("one", "other"))
    store = postgres_store(one)
    other.secret("kept", "kept-password")
    with (
        installed(one, POLICY, node="one", **store) as here,
        installed(other, POLICY, node="other", **store) as there,
    ):
        yield here, there


def test_by_two_workers(two_workers: tuple[Running, Running], books: Books) -> None:
    race(two_workers, books)


def test_by_two_appliances(two_appliances: tuple[Running, Running], books: Books) -> None:
    race(two_appliances, books)


def race(services: tuple[Running, Running], books: Books) -> None:
    """Every round a ticket is approved, then AT_ONCE clients of both send the statement at once."""
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(connect(services[n % 2], "alice", prepare_threshold=None))
            for n in range(AT_ONCE)
        ]
        bob = stack.enter_context(Person(services[1], "bob"))
        for _ in range(ROUNDS):
            mark = books.mark()
            text = f"UPDATE notes SET body = '{mark}' WHERE id = 7"
            request = ticket(clients[0], text)
            vote = {"approve": True, "reason": ""}
            answer = bob.post(f"/api/v1/requests/{request}/vote", json=vote)
            assert answer.json()["state"] == "approved", answer.text
            books.approved[mark] += 1
            outcomes = at_once([lambda c=c, t=text: c.execute(t).rowcount for c in clients])
            assert outcomes.count(1) == 1, outcomes
            refused = [one for one in outcomes if isinstance(one, psycopg.Error)]
            assert len(refused) == AT_ONCE - 1
            assert {one.sqlstate for one in refused} == {"42501"}


def ticket(client: Any, text: str) -> str:
    """The statement is refused with one -> the request's id."""
    with pytest.raises(psycopg.Error) as caught:
        client.execute(text)
    return str(json.loads(str(caught.value.diag.message_detail))["request"])


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """What each came to, run in threads that begin together."""
    outcomes: list[Any] = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def run(number: int) -> None:
        gate.wait()
        try:
            outcomes[number] = calls[number]()
        except psycopg.Error as error:
            outcomes[number] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes
