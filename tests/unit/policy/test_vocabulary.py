"""Action groups."""

from appliance.model.facts import Action
from appliance.policy.vocabulary import ANY, EVERYTHING, GROUPS, actions_named


def test_every_action_but_opaque_is_in_a_group_of_its_own_kind() -> None:
    grouped = set().union(
        *(group for name, group in GROUPS.items() if name not in {"any", "everything"})
    )
    assert grouped == frozenset(Action) - {Action.OPAQUE}


def test_opaque_must_be_named() -> None:
    assert [name for name, group in GROUPS.items() if Action.OPAQUE in group] == ["everything"]
    assert {Action.OPAQUE} == EVERYTHING - ANY


def test_names() -> None:
    assert actions_named("drop") == frozenset({Action.DROP})
    assert actions_named("read") == GROUPS["read"]
    assert actions_named("Drop") is None
    assert not GROUPS.keys() & {action.value for action in Action}
