"""The payloads of the command phase, as structs: what a server replies, and columns it describes.

Used by `commands`, `replies` and `codec`. Sources: "Command Phase", "Protocol::OK_Packet",
"Protocol::ERR_Packet", "Protocol::EOF_Packet", "Protocol::ColumnDefinition41",
"COM_STMT_PREPARE Response" of MySQL's source documentation. Rule: a payload is used up to its last
byte or it is a violation.
"""

import struct

import msgspec

from appliance.model.errors import ProtocolViolation
from appliance.wire.exchange import Column, Done, Failed
from appliance.wire.mysql.fields import Buffer, Reader, lenenc_bytes
from appliance.wire.mysql.startup import Capability

OK, LOCAL_FILE, EOF, ERROR = 0x00, 0xFB, 0xFE, 0xFF
EOF_BYTES_MAX = 9
EOF_PAYLOAD_BYTES = 5

INTERRUPTED = "70100"
"""SQLSTATE of a statement that was cancelled."""

IN_TRANSACTION = 0x0001
MORE_RESULTS = 0x0008
CURSOR_EXISTS = 0x0040
LAST_ROW_SENT = 0x0080
STATE_CHANGED = 0x4000
AUTOCOMMIT = 0x0002
_STANDING = IN_TRANSACTION | AUTOCOMMIT | 0x0200
"""Status flags that go on between commands (0x0200: backslashes are no escapes)."""

TRACKED_VARIABLES, TRACKED_SCHEMA = 0, 1
TRACKED_MAX = 6
"""Kinds of session state that are reported ("enum_session_state_type"); beyond them nothing is
known."""
SCHEMA = "schema"
"""Name under which the chosen database is reported in `Done.changed`."""

_SESSION_TRACK, _DEPRECATE_EOF = int(Capability.SESSION_TRACK), int(Capability.DEPRECATE_EOF)

NOT_NULL, UNSIGNED, BINARY, ENUM_FLAG, SET_FLAG = 0x0001, 0x0020, 0x0080, 0x0100, 0x0800
NO_DEFAULT = 0x1000
OCTETS = 63
"""The "binary" character set."""
ENUM, SET, BIT, JSON = 0xF7, 0xF8, 0x10, 0xF5
BLOBS = frozenset((0xF9, 0xFA, 0xFB, 0xFC))
_FIXED_FIELDS = struct.Struct("<HIBHB")
_FIXED_LENGTH = 0x0C


class Definition(msgspec.Struct, frozen=True):
    """One column definition."""

    catalog: bytes
    schema: bytes
    table: bytes
    """The alias."""
    org_table: bytes
    name: bytes
    org_name: bytes
    charset: int
    length: int
    kind: int
    flags: int
    decimals: int
    default: bytes | None = None
    """Of COM_FIELD_LIST only: what follows, whole."""


def parse_definition(payload: Buffer, defaults: bool = False) -> Definition:
    reader = Reader(payload, "upstream")
    catalog, schema, table = reader.lenenc_bytes(), reader.lenenc_bytes(), reader.lenenc_bytes()
    org_table, name, org_name = reader.lenenc_bytes(), reader.lenenc_bytes(), reader.lenenc_bytes()
    if reader.lenenc() != _FIXED_LENGTH:
        raise ProtocolViolation("upstream", "a column definition of unknown form")
    charset, length, kind, flags, decimals = _FIXED_FIELDS.unpack(reader.take(10))
    reader.take(2)
    default = reader.rest() if defaults else None
    reader.end()
    return Definition(
        catalog,
        schema,
        table,
        org_table,
        name,
        org_name,
        charset,
        length,
        kind,
        flags,
        decimals,
        default,
    )


def definition(column: Definition) -> bytes:
    names = (
        column.catalog,
        column.schema,
        column.table,
        column.org_table,
        column.name,
        column.org_name,
    )
    fixed = _FIXED_FIELDS.pack(
        column.charset, column.length, column.kind, column.flags, column.decimals
    )
    head = b"".join(map(lenenc_bytes, names)) + bytes((_FIXED_LENGTH,)) + fixed + b"\0\0"
    return head + (column.default or b"")


