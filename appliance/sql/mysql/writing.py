"""INSERT, REPLACE, UPDATE and DELETE: what they write, and what the names in them mean.

Called with a `reading.Reader` by the facts (which know of triggers) and by the rewriting. Rules:
what is stored counts as used, whatever it is; a part of a statement that is not known here is a
puzzle.
"""

from typing import NamedTuple

from sqlglot import exp

from appliance.sql.mysql.reading import UNKNOWN_RESULT, Place, Reader, Result
from appliance.sql.mysql.scope import Field, Item, Level, folded
from appliance.sql.mysql.tree import MODIFIERS, REPLACES

NOTHING = Result(())


class Written(NamedTuple):
    """A relation and what is done to its rows."""

    verb: str
    """insert, update, delete"""
    database: str
    name: str
    oid: int
    """0 = not resolved."""
    columns: tuple[str, ...] = ()
    """Of an INSERT and an UPDATE, as the catalog has them; ('*',) for all."""


def written_by(reader: Reader, node: exp.Expr) -> tuple[list[Written], Result]:
    """What a statement writes, and the columns it returns. Anything but a write is a puzzle."""
    if isinstance(node, exp.Insert):
        return _Inserting(reader, node).read()
    if isinstance(node, exp.Update):
        return _update(reader, node)
    if isinstance(node, exp.Delete):
        return _delete(reader, node)
    reader.puzzle(f"{node.key} is not understood")
    return [], UNKNOWN_RESULT


class _Inserting:
    """One INSERT or REPLACE."""

    def __init__(self, reader: Reader, node: exp.Insert) -> None:
        self._reader = reader
        self._node = node
        target: exp.Expr = node.this
        self._listed: tuple[exp.Expr, ...] = ()
        if isinstance(target, exp.Schema):
            target, self._listed = target.this, tuple(target.expressions)
        self._target = target

    def read(self) -> tuple[list[Written], Result]:
        reader, node = self._reader, self._node
        reader.require_parts(node, _INSERT_PARTS)
        if not isinstance(self._target, exp.Table):
            reader.puzzle("what is written is not understood")
            return [], UNKNOWN_RESULT
        level = Level()
        item = reader.relation(self._target, level, written=True)
        if item is None:
            reader.puzzle("what is written is not understood")
            return [], UNKNOWN_RESULT
        level.add(item)
        columns = tuple(self._column(name, item) for name in self._listed) or ("*",)
        made = [_written(reader, "insert", self._target, item, columns)]
        if node.args.get(REPLACES):
            made.append(made[0]._replace(verb="delete", columns=()))
        self._rows(level)
        made += self._conflict(level, item)
        return made, returned(reader, node, level)

    def _column(self, name: exp.Expr, item: Item) -> str:
        field = item.columns.get(name.name) if isinstance(name, exp.Identifier) else None
        if field is None or field.origin is None:
            self._reader.puzzle("a column that is written is not known")
            return name.name
        return field.name

    def _rows(self, level: Level) -> None:
        source = self._node.args.get("expression")
        if isinstance(source, exp.Values):
            self._reader.require_parts(source, {"expressions", "alias"})
            if source.args.get("alias"):
                self._reader.puzzle("a name for the row of VALUES is not understood")
            for row in source.expressions:
                self._reader.expression(row, level)
        elif source is None:
            self._reader.puzzle("what is inserted is not understood")
        else:
            self._reader.consume(self._reader.query(source).fields)

    def _conflict(self, level: Level, item: Item) -> list[Written]:
        clause = self._node.args.get("conflict")
        if clause is None:
            return []
        self._reader.require_parts(clause, {"duplicate", "expressions", "action"})
        names = tuple(
            field.name
            for field, _ in (_assigned(self._reader, each, level) for each in clause.expressions)
        )
        return [_written(self._reader, "update", self._target, item, names)]


def _update(reader: Reader, node: exp.Update) -> tuple[list[Written], Result]:
    reader.require_parts(node, _UPDATE_PARTS)
    level = Level(reader.with_queries(node, None))
    reader.source(node.this, level)
    found: dict[int, tuple[Item, dict[str, None]]] = {}
    for each in node.expressions:
        field, item = _assigned(reader, each, level)
        if item is not None:
            found.setdefault(id(item), (item, {}))[1][field.name] = None
    made = [_target(reader, "update", item, tuple(names)) for item, names in found.values()]
    _filters(reader, node, level)
    return made, returned(reader, node, level)


