"""Constants of a query whose values nothing here looks at: texts that differ in these only have the
same facts.

Asked by `analysis`; `session/flow` keeps verdicts by what it says. Rule: a constant is one of them
only where this module knows that no rule looks: in WHERE and ON, compared with a column.
"""

from collections.abc import Sequence

from sqlglot import exp

from appliance.sql.mysql.tree import PLACE

_COMPARING = (exp.EQ, exp.NEQ, exp.LT, exp.GT, exp.LTE, exp.GTE, exp.NullSafeEQ)
_CONDITIONS = (exp.Where, exp.Join)


def unread_constants(tree: exp.Expr) -> tuple[int, ...]:
    """Byte offsets of all constants of a query, when nothing looks at any of them; () otherwise."""
    places: list[int] = []
    for literal in tree.find_all(exp.Literal):
        place = literal.meta.get(PLACE)
        if place is None or not _is_compared(literal):
            return ()
        places.append(place)
    if any(tree.find_all(exp.HexString, exp.BitString, exp.Interval, exp.Introducer)):
        return ()
    return tuple(sorted(places))


def _is_compared(literal: exp.Expr) -> bool:
    """Whether it is compared with a column, in a condition of the query that it stands in."""
    comparison = literal.parent
    if isinstance(comparison, _COMPARING):
        others: Sequence[exp.Expr] = [comparison.this, comparison.expression]
    elif isinstance(comparison, (exp.In, exp.Between)):
        others = [comparison.this]
        if comparison.this is literal:
            return False
    else:
        return False
    if not any(isinstance(other, exp.Column) for other in others):
        return False
    above = comparison.parent
    while above is not None and not isinstance(above, (exp.Query, *_CONDITIONS)):
        above = above.parent
    return isinstance(above, _CONDITIONS)
