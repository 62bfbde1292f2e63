"""What each relation of a server looks like to somebody who owes masks: the same, with some cells
replaced, expanded to its masked definition, or not at all.

Made once per catalog and set of owed masks (`session.dialect.Dialect.masked_relations`), asked by
`rewrite`. Its rule: what a relation shows must be what it would show in a database whose masked
cells *are* their masks; where that can not be said in SQL, `Unmaskable`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from sqlglot import exp

from appliance.model.catalog import Column, ColumnKey, Relation
from appliance.model.decision import Mask
from appliance.sql.mysql.lineage import MyLineage, has_query
from appliance.sql.mysql.mask_forms import sql_form
from appliance.sql.mysql.scope import Field, folded
from appliance.sql.mysql.splice import Edit, Unmaskable, quoted, spliced, whole
from appliance.sql.mysql.tree import Unreadable, statement_of
from appliance.sql.mysql.words import words_of

INNER = "t"
"""What a masked relation is called inside its own subselect."""
FRAGMENTS_MAX = 2_000
_SELECT = "SELECT "
_WHOSE = frozenset({"current_user", "current_role", "session_user", "system_user", "user"})
"""Calls that tell whose rights a view is read with, which expanding it would change."""


class Masked(NamedTuple):
    """A relation of which some cells are replaced."""

    relation: Relation
    masks: Mapping[str, Mask]
    """Column -> the mask in its place."""
    generated: frozenset[str] = frozenset()
    """Columns that are computed anew from masked ones."""
    expanded: bool = False
    """A view that has to be replaced by its masked definition."""

    @property
    def hidden(self) -> frozenset[str]:
        """Columns that do not show what is there."""
        return self.generated | self.masks.keys()


class MyMaskedRelations:
    """Everything is computed when first asked for, and kept."""

    def __init__(self, lineage: MyLineage, owed: Mapping[ColumnKey, Mask]) -> None:
        self.lineage = lineage
        self.owed = owed
        self._masked: dict[int, Masked | None] = {}
        self._names: frozenset[str] | None = None
        self.fragments: dict[tuple[int, frozenset[str]], str] = {}
        """(OID, invisible columns that show) -> its subselect; `keep` adds to them."""
        self._whole: dict[tuple[str, int], bool] = {}

    def keep(self, key: tuple[int, frozenset[str]], text: str) -> None:
        if len(self.fragments) >= FRAGMENTS_MAX:
            self.fragments.clear()
        self.fragments[key] = text

    def require_whole(self, text: str, modes: int) -> None:
        """Raises Unmaskable unless what is put in is one thing under these modes."""
        known = self._whole.get((text, modes))
        if known is None:
            if len(self._whole) >= FRAGMENTS_MAX:
                self._whole.clear()
            known = self._whole[text, modes] = whole(text, modes)
        if not known:
            raise Unmaskable("a masked relation would be read in another way")

    def of(self, oid: int) -> Masked | None:
        """None when the relation shows nothing masked. Raises Unmaskable."""
        if oid not in self._masked:
            self._masked[oid] = self._made(self.lineage.catalog.relations[oid])
        return self._masked[oid]

    def names_masked(self, name: str) -> bool:
        """Whether a relation of this name, in whatever database, may show something masked."""
        if self._names is None:
            self._names = frozenset(
                folded(relation.name)
                for relation in self.lineage.catalog.relations.values()
                if self._may_show(relation)
            )
        return folded(name) in self._names

    def telling_indexes(self, masked: Masked) -> tuple[str, ...]:
        """Indexes of a relation in whose order masked cells can be told."""
        catalog, relation = self.lineage.catalog, masked.relation
        hidden = {0} | {c.attnum for c in relation.columns if c.name in masked.hidden}
        found = catalog.indexes.get(relation.oid, {})
        return tuple(name for name, columns in found.items() if not hidden.isdisjoint(columns))

    def cell(self, masked: Masked, name: str, reference: str) -> str:
        """The expression for one column; `reference` is how the statement names it, and the columns
        beside it are named in the same way."""
        column = masked.relation.column(name)
        if column is None:
            raise Unmaskable(f"{masked.relation.name}.{name} is not known")
        mask = masked.masks.get(name)
        if mask is not None:
            return sql_form(mask, column, reference)
        if name in masked.generated:
            return self._recomputed(masked, column, reference)
        return reference

    def _may_show(self, relation: Relation) -> bool:
        try:
            return self.of(relation.oid) is not None
        except Unmaskable:
            return True

    def _made(self, relation: Relation) -> Masked | None:
        shape = self.lineage.shape(relation.oid)
        if shape.unresolved:
            raise Unmaskable(f"{_named(relation)}: {shape.unresolved[0]}")
        touched = set(shape.consumed).union(*(field.sources for field in shape.fields))
        if touched.isdisjoint(self.owed):
            return None
        computes = not self.owed.keys().isdisjoint(shape.consumed)
        if has_query(relation) and (computes or not all(map(self._passes, shape.fields))):
            return self._expanded(relation, shape.fields)
        return self._replaced(relation, shape.fields)

    def _mask_of(self, relation: Relation, column: Column, field: Field) -> Mask | None:
        own = self.owed.get((relation.oid, column.attnum))
        if own is not None or not field.plain:
            return own
        return next((self.owed[key] for key in field.sources if key in self.owed), None)

    def _passes(self, field: Field) -> bool:
        """Whether a view's column has nothing masked in it, or is a masked column as it is."""
        return field.plain or self.owed.keys().isdisjoint(field.sources)

    def _replaced(self, relation: Relation, fields: tuple[Field, ...]) -> Masked:
        masks: dict[str, Mask] = {}
        generated: set[str] = set()
        for column, field in zip(relation.columns, fields, strict=True):
            mask = self._mask_of(relation, column, field)
            if mask is not None:
                masks[column.name] = mask
            elif not self.owed.keys().isdisjoint(field.sources):
                generated.add(column.name)
        return Masked(relation, masks, frozenset(generated))

    def _expanded(self, relation: Relation, fields: tuple[Field, ...]) -> Masked:
        """A view that computes with masked columns; masks named on its own columns come on top."""
        definition = self.lineage.definition(relation.oid)
        if definition is None:
            raise Unmaskable(f"the definition of {_named(relation)} is not understood")
        calls = {node.name.lower() for node in definition.tree.find_all(exp.Anonymous)}
        if calls & _WHOSE or definition.tree.find(exp.CurrentUser):
            raise Unmaskable(f"{_named(relation)} depends on who its owner is")
        masks = {
            column.name: self.owed[relation.oid, column.attnum]
            for column in relation.columns
            if (relation.oid, column.attnum) in self.owed
        }
        return Masked(relation, masks, expanded=True)

    def _recomputed(self, masked: Masked, column: Column, reference: str) -> str:
        """A generated column's expression over masked columns."""
        if not column.expression:
            raise Unmaskable(f"{_named(masked.relation)}.{column.name} can not be computed anew")
        prefix = reference.removesuffix(quoted(column.name))
        if prefix == reference and reference != column.name:
            raise Unmaskable(f"{_named(masked.relation)}.{column.name} is named in an unusual way")
        text = (_SELECT + column.expression).encode()
        try:
            tree, words = statement_of(text.decode()), words_of(text, 0)
        except (Unreadable, ValueError, RecursionError):
            raise Unmaskable(f"what {column.name} is computed from is not understood") from None
        edits = []
        for node in tree.find_all(exp.Column):
            below = masked.relation.column(node.name)
            if node.table or below is None or "start" not in node.this.meta:
                raise Unmaskable(f"what {column.name} is computed from is not understood")
            made = self.cell(masked, below.name, prefix + quoted(below.name))
            edits.append(Edit(node.this.meta["start"], node.this.meta["end"], f"({made})"))
        return f"({spliced(text, words, edits)[len(_SELECT) :]})"


def _named(relation: Relation) -> str:
    return f"{relation.schema}.{relation.name}"
