"""Rows that nobody sorted come in the order of the index they were read from, and that tells how
masked values compare. Asked by `plan` for statements that would be masked on the wire; what is
rewritten reads its relations without such indexes.

Only where the catalog says which indexes there are (`Catalog.indexes`): where a database reads rows
from an index alone whenever that is shorter. Its rule: an index with a masked column tells, when
all that is read of the relation is in it, when the columns before the masked one are used, or when
it is the primary key.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from appliance.model.catalog import Catalog, ColumnKey
from appliance.model.decision import Mask
from appliance.model.facts import Action, StatementFacts

_READING = frozenset({Action.SELECT, Action.EXPLAIN})


class Origins(Protocol):
    @property
    def sources(self) -> frozenset[ColumnKey]: ...


class Lineage(Protocol):
    """What is needed of a dialect's lineage."""

    @property
    def catalog(self) -> Catalog: ...
    def of(self, key: ColumnKey, /) -> Origins: ...


def told_by_order(
    statement: StatementFacts, owed: Mapping[ColumnKey, Mask], lineage: Lineage
) -> ColumnKey | None:
    """A masked column that the order of the statement's rows may tell of."""
    catalog = lineage.catalog
    if not catalog.indexes or not any(use.action in _READING for use in statement.relations):
        return None
    read = _read(statement, lineage)
    for oid, columns in read.items():
        hidden = frozenset(attnum for relation, attnum in owed if relation == oid)
        used = frozenset(attnum for relation, attnum in statement.consumed if relation == oid)
        if hidden and (found := _telling(catalog, oid, hidden, columns, used)):
            return (oid, found)
    return None


def _telling(
    catalog: Catalog, oid: int, hidden: frozenset[int], read: set[int], used: frozenset[int]
) -> int:
    """Number of the masked column, 0 for none."""
    primary = catalog.primary_keys.get(oid, ())
    for columns in catalog.indexes.get(oid, {}).values():
        masked = [c for c in _known(catalog, oid, columns) if c in hidden]
        if not masked:
            continue
        if columns == primary or columns[0] in used - hidden or read <= {*columns, *primary}:
            return masked[0]
    return 0


def _known(catalog: Catalog, oid: int, columns: Iterable[int]) -> Iterable[int]:
    """An expression may be made of any column."""
    if 0 not in columns:
        return columns
    return [column.attnum for column in catalog.relations[oid].columns]


def _read(statement: StatementFacts, lineage: Lineage) -> dict[int, set[int]]:
    """Columns that a statement reads, views expanded, by relation; a relation of which it reads no
    column in particular is there too."""
    found: dict[int, set[int]] = {}
    for use in statement.relations:
        relation = lineage.catalog.relations.get(use.oid)
        if relation is None or use.action not in _READING:
            continue
        found.setdefault(use.oid, set())
        for column in relation.columns:
            if column.name in use.columns or "*" in use.columns:
                key = (use.oid, column.attnum)
                for oid, attnum in {key, *lineage.of(key).sources}:
                    found.setdefault(oid, set()).add(attnum)
    for oid, attnum in statement.consumed:
        found.setdefault(oid, set()).add(attnum)
    return found
