"""Whole random conversations, mostly in transactions, say the same under `schema_check: lease`,
where the hit path begins, answers and ends them, as under `statement`, where the machine looks
after each. What is in `ssn` begins with SECRET.
"""

import random
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, Estate, Running, listener
from tests.endtoend.test_schema_lease import Readers, amid, wait_until_used
from tests.endtoend.test_spared_parses import keeper
from tests.wireclient import (
    SYNC,
    Message,
    WireClient,
    bind,
    close,
    describe,
    execute,
    parse,
    query,
)

READS = (
    "SELECT id, ssn FROM l.people ORDER BY id",
    "SELECT upper(ssn), name FROM l.people WHERE id = 1",
    "SELECT name FROM l.seen WHERE id = 2",
    "SELECT count(*) FROM l.people WHERE ssn LIKE 'SECRET%'",
    "SELECT lower(name) FROM people WHERE id = 1",
)
FAILING = (
    "SELECT 1 / (id - 1) FROM l.people",
    "SELECT nothing FROM l.people",
    "SELECT CAST(ssn AS int) FROM l.people",
)
BEGINS = ("BEGIN", "begin;", "START TRANSACTION", "BEGIN ISOLATION LEVEL REPEATABLE READ")
ENDS = ("COMMIT", "ROLLBACK", "END;", "COMMIT AND CHAIN")
OTHERS = (
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "RELEASE a",
    "SET LOCAL search_path = l",
    "SET search_path = l, public",
    "RESET search_path",
    "SET LOCAL statement_timeout = '9s'",
    "INSERT INTO l.people (id) VALUES (1)",
    "DECLARE c CURSOR FOR SELECT ssn FROM l.people ORDER BY id",
    "FETCH 2 FROM c",
    "CLOSE c",
    "SELECT 1; SELECT ssn FROM l.people WHERE id = 2",
    "SHOW search_path",
    "",
)
SELDOM = ("CREATE TEMP TABLE people (id int, name text) ON COMMIT DROP", "DISCARD ALL")
"""What takes the lease away, or everything."""
BY_NUMBER = "SELECT ssn FROM l.people WHERE id = $1"
INT = 23

Chunk = tuple[bytes, int]
"""And how many ReadyForQuery come of it."""


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    made = Estate(tmp_path_factory.mktemp("alike"), vault, authority)
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as direct:
        keeper(made, direct)
        slow = made.target("slow", schema_check="statement")
        slow["catalog"] = made.configuration["targets"][0]["catalog"]
        made.configuration["targets"].append(slow)
        made.configuration["listeners"].append(listener("slow", "slow"))
        with made.serve() as running:
            with Readers(running, [amid(READS[0])]) as readers:
                wait_until_used(running, direct)
            assert not readers.raw
            yield running


def login(proxy: Running, user: str, where: str) -> WireClient:
    return WireClient.login(
        f"postgresql://{user}:{user}-password@127.0.0.1:{proxy.ports[where]}/{DATABASE}"
    )


def cycle(choices: random.Random, text: str, named: bool = False) -> bytes:
    """One statement, in messages of the extended protocol."""
    shape = choices.choice((b"", b"", describe("P")))
    rows = choices.choice((0, 0, 0, 1))
    opening = b"" if named else parse("", text)
    return opening + bind("", "p" if named else "") + shape + execute("", rows) + SYNC


def chunk(choices: random.Random, open_: bool, portal: bool) -> Chunk:
    """`portal`: the last message of the client's was of a portal (under `statement` the unnamed one
    outlives a Query, which ends it in PostgreSQL)."""
    kind = choices.random()
    if kind < 0.2:
        text = choices.choice(ENDS if open_ else BEGINS)
        plain = choices.random() < 0.7
        return (query(text) if plain else cycle(choices, text)), 1
    if kind < 0.55:
        text = choices.choice(READS)
        return (query(text) if choices.random() < 0.5 else cycle(choices, text)), 1
    if kind < 0.65:
        value = choices.choice((b"1", b"2", b"x", None))
        return parse("", BY_NUMBER, (INT,)) + bind("", "", (value,)) + execute() + SYNC, 1
    if kind < 0.72:
        return cycle(choices, "", named=True), 1
    if kind < 0.82 and portal:
        again = choices.choice((execute(), execute("", 1), describe("P") + execute(), close("P")))
        return again + SYNC, 1
    if kind < 0.86:
        return query(choices.choice(FAILING)), 1
    if kind < 0.9:
        two = choices.choices(READS, k=2)
        return b"".join(cycle(choices, text) for text in two) + query(two[0]), 3
    if kind < 0.905:
        return query(choices.choice(SELDOM)), 1
    return query(choices.choice(OTHERS)), 1


def plain(seen: list[Message]) -> list[tuple[str, bytes]]:
    return [(one.kind, re.sub(rb"quote [0-9a-f]+", b"quote", one.body)) for one in seen]


def test_conversations_are_the_same(proxy: Running) -> None:
    leased = proxy.metric("statements_leased_total")
    for seed in range(6):
        choices, user = random.Random(seed), ("bob" if seed == 5 else "alice")
        fast, slow = login(proxy, user, "main"), login(proxy, user, "slow")
        status, before = b"I", []
        for client in (fast, slow):
            client.ask(parse("p", READS[0]), SYNC)
        for _ in range(500):
            portal = bool(before) and before[-1].endswith(SYNC)
            sent, ready = chunk(choices, status != b"I", portal)
            if status == b"E" and choices.random() < 0.5:
                sent, ready = query("ROLLBACK"), 1
            before.append(sent)
            got: list[Any] = [plain(client.ask(sent, ready=ready)) for client in (fast, slow)]
            assert got[0] == got[1], (seed, before[-6:])
            assert user == "bob" or not any(b"SECRET" in body.upper() for _, body in got[0])
            status = got[0][-1][1]
            if b"DISCARD ALL" in sent and b"DISCARD ALL\0" in got[0][0][1]:
                for client in (fast, slow):
                    client.ask(parse("p", READS[0]), SYNC)
        for client in (fast, slow):
            client.socket.close()
    proxy.metric_reaches(leased + 200, "statements_leased_total")
