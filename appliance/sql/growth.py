"""Whether a query may run, or hold others up, without bound: relations multiplied with nothing
that joins them, series of millions, recursion that nothing ends, every row of a table locked.

Asked by `queries` for each SELECT. It reads the tree and what the level's names stand for; how
large relations are is the database's business. Its rule: what it says yes to is worth stopping on a
busy server, and ordinary reports are not among it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from _speedups.sqltrees import bodies
from appliance.sql.names import words
from appliance.sql.parse import Body
from appliance.sql.scope import Scope

Node = Any

SERIES_ROWS_MAX = 10_000_000
"""Of generate_series() with constant bounds, multiplied where there are several."""
REPEAT_CHARACTERS_MAX = 100_000_000
FEW_ROWS_MAX = 1_000
"""A subquery with a constant LIMIT up to this counts as small."""


class Leaf:
    """One relation, subquery or function in FROM."""

    __slots__ = ("alias", "large", "linked")

    def __init__(self, alias: str, large: bool) -> None:
        self.alias = alias
        self.large = large
        """It may have any number of rows."""
        self.linked: Leaf = self

    def root(self) -> "Leaf":
        leaf = self
        while leaf.linked is not leaf:
            leaf = leaf.linked
        return leaf


def is_unbounded(body: Body, scope: Scope) -> bool:
    """One plain SELECT whose FROM is in `scope`."""
    sources = body.get("fromClause", ())
    if "lockingClause" in body and sources and not _narrowed(body):
        return True
    if _series_rows([*sources, body.get("targetList", ())]) > SERIES_ROWS_MAX:
        return True
    if len(sources) < 2 and not any("JoinExpr" in source for source in sources):
        return False
    return not _streams(body) and _multiplies(body, scope)


def is_endless(select: Body, name: str) -> bool:
    """Whether the recursive arm of WITH RECURSIVE `name` reads nothing but itself, unfiltered."""
    arm = select.get("rarg", {})
    sources = arm.get("fromClause", ())
    alone = len(sources) == 1 and sources[0].get("RangeVar", {}).get("relname") == name
    return alone and not _narrowed(arm) and "limitCount" not in select


def _narrowed(body: Body) -> bool:
    where = body.get("whereClause")
    if "limitCount" in body:
        return True
    return where is not None and bool(bodies(where, "ColumnRef"))


def _streams(body: Body) -> bool:
    """Whether a LIMIT ends it early: nothing gathers all rows first."""
    gathers = any(
        key in body for key in ("sortClause", "groupClause", "distinctClause", "havingClause")
    )
    return "limitCount" in body and not gathers and not _aggregates(body)


_AGGREGATES = frozenset(
    [
        "array_agg",
        "avg",
        "bool_and",
        "bool_or",
        "count",
        "every",
        "json_agg",
        "jsonb_agg",
        "max",
        "min",
        "string_agg",
        "sum",
    ]
)


def _aggregates(body: Body) -> bool:
    return any(
        words(call["funcname"])[-1] in _AGGREGATES
        for call in bodies(body.get("targetList", []), "FuncCall")
    )


def _multiplies(body: Body, scope: Scope) -> bool:
    """Whether two large parts of FROM have nothing that joins them."""
    leaves: list[Leaf] = []
    conditions: list[Node] = []
    for source in body.get("fromClause", ()):
        _gather(source, scope, leaves, conditions)
    if sum(leaf.large for leaf in leaves) < 2:
        return False
    for condition in [*conditions, *_conjuncts(body.get("whereClause"))]:
        _link(condition, leaves, scope)
    return len({id(leaf.root()) for leaf in leaves if leaf.large}) > 1


def _gather(node: Node, scope: Scope, leaves: list[Leaf], conditions: list[Node]) -> list[Leaf]:
    ((kind, body),) = node.items()
    if kind == "JoinExpr":
        left = _gather(body["larg"], scope, leaves, conditions)
        right = _gather(body["rarg"], scope, leaves, conditions)
        if "usingClause" in body or body.get("isNatural"):
            for leaf in right:
                leaf.root().linked = left[0].root()
        conditions += _conjuncts(body.get("quals"))
        if "alias" in body:
            leaves.append(Leaf(body["alias"]["aliasname"], False))
            leaves[-1].linked = left[0].root()
        return [*left, *right]
    if kind == "RangeTableSample":
        return _gather(body["relation"], scope, leaves, conditions)
    alias = body.get("alias", {}).get("aliasname", body.get("relname", ""))
    leaf = Leaf(alias, kind == "RangeVar" or (kind == "RangeSubselect" and _may_be_large(body)))
    leaves.append(leaf)
    if kind == "RangeSubselect" and body.get("lateral"):
        conditions.append({"List": {"items": [body["subquery"], _reference_to(alias)]}})
    return [leaf]


def _reference_to(alias: str) -> Node:
    return {"ColumnRef": {"fields": [{"String": {"sval": alias}}, {"A_Star": {}}]}}


def _may_be_large(body: Body) -> bool:
    select = body["subquery"].get("SelectStmt", {})
    if "valuesLists" in select:
        return False
    limit = select.get("limitCount", {}).get("A_Const", {}).get("ival", {}).get("ival")
    if limit is not None and limit <= FEW_ROWS_MAX:
        return False
    if select.get("op", "SETOP_NONE") != "SETOP_NONE":
        return True
    one_row = "groupClause" not in select and _aggregates(select)
    return "fromClause" in select and not one_row


def _conjuncts(node: Node) -> list[Node]:
    if not node:
        return []
    body = node.get("BoolExpr")
    if body is not None and body["boolop"] == "AND_EXPR":
        return [inner for argument in body["args"] for inner in _conjuncts(argument)]
    return [node]


def _link(condition: Node, leaves: Sequence[Leaf], scope: Scope) -> None:
    """A condition on two parts joins them; one that fixes a column makes its part small."""
    expression = condition.get("A_Expr", {})
    name = words(expression.get("name", ()))[-1:]
    if name in (["<>"], ["!="]):
        return
    named = {id(leaf): leaf for leaf in _leaves_named(condition, leaves, scope)}
    found = list(named.values())
    for leaf in found[1:]:
        leaf.root().linked = found[0].root()
    if len(found) == 1 and name == ["="]:
        found[0].large = False


def _leaves_named(node: Node, leaves: Sequence[Leaf], scope: Scope) -> Iterator[Leaf]:
    for reference in bodies(node, "ColumnRef"):
        parts = words(reference["fields"])
        if len(parts) > 1:
            yield from (leaf for leaf in leaves if leaf.alias == parts[-2])
            continue
        for leaf in leaves:
            item = scope.item(leaf.alias)
            if item is not None and (parts[0] in item.columns or not item.known):
                yield leaf


def _series_rows(nodes: Sequence[Node]) -> float:
    """How many rows the constant generate_series() in these give, multiplied; infinite for a text
    repeated beyond measure."""
    rows = 1.0
    for call in bodies(nodes, "FuncCall"):
        name = words(call["funcname"])[-1]
        values = [_number(argument) for argument in call.get("args", ())]
        if name == "generate_series" and len(values) > 1:
            low, high = values[0], values[1]
            step = values[2] if len(values) > 2 else 1.0
            if low is not None and high is not None and step:
                rows *= max((high - low) / step, 1.0)
        elif name in ("repeat", "lpad", "rpad") and len(values) > 1 and values[1] is not None:
            rows = float("inf") if values[1] > REPEAT_CHARACTERS_MAX else rows
    return rows


def _number(node: Node) -> float | None:
    """A numeric constant, perhaps cast or negated."""
    if not node:
        return None
    ((kind, body),) = node.items()
    if kind == "TypeCast":
        return _number(body.get("arg"))
    if kind == "A_Expr" and "lexpr" not in body and words(body["name"])[-1] == "-":
        value = _number(body.get("rexpr"))
        return None if value is None else -value
    if kind != "A_Const":
        return None
    if "ival" in body:
        return float(body["ival"].get("ival", 0))
    try:
        return float(body["fval"].get("fval", "x")) if "fval" in body else None
    except ValueError:
        return None
