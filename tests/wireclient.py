"""A raw PostgreSQL client: sends exactly the bytes it is told to and shows exactly what came back.

For tests of what no driver can be talked into: pipelines in odd orders, broken lengths, statements
that are executed again without a new Describe. It shares no code with the proxy's codecs except
SCRAM's client half.
"""

import secrets
import socket
import ssl
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

from appliance.identity.scram import SCRAM_SHA_256, ScramClient, salted_password

VERSION_30 = 3 << 16
VERSION_32 = 3 << 16 | 2


class Closed(ConnectionError):
    """The other side ended the connection; `rest` is what came before that."""

    def __init__(self, rest: "list[Message]") -> None:
        super().__init__(f"closed after {[str(message) for message in rest]}")
        self.rest = rest


@dataclass(frozen=True)
class Message:
    """One message from the server: its type letter and its body."""

    kind: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.kind}:{self.fields['C']}" if self.kind in "EN" else self.kind

    @property
    def fields(self) -> dict[str, str]:
        """Of an ErrorResponse or NoticeResponse."""
        parts = self.body.split(b"\0")
        return {part[:1].decode(): part[1:].decode() for part in parts if part}

    @property
    def row(self) -> list[bytes | None]:
        """Values of a DataRow."""
        values: list[bytes | None] = []
        at = 2
        for _ in range(int.from_bytes(self.body[:2], "big")):
            (length,) = struct.unpack_from("!i", self.body, at)
            at += 4
            values.append(None if length < 0 else self.body[at : at + length])
            at += max(length, 0)
        assert at == len(self.body)
        return values

    @property
    def tag(self) -> str:
        return self.body.rstrip(b"\0").decode()


def message(kind: str, body: bytes = b"") -> bytes:
    return kind.encode() + struct.pack("!I", len(body) + 4) + body


def string(text: str | bytes) -> bytes:
    return (text.encode() if isinstance(text, str) else text) + b"\0"


def query(text: str | bytes) -> bytes:
    return message("Q", string(text))


def parse(name: str, text: str | bytes, types: tuple[int, ...] = ()) -> bytes:
    body = string(name) + string(text) + struct.pack(f"!H{len(types)}I", len(types), *types)
    return message("P", body)


def bind(
    portal: str = "",
    statement: str = "",
    values: tuple[bytes | None, ...] = (),
    results: tuple[int, ...] = (),
) -> bytes:
    body = string(portal) + string(statement) + b"\0\0" + struct.pack("!H", len(values))
    for value in values:
        body += b"\xff\xff\xff\xff" if value is None else struct.pack("!I", len(value)) + value
    return message("B", body + struct.pack(f"!H{len(results)}H", len(results), *results))


def describe(what: str, name: str = "") -> bytes:
    return message("D", what.encode() + string(name))


def execute(portal: str = "", rows: int = 0) -> bytes:
    return message("E", string(portal) + struct.pack("!i", rows))


def close(what: str, name: str = "") -> bytes:
    return message("C", what.encode() + string(name))


def copy_data(content: bytes) -> bytes:
    return message("d", content)


SYNC = message("S")
FLUSH = message("H")
COPY_DONE = message("c")
TERMINATE = message("X")


def startup(parameters: Mapping[str, str], version: int = VERSION_30) -> bytes:
    body = struct.pack("!I", version)
    body += b"".join(string(name) + string(value) for name, value in parameters.items()) + b"\0"
    return struct.pack("!I", len(body) + 4) + body


