"""SELECT, VALUES, set operations and WITH. Called through `Printer.query` and
`Printer.statement`; `with_clause`, `outputs` and `item` also by `writes`.

Its rule: each of the three forms of a SelectStmt has its own list of fields, so that a tree that
mixes them is refused.
"""

from collections.abc import Mapping

from appliance.sql.deparse.printer import (
    Node,
    Printer,
    Rule,
    Undeparsable,
    items,
    known,
    only,
    star,
)
from appliance.sql.deparse.tables import relation
from appliance.sql.deparse.windows import named, order
from appliance.sql.parse import Body

_AROUND = "withClause sortClause limitOffset limitCount limitOption lockingClause op"
_PLAIN = known(
    _AROUND + " distinctClause intoClause targetList fromClause whereClause groupClause"
    " groupDistinct havingClause windowClause"
)
_VALUES = known(_AROUND + " valuesLists")
_COMBINED = known(_AROUND + " all larg rarg")
_NOT_ALONE = frozenset(["withClause", "sortClause", "limitOffset", "limitCount", "lockingClause"])
_OPERATIONS: Mapping[str, str] = {
    "SETOP_UNION": " UNION ",
    "SETOP_INTERSECT": " INTERSECT ",
    "SETOP_EXCEPT": " EXCEPT ",
}
_OUTPUT = known("name val")
DATA = frozenset(["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"])


def select(p: Printer, body: Body) -> None:
    with_clause(p, body)
    if body["op"] != "SETOP_NONE":
        _combined(p, body)
    elif body.get("valuesLists"):
        _values(p, body)
    else:
        _plain(p, body)
    if body.get("sortClause"):
        p.put(" ")
        order(p, body["sortClause"])
    _limit(p, body)
    for node in body.get("lockingClause", ()):
        _locking(p, only(node, "LockingClause"))


def _combined(p: Printer, body: Body) -> None:
    p.check("a set operation", body, _COMBINED)
    _arm(p, body["larg"])
    p.put(_OPERATIONS[body["op"]])
    if body.get("all"):
        p.put("ALL ")
    _arm(p, body["rarg"])


def _arm(p: Printer, body: Body) -> None:
    """A side of a set operation; a bare struct."""
    if body["op"] == "SETOP_NONE" and _NOT_ALONE.isdisjoint(body):
        select(p, body)
        return
    p.put("(")
    select(p, body)
    p.put(")")


def _values(p: Printer, body: Body) -> None:
    p.check("VALUES", body, _VALUES)
    p.put("VALUES ")
    p.separated(body["valuesLists"], lambda row: _row(p, row))


def _row(p: Printer, node: Node) -> None:
    p.put("(")
    p.listed(items(node))
    p.put(")")


def _plain(p: Printer, body: Body) -> None:
    p.check("SELECT", body, _PLAIN)
    p.put("SELECT ")
    _distinct(p, body.get("distinctClause"))
    if body.get("targetList"):
        outputs(p, body["targetList"])
    if body.get("intoClause"):
        _into(p, body["intoClause"])
    from_clause(p, " FROM ", body.get("fromClause"))
    p.clause(" WHERE ", body.get("whereClause"))
    _group(p, body)
    p.clause(" HAVING ", body.get("havingClause"))
    if body.get("windowClause"):
        p.put(" WINDOW ")
        p.separated(body["windowClause"], lambda node: named(p, node))


def _distinct(p: Printer, nodes: list[Node] | None) -> None:
    if nodes is None:
        return
    if nodes == [{}]:
        p.put("DISTINCT ")
        return
    p.put("DISTINCT ON (")
    p.listed(nodes)
    p.put(") ")


def outputs(p: Printer, nodes: list[Node]) -> None:
    """A target list whose elements may have an alias."""
    p.separated(nodes, lambda node: item(p, node))


def item(p: Printer, node: Node) -> None:
    """A ResTarget as `expression AS name`."""
    body = only(node, "ResTarget")
    p.check("ResTarget", body, _OUTPUT)
    value = body["val"]
    if _everything(value):
        p.put("*")
    else:
        p.expr(value)
    if body.get("name"):
        p.put(" AS ")
        p.identifier(body["name"])


def _everything(node: Node) -> bool:
    """Whether this is a star of its own, which only stands in target lists."""
    column = node.get("ColumnRef")
    if column is None or len(node) != 1 or not column.keys() <= _FIELDS:
        return False
    return len(column["fields"]) == 1 and star(column["fields"][0])


_FIELDS = known("fields")
_INTO = known("rel onCommit")
_PERSISTENCE: Mapping[str, str] = {"p": "", "t": "TEMPORARY ", "u": "UNLOGGED "}


def _into(p: Printer, body: Body) -> None:
    p.check("IntoClause", body, _INTO)
    if body["onCommit"] != "ONCOMMIT_NOOP":
        raise Undeparsable("SELECT INTO with ON COMMIT")
    p.put(" INTO ")
    new_relation(p, "TABLE ", body["rel"])


def new_relation(p: Printer, word: str, body: Body) -> None:
    """`[TEMPORARY | UNLOGGED] TABLE name`."""
    p.put(_PERSISTENCE[body["relpersistence"]] + word)
    if "alias" in body:
        raise Undeparsable("a new relation with an alias")
    relation(p, {**body, "relpersistence": "p"}, inheriting=True)


def from_clause(p: Printer, word: str, nodes: list[Node] | None) -> None:
    if nodes:
        p.put(word)
        p.separated(nodes, p.table)


