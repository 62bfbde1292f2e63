"""The processes of a running installation: readiness, metrics, draining, cancelling across workers,
durability, and the trail of it all."""

import concurrent.futures
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from appliance.telemetry.metrics import CATALOGUE, PREFIX
from tests.clusters import SALLYPORT, Authority, EmbeddedPostgres
from tests.endtoend.stage import Estate, Running, one, wait_for

MakeEstate = Callable[[], Estate]


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    """Two workers."""
    made = Estate(tmp_path_factory.mktemp("pair"), vault, authority)
    with made.serve("--workers", "2") as running:
        yield running


def ready(proxy: Running) -> bool:
    return proxy.get("/readyz")[0] == 200


def test_health_and_metrics(pair: Running) -> None:
    assert pair.get("/healthz") == (200, "OK\n")
    assert ready(pair)
    families = {f.name: f for f in text_string_to_metric_families(pair.get("/metrics")[1])}
    for family, _ in CATALOGUE.values():
        assert PREFIX + family.name.removesuffix("_total") in families
    assert pair.metric("workers_ready") == 2
    with pair.connect("alice", "alice-password") as alice:
        assert one(alice, "SELECT count(*) FROM notes") == 100
        assert len(alice.execute("SELECT * FROM notes").fetchall()) == 100
        for text in ("DROP TABLE notes", "SELEC 1"):
            with pytest.raises(psycopg.Error):
                alice.execute(text)  # type: ignore[arg-type]
        alice.execute("SELECT * FROM notes")
        pair.metric_reaches(1, "sessions")
        pair.metric_reaches(3, "statements_total", effect="allow")
        pair.metric_reaches(2, "statements_total", effect="deny")
        pair.metric_reaches(201, "rows_total")
        pair.metric_reaches(1, "analysis_failures_total", code="syntax")
        pair.metric_reaches(3, "analyses_total", place="worker")
        pair.metric_reaches(1, "decisions_total", source="cache")
        pair.metric_reaches(3, "decisions_total", source="evaluated")
        pair.metric_reaches(3, "statement_duration_seconds_count")
    pair.metric_reaches(1, "logins_total", outcome="ok")
    pair.metric_reaches(1, "upstream_connects_total", outcome="ok")
    pair.metric_reaches(1, "login_duration_seconds_count")
    pair.metric_reaches(7, "audit_records_total")
    assert pair.metric("relayed_bytes_total", to="client") > 1_000
    assert pair.metric("relayed_bytes_total", to="upstream") > 100
    assert pair.metric("target_reachable", target="vault") == 1
    wait_for(lambda: pair.metric("sessions") == 0, "the end of the session")
    assert pair.metric("statements_running") == 0
    assert pair.metric("logins_pending") == 0


def test_an_audit_trail_that_cannot_be_written(estate: MakeEstate) -> None:
    """Nothing passes, readiness says so, and it goes on by itself."""
    with estate().serve() as proxy, proxy.connect("alice", "alice-password") as alice:
        trail = proxy.data / "audit"
        shutil.rmtree(trail)
        trail.write_text("in the way")
        wait_for(lambda: not ready(proxy), "unreadiness")
        assert '"audit":false' in proxy.get("/readyz")[1]
        with pytest.raises(psycopg.Error, match="audit trail cannot be written") as told:
            alice.execute("SELECT 1")
        assert told.value.sqlstate == "58030"
        assert "no session begins unrecorded" in proxy.refusal("bob", "bob-password")
        proxy.metric_reaches(1, "audit_failures_total")
        assert proxy.get("/healthz")[0] == 200
        trail.unlink()
        wait_for(lambda: ready(proxy), "readiness")
        assert one(alice, "SELECT 1") == 1
        proxy.connect("bob", "bob-password").close()
        assert proxy.recorded("spool_recovered")


def test_a_worker_down_is_unready(pair: Running) -> None:
    victim, other = pair.worker_pids()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: not ready(pair), "unreadiness", 5)
    assert '"workers":false' in pair.get("/readyz")[1]
    assert pair.get("/healthz")[0] == 200
    wait_for(lambda: ready(pair), "readiness")
    assert other in pair.worker_pids()
    assert pair.metric("worker_restarts_total") == 1


