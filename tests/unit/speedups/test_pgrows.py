"""RowMasker: the same bytes as the reference, and nothing at all from a row that does not fit."""

from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups.pgrows import RowMasker
from tests.reference import pgrows as reference
from tests.reference.pgrows import row

MIB = 1 << 20
OPS: list[tuple[Any, ...] | None] = [
    None,
    ("null",),
    ("fixed", b"a much longer value than the one that was there before"),
    ("fixed", b""),
    ("keep_first", 3),
    ("keep_last", 3),
    ("email",),
    ("token", b"key"),
    ("date_text", "year"),
    ("timestamp_binary", "month"),
    ("int_text", 1000),
    ("int_binary", 100),
    ("numeric_text", 10),
    ("numeric_binary", 10),
    ("float8_text", 10),
]
CELLS = st.none() | st.binary(max_size=40) | st.sampled_from(
    [b"", b"joe@example.com", b"2001-02-03", b"123456", b"1234.5", bytes(8), bytes(4)]
)  # fmt: skip


@st.composite
def results(draw: st.DrawFn) -> tuple[list[tuple[Any, ...] | None], list[bytes]]:
    """Ops and rows that fit them."""
    ops = draw(st.lists(st.sampled_from(OPS), max_size=6))
    rows = st.lists(CELLS, min_size=len(ops), max_size=len(ops)).map(lambda cells: row(*cells))
    return ops, draw(st.lists(rows, max_size=8))


SHORT_OPS: list[tuple[Any, ...] | None] = [
    None,
    ("null",),
    ("fixed", b""),
    ("fixed", b"****"),
    ("fixed", b"sixteen bytes it"),
]
"""What a row without any other is masked quickly with, as long as it is not long itself."""
BLOCKS = st.sampled_from([0, 1, 2, 3]).flatmap(
    lambda blocks: st.integers(max(64 * blocks - 24, 0), 64 * blocks + 4)
)
SHORT_CELLS = st.none() | BLOCKS.map(lambda size: bytes(range(1, 256))[:size])


@st.composite
def short_results(draw: st.DrawFn) -> tuple[list[tuple[Any, ...] | None], list[bytes]]:
    ops = draw(st.lists(st.sampled_from(SHORT_OPS), min_size=1, max_size=5))
    one = st.lists(SHORT_CELLS, min_size=len(ops), max_size=len(ops)).map(lambda c: row(*c))
    return ops, draw(st.lists(one, min_size=1, max_size=30))


@given(result=results() | short_results())
def test_agrees_with_the_reference(
    result: tuple[list[tuple[Any, ...] | None], list[bytes]],
) -> None:
    ops, rows = result
    ours, twin = RowMasker(ops), reference.RowMasker(ops)
    run = b"".join(rows)
    assert ours.mask(run, len(rows)) == twin.mask(run, len(rows))
    one_by_one = RowMasker(ops)
    assert b"".join(one_by_one.mask(memoryview(each), 1) for each in rows) == twin.mask(
        run, len(rows)
    )
    totals = (ours.rows, ours.cells_masked, ours.bytes_out)
    assert totals == (one_by_one.rows, one_by_one.cells_masked, one_by_one.bytes_out)
    assert totals == (twin.rows // 2, twin.cells_masked // 2, twin.bytes_out // 2)


@pytest.mark.parametrize("masked", [("null",), ("fixed", b"****"), ("fixed", b"sixteen bytes it")])
@pytest.mark.parametrize("columns", [1, 2])
def test_what_passes_in_front_and_behind_is_of_any_size(
    columns: int, masked: tuple[Any, ...]
) -> None:
    ops = [None] * columns + [masked] + [None] * columns
    for size in range(300):
        rows = [
            row(
                *[bytes([65 + which]) * (size + which)] * columns,
                b"secret",
                *[b"x" * size] * columns,
            )
            for which in range(3)
        ]
        run = b"".join([*rows * 9, row(*[None] * (2 * columns + 1)), *rows * 9])
        assert RowMasker(ops).mask(run, 55) == reference.RowMasker(ops).mask(run, 55)


@given(
    result=results() | short_results(),
    harm=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=3),
    cut=st.integers(0, 20),
    count=st.integers(0, 9),
)
def test_refuses_what_the_reference_refuses(
    result: tuple[list[tuple[Any, ...] | None], list[bytes]],
    harm: list[tuple[int, int]],
    cut: int,
    count: int,
) -> None:
    ops, rows = result
    run = bytearray(b"".join(rows))
    for place, byte in harm:
        if run:
            run[place % len(run)] = byte
    damaged = bytes(run[: len(run) - cut]) if cut < len(run) else bytes(run)
    assert outcome(RowMasker(ops), damaged, count) == outcome(
        reference.RowMasker(ops), damaged, count
    )


