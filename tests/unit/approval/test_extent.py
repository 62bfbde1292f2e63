"""What was approved, and a margin, rounded up."""

import pytest

from appliance.approval.extent import bounded
from appliance.approval.request import Effect


@pytest.mark.parametrize(
    ("effect", "margin", "allowed"),
    [
        (Effect(rows_estimated=100), 10, 110),
        (Effect(rows_estimated=101), 10, 112),
        (Effect(rows_estimated=1), 10, 2),
        (Effect(rows_estimated=0), 10, 0),
        (Effect(rows_estimated=7), 0, 7),
        (Effect(rows_estimated=1_000, rows_counted=20), 10, 22),
        (Effect(rows_estimated=1_000, rows_counted=0), 50, 0),
        (Effect(note="not estimated"), 10, None),
    ],
)
def test_what_may_be_written(effect: Effect, margin: int, allowed: int | None) -> None:
    assert bounded(effect, margin).rows_allowed == allowed
    assert bounded(effect, margin).note == effect.note
