"""Record before forward, tried the hard way: a worker killed in mid-load, a disk that is full.

What the database's own log says it ran is held against the audit trail.
"""

import os
import re
import resource
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.audit import checkpoint
from appliance.audit.brief import Completer
from appliance.audit.record import Record, SpoolRecovered, StatementDecided, StatementFinished
from appliance.spool.journal import look
from appliance.spool.trail_folder import FolderTrail
from tests.adversity import stage
from tests.adversity.stage import Cluster, Proxy
from tests.clusters import SALLYPORT
from tests.wireclient import (
    SYNC,
    Closed,
    WireClient,
    bind,
    error,
    execute,
    kinds,
    parse,
    query,
    rows,
    status,
    wait_for,
)

MARK = re.compile(r"\bm_[0-9a-z]+_\d+_\d+\b")


def records(data: Path) -> list[Record]:
    trail = FolderTrail(data / "audit")
    found = []
    for worker in trail.workers():
        completer = Completer()
        for segment in checkpoint.segment_order(trail.names(worker)):
            found += [completer.record(line)[1] for line in trail.lines(worker, segment)]
    return found


def recorded(data: Path) -> set[str]:
    """Marks in statements that were decided, refused ones left out."""
    return {
        mark
        for record in records(data)
        if isinstance(record, StatementDecided) and record.refusal is None
        for mark in MARK.findall(record.statement.sql)
    }


def verify(data: Path) -> subprocess.CompletedProcess[str]:
    command = [SALLYPORT, "audit", "verify", "--data", data]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


class Load:
    """Clients that send marked statements until they are told to stop; they connect again."""

    def __init__(self, proxy: Proxy, name: str, clients: int = 4) -> None:
        self.proxy, self.name = proxy, name
        self.stopped = False
        self.sent = 0
        self.unexpected: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped = True
        for thread in self._threads:
            thread.join(30)
        assert not self.unexpected, self.unexpected[0]

    def _work(self, client: int) -> None:
        number = 0
        while not self.stopped:
            try:
                with self.proxy.login() as connection:
                    while not self.stopped:
                        self._ask(connection, f"m_{self.name}_{client}_{number}")
                        number += 1
                        self.sent += 1
            except (Closed, OSError):
                time.sleep(0.05)
            except BaseException as failure:
                self.unexpected.append(failure)
                return

    def _ask(self, connection: WireClient, mark: str) -> None:
        text = f"SELECT 1 AS {mark}"
        if hash(mark) % 3 == 0:  # several at once, extended
            pieces = (parse("", text), bind(), execute(), SYNC)
            got = connection.ask(*pieces, *pieces, ready=2)
        else:
            got = connection.query(text)
        assert b"1" in rows(got)[0]


@pytest.fixture(params=["os", "disk"])
def loaded(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path
) -> Iterator[tuple[Proxy, str]]:
    options = ("--durability", request.param, "--workers", "2")
    with stage.proxy(cluster, tmp_path, stage.GUARDED, *options) as running:
        yield running, str(request.param)


@pytest.mark.slow
def test_what_the_database_saw_is_on_record(loaded: tuple[Proxy, str]) -> None:
    proxy, name = loaded
    before = len(proxy.cluster.logged())
    data = proxy.running.data
    with Load(proxy, name) as load:
        for _ in range(3):
            seen = load.sent
            assert wait_for(lambda seen=seen: load.sent > seen + 100, 10), "the load does not run"
            victim = proxy.workers()[0]
            os.kill(victim, signal.SIGKILL)
            assert wait_for(lambda victim=victim: victim not in proxy.workers(), 5)
            assert wait_for(lambda: len(proxy.workers()) == 2, 10), "no new worker"
        seen = load.sent
        assert wait_for(lambda: load.sent > seen + 100, 10), "nobody is served afterwards"
    saw = set(MARK.findall(proxy.cluster.logged()[before:]))
    assert len(saw) > 300
    assert saw <= recorded(data), sorted(saw - recorded(data))[:5]
    done = verify(data)
    assert done.returncode == 0, done.stdout + done.stderr


