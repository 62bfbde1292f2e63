"""Expressions, without the SQL/JSON and XML ones. Called through `Printer.expr`.

Its rule: an operand stands in parentheses, so that no precedence of any version matters; a call in
special syntax (EXTRACT, TRIM, AT TIME ZONE...) is printed as the plain call that it means.
"""

import re
from collections.abc import Callable, Mapping

from appliance.sql.deparse.printer import (
    Node,
    Printer,
    Rule,
    Undeparsable,
    items,
    known,
    leaf,
    literal,
    only,
    quoted,
    rule,
    star,
    word,
)
from appliance.sql.deparse.windows import order, over
from appliance.sql.expressions import SINCE
from appliance.sql.parse import Body

_NUMBER = re.compile(r"-?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?", re.ASCII)
# 0x1F, 0o17, 0b11 and 1_000 are of PostgreSQL 16; before, the letters were an alias.
_NUMBER_16 = re.compile(
    r"-?(0[xX](_?[0-9a-fA-F])+|0[oO](_?[0-7])+|0[bB](_?[01])+"
    r"|(\d(_?\d)*(\.(\d(_?\d)*)?)?|\.\d(_?\d)*)([eE][-+]?\d(_?\d)*)?)",
    re.ASCII,
)
_BITS = re.compile(r"b[01]*|x[0-9a-fA-F]*", re.ASCII)

# Calls that only the special syntax makes of a newer server's function: name, argument count.
_NEW_CALLS: Mapping[tuple[str, int], int] = {
    ("system_user", 0): SINCE["system_user"],
    ("timezone", 1): 170_000,  # AT LOCAL
    ("extract", 2): 140_000,
}


# --- Constants and names -----------------------------------------------------------------------


def _constant(p: Printer, body: Body) -> None:
    p.put(constant(body, p.version))


def constant(body: Body, version: int) -> str:
    """An A_Const's text; a negative number begins with its sign."""
    ((kind, value),) = [item for item in body.items() if item[0] != "location"]
    if kind == "sval":
        return literal(leaf(value, "sval", ""))
    if kind == "ival":
        return f"{leaf(value, 'ival', 0):d}"
    if kind == "fval":
        return number(leaf(value, "fval"), version)
    if kind == "boolval":
        return "TRUE" if leaf(value, "boolval") else "FALSE"
    if kind == "bsval":
        return _bits(leaf(value, "bsval"))
    if kind == "isnull" and value is True:
        return "NULL"
    raise Undeparsable(f"a constant of kind {kind}")


def number(text: str, version: int) -> str:
    """A Float's text, checked."""
    if not _NUMBER.fullmatch(text):
        if not _NUMBER_16.fullmatch(text):
            raise Undeparsable("a number in no known form")
        if version < 160_000:
            raise Undeparsable("the form of a number is newer than the server")
    return text


def _bits(text: str) -> str:
    if not _BITS.fullmatch(text):
        raise Undeparsable("a bit string in no known form")
    return f"{text[0]}'{text[1:]}'"


def _column(p: Printer, body: Body) -> None:
    parts = ["*" if star(part) else quoted(word(part)) for part in body["fields"]]
    if "*" in parts[:-1] or parts == ["*"]:  # f(*) would be another call
        raise Undeparsable("a star where the grammar has none")
    p.put(".".join(parts))


def _parameter(p: Printer, body: Body) -> None:
    number_of = body["number"]
    if number_of < 1:
        raise Undeparsable("a parameter without a number")
    p.put(f"${number_of:d}")


def _default(p: Printer, body: Body) -> None:
    p.put("DEFAULT")


