"""FROM: relations, joins, functions, subqueries, samples. Called through `Printer.table`, and by
`writes` and `utility` for the relations they name.

Its rule: a join inside a join stands in parentheses, except a plain one on the left, which the
grammar reads the same way without.
"""

from collections.abc import Mapping, Sequence

from appliance.sql.deparse.printer import (
    Node,
    Printer,
    Rule,
    Undeparsable,
    items,
    known,
    only,
    quoted,
    rule,
)
from appliance.sql.parse import Body

RANGE_VAR = known("catalogname schemaname relname inh relpersistence alias")
_ALIAS = known("aliasname colnames")
_COLUMN = known("colname typeName is_local collClause")
_COLLATE = known("collname")


def relation(p: Printer, body: Body, inheriting: bool = False) -> None:
    """A relation's name, with ONLY if that is said; no alias. `inheriting`: where the grammar has
    no ONLY."""
    p.check("RangeVar", body, RANGE_VAR)
    if not body.get("inh"):
        if inheriting:
            raise Undeparsable("ONLY where the grammar has none")
        p.put("ONLY ")
    p.put(relation_name(body))
    if body["relpersistence"] != "p":
        raise Undeparsable("a temporary or unlogged relation where the grammar cannot say so")


def relation_name(body: Body) -> str:
    parts = [body[key] for key in ("catalogname", "schemaname") if body.get(key)]
    if "catalogname" in body and "schemaname" not in body:
        raise Undeparsable("a database's name without a schema's")
    return ".".join(map(quoted, [*parts, body["relname"]]))


def target(p: Printer, body: Body, inheriting: bool = False) -> None:
    """The relation that a statement writes; its alias has no columns."""
    relation(p, body, inheriting)
    if "colnames" in body.get("alias", ()):
        raise Undeparsable("the alias of a written relation has columns")
    alias(p, body)


def alias(p: Printer, body: Body) -> None:
    """` AS name (columns)`, when `body` has an alias."""
    named = body.get("alias")
    if named:
        p.check("Alias", named, _ALIAS)
        p.put(" AS ")
        p.identifier(named["aliasname"])
        if named.get("colnames"):
            p.put(" ")
            p.names(named["colnames"])


def lateral(p: Printer, body: Body) -> None:
    if body.get("lateral"):
        p.put("LATERAL ")


def _range_var(p: Printer, body: Body) -> None:
    relation(p, body)
    alias(p, body)


def _subselect(p: Printer, body: Body) -> None:
    if not body.get("alias"):
        p.since(160_000, "a subquery in FROM without an alias")
    lateral(p, body)
    p.query(body["subquery"])
    alias(p, body)


# --- Functions ---------------------------------------------------------------------------------

# What func_expr_windowless can be, besides SQL/JSON and XML constructs.
_CALLABLE = frozenset(
    [
        "CoalesceExpr",
        "FuncCall",
        "JsonArrayAgg",
        "JsonArrayConstructor",
        "JsonArrayQueryConstructor",
        "JsonFuncExpr",
        "JsonObjectAgg",
        "JsonObjectConstructor",
        "JsonParseExpr",
        "JsonScalarExpr",
        "JsonSerializeExpr",
        "MergeSupportFunc",
        "MinMaxExpr",
        "SQLValueFunction",
        "TypeCast",
        "XmlExpr",
        "XmlSerialize",
    ]
)


def _function(p: Printer, body: Body) -> None:
    lateral(p, body)
    calls = [items(node) for node in body["functions"]]
    if body.get("is_rowsfrom"):
        p.put("ROWS FROM (")
        p.separated(calls, lambda pair: _rows_from(p, pair))
        p.put(")")
    else:
        ((item, nothing),) = calls
        if nothing:
            raise Undeparsable("column definitions in the wrong place")
        _callable(p, item)
    if body.get("ordinality"):
        p.put(" WITH ORDINALITY")
    definitions = body.get("coldeflist")
    if not definitions:
        alias(p, body)
        return
    if "colnames" in body.get("alias", ()):
        raise Undeparsable("column names and column definitions")
    alias(p, body)
    p.put(" " if body.get("alias") else " AS ")
    _definitions(p, definitions)


