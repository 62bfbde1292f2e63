"""`Fifo` does what a deque does."""

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.spare import Fifo


@given(st.lists(st.sampled_from(["append", "appendleft", "popleft"]), max_size=30))
def test_fifo_is_a_deque(steps: list[str]) -> None:
    ours: Fifo[int] = Fifo()
    twin: deque[int] = deque()
    for number, step in enumerate(steps):
        if step != "popleft":
            getattr(ours, step)(number)
            getattr(twin, step)(number)
        elif twin:
            assert ours.popleft() == twin.popleft()
        else:
            with pytest.raises(IndexError):
                ours.popleft()
        assert (len(ours), list(ours)) == (len(twin), list(twin))
        assert bool(ours) is bool(twin)
        assert ours.head == (twin[0] if twin else None)
