"""SQL/JSON: constructors, aggregates, query functions, IS JSON and JSON_TABLE. Called through
`Printer.expr` and `Printer.table`.

Its rule: what a server older than `SINCE` would read as a call of a user's function is not printed.
"""

from collections.abc import Callable, Mapping, Sequence

from appliance.sql.deparse.expressions import filter_and_over
from appliance.sql.deparse.printer import Node, Printer, Rule, Undeparsable, known, only, rule
from appliance.sql.deparse.tables import alias, lateral
from appliance.sql.deparse.windows import order
from appliance.sql.expressions import SINCE
from appliance.sql.parse import Body

# --- Parts -------------------------------------------------------------------------------------

_VALUE = known("raw_expr format")
_FORMAT = known("format_type encoding")
_OUTPUT = known("typeName returning")
_RETURNING = known("format")
_KEY_VALUE = known("key value")
_ARGUMENT = known("val name")
_BEHAVIOR = known("btype expr")
_FORMATS: Mapping[tuple[str, str], str] = {
    ("JS_FORMAT_DEFAULT", "JS_ENC_DEFAULT"): "",
    ("JS_FORMAT_JSON", "JS_ENC_DEFAULT"): " FORMAT JSON",
    ("JS_FORMAT_JSON", "JS_ENC_UTF8"): " FORMAT JSON ENCODING UTF8",
    ("JS_FORMAT_JSON", "JS_ENC_UTF16"): " FORMAT JSON ENCODING UTF16",
    ("JS_FORMAT_JSON", "JS_ENC_UTF32"): " FORMAT JSON ENCODING UTF32",
}
_WRAPPERS: Mapping[str, str] = {
    "JSW_UNSPEC": "",
    "JSW_NONE": " WITHOUT WRAPPER",
    "JSW_CONDITIONAL": " WITH CONDITIONAL WRAPPER",
    "JSW_UNCONDITIONAL": " WITH UNCONDITIONAL WRAPPER",
}
_QUOTES: Mapping[str, str] = {
    "JS_QUOTES_UNSPEC": "",
    "JS_QUOTES_KEEP": " KEEP QUOTES",
    "JS_QUOTES_OMIT": " OMIT QUOTES",
}
_BEHAVIORS: Mapping[str, str] = {
    "JSON_BEHAVIOR_EMPTY_ARRAY": "EMPTY ARRAY",
    "JSON_BEHAVIOR_EMPTY_OBJECT": "EMPTY OBJECT",
    "JSON_BEHAVIOR_ERROR": "ERROR",
    "JSON_BEHAVIOR_FALSE": "FALSE",
    "JSON_BEHAVIOR_NULL": "NULL",
    "JSON_BEHAVIOR_TRUE": "TRUE",
    "JSON_BEHAVIOR_UNKNOWN": "UNKNOWN",
}


def _value(p: Printer, body: Body) -> None:
    """A JsonValueExpr: an expression and perhaps FORMAT."""
    p.check("JsonValueExpr", body, _VALUE)
    p.operand(body["raw_expr"])
    _format(p, body["format"])


def _format(p: Printer, body: Body) -> None:
    p.check("JsonFormat", body, _FORMAT)
    p.put(_FORMATS[body["format_type"], body["encoding"]])


def _output(p: Printer, body: Body | None) -> None:
    """` RETURNING type`, when there is one."""
    if not body:
        return
    p.check("JsonOutput", body, _OUTPUT)
    p.check("JsonReturning", body["returning"], _RETURNING)
    p.put(" RETURNING ")
    p.type_name(body["typeName"])
    _format(p, body["returning"]["format"])


def _key_value(p: Printer, body: Body) -> None:
    p.check("JsonKeyValue", body, _KEY_VALUE)
    p.operand(body["key"])
    p.put(" : ")
    _value(p, body["value"])


def _passing(p: Printer, nodes: Sequence[Node] | None) -> None:
    if nodes:
        p.put(" PASSING ")
        p.separated(nodes, lambda node: _argument(p, only(node, "JsonArgument")))


def _argument(p: Printer, body: Body) -> None:
    p.check("JsonArgument", body, _ARGUMENT)
    _value(p, body["val"])
    p.put(" AS ")
    p.identifier(body["name"])


def _behaviors(p: Printer, body: Body) -> None:
    for key, word in (("on_empty", " ON EMPTY"), ("on_error", " ON ERROR")):
        behavior = body.get(key)
        if behavior:
            p.put(" ")
            _behavior(p, behavior)
            p.put(word)


def _behavior(p: Printer, body: Body) -> None:
    p.check("JsonBehavior", body, _BEHAVIOR)
    if body["btype"] == "JSON_BEHAVIOR_DEFAULT":
        p.put("DEFAULT ")
        p.operand(body["expr"])
    elif "expr" in body:
        raise Undeparsable("ON EMPTY or ON ERROR in no known form")
    else:
        p.put(_BEHAVIORS[body["btype"]])


