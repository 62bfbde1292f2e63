"""What runs without being named in the text: functions behind types, casts, defaults, checks,
indexes, triggers, row security; and what an SQL function's body does.

`CatalogLineage` owns one `Unseen` per catalog snapshot; the analyst asks it about each relation,
type and function that a statement meets. Its rule: what cannot be read is a function that nobody
can trust.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from appliance.model.catalog import (
    Catalog,
    ColumnKey,
    Function,
    FunctionBody,
    Relation,
    SessionSettings,
)
from appliance.model.facts import Action, Flag, FunctionUse, ParseFailure
from appliance.sql import plpgsql
from appliance.sql.expressions import every_node
from appliance.sql.functions import PURE_EXTENSIONS
from appliance.sql.identifiers import split_names
from appliance.sql.names import WHOLE_ROW
from appliance.sql.parse import Body, RawStatement, parse_decoded, with_escapes
from appliance.sql.scope import Field, Item, Scope
from appliance.sql.stamps import FIRST_USER_OID

if TYPE_CHECKING:
    from appliance.sql.lineage import CatalogLineage
    from appliance.sql.statements import Analyst

Fired = tuple[int, tuple[tuple[str, int], ...]]
"""A trigger's function, by OID, and the columns (name, type) of rows that it runs for: those of a
thousand partitions are one."""
DEPTH_MAX = 16
"""SQL functions that call SQL functions are followed so far."""


class Hidden(msgspec.Struct, frozen=True):
    """What something does that the text does not show."""

    functions: tuple[FunctionUse, ...] = ()
    """Functions that are not known to be harmless."""
    calls: tuple[FunctionUse, ...] = ()
    """Every function outside pg_catalog."""
    reads: frozenset[ColumnKey] = frozenset()
    """Base columns that bodies of SQL functions read, and (OID, WHOLE_ROW) of the relations that
    they name."""
    keeps: frozenset[str] = frozenset()
    """What is left in the session (`StatementFacts.keeps`)."""


NOTHING = Hidden()


def joined(parts: Iterable[Hidden]) -> Hidden:
    several = [part for part in parts if part is not NOTHING]
    if not several:
        return NOTHING
    return Hidden(
        tuple(dict.fromkeys(use for part in several for use in part.functions)),
        tuple(dict.fromkeys(use for part in several for use in part.calls)),
        frozenset().union(*(part.reads for part in several)),
        frozenset().union(*(part.keeps for part in several)),
    )


class Unseen:
    """For one catalog snapshot. Everything is worked out when first asked for, and kept."""

    def __init__(self, lineage: "CatalogLineage", analyst: "Callable[..., Analyst]") -> None:
        self._lineage = lineage
        self._catalog: Catalog = lineage.catalog
        self._analyst = analyst
        self._by_oid: Mapping[int, Function] | None = None
        self._parts_of: dict[int, list[int]] | None = None
        self._written: dict[tuple[int, bool], Hidden] = {}
        self._read: dict[int, Hidden] = {}
        self._types: dict[int, Hidden] = {}
        self._clean: dict[int, Hidden | None] = {}
        self._running: list[int] = []
        self._stateless: dict[Fired, bool] = {}
        self._examined: list[Fired] = []
        self._original: dict[int, bool] = {}

    # Relations.

    def reading(self, oid: int) -> Hidden:
        """Row security decides by its expressions which rows are seen; indexes and sorting may call
        functions that somebody made for them."""
        known = self._read.get(oid)
        if known is None:
            relation = self._catalog.relations.get(oid)
            policies = () if relation is None else relation.policies
            known = self._read[oid] = joined(
                [
                    *(self._expression(relation, text) for text in policies),
                    *map(self.function, self._catalog.compared_by.get(oid, ())),
                    *(self._comparing(c.type_oid) for c in (relation.columns if relation else ())),
                ]
            )
        return known

    def _comparing(self, oid: int) -> Hidden:
        """Holding values of a type against each other, as sorting, grouping and indexes do."""
        compares = self._catalog.compares
        own = compares and not self._made_of({oid}).isdisjoint(compares)
        return self.type(oid) if own else NOTHING

    def writing(self, oid: int, deleting: bool = False) -> Hidden:
        """A row written here passes through all of this; partitions, children and foreign keys
        included. A view's are those of the relations it is made of."""
        known = self._written.get((oid, deleting))
        if known is None:
            own = self._reached(oid, cascading=False)
            found = [part for each in sorted(own) for part in self._of_writing(each, deleting)]
            for each in sorted(self._reached(oid, cascading=True) - own):
                found += self._of_writing(each, False)
            known = self._written[oid, deleting] = joined(found)
        return known

    def _of_writing(self, oid: int, deleting: bool) -> Iterator[Hidden]:
        relation = self._catalog.relations[oid]
        yield self.reading(oid)
        for trigger in relation.triggers:
            yield self._trigger(trigger, relation)
        if deleting:
            return
        for text in relation.written:
            yield self._expression(relation, text)
        for column in relation.columns:
            yield self.type(column.type_oid)

    def _trigger(self, oid: int, relation: Relation) -> Hidden:
        hidden = self.function(oid)
        if not hidden.functions or not self._is_stateless(oid, relation):
            return hidden
        stateless = tuple(msgspec.structs.replace(use, stateless=True) for use in hidden.functions)
        return msgspec.structs.replace(hidden, functions=stateless)

    def _is_stateless(self, oid: int, relation: Relation) -> bool:
        """Whether it surely leaves nothing in the session when it runs for a row of `relation`."""
        body = self._body_of(oid, "plpgsql")
        fired = oid, tuple((column.name, column.type_oid) for column in relation.columns)
        if fired in self._stateless:
            return self._stateless[fired]
        if body is None or fired in self._examined or len(self._examined) >= DEPTH_MAX:
            return False
        self._examined.append(fired)
        try:
            found = self._keeps_nothing(body, relation)
        except RecursionError:
            found = False
        finally:
            self._examined.pop()
        if not self._examined:  # inside another, a cycle may have cut it short
            self._stateless[fired] = found
        return found

    def _keeps_nothing(self, body: FunctionBody, relation: Relation) -> bool:
        steps = plpgsql.steps_of(body.text)
        if steps is None or any(not s.startswith("search_path=") for s in body.settings):
            return False
        # Whatever its path, a temporary relation or type of the caller's comes before it.
        settings = SessionSettings(self._catalog.database, search_path=(), certain=False)
        return all(self._is_stateless_step(step, settings, relation) for step in steps)

    def _is_stateless_step(
        self, step: plpgsql.Step, settings: SessionSettings, relation: Relation
    ) -> bool:
        statements = _parsed(step.text, self._catalog.server_version_num)
        if statements is None or len(statements) != 1:
            return False
        kind, body = statements[0].kind, statements[0].body
        if step.evaluates and not (kind == "SelectStmt" and _EVALUATED.issuperset(body)):
            return False
        if not step.evaluates and kind != "InsertStmt":
            return False
        if any("typeName" in n and len(n["typeName"]["names"]) < 2 for _, n in every_node(body)):
            return False
        analyst = self._analyst(self._lineage, settings)
        analyst.deferred = True
        scope = Scope()
        fields = [Field(column.name) for column in relation.columns]
        own = Item("", [Field(name) for name in plpgsql.TRIGGER_VARIABLES])
        items = (own, *(Item(name, fields) for name in plpgsql.ROWS))
        scope.add(own, items)
        analyst.statement(kind, body, scope)
        analyst.types_met.update(column.type_oid for column in relation.columns)
        analyst.note_hidden()
        more = analyst.functions or any(not use.stateless for use in analyst.functions_below)
        if (
            more
            or analyst.keeps
            or any(oid < FIRST_USER_OID for oid in analyst.rests_on)  # what others left, say
            or _is_unclear(analyst, _WRITES)
            or not _STORING.issuperset(analyst.actions)
        ):
            return False
        written = (*analyst.uses, *analyst.beneath)
        return all(self._is_plain(oid) for action, oid, _, _ in written if action is Action.INSERT)

    def _is_plain(self, oid: int) -> bool:
        """Whether writing a row here writes a row, and no rule does something in its place."""
        relation = self._catalog.relations.get(oid)
        return relation is not None and oid >= FIRST_USER_OID and not relation.has_rules

    def _reached(self, oid: int, cascading: bool) -> set[int]:
        """Relations in which a write to this one may change rows, as a part or parent of it or the
        table below a view; `cascading`: or through foreign keys."""
        if self._parts_of is None:
            self._parts_of = {}
            for relation in self._catalog.relations.values():
                for parent in relation.parents:
                    self._parts_of.setdefault(parent, []).append(relation.oid)
        found: set[int] = set()
        pending = [oid]
        while pending:
            each = pending.pop()
            member = self._catalog.relations.get(each)
            if each in found or member is None:
                continue
            found.add(each)
            pending += [*self._parts_of.get(each, ()), *member.parents]
            pending += member.cascades if cascading else ()
            if member.kind == "v":
                shape = self._lineage.shape(each)
                pending += {key[0] for field in shape.fields for key in field.sources}
        return found

    # Types and casts.

    def type(self, oid: int) -> Hidden:
        """Making a value of this type."""
        if oid not in self._catalog.guarded_types:
            return NOTHING
        known = self._types.get(oid)
        if known is None:
            found: list[Hidden] = []
            for each in self._made_of({oid}):
                guarded = self._catalog.guarded_types.get(each)
                if guarded is not None:
                    found += map(self.function, guarded.functions)
                    found += (self._expression(None, text) for text in guarded.checks)
            known = self._types[oid] = joined(found)
        return known

    def _made_of(self, oids: Iterable[int]) -> set[int]:
        found: set[int] = set()
        pending = list(oids)
        while pending:
            each = pending.pop()
            if each not in found:
                found.add(each)
                guarded = self._catalog.guarded_types.get(each)
                pending += () if guarded is None else guarded.parts
        return found

    def casts(self, types_met: set[int], anything: bool) -> Hidden:
        """Casts made by CREATE CAST that a statement may use, which has met these types;
        `anything`: it also takes parameters, whose types the client chooses."""
        met: set[int] | None = None
        found = []
        for cast in self._catalog.casts:
            own = {oid for oid in (cast.from_type, cast.to_type) if oid >= FIRST_USER_OID}
            if met is None:
                met = self._members(types_met)
            if anything or not own or not own.isdisjoint(met):
                found.append(self.function(cast.function))
        return joined(found)

    def _members(self, types_met: set[int]) -> set[int]:
        """These types, and those of columns, elements and bases in them, at any depth."""
        found: set[int] = set()
        pending = list(types_met)
        while pending:
            each = pending.pop()
            if each in found:
                continue
            found.add(each)
            pending += self._catalog.type_parts.get(each, ())
        return found

    # Functions.

    def function(self, oid: int) -> Hidden:
        """Calling exactly this function (a trigger's, a cast's, an operator's)."""
        if oid == 0:
            return _unknown("a built-in function that is not known to be harmless")
        if oid < FIRST_USER_OID:
            return NOTHING  # of the server itself: its casts, triggers and types only compute
        function = self._functions.get(oid)
        if function is None:
            return _unknown("a function that is not in the catalog")
        use = FunctionUse(function.schema, function.name, (oid,))
        if function.constructor or function.extension in PURE_EXTENSIONS:
            return Hidden((), (use,))
        clean = self.body(oid)
        if clean is None:
            return Hidden((use,), (use,))
        return Hidden((), (use, *clean.calls), clean.reads, clean.keeps)

    @property
    def _functions(self) -> Mapping[int, Function]:
        if self._by_oid is None:
            every = self._catalog.functions.values()
            self._by_oid = {f.oid: f for overloads in every for f in overloads}
        return self._by_oid

    @cached_property
    def anywhere(self) -> Hidden:
        """What somebody made for comparing values of the server's own types, or put in place of its
        casts."""
        if self.is_replaced_within(""):
            return _unknown("a cast of the server's that somebody replaced")
        own = [
            f for oid, made in self._catalog.compares.items() if oid < FIRST_USER_OID for f in made
        ]
        return joined(map(self.function, own))

    def is_replaced(self, name: str) -> bool:
        """Whether a built-in function of this name is no longer what came with the server."""
        return not all(map(self.is_original, self._catalog.interpreted.get(name, ())))

    def is_replaced_within(self, operator: str) -> bool:
        """The same of the functions behind built-in operators of this name; '' for casts."""
        return not all(map(self.is_original, self._catalog.interpreted_within.get(operator, ())))

    def is_original(self, oid: int) -> bool:
        """Whether a function that came with the server, not compiled, still does what such do: it
        calls other built-ins, and reads system catalogs. (One that calls itself, or an overload of
        its name, does so too.)"""
        known = self._original.get(oid)
        if known is None:
            self._original[oid] = True
            body = self._body_of(oid)
            known = self._original[oid] = body is not None and all(
                self._is_harmless(body, text) for text in _readings(body)
            )
        return known

    def _is_harmless(self, body: FunctionBody, text: str) -> bool:
        statement = _only_query(text, body.bound, self._catalog.server_version_num)
        if statement is None:
            return False
        analyst = self._analyst(self._lineage, _printed(self._catalog))
        scope = Scope()
        item = Item("", [Field(name) for name in body.arguments if name])
        scope.add(item, (item,))
        analyst.statement(statement.kind, statement.body, scope)
        beyond = any(not 0 < use.oid < FIRST_USER_OID for use in analyst.relation_uses())
        does_more = analyst.functions or analyst.functions_below or analyst.reads_inside
        return not (beyond or does_more or analyst.opaque or analyst.calls)

    def body(self, oid: int) -> Hidden | None:
        """What an SQL function reads and calls, when all of it is known to be harmless; else
        None."""
        if oid in self._clean:
            return self._clean[oid]
        body, function = self._body_of(oid), self._functions.get(oid)
        if (
            body is None
            or function is None
            or oid in self._running
            or len(self._running) >= DEPTH_MAX
        ):
            return None
        self._running.append(oid)
        try:
            found = self._followed(function, body)
        except RecursionError:
            found = None
        finally:
            self._running.pop()
        if not self._running:  # inside another, a cycle may have cut it short
            self._clean[oid] = found
        return found

    def _body_of(self, oid: int, language: str = "sql") -> FunctionBody | None:
        body = self._catalog.bodies.get(oid)
        return None if body is None or body.language != language else body

    def _followed(self, function: Function, body: FunctionBody) -> Hidden | None:
        """Clean only if it is however the server reads it."""
        if any(self.type(oid).functions for oid in (*body.types, function.returns_oid)):
            return None
        found = [self._read_so(function, body, text) for text in _readings(body)]
        return None if None in found else joined(each for each in found if each is not None)

    def _read_so(self, function: Function, body: FunctionBody, text: str) -> Hidden | None:
        statement = _only_query(text, body.bound, self._catalog.server_version_num)
        settings = self._settings_of(body)
        if statement is None or settings is None:
            return None
        analyst = self._analyst(self._lineage, settings)
        analyst.deferred = True
        scope = Scope()
        arguments = [Field(name) for name in body.arguments if name]
        item = Item(function.name, arguments)
        scope.add(item, (item,))
        result = analyst.statement(statement.kind, statement.body, scope)
        for default in _targets(body.defaults, self._catalog.server_version_num) or ():
            analyst.walk(default, scope)
        analyst.takes_parameters = False  # of declared types, which are met here
        analyst.types_met.update(body.types)
        analyst.note_secret_columns()
        analyst.note_hidden()
        if _does_more_than_read(analyst) or not result.known:
            return None
        reads = {key for field in result.fields for key in field.sources}
        for oid, attnum in analyst.read:
            columns = self._catalog.relations[oid].columns if attnum == 0 else ()
            reads |= {(oid, column.attnum) for column in columns} or {(oid, attnum)}
        reads |= {(use.oid, WHOLE_ROW) for use in analyst.relation_uses() if use.oid}
        return Hidden(
            (),
            tuple(analyst.calls),
            frozenset(reads | analyst.consumed | analyst.reads_inside),
            frozenset(analyst.keeps),
        )

    def _settings_of(self, body: FunctionBody) -> SessionSettings | None:
        """What its names mean, whoever calls it. Without a search_path of its own nothing but what
        has a schema, or is built in and has no namesake, can be told."""
        path: tuple[str, ...] = ()
        certain = body.bound
        for setting in body.settings:
            name, _, value = setting.partition("=")
            if name == "search_path":
                names = split_names(value)
                path = names or ()
                certain = names is not None and "$user" not in path
            elif name in ("role", "session_authorization"):
                return None
        if body.bound:
            path = ()  # printed with every name qualified
        return SessionSettings(
            database=self._catalog.database, search_path=path, certain=certain or body.bound
        )

    # Expressions.

    def _expression(self, relation: Relation | None, text: str) -> Hidden:
        """An expression as the server prints it, or a CREATE TRIGGER with its condition."""
        nodes = _targets(text, self._catalog.server_version_num)
        if nodes is None:
            return _unknown("an expression that could not be read")
        analyst = self._analyst(self._lineage, _printed(self._catalog))
        analyst.deferred = True
        scope = Scope()
        if relation is not None:
            fields = [Field(column.name) for column in relation.columns]
            items = [Item(name, fields) for name in (relation.name, "old", "new")]
            scope.add(items[0], items)
        else:
            scope.add(Item("", [Field("value")]), ())
        analyst.walk(nodes, scope)
        if analyst.opaque or any("not understood" in why for why in analyst.unresolved):
            return _unknown("an expression that was not understood")
        return analyst.hidden()