class Repeating(Load):
    """Few texts, each again and again: known ones, which go the short way."""

    def _ask(self, connection: WireClient, mark: str) -> None:
        stem, number = mark.rsplit("_", 1)
        got = connection.query(f"SELECT 1 AS {stem}_{int(number) % 5}")
        assert rows(got) == [[b"1"]]


@pytest.mark.slow
def test_what_the_journal_holds_is_on_record(cluster: Cluster, tmp_path: Path) -> None:
    """Of each text the trail knows of no fewer runs than the database."""
    with stage.proxy(cluster, tmp_path, stage.GUARDED, "--workers", "1") as proxy:
        before, data = len(cluster.logged()), proxy.running.data
        with Repeating(proxy, "held") as load:
            for _ in range(4):
                seen = load.sent
                assert wait_for(lambda seen=seen: load.sent > seen + 300, 20), "no load"
                _kill_while_held(proxy)
        saw = Counter(MARK.findall(cluster.logged()[before:]))
    assert sum(saw.values()) > 1_000
    found = Counter(
        mark
        for record in records(data)
        if isinstance(record, StatementDecided)
        for mark in MARK.findall(record.statement.sql)
    )
    assert saw <= found, saw - found
    done = verify(data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torn" not in done.stdout + done.stderr


def _kill_while_held(proxy: Proxy) -> None:
    """Its only worker, in a moment in which it holds lines of several statements."""
    victim = proxy.workers()[0]

    def caught() -> bool:
        os.kill(victim, signal.SIGSTOP)
        held = look(proxy.running.data / "audit" / "w0")
        if held is None or held.lines.count(b"\n") < 8:
            os.kill(victim, signal.SIGCONT)
            return False
        os.kill(victim, signal.SIGKILL)
        return True

    assert wait_for(caught, 30), "it holds nothing"
    assert wait_for(lambda: proxy.workers() not in ([], [victim]), 10), "no new worker"


@pytest.mark.slow
def test_a_torn_tail_is_told_and_healed(cluster: Cluster, tmp_path: Path) -> None:
    with stage.proxy(cluster, tmp_path, stage.GUARDED) as proxy:
        data = proxy.running.data
        with Load(proxy, "torn", 2) as load:
            assert wait_for(lambda: load.sent > 50, 10)
            # The newest segment gets a half-written line, as a power loss leaves one.
            victim = proxy.workers()[0]
            os.kill(victim, signal.SIGSTOP)
            folder = data / "audit" / "w0"
            newest = checkpoint.segment_order(p.name for p in folder.iterdir())[-1]
            with (folder / newest).open("ab") as file:
                file.write(b'{"seq":99999,"prev":"00')
            os.kill(victim, signal.SIGKILL)
            assert wait_for(lambda: proxy.workers() not in ([], [victim]), 10)
            seen = load.sent
            assert wait_for(lambda: load.sent > seen + 50, 10)
        causes = [r.cause for r in records(data) if isinstance(r, SpoolRecovered)]
        assert "torn_tail" in causes
    done = verify(data)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "torn" in done.stdout + done.stderr


class TestFullDisk:
    """The worker may write no byte more (RLIMIT_FSIZE): as a full disk, but for it alone."""

    @staticmethod
    def allow(worker: int, size: int) -> None:
        resource.prlimit(worker, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    @pytest.fixture
    def proxy(self, cluster: Cluster, tmp_path: Path) -> Iterator[Proxy]:
        with stage.proxy(cluster, tmp_path, stage.MASKED) as running:
            yield running

    def test_statements_are_refused_and_sessions_kept(self, proxy: Proxy) -> None:
        worker = proxy.workers()[0]
        with proxy.login() as client, proxy.login() as other:
            client.ask(parse("s", "SELECT ssn FROM customers WHERE id = 1"), SYNC)
            other.query("BEGIN")
            before = len(proxy.cluster.logged())
            self.allow(worker, 1)
            got = client.query("SELECT 1 AS m_full_0_0")
            assert kinds(got) == "EZ" and error(got)["C"] == "58030" and status(got) == "I"
            got = client.ask(bind("", "s"), execute(), SYNC)
            assert kinds(got) == "2EZ" and error(got)["C"] == "58030"
            got = client.ask(parse("t", "SELECT 2 AS m_full_0_1"), bind("", "t"), execute(), SYNC)
            assert kinds(got) == "EZ" and error(got)["C"] == "58030"
            got = other.query("INSERT INTO notes VALUES (5001, 'm_full_0_2')")
            assert error(got)["C"] == "58030" and status(got) == "E"
            assert "m_full_0" not in proxy.cluster.logged()[before:]
            with pytest.raises(Closed) as closed:
                proxy.login()
            assert closed.value.rest[-1].fields["C"] == "58030"

            self.allow(worker, resource.RLIM_INFINITY)
            assert wait_for(lambda: kinds(client.query("SELECT 1")) == "TDCZ", 10)
            assert rows(client.ask(bind("", "s"), execute(), SYNC)) == [[b"*******6789"]]
            got = client.ask(bind("", "t"), execute(), SYNC)
            assert error(got)["C"] == "26000", "a Parse that was refused left its name behind"
            got = client.ask(parse("t", "SELECT 2"), bind("", "t"), execute(), SYNC)
            assert kinds(got) == "12DCZ"
            assert status(other.query("ROLLBACK")) == "I"
            with proxy.login() as new:
                assert rows(new.query("SELECT 3")) == [[b"3"]]
        assert proxy.workers() == [worker], "it healed by a restart"

    def test_in_the_middle_of_a_result(self, proxy: Proxy) -> None:
        """What was recorded and forwarded before goes on; its end is recorded later."""
        worker = proxy.workers()[0]
        with proxy.login() as client:
            client.query("SELECT 1")
            client.send(query("SELECT repeat('x', 100000), 1 AS m_mid_0_0 FROM notes, notes n"))
            client.until("D", 10)
            self.allow(worker, 1)
            got = client.until("Z")
            assert kinds(got).endswith("DCZ")
            assert error(client.query("SELECT 1"))["C"] == "58030"
            self.allow(worker, resource.RLIM_INFINITY)
            assert wait_for(lambda: kinds(client.query("SELECT 1")) == "TDCZ", 10)

            def finished() -> bool:
                all_of_it = records(proxy.running.data)
                decided = [
                    r.id
                    for r in all_of_it
                    if isinstance(r, StatementDecided) and "m_mid_0_0" in r.statement.sql
                ]
                return any(
                    isinstance(r, StatementFinished) and r.decided in decided for r in all_of_it
                )

            assert wait_for(finished, 5)

    def test_the_trail_is_whole_afterwards(self, cluster: Cluster, tmp_path: Path) -> None:
        with stage.proxy(cluster, tmp_path, stage.GUARDED) as proxy:
            data = proxy.running.data
            worker = proxy.workers()[0]
            with Load(proxy, "heal", 2) as load:
                load._ask = lambda connection, mark: _tolerant(connection, mark)  # type: ignore[method-assign]
                assert wait_for(lambda: load.sent > 50, 10)
                newest = max((data / "audit" / "w0").iterdir(), key=lambda p: p.stat().st_size)
                self.allow(worker, newest.stat().st_size + 700)  # ends in the middle of a record
                time.sleep(0.5)
                self.allow(worker, resource.RLIM_INFINITY)
                seen = load.sent
                assert wait_for(lambda: load.sent > seen + 50, 10)
            saw = set(MARK.findall(cluster.logged()))
            ours = {mark for mark in saw if mark.startswith("m_heal_")}
            assert len(ours) > 50 and ours <= recorded(data)
        done = verify(data)
        assert done.returncode == 0, done.stdout + done.stderr


def _tolerant(connection: WireClient, mark: str) -> None:
    got = connection.query(f"SELECT 1 AS {mark}")
    assert rows(got) == [[b"1"]] or error(got)["C"] == "58030"