_VALUES: Mapping[str, str] = {
    "SVFOP_CURRENT_CATALOG": "CURRENT_CATALOG",
    "SVFOP_CURRENT_DATE": "CURRENT_DATE",
    "SVFOP_CURRENT_ROLE": "CURRENT_ROLE",
    "SVFOP_CURRENT_SCHEMA": "CURRENT_SCHEMA",
    "SVFOP_CURRENT_TIME": "CURRENT_TIME",
    "SVFOP_CURRENT_TIMESTAMP": "CURRENT_TIMESTAMP",
    "SVFOP_CURRENT_USER": "CURRENT_USER",
    "SVFOP_LOCALTIME": "LOCALTIME",
    "SVFOP_LOCALTIMESTAMP": "LOCALTIMESTAMP",
    "SVFOP_SESSION_USER": "SESSION_USER",
    "SVFOP_USER": "USER",
}


def _value(p: Printer, body: Body) -> None:
    operation, digits = body["op"], body.get("typmod", 0)
    if operation.endswith("_N"):
        p.put(f"{_VALUES[operation[:-2]]}({digits:d})")
        return
    if digits != -1:
        raise Undeparsable(f"{operation} with a precision")
    p.put(_VALUES[operation])


# --- Operators ---------------------------------------------------------------------------------


def _operation(p: Printer, body: Body) -> None:
    write = _OPERATIONS.get(body["kind"])
    if write is None:
        raise Undeparsable(f"an operation of kind {body['kind']}")
    write(p, body)


def _plain(p: Printer, body: Body) -> None:
    names = body["name"]
    if body.get("lexpr"):
        p.operand(body["lexpr"])
        p.operator(names)
    elif len(names) == 1 and word(names[0]) == "-":
        # A bare minus would be folded into a number after it.
        p.put("OPERATOR(-) ")
    else:
        p.operator(names)
    p.operand(body["rexpr"])


def _quantified(p: Printer, body: Body) -> None:
    right = body["rexpr"]
    _refuse_lone_query([right])
    p.operand(body["lexpr"])
    p.operator(body["name"])
    p.put("ANY (" if body["kind"] == "AEXPR_OP_ANY" else "ALL (")
    p.expr(right)
    p.put(")")


def _refuse_lone_query(elements: list[Node]) -> None:
    """`= ANY ((SELECT ...))` and `IN ((SELECT ...))` are read as subqueries, not as a value."""
    if len(elements) == 1 and elements[0].get("SubLink", {}).get("subLinkType") == "EXPR_SUBLINK":
        raise Undeparsable("a subquery that would be read as a list")


def _in(p: Printer, body: Body) -> None:
    elements = items(body["rexpr"])
    _refuse_lone_query(elements)
    p.operand(body["lexpr"])
    p.put(_keyword(body, {"=": " IN (", "<>": " NOT IN ("}))
    p.listed(elements)
    p.put(")")


def _keyword(body: Body, words: Mapping[str, str]) -> str:
    """What the keyword form is called whose operator the tree names."""
    names = body["name"]
    found = words.get(word(names[0])) if len(names) == 1 else None
    if found is None:
        raise Undeparsable(f"{body['kind']} with another operator than the grammar gives it")
    return found


def _two_sided(words: Mapping[str, str]) -> Callable[[Printer, Body], None]:
    def write(p: Printer, body: Body) -> None:
        between = _keyword(body, words)
        p.operand(body["lexpr"])
        p.put(between)
        p.operand(body["rexpr"])

    return write


def _nullif(p: Printer, body: Body) -> None:
    p.put(_keyword(body, {"=": "NULLIF("}))
    p.listed([body["lexpr"], body["rexpr"]])
    p.put(")")


def _similar(p: Printer, body: Body) -> None:
    # The grammar wraps the pattern itself: similar_to_escape(pattern [, escape]).
    call = only(body["rexpr"], "FuncCall")
    name = [word(part) for part in call["funcname"]]
    p.check("similar_to_escape", call, known("funcname args funcformat"))
    if name != ["pg_catalog", "similar_to_escape"] or len(call["args"]) > 2:
        raise Undeparsable("SIMILAR TO with a pattern that is not as the grammar gives it")
    between = _keyword(body, {"~": " SIMILAR TO ", "!~": " NOT SIMILAR TO "})
    p.operand(body["lexpr"])
    p.put(between)
    p.operand(call["args"][0])
    if len(call["args"]) == 2:
        p.put(" ESCAPE ")
        p.operand(call["args"][1])


