"""What names mean at one level of a query: fields, the items of FROM, CTEs. Built and asked by
`names` and `queries`.

Mirrors PostgreSQL's parse_relation.c: a level's FROM items in order, columns of the top-level ones
found unqualified, all of them found qualified, then the level outside.
"""

from collections.abc import Iterable, Mapping, Sequence

from appliance.model.catalog import ColumnKey
from appliance.sql.parse import Body


class Field:
    """A column that can be referred to, with where its value comes from."""

    __slots__ = ("loose", "name", "origin", "plain", "sources", "type_oid", "typmod")

    def __init__(
        self,
        name: str,
        origin: ColumnKey | None = None,
        sources: tuple[ColumnKey, ...] = (),
        plain: bool = False,
        type_oid: int = 0,
        typmod: int = -1,
        loose: tuple[ColumnKey, ...] = (),
    ) -> None:
        self.name = name
        self.origin = origin
        """What the server reports in RowDescription for a plain reference to it; None = 0, 0."""
        self.loose = loose
        """What it may report as well."""
        self.sources = sources
        self.plain = plain
        self.type_oid = type_oid
        """0 = not known."""
        self.typmod = typmod

    def renamed(self, name: str) -> "Field":
        if name == self.name:
            return self
        return Field(
            name, self.origin, self.sources, self.plain, self.type_oid, self.typmod, self.loose
        )


AMBIGUOUS = Field("")
"""Stands for a name that two columns of one item bear."""

Columns = Mapping[str, Field]


def by_name(fields: Iterable[Field]) -> Columns:
    columns: dict[str, Field] = {}
    for field in fields:
        columns[field.name] = AMBIGUOUS if field.name in columns else field
    return columns


class Item:
    """One FROM item: a relation, subquery, function, join, or the target of a write."""

    __slots__ = (
        "alias",
        "columns",
        "fields",
        "known",
        "oid",
        "opaque",
        "place",
        "schema",
        "target",
    )

    def __init__(
        self,
        alias: str,
        fields: Sequence[Field],
        columns: Columns | None = None,
        oid: int = 0,
        schema: str = "",
        known: bool = True,
        opaque: bool = False,
        place: int = 0,
    ) -> None:
        self.place = place
        """id() of the RangeVar it came from, 0 for what is no relation (see `model/resolution`)."""
        self.target = False
        """Whether it is the relation that the statement writes."""
        self.alias = alias
        self.fields = fields
        self.columns = by_name(fields) if columns is None else columns
        self.oid = oid
        """pg_class.oid of a relation, else 0."""
        self.schema = schema
        """Of a relation without an alias: what `schema.relation.column` may say."""
        self.known = known
        """False when it may have columns that are not listed."""
        self.opaque = opaque
        """Of an item that is not known: whether those columns may hold base columns (an
        unresolved relation) or are computed from arguments that were already counted as used (a
        function)."""


class Cte:
    """One WITH query, analysed when first referred to."""

    __slots__ = ("body", "endless", "fields", "known", "name", "recursive", "scope", "state")

    PENDING, RUNNING, DONE = 0, 1, 2

    def __init__(self, body: Body, scope: "Scope", recursive: bool) -> None:
        self.name: str = body["ctename"]
        self.body = body
        self.scope = scope
        self.recursive = recursive
        self.endless = False
        """It recurses, and nothing in it ends that."""
        self.state = Cte.PENDING
        self.fields: Sequence[Field] = ()
        self.known = True


class Scope:
    """One query level."""

    __slots__ = ("ctes", "items", "owner", "parent", "setting_named", "tainted", "tops")

    def __init__(self, parent: "Scope | None" = None) -> None:
        self.parent = parent
        self.items: list[Item] = []
        """Found by qualified names."""
        self.tops: list[Item] = []
        """Found by unqualified names and expanded by `*`."""
        self.ctes: dict[str, Cte] | None = None
        self.setting_named: str | None = None
        """The one row of pg_settings that this level reads, by name."""
        self.tainted = False
        """A name here was not resolved: every column of every item counts as used."""
        self.owner: Scope | None = None
        """The level this temporary one is part of (a join's ON, a lateral right side)."""

    def add(self, top: Item, items: Sequence[Item]) -> None:
        self.tops.append(top)
        self.items.extend(items)

    def beside(self, tops: list[Item], items: list[Item]) -> "Scope":
        """A temporary level that sees these items, and outwards what this one sees."""
        scope = Scope(self.parent)
        scope.ctes = self.ctes
        scope.tops = tops
        scope.items = items
        scope.owner = self
        return scope

    def without_items(self) -> "Scope":
        """What a subquery in FROM that is not LATERAL sees of this level: its CTEs only."""
        scope = Scope(self.parent)
        scope.ctes = self.ctes
        scope.owner = self
        return scope

    def field(self, name: str) -> Field | None:
        """A column of this level, AMBIGUOUS, or None."""
        found: Field | None = None
        for item in self.tops:
            field = item.columns.get(name)
            if field is not None:
                if found is not None:
                    return AMBIGUOUS
                found = field
        return found

    def item(self, alias: str) -> Item | None:
        scope: Scope | None = self
        while scope is not None:
            for item in scope.items:
                if item.alias == alias:
                    return item
            scope = scope.parent
        return None

    def qualified_item(self, schema: str, name: str) -> Item | None:
        scope: Scope | None = self
        while scope is not None:
            for item in scope.items:
                if item.schema == schema and item.alias == name:
                    return item
            scope = scope.parent
        return None

    def cte(self, name: str) -> Cte | None:
        scope: Scope | None = self
        while scope is not None:
            if scope.ctes is not None:
                found = scope.ctes.get(name)
                if found is not None:
                    return found
            scope = scope.parent
        return None

    def taint(self) -> None:
        scope: Scope | None = self
        while scope is not None:
            scope.tainted = True
            if scope.owner is not None:
                scope.owner.tainted = True
            scope = scope.parent
