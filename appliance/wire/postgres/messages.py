"""Message types, and the codec of every message that is read or written field by field.

Called by `session/*` and `dataplane/upstreams`. Rule: a parser accepts a body only if it is used up
to the last byte ("Message Formats"); anything else is a ProtocolViolation. A builder checks the
length it writes.
"""

import struct
from collections.abc import Sequence

import msgspec

from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.model.limits import COLUMNS_MAX, FRAME_BYTES_MAX

Buffer = bytes | bytearray | memoryview

# Client to upstream ("F" in the documentation's tables).
QUERY, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, FLUSH, TERMINATE, FUNCTION_CALL, PASSWORD = (
    b"QPBDECSHXFp"
)
# Both directions.
COPY_DATA, COPY_DONE, COPY_FAIL = b"dcf"
# Upstream to client ("B").
AUTHENTICATION, BACKEND_KEY_DATA, PARAMETER_STATUS, READY_FOR_QUERY = b"RKSZ"
ERROR_RESPONSE, NOTICE_RESPONSE, NOTIFICATION_RESPONSE, NEGOTIATE_PROTOCOL_VERSION = b"ENAv"
PARSE_COMPLETE, BIND_COMPLETE, CLOSE_COMPLETE, NO_DATA, PARAMETER_DESCRIPTION = b"123nt"
ROW_DESCRIPTION, DATA_ROW, COMMAND_COMPLETE, EMPTY_QUERY_RESPONSE, PORTAL_SUSPENDED = b"TDCIs"
COPY_IN_RESPONSE, COPY_OUT_RESPONSE, COPY_BOTH_RESPONSE, FUNCTION_CALL_RESPONSE = b"GHWV"

STATEMENT, PORTAL = b"SP"  # what Describe and Close name

_U16 = struct.Struct("!H")
_I16 = struct.Struct("!h")
_I32 = struct.Struct("!i")
_U32 = struct.Struct("!I")
_COLUMN = struct.Struct("!IhIhih")


def frame(kind: int, body: bytes) -> bytes:
    """One message: type byte, length including itself, body."""
    if len(body) > FRAME_BYTES_MAX:
        raise InvariantBroken("a message longer than PostgreSQL's limit was built")
    return bytes((kind,)) + _U32.pack(len(body) + 4) + body


def cstring(text: str | bytes) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    if b"\0" in raw:
        raise InvariantBroken("a NUL byte inside a protocol string")
    return raw + b"\0"


class Reader:
    """Takes fields off one message body, front to back; every read is checked."""

    __slots__ = ("body", "offset", "side")

    def __init__(self, body: Buffer, side: str) -> None:
        self.body = bytes(body)
        self.offset = 0
        self.side = side

    def _take(self, layout: struct.Struct) -> int:
        end = self.offset + layout.size
        if end > len(self.body):
            raise ProtocolViolation(self.side, "insufficient data left in message")
        (value,) = layout.unpack_from(self.body, self.offset)
        self.offset = end
        return int(value)

    def u8(self) -> int:
        return self.take(1)[0]

    def i16(self) -> int:
        return self._take(_I16)

    def u16(self) -> int:
        return self._take(_U16)

    def i32(self) -> int:
        return self._take(_I32)

    def u32(self) -> int:
        return self._take(_U32)

    def take(self, length: int) -> bytes:
        end = self.offset + length
        if length < 0 or end > len(self.body):
            raise ProtocolViolation(self.side, "insufficient data left in message")
        taken = self.body[self.offset : end]
        self.offset = end
        return taken

    def cstring(self) -> bytes:
        end = self.body.find(b"\0", self.offset)
        if end < 0:
            raise ProtocolViolation(self.side, "unterminated string in message")
        taken = self.body[self.offset : end]
        self.offset = end + 1
        return taken

    def rest(self) -> bytes:
        taken = self.body[self.offset :]
        self.offset = len(self.body)
        return taken

    def end(self) -> None:
        if self.offset != len(self.body):
            raise ProtocolViolation(self.side, "trailing bytes in message")


# --- client to upstream ---------------------------------------------------------------------------


class ParseMessage(msgspec.Struct, frozen=True):
    name: bytes
    text: bytes
    parameter_types: tuple[int, ...]


class BindMessage(msgspec.Struct, frozen=True):
    portal: bytes
    statement: bytes
    parameters: int
    result_formats: tuple[int, ...]
    """Format codes as sent: none (all text), one (for all) or one per column."""


