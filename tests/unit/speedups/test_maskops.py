"""maskops: the same as the reference on valid, odd and hostile values; own SHA-256 as hashlib's."""

import hashlib
import struct
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups.maskops import MaskOp
from _speedups.sha256 import sha256
from tests.reference.maskops import as_decimal, mask_value

UNITS = st.sampled_from(["year", "month", "day"])
STEPS = st.integers(1, 10**15) | st.sampled_from([1, 2, 10, 1000, 7, 9999, 10_000, 10**15])
KEEPS = st.integers(0, 12)


def op(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(st.just(name), *arguments)


ASCII_DIGITS = "0123456789"
DIGITS = st.text(ASCII_DIGITS, min_size=1, max_size=30)
YEARS = st.integers(-5000, 300_000) | st.integers(1900, 2100)


@st.composite
def iso(draw: st.DrawFn, clock: bool, zone: bool) -> bytes:
    """Dates and timestamps, mostly as PostgreSQL writes them."""
    year = draw(YEARS)
    month, day = draw(st.integers(0, 13)), draw(st.integers(0, 32))
    text = f"{year if year > 0 else 1 - year:04d}-{month:02d}-{day:02d}"
    if clock:
        parts = draw(st.tuples(st.integers(0, 24), st.integers(0, 60), st.integers(0, 60)))
        text += " {:02d}:{:02d}:{:02d}".format(*parts)
        text += draw(st.sampled_from(["", ".5", ".123456", ".1234567", "."]))
    if zone:
        text += draw(st.sampled_from(["+00", "-08", "+05:30", "-00:01:15", "+14", "", "Z", "-1"]))
    text += " BC" if year <= 0 else draw(st.sampled_from(["", "", "", " BC", " AD"]))
    return text.encode()


INTS = st.integers(-(2**63) - 5, 2**63 + 5) | st.integers(-5000, 5000)
NUMERICS = st.builds(
    "{}{}{}{}".format, st.sampled_from(["", "-", "+"]), DIGITS, st.sampled_from(["", "."]), DIGITS
) | st.integers(250, 260).map(lambda size: "9" * size)
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
FLOAT_TEXTS = (
    FLOATS.map(repr)
    | FLOATS.map(lambda number: f"{number:.17e}")
    | st.floats(width=32).map(lambda number: f"{number:.9g}")
    | st.sampled_from(["NaN", "Infinity", "-Infinity", "inf", "nan", "0x10", "1e400", "", ".", "e"])
)


@st.composite
def numeric_wire(draw: st.DrawFn) -> bytes:
    """numeric_send's form, mostly valid."""
    groups = draw(st.lists(st.integers(0, 9999) | st.just(0), max_size=9))
    weight = draw(st.integers(-4, 9) | st.integers(-70, 70))
    sign = draw(st.sampled_from([0, 0, 0x4000, 0x4000, 0xC000, 0xD000, 0xF000, 1]))
    count = len(groups) + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))
    header = struct.pack("!HhHH", max(count, 0), weight, sign, draw(st.integers(0, 0x4000)))
    return header + struct.pack(f"!{len(groups)}H", *groups)


