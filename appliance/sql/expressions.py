"""The walk over expressions: every column, function, operator, cast and subquery in one, at any
depth.

Called by `queries` and above. Its rule: a node that is not listed here makes the statement PARTIAL
and counts every column in reach as used.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from appliance.model.facts import Action, Flag
from appliance.model.resolution import TARGET_ROW, TargetColumn
from appliance.sql.functions import (
    IDENTITY,
    KEEPING,
    NOT_RESET,
    POPULATING,
    READING_TYPES,
    SET_CONFIG,
    SETTINGS,
    harmless,
)
from appliance.sql.names import Names, words
from appliance.sql.parse import Body
from appliance.sql.scope import Field, Item, Scope
from appliance.sql.types import STRING_TYPES

Node = Any
"""A wrapped node {"Kind": {...}}, a list of them, or an empty placeholder."""

# Nodes of which only these fields hold expressions; nothing else in them matters.
CHILDREN: Mapping[str, tuple[str, ...]] = {
    "A_ArrayExpr": ("elements",),
    "A_Const": (),
    "A_Indices": ("lidx", "uidx"),
    "A_Star": (),
    "BoolExpr": ("args",),
    "BooleanTest": ("arg",),
    "CaseWhen": ("expr", "result"),
    "CoalesceExpr": ("args",),
    "CollateClause": ("arg",),
    "CurrentOfExpr": (),
    "GroupingFunc": ("args",),
    "GroupingSet": ("content",),
    "List": ("items",),
    "MinMaxExpr": ("args",),
    "MultiAssignRef": ("source",),
    "NamedArgExpr": ("arg",),
    "NullTest": ("arg",),
    "ResTarget": ("indirection", "val"),
    "RowExpr": ("args",),
    "SQLValueFunction": (),
    "SetToDefault": (),
    "String": (),
    "XmlExpr": ("named_args", "args"),
}

# SQL/JSON and XML constructs: whatever they hold is an expression, a type, or a word.
STRUCTURAL = frozenset(
    [
        "MergeSupportFunc",
        "JsonAggConstructor",
        "JsonArgument",
        "JsonArrayAgg",
        "JsonArrayConstructor",
        "JsonArrayQueryConstructor",
        "JsonBehavior",
        "JsonFormat",
        "JsonFuncExpr",
        "JsonIsPredicate",
        "JsonKeyValue",
        "JsonObjectAgg",
        "JsonObjectConstructor",
        "JsonOutput",
        "JsonParseExpr",
        "JsonReturning",
        "JsonScalarExpr",
        "JsonSerializeExpr",
        "JsonTable",
        "JsonTableColumn",
        "JsonTablePathSpec",
        "JsonValueExpr",
        "RangeTableFunc",
        "RangeTableFuncCol",
        "XmlSerialize",
    ]
)

EXISTS = "EXISTS_SUBLINK"
CAST = "::"
"""Stands among the names called for a cast, which somebody's CREATE CAST may change."""

# Our grammar is PostgreSQL 18's. On an older server these words are a user's function or a column.
SINCE: Mapping[str, int] = {
    "JsonArrayAgg": 160_000,
    "JsonArrayConstructor": 160_000,
    "JsonArrayQueryConstructor": 160_000,
    "JsonIsPredicate": 160_000,
    "JsonObjectAgg": 160_000,
    "JsonObjectConstructor": 160_000,
    "system_user": 160_000,
    "JsonFuncExpr": 170_000,
    "JsonParseExpr": 170_000,
    "JsonScalarExpr": 170_000,
    "JsonSerializeExpr": 170_000,
    "JsonTable": 170_000,
    "MergeSupportFunc": 170_000,
}


