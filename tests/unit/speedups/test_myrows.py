"""RowMasker for MySQL: the same bytes as the reference, and none from a row that does not fit."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups.myframe import packets
from _speedups.myrows import RowMasker
from tests.reference import myrows as reference
from tests.reference.myrows import Kind, Op, lenenc

TEXT_OPS: list[Op] = [
    None,
    ("null",),
    ("fixed", b"a much longer value than the one that was there before" * 6),
    ("fixed", b""),
    ("keep_first", 3),
    ("keep_last", 3),
    ("email",),
    ("token", b"key"),
    ("date_text", "year"),
    ("timestamp_text", "month"),
    ("int_text", 1000),
    ("numeric_text", 10),
]
VALUES = st.binary(max_size=300) | st.sampled_from(
    [b"", b"joe@example.com", b"2001-02-03", b"2001-02-03 04:05:06", b"123456", b"-1234.5"]
)


def exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


STRING: Kind = (0xFD, False, 0)
BINARY: list[tuple[Kind, list[Op], Any]] = [
    (STRING, TEXT_OPS, VALUES.map(lambda v: lenenc(len(v)) + v)),
    ((0x01, False, 0), [None, ("int_binary", 7), ("fixed", b"\0")], exactly(1)),
    ((0x02, True, 0), [None, ("int_binary", 7), ("fixed", b"\0")], exactly(2)),
    ((0x03, False, 0), [("int_binary", 100)], exactly(4)),
    ((0x08, False, 0), [("int_binary", 10)], exactly(8)),
    ((0x08, True, 0), [("int_binary", 10), ("null",)], exactly(8)),
    ((0x04, False, 0), [("float4_binary", 10), ("fixed", bytes(4))], exactly(4)),
    ((0x05, False, 0), [("float8_binary", 10)], exactly(8)),
    (
        (0x0C, False, 6),
        [None, ("timestamp_binary", "month"), ("date_binary", "year"), ("date_binary", "day")],
        st.sampled_from([0, 4, 7, 11, 5]).flatmap(
            lambda n: st.binary(min_size=n, max_size=n).map(lambda v: bytes((n,)) + v)
        ),
    ),
    ((0x0B, False, 0), [None, ("fixed", b"")], st.just(b"\x08\0\1\0\0\0\1\2\3")),
]  # fmt: skip


@st.composite
def text_results(draw: st.DrawFn) -> tuple[list[Op], list[Kind], list[bytes]]:
    ops = draw(st.lists(st.sampled_from(TEXT_OPS), min_size=1, max_size=6))
    kinds = [(0x0C, False, draw(st.integers(0, 7))) for _ in ops]
    cell = st.just(b"\xfb") | VALUES.map(lambda v: lenenc(len(v)) + v)
    row = st.lists(cell, min_size=len(ops), max_size=len(ops)).map(b"".join)
    return ops, kinds, draw(st.lists(row, max_size=8))


@st.composite
def binary_results(draw: st.DrawFn) -> tuple[list[Op], list[Kind], list[bytes]]:
    chosen = draw(st.lists(st.sampled_from(BINARY), min_size=1, max_size=20))
    ops = [draw(st.sampled_from(ops)) for _, ops, _ in chosen]
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        nulls, cells = bytearray((len(chosen) + 9) // 8), b""
        for index, (_, _, values) in enumerate(chosen, 2):
            if draw(st.booleans()):
                nulls[index // 8] |= 1 << (index % 8)
            else:
                cells += draw(values)
        rows.append(b"\0" + bytes(nulls) + cells)
    return ops, [kind for kind, _, _ in chosen], rows


def check(ops: list[Op], kinds: list[Kind], rows: list[bytes], binary: bool) -> None:
    ours, twin = RowMasker(ops, kinds, binary), reference.RowMasker(ops, kinds, binary)
    run = b"".join(packets(row, 9 + index) for index, row in enumerate(rows))
    wanted = twin.mask(run, len(rows), 250)
    assert ours.mask(memoryview(run), len(rows), 250) == wanted
    assert ours.cells_masked == twin.cells_masked
    for row in rows:
        assert ours.mask_giant(row) == twin.row(row)


@given(result=text_results())
def test_text_agrees_with_the_reference(result: tuple[list[Op], list[Kind], list[bytes]]) -> None:
    check(*result, binary=False)


@given(result=binary_results())
def test_binary_agrees_with_the_reference(
    result: tuple[list[Op], list[Kind], list[bytes]],
) -> None:
    check(*result, binary=True)


@given(
    result=text_results() | binary_results(),
    binary=st.booleans(),
    at=st.integers(0, 500),
    new=st.integers(0, 255),
    cut=st.integers(0, 3),
)
def test_damage_is_refused_or_read_as_the_reference_reads_it(
    result: tuple[list[Op], list[Kind], list[bytes]], binary: bool, at: int, new: int, cut: int
) -> None:
    ops, kinds, rows = result
    run = bytearray(b"".join(packets(row, index) for index, row in enumerate(rows)))
    if run:
        run[at % len(run)] = new
    damaged = bytes(run[: len(run) - cut])
    ours, twin = RowMasker(ops, kinds, binary), reference.RowMasker(ops, kinds, binary)
    try:
        wanted = twin.mask(damaged, len(rows), 0)
    except ValueError:
        with pytest.raises(ValueError, match=r"out of step|not a row|after the last"):
            ours.mask(damaged, len(rows), 0)
        assert ours.rows == ours.cells_masked == 0
    else:
        assert ours.mask(damaged, len(rows), 0) == wanted


def test_columns_must_fit_the_ops() -> None:
    with pytest.raises(ValueError, match="as many columns"):
        RowMasker([None], [], False)
    with pytest.raises(ValueError, match="unknown type"):
        RowMasker([None], [(0x14, False, 0)], False)


def test_text_and_binary_mean_the_same_date() -> None:
    text = RowMasker([("timestamp_text", "month")], [(0x0C, False, 3)], False)
    row = b"2024-05-17 10:20:30.123"
    masked = text.mask_giant(lenenc(len(row)) + row)
    assert masked == b"\x172024-05-01 00:00:00.000"
    binary = RowMasker([("timestamp_binary", "month")], [(0x0C, False, 3)], True)
    value = struct.pack("<BHBBBBBI", 11, 2024, 5, 17, 10, 20, 30, 123_000)
    assert binary.mask_giant(b"\0\0" + value) == b"\0\0\x04" + struct.pack("<HBB", 2024, 5, 1)


@pytest.mark.parametrize(
    ("number", "kind", "unsigned", "cut"),
    [
        (1234, 0x08, False, 1200),
        (-1234, 0x08, False, -1200),
        (2**63 - 1, 0x08, True, 2**63 - 8),
        (2**63, 0x08, True, None),
        (255, 0x01, True, 200),
        (-128, 0x01, False, -100),
    ],
)
def test_integers_are_cut_as_text_is(
    number: int, kind: int, unsigned: bool, cut: int | None
) -> None:
    step = 100
    size = 8 if kind == 8 else 1
    value = number.to_bytes(size, "little", signed=not unsigned)
    binary = RowMasker([("int_binary", step)], [(kind, unsigned, 0)], True)
    text = RowMasker([("int_text", step)], [(kind, unsigned, 0)], False)
    in_text = text.mask_giant(lenenc(len(str(number))) + str(number).encode())
    in_binary = binary.mask_giant(b"\0\0" + value)
    if cut is None:
        assert (in_text, in_binary) == (b"\xfb", b"\0\x04")
        return
    wanted = number - number % 100 if number >= 0 else -(-number - -number % 100)
    assert in_text[1:] == str(wanted).encode()
    assert int.from_bytes(in_binary[2:], "little", signed=not unsigned) == wanted