def _between(p: Printer, body: Body) -> None:
    name = body["kind"].removeprefix("AEXPR_").replace("_SYM", " SYMMETRIC").replace("_", " ")
    between = _keyword(body, {name: f" {name} "})
    low, high = items(body["rexpr"])
    p.operand(body["lexpr"])
    p.put(between)
    p.operand(low)
    p.put(" AND ")
    p.operand(high)


_OPERATIONS: Mapping[str, Callable[[Printer, Body], None]] = {
    "AEXPR_OP": _plain,
    "AEXPR_OP_ANY": _quantified,
    "AEXPR_OP_ALL": _quantified,
    "AEXPR_DISTINCT": _two_sided({"=": " IS DISTINCT FROM "}),
    "AEXPR_NOT_DISTINCT": _two_sided({"=": " IS NOT DISTINCT FROM "}),
    "AEXPR_NULLIF": _nullif,
    "AEXPR_IN": _in,
    "AEXPR_LIKE": _two_sided({"~~": " LIKE ", "!~~": " NOT LIKE "}),
    "AEXPR_ILIKE": _two_sided({"~~*": " ILIKE ", "!~~*": " NOT ILIKE "}),
    "AEXPR_SIMILAR": _similar,
    "AEXPR_BETWEEN": _between,
    "AEXPR_NOT_BETWEEN": _between,
    "AEXPR_BETWEEN_SYM": _between,
    "AEXPR_NOT_BETWEEN_SYM": _between,
}


def _boolean(p: Printer, body: Body) -> None:
    operation, arguments = body["boolop"], body["args"]
    if operation == "NOT_EXPR":
        (argument,) = arguments
        p.put("NOT ")
        p.operand(argument)
        return
    between = {"AND_EXPR": " AND ", "OR_EXPR": " OR "}[operation]
    if len(arguments) < 2:
        raise Undeparsable(f"{operation} of one argument")
    p.operand(arguments[0])
    for argument in arguments[1:]:
        p.put(between)
        p.operand(argument)


def _null_test(p: Printer, body: Body) -> None:
    p.operand(body["arg"])
    p.put({"IS_NULL": " IS NULL", "IS_NOT_NULL": " IS NOT NULL"}[body["nulltesttype"]])


_BOOLEAN_TESTS = frozenset(
    ["IS_TRUE", "IS_NOT_TRUE", "IS_FALSE", "IS_NOT_FALSE", "IS_UNKNOWN", "IS_NOT_UNKNOWN"]
)


def _boolean_test(p: Printer, body: Body) -> None:
    test = body["booltesttype"]
    if test not in _BOOLEAN_TESTS:
        raise Undeparsable(f"a test of kind {test}")
    p.operand(body["arg"])
    p.put(" " + test.replace("_", " "))


def _collate(p: Printer, body: Body) -> None:
    p.operand(body["arg"])
    p.put(" COLLATE ")
    p.name(body["collname"])


# --- Calls and constructors --------------------------------------------------------------------


def _cast(p: Printer, body: Body) -> None:
    p.put("CAST(")
    p.expr(body["arg"])
    p.put(" AS ")
    p.type_name(body["typeName"])
    p.put(")")


