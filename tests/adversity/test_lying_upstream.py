"""A database that breaks the protocol: its bytes are never taken for truth, the client is told.

The database is a fake that speaks from a script (`stage.FakeUpstream`).
"""

import base64
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from appliance.policy.presets import PERMISSIVE
from tests import clusters
from tests.adversity.stage import DATABASE, GREETING, PASSWORD, ROLE, FakeUpstream
from tests.clusters import Sallyport
from tests.wireclient import (
    SYNC,
    Closed,
    Message,
    WireClient,
    bind,
    execute,
    kinds,
    message,
    parse,
    query,
    string,
    wait_for,
)

READY = message("Z", b"I")
INT4 = struct.pack("!IhIhih", 0, 0, 23, 4, -1, 0)
DESCRIPTION = message("T", b"\0\1" + string("a") + INT4)
ROW = message("D", b"\0\1\0\0\0\1" + b"1")
DONE = message("C", b"SELECT 1\0")

Lying = Callable[[FakeUpstream], AbstractContextManager[Sallyport]]


@pytest.fixture
def in_front(tmp_path: Path) -> Lying:
    """A permissive proxy in front of a fake database."""

    @contextmanager
    def run(fake: FakeUpstream, sslmode: str = "disable") -> Iterator[Sallyport]:
        policy = tmp_path / "policy.yaml"
        policy.write_bytes(PERMISSIVE)
        uri = f"{fake.uri}?sslmode={sslmode}"
        with clusters.sallyport_try(uri, tmp_path, "--policy", policy) as running:
            yield running

    return run


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FakeUpstream, str]]:
    """One fake and one proxy for many scripts: set `answer` and `greeting` before logging in."""
    folder = tmp_path_factory.mktemp("lying")
    with (
        FakeUpstream() as fake,
        clusters.sallyport_try(f"{fake.uri}?sslmode=disable", folder) as running,
    ):
        yield fake, running.uri(ROLE, PASSWORD, DATABASE)


def ended(client: WireClient) -> list[Message]:
    seen = client.rest()
    assert seen and seen[-1].kind == "E", [str(one) for one in seen]
    assert seen[-1].fields["S"] == "FATAL"
    return seen


