"""The supervisor against a fake worker: starts, restarts, reloads, drains, notifies, ends."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]

CONFIGURATION = """
data: {data}
admin: 127.0.0.1:{admin}
listeners:
  - name: main
    address: 127.0.0.1:0
    target: shop
    tls: {{mode: disable}}
targets:
  - name: shop
    host: localhost
    roles: [{{principals: ['*'], user: app}}]
limits: {{drain_ms_max: {drain}}}
"""


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(test: Callable[[], object], seconds: float = 8.0) -> None:
    end = time.monotonic() + seconds
    while not test():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Client:
    """A line-wise conversation with one worker."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.lines = self.socket.makefile("rb")

    def ask(self, line: str) -> str:
        self.socket.sendall(line.encode() + b"\n")
        return self.lines.readline().decode().strip()

    def close(self) -> None:
        self.lines.close()
        self.socket.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Service:
    """A supervisor with fake workers."""

    def __init__(self, folder: Path, workers: int = 2, drain_ms: int = 3000) -> None:
        self.folder = folder
        self.workers = workers
        self.admin = free_port()
        self.drain_ms = drain_ms
        self.source = folder / "sallyport.yaml"
        self.write("")
        self.log: list[bytes] = []

    def write(self, more: str) -> None:
        text = CONFIGURATION.format(data=self.folder / "d", admin=self.admin, drain=self.drain_ms)
        self.source.write_text(text + more)

    def start(
        self,
        wait: bool = True,
        before: Sequence[str] = (),
        fd: int | None = None,
        **environment: str,
    ) -> "Service":
        """`before`: what the interpreter runs first, given `fd`, as systemd would pass it on."""
        if fd is not None:
            environment["LISTEN_FDS"] = "1"
        command = [str(HERE / "service.py"), str(self.source), str(self.workers)]
        self.os_process = subprocess.Popen(
            [sys.executable, *before, *command],
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}", **environment},
            pass_fds=() if fd is None else (fd,),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.os_process.stderr is not None
        self.reading = threading.Thread(target=self.log.extend, args=(self.os_process.stderr,))
        self.reading.start()
        if wait:
            assert self.os_process.stdout is not None
            line = self.os_process.stdout.readline().decode().strip()
            assert line.startswith("ready main=127.0.0.1:"), (line, self.log)
            self.port = int(line.rpartition(":")[2])
        return self

    def connect(self) -> Client:
        return Client(self.port)

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=5) as got:
                return got.status, got.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def metric(self, name: str) -> float:
        for line in self.get("/metrics")[1].decode().splitlines():
            if line.startswith(name + " "):
                return float(line.split()[1])
        raise AssertionError(f"no {name}")

    def logged(self, event: str) -> list[dict[str, object]]:
        return [found for found in map(json.loads, self.log) if found["event"] == event]

    def worker_pids(self) -> dict[str, int]:
        """Of every worker, by index, asked until each has answered."""
        found: dict[str, int] = {}
        end = time.monotonic() + 8
        while len(found) < self.workers:
            assert time.monotonic() < end
            with self.connect() as client:
                index, pid = client.ask("worker").split()
            found[index] = int(pid)
        return found

    def signal(self, number: signal.Signals) -> None:
        self.os_process.send_signal(number)

    def ended(self, seconds: float = 10) -> int:
        status = self.os_process.wait(seconds)
        self.reading.join()
        assert self.os_process.stdout is not None
        assert self.os_process.stderr is not None
        self.os_process.stdout.close()
        self.os_process.stderr.close()
        return status

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_: object) -> None:
        if self.os_process.poll() is None:
            self.os_process.kill()
            self.ended()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Service(tmp_path).start() as started:
        yield started


def test_connections_reach_every_worker_and_term_ends_it_well(service: Service) -> None:
    pids = service.worker_pids()
    assert set(pids) == {"0", "1"}
    service.signal(signal.SIGTERM)
    assert service.ended() == 0
    assert not any(psutil.pid_exists(pid) for pid in pids.values())
    assert not list((service.folder / "d" / "run").glob("*"))


