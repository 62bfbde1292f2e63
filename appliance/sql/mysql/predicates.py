"""Whether a WHERE is always true, by folding constants and looking for tautologies. Asked by
`writes`.

As `sql.predicates` does it for PostgreSQL's trees: undecidable in general; this catches what people
write to get past "needs a WHERE", and answers None when it cannot tell. Truth is three-valued: True
(every row, null-valued ones perhaps left out), False (no row), None (cannot tell). Of MySQL alone:
numbers and strings are conditions (0 and what does not begin with another number are false).
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sqlglot import exp

Value = bool | int | float | str

LARGE = 2**31 - 1
"""A key is never above it, as far as people write conditions."""


class Unknown:
    """Not a constant."""


UNKNOWN = Unknown()

_COUNTING = """length char_length character_length octet_length bit_length abs count row_number
    ascii ord crc32 rand locate instr"""
NEVER_NEGATIVE = frozenset(_COUNTING.split())
NEVER_NULL = frozenset({"now", "count", "uuid", "rand", "user", "version", "concat_ws", "isnull"})
_VOLATILE = frozenset({"rand", "uuid", "uuid_short", "sysdate", "nextval", "sleep"})

_COMPARE: Mapping[type[exp.Expr], Callable[[Any, Any], bool]] = {
    exp.EQ: operator.eq,
    exp.NullSafeEQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.LT: operator.lt,
    exp.GT: operator.gt,
    exp.LTE: operator.le,
    exp.GTE: operator.ge,
}
_MIRROR: Mapping[type[exp.Expr], type[exp.Expr]] = {
    exp.LT: exp.GT,
    exp.GT: exp.LT,
    exp.LTE: exp.GTE,
    exp.GTE: exp.LTE,
}
_OPPOSITE: Mapping[object, type[exp.Expr]] = {
    exp.EQ: exp.NEQ,
    exp.NEQ: exp.EQ,
    exp.LT: exp.GTE,
    exp.GTE: exp.LT,
    exp.GT: exp.LTE,
    exp.LTE: exp.GT,
}
_ARITHMETIC: Mapping[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.Add: operator.add,
    exp.Sub: operator.sub,
    exp.Mul: operator.mul,
}
_MATCH_ALL = frozenset({"", ".*", "^", "$", "^.*$", ".", "(.*)", "^.*", ".*$", ".+", "^.+$", ".?"})


class Rows(Protocol):
    """What the predicate's statement knows about names."""

    def same_column(self, one: exp.Column, other: exp.Column) -> bool:
        """Whether both mean the same column of the same relation (perhaps in two roles)."""

    def never_null(self, column: exp.Column) -> bool:
        """Whether it is a NOT NULL column of the statement's target."""

    def is_key(self, column: exp.Column) -> bool:
        """Whether it is part of the target's primary key."""

    def of_target(self, column: exp.Column) -> bool:
        """Whether it is a column of the target."""

    def all_of_target(self, column: exp.Column, query: exp.Expr) -> bool:
        """Whether `column IN (query)` compares it with all of its own values."""


def always_true(node: exp.Expr, rows: Rows) -> bool:
    """Whether a WHERE lets every row through, as far as can be told from its text."""
    return Folding(rows).truth(node) is True