class TestAnswers:
    @pytest.mark.parametrize(
        ("answer", "sqlstate"),
        [
            (message("W", b"\0\0\0"), "08P01"),  # CopyBothResponse
            (message("D", b"\0\1\0\0\0\1x"), ""),
            (message("V", b"\0\0\0\0"), "08P01"),  # FunctionCallResponse
            (message("1"), "08P01"),
            (message("2"), "08P01"),
            (message("3"), "08P01"),
            (message("s"), "08P01"),
            (message("n"), "08P01"),
            (message("t", b"\0\0"), "08P01"),
            (message("v", struct.pack("!II", 3, 0)), "08P01"),
            (message("R", struct.pack("!I", 0)), "08P01"),
            (message("K", b"\0" * 8), "08P01"),
            (message("Z", b"X"), "08P01"),
            (message("Z", b""), "08P01"),
            (message("Z", b"II"), "08P01"),
            (message("C", b"SELECT 1"), "08P01"),
            (message("E", b"Mno end\0"), "08P01"),
            (message("E", b"\0\0"), "08P01"),
            (message("S", b"TimeZone\0"), "08P01"),
            (message("A", b"\0"), ""),
            (b"T\0\0\0\3", "08P01"),
            (b"T\x7f\xff\xff\xff" + b"x" * 50, "08P01"),
            (b"D\x7f\xff\xff\xff" + b"x" * 50, "08P01"),
            (b"D\xff\xff\xff\xff" + b"x" * 50, "08P01"),
            (b"T\0\x20\0\0" + b"x" * 50, "08P01"),
            (b"\0\0\0\0\4", "08P01"),
            (READY + READY, "08P01"),
            (DONE + READY + DONE, "08P01"),
            (READY + DESCRIPTION + ROW, "08P01"),
            (DESCRIPTION + DONE + READY + ROW, "08P01"),
        ],
        ids=repr,
    )
    def test_to_a_query(
        self, scripted: tuple[FakeUpstream, str], answer: bytes, sqlstate: str
    ) -> None:
        fake, uri = scripted
        fake.greeting, fake.answer = GREETING, answer
        with WireClient.login(uri) as client:
            client.send(query("SELECT 1"))
            if sqlstate:
                assert ended(client)[-1].fields["C"] == sqlstate
            else:
                client.send(query("SELECT 1"))

    @pytest.mark.parametrize(
        "answer",
        [
            DESCRIPTION + READY,
            message("1") + DESCRIPTION + message("2"),
            message("2"),
            message("1") + message("1"),
            message("1") + DONE,
            message("1") + message("2") + READY,
            message("1") + message("2") + DONE + DONE,
        ],
    )
    def test_to_a_pipeline(self, scripted: tuple[FakeUpstream, str], answer: bytes) -> None:
        fake, uri = scripted
        fake.greeting, fake.answer = GREETING, answer
        with WireClient.login(uri) as client:
            client.send(parse("", "SELECT 1"), bind(), execute(), SYNC)
            ended(client)

    def test_an_error_without_sqlstate(self, scripted: tuple[FakeUpstream, str]) -> None:
        fake, uri = scripted
        fake.greeting, fake.answer = GREETING, message("E", b"Mwhat\0\0") + READY
        with WireClient.login(uri) as client:
            assert kinds_of(client.query("SELECT 1")) == "EZ"
            fake.answer = message("E", b"\0") + READY
            assert kinds_of(client.query("SELECT 1")) == "EZ"

    def test_a_refused_statement_that_is_accepted(self, scripted: tuple[FakeUpstream, str]) -> None:
        """The stand-in for a refused statement must fail; a database that runs it is cut off."""
        fake, uri = scripted
        fake.greeting, fake.answer = GREETING, DESCRIPTION + ROW + DONE + READY
        with WireClient.login(uri) as client:
            client.send(message("F", b"\0\0\0\0\0\0\0\0\0\0"))
            assert "D" not in kinds(ended(client))

    def test_its_end_in_mid_row(self, scripted: tuple[FakeUpstream, str]) -> None:
        fake, uri = scripted
        fake.greeting, fake.answer = GREETING, DESCRIPTION + ROW[:7]
        with WireClient.login(uri) as client:
            client.send(query("SELECT 1"))
            assert kinds(client.until("T")) == "T"
            fake.hang_up()
            client.rest()


def kinds_of(messages: list[Message]) -> str:
    return "".join(one.kind for one in messages)


class TestGreetings:
    @pytest.mark.parametrize(
        "greeting",
        [
            message("R", struct.pack("!I", 99)),
            message("R", struct.pack("!I", 7)),  # GSSAPI
            message("R", struct.pack("!I", 3)),  # cleartext password without TLS
            message("R", struct.pack("!I", 5)),  # MD5 without salt
            message("R", struct.pack("!I", 11) + b"r=x,s=eA==,i=4096"),
            message("R", struct.pack("!I", 12) + b"v=eA=="),
            message("R", struct.pack("!I", 10) + b"PLAIN\0\0"),
            message("R", b"\0"),
            message("Q", b"SELECT 1\0"),
            message("Z", b"I"),
            b"R\x7f\xff\xff\xff",
            b"R\0\0\0\0",
            message("R", struct.pack("!I", 0)) + message("K", b"\0" * 4),
            message("R", struct.pack("!I", 0)) + message("T", b"\0\0"),
            message("R", struct.pack("!I", 0)) + message("S", b"no end"),
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
        ],
        ids=repr,
    )
    def test_end_the_login(self, scripted: tuple[FakeUpstream, str], greeting: bytes) -> None:
        fake, uri = scripted
        fake.greeting, fake.answer = greeting, b""
        with pytest.raises(Closed) as closed:
            WireClient.login(uri)
        last = closed.value.rest[-1]
        assert last.kind == "E" and last.fields["S"] == "FATAL"
        assert PASSWORD.encode() not in bytes(fake.heard)

    def test_notices_without_end(self, scripted: tuple[FakeUpstream, str]) -> None:
        """They are kept for the client until the session is open: only so many."""
        fake, uri = scripted
        notice = message("N", b"SNOTICE\0C00000\0M" + b"x" * 60_000 + b"\0\0")
        fake.greeting = message("R", struct.pack("!I", 0)) + notice * 200 + GREETING[9:]
        with pytest.raises(Closed):
            WireClient.login(uri)

    def test_parameters_without_end(self, scripted: tuple[FakeUpstream, str]) -> None:
        fake, uri = scripted
        settings = b"".join(
            message("S", f"p{n}\0".encode() + b"x" * 50_000 + b"\0") for n in range(200)
        )
        fake.greeting = message("R", struct.pack("!I", 0)) + settings + GREETING[9:]
        with pytest.raises(Closed):
            WireClient.login(uri)


