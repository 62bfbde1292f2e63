"""When a worker counts as silent."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from appliance.control import workers
from appliance.control.workers import Slot


@pytest.fixture
def slot(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(workers, "HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr(workers, "HEARTBEAT_MISSED_SECONDS_MAX", 0.02)
    monkeypatch.setattr(workers, "LAST_LOOK_SECONDS", 0.2)
    killed = asyncio.Event()
    return SimpleNamespace(
        _silent_seconds=0.0, _ready_at=1.0, reason="", index=0, killed=killed, kill=killed.set
    )


async def test_what_was_said_during_a_pause_of_ours_is_read_first(slot: Any) -> None:
    watching = asyncio.create_task(Slot._watch(cast("Slot", slot)))
    await asyncio.sleep(0.1)
    assert slot._silent_seconds >= 0.02 and not slot.killed.is_set()
    slot._silent_seconds = -1_000.0  # its words are read only now
    await asyncio.sleep(0.3)
    assert not slot.killed.is_set() and not watching.done()
    watching.cancel()


async def test_who_says_nothing_is_ended(slot: Any) -> None:
    await asyncio.wait_for(Slot._watch(cast("Slot", slot)), 5)
    assert slot.killed.is_set() and slot.reason == "stopped answering"
