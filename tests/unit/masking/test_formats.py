"""masking/formats with a real PostgreSQL as the judge: valid, same value in text and in binary."""

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import psycopg
import pytest
from psycopg import pq
from psycopg.postgres import types

from _speedups.maskops import MaskOp
from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.masking import formats
from appliance.masking.formats import ARRAY_ELEMENTS, BINARY, NEUTRAL, TEXT, cell_op
from appliance.model.decision import Mask, MaskMethod
from appliance.model.errors import InvariantBroken

KEYS = {"default": b"a key of this test"}
MASKS = [
    *(Mask(method) for method in MaskMethod),
    Mask(MaskMethod.FIXED, value="höchst geheim"),
    Mask(MaskMethod.KEEP_FIRST, keep=0),
    Mask(MaskMethod.KEEP_LAST, keep=1),
    Mask(MaskMethod.TRUNCATE_DATE, unit="month"),
    Mask(MaskMethod.TRUNCATE_DATE, unit="day"),
    Mask(MaskMethod.TRUNCATE_NUMBER, step=7),
    Mask(MaskMethod.TRUNCATE_NUMBER, step=10**15),
]
TIMES = ["1969-12-31 23:59:59.999999", "2024-02-29 12:00:00.5", "0044-03-15 10:11:12 BC",
         "infinity", "-infinity", "4714-11-24 00:00:00 BC", "294276-12-31 23:59:59"]  # fmt: skip
DATES = ["1999-12-31", "2024-02-29", "0001-01-01 BC", "infinity", "-infinity", "5874897-12-31",
         "4714-11-24 BC", "0099-05-05"]  # fmt: skip
FLOATS = ["0", "-0", "1.5", "-1234.5678", "NaN", "Infinity", "-Infinity", "1e20", "123456.7",
          "1e-30", "999999.9", "7654321", "3.4e38"]  # fmt: skip
VALUES: dict[str, list[str]] = {
    "text": ["", "a", "joe@example.com", "ünïcödé € 𝄞 text", "*" * 100],
    "varchar": ["x", "joe@example.com"],
    "bpchar": ["x   "],
    "name": ["a_name"],
    '"char"': ["x"],
    "bool": ["t", "f"],
    "int2": ["0", "-1", "32767", "-32768", "1234"],
    "int4": ["0", "-1", "2147483647", "-2147483648", "123456"],
    "int8": ["0", "-1", "9223372036854775807", "-9223372036854775808"],
    "oid": ["4294967295"],
    "float4": FLOATS,
    "float8": [*FLOATS, "1.2345678901234567e17", "1e15", "999999999999999.9", "2999.9999999999995"],
    "numeric": [
        "0",
        "-0.5",
        "12345.67",
        "-999.9900",
        "NaN",
        "Infinity",
        "-Infinity",
        "10000",
        "100000000",
        "99999999",
        "123456789012345678901234567890.123",
        "1e255",
        "1e256",
        "0.00001",
        "1e-20",
    ],
    "money": ["$1,234.56", "-$0.01"],
    "bytea": [r"\xdeadbeef", ""],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000"],
    "date": DATES,
    "time": ["12:34:56.789", "24:00:00"],
    "timetz": ["12:34:56+02:30"],
    "timestamp": TIMES,
    "timestamptz": [f"{each}+00" if each[-1] == "9" else each for each in TIMES],
    "interval": ["1 year 2 mons -3 days 04:05:06"],
    "json": ['{"a": [1, "secret"]}', "null"],
    "jsonb": ['{"a": [1, "secret"]}', "null"],
    "inet": ["192.168.1.7/24", "::1"],
    "cidr": ["10.0.0.0/8", "fe80::/64"],
    "macaddr": ["08:00:2b:01:02:03"],
    "macaddr8": ["08:00:2b:01:02:03:04:05"],
    "bit(5)": ["10101"],
    "varbit": ["1", ""],
    "int4range": ["[1,10)"],
    "int8range": ["[1,10)"],
    "numrange": ["[1,10)"],
    "daterange": ["[2020-01-01,)"],
    "tsrange": ["[2020-01-01,)"],
    "tstzrange": ["[2020-01-01,)"],
    "int4multirange": ["{[1,10)}"],
    "int8multirange": ["{[1,10)}"],
    "nummultirange": ["{[1,10)}"],
    "datemultirange": ["{[2020-01-01,)}"],
    "tsmultirange": ["{[2020-01-01,)}"],
    "tstzmultirange": ["{[2020-01-01,)}"],
}