class WireClient:
    """A connection. Everything that waits has a deadline and raises TimeoutError."""

    def __init__(self, host: str, port: int, seconds: float = 20.0) -> None:
        self.socket: socket.socket = socket.create_connection((host, port), timeout=seconds)
        self.seconds = seconds
        self.parameters: dict[str, str] = {}
        self.pid = 0
        self.key = b""
        self._received = bytearray()

    @classmethod
    def login(
        cls, uri: str, version: int = VERSION_30, seconds: float = 20.0, **settings: str
    ) -> Self:
        """Connected and authenticated (SCRAM, no TLS), with the first ReadyForQuery read."""
        parts = urlsplit(uri)
        client = cls(parts.hostname or "", parts.port or 5432, seconds)
        try:
            user = unquote(parts.username or "")
            database = parts.path.lstrip("/")
            client.send(startup({"user": user, "database": database, **settings}, version))
            client.authenticate(unquote(parts.password or ""))
        except BaseException:
            client.socket.close()
            raise
        return client

    def authenticate(self, password: str) -> list[Message]:
        """Answers SCRAM; all messages up to ReadyForQuery. Raises Closed after an error."""
        scram = ScramClient(secrets.token_bytes(18), mechanism=SCRAM_SHA_256)
        seen = []
        while True:
            got = self.read()
            seen.append(got)
            if got.kind == "R":
                code, rest = int.from_bytes(got.body[:4], "big"), got.body[4:]
                if code == 10:
                    first = scram.first()
                    mechanism = string(SCRAM_SHA_256) + struct.pack("!I", len(first))
                    self.send(message("p", mechanism + first))
                elif code == 11:
                    salt, iterations = scram.challenge(rest)
                    salted = salted_password(password.encode(), salt, iterations)
                    self.send(message("p", scram.final(salted)))
                elif code == 12:
                    scram.verify(rest)
            elif got.kind == "S":
                name, value, _ = got.body.split(b"\0")
                self.parameters[name.decode()] = value.decode()
            elif got.kind == "K":
                self.pid, self.key = int.from_bytes(got.body[:4], "big"), got.body[4:]
            elif got.kind == "Z":
                return seen
            elif got.kind == "E":
                raise Closed(seen)

    def start_tls(self, context: ssl.SSLContext, name: str = "localhost") -> None:
        self.socket = context.wrap_socket(self.socket, server_hostname=name)

    def send(self, *pieces: bytes) -> None:
        self.socket.sendall(b"".join(pieces))

    def read(self) -> Message:
        """The next message."""
        while True:
            if len(self._received) >= 5:
                length = int.from_bytes(self._received[1:5], "big")
                if len(self._received) > length:
                    body = bytes(self._received[5 : length + 1])
                    kind = chr(self._received[0])
                    del self._received[: length + 1]
                    return Message(kind, body)
            chunk = self.receive()
            if not chunk:
                raise Closed([])
            self._received += chunk

    def receive(self) -> bytes:
        try:
            return self.socket.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            return b""

    def until(self, kinds: str = "Z", count: int = 1) -> list[Message]:
        """Messages up to the `count`-th of these kinds; ParameterStatus is left out."""
        seen: list[Message] = []
        while count:
            try:
                got = self.read()
            except Closed:
                raise Closed(seen) from None
            if got.kind == "S":
                name, value, _ = got.body.split(b"\0")
                self.parameters[name.decode()] = value.decode()
                continue
            seen.append(got)
            count -= got.kind in kinds
        return seen

    def ask(self, *pieces: bytes, ready: int = 1) -> list[Message]:
        """Sends, and reads up to the `ready`-th ReadyForQuery."""
        self.send(*pieces)
        return self.until("Z", ready)

    def query(self, text: str | bytes) -> list[Message]:
        return self.ask(query(text))

    def rows(self, text: str | bytes) -> list[list[bytes | None]]:
        """Of a simple query that must succeed."""
        got = self.query(text)
        assert not [one for one in got if one.kind == "E"], error(got)
        return rows(got)

    def rest(self) -> list[Message]:
        """All messages up to the end of the connection, which must come."""
        seen: list[Message] = []
        while True:
            try:
                seen.append(self.read())
            except Closed:
                return seen

    def silent(self, seconds: float = 0.3) -> bool:
        """Whether nothing comes for so long."""
        if self._received:
            return False
        self.socket.settimeout(seconds)
        try:
            chunk = self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(self.seconds)
        self._received += chunk
        return False

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def kinds(messages: list[Message]) -> str:
    """Their type letters, e.g. '12TDCZ'."""
    return "".join(one.kind for one in messages)


def rows(messages: list[Message]) -> list[list[bytes | None]]:
    return [one.row for one in messages if one.kind == "D"]


def error(messages: list[Message]) -> dict[str, str]:
    """Fields of the first error; an AssertionError when there is none."""
    for one in messages:
        if one.kind == "E":
            return one.fields
    raise AssertionError(f"no error in {[str(one) for one in messages]}")


def status(messages: list[Message]) -> str:
    """Transaction status of the last ReadyForQuery."""
    return next(one.body.decode() for one in reversed(messages) if one.kind == "Z")


def wait_for(condition: "object", seconds: float = 10.0, every: float = 0.05) -> bool:
    """Calls `condition` until it is true; whether it was in time."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(every)
    return bool(condition())
