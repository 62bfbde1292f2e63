"""Mask method x column type -> the SQL expression that gives the mask: the form for the source.

Called by `masked`. The byte form of the same masks is `wire/mysql/cells`; a differential test holds
that both give the same value. Rules: NULL stays NULL; only the server's own functions, which no
stored function can hide; constants are written as hexadecimal with their character set, so that
they mean the same under every sql_mode and encoding; a method without an SQL form here (a token:
its key must never be in a text that the database logs) gives the type's neutral value, a type
without one gives NULL.
"""

from collections.abc import Mapping
from typing import Final

from appliance.model.catalog import Column
from appliance.model.decision import Mask, MaskMethod

STEP_MAX: Final = 10**15
KEEP_MAX: Final = 2**31 - 1
UNITS: Final = ("year", "month", "day")
REDACTED: Final = "****"
_ROOM_MIN: Final = 40
"""Characters of the longest constant part of a mask, and more."""
_SIZED_MAX: Final = 10_000
"""Characters up to which a masked column gets a length of its own."""
_SIGNED_MAX: Final = 2**63 - 1

_INTEGERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
_TEXTS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_OCTETS = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
_LABEL = "[.][A-Za-z]{2,18}\\z"
"""A domain's last label. \\z, since $ also matches before a line's end."""
_PIECES: Final[Mapping[str, int]] = {"tinytext": 255}


def sql_form(mask: Mask, column: Column, cell: str) -> str:
    """The expression in place of `cell`, which is a reference to `column`."""
    made = None if mask.method is MaskMethod.NULL else _made(mask, column, cell)
    return "NULL" if made is None else made


def _made(mask: Mask, column: Column, cell: str) -> str | None:
    kind = kind_of(column)
    if is_text(column):
        return _as_text(_of_text(mask, cell) or _unless_null(cell, _word(REDACTED)), mask, column)
    cut = None
    if mask.method is MaskMethod.TRUNCATE_DATE and mask.unit in UNITS:
        cut = _of_date(mask.unit, kind, column, cell)
    elif mask.method is MaskMethod.TRUNCATE_NUMBER and 1 <= mask.step <= STEP_MAX:
        cut = _of_number(mask.step, kind, column, cell)
    return cut or _neutral(kind, column, cell)


def kind_of(column: Column) -> str:
    """The type's name, without length and attributes."""
    return column.type_text.partition("(")[0].split(" ")[0].lower()


def is_text(column: Column) -> bool:
    """Characters of any length, as on the wire. ENUM and SET hold only words of their own."""
    return kind_of(column) in _TEXTS and column.charset not in ("", "binary")


def _word(value: str) -> str:
    """A constant, whatever the session says of quotes, backslashes and encodings."""
    return f"_utf8mb4 x'{value.encode().hex()}'"


def _characters(cell: str) -> str:
    """The cell's characters, compared one by one."""
    return f"CONVERT({cell} USING utf8mb4) COLLATE utf8mb4_bin"


def _of_text(mask: Mask, cell: str) -> str | None:
    match mask.method:
        case MaskMethod.FIXED if "\0" not in mask.value:
            return _unless_null(cell, _word(mask.value))
        case MaskMethod.KEEP_FIRST | MaskMethod.KEEP_LAST if 0 <= mask.keep <= KEEP_MAX:
            return _kept(mask, cell)
        case MaskMethod.EMAIL:
            return _email(cell)
        case _:
            return None


def _kept(mask: Mask, cell: str) -> str:
    text = f"CONVERT({cell} USING utf8mb4)"
    length = f"CHAR_LENGTH({text})"
    star = _word("*")
    stars = f"REPEAT({star}, {length} - {mask.keep})"
    if mask.method is MaskMethod.KEEP_FIRST:
        joined = f"CONCAT(LEFT({text}, {mask.keep}), {stars})"
    else:
        joined = f"CONCAT({stars}, RIGHT({text}, {mask.keep}))"
    return f"CASE WHEN {length} > {mask.keep} THEN {joined} ELSE REPEAT({star}, {length}) END"


def _email(cell: str) -> str:
    text = _characters(cell)
    first, at = f"LEFT({text}, 1)", _word("@")
    label = f"COALESCE(REGEXP_SUBSTR({text}, {_word(_LABEL)}), {_word('')})"
    return (
        f"CASE WHEN {cell} IS NULL THEN NULL"
        f" WHEN {first} = {at} OR LOCATE({at}, {text}) = 0 THEN {_word(REDACTED)}"
        f" ELSE CONCAT({first}, {_word('***@***')}, {label}) END"
    )


