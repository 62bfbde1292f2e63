"""INSERT, UPDATE, DELETE, MERGE: what is written, what is read to write it, and whether a WHERE
holds anything back."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from appliance.model.facts import Action, Flag
from appliance.sql.expressions import Node, Result
from appliance.sql.names import SYSTEM_COLUMNS, TEMPORARY_SCHEMA, words
from appliance.sql.own import stays_inside
from appliance.sql.parse import Body
from appliance.sql.predicates import always_true, names_rows
from appliance.sql.queries import Queries
from appliance.sql.scope import Cte, Field, Item, Scope
from appliance.sql.spared import OpenWrite

NOTHING = Result(())

_MERGE_ACTIONS: Mapping[str, Action] = {
    "CMD_INSERT": Action.INSERT,
    "CMD_UPDATE": Action.UPDATE,
    "CMD_DELETE": Action.DELETE,
}


class Writes(Queries):
    """Queries, with data-modifying statements understood."""

    def write_query(self, kind: str, body: Body, scope: Scope) -> Result:
        if kind == "InsertStmt":
            return self.insert(body, scope)
        if kind == "UpdateStmt":
            return self.update(body, scope)
        if kind == "DeleteStmt":
            return self.delete(body, scope)
        if kind == "MergeStmt":
            return self.merge(body, scope)
        self.puzzle(f"{kind} as a query is not understood")
        self.act(Action.OPAQUE)
        self.opaque = True
        return Result((), False)

    def insert(self, body: Body, parent: Scope | None) -> Result:
        scope = self._begin(Action.INSERT, body, parent)
        target = self._target(body["relation"], scope, Action.INSERT)
        columns = [node["ResTarget"]["name"] for node in body.get("cols", ())]
        self._use_target(body["relation"], target, Action.INSERT, columns)
        self._parts_of_columns(body.get("cols", ()), scope)
        if "selectStmt" in body:
            source = self.query(body["selectStmt"], scope)
            self.consume(source.fields)
        # The target is in reach of ON CONFLICT and RETURNING only.
        scope.add(target, (target,))
        if "onConflictClause" in body:
            self._on_conflict(body, target, scope)
        return self._finish(Action.INSERT, body, target, scope)

    def update(self, body: Body, parent: Scope | None) -> Result:
        scope = self._begin(Action.UPDATE, body, parent)
        target = self._target(body["relation"], scope, Action.UPDATE)
        scope.add(target, (target,))
        before = self._doings()
        for node in body.get("fromClause", ()):
            scope.add(*self.from_item(node, scope))
        self._guard("UpdateStmt", body, target, scope, before)
        self._assignments(Action.UPDATE, body, target, scope)
        return self._finish(Action.UPDATE, body, target, scope)

    def delete(self, body: Body, parent: Scope | None) -> Result:
        scope = self._begin(Action.DELETE, body, parent)
        target = self._target(body["relation"], scope, Action.DELETE)
        scope.add(target, (target,))
        before = self._doings()
        for node in body.get("usingClause", ()):
            scope.add(*self.from_item(node, scope))
        self._guard("DeleteStmt", body, target, scope, before)
        return self._finish(Action.DELETE, body, target, scope)

    def merge(self, body: Body, parent: Scope | None) -> Result:
        scope = self._begin(Action.MERGE, body, parent)
        target = self._target(body["relation"], scope, Action.MERGE)
        before = self._doings()
        top, items = self.from_item(body["sourceRelation"], scope)
        # RETURNING * gives the source's columns first (MERGE's reference page).
        scope.add(top, items)
        scope.add(target, (target,))
        joined = self._watch(body["joinCondition"], scope)
        rows = _Rows(self, target, scope, body["relation"])
        everything = always_true(body["joinCondition"], rows)
        for node in body.get("mergeWhenClauses", ()):
            self._merge_when(node["MergeWhenClause"], body, target, scope, everything, joined)
        temporary = self._is_temporary(Action.MERGE, body["relation"])
        settled = temporary or Flag.TRIVIAL_WHERE in self.flags or not _changes_matched(body)
        if not settled and not names_rows(body["joinCondition"], rows):
            sources = [body["sourceRelation"], body["joinCondition"], body["mergeWhenClauses"]]
            self._leave_open("MergeStmt", body, sources, scope, before)
        return self._finish(Action.MERGE, body, target, scope)

    def _merge_when(
        self, when: Body, body: Body, target: Item, scope: Scope, everything: bool, joined: set[int]
    ) -> None:
        conditional = False
        if "condition" in when:
            joined = joined | self._watch(when["condition"], scope)
            rows = _Rows(self, target, scope, body["relation"])
            conditional = not always_true(when["condition"], rows)
        action = _MERGE_ACTIONS.get(when.get("commandType", ""))
        if action is None:  # DO NOTHING
            return
        self.act(action)
        if action is Action.INSERT:
            columns = [node["ResTarget"]["name"] for node in when.get("targetList", ())]
            self._use_target(body["relation"], target, action, columns)
            self.walk(when.get("values", []), scope)
            return
        self._assignments(action, {"relation": body["relation"], **when}, target, scope)
        # A join that names no column of the target matches all of its rows, or none.
        unmatched = when.get("matchKind") == "MERGE_WHEN_NOT_MATCHED_BY_SOURCE"
        held_back = self._names_target(joined, target) and not everything
        temporary = self._is_temporary(Action.MERGE, body["relation"])
        if not conditional and (unmatched or not held_back) and not temporary:
            self.flags.add(Flag.TRIVIAL_WHERE)

    # Parts.

    def _begin(self, action: Action, body: Body, parent: Scope | None) -> Scope:
        self.act(action)
        self.writes += 1
        self.flags.add(Flag.WRITES)
        scope = Scope(parent)
        if "withClause" in body:
            self.with_clause(body["withClause"], scope)
        return scope

    def _target(self, relation: Body, scope: Scope, action: Action) -> Item:
        """The relation written to. Its fields are its own objects, so that a predicate can tell
        that it names them."""
        item = self.relation_item(relation, scope, action)
        self.writes_rows(item.oid, action is Action.DELETE)
        if action is Action.DELETE:
            self.write_beneath(action, item.oid)
        found = None if self.catalog is None else self.catalog.relations.get(item.oid)
        if found is not None and found.schema == "pg_catalog":
            self.system_write(found.name)
        if found is not None and found.has_rules:
            self.puzzle(f"rules of {found.schema}.{found.name} may write elsewhere")
        fields = [
            Field(f.name, f.origin, f.sources, f.plain, f.type_oid, f.typmod) for f in item.fields
        ]
        target = Item(
            item.alias, fields, None, item.oid, item.schema, item.known, item.opaque, item.place
        )
        target.target = True
        return target

    def writes_rows(self, oid: int, deleting: bool = False) -> None:
        """What a row passes through that is written to a relation, or deleted from it."""
        if oid and self.lineage is not None:
            self.meet(self.lineage.unseen.writing(oid, deleting))

    def system_write(self, name: str) -> None:
        """Writing a system catalog by hand is DDL without its checks."""
        self.flags.add(Flag.CHANGES_SCHEMA)
        self.act(Action.ROLE if name in ("pg_authid", "pg_auth_members") else Action.ALTER_SYSTEM)

    def _use_target(
        self, relation: Body, target: Item, action: Action, columns: Sequence[str]
    ) -> None:
        found = None if self.catalog is None else self.catalog.relations.get(target.oid)
        if found is not None:
            if action is Action.INSERT and not columns:
                columns = [column.name for column in found.columns]
            self.use_relation(action, found.schema, found.name, found.oid, columns)
            if action is not Action.SELECT:
                self.write_beneath(action, found.oid, columns)
            return
        for key in list(self.uses):
            if not key[1] and key[3] == relation["relname"]:
                self.use_relation(action, key[2], key[3], 0, columns)
                return

    def _parts_of_columns(self, nodes: Sequence[Node], scope: Scope) -> None:
        """Subscripts in `SET a[f(x)] = ...` and `INSERT INTO t (a[1])`."""
        for node in nodes:
            for part in node["ResTarget"].get("indirection", ()):
                if "A_Indices" in part:
                    self.walk(part, scope)

    def _part_of_column(self, assigned: Body, target: Item) -> None:
        """The rest of the value is read and stored again; whether an element fits into it decides
        the outcome."""
        parts = assigned.get("indirection", ())
        for field in target.fields if parts else ():
            if field.name == assigned["name"]:
                self.consume((field,))
                if any("String" not in part for part in parts):
                    self.decides.update(field.sources)

    def _assignments(self, action: Action, body: Body, target: Item, scope: Scope) -> None:
        nodes = body.get("targetList", ())
        columns = [node["ResTarget"]["name"] for node in nodes]
        self._use_target(body["relation"], target, action, columns)
        self._parts_of_columns(nodes, scope)
        for node in nodes:
            self._part_of_column(node["ResTarget"], target)
            value = node["ResTarget"].get("val", {})
            if value.get("MultiAssignRef", {}).get("colno", 1) == 1:  # the row is walked once
                self.walk(value, scope)

    def _on_conflict(self, body: Body, target: Item, scope: Scope) -> None:
        clause = body["onConflictClause"]
        infer = clause.get("infer", {})
        for node in infer.get("indexElems", ()):
            element = node["IndexElem"]
            if "name" in element:
                self._compare(element["name"], target, scope)
            self.walk(element.get("expr"), scope)
        self.walk(infer.get("whereClause"), scope)
        if "conname" in infer:
            self._compare_by(infer["conname"], target)
        if clause.get("action") != "ONCONFLICT_UPDATE":
            return
        excluded = Item(
            "excluded",
            [Field(f.name, None, (), False) for f in target.fields],
            known=target.known,
            opaque=False,
        )
        level = Scope(scope.parent)
        level.ctes = scope.ctes
        level.tops = [target]
        level.items = [*scope.items, excluded]
        self.act(Action.UPDATE)
        self._assignments(Action.UPDATE, {"relation": body["relation"], **clause}, target, level)
        self.walk(clause.get("whereClause"), level)
        if level.tainted:
            self.consume_level(level)
        if "whereClause" not in clause and self._reinserts(body, target, scope):
            self.flags.add(Flag.NO_WHERE)

    def _compare_by(self, constraint: str, target: Item) -> None:
        """ON CONFLICT ON CONSTRAINT: its columns find the row; of what is not known, all may."""
        columns = (
            None if self.catalog is None else self.catalog.unique.get((target.oid, constraint))
        )
        self.consume(
            field
            for field in target.fields
            if columns is None or field.origin is None or field.origin[1] in columns
        )

    def _compare(self, name: str, target: Item, scope: Scope) -> None:
        field = target.columns.get(name)
        if field is not None:
            self.consume((field,))
        elif target.known:
            self.puzzle(f"column {name} is not known")

    def _reinserts(self, body: Body, target: Item, outer: Scope) -> bool:
        """INSERT INTO t SELECT ... FROM t ON CONFLICT DO UPDATE: an UPDATE of all of t in
        disguise, perhaps by way of subqueries and WITH queries."""
        scope = Scope()
        scope.add(target, (target,))
        rows = _Rows(self, target, scope, body["relation"])
        name = body["relation"]["relname"]
        queries = _queries_named([body.get("selectStmt", {})], outer) or {}
        nodes = [body.get("selectStmt", {}), *(cte.body for cte in queries.values())]
        for select in _selects_from(nodes, name):
            where = select.get("whereClause")
            if where is None or always_true(where, rows):
                return True
        return False

    def _guard(
        self, kind: str, body: Body, target: Item, scope: Scope, before: tuple[int, set[Action]]
    ) -> None:
        """WHERE of an UPDATE or DELETE. Emptying a temporary relation is nobody's loss."""
        where = body.get("whereClause")
        action = Action.DELETE if kind == "DeleteStmt" else Action.UPDATE
        temporary = self._is_temporary(action, body["relation"])
        if not where:
            if not temporary:
                self.flags.add(Flag.NO_WHERE)
            return
        named = self._watch(where, scope)
        if "CurrentOfExpr" in where or temporary:
            return
        rows = _Rows(self, target, scope, body["relation"])
        if not self._names_target(named, target, where) or always_true(where, rows):
            self.flags.add(Flag.TRIVIAL_WHERE)
        elif not names_rows(where, rows):
            joined = [body.get("usingClause", []), body.get("fromClause", [])]
            self._leave_open(kind, body, [*joined, where], scope, before)

    def _doings(self) -> tuple[int, set[Action]]:
        """What was noted so far: how many unknown functions, which actions."""
        return len(self.functions), set(self.actions)

    def _leave_open(
        self,
        kind: str,
        body: Body,
        parts: Sequence[Node],
        scope: Scope,
        before: tuple[int, set[Action]],
    ) -> None:
        """Only the database knows whether this write spares any row."""
        functions, actions = before
        did = set(self.actions) - actions - {Action.SELECT, Action.UPDATE, Action.DELETE}
        quiet = len(self.functions) == functions and not did - {Action.INSERT, Action.SHOW}
        queries = _queries_named(parts, scope)
        # A WITH query of the target's name would stand for it in the question.
        askable = quiet and queries is not None and body["relation"]["relname"] not in queries
        queries = queries or {}
        ctes = {name: cte.body for name, cte in queries.items()}
        recursive = any(cte.recursive for cte in queries.values())
        self.open_writes.append(OpenWrite(kind, body, ctes, recursive, askable))

    def _is_temporary(self, action: Action, relation: Body) -> bool:
        name = relation["relname"]
        if (action, 0, TEMPORARY_SCHEMA, name) not in self.uses:
            return False
        return stays_inside(action, dict(self.settings.temp_kinds).get(name, ""))

    def _watch(self, node: Node, scope: Scope) -> set[int]:
        """Walks a predicate; gives the ids of the fields it referred to."""
        outside, self.watched = self.watched, set()
        self.walk(node, scope)
        named, self.watched = self.watched, outside
        if outside is not None:
            outside |= named
        return named

    def _names_target(self, named: set[int], target: Item, where: Node = None) -> bool:
        if any(id(field) in named for field in target.fields):
            return True
        if target.known:
            return _refers(where, lambda parts: parts[-1] in SYSTEM_COLUMNS)
        # Without the catalog any unqualified column may be the target's.
        return _refers(where, lambda parts: len(parts) == 1 or parts[-2] == target.alias)

    def _finish(self, action: Action, body: Body, target: Item, scope: Scope) -> Result:
        """RETURNING."""
        result = NOTHING
        returning = body.get("returningClause")
        if returning:
            level = self._returning_level(returning, target, scope)
            result = self.targets(returning.get("exprs", ()), level)
            if action is not Action.DELETE:
                # What this very statement stored is no mask: only at the source can it be told.
                self.consume(result.fields)
            self._use_target(body["relation"], target, Action.SELECT, ())
        if scope.tainted:
            self.consume_level(scope)
        return result

    def _returning_level(self, returning: Body, target: Item, scope: Scope) -> Scope:
        """RETURNING sees the target as old and new too (PostgreSQL 18), perhaps under other
        names."""
        names = {"old": "old", "new": "new"}
        for node in returning.get("options", ()):
            option = node["ReturningOption"]
            names["old" if "OLD" in option.get("option", "") else "new"] = option["value"]
        taken = {item.alias for item in scope.items}
        versions = [
            Item(name, target.fields, target.columns, target.oid, "", target.known, target.opaque)
            for name in names.values()
            if name not in taken
        ]
        for version in versions:
            version.target = True
        return scope.beside(scope.tops, [*scope.items, *versions])


