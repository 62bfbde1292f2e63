"""Mask method x PostgreSQL type x wire format -> the primitive op of `_speedups.maskops`.

Called by the session when a result is described. Rules: what comes out is always a
valid value of the column's type in the column's format; text and binary denote the same value;
a type not known here (enums, composites, extensions: their OIDs differ per database) becomes NULL.

OIDs are those of PostgreSQL's pg_type.dat, which never change. Domains arrive as their underlying
type in RowDescription. Binary forms are those of each type's send function
(src/backend/utils/adt).
"""

import struct
from collections.abc import Mapping
from typing import Final

from appliance.model.decision import Mask, MaskMethod
from appliance.model.errors import InvariantBroken

Op = tuple[str] | tuple[str, int] | tuple[str, str] | tuple[str, bytes]

TEXT: Final = 0
BINARY: Final = 1
NULL: Final[Op] = ("null",)

REDACTED: Final = b"****"
STEP_MAX: Final = 10**15  # as in maskops: exact in a double, and remainder * 10000 fits 64 bits
KEEP_MAX: Final = 2**31 - 1
UNITS: Final = frozenset({"year", "month", "day"})

BOOL, BYTEA, CHAR, NAME, INT8, INT2, INT4, TEXT_TYPE, OID = 16, 17, 18, 19, 20, 21, 23, 25, 26
JSON, XML, CIDR, FLOAT4, FLOAT8, UNKNOWN, MACADDR8, MONEY = 114, 142, 650, 700, 701, 705, 774, 790
MACADDR, INET, BPCHAR, VARCHAR, DATE, TIME, TIMESTAMP = 829, 869, 1042, 1043, 1082, 1083, 1114
TIMESTAMPTZ, INTERVAL, TIMETZ, BIT, VARBIT, NUMERIC = 1184, 1186, 1266, 1560, 1562, 1700
UUID, JSONB = 2950, 3802

TEXT_LIKE: Final = frozenset({TEXT_TYPE, VARCHAR, BPCHAR, NAME, UNKNOWN})
"""Types whose text and binary forms are the characters themselves, of any length."""

_MODIFIER_HEADER = 4  # VARHDRSZ, which the modifiers of strings and numeric include
_SCALE_BITS = 0x7FF  # of numeric: 11 bits, negative scales in two's complement
_SCALE_MAX = 0x3FF
_1970_DAYS = -10_957  # from 2000-01-01, PostgreSQL's own zero
_1970_MICROSECONDS = _1970_DAYS * 86_400_000_000
_ZERO_IPV4 = bytes(4)
_AF_INET = 2  # PGSQL_AF_INET

NEUTRAL: Final[Mapping[int, tuple[bytes, bytes]]] = {
    **dict.fromkeys(TEXT_LIKE, (REDACTED, REDACTED)),
    XML: (REDACTED, REDACTED),  # well-formed content
    CHAR: (b"*", b"*"),  # "char" is exactly one byte
    BOOL: (b"f", b"\0"),
    INT2: (b"0", bytes(2)),
    INT4: (b"0", bytes(4)),
    INT8: (b"0", bytes(8)),
    OID: (b"0", bytes(4)),
    FLOAT4: (b"0", bytes(4)),
    FLOAT8: (b"0", bytes(8)),
    NUMERIC: (b"0", bytes(8)),  # no digit groups, weight 0, positive, scale 0
    MONEY: (b"$0.00", bytes(8)),
    BYTEA: (rb"\x", b""),
    UUID: (b"00000000-0000-0000-0000-000000000000", bytes(16)),
    DATE: (b"1970-01-01", struct.pack("!i", _1970_DAYS)),
    TIME: (b"00:00:00", bytes(8)),
    TIMETZ: (b"00:00:00+00", bytes(12)),
    TIMESTAMP: (b"1970-01-01 00:00:00", struct.pack("!q", _1970_MICROSECONDS)),
    TIMESTAMPTZ: (b"1970-01-01 00:00:00+00", struct.pack("!q", _1970_MICROSECONDS)),
    INTERVAL: (b"00:00:00", bytes(16)),
    JSON: (b"{}", b"{}"),
    JSONB: (b"{}", b"\x01{}"),  # a version byte goes first
    INET: (b"0.0.0.0", struct.pack("!BBBB", _AF_INET, 32, 0, 4) + _ZERO_IPV4),
    CIDR: (b"0.0.0.0/32", struct.pack("!BBBB", _AF_INET, 32, 1, 4) + _ZERO_IPV4),
    MACADDR: (b"00:00:00:00:00:00", bytes(6)),
    MACADDR8: (b"00:00:00:00:00:00:00:00", bytes(8)),
    BIT: (b"0", struct.pack("!i", 1) + b"\0"),
    VARBIT: (b"0", struct.pack("!i", 1) + b"\0"),
    # Ranges and multiranges: int4, int8, num, date, ts, tstz; the empty one (flag RANGE_EMPTY).
    **dict.fromkeys((3904, 3926, 3906, 3912, 3908, 3910), (b"empty", b"\x01")),
    **dict.fromkeys((4451, 4536, 4532, 4535, 4533, 4534), (b"{}", bytes(4))),
}
"""Type OID -> the value without information, as text and as binary."""

