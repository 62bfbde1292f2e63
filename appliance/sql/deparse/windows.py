"""ORDER BY, OVER and WINDOW. Called by `expressions` and `queries`.

Its rule: a frame is printed from its bits only when they are exactly what the grammar can set
(FRAMEOPTION_* in nodes/parsenodes.h).
"""

from collections.abc import Iterable, Mapping

from appliance.sql.deparse.printer import Node, Printer, Undeparsable, known, only
from appliance.sql.parse import Body

_DIRECTIONS: Mapping[str, str] = {
    "SORTBY_DEFAULT": "",
    "SORTBY_ASC": " ASC",
    "SORTBY_DESC": " DESC",
}
_NULLS: Mapping[str, str] = {
    "SORTBY_NULLS_DEFAULT": "",
    "SORTBY_NULLS_FIRST": " NULLS FIRST",
    "SORTBY_NULLS_LAST": " NULLS LAST",
}
_SORT_BY = known("node sortby_dir sortby_nulls useOp")
_WINDOW = known("name refname partitionClause orderClause frameOptions startOffset endOffset")
_NAME_ONLY = known("name frameOptions")

_NONDEFAULT, _BETWEEN = 0x1, 0x10
_DEFAULT_FRAME = 0x2 | 0x20 | 0x400  # RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
_MODES: Mapping[int, str] = {0x2: "RANGE", 0x4: "ROWS", 0x8: "GROUPS"}
_STARTS: Mapping[int, str] = {
    0x20: "UNBOUNDED PRECEDING",
    0x200: "CURRENT ROW",
    0x800: " PRECEDING",
    0x2000: " FOLLOWING",
}
_ENDS: Mapping[int, str] = {
    0x100: "UNBOUNDED FOLLOWING",
    0x400: "CURRENT ROW",
    0x1000: " PRECEDING",
    0x4000: " FOLLOWING",
}
_EXCLUSIONS: Mapping[int, str] = {
    0: "",
    0x8000: " EXCLUDE CURRENT ROW",
    0x10000: " EXCLUDE GROUP",
    0x20000: " EXCLUDE TIES",
}


def order(p: Printer, nodes: Iterable[Node]) -> None:
    p.put("ORDER BY ")
    p.separated(nodes, lambda node: _sort(p, only(node, "SortBy")))


def _sort(p: Printer, body: Body) -> None:
    p.check("SortBy", body, _SORT_BY)
    p.expr(body["node"])
    if body["sortby_dir"] == "SORTBY_USING":
        p.put(" USING")
        p.operator(body["useOp"])
    elif "useOp" in body:
        raise Undeparsable("an operator to sort by and a direction")
    else:
        p.put(_DIRECTIONS[body["sortby_dir"]])
    p.put(_NULLS[body["sortby_nulls"]])


def directions(body: Body) -> str:
    """What IndexElem says of direction and NULLs."""
    return _DIRECTIONS[body["ordering"]] + _NULLS[body["nulls_ordering"]]


def over(p: Printer, body: Body) -> None:
    """OVER name, or OVER (definition)."""
    p.put(" OVER ")
    if not body.get("name"):
        definition(p, body)
        return
    p.check("WindowDef", body, _NAME_ONLY)
    if body["frameOptions"] != _DEFAULT_FRAME:
        raise Undeparsable("a named window with a frame of its own")
    p.identifier(body["name"])


def named(p: Printer, node: Node) -> None:
    """One element of the WINDOW clause."""
    body = only(node, "WindowDef")
    p.identifier(body["name"])
    p.put(" AS ")
    definition(p, body)


def definition(p: Printer, body: Body) -> None:
    p.check("WindowDef", body, _WINDOW)
    p.put("(")
    if body.get("refname"):
        p.identifier(body["refname"])
    if body.get("partitionClause"):
        p.put(" PARTITION BY ")
        p.listed(body["partitionClause"])
    if body.get("orderClause"):
        p.put(" ")
        order(p, body["orderClause"])
    _frame(p, body)
    p.put(")")


def _frame(p: Printer, body: Body) -> None:
    bits = body["frameOptions"]
    offsets = [key for key in ("startOffset", "endOffset") if body.get(key)]
    if bits == _DEFAULT_FRAME and not offsets:
        return
    mode, start, end = (_chosen(bits, table) for table in (_MODES, _STARTS, _ENDS))
    exclusion = bits & 0x38000
    if bits != _NONDEFAULT | bits & _BETWEEN | mode | start | end | exclusion:
        raise Undeparsable("a frame in no known form")
    p.put(f" {_MODES[mode]} ")
    if bits & _BETWEEN:
        p.put("BETWEEN ")
    _bound(p, _STARTS[start], body.get("startOffset"))
    if bits & _BETWEEN:
        p.put(" AND ")
        _bound(p, _ENDS[end], body.get("endOffset"))
    elif end != 0x400 or "endOffset" in body:
        raise Undeparsable("a frame without BETWEEN whose end is not the current row")
    p.put(_EXCLUSIONS[exclusion])


def _chosen(bits: int, table: Mapping[int, str]) -> int:
    """The one bit of `table` that is set."""
    (bit,) = [bit for bit in table if bits & bit]
    return bit


def _bound(p: Printer, words: str, offset: Node) -> None:
    if bool(offset) != words.startswith(" "):
        raise Undeparsable("a frame whose offset is missing or too many")
    if offset:
        p.operand(offset)
    p.put(words)
