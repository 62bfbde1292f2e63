"""The name PostgreSQL gives an output column that has none (parse_target.c, FigureColname).
Asked by `queries`."""

from collections.abc import Mapping

from appliance.sql.expressions import Node

UNNAMED = "?column?"

_FIXED: Mapping[str, str] = {
    "A_ArrayExpr": "array",
    "CoalesceExpr": "coalesce",
    "GroupingFunc": "grouping",
    "JsonArrayAgg": "json_arrayagg",
    "JsonArrayConstructor": "json_array",
    "JsonArrayQueryConstructor": "json_array",
    "JsonObjectAgg": "json_objectagg",
    "JsonObjectConstructor": "json_object",
    "JsonParseExpr": "json",
    "JsonScalarExpr": "json_scalar",
    "JsonSerializeExpr": "json_serialize",
    "MergeSupportFunc": "merge_action",
    "RowExpr": "row",
    "XmlSerialize": "xmlserialize",
}
_MINMAX: Mapping[str, str] = {"IS_GREATEST": "greatest", "IS_LEAST": "least"}
_JSON: Mapping[str, str] = {
    "JSON_EXISTS_OP": "json_exists",
    "JSON_QUERY_OP": "json_query",
    "JSON_VALUE_OP": "json_value",
}
_XML: Mapping[str, str] = {
    "IS_XMLCONCAT": "xmlconcat",
    "IS_XMLELEMENT": "xmlelement",
    "IS_XMLFOREST": "xmlforest",
    "IS_XMLPARSE": "xmlparse",
    "IS_XMLPI": "xmlpi",
    "IS_XMLROOT": "xmlroot",
}


def figured_name(node: Node) -> str:
    """The column name of an expression without AS, as the server chooses it."""
    return _figure(node)[0] or UNNAMED


def _figure(node: Node) -> tuple[str, int]:
    """(name, strength): 2 a good name, 1 a fallback that an outer cast or CASE may keep, 0 none."""
    if not node:
        return "", 0
    ((kind, body),) = node.items()
    if kind in _FIXED:
        return _FIXED[kind], 2
    if kind in ("ColumnRef", "A_Indirection"):
        strings = [
            n["String"]["sval"]
            for n in body.get("fields", body.get("indirection", ()))
            if "String" in n
        ]
        if strings:
            return strings[-1], 2
        return _figure(body["arg"]) if kind == "A_Indirection" else ("", 0)
    if kind == "FuncCall":
        return body["funcname"][-1]["String"]["sval"], 2
    if kind == "A_Expr":
        return ("nullif", 2) if body.get("kind") == "AEXPR_NULLIF" else ("", 0)
    if kind == "TypeCast":
        name, strength = _figure(body.get("arg"))
        return (
            (name, strength)
            if strength > 1
            else (body["typeName"]["names"][-1]["String"]["sval"], 1)
        )
    if kind == "CollateClause":
        return _figure(body.get("arg"))
    if kind == "CaseExpr":
        name, strength = _figure(body.get("defresult"))
        return (name, strength) if strength > 1 else ("case", 1)
    if kind == "SubLink":
        return _of_sublink(body)
    if kind == "MinMaxExpr":
        return _MINMAX.get(body.get("op", ""), ""), 2
    if kind == "SQLValueFunction":
        return _of_value_function(body.get("op", "")), 2
    if kind == "XmlExpr":
        name = _XML.get(body.get("op", ""), "")
        return name, 2 if name else 0
    if kind == "JsonFuncExpr":
        return body.get("column_name") or _JSON.get(body.get("op", ""), ""), 2
    return "", 0


def _of_value_function(op: str) -> str:
    """SVFOP_CURRENT_TIMESTAMP_N -> current_timestamp."""
    return op.removeprefix("SVFOP_").removesuffix("_N").lower()


def _of_sublink(body: Mapping[str, Node]) -> tuple[str, int]:
    kind = body.get("subLinkType", EXISTS_FIRST)
    if kind == "EXISTS_SUBLINK":
        return "exists", 2
    if kind == "ARRAY_SUBLINK":
        return "array", 2
    if kind != "EXPR_SUBLINK":
        return "", 0
    select = body["subselect"].get("SelectStmt", {})
    while "larg" in select:
        select = select["larg"]
    if "valuesLists" in select:
        return "column1", 2
    targets = select.get("targetList", ())
    if not targets:
        return "", 0
    target = targets[0]["ResTarget"]
    return target.get("name") or figured_name(target.get("val")), 2


EXISTS_FIRST = "EXISTS_SUBLINK"
"""subLinkType of value 0, which libpg_query's JSON may leave out."""