# --- Constructors and aggregates ---------------------------------------------------------------


def _object(p: Printer, body: Body) -> None:
    p.put("JSON_OBJECT(")
    pairs = body.get("exprs")
    if pairs:
        p.separated(pairs, lambda node: _key_value(p, only(node, "JsonKeyValue")))
        _absent_unique(p, body)
    elif body.get("absent_on_null") or body.get("unique"):
        raise Undeparsable("JSON_OBJECT of nothing with clauses")
    _output(p, body.get("output"))
    p.put(")")


def _absent_unique(p: Printer, body: Body) -> None:
    if body.get("absent_on_null"):
        p.put(" ABSENT ON NULL")
    if body.get("unique"):
        p.put(" WITH UNIQUE KEYS")


def _array(p: Printer, body: Body) -> None:
    p.put("JSON_ARRAY(")
    elements, absent = body.get("exprs"), body.get("absent_on_null")
    if elements:
        p.separated(elements, lambda node: _value(p, only(node, "JsonValueExpr")))
        if not absent:
            p.put(" NULL ON NULL")
    elif not absent:
        raise Undeparsable("JSON_ARRAY of nothing with clauses")
    _output(p, body.get("output"))
    p.put(")")


def _array_query(p: Printer, body: Body) -> None:
    if not body.get("absent_on_null"):
        raise Undeparsable("JSON_ARRAY of a query with NULL ON NULL")
    p.put("JSON_ARRAY(")
    p.statement(body["query"], frozenset(["SelectStmt"]))
    _format(p, body["format"])
    _output(p, body.get("output"))
    p.put(")")


_AGGREGATE = known("output agg_filter agg_order over")


def _object_aggregate(p: Printer, body: Body) -> None:
    around = body["constructor"]
    p.check("JsonAggConstructor", around, _AGGREGATE)
    if "agg_order" in around:
        raise Undeparsable("JSON_OBJECTAGG with ORDER BY")
    p.put("JSON_OBJECTAGG(")
    _key_value(p, body["arg"])
    _absent_unique(p, body)
    _output(p, around.get("output"))
    p.put(")")
    filter_and_over(p, around)


def _array_aggregate(p: Printer, body: Body) -> None:
    around = body["constructor"]
    p.check("JsonAggConstructor", around, _AGGREGATE)
    p.put("JSON_ARRAYAGG(")
    _value(p, body["arg"])
    if around.get("agg_order"):
        p.put(" ")
        order(p, around["agg_order"])
    if not body.get("absent_on_null"):
        p.put(" NULL ON NULL")
    _output(p, around.get("output"))
    p.put(")")
    filter_and_over(p, around)


# --- Functions and the predicate ---------------------------------------------------------------

_TYPES: Mapping[str, str] = {
    "JS_TYPE_ANY": "",
    "JS_TYPE_ARRAY": " ARRAY",
    "JS_TYPE_OBJECT": " OBJECT",
    "JS_TYPE_SCALAR": " SCALAR",
}
_FUNCTIONS: Mapping[str, str] = {
    "JSON_EXISTS_OP": "JSON_EXISTS(",
    "JSON_QUERY_OP": "JSON_QUERY(",
    "JSON_VALUE_OP": "JSON_VALUE(",
}


def _is_json(p: Printer, body: Body) -> None:
    p.check("JsonFormat", body["format"], _FORMAT)
    if _FORMATS[body["format"]["format_type"], body["format"]["encoding"]]:
        raise Undeparsable("IS JSON with FORMAT")
    p.operand(body["expr"])
    p.put(" IS JSON" + _TYPES[body["item_type"]])
    if body.get("unique_keys"):
        p.put(" WITH UNIQUE KEYS")


def _parse(p: Printer, body: Body) -> None:
    p.put("JSON(")
    _value(p, body["expr"])
    if body.get("unique_keys"):
        p.put(" WITH UNIQUE KEYS")
    p.put(")")


def _scalar(p: Printer, body: Body) -> None:
    p.put("JSON_SCALAR(")
    p.expr(body["expr"])
    p.put(")")


def _serialize(p: Printer, body: Body) -> None:
    p.put("JSON_SERIALIZE(")
    _value(p, body["expr"])
    _output(p, body.get("output"))
    p.put(")")


def _function(p: Printer, body: Body) -> None:
    p.put(_FUNCTIONS[body["op"]])
    _value(p, body["context_item"])
    p.put(", ")
    p.expr(body["pathspec"])
    _passing(p, body.get("passing"))
    _output(p, body.get("output"))
    p.put(_WRAPPERS[body["wrapper"]] + _QUOTES[body["quotes"]])
    _behaviors(p, body)
    p.put(")")


# --- JSON_TABLE --------------------------------------------------------------------------------

