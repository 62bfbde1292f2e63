"""Functions, operators and types of a parse tree under the names of their schemas, so that a
statement means the same under every search_path.

Called by `resolve` for statements that will be sent as canonical SQL. Mirrors the lookups of
namespace.c. Its rule: what could mean more than one thing stays as it is written; facts made of the
same tree have then made sure that every candidate is harmless. Relations are qualified by
`masking/rewrite`, which knows what each stands for.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from appliance.sql.functions import DANGEROUS, EFFECTS, SECRETS, SET_CONFIG, TELLING, harmless
from appliance.sql.names import Names, words
from appliance.sql.parse import Body
from appliance.sql.types import OIDS, STRING_TYPES

CATALOG = "pg_catalog"

_QUALIFIABLE_KINDS = frozenset({"AEXPR_OP", "AEXPR_OP_ANY", "AEXPR_OP_ALL"})
_PLAIN_KINDS = frozenset({"AEXPR_LIKE", "AEXPR_ILIKE", "AEXPR_SIMILAR"})
"""Spellings of an operator: `a LIKE b` is `a ~~ b`. The others (IN, BETWEEN, IS DISTINCT FROM,
NULLIF) name an operator that cannot be written with its schema."""

_LEAVES = frozenset({"A_Const", "ColumnRef", "ParamRef", "RangeVar", "String"})
"""Nodes in which there is nothing to qualify here."""


class Qualifier:
    """Rewrites trees as `names` (the catalog and search path of one session or view) reads them."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._schemas = names.path

    def tree(self, value: Any) -> Any:
        """A copy of a node, body or list, qualified. Parts that stay as they are may be shared."""
        if value.__class__ is list:
            return [self.tree(element) for element in value]
        if value.__class__ is not dict:
            return value
        return {key: self._field(key, inner) for key, inner in value.items()}

    def _field(self, key: str, value: Any) -> Any:
        if value.__class__ is list:
            return [self.tree(element) for element in value]
        if value.__class__ is not dict or key in _LEAVES:
            return value
        inner = self.tree(value)
        rule = _RULES.get(key)
        return inner if rule is None else rule(self, inner)

    def _operation(self, body: dict[str, Any]) -> dict[str, Any]:
        kind = body.get("kind", "AEXPR_OP")
        if kind in _PLAIN_KINDS:
            body["kind"] = "AEXPR_OP"
        elif kind not in _QUALIFIABLE_KINDS:
            return body
        if "name" in body:
            body["name"] = self._operator(body["name"])
        return body

    def _sublink(self, body: dict[str, Any]) -> dict[str, Any]:
        if "operName" in body:
            body["operName"] = self._operator(body["operName"])
        return body

    def _sort(self, body: dict[str, Any]) -> dict[str, Any]:
        if "useOp" in body:
            body["useOp"] = self._operator(body["useOp"])
        return body

    def _operator(self, name: Sequence[Body]) -> Sequence[Body]:
        catalog = self._names.catalog
        if len(name) != 1 or catalog is None:
            return name
        (symbol,) = words(name)
        if any(
            (schema, symbol) in catalog.extension_operators or (schema, symbol) in catalog.operators
            for schema in self._schemas
        ):
            return name
        return [string(CATALOG), *name]

    def _call(self, body: dict[str, Any]) -> dict[str, Any]:
        name = words(body["funcname"])
        if len(name) != 1 or (name[0] in STRING_TYPES and _is_of_reference(body)):
            return body
        schema = self._function_schema(name[0])
        if schema:
            body["funcname"] = [string(schema), *body["funcname"]]
        return body

    def _function_schema(self, name: str) -> str:
        catalog = self._names.catalog
        if catalog is None:
            return ""
        owners = [s for s in self._schemas if (s, name) in catalog.functions]
        builtin = (
            harmless(name)
            or name in EFFECTS
            or name in DANGEROUS
            or name in SECRETS
            or name in TELLING
            or name == SET_CONFIG
        )
        if builtin:
            return "" if owners else CATALOG
        return owners[0] if len(owners) == 1 else ""

    def _type(self, body: dict[str, Any]) -> dict[str, Any]:
        names = body.get("names")
        if names is None or len(names) != 1:
            return body
        schema = self._type_schema(words(names)[0])
        if schema:
            body["names"] = [string(schema), *names]
        return body

    def _type_schema(self, name: str) -> str:
        catalog = self._names.catalog
        if catalog is None or name in self._names.settings.temp_relations:
            return ""  # of a temporary relation, perhaps, that is not known
        for schema in self._schemas:
            if schema == CATALOG and name in OIDS:
                return CATALOG
            if (schema, name) in catalog.types or (schema, name) in catalog.by_name:
                return schema
        return CATALOG


def string(value: str) -> Mapping[str, Any]:
    """A String node."""
    return {"String": {"sval": value}} if value else {"String": {}}


def _is_of_reference(body: Mapping[str, Any]) -> bool:
    """`name(c)`, which may be another way of writing `c.name`."""
    arguments = body.get("args", ())
    return len(arguments) == 1 and "ColumnRef" in arguments[0]


_RULES = {
    "A_Expr": Qualifier._operation,
    "FuncCall": Qualifier._call,
    "SortBy": Qualifier._sort,
    "SubLink": Qualifier._sublink,
    "TypeName": Qualifier._type,
    "typeName": Qualifier._type,
}
