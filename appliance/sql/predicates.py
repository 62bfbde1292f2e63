"""Whether a WHERE is always true, by folding constants and looking for tautologies. Asked by
`writes`.

That is undecidable in general; this catches what people write to get past "needs a WHERE", and
answers False when it cannot tell. What only the database can know (how many rows match) is not its
business. Truth is three-valued: True (every row, null-valued ones perhaps left out), False (no
row), None (cannot tell).
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from appliance.sql.expressions import Node
from appliance.sql.names import words
from appliance.sql.parse import Body, same, without_places

Value = bool | int | float | str


class Unknown:
    """Not a constant."""


UNKNOWN = Unknown()

NEVER_NEGATIVE = frozenset(
    [
        "length",
        "char_length",
        "character_length",
        "octet_length",
        "bit_length",
        "abs",
        "count",
        "cardinality",
        "row_number",
        "rank",
        "dense_rank",
        "num_nulls",
        "num_nonnulls",
        "pg_column_size",
    ]
)
NEVER_NULL = frozenset(
    ["count", "concat", "concat_ws", "now", "current_database", "row_number", "num_nulls"]
)

_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_OPPOSITE = {
    "=": "<>",
    "<>": "=",
    "!=": "=",
    "<": ">=",
    ">=": "<",
    ">": "<=",
    "<=": ">",
    "IS_NULL": "IS_NOT_NULL",
    "IS_NOT_NULL": "IS_NULL",
    "IS": "IS NOT",
    "IS NOT": "IS",
}
_MIRROR = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "<>": "<>", "!=": "<>"}
_ARITHMETIC: Mapping[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
_MATCH_ALL = {
    "~~": ("%",),
    "~~*": ("%",),
    "~": ("", ".*", "^", "$", "^.*$", "(.*)"),
    "~*": ("", ".*", "^", "$"),
}
_TRUE_WORDS = frozenset({"t", "true", "y", "yes", "on", "1"})
_FALSE_WORDS = frozenset({"f", "false", "n", "no", "off", "0"})


class Rows(Protocol):
    """What the predicate's statement knows about names."""

    def same_column(self, first: Body, second: Body) -> bool:
        """Whether two ColumnRefs mean the same column of the same relation (perhaps in two
        roles)."""

    def never_null(self, reference: Body) -> bool:
        """Whether a ColumnRef is a NOT NULL column of the statement's target."""

    def of_target(self, reference: Body) -> bool:
        """Whether a ColumnRef means a column of the statement's target."""

    def all_of_target(self, reference: Body, select: Body) -> bool:
        """Whether `reference IN (select)` compares a target's column with all of its own values."""


def always_true(node: Node, rows: Rows) -> bool:
    """Whether a WHERE lets every row through, as far as can be told from its text."""
    return Folding(rows).truth(node) is True


def names_rows(node: Node, rows: Rows) -> bool:
    """Whether a WHERE says which rows it means: a column of the target equals something that does
    not depend on any row. How many rows that is, is the writer's business."""
    ((kind, body),) = node.items()
    if kind == "BoolExpr" and body["boolop"] != "NOT_EXPR":
        test = any if body["boolop"] == "AND_EXPR" else all
        return test(names_rows(argument, rows) for argument in body["args"])
    if kind != "A_Expr" or words(body.get("name", ()))[-1:] != ["="]:
        return False
    if body.get("kind", "AEXPR_OP") not in ("AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY"):
        return False
    left, right = body.get("lexpr"), body.get("rexpr")
    sides = ((left, right), (right, left)) if body["kind"] == "AEXPR_OP" else ((left, right),)
    return any(_of_target(column, rows) and _independent(value) for column, value in sides)


def _of_target(node: Node, rows: Rows) -> bool:
    """A column of the target, or a row of which one is."""
    if not node:
        return False
    ((kind, body),) = node.items()
    if kind == "RowExpr":
        return any(_of_target(argument, rows) for argument in body["args"])
    return kind == "ColumnRef" and rows.of_target(body)


def _independent(node: Node) -> bool:
    """Whether a value is the same for every row: no column, no subquery in it."""
    stack: list[Any] = [node]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            if "ColumnRef" in value or "SubLink" in value:
                return False
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return bool(node)


