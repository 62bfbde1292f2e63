"""JSON Schema of the configuration file, for editors (`# yaml-language-server: $schema=...`) and
reviewers.

Called by `sallyport config schema`; a test keeps `config/sallyport.schema.json` equal to it.
"""

import json
from typing import Any

import msgspec

from appliance.config.schema import Configuration
from appliance.config.values import schema_hook


def schema() -> dict[str, Any]:
    """JSON Schema 2020-12."""
    document = msgspec.json.schema(Configuration, schema_hook=schema_hook)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sallyport configuration",
        **document,
    }


def schema_text() -> str:
    """Indented, ends with a line feed, the same bytes every time."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
