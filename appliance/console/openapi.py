"""The published description of the API: OpenAPI 3.1 made from the table and its structs.

Served at /api/v1/openapi.json. Rule: nothing is written by hand that the table knows.
"""

import re
from typing import Any

import msgspec

import appliance
from appliance.console.problems import MEDIA_TYPE, ProblemDetails
from appliance.console.table import Open, Row

REFERENCE = "#/components/schemas/{name}"
PROBLEM = "Problem"
PATH_PARAMETER = re.compile(r"\{(\w+)\}")


def description(rows: tuple[Row, ...]) -> dict[str, Any]:
    """The document, for rows that are not pages."""
    told = [row for row in rows if not row.page and row.path != "/{path:path}"]
    types: list[Any] = [ProblemDetails]
    for row in told:
        types += [kind for kind in (row.takes, row.gives, row.query) if kind is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    # Structs are one type wherever they stand: keyed by identity, not by how they print.
    by_type = {id(kind): schema for kind, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for row in told:
        paths.setdefault(row.path, {})[row.method.lower()] = _operation(row, by_type, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sallyport",
            "version": appliance.__version__,
            "description": "Approvals, grants, sessions, audit and policy of a Sallyport.",
        },
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": SCHEMES},
    }


SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API token (spt_...)."},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "__Host-sallyport",
        "description": "A browser's session; unsafe methods need X-CSRF-Token as well.",
    },
}


def _operation(row: Row, schemas: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "summary": row.summary,
        "operationId": _name(row),
        "responses": {str(row.status): _success(row, schemas), "default": _failure(schemas)},
        "x-sallyport-who": sorted(row.who) if isinstance(row.who, frozenset) else row.who.value,
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in PATH_PARAMETER.findall(row.path)
    ]
    if row.query is not None:
        parameters += _query(schemas[id(row.query)], components)
    if parameters:
        found["parameters"] = parameters
    if row.takes is not None:
        schema = {"schema": schemas[id(row.takes)]}
        kinds = ["application/json"] + ["application/x-www-form-urlencoded"] * row.form
        found["requestBody"] = {"required": True, "content": dict.fromkeys(kinds, schema)}
    found["security"] = [] if row.who is Open.ANYBODY else [{"bearer": []}, {"cookie": []}]
    return found


def _name(row: Row) -> str:
    parts = [part.strip("{}") for part in re.split(r"[/.-]", row.path) if part]
    return "_".join([row.method.lower(), *(p for p in parts if p not in {"api", "v1"})])


def _success(row: Row, schemas: dict[int, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"description": row.summary}
    if row.gives is not None:
        told["content"] = {row.media_type: {"schema": schemas[id(row.gives)]}}
    elif row.media_type != "application/json":
        told["content"] = {row.media_type: {}}
    return told


def _failure(schemas: dict[int, Any]) -> dict[str, Any]:
    content = {MEDIA_TYPE: {"schema": schemas[id(ProblemDetails)]}}
    return {"description": "Problem details (RFC 9457).", "content": content}


def _query(schema: dict[str, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    whole = components[schema["$ref"].rpartition("/")[2]]
    required = set(whole.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in required, "schema": one}
        for name, one in whole["properties"].items()
    ]
