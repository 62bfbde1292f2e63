"""INSERT, REPLACE, UPDATE and DELETE into the ledger. Called by `statements`.

What is written, what the values come from, and whether a write spares any row. Shapes are those of
sqlglot's Insert, Update and Delete; names are looked up by `reading`.
"""

from collections.abc import Iterable, Iterator, Sequence

from sqlglot import exp

from appliance.model.facts import Action, Flag
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.predicates import always_true
from appliance.sql.mysql.queries import note_tree
from appliance.sql.mysql.reading import Place, Result
from appliance.sql.mysql.scope import Field, Item, Level, folded, surely_equal

SPARED_BY_LIMIT = 100
"""A write with a constant LIMIT up to this is no write over the whole table."""

_INSERT_PARTS = frozenset(
    ["this", "expression", "with_", "conflict", "returning", "ignore", "replaces", "modifiers",
     "partition"]
)  # fmt: skip
_UPDATE_PARTS = frozenset(
    ["this", "expressions", "where", "order", "limit", "with_", "modifiers", "returning"]
)
_DELETE_PARTS = frozenset(
    ["this", "tables", "using", "where", "order", "limit", "with_", "modifiers", "returning"]
)


def read_write(ledger: Ledger, tree: exp.Expr) -> Result:
    """A tree that is an INSERT, REPLACE, UPDATE or DELETE; the columns of its RETURNING."""
    ledger.flags.add(Flag.WRITES)
    ledger.writes += 1
    if isinstance(tree, exp.Insert):
        result = _insert(ledger, tree)
    elif isinstance(tree, exp.Update):
        result = _update(ledger, tree)
    elif isinstance(tree, exp.Delete):
        result = _delete(ledger, tree)
    else:
        ledger.not_seen(f"{tree.key} is not understood")
        return Result((), False)
    note_tree(ledger, tree)
    return result


def _require_parts(ledger: Ledger, tree: exp.Expr, known: Iterable[str]) -> None:
    for part, value in tree.args.items():
        if value and part not in known:
            ledger.puzzle(f"{part.strip('_')} in {tree.key} is not understood")


def _begin(ledger: Ledger, tree: exp.Expr) -> Level:
    return Level(ledger.reader._with(tree, None))


# INSERT and REPLACE.


def _insert(ledger: Ledger, tree: exp.Insert) -> Result:
    _require_parts(ledger, tree, _INSERT_PARTS)
    ledger.act(Action.INSERT)
    replaces = bool(tree.args.get("replaces"))
    if replaces:
        ledger.act(Action.DELETE)  # of the rows whose keys it takes
    target = tree.this
    named = [] if not isinstance(target, exp.Schema) else [c.name for c in target.expressions]
    table = target.this if isinstance(target, exp.Schema) else target
    level = _begin(ledger, tree)
    item = _target(ledger, table, level)
    if item is None:
        return Result((), False)
    columns = named or [field.name for field in item.starred]
    for name in named:
        if item.known and item.columns.get(name) is None:
            ledger.puzzle(f"column {name} is not known")
    _written(ledger, table, item, Action.INSERT, columns)
    if replaces:
        _written(ledger, table, item, Action.DELETE, ())
    _values(ledger, tree, level, item)
    own = Level(level.parent)
    own.add(item)
    conflict = tree.args.get("conflict")
    if conflict is not None:
        _on_duplicate(ledger, conflict, tree, table, item, own)
    return _returning(ledger, tree, own)


def _values(ledger: Ledger, tree: exp.Insert, level: Level, item: Item) -> None:
    source = tree.args.get("expression")
    if source is None:
        return
    if isinstance(source, exp.Values):
        within = Level(level.parent)  # a value may name columns that were given one before it
        within.add(item)
        for row in source.expressions:
            for value in row.expressions if isinstance(row, exp.Tuple) else [row]:
                if not _is_default(value):
                    ledger.reader.expression(value, within)
        return
    result = ledger.reader.query(source, level)
    ledger.reader.consume(result.fields)
    if not result.known:
        ledger.puzzle("what is inserted is not known")


def _on_duplicate(
    ledger: Ledger,
    conflict: exp.Expr,
    tree: exp.Insert,
    table: exp.Table,
    item: Item,
    level: Level,
) -> None:
    """ON DUPLICATE KEY UPDATE: sees the row that is there, VALUES(column), and the new row by its
    alias."""
    _require_parts(ledger, conflict, {"duplicate", "expressions", "action"})
    source = tree.args.get("expression")
    alias = None if source is None else source.args.get("alias")
    if isinstance(source, exp.Values) and alias is not None:
        renamed = [i.name for i in alias.args.get("columns") or ()]
        names = renamed or [field.name for field in item.fields]
        level.items.append(Item(alias.name, [Field(name) for name in names]))
    ledger.act(Action.UPDATE)
    written = []
    for assignment in conflict.expressions:
        left = assignment.this
        if not isinstance(assignment, exp.EQ) or not isinstance(left, exp.Column):
            ledger.puzzle("an assignment is not understood")
            continue
        written.append(left.name)
        if item.known and item.columns.get(left.name) is None:
            ledger.puzzle(f"column {left.name} is not known")
        if not _is_default(assignment.expression):
            ledger.reader.expression(assignment.expression, level)
    _written(ledger, table, item, Action.UPDATE, written)
    _note_targets(ledger, conflict, [item])


