"""What a write changes that it does not name: the tables below a view, partitions and children,
parents, and what foreign keys carry it on to.

Asked by `names` for every write; policy denies or holds it by the rules of those relations, too.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from appliance.model.facts import Action
from appliance.model.references import references

if TYPE_CHECKING:
    from appliance.sql.lineage import CatalogLineage

Change = tuple[Action, int, Sequence[str]]
"""(action, OID, columns; () = any)."""


def changed_with(
    lineage: "CatalogLineage", action: Action, oid: int, named: Sequence[str]
) -> Iterator[Change]:
    """`named`: columns that are written, () = any."""
    relations, together = lineage.catalog.relations, lineage.written_with(oid)
    for other in together:
        # A column that a view calls otherwise: any column may be meant.
        same = all(relations[other].column(name) is not None for name in named)
        yield action, other, named if same else ()
    if action in (Action.UPDATE, Action.DELETE):
        for each in (oid, *together):
            yield from _carried_on(lineage, each, named if action is Action.UPDATE else None)


def carried_to(
    lineage: "CatalogLineage", action: Action, oid: int, named: Sequence[str]
) -> Iterator[int]:
    """OIDs of what foreign keys alone carry such a write on to."""
    if action in (Action.UPDATE, Action.DELETE):
        for each in (oid, *lineage.written_with(oid)):
            for _, child, _ in _carried_on(
                lineage, each, named if action is Action.UPDATE else None
            ):
                yield child


def _carried_on(
    lineage: "CatalogLineage", oid: int, named: Sequence[str] | None
) -> Iterator[Change]:
    """By foreign keys; `named` None: rows go."""
    catalog = lineage.catalog
    columns = catalog.relations[oid].columns
    known = named is None or {column.name for column in columns}.issuperset(named)
    changed = frozenset(c.attnum for c in columns if not named or not known or c.name in named)
    change = None if named is None else changed
    for key, brings in references(catalog.foreign_keys, catalog.made_of, oid, change):
        child = catalog.relations.get(key.child)
        if child is not None and brings is None:
            yield Action.DELETE, child.oid, ()
        elif child is not None and brings:
            names = [column.name for column in child.columns if column.attnum in brings]
            yield Action.UPDATE, child.oid, names
