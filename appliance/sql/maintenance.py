"""Whose values decide whether the server can compute anew with the rows that are there: unique
indexes, statistics of expressions, materialised views.

Asked by `statements` for definitions and maintenance, which name relations and no columns. Rule:
what is asked for fails on some values and not on others, so all that it computes with decides.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from appliance.model.catalog import ColumnKey
from appliance.sql.options import analyzes
from appliance.sql.parse import Body
from appliance.sql.scope import Field

if TYPE_CHECKING:
    from appliance.sql.lineage import CatalogLineage

COMPUTING = frozenset({"IndexStmt", "RefreshMatViewStmt", "VacuumStmt"})
"""Statements that `deciding` is asked about."""


class Deciding(NamedTuple):
    columns: set[ColumnKey]
    unresolved: tuple[str, ...] = ()
    """Why it cannot be told, in words."""


def deciding(kind: str, body: Body, oids: Sequence[int], lineage: "CatalogLineage") -> Deciding:
    """Columns that decide. `oids`: of the relations that are named, 0 for one that is not there."""
    if 0 in oids:
        return Deciding(set())
    if kind == "VacuumStmt":
        return Deciding(_analysed(oids, lineage) if _gathers(body) else set())
    if kind == "IndexStmt":
        return Deciding(_indexed(body, oids[0], lineage))
    return Deciding(_refreshed(oids[0], lineage), lineage.shape(oids[0]).unresolved)


def _gathers(body: Body) -> bool:
    """ANALYZE, or VACUUM with that option."""
    options = [node["DefElem"] for node in body.get("options", ())]
    return not body.get("is_vacuumcmd") or analyzes(options)


def _indexed(index: Body, oid: int, lineage: "CatalogLineage") -> set[ColumnKey]:
    """A unique index is not made where two rows are alike. (Expressions in an index are consumed as
    everywhere.)"""
    if not index.get("unique"):
        return set()
    names = {node["IndexElem"].get("name") for node in index.get("indexParams", ())}
    return _keys(field for field in lineage.shape(oid).fields if field.name in names)


def _analysed(oids: Sequence[int], lineage: "CatalogLineage") -> set[ColumnKey]:
    """These relations, all when none is named, and their parts."""
    named = {each for oid in oids for each in (oid, *lineage.written_with(oid))}
    every: Iterable[int] = named or lineage.catalog.compared
    return {key for oid in every for key in _gathered(oid, lineage)}


def _refreshed(oid: int, lineage: "CatalogLineage") -> set[ColumnKey]:
    """By a materialised view's query and its unique indexes. Columns that it only shows decide
    nothing."""
    shape = lineage.shape(oid)
    computed = (field for field in shape.fields if not field.plain)
    return _gathered(oid, lineage) | _keys(computed) | shape.consumed


def _gathered(oid: int, lineage: "CatalogLineage") -> set[ColumnKey]:
    columns = {c for each in lineage.catalog.compared.get(oid, ()) for c in each.gathered}
    if not columns:
        return set()
    fields = lineage.shape(oid).fields
    return _keys(field for field in fields if field.origin and field.origin[1] in columns)


def _keys(fields: Iterable[Field]) -> set[ColumnKey]:
    return {key for field in fields for key in (field.origin, *field.sources) if key is not None}
