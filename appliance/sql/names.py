"""Names to relations, columns and functions as PostgreSQL resolves them, and the ledger of what a
statement uses.

The lowest layer of the analyst (`statements.Analyst`): everything above adds to it through here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from appliance.model.catalog import ColumnKey, Function, SessionSettings
from appliance.model.facts import Action, Flag, FunctionUse, PreparedUse, RelationUse
from appliance.model.references import truncated_with
from appliance.model.resolution import RelationPlace, Resolution, TargetColumn
from appliance.sql import functions, secrets, types
from appliance.sql.beneath import carried_to, changed_with
from appliance.sql.own import stays_inside
from appliance.sql.parse import Body
from appliance.sql.scope import AMBIGUOUS, Field, Item, Scope
from appliance.sql.spared import OpenWrite
from appliance.sql.stamps import FIRST_USER_OID

if TYPE_CHECKING:
    from appliance.sql.lineage import CatalogLineage
    from appliance.sql.unseen import Hidden

SYSTEM_COLUMNS: Mapping[str, int] = {
    "ctid": -1,
    "xmin": -2,
    "cmin": -3,
    "xmax": -4,
    "cmax": -5,
    "tableoid": -6,
}
"""Negative attribute numbers (src/include/access/sysattr.h). They hold no masked value."""

WHOLE_ROW = 0
"""The attribute number the server reports for a whole-row reference."""

TEMPORARY_SCHEMA = "pg_temp"

Word = tuple[str, ...]
UseKey = tuple[Action, int, str, str]


def words(nodes: Sequence[Body]) -> list[str]:
    """The strings of a list of String nodes; an A_Star is '*'."""
    return [
        node["String"].get("sval", "") if "String" in node else "*" if "A_Star" in node else ""
        for node in nodes
    ]


class Names:
    """The ledger and name resolution. One per statement (or view definition)."""

    def __init__(
        self,
        lineage: "CatalogLineage | None",
        settings: SessionSettings,
        in_view: bool = False,
        marks: Resolution | None = None,
    ) -> None:
        self.marks = marks
        """Where what names mean is noted, for a statement that will be rewritten."""
        self.lineage = lineage
        self.catalog = None if lineage is None else lineage.catalog
        self.settings = settings
        self.path = search_path(settings)
        self.in_view = in_view
        """A view's definition: a computed column counts as used when the view's column is."""
        self.deferred = in_view
        """What it holds runs when something else is: reading a view, writing a row, FETCH."""
        self.actions: dict[Action, None] = {}
        self.uses: dict[UseKey, dict[str, None]] = {}
        self.functions: dict[FunctionUse, None] = {}
        self.functions_below: dict[FunctionUse, None] = {}
        self.calls: dict[FunctionUse, None] = {}
        self.names_called: set[str] = set()
        self.reads_inside: set[ColumnKey] = set()
        self.keeps: set[str] = set()
        self.types_met: set[int] = set()
        """Types whose casts it may use: named, or of columns and functions."""
        self.takes_parameters = False
        self.populates = False
        """It makes rows of the type of a relation that it reads."""
        self.consumed: set[ColumnKey] = set()
        self.read: set[ColumnKey] = set()  # origins of the columns referred to in any way
        self.rests_on: set[int] = set()
        """OIDs of the relations read, and of what lies below views."""
        self.decides: set[ColumnKey] = set()
        """Base columns that decide whether a write succeeds."""
        self.flags: set[Flag] = set()
        self.unresolved: dict[str, None] = {}
        self.opaque = self.settings_last = False
        self.prepared: PreparedUse | None = None
        self.settings_changed: dict[tuple[str, str], None] = {}
        self.beneath: dict[UseKey, dict[str, None]] = {}
        """As `uses`: what is written to without being named."""
        self.writes = 0
        """INSERT, UPDATE, DELETE and MERGE met, at any depth."""
        self.carried: dict[str, None] = {}
        """Relations that foreign keys carry writes on to."""
        self.secret_columns = False
        """System secrets are read, and all of them are single columns (`SECRET_COLUMNS`)."""
        self.sets_rows = False  # a set-returning or unknown function was called since
        self.open_writes: list[OpenWrite] = []
        """Writes of which only the database knows whether they spare any row."""
        self.watched: set[int] | None = None
        """While a predicate is watched: ids of the fields it referred to."""

    # The ledger.

    def act(self, action: Action) -> None:
        self.actions[action] = None

    def puzzle(self, why: str) -> None:
        """Something was not understood; `why` is for a person and holds no literal."""
        self.unresolved[why] = None

    def use_relation(
        self, action: Action, schema: str, name: str, oid: int, columns: Iterable[str] = ()
    ) -> None:
        self.uses.setdefault((action, oid, schema, name), {}).update(dict.fromkeys(columns))

    def write_beneath(self, action: Action, oid: int, columns: Iterable[str] = ()) -> None:
        """Notes what writing to a relation changes elsewhere."""
        if self.lineage is not None and oid:
            named = tuple(columns)
            self._note_beneath(changed_with(self.lineage, action, oid, named))
            for child in carried_to(self.lineage, action, oid, named):
                relation = self.lineage.catalog.relations[child]
                self.carried[f"{relation.schema}.{relation.name}"] = None

    def truncate_beneath(self, oid: int) -> None:
        """TRUNCATE ... CASCADE."""
        if self.catalog is not None:
            others = truncated_with(self.catalog.foreign_keys, oid)
            self._note_beneath((Action.TRUNCATE, other, ()) for other in others)

    def _note_beneath(self, changes: Iterable[tuple[Action, int, Sequence[str]]]) -> None:
        for action, oid, columns in changes:
            relation = None if self.catalog is None else self.catalog.relations.get(oid)
            if relation is not None:
                key = (action, oid, relation.schema, relation.name)
                self.beneath.setdefault(key, {}).update(dict.fromkeys(columns))

    def consume(self, fields: Iterable[Field]) -> None:
        """These columns' values influence the result in another way than as plain output."""
        for field in fields:
            self.refer(field)
            self.consumed.update(field.sources)

    def refer(self, field: Field) -> None:
        if field.origin is not None:
            self.read.add(field.origin)
        if self.watched is not None:
            self.watched.add(id(field))

    def consume_item(self, item: Item) -> None:
        self.consume(item.fields)
        if item.oid:
            self.read.add((item.oid, WHOLE_ROW))

    def consume_level(self, scope: Scope) -> None:
        """Everything in reach of a level in which something was not understood."""
        for item in (*scope.tops, *scope.items):
            self.consume(item.fields)

    @contextmanager
    def capture(self) -> Iterator[set[ColumnKey]]:
        """Collects what is consumed inside, apart from the statement's own."""
        outside, inside = self.consumed, set[ColumnKey]()
        self.consumed = inside
        try:
            yield inside
        finally:
            self.consumed = outside

    # Columns.

    def reference(self, body: Body, scope: Scope) -> Field | Item | None:
        """What a ColumnRef means (see `column`); noted when the statement will be rewritten."""
        parts = words(body["fields"])
        found = self.column(parts, scope)
        if self.marks is not None and found is not None:
            self.mark(body, parts, found, scope)
        return found

    def mark(self, body: Body, parts: list[str], found: Field | Item, scope: Scope) -> None:
        """Notes what a reference means, if a rewritten statement has to say it another way."""
        marks = self.marks
        if marks is None:
            return
        if isinstance(found, Item):
            if found.target:
                marks.target_rows[id(body)] = (found.alias, found.oid)
            else:
                marks.rows[id(body)] = found.place
            return
        item = self._item_with(found, parts, scope)
        if item is None:
            return
        if item.target:
            if found.origin is not None:
                marks.targets[id(body)] = TargetColumn(item.alias, found.origin, parts[-1])
        elif found.origin is not None and found.origin[1] < 0:
            marks.system[id(body)] = (item.place, parts[-1])
        elif len(parts) > 2:
            marks.qualified[id(body)] = item.place

    def _item_with(self, found: Field, parts: list[str], scope: Scope) -> Item | None:
        """The FROM item that a resolved column was found in."""
        if len(parts) > 1:
            return self.item_of(parts[:-1], scope)
        system = found.origin is not None and found.origin[1] < 0
        level: Scope | None = scope
        while level is not None:
            for item in level.items:
                if any(field is found for field in item.fields) or (
                    system and found.origin is not None and item.oid == found.origin[0]
                ):
                    return item
            level = level.parent
        return None

    def column(self, parts: list[str], scope: Scope) -> Field | Item | None:
        """A column, a whole row (the item), or None when not resolved (then `scope` is tainted)."""
        if len(parts) == 1:
            return self._unqualified(parts[0], scope)
        item = self.item_of(parts[:-1], scope)
        if item is None:
            self._lost(f"{'.'.join(parts)} is not in reach", scope)
            return None
        return self._of_item(item, parts[-1], scope)

    def item_of(self, parts: list[str], scope: Scope) -> Item | None:
        """The FROM item that `relation`, `schema.relation` or `database.schema.relation` means."""
        if len(parts) == 1:
            return scope.item(parts[0])
        if len(parts) == 3 and parts[0] != self.settings.database:
            return None
        return scope.qualified_item(parts[-2], parts[-1]) if len(parts) <= 3 else None

    def _unqualified(self, name: str, scope: Scope) -> Field | Item | None:
        level: Scope | None = scope
        masked_by: Item | None = None
        while level is not None:
            field = level.field(name)
            if field is AMBIGUOUS:
                self._lost(f"column {name} is ambiguous", scope)
                return None
            if field is None and name in SYSTEM_COLUMNS:
                field = self._system_column(name, level.tops)
            if field is not None:
                if masked_by is not None:
                    self._lost(f"column {name} may be {masked_by.alias}'s", scope)
                    self.consume((field,))
                return field
            masked_by = masked_by or next((top for top in level.tops if not top.known), None)
            level = level.parent
        item = scope.item(name)
        if item is not None:
            return item
        if masked_by is not None and not masked_by.opaque:
            return Field(name)  # a function's column, computed from arguments already counted
        self._lost(f"column {name} is not known", scope)
        return None

    def _of_item(self, item: Item, name: str, scope: Scope) -> Field | Item | None:
        field = item.columns.get(name)
        if field is AMBIGUOUS:
            self._lost(f"column {item.alias}.{name} is ambiguous", scope)
            return None
        if field is not None:
            return field
        if name in SYSTEM_COLUMNS and item.oid:
            return self._system_column(name, (item,))
        if not item.known:
            if not item.opaque:
                return Field(name)
            self._lost(f"column {item.alias}.{name} is not known", scope)
            return None
        if self._user_function("", name) is None and not functions.harmless(name):
            self._lost(f"column {item.alias}.{name} is not known", scope)
            return None
        # Attribute notation: `c.full_name` calls full_name(c) when c has no such column.
        self.consume_item(item)
        self.call([name], scope)
        return Field(name, sources=tuple({key for field in item.fields for key in field.sources}))

    def _system_column(self, name: str, items: Iterable[Item]) -> Field | None:
        if self.catalog is None:
            return None
        for item in items:
            if item.oid and self.catalog.relations[item.oid].kind != "v":
                return Field(name, (item.oid, SYSTEM_COLUMNS[name]), (), True)
        return None

    def _lost(self, why: str, scope: Scope) -> None:
        self.puzzle(why)
        scope.taint()

    # Relations.

    def relation_item(self, body: Body, scope: Scope, action: Action = Action.SELECT) -> Item:
        """What a RangeVar stands for: a CTE (when read), a relation of the catalog, or an
        unknown."""
        name: str = body["relname"]
        schema: str = body.get("schemaname", "")
        alias = body.get("alias", {}).get("aliasname", "")
        if action is Action.SELECT and not schema:
            cte = scope.cte(name)
            if cte is not None:
                if self.marks is not None:
                    self.marks.ctes.add(id(body))
                fields, known = self.cte_fields(cte)
                return self._aliased(
                    body, Item(alias or name, fields, known=known, opaque=not known)
                )
        schema, oid = self.find_relation(schema, name, body.get("catalogname", ""))
        self.use_relation(action, schema, name, oid)
        if not oid or self.lineage is None:
            return self._aliased(
                body,
                Item(alias or name, (), schema="" if alias else schema, known=False, opaque=True),
            )
        shape = self.lineage.shape(oid)
        self.rests_on |= {oid, *shape.rests_on}
        if oid < FIRST_USER_OID and self.lineage.catalog.relations[oid].kind == "v":
            self.names_called.add(name)  # of the server's, perhaps replaced meanwhile
        if self.lineage.catalog.casts:
            self.types_met.add(self.lineage.catalog.relations[oid].row_type_oid)
        self.meet(self.lineage.unseen.reading(oid))
        if action is not Action.INSERT or shape.is_view:
            self.consumed |= shape.consumed
        else:  # the row's own columns are given
            self.decides.update(key for key in shape.consumed if key[0] != oid)
        if action is Action.SELECT or shape.is_view:
            self.reads_inside |= shape.reads_inside
            self.keeps |= shape.keeps
            self.functions_below.update(dict.fromkeys(shape.functions))
            self.calls.update(dict.fromkeys(shape.calls))
            for why in shape.unresolved:
                self.puzzle(f"{schema}.{name}: {why}")
        if secrets.is_secret(schema, name):
            self.flags.add(Flag.READS_SYSTEM_SECRETS)
        if self.marks is not None:
            written = action is not Action.SELECT
            self.marks.relations[id(body)] = RelationPlace(oid, alias or name, written)
        item = Item(
            alias or name,
            shape.fields,
            shape.columns,
            oid,
            "" if alias else schema,
            place=id(body),
        )
        return self._aliased(body, item)

    def cte_fields(self, cte: Any) -> tuple[Sequence[Field], bool]:
        raise NotImplementedError

    def _aliased(self, body: Body, item: Item) -> Item:
        """Applies `AS t(a, b)`."""
        names = body.get("alias", {}).get("colnames")
        if not names:
            return item
        return Item(
            item.alias,
            renamed(item.fields, words(names)),
            None,
            item.oid,
            item.schema,
            item.known,
            item.opaque,
            item.place,
        )

    def find_relation(self, schema: str, name: str, database: str = "") -> tuple[str, int]:
        """(schema, OID) of a relation's name; 0 when it is not resolved, and a puzzle is noted."""
        catalog = self.catalog
        if database and database != self.settings.database:
            self.puzzle(f"relation {schema}.{name} is of another database")
            return schema, 0
        if schema:
            oid = 0 if catalog is None else catalog.by_name.get((schema, name), 0)
            own = schema.startswith(TEMPORARY_SCHEMA)
            if own and (name in self.settings.temp_relations or not self.settings.certain):
                oid = 0  # it may have been made anew by what is under way
            if not oid:
                self._note_secret(schema, name)
                self.puzzle(f"relation {schema}.{name} is not known")
            return schema, oid
        if not self.settings.certain:
            self.puzzle(f"relation {name}: the search path is not certain")
        found = ("", 0)
        if catalog is not None:
            for candidate in self.path:
                oid = catalog.by_name.get((candidate, name), 0)
                if oid:
                    found = (candidate, oid)
                    break
        if name in self.settings.temp_relations:
            self.puzzle(f"relation {name} may be a temporary one, whose columns are not known")
            return found if found[1] else (TEMPORARY_SCHEMA, 0)
        if not found[1]:
            self._note_secret("pg_catalog", name)
            self.puzzle(f"relation {name} is not known")
        return found

    def _note_secret(self, schema: str, name: str) -> None:
        """Guards also work without a catalog."""
        if self.catalog is None and secrets.may_be_secret(schema, name):
            self.flags.add(Flag.READS_SYSTEM_SECRETS)

    # Functions, operators, types.

    def call(self, name: list[str], scope: Scope) -> None:
        """Notes what calling a function of this name means."""
        schema = name[-2] if len(name) > 1 else ""
        function = name[-1]
        owner = self._user_function(schema, function)
        if owner is None:
            self.names_called.add(function)
            if function in functions.SET_RETURNING:
                self.sets_rows = True
            self._call_builtin(schema, function)
            return
        self.sets_rows = True
        candidates = self.candidates(schema, function)
        if candidates is None:
            return
        self._unknown_function(owner, function, functions.DANGEROUS.get(function), candidates)

    def candidates(self, schema: str, name: str) -> tuple[int, ...] | None:
        """OIDs of the functions a call outside pg_catalog may mean, those of extensions that only
        compute left out (`FunctionUse.candidates`); None when nothing is left. Notes the call."""
        overloads = self._overloads(schema, name)
        if not schema:
            self.names_called.add(name)
        if overloads:
            every = tuple(function.oid for function in overloads)
            self.calls[FunctionUse(overloads[0].schema, name, every)] = None
        if not schema and self.catalog is not None and name in self.catalog.unlisted_builtins:
            return ()
        left = tuple(f.oid for f in overloads if not self._computes(f))
        return None if overloads and not left else left

    def _computes(self, function: Function) -> bool:
        """Of an extension that only computes, or an SQL function with a body as harmless as a
        view; notes what that reads."""
        self.types_met.add(function.returns_oid)
        if function.constructor or function.extension in functions.PURE_EXTENSIONS:
            return True
        found = None if self.lineage is None else self.lineage.unseen.body(function.oid)
        if found is None:
            return False
        self.meet(found)
        return True

    def meet(self, hidden: "Hidden") -> None:
        """Counts what runs without being named in the text."""
        self.functions_below.update(dict.fromkeys(hidden.functions))
        self.calls.update(dict.fromkeys(hidden.calls))
        self.reads_inside |= hidden.reads
        self.keeps |= hidden.keeps

    def _overloads(self, schema: str, name: str) -> list[Function]:
        """Every function outside pg_catalog that a call of this name could mean."""
        if self.catalog is None:
            return []
        found = self.catalog.functions
        schemas = [schema] if schema else self._function_path()
        return [function for each in schemas for function in found.get((each, name), ())]

    def _function_path(self, *, unprinted: bool = False) -> Sequence[str]:
        """Schemas in which an unqualified function, operator or type is looked for: any, while the
        path is not certain, or (`unprinted`) a definition, printed for an empty one, tells none."""
        unsure = unprinted and not self.settings.search_path
        if self.catalog is None or (self.settings.certain and not unsure):
            return self.path
        return tuple(dict.fromkeys((*self.path, *self.catalog.schemas)))

    def _user_function(self, schema: str, name: str) -> str | None:
        """The schema of a function that is not the server's own that this call could mean, None for
        a built-in one. An overload that somebody made (superusers can, in pg_catalog too) may fit
        the arguments better than the built-in, so any of that name in the search path counts.
        """
        if schema and schema != "pg_catalog":
            return schema
        if self.catalog is None:
            return None
        if schema:
            return schema if (schema, name) in self.catalog.functions else None
        for candidate in self._function_path():
            if (candidate, name) in self.catalog.functions:
                return candidate
        return None

    def _call_builtin(self, schema: str, name: str) -> None:
        if self.lineage is not None and self.lineage.unseen.is_replaced(name):
            self._unknown_function("pg_catalog", name, functions.DANGEROUS.get(name))
            return
        if functions.harmless(name) or (name == functions.SET_CONFIG and not self.deferred):
            return
        if name in functions.TELLING:
            self.functions[FunctionUse("pg_catalog", name, ())] = None
            return
        effect = functions.EFFECTS.get(name)
        if effect is not None:
            self.act(effect)
            return
        if name in functions.SECRETS:
            self.flags.add(Flag.READS_SYSTEM_SECRETS)
        known = schema == "pg_catalog" or self.catalog is not None
        self._unknown_function(schema if known else "", name, functions.DANGEROUS.get(name))

    def _unknown_function(
        self, schema: str, name: str, action: Action | None, candidates: tuple[int, ...] = ()
    ) -> None:
        if schema == "information_schema" and self._of_information_schema(name, candidates):
            self.names_called.add(name)
            return
        self.sets_rows = True
        self.functions[FunctionUse(schema, name, candidates)] = None
        if action is None and name.startswith("dblink"):
            action = Action.FOREIGN_SERVER
        self.act(action or Action.EXECUTE_FUNCTION)
        if action in (Action.DYNAMIC_SQL, Action.FOREIGN_SERVER):
            self.flags.add(Flag.DYNAMIC)

    def _of_information_schema(self, name: str, candidates: tuple[int, ...]) -> bool:
        """Whether it is one of those that its views' definitions call. All are written in SQL."""
        if candidates or not name.startswith(functions.HARMLESS_INFORMATION_SCHEMA_PREFIX):
            return False
        if self.lineage is None or not self.lineage.catalog.interpreted:
            return True
        known = name in self.lineage.catalog.interpreted
        return known and not self.lineage.unseen.is_replaced(name)

    def operator(self, name: list[str], *, unprinted: bool = False) -> None:
        """Notes an operator that could be one outside pg_catalog, whose function is not known.
        `unprinted` as in `_function_path`."""
        self.names_called.add(name[-1])
        if self.lineage is not None and self.lineage.unseen.is_replaced_within(name[-1]):
            self._unknown_function("pg_catalog", f"operator {name[-1]}", None)
            return
        if len(name) > 1:
            own = () if self.catalog is None else self.catalog.operators
            built_in = name[-2] == "pg_catalog" and (name[-2], name[-1]) not in own
            if built_in or self._trusted_operator(name[-2], name[-1]):
                return
            self._user_operator(name[-2], name[-1])
        elif self.catalog is not None and self.catalog.operators:
            for schema in self._function_path(unprinted=unprinted):
                if (schema, name[-1]) in self.catalog.operators:
                    self._user_operator(schema, name[-1])

    def _user_operator(self, schema: str, name: str) -> None:
        """One outside pg_catalog, by the functions that those of this name call."""
        catalog = self.catalog
        called = None if catalog is None else catalog.operator_functions.get((schema, name))
        if called is None or self.lineage is None:
            self._unknown_function(schema, f"operator {name}", None)
            return
        found = [self.lineage.unseen.function(oid) for oid in called]
        for hidden in found:
            self.meet(msgspec.structs.replace(hidden, functions=()))
        unknown = [use.candidates for hidden in found for use in hidden.functions]
        if unknown:
            sure = () not in unknown
            candidates = tuple(oid for each in unknown for oid in each) if sure else ()
            self._unknown_function(schema, f"operator {name}", None, candidates)

    def _trusted_operator(self, schema: str, name: str) -> bool:
        """`OPERATOR(schema.@@)` of an extension."""
        catalog = self.catalog
        if catalog is None or schema not in catalog.schemas:
            return False
        return (schema, name) in catalog.extension_operators

    def type_name(self, body: Body) -> None:
        """Notes a type whose values come to be by functions (a domain's, a base type's, casts');
        every type that the name may mean counts."""
        name = words(body.get("names", ()))
        if not name or self.lineage is None:
            return
        built_in = name[-2:-1] == ["pg_catalog"]
        if not built_in or name[-1] not in types.OIDS:
            self.names_called.add(name[-1])
        if built_in and tuple(name[-2:]) not in self.lineage.catalog.types:
            return
        if len(name) > 1 and name[-2] not in self.lineage.catalog.schemas:
            self._unknown_function(name[-2], f"type {name[-1]}", None)
            return
        for schema in [name[-2]] if len(name) > 1 else self._function_path():
            for oid in self.lineage.type_oids(schema, name[-1]):
                self.types_met.add(oid)
                self.meet(self.lineage.unseen.type(oid))

    def is_type(self, field: Field, body: Body) -> bool:
        """Whether a cast of a column to this type changes nothing (so the server drops it)."""
        name = words(body.get("names", ()))
        if not field.type_oid or body.get("setof"):
            return False
        oid = self._type_oid(name)
        if "arrayBounds" in body:
            return types.ARRAY_OIDS.get(oid) == field.type_oid and "typmods" not in body
        return (
            oid == field.type_oid and types.modifier(oid, body.get("typmods", ())) == field.typmod
        )

    def _type_oid(self, name: list[str]) -> int:
        """The OID of a type's name, 0 when it is not known."""
        schemas = [name[-2]] if len(name) > 1 else self.path
        for schema in schemas:
            if schema == "pg_catalog" and name[-1] in types.OIDS:
                return types.OIDS[name[-1]]
            if self.catalog is not None:
                oid = self.catalog.types.get((schema, name[-1]), 0)
                relation = self.catalog.by_name.get((schema, name[-1]), 0)
                oid = oid or (self.catalog.relations[relation].row_type_oid if relation else 0)
                if oid:
                    return oid
        return 0

    def quiet_column(self, parts: list[str], scope: Scope) -> Field | None:
        """A column, when it is found at once; notes nothing when it is not."""
        if len(parts) == 1:
            level: Scope | None = scope
            while level is not None:
                found = level.field(parts[0])
                if found is not None:
                    return found if found.name else None
                if any(not top.known for top in level.tops):
                    return None
                level = level.parent
            return None
        item = self.item_of(parts[:-1], scope)
        field = None if item is None else item.columns.get(parts[-1])
        return field if field and field.name else None

    # What the ledger comes to.

    def relation_uses(self) -> tuple[RelationUse, ...]:
        if any(key[0] is Action.SELECT for key in self.uses):
            self.act(Action.SELECT)
        columns: dict[int, list[str]] = {}
        if self.lineage is not None:
            for oid, attnum in sorted(self.read):
                if attnum >= 0:
                    columns.setdefault(oid, []).append(self.lineage.column_name(oid, attnum))
        found = []
        for (action, oid, schema, name), written in self.uses.items():
            read = columns.get(oid, ()) if action in (Action.SELECT, Action.EXPLAIN) and oid else ()
            lost = schema == TEMPORARY_SCHEMA and not self._surely_own(action, oid, name)
            found.append(RelationUse(action, "" if lost else schema, name, oid, (*written, *read)))
        return tuple(found)

    def _surely_own(self, action: Action, oid: int, name: str) -> bool:
        """Whether nothing but a temporary relation of the session is concerned."""
        kind = ""
        if oid and self.catalog is not None:
            kind = self.catalog.relations[oid].kind
        elif self.settings.certain and self.path[0] == TEMPORARY_SCHEMA and not self.prepared:
            # (What is prepared is looked up anew when it is run.)
            kind = dict(self.settings.temp_kinds).get(name, "")
        return stays_inside(action, kind)

    def uses_beneath(self) -> tuple[RelationUse, ...]:
        return tuple(
            RelationUse(action, schema, name, oid, tuple(columns))
            for (action, oid, schema, name), columns in self.beneath.items()
            if (action, oid, schema, name) not in self.uses
        )


def renamed(fields: Sequence[Field], names: Sequence[str]) -> list[Field]:
    """The first fields take `names`; the others keep theirs."""
    taken = [field.renamed(name) for field, name in zip(fields, names, strict=False)]
    return [*taken, *fields[len(taken) :]]


def search_path(settings: SessionSettings) -> tuple[str, ...]:
    """Schemas in the order relations are looked up in; pg_catalog comes first unless it is listed,
    and before it the session's temporary ones unless they are listed.

    Functions and operators of pg_temp are never found by an unqualified name, so a catalog lists
    none there.
    """
    path = [settings.role if schema == "$user" else schema for schema in settings.search_path]
    path = [schema for schema in path if schema]
    if "pg_catalog" not in path:
        path = ["pg_catalog", *path]
    return tuple(path if TEMPORARY_SCHEMA in path else (TEMPORARY_SCHEMA, *path))
