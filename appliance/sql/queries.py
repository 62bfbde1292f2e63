"""SELECT and its kin: which columns come out as they are, and which are used in any other way.

Follows parse_clause.c and parse_target.c. `select` reads top to bottom in the order PostgreSQL
transforms the clauses.
"""

from collections.abc import Sequence
from typing import Any

from appliance.model.catalog import ColumnKey
from appliance.model.facts import Action, Flag
from appliance.sql import functions
from appliance.sql.expressions import (
    Expressions,
    Node,
    Result,
    constant_text,
    setting_named,
)
from appliance.sql.names import TEMPORARY_SCHEMA, renamed, words
from appliance.sql.outputs import figured_name
from appliance.sql.parse import Body
from appliance.sql.scope import Cte, Field, Item, Scope

Joined = tuple[Item, Sequence[Item]]
"""A FROM item as a whole, and what in it can be named."""

FIRST_USER_OID = 16_384
TSVECTOR_OID = 3_614

# For a merged column of an inner join whose sides differ in type: the later type wins
# (parse_coerce.c, select_common_type, for the types that are implicitly cast to each other in one
# direction only).
_COMMON_TYPES = (
    (21, 23, 20, 1700, 700, 701),  # int2 int4 int8 numeric float4 float8
    (1082, 1114, 1184),  # date timestamp timestamptz
)
_STRINGS = frozenset({25, 1043, 1042, 19})  # text varchar bpchar name


