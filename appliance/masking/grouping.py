"""GROUP BY a primary key, where the relation is replaced by its masked subselect.

Asked by `rewrite` for every SELECT. The server lets a query use any column of a relation whose
primary key is grouped by (parse_agg.c); a subselect has no primary key, so the columns used are
grouped by as well. That makes no other groups: all of them follow from the key, masks included.
Rule: only what surely follows is added; without it the server says that a column must appear in
GROUP BY.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from appliance.masking import trees
from appliance.masking.trees import Body, Node
from appliance.model.catalog import Catalog, Relation
from appliance.model.resolution import Resolution

Name = tuple[str, str]
"""(alias, column)."""

_INCOMPARABLE = frozenset({114, 142, 600, 601, 602, 603, 604, 628, 718})
"""json, xml and the geometric types: GROUP BY has no equality for them."""
_AFTER_GROUPING = ("targetList", "havingClause", "sortClause", "windowClause")


class _Place(NamedTuple):
    """A relation in FROM under its own columns' names."""

    place: int
    alias: str
    relation: Relation
    inherits: bool


def implied(
    select: Body, resolution: Resolution, catalog: Catalog, is_replaced: Callable[[int], bool]
) -> list[Node]:
    """What GROUP BY has to name as well."""
    keys = select.get("groupClause", ())
    if not keys or any("GroupingSet" in key for key in keys):
        return []
    places = list(_places(select.get("fromClause", ()), resolution, catalog))
    by = {name for key in keys if (name := _named(_meant(key, select), places)) is not None}
    found: dict[Name, None] = {}
    for place in places:
        if is_replaced(place.place) and _holds_key(place, by, catalog):
            found.update(dict.fromkeys(_used(select, place, places)))
    return [trees.column(*name) for name in found if name not in by]


def _places(sources: Sequence[Node], resolution: Resolution, catalog: Catalog) -> Iterator[_Place]:
    for source in sources:
        join, body = source.get("JoinExpr"), source.get("RangeVar", {})
        if join is not None and "alias" not in join:
            yield from _places((join["larg"], join["rarg"]), resolution, catalog)
        found = resolution.relations.get(id(body))
        relation = None if found is None else catalog.relations.get(found.oid)
        if found is not None and relation is not None and "colnames" not in body.get("alias", {}):
            yield _Place(id(body), found.alias, relation, bool(body.get("inh")))


def _meant(key: Node, select: Body) -> Node:
    """The output that an ordinal stands for; else the key itself."""
    number = key.get("A_Const", {}).get("ival", {}).get("ival")
    outputs = [node["ResTarget"].get("val", {}) for node in select.get("targetList", ())]
    if number is None or not 0 < number <= len(outputs):
        return key
    stars = any("A_Star" in _fields(output)[-1] for output in outputs[:number] if _fields(output))
    return key if stars else outputs[number - 1]


def _fields(node: Node) -> Sequence[Node]:
    fields: Sequence[Node] = node.get("ColumnRef", {}).get("fields", ())
    return fields


def _named(node: Node, places: Sequence[_Place]) -> Name | None:
    """The column that a reference means, if it surely is one of these relations'."""
    words = [field.get("String", {}).get("sval", "") for field in _fields(node)]
    if len(words) == 2:
        return (words[0], words[1])
    owners = [p for p in places if words and p.relation.column(words[0]) is not None]
    return (owners[0].alias, words[0]) if len(words) == 1 and len(owners) == 1 else None


def _holds_key(place: _Place, by: set[Name], catalog: Catalog) -> bool:
    """Whether the rows are told apart by what is grouped by. Children have keys of their own."""
    key = catalog.primary_keys.get(place.relation.oid, ())
    names = {(place.alias, c.name) for c in place.relation.columns if c.attnum in key}
    if not names or not names <= by:
        return False
    alone = not place.inherits or place.relation.kind == "p"
    return alone or all(
        place.relation.oid not in other.parents for other in catalog.relations.values()
    )


def _used(select: Body, place: _Place, places: Sequence[_Place]) -> Iterator[Name]:
    """Columns of the relation that are used behind GROUP BY, in aggregates or not."""
    for node in _references([select.get(part) for part in _AFTER_GROUPING]):
        fields = _fields(node)
        if "A_Star" in fields[-1]:
            if len(fields) == 1 or fields[-2].get("String", {}).get("sval") == place.alias:
                yield from ((place.alias, c.name) for c in _comparable(place.relation))
            continue
        name = _named(node, places)
        if name is not None and name[0] == place.alias:
            yield from ((name[0], c.name) for c in _comparable(place.relation) if c.name == name[1])


def _comparable(relation: Relation) -> Iterator[Any]:
    return (column for column in relation.columns if column.type_oid not in _INCOMPARABLE)


def _references(value: Any) -> Iterator[Node]:
    """Every ColumnRef, at any depth but in queries: what those use of it is not looked for."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, Mapping):
            if "ColumnRef" in value:
                yield value
            elif "SubLink" not in value:
                stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