CASES: dict[str, tuple[st.SearchStrategy[tuple[Any, ...]], st.SearchStrategy[bytes]]] = {
    "null": (op("null"), st.binary()),
    "fixed": (op("fixed", st.binary()), st.binary()),
    "keep_first": (op("keep_first", KEEPS), st.text().map(str.encode) | st.binary()),
    "keep_last": (op("keep_last", KEEPS), st.text().map(str.encode) | st.binary()),
    "email": (
        op("email"),
        st.emails().map(str.encode)
        | st.text("aé@.1- ", max_size=40).map(str.encode)
        | st.text("ab@.", max_size=40).map(str.encode)
        | st.binary(),
    ),
    "token": (op("token", st.binary(min_size=1, max_size=130)), st.binary(max_size=300)),
    "date_text": (op("date_text", UNITS), iso(False, False)),
    "timestamp_text": (op("timestamp_text", UNITS), iso(True, False)),
    "timestamptz_text": (op("timestamptz_text", UNITS), iso(True, True)),
    "date_binary": (
        op("date_binary", UNITS),
        st.integers(-(2**31), 2**31 - 1).map(lambda days: struct.pack("!i", days)),
    ),
    "timestamp_binary": (
        op("timestamp_binary", UNITS),
        st.integers(-(2**63), 2**63 - 1).map(lambda moment: struct.pack("!q", moment)),
    ),
    "int_text": (op("int_text", STEPS), INTS.map(lambda number: str(number).encode())),
    "int_binary": (op("int_binary", STEPS), st.sampled_from([2, 4, 8]).flatmap(
        lambda size: st.binary(min_size=size, max_size=size))),
    "numeric_text": (op("numeric_text", STEPS), NUMERICS.map(str.encode)),
    "numeric_binary": (op("numeric_binary", STEPS), numeric_wire()),
    "float4_text": (op("float4_text", STEPS), FLOAT_TEXTS.map(str.encode)),
    "float8_text": (op("float8_text", STEPS), FLOAT_TEXTS.map(str.encode)),
    "float4_binary": (op("float4_binary", STEPS), st.binary(min_size=4, max_size=4)),
    "float8_binary": (
        op("float8_binary", STEPS), FLOATS.map(lambda number: struct.pack("!d", number))),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@given(choice=st.data())
def test_agrees_with_the_reference(name: str, choice: st.DataObject) -> None:
    ops, values = CASES[name]
    chosen = choice.draw(ops)
    value = choice.draw(values | st.binary(max_size=20))
    assert MaskOp(chosen).apply(value) == mask_value(chosen, value)
    assert MaskOp(chosen).apply(None) is None


@given(text=st.binary(max_size=500))
def test_sha256_is_the_standard_one(text: bytes) -> None:
    assert sha256(text) == hashlib.sha256(text).digest()


@pytest.mark.parametrize("size", [*range(130), 1000, 4096])
def test_sha256_at_every_padding(size: int) -> None:
    assert sha256(b"\xa5" * size) == hashlib.sha256(b"\xa5" * size).digest()


@pytest.mark.parametrize(
    ("chosen", "value", "masked"),
    [
        (("email",), b"john.doe@example.co.uk", b"j***@***.uk"),
        (("email",), "élan@müller.de".encode(), "é***@***.de".encode()),
        (("email",), b"root@localhost", b"r***@***"),
        (("email",), b"my number is @ 1.5551234", b"m***@***"),
        (("email",), b"@example.com", b"****"),
        (("email",), b"nobody", b"****"),
        (("email",), b"", b"****"),
        (("keep_first", 2), "äöü".encode(), "äö*".encode()),
        (("keep_last", 4), b"4111111111111234", b"************1234"),
        (("keep_last", 4), b"1234", b"****"),
        (("keep_last", 4), b"", b""),
        (("keep_first", 2), b"\xff\xfe\xfd", b"****"),
        (("date_text", "year"), b"1987-06-05", b"1987-01-01"),
        (("date_text", "month"), b"0044-03-15 BC", b"0044-03-01 BC"),
        (("date_text", "year"), b"-infinity", b"-infinity"),
        (("date_text", "year"), b"05/06/1987", None),
        (("date_text", "year"), b"05.06.1987", None),
        (("date_text", "year"), b"4714-11-30 BC", None),
        (("timestamptz_text", "year"), b"2024-01-01 00:30:00+02", b"2023-01-01 00:00:00+00"),
        (("timestamp_text", "day"), b"2024-05-06 07:08:09.123", b"2024-05-06 00:00:00"),
        (("int_text", 1000), b"-12345", b"-12000"),
        (("int_text", 1000), b"-5", b"0"),
        (("int_binary", 1000), struct.pack("!i", -12345), struct.pack("!i", -12000)),
        (("int_binary", 10), b"\0" * 3, None),
        (("numeric_text", 1000), b"12345.67", b"12000.00"),
        (("numeric_text", 1000), b"-0.5", b"0.0"),
        (("numeric_text", 10), b"NaN", b"NaN"),
        (("float8_text", 1000), b"1.2345678901234568e+17", b"1.23456789012345e+17"),
        (("float4_text", 1000), b"1.234567e+06", b"1.234e+06"),
        (("float8_text", 1000), b"2999.9999999999995", b"2000"),
    ],
)
def test_examples(chosen: tuple[Any, ...], value: bytes, masked: bytes | None) -> None:
    assert MaskOp(chosen).apply(value) == masked
    assert mask_value(chosen, value) == masked


@given(value=st.integers(-(10**40), 10**40), scale=st.integers(0, 6), step=STEPS)
def test_numeric_text_is_the_number_cut(value: int, scale: int, step: int) -> None:
    raw = f"{Decimal(value):f}" + ("." + "7" * scale if scale else "")
    masked = MaskOp(("numeric_text", step)).apply(raw.encode())
    assert masked is not None
    cut = abs(value) // step * step
    assert as_decimal(masked) == (-cut if value < 0 else cut)


@pytest.mark.parametrize(
    "chosen",
    [
        (),
        ("upper",),
        ("null", 1),
        ("email", 1),
        ("keep_first",),
        ("keep_first", -1),
        ("keep_last", 2**31),
        ("token", b""),
        ("date_text", "week"),
        ("int_text", 0),
        ("int_text", -5),
        ("numeric_text", 10**15 + 1),
        ("fixed", None),
    ],
)
def test_ops_that_are_none(chosen: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError):
        MaskOp(chosen)
