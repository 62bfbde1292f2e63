"""The catalogue and the registry agree; sums and exports are right."""

import re

import pytest

from appliance.telemetry.metrics import (
    CATALOGUE,
    SECONDS_BOUNDS,
    Histogram,
    Metrics,
    add_up,
    families,
    lasting,
)


def test_every_attribute_is_in_the_catalogue_and_back() -> None:
    assert set(Metrics.__struct_fields__) == set(CATALOGUE)


@pytest.mark.parametrize("attribute", sorted(CATALOGUE))
def test_names_follow_the_conventions(attribute: str) -> None:
    family, label = CATALOGUE[attribute]
    assert re.fullmatch(r"[a-z][a-z_]*", family.name)
    assert family.name.endswith("_total") == (family.kind == "counter")
    assert family.name.endswith("_seconds") or family.kind != "histogram"
    assert bool(family.label) == bool(label)
    assert family.help.endswith(".")
    assert isinstance(getattr(Metrics(), attribute), Histogram) == (family.kind == "histogram")


def test_sums_over_workers() -> None:
    one, two = Metrics(), Metrics()
    one.rows = 3
    two.rows += 4
    one.loop_lag_seconds, two.loop_lag_seconds = 0.5, 0.2
    one.login_seconds.observe(0.0001)
    two.login_seconds.observe(99.0)
    total = add_up([one.snapshot(), two.snapshot(), {"made_up": 4}])
    assert total["rows"] == 7
    assert total["loop_lag_seconds"] == 0.5
    assert "made_up" not in total
    exported = {e.family.name: e for e in families(total)}
    logins = exported["login_duration_seconds"]
    assert logins.buckets[0] == (str(SECONDS_BOUNDS[0]), 1)
    assert logins.buckets[-1] == ("+Inf", 2)
    assert logins.seconds == pytest.approx(99.0001)
    assert len(exported["statements_total"].samples) == 4


def test_a_dead_worker_leaves_counters_but_no_gauges() -> None:
    metrics = Metrics()
    metrics.rows, metrics.sessions, metrics.loop_lag_seconds = 5, 9, 1.0
    metrics.login_seconds.observe(1.0)
    kept = lasting(metrics.snapshot())
    assert kept["rows"] == 5
    assert kept["login_seconds|sum"] == 1.0
    assert "sessions" not in kept
    assert "loop_lag_seconds" not in kept
