"""What the names in one MySQL statement mean: relations, columns, outputs with lineage, and every
column that is used in another way than as a plain output.

`Reader` walks one tree of `tree.statement_of`. The facts (actions, functions, guards) are told from
its ledger, `lineage` reads views with it, `rewrite` finds in it what stands for a relation. Rule: a
node, an argument of a node or a name that is not known here is a puzzle, and a statement with
puzzles is not understood.

What the server names in a column definition was measured (MariaDB 10.11): for a column of a table
in the same query (database, table, column); through a view or a derived table that was merged, the
*alias* in place of the table, which may be any name; without a database for everything computed or
materialised. So only a direct column of a table has an `origin`; the others have what may be
reported as `loose`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from sqlglot import exp

from appliance.model.catalog import ColumnKey, Relation, SessionSettings
from appliance.sql.mysql.names import Lineage, find_relation, same_relation_name
from appliance.sql.mysql.nodes import EXPRESSIONS, LEAVES, QUERY_PARTS, SET_PARTS
from appliance.sql.mysql.scope import (
    UNSURE,
    Common,
    Field,
    Item,
    Level,
    common_names,
    folded,
    seen_through,
    sources_of,
    surely_equal,
)
from appliance.sql.mysql.words import is_mariadb

RECURSION_ROUNDS_MAX = 8


class Place(NamedTuple):
    """An `exp.Table` that stands for a relation of the catalog."""

    oid: int
    alias: str
    """What its columns are qualified with."""
    written: bool = False
    """Whether it is the target of a write: it can not be replaced by a query."""


class Result(NamedTuple):
    """The columns of a query."""

    fields: tuple[Field, ...]
    known: bool = True


UNKNOWN_RESULT = Result((), False)


class Reader:
    """The ledger of one statement (or view). Nodes are keyed by id(): keep the tree."""

    def __init__(self, lineage: Lineage | None, settings: SessionSettings) -> None:
        self.lineage = lineage
        self.settings = settings
        self.places: dict[int, Place] = {}
        """id(exp.Table) -> relation."""
        self.commons: set[int] = set()
        """id(exp.Table) that stands for a WITH query."""
        self.columns: dict[int, tuple[Field, ...]] = {}
        """id(exp.Column) -> what it means; several where an alias and a column are in reach."""
        self.holders: dict[int, Item] = {}
        """id(exp.Column) -> the item of FROM that it was found in; not of merged columns."""
        self.assigned: set[int] = set()
        """id(exp.Column) of columns that are given a value."""
        self.merged_columns: set[ColumnKey] = set()
        """Base columns that USING and NATURAL JOIN compare."""
        self.named_targets: set[int] = set()
        """id(exp.Table) that only names an item again: DELETE a FROM t AS a."""
        self.stars: dict[int, tuple[Field, ...]] = {}
        """id() of a star in a select list -> its columns."""
        self.consumed: set[ColumnKey] = set()
        """Base columns (and those of views) used in any way but as a plain output."""
        self.referred: set[ColumnKey] = set()
        """Columns of relations, views included, that are referred to in any way."""
        self.unresolved: dict[str, None] = {}
        self.functions_below: dict[str, None] = {}
        """Calls in the definitions of views that it reads."""
        self.rests_on: set[int] = set()
        """OIDs of the relations it names."""

    # The ledger.

    def puzzle(self, why: str) -> None:
        """Something is not understood; `why` is for a person and holds no literal."""
        self.unresolved[why] = None

    def consume(self, fields: Iterable[Field]) -> None:
        for field in fields:
            self.consumed.update(field.sources)

    @contextmanager
    def capture(self) -> Iterator[set[ColumnKey]]:
        """Collects what is consumed inside, apart from the statement's own."""
        outside, inside = self.consumed, set[ColumnKey]()
        self.consumed = inside
        try:
            yield inside
        finally:
            self.consumed = outside

    # Queries.

    def query(self, node: exp.Expr, outer: Level | None = None) -> Result:
        """A SELECT, a set operation, VALUES, or one of these in parentheses."""
        if isinstance(node, exp.Select):
            return self._select(node, outer)
        if isinstance(node, exp.SetOperation):
            return self._set_operation(node, outer)
        if isinstance(node, exp.Subquery):
            return self._parentheses(node, outer)
        if isinstance(node, exp.Values):
            return self._values(node, outer or Level())
        self.puzzle(f"a query of the kind {node.key} is not understood")
        return UNKNOWN_RESULT

    def _parentheses(self, node: exp.Subquery, outer: Level | None) -> Result:
        self.require_parts(node, SET_PARTS | {"this", "alias"})
        level = self.with_queries(node, outer)
        result = self.query(node.this, level)
        self._sorted(node, self._over(result, level))
        return result

    def _set_operation(self, node: exp.SetOperation, outer: Level | None) -> Result:
        self.require_parts(node, SET_PARTS | {"this", "expression", "distinct"})
        level = self.with_queries(node, outer)
        one, other = self.query(node.this, level), self.query(node.expression, level)
        result = self._united(one, other)
        if node.args.get("distinct") or not isinstance(node, exp.Union):
            self.consume((*one.fields, *other.fields))
        self._sorted(node, self._over(result, level))
        return result

    def _united(self, one: Result, other: Result) -> Result:
        if not (one.known and other.known) or len(one.fields) != len(other.fields):
            self.puzzle("the columns of a set operation can not be told")
            self.consume((*one.fields, *other.fields))
            return UNKNOWN_RESULT
        pairs = zip(one.fields, other.fields, strict=True)
        return Result(tuple(Field(a.name, None, sources_of((a, b))) for a, b in pairs))

    def _over(self, result: Result, level: Level | None) -> Level:
        """What ORDER BY of a set operation or of parentheses sees."""
        made = Level(level)
        made.items.append(Item("", result.fields, known=result.known))
        return made

    def _values(self, node: exp.Values, level: Level) -> Result:
        self.require_parts(node, {"expressions", "alias"})
        catalog = None if self.lineage is None else self.lineage.catalog
        # MySQL numbers the columns, MariaDB names them by the text of the first row.
        numbered = catalog is not None and not is_mariadb(catalog.server_version_num)
        width = 0
        with self.capture() as used:
            for row in node.expressions:
                self.expression(row, level)
                width = max(width, _width(row))
        sources = tuple(sorted(used))
        names = [f"column_{n}" if numbered else "" for n in range(width)]
        return Result(tuple(Field(name, None, sources) for name in names))

    def _select(self, node: exp.Select, outer: Level | None) -> Result:
        self.require_parts(node, QUERY_PARTS)
        level = self.with_queries(node, outer)
        level = Level(level)
        self._from(node, level)
        self._clause(node, "where", level)
        level.aliases = []
        result = self.projections(node, level)
        grouped = node.args.get("group")
        if grouped is not None:
            self._grouped(grouped, level, result)
        self._clause(node, "having", level)
        for window in node.args.get("windows") or ():
            self.expression(window, level)
        self._sorted(node, level, result)
        if node.args.get("distinct") is not None:
            self.consume(result.fields)
        return result

    def _clause(self, node: exp.Expr, part: str, level: Level) -> None:
        clause = node.args.get(part)
        if clause is not None:
            self.expression(clause, level)

    def _sorted(self, node: exp.Expr, level: Level, result: Result | None = None) -> None:
        """ORDER BY and LIMIT. A whole number means an output."""
        order = node.args.get("order")
        for ordered in () if order is None else order.expressions:
            self._by(ordered, level, result or Result(tuple(level.items[0].fields)))
        for part in ("limit", "offset"):
            self._clause(node, part, level)

    def _by(self, node: exp.Expr, level: Level, result: Result) -> None:
        inner = node.this if isinstance(node, exp.Ordered) else node
        if isinstance(inner, exp.Literal) and not inner.is_string:
            if not inner.this.isdigit() or not result.known:
                self.puzzle("a position in ORDER BY or GROUP BY is not understood")
            elif 1 <= int(inner.this) <= len(result.fields):
                self.consume((result.fields[int(inner.this) - 1],))
            return
        self.expression(inner, level)

    def _grouped(self, node: exp.Expr, level: Level, result: Result) -> None:
        self.require_parts(node, {"expressions", "rollup"})
        for each in node.expressions:
            self._by(each, level, result)

    # WITH.

    def with_queries(self, node: exp.Expr, outer: Level | None) -> Level | None:
        """The level in which the WITH queries of `node` are in reach."""
        clause = node.args.get("with_")
        if clause is None:
            return outer
        self.require_parts(clause, {"expressions", "recursive"})
        level = Level(outer)
        if clause.args.get("recursive"):
            self._require_in_order(clause.expressions)
        for cte in clause.expressions:
            common = self._common(cte, level, bool(clause.args.get("recursive")))
            level.commons = (*level.commons, common)
        return level

    def _require_in_order(self, ctes: Sequence[exp.Expr]) -> None:
        """Of WITH RECURSIVE, a query sees those behind it too (measured: MariaDB 10.11), and by
        their names hides relations."""
        for number, cte in enumerate(ctes):
            later = {folded(each.args["alias"].name) for each in ctes[number + 1 :]}
            for table in cte.find_all(exp.Table):
                if not table.db and folded(table.name) in later:
                    self.puzzle(f"{table.name} may be a WITH query or a relation")

    def _common(self, cte: exp.Expr, level: Level, recursive: bool) -> Common:
        self.require_parts(cte, {"this", "alias"})
        if not recursive or not isinstance(cte.this, exp.SetOperation):
            return self._named(cte, self.query(cte.this, level))
        anchor = cte.this.this
        while isinstance(anchor, exp.SetOperation):
            anchor = anchor.this
        inside = Level(level)
        inside.commons = level.commons
        common = self._named(cte, self.query(anchor, inside))
        for _ in range(RECURSION_ROUNDS_MAX):
            inside.commons = (*level.commons, common)
            again = self._named(cte, self.query(cte.this, inside))
            if _same_sources(common, again):
                return again
            common = again
        self.puzzle("a recursive query is not understood")
        return Common(common.name, common.fields, False)

    def _named(self, cte: exp.Expr, result: Result) -> Common:
        alias = cte.args["alias"]
        fields = self._renamed(result.fields, alias.args.get("columns"))
        return Common(alias.name, [seen_through(field) for field in fields], result.known)

    def _renamed(self, fields: Sequence[Field], names: Sequence[exp.Expr] | None) -> list[Field]:
        if not names:
            return list(fields)
        if len(names) != len(fields):
            self.puzzle("a list of column names is not as long as its query is wide")
            return list(fields)
        return [field.renamed(n.name) for field, n in zip(fields, names, strict=True)]

    # FROM.

    def _from(self, node: exp.Select, level: Level) -> None:
        first = node.args.get("from_")
        if first is not None:
            self.require_parts(first, {"this"})
            self.source(first.this, level)
        self.joins(node.args.get("joins") or (), level)
        if node.args.get("laterals"):
            self.puzzle("LATERAL VIEW is not understood")

    def source(self, node: exp.Expr, level: Level) -> None:
        """One operand of FROM, joins in its parentheses included."""
        if isinstance(node, exp.Table):
            item = self.relation(node, level)
            if item is not None:
                level.add(item)
            self.joins(node.args.get("joins") or (), level, joined_with=1)
        elif isinstance(node, exp.Subquery) and isinstance(node.this, exp.Table):
            self.require_parts(node, {"this", "joins"})
            self._nested(node, level)
        elif isinstance(node, exp.Subquery):
            self.require_parts(node, SET_PARTS | {"this", "alias", "joins"})
            level.add(self._derived(node, level.parent))
            self.joins(node.args.get("joins") or (), level, joined_with=1)
        elif isinstance(node, exp.Lateral):
            self.require_parts(node, {"this", "alias"})
            level.add(self._aliased(node, self.query(node.this, level)))
        elif isinstance(node, exp.Values):
            level.add(self._aliased(node, self._values(node, level)))
        else:
            self.puzzle(f"{node.key} in FROM is not understood")

    def _nested(self, node: exp.Subquery, level: Level) -> None:
        """`(a JOIN b ...)`: its items are found as if there were no parentheses."""
        inside = Level(level.parent)
        self.source(node.this, inside)
        level.absorb(inside)
        self.joins(node.args.get("joins") or (), level, joined_with=len(inside.items))

    def _derived(self, node: exp.Subquery, outer: Level | None) -> Item:
        inner = self.with_queries(node, outer)
        result = self.query(node.this, inner)
        self._sorted(node, self._over(result, inner))
        return self._aliased(node, result)

    def _aliased(self, node: exp.Expr, result: Result) -> Item:
        alias = node.args.get("alias")
        name = "" if alias is None else alias.name
        names = None if alias is None else alias.args.get("columns")
        fields = [
            self._reported(seen_through(f), name) for f in self._renamed(result.fields, names)
        ]
        return Item(name, fields, known=result.known)

    def joins(self, joins: Sequence[exp.Expr], level: Level, joined_with: int = 0) -> None:
        """Each join in turn; a comma starts a group of its own, which ON and USING look into.
        `joined_with`: how many of the last items the first join belongs to; 0 = all."""
        start = len(level.items) - joined_with if joined_with else 0
        for join in joins:
            self.require_parts(
                join, {"this", "on", "using", "side", "kind", "method", "expressions"}
            )
            kind, method = join.args.get("kind"), join.args.get("method")
            on, using = join.args.get("on"), join.args.get("using")
            if method not in (None, "NATURAL") or kind not in _JOIN_KINDS:
                self.puzzle("a kind of join is not understood")
            if _is_comma(join):
                start = len(level.items)
            before = len(level.items)
            starred = list(level.starred)
            self.source(join.this, level)
            if using or method == "NATURAL":
                self._merge(join, level, start, before, starred)
            if on is not None:
                self.expression(on, level.part(start))

    def _merge(
        self, join: exp.Expr, level: Level, start: int, before: int, starred: list[Field]
    ) -> None:
        """USING and NATURAL: columns of one name on both sides become one."""
        left, right = level.part(start, before), level.part(before)
        right_starred = level.starred[len(starred) :]
        using = join.args.get("using")
        names = common_names(starred, right_starred) if using is None else [u.name for u in using]
        merged: list[Field] = []
        for name in names:
            one, other = left.field(name), right.field(name)
            if one is None or other is None or UNSURE in (one, other):
                self.puzzle(f"column {name} of a join is not known")
                continue
            self.consume((one, other))
            self._refer((one, other))
            self.merged_columns.update((*one.sources, *other.sources))
            keys = tuple(k for f in (one, other) for k in (f.origin, *f.loose) if k is not None)
            merged.append(Field(one.name, None, sources_of((one, other)), False, keys))
        if join.args.get("side") == "RIGHT":
            level.star_unsure = True  # which side's columns come first is the server's matter
        level.merge(merged, starred, right_starred)

    # Relations.

    def relation(self, node: exp.Table, level: Level, written: bool = False) -> Item | None:
        """What a table's name stands for: a WITH query, a relation, or something unknown. None
        for DUAL."""
        self.require_parts(node, _TABLE_PARTS)
        alias = node.args.get("alias")
        if alias is not None and alias.args.get("columns"):
            self.puzzle("names for the columns of a relation are not understood")
        if not isinstance(node.this, exp.Identifier):
            return self._table_function(node, level)
        name, database = node.name, node.db
        alias = node.alias or name
        if not database and name.upper() == "DUAL" and not node.this.args.get("quoted"):
            return None
        if not database and not written:
            common = self._common_named(name, level)
            if common is not None:
                self.commons.add(id(node))
                fields = [self._reported(field, alias) for field in common.fields]
                return Item(alias, fields, known=common.known)
        return self._catalogued(node, database, name, alias, written)

    def _catalogued(
        self, node: exp.Table, database: str, name: str, alias: str, written: bool
    ) -> Item:
        found = find_relation(self.lineage, self.settings, database, name)
        if found.relation is None or self.lineage is None:
            self.puzzle(found.why)
            return Item(alias, (), database=found.database, known=False)
        relation = found.relation
        self.places[id(node)] = Place(relation.oid, alias, written)
        self.rests_on.add(relation.oid)
        shape = self.lineage.shape(relation.oid)
        self.consumed |= shape.consumed
        self.functions_below.update(dict.fromkeys(shape.functions))
        for why in shape.unresolved:
            self.puzzle(f"{relation.schema}.{relation.name}: {why}")
        self._hinted(node, relation)
        self._at_time(node)
        database = relation.schema  # `database.alias.column` is found, too (measured)
        if relation.kind != "v":
            return Item(
                alias,
                shape.fields,
                database=database,
                oid=relation.oid,
                starred=shape.starred,
                place=id(node),
            )
        fields = [self._reported(field, alias) for field in shape.fields]
        return Item(alias, fields, database=database, oid=relation.oid, place=id(node))

    def _at_time(self, node: exp.Table) -> None:
        """FOR SYSTEM_TIME: rows that were there, of the same columns."""
        version = node.args.get("version")
        if version is None:
            return
        self.require_parts(version, {"this", "kind", "expression"})
        when = version.args.get("expression")
        if when is not None:
            self.expression(when, Level())

    def _hinted(self, node: exp.Table, relation: Relation) -> None:
        """The order in which an index gives rows tells of the columns in it."""
        if self.lineage is None:
            return
        indexes = self.lineage.catalog.indexes.get(relation.oid, {})
        named = {
            folded(name.name) for hint in node.args.get("hints") or () for name in hint.expressions
        }
        for name, columns in indexes.items():
            if folded(name) not in named:
                continue
            every = tuple(column.attnum for column in relation.columns)
            for attnum in every if 0 in columns else columns:
                self.consumed.add((relation.oid, attnum))

    def _common_named(self, name: str, level: Level) -> Common | None:
        for common in reversed(level.commons):
            if common.name == name:
                return common
            if folded(common.name) == folded(name):
                self.puzzle(f"{name} may be a WITH query or a relation")
                return Common(name, (), False)
        return None

    def _table_function(self, node: exp.Table, level: Level) -> Item | None:
        if not isinstance(node.this, exp.JSONTable):
            self.puzzle("a table function is not understood")
            return None
        with self.capture() as used:
            self.expression(node.this.this, level)
        sources = tuple(sorted(used))
        names = [c.name for c in node.this.find_all(exp.JSONColumnDef) if c.args.get("this")]
        return Item(node.alias, [Field(name, None, sources) for name in names])

    def _reported(self, field: Field, alias: str) -> Field:
        """A column of a view, a derived table or a WITH query: the server may name its alias as if
        it were a table, or the column it comes from."""
        loose = dict.fromkeys(field.loose)
        if field.plain:
            loose.update(dict.fromkeys(field.sources))
        relation = None
        if self.lineage is not None and self.settings.database:
            relation = self.lineage.relation_named(self.settings.database, alias)
        column = None if relation is None else relation.column(field.name)
        if relation is not None and column is not None:
            loose[relation.oid, column.attnum] = None
        return Field(field.name, None, field.sources, field.plain, tuple(loose))

    # Select lists.

    def projections(self, node: exp.Expr, level: Level) -> Result:
        fields: list[Field] = []
        known = True
        for projection in node.expressions:
            starred = self.starred(projection, level)
            if starred is not None:
                fields.extend(starred.fields)
                known = known and starred.known
                continue
            field = self.projection(projection, level)
            fields.append(field)
            if level.aliases is not None:
                level.aliases.append(field)
        return Result(tuple(fields), known)

    def projection(self, node: exp.Expr, level: Level) -> Field:
        """One column of a select list or of RETURNING. What is computed and has no alias is named
        by its text, which nothing here knows: its name is ''."""
        name, inner = "", node
        if isinstance(node, exp.Alias):
            self.require_parts(node, {"this", "alias"})
            name, inner = node.alias, node.this
        while isinstance(inner, exp.Paren):
            inner = inner.this
        if not name and isinstance(inner, exp.Column):
            name = inner.name
        if isinstance(inner, exp.Column):
            found = self.resolve(inner, level, aliases=False)
            if len(found) == 1:
                return found[0].renamed(name)
        with self.capture() as used:
            self.expression(inner, level)
        return Field(name, None, tuple(sorted(used)))

    def starred(self, node: exp.Expr, level: Level) -> Result | None:
        """The columns of `*`, `item.*`, `database.item.*`; None for anything else."""
        if isinstance(node, exp.Star):
            self.require_parts(node, set())
            return self._star(node, level.starred, level, all(i.known for i in level.items))
        if not isinstance(node, exp.Column) or not isinstance(node.this, exp.Star):
            return None
        item = self._item(node.table, node.db, level)
        if item is None:
            self.puzzle(f"{node.table}.* is not known")
            return UNKNOWN_RESULT
        return self._star(node, item.starred, None, item.known)

    def _star(
        self, node: exp.Expr, fields: Sequence[Field], level: Level | None, known: bool
    ) -> Result:
        if not known or (level is not None and level.star_unsure):
            self.puzzle("the columns of a star can not be told")
            self.consume(fields)
            return UNKNOWN_RESULT
        self.stars[id(node)] = tuple(fields)
        self._refer(fields)
        return Result(tuple(fields))

    # Expressions.

    def expression(self, node: exp.Expr, level: Level) -> None:
        """Everything in it is used: what it is computed from is consumed."""
        if isinstance(node, exp.Column):
            self.consume(self.resolve(node, level))
        elif isinstance(node, (exp.Select, exp.SetOperation)):
            self.consume(self.query(node, level).fields)
        elif isinstance(node, exp.Subquery):
            self.require_parts(node, SET_PARTS | {"this"})
            self.consume(self.query(node, level).fields)
        elif isinstance(node, exp.Star):
            if not isinstance(node.parent, exp.Anonymous) or node.parent.name.upper() != "COUNT":
                self.puzzle("a star in an expression is not understood")
        elif isinstance(node, exp.Identifier):
            if not _is_harmless_name(node):
                self.puzzle("a name in an expression is not understood")
        elif isinstance(node, LEAVES):
            return
        elif type(node) in EXPRESSIONS:
            for inner in node.iter_expressions():
                self.expression(inner, level)
        else:
            self.puzzle(f"{node.key} is not understood")
            for inner in node.iter_expressions():
                self.expression(inner, level)

    def resolve(self, node: exp.Column, level: Level, aliases: bool = True) -> tuple[Field, ...]:
        """What a reference may mean; () and a puzzle when that is not known."""
        if not isinstance(node.this, exp.Identifier) or node.args.get("catalog"):
            self.puzzle("a reference is not understood")
            return ()
        name = node.name
        found = self._qualified(node, level) if node.table else self._bare(name, level, aliases)
        if not found or UNSURE in found:
            self.puzzle(f"column {'.'.join(p.name for p in node.parts)} is not known")
            self._consume_all(level)
            return ()
        self.columns[id(node)] = found
        self._refer(found)
        if not node.table:
            self._hold(node, found, level)
        return found

    def _hold(self, node: exp.Column, found: tuple[Field, ...], level: Level) -> None:
        current: Level | None = level
        while current is not None:
            for item in current.items:
                if any(field is each for each in found for field in item.fields):
                    self.holders[id(node)] = item
                    return
            current = current.parent

    def _refer(self, fields: Iterable[Field]) -> None:
        for field in fields:
            self.referred.update(field.sources)
            if field.origin is not None:
                self.referred.add(field.origin)

    def _consume_all(self, level: Level | None) -> None:
        while level is not None:
            for item in level.items:
                self.consume(item.fields)
            level = level.parent

    def _qualified(self, node: exp.Column, level: Level) -> tuple[Field, ...]:
        item = self._item(node.table, node.db, level)
        field = None if item is None else item.columns.get(node.name)
        if item is None or field is None:
            return ()
        self.holders[id(node)] = item
        return (field,)

    def _item(self, alias: str, database: str, level: Level | None) -> Item | None:
        """None when there is none, or which one it is depends on more than letters."""
        folds = self.lineage is not None and self.lineage.folds_relations
        while level is not None:
            near = [
                item
                for item in level.items
                if folded(item.alias) == folded(alias)
                and (not database or folded(item.database) == folded(database))
            ]
            exact = [i for i in near if same_relation_name(i.alias, alias, folds)]
            if database:
                exact = [i for i in exact if same_relation_name(i.database, database, folds)]
            if near:
                return exact[0] if len(near) == len(exact) == 1 else None
            level = level.parent
        return None

    def _bare(self, name: str, level: Level, aliases: bool) -> tuple[Field, ...]:
        current: Level | None = level
        while current is not None:
            found = [current.field(name)]
            if current is not level or aliases:
                found += [f for f in current.aliases or () if folded(f.name) == folded(name)]
            present = [field for field in found if field is not None]
            if any(not surely_equal(f.name, name) for f in present if f is not UNSURE):
                return ()
            if present:
                return tuple(dict.fromkeys(present))
            current = current.parent
        return ()

    def require_parts(self, node: exp.Expr, known: Iterable[str]) -> None:
        """Anything a node has beside what is known of its kind is a puzzle."""
        for part, value in node.args.items():
            if value and part not in known:
                self.puzzle(f"{part.strip('_')} in {node.key} is not understood")


