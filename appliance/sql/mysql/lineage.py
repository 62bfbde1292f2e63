"""What each relation's columns are made of: views expanded to base columns, generated columns to
what they read.

`MyLineage` is built for one catalog snapshot and kept with it; `reading` asks it for shapes,
masking for the lineage of what the server reports. A view's definition is read by the same code as
a client's statement.
"""

import hashlib
import re
from collections import ChainMap
from collections.abc import Sequence

import msgspec
from sqlglot import exp

from appliance.model.catalog import Catalog, Column, ColumnKey, Relation, SessionSettings
from appliance.sql.mysql.names import INFORMATION_SCHEMA, SYSTEM_SCHEMAS
from appliance.sql.mysql.reading import Reader
from appliance.sql.mysql.scope import Field, folded, surely_equal
from appliance.sql.mysql.tree import Unreadable, statement_of
from appliance.sql.mysql.words import is_mariadb

DEFINITION_CHARACTERS_MAX = 64_000
_SEQUENCE = re.compile(r"seq_\d{1,20}_to_\d{1,20}(_step_\d{1,20})?", re.IGNORECASE)
_FIRST_SEQUENCE, _SEQUENCES = 8_192, 8_192
"""Numbers of such tables: above the server's own relations, below everybody's."""


class ColumnLineage(msgspec.Struct, frozen=True):
    """Where one column's values come from."""

    sources: frozenset[ColumnKey] = frozenset()
    """Base columns, and those of the views on the way; the column itself included."""
    plain: bool = False
    """Whether each value is a source's value, unchanged."""
    known: bool = True
    """False when it could not be told: treat as coming from anywhere."""


OVERLAID_MAX = 64
"""Sets of temporary tables that are kept for one catalog."""

UNKNOWN_LINEAGE = ColumnLineage(known=False)


class Shape(msgspec.Struct, frozen=True):
    """What a relation looks like to a query that reads it."""

    fields: tuple[Field, ...]
    starred: tuple[Field, ...]
    """Those that `*` gives."""
    consumed: frozenset[ColumnKey] = frozenset()
    """Columns that reading the relation uses, whichever of its columns are read."""
    unresolved: tuple[str, ...] = ()
    """Why its definition was not understood, in words."""
    functions: tuple[str, ...] = ()
    """Names of the calls in its definition, lower case."""


class Definition(msgspec.Struct, frozen=True):
    """A view's query and what each name in it means."""

    text: str
    tree: exp.Expr
    reading: Reader


