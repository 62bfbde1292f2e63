"""SELECT and its kin: which columns come out as they are, and which are used in any other way.

Follows parse_clause.c and parse_target.c. `select` reads top to bottom in the order PostgreSQL
transforms the clauses.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from appliance.model.catalog import ColumnKey
from appliance.model.facts import Action, Flag
from appliance.model.limits import COLUMNS_MAX
from appliance.model.resolution import TARGET_ROW, StarPart
from appliance.sql.expressions import (
    Node,
    Result,
    setting_named,
)
from appliance.sql.growth import is_endless, is_unbounded
from appliance.sql.names import TEMPORARY_SCHEMA, renamed, words
from appliance.sql.outputs import figured_name
from appliance.sql.parse import Body
from appliance.sql.scope import Cte, Field, Item, Scope
from appliance.sql.tables import Tables, sources_of


class Queries(Tables):
    """FROM, with whole queries understood."""

    def write_query(self, kind: str, body: Body, scope: Scope) -> Result:
        """INSERT, UPDATE, DELETE, MERGE inside WITH: their RETURNING."""
        raise NotImplementedError

    def query(self, node: Node, scope: Scope) -> Result:
        """Any statement that may stand as a query."""
        ((kind, body),) = node.items()
        if kind == "SelectStmt":
            return self.select(body, scope)
        return self.write_query(kind, body, scope)

    def select(self, body: Body, parent: Scope | None) -> Result:
        scope = Scope(parent)
        if "withClause" in body:
            self.with_clause(body["withClause"], scope)
        if body.get("op", "SETOP_NONE") != "SETOP_NONE":
            result = self._set_operation(body, scope)
        elif "valuesLists" in body:
            result = self._values(body["valuesLists"], scope)
        else:
            result = self._plain_select(body, scope)
        self._order(body.get("sortClause", ()), result, scope)
        if "limitCount" not in body and any(c.endless for c in (scope.ctes or {}).values()):
            self.flags.add(Flag.UNBOUNDED)
        for key in ("limitOffset", "limitCount"):
            if key in body:
                self.walk(body[key], scope)
        if scope.tainted:
            self.consume_level(scope)
        if "intoClause" in body:
            self.into(body["intoClause"])
            self.consume(result.fields)
        return result

    def into(self, body: Body) -> None:
        """SELECT INTO, CREATE TABLE AS, CREATE MATERIALIZED VIEW: what is made."""
        relation = body["rel"]
        self.creates(relation)

    def creates(self, relation: Body) -> None:
        """Something new is made under this name."""
        temporary = relation.get("relpersistence") == "t"
        schema = relation.get("schemaname", "")
        temporary = temporary or schema.startswith(TEMPORARY_SCHEMA)
        action = Action.CREATE_TEMPORARY if temporary else Action.CREATE
        self.act(action)
        self.use_relation(action, TEMPORARY_SCHEMA if temporary else schema, relation["relname"], 0)
        self.flags.update((Flag.WRITES, Flag.CHANGES_SCHEMA))

    # SELECT ... FROM ...

    def _plain_select(self, body: Body, scope: Scope) -> Result:
        for node in body.get("fromClause", ()):
            scope.add(*self.from_item(node, scope))
        if self.marks is None and not self.in_view and is_unbounded(body, scope):
            self.flags.add(Flag.UNBOUNDED)
        if "whereClause" in body and not self.settings.may_be_temporary("pg_settings"):
            scope.setting_named = setting_named(body)
        result = self.targets(body.get("targetList", ()), scope)
        if "whereClause" in body:
            self.walk(body["whereClause"], scope)
        for node in body.get("groupClause", ()):
            self._group(node, result, scope)
        if "havingClause" in body:
            self.walk(body["havingClause"], scope)
        for node in body.get("windowClause", ()):
            self.window(node["WindowDef"], scope)
        distinct = body.get("distinctClause")
        if distinct is not None:
            if any(distinct):
                for node in distinct:
                    self._by_output(node, result, scope)
            else:
                self.consume(result.fields)
        return result

    def targets(self, nodes: Sequence[Node], scope: Scope) -> Result:
        """A target list: SELECT's or RETURNING's."""
        fields: list[Field] = []
        known = True
        for node in nodes:
            target = node["ResTarget"]
            value = target.get("val", {})
            name = target.get("name")
            if self.marks is not None and name is None:
                self.marks.names[id(target)] = figured_name(value)
            chosen = self.unchanged(value, scope)
            if chosen is not None:
                fields.append(self._passed(chosen, name or figured_name(value)))
            elif "ColumnRef" in value:
                known = self._target_column(value["ColumnRef"], name, scope, fields) and known
            elif "A_Indirection" in value:
                known = self._target_indirection(value, name, scope, fields) and known
            else:
                fields.append(self._computed(value, name or figured_name(value), scope))
        return Result(fields, known)

    def _target_column(
        self, reference: Body, name: str | None, scope: Scope, fields: list[Field]
    ) -> bool:
        parts = words(reference["fields"])
        if parts[-1] == "*":
            return self._star(reference, parts[:-1], scope, fields)
        found = self.reference(reference, scope)
        if isinstance(found, Field):
            fields.append(self._passed(found, name or parts[-1]))
        elif isinstance(found, Item):
            fields.append(self._whole_row(found, name or parts[-1]))
        else:
            fields.append(Field(name or parts[-1]))
        return True

    def _passed(self, field: Field, name: str) -> Field:
        """A column as output: used only when its value was computed further in."""
        if field.plain or self.in_view:
            self.refer(field)
        else:
            self.consume((field,))
        return field.renamed(name)

    def _whole_row(self, item: Item, name: str) -> Field:
        self.consume_item(item)
        origin = (item.oid, 0) if item.oid else None
        return Field(name, origin, sources_of(item.fields), False)

    def _star(self, reference: Body, parts: list[str], scope: Scope, fields: list[Field]) -> bool:
        item = self.item_of(parts, scope) if parts else None
        if parts and item is None:
            self.puzzle(f"{'.'.join(parts)}.* is not in reach")
            scope.taint()
            return False
        known = True
        expanded = scope.tops if item is None else [item]
        self._mark_star(reference, expanded, scope)
        for top in expanded:
            if len(fields) + len(top.fields) > COLUMNS_MAX:
                # The server refuses more; stars of stars of stars would double for ever.
                self.puzzle("there are more columns than a result can have")
                scope.taint()
                return False
            fields.extend(self._passed(field, field.name) for field in top.fields)
            if not top.known:
                known = False
                self.puzzle(f"the columns of {top.alias or 'a function'} are not known")
        return known

    def _mark_star(self, body: Body, items: Sequence[Item], scope: Scope) -> None:
        """Notes what a star stands for; `body` is the star's own node's."""
        if self.marks is not None:
            self.marks.stars[id(body)] = tuple(
                part for item in items for part in _star_parts(item, scope)
            )

    def _target_indirection(
        self, node: Node, name: str | None, scope: Scope, fields: list[Field]
    ) -> bool:
        body = node["A_Indirection"]
        if "A_Star" not in body["indirection"][-1]:
            fields.append(self._computed(node, name or figured_name(node), scope))
            return True
        if len(body["indirection"]) == 1 and "ColumnRef" in body["arg"]:
            item = self.row_item(body["arg"]["ColumnRef"], scope)
            if item is not None:
                self._mark_star(body, [item], scope)
                fields.extend(self._passed(field, field.name) for field in item.fields)
                return True
        return self._composite_star(body, scope, fields)

    def _composite_star(self, body: Body, scope: Scope, fields: list[Field]) -> bool:
        """`(contact).*`: one computed column for each of the composite type's."""
        base = self._computed(body["arg"], "", scope)
        members: Sequence[str] | None = None
        if len(body["indirection"]) == 1 and self.lineage is not None:
            members = self.lineage.members(self._type_of(body["arg"], scope))
        if members is None:
            self.puzzle("the columns of a composite value are not known")
            return False
        fields.extend(Field(member, None, base.sources) for member in members)
        return True

    def _computed(self, value: Node, name: str, scope: Scope) -> Field:
        """An expression as output. In a view's definition its columns count as used when the
        view's column is."""
        self.sets_rows = False
        sources = self.capture_walk(value, scope)
        if not self.in_view or self.sets_rows:
            self.consumed.update(sources)
        return Field(name, None, sources)

    # GROUP BY, DISTINCT ON, ORDER BY.

    def _order(self, nodes: Sequence[Node], result: Result, scope: Scope) -> None:
        for node in nodes:
            sort = node["SortBy"]
            if "useOp" in sort:
                self.operator(words(sort["useOp"]))
            self._by_output(sort["node"], result, scope)

    def _by_output(self, node: Node, result: Result, scope: Scope) -> None:
        """ORDER BY and DISTINCT ON: an ordinal, an output's name, else an expression."""
        chosen = ordinal(node, result)
        if chosen is None and "ColumnRef" in node:
            parts = words(node["ColumnRef"]["fields"])
            if len(parts) == 1:
                chosen = [field for field in result.fields if field.name == parts[0]] or None
        if chosen is None:
            self.walk(node, scope)
        else:
            self.consume(chosen)

    def _group(self, node: Node, result: Result, scope: Scope) -> None:
        """GROUP BY: an ordinal, an input column, or an output's name. Both readings of a name
        count."""
        if "GroupingSet" in node:
            for element in node["GroupingSet"].get("content", ()):
                self._group(element, result, scope)
            return
        chosen = ordinal(node, result)
        if chosen is None and "ColumnRef" in node:
            parts = words(node["ColumnRef"]["fields"])
            if len(parts) == 1:
                chosen = [field for field in result.fields if field.name == parts[0]]
                inner = scope.field(parts[0])
                if chosen and inner is None:
                    self.consume(chosen)
                    return
                self.consume(chosen)
                chosen = None
        if chosen is None:
            self.walk(node, scope)
        else:
            self.consume(chosen)

    # UNION, INTERSECT, EXCEPT, VALUES.

    def _set_operation(self, body: Body, scope: Scope) -> Result:
        left = self.select(body["larg"], scope)
        right = self.select(body["rarg"], scope)
        return self._united(body, left, right)

    def _united(self, body: Body, left: Result, right: Result) -> Result:
        fields = [
            Field(first.name, None, tuple(dict.fromkeys((*first.sources, *second.sources))))
            for first, second in zip(left.fields, right.fields, strict=False)
        ]
        # UNION ALL compares nothing: a view's other columns do not matter to who reads one of them.
        if not (self.in_view and body["op"] == "SETOP_UNION" and body.get("all")):
            self.consume(left.fields)
            self.consume(right.fields)
        return Result(fields, left.known and right.known)

    def _values(self, rows: Sequence[Node], scope: Scope) -> Result:
        columns: list[set[ColumnKey]] = []
        for row in rows:
            for position, value in enumerate(row["List"]["items"]):
                if position == len(columns):
                    columns.append(set())
                if value and "A_Const" not in value:
                    columns[position].update(self.capture_walk(value, scope))
        for sources in columns:
            self.consumed |= sources
        return Result(
            [Field(f"column{n}", None, tuple(sorted(s))) for n, s in enumerate(columns, 1)]
        )

    # WITH.

    def with_clause(self, body: Body, scope: Scope) -> None:
        recursive = bool(body.get("recursive"))
        scope.ctes = {}
        queries = [Cte(node["CommonTableExpr"], scope, recursive) for node in body["ctes"]]
        if recursive:
            scope.ctes = {cte.name: cte for cte in queries}
        for cte in queries:
            self.cte_fields(cte)
            scope.ctes[cte.name] = cte

    def cte_fields(self, cte: Any) -> tuple[Sequence[Field], bool]:
        """A WITH query's columns; analyses it the first time it is asked for."""
        if cte.state == Cte.RUNNING and not cte.fields:
            self.puzzle(f"WITH query {cte.name} refers to itself in a way that is not understood")
            return (), False
        if cte.state == Cte.PENDING:
            cte.state = Cte.RUNNING
            self._analyse_cte(cte)
            cte.state = Cte.DONE
        return cte.fields, cte.known

    def _analyse_cte(self, cte: Cte) -> None:
        node = cte.body["ctequery"]
        select = node.get("SelectStmt")
        names = words(cte.body.get("aliascolnames", ()))
        if cte.recursive and select is not None and select.get("op") == "SETOP_UNION":
            cte.endless = is_endless(select, cte.name)
            result = self._recursive(cte, select, names)
        else:
            result = self.query(node, cte.scope)
        cte.fields = [*renamed(result.fields, names), *_search_and_cycle(cte.body)]
        cte.known = result.known

    def _recursive(self, cte: Cte, select: Body, names: Sequence[str]) -> Result:
        """The first arm gives the columns; what any arm uses can reach any column."""
        scope = Scope(cte.scope)
        if "withClause" in select:
            self.with_clause(select["withClause"], scope)
        first = self.select(select["larg"], scope)
        sources = sources_of(first.fields)
        started = [Field(field.name, None, sources) for field in first.fields]
        cte.fields = [*renamed(started, names), *_search_and_cycle(cte.body)]
        second = self.select(select["rarg"], scope)
        self.consume(first.fields)
        self.consume(second.fields)
        sources = tuple(dict.fromkeys((*sources, *sources_of(second.fields))))
        fields = [Field(field.name, None, sources) for field in first.fields]
        result = Result(fields, first.known and second.known)
        self._order(select.get("sortClause", ()), result, scope)
        for key in ("limitOffset", "limitCount"):
            if key in select:
                self.walk(select[key], scope)
        return result


