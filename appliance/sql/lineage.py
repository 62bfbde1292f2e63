"""What each relation's columns are made of: views expanded to base columns, generated columns to
what they read.

`CatalogLineage` is built for one catalog snapshot and kept with it; `names` asks it for shapes,
`masking` for the lineage of what the server reports. A view's definition is analysed by the same
code as a client's statement.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from appliance.model.catalog import Catalog, Column, ColumnKey, Relation, SessionSettings
from appliance.model.facts import ParseFailure
from appliance.sql.expressions import Result
from appliance.sql.parse import parse_decoded
from appliance.sql.scope import Columns, Field, Item, Scope, by_name
from appliance.sql.statements import Analyst

VIEW_DEPTH_MAX = 32
SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "pg_toast"})
"""Their views are taken as tables: they show the schema, not users' rows (those that do are in
`secrets`)."""


class ColumnLineage(msgspec.Struct, frozen=True):
    """Where one column's values come from."""

    sources: frozenset[ColumnKey] = frozenset()
    """Base columns, the column itself included when it is one."""
    plain: bool = False
    """Whether each value is a source's value, unchanged."""
    known: bool = True
    """False when it could not be told: treat as coming from anywhere."""


UNKNOWN_LINEAGE = ColumnLineage(known=False)


class Shape:
    """What a relation looks like to a query that reads it."""

    __slots__ = ("columns", "consumed", "fields", "is_view", "unresolved")

    def __init__(
        self,
        fields: Sequence[Field],
        consumed: frozenset[ColumnKey] = frozenset(),
        unresolved: tuple[str, ...] = (),
        is_view: bool = False,
    ) -> None:
        self.fields = fields
        self.columns: Columns = by_name(fields)
        self.consumed = consumed
        """Base columns that reading the relation uses, whichever of its columns are read (a
        view's WHERE, joins...)."""
        self.unresolved = unresolved
        """Why its definition was not understood, in words."""
        self.is_view = is_view