def call(p: Printer, body: Body) -> None:
    _require_function(p, body)
    arguments = body.get("args", [])
    p.name(body["funcname"])
    p.put("(")
    if body.get("agg_distinct"):
        p.put("DISTINCT ")
    if body.get("agg_star"):
        if arguments:
            raise Undeparsable("a call of a star and arguments")
        p.put("*")
    elif body.get("func_variadic"):
        p.listed(arguments[:-1])
        p.put(", VARIADIC " if len(arguments) > 1 else "VARIADIC ")
        p.expr(arguments[-1])
    else:
        p.listed(arguments)
    within = body.get("agg_within_group")
    if body.get("agg_order") and not within:
        p.put(" ")
        order(p, body["agg_order"])
    p.put(")")
    if within:
        p.put(" WITHIN GROUP (")
        order(p, body["agg_order"])
        p.put(")")
    filter_and_over(p, body)


def filter_and_over(p: Printer, body: Body) -> None:
    """FILTER and OVER, the same for calls and for SQL/JSON aggregates."""
    if body.get("agg_filter"):
        p.put(" FILTER (WHERE ")
        p.expr(body["agg_filter"])
        p.put(")")
    if body.get("over"):
        over(p, body["over"])


def _require_function(p: Printer, body: Body) -> None:
    if body["funcformat"] == "COERCE_EXPLICIT_CALL":
        return
    if body["funcformat"] != "COERCE_SQL_SYNTAX":
        raise Undeparsable(f"a call in the form {body['funcformat']}")
    name = word(body["funcname"][-1])
    p.since(_NEW_CALLS.get((name, len(body.get("args", ()))), 0), f"a form of {name}")


def _named_argument(p: Printer, body: Body) -> None:
    if body["argnumber"] != -1:
        raise Undeparsable("a named argument that is already placed")
    p.identifier(body["name"])
    p.put(" => ")
    p.expr(body["arg"])


def _row(p: Printer, body: Body) -> None:
    elements = body.get("args", [])
    if body["row_format"] == "COERCE_EXPLICIT_CALL":
        p.put("ROW(")
    elif body["row_format"] == "COERCE_IMPLICIT_CAST" and len(elements) > 1:
        p.put("(")
    else:
        raise Undeparsable("a row in no known form")
    p.listed(elements)
    p.put(")")


def _array(p: Printer, body: Body) -> None:
    p.put("ARRAY[")
    p.listed(body.get("elements", ()))
    p.put("]")


def _keyword_call(name: str) -> Callable[[Printer, Body], None]:
    def write(p: Printer, body: Body) -> None:
        p.put(f"{name}(")
        p.listed(body["args"])
        p.put(")")

    return write


def _extreme(p: Printer, body: Body) -> None:
    p.put({"IS_GREATEST": "GREATEST(", "IS_LEAST": "LEAST("}[body["op"]])
    p.listed(body["args"])
    p.put(")")


def _case(p: Printer, body: Body) -> None:
    p.put("CASE")
    if body.get("arg"):
        p.put(" ")
        p.operand(body["arg"])
    for node in body["args"]:
        branch = only(node, "CaseWhen")
        p.check("CaseWhen", branch, _CASE_WHEN)
        p.put(" WHEN ")
        p.expr(branch["expr"])
        p.put(" THEN ")
        p.expr(branch["result"])
    p.clause(" ELSE ", body.get("defresult"))
    p.put(" END")


_CASE_WHEN = known("expr result")


def _indirection(p: Printer, body: Body) -> None:
    p.put("(")
    p.expr(body["arg"])
    p.put(")")
    steps(p, body["indirection"])


def steps(p: Printer, nodes: list[Node]) -> None:
    """`.field`, `.*`, `[subscript]`, `[slice]`."""
    for node in nodes:
        ((kind, body),) = node.items()
        if kind == "String":
            p.put("." + quoted(word(node)))
        elif star(node):
            p.put(".*")
        elif kind == "A_Indices":
            _subscript(p, body)
        else:
            raise Undeparsable(f"{kind} is not printed behind a value")


def _subscript(p: Printer, body: Body) -> None:
    p.check("A_Indices", body, _INDICES)
    p.put("[")
    if body.get("is_slice"):
        for key, separator in (("lidx", " : "), ("uidx", "")):
            if body.get(key):
                p.operand(body[key])
            p.put(separator)
    elif "lidx" in body:
        raise Undeparsable("a subscript with two ends that is no slice")
    else:
        p.expr(body["uidx"])
    p.put("]")