def test_a_worker_that_dies_comes_back_and_its_counts_stay(service: Service) -> None:
    before = service.worker_pids()
    with service.connect() as client:
        assert client.ask("count 5") == "ok"
        until(lambda: service.metric("sallyport_rows_total") == 5)
        assert client.ask("crash") == ""
    until(lambda: service.metric("sallyport_worker_restarts_total") == 1)
    until(lambda: service.get("/readyz")[0] == 200)
    after = service.worker_pids()
    assert len(set(before.values()) - set(after.values())) == 1
    assert service.metric("sallyport_rows_total") == 5
    assert service.metric("sallyport_workers_ready") == 2


def test_kill_9_is_survived_too(service: Service) -> None:
    victim = service.worker_pids()["1"]
    os.kill(victim, signal.SIGKILL)
    until(lambda: service.worker_pids()["1"] != victim)


def test_a_hung_worker_is_killed_and_replaced(service: Service) -> None:
    with service.connect() as client:
        pid = int(client.ask("worker").split()[1])
        client.socket.sendall(b"hang\n")
        until(lambda: not psutil.pid_exists(pid))
    until(lambda: len(service.worker_pids()) == 2 and service.get("/readyz")[0] == 200)
    assert service.logged("worker_silent")


def test_drain_lets_sessions_finish_and_refuses_new_ones(service: Service) -> None:
    with service.connect() as client:
        client.ask("worker")
        service.signal(signal.SIGTERM)
        until(lambda: _refuses(service.port))
        assert client.ask("worker")  # still served
        assert service.get("/readyz")[0] == 503
        assert service.get("/healthz")[0] == 200
    assert service.ended() == 0


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return True
    return False


def test_drain_has_an_end(tmp_path: Path) -> None:
    with Service(tmp_path, drain_ms=400).start() as service, service.connect() as client:
        client.ask("worker")
        begun = time.monotonic()
        service.signal(signal.SIGTERM)
        assert service.ended() == 0
        assert 0.3 < time.monotonic() - begun < 3


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_is_fast(tmp_path: Path, second: signal.Signals) -> None:
    with Service(tmp_path, drain_ms=60_000).start() as service, service.connect() as client:
        client.ask("worker")
        service.signal(signal.SIGTERM)
        time.sleep(0.3)
        assert service.os_process.poll() is None
        service.signal(second)
        assert service.ended(4) == 0


def test_reload_reaches_every_worker(service: Service) -> None:
    service.write("# changed\n")
    service.signal(signal.SIGHUP)
    until(lambda: service.metric("sallyport_configuration_generation") == 2)
    until(lambda: service.get("/readyz")[0] == 200)
    for _ in range(10):
        with service.connect() as client:
            assert client.ask("generation") == "2"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("nonsense: 1\n", "nonsense"),
        ("workers: 7\n", "restart is needed to change: workers"),
        ("# no worker takes this\n", "no"),
    ],
)
def test_a_reload_that_cannot_be_is_refused_and_the_old_kept(
    service: Service, change: str, why: str
) -> None:
    service.write(change)
    service.signal(signal.SIGHUP)
    until(lambda: b'reloads_total{outcome="failed"} 1.0' in service.get("/metrics")[1])
    until(lambda: service.get("/readyz")[0] == 200)
    (refused,) = service.logged("reload_refused")
    assert why in str(refused["reason"])
    pids = service.worker_pids()
    os.kill(pids["0"], signal.SIGKILL)  # a new worker, too, gets what was valid, not what is there
    until(lambda: service.worker_pids()["0"] != pids["0"])
    for _ in range(10):
        with service.connect() as client:
            assert change.strip() not in client.ask("documents")


def test_a_worker_that_refuses_to_start_ends_the_first_start(tmp_path: Path) -> None:
    with Service(tmp_path).start(wait=False, FAKE_WORKER="refuse") as service:
        assert service.ended() == 1
        (found,) = service.logged("not_started")
        assert "no key file" in str(found["reason"])