class Expressions(Names):
    """The ledger, with expressions understood."""

    def query(self, node: Node, scope: Scope) -> "Result":
        raise NotImplementedError

    def walk(self, node: Node, scope: Scope) -> None:
        """Counts every column in `node` as used and notes every call. The order of visits does
        not matter."""
        stack = [node]
        while stack:
            node = stack.pop()
            if node.__class__ is list:
                stack.extend(node)
                continue
            if not node:
                continue
            ((kind, body),) = node.items()
            if kind == "ColumnRef":
                self._column(body, scope)
                continue
            children = CHILDREN.get(kind)
            if children is not None:
                for name in children:
                    child = body.get(name)
                    if child is not None:
                        stack.append(child)
                continue
            visit = _VISITS.get(kind)
            if visit is not None:
                visit(self, body, scope, stack)
            elif kind in STRUCTURAL:
                if kind in SINCE:
                    self._require_server(kind, scope)
                self._structure(body, stack)
            else:
                self.puzzle(f"expression {kind} is not understood")
                scope.taint()

    def _require_server(self, construct: str, scope: Scope) -> None:
        """Notes a construct that the server does not have: it reads the words another way."""
        if self.catalog is not None and self.catalog.server_version_num < SINCE[construct]:
            self.puzzle(f"{construct} is newer than the server")
            scope.taint()

    def capture_walk(self, node: Node, scope: Scope) -> tuple[tuple[int, int], ...]:
        """Walks `node` and gives the columns it uses, instead of counting them as used."""
        outside, self.consumed = self.consumed, set()
        self.walk(node, scope)
        inside, self.consumed = self.consumed, outside
        return tuple(sorted(inside))

    def _column(self, body: Body, scope: Scope) -> None:
        parts = words(body["fields"])
        if parts[-1] == "*":
            item = self.item_of(parts[:-1], scope) if len(parts) > 1 else None
            if item is not None:
                self.mark_row_star(body, item)
                self.consume_item(item)
            else:
                self.puzzle("a star is not understood here")
                scope.taint()
            return
        found = self.reference(body, scope)
        if found.__class__ is Field:
            self.consume((found,))
        elif found.__class__ is Item:
            self.consume_item(found)

    def mark_row_star(self, body: Body, item: Item) -> None:
        """Notes `item.*` where all columns of a row stand for one expression each."""
        if self.marks is not None:
            self.marks.row_stars[id(body)] = TARGET_ROW if item.target else item.place

    def _function(self, body: Body, scope: Scope, stack: list[Node]) -> None:
        name = words(body["funcname"])
        if name[-1] == "system_user" and "args" not in body:
            self._require_server("system_user", scope)
        self.call(name, scope)
        if name[-1] in KEEPING:
            self.keeps.add(KEEPING[name[-1]])
        if name[-1] in POPULATING:
            self.populates = True
        if name[-1] in READING_TYPES and self.lineage is not None:
            for oid in self.lineage.catalog.guarded_types:
                self.meet(self.lineage.unseen.type(oid))
        if name[-1] == SET_CONFIG:
            self._set_config(body, scope)
        stack.extend(body[key] for key in ("args", "agg_order", "agg_filter") if key in body)
        if "over" in body:
            self._window(body["over"], stack)

    def _set_config(self, body: Body, scope: Scope) -> None:
        """set_config('role', ...) is SET ROLE."""
        given = body.get("args", ())
        arguments = [constant_text(argument) for argument in given]
        name = arguments[0] if arguments else None
        if name is None and given and _is_name_column(given[0]):
            name = scope.setting_named  # pg_dump: ... FROM pg_settings WHERE name = 'constant'
        if arguments[2:] not in (["on"], ["true"], ["t"]):  # not surely for the transaction only
            self.leave_set(name)
        if name is None:
            self.puzzle("set_config() of a setting that is not a constant")
            self.flags.add(Flag.DYNAMIC)
            self.act(Action.SET)
            self.act(Action.SET_ROLE)
            self.flags.add(Flag.CHANGES_SETTINGS)
            parameter = given[0].get("ParamRef") if given else None
            named = f"${parameter.get('number', 0)}" if parameter is not None else ""
            self.settings_changed[named, ""] = None
            self.settings_last = True
            return
        value = arguments[1] if len(arguments) > 1 else None
        self.note_setting(name, value or "", arguments[2:] in (["on"], ["t"], ["true"]))

    def leave_set(self, name: str | None) -> None:
        """A setting stays behind the transaction; None = any."""
        resets = name is not None and name.lower() not in NOT_RESET
        self.keeps.add(SETTINGS if resets else IDENTITY)

    def note_setting(self, name: str, value: str, local: bool = False) -> None:
        raise NotImplementedError

    def window(self, body: Body, scope: Scope) -> None:
        stack: list[Node] = []
        self._window(body, stack)
        self.walk(stack, scope)

    def _window(self, body: Body, stack: list[Node]) -> None:
        keys = ("partitionClause", "orderClause", "startOffset", "endOffset")
        stack.extend(body[key] for key in keys if key in body)

    def _operation(self, body: Body, scope: Scope, stack: list[Node]) -> None:
        self.operators_of(body)
        stack.extend(body[key] for key in ("lexpr", "rexpr") if key in body)

    def operators_of(self, body: Body) -> None:
        """Those that an A_Expr names, or stands for."""
        kind = body.get("kind", "AEXPR_OP")
        for name in _BETWEEN.get(kind, ()):
            self.operator([name])
        if "name" in body and kind not in _BETWEEN:
            self.operator(words(body["name"]), unprinted=kind in _UNPRINTED)

    def equality(self) -> None:
        """What CASE x WHEN and JOIN USING compare with: whichever `=` the path gives them."""
        self.operator(["="], unprinted=True)

    def _case(self, body: Body, scope: Scope, stack: list[Node]) -> None:
        if "arg" in body:
            self.equality()
        stack.extend(body[key] for key in ("arg", "args", "defresult") if key in body)

    def _cast(self, body: Body, scope: Scope, stack: list[Node]) -> None:
        self.names_called.add(CAST)
        self.type_name(body["typeName"])
        if "arg" in body:
            stack.append(body["arg"])

    def _sublink(self, body: Body, scope: Scope, stack: list[Node]) -> None:
        if "testexpr" in body:
            stack.append(body["testexpr"])
        if "operName" in body:
            self.operator(words(body["operName"]))
        elif "testexpr" in body:
            self.operator(["="])  # IN
        result = self.query(body["subselect"], scope)
        if body.get("subLinkType") != EXISTS:
            # EXISTS never looks at the columns; everything else compares or computes with them.
            self.consume(result.fields)

    def _indirection(self, body: Body, scope: Scope, stack: list[Node]) -> None:
        chosen = self.row_field(body, scope)
        if chosen is not None:
            self.consume((chosen,))
            return
        stack.append(body["arg"])
        names = [node["String"]["sval"] for node in body["indirection"] if "String" in node]
        stack.extend(node for node in body["indirection"] if "A_Indices" in node)
        for name in names:
            # `(c).full_name` may be attribute notation for full_name(c).
            if self._user_function("", name) is not None:
                self.call([name], scope)

    def row_field(self, body: Body, scope: Scope) -> Field | None:
        """The column that `(c).email` means when c is a FROM item: PostgreSQL makes a plain
        reference of it."""
        argument, indirection = body["arg"], body["indirection"]
        if "ColumnRef" not in argument or len(indirection) != 1 or "String" not in indirection[0]:
            return None
        item = self.row_item(argument["ColumnRef"], scope)
        return self._member(body, item, indirection[0]["String"]["sval"])

    def _member(self, body: Body, item: Item | None, name: str) -> Field | None:
        """A column written as a member of its row: `(c).email` or `email(c)`, of which `body` is
        the node's."""
        field = None if item is None else item.columns.get(name)
        if item is None or field is None or not field.name:
            return None
        if self.marks is not None:
            self.marks.row_fields[id(body)] = (item.alias, name)
            if item.target and field.origin is not None:
                self.marks.targets[id(body)] = TargetColumn(item.alias, field.origin, name)
        return field

    def unchanged(self, node: Node, scope: Scope) -> Field | None:
        """The column that an expression in a target list is nothing but another way of writing.

        `(c).email`, `email(c)`, and a cast to the type the column has already: the server strips
        them and reports the column's origin.
        """
        if "A_Indirection" in node:
            return self.row_field(node["A_Indirection"], scope)
        if "FuncCall" in node:
            return self._projection(node["FuncCall"], scope)
        if "TypeCast" not in node:
            return None
        argument = node["TypeCast"].get("arg", {})
        if "ColumnRef" in argument:
            parts = words(argument["ColumnRef"]["fields"])
            field = self.quiet_column(parts, scope)
            if field is not None:
                self.mark(argument["ColumnRef"], parts, field, scope)
        else:
            field = self.unchanged(argument, scope)
        if field is None or not self.is_type(field, node["TypeCast"]["typeName"]):
            return None
        return field

    def _projection(self, body: Body, scope: Scope) -> Field | None:
        """`email(c)` when no function of that name is in reach."""
        name, arguments = words(body["funcname"]), body.get("args", ())
        if len(name) != 1 or len(arguments) != 1 or "ColumnRef" not in arguments[0]:
            return None
        builtin = harmless(name[0]) and name[0] not in STRING_TYPES
        if builtin or self._user_function("", name[0]) is not None:
            return None
        return self._member(body, self.row_item(arguments[0]["ColumnRef"], scope), name[0])

    def row_item(self, reference: Body, scope: Scope) -> Item | None:
        """The FROM item a reference means as a whole row, if it means one."""
        parts = words(reference["fields"])
        if parts[-1] == "*":
            return self.item_of(parts[:-1], scope) if len(parts) > 1 else None
        if len(parts) == 1:
            level: Scope | None = scope
            while level is not None:
                if level.field(parts[0]) is not None:
                    return None
                level = level.parent
        item = self.item_of(parts, scope)
        return item if item is not None and item.known else None

    def _sort(self, body: Body, scope: Scope, stack: list[Node]) -> None:
        if "useOp" in body:
            self.operator(words(body["useOp"]))
        stack.append(body["node"])

    def _window_node(self, body: Body, scope: Scope, stack: list[Node]) -> None:
        self._window(body, stack)

    def _parameter(self, body: Body, scope: Scope, stack: list[Node]) -> None:
        self.takes_parameters = True

    def _structure(self, body: Body, stack: list[Node]) -> None:
        """Every expression in a construct, whatever its fields are called."""
        for key, value in body.items():
            if key == "typeName":
                self.type_name(value)
            elif value.__class__ is dict:
                if is_wrapped(value):
                    stack.append(value)
                else:
                    self._structure(value, stack)
            elif value.__class__ is list:
                stack.extend(element for element in value if element and is_wrapped(element))


