"""What each relation of a database looks like to somebody who owes masks: the same, with some cells
replaced, expanded to its masked definition, or not at all.

Made once per catalog and set of owed masks, asked by `rewrite`. Its rule: what a relation shows
must be what it would show in a database whose masked cells *are* their masks (DESIGN 4.1); where
that cannot be said in SQL, `Unmaskable`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from appliance.masking import trees
from appliance.masking.plan import column_name
from appliance.masking.sql_forms import CELL, sql_form
from appliance.masking.trees import Node
from appliance.model.catalog import Catalog, Column, ColumnKey, Relation
from appliance.model.decision import Mask, MaskMethod
from appliance.model.resolution import Resolution

INNER = "t"
"""What a masked relation is called inside its own subselect."""


_NOTHING = Mask(MaskMethod.NULL)


class Unmaskable(Exception):
    """A statement that cannot be said over masked relations; `args[0]` is for a person."""


class PlainField(Protocol):
    """What is needed of `sql.scope.Field`."""

    @property
    def origin(self) -> ColumnKey | None: ...
    @property
    def sources(self) -> tuple[ColumnKey, ...]: ...
    @property
    def plain(self) -> bool: ...


class RelationShape(Protocol):
    """What is needed of `sql.lineage.Shape`."""

    @property
    def fields(self) -> Sequence[PlainField]: ...
    @property
    def consumed(self) -> frozenset[ColumnKey]: ...
    @property
    def unresolved(self) -> tuple[str, ...]: ...


class ViewDefinition(Protocol):
    @property
    def body(self) -> Mapping[str, Node]: ...
    @property
    def resolution(self) -> Resolution: ...


class Lineage(Protocol):
    """What is needed of `sql.lineage.CatalogLineage`."""

    @property
    def catalog(self) -> Catalog: ...
    def shape(self, oid: int, /) -> RelationShape: ...
    def definition(self, oid: int, /) -> ViewDefinition | None: ...
    def generated(self, key: ColumnKey, /) -> Node: ...
    def expression(self, text: str, /) -> Node: ...


class Masked(NamedTuple):
    """A relation of which some cells are replaced."""

    relation: Relation
    cells: Mapping[str, Node]
    """Column -> the expression in its place, over a reference to `CELL` (or, of a generated column,
    over those of its own relation's columns, in `generated`)."""
    generated: Mapping[str, Node]
    """Generated columns that are computed anew from masked ones."""
    withheld: Mapping[str, str]
    """Columns that have no masked form -> why."""
    expanded: bool = False
    """A view that has to be replaced by its masked definition."""

    @property
    def hidden(self) -> frozenset[str]:
        """Columns that do not show what is there."""
        return frozenset((*self.cells, *self.generated, *self.withheld))


SUBSELECTS_MAX = 2_000
SubselectKey = tuple[int, bool, frozenset[str]]
"""(OID, inherited, masked columns that are looked at)."""


class MaskedRelations:
    """Everything is computed when first asked for, and kept."""

    def __init__(
        self,
        lineage: Lineage,
        owed: Mapping[ColumnKey, Mask],
    ) -> None:
        self.lineage = lineage
        self.catalog = lineage.catalog
        self.owed = owed
        self._masked: dict[int, Masked | None] = {}
        self._forms: dict[tuple[Mask, Column], Node] = {}
        self.subselects: dict[SubselectKey, Mapping[str, Node]] = {}
        """Bodies without extra columns; `keep` adds to them."""
        self.texts: dict[int, str] = {}
        """Of these bodies, by id(): for `deparse`."""

    def keep(self, key: "SubselectKey", body: Mapping[str, Node]) -> None:
        if len(self.subselects) >= SUBSELECTS_MAX:
            self.subselects.clear()
            self.texts.clear()
        self.subselects[key] = body
        self.texts[id(body)] = ""

    def of(self, oid: int) -> Masked | None:
        """None when the relation shows nothing masked. Raises Unmaskable."""
        if oid not in self._masked:
            relation = self.catalog.relations.get(oid)
            self._masked[oid] = None if relation is None else self._made(relation)
        return self._masked[oid]

    def cell(self, masked: Masked, name: str, alias: str) -> Node:
        """The expression for one column of `alias`; Raises Unmaskable."""
        reason = masked.withheld.get(name)
        if reason is not None:
            raise Unmaskable(reason)
        reference = trees.column(alias, name)
        form = masked.cells.get(name)
        if form is not None:
            return trees.substituted(form, CELL, reference)
        computed = masked.generated.get(name)
        return reference if computed is None else self._recomputed(masked, computed, alias)

    def nothing(self, column: Column) -> Node:
        """NULL of a column's type."""
        return self._form(_NOTHING, column)

    def _recomputed(self, masked: Masked, node: Node, alias: str) -> Node:
        for column in masked.relation.columns:
            if not column.generated:
                inner = self.cell(masked, column.name, alias)
                node = trees.substituted(node, column.name, inner)
        return node

    def _made(self, relation: Relation) -> Masked | None:
        shape = self.lineage.shape(relation.oid)
        if shape.unresolved:
            raise Unmaskable(f"{_named(relation)}: {shape.unresolved[0]}")
        touched = set(shape.consumed)
        for field in shape.fields:
            touched.update(field.sources)
            if field.origin is not None:
                touched.add(field.origin)
        if touched.isdisjoint(self.owed):
            return None
        used = sorted(shape.consumed & self.owed.keys())
        if relation.kind == "v" and not self._of_system(relation):
            if used or not all(self._passes(field) for field in shape.fields):
                return self._expanded(relation, shape)
        elif used:
            name = column_name(self.catalog, used[0])
            raise Unmaskable(f"which rows {_named(relation)} has depends on {name}")
        return self._replaced(relation, shape)

    @staticmethod
    def _of_system(relation: Relation) -> bool:
        return relation.schema in ("pg_catalog", "information_schema") and not relation.definition

    def _passes(self, field: PlainField) -> bool:
        """Whether a view's column has nothing masked in it, or is a masked column as it is."""
        if field.origin in self.owed and field.plain:
            return True
        below = [key for key in field.sources if key in self.owed]
        return not below or (field.plain and field.sources[0] in self.owed)

    def _mask_of(self, field: PlainField) -> Mask | None:
        if field.origin is not None and field.origin in self.owed:
            return self.owed[field.origin]
        return self.owed.get(field.sources[0]) if field.plain and field.sources else None

    def _replaced(self, relation: Relation, shape: RelationShape) -> Masked:
        cells: dict[str, Node] = {}
        generated: dict[str, Node] = {}
        withheld: dict[str, str] = {}
        for column, field in zip(relation.columns, shape.fields, strict=True):
            mask = self._mask_of(field)
            if mask is not None:
                cells[column.name] = self._form(mask, column)
            elif any(key in self.owed for key in field.sources):
                if column.generated:
                    generated[column.name] = self.lineage.generated((relation.oid, column.attnum))
                else:
                    withheld[column.name] = (
                        f"{_named(relation)}.{column.name} was computed from masked columns when "
                        "it was stored"
                    )
        return Masked(relation, cells, generated, withheld)

    def _expanded(self, relation: Relation, shape: RelationShape) -> Masked:
        """A view that computes with masked columns; masks named on its own columns come on top."""
        self._require_open(relation, set())
        cells = {
            column.name: self._form(self.owed[field.origin], column)
            for column, field in zip(relation.columns, shape.fields, strict=True)
            if field.origin is not None and field.origin in self.owed
        }
        return Masked(relation, cells, {}, {}, expanded=True)

    def _require_open(self, relation: Relation, seen: set[int]) -> None:
        """Row security below a view is decided for the view's owner: not when it is expanded."""
        definition = self.lineage.definition(relation.oid)
        if definition is None:
            raise Unmaskable(f"the definition of {_named(relation)} is not understood")
        for place in definition.resolution.relations.values():
            below = self.catalog.relations.get(place.oid)
            if below is None or place.oid in seen:
                continue
            seen.add(place.oid)
            if below.secured:
                raise Unmaskable(
                    f"{_named(relation)} computes with masked columns, over {_named(below)}, which "
                    "has row security"
                )
            if below.kind == "v" and not self._of_system(below):
                self._require_open(below, seen)

    def _form(self, mask: Mask, column: Column) -> Node:
        form = self._forms.get((mask, column))
        if form is None:
            try:
                form = self.lineage.expression(sql_form(mask, column))
            except ValueError:
                raise Unmaskable(f"the mask of {column.name} cannot be said in SQL") from None
            self._forms[mask, column] = form
        return form


def _named(relation: Relation) -> str:
    return f"{relation.schema}.{relation.name}"