_INDICES = known("is_slice lidx uidx")


def _sublink(p: Printer, body: Body) -> None:
    kind = body["subLinkType"]
    if kind in ("ANY_SUBLINK", "ALL_SUBLINK"):
        p.operand(body["testexpr"])
        if body.get("operName"):
            p.operator(body["operName"])
            p.put("ANY " if kind == "ANY_SUBLINK" else "ALL ")
        elif kind == "ANY_SUBLINK":
            p.put(" IN ")
        else:
            raise Undeparsable("ALL without an operator")
    elif kind not in _SUBLINKS or "testexpr" in body or "operName" in body:
        raise Undeparsable(f"a subquery of kind {kind}")
    else:
        p.put(_SUBLINKS[kind])
    p.query(body["subselect"])


_SUBLINKS: Mapping[str, str] = {
    "ARRAY_SUBLINK": "ARRAY",
    "EXISTS_SUBLINK": "EXISTS ",
    "EXPR_SUBLINK": "",
}


def _current_of(p: Printer, body: Body) -> None:
    p.put("CURRENT OF ")
    p.identifier(body["cursor_name"])


def _merge_action(p: Printer, body: Body) -> None:
    p.since(SINCE["MergeSupportFunc"], "MERGE_ACTION()")
    if body["msftype"] != 25:  # text
        raise Undeparsable("MERGE_ACTION() of another type than the grammar gives it")
    p.put("MERGE_ACTION()")


_SETS: Mapping[str, str] = {
    "GROUPING_SET_CUBE": "CUBE (",
    "GROUPING_SET_EMPTY": "(",
    "GROUPING_SET_ROLLUP": "ROLLUP (",
    "GROUPING_SET_SETS": "GROUPING SETS (",
}


def _grouping_set(p: Printer, body: Body) -> None:
    content = body.get("content", [])
    if bool(content) == (body["kind"] == "GROUPING_SET_EMPTY"):
        raise Undeparsable("a grouping set in no known form")
    p.put(_SETS[body["kind"]])
    p.listed(content)
    p.put(")")


EXPRESSIONS: Mapping[str, Rule] = {
    "A_ArrayExpr": rule("elements", _array),
    "A_Const": rule("isnull ival fval boolval sval bsval", _constant),
    "A_Expr": rule("kind name lexpr rexpr", _operation),
    "A_Indirection": rule("arg indirection", _indirection),
    "BoolExpr": rule("boolop args", _boolean),
    "BooleanTest": rule("arg booltesttype", _boolean_test),
    "CaseExpr": rule("arg args defresult", _case),
    "CoalesceExpr": rule("args", _keyword_call("COALESCE")),
    "CollateClause": rule("arg collname", _collate),
    "ColumnRef": rule("fields", _column),
    "CurrentOfExpr": rule("cursor_name", _current_of),
    "FuncCall": rule(
        "funcname args agg_order agg_filter over agg_within_group agg_star agg_distinct"
        " func_variadic funcformat",
        call,
    ),
    "GroupingFunc": rule("args", _keyword_call("GROUPING")),
    "GroupingSet": rule("kind content", _grouping_set),
    "MergeSupportFunc": rule("msftype", _merge_action),
    "MinMaxExpr": rule("op args", _extreme),
    "NamedArgExpr": rule("arg name argnumber", _named_argument),
    "NullTest": rule("arg nulltesttype", _null_test),
    "ParamRef": rule("number", _parameter),
    "RowExpr": rule("args row_format", _row),
    "SQLValueFunction": rule("op typmod", _value),
    "SetToDefault": rule("", _default),
    "SubLink": rule("subLinkType testexpr operName subselect", _sublink),
    "TypeCast": rule("arg typeName", _cast),
}
