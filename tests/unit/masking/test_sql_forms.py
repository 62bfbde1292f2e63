"""The SQL form of a mask, run by real servers, gives what the byte form gives: same value, text and
binary, whatever the cell."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from _speedups.maskops import MaskOp
from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.masking import formats
from appliance.masking.sql_forms import CELL, sql_form
from appliance.model.catalog import Column
from appliance.model.decision import Mask, MaskMethod

TEXTS = (
    "",
    "a",
    "abc",
    "abcdef",
    "jane.doe@example.com",
    "@example.com",
    "ü@bücher.museum",
    "no at sign.com",
    "a@b.c",
    "free text with @ and a last. word",
    "a@b.toolonglabelfortwentyc",
    "x@y.com\n",
    "日本語テキスト",
    "it's \\ quoted",
    " padded ",
)
NUMBERS = ("0", "1", "-1", "999", "1000", "1001", "-1999", "32767", "-32768")
WIDE = (*NUMBERS, "2147483647", "-2147483648")
WIDEST = (*WIDE, "9223372036854775807", "-9223372036854775808")
DECIMALS = (*WIDEST, "0.5", "-0.5", "1234.50", "-99999999999999999999.999", "NaN", "1e-10")
FLOATS = ("0", "-0.0", "1.5", "999.5", "-1234.75", "1e10", "NaN", "Infinity", "-Infinity")
DATES = ("2024-02-29", "1999-12-31", "0001-01-01", "0044-03-15 BC", "infinity", "-infinity")
MOMENTS = ("2024-02-29 12:34:56.789", "1999-12-31 23:59:59", "0044-03-15 01:00:00 BC", "infinity")

TYPES: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("text", formats.TEXT_TYPE, -1, TEXTS),
    ("character varying(40)", formats.VARCHAR, 44, TEXTS),
    ("character(30)", formats.BPCHAR, 34, TEXTS),
    ("name", formats.NAME, -1, TEXTS),
    ("smallint", formats.INT2, -1, NUMBERS),
    ("integer", formats.INT4, -1, WIDE),
    ("bigint", formats.INT8, -1, WIDEST),
    ("numeric", formats.NUMERIC, -1, DECIMALS),
    ("numeric(12,2)", formats.NUMERIC, (12 << 16 | 2) + 4, ("0", "1234.50", "-999999.99")),
    ("real", formats.FLOAT4, -1, FLOATS),
    ("double precision", formats.FLOAT8, -1, FLOATS),
    ("boolean", formats.BOOL, -1, ("t", "f")),
    ("bytea", formats.BYTEA, -1, (r"\x", r"\x00ff")),
    ("uuid", formats.UUID, -1, ("00000000-0000-0000-0000-00000000abcd",)),
    ("date", formats.DATE, -1, DATES),
    ("timestamp without time zone", formats.TIMESTAMP, -1, MOMENTS),
    ("timestamp with time zone", formats.TIMESTAMPTZ, -1, MOMENTS),
    ("interval", formats.INTERVAL, -1, ("1 day",)),
    ("time without time zone", formats.TIME, -1, ("12:34:56",)),
    ("jsonb", formats.JSONB, -1, ('{"a": 1}', "[]")),
    ("json", formats.JSON, -1, ('{"a": 1}', "[]")),
    ("xml", formats.XML, -1, ("<a/>",)),
    ("inet", formats.INET, -1, ("10.0.0.1/8", "::1")),
    ("cidr", formats.CIDR, -1, ("10.0.0.0/8",)),
    ("macaddr", formats.MACADDR, -1, ("08:00:2b:01:02:03",)),
    ("bit(4)", formats.BIT, 4, ("1010",)),
    ("bit varying", formats.VARBIT, -1, ("101",)),
    ("money", formats.MONEY, -1, ("12.34",)),
    ('"char"', formats.CHAR, -1, ("x",)),
    ("oid", formats.OID, -1, ("12",)),
    ("int4range", 3904, -1, ("[1,4)",)),
    ("text[]", 1009, -1, ("{a,b}",)),
    ("integer[]", 1007, -1, ("{1,2}",)),
    ("point", 600, -1, ("(1,2)",)),
)

MASKS = (
    Mask(MaskMethod.NULL),
    Mask(MaskMethod.REDACT),
    Mask(MaskMethod.FIXED, value="it's \\ masked"),
    Mask(MaskMethod.KEEP_FIRST, keep=3),
    Mask(MaskMethod.KEEP_FIRST, keep=0),
    Mask(MaskMethod.KEEP_LAST, keep=4),
    Mask(MaskMethod.KEEP_LAST, keep=2**31 - 1),
    Mask(MaskMethod.EMAIL),
    Mask(MaskMethod.TRUNCATE_DATE, unit="year"),
    Mask(MaskMethod.TRUNCATE_DATE, unit="month"),
    Mask(MaskMethod.TRUNCATE_DATE, unit="day"),
    Mask(MaskMethod.TRUNCATE_NUMBER, step=1),
    Mask(MaskMethod.TRUNCATE_NUMBER, step=1000),
    Mask(MaskMethod.TRUNCATE_NUMBER, step=7),
)


@pytest.fixture(scope="module", params=["postgres", "postgres16"])
def connection(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    server: EmbeddedPostgres = request.getfixturevalue(request.param)
    with psycopg.connect(server.uri("postgres"), autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def has_xml(connection: psycopg.Connection) -> bool:
    """Whether the server was built with libxml."""
    try:
        connection.execute("SELECT xml '<a/>'")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


def cells(
    connection: psycopg.Connection,
    expression: str,
    type_text: str,
    values: tuple[str, ...],
    binary: bool,
) -> list[bytes | None]:
    query = sql.SQL(
        "SELECT {} FROM (SELECT CAST(v AS {}) AS {} FROM unnest({}::text[]) v) s"
    ).format(
        sql.SQL(expression),  # type: ignore[arg-type]
        sql.SQL(type_text),  # type: ignore[arg-type]
        sql.Identifier(CELL),
        sql.Literal([*values, None]),
    )
    result = connection.pgconn.exec_params(
        query.as_bytes(connection), None, result_format=int(binary)
    )
    assert result.status == psycopg.pq.ExecStatus.TUPLES_OK, result.error_message.decode()
    return [result.get_value(row, 0) for row in range(result.ntuples)]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize(
    "mask", MASKS, ids=lambda mask: f"{mask.method.value}-{mask.keep}-{mask.unit}-{mask.step}"
)
def test_as_the_bytes_are_masked(connection: psycopg.Connection, mask: Mask, binary: bool) -> None:
    for type_text, oid, typmod, values in TYPES:
        if type_text == "xml" and not has_xml(connection):
            continue
        if mask.method is MaskMethod.EMAIL and oid == formats.BPCHAR:
            continue  # on the wire the blanks behind it are left out, which character(n) ignores
        column = Column(1, "c", oid, typmod, type_text=type_text)
        op = MaskOp(formats.cell_op(mask, oid, int(binary), {}, typmod))
        raw = cells(connection, CELL, type_text, values, binary)
        got = cells(connection, sql_form(mask, column), type_text, values, binary)
        wanted = [op.apply(value) for value in raw]
        assert got == wanted, type_text
