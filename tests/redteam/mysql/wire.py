"""A MySQL client that keeps every packet it gets: what an attacker reads off the socket.

Used by `speech`. TLS whenever the server offers it (passwords then go as the server asks for them),
no verification: both ends are ours. Rule: reads are bounded in time, an answer that does not come
is `Held`, a connection that ends is `Closed`.
"""

import contextlib
import hashlib
import socket
import ssl
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pymysql

from tests.redteam.mysql import packets
from tests.redteam.mysql.packets import Column, Malformed, length_encoded, take_length, take_string

LONG_FLAG, LOCAL_FILES, PROTOCOL_41, SSL = 1 << 2, 1 << 7, 1 << 9, 1 << 11
CONNECT_WITH_DB, TRANSACTIONS, SECURE = 1 << 3, 1 << 13, 1 << 15
MULTI_STATEMENTS, MULTI_RESULTS, PS_MULTI_RESULTS = 1 << 16, 1 << 17, 1 << 18
PLUGIN_AUTH, ATTRIBUTES, LENENC_AUTH = 1 << 19, 1 << 20, 1 << 21
SESSION_TRACK, DEPRECATE_EOF = 1 << 23, 1 << 24
WANTED = (
    1 | LONG_FLAG | PROTOCOL_41 | CONNECT_WITH_DB | TRANSACTIONS | SECURE | MULTI_STATEMENTS
    | MULTI_RESULTS | PS_MULTI_RESULTS | PLUGIN_AUTH | ATTRIBUTES | LENENC_AUTH | SESSION_TRACK
    | LOCAL_FILES
)  # fmt: skip
MORE_RESULTS = 8
CURSOR_EXISTS, LAST_ROW_SENT = 64, 128
PACKET_MAX = (1 << 24) - 1
UTF8MB4 = 45
QUERY, PREPARE, EXECUTE, LONG_DATA, CLOSE, RESET, FETCH = 3, 0x16, 0x17, 0x18, 0x19, 0x1A, 0x1C


class Closed(Exception):
    """The connection ended."""


class Held(Exception):
    """No answer in time."""


class Denied(Exception):
    """The login was refused."""


@dataclass
class Answer:
    """What one command got back."""

    columns: list[list[Column]] = field(default_factory=list)
    """One list for each result."""
    rows: list[list[list[bytes | None]]] = field(default_factory=list)
    errors: list[tuple[int, str, str]] = field(default_factory=list)
    """(number, SQLSTATE, text)."""
    notes: list[bytes] = field(default_factory=list)
    """OK packets' own words: affected rows, last insert id, texts, session track."""
    oks: list[tuple[int, int, int]] = field(default_factory=list)
    """(affected rows, last insert id, warnings)."""

    def extend(self, other: "Answer") -> None:
        for name in ("columns", "rows", "errors", "notes", "oks"):
            getattr(self, name).extend(getattr(other, name))


