"""What people read of the rows that a statement is expected to change, and may."""

import pytest

from appliance.approval.request import Effect, Request, State
from appliance.control.notify import notice
from appliance.control.notify.words import effect
from tests.desk import asked


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        (Effect(), "not known"),
        (Effect(note="a view"), "not known (a view)"),
        (Effect(rows_estimated=1_200), "about 1,200 rows, the planner's guess"),
        (Effect(rows_estimated=1_200, rows_counted=7), "7 rows, counted"),
        (
            Effect(rows_counted=7, rows_allowed=8, note="as of now"),
            "7 rows, counted; at most 8, or it is rolled back (as of now)",
        ),
        (
            Effect(rows_estimated=1, rows_allowed=2),
            "about 1 rows, the planner's guess; at most 2, or it is rolled back",
        ),
    ],
)
def test_the_expected_effect(expected: Effect, words: str) -> None:
    made = asked(effect=expected)
    request = Request(asked=made, state=State.PENDING, expires=made.time + 60)
    assert effect(notice._request(request)) == words
