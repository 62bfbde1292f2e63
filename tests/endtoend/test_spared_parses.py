"""A Parse that the server would do again, of what it has already: it is not sent (`schema_check:
lease`), and clients see no difference. What is in `ssn` begins with SECRET.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from appliance.link.messages import HEARTBEAT_SECONDS
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running, wait_for
from tests.endtoend.test_schema_lease import HELD_SECONDS_MAX, POLICY, SCHEMA

NAME = "SELECT name FROM l.people WHERE id = %s"
USES = 5

Connection = psycopg.Connection[tuple[Any, ...]]


def keeper(estate: Estate, direct: Connection) -> None:
    """Who may hold the schema."""
    direct.execute("DROP ROLE IF EXISTS keeper")
    direct.execute("CREATE ROLE keeper SUPERUSER LOGIN PASSWORD 'keeper-password'")
    (target,) = estate.configuration["targets"]
    credential = estate.secret("keeper", "keeper-password")
    target["catalog"] = {"user": "keeper", "credential": credential}
    target["schema_check"] = "lease"
    estate.write("policy.yaml", POLICY)
    estate.configuration["limits"] = {"catalog_refresh_ms": 60_000}
    direct.execute(SCHEMA.encode())
    direct.execute("VACUUM ANALYZE")


@pytest.fixture(scope="module")
def direct(vault: EmbeddedPostgres) -> Iterator[Connection]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    authority: Authority,
    direct: Connection,
) -> Iterator[Running]:
    made = Estate(tmp_path_factory.mktemp("spared"), vault, authority)
    keeper(made, direct)
    with made.serve() as running:
        yield running


@pytest.fixture
def alice(proxy: Running) -> Iterator[Connection]:
    with proxy.connect("alice", "alice-password") as connection:
        connection.prepare_threshold = None
        yield connection


def spared(proxy: Running) -> float:
    return proxy.metric("parses_spared_total")


def settled(proxy: Running) -> float:
    """Of all so far: a worker tells its figures with its heartbeats."""
    time.sleep(2.5 * HEARTBEAT_SECONDS)
    return spared(proxy)


def wait_until_spared(proxy: Running, alice: Connection, text: str = NAME) -> None:
    before = spared(proxy)

    def asked() -> bool:
        for number in range(20):
            alice.execute(text, (number % 3 + 1,))  # type: ignore[arg-type]
        return spared(proxy) > before

    wait_for(asked, "a Parse is spared", HELD_SECONDS_MAX)


def test_the_server_parses_once_for_five_executions(
    proxy: Running, alice: Connection, direct: Connection, vault: EmbeddedPostgres
) -> None:
    """By its own log, in which each is a line."""
    wait_until_spared(proxy, alice)
    log = vault.folder / "postgres.log"
    direct.execute(f"ALTER ROLE {ROLE} SET log_min_duration_statement = 0")
    try:
        with proxy.connect("alice", "alice-password") as logged:
            logged.prepare_threshold = None
            wait_until_spared(proxy, logged)
            seen = log.stat().st_size
            for number in range(40):
                row = logged.execute(NAME, (number % 3 + 1,)).fetchone()
                assert row == (f"person {number % 3 + 1}",)
        text = log.read_bytes()[seen:].decode()
    finally:
        direct.execute(f"ALTER ROLE {ROLE} RESET log_min_duration_statement")
    lines = [line for line in text.splitlines() if "<unnamed>: SELECT name FROM l.people" in line]
    parses = sum(" parse <unnamed>" in line for line in lines)
    assert sum(" execute <unnamed>" in line for line in lines) == 40
    assert 40 / USES - 1 <= parses <= 40 / USES + 4


def test_masks_are_as_ever(proxy: Running, alice: Connection) -> None:
    text = "SELECT ssn FROM l.people WHERE id = %b"
    counts: list[float] = []
    while not counts or (counts[-1] <= 15 and len(counts) < 4):  # a lease may be let go of
        wait_until_spared(proxy, alice, text)
        before = settled(proxy)
        for _ in range(30):
            assert alice.execute(text, (1,)).fetchall() == [("****",)]
        counts.append(settled(proxy) - before)
    assert 15 < counts[-1] <= 24, counts
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        alice.execute("SELECT name FROM l.people WHERE id = %t", ("no number",))
    assert alice.execute(text, (2,)).fetchall() == [("****",)]


def test_a_text_with_a_constant_is_parsed_each_time(proxy: Running, alice: Connection) -> None:
    """'now' is read when its text is."""
    wait_until_spared(proxy, alice)
    found = set()
    before = settled(proxy)
    for _ in range(20):
        found |= set(alice.execute("SELECT timestamptz 'now' WHERE 1 = %s", (1,)).fetchall())
    assert len(found) == 20
    assert settled(proxy) == before


def test_settings_and_temporary_tables_in_between(proxy: Running, alice: Connection) -> None:
    text = "SELECT name FROM people WHERE id = %s"
    alice.execute("SET search_path = l")
    wait_until_spared(proxy, alice, text)
    alice.execute("CREATE TEMP TABLE people AS SELECT 1 AS id, 'mine' AS name")
    assert alice.execute(text, (1,)).fetchone() == ("mine",)
    alice.execute("DROP TABLE pg_temp.people")
    assert alice.execute(text, (1,)).fetchone() == ("person 1",)
    alice.execute("DISCARD ALL")
    with pytest.raises(psycopg.errors.UndefinedColumn, match="not everything"):
        alice.execute(text, (1,))


def test_a_change_of_the_schema_in_between(
    proxy: Running, alice: Connection, direct: Connection
) -> None:
    text = "SELECT * FROM l.seen WHERE id = %s"
    try:
        for number in range(6):
            wait_until_spared(proxy, alice, text)
            added = ", 7 AS more" if number % 2 == 0 else ""
            direct.execute("DROP VIEW l.seen")
            direct.execute(f"CREATE VIEW l.seen AS SELECT id, name{added} FROM l.people".encode())
            direct.execute(f"GRANT SELECT ON l.seen TO {ROLE}".encode())
            row = alice.execute(text, (1,)).fetchone()  # type: ignore[arg-type]
            assert row == ((1, "person 1", 7) if added else (1, "person 1"))
    finally:
        direct.execute(SCHEMA.encode())


async def test_asyncpg(proxy: Running) -> None:
    """Its chunks are not of the form whose Parse is spared: masked as ever."""
    connection = await asyncpg.connect(
        f"postgresql://alice:alice-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}",
        ssl=False,
        statement_cache_size=0,
    )
    try:
        for number in range(30):
            found = await connection.fetchval("SELECT ssn FROM l.people WHERE id = $1", number % 3)
            assert found in (None, "****")
    finally:
        await connection.close()


class Between:
    """Passes all on, and calls the server's processes otherwise than they do, as poolers do."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._sockets = [self._listening]

    def __enter__(self) -> "Between":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [client, server]
                for ends in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := bytearray(source.recv(65536)):
                at = chunk.find(b"K\0\0\0") if answers else -1
                if at >= 0 and b"S\0\0\0" in chunk[:at]:  # behind ParameterStatus: BackendKeyData
                    answers = False
                    chunk[at + 8] ^= 1
                sink.sendall(chunk)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("honest", [True, False], ids=["as they are called", "otherwise"])
def test_not_where_somebody_in_between_may_change_processes(
    honest: bool, tmp_path: Path, vault: EmbeddedPostgres, authority: Authority, direct: Connection
) -> None:
    """Another process has another unnamed statement. Under a lease all the same."""
    made = Estate(tmp_path, vault, authority)
    keeper(made, direct)
    with Between(vault.port) as between:
        made.configuration["targets"][0]["port"] = vault.port if honest else between.port
        with made.serve() as running, running.connect("alice", "alice-password") as alice:
            alice.prepare_threshold = None

            def leased() -> bool:
                for number in range(20):
                    row = alice.execute(NAME, (number % 3 + 1,)).fetchone()
                    assert row == (f"person {number % 3 + 1}",)
                return running.metric("statements_leased_total") > 100

            wait_for(leased, "statements are sent under a lease", HELD_SECONDS_MAX)
            assert (spared(running) > 0) == honest