# UPDATE.


def _update(ledger: Ledger, tree: exp.Update) -> Result:
    _require_parts(ledger, tree, _UPDATE_PARTS)
    ledger.act(Action.UPDATE)
    level = _begin(ledger, tree)
    tables = _sources(ledger, [tree.this], level)
    before = _shape_of_guard(tree, [tree.this])
    assigned: dict[int, tuple[Item, list[str]]] = {}
    for assignment in tree.expressions:
        left = assignment.this
        if not isinstance(assignment, exp.EQ) or not isinstance(left, exp.Column):
            ledger.puzzle("an assignment is not understood")
            continue
        item = _item_of(ledger, left, level)
        if item is None:
            ledger.puzzle(f"column {left.name} is not known")
        else:
            assigned.setdefault(id(item), (item, []))[1].append(left.name)
        if not _is_default(assignment.expression):
            ledger.reader.expression(assignment.expression, level)
    for item, columns in assigned.values():
        _write_item(ledger, item, tables, Action.UPDATE, columns)
    targets = [item for item, _ in assigned.values()]
    _finish(ledger, tree, level, targets, before)
    if not assigned:
        _unknown_target(ledger, tables, Action.UPDATE)
    return _returning(ledger, tree, level)


# DELETE.


def _delete(ledger: Ledger, tree: exp.Delete) -> Result:
    _require_parts(ledger, tree, _DELETE_PARTS)
    ledger.act(Action.DELETE)
    level = _begin(ledger, tree)
    using = tree.args.get("using") or []
    several = tree.args.get("tables") or ([tree.this] if using else [])
    sources = list(using) or [tree.this]
    tables = _sources(ledger, sources, level)
    if several:
        targets = [item for t in several if (item := _named_target(ledger, t, level)) is not None]
    else:
        targets = list(level.items[:1])
    for item in targets:
        _write_item(ledger, item, tables, Action.DELETE, ())
    _finish(ledger, tree, level, targets, _shape_of_guard(tree, sources))
    if not targets:
        _unknown_target(ledger, tables, Action.DELETE)
    return _returning(ledger, tree, level)


def _named_target(ledger: Ledger, table: exp.Expr, level: Level) -> Item | None:
    """A table named before FROM or USING: it is one of the items there, by its alias."""
    database = table.db if isinstance(table, exp.Table) else ""
    ledger.reader.commons.add(id(table))  # a name of an item, not of a relation
    for item in level.items:
        if surely_equal(item.alias, table.name) and (
            not database or surely_equal(item.database, database)
        ):
            return item
    ledger.puzzle(f"{table.name} is not one of the tables named")
    return None


# What they share.


def _target(ledger: Ledger, table: exp.Expr, level: Level) -> Item | None:
    if not isinstance(table, exp.Table) or not isinstance(table.this, exp.Identifier):
        ledger.not_seen("what is written is not understood")
        return None
    return ledger.reader.relation(table, level, written=True)


def _sources(ledger: Ledger, nodes: Sequence[exp.Expr], level: Level) -> list[exp.Table]:
    """Reads what stands in FROM; gives its tables."""
    for node in nodes:
        ledger.reader._source(node, level)
    return [table for node in nodes for table in _tables(node)]


def _tables(node: exp.Expr) -> Iterator[exp.Table]:
    """The tables of FROM itself, those in subqueries left out."""
    if isinstance(node, exp.Table):
        yield node
    elif isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
        yield from _tables(node.this)
    for join in node.args.get("joins") or ():
        yield from _tables(join.this)


def _item_of(ledger: Ledger, column: exp.Column, level: Level) -> Item | None:
    """The item whose column is assigned."""
    if column.table:
        return ledger.reader._item(column.table, column.db, level)
    found = [item for item in level.items if item.columns.get(column.name) is not None]
    unknown = [item for item in level.items if not item.known]
    if len(found) == 1 and not unknown:
        return found[0]
    return level.items[0] if len(level.items) == 1 else None


def _write_item(
    ledger: Ledger, item: Item, tables: Sequence[exp.Table], action: Action, columns: Sequence[str]
) -> None:
    """Notes that rows of an item change, and in the reader which table that is."""
    for table in tables:
        if folded(table.alias or table.name) != folded(item.alias):
            continue
        place = ledger.reader.places.get(id(table))
        if place is not None:
            ledger.reader.places[id(table)] = Place(place.oid, place.alias, True)
        _written(ledger, table, item, action, columns)
        return
    ledger.puzzle("what is written is no table")


def _written(
    ledger: Ledger, table: exp.Table, item: Item, action: Action, columns: Sequence[str]
) -> None:
    known = [_catalog_name(item, name) for name in columns]
    relation = ledger.use(action, table.db, table.name, known)
    if relation is None:
        return
    ledger.write_beneath(action, relation, known)
    ledger.note_written(relation)


