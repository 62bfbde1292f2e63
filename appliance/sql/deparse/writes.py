"""INSERT, UPDATE, DELETE and MERGE. Called through `Printer.statement`.

Its rule: what an assignment of several columns shares is printed once, and only when every column
of it is there, in order.
"""

from collections.abc import Mapping, Sequence

from appliance.sql.deparse.expressions import steps
from appliance.sql.deparse.printer import Node, Printer, Rule, Undeparsable, known, only, rule
from appliance.sql.deparse.queries import from_clause, outputs, with_clause
from appliance.sql.deparse.sameness import same_tree
from appliance.sql.deparse.tables import target
from appliance.sql.deparse.windows import directions
from appliance.sql.parse import Body

_ASSIGNED = known("name indirection val")
_COLUMN = known("name indirection")
_MULTIPLE = known("source colno ncolumns")
_OVERRIDING: Mapping[str, str] = {
    "OVERRIDING_NOT_SET": "",
    "OVERRIDING_USER_VALUE": " OVERRIDING USER VALUE",
    "OVERRIDING_SYSTEM_VALUE": " OVERRIDING SYSTEM VALUE",
}


def _insert(p: Printer, body: Body) -> None:
    with_clause(p, body)
    p.put("INSERT INTO ")
    target(p, body["relation"], inheriting=True)
    _columns(p, body.get("cols"))
    p.put(_OVERRIDING[body["override"]])
    if body.get("selectStmt"):
        p.put(" ")
        p.statement(body["selectStmt"], frozenset(["SelectStmt"]))
    elif body.get("cols") or body["override"] != "OVERRIDING_NOT_SET":
        raise Undeparsable("DEFAULT VALUES for some columns")
    else:
        p.put(" DEFAULT VALUES")
    if body.get("onConflictClause"):
        _conflict(p, body["onConflictClause"])
    _returning(p, body)


def _columns(p: Printer, nodes: Sequence[Node] | None) -> None:
    if nodes:
        p.put(" (")
        p.separated(nodes, lambda node: _column(p, only(node, "ResTarget"), _COLUMN))
        p.put(")")


def _column(p: Printer, body: Body, fields: frozenset[str]) -> None:
    p.check("ResTarget", body, fields)
    p.identifier(body["name"])
    steps(p, body.get("indirection", []))


# --- ON CONFLICT -------------------------------------------------------------------------------

_CONFLICT = known("action infer targetList whereClause")
_INFER = known("indexElems whereClause conname")
_ELEMENT = known("name expr collation opclass ordering nulls_ordering")


def _conflict(p: Printer, body: Body) -> None:
    p.check("OnConflictClause", body, _CONFLICT)
    p.put(" ON CONFLICT")
    if body.get("infer"):
        _infer(p, body["infer"])
    if body["action"] == "ONCONFLICT_UPDATE":
        p.put(" DO UPDATE SET ")
        _assignments(p, body["targetList"])
        p.clause(" WHERE ", body.get("whereClause"))
    elif body["action"] != "ONCONFLICT_NOTHING" or "targetList" in body or "whereClause" in body:
        raise Undeparsable("ON CONFLICT in no known form")
    else:
        p.put(" DO NOTHING")


def _infer(p: Printer, body: Body) -> None:
    p.check("InferClause", body, _INFER)
    elements = body.get("indexElems")
    if bool(elements) == bool(body.get("conname")):
        raise Undeparsable("ON CONFLICT without a target, or with two")
    if not elements:
        if "whereClause" in body:
            raise Undeparsable("ON CONSTRAINT with a condition")
        p.put(" ON CONSTRAINT ")
        p.identifier(body["conname"])
        return
    p.put(" (")
    p.separated(elements, lambda node: _element(p, only(node, "IndexElem")))
    p.put(")")
    p.clause(" WHERE ", body.get("whereClause"))


def _element(p: Printer, body: Body) -> None:
    p.check("IndexElem", body, _ELEMENT)
    if body.get("expr"):
        if "name" in body:
            raise Undeparsable("an index element that is a column and an expression")
        p.put("(")
        p.expr(body["expr"])
        p.put(")")
    else:
        p.identifier(body["name"])
    if body.get("collation"):
        p.put(" COLLATE ")
        p.name(body["collation"])
    if body.get("opclass"):
        p.put(" ")
        p.name(body["opclass"])
    p.put(directions(body))


# --- Assignments -------------------------------------------------------------------------------


def _assignments(p: Printer, nodes: Sequence[Node]) -> None:
    """A SET list: `column = value` and `(column, column) = value`."""
    targets = [only(node, "ResTarget") for node in nodes]
    position = 0
    while position < len(targets):
        if position:
            p.put(", ")
        several = targets[position]["val"].get("MultiAssignRef")
        if several is None:
            _column(p, targets[position], _ASSIGNED)
            p.put(" = ")
            p.expr(targets[position]["val"])
            position += 1
        else:
            size = several["ncolumns"]
            _several(p, targets[position : position + size], several["source"], size)
            position += size


def _several(p: Printer, targets: Sequence[Body], source: Node, size: int) -> None:
    references = [only(body["val"], "MultiAssignRef") for body in targets]
    for place, reference in enumerate(references, 1):
        p.check("MultiAssignRef", reference, _MULTIPLE)
        if reference["colno"] != place or reference["ncolumns"] != size:
            raise Undeparsable("columns of one assignment out of order")
        if not same_tree(reference["source"], source):
            raise Undeparsable("columns of one assignment with different values")
    if len(references) != size or size < 1:
        raise Undeparsable("columns of one assignment are missing")
    p.put("(")
    p.separated(targets, lambda body: _column(p, body, _ASSIGNED))
    p.put(") = ")
    p.expr(source)


