"""A statement over masked relations: the execution of masking at the source.

Called by `session/rewriting`, which parses, resolves and prints. Every reference to a relation with
masked cells becomes a subselect in which those cells are their masks; a column of a relation that
is written becomes its mask wherever it is read. What the executor computes with is then never a raw
value, so nothing downstream can show one.

Its rule: a reference that `model/resolution` does not explain is not rewritten but refused
(`Unmaskable`), and every relation comes out under its schema's name.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from appliance.masking import trees
from appliance.masking.grouping import implied
from appliance.masking.masked_relations import INNER, Masked, MaskedRelations, Unmaskable
from appliance.masking.trees import Body, Node
from appliance.model.catalog import Relation
from appliance.model.resolution import TARGET_ROW, Resolution, StarPart, TargetColumn

ROW = "whole row"
"""The extra column in which a masked relation's subselect carries its row."""

_LEAVES = frozenset({"A_Const", "ParamRef", "String", "TypeName"})
"""Nodes in which there is nothing to rewrite."""
_UNTOUCHED = frozenset({"lockingClause", "into", "intoClause", "options", "argtypes"})
"""Parts that name no relation to be read."""

_BY_DEFAULT = ("costs", "buffers")
"""Options of EXPLAIN that tell sizes and that PostgreSQL turns on by itself (buffers since 18)."""
_SIZES = frozenset({*_BY_DEFAULT, "wal"})

NEW = "RETURNING_OPTION_NEW"

_COPIED_KINDS = frozenset("rm")
"""What COPY reads by its name: tables, since PostgreSQL 18 materialised views too."""


class Stored(NamedTuple):
    """What a statement has stored in the relation it writes: values of the client's own."""

    rows: frozenset[str]
    """What the row after the write is called."""
    columns: frozenset[str] | None
    """None = all of the row."""
    unsure: bool = False
    """It may have been an older row's."""


