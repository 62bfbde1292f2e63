"""What each relation's columns are made of: views expanded to base columns, generated columns to
what they read.

`CatalogLineage` is built for one catalog snapshot and kept with it; `names` asks it for shapes,
`masking` for the lineage of what the server reports. A view's definition is analysed by the same
code as a client's statement.
"""

from collections import ChainMap, OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from appliance.model.catalog import Catalog, Column, ColumnKey, Relation, SessionSettings
from appliance.model.facts import FunctionUse, ParseFailure
from appliance.model.resolution import Resolution
from appliance.sql import unseen
from appliance.sql.expressions import Node, Result
from appliance.sql.parse import Body, parse_decoded
from appliance.sql.qualify import Qualifier
from appliance.sql.scope import Columns, Field, Item, Scope, by_name
from appliance.sql.stamps import FIRST_USER_OID
from appliance.sql.statements import Analyst
from appliance.sql.unseen import Hidden

VIEW_DEPTH_MAX = 32
OVERLAYS_KEPT_MAX = 64
"""Sessions' sets of temporary relations whose lineage is kept."""
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

    __slots__ = (
        "calls",
        "columns",
        "consumed",
        "fields",
        "functions",
        "generating",
        "is_view",
        "keeps",
        "reads_inside",
        "rests_on",
        "unresolved",
    )

    def __init__(
        self,
        fields: Sequence[Field],
        consumed: frozenset[ColumnKey] = frozenset(),
        unresolved: tuple[str, ...] = (),
        is_view: bool = False,
        functions: tuple[FunctionUse, ...] = (),
        calls: tuple[FunctionUse, ...] = (),
        rests_on: frozenset[int] = frozenset(),
    ) -> None:
        self.fields = fields
        self.columns: Columns = by_name(fields)
        self.consumed = consumed
        """Base columns that reading the relation uses, whichever of its columns are read (a
        view's WHERE, joins...)."""
        self.unresolved = unresolved
        """Why its definition was not understood, in words."""
        self.is_view = is_view
        self.functions = functions
        """Functions its definition calls that are not known to be harmless."""
        self.calls = calls
        """Every function outside pg_catalog its definition calls."""
        self.reads_inside: frozenset[ColumnKey] = frozenset()
        """Columns that SQL functions in its definition read."""
        self.keeps: frozenset[str] = frozenset()
        """What reading it leaves in the session (`StatementFacts.keeps`)."""
        self.generating: dict[int, Hidden] = {}
        """Attribute number of a generated column -> what its expression calls."""
        self.rests_on = rests_on
        """OIDs of the relations that its definition reads, at any depth, or its row security."""