def _catalog_name(item: Item, name: str) -> str:
    field = item.columns.get(name)
    return field.name if field is not None and field.name else name


def _unknown_target(ledger: Ledger, tables: Sequence[exp.Table], action: Action) -> None:
    for table in tables:
        ledger.use(action, table.db, table.name)


def _finish(
    ledger: Ledger, tree: exp.Expr, level: Level, targets: Sequence[Item], guard: "Guard"
) -> None:
    where = tree.args.get("where")
    if where is not None:
        ledger.reader.expression(where, level)
    if tree.args.get("order") is not None or tree.args.get("limit") is not None:
        ledger.reader._sorted(tree, level, Result(()))
    skipped = {id(a.this) for a in tree.expressions} if isinstance(tree, exp.Update) else set()
    _note_targets(ledger, tree, targets, skipped)
    _guard(ledger, guard, targets)


def _note_targets(
    ledger: Ledger, tree: exp.Expr, targets: Sequence[Item], skipped: Iterable[int] = ()
) -> None:
    """References to columns of what is written, where they are read."""
    fields = {id(field): field for item in targets for field in item.fields}
    for column in tree.find_all(exp.Column):
        if id(column) in skipped:
            continue
        for field in ledger.reader.columns.get(id(column), ()):
            if id(field) in fields:
                ledger.reader.targets[id(column)] = field


def _returning(ledger: Ledger, tree: exp.Expr, level: Level) -> Result:
    returning = tree.args.get("returning")
    if returning is None:
        return Result(())
    if returning.args.get("into"):
        ledger.puzzle("RETURNING ... INTO is not understood")
    found: list[Field] = []
    known = True
    for node in returning.expressions:
        starred = ledger.reader.starred(node, level)
        if starred is None:
            found.append(ledger.reader.projection(node, level))
        else:
            found += starred.fields
            known = known and starred.known
    _note_targets(ledger, returning, level.items)
    return Result(tuple(found), known)


def _is_default(node: exp.Expr) -> bool:
    """DEFAULT as a value: a reserved word, so no column of that name."""
    if not isinstance(node, exp.Column) or node.table or not isinstance(node.this, exp.Identifier):
        return False
    return node.name.upper() == "DEFAULT" and not node.this.args.get("quoted")


# Whether a write spares any row.


class Guard:
    """The conditions under which a row is written."""

    __slots__ = ("conditions", "limited")

    def __init__(self, conditions: Sequence[exp.Expr], limited: bool) -> None:
        self.conditions = conditions
        self.limited = limited


def _shape_of_guard(tree: exp.Expr, sources: Sequence[exp.Expr]) -> Guard:
    where = tree.args.get("where")
    conditions = [] if where is None else [where.this]
    for source in sources:
        conditions += _joined_on(source)
    return Guard(conditions, _is_limited(tree.args.get("limit")))


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


def _guard(ledger: Ledger, guard: Guard, targets: Sequence[Item]) -> None:
    if guard.limited:
        return
    if not guard.conditions:
        ledger.flags.add(Flag.NO_WHERE)
        return
    rows = _Rows(ledger, targets)
    if all(always_true(condition, rows) for condition in guard.conditions) or not any(
        _names_target(condition, rows) for condition in guard.conditions
    ):
        ledger.flags.add(Flag.TRIVIAL_WHERE)


def _names_target(node: exp.Expr, rows: "_Rows") -> bool:
    return any(rows.of_target(column) for column in node.find_all(exp.Column))


class _Rows:
    """`predicates.Rows` of one statement."""

    def __init__(self, ledger: Ledger, targets: Sequence[Item]) -> None:
        self.ledger = ledger
        self.fields = {id(field) for item in targets for field in item.fields}
        self.aliases = {folded(item.alias) for item in targets}
        self.unknown = not targets or any(not item.known for item in targets)

    def _fields(self, column: exp.Column) -> tuple[Field, ...]:
        return self.ledger.reader.columns.get(id(column), ())

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
        fields = self._fields(column)
        lineage = self.ledger.lineage
        if lineage is None or len(fields) != 1 or id(fields[0]) not in self.fields:
            return None
        return fields[0].origin

    def never_null(self, column: exp.Column) -> bool:
        key = self._column(column)
        if key is None or self.ledger.lineage is None:
            return False
        relation = self.ledger.lineage.catalog.relations[key[0]]
        return any(c.attnum == key[1] and c.not_null for c in relation.columns)

    def is_key(self, column: exp.Column) -> bool:
        key = self._column(column)
        if key is None or self.ledger.lineage is None:
            return False
        return key[1] in self.ledger.lineage.catalog.primary_keys.get(key[0], ())

    def of_target(self, column: exp.Column) -> bool:
        fields = self._fields(column)
        if fields:
            return any(id(field) in self.fields for field in fields)
        return self.unknown or folded(column.table) in self.aliases or not column.table

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
