"""The admin database tells the truth in pgbouncer's columns: who waits and for how long, what is
being cancelled, how many connections there are."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running, wait_for

Row = dict[str, Any]

COLUMNS = {
    "CLIENTS": "type user database state addr port local_addr local_port connect_time"
    " request_time wait wait_us close_needed ptr link remote_pid tls application_name",
    "SERVERS": "type user database state addr port local_addr local_port connect_time wait"
    " wait_us close_needed ptr link remote_pid tls",
    "POOLS": "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req"
    " sv_active sv_active_cancel sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait"
    " maxwait_us pool_mode",
    "STATS": "database total_query_count total_received total_sent total_query_time"
    " total_wait_time avg_query_count avg_recv avg_sent avg_query_time avg_wait_time",
    "DATABASES": "name host port database force_user pool_size min_pool_size reserve_pool"
    " pool_mode max_connections current_connections paused disabled",
}
"""Those of pgbouncer 1.18 that are known here, in its order; ours come behind them."""


class Gate:
    """In front of a server: connections that come while it is shut wait."""

    def __init__(self, port: int) -> None:
        self._behind = port
        self.open = threading.Event()
        self.open.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.open.set()
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        with client:
            self.open.wait(60)
            with socket.create_connection(("127.0.0.1", self._behind)) as server:
                back = threading.Thread(target=_copy, args=(server, client), daemon=True)
                back.start()
                _copy(client, server)
                back.join()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            sink.sendall(chunk)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def gate(vault: EmbeddedPostgres) -> Iterator[Gate]:
    made = Gate(vault.port)
    yield made
    made.close()


Serving = Callable[..., contextlib.AbstractContextManager[Running]]


@pytest.fixture(scope="module")
def serving(
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    authority: Authority,
    gate: Gate,
) -> Serving:
    def serve(**pooling: Any) -> contextlib.AbstractContextManager[Running]:
        estate = Estate(tmp_path_factory.mktemp("numbers"), vault, authority)
        target = estate.configuration["targets"][0]
        target["port"], target["pooling"] = gate.port, pooling
        target["databases"] = [DATABASE, "elsewhere"]
        estate.configuration["admin_database"] = {"groups": ["dba"]}
        return estate.serve()

    return serve


@pytest.fixture(scope="module")
def shared(serving: Serving) -> Iterator[Running]:
    """One connection, whoever comes."""
    with serving(mode="transaction", servers_max=1, idle_per_key_max=7) as running:
        yield running


def shown(running: Running, what: str) -> list[Row]:
    with running.connect("bob", "bob-password", dbname="sallyport") as c:
        return c.cursor(row_factory=psycopg.rows.dict_row).execute(f"SHOW {what}").fetchall()


def pool(running: Running) -> Row:
    (found,) = (row for row in shown(running, "POOLS") if row["user"] == ROLE)
    return found


def alice(running: Running) -> psycopg.Connection[tuple[Any, ...]]:
    return running.connect("alice", "alice-password")


def test_columns_are_pgbouncers(shared: Running) -> None:
    with alice(shared):
        for what, columns in COLUMNS.items():
            names = [name for name in shown(shared, what)[0] if name not in ("target", "worker")]
            assert names[: len(columns.split())] == columns.split()
            assert names[len(columns.split()) :] in ([], ["total_server_assignment_count"])


def test_who_waits_and_for_how_long(shared: Running) -> None:
    before = shown(shared, "STATS")[0]["total_wait_time"]
    begun = time.monotonic()
    with alice(shared) as first, alice(shared) as second, alice(shared) as third:
        second.execute("SELECT 1")
        first.execute("BEGIN")
        first.execute("SELECT 1")
        waiter = threading.Thread(target=second.execute, args=("SELECT 1",))
        waiter.start()
        time.sleep(1.1)
        clients = {row["port"]: row for row in shown(shared, "CLIENTS")}
        states = [clients[_port(c)]["state"] for c in (first, second, third)]
        assert states == ["active", "waiting", "active"]
        waiting, other = clients[_port(second)], clients[_port(third)]
        assert waiting["wait"] >= 1 and 0 <= waiting["wait_us"] < 1_000_000
        assert (other["wait"], other["wait_us"]) == (0, 0)
        assert pool(shared)["maxwait"] >= 1
        first.execute("COMMIT")
        waiter.join(10)
        assert {row["state"] for row in shown(shared, "CLIENTS")} == {"active"}
    stats = shown(shared, "STATS")[0]
    passed = (time.monotonic() - begun) * 1e6
    assert 1_000_000 <= stats["total_wait_time"] - before <= passed
    assert stats["avg_wait_time"] > 0


def test_who_leaves_while_waiting_has_waited(shared: Running) -> None:
    with alice(shared) as first:
        first.execute("BEGIN")
        first.execute("SELECT 1")
        before = shown(shared, "STATS")[0]["total_wait_time"]
        second = alice(shared)
        second.pgconn.send_query(b"SELECT 1")
        time.sleep(0.3)
        second.close()
        wait_for(lambda: pool(shared)["cl_waiting"] == 0, "its end")
        assert shown(shared, "STATS")[0]["total_wait_time"] - before >= 200_000


def test_a_login_waits_for_its_connection(serving: Serving, gate: Gate) -> None:
    for pooling in ({"mode": "none"}, {"mode": "session"}):
        with serving(**pooling) as running:
            gate.open.clear()
            opening = threading.Timer(0.5, gate.open.set)
            opening.start()
            with alice(running):
                assert 300_000 <= shown(running, "STATS")[0]["total_wait_time"] < 10_000_000


def test_connections_are_those_to_the_database(shared: Running, serving: Serving) -> None:
    with alice(shared) as first, alice(shared) as second, alice(shared):
        first.execute("SELECT 1")
        second.execute("SELECT 1")
        rows = {row["database"]: row for row in shown(shared, "DATABASES")}
        assert rows[DATABASE]["current_connections"] == 1
        assert rows["elsewhere"]["current_connections"] == 0
        assert (rows[DATABASE]["pool_size"], rows[DATABASE]["reserve_pool"]) == (1, 0)
    with serving(mode="session", servers_max=1, idle_per_key_max=7) as running, alice(running):
        alice(running).close()
        row = shown(running, "DATABASES")[0]
        assert (row["pool_size"], row["current_connections"]) == (7, 2)
    with serving() as running, alice(running), alice(running):
        row = shown(running, "DATABASES")[0]
        assert (row["pool_size"], row["current_connections"]) == (0, 2)


def test_a_cancel_request_on_its_way(shared: Running, gate: Gate) -> None:
    """It is shown, and that the connection waits for it when its statement is over."""
    counted = ("sv_active", "sv_idle", "sv_being_canceled", "sv_active_cancel")
    with alice(shared) as client:
        client.execute("SELECT 1")
        statement = threading.Thread(target=client.execute, args=("SELECT pg_sleep(1)",))
        statement.start()
        wait_for(lambda: pool(shared)["sv_active"], "the statement")
        gate.open.clear()
        try:
            cancelling = threading.Thread(target=client.cancel_safe)
            cancelling.start()
            line = wait_for(
                lambda: line if (line := pool(shared))["sv_active_cancel"] else None, "a cancel"
            )
            assert [line[name] for name in counted] == [1, 0, 0, 1]
            assert line["cl_active_cancel_req"] == 1 and line["cl_waiting_cancel_req"] == 0
            statement.join(10)
            line = pool(shared)
            assert [line[name] for name in counted] == [0, 0, 1, 1]
            assert {row["state"] for row in shown(shared, "SERVERS")} == {"being_canceled"}
        finally:
            gate.open.set()
        cancelling.join(10)
        line = wait_for(lambda: line if (line := pool(shared))["sv_idle"] else None, "its end")
        assert [line[name] for name in counted] == [0, 1, 0, 0]
        assert line["cl_active_cancel_req"] == 0


def test_where_and_when(shared: Running) -> None:
    with alice(shared) as client, alice(shared) as silent:
        client.execute("SELECT 1")
        for text in ("SELECT 1", "SELECT 1", "SELECT 2"):  # by every way there is
            before = _clients(shared)[_port(client)]["request_time"]
            time.sleep(1.1)
            client.execute(text)
            row = _clients(shared)[_port(client)]
            assert row["request_time"] > before >= row["connect_time"]
        row = _clients(shared)[_port(silent)]
        assert row["request_time"] < _clients(shared)[_port(client)]["request_time"]
        assert (row["local_addr"], row["local_port"]) == ("127.0.0.1", shared.ports["main"])
        assert row["close_needed"] == 0


def test_the_other_end_of_a_server_is_ours(vault: EmbeddedPostgres, running: Running) -> None:
    with (
        running.connect("alice", "alice-password") as client,
        psycopg.connect(vault.uri(), autocommit=True) as root,
    ):
        found = root.execute(
            "SELECT client_port FROM pg_stat_activity WHERE pid = %s", (client.info.backend_pid,)
        ).fetchone()
        (server,) = shown(running, "SERVERS")
        assert found is not None
        assert (server["local_addr"], server["local_port"]) == ("127.0.0.1", found[0])


@pytest.fixture
def running(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    """Without pools, or anything in between."""
    estate = Estate(tmp_path_factory.mktemp("plain"), vault, authority)
    estate.configuration["admin_database"] = {"groups": ["dba"]}
    with estate.serve() as served:
        yield served


def test_averages(running: Running) -> None:
    names = ("avg_query_count", "avg_recv", "avg_sent", "avg_query_time")
    with running.connect("alice", "alice-password") as client:
        for _ in range(500):
            client.execute("SELECT 1")
        client.execute("SELECT pg_sleep(0.2)")

        def all_there() -> Row | None:
            row = shown(running, "STATS")[0]
            return row if row["total_query_count"] > 500 and all(row[n] for n in names) else None

        row = wait_for(all_there, "averages")
        assert 200_000 / 501 <= row["avg_query_time"] <= row["total_query_time"] / 500
        assert row["avg_query_count"] <= row["total_query_count"]


def _port(client: psycopg.Connection[tuple[Any, ...]]) -> int:
    """The client's own."""
    with socket.socket(fileno=client.fileno()) as own:
        port: int = own.getsockname()[1]
        own.detach()
        return port


def _clients(running: Running) -> dict[int, Row]:
    return {row["port"]: row for row in shown(running, "CLIENTS")}
