"""Constants of a query whose values nothing in `sql/` looks at: texts that differ in these only
have the same facts.

Asked by `analysis`; `session/flow` keeps verdicts by what it says. Rule: a constant is one of them
only where this module knows that no rule looks: in WHERE and ON, compared with a column.
"""

from typing import Any

from appliance.sql.parse import Body

_COMPARING = frozenset({"=", "<>", "<", ">", "<=", ">="})
_LISTING = frozenset({"AEXPR_IN", "AEXPR_BETWEEN", "AEXPR_NOT_BETWEEN"})
_CONDITIONS = frozenset({"whereClause", "quals"})


def unread_constants(kind: str, body: Body) -> tuple[int, ...]:
    """Byte offsets of all integers and strings of a query, when nothing looks at any of them; ()
    otherwise."""
    if kind != "SelectStmt":
        return ()
    found: list[int] = []
    return tuple(sorted(found)) if _collect(body, False, found) else ()


def _collect(value: Any, condition: bool, found: list[int]) -> bool:
    """False as soon as there is a constant that may be looked at."""
    pending: list[tuple[Any, bool]] = [(value, condition)]
    while pending:
        value, condition = pending.pop()
        if value.__class__ is list:
            pending.extend((element, condition) for element in value)
            continue
        for key, inner in value.items():
            if inner.__class__ is not dict and inner.__class__ is not list:
                continue
            if key == "A_Const":
                if "ival" in inner or "sval" in inner:
                    return False
            elif key == "A_Expr" and condition and (places := _compared(inner)) is not None:
                found += places
            elif key == "SelectStmt":
                pending.append((inner, False))
            else:
                pending.append((inner, condition or key in _CONDITIONS))
    return True


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
