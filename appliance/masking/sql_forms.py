"""Mask method x column type -> the SQL expression that gives the mask: the form for the source.

Called by `masked_relations`. The byte form of the same masks is `formats`; a differential test
holds that both give the same value. Rules: every function, operator and type is written with its
schema; NULL stays NULL; a method without an SQL form here (a token: its key must never be in a
text that the database logs) gives the type's neutral value, a type without one gives NULL.

`CELL` stands for the column; whoever uses the text puts a reference in its place.
"""

from collections.abc import Mapping
from typing import Final

from appliance.masking import formats
from appliance.model.catalog import Column
from appliance.model.decision import Mask, MaskMethod

CELL: Final = "cell"

_NEUTRAL_TEXTS: Final[Mapping[int, str]] = {
    formats.MONEY: "CAST(0 AS pg_catalog.money)",
    formats.XML: "XMLPARSE(CONTENT '****')",
    formats.BIT: "CAST('0' AS pg_catalog.\"bit\")",
}
"""Neutral values that depend on settings or lengths when they are written as a cast of a text."""

_PSEUDO_TYPES: Final[Mapping[str, str]] = {"anyarray": "text[]"}
"""Types of columns that nothing can be cast to."""

_BPCHAR_HEADER = 4  # VARHDRSZ, included in the modifier of character(n)


def sql_form(mask: Mask, column: Column) -> str:
    """The expression for one column, of the column's type (a domain's underlying one)."""
    made = _made(mask, column)
    if column.collation and made is not None:
        return f"({made}) COLLATE {column.collation}"
    if made is not None and _is_text(column):
        return f'({made}) COLLATE pg_catalog."default"'
    if made is None:
        return f"CAST(NULL AS {_PSEUDO_TYPES.get(column.type_text, column.type_text)})"
    return made


def _made(mask: Mask, column: Column) -> str | None:
    if mask.method is MaskMethod.NULL:
        return None
    kind = _base(column)
    body = None
    if _is_text(column):
        body = _of_text(mask, _characters(column))
        if body is not None:
            body = f"CAST({body} AS {column.type_text})"
    elif mask.method is MaskMethod.TRUNCATE_DATE and mask.unit in formats.UNITS:
        body = _of_date(mask.unit, kind)
    elif mask.method is MaskMethod.TRUNCATE_NUMBER and 1 <= mask.step <= formats.STEP_MAX:
        body = _of_number(mask.step, kind, column.type_text)
    return body or _neutral(kind, column.type_text)


def _base(column: Column) -> int:
    """The OID of the column's type, a domain's underlying one; 0 when it is not built in."""
    name = column.type_text.partition("(")[0].strip()
    return _BASES.get(name, column.type_oid)


_BASES: Final[Mapping[str, int]] = {
    "text": formats.TEXT_TYPE,
    "character varying": formats.VARCHAR,
    "character": formats.BPCHAR,
    "bpchar": formats.BPCHAR,
    "name": formats.NAME,
    "smallint": formats.INT2,
    "integer": formats.INT4,
    "bigint": formats.INT8,
    "numeric": formats.NUMERIC,
    "real": formats.FLOAT4,
    "double precision": formats.FLOAT8,
    "date": formats.DATE,
    "timestamp without time zone": formats.TIMESTAMP,
    "timestamp with time zone": formats.TIMESTAMPTZ,
    "boolean": formats.BOOL,
    "uuid": formats.UUID,
    "json": formats.JSON,
    "jsonb": formats.JSONB,
    "inet": formats.INET,
    "bytea": formats.BYTEA,
}
"""Of domains, whose own OID says nothing; format_type() prints these names for built-in types
only, since the search_path is empty."""


def _is_text(column: Column) -> bool:
    return _base(column) in formats.TEXT_LIKE


def _characters(column: Column) -> str:
    """The cell as text, with the blanks that character(n) is padded with, as a client reads it."""
    plain = f'CAST({CELL} AS pg_catalog.text) COLLATE pg_catalog."C"'
    length = column.typmod - _BPCHAR_HEADER
    if _base(column) == formats.BPCHAR and length > 0:
        return f"pg_catalog.rpad({plain}, {length})"
    return f"({plain})"


def _of_text(mask: Mask, text: str) -> str | None:
    match mask.method:
        case MaskMethod.FIXED if "\0" not in mask.value:
            return _unless_null(_literal(mask.value))
        case MaskMethod.KEEP_FIRST | MaskMethod.KEEP_LAST if 0 <= mask.keep <= formats.KEEP_MAX:
            return _kept(mask, text)
        case MaskMethod.EMAIL:
            return _email(text)
        case _:
            return None