def _only_string(body: Buffer, side: str) -> bytes:
    """A body that is one string and nothing else."""
    raw = bytes(body)
    if raw.find(b"\0") != len(raw) - 1 or not raw:
        reader = Reader(raw, side)  # says what is wrong
        reader.cstring()
        reader.end()
    return raw[:-1]


def parse_query(body: Buffer) -> bytes:
    return _only_string(body, "client")


def parse_parse(body: Buffer) -> ParseMessage:
    reader = Reader(body, "client")
    name, text = reader.cstring(), reader.cstring()
    count = reader.u16()
    types = tuple(reader.u32() for _ in range(count))
    reader.end()
    return ParseMessage(name, text, types)


def parse_bind(body: Buffer) -> BindMessage:
    """Without a Reader: this is the most frequent message that has fields."""
    raw = bytes(body)
    portal_end = raw.find(b"\0")
    statement_end = raw.find(b"\0", portal_end + 1)
    if portal_end < 0 or statement_end < 0:
        raise ProtocolViolation("client", "unterminated string in message")
    try:
        formats, at = _formats(raw, statement_end + 1)
        parameters = _U16.unpack_from(raw, at)[0]
        at += 2
        for _ in range(parameters):
            length = _I32.unpack_from(raw, at)[0]
            at += 4
            if length > 0:
                at += length
            elif length < -1:
                raise ProtocolViolation("client", "insufficient data left in message")
        result_formats, at = _formats(raw, at)
    except struct.error:
        raise ProtocolViolation("client", "insufficient data left in message") from None
    if len(formats) not in (0, 1, parameters):
        raise ProtocolViolation("client", "parameter format count does not match parameter count")
    if at != len(raw):
        raise ProtocolViolation("client", "trailing bytes in message")
    return BindMessage(
        raw[:portal_end], raw[portal_end + 1 : statement_end], parameters, result_formats
    )


def bind_parameters(body: Buffer, numbers: Sequence[int]) -> list[bytes | None]:
    """Values of some parameters (numbered from 1) of a Bind that `parse_bind` has accepted; None
    for NULL and for a parameter that is not there.
    """
    reader = Reader(body, "client")
    reader.cstring()
    reader.cstring()
    reader.take(2 * reader.u16())
    values: list[bytes | None] = []
    for _ in range(reader.u16()):
        length = reader.i32()
        values.append(None if length < 0 else reader.take(length))
    return [values[n - 1] if 0 < n <= len(values) else None for n in numbers]


def bind_values(body: Buffer) -> tuple[list[int], list[bytes | None]]:
    """(format code, value or None for NULL) of every parameter of a Bind that `parse_bind` has
    accepted.
    """
    reader = Reader(body, "client")
    reader.cstring()
    reader.cstring()
    codes = [reader.u16() for _ in range(reader.u16())]
    values: list[bytes | None] = []
    for _ in range(reader.u16()):
        length = reader.i32()
        values.append(None if length < 0 else bytes(reader.take(length)))
    if len(codes) <= 1:
        codes = (codes or [0]) * len(values)
    return codes, values


def bind_again(body: Buffer, name: bytes, numbers: Sequence[int]) -> bytes:
    """A Bind of the portal and statement `name` to some parameters (numbered from 1) of a Bind
    that `parse_bind` has accepted. A parameter that is not there becomes NULL.
    """
    reader = Reader(body, "client")
    reader.cstring()
    reader.cstring()
    codes = [reader.u16() for _ in range(reader.u16())]
    values = bind_parameters(body, numbers)
    chosen = [
        codes[n - 1] if n <= len(codes) else (codes[0] if len(codes) == 1 else 0) for n in numbers
    ]
    parts = [cstring(name), cstring(name), _U16.pack(len(chosen))]
    parts += [_U16.pack(code) for code in chosen]
    parts.append(_U16.pack(len(values)))
    for value in values:
        parts.append(_I32.pack(-1) if value is None else _I32.pack(len(value)) + value)
    return frame(BIND, b"".join(parts) + b"\0\0")


def bind_renamed(frame_begun: bytes, name: bytes) -> bytes:
    """A Bind, or the beginning of one that has its names whole, to another prepared statement."""
    portal_end = frame_begun.index(b"\0", 5)
    statement_end = frame_begun.index(b"\0", portal_end + 1)
    longer = len(name) - (statement_end - portal_end - 1)
    length = int.from_bytes(frame_begun[1:5], "big") + longer
    return b"".join(
        (
            frame_begun[:1],
            length.to_bytes(4, "big"),
            frame_begun[5 : portal_end + 1],
            name,
            frame_begun[statement_end:],
        )
    )


