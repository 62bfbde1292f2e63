"""The published JSON Schema is the code's."""

import json
from pathlib import Path

from appliance.policy.jsonschema import schema, schema_text
from appliance.policy.vocabulary import ACTION_NAMES

PUBLISHED = Path(__file__).parents[3] / "config" / "policy.schema.json"


def test_published_schema_is_current() -> None:
    """Made anew by `sallyport policy schema > config/policy.schema.json`."""
    assert PUBLISHED.read_text() == schema_text()


def test_unknown_keys_are_errors_there_too() -> None:
    for definition in schema()["$defs"].values():
        if definition.get("type") == "object":
            assert definition["additionalProperties"] is False
    assert json.loads(schema_text())["$ref"] == "#/$defs/PolicyDocument"


def test_every_action_may_be_written() -> None:
    actions = schema()["$defs"]["RuleSpec"]["properties"]["actions"]["items"]["enum"]
    assert set(actions) == set(ACTION_NAMES)
