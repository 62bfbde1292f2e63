"""Masks in MySQL's SQL give what the byte forms give, on a server, for every type and method."""

import re
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from pymysql.constants import FLAG

from _speedups.maskops import MaskOp
from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.model.catalog import Column
from appliance.model.decision import Mask, MaskMethod
from appliance.sql.mysql import catalog
from appliance.sql.mysql.catalog_rows import build_catalog
from appliance.sql.mysql.mask_forms import sql_form
from appliance.wire import exchange
from appliance.wire.mysql.cells import cell_op
from appliance.wire.mysql.messages import ENUM, SET
from tests.mariadb import connect, run

BINARY_CHARSET = 63

TEXTS = [
    "a", "ab@example.com", "@x.y", "nobody", "ż@ó.pl", "x@y.co\n", "x@y.ab\u017f", "a@b.\u212alm",
    "j\uff20x.com", "x@y.c", "x@y.abcdefghijklmnopqrs", "", "12345", "123456", "zażółć gęślą",
    "a'b\\c\"d", "  pad  ", "A@B.COM", "x@.com", "\U0001f600@x.org", "line\nbreak@x.io",
]  # fmt: skip
TYPES: dict[str, list[str]] = {
    "VARCHAR(40)": TEXTS,
    "VARCHAR(40) COLLATE utf8mb4_unicode_ci": TEXTS,
    "VARCHAR(40) COLLATE utf8mb4_bin": TEXTS,
    "TEXT": TEXTS,
    "LONGTEXT": TEXTS,
    "CHAR(40)": TEXTS,
    "VARCHAR(40) CHARACTER SET latin1": ["é@x.com", "12345", "ÿÿÿÿÿÿ", ""],
    "TINYINT": ["-128", "127", "0"],
    "INT": ["-2147483648", "2147483647", "999", "-1001"],
    "INT UNSIGNED": ["4294967295", "0", "1500"],
    "BIGINT": ["-9223372036854775808", "9223372036854775807", "-1"],
    "BIGINT UNSIGNED": ["18446744073709551615", "1999"],
    "MEDIUMINT": ["-5000"],
    "DECIMAL(12,3)": ["-1234.567", "999999999.999", "0.001", "-0.5", "1000"],
    "DECIMAL(10)": ["1234567890", "-5"],
    "FLOAT": ["1.5", "-1234.5"],
    "DOUBLE": ["1e300", "-1234.5"],
    "DATE": [
        "'2024-02-29'",
        "'0001-01-01'",
        "'9999-12-31'",
        "'1999-12-31'",
        "'0000-00-00'",
        "'2020-00-00'",
        "'2020-05-00'",
    ],
    "DATETIME": ["'2024-02-29 13:14:15'", "'1000-01-01'", "'9999-12-31 23:59:59'", "'0000-00-00'"],
    "DATETIME(3)": ["'2024-02-29 13:14:15.678'"],
    "TIMESTAMP": ["'2024-02-29 13:14:15'", "'1970-01-02 00:00:01'"],
    "TIME": ["'-838:59:59'", "'12:13:14'"],
    "TIME(2)": ["'12:13:14.56'"],
    "YEAR": ["1999", "0"],
    "BIT(1)": ["b'1'"],
    "BIT(12)": ["b'101010101010'"],
    "VARBINARY(20)": ["x'00ff'", "''"],
    "BLOB": ["x'00ff'"],
    "ENUM('a','b')": ["'b'"],
    "SET('a','b')": ["'a,b'"],
    "JSON": ["""'{"a": 1}'"""],
    "POINT": ["ST_GeomFromText('POINT(1 2)')"],
}
"""Type -> values; of the text types as they are, of others in SQL. NULL is tried with each."""

