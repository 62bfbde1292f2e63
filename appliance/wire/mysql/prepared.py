"""Values in binary form, as executions and query attributes carry them ("Binary Protocol Value",
"COM_STMT_EXECUTE", "COM_QUERY").

Used by `commands`, and by the codec to show approvers what a statement is bound to. Rule: a type
that is not known here is a violation: how long its value is cannot be told.
"""

import struct
from collections.abc import Iterator

from appliance.model.errors import ProtocolViolation
from appliance.wire.mysql.fields import Reader

_FIXED = {0x01: 1, 0x02: 2, 0x03: 4, 0x04: 4, 0x05: 8, 0x06: 0, 0x08: 8, 0x09: 4, 0x0D: 2}
_TIMES = frozenset((0x07, 0x0A, 0x0B, 0x0C))
_LENGTH_ENCODED = frozenset((0x00, 0x0F, 0x10, *range(0xF5, 0x100)))
_NUMBERS = frozenset((0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0D))
_TIME, _NULL = 0x0B, 0x06
_UNSIGNED = 0x8000
PARAMETERS_MAX = 65_535

Kinds = tuple[int, ...]


def take_value(reader: Reader, kind: int) -> bytes:
    """The bytes of one value, without its length."""
    kind &= 0xFF
    if kind in _FIXED:
        return reader.take(_FIXED[kind])
    if kind in _TIMES:
        return reader.take(reader.u8())
    if kind in _LENGTH_ENCODED:
        return reader.lenenc_bytes()
    raise ProtocolViolation(reader.side, "a parameter of unknown type")


def skip_named(reader: Reader, count: int) -> None:
    """Query attributes: bitmap of NULLs, 1, (type, name) of each, and the values."""
    if count > PARAMETERS_MAX:
        raise ProtocolViolation(reader.side, "too many query attributes")
    nulls = reader.take((count + 7) // 8)
    if reader.u8() != 1:
        raise ProtocolViolation(reader.side, "query attributes without types")
    kinds = []
    for _ in range(count):
        kinds.append(reader.u16())
        reader.lenenc_bytes()
    for index, kind in enumerate(kinds):
        if not nulls[index // 8] >> (index % 8) & 1:
            take_value(reader, kind)


def shown(kind: int, value: bytes) -> str:
    """A value for people; '0x...' where its form is not worth words."""
    unsigned, kind = bool(kind & _UNSIGNED), kind & 0xFF
    if kind in (0x01, 0x02, 0x03, 0x08, 0x09, 0x0D):
        return str(int.from_bytes(value, "little", signed=not unsigned))
    if kind in (0x04, 0x05):
        (number,) = struct.unpack("<f" if kind == 0x04 else "<d", value)
        return repr(number)
    if kind in _LENGTH_ENCODED:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return "0x" + value.hex()
    return _time(kind, value)


def _time(kind: int, value: bytes) -> str:
    if kind == _TIME and len(value) in (0, 8, 12):
        negative, days, hours, minutes, seconds = struct.unpack("<BIBBB", value[:8] or bytes(8))
        return f"{'-' * negative}{days * 24 + hours:02}:{minutes:02}:{seconds:02}"
    if kind != _TIME and len(value) in (0, 4, 7, 11):
        year, month, day = struct.unpack("<HBB", value[:4] or bytes(4))
        clock = " {:02}:{:02}:{:02}".format(*value[4:7]) if len(value) >= 7 else ""
        return f"{year:04}-{month:02}-{day:02}{clock}"
    return "0x" + value.hex()


def _begun(bound: bytes, count: int, kinds: Kinds) -> tuple[Reader, bytes, Kinds]:
    """-> (a reader of the values, bitmap of NULLs, types)."""
    reader = Reader(bound, "client")
    nulls = reader.take((count + 7) // 8)
    if count and reader.u8():
        kinds = tuple(reader.u16() for _ in range(count))
    if len(kinds) != count:
        raise ProtocolViolation("client", "parameters without types")
    return reader, nulls, kinds


def kinds(bound: bytes, count: int, before: Kinds) -> Kinds:
    """Types that an execution binds its parameters with, its own or those of the execution
    `before`. Raises ProtocolViolation."""
    return _begun(bound, count, before)[2]


def _values(bound: bytes, count: int, before: Kinds) -> Iterator[tuple[int, bytes | None]]:
    """(type, bytes of the value; None = NULL)"""
    reader, nulls, found = _begun(bound, count, before)
    for index, kind in enumerate(found):
        missing = nulls[index // 8] >> (index % 8) & 1
        yield kind, None if missing else take_value(reader, kind)


def parameters(bound: bytes, count: int, before: Kinds) -> tuple[tuple[int, str | None], ...]:
    """(type, value in words; None = NULL) of the parameters of an execution. Raises
    ProtocolViolation.
    """
    return tuple(
        (kind, None if value is None else shown(kind, value))
        for kind, value in _values(bound, count, before)
    )


def literals(bound: bytes, count: int, before: Kinds) -> tuple[bytes, ...] | None:
    """The same as SQL writes them: numbers, NULL, and for all else hexadecimal digits, which no
    setting of a session reads as anything else; None where one is no number. Raises
    ProtocolViolation."""
    found = [_literal(kind, value) for kind, value in _values(bound, count, before)]
    return None if None in found else tuple(each for each in found if each is not None)


def _literal(kind: int, value: bytes | None) -> bytes | None:
    if value is None or kind & 0xFF == _NULL:
        return b"NULL"
    if kind & 0xFF in _NUMBERS:
        written = shown(kind, value)
        return None if written in ("inf", "-inf", "nan") else written.encode("ascii")
    if kind & 0xFF in _TIMES:
        value = shown(kind, value).encode("ascii")
    try:
        value.decode()
    except UnicodeDecodeError:
        return b"X'%s'" % value.hex().encode("ascii")
    return b"_utf8mb4 X'%s'" % value.hex().encode("ascii")