class Judge:
    """A server asked through libpq alone, so that no driver's own conversion stands between."""

    def __init__(self, uri: str) -> None:
        self._connection = psycopg.connect(uri, autocommit=True)
        self._raw = self._connection.pgconn

    def close(self) -> None:
        self._connection.close()

    def run(self, sql: str, *parameters: tuple[int, int, bytes | None], format: int = TEXT) -> Any:
        result = self._raw.exec_params(
            sql.encode(),
            [value for _, _, value in parameters],
            [oid for oid, _, _ in parameters],
            [pq.Format(form) for _, form, _ in parameters],
            pq.Format(format),
        )
        assert result.status == pq.ExecStatus.TUPLES_OK, result.error_message.decode()
        return result

    def shown(self, oid: int, format: int, value: bytes | None) -> bytes | None:
        """What the server prints for a value it was sent in one of its wire forms."""
        found: bytes | None = self.run("select $1", (oid, format, value)).get_value(0, 0)
        return found


@pytest.fixture(scope="module")
def judge(postgres: EmbeddedPostgres) -> Iterator[Judge]:
    asked = Judge(postgres.uri())
    yield asked
    asked.close()


@pytest.mark.parametrize("type", VALUES)
def test_masked_values_are_valid_and_equal_in_both_formats(judge: Judge, type: str) -> None:
    for literal in VALUES[type]:
        for suffix in ("", "[]"):
            sql = (
                f"select '{literal}'::{type}"
                if not suffix
                else f"select array['{literal}'::{type}]"
            )
            text = judge.run(sql, format=TEXT)
            binary = judge.run(sql, format=BINARY)
            oid = text.ftype(0)
            for mask in MASKS:
                check(judge, oid, mask, text.get_value(0, 0), binary.get_value(0, 0))


def check(judge: Judge, oid: int, mask: Mask, text: bytes, binary: bytes) -> None:
    masked = MaskOp(cell_op(mask, oid, TEXT, KEYS)).apply(text)
    masked_binary = MaskOp(cell_op(mask, oid, BINARY, KEYS)).apply(binary)
    context = (oid, mask.method, text, masked, masked_binary)
    assert (masked is None) == (masked_binary is None), context
    if mask.method is MaskMethod.NULL:
        assert masked is None
        return
    shown = judge.shown(oid, BINARY, masked_binary)
    if masked is None or shown is None:
        assert masked is shown, context
        return
    assert judge.shown(oid, TEXT, masked) == shown, context
    # Between two shortest texts of one float PostgreSQL may choose the other.
    floats = oid in (formats.FLOAT4, formats.FLOAT8)
    assert shown == masked or (floats and float(shown) == float(masked)), context


def test_every_type_with_a_neutral_value_is_tried(judge: Judge) -> None:
    tried = set()
    for type in VALUES:
        tried.add(judge.run(f"select null::{type}").ftype(0))
        tried.add(judge.run(f"select null::{type}[]").ftype(0))
    arrays_of_multiranges = {types[name].array_oid for name in VALUES if "multirange" in name}
    untried = {formats.UNKNOWN, formats.XML, types["xml"].array_oid}
    assert set(NEUTRAL) | set(ARRAY_ELEMENTS) == (tried - arrays_of_multiranges) | untried


def test_xml_stays_content() -> None:
    """Not asked of the server: the embedded one is built without libxml."""
    for format in (TEXT, BINARY):
        op: Any = cell_op(Mask(MaskMethod.KEEP_FIRST), formats.XML, format, KEYS)
        assert op[0] == "fixed"
        assert ElementTree.fromstring(b"<x>" + op[1] + b"</x>").text == "****"


def test_arrays_are_named_with_their_elements() -> None:
    for array_oid, element_oid in ARRAY_ELEMENTS.items():
        assert types[element_oid].array_oid == array_oid


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("unit", ["year", "month", "day"])
def test_timestamps_with_zone_are_cut_in_utc_whatever_the_session(
    judge: Judge, zone: str, unit: str
) -> None:
    oid, mask = formats.TIMESTAMPTZ, Mask(MaskMethod.TRUNCATE_DATE, unit=unit)
    moments = ["2024-01-01 00:30+00", "2023-12-31 23:30+00", "1850-06-01 00:00+00"]
    try:
        judge.run(f"select set_config('TimeZone', '{zone}', false)")
        for moment in moments:
            sql = f"select '{moment}'::timestamptz"
            text = judge.run(sql).get_value(0, 0)
            binary = judge.run(sql, format=BINARY).get_value(0, 0)
            masked = MaskOp(cell_op(mask, oid, TEXT, KEYS)).apply(text)
            cut = judge.run(f"select date_trunc('{unit}', '{moment}'::timestamptz, 'UTC')")
            assert judge.shown(oid, TEXT, masked) == cut.get_value(0, 0)
            again = MaskOp(cell_op(mask, oid, BINARY, KEYS)).apply(binary)
            assert judge.shown(oid, BINARY, again) == cut.get_value(0, 0)
    finally:
        judge.run("select set_config('TimeZone', 'UTC', false)")


