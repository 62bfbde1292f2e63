"""Constants of a query whose values nothing in `sql/` looks at: texts that differ in these only
have the same facts.

Asked by `analysis`; `session/flow` keeps verdicts by what it says. Rule: a constant is one of them
only where this module knows that no rule looks: in WHERE and ON, compared with a column.
"""

from typing import Any

from _speedups.sqltrees import walk_constants
from appliance.sql.parse import Body

_COMPARING = frozenset({"=", "<>", "<", ">", "<=", ">="})
_LISTING = frozenset({"AEXPR_IN", "AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN"})
_CONDITIONS = frozenset({"whereClause", "quals"})


def unread_constants(kind: str, body: Body) -> tuple[int, ...]:
    """Byte offsets of all integers and strings of a query, when nothing looks at any of them; ()
    otherwise."""
    if kind != "SelectStmt":
        return ()
    found = walk_constants(body, _CONDITIONS, _compared)
    return () if found is None else tuple(sorted(found))


def _compared(body: Any) -> list[int] | None:
    """Offsets of the constants that a column is compared with."""
    left, right = body.get("lexpr", {}), body.get("rexpr", {})
    if body.get("kind") == "AEXPR_OP" and len(body["name"]) == 1:
        if body["name"][0].get("String", {}).get("sval") not in _COMPARING:
            return None
        constants = [right] if "ColumnRef" in left else [left] if "ColumnRef" in right else []
    elif body.get("kind") in _LISTING and "ColumnRef" in left and "List" in right:
        constants = right["List"]["items"]
    else:
        return None
    places = [_place(node) for node in constants]
    known = [place for place in places if place is not None]
    return known if places and len(known) == len(places) else None


def _place(node: Any) -> int | None:
    constant = node.get("A_Const")
    if constant is None or not ("ival" in constant or "sval" in constant):
        return None
    place: int = constant.get("location", 0)
    return place
