"""What names mean at one level of a MySQL query: fields, the items of FROM, common tables.

Built and asked by `reading`. Names are compared as MySQL compares them: columns and what
information_schema holds without regard to case, other relations and aliases as
lower_case_table_names says. What only a collation could tell apart is never guessed: it is
`UNSURE`, and a statement with such a name is not understood.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from appliance.model.catalog import ColumnKey


class Field:
    """A column that can be referred to, with where its value comes from."""

    __slots__ = ("loose", "name", "origin", "plain", "sources")

    def __init__(
        self,
        name: str,
        origin: ColumnKey | None = None,
        sources: tuple[ColumnKey, ...] = (),
        plain: bool = False,
        loose: tuple[ColumnKey, ...] = (),
    ) -> None:
        self.name = name
        self.origin = origin
        """What the server's column definition names (schema, org_table, org_name) for a plain
        reference to it; None = nothing."""
        self.sources = sources
        self.plain = plain
        """Whether its value is the one source's, unchanged."""
        self.loose = loose
        """What the server may name as well."""

    def renamed(self, name: str) -> "Field":
        if name == self.name:
            return self
        return Field(name, self.origin, self.sources, self.plain, self.loose)


UNSURE: Final = Field("")
"""Two columns of one name, or one whose name is equal only in some collations."""


@lru_cache(maxsize=65_536)
def folded(name: str) -> str:
    """Equal for all names that any server could take for the same one."""
    apart = unicodedata.normalize("NFKD", name.casefold())
    return "".join(c for c in apart if not unicodedata.combining(c)).casefold()


def surely_equal(one: str, other: str) -> bool:
    """Equal but for the case of ASCII letters, in every collation."""
    return one == other or (one.isascii() and other.isascii() and one.lower() == other.lower())


_WORD = re.compile(r"[\w$]+")
"""What no text of an expression with a column in it is: the server names an output by its text."""


class Columns:
    """The columns of one item, by name; '' is one that is named by its text."""

    __slots__ = ("_found",)

    def __init__(self, fields: Iterable[Field]) -> None:
        self._found: dict[str, list[Field]] = {}
        for field in fields:
            self._found.setdefault(folded(field.name), []).append(field)

    def get(self, name: str) -> Field | None:
        """The column of this name; UNSURE when it may be another one, None when there is none."""
        near = self._found.get(folded(name))
        if near is None:
            return UNSURE if "" in self._found and not _WORD.fullmatch(name) else None
        exact = [field for field in near if field.name == name]
        if len(exact) == 1:
            return exact[0]
        sure = [field for field in near if surely_equal(field.name, name)]
        return sure[0] if len(sure) == 1 == len(near) else UNSURE


class Item:
    """One item of FROM: a relation, a subquery, a common table, or the target of a write."""

    __slots__ = ("alias", "columns", "database", "fields", "known", "oid", "place", "starred")

    def __init__(
        self,
        alias: str,
        fields: Sequence[Field],
        *,
        database: str = "",
        oid: int = 0,
        known: bool = True,
        starred: Sequence[Field] | None = None,
        place: int = 0,
    ) -> None:
        self.alias = alias
        """'' = what has no name (a join in parentheses)."""
        self.database = database
        """Of a relation: what `database.relation.column` may say."""
        self.fields = fields
        self.starred = fields if starred is None else starred
        """What `*` gives: invisible columns are left out."""
        self.columns = Columns(fields)
        self.oid = oid
        self.place = place
        """id() of the exp.Table of a relation, 0 for any other item."""
        self.known = known
        """False when it may have columns that are not listed."""


class Common:
    """One WITH query."""

    __slots__ = ("fields", "known", "name")

    def __init__(self, name: str, fields: Sequence[Field], known: bool) -> None:
        self.name = name
        self.fields = fields
        self.known = known


class Level:
    """One query level: what its names are looked up in, innermost first."""

    __slots__ = ("aliases", "commons", "items", "merged", "parent", "star_unsure", "starred")

    def __init__(self, parent: "Level | None" = None) -> None:
        self.parent = parent
        self.items: list[Item] = []
        self.merged: dict[str, Field] = {}
        """Folded names of columns that USING or NATURAL made one -> the one."""
        self.starred: list[Field] = []
        """What `*` gives."""
        self.star_unsure = False
        self.aliases: list[Field] | None = None
        """Outputs so far, which GROUP BY, HAVING, ORDER BY and subqueries may name."""
        self.commons: tuple[Common, ...] = () if parent is None else parent.commons
        """WITH queries in reach, latest last."""

    def add(self, item: Item) -> None:
        self.items.append(item)
        self.starred.extend(item.starred)

    def absorb(self, inside: "Level") -> None:
        """The items of a join in parentheses."""
        self.items.extend(inside.items)
        self.starred.extend(inside.starred)
        self.merged.update(inside.merged)
        self.star_unsure = self.star_unsure or inside.star_unsure

    def part(self, start: int, end: int | None = None) -> "Level":
        """A level of its own that sees some of the items, and outwards what this one sees."""
        made = Level(self.parent)
        made.commons = self.commons
        made.items = self.items[start:end]
        made.merged = self.merged
        return made

    def merge(self, merged: list[Field], left: list[Field], right: list[Field]) -> None:
        """Columns that a join made one come first, once."""
        names = {folded(field.name) for field in merged}
        rest = [field for field in (*left, *right) if folded(field.name) not in names]
        self.merged.update({folded(field.name): field for field in merged})
        self.starred = [*merged, *rest]

    def field(self, name: str) -> Field | None:
        """A column of this level by its bare name, UNSURE, or None."""
        merged = self.merged.get(folded(name))
        if merged is not None:
            return merged if surely_equal(merged.name, name) else UNSURE
        found: Field | None = None
        for item in self.items:
            field = item.columns.get(name)
            if field is None and not item.known:
                return UNSURE
            if field is not None:
                if found is not None:
                    return UNSURE
                found = field
        return found


def seen_through(field: Field) -> Field:
    """A column as it is seen from outside a derived table or WITH query."""
    origin = () if field.origin is None else (field.origin,)
    return Field(field.name, None, field.sources, field.plain, (*origin, *field.loose))


def sources_of(fields: Iterable[Field]) -> tuple[ColumnKey, ...]:
    return tuple(sorted({key for field in fields for key in field.sources}))


def common_names(left: Sequence[Field], right: Sequence[Field]) -> list[str]:
    there = {folded(field.name) for field in right}
    return [field.name for field in left if folded(field.name) in there]