class Session:
    """One connection. `packets` holds every payload received, oldest first."""

    def __init__(
        self,
        address: tuple[str, int],
        user: str,
        password: str,
        database: str | None,
        *,
        seconds: float = 6.0,
        deprecate_eof: bool = True,
        attributes: dict[str, str] | None = None,
    ) -> None:
        self.packets: list[bytes] = []
        self.seconds = seconds
        self._password = password.encode()
        self._sequence = 0
        self._socket = socket.create_connection(address, 10)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = bytearray()
        try:
            self._login(user, database, deprecate_eof, attributes or {})
        except BaseException:
            self._socket.close()
            raise

    # --- bytes ------------------------------------------------------------------------------------

    def send_raw(self, wire: bytes) -> None:
        """As it is, without a header."""
        try:
            self._socket.sendall(wire)
        except OSError as error:
            raise Closed(str(error)) from None

    def send(self, payload: bytes, *, fresh: bool = True) -> None:
        """One command; 16 MB and more go in several packets."""
        if fresh:
            self._sequence = 0
        wire, at = bytearray(), 0
        while True:
            part = payload[at : at + PACKET_MAX]
            wire += len(part).to_bytes(3, "little") + bytes([self._sequence]) + part
            self._sequence = (self._sequence + 1) & 255
            at += len(part)
            if len(part) < PACKET_MAX:
                break
        self.send_raw(bytes(wire))

    def receive(self, seconds: float | None = None) -> bytes:
        """The next payload, put together from its packets."""
        deadline = time.monotonic() + (self.seconds if seconds is None else seconds)
        payload = b""
        while True:
            header = self._take(4, deadline)
            self._sequence = (header[3] + 1) & 255
            size = int.from_bytes(header[:3], "little")
            payload += self._take(size, deadline)
            if size < PACKET_MAX:
                self.packets.append(payload)
                return payload

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._unread) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Held
            self._socket.settimeout(left)
            try:
                more = self._socket.recv(1 << 18)
            except TimeoutError:
                raise Held from None
            except OSError as error:
                raise Closed(str(error)) from None
            if not more:
                raise Closed("end of stream")
            self._unread += more
        taken = bytes(self._unread[:size])
        del self._unread[:size]
        return taken

    def close(self) -> None:
        with contextlib.suppress(Closed):
            self.send(b"\x01")
        self._socket.close()

    # --- login ------------------------------------------------------------------------------------

    def _login(
        self, user: str, database: str | None, deprecate_eof: bool, attributes: dict[str, str]
    ) -> None:
        greeting = self.receive(10)
        if greeting[:1] == b"\xff":
            raise Denied(_error(greeting)[2])
        offered, salt, plugin = _greeting(greeting)
        flags = WANTED | (DEPRECATE_EOF if deprecate_eof else 0)
        flags &= offered | CONNECT_WITH_DB | LOCAL_FILES
        if database is None:
            flags &= ~CONNECT_WITH_DB
        if offered & SSL:
            flags |= SSL
            self.send(struct.pack("<IIB23x", flags, 1 << 30, UTF8MB4), fresh=False)
            self._socket = _unverified().wrap_socket(self._socket)
        self.flags = flags
        body = struct.pack("<IIB23x", flags, 1 << 30, UTF8MB4) + user.encode() + b"\0"
        body += length_encoded(self._proof(plugin, salt))
        body += b"" if database is None else database.encode() + b"\0"
        body += plugin.encode() + b"\0"
        pairs = b"".join(
            length_encoded(part.encode()) for pair in attributes.items() for part in pair
        )
        self.send(body + length_encoded(pairs), fresh=False)
        self.authenticate(plugin, salt)

    def authenticate(self, plugin: str, salt: bytes) -> None:
        """The rest of an authentication, until OK. Raises Denied."""
        while True:
            payload = self.receive(10)
            kind = payload[0]
            if kind == 0x00:
                return
            if kind == 0xFF:
                raise Denied(_error(payload)[2])
            if kind == 0xFE:
                name, _, rest = payload[1:].partition(b"\0")
                plugin, salt = name.decode(), rest.rstrip(b"\0")
                self.send(self._proof(plugin, salt), fresh=False)
            elif kind == 0x01 and payload[1:] == b"\x04":
                self.send(self._whole_password(salt), fresh=False)
            elif kind != 0x01:
                raise Malformed("authentication")

    def _whole_password(self, salt: bytes) -> bytes:
        """Without TLS encrypted for the key that the server has for it."""
        if isinstance(self._socket, ssl.SSLSocket):
            return self._password + b"\0"
        self.send(b"\x02", fresh=False)
        key = self.receive(10)[1:]
        return bytes(pymysql._auth.sha2_rsa_encrypt(self._password, salt[:20], key))

    def _proof(self, plugin: str, salt: bytes) -> bytes:
        if plugin == "mysql_clear_password":
            return self._password + b"\0"
        if not self._password:
            return b""
        if plugin == "caching_sha2_password":
            return _scramble(hashlib.sha256, self._password, salt, salt_last=True)
        return _scramble(hashlib.sha1, self._password, salt, salt_last=False)

    def change_user(self, payload: bytes, password: str) -> None:
        """COM_CHANGE_USER as `payload`, then as a login. Raises Denied."""
        self._password = password.encode()
        self.send(payload)
        self.authenticate("", b"")

    # --- commands ---------------------------------------------------------------------------------

    def query(self, text: bytes) -> Answer:
        self.send(bytes([QUERY]) + text)
        return self.results(binary=False)

    def command(self, payload: bytes, answer: str = "ok") -> Answer:
        """Any command by its bytes; `answer`: ok, results, binary, columns, text, nothing."""
        self.send(payload)
        if answer == "nothing":
            return Answer()
        if answer in ("results", "binary"):
            return self.results(binary=answer == "binary")
        if answer == "columns":
            return self._field_list()
        payload = self.receive()
        found = Answer()
        if payload[:1] == b"\xff":
            found.errors.append(_error(payload))
        elif answer == "text" or payload[:1] not in (b"\0", b"\xfe"):
            found.notes.append(payload)
        else:
            _note(payload, found)
        return found

    def _field_list(self) -> Answer:
        found = Answer(columns=[[]])
        while True:
            payload = self.receive()
            if payload[:1] == b"\xff":
                found.errors.append(_error(payload))
                return found
            if payload[:1] == b"\xfe" and len(payload) < 9:
                return found
            found.columns[0].append(packets.column(payload))
            found.notes.append(payload)  # it holds the default as well

    def prepare(self, text: bytes) -> tuple[int, int, list[Column], Answer]:
        """(statement id or 0, parameters, columns, answer with the error if any)."""
        self.send(bytes([PREPARE]) + text)
        payload = self.receive()
        found = Answer()
        if payload[:1] == b"\xff":
            found.errors.append(_error(payload))
            return 0, 0, [], found
        number, columns, parameters = struct.unpack_from("<IHH", payload, 1)
        for count in (parameters, columns):
            shown = [packets.column(self.receive()) for _ in range(count)]
            if count and not self.flags & DEPRECATE_EOF:
                self.receive()
        return number, parameters, shown if columns else [], found

    def execute(
        self, number: int, values: list[bytes | None], *, cursor: bool = False, typed: bool = True
    ) -> Answer:
        """Every value as a string, unless `typed` is false: then none is sent (long data only)."""
        body = struct.pack("<BIBI", EXECUTE, number, 1 if cursor else 0, 1)
        if values:
            bitmap = bytearray((len(values) + 7) // 8)
            for place, value in enumerate(values):
                if value is None:
                    bitmap[place // 8] |= 1 << place % 8
            body += bytes(bitmap) + b"\x01" + b"\xfd\x00" * len(values)
            if typed:
                body += b"".join(length_encoded(value) for value in values if value is not None)
        self.send(body)
        found, status = self._result(binary=True)
        if cursor and status & CURSOR_EXISTS:
            self._drain_cursor(number, found)
        elif status & MORE_RESULTS:
            found.extend(self.results(binary=True))
        return found

    def _drain_cursor(self, number: int, found: Answer) -> None:
        """One row at a time."""
        while True:
            self.send(struct.pack("<BII", FETCH, number, 1))
            while True:
                payload = self.receive()
                if payload[:1] == b"\xff":
                    found.errors.append(_error(payload))
                    return
                if payload[:1] == b"\xfe" and len(payload) < PACKET_MAX:
                    break
                found.rows[-1].append(packets.binary_row(payload, found.columns[-1]))
            if _status(payload, self.flags) & LAST_ROW_SENT:
                return

    def results(self, *, binary: bool) -> Answer:
        """All results of one command."""
        found = Answer()
        while True:
            one, status = self._result(binary=binary)
            found.extend(one)
            if not status & MORE_RESULTS:
                return found

    def _result(self, *, binary: bool) -> tuple[Answer, int]:
        found = Answer()
        payload = self.receive()
        if payload[:1] == b"\xff":
            found.errors.append(_error(payload))
            return found, 0
        if payload[:1] == b"\0":
            return found, _note(payload, found)
        if payload[:1] == b"\xfb":  # the server wants a file of ours
            found.notes.append(payload)
            self.send(b"1\tsent by the client\n", fresh=False)
            self.send(b"", fresh=False)
            more, status = self._result(binary=binary)
            found.extend(more)
            return found, status
        count, _ = take_length(payload, 0)
        columns = [packets.column(self.receive()) for _ in range(count or 0)]
        found.columns.append(columns)
        found.rows.append([])
        if not self.flags & DEPRECATE_EOF:
            status = _status(self.receive(), self.flags)
            if status & CURSOR_EXISTS:
                return found, status
        return self._rows(found, columns, binary)

    def _rows(self, found: Answer, columns: list[Column], binary: bool) -> tuple[Answer, int]:
        while True:
            payload = self.receive()
            if payload[:1] == b"\xff":
                found.errors.append(_error(payload))
                return found, 0
            if payload[:1] == b"\xfe" and len(payload) < PACKET_MAX:
                if self.flags & DEPRECATE_EOF:
                    _note(payload, found)
                return found, _status(payload, self.flags)
            if binary:
                found.rows[-1].append(packets.binary_row(payload, columns))
            else:
                found.rows[-1].append(packets.text_row(payload, len(columns)))


# --- packets --------------------------------------------------------------------------------------


def _greeting(payload: bytes) -> tuple[int, bytes, str]:
    """(capabilities, salt, plugin) of a handshake v10."""
    at = payload.index(b"\0", 1) + 1 + 4
    salt = payload[at : at + 8]
    lower, _, _, upper, size = struct.unpack_from("<HBHHB", payload, at + 9)
    at += 9 + 8 + 10
    rest = payload[at : at + max(13, size - 8)]
    plugin, _, _ = payload[at + max(13, size - 8) :].partition(b"\0")
    name = plugin.decode() or "mysql_native_password"
    return lower | upper << 16, (salt + rest).rstrip(b"\0")[:20], name


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _scramble(
    digest: Callable[[bytes], Any], password: bytes, salt: bytes, *, salt_last: bool
) -> bytes:
    once = digest(password).digest()
    twice = digest(once).digest()
    mixed = digest(twice + salt if salt_last else salt + twice).digest()
    return bytes(a ^ b for a, b in zip(once, mixed, strict=True))


def _error(payload: bytes) -> tuple[int, str, str]:
    number = int.from_bytes(payload[1:3], "little")
    if payload[3:4] == b"#":
        return number, payload[4:9].decode("latin-1"), payload[9:].decode("utf-8", "replace")
    return number, "", payload[3:].decode("utf-8", "replace")


def _note(payload: bytes, found: Answer) -> int:
    """An OK packet; its status."""
    affected, at = take_length(payload, 1)
    identity, at = take_length(payload, at)
    status, warnings = struct.unpack_from("<HH", payload, at)
    found.oks.append((affected or 0, identity or 0, warnings))
    found.notes.append(f"{affected} {identity} ".encode() + payload[at + 4 :])
    return int(status)


def _status(payload: bytes, flags: int) -> int:
    if flags & DEPRECATE_EOF and len(payload) >= 7:
        _, at = take_length(payload, 1)
        _, at = take_length(payload, at)
        return int(struct.unpack_from("<H", payload, at)[0])
    return int(struct.unpack_from("<H", payload, 3)[0]) if len(payload) >= 5 else 0


__all__ = ["Answer", "Closed", "Denied", "Held", "Malformed", "Session", "take_string"]
