"""The terms of several rules together are the strictest of each."""

import pytest

from appliance.model.approval import HoldTerms, joined


@pytest.mark.parametrize(
    ("one", "other", "margin"),
    [(None, None, None), (10, None, 10), (None, 0, 0), (10, 5, 5), (0, 50, 0)],
)
def test_the_smaller_margin_of_rows(one: int | None, other: int | None, margin: int | None) -> None:
    both = joined(HoldTerms(rows_margin=one), HoldTerms(rows_margin=other))
    assert both is not None and both.rows_margin == margin