def _group(p: Printer, body: Body) -> None:
    nodes, distinct = body.get("groupClause"), body.get("groupDistinct")
    if distinct:
        p.since(140_000, "GROUP BY DISTINCT")
    if not nodes:
        if distinct:
            raise Undeparsable("GROUP BY DISTINCT of nothing")
        return
    p.put(" GROUP BY DISTINCT " if distinct else " GROUP BY ")
    p.listed(nodes)


def _limit(p: Printer, body: Body) -> None:
    option, count, offset = body["limitOption"], body.get("limitCount"), body.get("limitOffset")
    if (option == "LIMIT_OPTION_DEFAULT") == bool(count or offset):
        raise Undeparsable("a LIMIT in no known form")
    p.clause(" OFFSET ", offset)
    if option == "LIMIT_OPTION_COUNT":
        p.clause(" LIMIT ", count)
    elif option == "LIMIT_OPTION_WITH_TIES" and count:
        p.put(" FETCH FIRST (")
        p.expr(count)
        p.put(") ROWS WITH TIES")
    elif option != "LIMIT_OPTION_DEFAULT":
        raise Undeparsable("a LIMIT in no known form")


_LOCKING = known("lockedRels strength waitPolicy")
_STRENGTHS: Mapping[str, str] = {
    "LCS_FORKEYSHARE": " FOR KEY SHARE",
    "LCS_FORSHARE": " FOR SHARE",
    "LCS_FORNOKEYUPDATE": " FOR NO KEY UPDATE",
    "LCS_FORUPDATE": " FOR UPDATE",
}
_WAITS: Mapping[str, str] = {
    "LockWaitBlock": "",
    "LockWaitSkip": " SKIP LOCKED",
    "LockWaitError": " NOWAIT",
}


def _locking(p: Printer, body: Body) -> None:
    p.check("LockingClause", body, _LOCKING)
    p.put(_STRENGTHS[body["strength"]])
    if body.get("lockedRels"):
        p.put(" OF ")
        p.separated(body["lockedRels"], lambda node: _locked(p, only(node, "RangeVar")))
    p.put(_WAITS[body["waitPolicy"]])


def _locked(p: Printer, body: Body) -> None:
    if "alias" in body:
        raise Undeparsable("a locked relation with an alias")
    relation(p, body, inheriting=True)


# --- WITH --------------------------------------------------------------------------------------

_WITH = known("ctes recursive")
_CTE = known("ctename aliascolnames ctematerialized ctequery search_clause cycle_clause")
_SEARCH = known("search_col_list search_breadth_first search_seq_column")
_CYCLE = known(
    "cycle_col_list cycle_mark_column cycle_mark_value cycle_mark_default cycle_path_column"
)
_MATERIALIZED: Mapping[str, str] = {
    "CTEMaterializeDefault": "",
    "CTEMaterializeAlways": "MATERIALIZED ",
    "CTEMaterializeNever": "NOT MATERIALIZED ",
}


def with_clause(p: Printer, body: Body) -> None:
    """`WITH ... `, when the statement has one."""
    clause = body.get("withClause")
    if not clause:
        return
    p.check("WithClause", clause, _WITH)
    p.put("WITH RECURSIVE " if clause.get("recursive") else "WITH ")
    p.separated(clause["ctes"], lambda node: _cte(p, only(node, "CommonTableExpr")))
    p.put(" ")


def _cte(p: Printer, body: Body) -> None:
    p.check("CommonTableExpr", body, _CTE)
    p.identifier(body["ctename"])
    if body.get("aliascolnames"):
        p.put(" ")
        p.names(body["aliascolnames"])
    p.put(f" AS {_MATERIALIZED[body['ctematerialized']]}(")
    if "MergeStmt" in body["ctequery"]:
        p.since(170_000, "MERGE in WITH")
    p.statement(body["ctequery"], DATA)
    p.put(")")
    if body.get("search_clause"):
        _search(p, body["search_clause"])
    if body.get("cycle_clause"):
        _cycle(p, body["cycle_clause"])


def _search(p: Printer, body: Body) -> None:
    p.since(140_000, "SEARCH")
    p.check("CTESearchClause", body, _SEARCH)
    p.put(" SEARCH BREADTH" if body.get("search_breadth_first") else " SEARCH DEPTH")
    p.put(" FIRST BY ")
    p.separated(body["search_col_list"], lambda node: p.name([node]))
    p.put(" SET ")
    p.identifier(body["search_seq_column"])


def _cycle(p: Printer, body: Body) -> None:
    p.since(140_000, "CYCLE")
    p.check("CTECycleClause", body, _CYCLE)
    p.put(" CYCLE ")
    p.separated(body["cycle_col_list"], lambda node: p.name([node]))
    p.put(" SET ")
    p.identifier(body["cycle_mark_column"])
    p.put(" TO ")
    _plain_constant(p, body["cycle_mark_value"])
    p.put(" DEFAULT ")
    _plain_constant(p, body["cycle_mark_default"])
    p.put(" USING ")
    p.identifier(body["cycle_path_column"])


def _plain_constant(p: Printer, node: Node) -> None:
    """AexprConst of the grammar, which has no CAST: `type 'text'`."""
    if "TypeCast" not in node:
        only(node, "A_Const")
        p.expr(node)
        return
    cast = only(node, "TypeCast")
    p.check("TypeCast", cast, known("arg typeName"))
    if "sval" not in only(cast["arg"], "A_Const"):
        raise Undeparsable("a constant of a type that is made from no text")
    if "arrayBounds" in cast["typeName"] or "setof" in cast["typeName"]:
        raise Undeparsable("a constant of an array type")
    p.type_name(cast["typeName"])
    p.put(" ")
    p.expr(cast["arg"])


QUERIES: Mapping[str, Rule] = {
    "SelectStmt": Rule(_PLAIN | _VALUES | _COMBINED, select),
}