class Result:
    """The columns a query gives."""

    __slots__ = ("fields", "known")

    def __init__(self, fields: Sequence[Field], known: bool = True) -> None:
        self.fields = fields
        self.known = known
        """False when there are columns that could not be told."""


Visit = Callable[[Expressions, Body, Scope, list[Node]], None]

_BETWEEN = {
    "AEXPR_BETWEEN": (">=", "<="),
    "AEXPR_BETWEEN_SYM": (">=", "<="),
    "AEXPR_NOT_BETWEEN": ("<", ">"),
    "AEXPR_NOT_BETWEEN_SYM": ("<", ">"),
}
"""parse_expr.c, transformAExprBetween"""
_UNPRINTED = frozenset(("AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT", "AEXPR_NULLIF"))
"""ruleutils.c prints them without the schema of their operator."""

_VISITS: Mapping[str, Visit] = {
    "A_Expr": Expressions._operation,
    "A_Indirection": Expressions._indirection,
    "CaseExpr": Expressions._case,
    "FuncCall": Expressions._function,
    "ParamRef": Expressions._parameter,
    "SortBy": Expressions._sort,
    "SubLink": Expressions._sublink,
    "TypeCast": Expressions._cast,
    "WindowDef": Expressions._window_node,
}


def is_wrapped(value: Mapping[str, Any]) -> bool:
    """Whether this is {"NodeName": {...}} rather than a bare struct (whose fields are in lower
    case)."""
    return len(value) == 1 and next(iter(value))[:1].isupper()


