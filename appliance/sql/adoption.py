"""Whether a relation with masked columns could become a part of one that a text reads, which the
text's locks do not hold off: ATTACH PARTITION and INHERIT lock the parent against writers of its
definition only (tablecmds.c: ShareUpdateExclusiveLock), and the rows of the new part come out under
the parent's columns.

Asked by `session/decisions` for what a statement rests on. Its rule: a part has all of its parent's
columns, by name and type; what has them already, or shows nothing there that the parent does not,
makes no difference.
"""

from collections.abc import Collection, Iterator, Mapping

from appliance.model.catalog import Catalog, ColumnKey, Relation
from appliance.model.decision import Mask

_ADOPTING = frozenset("rp")
_ADOPTED = frozenset("rpf")


def adopts(
    oids: Collection[int], owed: Mapping[ColumnKey, Mask], catalog: Catalog, unclassified: str
) -> bool:
    """Whether one of these may come to show what a mask is owed on. `unclassified`: the rule of
    masks on what nobody has classified; as a part it counts as its parent does."""
    masked: dict[int, set[int]] = {}
    for (oid, attnum), mask in owed.items():
        if mask.rule != unclassified:
            masked.setdefault(oid, set()).add(attnum)
    parts = [r for oid in masked if (r := catalog.relations.get(oid)) and r.kind in _ADOPTED]
    return any(
        _shows(part, masked[part.oid], parent, owed)
        for parent in _of(oids, catalog)
        for part in parts
        if parent.oid not in _above(part, catalog)
    )


def _of(oids: Collection[int], catalog: Catalog) -> Iterator[Relation]:
    for oid in oids:
        relation = catalog.relations.get(oid)
        if relation is None or relation.persistence == "t":  # has temporary parts only
            continue
        if relation.kind in _ADOPTING:
            yield relation


def _above(part: Relation, catalog: Catalog) -> set[int]:
    """Itself, and all that it is a part of."""
    found: set[int] = set()
    pending = [part.oid]
    while pending:
        each = pending.pop()
        relation = catalog.relations.get(each)
        if each not in found:
            found.add(each)
            pending += () if relation is None else relation.parents
    return found


def _shows(
    part: Relation, masked: Collection[int], parent: Relation, owed: Mapping[ColumnKey, Mask]
) -> bool:
    own = {column.name: column for column in part.columns}
    told = False
    for column in parent.columns:
        found = own.get(column.name)
        if found is None or found.type_oid != column.type_oid:
            return False
        told |= found.attnum in masked and (parent.oid, column.attnum) not in owed
    return told