def _assigned(reader: Reader, node: exp.Expr, level: Level) -> tuple[Field, Item | None]:
    """`column = value`: the column, and what it is a column of."""
    if not isinstance(node, exp.EQ) or not isinstance(node.this, exp.Column):
        reader.puzzle("an assignment is not understood")
        return Field("*"), None
    found = reader.resolve(node.this, level)
    item = reader.holders.get(id(node.this))
    reader.assigned.add(id(node.this))
    value = node.expression
    if not (isinstance(value, exp.Column) and not value.table and _is_default(value)):
        reader.expression(value, level)
    if len(found) != 1 or found[0].origin is None or item is None:
        reader.puzzle("a column that is written is not known")
        return Field("*"), item
    return found[0], item


def _is_default(node: exp.Column) -> bool:
    name = node.this
    return (
        isinstance(name, exp.Identifier)
        and not name.args.get("quoted")
        and (name.name.upper() == "DEFAULT")
    )


def _delete(reader: Reader, node: exp.Delete) -> tuple[list[Written], Result]:
    reader.require_parts(node, _DELETE_PARTS)
    level = Level(reader.with_queries(node, None))
    using, tables = node.args.get("using"), node.args.get("tables")
    if using and len(using) != 1:
        reader.puzzle("USING with several operands is not understood")
    reader.source(using[0] if using else node.this, level)
    named = tables or ([node.this] if using else None)
    if named is None:
        targets = level.items if len(level.items) == 1 else []
    else:
        each = [target for name in named for target in (name, *_beside(name))]
        targets = [item for name in each if (item := _item_named(reader, name, level))]
    if not targets:
        reader.puzzle("what is deleted from is not understood")
    made = [_target(reader, "delete", item, ()) for item in targets]
    _filters(reader, node, level)
    return made, returned(reader, node, level)


def _beside(node: exp.Expr) -> list[exp.Expr]:
    """`DELETE FROM a, b USING ...`: the names behind the first."""
    return [join.this for join in node.args.get("joins") or ()]


def _item_named(reader: Reader, node: exp.Expr, level: Level) -> Item | None:
    if not isinstance(node, exp.Table) or node.args.get("alias"):
        reader.puzzle("what is deleted from is not understood")
        return None
    near = [item for item in level.items if folded(item.alias) == folded(node.name)]
    exact = [item for item in near if item.alias == node.name]
    if len(near) != 1 or len(exact) != 1:
        reader.puzzle("what is deleted from is not understood")
        return None
    reader.named_targets.add(id(node))
    return exact[0]


def _target(reader: Reader, verb: str, item: Item, columns: tuple[str, ...]) -> Written:
    place = reader.places.get(item.place)
    if place is None or reader.lineage is None:
        reader.puzzle("what is written is no relation")
        return Written(verb, item.database, item.alias, 0, columns)
    reader.places[item.place] = Place(place.oid, place.alias, True)
    relation = reader.lineage.catalog.relations[place.oid]
    return Written(verb, relation.schema, relation.name, relation.oid, columns)


def _written(
    reader: Reader, verb: str, node: exp.Expr, item: Item, columns: tuple[str, ...]
) -> Written:
    if id(node) in reader.places:
        return _target(reader, verb, item, columns)
    database = node.text("db") or reader.settings.database
    return Written(verb, database, node.name, 0, columns)


def _filters(reader: Reader, node: exp.Expr, level: Level) -> None:
    for part in ("where", "order", "limit", "offset"):
        clause = node.args.get(part)
        if clause is not None:
            reader.expression(clause, level)


def returned(reader: Reader, node: exp.Expr, level: Level) -> Result:
    """The columns of RETURNING."""
    clause = node.args.get("returning")
    if clause is None:
        return NOTHING
    reader.require_parts(clause, {"expressions"})
    return reader.projections(clause, level)


_COMMON = frozenset({"this", "returning", "with_", MODIFIERS})
_INSERT_PARTS = _COMMON | {"expression", "conflict", "ignore", REPLACES}
_UPDATE_PARTS = _COMMON | {"expressions", "where", "order", "limit"}
_DELETE_PARTS = _COMMON | {"tables", "using", "where", "order", "limit"}