class Queries(Expressions):
    """Expressions, with subqueries and FROM understood."""

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
        if "whereClause" in body and "pg_settings" not in self.settings.temp_relations:
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
            return self._star(parts[:-1], scope, fields)
        found = self.column(parts, scope)
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

    def _star(self, parts: list[str], scope: Scope, fields: list[Field]) -> bool:
        item = self.item_of(parts, scope) if parts else None
        if parts and item is None:
            self.puzzle(f"{'.'.join(parts)}.* is not in reach")
            scope.taint()
            return False
        known = True
        for top in scope.tops if item is None else [item]:
            fields.extend(self._passed(field, field.name) for field in top.fields)
            if not top.known:
                known = False
                self.puzzle(f"the columns of {top.alias or 'a function'} are not known")
        return known

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

    def _type_of(self, node: Node, scope: Scope) -> int:
        if "ColumnRef" not in node:
            return 0
        parts = words(node["ColumnRef"]["fields"])
        found = scope.field(parts[0]) if len(parts) == 1 else None
        if len(parts) > 1:
            item = self.item_of(parts[:-1], scope)
            found = None if item is None else item.columns.get(parts[-1])
        return 0 if found is None else found.type_oid

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

    # FROM.

    def from_item(self, node: Node, scope: Scope) -> Joined:
        ((kind, body),) = node.items()
        if kind == "RangeVar":
            item = self.relation_item(body, scope)
            return item, (item,)
        if kind == "JoinExpr":
            return self._join(body, scope)
        if kind == "RangeSubselect":
            item = self._subselect(body, scope)
        elif kind == "RangeFunction":
            item = self._function_item(body, scope)
        elif kind == "RangeTableSample":
            return self._sample(body, scope)
        elif kind in ("RangeTableFunc", "JsonTable"):
            item = self._table_function(kind, body, scope)
        else:
            self.puzzle(f"{kind} in FROM is not understood")
            item = Item("", (), known=False, opaque=True)
        return item, (item,)

    def _subselect(self, body: Body, scope: Scope) -> Item:
        outside = scope if body.get("lateral") else scope.without_items()
        result = self.query(body["subquery"], outside)
        return self._aliased(
            body, Item(alias_of(body), result.fields, known=result.known, opaque=True)
        )

    def _sample(self, body: Body, scope: Scope) -> Joined:
        top, items = self.from_item(body["relation"], scope)
        method = words(body["method"])
        if method[-1] not in ("system", "bernoulli", "system_rows", "system_time"):
            self.call(method, scope)
        self.walk(body.get("args", []), scope)
        self.walk(body.get("repeatable"), scope)
        return top, items

    def _table_function(self, kind: str, body: Body, scope: Scope) -> Item:
        """XMLTABLE and JSON_TABLE."""
        sources = self.capture_walk({kind: {**body, "alias": {}}}, scope)
        self.consumed.update(sources)
        fields = [Field(name, None, sources) for name in _table_columns(body.get("columns", ()))]
        return self._aliased(body, Item(alias_of(body), fields))

    def _function_item(self, body: Body, scope: Scope) -> Item:
        fields: list[Field] = []
        known = True
        calls = [node["List"]["items"] for node in body["functions"]]
        for call in calls:
            sources = self.capture_walk(call[0], scope)
            self.consumed.update(sources)
            definitions = call[1]["List"]["items"] if len(call) > 1 and call[1] else ()
            names = self._columns_of_call(
                call[0],
                definitions or body.get("coldeflist", ()),
                alias_of(body),
                len(calls),
                scope,
            )
            if names is None:
                known = False
                names = [alias_of(body) or figured_name(call[0])] if "FuncCall" in call[0] else []
            fields.extend(Field(name, None, sources) for name in names)
        if body.get("ordinality"):
            fields.append(Field("ordinality"))
        if not known and body.get("alias", {}).get("colnames"):
            names = words(body["alias"]["colnames"])
            fields = [Field(name, None, sources_of(fields)) for name in names]
        return self._aliased(body, Item(alias_of(body), fields, known=known))

    def _columns_of_call(
        self, node: Node, definitions: Sequence[Node], alias: str, calls: int, scope: Scope
    ) -> list[str] | None:
        """Names of the columns a function in FROM gives, None when they are not known."""
        if definitions:
            for definition in definitions:
                self.type_name(definition["ColumnDef"]["typeName"])
            return [definition["ColumnDef"]["colname"] for definition in definitions]
        name = figured_name(node)
        single = [alias if alias and calls == 1 else name]
        if "FuncCall" not in node:
            return single
        parts = words(node["FuncCall"]["funcname"])
        owner = self._user_function(parts[-2] if len(parts) > 1 else "", name)
        if owner is not None:
            return self._columns_of_user_function(owner, name, single)
        if name in functions.OUT_COLUMNS:
            return list(functions.OUT_COLUMNS[name])
        if name == "unnest":
            return self._columns_of_unnest(node["FuncCall"], single, scope)
        if name in functions.RECORD_FUNCTIONS or not functions.harmless(name):
            return None
        return single

    def _columns_of_user_function(
        self, schema: str, name: str, single: list[str]
    ) -> list[str] | None:
        overloads = () if self.catalog is None else self.catalog.functions.get((schema, name), ())
        returned = {function.returns_oid for function in overloads}
        if self.lineage is None or len(returned) != 1:
            return None
        members = self.lineage.members(returned.pop())
        return None if members is None else list(members)

    def _columns_of_unnest(self, call: Body, single: list[str], scope: Scope) -> list[str] | None:
        """One column per array; an array of composites gives more, which is not followed."""
        arguments = call.get("args", ())
        for argument in arguments:
            if "ColumnRef" in argument:
                type_oid = self._type_of(argument, scope)
                if not 0 < type_oid < FIRST_USER_OID or type_oid == TSVECTOR_OID:
                    return None
            elif not _is_array_of_scalars(argument):
                return None
        return ["unnest"] * len(arguments) if len(arguments) > 1 else single

    # JOIN.

    def _join(self, body: Body, scope: Scope) -> Joined:
        left, left_items = self.from_item(body["larg"], scope)
        beside = scope.beside([*scope.tops, left], [*scope.items, *left_items])
        right, right_items = self.from_item(body["rarg"], beside)
        inside = [*left_items, *right_items]
        if "quals" in body:
            level = scope.beside([left, right], inside)
            self.walk(body["quals"], level)
            if level.tainted:
                self.consume_level(level)
        merged = self._merged(body, left, right)
        names = {field.name for field in merged}
        fields = [
            *merged,
            *(field for field in left.fields if field.name not in names),
            *(field for field in right.fields if field.name not in names),
        ]
        alias = body.get("alias", {}).get("aliasname", "")
        top = self._aliased(
            body,
            Item(
                alias,
                fields,
                known=left.known and right.known,
                opaque=left.opaque or right.opaque,
            ),
        )
        if alias:
            return top, (top,)
        using = body.get("join_using_alias", {}).get("aliasname")
        return top, [*inside, Item(using, merged)] if using else inside

    def _merged(self, body: Body, left: Item, right: Item) -> list[Field]:
        """The columns of USING or NATURAL: compared, so used, and then one instead of two."""
        if body.get("isNatural"):
            if not (left.known and right.known):
                self.puzzle("the common columns of a NATURAL JOIN are not known")
            names = [field.name for field in left.fields if field.name in right.columns]
        else:
            names = words(body.get("usingClause", ()))
        merged = []
        for name in names:
            first, second = left.columns.get(name), right.columns.get(name)
            if not first or not second or not first.name or not second.name:
                self.puzzle(f"column {name} of a join is not known")
                self.consume(left.fields)
                self.consume(right.fields)
                merged.append(Field(name))
                continue
            self.consume((first, second))
            merged.append(_merge(body.get("jointype", "JOIN_INNER"), first, second))
        return merged