class Rewriter:
    """One statement, or the definition of one view."""

    def __init__(self, relations: MaskedRelations, resolution: Resolution, depth: int = 0) -> None:
        self._relations = relations
        self._catalog = relations.catalog
        self._resolution = resolution
        self._depth = depth
        self._assigning = False
        self._stored: Stored | None = None
        """In a RETURNING: what the statement itself has stored."""
        self._extras = self._extra_columns()

    def statement(self, kind: str, body: Body) -> tuple[str, Body]:
        """The rewritten statement. Raises Unmaskable."""
        if kind == "CopyStmt" and "query" not in body and not body.get("is_from"):
            return kind, self._copied(body)
        return kind, self._field(kind, body)

    # The walk.

    def _node(self, value: Any) -> Any:
        if value.__class__ is list:
            return [self._node(element) for element in value]
        if value.__class__ is not dict:
            return value
        if len(value) == 1:
            ((kind, body),) = value.items()
            rule = _RULES.get(kind)
            if rule is not None:
                return rule(self, body)
            if kind in _LEAVES:
                return value
        return {key: self._field(key, inner) for key, inner in value.items()}

    def _field(self, key: str, value: Any) -> Any:
        if key in _UNTOUCHED:
            return value
        if key in ("targetList", "exprs") and value.__class__ is list:
            return self._targets(value)
        if key == "relation" and value.__class__ is dict and "relname" in value:
            return self._written(value)
        if value.__class__ is list:
            return [self._node(element) for element in value]
        if value.__class__ is not dict:
            return value
        rule = _BODIES.get(key)
        return self._node(value) if rule is None else rule(self, value)

    def _children(self, body: Body) -> dict[str, Any]:
        return {key: self._field(key, value) for key, value in body.items()}

    def _select(self, body: Body) -> dict[str, Any]:
        made = self._children(body)
        more = implied(body, self._resolution, self._catalog, self._is_replaced)
        return {**made, "groupClause": [*made["groupClause"], *more]} if more else made

    def _arm(self, value: Body) -> Node:
        """Of a set operation, or of a join."""
        return self._select(value) if "op" in value else self._node(value)

    # Relations that are read.

    def _range(self, body: Body) -> Node:
        if id(body) in self._resolution.ctes:
            return {"RangeVar": body}
        masked, relation = self._read(body)
        if masked is None:
            return {"RangeVar": self._qualified_range(body, relation)}
        source = self._source(body, masked, lambda source: source)
        return trees.subselect(source, _alias(body))

    def _read(self, body: Body) -> tuple[Masked | None, Relation]:
        place = self._resolution.relations.get(id(body))
        relation = None if place is None else self._catalog.relations.get(place.oid)
        if relation is None:
            raise Unmaskable(f"the relation {body.get('relname', '')} is not understood here")
        return self._relations.of(relation.oid), relation

    @staticmethod
    def _qualified_range(body: Body, relation: Relation) -> Body:
        return {**body, "schemaname": relation.schema, "relname": relation.name} | (
            {} if "alias" in body or body["relname"] == relation.name else {"alias": _alias(body)}
        )

    def _joined(self, body: Body) -> Node:
        if body.get("isNatural") and len(self._extras) > 1:  # it would join by these, too
            raise Unmaskable("NATURAL JOIN beside rows or system columns of masked relations")
        return {"JoinExpr": self._children(body)}

    def _sample(self, body: Body) -> Node:
        """TABLESAMPLE goes where the table is: inside."""
        inner = body["relation"].get("RangeVar")
        if inner is None or id(inner) in self._resolution.ctes:
            return {"RangeTableSample": self._children(body)}
        masked, relation = self._read(inner)
        if masked is None:
            qualified = {"RangeVar": self._qualified_range(inner, relation)}
            rest = self._children({k: v for k, v in body.items() if k != "relation"})
            return {"RangeTableSample": {**rest, "relation": qualified}}
        if masked.expanded:
            raise Unmaskable("TABLESAMPLE of a view")
        rest = self._children({k: v for k, v in body.items() if k != "relation"})
        source = self._source(
            inner, masked, lambda source: {"RangeTableSample": {**rest, "relation": source}}, "s"
        )
        return trees.subselect(source, _alias(inner))

    def _source(
        self,
        body: Body,
        masked: Masked,
        wrapped: Callable[[Node], Node],
        variant: str = "",
    ) -> Body:
        """The body of the subselect that stands for a masked relation."""
        extras = self._extras.get(id(body), ())
        inherited = bool(body.get("inh"))
        looked_at = frozenset(name for name in masked.hidden if self._is_read(masked, name))
        key = (masked.relation.oid, inherited, looked_at)
        plain = not extras and not variant
        known = self._relations.subselects.get(key) if plain else None
        if known is not None:
            return known
        if masked.expanded:
            origin = trees.subselect(self._definition(masked.relation), {"aliasname": INNER})
        else:
            relation = masked.relation
            origin = wrapped(trees.relation(relation.schema, relation.name, INNER, inherited))
        targets = self._columns(masked, extras, looked_at)
        made = trees.select(targets, [origin])
        if plain:
            self._relations.keep(key, made)
        return made

    def _columns(
        self, masked: Masked, extras: Sequence[str], looked_at: frozenset[str]
    ) -> list[Node]:
        """The subselect's columns. A masked one that nobody looks at needs no mask: NULL is as
        good, and shorter."""
        relation = masked.relation
        cells: dict[str, Node] = {}
        for column in relation.columns:
            if column.name in masked.hidden and column.name not in looked_at:
                cells[column.name] = self._relations.nothing(column)
            else:
                cells[column.name] = self._relations.cell(masked, column.name, INNER)
        targets = [trees.target(name, cell) for name, cell in cells.items()]
        for extra in extras:
            if extra in cells:
                raise Unmaskable(f"{relation.schema}.{relation.name} has a column named {extra}")
            if extra == ROW:
                value = trees.row(list(cells.values()), relation.schema, relation.name)
            elif masked.expanded or relation.kind == "v":
                raise Unmaskable(f"{extra} of a view")
            else:
                value = trees.column(INNER, extra)
            targets.append(trees.target(extra, value))
        return targets

    def _is_read(self, masked: Masked, name: str) -> bool:
        column = masked.relation.column(name)
        attnum = 0 if column is None else column.attnum
        read = self._resolution.read
        return (masked.relation.oid, attnum) in read or (masked.relation.oid, 0) in read

    def _definition(self, relation: Relation) -> Body:
        definition = self._relations.lineage.definition(relation.oid)
        if definition is None or self._depth >= VIEW_DEPTH_MAX:
            raise Unmaskable(f"the definition of {relation.name} is not understood")
        inner = Rewriter(self._relations, definition.resolution, self._depth + 1)
        _, body = inner.statement("SelectStmt", definition.body)
        return trees.fenced(body) if relation.barrier else body

    def _extra_columns(self) -> dict[int, tuple[str, ...]]:
        """RangeVar -> what its subselect carries beside the relation's columns."""
        found: dict[int, dict[str, None]] = {}
        for place in self._resolution.rows.values():
            found.setdefault(place, {})[ROW] = None
        for place, name in self._resolution.system.values():
            found.setdefault(place, {})[name] = None
        return {place: tuple(extras) for place, extras in found.items() if place}

    def _is_replaced(self, place: int) -> bool:
        found = self._resolution.relations.get(place)
        return found is not None and self._relations.of(found.oid) is not None

    # Columns.

    def _column(self, body: Body) -> Node:
        resolution, key = self._resolution, id(body)
        chosen = resolution.targets.get(key)
        if chosen is not None:
            return self._target_cell(chosen, {"ColumnRef": body})
        if key in resolution.target_rows:
            return self._target_row(*resolution.target_rows[key], {"ColumnRef": body})
        if key in resolution.row_stars:
            return self._row_star(resolution.row_stars[key], body)
        place, name = resolution.rows.get(key, 0), ROW
        if key in resolution.system:
            place, name = resolution.system[key]
        elif key in resolution.qualified:
            place = resolution.qualified[key]
            name = body["fields"][-1]["String"]["sval"]
        if not place or not self._is_replaced(place):
            return {"ColumnRef": body}
        return trees.column(resolution.relations[place].alias, name)

    def _row_star(self, place: int, body: Body) -> Node:
        if place == TARGET_ROW or (self._is_replaced(place) and place in self._extras):
            raise Unmaskable("row.* beside the row or a system column of a masked relation")
        if len(body["fields"]) > 2 and self._is_replaced(place):
            alias = self._resolution.relations[place].alias
            return {"ColumnRef": {"fields": [trees.string(alias), {"A_Star": {}}]}}
        return {"ColumnRef": body}

    def _target_cell(self, chosen: TargetColumn, original: Node) -> Node:
        """A column of the written relation, as it is read."""
        masked = self._target_of(chosen.key[0])
        if masked is None:
            return original
        cell = self._written_cell(masked, chosen.name, chosen.alias)
        if self._assigning and chosen.name in masked.hidden:
            raise Unmaskable(
                f"the value of {chosen.name} that this would store is a mask, not what is there"
            )
        return cell

    def _target_of(self, oid: int) -> Masked | None:
        masked = self._relations.of(oid)
        if masked is not None and masked.expanded:
            raise Unmaskable(f"{masked.relation.name} computes with masked columns and is written")
        return masked

    def _target_row(self, alias: str, oid: int, original: Node) -> Node:
        masked = self._target_of(oid)
        if masked is None:
            return original
        if self._assigning:
            raise Unmaskable("a whole row with masked columns in an assignment")
        relation = masked.relation
        cells = [self._written_cell(masked, c.name, alias) for c in relation.columns]
        return trees.row(cells, relation.schema, relation.name)

    def _written_cell(self, masked: Masked, name: str, alias: str) -> Node:
        """A column of the written relation: its mask, or in RETURNING what the statement stored."""
        stored = self._stored
        if stored is None or name not in masked.hidden:
            return self._relations.cell(masked, name, alias)
        if stored.unsure:
            raise Unmaskable(f"whether {name} was stored here or before is not known")
        if alias in stored.rows and (stored.columns is None or name in stored.columns):
            return trees.hidden_origin(trees.column(alias, name))
        return self._computed_anew(masked, name, alias) or self._relations.cell(masked, name, alias)

    def _computed_anew(self, masked: Masked, name: str, alias: str) -> Node:
        """A generated column after an UPDATE of what it is made of; None for any other."""
        stored, relation = self._stored, masked.relation
        column = relation.column(name)
        if column is None or not column.generated or stored is None or stored.columns is None:
            return None
        node = self._relations.lineage.generated((relation.oid, column.attnum))
        if not any(node != trees.substituted(node, assigned, None) for assigned in stored.columns):
            return None
        for source in relation.columns:
            if not source.generated:
                cell = self._written_cell(masked, source.name, alias)
                node = trees.substituted(node, source.name, cell)
        return node

    def _indirection(self, body: Body) -> Node:
        return self._member("A_Indirection", body)

    def _call(self, body: Body) -> Node:
        return self._member("FuncCall", body)

    def _member(self, kind: str, body: Body) -> Node:
        """`(c).email` and `email(c)`."""
        member = self._resolution.row_fields.get(id(body))
        if member is None:
            return {kind: self._children(body)}
        reference = trees.column(*member)
        chosen = self._resolution.targets.get(id(body))
        return reference if chosen is None else self._target_cell(chosen, reference)

    # Target lists.

    def _targets(self, nodes: Sequence[Node]) -> list[Node]:
        made: list[Node] = []
        for node in nodes:
            body = node.get("ResTarget")
            if body is None:
                made.append(self._node(node))
                continue
            parts = self._star_of(body.get("val"))
            if parts is None:
                made.append({"ResTarget": self._named_target(body)})
            elif not any(self._is_special(part) for part in parts):
                made.append({"ResTarget": {**body, "val": self._short_star(body["val"], parts)}})
            else:
                made.extend(target for part in parts for target in self._spread(part))
        return made

    def _named_target(self, body: Body) -> Body:
        """An output keeps the name the server would have given it."""
        made = self._children(body)
        name = self._resolution.names.get(id(body), UNNAMED)
        if name != UNNAMED:
            made["name"] = name
        return made

    def _star_of(self, value: Node) -> Sequence[StarPart] | None:
        for kind in ("ColumnRef", "A_Indirection"):
            if value and kind in value:
                return self._resolution.stars.get(id(value[kind]))
        return None

    def _is_special(self, part: StarPart) -> bool:
        """Whether the star of an item would not give its columns, or not masked ones."""
        if part.place == TARGET_ROW:
            return True
        if not part.place:  # a join's alias, perhaps: what is extra inside it would come along
            return bool(self._extras)
        return part.place in self._extras and self._is_replaced(part.place)

    def _short_star(self, value: Node, parts: Sequence[StarPart]) -> Node:
        """`schema.relation.*` of a relation that was replaced."""
        reference = value.get("ColumnRef")
        if reference is None or len(reference["fields"]) < 3 or len(parts) != 1:
            return value
        if not self._is_replaced(parts[0].place):
            return value
        return {"ColumnRef": {"fields": [trees.string(parts[0].alias), {"A_Star": {}}]}}

    def _spread(self, part: StarPart) -> list[Node]:
        if len(set(part.columns)) != len(part.columns):
            raise Unmaskable("a star over columns that have no name of their own")
        masked = None
        if part.place == TARGET_ROW:
            masked = self._target_named(part.alias)
        return [
            trees.target(
                name,
                trees.column(*filter(None, (part.alias, name)))
                if masked is None
                else self._written_cell(masked, name, part.alias),
            )
            for name in part.columns
        ]

    def _target_named(self, alias: str) -> Masked | None:
        """The written relation; RETURNING has one only, under whatever name (old, new)."""
        written = [p for p in self._resolution.relations.values() if p.written]
        exact = [place for place in written if place.alias == alias] or written
        if len({place.oid for place in exact}) != 1:
            raise Unmaskable("a star over one of several written relations")
        return self._target_of(exact[0].oid)

    # Writes.

    def _written(self, body: Body) -> Body:
        place = self._resolution.relations.get(id(body))
        relation = None if place is None else self._catalog.relations.get(place.oid)
        if relation is None:
            raise Unmaskable(f"the relation {body.get('relname', '')} is not understood here")
        self._target_of(relation.oid)
        return self._qualified_range(body, relation)

    def _assignments(self, body: Body) -> dict[str, Any]:
        """UPDATE, ON CONFLICT DO UPDATE, WHEN MATCHED THEN UPDATE: values first, then the rest."""
        values = body.get("targetList", [])
        for node in values:
            self._require_whole(node["ResTarget"])
        self._assigning, outside = True, self._assigning
        try:
            assigned = [{"ResTarget": self._children(node["ResTarget"])} for node in values]
        finally:
            self._assigning = outside
        rest = {k: self._field(k, v) for k, v in body.items() if k != "targetList"}
        return {**rest, "targetList": assigned} if values else rest

    def _require_whole(self, target: Body) -> None:
        """An element's place in a value, and whether there is one, tells of the rest of it."""
        parts = target.get("indirection", ())
        if any("String" not in part for part in parts) and any(
            masked is not None and target["name"] in masked.hidden
            for place in self._resolution.relations.values()
            if place.written and (masked := self._relations.of(place.oid)) is not None
        ):
            raise Unmaskable(f"an element of {target['name']}, of which the rest is masked, is set")

    def _update(self, body: Body) -> Node:
        return {"UpdateStmt": self._update_body(body)}

    def _update_body(self, body: Body) -> dict[str, Any]:
        targets = [node["ResTarget"] for node in body.get("targetList", ())]
        assigned = frozenset(t["name"] for t in targets if "indirection" not in t)
        rest = {k: v for k, v in body.items() if k != "returningClause"}
        return self._assignments(rest) | self._returned(body, Stored(_new_rows(body), assigned))

    def _returned(self, body: Body, stored: "Stored") -> dict[str, Any]:
        """RETURNING, with what the statement has stored as it was given."""
        if "returningClause" not in body:
            return {}
        self._stored, outside = stored, self._stored
        try:
            return {"returningClause": self._field("returningClause", body["returningClause"])}
        finally:
            self._stored = outside

    def _when(self, body: Body) -> Node:
        return {"MergeWhenClause": self._assignments(body)}

    def _insert_body(self, body: Body) -> dict[str, Any]:
        conflict = body.get("onConflictClause")
        place = self._resolution.relations.get(id(body["relation"]))
        masked = None if place is None else self._relations.of(place.oid)
        if conflict is not None and masked is not None:
            named = [
                n["IndexElem"].get("name") for n in conflict.get("infer", {}).get("indexElems", ())
            ]
            if not named or any(name is None or name in masked.hidden for name in named):
                raise Unmaskable("ON CONFLICT would tell whether a masked value exists already")
        unsure = conflict is not None and conflict.get("action") == "ONCONFLICT_UPDATE"
        rest = {k: v for k, v in body.items() if k != "returningClause"}
        stored = Stored(_new_rows(body), None, unsure)
        return self._children(rest) | self._returned(body, stored)

    def _insert(self, body: Body) -> Node:
        return {"InsertStmt": self._insert_body(body)}

    # EXPLAIN and COPY.

    def _explained(self, body: Body) -> Body:
        """Without what is measured on raw cells: costs come with the planner's widths, which are
        averages over them; buffers and log volumes follow their sizes."""
        options = [node["DefElem"] for node in body.get("options", ())]
        if any(option["defname"] == "analyze" and not _is_off(option) for option in options):
            raise Unmaskable("EXPLAIN ANALYZE tells how much memory raw values take")
        kept = [n for n in body.get("options", ()) if n["DefElem"]["defname"] not in _SIZES]
        return {**self._children(body), "options": kept + [trees.off(name) for name in _BY_DEFAULT]}

    def _copied(self, body: Body) -> Body:
        """COPY relation TO becomes COPY (SELECT its columns) TO."""
        relation_body = body["relation"]
        masked, relation = self._read(relation_body)
        if masked is None:
            return {**body, "relation": self._qualified_range(relation_body, relation)}
        if relation.kind not in _COPIED_KINDS:
            raise Unmaskable(f"COPY of {relation.name}: say COPY (SELECT ...)")
        listed = [node["String"]["sval"] for node in body.get("attlist", ())]
        if relation.secured and not listed and any(c.generated for c in relation.columns):
            # Under row security the server copies generated columns as well, else it does not.
            raise Unmaskable(f"COPY of {relation.name} without a list of columns")
        names = listed or [c.name for c in relation.columns if not c.generated]
        targets = [trees.target(name, self._relations.cell(masked, name, INNER)) for name in names]
        # COPY of a table leaves the rows of its children out.
        source = trees.relation(relation.schema, relation.name, INNER, inherited=False)
        rest = {k: v for k, v in body.items() if k not in ("relation", "attlist")}
        return {**rest, "query": {"SelectStmt": trees.select(targets, [source])}}


