"""What is kept of a connection: plans of the server that nobody has looked at, and whose statements
are prepared there."""

from types import SimpleNamespace
from typing import Any

import pytest

from appliance.session import backend as module
from appliance.session.backend import Backend
from appliance.session.shared import Shared


def test_what_is_bound_is_in_doubt_until_it_is_proved_or_discarded() -> None:
    backend = Backend()
    portal = object()
    backend.leave_unproved(portal)
    assert backend.plans_in_doubt
    backend.proved(portal)
    assert not backend.plans_in_doubt
    backend.leave_unproved(portal)
    backend.plans_discarded()
    assert not backend.plans_in_doubt


def test_of_very_many_all_are_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNPROVED_MAX", 2)
    backend = Backend()
    portals = [object() for _ in range(5)]
    for portal in portals:
        backend.leave_unproved(portal)
    assert len(backend.unproved) <= 2
    backend.unproved.clear()
    assert backend.plans_in_doubt


def test_who_owes_masks_does_not_run_what_somebody_who_owes_none_has_prepared() -> None:
    """Nobody looks at how the server planned that."""

    def prepared(restricted: bool) -> Any:
        verdict = SimpleNamespace(restricted=restricted)
        return SimpleNamespace(sent=b"SELECT 1", parameter_types=(), verdict=verdict)

    backend = Backend()
    settings = SimpleNamespace(touched_in_transaction=False)
    state: Any = SimpleNamespace(backend=backend, pins=frozenset(), settings=settings)
    shared = Shared(state)
    backend.prepare(shared._key(prepared(restricted=False)))
    assert backend.name_of(shared._key(prepared(restricted=False))) is not None
    assert backend.name_of(shared._key(prepared(restricted=True))) is None
