"""New sessions on pooled connections, whose first statement asks nothing, since others have asked
(`schema_check: lease`), and what may happen to that. What is in `ssn` begins with SECRET.
"""

import random
import time
from collections.abc import Iterator

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, Estate, Running, wait_for
from tests.endtoend.test_schema_lease import (
    EARLY,
    HARMLESS,
    HELD_SECONDS_MAX,
    PEOPLE,
    SCHEMA,
    SEEN,
    TELLING,
    WAYS,
    Connection,
    Readers,
    end_guard_and_swap,
    extended,
    held,
    simple,
)
from tests.endtoend.test_spared_parses import keeper

MASKED = "SELECT upper(ssn) || name FROM l.people WHERE id = 1"


@pytest.fixture
def direct(vault: EmbeddedPostgres) -> Iterator[Connection]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        connection.execute("VACUUM ANALYZE")
        yield connection


@pytest.fixture
def proxy(
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    authority: Authority,
    direct: Connection,
) -> Iterator[Running]:
    made = Estate(tmp_path_factory.mktemp("lessons"), vault, authority)
    keeper(made, direct)
    made.configuration["targets"][0]["pooling"] = {"mode": "session"}
    with made.serve() as running:
        yield running


def wait_until_heard(proxy: Running, direct: Connection) -> None:
    wait_for(lambda: held(direct), "the schema is held", HELD_SECONDS_MAX)
    heard = "lessons_heard_total"
    proxy.metric_reaches(proxy.metric(heard) + 20, heard)


def test_new_sessions_need_not_ask_what_others_know(proxy: Running, direct: Connection) -> None:
    asks = [way(text) for way in (simple, extended) for text in (SEEN, MASKED)]
    with Readers(proxy, asks, anew=True) as readers:
        wait_until_heard(proxy, direct)
    assert {*readers.answers} == {"[('person 1',)]", "[('****person 1',)]"}
    asked = proxy.records("statement_decided")
    runs = [r["id"] for r in asked if r["protocol"] != "parse"]
    assert len(runs) == len(readers.answers)
    assert {r["sequence"] for r in asked} == {1, 2}
    assert {r["decided"] for r in proxy.records("statement_finished")} == {*runs}


def test_views_swapped_at_any_moment(proxy: Running, direct: Connection) -> None:
    choices = random.Random(8)
    with Readers(proxy, [way(SEEN) for way in (*WAYS, simple)], anew=True) as readers:
        wait_until_heard(proxy, direct)
        for number in range(30):
            direct.execute(TELLING if number % 2 else HARMLESS)
            time.sleep(choices.choice((0.0, 0.05, 0.3, 0.8)))
        direct.execute(HARMLESS)
        wait_until_heard(proxy, direct)
    assert any("person" in answer for answer in readers.answers)
    assert not readers.raw


def test_the_guard_is_ended_and_the_schema_changed_at_once(
    proxy: Running, direct: Connection
) -> None:
    with Readers(proxy, [simple(SEEN), extended(SEEN), simple(SEEN)], anew=True) as readers:
        for _ in range(5):
            wait_until_heard(proxy, direct)
            end_guard_and_swap(direct)
    assert not readers.raw


def test_sessions_with_another_path_are_told_nothing(proxy: Running, direct: Connection) -> None:
    """In the one `people` has no secret, in the other it is all names."""
    direct.execute(EARLY.encode())
    with (
        Readers(proxy, [simple(PEOPLE)], "SET search_path = l", anew=True) as readers,
        Readers(proxy, [simple(PEOPLE)], "SET search_path = early", anew=True) as others,
        Readers(proxy, [simple(SEEN)], anew=True),
    ):
        wait_until_heard(proxy, direct)
    assert {*readers.answers} == {"[('PERSON 1',)]"}
    assert {*others.answers} == {"[('****',)]"}
