"""Which columns of a catalog a mask rule's globs name, and which mask wins when several are owed.

Used by `snapshot` when entitlements are made; the result is keyed by (OID, attribute number).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from appliance.model.catalog import Catalog, ColumnKey, Relation
from appliance.model.decision import Mask, MaskMethod
from appliance.policy.globs import ResourceGlob

SYSTEM_SCHEMAS = frozenset({"pg_catalog", "information_schema", "pg_toast"})
"""`*` in the schema part of a mask does not stand for these: `*.*.*.name` is not meant to mask the
columns that every client's introspection reads. Name the schema to mask there."""

Neighbours = Callable[[Relation], Iterable[int]]

_STRICTEST_FIRST: tuple[MaskMethod, ...] = (
    MaskMethod.NULL,
    MaskMethod.REDACT,
    MaskMethod.FIXED,
    MaskMethod.TOKEN,
    MaskMethod.TRUNCATE_DATE,
    MaskMethod.TRUNCATE_NUMBER,
    MaskMethod.EMAIL,
    MaskMethod.KEEP_FIRST,
    MaskMethod.KEEP_LAST,
)
_UNITS = ("year", "month", "day")


def strictness(mask: Mask) -> tuple[int, int]:
    """Sorts masks: the smaller shows less."""
    amount = 0
    if mask.method in (MaskMethod.KEEP_FIRST, MaskMethod.KEEP_LAST):
        amount = mask.keep
    elif mask.method is MaskMethod.TRUNCATE_DATE:
        amount = _UNITS.index(mask.unit)
    elif mask.method is MaskMethod.TRUNCATE_NUMBER:
        amount = -mask.step
    return _STRICTEST_FIRST.index(mask.method), amount


def merge(masks: Iterable[tuple[Mask, frozenset[ColumnKey]]]) -> dict[ColumnKey, Mask]:
    """The strictest mask per column; of equally strict ones the first in the documents. What one of
    them refuses, the one that is shown refuses as well."""
    owed: dict[ColumnKey, Mask] = {}
    guarded: set[ColumnKey] = set()
    for mask, keys in masks:
        if not mask.unique_writes:
            guarded |= keys
        for key in keys:
            other = owed.get(key)
            if other is None or strictness(mask) < strictness(other):
                owed[key] = mask
    for key in guarded:
        if owed[key].unique_writes:
            owed[key] = msgspec.structs.replace(owed[key], unique_writes=False)
    return owed


class Origins(Protocol):
    @property
    def sources(self) -> frozenset[ColumnKey]: ...


class ViewLineage(Protocol):
    """What is needed of `sql.lineage.CatalogLineage`: the base columns below a view's column."""

    def of(self, key: ColumnKey, /) -> Origins: ...


def columns_named(
    globs: Sequence[ResourceGlob],
    catalog: Catalog,
    children: Mapping[int, Sequence[int]],
    lineage: ViewLineage | None,
) -> frozenset[ColumnKey]:
    """Columns that the globs name, with the same column of every partition, child and parent.

    A parent shows its children's rows, so a mask named on a child is owed on the parents too. A
    mask named on a view's column is owed on the columns below it: else another view, or the tables
    themselves, would show what it hides. `globs` are of this database.
    """
    named = {key for glob in globs for key in _direct(glob, catalog)}
    if lineage is not None:
        views = [key for key in named if catalog.relations[key[0]].kind in "vm"]
        named.update(source for key in views for source in lineage.of(key).sources)
    below = _spread(named, catalog, lambda relation: children.get(relation.oid, ()))
    return frozenset(_spread(below, catalog, lambda relation: relation.parents))


def children_of(catalog: Catalog) -> dict[int, list[int]]:
    """Parent OID -> OIDs of its partitions and inheritance children."""
    children: dict[int, list[int]] = {}
    for relation in catalog.relations.values():
        for parent in relation.parents:
            children.setdefault(parent, []).append(relation.oid)
    return children


def _direct(glob: ResourceGlob, catalog: Catalog) -> Iterator[ColumnKey]:
    formers = ((key, name) for key, names in catalog.former.items() for name in names)
    for key, (schema, relation_name, column_name) in formers:
        named = glob.exact_relation == (schema, relation_name) or (
            glob.exact_relation is None and glob.names(schema, relation_name)
        )
        if named and (glob.column is None or glob.column(column_name)):
            yield key
    for relation in _relations(glob, catalog):
        for column in relation.columns:
            if glob.column is None or glob.column(column.name):
                yield relation.oid, column.attnum


def _relations(glob: ResourceGlob, catalog: Catalog) -> Iterator[Relation]:
    if glob.exact_relation is not None:
        relation = catalog.relation_named(*glob.exact_relation)
        if relation is not None:
            yield relation
        return
    for relation in catalog.relations.values():
        if glob.schema is None and relation.schema in SYSTEM_SCHEMAS:
            continue
        if glob.names(relation.schema, relation.name):
            yield relation


def _spread(keys: set[ColumnKey], catalog: Catalog, neighbours: Neighbours) -> set[ColumnKey]:
    """`keys` and the columns of the same name in whatever `neighbours` leads to."""
    reached = set(keys)
    pending = list(keys)
    while pending:
        oid, attnum = pending.pop()
        relation = catalog.relations.get(oid)
        if relation is None:
            continue
        name = next((c.name for c in relation.columns if c.attnum == attnum), None)
        for other in neighbours(relation):
            related = catalog.relations.get(other)
            column = None if related is None or name is None else related.column(name)
            if column is not None and (other, column.attnum) not in reached:
                reached.add((other, column.attnum))
                pending.append((other, column.attnum))
    return reached