def test_a_worker_holds_only_its_own_descriptors(pair: Running) -> None:
    for pid in pair.worker_pids():
        held = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
        sockets = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()]
        listening = [s for s in sockets[1:] if s[3] == "0A" and f"socket:[{s[9]}]" in held]
        assert len(listening) == 1  # its own; neither the other worker's nor the admin's


def test_drain(estate: MakeEstate, vault: EmbeddedPostgres) -> None:
    """SIGTERM: what runs finishes, who is idle is told, nobody new comes in, exit status 0."""
    with estate().serve("--workers", "2", ended=True) as proxy:
        idle = proxy.connect("alice", "alice-password")
        busy = proxy.connect("bob", "bob-password")
        opened = proxy.connect("bob", "bob-password", autocommit=False)
        one(opened, "SELECT 1")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(one, busy, "SELECT 'done' FROM pg_sleep(2)")
            wait_for(lambda: sleeping(vault), "the statement")
            proxy.signal(signal.SIGTERM)
            wait_for(lambda: refuses(proxy.ports["main"]), "closed doors")
            time.sleep(0.2)
            with pytest.raises(psycopg.errors.AdminShutdown):
                idle.execute("SELECT 1")
            one(opened, "SELECT 2")  # a transaction may come to its end
            opened.commit()
            assert running.result(10) == "done"
        for session in (busy, opened):  # (libpq may have taken the last words for a notice)
            with pytest.raises(psycopg.OperationalError):
                session.execute("SELECT 1")
            session.close()
        assert proxy.child.process.wait(10) == 0
    assert not sleeping(vault)
    reasons = sorted(r["reason"] for r in proxy.records("session_closed"))
    assert reasons == ["drained"] * 3
    assert {r["reason"] for r in proxy.records("worker_stopped")} == {"drained"}
    assert verify(proxy)[0] == 0


def test_the_second_sigterm_is_fast(estate: MakeEstate, vault: EmbeddedPostgres) -> None:
    with estate().serve(ended=True) as proxy:
        busy = proxy.connect("bob", "bob-password")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            running = pool.submit(busy.execute, "SELECT pg_sleep(30)")
            wait_for(lambda: sleeping(vault), "the statement")
            proxy.signal(signal.SIGTERM)
            time.sleep(0.3)
            assert proxy.child.process.poll() is None
            begun = time.monotonic()
            proxy.signal(signal.SIGTERM)
            assert proxy.child.process.wait(8) == 0
            assert time.monotonic() - begun < 4
            with pytest.raises(psycopg.OperationalError):
                running.result(5)
        busy.close()
    wait_for(lambda: not sleeping(vault), "the end of the statement on the server")
    finished = proxy.records("statement_finished")[-1]
    assert finished["outcome"] == "disconnected"
    assert proxy.records("session_closed")[-1]["reason"] == "stopped"
    assert verify(proxy)[0] == 0


def sleeping(vault: EmbeddedPostgres) -> bool:
    with psycopg.connect(vault.uri()) as root:
        text = "SELECT count(*) FROM pg_stat_activity WHERE query ~ 'pg_sleep' AND state = 'active'"
        return one(root, text + " AND pid <> pg_backend_pid()") > 0


