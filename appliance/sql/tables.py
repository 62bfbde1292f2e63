"""FROM: relations, subqueries, functions, joins and what their columns are called.

The layer between `expressions` and `queries`; follows parse_clause.c.
"""

from collections.abc import Sequence

from appliance.model.catalog import ColumnKey, Function
from appliance.sql import functions
from appliance.sql.expressions import Expressions, Node, constant_text
from appliance.sql.names import words
from appliance.sql.outputs import figured_name
from appliance.sql.parse import Body
from appliance.sql.scope import Field, Item, Scope

Joined = tuple[Item, Sequence[Item]]
"""A FROM item as a whole, and what in it can be named."""

FIRST_USER_OID = 16_384
RECORD_OID = 2_249
POLYMORPHIC_OIDS = frozenset(
    {2276, 2277, 2283, 2776, 3500, 3831, 4537, 4538, 5077, 5078, 5079, 5080}
)
"""any, anyarray, anyelement, ... (pg_type.dat): the argument's type, which may be composite."""
TSVECTOR_OID = 3_614

# For a merged column of an inner join whose sides differ in type: the later type wins
# (parse_coerce.c, select_common_type, for the types that are implicitly cast to each other in one
# direction only).
_COMMON_TYPES = (
    (21, 23, 20, 1700, 700, 701),  # int2 int4 int8 numeric float4 float8
    (1082, 1114, 1184),  # date timestamp timestamptz
)
_STRINGS = frozenset({25, 1043, 1042, 19})  # text varchar bpchar name


class Tables(Expressions):
    """Expressions, with FROM understood."""

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
            return self._columns_of_user_function(parts[-2] if len(parts) > 1 else "", name, single)
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
        """The same for all overloads that the call may mean, or not known."""
        found = {self._columns_given(f, single) for f in self._overloads(schema, name)}
        columns = found.pop() if len(found) == 1 else None
        return None if columns is None else list(columns)

    def _columns_given(self, function: Function, single: list[str]) -> tuple[str, ...] | None:
        """Follows funcapi.c, build_function_result_tupdesc_d, and chooseScalarFunctionAlias."""
        out = function.columns
        if len(out) > 1:
            return tuple(name or f"column{n}" for n, name in enumerate(out, 1))
        if out and out[0]:
            return out
        if function.returns_oid in (RECORD_OID, 0) or self.lineage is None:
            return None
        if function.returns_oid < FIRST_USER_OID:
            return None if function.returns_oid in POLYMORPHIC_OIDS else tuple(single)
        return self.lineage.members(function.returns_oid)

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

    def _type_of(self, node: Node, scope: Scope) -> int:
        if "ColumnRef" not in node:
            return 0
        parts = words(node["ColumnRef"]["fields"])
        found = scope.field(parts[0]) if len(parts) == 1 else None
        if len(parts) > 1:
            item = self.item_of(parts[:-1], scope)
            found = None if item is None else item.columns.get(parts[-1])
        return 0 if found is None else found.type_oid

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
        if names:
            self.equality()
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
    elif left.type_oid and right.type_oid and computed.type_oid:
        common = computed.type_oid
        left_is_plain = left.type_oid == common and left.typmod == -1
        right_is_plain = right.type_oid == common and right.typmod == -1
    else:
        # A side is computed, or a domain: which type they come to is not known here, and the server
        # refers to either or neither.
        loose = tuple(field.origin for field in (left, right) if field.origin is not None)
        return Field(left.name, None, sources, loose=(*loose, *left.loose, *right.loose))
    if kind == "JOIN_RIGHT":
        return right if right_is_plain else computed
    if kind == "JOIN_LEFT":
        return left if left_is_plain else computed
    if left_is_plain:
        return left
    return right if right_is_plain else computed


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


def sources_of(fields: Sequence[Field]) -> tuple[ColumnKey, ...]:
    return tuple(dict.fromkeys(key for field in fields for key in field.sources))


def alias_of(body: Body) -> str:
    return str(body.get("alias", {}).get("aliasname", ""))


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