class Definition(NamedTuple):
    """A view's query, every name in it qualified, and what each means."""

    body: Body
    resolution: Resolution


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
        self._definitions: dict[int, Definition | None] = {}
        self._generated: dict[ColumnKey, Node] = {}
        self.unseen = unseen.Unseen(self, Analyst)
        self._type_oids: Mapping[tuple[str, str], list[int]] | None = None
        self._named: Mapping[str, frozenset[int]] | None = None
        self._overlays: OrderedDict[tuple[Relation, ...], CatalogLineage] = OrderedDict()

    def with_temporaries(self, temporaries: tuple[Relation, ...]) -> "CatalogLineage":
        """The same catalog with one session's temporary relations in schema "pg_temp"."""
        if not temporaries:
            return self
        known = self._overlays.get(temporaries)
        if known is None:
            known = self._overlays[temporaries] = _Overlay(self, temporaries)
            if len(self._overlays) > OVERLAYS_KEPT_MAX:
                self._overlays.popitem(last=False)
        return known

    def named(self, name: str) -> frozenset[int]:
        """OIDs of the relations of this name, in any schema."""
        if self._named is None:
            found: dict[str, set[int]] = {}
            for relation in self.catalog.relations.values():
                found.setdefault(relation.name, set()).add(relation.oid)
            self._named = {name: frozenset(oids) for name, oids in found.items()}
        return self._named.get(name, frozenset())

    def rests_on(self, oid: int) -> frozenset[int]:
        """OIDs of the relations on which it depends what a relation shows, and of whom: those that
        its definition reads, and the parents of each."""
        found, pending = set[int](), [oid]
        while pending:
            reached = pending.pop()
            relation = self.catalog.relations.get(reached)
            if reached in found or relation is None:
                continue
            found.add(reached)
            pending += [*relation.parents, *self.shape(reached).rests_on]
        return frozenset(found)

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

    def type_oids(self, schema: str, name: str) -> Sequence[int]:
        """Types outside pg_catalog of this name, a relation's row type included."""
        if self._type_oids is None:
            found: dict[tuple[str, str], list[int]] = {}
            for key, oid in self.catalog.types.items():
                found.setdefault(key, []).append(oid)
            for guarded in self.catalog.guarded_types.values():
                found.setdefault((guarded.schema, guarded.name), []).append(guarded.oid)
            for relation in self.catalog.relations.values():
                if relation.row_type_oid and relation.oid >= FIRST_USER_OID:
                    key = (relation.schema, relation.name)
                    found.setdefault(key, []).append(relation.row_type_oid)
            self._type_oids = found
        return self._type_oids.get((schema, name), ())

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
            if relation.kind == "v" and _has_query(relation):
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

    def definition(self, oid: int) -> Definition | None:
        """The query of a view, None when it is not understood to the last name."""
        if oid not in self._definitions:
            self._definitions[oid] = self._define(self.catalog.relations[oid])
        return self._definitions[oid]

    def _define(self, relation: Relation) -> Definition | None:
        parsed = parse_decoded(
            relation.definition, len(relation.definition.encode()), self.catalog.server_version_num
        )
        if self.shape(relation.oid).unresolved or isinstance(parsed, ParseFailure):
            return None
        settings = _settings(self.catalog)
        body = Qualifier(Analyst(self, settings)).tree(parsed[0].body)
        resolution = Resolution(body)
        analyst = Analyst(self, settings, in_view=True, marks=resolution)
        analyst.statement(parsed[0].kind, body)
        resolution.read = frozenset(analyst.read)
        return None if analyst.unresolved else Definition(body, resolution)

    def expression(self, text: str) -> Node:
        """The tree of one SQL expression, every name in it qualified but columns. Raises
        ValueError when it cannot be read.
        """
        parsed = parse_decoded(
            f"SELECT {text}", len(text.encode()), self.catalog.server_version_num
        )
        if isinstance(parsed, ParseFailure) or len(parsed) != 1 or "\0" in text:
            raise ValueError("an expression cannot be read")
        (target,) = parsed[0].body["targetList"]
        qualifier = Qualifier(Analyst(self, _settings(self.catalog)))
        return qualifier.tree(target["ResTarget"]["val"])

    def generated(self, key: ColumnKey) -> Node:
        """The expression of a generated column. Raises KeyError for any other column, and
        ValueError as `expression` does.
        """
        known = self._generated.get(key)
        if known is None:
            columns = self.catalog.relations[key[0]].columns
            texts = {c.attnum: c.expression for c in columns if c.generated}
            known = self._generated[key] = self.expression(texts[key[1]])
        return known

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
        generating: dict[int, Hidden] = {}
        for column in relation.columns:
            key = (relation.oid, column.attnum)
            sources, hidden = self._generated_from(relation, column)
            if hidden is not unseen.NOTHING:
                generating[column.attnum] = hidden
            fields.append(
                Field(
                    column.name,
                    key,
                    (key, *sources),
                    True,
                    column.type_oid,
                    column.typmod,
                )
            )
        shape = self._policed(relation, fields)
        shape.generating = generating
        return shape

    def _policed(self, relation: Relation, fields: Sequence[Field]) -> Shape:
        """A table with the columns that row security policies look at: which rows are seen depends
        on them.
        """
        used: set[ColumnKey] = set()
        below: set[int] = set()
        for expression in relation.policies:
            parsed = parse_decoded(
                f"SELECT {expression}", len(expression), self.catalog.server_version_num
            )
            scope = Scope()
            item = Item(relation.name, fields, oid=relation.oid)
            scope.add(item, (item,))
            analyst = Analyst(self, _settings(self.catalog))
            if isinstance(parsed, ParseFailure) or len(parsed) != 1 or "\0" in expression:
                scope.tainted = True
            else:
                analyst.walk([n["ResTarget"]["val"] for n in parsed[0].body["targetList"]], scope)
            if scope.tainted or analyst.unresolved:
                analyst.consume(fields)
            used |= analyst.consumed
            below |= analyst.rests_on
        return Shape(tuple(fields), frozenset(used), rests_on=frozenset(below))

    def _generated_from(
        self, relation: Relation, column: Column
    ) -> tuple[tuple[ColumnKey, ...], Hidden]:
        """The columns a generated column is computed from, all of the row when that cannot be
        told; and what its expression calls."""
        made = self.catalog.made_of.get(relation.oid, {}).get(column.attnum, ())
        if not column.generated:  # but perhaps filled by a trigger
            return tuple((relation.oid, source) for source in made), unseen.NOTHING
        own = {
            other.name: Field(other.name, None, ((relation.oid, other.attnum),))
            for other in relation.columns
            if not other.generated
        }
        if not column.expression:  # of a temporary table, it is not asked for
            return tuple(key for field in own.values() for key in field.sources), unseen.NOTHING
        parsed = parse_decoded(
            f"SELECT {column.expression}", len(column.expression), self.catalog.server_version_num
        )
        if isinstance(parsed, ParseFailure) or len(parsed) != 1 or "\0" in column.expression:
            return tuple(key for field in own.values() for key in field.sources), unseen.NOTHING
        analyst = Analyst(self, _settings(self.catalog))
        scope = Scope()
        scope.add(Item(relation.name, tuple(own.values())), ())
        analyst.walk([node["ResTarget"]["val"] for node in parsed[0].body["targetList"]], scope)
        hidden = analyst.hidden()
        if scope.tainted:
            return tuple(key for field in own.values() for key in field.sources), hidden
        return tuple(sorted({*analyst.consumed, *((relation.oid, c) for c in made)})), hidden

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
        parsed = parse_decoded(
            definition, len(definition.encode()), self.catalog.server_version_num
        )
        if isinstance(parsed, ParseFailure) or len(parsed) != 1 or "\0" in definition:
            return _not_understood(relation, "its definition could not be parsed")
        if parsed[0].kind != "SelectStmt":
            return _not_understood(relation, "its definition is not a query")
        analyst = Analyst(self, _settings(self.catalog), in_view=True)
        result = analyst.statement(parsed[0].kind, parsed[0].body)
        if not result.known or len(result.fields) != len(relation.columns):
            return _not_understood(relation, "its columns could not be told")
        analyst.note_hidden()
        unresolved = tuple(analyst.unresolved)
        functions = (*analyst.functions, *analyst.functions_below)
        if functions and relation.kind == "m":
            # Its rows were made by what the functions were then: trusting them now says nothing.
            unresolved += ("it calls functions that are not known to be harmless",)
        shape = Shape(
            _view_fields(relation, result),
            frozenset(analyst.consumed),
            unresolved,
            is_view=True,
            functions=functions,
            calls=tuple(analyst.calls),
            rests_on=frozenset(analyst.rests_on),
        )
        shape.reads_inside = frozenset(analyst.reads_inside)
        shape.keeps = frozenset(analyst.keeps)
        return shape


