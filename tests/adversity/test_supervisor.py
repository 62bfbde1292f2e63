"""The supervisor under ill treatment: workers dying all the time, reload storms, stalls, and a
death of its own.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

CONTROL_TESTS = Path(__file__).parents[1] / "unit" / "control"
ROOT = Path(__file__).parents[2]

CONFIGURATION = """
data: {data}
listeners:
  - {{name: main, address: '127.0.0.1:0', target: shop, tls: {{mode: disable}}}}
targets:
  - {{name: shop, host: localhost, roles: [{{principals: ['*'], user: app}}]}}
limits: {{drain_ms_max: 1000}}
"""


class Service:
    """The supervisor with the fake workers of tests/unit/control."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "sallyport.yaml"
        self.source.write_text(CONFIGURATION.format(data=folder / "d"))
        self.os_process = subprocess.Popen(
            [sys.executable, str(CONTROL_TESTS / "service.py"), str(self.source), "2"],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{CONTROL_TESTS}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.os_process.stdout is not None
        self.port = int(self.os_process.stdout.readline().decode().rpartition(":")[2])

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.os_process.pid).children()

    def ask(self, line: str) -> str:
        """One question on a connection of its own; '' when the worker died over it."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                client.sendall(line.encode() + b"\n")
                with client.makefile("rb") as lines:
                    return lines.readline().decode().strip()
        except OSError:
            return ""

    def end(self) -> int:
        self.os_process.terminate()
        status = self.os_process.wait(10)
        assert self.os_process.stdout is not None
        self.os_process.stdout.close()
        return status


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path)
    yield started
    if started.os_process.poll() is None:
        started.end()


def until(test: Callable[[], object], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_workers_killed_again_and_again(service: Service) -> None:
    """One worker of two dies over and over, until enough were served to tell: nearly every new
    connection is served by the other."""
    answers: list[str] = []
    stopped = threading.Event()

    def load() -> None:
        while not stopped.is_set():
            answers.append(service.ask("worker"))

    clients = [threading.Thread(target=load) for _ in range(3)]
    for client in clients:
        client.start()
    try:
        end = time.monotonic() + 60
        kills = 0
        while kills < 6 or (len(answers) < 130 and time.monotonic() < end):
            kills += 1
            until(lambda: len(service.workers()) == 2)  # or it would be the other's turn
            victim = service.workers()[-1]
            victim.kill()
            until(lambda gone=victim: gone not in service.workers())  # type: ignore[misc]
            time.sleep(0.3)
    finally:
        stopped.set()
        for client in clients:
            client.join()
    until(lambda: len(service.workers()) == 2)
    served = sum(bool(answer) for answer in answers)
    assert served > 100
    assert served / len(answers) > 0.8
    until(lambda: {service.ask("worker").split()[0] for _ in range(20)} == {"0", "1"})
    assert service.end() == 0


def test_reload_storm(service: Service) -> None:
    """A hundred SIGHUPs, half of the files broken: it serves on, and ends with a good one."""
    good = service.source.read_text()
    for number in range(100):
        service.source.write_text(good + ("broken: [" if number % 2 else f"# {number}\n"))
        service.os_process.send_signal(signal.SIGHUP)
        if number % 10 == 0:
            assert service.ask("worker")
        time.sleep(0.005)
    service.source.write_text(good + "# the last\n")
    service.os_process.send_signal(signal.SIGHUP)
    until(lambda: all("# the last" in service.ask("documents") for _ in range(6)))
    assert service.end() == 0


def test_a_supervisor_that_was_stopped_for_long_kills_nobody(service: Service) -> None:
    """SIGSTOP for longer than the heartbeat deadline (2 s in these tests), then SIGCONT."""
    before = {worker.pid for worker in service.workers()}
    service.os_process.send_signal(signal.SIGSTOP)
    time.sleep(3)
    assert service.ask("worker")  # the data path does not need it
    service.os_process.send_signal(signal.SIGCONT)
    time.sleep(1)
    assert {worker.pid for worker in service.workers()} == before
    assert service.end() == 0


def test_a_stopped_worker_is_replaced(service: Service) -> None:
    victim = service.workers()[0]
    victim.suspend()
    until(lambda: not psutil.pid_exists(victim.pid))
    until(lambda: len(service.workers()) == 2)
    assert service.end() == 0


def test_silent_connections_do_not_keep_it_from_ending(service: Service) -> None:
    clients = [socket.create_connection(("127.0.0.1", service.port), timeout=5) for _ in range(50)]
    try:
        begun = time.monotonic()
        assert service.end() == 0
        assert time.monotonic() - begun < 5
    finally:
        for client in clients:
            client.close()
