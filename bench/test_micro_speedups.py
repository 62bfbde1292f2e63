"""What the byte loops cost: framing per message, masking per row, lexing per byte.

    .venv/bin/python -m pytest bench/test_micro_speedups.py

Each benchmark also asserts a ceiling far above what is measured, so that a slip shows as red:
`extra_info` holds nanoseconds per unit.
"""

from collections.abc import Callable
from typing import Any

import pytest

from _speedups.pgframe import GATHER, GATHER_OR_STREAM, STREAM, FrameSplitter
from _speedups.pgrows import RowMasker
from _speedups.sqllex import measure, redact
from tests.reference.pgrows import row

ROWS = 1000
ROW = row(b"12345", b"john.doe@example.com", b"Germany", b"4111111111111111", b"1987-06-05")
QUERY = (
    b"select o.id, o.total, c.name from orders o join customers c on c.id = o.customer_id "
    b"where o.created > '2024-01-01' and c.country in ('de', 'fr') order by 1 limit 10"
)


def per_unit(benchmark: Any, work: Callable[[], object], units: int, ceiling_ns: float) -> None:
    benchmark(work)
    if benchmark.stats is None:  # under --benchmark-disable
        return
    fastest = benchmark.stats.stats.min * 1e9 / units
    benchmark.extra_info["ns_per_unit"] = round(fastest, 2)
    assert fastest < ceiling_ns


def splitter() -> FrameSplitter:
    made = FrameSplitter("upstream")
    made.rule(ord("D"), GATHER_OR_STREAM, 1 << 24, True)
    made.rule(ord("C"), GATHER, 1 << 16)
    made.rule(ord("d"), STREAM, 1 << 16)
    return made


def frame(type: bytes, body: bytes) -> bytes:
    return type + (len(body) + 4).to_bytes(4) + body


@pytest.mark.parametrize(
    ("chunk", "units", "ceiling_ns"),
    [
        pytest.param(frame(b"C", b"SELECT 1") * 1000, 1000, 400, id="single small frames"),
        pytest.param(frame(b"C", b"x" * 8000) * 30, 30, 2000, id="single frames of 8 KB"),
        pytest.param(ROW * ROWS, ROWS, 40, id="rows in one run"),
        pytest.param(frame(b"d", b"x" * 100) * 1000, 1000, 400, id="streamed copy chunks"),
    ],
)
def test_framing_per_message(benchmark: Any, chunk: bytes, units: int, ceiling_ns: float) -> None:
    splits = splitter()

    def work() -> None:
        splits.feed(chunk)
        while splits.next_run() is not None:
            pass

    per_unit(benchmark, work, units, ceiling_ns)


@pytest.mark.parametrize(
    ("ops", "ceiling_ns"),
    [
        pytest.param([None] * 5, 150, id="no mask"),
        pytest.param([None, ("fixed", b"****"), None, None, None], 150, id="redact"),
        pytest.param([None, ("email",), None, None, None], 200, id="email"),
        pytest.param([None, None, None, ("keep_last", 4), None], 250, id="keep_last"),
        pytest.param([None, None, None, None, ("date_text", "year")], 300, id="date"),
        pytest.param([("int_text", 1000), None, None, None, None], 200, id="number"),
        pytest.param([None, ("token", b"key"), None, None, None], 2500, id="token"),
    ],
)
def test_masking_per_row_of_text(benchmark: Any, ops: list[Any], ceiling_ns: float) -> None:
    masker, run = RowMasker(ops), ROW * ROWS
    per_unit(benchmark, lambda: masker.mask(run, ROWS), ROWS, ceiling_ns)


@pytest.mark.parametrize("work", [measure, redact])
def test_lexing_per_byte(benchmark: Any, work: Callable[[bytes], object]) -> None:
    per_unit(benchmark, lambda: work(QUERY), len(QUERY), 20)