def _formats(raw: bytes, at: int) -> tuple[tuple[int, ...], int]:
    """A counted list of format codes, and where it ends. Raises struct.error when it is cut
    short.
    """
    count = _U16.unpack_from(raw, at)[0]
    at += 2
    if not count:
        return (), at
    codes = struct.unpack_from(f"!{count}H", raw, at)
    for code in codes:
        if code > 1:
            raise ProtocolViolation("client", "unknown format code")
    return codes, at + 2 * count


def parse_describe_or_close(body: Buffer) -> tuple[int, bytes]:
    """-> (STATEMENT or PORTAL, name)."""
    raw = bytes(body)
    if not raw:
        raise ProtocolViolation("client", "insufficient data left in message")
    what, name = raw[0], _only_string(raw[1:], "client")
    if what not in (STATEMENT, PORTAL):
        raise ProtocolViolation("client", "neither statement nor portal")
    return what, name


def parse_execute(body: Buffer) -> tuple[bytes, int]:
    """-> (portal, row limit; 0 = none)."""
    raw = bytes(body)
    end = raw.find(b"\0")
    if end < 0 or end + 1 + _I32.size != len(raw):
        reader = Reader(raw, "client")  # says what is wrong
        reader.cstring()
        reader.i32()
        reader.end()
    return raw[:end], int(_I32.unpack_from(raw, end + 1)[0])


def query(text: bytes) -> bytes:
    return frame(QUERY, cstring(text))


def parse(name: bytes, text: bytes, parameter_types: Sequence[int] = ()) -> bytes:
    types = b"".join(map(_U32.pack, parameter_types))
    return frame(PARSE, cstring(name) + cstring(text) + _U16.pack(len(parameter_types)) + types)


def bind_unparameterised(portal: bytes, statement: bytes) -> bytes:
    return frame(BIND, cstring(portal) + cstring(statement) + b"\0\0\0\0\0\0")


def bind_texts(portal: bytes, statement: bytes, values: Sequence[bytes]) -> bytes:
    """Parameters and results in text format."""
    body = b"".join(_I32.pack(len(value)) + value for value in values)
    names = cstring(portal) + cstring(statement)
    return frame(BIND, names + _U16.pack(0) + _U16.pack(len(values)) + body + _U16.pack(0))


def describe(what: int, name: bytes) -> bytes:
    return frame(DESCRIBE, bytes((what,)) + cstring(name))


def close(what: int, name: bytes) -> bytes:
    return frame(CLOSE, bytes((what,)) + cstring(name))


def execute(portal: bytes, limit: int = 0) -> bytes:
    return frame(EXECUTE, cstring(portal) + _I32.pack(limit))


def password(secret: bytes) -> bytes:
    return frame(PASSWORD, cstring(secret))


def sasl_initial_response(mechanism: str, message: bytes) -> bytes:
    return frame(PASSWORD, cstring(mechanism) + _I32.pack(len(message)) + message)


SYNC_FRAME = frame(SYNC, b"")
READY_FRAME_HEAD = frame(READY_FOR_QUERY, b"I")[:-1]
FLUSH_FRAME = frame(FLUSH, b"")
TERMINATE_FRAME = frame(TERMINATE, b"")


# --- upstream to client ---------------------------------------------------------------------------


class ColumnDescription(msgspec.Struct, frozen=True):
    name: bytes
    table_oid: int
    attnum: int
    type_oid: int
    format: int
    typmod: int = -1


def parse_row_description(body: Buffer) -> tuple[ColumnDescription, ...]:
    reader = Reader(body, "upstream")
    count = reader.u16()
    if count > COLUMNS_MAX:
        raise ProtocolViolation("upstream", "more columns than PostgreSQL allows")
    columns = []
    for _ in range(count):
        name = reader.cstring()
        raw = reader.take(_COLUMN.size)
        table_oid, attnum, type_oid, _size, typmod, format_code = _COLUMN.unpack(raw)
        columns.append(ColumnDescription(name, table_oid, attnum, type_oid, format_code, typmod))
    reader.end()
    return tuple(columns)


def parse_parameter_status(body: Buffer) -> tuple[bytes, bytes]:
    reader = Reader(body, "upstream")
    name, value = reader.cstring(), reader.cstring()
    reader.end()
    return name, value