_TABLE_PARTS = frozenset({"this", "db", "alias", "joins", "hints", "partition", "version"})
_JOIN_KINDS = frozenset({None, "", "INNER", "CROSS", "OUTER", "STRAIGHT_JOIN"})


def _width(row: exp.Expr) -> int:
    """Of (1, 2) and of ROW(1, 2)."""
    parts = row.expressions
    if len(parts) == 1 and isinstance(parts[0], exp.Anonymous) and parts[0].name.upper() == "ROW":
        parts = parts[0].expressions
    return len(parts)


def _is_comma(join: exp.Expr) -> bool:
    return not any(join.args.get(part) for part in ("on", "using", "side", "kind", "method"))


def _is_harmless_name(node: exp.Identifier) -> bool:
    """Names that are no columns: of windows, in VALUES(column), of collations and types."""
    parent = node.parent
    if isinstance(parent, exp.Window):
        return node.arg_key in ("alias", "this", "first") or parent.this is node
    if isinstance(parent, exp.Dot):
        return node.arg_key == "this" and isinstance(parent.expression, exp.Anonymous)
    if isinstance(parent, exp.Anonymous):
        return node.arg_key == "this" or parent.name.upper() == "VALUES"
    return isinstance(parent, (exp.Collate, exp.CharacterSet, exp.DataType, exp.Parameter))


def _same_sources(one: Common, other: Common) -> bool:
    if one.known != other.known or len(one.fields) != len(other.fields):
        return False
    pairs = zip(one.fields, other.fields, strict=True)
    return all(a.sources == b.sources for a, b in pairs)
