"""The backend that multiplies one row: by COPY, too."""

import socket
import threading

import pytest

from bench import canned
from bench.canned import Canned, counted
from bench.cases.all import POSTGRESQL
from tests.wireclient import Message, message


@pytest.mark.parametrize("tag", ["SELECT", "COPY"])
def test_the_tag_says_a_million(tag: str) -> None:
    ending = message("c") + message("C", f"{tag} 1\0".encode()) + message("Z", b"I")
    many = message("c") + message("C", f"{tag} 1000000\0".encode()) + message("Z", b"I")
    assert counted(ending) == many


def test_a_line_of_a_copy_is_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked:
        """The real server: three rows for each way of asking."""

        def __init__(self) -> None:
            self.socket = socket.socket()

        @classmethod
        def login(cls, uri: str) -> "Asked":
            return cls()

        def ask(self, *pieces: bytes) -> list[Message]:
            kind = "d" if b"COPY" in pieces[0] else "D"
            return [Message(kind, b"row %d" % number) for number in range(3)]

    monkeypatch.setattr(canned, "WireClient", Asked)
    monkeypatch.setattr(canned, "BULK_ROWS", canned.RUN_ROWS)
    backend = Canned("postgresql://localhost/x")
    first = message("d", b"row 0")
    ending = message("c") + message("C", b"COPY 1\0")
    armed = threading.Event()
    armed.set()
    here, there = socket.socketpair()
    with here, there:
        rest = backend._multiplied(here, message("H", b"\0\0\6") + first + ending, armed)
        here.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: there.recv(1 << 16), b""))
    rows = b"".join(message("d", b"row %d" % number) for number in range(3))
    blocks = canned.RUN_ROWS // canned.BLOCK_ROWS
    assert received == message("H", b"\0\0\6") + rows * blocks
    assert rest == message("c") + message("C", b"COPY %d\0" % canned.RUN_ROWS)
    assert not armed.is_set()


def test_there_are_cases_of_it() -> None:
    assert {"canned-copy-masked", "canned-copy-plain"} <= {case.name for case in POSTGRESQL}
