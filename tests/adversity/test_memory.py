"""Memory is bounded whatever a client asks for and however slowly it reads.

Measured on the worker process (VmHWM, the peak, set back before each step) against its idle size.
"""

import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.adversity import stage
from tests.adversity.stage import Cluster, Proxy
from tests.wireclient import (
    COPY_DONE,
    SYNC,
    Closed,
    WireClient,
    bind,
    copy_data,
    error,
    execute,
    kinds,
    parse,
    query,
    rows,
)

MB = 1_000_000
ALLOWED_MB = 64
"""Beyond idle: what the issue grants, buffers of one session (under 2 MB) included."""


class Worker:
    """One process's memory."""

    def __init__(self, pid: int) -> None:
        self.folder = Path(f"/proc/{pid}")
        self.idle = self._read("VmRSS")
        self.reset()

    def reset(self) -> None:
        (self.folder / "clear_refs").write_text("5")  # proc(5): sets VmHWM back to VmRSS

    def _read(self, name: str) -> int:
        for line in (self.folder / "status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {name}")

    def within(self) -> None:
        """The peak since the last call stayed in bounds."""
        grown = (self._read("VmHWM") - self.idle) / MB
        self.reset()
        assert grown < ALLOWED_MB, f"grew by {grown:.0f} MB"