class TestScram:
    """The database must prove that it knows the password, before it is believed."""

    @pytest.mark.parametrize("lie", ["ok at once", "no proof", "wrong proof", "error", "nonce"])
    def test_without_its_proof(self, tmp_path: Path, lie: str) -> None:
        with (
            ScramFake(lie) as fake,
            clusters.sallyport_try(f"{fake.uri}?sslmode=disable", tmp_path) as running,
        ):
            with pytest.raises(Closed) as closed:
                WireClient.login(running.uri(ROLE, PASSWORD, DATABASE))
            assert closed.value.rest[-1].fields["S"] == "FATAL"
            assert PASSWORD.encode() not in bytes(fake.heard)


class ScramFake(FakeUpstream):
    """Begins SCRAM and does not finish it as it should."""

    def __init__(self, lie: str) -> None:
        super().__init__()
        self.lie = lie

    def _serve(self, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(message("R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"))
        self.heard += (first := connection.recv(65536))
        ok = message("R", struct.pack("!I", 0)) + GREETING[9:]
        if self.lie == "ok at once":
            connection.sendall(ok)
        else:
            nonce = first.partition(b"r=")[2] + b"more"
            if self.lie == "nonce":
                nonce = b"another"
            salt = base64.b64encode(b"salty")
            challenge = b"r=" + nonce + b",s=" + salt + b",i=4096"
            connection.sendall(message("R", struct.pack("!I", 11) + challenge))
            self.heard += connection.recv(65536)
            if self.lie == "no proof":
                connection.sendall(ok)
            elif self.lie == "wrong proof":
                wrong = b"v=" + base64.b64encode(b"\0" * 32)
                connection.sendall(message("R", struct.pack("!I", 12) + wrong) + ok)
            elif self.lie == "error":
                connection.sendall(message("R", struct.pack("!I", 12) + b"e=other-error") + ok)
        while chunk := connection.recv(65536):
            self.heard += chunk


class TestTls:
    @pytest.mark.parametrize("answer", [b"S" + GREETING, b"SS", b"E", b"X", b"N"])
    def test_bytes_behind_its_answer(
        self, in_front: Callable[..., AbstractContextManager[Sallyport]], answer: bytes
    ) -> None:
        """Plaintext behind 'S' is never taken for what TLS protects (CVE-2021-23222)."""
        with FakeUpstream(tls_answer=answer) as fake, in_front(fake, "require") as running:
            with pytest.raises(Closed) as closed:
                WireClient.login(running.uri(ROLE, PASSWORD, DATABASE))
            assert closed.value.rest[-1].fields["C"] == "08001"
            assert ROLE.encode() not in bytes(fake.heard)


def test_the_worker_lives(scripted: tuple[FakeUpstream, str]) -> None:
    """After all that."""
    fake, uri = scripted
    fake.greeting, fake.answer = GREETING, DESCRIPTION + ROW + DONE + READY

    def works() -> bool:
        with WireClient.login(uri) as client:
            return kinds(client.query("SELECT 1")) == "TDCZ"

    assert wait_for(works, 5)