def test_a_worker_that_crashes_at_the_start_is_tried_a_few_times(tmp_path: Path) -> None:
    with Service(tmp_path, workers=1).start(wait=False, FAKE_WORKER="crash") as service:
        assert service.ended() == 1
        assert service.logged("not_started")


def test_a_taken_port_is_an_error_never_shared(service: Service, tmp_path: Path) -> None:
    text = service.source.read_text().replace("127.0.0.1:0", f"127.0.0.1:{service.port}")
    (tmp_path / "other").mkdir()
    with Service(tmp_path / "other") as other:
        other.source.write_text(
            text.replace(str(tmp_path / "d"), str(tmp_path / "other" / "d")).replace(
                f":{service.admin}", f":{other.admin}"
            )
        )
        other.start(wait=False)
        assert other.ended() == 1
        assert "cannot listen" in str(other.logged("not_started")[0]["reason"])


def test_one_service_per_data_folder(service: Service, tmp_path: Path) -> None:
    with Service(tmp_path) as other:
        other.start(wait=False)
        assert other.ended() == 1
        assert "another Sallyport" in str(other.logged("not_started")[0]["reason"])


def test_workers_end_with_a_killed_supervisors_link(service: Service) -> None:
    """The link closes; the real worker also asks for PR_SET_PDEATHSIG."""
    pids = service.worker_pids()
    service.signal(signal.SIGKILL)
    assert service.ended() == -signal.SIGKILL
    until(lambda: not any(psutil.pid_exists(pid) for pid in pids.values()))


def test_a_terminals_interrupt_reaches_the_supervisor_alone(service: Service) -> None:
    groups = {os.getpgid(pid) for pid in service.worker_pids().values()}
    assert os.getpgid(service.os_process.pid) not in groups


def test_the_run_folder_is_private_and_shared(service: Service) -> None:
    with service.connect() as client:
        folder = Path(client.ask("rundir"))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_readiness_tells_what_is_missing(service: Service) -> None:
    with service.connect() as client:
        folder = Path(client.ask("rundir"))
    (folder / "unwritable").touch()
    until(lambda: service.get("/readyz")[0] == 503)
    checks = json.loads(service.get("/readyz")[1])["checks"]
    assert checks == {
        "policy": True, "workers": True, "audit": False, "targets": True, "serving": True,
    }  # fmt: skip
    (folder / "unwritable").unlink()
    until(lambda: service.get("/readyz")[0] == 200)


def test_the_service_manager_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.settimeout(5)
        told: list[str] = []

        def heard(text: str) -> bool:
            while text not in "\n".join(told):
                told.append(manager.recv(4096).decode())
            return True

        with Service(tmp_path).start(
            NOTIFY_SOCKET=str(tmp_path / "n"), WATCHDOG_USEC="400000"
        ) as service:
            assert heard("READY=1")
            assert heard("STATUS=2 of 2 workers ready")
            told.clear()
            assert heard("WATCHDOG=1")
            with service.connect() as client:
                assert client.ask("environment NOTIFY_SOCKET") == "-"
                assert client.ask("environment WATCHDOG_USEC") == "-"
            told.clear()
            service.signal(signal.SIGHUP)
            assert heard("RELOADING=1\nMONOTONIC_USEC=")
            assert heard("READY=1")
            told.clear()
            service.signal(signal.SIGTERM)
            assert heard("STOPPING=1\nEXTEND_TIMEOUT_USEC=")
            assert service.ended() == 0


ACTIVATE = """
import os, sys
fd = int(sys.argv[1])
os.dup2(fd, 3)
os.set_inheritable(3, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def test_sockets_are_inherited_as_from_systemd(tmp_path: Path) -> None:
    with socket.socket() as passed, Service(tmp_path) as service:
        passed.bind(("127.0.0.1", 0))
        passed.listen()
        service.start(before=["-c", ACTIVATE, str(passed.fileno())], fd=passed.fileno())
        assert service.port == passed.getsockname()[1]
        with service.connect() as client:
            assert client.ask("worker")
            assert client.ask("environment LISTEN_FDS") == "-"
        service.signal(signal.SIGTERM)
        assert service.ended() == 0