# --- UPDATE, DELETE, RETURNING -----------------------------------------------------------------


def _update(p: Printer, body: Body) -> None:
    with_clause(p, body)
    p.put("UPDATE ")
    target(p, body["relation"])
    p.put(" SET ")
    _assignments(p, body["targetList"])
    from_clause(p, " FROM ", body.get("fromClause"))
    p.clause(" WHERE ", body.get("whereClause"))
    _returning(p, body)


def _delete(p: Printer, body: Body) -> None:
    with_clause(p, body)
    p.put("DELETE FROM ")
    target(p, body["relation"])
    from_clause(p, " USING ", body.get("usingClause"))
    p.clause(" WHERE ", body.get("whereClause"))
    _returning(p, body)


_RETURNING = known("options exprs")
_OPTION = known("option value")
_OPTIONS: Mapping[str, str] = {
    "RETURNING_OPTION_OLD": "OLD AS ",
    "RETURNING_OPTION_NEW": "NEW AS ",
}


def _returning(p: Printer, body: Body) -> None:
    clause = body.get("returningClause")
    if not clause:
        return
    p.check("ReturningClause", clause, _RETURNING)
    p.put(" RETURNING ")
    if clause.get("options"):
        p.since(180_000, "RETURNING WITH")
        p.put("WITH (")
        p.separated(clause["options"], lambda node: _option(p, only(node, "ReturningOption")))
        p.put(") ")
    outputs(p, clause["exprs"])


def _option(p: Printer, body: Body) -> None:
    p.check("ReturningOption", body, _OPTION)
    p.put(_OPTIONS[body["option"]])
    p.identifier(body["value"])


# --- MERGE -------------------------------------------------------------------------------------

_WHEN = known("matchKind commandType override condition targetList values")
# What of `_WHEN` each command has, besides matchKind, commandType, override and condition.
_COMMANDS: Mapping[str, frozenset[str]] = {
    "CMD_DELETE": frozenset(),
    "CMD_INSERT": frozenset(["targetList", "values"]),
    "CMD_NOTHING": frozenset(),
    "CMD_UPDATE": frozenset(["targetList"]),
}
_MATCHES: Mapping[str, str] = {
    "MERGE_WHEN_MATCHED": " WHEN MATCHED",
    "MERGE_WHEN_NOT_MATCHED_BY_SOURCE": " WHEN NOT MATCHED BY SOURCE",
    "MERGE_WHEN_NOT_MATCHED_BY_TARGET": " WHEN NOT MATCHED",
}


def _merge(p: Printer, body: Body) -> None:
    p.since(150_000, "MERGE")
    with_clause(p, body)
    p.put("MERGE INTO ")
    target(p, body["relation"])
    p.put(" USING ")
    _source(p, body["sourceRelation"])
    p.clause(" ON ", body["joinCondition"])
    for node in body["mergeWhenClauses"]:
        _when(p, only(node, "MergeWhenClause"))
    if body.get("returningClause"):
        p.since(170_000, "RETURNING in MERGE")
        _returning(p, body)


def _source(p: Printer, node: Node) -> None:
    if "JoinExpr" in node and not node["JoinExpr"].get("alias"):
        p.put("(")
        p.table(node)
        p.put(")")
    else:
        p.table(node)


def _when(p: Printer, body: Body) -> None:
    p.check("MergeWhenClause", body, _WHEN)
    match, command = body["matchKind"], body["commandType"]
    if match == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE":
        p.since(170_000, "WHEN NOT MATCHED BY SOURCE")
    if not {"targetList", "values"}.intersection(body) <= _COMMANDS[command]:
        raise Undeparsable(f"{command} in MERGE with what it does not have")
    overriding = _OVERRIDING[body["override"]]
    if overriding and not (command == "CMD_INSERT" and body.get("values")):
        raise Undeparsable("OVERRIDING in MERGE without values")
    p.put(_MATCHES[match])
    p.clause(" AND ", body.get("condition"))
    p.put(" THEN ")
    if command == "CMD_INSERT":
        _merge_insert(p, body, overriding)
    elif command == "CMD_UPDATE":
        p.put("UPDATE SET ")
        _assignments(p, body["targetList"])
    else:
        p.put("DELETE" if command == "CMD_DELETE" else "DO NOTHING")


def _merge_insert(p: Printer, body: Body, overriding: str) -> None:
    p.put("INSERT")
    _columns(p, body.get("targetList"))
    p.put(overriding)
    if body.get("values"):
        p.put(" VALUES (")
        p.listed(body["values"])
        p.put(")")
    elif body.get("targetList"):
        raise Undeparsable("DEFAULT VALUES for some columns")
    else:
        p.put(" DEFAULT VALUES")


WRITES: Mapping[str, Rule] = {
    "DeleteStmt": rule("relation usingClause whereClause returningClause withClause", _delete),
    "InsertStmt": rule(
        "relation cols selectStmt onConflictClause returningClause withClause override", _insert
    ),
    "MergeStmt": rule(
        "relation sourceRelation joinCondition mergeWhenClauses returningClause withClause",
        _merge,
    ),
    "UpdateStmt": rule(
        "relation targetList whereClause fromClause returningClause withClause", _update
    ),
}