class CatalogLineage:
    """The lineage of one catalog snapshot. Everything is computed when first asked for, and
    kept."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self._shapes: dict[int, Shape] = {}
        self._lineages: dict[ColumnKey, ColumnLineage] = {}
        self._column_names: dict[int, Mapping[int, str]] = {}
        self._row_types: Mapping[int, int] | None = None
        self._written: dict[int, frozenset[int]] = {}
        self._children: dict[int, list[int]] | None = None
        self._running: list[int] = []

    def of(self, key: ColumnKey) -> ColumnLineage:
        """The lineage of a column as the server names it in RowDescription."""
        known = self._lineages.get(key)
        if known is None:
            known = self._lineages[key] = self._lineage(key)
        return known

    def shape(self, oid: int) -> Shape:
        shape = self._shapes.get(oid)
        if shape is None:
            relation = self.catalog.relations[oid]
            shape = self._view(relation) if _has_query(relation) else self._table(relation)
            if not self._running:  # inside a view that is being read, a cycle may have cut it short
                self._shapes[oid] = shape
        return shape

    def column_name(self, oid: int, attnum: int) -> str:
        """A column's name; '*' for a whole row or one that is not known."""
        names = self._column_names.get(oid)
        if names is None:
            relation = self.catalog.relations.get(oid)
            columns: Sequence[Column] = () if relation is None else relation.columns
            names = self._column_names[oid] = MappingProxyType({c.attnum: c.name for c in columns})
        return names.get(attnum, "*")

    def written_with(self, oid: int) -> frozenset[int]:
        """OIDs of the relations whose rows change when one's do: tables below a view, partitions
        and children, and parents."""
        known = self._written.get(oid)
        if known is None:
            known = self._written[oid] = frozenset(self._spread(oid)) - {oid}
        return known

    def _spread(self, oid: int) -> set[int]:
        if self._children is None:
            self._children = {}
            for relation in self.catalog.relations.values():
                for parent in relation.parents:
                    self._children.setdefault(parent, []).append(relation.oid)
        reached, pending = {oid}, [oid]
        while pending:
            relation = self.catalog.relations[current := pending.pop()]
            near = {*relation.parents, *self._children.get(current, ())}
            if relation.kind == "v" and relation.schema not in SYSTEM_SCHEMAS:
                near |= {key[0] for field in self.shape(current).fields for key in field.sources}
            new = (near & self.catalog.relations.keys()) - reached
            reached |= new
            pending.extend(new)
        return reached

    def members(self, type_oid: int) -> tuple[str, ...] | None:
        """Column names of a composite type, None when the type is not one."""
        if self._row_types is None:
            self._row_types = {
                r.row_type_oid: r.oid for r in self.catalog.relations.values() if r.row_type_oid
            }
        oid = self._row_types.get(type_oid)
        if oid is None:
            return None
        return tuple(column.name for column in self.catalog.relations[oid].columns)

    def _lineage(self, key: ColumnKey) -> ColumnLineage:
        oid, attnum = key
        relation = self.catalog.relations.get(oid)
        if relation is None:
            return UNKNOWN_LINEAGE
        if attnum < 0:
            return ColumnLineage(plain=True)
        shape = self.shape(oid)
        if attnum == 0:
            return ColumnLineage(frozenset(k for f in shape.fields for k in f.sources), False, True)
        for field in shape.fields:
            if field.origin == key:
                sources = frozenset(field.sources) | self._parents(relation, field.name)
                return ColumnLineage(sources, field.plain, not shape.unresolved)
        return UNKNOWN_LINEAGE

    def _parents(self, relation: Relation, name: str) -> frozenset[ColumnKey]:
        """The column of the same name in every relation this one is a partition or child of."""
        found: set[ColumnKey] = set()
        pending, seen = list(relation.parents), set(relation.parents)
        while pending:
            parent = self.catalog.relations.get(pending.pop())
            if parent is None:
                continue
            column = parent.column(name)
            if column is not None:
                found.add((parent.oid, column.attnum))
            pending.extend(p for p in parent.parents if p not in seen)
            seen.update(parent.parents)
        return frozenset(found)

    def _table(self, relation: Relation) -> Shape:
        fields = []
        for column in relation.columns:
            key = (relation.oid, column.attnum)
            fields.append(
                Field(
                    column.name,
                    key,
                    (key, *self._generated_from(relation, column)),
                    True,
                    column.type_oid,
                    column.typmod,
                )
            )
        return Shape(tuple(fields))

    def _generated_from(self, relation: Relation, column: Column) -> tuple[ColumnKey, ...]:
        """The columns a generated column is computed from; all of the row when that cannot be
        told."""
        if not column.generated:
            return ()
        own = {
            other.name: Field(other.name, None, ((relation.oid, other.attnum),))
            for other in relation.columns
            if not other.generated
        }
        parsed = parse_decoded(f"SELECT {column.expression}", len(column.expression))
        if isinstance(parsed, ParseFailure) or len(parsed) != 1 or "\0" in column.expression:
            return tuple(key for field in own.values() for key in field.sources)
        analyst = Analyst(None, _settings(self.catalog))
        scope = Scope()
        scope.add(Item(relation.name, tuple(own.values())), ())
        analyst.walk([node["ResTarget"]["val"] for node in parsed[0].body["targetList"]], scope)
        if scope.tainted:
            return tuple(key for field in own.values() for key in field.sources)
        return tuple(sorted(analyst.consumed))

    def _view(self, relation: Relation) -> Shape:
        if relation.oid in self._running or len(self._running) >= VIEW_DEPTH_MAX:
            return _not_understood(relation, "views are nested too deeply")
        self._running.append(relation.oid)
        try:
            return self._expanded(relation)
        except RecursionError:
            return _not_understood(relation, "its definition is nested too deeply")
        finally:
            self._running.pop()

    def _expanded(self, relation: Relation) -> Shape:
        definition = relation.definition
        parsed = parse_decoded(definition, len(definition.encode()))
        if isinstance(parsed, ParseFailure) or len(parsed) != 1 or "\0" in definition:
            return _not_understood(relation, "its definition could not be parsed")
        if parsed[0].kind != "SelectStmt":
            return _not_understood(relation, "its definition is not a query")
        analyst = Analyst(self, _settings(self.catalog), in_view=True)
        result = analyst.statement(parsed[0].kind, parsed[0].body)
        if not result.known or len(result.fields) != len(relation.columns):
            return _not_understood(relation, "its columns could not be told")
        unresolved = tuple(analyst.unresolved)
        if analyst.functions:
            unresolved += ("it calls functions that are not known to be harmless",)
        return Shape(
            _view_fields(relation, result), frozenset(analyst.consumed), unresolved, is_view=True
        )


def _has_query(relation: Relation) -> bool:
    return relation.kind in ("v", "m") and relation.schema not in SYSTEM_SCHEMAS


def _view_fields(relation: Relation, result: Result) -> tuple[Field, ...]:
    return tuple(
        Field(
            column.name,
            (relation.oid, column.attnum),
            field.sources,
            field.plain,
            column.type_oid,
            column.typmod,
        )
        for column, field in zip(relation.columns, result.fields, strict=True)
    )


def _not_understood(relation: Relation, why: str) -> Shape:
    fields = tuple(Field(column.name, (relation.oid, column.attnum)) for column in relation.columns)
    return Shape(fields, unresolved=(why,), is_view=True)


def _settings(catalog: Catalog) -> SessionSettings:
    """Definitions were printed with an empty search_path, so every name outside pg_catalog is
    qualified."""
    return SessionSettings(database=catalog.database, search_path=())