def _merge(kind: str, left: Field, right: Field) -> Field:
    """Which side a merged column refers to (parse_clause.c, buildMergedJoinVar)."""
    sources = tuple(dict.fromkeys((*left.sources, *right.sources)))
    computed = Field(left.name, None, sources)
    computed.type_oid = _common_type(left.type_oid, right.type_oid)
    if kind == "JOIN_FULL":
        return computed
    if left.type_oid and left.type_oid == right.type_oid:
        same = left.typmod == right.typmod
        left_is_plain, right_is_plain = (
            same or left.typmod == -1,
            same or right.typmod == -1,
        )
    elif left.type_oid and right.type_oid:
        common = computed.type_oid
        left_is_plain = left.type_oid == common and left.typmod == -1
        right_is_plain = right.type_oid == common and right.typmod == -1
    else:
        # A side is computed: its type is not known here, and the server may refer to either or
        # neither.
        return computed if not (left.origin or right.origin) else _unsure(left, right, sources)
    if kind == "JOIN_RIGHT":
        return right if right_is_plain else computed
    if kind == "JOIN_LEFT":
        return left if left_is_plain else computed
    if left_is_plain:
        return left
    return right if right_is_plain else computed


def _unsure(left: Field, right: Field, sources: tuple[ColumnKey, ...]) -> Field:
    return Field(left.name, left.origin or right.origin, sources)


def _common_type(left: int, right: int) -> int:
    """The type of a merged column, 0 when it is not known."""
    if left == right:
        return left
    if left in _STRINGS and right in _STRINGS:
        return left  # they are cast to each other in both directions, so the first stays
    for family in _COMMON_TYPES:
        if left in family and right in family:
            return family[max(family.index(left), family.index(right))]
    return 0


def ordinal(node: Node, result: Result) -> list[Field] | None:
    """The output that a bare integer stands for in ORDER BY, GROUP BY, DISTINCT ON."""
    value = node.get("A_Const", {}).get("ival")
    if value is None:
        return None
    position = value.get("ival", 0)
    return [result.fields[position - 1]] if 0 < position <= len(result.fields) else None


def sources_of(fields: Sequence[Field]) -> tuple[ColumnKey, ...]:
    return tuple(dict.fromkeys(key for field in fields for key in field.sources))


def alias_of(body: Body) -> str:
    return str(body.get("alias", {}).get("aliasname", ""))


def _search_and_cycle(body: Body) -> list[Field]:
    """SEARCH and CYCLE add columns (made of columns that are counted as used already)."""
    names = (
        body.get("search_clause", {}).get("search_seq_column"),
        body.get("cycle_clause", {}).get("cycle_mark_column"),
        body.get("cycle_clause", {}).get("cycle_path_column"),
    )
    return [Field(name) for name in names if name]


def _table_columns(nodes: Sequence[Node]) -> list[str]:
    names: list[str] = []
    for node in nodes:
        if "RangeTableFuncCol" in node:
            names.append(node["RangeTableFuncCol"]["colname"])
        elif "JsonTableColumn" in node:
            column = node["JsonTableColumn"]
            if "columns" in column:
                names.extend(_table_columns(column["columns"]))
            else:
                names.append(column["name"])
    return names


def _is_array_of_scalars(node: Node) -> bool:
    """An ARRAY[...] of constants and parameters, or a value cast to a built-in array type."""
    if "TypeCast" in node:
        names = words(node["TypeCast"]["typeName"]["names"])
        return bool(node["TypeCast"]["typeName"].get("arrayBounds")) and (
            len(names) == 1 or names[0] == "pg_catalog"
        )
    if "A_ArrayExpr" in node:
        return all(
            constant_text(element) is not None or "ParamRef" in element
            for element in node["A_ArrayExpr"].get("elements", ())
        )
    return "FuncCall" in node and words(node["FuncCall"]["funcname"])[-1] in (
        "string_to_array",
        "regexp_split_to_array",
        "regexp_match",
    )
