"""JSON Schema of a policy document, for editors (`# yaml-language-server: $schema=...`).

Called by `sallyport policy schema`; a test keeps `config/policy.schema.json` equal to it.
"""

import json
from typing import Any

import msgspec

from appliance.policy.document import PolicyDocument
from appliance.policy.vocabulary import ACTION_NAMES


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12."""
    document = msgspec.json.schema(PolicyDocument)
    actions = document["$defs"]["RuleSpec"]["properties"]["actions"]
    actions["items"] = {"enum": list(dict.fromkeys(ACTION_NAMES))}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sallyport policy",
        **document,
    }


def schema_text() -> str:
    """Indented, ends with a line feed, the same bytes every time."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
