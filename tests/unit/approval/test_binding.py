"""An approval is for one statement: whatever differs gives another binding."""

from typing import Any

import pytest

from appliance.approval.binding import MATTERING, digest
from appliance.model.principal import Principal, PrincipalKind

PLAIN: dict[str, Any] = {
    "text": b"UPDATE t SET a = 1",
    "parameters": None,
    "parameter_types": (),
    "principal": Principal("copilot", PrincipalKind.AGENT, ("agents",), "alice"),
    "target": "shop",
    "database": "shop",
    "settings": "('shop', ('public',), '', True)",
    "chosen": "",
    "reported": {"DateStyle": "ISO, MDY", "TimeZone": "UTC", "application_name": "psql"},
}


def changed(**parts: Any) -> str:
    return digest(**{**PLAIN, **parts})


@pytest.mark.parametrize(
    "parts",
    [
        {"text": b"UPDATE t SET a = 2"},
        {"text": b"UPDATE t SET a = 1 "},
        {"text": b"UPDATE t SET a = 1", "parameters": b""},
        {"parameters": b"\0\0\0\1\0\0\0\1x\0\0"},
        {"parameter_types": (23,)},
        {"principal": Principal("claude", PrincipalKind.AGENT, ("agents",), "alice")},
        {"principal": Principal("copilot", PrincipalKind.SERVICE, ("agents",), "alice")},
        {"principal": Principal("copilot", PrincipalKind.AGENT, ("agents",), "bob")},
        {"principal": Principal("copilot", PrincipalKind.AGENT, ("agents",), None)},
        {"principal": Principal("copilot", PrincipalKind.AGENT, ("agents",), "")},
        {"principal": Principal("copilot", PrincipalKind.AGENT, ("agents",), "alice", "okta")},
        {"target": "staging"},
        {"chosen": "00"},
        {"database": "other"},
        {"settings": "('shop', ('other', 'public'), '', True)"},
        *({"reported": {**PLAIN["reported"], name: "another"}} for name in MATTERING),
    ],
)
def test_every_ingredient_counts(parts: dict[str, Any]) -> None:
    assert changed(**parts) != changed()


def test_what_does_not_matter_does_not_count() -> None:
    again = Principal("copilot", PrincipalKind.AGENT, ("agents", "night-shift"), "alice")
    reported = {**PLAIN["reported"], "application_name": "another"}
    assert changed(principal=again, reported=reported) == changed()


def test_parts_do_not_run_into_each_other() -> None:
    one = changed(target="ab", database="c")
    assert one != changed(target="a", database="bc")
    assert changed(text=b"x", parameters=b"y") != changed(text=b"xy", parameters=b"")