VIEW_DEPTH_MAX = 32
UNNAMED = "?column?"

_RULES: Mapping[str, Callable[[Rewriter, Any], Any]] = {
    "A_Indirection": Rewriter._indirection,
    "ColumnRef": Rewriter._column,
    "FuncCall": Rewriter._call,
    "InsertStmt": Rewriter._insert,
    "JoinExpr": Rewriter._joined,
    "MergeWhenClause": Rewriter._when,
    "RangeTableSample": Rewriter._sample,
    "RangeVar": Rewriter._range,
    "UpdateStmt": Rewriter._update,
}
"""By the name of a wrapped node."""

_BODIES: Mapping[str, Callable[[Rewriter, Any], Any]] = {
    "ExplainStmt": Rewriter._explained,
    "InsertStmt": Rewriter._insert_body,
    "SelectStmt": Rewriter._select,
    "UpdateStmt": Rewriter._update_body,
    "larg": Rewriter._arm,
    "rarg": Rewriter._arm,
    "onConflictClause": Rewriter._assignments,
}
"""By the name of a field that holds a body, or of the statement itself."""


def _is_off(option: Body) -> bool:
    """As defGetBoolean reads it (commands/define.c); what is not clear is on."""
    ((kind, value),) = option.get("arg", {"": {}}).items()
    if kind == "Boolean":
        return not value.get("boolval")
    if kind == "Integer":
        return not value.get("ival")
    return kind == "String" and value.get("sval", "").lower() in ("false", "off")


def _alias(body: Body) -> Mapping[str, Any]:
    alias = body.get("alias")
    return {"aliasname": body["relname"]} if alias is None else alias


def _new_rows(body: Body) -> frozenset[str]:
    """What a statement's RETURNING calls the row after the write (PostgreSQL 18: also new, or as
    its WITH says)."""
    alias, new, old = str(_alias(body["relation"])["aliasname"]), "new", ""
    for node in body.get("returningClause", {}).get("options", ()):
        option = node["ReturningOption"]
        if option.get("option") == NEW:
            new = option["value"]
        else:
            old = option["value"]
    return frozenset({alias, new}) - {old}
