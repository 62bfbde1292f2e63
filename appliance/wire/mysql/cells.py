"""Mask method x MySQL type x form of the rows -> the primitive op of `_speedups.maskops`.

Called by `codec` when a result is described. Rules: what comes out is always a valid value of the
column's type in the column's form; text and binary denote the same value; a type not known here
becomes NULL, and so does what a column's own words (ENUM, SET) may not hold. What these ops make of
a value is what `sql/mysql/mask_forms` has the server make of it.
"""

import struct
from collections.abc import Mapping
from typing import Final

from appliance.model.decision import Mask, MaskMethod
from appliance.model.errors import InvariantBroken
from appliance.wire.exchange import Column

Op = tuple[str] | tuple[str, int] | tuple[str, str] | tuple[str, bytes]

NULL: Final[Op] = ("null",)
REDACTED: Final = b"****"
STEP_MAX: Final = 10**15
KEEP_MAX: Final = 2**31 - 1
UNITS: Final = frozenset({"year", "month", "day"})

TINY, SHORT, LONG, FLOAT, DOUBLE, LONGLONG, INT24, YEAR = 1, 2, 3, 4, 5, 8, 9, 13
DECIMAL, NEWDECIMAL, VARCHAR, BIT, JSON = 0x00, 0xF6, 0x0F, 0x10, 0xF5
TIMESTAMP, DATE, TIME, DATETIME = 7, 10, 11, 12
STRINGS: Final = frozenset((VARCHAR, 0xFD, 0xFE))
BLOBS: Final = frozenset((0xF9, 0xFA, 0xFB, 0xFC))

_WIDTHS: Final = {TINY: 1, SHORT: 2, YEAR: 2, INT24: 4, LONG: 4, LONGLONG: 8}
_DATE: Final = struct.pack("<HBB", 1970, 1, 1)
_SCALE_MAX: Final = 38
NOT_FIXED: Final = 31
"""Decimals of a float that is written as it comes ("NOT_FIXED_DEC"); up to 39 in MariaDB."""


def cell_op(mask: Mask, column: Column, keys: Mapping[str, bytes]) -> Op:
    """The op that masks one column; `keys` maps token key names to their bytes. Raises
    InvariantBroken for a token key that the configuration should have had.
    """
    return _cut(mask, column) or _text(mask, column, keys) or neutral_op(mask, column)


def neutral_op(mask: Mask, column: Column) -> Op:
    """The op that writes the type's neutral value; NULL for method null or an unknown type."""
    if mask.method is MaskMethod.NULL:
        return NULL
    value = _neutral(column)
    return NULL if value is None else ("fixed", value)


def _neutral(column: Column) -> bytes | None:
    kind, binary = column.kind, column.binary
    if is_text(column):
        return REDACTED
    if kind in STRINGS or kind in BLOBS:
        return b""
    if kind in _WIDTHS:
        return bytes(_WIDTHS[kind]) if binary else (b"0000" if kind == YEAR else b"0")
    if kind in (FLOAT, DOUBLE):
        return bytes(4 if kind == FLOAT else 8) if binary else b"0" + _fraction(column)
    if kind in (DECIMAL, NEWDECIMAL):
        return b"0" + _fraction(column)
    if kind == DATE:
        return _DATE if binary else b"1970-01-01"
    if kind in (DATETIME, TIMESTAMP):
        return _DATE if binary else b"1970-01-01 00:00:00" + _fraction(column)
    if kind == TIME:
        return b"" if binary else b"00:00:00" + _fraction(column)
    if kind == BIT:
        return bytes(max(1, (column.width + 7) // 8))
    return b"{}" if kind == JSON else None


def _fraction(column: Column) -> bytes:
    shown = 0 < column.decimals <= (_SCALE_MAX if column.kind in (DECIMAL, NEWDECIMAL) else 30)
    return b"." + b"0" * column.decimals if shown else b""


def is_text(column: Column) -> bool:
    """Characters of any length: strings, and blobs with a character set (TEXT)."""
    return column.characters and (column.kind in STRINGS or column.kind in BLOBS)


def _cut(mask: Mask, column: Column) -> Op | None:
    """Truncations, on the types that have one."""
    if mask.method is MaskMethod.TRUNCATE_DATE and mask.unit in UNITS:
        if column.kind == DATE:
            return ("date_binary" if column.binary else "date_text", mask.unit)
        if column.kind in (DATETIME, TIMESTAMP):
            return ("timestamp_binary" if column.binary else "timestamp_text", mask.unit)
    if mask.method is MaskMethod.TRUNCATE_NUMBER and 1 <= mask.step <= STEP_MAX:
        if column.kind in _WIDTHS and column.kind != YEAR:
            return ("int_binary" if column.binary else "int_text", mask.step)
        if column.kind in (DECIMAL, NEWDECIMAL):
            return ("numeric_text", mask.step)
    return None


def _text(mask: Mask, column: Column, keys: Mapping[str, bytes]) -> Op | None:
    """Methods that work on characters, on the types that are characters."""
    if not is_text(column):
        return None
    match mask.method:
        case MaskMethod.FIXED:
            return ("fixed", mask.value.encode())
        case MaskMethod.KEEP_FIRST | MaskMethod.KEEP_LAST:
            return (mask.method.value, mask.keep) if 0 <= mask.keep <= KEEP_MAX else None
        case MaskMethod.EMAIL:
            return ("email",)
        case MaskMethod.TOKEN:
            if not keys.get(mask.key):
                raise InvariantBroken(f"no token key named {mask.key!r}")
            return ("token", keys[mask.key])
        case _:
            return None
