"""XML expressions and XMLTABLE. Called through `Printer.expr` and `Printer.table`.

Its rule: XmlExpr is seven constructs in one node; each prints only the fields it has.
"""

from collections.abc import Callable, Mapping, Sequence

from appliance.sql.deparse.printer import Node, Printer, Rule, Undeparsable, known, leaf, only, rule
from appliance.sql.deparse.queries import outputs
from appliance.sql.deparse.tables import alias, lateral
from appliance.sql.parse import Body

_OPTIONS: Mapping[str, str] = {
    "XMLOPTION_DOCUMENT": "DOCUMENT ",
    "XMLOPTION_CONTENT": "CONTENT ",
}
# XML_STANDALONE_* of utils/xml.h
_STANDALONE: Mapping[int, str] = {
    0: ", STANDALONE YES",
    1: ", STANDALONE NO",
    2: ", STANDALONE NO VALUE",
    3: "",
}


def _expression(p: Printer, body: Body) -> None:
    operation = body["op"]
    fields, write = _OPERATIONS[operation]
    p.check(operation, body, fields)
    # The grammar sets it for XMLPARSE only.
    if operation != "IS_XMLPARSE" and body["xmloption"] != "XMLOPTION_DOCUMENT":
        raise Undeparsable(f"{operation} with CONTENT")
    write(p, body)


def _concat(p: Printer, body: Body) -> None:
    p.put("XMLCONCAT(")
    p.listed(body["args"])
    p.put(")")


def _element(p: Printer, body: Body) -> None:
    p.put("XMLELEMENT(NAME ")
    p.identifier(body["name"])
    if body.get("named_args"):
        p.put(", XMLATTRIBUTES(")
        outputs(p, body["named_args"])
        p.put(")")
    if body.get("args"):
        p.put(", ")
        p.listed(body["args"])
    p.put(")")


def _forest(p: Printer, body: Body) -> None:
    p.put("XMLFOREST(")
    outputs(p, body["named_args"])
    p.put(")")


def _parse(p: Printer, body: Body) -> None:
    value, preserve = body["args"]
    p.put("XMLPARSE(" + _OPTIONS[body["xmloption"]])
    p.expr(value)
    kept = leaf(_flag(p, preserve, "boolval"), "boolval")
    p.put(" PRESERVE WHITESPACE)" if kept else ")")


def _flag(p: Printer, node: Node, kind: str) -> Body:
    """The value of a constant that the grammar itself made."""
    constant = only(node, "A_Const")
    p.check("A_Const", constant, known(kind))
    value: Body = constant[kind]
    return value


def _instruction(p: Printer, body: Body) -> None:
    p.put("XMLPI(NAME ")
    p.identifier(body["name"])
    if body.get("args"):
        (value,) = body["args"]
        p.put(", ")
        p.expr(value)
    p.put(")")


def _root(p: Printer, body: Body) -> None:
    value, version, standalone = body["args"]
    p.put("XMLROOT(")
    p.expr(value)
    p.put(", VERSION ")
    p.expr(version)
    p.put(_STANDALONE[leaf(_flag(p, standalone, "ival"), "ival", 0)] + ")")


def _is_document(p: Printer, body: Body) -> None:
    (value,) = body["args"]
    p.operand(value)
    p.put(" IS DOCUMENT")


_OPERATIONS: Mapping[str, tuple[frozenset[str], Callable[[Printer, Body], None]]] = {
    "IS_DOCUMENT": (known("op args xmloption"), _is_document),
    "IS_XMLCONCAT": (known("op args xmloption"), _concat),
    "IS_XMLELEMENT": (known("op name named_args args xmloption"), _element),
    "IS_XMLFOREST": (known("op named_args xmloption"), _forest),
    "IS_XMLPARSE": (known("op args xmloption"), _parse),
    "IS_XMLPI": (known("op name args xmloption"), _instruction),
    "IS_XMLROOT": (known("op args xmloption"), _root),
}


def _serialize(p: Printer, body: Body) -> None:
    p.put("XMLSERIALIZE(" + _OPTIONS[body["xmloption"]])
    p.expr(body["expr"])
    p.put(" AS ")
    if "arrayBounds" in body["typeName"] or "setof" in body["typeName"]:
        raise Undeparsable("XMLSERIALIZE to an array")
    p.type_name(body["typeName"])
    if body.get("indent"):
        p.since(160_000, "INDENT")
        p.put(" INDENT")
    p.put(")")


# --- XMLTABLE ----------------------------------------------------------------------------------

_COLUMN = known("colname typeName for_ordinality is_not_null colexpr coldefexpr")
_ORDINAL = known("colname for_ordinality")
_NAMESPACE = known("name val")


def _table(p: Printer, body: Body) -> None:
    lateral(p, body)
    p.put("XMLTABLE(")
    if body.get("namespaces"):
        p.put("XMLNAMESPACES(")
        p.separated(body["namespaces"], lambda node: _namespace(p, only(node, "ResTarget")))
        p.put("), ")
    _closed(p, "", body["rowexpr"])
    _closed(p, " PASSING ", body["docexpr"])
    p.put(" COLUMNS ")
    _columns(p, body["columns"])
    p.put(")")
    alias(p, body)


def _closed(p: Printer, word: str, node: Node) -> None:
    """`word` and an expression, if there is one: the grammar wants one that stands for itself."""
    if node:
        p.put(word + "(")
        p.expr(node)
        p.put(")")


def _namespace(p: Printer, body: Body) -> None:
    p.check("ResTarget", body, _NAMESPACE)
    if body.get("name"):
        _closed(p, "", body["val"])
        p.put(" AS ")
        p.identifier(body["name"])
    else:
        _closed(p, "DEFAULT ", body["val"])


def _columns(p: Printer, nodes: Sequence[Node]) -> None:
    p.separated(nodes, lambda node: _column(p, only(node, "RangeTableFuncCol")))


def _column(p: Printer, body: Body) -> None:
    ordinal = body.get("for_ordinality")
    p.check("RangeTableFuncCol", body, _ORDINAL if ordinal else _COLUMN)
    p.identifier(body["colname"])
    if ordinal:
        p.put(" FOR ORDINALITY")
        return
    p.put(" ")
    p.type_name(body["typeName"])
    _closed(p, " PATH ", body.get("colexpr"))
    _closed(p, " DEFAULT ", body.get("coldefexpr"))
    if body.get("is_not_null"):
        p.put(" NOT NULL")


XML_EXPRESSIONS: Mapping[str, Rule] = {
    "XmlExpr": rule("op name named_args args xmloption", _expression),
    "XmlSerialize": rule("xmloption expr typeName indent", _serialize),
}
XML_TABLES: Mapping[str, Rule] = {
    "RangeTableFunc": rule("lateral docexpr rowexpr namespaces columns alias", _table),
}