@pytest.mark.parametrize("style", ["SQL, DMY", "German", "Postgres, MDY"])
@pytest.mark.parametrize("type", ["date", "timestamp", "timestamptz"])
def test_other_date_styles_become_null(judge: Judge, style: str, type: str) -> None:
    try:
        judge.run(f"select set_config('DateStyle', '{style}', false)")
        found = judge.run(f"select '2024-05-06'::{type}")
        op = cell_op(Mask(MaskMethod.TRUNCATE_DATE), found.ftype(0), TEXT, KEYS)
        assert MaskOp(op).apply(found.get_value(0, 0)) is None
    finally:
        judge.run("select set_config('DateStyle', 'ISO, MDY', false)")


@pytest.mark.parametrize("method", MaskMethod)
@pytest.mark.parametrize("format", [TEXT, BINARY])
@pytest.mark.parametrize("oid", [0, 600, 2249, 3614, 16_384, 2**32 - 1])
def test_types_without_a_valid_mask_become_null(method: MaskMethod, format: int, oid: int) -> None:
    assert cell_op(Mask(method), oid, format, KEYS) == ("null",)


@pytest.mark.parametrize(
    ("mask", "oid", "op"),
    [
        (Mask(MaskMethod.REDACT), formats.TEXT_TYPE, ("fixed", b"****")),
        (Mask(MaskMethod.FIXED, value="n/a"), formats.VARCHAR, ("fixed", b"n/a")),
        (Mask(MaskMethod.FIXED, value="a\0b"), formats.VARCHAR, ("fixed", b"****")),
        (Mask(MaskMethod.FIXED, value="n/a"), formats.INT4, ("fixed", b"0")),
        (Mask(MaskMethod.KEEP_LAST, keep=4), formats.BPCHAR, ("keep_last", 4)),
        (Mask(MaskMethod.KEEP_LAST, keep=-1), formats.BPCHAR, ("fixed", b"****")),
        (Mask(MaskMethod.KEEP_LAST), formats.INT8, ("fixed", b"0")),
        (Mask(MaskMethod.EMAIL), formats.NAME, ("email",)),
        (Mask(MaskMethod.EMAIL), formats.JSONB, ("fixed", b"{}")),
        (Mask(MaskMethod.TOKEN), formats.TEXT_TYPE, ("token", KEYS["default"])),
        (Mask(MaskMethod.TOKEN, key="other"), formats.INT4, ("fixed", b"0")),
        (Mask(MaskMethod.TRUNCATE_DATE), formats.TEXT_TYPE, ("fixed", b"****")),
        (Mask(MaskMethod.TRUNCATE_DATE, unit="age"), formats.DATE, ("fixed", b"1970-01-01")),
        (Mask(MaskMethod.TRUNCATE_NUMBER, step=5), formats.INT2, ("int_text", 5)),
        (Mask(MaskMethod.TRUNCATE_NUMBER, step=0), formats.INT2, ("fixed", b"0")),
        (Mask(MaskMethod.TRUNCATE_NUMBER, step=10**18), formats.NUMERIC, ("fixed", b"0")),
        (Mask(MaskMethod.REDACT), 1007, ("fixed", b"{}")),
    ],
)
def test_ops_in_text(mask: Mask, oid: int, op: tuple[Any, ...]) -> None:
    assert cell_op(mask, oid, TEXT, KEYS) == op


def test_a_missing_token_key_is_a_bug_of_ours() -> None:
    with pytest.raises(InvariantBroken):
        cell_op(Mask(MaskMethod.TOKEN, key="gone"), formats.TEXT_TYPE, TEXT, KEYS)


@pytest.mark.parametrize("format", [-1, 2])
def test_formats_that_do_not_exist(format: int) -> None:
    with pytest.raises(ValueError):
        cell_op(Mask(MaskMethod.NULL), formats.INT4, format, KEYS)
