"""Connections in crowds, and at their ends: nobody waits for another, nothing is left behind."""

import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest

from appliance.cli.demo.postgres import EmbeddedPostgres
from tests.adversity import stage
from tests.adversity.stage import DATABASE, PASSWORD, ROLE, Cluster, Proxy
from tests.wireclient import (
    SYNC,
    TERMINATE,
    VERSION_30,
    Closed,
    WireClient,
    bind,
    error,
    execute,
    kinds,
    parse,
    query,
    rows,
    startup,
    wait_for,
)


def alone(proxy: Proxy, fragment: str) -> bool:
    """Whether no session at the database runs a text with `fragment` in it."""
    found = proxy.cluster.ask(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE %s AND state <> 'idle'"
        " AND pid <> pg_backend_pid()",
        f"%{fragment}%",
    )
    return not found


class TestCrowd:
    THREADS = 8
    CONNECTIONS = 500
    SILENT = 50
    SECONDS_MAX = 1.0

    @pytest.mark.slow
    def test_500_connections_and_50_silent_ones(self, masked: Proxy) -> None:
        """Each logs in, asks and leaves; the slowest one is what nobody may wait longer than.

        The machine is shared with the clients, so a wait that the machine itself imposes (a bare
        connection to the database, measured beside it) is taken off.
        """
        with ExitStack() as stack:
            for number in range(self.SILENT):
                client = stack.enter_context(WireClient(masked.running.host, masked.running.port))
                if number % 2:  # half of them say a little: a startup packet, or part of one
                    packet = startup({"user": ROLE, "database": DATABASE})
                    client.send(packet if number % 4 == 1 else packet[:6])
            waits, bare = self._crowd(masked.uri), self._crowd(masked.cluster.uri, 50)
            assert len(waits) == self.CONNECTIONS
            slowest = sorted(waits)[-1] - sorted(bare)[-1]
            assert slowest < self.SECONDS_MAX, f"slowest {max(waits):.2f} s, bare {max(bare):.2f} s"

    def _crowd(self, uri: str, count: int = CONNECTIONS) -> list[float]:
        waits: list[float] = []
        failures: list[BaseException] = []

        def work(times: int) -> None:
            try:
                for _ in range(times):
                    begun = time.monotonic()
                    with WireClient.login(uri) as client:
                        assert rows(client.query("SELECT 1")) == [[b"1"]]
                    waits.append(time.monotonic() - begun)
            except BaseException as failure:
                failures.append(failure)

        share, more = divmod(count, self.THREADS)
        threads = [
            threading.Thread(target=work, args=(share + (n < more),)) for n in range(self.THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[0]
        return waits


class TestBounds:
    @pytest.fixture(scope="class")
    @classmethod
    def small(cls, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
        folder = tmp_path_factory.mktemp("small")
        limits = {"sessions_max": 4, "login_ms_max": 1_500, "logins_pending_max": 6}
        with stage.served(cluster, folder, stage.GUARDED, limits=limits) as running:
            yield running

    def test_sessions_max(self, small: Proxy) -> None:
        with ExitStack() as stack:
            clients = [stack.enter_context(small.login()) for _ in range(4)]
            with pytest.raises(Closed) as closed:
                small.login()
            assert closed.value.rest[-1].fields["C"] == "53300"
            clients[0].send(TERMINATE)
            assert wait_for(lambda: works(small), 5)
            assert rows(clients[1].query("SELECT 1")) == [[b"1"]]

    def test_login_deadline(self, small: Proxy) -> None:
        for sent in (b"", b"\0\0", startup({"user": ROLE, "database": DATABASE})):
            with WireClient(small.running.host, small.running.port) as client:
                client.send(sent)
                begun = time.monotonic()
                seen = client.rest()
                assert 1.0 < time.monotonic() - begun < 4.0
                if sent:
                    assert seen[-1].fields["C"] == "57P05"

    def test_a_dripping_startup_packet(self, small: Proxy) -> None:
        """The deadline is for all of the login, not for each byte."""
        packet = startup({"user": ROLE, "database": DATABASE})
        with WireClient(small.running.host, small.running.port) as client:
            begun = time.monotonic()
            try:
                for byte in packet:
                    client.send(bytes((byte,)))
                    time.sleep(0.1)
                    if time.monotonic() - begun > 4:
                        break
                client.rest()
            except OSError:
                pass
            assert time.monotonic() - begun < 4

    def test_pending_logins_max(self, small: Proxy) -> None:
        with ExitStack() as stack:
            for _ in range(6):
                stack.enter_context(WireClient(small.running.host, small.running.port))
            time.sleep(0.2)
            with WireClient(small.running.host, small.running.port) as late:
                assert late.rest()[-1].fields["C"] == "53300"
        assert wait_for(lambda: works(small), 5)


def works(proxy: Proxy) -> bool:
    try:
        with proxy.login() as client:
            return rows(client.query("SELECT 1")) == [[b"1"]]
    except (Closed, OSError):
        return False


class TestEnds:
    def test_half_closed_clients_get_their_answer(self, guarded: Proxy) -> None:
        with guarded.login() as client:
            client.send(query("SELECT pg_sleep(0.5), 7"))
            client.socket.shutdown(socket.SHUT_WR)
            got = client.rest()
            assert kinds(got).startswith("TDCZ") and rows(got) == [[b"", b"7"]]

    def test_terminate_right_behind_a_statement(self, guarded: Proxy) -> None:
        """As at the database itself: what was sent before is done."""
        with guarded.login() as client:
            client.send(query("INSERT INTO notes VALUES (6001, 'fire and forget')"), TERMINATE)
            client.rest()
        find = "SELECT 1 FROM notes WHERE id = 6001"
        assert wait_for(lambda: guarded.cluster.ask(find) == [(1,)], 5)

    @pytest.mark.parametrize("how", ["reset", "close", "half-close"])
    def test_a_client_killed_in_mid_query(self, guarded: Proxy, how: str) -> None:
        mark = f"killed {how}"
        client = guarded.login()
        client.send(query(f"SELECT '{mark}', pg_sleep(60)"))
        assert wait_for(lambda: not alone(guarded, mark), 5)
        if how == "reset":
            linger = struct.pack("ii", 1, 0)
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if how == "half-close":
            client.socket.shutdown(socket.SHUT_WR)
        else:
            client.close()
        assert wait_for(lambda: alone(guarded, mark), 6), "its session goes on at the database"
        client.close()

    def test_a_client_killed_while_it_does_not_read(self, guarded: Proxy) -> None:
        mark = "not reading"
        client = guarded.login()
        client.send(query(f"SELECT '{mark}', repeat('x', 1000000) FROM generate_series(1, 1000)"))
        assert wait_for(lambda: not alone(guarded, mark), 5)
        time.sleep(0.5)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        assert wait_for(lambda: alone(guarded, mark), 6)

    def test_a_client_killed_in_copy(self, guarded: Proxy) -> None:
        client = guarded.login()
        client.send(query("COPY notes FROM STDIN"))
        client.until("G")
        assert not alone(guarded, "COPY notes FROM STDIN")
        client.close()
        assert wait_for(lambda: alone(guarded, "COPY notes FROM STDIN"), 6)

    def test_a_client_killed_in_a_transaction(self, guarded: Proxy) -> None:
        client = guarded.login()
        client.query("BEGIN")
        client.query("UPDATE notes SET body = 'held' WHERE id = 2")
        client.close()
        assert wait_for(lambda: alone(guarded, "held"), 6)
        with guarded.login() as other:
            assert kinds(other.query("UPDATE notes SET body = 'free' WHERE id = 2")) == "CZ"

    def test_a_session_terminated_at_the_database(self, guarded: Proxy) -> None:
        with guarded.login() as client:
            client.send(query("SELECT pg_sleep(60)"))
            time.sleep(0.2)
            guarded.cluster.ask("SELECT pg_terminate_backend(%s)", client.pid)
            last = client.rest()[-1]
            assert last.fields["C"] == "57P01" and last.fields["S"] == "FATAL"

    def test_terminated_when_idle(self, guarded: Proxy) -> None:
        with guarded.login() as client:
            guarded.cluster.ask("SELECT pg_terminate_backend(%s)", client.pid)
            assert client.rest()[-1].fields["C"] == "57P01"

    def test_a_slow_reader_delays_nobody(self, guarded: Proxy) -> None:
        with ExitStack() as stack:
            for _ in range(5):
                slow = stack.enter_context(guarded.login())
                slow.send(query("SELECT repeat('x', 1000000) FROM generate_series(1, 300)"))
            quick = stack.enter_context(guarded.login())
            waits = []
            for _ in range(100):
                begun = time.monotonic()
                assert rows(quick.query("SELECT 1")) == [[b"1"]]
                waits.append(time.monotonic() - begun)
            assert sorted(waits)[50] < 0.05 and max(waits) < 1.0, f"{max(waits):.2f} s"

    def test_a_busy_analysis_delays_nobody(self, guarded: Proxy) -> None:
        large = "SELECT " + ", ".join(["1"] * 900) + ", '" + "x" * 900_000 + "'"
        with guarded.login() as heavy, guarded.login() as quick:
            heavy.send(*(query(large) for _ in range(3)))
            waits = []
            for _ in range(50):
                begun = time.monotonic()
                quick.query("SELECT 1")
                waits.append(time.monotonic() - begun)
            assert max(waits) < 1.0
            assert kinds(heavy.until("Z", 3)) == "TDCZ" * 3


class TestServerKilled:
    @pytest.fixture
    def mortal(self, server_folder: object) -> Iterator[Cluster]:
        from pathlib import Path

        folder = Path(str(server_folder)) / "mortal"
        with EmbeddedPostgres(folder, 18) as server:
            yield Cluster(server)

    def test_in_mid_query(self, mortal: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
        with stage.proxy(mortal, tmp_path_factory.mktemp("mortal"), stage.GUARDED) as proxy:
            client = proxy.login()
            client.send(query("SELECT pg_sleep(60)"))
            assert wait_for(lambda: not alone(proxy, "pg_sleep(60)"), 5)
            os.kill(client.pid, signal.SIGKILL)
            last = client.rest()[-1]
            assert last.fields["S"] == "FATAL" and last.fields["C"] in ("08006", "57P02")
            client.close()
            assert wait_for(lambda: works(proxy), 10), "no new sessions after the crash"
            mortal.server.stop()
            with pytest.raises(Closed) as closed:
                proxy.login()
            assert closed.value.rest[-1].fields["C"] in ("08001", "57P03")
            mortal.server.start()

    def test_psycopg_says_so(self, guarded: Proxy) -> None:
        with psycopg.connect(guarded.uri, autocommit=True) as connection:
            pid = connection.info.backend_pid
            guarded.cluster.ask("SELECT pg_terminate_backend(%s)", pid)
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
            assert connection.broken


def test_wrong_passwords_say_nothing_more(guarded: Proxy) -> None:
    texts = set()
    for user, password in ((ROLE, "wrong"), ("nobody", PASSWORD), ("postgres", "wrong")):
        with WireClient(guarded.running.host, guarded.running.port) as client:
            client.send(startup({"user": user, "database": DATABASE}, VERSION_30))
            with pytest.raises(Closed) as closed:
                client.authenticate(password)
            fields = closed.value.rest[-1].fields
            texts.add((fields["C"], fields["M"].replace(user, "?")))
    assert len(texts) == 1


def test_extended_statements_in_flight_when_the_client_leaves(guarded: Proxy) -> None:
    with guarded.login() as client:
        client.send(*(parse("", "SELECT pg_sleep(20)"), bind(), execute(), SYNC) * 3)
    assert wait_for(lambda: alone(guarded, "pg_sleep(20)"), 6)
    with guarded.login() as client:
        assert not [one for one in client.query("SELECT 1") if one.kind == "E"] or error([])


def test_a_client_that_leaves_while_its_statement_waits_behind_another(masked: Proxy) -> None:
    """Behind a statement that may change settings the next one waits: its client is still heard."""
    with masked.login() as holder, masked.login() as client:
        holder.query("BEGIN")
        holder.query("UPDATE notes SET body = body WHERE id = 3")
        client.send(query("SET search_path = public"))
        client.send(query("UPDATE notes SET body = 'waits' WHERE id = 3"), query("SELECT 1"))
        assert wait_for(lambda: not alone(masked, "waits"), 5)
        client.close()
        assert wait_for(lambda: alone(masked, "waits"), 6)