def every_node(value: Any) -> Iterator[tuple[str, Body]]:
    """Every wrapped node in a tree, with its name. Iterative: trees may be deep."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if value and is_wrapped(value):
                ((name, body),) = value.items()
                if isinstance(body, dict):
                    yield name, body
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


PG_SETTINGS = ("pg_catalog", "pg_settings")


def setting_named(select: Body) -> str | None:
    """The constant in `FROM pg_settings WHERE name = 'constant' [AND ...]`, None for any other
    query: what set_config(name, ...) then changes."""
    tables = select.get("fromClause", ())
    if len(tables) != 1 or "RangeVar" not in tables[0]:
        return None
    table = tables[0]["RangeVar"]
    if (table.get("schemaname", "pg_catalog"), table.get("relname")) != PG_SETTINGS:
        return None
    where = select["whereClause"]
    conjuncts = [where]
    if "BoolExpr" in where:
        if where["BoolExpr"].get("boolop") != "AND_EXPR":
            return None
        conjuncts = where["BoolExpr"]["args"]
    for conjunct in conjuncts:
        comparison = conjunct.get("A_Expr", {})
        if comparison.get("kind") == "AEXPR_OP" and words(comparison["name"]) == ["="]:
            left, right = comparison.get("lexpr"), comparison.get("rexpr")
            if left and right and _is_name_column(left):
                return constant_text(right)
    return None


def _is_name_column(node: Node) -> bool:
    return "ColumnRef" in node and words(node["ColumnRef"]["fields"])[-1] == "name"


def constant_text(node: Node) -> str | None:
    """The text of a constant (a cast of one too), None for anything else."""
    while node and "TypeCast" in node:
        node = node["TypeCast"].get("arg")
    if node and "NamedArgExpr" in node:
        return constant_text(node["NamedArgExpr"].get("arg"))
    if not node or "A_Const" not in node:
        return None
    constant = node["A_Const"]
    if "sval" in constant:
        return str(constant["sval"].get("sval", ""))
    if "ival" in constant:
        return str(constant["ival"].get("ival", 0))
    if "fval" in constant:
        return str(constant["fval"].get("fval", ""))
    if "boolval" in constant:
        return "on" if constant["boolval"].get("boolval") else "off"
    return None
