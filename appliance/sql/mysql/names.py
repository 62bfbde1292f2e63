"""MySQL names to relations of the catalog: (settings, name parts) -> relation, its columns, and
what those are made of.

Called by `reading` for every table in a statement and by the facts for what statements name
otherwise (DDL, SHOW, LOCK TABLES). Rule: a name that may mean something else to the server (another
case, a temporary table of the session) is not resolved.
"""

from typing import NamedTuple, Protocol

from appliance.model.catalog import Catalog, Relation, SessionSettings
from appliance.sql.mysql.scope import Field, folded, surely_equal

INFORMATION_SCHEMA = "information_schema"
PERFORMANCE_SCHEMA = "performance_schema"
SYSTEM_SCHEMAS = frozenset({INFORMATION_SCHEMA, PERFORMANCE_SCHEMA, "mysql", "sys"})
"""Databases of the server itself."""


class Shape(Protocol):
    """What a relation looks like to a query that reads it (`lineage.MyLineage.shape`)."""

    @property
    def fields(self) -> tuple[Field, ...]: ...
    @property
    def starred(self) -> tuple[Field, ...]: ...
    @property
    def consumed(self) -> frozenset[tuple[int, int]]: ...
    @property
    def unresolved(self) -> tuple[str, ...]: ...
    @property
    def functions(self) -> tuple[str, ...]: ...


class Lineage(Protocol):
    """What is needed of `lineage.MyLineage`."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def folds_relations(self) -> bool: ...
    def shape(self, oid: int, /) -> Shape: ...
    def relation_named(self, database: str, name: str, /) -> Relation | None: ...


class Found(NamedTuple):
    """What a relation's name means. `relation` None = not resolved, and `why` says so."""

    database: str
    """As the catalog has it, or as written when it is not resolved."""
    name: str
    relation: Relation | None
    why: str = ""


def find_relation(
    lineage: Lineage | None, settings: SessionSettings, database: str, name: str
) -> Found:
    """`database` is '' for a name without one. `why` holds names, never a literal."""
    if not database:
        database = settings.database
        if not settings.certain:
            return Found(database, name, None, f"relation {name}: the database is not certain")
        if not database:
            return Found("", name, None, f"relation {name}: no database is chosen")
    if _may_be_temporary(settings, name):
        return Found(database, name, None, f"relation {name} may be a temporary one")
    if lineage is None:
        return Found(database, name, None, "the catalog is not there")
    own = _temporary(lineage, settings, database, name)
    if own is not None:
        return own
    relation = lineage.relation_named(database, name)
    if relation is None:
        return Found(database, name, None, f"relation {database}.{name} is not known")
    return Found(relation.schema, relation.name, relation)


def _may_be_temporary(settings: SessionSettings, name: str) -> bool:
    """Temporary tables hide lasting ones of the same name; those of which not all is known,
    whatever their database, to be safe."""
    return any(folded(own.rpartition(".")[2]) == folded(name) for own in settings.temp_relations)


def _temporary(
    lineage: Lineage, settings: SessionSettings, database: str, name: str
) -> Found | None:
    """A temporary table of the session; one whose name only a collation could tell apart is not
    resolved."""
    for own in settings.temporaries:
        if folded(own.schema) != folded(database) or folded(own.name) != folded(name):
            continue
        folds = lineage.folds_relations
        if not (
            same_relation_name(own.schema, database, folds)
            and same_relation_name(own.name, name, folds)
        ):
            return Found(database, name, None, f"relation {name} may be a temporary one")
        return Found(own.schema, own.name, own)
    return None


def same_relation_name(one: str, other: str, folds: bool) -> bool:
    """Whether two names of relations (or aliases) are surely the same to the server."""
    return surely_equal(one, other) if folds else one == other