MASKS = [
    Mask(MaskMethod.NULL),
    Mask(MaskMethod.REDACT),
    Mask(MaskMethod.FIXED, value="it's \\ \"x\" \N{SNOWMAN}"),
    Mask(MaskMethod.FIXED, value=""),
    *(Mask(method, keep=keep) for method in (MaskMethod.KEEP_FIRST, MaskMethod.KEEP_LAST) for keep in (0, 1, 4, 100)),  # noqa: E501
    Mask(MaskMethod.EMAIL),
    *(Mask(MaskMethod.TRUNCATE_DATE, unit=unit) for unit in ("year", "month", "day")),
    *(Mask(MaskMethod.TRUNCATE_NUMBER, step=step) for step in (1, 7, 1000, 10**15)),
]  # fmt: skip
MODES = ("", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES,STRICT_ALL_TABLES", "PAD_CHAR_TO_FULL_LENGTH")


@pytest.fixture(scope="module")
def columns(mariadb: EmbeddedMariaDB) -> Iterator[dict[str, Column]]:
    """Type -> the column `c` of table `forms.t<number>`, which holds the values, and NULL."""
    run(mariadb, "CREATE DATABASE forms")
    with closing(connect(mariadb, database="forms")) as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_mode = ''")
        for number, (kind, values) in enumerate(TYPES.items()):
            nullable = " NULL" if kind == "TIMESTAMP" else ""
            cursor.execute(f"CREATE TABLE t{number} (id INT, c {kind}{nullable})")
            cursor.execute(f"INSERT INTO t{number} VALUES (0, NULL)")
            for place, value in enumerate(values, 1):
                texts = "CHAR(" in kind or "TEXT" in kind
                written = f"_utf8mb4 x'{value.encode().hex()}'" if texts else value
                cursor.execute(f"INSERT INTO t{number} VALUES ({place}, {written})")
        rows: dict[str, Any] = {}
        for name, query in catalog.QUERIES.items():
            cursor.execute(query)
            rows[name] = [tuple(v if v is None else str(v) for v in r) for r in cursor.fetchall()]
    found = build_catalog("t", "", rows)
    relations = [found.relation_named("forms", f"t{number}") for number in range(len(TYPES))]
    yield {
        kind: column
        for kind, relation in zip(TYPES, relations, strict=True)
        if relation is not None and (column := relation.column("c")) is not None
    }
    run(mariadb, "DROP DATABASE forms")


@pytest.mark.parametrize("modes", MODES)
@pytest.mark.parametrize("kind", TYPES)
def test_the_server_masks_as_we_do(
    columns: dict[str, Column], mariadb: EmbeddedMariaDB, kind: str, modes: str
) -> None:
    table = f"forms.t{list(TYPES).index(kind)}"
    raw_bytes: Any = {"use_unicode": False, "conv": {}}
    with closing(connect(mariadb, **raw_bytes)) as connection, connection.cursor() as cursor:
        cursor.execute(f"SET sql_mode = '{modes}'")
        cursor.execute(f"SELECT c FROM {table} ORDER BY id")
        raw = [row[0] for row in cursor.fetchall()]
        described = wire_column(cursor)
        for mask in MASKS:
            form = sql_form(mask, columns[kind], "t.`c`")
            cursor.execute(f"SELECT {form} FROM {table} AS t ORDER BY id")
            masked = [row[0] for row in cursor.fetchall()]
            cursor.execute("SHOW WARNINGS")
            assert not cursor.fetchall()
            op = MaskOp(cell_op(mask, described, {}))
            assert list(map(number, masked)) == [number(op.apply(value)) for value in raw], mask


def wire_column(cursor: Any) -> exchange.Column:
    (field,) = cursor._result.fields
    own_words = ENUM if field.flags & FLAG.ENUM else SET if field.flags & FLAG.SET else 0
    return exchange.Column(
        name="c",
        schema="",
        relation="",
        column="",
        kind=own_words or field.type_code,
        binary=False,
        unsigned=bool(field.flags & FLAG.UNSIGNED),
        characters=field.charsetnr != BINARY_CHARSET,
        width=field.length,
        decimals=field.scale,
    )


def number(value: bytes | None) -> bytes | Decimal | None:
    """Zero may be written in several ways, and so may a whole second."""
    if value is not None and re.fullmatch(rb"[0-9-]+ [0-9:]+\.0+", value):
        return value.partition(b".")[0]
    zero = value is not None and set(value) <= set(b"0.-") and b"0" in value
    return Decimal(0) if zero else value
