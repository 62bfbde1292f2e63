"""INSERT, REPLACE, UPDATE and DELETE into the ledger. Called by `statements`.

What the names in them mean is `writing`'s; this adds what policy looks at: which rows of what
change, by which ways, and whether a write spares any row. Shapes are those of sqlglot's Insert,
Update and Delete.
"""

from collections.abc import Iterator, Mapping

from sqlglot import exp

from appliance.model.facts import Action, Flag
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.predicates import always_true
from appliance.sql.mysql.queries import note_tree
from appliance.sql.mysql.reading import Result
from appliance.sql.mysql.scope import Field, folded
from appliance.sql.mysql.tree import REPLACES
from appliance.sql.mysql.writing import Written, written_by

SPARED_BY_LIMIT = 10
"""A write without conditions but with a constant LIMIT up to this is none over all rows."""

_ACTIONS: Mapping[str, Action] = {
    "insert": Action.INSERT,
    "update": Action.UPDATE,
    "delete": Action.DELETE,
}


def read_write(ledger: Ledger, tree: exp.Expr) -> Result:
    """A tree that is an INSERT, REPLACE, UPDATE or DELETE; the columns of its RETURNING."""
    ledger.flags.add(Flag.WRITES)
    ledger.writes += 1
    ledger.act(_OWN[type(tree)])
    written, result = written_by(ledger.reader, tree)
    for each in written:
        _note(ledger, each)
        if tree.args.get(REPLACES):
            _note_replaced(ledger, each)
    if not written:
        _unknown_targets(ledger, tree)
    if isinstance(tree, (exp.Update, exp.Delete)):
        _guard(ledger, tree)
    note_tree(ledger, tree)
    return result


_OWN: Mapping[type[exp.Expr], Action] = {
    exp.Insert: Action.INSERT,
    exp.Update: Action.UPDATE,
    exp.Delete: Action.DELETE,
}


def _note(ledger: Ledger, written: Written) -> None:
    action = _ACTIONS[written.verb]
    ledger.act(action)
    lineage = ledger.lineage
    if not written.oid or lineage is None:
        ledger.uses.setdefault((action, 0, written.database, written.name), {})
        return
    relation = lineage.catalog.relations[written.oid]
    columns = written.columns
    if columns == ("*",):
        columns = tuple(field.name for field in lineage.shape(written.oid).starred)
    ledger.use_known(action, relation, columns)
    ledger.write_beneath(action, relation, columns)
    ledger.note_written(relation)


def _note_replaced(ledger: Ledger, written: Written) -> None:
    """REPLACE leaves a row alone that is the new one in every column, and counts it as one row, not
    as one removed and one added."""
    if not written.oid or ledger.lineage is None:
        return
    for field in ledger.lineage.shape(written.oid).fields:
        ledger.decides.update(field.sources)


def _unknown_targets(ledger: Ledger, tree: exp.Expr) -> None:
    """What is written was not understood: it may be any table that is named."""
    for table in tree.find_all(exp.Table):
        if isinstance(table.this, exp.Identifier):
            ledger.use(_OWN[type(tree)], table.db, table.name)


# Whether a write spares any row.


def _guard(ledger: Ledger, tree: exp.Update | exp.Delete) -> None:
    where = tree.args.get("where")
    conditions = [] if where is None else [where.this]
    for source in tree.args.get("using") or [tree.this]:
        conditions += _joined_on(source)
    if not conditions:
        if not _is_limited(tree.args.get("limit")):
            ledger.flags.add(Flag.NO_WHERE)
        return
    rows = _Rows(ledger, tree)
    if all(always_true(condition, rows) for condition in conditions) or not any(
        _names_target(condition, rows) for condition in conditions
    ):
        ledger.flags.add(Flag.TRIVIAL_WHERE)


def _joined_on(node: exp.Expr) -> Iterator[exp.Expr]:
    """ON of inner joins: a row without a partner is spared."""
    inner = (
        node.this if isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table) else node
    )
    for join in [*(node.args.get("joins") or ()), *(inner.args.get("joins") or ())]:
        on = join.args.get("on")
        if on is not None and not join.args.get("side"):
            yield on
        yield from _joined_on(join.this)


def _is_limited(limit: exp.Expr | None) -> bool:
    rows = None if limit is None else limit.expression
    if not isinstance(rows, exp.Literal) or not rows.this.isdigit():
        return False
    return int(rows.this) <= SPARED_BY_LIMIT


def _names_target(node: exp.Expr, rows: "_Rows") -> bool:
    return any(rows.of_target(column) for column in node.find_all(exp.Column))


class _Rows:
    """`predicates.Rows` of one statement."""

    def __init__(self, ledger: Ledger, tree: exp.Expr) -> None:
        self.reader = ledger.reader
        self.catalog = None if ledger.lineage is None else ledger.lineage.catalog
        self.targets = {id_ for id_, place in self.reader.places.items() if place.written}
        """id(exp.Table) of what is written; empty when that is not known."""
        self.aliases = {folded(t.alias_or_name) for t in tree.find_all(exp.Table)}

    def _fields(self, column: exp.Column) -> tuple[Field, ...]:
        return self.reader.columns.get(id(column), ())

    def same_column(self, one: exp.Column, other: exp.Column) -> bool:
        first, second = self._fields(one), self._fields(other)
        if len(first) == len(second) == 1:
            return first[0] is second[0]
        bare = (one.copy(), other.copy())
        for column in bare:
            if folded(column.table) in self.aliases:
                column.set("table", None)
            column.set("db", None)
        return bool(not first and not second and bare[0] == bare[1])

    def _column(self, column: exp.Column) -> tuple[int, int] | None:
        """The key of a column of what is written."""
        fields, holder = self._fields(column), self.reader.holders.get(id(column))
        if holder is None or holder.place not in self.targets or len(fields) != 1:
            return None
        return fields[0].origin

    def never_null(self, column: exp.Column) -> bool:
        key = self._column(column)
        if key is None or self.catalog is None:
            return False
        relation = self.catalog.relations[key[0]]
        return any(c.attnum == key[1] and c.not_null for c in relation.columns)

    def is_key(self, column: exp.Column) -> bool:
        key = self._column(column)
        if key is None or self.catalog is None:
            return False
        return key[1] in self.catalog.primary_keys.get(key[0], ())

    def of_target(self, column: exp.Column) -> bool:
        holder = self.reader.holders.get(id(column))
        if holder is None or not self.targets:
            return True  # not known whose it is
        return holder.place in self.targets

    def all_of_target(self, column: exp.Column, query: exp.Expr) -> bool:
        """`id IN (SELECT id FROM t)` without a condition; MySQL wants a derived table around it."""
        mine = self._fields(column)
        if len(mine) != 1 or not isinstance(query, exp.Select) or len(query.expressions) != 1:
            return False
        if any(query.args.get(part) for part in ("where", "limit", "having", "joins")):
            return False
        output = query.expressions[0].unalias()
        source = query.args.get("from_")
        if source is None:
            return False
        inner = source.this
        if isinstance(inner, exp.Subquery) and isinstance(inner.this, exp.Select):
            return self.all_of_target(column, inner.this)
        theirs = self._fields(output) if isinstance(output, exp.Column) else ()
        return len(theirs) == 1 and bool(theirs[0].sources) and theirs[0].sources == mine[0].sources
