"""What looking at unclassified data costs: a value examined, a result sampled.

    .venv/bin/python -m pytest bench/test_micro_detect.py

The ceilings are what keeps the alarm (`dataplane/alarm`) below one per cent of a core while it has
columns to look at; there is nothing to pay once they are settled.
"""

from typing import Any

import pytest

from appliance.dataplane.alarm import CELL_BYTES_MAX, CELLS_WALKED_MAX
from appliance.detect.values import Tally
from appliance.model.limits import Limits
from appliance.wire.postgres import messages as m
from appliance.wire.postgres.cells import cells

VALUES = {
    "prose": b"Left at the neighbour's, please ring twice next time",
    "email": b"please write to jane.doe@example.com",
    "number": b"1234567890",
    "card": b"4111 1111 1111 1111",
    "iban": b"DE89 3704 0044 0532 0130 00",
    "nine digits": b"219007919",
    "evil": b"a@a." * 128,
}
VALUE_SECONDS_MAX = 200e-6
"""Several times what the dearest takes on a quiet machine."""
SAMPLE_SECONDS_MAX = 1.5e-3


@pytest.mark.parametrize("name", VALUES)
def test_value(benchmark: Any, name: str) -> None:
    tally, values = Tally(), [VALUES[name]] * 100
    benchmark(tally.add, values)
    assert benchmark.stats["median"] / 100 < VALUE_SECONDS_MAX


def test_sample(benchmark: Any) -> None:
    cell = (20).to_bytes(4) + b"x" * 20
    rows = m.frame(m.DATA_ROW, (8).to_bytes(2) + cell * 8) * 2_000
    found = benchmark(cells, rows, tuple(range(8)), CELLS_WALKED_MAX // 8, CELL_BYTES_MAX)
    assert sum(map(len, found.values())) == CELLS_WALKED_MAX
    assert benchmark.stats["median"] < SAMPLE_SECONDS_MAX
    assert benchmark.stats["median"] * Limits().samples_per_second < 0.01