_READING = frozenset({Action.SELECT, Action.SHOW})
_STORING = _READING | {Action.INSERT}
_WRITES = frozenset({Flag.WRITES})
_EVALUATED = frozenset(("targetList", "limitOption", "op"))
"""All that SELECT and expressions are made of."""


def _does_more_than_read(analyst: "Analyst") -> bool:
    return bool(
        analyst.functions
        or analyst.functions_below
        or _is_unclear(analyst)
        or not _READING.issuperset(analyst.actions)
    )


def _is_unclear(analyst: "Analyst", flags: frozenset[Flag] = frozenset()) -> bool:
    """`flags`: such may be there."""
    return bool(
        analyst.unresolved
        or analyst.opaque
        or not flags.issuperset(analyst.flags)
        or analyst.settings_changed
    )


def _unknown(what: str) -> Hidden:
    return Hidden((FunctionUse("", what),))


def _printed(catalog: Catalog) -> SessionSettings:
    """Definitions are printed with an empty search_path: what is not built in is qualified."""
    return SessionSettings(database=catalog.database, search_path=())


def _parsed(text: str, server: int) -> Sequence[RawStatement] | None:
    found = None if "\0" in text else parse_decoded(text, len(text.encode()), server)
    return None if isinstance(found, ParseFailure) else found


