"""`play` opens a playbook and sees to it that it was asserted."""

from collections.abc import Iterator
from typing import Any

import pytest

from appliance.model.principal import Principal
from tests.playbook.playbook import Playbook
from tests.playbook.world import DAN, Open, Session


@pytest.fixture
def play() -> Iterator[Open]:
    """`play(principal, **surroundings)`: see `world.Session`."""
    opened: list[Playbook] = []

    def open_playbook(principal: Principal = DAN, **surroundings: Any) -> Playbook:
        opened.append(Playbook(lambda: Session(principal, **surroundings)))
        return opened[-1]

    yield open_playbook
    assert opened and all(each.asserted for each in opened), "a playbook nobody asserted"
