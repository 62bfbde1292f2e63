"""Built-in types by name, for telling a cast that changes nothing. Asked by `names`.

OIDs are fixed by PostgreSQL's pg_type.dat and the same in every version.
"""

from collections.abc import Mapping, Sequence

from appliance.sql.parse import Body

OIDS: Mapping[str, int] = {
    "bool": 16,
    "bytea": 17,
    "char": 18,
    "name": 19,
    "int8": 20,
    "int2": 21,
    "int4": 23,
    "regproc": 24,
    "text": 25,
    "oid": 26,
    "tid": 27,
    "xid": 28,
    "cid": 29,
    "json": 114,
    "xml": 142,
    "xid8": 5069,
    "point": 600,
    "lseg": 601,
    "path": 602,
    "box": 603,
    "polygon": 604,
    "line": 628,
    "cidr": 650,
    "float4": 700,
    "float8": 701,
    "circle": 718,
    "macaddr8": 774,
    "money": 790,
    "macaddr": 829,
    "inet": 869,
    "aclitem": 1033,
    "bpchar": 1042,
    "varchar": 1043,
    "date": 1082,
    "time": 1083,
    "timestamp": 1114,
    "timestamptz": 1184,
    "interval": 1186,
    "timetz": 1266,
    "bit": 1560,
    "varbit": 1562,
    "numeric": 1700,
    "refcursor": 1790,
    "regprocedure": 2202,
    "regoper": 2203,
    "regoperator": 2204,
    "regclass": 2205,
    "regtype": 2206,
    "uuid": 2950,
    "pg_lsn": 3220,
    "tsvector": 3614,
    "gtsvector": 3642,
    "tsquery": 3615,
    "regconfig": 3734,
    "regdictionary": 3769,
    "jsonb": 3802,
    "int4range": 3904,
    "numrange": 3906,
    "tsrange": 3908,
    "tstzrange": 3910,
    "daterange": 3912,
    "int8range": 3926,
    "jsonpath": 4072,
    "regnamespace": 4089,
    "regrole": 4096,
    "regcollation": 4191,
    "int4multirange": 4451,
    "nummultirange": 4532,
    "tsmultirange": 4533,
    "tstzmultirange": 4534,
    "datemultirange": 4535,
    "int8multirange": 4536,
}

ARRAY_OIDS: Mapping[int, int] = {
    16: 1000,
    17: 1001,
    18: 1002,
    19: 1003,
    20: 1016,
    21: 1005,
    23: 1007,
    25: 1009,
    26: 1028,
    114: 199,
    142: 143,
    700: 1021,
    701: 1022,
    869: 1041,
    1042: 1014,
    1043: 1015,
    1082: 1182,
    1083: 1183,
    1114: 1115,
    1184: 1185,
    1186: 1187,
    1700: 1231,
    2950: 2951,
    3802: 3807,
}
"""Element type -> its array type."""

STRING_TYPES = frozenset({"name", "text", "varchar", "bpchar", "char"})
"""A row is not cast to these by `text(c)`: that looks for a column."""

_CHARACTERS = frozenset({1042, 1043})
_TIMES = frozenset({1083, 1114, 1184, 1266})
_BITS = frozenset({1560, 1562})
_NUMERIC = 1700
_HEADER_BYTES = 4  # VARHDRSZ, which the modifiers of varchar and numeric include
NO_MODIFIER = -1
UNKNOWN_MODIFIER = -2


def modifier(type_oid: int, arguments: Sequence[Body]) -> int:
    """pg_attribute.atttypmod for `varchar(10)`, `numeric(10,2)`...; UNKNOWN_MODIFIER for others."""
    numbers = [node.get("A_Const", {}).get("ival", {}).get("ival", 0) for node in arguments]
    if not arguments:
        return NO_MODIFIER
    if any("A_Const" not in node for node in arguments):
        return UNKNOWN_MODIFIER
    if type_oid in _CHARACTERS:
        return int(numbers[0]) + _HEADER_BYTES
    if type_oid in _TIMES or type_oid in _BITS:
        return int(numbers[0])
    if type_oid == _NUMERIC:
        scale = numbers[1] if len(numbers) > 1 else 0
        return ((int(numbers[0]) << 16) | (int(scale) & 0x7FF)) + _HEADER_BYTES
    return UNKNOWN_MODIFIER
