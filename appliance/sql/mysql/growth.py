"""Whether a query may run, or hold others up, without bound: relations multiplied with nothing that
joins them, recursion that nothing ends, every row of a table locked.

Asked by `queries` for each SELECT of a statement; `sql.growth` does it for PostgreSQL's trees. How
large relations are is the database's business. Its rule: what it says yes to is worth stopping on a
busy server, and ordinary reports are not among it.
"""

from collections.abc import Iterable, Iterator

from sqlglot import exp

from appliance.sql.mysql.reading import Reader

FEW_ROWS_MAX = 1_000
"""A subquery with a constant LIMIT up to this counts as small."""

_AGGREGATES = frozenset(
    """avg bit_and bit_or bit_xor count json_arrayagg json_objectagg max min std stddev stddev_pop
    stddev_samp sum var_pop var_samp variance""".split()  # noqa: SIM905
)


class Leaf:
    """One relation, subquery or WITH query in FROM."""

    __slots__ = ("alias", "large", "linked", "oid")

    def __init__(self, alias: str, large: bool, oid: int) -> None:
        self.alias = alias
        self.large = large
        """It may have any number of rows."""
        self.oid = oid
        self.linked: Leaf = self

    def root(self) -> "Leaf":
        leaf = self
        while leaf.linked is not leaf:
            leaf = leaf.linked
        return leaf


def is_unbounded(select: exp.Select, reader: Reader) -> bool:
    """One SELECT that `reader` has read."""
    source = select.args.get("from_")
    if source is None:
        return False
    if select.args.get("locks") and not _narrowed(select):
        return True
    if not select.args.get("joins") and not source.this.args.get("joins"):
        return False
    return not _streams(select) and _multiplies(select, reader)


def is_endless(with_: exp.With) -> bool:
    """Whether a recursive WITH query reads nothing but itself, unfiltered."""
    if not with_.args.get("recursive"):
        return False
    return any(_recurs_unfiltered(cte) for cte in with_.expressions)


def _recurs_unfiltered(cte: exp.Expr) -> bool:
    body = cte.this.unnest()
    if not isinstance(body, exp.Union) or body.args.get("limit"):
        return False
    arm = body.expression.unnest()
    source = arm.args.get("from_") if isinstance(arm, exp.Select) else None
    if source is None or arm.args.get("joins") or not isinstance(source.this, exp.Table):
        return False
    return bool(source.this.name == cte.alias) and not _narrowed(arm)


def _narrowed(select: exp.Expr) -> bool:
    where = select.args.get("where")
    if select.args.get("limit") is not None:
        return True
    return where is not None and where.find(exp.Column) is not None


def _streams(select: exp.Select) -> bool:
    """Whether a LIMIT ends it early: nothing gathers all rows first."""
    gathers = any(select.args.get(part) for part in ("order", "group", "distinct", "having"))
    return select.args.get("limit") is not None and not gathers and not _aggregates(select)


def _aggregates(select: exp.Select) -> bool:
    return any(
        isinstance(call, exp.GroupConcat) or call.name.lower() in _AGGREGATES
        for output in select.expressions
        for call in output.find_all(exp.Anonymous, exp.GroupConcat)
    )


def _multiplies(select: exp.Select, reader: Reader) -> bool:
    """Whether two large parts of FROM have nothing that joins them."""
    leaves: list[Leaf] = []
    conditions: list[exp.Expr] = []
    _gather(select.args["from_"].this, reader, leaves, conditions)
    _gather_joins(select.args.get("joins") or (), reader, leaves, conditions)
    if sum(leaf.large for leaf in leaves) < 2:
        return False
    where = select.args.get("where")
    for condition in [*conditions, *(() if where is None else _conjuncts(where.this))]:
        _link(condition, leaves, reader)
    return len({id(leaf.root()) for leaf in leaves if leaf.large}) > 1


def _gather(node: exp.Expr, reader: Reader, leaves: list[Leaf], conditions: list[exp.Expr]) -> None:
    if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
        _gather(node.this, reader, leaves, conditions)
    elif isinstance(node, exp.Table):
        place = reader.places.get(id(node))
        leaves.append(Leaf(node.alias or node.name, True, 0 if place is None else place.oid))
    else:
        leaves.append(Leaf(node.alias, _may_be_large(node), 0))
        if isinstance(node, exp.Lateral):
            leaves[-1].large = False
    _gather_joins(node.args.get("joins") or (), reader, leaves, conditions)


def _gather_joins(
    joins: Iterable[exp.Expr], reader: Reader, leaves: list[Leaf], conditions: list[exp.Expr]
) -> None:
    for join in joins:
        before = len(leaves)
        _gather(join.this, reader, leaves, conditions)
        if join.args.get("using") or join.args.get("method") == "NATURAL":
            for leaf in leaves[before:]:
                leaf.root().linked = leaves[0].root()
        on = join.args.get("on")
        conditions += () if on is None else _conjuncts(on)


def _may_be_large(node: exp.Expr) -> bool:
    query = node.this.unnest() if isinstance(node, (exp.Subquery, exp.Lateral)) else node
    if isinstance(query, exp.Values):
        return False
    limit = query.args.get("limit")
    rows = None if limit is None else limit.expression
    if isinstance(rows, exp.Literal) and rows.this.isdigit() and int(rows.this) <= FEW_ROWS_MAX:
        return False
    if not isinstance(query, exp.Select):
        return True
    one_row = not query.args.get("group") and _aggregates(query)
    return query.args.get("from_") is not None and not one_row


def _conjuncts(node: exp.Expr) -> list[exp.Expr]:
    node = node.unnest()
    if isinstance(node, exp.And):
        return [inner for part in node.flatten() for inner in _conjuncts(part)]
    return [node]


def _link(condition: exp.Expr, leaves: list[Leaf], reader: Reader) -> None:
    """A condition on two parts joins them; one that fixes a column makes its part small."""
    if isinstance(condition, exp.NEQ):
        return
    found = list({id(leaf): leaf for leaf in _leaves_named(condition, leaves, reader)}.values())
    for leaf in found[1:]:
        leaf.root().linked = found[0].root()
    if len(found) == 1 and isinstance(condition, (exp.EQ, exp.NullSafeEQ)):
        found[0].large = False


def _leaves_named(node: exp.Expr, leaves: list[Leaf], reader: Reader) -> Iterator[Leaf]:
    for column in node.find_all(exp.Column):
        if column.table:
            yield from (leaf for leaf in leaves if leaf.alias.lower() == column.table.lower())
            continue
        oids = {key[0] for field in reader.columns.get(id(column), ()) for key in field.sources}
        yield from (leaf for leaf in leaves if leaf.oid in oids or not leaf.oid)
