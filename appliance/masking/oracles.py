"""Writes whose success or failure would tell a masked value, though the statement reads none.

Asked by `plan` for every statement of somebody who owes masks. A foreign key, a check, an index, a
generated column or a trigger makes the database look at cells that are not written, or hold what is
written against them: an error, or a row that is not counted, then says how they compare. What
remains allowed, and is said in LIMITS.md, where policy does not refuse it (`Mask.unique_writes`):
writing a masked column itself, whose unique index answers whether the value is taken.

Its rule: what is looked at matters when the statement makes the database look at it anew and a
masked column that it does not write is part of it.
"""

from collections.abc import Iterable, Iterator, Mapping

from appliance.model.catalog import Catalog, ColumnKey, ForeignKey
from appliance.model.decision import Mask
from appliance.model.facts import Action, RelationUse, StatementFacts
from appliance.model.references import references, with_made, with_sources

Owed = Mapping[ColumnKey, Mask]

_REMOVING = frozenset({Action.DELETE, Action.MERGE})
_CHANGING = frozenset({Action.UPDATE, Action.MERGE})
_INSERTING = frozenset({Action.INSERT, Action.COPY_FROM})
_ADDING = frozenset({Action.INSERT, Action.UPDATE, Action.MERGE, Action.COPY_FROM})


def told_by(statement: StatementFacts, owed: Owed, catalog: Catalog) -> ColumnKey | None:
    """A masked column that the outcome of the statement's writes would tell of."""
    deciding = statement.decides & owed.keys()
    if deciding:
        return min(deciding)
    for use in (*statement.relations, *statement.beneath):
        found = next(_told(use, owed, catalog), None)
        if found is not None:
            return found
    return None


def _told(use: RelationUse, owed: Owed, catalog: Catalog) -> Iterator[ColumnKey]:
    written = _Written(use, catalog)
    if use.action in _REMOVING:
        yield from _by_references(use.oid, None, owed, catalog)
        for comparison in catalog.compared.get(use.oid, ()):
            yield from _masked(use.oid, comparison.deleted, owed)
    if use.action in _CHANGING:
        yield from _by_references(use.oid, written.perhaps, owed, catalog)
        yield from _moved(use.oid, written, owed, catalog)
    if use.action is Action.UPDATE:
        yield from _by_changes(use.oid, written, owed, catalog)
    if use.action in _INSERTING:
        for comparison in catalog.compared.get(use.oid, ()):
            yield from _masked(use.oid, comparison.others, owed)
    if use.action in _ADDING:
        given = written.given if use.action in _INSERTING else written.perhaps
        yield from _by_guesses(use.oid, given, owed, catalog)
        for key in catalog.foreign_keys:
            if key.child == use.oid and _refers(key, use.action, written):
                parents = with_sources(catalog.made_of, key.parent, key.parent_columns)
                yield from _masked(key.parent, parents, owed)


class _Written:
    """Attribute numbers of what a statement may change of a row, with what is computed from it,
    and of what it surely gives a new value."""

    def __init__(self, use: RelationUse, catalog: Catalog) -> None:
        relation = catalog.relations.get(use.oid)
        columns = () if relation is None else relation.columns
        # A write below a view whose columns bear other names names none here.
        known = bool(use.columns) and "*" not in use.columns and use.action is not Action.MERGE
        named = frozenset(c.attnum for c in columns if not known or c.name in use.columns)
        defaulted = frozenset(c.attnum for c in columns if c.defaulted)
        self.surely = named if known else frozenset[int]()
        self.perhaps = with_made(catalog.made_of, use.oid, named)
        self.given = with_made(catalog.made_of, use.oid, named | defaulted)
        """What is not NULL in a row that is inserted."""


def _refers(key: ForeignKey, action: Action, written: _Written) -> bool:
    """Whether a row that is written may be looked for in what the key refers to. One without a
    value in a column of the key is not."""
    if not written.perhaps.isdisjoint(key.columns):
        return True
    return action in _INSERTING and set(key.defaulted) >= set(key.columns)


def _by_references(
    oid: int, changed: frozenset[int] | None, owed: Owed, catalog: Catalog
) -> Iterator[ColumnKey]:
    """Rows that refer to what is removed (`changed` None) or to columns that change, and what that
    brings with it."""
    for key, following in references(catalog.foreign_keys, catalog.made_of, oid, changed):
        yield from _masked(key.child, with_sources(catalog.made_of, key.child, key.columns), owed)
        if changed is not None and following:
            carried = with_made(catalog.made_of, key.child, following)
            yield from _looked_at(key.child, carried, frozenset(), owed, catalog)


def _by_changes(oid: int, written: _Written, owed: Owed, catalog: Catalog) -> Iterator[ColumnKey]:
    """What an UPDATE makes the server look at in a row, or hold against others."""
    yield from _looked_at(oid, written.perhaps, written.surely, owed, catalog)
    for comparison in catalog.compared.get(oid, ()):
        if not written.perhaps.isdisjoint(comparison.changes):
            yield from _masked(oid, comparison.changes, owed)


def _looked_at(
    oid: int, changed: frozenset[int], anew: frozenset[int], owed: Owed, catalog: Catalog
) -> Iterator[ColumnKey]:
    """The same where these columns may change, and some surely get a value that is known."""
    for comparison in catalog.compared.get(oid, ()):
        touched = not changed.isdisjoint(comparison.columns)
        if touched or comparison.always:
            beside = [c for c in comparison.columns if c not in anew]
            yield from _masked(oid, (*beside, *comparison.before), owed)
        if touched:
            yield from _masked(oid, comparison.others, owed)


def _moved(oid: int, written: _Written, owed: Owed, catalog: Catalog) -> Iterator[ColumnKey]:
    """A row that moves to another partition is a new one there."""
    for comparison in catalog.compared.get(oid, ()):
        if not written.perhaps.isdisjoint(comparison.moves):
            for part in _parts(oid, catalog):
                for other in catalog.compared.get(part, ()):
                    yield from _masked(part, other.unique, owed)


def _parts(oid: int, catalog: Catalog) -> Iterator[int]:
    """All partitions below a relation."""
    pending = [oid]
    while pending:
        parent = pending.pop()
        found = [r.oid for r in catalog.relations.values() if parent in r.parents]
        yield from found
        pending += found


def _by_guesses(
    oid: int, given: frozenset[int], owed: Owed, catalog: Catalog
) -> Iterator[ColumnKey]:
    """Of which policy says that nobody may find out by writing it whether a value is taken.
    `given`: what may have a value in the row that is written; a key with a NULL in it is like no
    other."""
    for comparison in catalog.compared.get(oid, ()):
        for key in _masked(oid, comparison.unique, owed):
            if not owed[key].unique_writes and (comparison.nulls_alike or key[1] in given):
                yield key


def _masked(oid: int, columns: Iterable[int], owed: Owed) -> Iterator[ColumnKey]:
    return (key for column in columns if (key := (oid, column)) in owed)