class MyLineage:
    """The lineage of one catalog snapshot. Everything is computed when first asked for, and
    kept."""

    def __init__(self, catalog: Catalog) -> None:
        # Sequences of numbers come to be when they are named: `_sequence`.
        self._relations = dict(catalog.relations)
        self.catalog = msgspec.structs.replace(catalog, relations=self._relations)
        self.folds_relations = catalog.folds_relations
        self._has_sequences = is_mariadb(catalog.server_version_num)
        self._shapes: dict[int, Shape] = {}
        self._definitions: dict[int, Definition | None] = {}
        self._running: list[int] = []
        self._overlaid: dict[tuple[Relation, ...], MyLineage] = {}
        self._near: dict[tuple[str, str], list[Relation]] = {}
        for relation in catalog.relations.values():
            key = (folded(relation.schema), folded(relation.name))
            self._near.setdefault(key, []).append(relation)

    def with_temporaries(self, temporaries: tuple[Relation, ...]) -> "MyLineage":
        if not temporaries:
            return self
        known = self._overlaid.get(temporaries)
        if known is None:
            if len(self._overlaid) >= OVERLAID_MAX:
                self._overlaid.clear()
            known = self._overlaid[temporaries] = _Overlaid(self, temporaries)
        return known

    @property
    def relations(self) -> dict[int, Relation]:
        """By OID, those included that came to be when they were named."""
        return self._relations

    def has_lasting(self, database: str, name: str) -> bool:
        """Whether there may be a lasting relation of this name."""
        return (folded(database), folded(name)) in self._near

    def relation_named(self, database: str, name: str) -> Relation | None:
        """The relation that the server surely takes for this one, None when there is none or which
        one depends on more than letters."""
        near = self._near.get((folded(database), folded(name)), ())
        exact = [r for r in near if (r.schema, r.name) == (database, name)]
        if exact:
            return exact[0]
        if not near and self._has_sequences and _SEQUENCE.fullmatch(name):
            return self._sequence(database, name)
        system = folded(database) in (INFORMATION_SCHEMA, "performance_schema")
        if not (self.folds_relations or system) or len(near) != 1:
            return None
        (one,) = near
        sure = surely_equal(one.schema, database) and surely_equal(one.name, name)
        return one if sure else None

    def _sequence(self, database: str, name: str) -> Relation:
        """MariaDB's seq_1_to_9, which no catalog lists: a table of numbers in any database
        (https://mariadb.com/kb/en/sequence-storage-engine/)."""
        digest = hashlib.sha256(name.encode()).digest()
        oid = _FIRST_SEQUENCE + int.from_bytes(digest[:4], "big") % _SEQUENCES
        made = Relation(oid, database, name, "r", (Column(1, "seq", 8, type_text="bigint(20)"),))
        self._shapes.pop(oid, None)
        self._relations[oid] = made
        return made

    def reported(self, database: str, table: str, column: str) -> ColumnKey | None:
        """The key of what a column definition names (schema, org_table, org_name); None for what is
        computed or materialised (no database) or names no relation. Through views and derived
        tables the server puts an alias in place of the table, so this may name another column
        than the one that arrives; `reading` expects that (`Field.loose`)."""
        relation = None if not database else self.relation_named(database, table)
        found = None if relation is None else relation.column(column)
        return None if relation is None or found is None else (relation.oid, found.attnum)

    def of(self, key: ColumnKey) -> ColumnLineage:
        """The lineage of a column of a relation."""
        relation = self.catalog.relations.get(key[0])
        if relation is None:
            return UNKNOWN_LINEAGE
        shape = self.shape(relation.oid)
        for column, field in zip(relation.columns, shape.fields, strict=True):
            if column.attnum == key[1]:
                known = not shape.unresolved
                return ColumnLineage(frozenset((key, *field.sources)), field.plain, known)
        return UNKNOWN_LINEAGE

    def rests_on(self, oid: int) -> frozenset[int]:
        """OIDs of the relations that a relation is made of, itself included."""
        found, pending = set[int](), [oid]
        while pending:
            reached = pending.pop()
            if reached in found or reached not in self.catalog.relations:
                continue
            found.add(reached)
            definition = None
            if has_query(self.catalog.relations[reached]):
                definition = self.definition(reached)
            pending += () if definition is None else definition.reading.rests_on
        return frozenset(found)

    def column_name(self, oid: int, attnum: int) -> str:
        """A column's name; '*' for one that is not known."""
        relation = self.catalog.relations.get(oid)
        columns: Sequence[Column] = () if relation is None else relation.columns
        return next((c.name for c in columns if c.attnum == attnum), "*")

    def shape(self, oid: int) -> Shape:
        shape = self._shapes.get(oid)
        if shape is None:
            relation = self.catalog.relations[oid]
            shape = self._view(relation) if has_query(relation) else self._table(relation)
            if not self._running:  # inside a view that is being read, a cycle may have cut it short
                self._shapes[oid] = shape
        return shape

    def definition(self, oid: int) -> Definition | None:
        """The query of a view, None when it is not understood to the last name."""
        if oid not in self._definitions:
            shape = self.shape(oid)
            made = None if shape.unresolved else self._define(self.catalog.relations[oid])
            self._definitions[oid] = made
        return self._definitions[oid]

    def _define(self, relation: Relation) -> Definition:
        tree = statement_of(relation.definition)
        reader = Reader(self, _settings(relation))
        reader.query(tree)
        return Definition(relation.definition, tree, reader)

    def _table(self, relation: Relation) -> Shape:
        made_of = self.catalog.made_of.get(relation.oid, {})
        fields = []
        for column in relation.columns:
            key = (relation.oid, column.attnum)
            below = tuple((relation.oid, c) for c in made_of.get(column.attnum, ()))
            fields.append(Field(column.name, key, (key, *below), not below))
        starred = [
            field
            for column, field in zip(relation.columns, fields, strict=True)
            if not column.invisible
        ]
        return Shape(tuple(fields), tuple(starred))

    def _view(self, relation: Relation) -> Shape:
        if relation.oid in self._running:
            return _not_understood(relation, "it reads itself")
        if not relation.definition:
            return _not_understood(relation, "its definition can not be read")
        if len(relation.definition) > DEFINITION_CHARACTERS_MAX:
            return _not_understood(relation, "its definition is too long")
        self._running.append(relation.oid)
        try:
            return self._expanded(relation)
        except RecursionError:
            return _not_understood(relation, "its definition is nested too deeply")
        except Unreadable:
            return _not_understood(relation, "its definition could not be parsed")
        finally:
            self._running.pop()

    def _expanded(self, relation: Relation) -> Shape:
        tree = statement_of(relation.definition)
        reader = Reader(self, _settings(relation))
        result = reader.query(tree)
        if not result.known or len(result.fields) != len(relation.columns):
            return _not_understood(relation, "its columns could not be told")
        fields = []
        for column, field in zip(relation.columns, result.fields, strict=True):
            key = (relation.oid, column.attnum)
            loose = tuple(k for k in (field.origin, *field.loose) if k is not None)
            sources = (*field.sources, key)
            fields.append(Field(column.name, None, sources, field.plain, (key, *loose)))
        calls = {call.name.lower() for call in tree.find_all(exp.Anonymous)}
        return Shape(
            tuple(fields),
            tuple(fields),
            frozenset(reader.consumed),
            tuple(reader.unresolved),
            (*sorted(calls), *reader.functions_below),
        )