def parse_command_complete(body: Buffer) -> bytes:
    return _only_string(body, "upstream")


def parse_ready_for_query(body: Buffer) -> int:
    """-> transaction status: ord of I (idle), T (in a transaction), E (in a failed one)."""
    raw = bytes(body)
    if len(raw) != 1:
        reader = Reader(raw, "upstream")  # says what is wrong
        reader.u8()
        reader.end()
    if raw not in (b"I", b"T", b"E"):
        raise ProtocolViolation("upstream", "unknown transaction status")
    return raw[0]


def parse_error_fields(body: Buffer) -> dict[str, str]:
    """Fields of ErrorResponse and NoticeResponse by their letter ("Error and Notice Message
    Fields").

    A malicious or broken upstream may leave out any of them; callers use `.get`.
    """
    reader = Reader(body, "upstream")
    fields: dict[str, str] = {}
    while code := reader.u8():
        fields[chr(code)] = reader.cstring().decode("utf-8", "replace")
    reader.end()
    return fields


def without_payload(body: Buffer) -> bytes:
    """A NotificationResponse with the payload emptied."""
    reader = Reader(body, "upstream")
    pid, channel, _payload = reader.u32(), reader.cstring(), reader.cstring()
    reader.end()
    return frame(NOTIFICATION_RESPONSE, _U32.pack(pid) + cstring(channel) + b"\0")


def parse_backend_key_data(body: Buffer) -> tuple[int, bytes]:
    """-> (process id, secret: 4 bytes in protocol 3.0, up to 256 in 3.2)."""
    reader = Reader(body, "upstream")
    pid, secret = reader.u32(), reader.rest()
    if not 4 <= len(secret) <= 256:
        raise ProtocolViolation("upstream", "cancel key of impossible length")
    return pid, secret


def parse_authentication(body: Buffer) -> tuple[int, bytes]:
    """-> (request code, rest)."""
    reader = Reader(body, "upstream")
    return reader.u32(), reader.rest()


def error_fields(kind: int, fields: dict[str, str]) -> bytes:
    """An ErrorResponse or NoticeResponse; NUL bytes cannot be carried and are dropped."""
    parts = [
        letter.encode() + text.replace("\0", "").encode("utf-8", "replace") + b"\0"
        for letter, text in fields.items()
        if text
    ]
    return frame(kind, b"".join(parts) + b"\0")


def parse_row(body: bytes) -> list[bytes | None]:
    """The cells of a DataRow; None is NULL. Raises ProtocolViolation."""
    values: list[bytes | None] = []
    try:
        (count,), at = _U16.unpack_from(body), _U16.size
        for _ in range(count):
            (length,) = _I32.unpack_from(body, at)
            at += _I32.size
            values.append(None if length < 0 else body[at : at + length])
            at += max(length, 0)
    except struct.error:
        at = -1
    if at != len(body):
        raise ProtocolViolation("upstream", "a row out of step")
    return values


def authentication(code: int, rest: bytes = b"") -> bytes:
    return frame(AUTHENTICATION, _U32.pack(code) + rest)


def parameter_status(name: str, value: str) -> bytes:
    return frame(PARAMETER_STATUS, cstring(name) + cstring(value))


def backend_key_data(pid: int, secret: bytes) -> bytes:
    return frame(BACKEND_KEY_DATA, _U32.pack(pid) + secret)


def ready_for_query(status: int) -> bytes:
    return frame(READY_FOR_QUERY, bytes((status,)))


def negotiate_protocol_version(minor: int, unrecognised: Sequence[str]) -> bytes:
    """Newest minor version served and the `_pq_.` options not known. The version is sent whole (3
    << 16 | minor) since protocol 3.2's documentation; libpq reads it so.
    """
    names = b"".join(cstring(name) for name in unrecognised)
    return frame(
        NEGOTIATE_PROTOCOL_VERSION,
        _U32.pack(3 << 16 | minor) + _U32.pack(len(unrecognised)) + names,
    )


AUTH_OK, AUTH_CLEARTEXT, AUTH_MD5, AUTH_SASL, AUTH_SASL_CONTINUE, AUTH_SASL_FINAL = (
    0,
    3,
    5,
    10,
    11,
    12,
)


def authentication_sasl(mechanisms: Sequence[str]) -> bytes:
    return authentication(AUTH_SASL, b"".join(map(cstring, mechanisms)) + b"\0")
