"""Columns that a plan carries along though nothing uses them, whose sizes EXPLAIN therefore shows.

Asked by `statements` for what is explained. What is read below the top need not be flattened away:
a CTE or a subquery may be computed whole. Where rows are locked or written, the server keeps of
every other item the whole row (optimizer/prep/preptlist.c: row marks), but for its own tables,
which it can look into again.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from appliance.model.catalog import ColumnKey
from appliance.sql.expressions import every_node
from appliance.sql.names import WHOLE_ROW
from appliance.sql.parse import Body

if TYPE_CHECKING:
    from appliance.sql.lineage import CatalogLineage
    from appliance.sql.scope import Field

_COPIED = "vf"
"""pg_class.relkind of what a row mark copies."""
_MARKING = frozenset({"LockingClause", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def carried(
    kind: str,
    query: Body,
    read: Iterable[ColumnKey],
    used: Iterable[int],
    lineage: "CatalogLineage",
) -> set[ColumnKey]:
    """`read`: columns referred to anywhere, (OID, 0) for a whole row. `used`: OIDs of the relations
    that the query names."""
    found: set[ColumnKey] = set()
    for oid, attnum in read:
        fields = lineage.shape(oid).fields if oid in lineage.catalog.relations else ()
        found |= _keys(f for f in fields if attnum == WHOLE_ROW or f.origin == (oid, attnum))
    marked = kind in _MARKING or any(name in _MARKING for name, _ in every_node(query))
    for oid in used:
        relation = lineage.catalog.relations.get(oid)
        if relation is None:
            continue
        if marked and relation.kind in _COPIED:
            found |= _keys(lineage.shape(oid).fields)
        if relation.kind == "v" and relation.definition:
            found |= _kept_inside(oid, lineage)
    return found


def _kept_inside(view: int, lineage: "CatalogLineage") -> set[ColumnKey]:
    """What the CTEs of a view, and of those it rests on, read."""
    found: set[ColumnKey] = set()
    for oid in {view, *lineage.shape(view).rests_on}:
        relation = lineage.catalog.relations.get(oid)
        if relation is None or relation.kind != "v" or not relation.definition:
            continue
        definition = lineage.definition(oid)
        if definition is None:
            for below in lineage.shape(oid).rests_on:
                found |= _keys(lineage.shape(below).fields)
        elif any(name == "CommonTableExpr" for name, _ in every_node(definition.body)):
            found |= carried("", {}, definition.resolution.read, (), lineage)
    return found


def _keys(fields: "Iterable[Field]") -> set[ColumnKey]:
    return {key for field in fields for key in (field.origin, *field.sources) if key is not None}