class _Overlay(CatalogLineage):
    """A catalog and one session's temporary relations. No view of the catalog can read those."""

    def __init__(self, below: CatalogLineage, temporaries: tuple[Relation, ...]) -> None:
        catalog = below.catalog
        own = {relation.oid: relation for relation in temporaries}
        names = {(relation.schema, relation.name): relation.oid for relation in temporaries}
        super().__init__(
            msgspec.structs.replace(
                catalog,
                relations=ChainMap(own, catalog.relations),  # type: ignore[arg-type]
                by_name=ChainMap(names, catalog.by_name),  # type: ignore[arg-type]
            )
        )
        self._below = below
        self._own = own

    def shape(self, oid: int) -> Shape:
        own = self._own.get(oid)
        if own is None:
            return self._below.shape(oid)
        shape = self._shapes.get(oid)
        if shape is None:
            shape = self._temporary_view(own) if own.kind == "v" else self._table(own)
            self._shapes[oid] = shape
        return shape

    def definition(self, oid: int) -> Definition | None:
        return None if oid in self._own else self._below.definition(oid)

    def generated(self, key: ColumnKey) -> Node:
        return super().generated(key) if key[0] in self._own else self._below.generated(key)

    def _temporary_view(self, relation: Relation) -> Shape:
        """Of a temporary view it is known what it names, not how: each of its columns may be
        computed from any column there. (A table holds what this session put into it: masks, or
        values of its own.)
        """
        if not self.catalog.relations.keys() >= set(relation.reads):
            return _not_understood(relation, "what its definition names is not known")
        below = [self.shape(oid) for oid in relation.reads if oid != relation.oid]
        sources = {key for shape in below for field in shape.fields for key in field.sources}
        sources.update((oid, c.attnum) for oid in relation.reads for c in self._columns(oid))
        # A function of the server is not recorded, unless it stands behind a user's operator.
        run = [oid if oid >= FIRST_USER_OID else 0 for oid in relation.runs]
        hidden = unseen.joined(
            [
                *map(self.unseen.function, run),
                *map(self.unseen.reading, relation.reads),
                *(hidden for shape in below for hidden in shape.generating.values()),
                *(Hidden(s.functions, s.calls, s.reads_inside, s.keeps) for s in below),
            ]
        )
        shape = Shape(
            tuple(
                Field(c.name, (relation.oid, c.attnum), tuple(sorted(sources)), False, c.type_oid)
                for c in relation.columns
            ),
            frozenset(sources).union(*(shape.consumed for shape in below)),
            tuple(why for shape in below for why in shape.unresolved),
            is_view=True,
            functions=hidden.functions,
            calls=hidden.calls,
            rests_on=frozenset(relation.reads).union(*(shape.rests_on for shape in below)),
        )
        shape.reads_inside, shape.keeps = hidden.reads, hidden.keeps
        return shape

    def _columns(self, oid: int) -> Sequence[Column]:
        return self.catalog.relations[oid].columns

    def of(self, key: ColumnKey) -> ColumnLineage:
        return super().of(key) if key[0] in self._own else self._below.of(key)

    def named(self, name: str) -> frozenset[int]:
        own = {oid for oid, relation in self._own.items() if relation.name == name}
        return self._below.named(name) | own


def _has_query(relation: Relation) -> bool:
    """Those of the server's own have none here, unless somebody replaced one of them."""
    own = relation.oid < FIRST_USER_OID
    return relation.kind in ("v", "m") and (bool(relation.definition) or not own)


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
