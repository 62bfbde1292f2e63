"""What foreign keys carry a change on to. Called by `sql/names` for what a write changes elsewhere,
and by `masking/oracles` for what its success tells. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping

from appliance.model.catalog import ForeignKey

Changed = frozenset[int] | None
"""Attribute numbers whose values change; None: rows are removed."""

NOTHING: Changed = frozenset()
MadeOf = Mapping[int, Mapping[int, tuple[int, ...]]]
"""`Catalog.made_of`."""

_SPREADING = frozenset("cnd")
"""pg_constraint.confdeltype and confupdtype: CASCADE, SET NULL, SET DEFAULT change the child."""


def references(
    keys: Iterable[ForeignKey], made_of: MadeOf, oid: int, changed: Changed
) -> Iterator[tuple[ForeignKey, Changed]]:
    """Every key that refers to rows which the change of a relation reaches, and what that changes
    in the key's child."""
    pending = [(oid, changed)]
    seen = set(pending)
    while pending:
        parent, columns = pending.pop()
        columns = None if columns is None else with_made(made_of, parent, columns)
        for key in keys:
            if key.parent != parent or not _concerns(key, columns):
                continue
            following = (key.child, _carried_on(key, columns))
            yield key, following[1]
            if following[1] != NOTHING and following not in seen:
                seen.add(following)
                pending.append(following)


def with_made(made_of: MadeOf, oid: int, changed: frozenset[int]) -> frozenset[int]:
    """Columns that change, and those that the server computes from them."""
    made = made_of.get(oid, {})
    return changed.union(c for c, sources in made.items() if not changed.isdisjoint(sources))


def with_sources(made_of: MadeOf, oid: int, columns: Iterable[int]) -> frozenset[int]:
    """Columns, and those that the server computes them from."""
    made, found = made_of.get(oid, {}), frozenset(columns)
    return found.union(*(made.get(column, ()) for column in found)) if made else found


def truncated_with(keys: Iterable[ForeignKey], oid: int) -> frozenset[int]:
    """What TRUNCATE ... CASCADE of a relation empties as well: whatever refers to it."""
    reached, pending = {oid}, [oid]
    while pending:
        parent = pending.pop()
        new = {key.child for key in keys if key.parent == parent} - reached
        reached |= new
        pending += new
    return frozenset(reached - {oid})


def _concerns(key: ForeignKey, columns: Changed) -> bool:
    return columns is None or not columns.isdisjoint(key.parent_columns)


def _carried_on(key: ForeignKey, columns: Changed) -> Changed:
    rule = key.on_delete if columns is None else key.on_update
    if rule not in _SPREADING:
        return NOTHING
    return None if columns is None and rule == "c" else frozenset(key.columns)