class _Overlaid(MyLineage):
    """The same with a session's temporary tables. Views do not see these (measured)."""

    def __init__(self, lasting: MyLineage, temporaries: tuple[Relation, ...]) -> None:
        own = {relation.oid: relation for relation in temporaries}
        relations = ChainMap(own, lasting.relations)
        self.catalog = msgspec.structs.replace(lasting.catalog, relations=relations)
        self.folds_relations = lasting.folds_relations
        self._lasting = lasting
        self._own = own
        self._shapes = {}

    def with_temporaries(self, temporaries: tuple[Relation, ...]) -> MyLineage:
        return self._lasting.with_temporaries(temporaries)

    def has_lasting(self, database: str, name: str) -> bool:
        return self._lasting.has_lasting(database, name)

    def relation_named(self, database: str, name: str) -> Relation | None:
        for relation in self._own.values():
            if (relation.schema, relation.name) == (database, name):
                return relation
        return self._lasting.relation_named(database, name)

    def shape(self, oid: int) -> Shape:
        if oid not in self._own:
            return self._lasting.shape(oid)
        shape = self._shapes.get(oid)
        if shape is None:
            shape = self._shapes[oid] = self._table(self._own[oid])
        return shape

    def definition(self, oid: int) -> Definition | None:
        return None if oid in self._own else self._lasting.definition(oid)


def has_query(relation: Relation) -> bool:
    """Views of the server's own databases are taken as tables: what they hold is told elsewhere."""
    return relation.kind == "v" and relation.schema not in SYSTEM_SCHEMAS


def _not_understood(relation: Relation, why: str) -> Shape:
    fields = tuple(
        Field(column.name, None, ((relation.oid, column.attnum),)) for column in relation.columns
    )
    return Shape(fields, fields, unresolved=(why,))


def _settings(relation: Relation) -> SessionSettings:
    """Names in definitions are printed with their databases."""
    return SessionSettings(database=relation.schema)