class Folding:
    """One predicate."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def truth(self, node: Node) -> bool | None:
        if not node:
            return None
        ((kind, body),) = node.items()
        rule = _RULES.get(kind)
        return None if rule is None else rule(self, body)

    def _constant(self, body: Body) -> bool | None:
        if body.get("isnull"):
            return False
        return _as_boolean(_value_of(body))

    def _cast(self, body: Body) -> bool | None:
        folded = _as_boolean(self.value(body.get("arg")))
        return self.truth(body.get("arg")) if folded is None else folded

    def _boolean(self, body: Body) -> bool | None:
        arguments: Sequence[Node] = body["args"]
        if body["boolop"] == "NOT_EXPR":
            inner = self.truth(arguments[0])
            return None if inner is None else not inner
        truths = [self.truth(argument) for argument in arguments]
        if body["boolop"] == "AND_EXPR":
            if False in truths:
                return False
            return True if all(truths) else None
        if True in truths or self._covers(arguments):
            return True
        return False if not any(t is None for t in truths) else None

    def _covers(self, arguments: Sequence[Node]) -> bool:
        """Whether two arms of an OR leave nothing out: p or not p, x is null or x is not null, x
        < 5 or x >= 5."""
        seen: dict[bytes, set[str]] = {}
        for argument in arguments:
            subject, verdict = _claim(argument)
            others = seen.setdefault(subject, set())
            if any(_leave_nothing(verdict, other) for other in others):
                return True
            others.add(verdict)
        return False

    def _null_test(self, body: Body) -> bool | None:
        if not self._never_null(body["arg"]):
            return None
        return bool(body["nulltesttype"] == "IS_NOT_NULL")

    def _never_null(self, node: Node) -> bool:
        if not node:
            return False
        ((kind, body),) = node.items()
        if kind == "A_Const":
            return not body.get("isnull")
        if kind in ("NullTest", "BooleanTest", "A_ArrayExpr", "RowExpr"):
            return True
        if kind == "ColumnRef":
            return self.rows.never_null(body)
        if kind == "CoalesceExpr":
            return any(self._never_null(argument) for argument in body["args"])
        if kind == "FuncCall":
            return words(body["funcname"])[-1] in NEVER_NULL
        return kind == "TypeCast" and self._never_null(body.get("arg"))

    def _boolean_test(self, body: Body) -> bool | None:
        test, inner = body["booltesttype"], self.truth(body["arg"])
        if test in ("IS_TRUE", "IS_NOT_FALSE"):
            return inner
        if test in ("IS_FALSE", "IS_NOT_TRUE"):
            return None if inner is None else not inner
        known = inner is not None or self._never_null(body["arg"])
        return (test == "IS_NOT_UNKNOWN") if known else None

    def _case(self, body: Body) -> bool | None:
        results = [when["CaseWhen"].get("result") for when in body["args"]]
        truths = {self.truth(result) for result in [*results, body.get("defresult")]}
        return truths.pop() if len(truths) == 1 else None

    def _coalesce(self, body: Body) -> bool | None:
        truths = {self.truth(argument) for argument in body["args"]}
        first = self.truth(body["args"][0])
        return first if first is True else truths.pop() if len(truths) == 1 else None

    def _sublink(self, body: Body) -> bool | None:
        select = body["subselect"].get("SelectStmt", {})
        kind = body.get("subLinkType")
        bare = not select.get("fromClause") and select.get("op", "SETOP_NONE") == "SETOP_NONE"
        filtered = "whereClause" in select and self.truth(select["whereClause"]) is not True
        limited = "limitCount" in select or "havingClause" in select
        if kind == "EXISTS_SUBLINK":
            return True if bare and not filtered and not limited else None
        if kind == "EXPR_SUBLINK" and bare and not filtered and not limited:
            targets = select.get("targetList", ())
            return self.truth(targets[0]["ResTarget"].get("val")) if len(targets) == 1 else None
        if bare and kind in ("ANY_SUBLINK", "ALL_SUBLINK"):
            # `id NOT IN (SELECT -1)`: a list of one constant in disguise, which hardly holds
            # anything back.
            if kind == "ANY_SUBLINK":
                return False
            return True if words(body.get("operName", ()))[-1:] == ["<>"] else None
        reference = (body.get("testexpr") or {}).get("ColumnRef")
        if kind == "ANY_SUBLINK" and reference and not filtered and not limited:
            return True if self.rows.all_of_target(reference, select) else None
        return None

    def _expression(self, body: Body) -> bool | None:
        kind = body.get("kind", "AEXPR_OP")
        name = words(body.get("name", ()))[-1]
        left, right = body.get("lexpr"), body.get("rexpr")
        if kind in ("AEXPR_OP", "AEXPR_LIKE", "AEXPR_ILIKE"):
            return self._comparison(name, left, right)
        if kind in ("AEXPR_IN", "AEXPR_OP_ANY"):
            return self._membership(name, left, right)
        if kind in ("AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT"):
            equal = True if self._same(left, right) else self._folded("=", left, right)
            return None if equal is None else equal is (kind == "AEXPR_NOT_DISTINCT")
        if right and kind in ("AEXPR_BETWEEN", "AEXPR_BETWEEN_SYM"):
            low, high = right["List"]["items"]
            bounds = self._comparison(">=", left, low), self._comparison("<=", left, high)
            return True if all(bounds) else False if False in bounds else None
        if kind == "AEXPR_SIMILAR":
            pattern = self.value((right or {}).get("FuncCall", {}).get("args", [None])[0])
            return True if pattern == "%" and name == "~" else None
        return None

    def _comparison(self, name: str, left: Node, right: Node) -> bool | None:
        if self._same(left, right):
            if name in ("=", "<=", ">=", "~~", "~~*"):
                return True
            return False if name in ("<>", "!=", "<", ">") else None
        if name in _MATCH_ALL:
            pattern = self.value(right)
            everything = isinstance(pattern, str) and (
                pattern in _MATCH_ALL[name] or (name[:2] == "~~" and set(pattern) == {"%"})
            )
            return True if everything else None
        folded = self._folded(name, left, right)
        if folded is not None:
            return folded
        return True if self._below(name, left, right) else None

    def _below(self, name: str, left: Node, right: Node) -> bool:
        """length(x) > -1 and its kind."""
        for operation, call, bound in ((name, left, right), (_MIRROR.get(name), right, left)):
            value = self.value(bound)
            function = (call or {}).get("FuncCall")
            if function is None or not isinstance(value, (int, float)):
                continue
            if words(function["funcname"])[-1] in NEVER_NEGATIVE and (
                (operation in (">", "<>", "!=") and value < 0) or (operation == ">=" and value <= 0)
            ):
                return True
        return False

    def _folded(self, name: str, left: Node, right: Node) -> bool | None:
        compare = _COMPARE.get(name)
        first, second = self.value(left), self.value(right)
        if compare is None or isinstance(first, Unknown) or isinstance(second, Unknown):
            return None
        if isinstance(first, str) != isinstance(second, str):
            first, second = str(first), str(second)
        return compare(first, second)

    def _membership(self, name: str, left: Node, right: Node) -> bool | None:
        """x IN (...), x NOT IN (...), x = ANY (ARRAY[...])."""
        members = _members(right)
        if members is None:
            return None
        truths = [self._comparison("=", left, member) for member in members]
        if name == "=":
            return True if True in truths else None if None in truths else False
        if name in ("<>", "!="):
            return False if True in truths else None if None in truths else True
        return None

    def _same(self, left: Node, right: Node) -> bool:
        if not left or not right:
            return False
        if same(left, right):
            return not _volatile(left)
        first, second = left.get("ColumnRef"), right.get("ColumnRef")
        return bool(first and second and self.rows.same_column(first, second))

    def value(self, node: Node) -> Value | Unknown:
        """The constant an expression folds to."""
        if not node:
            return UNKNOWN
        ((kind, body),) = node.items()
        if kind == "A_Const":
            return _value_of(body)
        if kind == "TypeCast":
            return self.value(body.get("arg"))
        if kind == "A_Expr" and body.get("kind") == "AEXPR_OP":
            return self._arithmetic(words(body["name"])[-1], body)
        if kind == "SubLink" and body.get("subLinkType") == "EXPR_SUBLINK":
            select = body["subselect"].get("SelectStmt", {})
            targets = select.get("targetList", ())
            if not select.get("fromClause") and "whereClause" not in select and len(targets) == 1:
                return self.value(targets[0]["ResTarget"].get("val"))
        return UNKNOWN

    def _arithmetic(self, name: str, body: Body) -> Value | Unknown:
        right = self.value(body.get("rexpr"))
        if "lexpr" not in body:
            return -right if name == "-" and isinstance(right, (int, float)) else UNKNOWN
        left = self.value(body["lexpr"])
        if name == "||" and isinstance(left, str) and isinstance(right, str):
            return left + right
        if (
            name in _ARITHMETIC
            and isinstance(left, (int, float))
            and isinstance(right, (int, float))
        ):
            result: Value = _ARITHMETIC[name](left, right)
            return result
        return UNKNOWN


Rule = Callable[[Folding, Body], "bool | None"]

_RULES: Mapping[str, Rule] = {
    "A_Const": Folding._constant,
    "A_Expr": Folding._expression,
    "BoolExpr": Folding._boolean,
    "BooleanTest": Folding._boolean_test,
    "CaseExpr": Folding._case,
    "CoalesceExpr": Folding._coalesce,
    "NullTest": Folding._null_test,
    "SubLink": Folding._sublink,
    "TypeCast": Folding._cast,
}


def _claim(node: Node) -> tuple[bytes, str]:
    """What an arm of an OR speaks of, and what it says of that."""
    ((kind, body),) = node.items()
    if kind == "BoolExpr" and body["boolop"] == "NOT_EXPR":
        subject, verdict = _claim(body["args"][0])
        return subject, _OPPOSITE.get(verdict, "")
    if kind == "NullTest":
        return _key(body["arg"]), body["nulltesttype"]
    if kind == "A_Expr" and body.get("kind") == "AEXPR_OP" and "lexpr" in body:
        name = words(body["name"])[-1]
        if name in _COMPARE:
            return _key([body["lexpr"], body.get("rexpr")]), name
    return _key(node), "IS"


def _key(value: Any) -> bytes:
    return orjson.dumps(without_places(value), option=orjson.OPT_SORT_KEYS)


def _leave_nothing(first: str, second: str) -> bool:
    opposite = _OPPOSITE.get(first) == second or _OPPOSITE.get(second) == first
    return opposite or {first, second} in (
        {"<=", ">="},
        {"<=", ">"},
        {"<", ">="},
    )


def _volatile(node: Node) -> bool:
    """random() = random() is not always true."""
    if "FuncCall" in node:
        return words(node["FuncCall"]["funcname"])[-1] in ("random", "clock_timestamp", "nextval")
    return False


def _members(node: Node) -> Sequence[Node] | None:
    if not node:
        return None
    if "List" in node:
        items: Sequence[Node] = node["List"]["items"]
        return items
    if "A_ArrayExpr" in node:
        elements: Sequence[Node] = node["A_ArrayExpr"].get("elements", ())
        return elements
    return None


def _value_of(constant: Body) -> Value | Unknown:
    if constant.get("isnull"):
        return UNKNOWN
    if "boolval" in constant:
        return bool(constant["boolval"].get("boolval", False))
    if "ival" in constant:
        return int(constant["ival"].get("ival", 0))
    if "fval" in constant:
        try:
            return float(constant["fval"].get("fval", "0"))
        except ValueError:  # hexadecimal and the like
            return UNKNOWN
    if "sval" in constant:
        return str(constant["sval"].get("sval", ""))
    return UNKNOWN


def _as_boolean(value: Value | Unknown) -> bool | None:
    """What a constant is as a boolean; a number or word that is none gives None."""
    if isinstance(value, bool):
        return value
    if isinstance(value, Unknown):
        return None
    word = str(value).strip().lower()
    return True if word in _TRUE_WORDS else False if word in _FALSE_WORDS else None
