"""What the names in one parse tree mean, found by `sql`, read by `masking/rewrite`.

Keyed by `id()` of the node's body: the tree must be kept (`tree`) as long as the resolution is.
A place that needs no attention in a rewritten statement (a column of an item, found by its alias)
is not in it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.model.catalog import ColumnKey

Tree = Mapping[str, Any]
"""The body of a parse-tree node, in libpg_query's JSON form."""


TARGET_ROW = -1
"""In place of a RangeVar's id: the row of the relation that the statement writes."""


class RelationPlace(NamedTuple):
    """A RangeVar that stands for a relation of the catalog or of the session's temporary schema."""

    oid: int
    alias: str
    """What its columns are qualified with."""
    written: bool = False
    """Whether it is the target of a write: it cannot be replaced by a query."""


class TargetColumn(NamedTuple):
    """A reference to a column of a written relation, before or after the write."""

    alias: str
    key: ColumnKey
    name: str


class StarPart(NamedTuple):
    """One FROM item below a star."""

    place: int
    """id() of its RangeVar's body, 0 for any other item."""
    alias: str
    """'' for a column that a join merged from two: it is in reach by its mere name."""
    columns: tuple[str, ...]


class Resolution:
    """Filled while one statement is analysed."""

    __slots__ = (
        "ctes",
        "names",
        "qualified",
        "read",
        "relations",
        "row_fields",
        "row_stars",
        "rows",
        "stars",
        "system",
        "target_rows",
        "targets",
        "tree",
    )

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.relations: dict[int, RelationPlace] = {}
        self.ctes: set[int] = set()
        """RangeVars that stand for a WITH query."""
        self.rows: dict[int, int] = {}
        """ColumnRef that means a whole row -> the RangeVar it is a row of (0: no relation's)."""
        self.row_fields: dict[int, tuple[str, str]] = {}
        """A_Indirection `(item).column` or FuncCall `column(item)` -> (alias, column)."""
        self.row_stars: dict[int, int] = {}
        """ColumnRef `row.*` inside an expression -> RangeVar, TARGET_ROW for the written one."""
        self.system: dict[int, tuple[int, str]] = {}
        """ColumnRef of a system column (ctid, xmin, tableoid...) -> (RangeVar, name)."""
        self.stars: dict[int, tuple[StarPart, ...]] = {}
        """ColumnRef `*` or `item.*`, or A_Indirection `(item).*`, of a target list."""
        self.qualified: dict[int, int] = {}
        """ColumnRef that names its schema (`schema.relation.column`) -> RangeVar."""
        self.targets: dict[int, TargetColumn] = {}
        """ColumnRef of a column of the relation that the statement writes."""
        self.target_rows: dict[int, tuple[str, int]] = {}
        """ColumnRef of that relation's whole row -> (alias, relation's OID)."""
        self.read: frozenset[ColumnKey] = frozenset()
        """Columns referred to in any way; (OID, 0) of a relation whose whole row is."""
        self.names: dict[int, str] = {}
        """ResTarget without AS of a target list -> the name the server gives its column."""
