"""Reminders of a statement that waits for an approval."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.dataplane import holding
from appliance.dataplane.holding import Holding


async def test_one_reminder_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many statements that were held for a moment leave nothing behind."""
    monkeypatch.setattr(holding, "PAUSE_SECONDS_MIN", 0.0)
    monkeypatch.setattr(holding, "REMIND_SECONDS", 0.0)
    limits = SimpleNamespace(hold_ms_max=60_000)
    services = SimpleNamespace(
        governance=SimpleNamespace(configuration=SimpleNamespace(limits=limits))
    )
    nothing = cast(Any, None)
    one = Holding(nothing, nothing, cast(Any, services))
    reminded: list[int] = []
    for number in range(100):
        one.remind_later(lambda number=number: reminded.append(number))
    await asyncio.sleep(0.05)
    assert reminded == [99]
    one.remind_later(lambda: reminded.append(-1))
    one.remind_no_more()
    await asyncio.sleep(0.05)
    assert reminded == [99]