class _Rows:
    """What `predicates` may ask about names."""

    def __init__(self, analyst: Writes, target: Item, scope: Scope, relation: Body) -> None:
        self.analyst = analyst
        self.target = target
        self.scope = scope
        self.relation = relation

    def _field(self, reference: Body) -> Field | None:
        parts = words(reference["fields"])
        if len(parts) == 1:
            found = self.scope.field(parts[0])
        else:
            item = self.analyst.item_of(parts[:-1], self.scope)
            found = None if item is None else item.columns.get(parts[-1])
        return found if found is not None and found.name else None

    def of_target(self, reference: Body) -> bool:
        field = self._field(reference)
        if field is not None:
            return any(field is own for own in self.target.fields)
        parts = words(reference["fields"])
        if self.target.known:
            return parts[-1] == "ctid"
        # Without the catalog any unqualified column may be the target's.
        return len(parts) == 1 or parts[-2] == self.target.alias

    def same_column(self, first: Body, second: Body) -> bool:
        """Of relations as they are: a subquery may hold fewer rows, which the database knows."""
        one, other = self._field(first), self._field(second)
        return (
            one is not None
            and other is not None
            and one.origin is not None
            and one.origin == other.origin
            and self._of_relation(first)
            and self._of_relation(second)
        )

    def _of_relation(self, reference: Body) -> bool:
        parts = words(reference["fields"])
        if len(parts) > 1:
            item = self.analyst.item_of(parts[:-1], self.scope)
            return item is not None and bool(item.oid)
        return any(item.oid and parts[0] in item.columns for item in self.scope.tops)

    def never_null(self, reference: Body) -> bool:
        field = self._field(reference)
        catalog = self.analyst.catalog
        if field is None or field.origin is None or catalog is None:
            return False
        if field.origin[0] != self.target.oid:
            return False
        columns = catalog.relations[self.target.oid].columns
        return any(c.attnum == field.origin[1] and c.not_null for c in columns)

    def all_of_target(self, reference: Body, select: Body) -> bool:
        sources, targets = select.get("fromClause", ()), select.get("targetList", ())
        if len(sources) != 1 or len(targets) != 1 or "RangeVar" not in sources[0]:
            return False
        inner = targets[0]["ResTarget"].get("val", {}).get("ColumnRef")
        if inner is None or words(inner["fields"])[-1] != words(reference["fields"])[-1]:
            return False
        name = sources[0]["RangeVar"]["relname"]
        catalog = self.analyst.catalog
        if catalog is not None and self.target.oid:
            return bool(name == catalog.relations[self.target.oid].name)
        return bool(name == self.relation["relname"])