ARRAY_ELEMENTS: Final[Mapping[int, int]] = {
    1000: BOOL,
    1001: BYTEA,
    1002: CHAR,
    1003: NAME,
    1005: INT2,
    1007: INT4,
    1009: TEXT_TYPE,
    1014: BPCHAR,
    1015: VARCHAR,
    1016: INT8,
    1021: FLOAT4,
    1022: FLOAT8,
    1028: OID,
    1040: MACADDR,
    775: MACADDR8,
    1041: INET,
    651: CIDR,
    1115: TIMESTAMP,
    1182: DATE,
    1183: TIME,
    1185: TIMESTAMPTZ,
    1187: INTERVAL,
    1231: NUMERIC,
    1270: TIMETZ,
    1561: BIT,
    1563: VARBIT,
    143: XML,
    199: JSON,
    791: MONEY,
    2951: UUID,
    3807: JSONB,
    3905: 3904,
    3927: 3926,
    3907: 3906,
    3913: 3912,
    3909: 3908,
    3911: 3910,
}
"""Array type OID -> element type OID."""

_DATE_OPS: Final[Mapping[int, tuple[str, str]]] = {
    DATE: ("date_text", "date_binary"),
    TIMESTAMP: ("timestamp_text", "timestamp_binary"),
    TIMESTAMPTZ: ("timestamptz_text", "timestamp_binary"),
}

_NUMBER_OPS: Final[Mapping[int, tuple[str, str]]] = {
    INT2: ("int_text", "int_binary"),
    INT4: ("int_text", "int_binary"),
    INT8: ("int_text", "int_binary"),
    FLOAT4: ("float4_text", "float4_binary"),
    FLOAT8: ("float8_text", "float8_binary"),
    NUMERIC: ("numeric_text", "numeric_binary"),
}


def cell_op(
    mask: Mask, type_oid: int, format: int, keys: Mapping[str, bytes], typmod: int = -1
) -> Op:
    """The op that masks one column; `keys` maps token key names to their bytes, `typmod` is the
    column's modifier (-1 = none): a constant takes the form the column would store it in.

    Raises ValueError for a format that is neither text (0) nor binary (1) and InvariantBroken for
    a token key that the configuration should have had.
    """
    if format not in (TEXT, BINARY):
        raise ValueError("a column's format is 0 (text) or 1 (binary)")
    special = _typed_op(mask, type_oid, format) or _text_op(mask, type_oid, keys)
    return _stored(special or neutral_op(mask, type_oid, format), type_oid, format, typmod)


def _stored(op: Op, type_oid: int, format: int, typmod: int) -> Op:
    """A constant as character(n), character varying(n) or numeric(p, s) would hold it."""
    if op[0] != "fixed" or not isinstance(op[-1], bytes) or typmod < _MODIFIER_HEADER:
        return op
    if type_oid in (BPCHAR, VARCHAR):
        length = typmod - _MODIFIER_HEADER
        value = op[-1].decode()[:length]
        return ("fixed", (value.ljust(length) if type_oid == BPCHAR else value).encode())
    if type_oid == NUMERIC:
        scale = (typmod - _MODIFIER_HEADER) & _SCALE_BITS
        if 0 < scale <= _SCALE_MAX:
            text = b"0." + b"0" * scale
            return ("fixed", struct.pack("!6xH", scale) if format == BINARY else text)
    return op


def neutral_op(mask: Mask, type_oid: int, format: int) -> Op:
    """The op that writes the type's neutral value; NULL for method null or an unknown type."""
    if mask.method is MaskMethod.NULL:
        return NULL
    if type_oid in NEUTRAL:
        return ("fixed", NEUTRAL[type_oid][format])
    if type_oid in ARRAY_ELEMENTS:
        return ("fixed", empty_array(ARRAY_ELEMENTS[type_oid], format))
    return NULL


def empty_array(element_oid: int, format: int) -> bytes:
    """`{}`; in binary (array_send) no dimensions, no NULLs, the element type."""
    return struct.pack("!iiI", 0, 0, element_oid) if format == BINARY else b"{}"


def _typed_op(mask: Mask, type_oid: int, format: int) -> Op | None:
    """Truncations, on the types that have one."""
    if mask.method is MaskMethod.TRUNCATE_DATE and type_oid in _DATE_OPS:
        return (_DATE_OPS[type_oid][format], mask.unit) if mask.unit in UNITS else None
    if mask.method is MaskMethod.TRUNCATE_NUMBER and type_oid in _NUMBER_OPS:
        return (_NUMBER_OPS[type_oid][format], mask.step) if 1 <= mask.step <= STEP_MAX else None
    return None


def _text_op(mask: Mask, type_oid: int, keys: Mapping[str, bytes]) -> Op | None:
    """Methods that work on characters, on the types that are characters."""
    if type_oid not in TEXT_LIKE:
        return None
    match mask.method:
        case MaskMethod.FIXED:
            value = mask.value.encode()
            return ("fixed", value) if b"\0" not in value else None
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