def _targets(text: str, server: int) -> list[Any] | None:
    """The expressions of a list of them, None when it cannot be read."""
    if text.startswith("CREATE "):
        statements = _parsed(text, server)
        if not statements or statements[0].kind != "CreateTrigStmt":
            return None
        return [statements[0].body.get("whenClause")]
    if not text.strip():
        return None
    statements = _parsed(f"SELECT {text}", server)
    if not statements or len(statements) != 1 or statements[0].kind != "SelectStmt":
        return None
    return [node["ResTarget"]["val"] for node in statements[0].body.get("targetList", ())]


def _readings(body: FunctionBody) -> tuple[str, ...]:
    """A body that was kept as a text is read when it is called, under whatever
    standard_conforming_strings is then: the caller's, or one that the function sets."""
    if body.bound or "\\" not in body.text:
        return (body.text,)
    return body.text, with_escapes(body.text)


def _only_query(text: str, bound: bool, server: int) -> RawStatement | None:
    """The one SELECT a body consists of; None for anything else."""
    statements = _parsed(text, server)
    if statements is None or len(statements) != 1:
        return None
    statement = statements[0]
    if bound:
        inside = _bound_query(statement.body)
        if inside is None:
            return None
        statement = statement._replace(kind=inside[0], body=inside[1])
    return statement if statement.kind == "SelectStmt" else None


def _bound_query(create: Body) -> tuple[str, Body] | None:
    """CREATE FUNCTION ... RETURN expression, or BEGIN ATOMIC one query END."""
    node = create.get("sql_body")
    while node and "List" in node:
        items = node["List"].get("items", ())
        if len(items) != 1:
            return None
        node = items[0]
    if not node:
        return None
    ((kind, inside),) = node.items()
    if kind != "ReturnStmt":
        return kind, inside
    target = {"ResTarget": {"val": inside["returnval"]}}
    return "SelectStmt", {"targetList": [target]}