def _changes_matched(body: Body) -> bool:
    """Whether a MERGE changes rows that its join finds."""
    return any(
        node["MergeWhenClause"].get("commandType") in ("CMD_UPDATE", "CMD_DELETE")
        for node in body.get("mergeWhenClauses", ())
    )


def _queries_named(nodes: Sequence[Node], scope: Scope) -> dict[str, Cte] | None:
    """WITH queries that these nodes refer to, and those that they refer to, in order of their
    definition; None when one of them writes."""
    found: dict[str, Cte] = {}
    pending = list(nodes)
    while pending:
        for name in _relations_in(pending.pop()):
            cte = scope.cte(name)
            if cte is None or name in found:
                continue
            found[name] = cte
            pending.append(cte.body["ctequery"])
    if any("SelectStmt" not in cte.body["ctequery"] for cte in found.values()):
        return None
    ordered = sorted(found.values(), key=lambda cte: cte.body.get("location", 0))
    return {cte.name: cte for cte in ordered}


def _selects_from(nodes: Sequence[Node], name: str) -> Iterator[Body]:
    """Each SELECT, at any depth, in whose FROM a relation of this name stands."""
    stack: list[Node] = list(nodes)
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if any(_joins(source, name) for source in value.get("fromClause", ())):
                yield value
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _joins(source: Node, name: str) -> bool:
    """Whether a FROM item is a relation of this name, or a join of one."""
    join = source.get("JoinExpr")
    if join is not None:
        return _joins(join["larg"], name) or _joins(join["rarg"], name)
    return bool(source.get("RangeVar", {}).get("relname") == name)


def _relations_in(node: Node) -> set[str]:
    """Names of relations without a schema, at any depth."""
    found, stack = set(), [node]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            relation = value.get("RangeVar")
            if relation is not None and "schemaname" not in relation:
                found.add(relation["relname"])
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return found


def _refers(node: Node, wanted: Callable[[list[str]], bool]) -> bool:
    """Whether a column reference of this kind occurs anywhere."""
    stack = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            reference = value.get("ColumnRef")
            if reference is not None and wanted(words(reference["fields"])):
                return True
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return False