def refuses(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            return client.recv(1) == b""
    except OSError:
        return True


def verify(proxy: Running) -> tuple[int, str]:
    done = subprocess.run(
        [SALLYPORT, "audit", "verify", "--data", proxy.data],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_cancel_across_workers(pair: Running) -> None:
    """A cancel request comes to any worker, the session lives in one."""
    before = pair.metric("cancels_total", outcome="routed")
    sessions = [pair.connect("alice", "alice-password") for _ in range(10)]
    with concurrent.futures.ThreadPoolExecutor(len(sessions)) as pool:
        running = [pool.submit(s.execute, "SELECT pg_sleep(20)") for s in sessions]
        time.sleep(1.0)
        begun = time.monotonic()
        for session in sessions:
            session.cancel_safe(timeout=5)
        for future in running:
            with pytest.raises(psycopg.errors.QueryCanceled):
                future.result(10)
        assert time.monotonic() - begun < 8
    for session in sessions:
        assert one(session, "SELECT 1") == 1
        session.close()
    pair.metric_reaches(before + 10, "cancels_total", outcome="routed")
    folders = sorted((pair.data / "audit").glob("w*"))
    assert len(folders) == 2


def test_durability_on_disk(estate: MakeEstate) -> None:
    """Slower, but the same for clients: many at once, pipelines, COPY, cancels."""
    made = estate()
    made.configuration["durability"] = "disk"
    with made.serve() as proxy:

        def work(number: int) -> None:
            with proxy.connect("alice", "alice-password") as alice:
                for n in range(20):
                    assert one(alice, "SELECT %s::int", (n,)) == n
                with alice.pipeline():
                    cursors = [alice.execute("SELECT %s::int", (n,)) for n in range(20)]
                assert [c.fetchone() for c in cursors] == [(n,) for n in range(20)]
                with alice.transaction():
                    alice.execute(f"CREATE TEMP TABLE t{number} (id int, body text)")  # type: ignore[arg-type]
                    with alice.cursor().copy(f"COPY t{number} FROM STDIN") as copy:  # type: ignore[arg-type]
                        for n in range(500):
                            copy.write_row((n, "x" * 100))
                assert one(alice, f"SELECT count(*) FROM t{number}") == 500

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            for done in [pool.submit(work, n) for n in range(6)]:
                done.result(30)
        decided = proxy.records("statement_decided")
        assert all(r["decision"]["effect"] == "allow" for r in decided)
        assert len(decided) >= 6 * 43
    assert verify(proxy)[0] == 0


def test_the_trail_of_a_day(estate: MakeEstate) -> None:
    """Logins, failed ones, statements, session ends, changes: all there, in order, and sound."""
    made = estate()
    with made.serve() as proxy:
        proxy.refusal("alice", "wrong")
        with proxy.connect("alice", "alice-password", application_name="tool") as alice:
            alice.execute("SELECT body FROM notes WHERE id = 7 AND body <> 'secret words'")
            with pytest.raises(psycopg.Error):
                alice.execute("TRUNCATE notes")
        assert proxy.reload()
        proxy.recorded("policy_changed")
        events = [r["event"] for r in proxy.records()]
    assert events == [
        "segment_opened",
        "worker_started",
        "login_failed",
        "session_opened",
        "statement_decided",
        "statement_finished",
        "statement_decided",
        "session_closed",
        "configuration_changed",
        "policy_changed",
    ]
    records = {r["event"]: r for r in proxy.records()}
    assert records["worker_stopped"]["reason"] == "drained"
    opened, closed = records["session_opened"], records["session_closed"]
    assert closed["session"] == opened["session"]
    assert (closed["reason"], closed["statements"], closed["rows"]) == ("client_closed", 2, 1)
    refused = records["statement_decided"]
    assert refused["refusal"] == {"code": "denied", "rule": "no-drop"}
    assert records["policy_changed"]["documents"] == [str(made.folder / "policy.yaml")]
    assert "secret words" not in str(proxy.records())
    status, text = verify(proxy)
    assert status == 0, text


def test_connections_beyond_the_limit(estate: MakeEstate) -> None:
    made = estate()
    made.configuration["limits"] = {"sessions_max": 3}
    with made.serve() as proxy:
        sessions = [proxy.connect("alice", "alice-password") for _ in range(3)]
        assert "too many connections" in proxy.refusal("bob", "bob-password")
        proxy.metric_reaches(1, "clients_refused_total", reason="limit")
        sessions.pop().close()
        wait_for(lambda: comes_in(proxy), "a free place")
        for session in sessions:
            session.close()


def comes_in(proxy: Running) -> bool:
    try:
        proxy.connect("bob", "bob-password").close()
    except psycopg.OperationalError:
        return False
    return True


def test_a_silent_client_is_let_go(estate: MakeEstate) -> None:
    made = estate()
    made.configuration["limits"] = {"login_ms_max": 700}
    with made.serve() as proxy:
        silent = [socket.create_connection(("127.0.0.1", proxy.ports["main"])) for _ in range(20)]
        halfway = [socket.create_connection(("127.0.0.1", proxy.ports["main"])) for _ in range(20)]
        for client in halfway:
            client.sendall(b"\0\0\0\x20\0\x03\0\0user")
        begun = time.monotonic()
        proxy.connect("alice", "alice-password").close()
        assert time.monotonic() - begun < 0.6
        answers: list[Any] = []
        for client in (*silent, *halfway):
            client.settimeout(5)
            answers.append(client.recv(1000))
            client.close()
        assert time.monotonic() - begun < 5
        assert all(b"57P05" in answer for answer in answers[20:])
        proxy.metric_reaches(20, "logins_total", outcome="timeout")
        assert threading.active_count() < 20