@pytest.fixture(scope="module", params=["guarded", "masked"])
def proxy(
    request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    policy = stage.GUARDED if request.param == "guarded" else stage.MASKED
    with stage.proxy(cluster, tmp_path_factory.mktemp("memory"), policy) as running:
        yield running


@pytest.fixture
def worker(proxy: Proxy) -> Worker:
    with proxy.login() as client:
        client.query("SELECT 1")
    (pid,) = proxy.workers()
    return Worker(pid)


def drain(client: WireClient) -> int:
    """Reads up to ReadyForQuery without keeping anything; -> bytes."""
    total, tail = 0, b""
    while not tail.endswith(b"Z\0\0\0\5I"):
        chunk = client.socket.recv(1 << 20)
        assert chunk, "the connection ended"
        total += len(chunk)
        tail = (tail + chunk)[-6:]
    return total


TEXTS = {
    "guarded": "SELECT repeat('x', 1000000) FROM generate_series(1, 1000)",
    "masked": "SELECT ssn, email, repeat('x', 200) FROM customers, generate_series(1, 1300000)",
}
"""A gigabyte: in large rows that pass as they are, in small ones that are masked."""


@pytest.mark.slow
def test_a_client_that_stops_reading(
    proxy: Proxy, worker: Worker, request: pytest.FixtureRequest
) -> None:
    text = TEXTS[request.node.callspec.params["proxy"]]
    with proxy.login() as client:
        client.send(query(text))
        client.until("T")
        time.sleep(10)
        worker.within()
        assert drain(client) > 900 * MB
        worker.within()
        with proxy.login() as other:
            assert rows(other.query("SELECT 1")) == [[b"1"]]


class TestOneLargeValue:
    SIZE = 100 * MB

    def test_in_a_result(self, proxy: Proxy, worker: Worker) -> None:
        with proxy.login() as client:
            client.send(query(f"SELECT repeat('x', {self.SIZE})"))
            assert drain(client) > self.SIZE
            worker.within()

    def test_in_an_extended_result(self, proxy: Proxy, worker: Worker) -> None:
        with proxy.login() as client:
            client.send(parse("", f"SELECT repeat('x', {self.SIZE})"), bind(), execute(), SYNC)
            assert drain(client) > self.SIZE
            worker.within()

    def test_as_a_parameter(self, proxy: Proxy, worker: Worker) -> None:
        with proxy.login() as client:
            client.send(parse("", "SELECT length($1)", (25,)))
            client.send(bind("", "", (b"x" * self.SIZE,)), execute(), SYNC)
            got = client.until("Z")
            assert rows(got) == [[str(self.SIZE).encode()]]
            worker.within()

    def test_as_a_parameter_of_what_is_refused(self, proxy: Proxy, worker: Worker) -> None:
        with proxy.login() as client:
            client.send(bind("", "nobody", (b"x" * self.SIZE,)), execute(), SYNC)
            assert error(client.until("Z"))["C"] == "26000"
            worker.within()
            client.send(parse("", "DROP TABLE doomed"))
            client.send(bind("", "", (b"x" * self.SIZE,)), execute(), SYNC)
            assert error(client.until("Z"))["C"] == "42501"
            worker.within()
            assert rows(client.query("SELECT 1")) == [[b"1"]]

    def test_in_copy_out(self, proxy: Proxy, worker: Worker) -> None:
        with proxy.login() as client:
            client.send(query(f"COPY (SELECT repeat('x', {self.SIZE})) TO STDOUT"))
            assert drain(client) > self.SIZE
            worker.within()

    @pytest.mark.parametrize("frames", [1, 2_000])
    def test_in_copy_in(self, proxy: Proxy, worker: Worker, frames: int) -> None:
        with proxy.login() as client:
            client.query("BEGIN")
            client.send(query("COPY notes FROM STDIN"))
            client.until("G")
            client.send(copy_data(b"9001\t"))
            piece = copy_data(b"x" * (self.SIZE // frames))
            for _ in range(frames):
                client.send(piece)
            client.send(copy_data(b"\n"), COPY_DONE)
            got = client.until("Z")
            assert kinds(got) == "CZ" and got[0].tag == "COPY 1"
            worker.within()
            client.query("ROLLBACK")

    def test_in_a_text(self, proxy: Proxy, worker: Worker) -> None:
        with proxy.login() as client:
            client.send(query(b"SELECT '" + b"x" * self.SIZE + b"'"))
            assert error(client.until("Z"))["C"] == "54000"
            worker.within()
            assert rows(client.query("SELECT 1")) == [[b"1"]]

    def test_in_an_error(self, proxy: Proxy, worker: Worker) -> None:
        """An error text that quotes it is bounded by the server or by us; never kept unbounded."""
        with proxy.login() as client:
            client.send(parse("", "SELECT $1::int", (25,)))
            client.send(bind("", "", (b"x" * (8 * MB),)), execute(), SYNC)
            assert error(client.until("Z"))["C"] == "22P02"
            worker.within()

    def test_claimed_but_not_sent(self, proxy: Proxy, worker: Worker) -> None:
        """A length is believed only as far as its bytes have come."""
        clients = [proxy.login() for _ in range(20)]
        for client in clients:
            client.send(b"B" + struct.pack("!I", 0x3FFFFFFF) + b"\0\0")
            client.send(b"")
        time.sleep(0.3)
        worker.within()
        for client in clients:
            client.close()


def test_a_masked_row_beyond_the_limit_ends_the_session(masked: Proxy) -> None:
    """Rows with masks are gathered, up to `masked_row_bytes_max`."""
    with masked.login() as client:
        client.query("SELECT 1")
        worker = Worker(masked.workers()[0])
        client.send(query("SELECT ssn, repeat('x', 100000000) FROM customers WHERE id = 1"))
        with pytest.raises(Closed) as closed:
            client.until("Z")
        assert closed.value.rest[-1].fields["C"] == "54000"
        worker.within()


@pytest.mark.slow
def test_many_small_messages_at_once(guarded: Proxy) -> None:
    """A client that pipelines without reading is not read without end."""
    with guarded.login() as client:
        client.query("SELECT 1")
        worker = Worker(guarded.workers()[0])
        client.socket.settimeout(0.5)
        sent = 0
        one = query("SELECT repeat('y', 2000)") * 500
        try:
            while sent < 50 * MB:
                sent += client.socket.send(one)
        except TimeoutError:
            pass
        assert sent < 50 * MB
        worker.within()