def column_of(found: Definition, binary: bool) -> Column:
    kind = found.kind
    if found.flags & ENUM_FLAG:
        kind = ENUM
    elif found.flags & SET_FLAG:
        kind = SET
    return Column(
        name=_text(found.name),
        schema=_text(found.schema),
        relation=_text(found.org_table),
        column=_text(found.org_name),
        kind=kind,
        binary=binary,
        unsigned=bool(found.flags & UNSIGNED),
        characters=found.charset != OCTETS,
        width=found.length,
        decimals=found.decimals,
    )


def parse_error(payload: Buffer) -> Failed:
    whole = bytes(payload)
    reader = Reader(whole, "upstream")
    reader.u8()
    number = reader.u16()
    sqlstate = "HY000"
    if whole[3:4] == b"#":
        sqlstate = reader.take(6)[1:].decode("ascii", "replace")
    return Failed(whole, number, sqlstate, _text(reader.rest()), sqlstate == INTERRUPTED)


def parse_ok(payload: Buffer, capabilities: int) -> tuple[Done, int]:
    """-> what completed, and the status flags. The header may be 0x00 or 0xFE."""
    whole = bytes(payload)
    reader = Reader(whole, "upstream")
    reader.u8()
    affected = reader.lenenc()
    reader.lenenc()  # last insert id
    status = reader.u16()
    reader.u16()  # warnings
    changed: tuple[tuple[str, str], ...] = ()
    if capabilities & _SESSION_TRACK:
        if reader.left:
            reader.lenenc_bytes()  # in words
        if status & STATE_CHANGED:
            changed = _tracked(reader.lenenc_bytes())
    else:
        reader.rest()
    reader.end()
    done = Done(
        whole, affected, bool(status & IN_TRANSACTION), bool(status & MORE_RESULTS), changed
    )
    return done, status


def _tracked(body: bytes) -> tuple[tuple[str, str], ...]:
    reader, found = Reader(body, "upstream"), []
    while reader.left:
        kind, piece = reader.u8(), Reader(reader.lenenc_bytes(), "upstream")
        if kind > TRACKED_MAX:
            raise ProtocolViolation("upstream", "session state of unknown kind")
        if kind == TRACKED_SCHEMA:
            found.append((SCHEMA, _text(piece.lenenc_bytes())))
        elif kind == TRACKED_VARIABLES:
            while piece.left:
                name = _text(piece.lenenc_bytes())
                found.append((name, _text(piece.lenenc_bytes())))
    return tuple(found)


def done_payload(status: int) -> bytes:
    """An OK packet of ours."""
    return b"\0\0\0" + struct.pack("<HH", status & _STANDING, 0)


def with_status(payload: bytes, status: int) -> bytes:
    """An OK packet, which has been parsed, with the standing flags of another."""
    reader = Reader(payload, "upstream")
    reader.u8()
    reader.lenenc()
    reader.lenenc()
    at = reader.offset
    flags = reader.u16() & ~_STANDING | status & _STANDING
    return payload[:at] + struct.pack("<H", flags) + payload[at + 2 :]


def untransacted(payload: bytes, brief: bool) -> bytes:
    """An OK packet (`brief`: an EOF packet), which has been parsed, as it reads outside a
    transaction."""
    reader = Reader(payload, "upstream")
    reader.u8()
    if brief:
        reader.u16()  # warnings
    else:
        reader.lenenc()
        reader.lenenc()
    at = reader.offset
    flags = reader.u16() & ~IN_TRANSACTION
    return payload[:at] + struct.pack("<H", flags) + payload[at + 2 :]


def parse_eof(payload: Buffer, capabilities: int) -> tuple[bytes, int]:
    """The end of columns or rows: an EOF packet or the OK packet in its place. -> (all of it,
    status flags)."""
    whole = bytes(payload)
    if capabilities & _DEPRECATE_EOF:
        return whole, parse_ok(whole, capabilities)[1]
    reader = Reader(whole, "upstream")
    reader.u8()
    reader.u16()  # warnings
    status = reader.u16()
    reader.end()
    return whole, status


def parse_prepared(payload: Buffer) -> tuple[int, int, int]:
    """COM_STMT_PREPARE_OK -> (statement, columns, parameters)."""
    reader = Reader(payload, "upstream")
    reader.u8()
    statement, columns, parameters = reader.u32(), reader.u16(), reader.u16()
    reader.take(1)
    if reader.left:
        reader.u16()  # warnings
    reader.end()
    return statement, columns, parameters


def parse_count(payload: Buffer) -> int:
    reader = Reader(payload, "upstream")
    count = reader.lenenc()
    reader.end()
    return count


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")