def _kept(mask: Mask, text: str) -> str:
    length = f"pg_catalog.length({text})"
    stars = f"pg_catalog.repeat('*', {length} OPERATOR(pg_catalog.-) {mask.keep})"
    if mask.method is MaskMethod.KEEP_FIRST:
        joined = f"pg_catalog.left({text}, {mask.keep}) OPERATOR(pg_catalog.||) {stars}"
    else:
        joined = f"{stars} OPERATOR(pg_catalog.||) pg_catalog.right({text}, {mask.keep})"
    return (
        f"CASE WHEN {length} OPERATOR(pg_catalog.>) {mask.keep} THEN {joined}"
        f" ELSE pg_catalog.repeat('*', {length}) END"
    )


def _email(text: str) -> str:
    first = f"pg_catalog.left({text}, 1)"
    label = f"pg_catalog.substring({text}, '\\.[A-Za-z]{{2,18}}$')"
    return (
        f"CASE WHEN {CELL} IS NULL THEN NULL"
        f" WHEN {first} OPERATOR(pg_catalog.=) '@'"
        f" OR pg_catalog.strpos({text}, '@') OPERATOR(pg_catalog.=) 0 THEN '****'"
        f" ELSE {first} OPERATOR(pg_catalog.||) '***@***'"
        f" OPERATOR(pg_catalog.||) COALESCE({label}, '') END"
    )


def _of_date(unit: str, kind: int) -> str | None:
    if kind == formats.TIMESTAMP:
        return f"pg_catalog.date_trunc('{unit}', {CELL})"
    if kind == formats.TIMESTAMPTZ:
        local = f"pg_catalog.timezone('UTC', {CELL})"
        return f"pg_catalog.timezone('UTC', pg_catalog.date_trunc('{unit}', {local}))"
    if kind != formats.DATE:
        return None
    parts = ("year", "month", "day")
    kept = parts[: parts.index(unit) + 1]
    numbers = [
        f"CAST(pg_catalog.date_part('{part}', {CELL}) AS pg_catalog.int4)" if part in kept else "1"
        for part in parts
    ]
    return (
        f"CASE WHEN NOT pg_catalog.isfinite({CELL}) THEN {CELL}"
        f" WHEN {CELL} OPERATOR(pg_catalog.<) CAST('4713-01-01 BC' AS pg_catalog.date) THEN NULL"
        f" ELSE pg_catalog.make_date({', '.join(numbers)}) END"
    )


def _of_number(step: int, kind: int, type_text: str) -> str | None:
    if kind in (formats.INT2, formats.INT4, formats.INT8):
        wide = f"CAST({CELL} AS pg_catalog.int8)"
        rest = f"({wide} OPERATOR(pg_catalog.%) CAST({step} AS pg_catalog.int8))"
        return f"CAST({wide} OPERATOR(pg_catalog.-) {rest} AS {type_text})"
    if kind in (formats.FLOAT4, formats.FLOAT8):
        wide = f"CAST({CELL} AS pg_catalog.float8)"
        unit = f"CAST({step} AS pg_catalog.float8)"
        whole = f"pg_catalog.trunc({wide} OPERATOR(pg_catalog./) {unit})"
        return (
            f"CAST(({whole} OPERATOR(pg_catalog.*) {unit}) OPERATOR(pg_catalog.+)"
            f" CAST(0 AS pg_catalog.float8) AS {type_text})"
        )
    if kind == formats.NUMERIC:
        whole = f"pg_catalog.trunc({CELL})"
        cut = f"{whole} OPERATOR(pg_catalog.-) pg_catalog.mod({whole}, {step})"
        scale = f"pg_catalog.scale({CELL})"
        return (
            f"CASE WHEN {scale} IS NULL THEN {CELL}"
            f" ELSE CAST(pg_catalog.round({cut}, {scale}) AS {type_text}) END"
        )
    return None


def _neutral(kind: int, type_text: str) -> str | None:
    if kind in _NEUTRAL_TEXTS:
        return _unless_null(_NEUTRAL_TEXTS[kind])
    if kind in formats.NEUTRAL:
        text = formats.NEUTRAL[kind][formats.TEXT].decode()
        # Around the CASE: inside it the NULL would cost the column its type modifier.
        return f"CAST({_unless_null(_literal(text))} AS {type_text})"
    if kind in formats.ARRAY_ELEMENTS:
        return _unless_null(f"CAST('{{}}' AS {type_text})")
    return None


def _unless_null(value: str) -> str:
    return f"CASE WHEN {CELL} IS NULL THEN NULL ELSE {value} END"


def _literal(value: str) -> str:
    """It means the same whatever standard_conforming_strings is."""
    escaped = value.replace("\\", "\\\\")
    return ("E'" if "\\" in value else "'") + escaped.replace("'", "''") + "'"
