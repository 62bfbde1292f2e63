"""Bytes of the MySQL protocol as values: what a reader of a client's socket would make of them.

Used by `wire`, which is a client of its own: nothing of the product is imported, so that the two
cannot share a mistake. Layouts: MariaDB knowledge base, "Client/Server Protocol".
"""

import struct
from dataclasses import dataclass

NULL = None
INTEGERS = {0x01: ("<b", "<B"), 0x02: ("<h", "<H"), 0x0D: ("<h", "<H"), 0x03: ("<i", "<I")}
INTEGERS |= {0x09: ("<i", "<I"), 0x08: ("<q", "<Q")}
FLOAT, DOUBLE = 0x04, 0x05
DATES, TIME = (0x07, 0x0A, 0x0C), 0x0B
UNSIGNED_FLAG = 32


class Malformed(Exception):
    """The server's bytes make no sense."""


@dataclass(frozen=True)
class Column:
    """One column definition."""

    schema: str
    table: str
    org_table: str
    name: str
    org_name: str
    charset: int
    length: int
    type: int
    flags: int
    decimals: int

    @property
    def unsigned(self) -> bool:
        return bool(self.flags & UNSIGNED_FLAG)


def take_length(body: bytes, at: int) -> tuple[int | None, int]:
    """A length-encoded integer (None: NULL) and where it ends."""
    first = body[at]
    if first < 0xFB:
        return first, at + 1
    if first == 0xFB:
        return None, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first)
    if size is None or at + 1 + size > len(body):
        raise Malformed("length")
    return int.from_bytes(body[at + 1 : at + 1 + size], "little"), at + 1 + size


def take_string(body: bytes, at: int) -> tuple[bytes | None, int]:
    length, at = take_length(body, at)
    if length is None:
        return None, at
    if at + length > len(body):
        raise Malformed("string")
    return body[at : at + length], at + length


def length_encoded(value: bytes) -> bytes:
    size = len(value)
    if size < 0xFB:
        return bytes([size]) + value
    if size < 1 << 16:
        return b"\xfc" + size.to_bytes(2, "little") + value
    return b"\xfd" + size.to_bytes(3, "little") + value


def column(body: bytes) -> Column:
    """A column definition (protocol 4.1)."""
    texts, at = [], 0
    for _ in range(6):
        text, at = take_string(body, at)
        texts.append((text or b"").decode("utf-8", "replace"))
    _, at = take_length(body, at)
    charset, length, kind, flags, decimals = struct.unpack_from("<HIBHB", body, at)
    _, schema, table, org_table, name, org_name = texts
    return Column(schema, table, org_table, name, org_name, charset, length, kind, flags, decimals)


def text_row(body: bytes, count: int) -> list[bytes | None]:
    values, at = [], 0
    for _ in range(count):
        value, at = take_string(body, at)
        values.append(value)
    if at != len(body):
        raise Malformed("text row")
    return values


def binary_row(body: bytes, columns: list[Column]) -> list[bytes | None]:
    """Values as the text protocol would show them, dates and numbers included."""
    bitmap = body[1 : 1 + (len(columns) + 9) // 8]
    at = 1 + len(bitmap)
    values: list[bytes | None] = []
    for number, one in enumerate(columns):
        place = number + 2
        if bitmap[place // 8] >> place % 8 & 1:
            values.append(None)
            continue
        value, at = _binary_value(body, at, one)
        values.append(value)
    if at != len(body):
        raise Malformed("binary row")
    return values


def _binary_value(body: bytes, at: int, one: Column) -> tuple[bytes | None, int]:
    if one.type in INTEGERS:
        form = INTEGERS[one.type][one.unsigned]
        return str(struct.unpack_from(form, body, at)[0]).encode(), at + struct.calcsize(form)
    if one.type == FLOAT:
        return repr(struct.unpack_from("<f", body, at)[0]).encode(), at + 4
    if one.type == DOUBLE:
        return repr(struct.unpack_from("<d", body, at)[0]).encode(), at + 8
    if one.type in DATES:
        return _date(body[at + 1 : at + 1 + body[at]]), at + 1 + body[at]
    if one.type == TIME:
        return _time(body[at + 1 : at + 1 + body[at]]), at + 1 + body[at]
    return take_string(body, at)


def _date(body: bytes) -> bytes:
    padded = body.ljust(11, b"\0")
    year, month, day, hour, minute, second, micro = struct.unpack("<HBBBBBI", padded)
    text = f"{year:04}-{month:02}-{day:02}"
    if len(body) > 4:
        text += f" {hour:02}:{minute:02}:{second:02}"
    return (text + (f".{micro:06}" if len(body) > 7 else "")).encode()


def _time(body: bytes) -> bytes:
    negative, days, hour, minute, second, micro = struct.unpack("<BIBBBI", body.ljust(12, b"\0"))
    sign = "-" if negative else ""
    text = f"{sign}{days * 24 + hour:02}:{minute:02}:{second:02}"
    return (text + (f".{micro:06}" if len(body) > 8 else "")).encode()
