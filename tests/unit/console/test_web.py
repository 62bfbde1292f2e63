"""The bounds of HTTP itself, on a real port."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.console import dispatch, web
from tests.unit.console.served import Served, served


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(web, "HEAD_SECONDS", 0.5)
    with served(tmp_path) as made:
        yield made


def connected(server: Served) -> socket.socket:
    port = int(server.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), 10)


def until_closed(connection: socket.socket) -> bytes:
    found = b""
    try:
        while piece := connection.recv(65_536):
            found += piece
    except ConnectionResetError:
        pass
    return found


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-"])
def test_whoever_does_not_finish_a_request_is_cut_off(server: Served, said: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(said)
        assert until_closed(connection) == b""  # or the connection's own deadline raises


def test_whoever_drips_is_cut_off_too(server: Served) -> None:
    begun = time.monotonic()
    with connected(server) as connection:
        try:
            while time.monotonic() < begun + 10:
                connection.sendall(b"G")
                time.sleep(0.05)
        except (BrokenPipeError, ConnectionResetError):
            return
    pytest.fail("it may drip for ever")


def test_a_body_that_does_not_come_keeps_no_place(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answered, and closed: not left open as if another request might follow."""
    monkeypatch.setattr(dispatch, "BODY_SECONDS", 0.1)
    head = b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    with connected(server) as connection:
        connection.sendall(head)
        assert until_closed(connection).startswith(b"HTTP/1.1 503")


def test_heads_are_bounded(server: Served) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 70_000)
        assert until_closed(connection).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "head",
    [
        b"GET /sign-in HTTP/1.1\r\n\r\n",
        b"GET /sign-in HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /sign-in HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_is_ambiguous_is_refused(server: Served, head: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        assert until_closed(connection).startswith(b"HTTP/1.1 400")


def test_a_second_request_may_follow_the_first(server: Served) -> None:
    """The deadline of a head is not one of the connection."""
    with connected(server) as connection:
        for _ in range(2):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while b"ok\n" not in answer:
                answer += connection.recv(65_536)
            time.sleep(0.6)


def test_one_address_does_not_take_every_place(tmp_path: Path) -> None:
    """Beyond its share it is cut off at once, and comes in again when it has let go of some."""
    with served(tmp_path, connections_per_address=4) as server:
        held = [connected(server) for _ in range(4)]
        try:
            with connected(server) as refused:
                assert until_closed(refused) == b""
            held.pop().close()
            request = b"GET /api/v1/sign-in HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with connected(server) as admitted:
                    try:
                        admitted.sendall(request)
                    except OSError:
                        continue
                    if until_closed(admitted).startswith(b"HTTP/1.1 200"):
                        return
            pytest.fail("its place was not given back")
        finally:
            for one in held:
                one.close()
