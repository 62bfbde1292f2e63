"""Writes whose success or failure would tell a masked value, though the statement reads none.

Asked by `plan` for every statement of somebody who owes masks. A foreign key, a check or a unique
index makes the database compare what is written with cells that are not: an error then says how
they compare. What remains allowed, and is said in the README: writing a masked column itself, whose
unique index answers whether the value is taken.

Its rule: a constraint matters when the statement changes one side of the comparison and a masked
column that it does not change is on the other.
"""

from collections.abc import Iterable, Iterator, Mapping

from appliance.model.catalog import Catalog, ColumnKey
from appliance.model.decision import Mask
from appliance.model.facts import Action, RelationUse, StatementFacts
from appliance.model.references import references

Owed = Mapping[ColumnKey, Mask]

_REMOVING = frozenset({Action.DELETE, Action.MERGE})
_CHANGING = frozenset({Action.UPDATE, Action.MERGE})
_ADDING = frozenset({Action.INSERT, Action.UPDATE, Action.MERGE, Action.COPY_FROM})


def told_by(statement: StatementFacts, owed: Owed, catalog: Catalog) -> ColumnKey | None:
    """A masked column that the outcome of the statement's writes would tell of."""
    for use in (*statement.relations, *statement.beneath):
        found = next(_told(use, owed, catalog), None)
        if found is not None:
            return found
    return None


def _told(use: RelationUse, owed: Owed, catalog: Catalog) -> Iterator[ColumnKey]:
    written = _written(use, catalog)
    if use.action in _REMOVING:
        yield from _by_references(use.oid, None, owed, catalog)
    if use.action in _CHANGING:
        yield from _by_references(use.oid, written, owed, catalog)
        yield from _by_comparisons(use.oid, written, owed, catalog)
    if use.action in _ADDING:
        for key in catalog.foreign_keys:
            if key.child == use.oid and not written.isdisjoint(key.columns):
                yield from _masked(key.parent, key.parent_columns, owed)


def _written(use: RelationUse, catalog: Catalog) -> frozenset[int]:
    relation = catalog.relations.get(use.oid)
    columns = () if relation is None else relation.columns
    every = not use.columns or "*" in use.columns or use.action is Action.MERGE
    return frozenset(c.attnum for c in columns if every or c.name in use.columns)


def _by_references(
    oid: int, changed: frozenset[int] | None, owed: Owed, catalog: Catalog
) -> Iterator[ColumnKey]:
    """Rows that refer to what is removed (`changed` None) or to columns that change, and what that
    brings with it."""
    for key, _ in references(catalog.foreign_keys, oid, changed):
        yield from _masked(key.child, key.columns, owed)


def _by_comparisons(
    oid: int, written: frozenset[int], owed: Owed, catalog: Catalog
) -> Iterator[ColumnKey]:
    """Checks, unique indexes and generated columns over changed columns and masked ones beside."""
    for columns in catalog.compared.get(oid, ()):
        if not written.isdisjoint(columns):
            yield from _masked(oid, [c for c in columns if c not in written], owed)


def _masked(oid: int, columns: Iterable[int], owed: Owed) -> Iterator[ColumnKey]:
    return (key for column in columns if (key := (oid, column)) in owed)
