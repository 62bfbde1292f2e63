"""Small constructors of parse-tree nodes, in libpg_query's JSON form as its parser writes them.

Used by `masked_relations` and `rewrite`. Rule: what they make is what the parser makes of the same
SQL, so that a printed tree, parsed again, is equal.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Node = Any
"""A wrapped node {"Kind": {...}}."""
Body = Mapping[str, Any]


def string(value: str) -> Node:
    return {"String": {"sval": value}}


def column(*names: str) -> Node:
    return {"ColumnRef": {"fields": [string(name) for name in names]}}


def target(name: str, value: Node) -> Node:
    return {"ResTarget": {"name": name, "val": value}}


def relation(schema: str, name: str, alias: str = "", inherited: bool = True) -> Node:
    body: dict[str, Any] = {"schemaname": schema, "relname": name, "relpersistence": "p"}
    if inherited:
        body["inh"] = True
    if alias:
        body["alias"] = {"aliasname": alias}
    return {"RangeVar": body}


def off(option: str) -> Node:
    """`option off`, of a statement's list of options."""
    value = string("off")
    return {"DefElem": {"defname": option, "arg": value, "defaction": "DEFELEM_UNSPEC"}}


def select(targets: Sequence[Node], sources: Sequence[Node]) -> dict[str, Any]:
    """The body of SELECT targets FROM sources."""
    return {
        "targetList": list(targets),
        "fromClause": list(sources),
        "limitOption": "LIMIT_OPTION_DEFAULT",
        "op": "SETOP_NONE",
    }


def subselect(body: Body, alias: Body) -> Node:
    return {"RangeSubselect": {"subquery": {"SelectStmt": body}, "alias": alias}}


def fenced(body: Body) -> dict[str, Any]:
    """SELECT * FROM (body) OFFSET 0: the planner moves no condition into it."""
    star: Node = {"ResTarget": {"val": {"ColumnRef": {"fields": [{"A_Star": {}}]}}}}
    made = select([star], [subselect(body, {"aliasname": "barrier"})])
    made["limitOffset"] = {"A_Const": {"ival": {}}}
    made["limitOption"] = "LIMIT_OPTION_COUNT"
    return made


def hidden_origin(value: Node) -> Node:
    """The same value, of which the server does not report a column as the origin."""
    return {"CoalesceExpr": {"args": [value]}}


def row(values: Sequence[Node], schema: str, type_name: str) -> Node:
    """CAST(ROW(values) AS schema.type_name)."""
    return {
        "TypeCast": {
            "arg": {"RowExpr": {"args": list(values), "row_format": "COERCE_EXPLICIT_CALL"}},
            "typeName": {"names": [string(schema), string(type_name)], "typemod": -1},
        }
    }


def substituted(node: Any, name: str, replacement: Node) -> Any:
    """A copy with every reference to the unqualified column `name` replaced."""
    if node.__class__ is list:
        return [substituted(element, name, replacement) for element in node]
    if node.__class__ is not dict:
        return node
    reference = node.get("ColumnRef")
    if reference is not None and len(node) == 1:
        fields = reference["fields"]
        if len(fields) == 1 and fields[0].get("String", {}).get("sval") == name:
            return replacement
        return node
    return {key: substituted(value, name, replacement) for key, value in node.items()}
