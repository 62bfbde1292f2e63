"""What a standing grant covers, and above all what it does not."""

from typing import Any

import msgspec
import pytest

from appliance.approval.request import Asked, Effect, Touched
from appliance.approval.standing import GrantState, Scope, StandingGrant, covers
from appliance.model.approval import HoldTerms
from appliance.model.principal import PrincipalKind

SCOPE = Scope(("copilot",), ("staging*",), ("update",), ("public.orders.status",))
GRANT = StandingGrant(
    id="g", scope=SCOPE, state=GrantState.ACTIVE, proposed_by="carol", proposed=0.0, until=100.0
)
ASKED = Asked(
    id="r", binding="b", time=0.0, session="s", principal="copilot", kind=PrincipalKind.AGENT,
    target="staging-1", database="shop", sql="...", terms=HoldTerms(),
    touched=(Touched("update", "public", "orders", ("status",)),),
)  # fmt: skip


def test_it_covers_what_it_says() -> None:
    assert covers(GRANT, ASKED, 50.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"principal": "copilot2"},
        {"target": "production"},
        {"complete": False},
        {"functions": ("public.f",)},
        {"touched": ()},
        {"touched": (Touched("update"),)},
        {"touched": (Touched("delete", "public", "orders", ("status",)),)},
        {"touched": (Touched("update", "public", "orders", ("status", "total")),)},
        {"touched": (Touched("update", "public", "orders", ("*",)),)},
        {"touched": (Touched("update", "public", "orders", ()),)},
        {"touched": (Touched("update", "other", "orders", ("status",)),)},
        {"touched": (*ASKED.touched, Touched("update", "public", "customers", ("status",)))},
        {"touched": (*ASKED.touched, Touched("select", "public", "orders", ("status",)))},
        {"touched": (Touched("update", "public.orders", "x", ("status",)),)},
    ],
)
def test_it_does_not_cover(changes: dict[str, Any]) -> None:
    assert not covers(GRANT, msgspec.structs.replace(ASKED, **changes), 50.0)


@pytest.mark.parametrize("state", [s for s in GrantState if s is not GrantState.ACTIVE])
def test_only_while_it_is_active(state: GrantState) -> None:
    assert not covers(msgspec.structs.replace(GRANT, state=state), ASKED, 50.0)
    assert not covers(GRANT, ASKED, 100.0)


def test_a_bound_on_rows_needs_a_figure() -> None:
    scope = msgspec.structs.replace(SCOPE, rows_max=10)
    grant = msgspec.structs.replace(GRANT, scope=scope)
    assert not covers(grant, ASKED, 50.0)
    for effect, covered in (
        (Effect(rows_estimated=10), True),
        (Effect(rows_estimated=11), False),
        (Effect(rows_estimated=1, rows_counted=11), False),
    ):
        asked = msgspec.structs.replace(ASKED, effect=effect)
        assert covers(grant, asked, 50.0) is covered


def test_a_relation_stands_for_all_its_columns() -> None:
    scope = msgspec.structs.replace(SCOPE, resources=("public.orders",))
    grant = msgspec.structs.replace(GRANT, scope=scope)
    for columns in ((), ("*",), ("status", "total")):
        touched = (Touched("update", "public", "orders", columns),)
        assert covers(grant, msgspec.structs.replace(ASKED, touched=touched), 50.0)
    dotted = (Touched("update", "public", "orders.status", ("x",)),)
    assert not covers(grant, msgspec.structs.replace(ASKED, touched=dotted), 50.0)
