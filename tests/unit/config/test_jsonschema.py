"""The published JSON Schema is the code's, and every field in it is explained."""

import json
from pathlib import Path
from typing import Any

from appliance.config.jsonschema import schema, schema_text

PUBLISHED = Path(__file__).parents[3] / "config" / "sallyport.schema.json"


def test_published_schema_is_current() -> None:
    """Made anew by `sallyport config schema > config/sallyport.schema.json`."""
    assert PUBLISHED.read_text() == schema_text()


def test_every_field_is_explained() -> None:
    definitions: dict[str, Any] = schema()["$defs"]
    bare = [
        f"{name}.{field}"
        for name, definition in definitions.items()
        if name != "Limits"  # their names carry the unit; explained in model/limits
        for field, entry in definition.get("properties", {}).items()
        if "description" not in entry
    ]
    assert bare == []


def test_unknown_keys_are_errors_there_too() -> None:
    for definition in schema()["$defs"].values():
        if definition.get("type") == "object":
            assert definition["additionalProperties"] is False
    assert json.loads(schema_text())["$ref"] == "#/$defs/Configuration"
