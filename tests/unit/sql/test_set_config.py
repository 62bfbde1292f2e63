"""set_config(): which setting it changes, as far as the text tells."""

import pytest

from appliance.model.catalog import SessionSettings
from appliance.model.facts import Action
from appliance.model.limits import Limits
from appliance.sql.analysis import analyse

PINNED = "SELECT set_config(name, 'x', false) FROM pg_settings WHERE name = "


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("SELECT set_config('jit', 'off', false)", "jit"),
        (PINNED + "'work_mem'", "work_mem"),  # as pg_dump says it
        (PINNED + "'work_mem' AND true", "work_mem"),
        (PINNED + "'role'", "role"),
        (PINNED + "'work_mem' OR true", ""),
        (PINNED + "lower('WORK_MEM')", ""),
        ("SELECT set_config(name, 'x', false) FROM other.pg_settings WHERE name = 'jit'", ""),
        ("SELECT set_config(name, 'x', false) FROM pg_settings, t WHERE name = 'jit'", ""),
        ("SELECT set_config(setting, 'x', false) FROM pg_settings WHERE name = 'jit'", ""),
    ],
)
def test_the_setting_is_known_or_not(text: str, setting: str) -> None:
    """'' = any: it counts as SET ROLE, too."""
    facts = analyse(text.encode(), None, SessionSettings("shop"), Limits()).statements[0]
    assert [name for name, _ in facts.settings] == [setting]
    assert (Action.SET_ROLE in facts.actions) == (setting in {"", "role"})


def test_a_temporary_relation_may_stand_in_the_way() -> None:
    settings = SessionSettings("shop", temp_relations=frozenset({"pg_settings"}))
    facts = analyse((PINNED + "'jit'").encode(), None, settings, Limits()).statements[0]
    assert [name for name, _ in facts.settings] == [""]