_PATH = known("string name")
_COLUMN_KINDS: Mapping[str, frozenset[str]] = {
    "JTC_EXISTS": known("coltype name typeName pathspec format wrapper quotes on_error"),
    "JTC_FOR_ORDINALITY": known("coltype name wrapper quotes"),
    "JTC_FORMATTED": known(
        "coltype name typeName pathspec format wrapper quotes on_empty on_error"
    ),
    "JTC_NESTED": known("coltype pathspec wrapper quotes columns"),
    "JTC_REGULAR": known("coltype name typeName pathspec format wrapper quotes on_empty on_error"),
}


def _table(p: Printer, body: Body) -> None:
    p.since(SINCE["JsonTable"], "JSON_TABLE")
    lateral(p, body)
    p.put("JSON_TABLE(")
    _value(p, body["context_item"])
    p.put(", ")
    _path(p, body["pathspec"])
    _passing(p, body.get("passing"))
    _columns(p, body["columns"])
    _behaviors(p, body)
    p.put(")")
    alias(p, body)


def _path(p: Printer, body: Body, nameable: bool = True) -> None:
    p.check("JsonTablePathSpec", body, _PATH)
    if "sval" not in only(body["string"], "A_Const"):
        raise Undeparsable("a path that is no text")
    p.expr(body["string"])
    if body.get("name"):
        if not nameable:
            raise Undeparsable("a path with a name where the grammar has none")
        p.put(" AS ")
        p.identifier(body["name"])


def _columns(p: Printer, nodes: Sequence[Node]) -> None:
    p.put(" COLUMNS (")
    p.separated(nodes, lambda node: _column(p, only(node, "JsonTableColumn")))
    p.put(")")


def _column(p: Printer, body: Body) -> None:
    kind = body["coltype"]
    p.check("JsonTableColumn", body, _COLUMN_KINDS[kind])
    wrapper, quotes = _WRAPPERS[body["wrapper"]], _QUOTES[body["quotes"]]
    if kind == "JTC_NESTED":
        p.put("NESTED PATH ")
        _path(p, body["pathspec"])
        _columns(p, body["columns"])
        _require_bare(wrapper + quotes)
        return
    p.identifier(body["name"])
    if kind == "JTC_FOR_ORDINALITY":
        p.put(" FOR ORDINALITY")
        _require_bare(wrapper + quotes)
        return
    p.put(" ")
    p.type_name(body["typeName"])
    _column_format(p, body)
    if body.get("pathspec"):
        p.put(" PATH ")
        _path(p, body["pathspec"], nameable=False)
    if kind == "JTC_EXISTS":  # the grammar itself says WITHOUT WRAPPER
        _require_bare(quotes + wrapper.removeprefix(" WITHOUT WRAPPER"))
    else:
        p.put(wrapper + quotes)
    _behaviors(p, body)


def _column_format(p: Printer, body: Body) -> None:
    if body["coltype"] == "JTC_FORMATTED":
        if body["format"]["format_type"] == "JS_FORMAT_DEFAULT":
            raise Undeparsable("a formatted column without a format")
        _format(p, body["format"])
        return
    p.check("JsonFormat", body["format"], _FORMAT)
    _require_bare(_FORMATS[body["format"]["format_type"], body["format"]["encoding"]])
    if body["coltype"] == "JTC_EXISTS":
        p.put(" EXISTS")


def _require_bare(clauses: str) -> None:
    if clauses:
        raise Undeparsable("a column of JSON_TABLE with a clause that its kind does not have")


def _newer(kind: str, fields: str, write: Callable[[Printer, Body], None]) -> Rule:
    def checked(p: Printer, body: Body) -> None:
        p.since(SINCE[kind], kind)
        write(p, body)

    return rule(fields, checked)


def _rows() -> dict[str, Rule]:
    rows: Sequence[tuple[str, str, Callable[[Printer, Body], None]]] = [
        ("JsonArrayAgg", "constructor arg absent_on_null", _array_aggregate),
        ("JsonArrayConstructor", "exprs output absent_on_null", _array),
        ("JsonArrayQueryConstructor", "query output format absent_on_null", _array_query),
        (
            "JsonFuncExpr",
            "op context_item pathspec passing output on_empty on_error wrapper quotes",
            _function,
        ),
        ("JsonIsPredicate", "expr format item_type unique_keys", _is_json),
        ("JsonObjectAgg", "constructor arg absent_on_null unique", _object_aggregate),
        ("JsonObjectConstructor", "exprs output absent_on_null unique", _object),
        ("JsonParseExpr", "expr unique_keys", _parse),
        ("JsonScalarExpr", "expr", _scalar),
        ("JsonSerializeExpr", "expr output", _serialize),
    ]
    return {kind: _newer(kind, fields, write) for kind, fields, write in rows}


JSON_EXPRESSIONS: Mapping[str, Rule] = _rows()
JSON_TABLES: Mapping[str, Rule] = {
    "JsonTable": rule("context_item pathspec passing columns on_error alias lateral", _table),
}