class Folding:
    """One predicate."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def truth(self, node: exp.Expr | None) -> bool | None:
        if node is None:
            return None
        node = node.unnest() if isinstance(node, exp.Paren) else node
        rule = _RULES.get(type(node))
        if rule is not None:
            return rule(self, node)
        if type(node) in _COMPARE:
            return self._comparison(node)
        return _as_condition(self.value(node))

    def _and(self, node: exp.Expr) -> bool | None:
        truths = [self.truth(part) for part in node.flatten()]
        if False in truths:
            return False
        return True if all(truths) else None

    def _or(self, node: exp.Expr) -> bool | None:
        parts = list(node.flatten())
        truths = [self.truth(part) for part in parts]
        if True in truths or self._covers(parts):
            return True
        return False if None not in truths else None

    def _xor(self, node: exp.Expr) -> bool | None:
        one, other = self.truth(node.this), self.truth(node.expression)
        return None if one is None or other is None else one is not other

    def _not(self, node: exp.Expr) -> bool | None:
        inner = self.truth(node.this)
        return None if inner is None else not inner

    def _covers(self, parts: Sequence[exp.Expr]) -> bool:
        """Whether two arms of an OR leave nothing out: p or not p, x < 5 or x >= 5."""
        claims = [_claim(part) for part in parts]
        return any(
            one[1] == other[1] and _leave_nothing(one[0], other[0])
            for index, one in enumerate(claims)
            for other in claims[index + 1 :]
        )

    def _is(self, node: exp.Expr) -> bool | None:
        """IS NULL, IS TRUE, IS FALSE; their negations stand in a Not."""
        if isinstance(node.expression, exp.Null):
            return False if self._never_null(node.this) else None
        inner = self.truth(node.this)
        if not isinstance(node.expression, exp.Boolean) or inner is None:
            return None
        return inner is bool(node.expression.this)

    def _never_null(self, node: exp.Expr) -> bool:
        node = node.unnest()
        if isinstance(node, (exp.Literal, exp.Boolean, exp.Is, exp.Exists, exp.HexString)):
            return True
        if isinstance(node, exp.Column):
            return self.rows.never_null(node)
        if isinstance(node, exp.Anonymous):
            name = node.name.lower()
            if name in ("coalesce", "ifnull"):
                return any(self._never_null(argument) for argument in node.expressions)
            return name in NEVER_NULL
        return False

    def _case(self, node: exp.Expr) -> bool | None:
        results = [when.args.get("true") for when in node.args.get("ifs") or ()]
        truths = {self.truth(result) for result in [*results, node.args.get("default")]}
        return truths.pop() if len(truths) == 1 else None

    def _exists(self, node: exp.Expr) -> bool | None:
        return self._some_row(node.this)

    def _some_row(self, query: exp.Expr | None) -> bool | None:
        """Whether a query without FROM gives its one row."""
        query = None if query is None else query.unnest()
        if not isinstance(query, exp.Select) or query.args.get("limit") or query.args.get("having"):
            return None
        if query.args.get("from_") and _table_of(query) != "DUAL":
            return None
        where = query.args.get("where")
        return True if where is None or self.truth(where.this) is True else None

    def _subquery(self, node: exp.Expr) -> bool | None:
        query = node.unnest()
        if self._some_row(query) and len(query.expressions) == 1:
            return self.truth(query.expressions[0].unalias())
        return None

    def _in(self, node: exp.Expr) -> bool | None:
        subject = node.this
        query = node.args.get("query")
        if query is not None:
            query = query.unnest()
            if self._some_row(query) is not None:
                # A list of one constant in disguise hardly holds anything, unless it is itself.
                outputs = query.expressions
                return len(outputs) == 1 and self._same(subject, outputs[0].unalias())
            if isinstance(subject, exp.Column) and self.rows.all_of_target(subject, query):
                return True
            return None
        truths = [self._equal(subject, member) for member in node.expressions]
        return True if True in truths else None if None in truths else False

    def _equal(self, one: exp.Expr, other: exp.Expr) -> bool | None:
        return self._comparison(exp.EQ(this=one.copy(), expression=other.copy()), one, other)

    def _between(self, node: exp.Expr) -> bool | None:
        low, high = node.args.get("low"), node.args.get("high")
        if low is None or high is None or node.args.get("symmetric"):
            return None
        bounds = (
            self._comparison(exp.GTE(), node.this, low),
            self._comparison(exp.LTE(), node.this, high),
        )
        return True if all(bounds) else False if False in bounds else None

    def _like(self, node: exp.Expr) -> bool | None:
        pattern = self.value(node.expression)
        same = self._same(node.this, node.expression)
        everything = same or (isinstance(pattern, str) and bool(pattern) and set(pattern) == {"%"})
        if not everything:
            return None
        return not node.args.get("negate")

    def _escaped(self, node: exp.Expr) -> bool | None:
        return self.truth(node.this)

    def _regexp(self, node: exp.Expr) -> bool | None:
        pattern = self.value(node.expression)
        return True if isinstance(pattern, str) and pattern in _MATCH_ALL else None

    def _column(self, node: exp.Expr) -> bool | None:
        """A bare column is true where it is not 0: a key always is."""
        assert isinstance(node, exp.Column)
        return True if self.rows.is_key(node) and self.rows.never_null(node) else None

    def _comparison(
        self, node: exp.Expr, left: exp.Expr | None = None, right: exp.Expr | None = None
    ) -> bool | None:
        kind = type(node)
        left, right = left or node.this, right or node.expression
        if self._same(left, right):
            return kind in (exp.EQ, exp.NullSafeEQ, exp.LTE, exp.GTE)
        one, other = self.value(left), self.value(right)
        if not isinstance(one, Unknown) and not isinstance(other, Unknown):
            return _COMPARE[kind](*_comparable(one, other))
        if self._beyond(kind, left, other) or self._beyond(_MIRROR.get(kind, kind), right, one):
            return True
        inner = self.truth(left) if isinstance(left.unnest(), exp.Condition) else None
        if (
            inner is not None
            and not isinstance(other, Unknown)
            and not isinstance(left.unnest(), exp.Column)
        ):
            return _COMPARE[kind](int(inner), _number(other))  # (1 = 1) = 1
        return None

    def _beyond(self, kind: type[exp.Expr], node: exp.Expr, bound: Value | Unknown) -> bool:
        """length(x) > -1, key > 0, key < 9999999999 and their kind."""
        if isinstance(bound, (Unknown, str)):
            return False
        node = node.unnest()
        is_key = isinstance(node, exp.Column) and self.rows.is_key(node)
        if is_key and kind in (exp.LT, exp.LTE, exp.NEQ) and bound >= LARGE:
            return True
        counted = isinstance(node, exp.Anonymous) and node.name.lower() in NEVER_NEGATIVE
        if not counted and not is_key:
            return False
        if kind in (exp.GT, exp.NEQ):
            return bound < 0 or (is_key and bound == 0)
        return kind is exp.GTE and (bound <= 0 or (is_key and bound <= 1))

    def _same(self, one: exp.Expr, other: exp.Expr) -> bool:
        one, other = one.unnest(), other.unnest()
        if isinstance(one, exp.Column) and isinstance(other, exp.Column):
            return one == other or self.rows.same_column(one, other)
        if isinstance(one, (exp.Literal, exp.Placeholder)) or one != other:
            return False
        return not any(c.name.lower() in _VOLATILE for c in one.find_all(exp.Anonymous))

    def value(self, node: exp.Expr | None) -> Value | Unknown:
        """The constant an expression folds to."""
        if node is None:
            return UNKNOWN
        node = node.unnest()
        if isinstance(node, exp.Literal):
            return node.this if node.is_string else _literal(node.this)
        if isinstance(node, exp.Boolean):
            return bool(node.this)
        if isinstance(node, exp.HexString):
            return _hexadecimal(node.this)
        if isinstance(node, exp.BitString):
            return int(node.this, 2) if node.this else UNKNOWN
        if isinstance(node, (exp.Cast, exp.Introducer, exp.Collate)):
            return self.value(node.expression if isinstance(node, exp.Introducer) else node.this)
        if isinstance(node, exp.Neg):
            inner = self.value(node.this)
            return UNKNOWN if isinstance(inner, (Unknown, str)) else -inner
        if type(node) in _ARITHMETIC:
            return self._arithmetic(node)
        if isinstance(node, exp.Subquery) and self._some_row(node):
            query = node.unnest()
            return self.value(query.expressions[0].unalias()) if query.expressions else UNKNOWN
        if isinstance(node, exp.Anonymous):
            return self._called(node)
        return UNKNOWN

    def _arithmetic(self, node: exp.Expr) -> Value | Unknown:
        one, other = self.value(node.this), self.value(node.expression)
        if isinstance(node, exp.Mul) and 0 in (one, other):
            return 0  # whatever the other is (but NULL)
        if isinstance(one, Unknown) or isinstance(other, Unknown):
            return UNKNOWN
        result: Value = _ARITHMETIC[type(node)](_number(one), _number(other))
        return result

    def _called(self, node: exp.Anonymous) -> Value | Unknown:
        name = node.name.lower()
        values = [self.value(argument) for argument in node.expressions]
        if name in ("coalesce", "ifnull") and values:
            return values[0]
        if name == "concat" and values and not any(isinstance(v, Unknown) for v in values):
            return "".join(str(v) for v in values)
        if name == "if" and len(values) == 3:
            truth = self.truth(node.expressions[0])
            if truth is not None:
                return values[1] if truth else values[2]
            same = values[1] == values[2] and not isinstance(values[1], Unknown)
            return values[1] if same else UNKNOWN
        if name == "isnull" and len(values) == 1:
            return False if self._never_null(node.expressions[0]) else UNKNOWN
        if name in ("length", "char_length") and values and isinstance(values[0], str):
            return len(values[0])
        return UNKNOWN


Rule = Callable[[Folding, exp.Expr], "bool | None"]

_RULES: Mapping[type[exp.Expr], Rule] = {
    exp.And: Folding._and,
    exp.Or: Folding._or,
    exp.Xor: Folding._xor,
    exp.Not: Folding._not,
    exp.Is: Folding._is,
    exp.In: Folding._in,
    exp.Between: Folding._between,
    exp.Like: Folding._like,
    exp.Escape: Folding._escaped,
    exp.RegexpLike: Folding._regexp,
    exp.Case: Folding._case,
    exp.Exists: Folding._exists,
    exp.Subquery: Folding._subquery,
    exp.Column: Folding._column,
}


def _table_of(query: exp.Select) -> str:
    source = query.args["from_"].this
    return (
        source.name.upper() if isinstance(source, exp.Table) and not query.args.get("joins") else ""
    )


def _claim(node: exp.Expr) -> tuple[object, object]:
    """What an arm of an OR says, and of what."""
    node = node.unnest()
    if isinstance(node, exp.Not):
        said, subject = _claim(node.this)
        return _OPPOSITE.get(said, ("not", said)), subject
    if type(node) in _COMPARE:
        return type(node), (node.this, node.expression)
    if isinstance(node, exp.Is):
        return "is", (node.this, node.expression)
    return "is", node


def _leave_nothing(one: object, other: object) -> bool:
    if _OPPOSITE.get(one) is other or one == ("not", other) or other == ("not", one):
        return True
    pair = {one, other}
    return pair in ({exp.LTE, exp.GTE}, {exp.LTE, exp.GT}, {exp.LT, exp.GTE})


def _literal(text: str) -> Value | Unknown:
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return UNKNOWN


def _hexadecimal(text: str) -> Value | Unknown:
    return int(text, 16) if text and len(text) <= 16 else UNKNOWN


_LEADING_NUMBER = re.compile(r"\s*([+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d{1,3})?)", re.IGNORECASE)


def _number(value: Value) -> int | float:
    """What a string is as a number: what it begins with."""
    if not isinstance(value, str):
        return value
    found = _LEADING_NUMBER.match(value)
    return float(found[1]) if found else 0


def _comparable(one: Value, other: Value) -> tuple[Value, Value]:
    if isinstance(one, str) and isinstance(other, str):
        return one.rstrip().casefold(), other.rstrip().casefold()
    return _number(one), _number(other)


def _as_condition(value: Value | Unknown) -> bool | None:
    return None if isinstance(value, Unknown) else _number(value) != 0
