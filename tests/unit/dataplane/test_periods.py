"""Averages of the admin database: over the last whole period."""

import pytest

from appliance.dataplane.periods import Averages, Periods, Totals, totals
from appliance.telemetry.metrics import Metrics


def test_over_the_last_whole_period() -> None:
    now = Totals()
    periods = Periods(lambda: now, 1000.0)
    assert periods.averages(1000.0) == Averages(0, 0, 0, 0, 0)
    now = Totals(queries=100, received=1000, sent=2000, finished=80, query_micros=8080)
    periods.tick(1010.0)
    assert periods.averages(1010.0) == Averages(10, 100, 200, 101, 0), "since the start"
    now = Totals(120, 1200, 2400, 120, 12_000, wait_micros=6_000_000)
    periods.tick(1060.0)
    first = Averages(2, 20, 40, 100, 100_000)
    assert periods.averages(1060.0) == first
    now = Totals(720, 1200, 2400, 720, 612_000, 6_000_000)
    periods.tick(1119.0)
    assert periods.averages(1119.0) == first, "what runs still does not count"
    periods.tick(1120.0)
    assert periods.averages(1150.0) == Averages(10, 0, 0, 1000, 0)


def test_totals_are_what_the_worker_counts() -> None:
    metrics = Metrics(statements_allowed=3, bytes_to_upstream=4, bytes_to_client=5)
    metrics.statement_seconds.observe(0.25)
    metrics.statement_seconds.observe(0.5)
    assert totals(metrics, 1.5) == Totals(3, 4, 5, 2, 750_000, 1_500_000)
    assert totals(metrics, 0.0).query_micros == pytest.approx(750_000)