def ordinal(node: Node, result: Result) -> list[Field] | None:
    """The output that a bare integer stands for in ORDER BY, GROUP BY, DISTINCT ON."""
    value = node.get("A_Const", {}).get("ival")
    if value is None:
        return None
    position = value.get("ival", 0)
    return [result.fields[position - 1]] if 0 < position <= len(result.fields) else None


def _search_and_cycle(body: Body) -> list[Field]:
    """SEARCH and CYCLE add columns (made of columns that are counted as used already)."""
    names = (
        body.get("search_clause", {}).get("search_seq_column"),
        body.get("cycle_clause", {}).get("cycle_mark_column"),
        body.get("cycle_clause", {}).get("cycle_path_column"),
    )
    return [Field(name) for name in names if name]


def _star_parts(item: Item, scope: Scope) -> Iterator[StarPart]:
    """An item's columns; those of a join without a name by the items it is made of, and its merged
    ones alone."""
    if item.alias or item.place or item.target:
        place = TARGET_ROW if item.target else item.place
        yield StarPart(place, item.alias, tuple(field.name for field in item.fields))
        return
    owners = {id(field): one for one in scope.items if one.alias for field in one.fields}
    for owner, fields in groupby(item.fields, lambda field: owners.get(id(field))):
        names = tuple(field.name for field in fields)
        if owner is not None:
            yield StarPart(owner.place, owner.alias, names)
        else:
            yield from (StarPart(0, "", (name,)) for name in names)