def _as_text(made: str, mask: Mask, column: Column) -> str:
    """Of the column's character set and collation, and as near to its length as no mask is cut."""
    length = _length(column)
    room = max(length, _ROOM_MIN, len(mask.value))
    size = f"({room})" if length > 0 and room <= _SIZED_MAX else ""
    if mask.method is MaskMethod.FIXED and not mask.value.isascii():
        return f"CAST({made} AS CHAR{size} CHARACTER SET utf8mb4)"  # whatever the column can hold
    cast = f"CAST({made} AS CHAR{size} CHARACTER SET {column.charset})"
    return f"{cast} COLLATE {column.collation}" if column.collation else cast


def _length(column: Column) -> int:
    """Characters of CHAR(n) and VARCHAR(n); 0 = not said."""
    digits = column.type_text.partition("(")[2].partition(")")[0]
    if digits.isdigit():
        return int(digits)
    return _PIECES.get(kind_of(column), 0)


def _of_date(unit: str, kind: str, column: Column, cell: str) -> str | None:
    if kind not in ("date", "datetime", "timestamp"):
        return None
    kept = UNITS.index(unit)
    year = f"LPAD(YEAR({cell}), 4, {_word('0')})"
    parts = [f"LPAD({name}({cell}), 2, {_word('0')})" for name in ("MONTH", "DAYOFMONTH")]
    shown = [part if number <= kept else _word("01") for number, part in enumerate(parts, 1)]
    joined = f"CONCAT({year}, {_word('-')}, {shown[0]}, {_word('-')}, {shown[1]})"
    made = "DATE" if kind == "date" else f"DATETIME{_fraction_of(column)}"
    return (
        f"CASE WHEN {cell} IS NULL OR MONTH({cell}) = 0 OR DAYOFMONTH({cell}) = 0 THEN NULL"
        f" ELSE CAST({joined} AS {made}) END"
    )


def _fraction_of(column: Column) -> str:
    digits = column.type_text.partition("(")[2].partition(")")[0]
    return f"({digits})" if digits in ("1", "2", "3", "4", "5", "6") else ""


def _of_number(step: int, kind: str, column: Column, cell: str) -> str | None:
    if kind in _INTEGERS:
        if "unsigned" not in column.type_text.lower():
            return f"CAST({cell} - {cell} % {step} AS SIGNED)"
        cut = f"CAST({cell} - {cell} % {step} AS UNSIGNED)"
        # On the wire, numbers are cut in 64 bits with a sign.
        return f"CASE WHEN {cell} > {_SIGNED_MAX} THEN NULL ELSE {cut} END"
    if kind == "decimal":
        size = column.type_text.partition("(")[2].partition(")")[0]
        whole = f"TRUNCATE({cell}, 0)"
        return f"CAST({whole} - {whole} % {step} AS DECIMAL({size}))"
    return None


def _neutral(kind: str, column: Column, cell: str) -> str | None:
    if kind in _INTEGERS or kind == "year":
        return _unless_null(cell, "0")
    if kind in ("float", "double"):
        return _unless_null(cell, "0e0")
    if kind == "decimal":
        size = column.type_text.partition("(")[2].partition(")")[0]
        return f"CAST({_unless_null(cell, '0')} AS DECIMAL({size}))"
    if kind == "date":
        return _cast(cell, "1970-01-01", "DATE")
    if kind in ("datetime", "timestamp"):
        return _cast(cell, "1970-01-01 00:00:00", f"DATETIME{_fraction_of(column)}")
    if kind == "time":
        return _cast(cell, "00:00:00", f"TIME{_fraction_of(column)}")
    if kind in _OCTETS:
        return _unless_null(cell, "x''")
    if kind == "bit":
        octets = (max(1, _length(column)) + 7) // 8
        return _unless_null(cell, f"x'{'00' * octets}'")
    if kind == "json":
        return _cast(cell, "{}", "JSON")
    return None


def _cast(cell: str, value: str, kind: str) -> str:
    return f"CAST({_unless_null(cell, _word(value))} AS {kind})"


def _unless_null(cell: str, value: str) -> str:
    return f"CASE WHEN {cell} IS NULL THEN NULL ELSE {value} END"