def _rows_from(p: Printer, pair: Sequence[Node]) -> None:
    item, definitions = pair
    _callable(p, item)
    if definitions:
        p.put(" AS ")
        _definitions(p, items(definitions))


def _callable(p: Printer, node: Node) -> None:
    ((kind, body),) = node.items()
    nullif = kind == "A_Expr" and body["kind"] == "AEXPR_NULLIF"
    if kind not in _CALLABLE and not nullif:
        raise Undeparsable(f"{kind} is not printed as a function in FROM")
    p.expr(node)


def _definitions(p: Printer, nodes: Sequence[Node]) -> None:
    p.put("(")
    p.separated(nodes, lambda node: _definition(p, only(node, "ColumnDef")))
    p.put(")")


def _definition(p: Printer, body: Body) -> None:
    p.check("ColumnDef", body, _COLUMN)
    if body.get("is_local") is not True:
        raise Undeparsable("a column definition in no known form")
    p.identifier(body["colname"])
    p.put(" ")
    p.type_name(body["typeName"])
    collation = body.get("collClause")
    if collation:
        p.check("CollateClause", collation, _COLLATE)
        p.put(" COLLATE ")
        p.name(collation["collname"])


# --- Samples and joins -------------------------------------------------------------------------


def _sample(p: Printer, body: Body) -> None:
    only(body["relation"], "RangeVar")
    p.table(body["relation"])
    p.put(" TABLESAMPLE ")
    p.name(body["method"])
    p.put("(")
    p.listed(body["args"])
    p.put(")")
    if body.get("repeatable"):
        p.put(" REPEATABLE (")
        p.expr(body["repeatable"])
        p.put(")")


_JOINS: Mapping[str, str] = {
    "JOIN_INNER": "JOIN ",
    "JOIN_LEFT": "LEFT JOIN ",
    "JOIN_FULL": "FULL JOIN ",
    "JOIN_RIGHT": "RIGHT JOIN ",
}


def _join(p: Printer, body: Body) -> None:
    if body.get("alias"):
        p.put("(")
    _side(p, body["larg"], left=True)
    natural, using, quals = body.get("isNatural"), body.get("usingClause"), body.get("quals")
    if bool(natural) + bool(using) + bool(quals) > 1:
        raise Undeparsable("a join with several conditions")
    word = _JOINS[body["jointype"]]
    if natural:
        p.put(" NATURAL " + word)
    elif using or quals:
        p.put(" " + word)
    elif body["jointype"] == "JOIN_INNER":
        p.put(" CROSS JOIN ")
    else:
        raise Undeparsable("an outer join without a condition")
    _side(p, body["rarg"], left=False)
    _condition(p, body)
    if body.get("alias"):
        p.put(")")
        alias(p, body)


def _side(p: Printer, node: Node, left: bool) -> None:
    join = node.get("JoinExpr")
    if not join or join.get("alias") or left:
        p.table(node)
        return
    p.put("(")
    p.table(node)
    p.put(")")


def _condition(p: Printer, body: Body) -> None:
    p.clause(" ON ", body.get("quals"))
    if body.get("usingClause"):
        p.put(" USING ")
        p.names(body["usingClause"])
    named = body.get("join_using_alias")
    if named:
        p.since(140_000, "an alias for JOIN USING")
        p.check("Alias", named, known("aliasname"))
        if not body.get("usingClause"):
            raise Undeparsable("an alias for USING without USING")
        p.put(" AS ")
        p.identifier(named["aliasname"])


TABLES: Mapping[str, Rule] = {
    "JoinExpr": rule(
        "jointype isNatural larg rarg usingClause join_using_alias quals alias", _join
    ),
    "RangeFunction": rule("lateral ordinality is_rowsfrom functions alias coldeflist", _function),
    "RangeSubselect": rule("lateral subquery alias", _subselect),
    "RangeTableSample": rule("relation method args repeatable", _sample),
    "RangeVar": Rule(RANGE_VAR, _range_var),
}