def outcome(masker: Any, run: bytes, count: int) -> tuple[bytes | str, int, int, int]:
    try:
        masked: bytes | str = masker.mask(run, count)
    except ValueError as error:
        masked = str(error)
    return masked, masker.rows, masker.cells_masked, masker.bytes_out


GOOD = row(b"1", b"joe@example.com")


@pytest.mark.parametrize(
    ("run", "count", "fault"),
    [
        (b"T" + GOOD[1:], 1, "not a data row"),
        (b"", 1, "not a data row"),
        (GOOD, 2, "not a data row"),
        (GOOD + GOOD, 1, "row length out of step"),
        (GOOD[:-1], 1, "row length out of step"),
        (b"D" + b"\xff" * 4 + GOOD[5:], 1, "row length out of step"),
        (b"D" + (5).to_bytes(4) + GOOD[5:], 1, "row length out of step"),
        (row(b"1"), 1, "column count differs from the plan"),
        (row(b"1", b"2", b"3"), 1, "column count differs from the plan"),
        (row(), 1, "column count differs from the plan"),
        (GOOD[:7] + (-2).to_bytes(4, signed=True) + GOOD[11:], 1, "cell length out of step"),
        (GOOD[:7] + (0x7FFFFFFF).to_bytes(4) + GOOD[11:], 1, "cell length out of step"),
        (GOOD[:7] + (21).to_bytes(4) + GOOD[11:], 1, "cell length out of step"),
        (GOOD[:7] + (0).to_bytes(4) + GOOD[11:], 1, "cell length out of step"),
        (GOOD[:12] + (14).to_bytes(4) + GOOD[16:], 1, "bytes after the last cell"),
    ],
)
def test_rows_that_do_not_fit(run: bytes, count: int, fault: str) -> None:
    masker = RowMasker([None, ("email",)])
    with pytest.raises(ValueError, match=fault):
        masker.mask(run, count)
    assert (masker.rows, masker.cells_masked, masker.bytes_out) == (0, 0, 0)


def test_a_bad_row_spoils_its_whole_run() -> None:
    masker = RowMasker([None, ("email",)])
    with pytest.raises(ValueError):
        masker.mask(GOOD + GOOD + b"D" + b"\0" * 4, 3)
    assert masker.rows == 0


def test_claimed_lengths_cost_no_memory() -> None:
    process = psutil.Process()
    masker = RowMasker([("null",)])
    before = process.memory_info().rss
    for length in (0x3FFFFFFF, 0x7FFFFFFF, 0xFFFFFFFE):
        claim = length.to_bytes(4)
        for run in (b"D" + claim + b"\0\1", b"D\0\0\0\x0a\0\1" + claim):
            for _ in range(200):
                with pytest.raises(ValueError):
                    masker.mask(run, 1)
    assert process.memory_info().rss - before < 8 * MIB


def test_many_columns_grow_as_much_as_they_need() -> None:
    ops: list[tuple[Any, ...] | None] = [("fixed", b"x" * 1000)] * 1664
    run = row(*[b""] * 1664) * 5
    assert RowMasker(ops).mask(run, 5) == row(*[b"x" * 1000] * 1664) * 5


def test_a_long_cell_passes_whole() -> None:
    run = row(bytes(10 * MIB), b"secret")
    assert RowMasker([None, ("fixed", b"****")]).mask(run, 1) == row(bytes(10 * MIB), b"****")


def test_counts_leave_null_cells_out() -> None:
    masker = RowMasker([("null",), ("email",), None])
    masker.mask(row(b"1", None, b"3") + row(None, None, None), 2)
    assert (masker.rows, masker.cells_masked) == (2, 1)


@pytest.mark.parametrize("ops", [[("upper",)], [("keep_first", -1)], [None] * 70_000])
def test_ops_that_are_none(ops: list[tuple[Any, ...] | None]) -> None:
    with pytest.raises(ValueError):
        RowMasker(ops)


def test_a_count_below_zero() -> None:
    with pytest.raises(ValueError):
        RowMasker([]).mask(b"", -1)
