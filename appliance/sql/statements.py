"""One statement of any kind into the ledger. `analysis` makes one `Analyst` per statement and
reads its ledger."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from appliance.model.catalog import SECRET_COLUMNS
from appliance.model.facts import Action, Flag, OutputColumn, PreparedUse
from appliance.sql import classify, maintenance
from appliance.sql.explained import carried
from appliance.sql.expressions import Node, Result, constant_text, every_node
from appliance.sql.names import WHOLE_ROW, words
from appliance.sql.options import analyzes
from appliance.sql.parse import Body
from appliance.sql.scope import Field, Scope
from appliance.sql.unseen import NOTHING as NOTHING_HIDDEN
from appliance.sql.unseen import Hidden
from appliance.sql.writes import NOTHING, Writes

UNKNOWN_RESULT = Result((), False)

ACCESS_SHARE_LOCK = 1
"""src/include/storage/lockdefs.h."""

_EXECUTING = frozenset(
    {
        Action.SELECT,
        Action.INSERT,
        Action.UPDATE,
        Action.DELETE,
        Action.MERGE,
        Action.CREATE,
        Action.CREATE_TEMPORARY,
    }
)
"""What EXPLAIN without ANALYZE does not do."""


class Analyst(Writes):
    """Everything, with utility statements understood."""

    def statement(self, kind: str, body: Body, scope: Scope | None = None) -> Result:
        """Notes all that a statement does; gives the columns it returns."""
        if kind == "SelectStmt":
            self.act(Action.SELECT)
            result = self.select(body, scope)
            if "intoClause" in _leftmost(body):
                return NOTHING
            return result
        if kind in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
            return self.write_query(kind, body, scope or Scope())
        rule = _RULES.get(kind)
        if rule is not None:
            return rule(self, body)
        if kind in classify.DEFINITIONS:
            self._definition(kind, body)
            return NOTHING
        action = classify.SESSION.get(kind)
        if action is not None:
            self.act(action)
            return self._session(kind, body)
        self.act(Action.OPAQUE)
        self.opaque = True
        self.puzzle(f"{kind} is not understood")
        return UNKNOWN_RESULT

    # Statements around a statement.

    def _explain(self, body: Body) -> Result:
        self.act(Action.EXPLAIN)
        inner = Analyst(self.lineage, self.settings, marks=self.marks)
        ((kind, inside),) = body["query"].items()
        result = inner.statement(kind, inside)
        options = [node["DefElem"] for node in body.get("options", ())]
        if self.lineage is not None:
            used = [oid for _, oid, _, _ in inner.uses]
            inner.consumed |= carried(kind, inside, inner.read, used, self.lineage)
        inner.measured(
            result, analyzes(options) or any(o["defname"] == "serialize" for o in options)
        )
        if analyzes(options):
            self.flags.add(Flag.EXPLAIN_ANALYZE)
        else:
            inner.plan_only()
        self._adopt(inner)
        return Result([Field("QUERY PLAN")])

    def measured(self, result: Result, runs: bool) -> None:
        """EXPLAIN tells how wide the columns are (estimates of the planner's statistics) and, when
        it runs the statement, volumes (SERIALIZE's output, memory, buffers): no column of the
        result is a plain output any more."""
        self.consume(result.fields)
        self.consumed.update(f.origin for f in result.fields if f.origin is not None)
        if runs and not result.known:
            self.puzzle("what the measured statement gives is not known")

    def plan_only(self) -> None:
        """EXPLAIN plans and does not run; functions are kept, since planning may call them."""
        self.actions = {
            a: None for a in self.actions if a not in _EXECUTING and a is not Action.EXECUTE
        }
        self.flags -= {
            Flag.WRITES,
            Flag.NO_WHERE,
            Flag.TRIVIAL_WHERE,
            Flag.UNBOUNDED,
            Flag.CHANGES_SCHEMA,
        }
        self.open_writes = []
        self.decides = set()
        self.beneath = {}
        self.carried = {}
        self.writes = 0
        uses, self.uses = self.uses, {}
        for (_, oid, schema, name), columns in uses.items():
            self.use_relation(Action.EXPLAIN, schema, name, oid, columns)

    def _adopt(self, inner: "Analyst") -> None:
        for action in inner.actions:
            self.act(action)
        for key, columns in inner.uses.items():
            self.uses.setdefault(key, {}).update(columns)
        for key, columns in inner.beneath.items():
            self.beneath.setdefault(key, {}).update(columns)
        self.carried.update(inner.carried)
        self.writes += inner.writes
        self.functions.update(inner.functions)
        self.functions_below.update(inner.functions_below)
        self.calls.update(inner.calls)
        self.names_called |= inner.names_called
        self.reads_inside |= inner.reads_inside
        self.keeps |= inner.keeps
        self.types_met |= inner.types_met
        self.takes_parameters = self.takes_parameters or inner.takes_parameters
        self.populates = self.populates or inner.populates
        self.consumed |= inner.consumed
        self.read |= inner.read
        self.rests_on |= inner.rests_on
        self.flags |= inner.flags
        self.decides |= inner.decides
        self.unresolved.update(inner.unresolved)
        self.opaque = self.opaque or inner.opaque
        self.prepared = self.prepared or inner.prepared
        self.open_writes += inner.open_writes
        self.settings_changed.update(inner.settings_changed)
        self.settings_last = self.settings_last or inner.settings_last

    def _prepare(self, body: Body) -> Result:
        self.act(Action.PREPARE)
        self.prepared = PreparedUse("prepare", body["name"])
        for node in body.get("argtypes", ()):
            self.type_name(node["TypeName"])
        ((kind, inside),) = body["query"].items()
        result = self.statement(kind, inside)
        if self.open_writes:  # its parameters come with EXECUTE, as expressions
            self.open_writes = []
            self.flags.add(Flag.TRIVIAL_WHERE)
        return result

    def _execute(self, body: Body) -> Result:
        self.act(Action.EXECUTE)
        self.prepared = PreparedUse("execute", body["name"])
        self.deferred = True  # the server looks names up anew once it has these values
        self.walk(body.get("params", []), Scope())
        return UNKNOWN_RESULT

    def _declare(self, body: Body) -> Result:
        self.act(Action.CURSOR)
        self.prepared = PreparedUse("declare", body["portalname"])
        if body.get("options", 0) & CURSOR_OPT_HOLD:
            self.keeps.add("cursor")
        self.deferred = True
        ((kind, inside),) = body["query"].items()
        return self.statement(kind, inside)

    def _create_as(self, body: Body) -> Result:
        """CREATE TABLE AS, CREATE MATERIALIZED VIEW, also of an EXECUTE."""
        self.into(body["into"])
        self.deferred = body.get("objtype") == "OBJECT_MATVIEW"
        ((kind, inside),) = body["query"].items()
        result = self.statement(kind, inside)
        self.consume(result.fields)
        if not result.known and kind != "ExecuteStmt":  # (that has a plan: `session/named`)
            self.puzzle("what the stored query gives is not known")
        return NOTHING

    def _view(self, body: Body) -> Result:
        self.creates(body["view"])
        self.deferred = True
        ((kind, inside),) = body["query"].items()
        self.consume(self.statement(kind, inside).fields)
        return NOTHING

    def _copy(self, body: Body) -> Result:
        outward = not body.get("is_from")
        action = Action.COPY_TO if outward else Action.COPY_FROM
        if body.get("is_program"):
            action = Action.COPY_PROGRAM
        elif "filename" in body:
            action = Action.COPY_FILE
        self.act(action)
        if "query" in body:
            ((kind, inside),) = body["query"].items()
            self.consume(self.statement(kind, inside).fields)
            return NOTHING
        if not outward:
            self.flags.add(Flag.WRITES)
        self._copy_relation(body, action, outward)
        return NOTHING

    def _copy_relation(self, body: Body, action: Action, outward: bool) -> None:
        """COPY relation: its columns come out in a form that no RowDescription describes."""
        scope = Scope()
        item = self.relation_item(body["relation"], scope, action)
        names = words(body.get("attlist", ())) or [field.name for field in item.fields]
        if outward:
            for name in names:
                field = item.columns.get(name)
                if field is not None:
                    self.consume((field,))
        found = None if self.catalog is None else self.catalog.relations.get(item.oid)
        if found is not None:
            self.use_relation(action, found.schema, found.name, found.oid, names)
            if not outward:
                self.write_beneath(action, found.oid, names)
                if found.schema == "pg_catalog":
                    self.system_write(found.name)
        if not outward:
            self.writes_rows(item.oid)
        if "whereClause" in body:  # COPY FROM ... WHERE
            scope.add(item, (item,))
            self.walk(body["whereClause"], scope)

    # Settings, transactions, sessions.

    def note_setting(self, name: str, value: str, local: bool = False) -> None:
        """SET, RESET and set_config() of one setting. `local`: for its transaction only."""
        name = name.lower()
        self.settings_last = self.settings_last or not local
        self.act(Action.SET_ROLE if name in classify.ROLE_SETTINGS else Action.SET)
        if name in classify.MEANING_SETTINGS:
            self.flags.add(Flag.CHANGES_SETTINGS)
        self.settings_changed[name, value] = None

    def _set(self, body: Body) -> Result:
        kind = body["kind"]
        own = kind == "VAR_SET_MULTI" and body["name"].startswith("TRANSACTION")
        if kind not in _RESETTING and not (own or body.get("is_local")):
            self.leave_set(body["name"])
        if kind == "VAR_RESET_ALL":
            self.act(Action.SET)
            self.flags.add(Flag.CHANGES_SETTINGS)
            self.settings_changed["all", ""] = None
            self.settings_last = True
        elif kind == "VAR_SET_MULTI":  # SET TRANSACTION, SET SESSION CHARACTERISTICS
            transaction = body["name"].startswith("TRANSACTION")
            self.act(Action.TRANSACTION if transaction else Action.SET)
        else:
            values = [constant_text(node) for node in body.get("args", ())]
            known = kind == "VAR_SET_VALUE" and None not in values
            value = ", ".join(v for v in values if v is not None) if known else ""
            self.note_setting(body["name"], value, bool(body.get("is_local")))
        return NOTHING

    def _transaction(self, body: Body) -> Result:
        two_phase = body["kind"] in classify.TWO_PHASE
        self.act(Action.TWO_PHASE if two_phase else Action.TRANSACTION)
        return NOTHING

    def _session(self, kind: str, body: Body) -> Result:
        if kind == "VariableShowStmt":
            return self._show(body)
        if kind == "DiscardStmt" and body["target"] in ("DISCARD_ALL", "DISCARD_TEMP"):
            self.flags.add(Flag.CHANGES_SETTINGS)
        if kind == "DeallocateStmt":
            self.prepared = PreparedUse("deallocate", body.get("name", ""))
        if kind == "ClosePortalStmt":
            self.prepared = PreparedUse("close", body.get("portalname", ""))
        if kind == "FetchStmt":
            self.prepared = PreparedUse("fetch", body["portalname"])
            return NOTHING if body.get("ismove") else UNKNOWN_RESULT
        return NOTHING

    def _show(self, body: Body) -> Result:
        name = body["name"]
        if name == "all":
            return Result([Field("name"), Field("setting"), Field("description")])
        return Result([Field(_setting_shown(name))])

    # Code that the text does not show.

    def _do(self, body: Body) -> Result:
        self.act(Action.DO)
        self.flags.add(Flag.DYNAMIC)
        self.opaque = True
        self.puzzle("what a DO block does is not seen")
        return NOTHING

    def _call(self, body: Body) -> Result:
        self.act(Action.CALL)
        self.flags.update((Flag.DYNAMIC, Flag.WRITES))
        call = body["funccall"]
        name = words(call["funcname"])
        schema = name[-2] if len(name) > 1 else ""
        owner = self._user_function(schema, name[-1])
        # One of an extension that only computes is no procedure; what is not known is not trusted.
        candidates = self.candidates(schema, name[-1]) or ()
        self._unknown_function(owner or "", name[-1], Action.CALL, candidates)
        self.walk(call.get("args", []), Scope())
        return UNKNOWN_RESULT

    # Definitions.

    def _lock(self, body: Body) -> Result:
        """LOCK in the mode that a SELECT takes anyway is no more than one: pg_dump does it."""
        if body.get("mode") == ACCESS_SHARE_LOCK:
            self.act(Action.SELECT)
            self._named_relations("LockStmt", body, Action.SELECT)
        else:
            self._definition("LockStmt", body)
        return NOTHING

    def _definition(self, kind: str, body: Body) -> None:
        action = classify.DEFINITIONS[kind]
        self.act(action)
        if kind not in classify.WRITES_NOTHING:
            self.flags.add(Flag.WRITES)
        if kind not in classify.SCHEMA_UNCHANGED:
            self.flags.add(Flag.CHANGES_SCHEMA)
        if kind in ("CreateStmt", "CreateSeqStmt"):
            self.actions.pop(action)
            self.creates(body["relation" if kind == "CreateStmt" else "sequence"])
        elif kind == "CreateSchemaStmt":
            self._create_schema(body)
        elif kind == "DropStmt":
            self._dropped(body)
        elif body.get("targtype") == "ACL_TARGET_ALL_IN_SCHEMA":
            for name in words(body["objects"]):
                self.use_relation(action, name, "*", 0)
        else:
            self._named_relations(kind, body, self._renamed_action(kind, body, action))
        if kind == "TruncateStmt":
            for _, oid, _, _ in list(self.uses):
                self.writes_rows(oid, deleting=True)
                if body.get("behavior") == "DROP_CASCADE":
                    self.truncate_beneath(oid)
        if kind == "ClusterStmt":
            self._clustered(body)
        if self.lineage is not None and kind in maintenance.COMPUTING:
            oids = [self._meant(relation)[2] for relation in _ranges(kind, body)]
            decided = maintenance.deciding(kind, body, oids, self.lineage)
            self.decides |= decided.columns
            for why in decided.unresolved:
                self.puzzle(why)
        if kind == "CreatedbStmt":
            self._copied_database(body)
        self._inside_definition(kind, body)

    def _copied_database(self, body: Body) -> None:
        """A database made from another one holds its values, where other rules may hold."""
        for node in body.get("options", ()):
            option = node["DefElem"]
            if option["defname"] == "template" and _word(option.get("arg")) not in _EMPTY_TEMPLATES:
                self.puzzle("what the database holds that is copied")

    def _clustered(self, body: Body) -> None:
        """Rows are put in the order of an index, which any of the relation's columns may be in:
        whoever reads them afterwards sees it."""
        if "relation" in body:
            _, _, oid = self._meant(body["relation"])
            if self.lineage is not None and oid:
                self.consume(self.lineage.shape(oid).fields)
        else:
            self.puzzle("by which columns CLUSTER puts the rows of every table in order")

    def _renamed_action(self, kind: str, body: Body, action: Action) -> Action:
        """ALTER ROLE ... RENAME is a change of roles."""
        if kind == "RenameStmt" and body.get("renameType") == "OBJECT_ROLE":
            self.act(Action.ROLE)
        return action

    def _create_schema(self, body: Body) -> None:
        """CREATE SCHEMA may hold CREATE TABLE, GRANT and the like."""
        self.use_relation(Action.CREATE, body.get("schemaname", ""), "*", 0)
        for node in body.get("schemaElts", ()):
            ((kind, inside),) = node.items()
            self.statement(kind, inside)

    def _dropped(self, body: Body) -> None:
        kind = body["removeType"]
        for node in body["objects"]:
            name = _object_name(node)
            if kind in classify.RELATION_OBJECTS:
                self._touch(Action.DROP, name)
            elif kind in classify.OF_RELATION_OBJECTS:
                self._touch(Action.DROP, name[:-1])
            elif kind == "OBJECT_SCHEMA":
                self.use_relation(Action.DROP, name[-1], "*", 0)

    def _touch(self, action: Action, name: Sequence[str]) -> None:
        """A relation named in a definition; an unknown one may just not exist."""
        if not name:
            return
        before = dict(self.unresolved)
        schema, oid = self.find_relation(name[-2] if len(name) > 1 else "", name[-1])
        if not self.settings.certain or self.catalog is None:
            before = self.unresolved
        self.unresolved = before
        self.use_relation(action, schema, name[-1], oid)
        if action is Action.TRUNCATE:
            self.write_beneath(action, oid)

    def _named_relations(self, kind: str, body: Body, action: Action) -> None:
        for relation in _ranges(kind, body):
            name = [relation.get("schemaname", ""), relation["relname"]]
            self._touch(action, [part for part in name if part])

    def _inside_definition(self, kind: str, body: Body) -> None:
        """Calls, casts and columns in defaults, checks, index expressions, USING, WHEN...

        They are evaluated by the server now or later. A column in one may be copied (ALTER ...
        USING), so everything of the relations named counts as used.
        """
        self.deferred = True
        columns = False
        for name, node in every_node(body):
            if "typeName" in node:
                self.type_name(node["typeName"])
            if name == "FuncCall":
                self._function(node, Scope(), [])
            elif name == "A_Expr":
                self.operators_of(node)
            elif name == "CaseExpr" and "arg" in node:
                self.equality()
            elif name == "ColumnRef":
                columns = True
            elif (
                name in ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt")
                and kind != "CreateSchemaStmt"
            ):
                self.puzzle("a query inside a definition is not followed")
        self.actions.pop(Action.SEQUENCE, None)  # a default of nextval() advances nothing now
        if columns and self.lineage is not None:
            for _, oid, _, _ in list(self.uses):
                if oid:
                    self.consume(self.lineage.shape(oid).fields)
        self._looked_into(kind, body)

    def _looked_into(self, kind: str, body: Body) -> None:
        """Whose rows the server holds against what is defined: its success tells of them."""
        made = body["relation"] if kind == "CreateStmt" else {}
        for name, node in list(every_node(body)):
            if name == "Constraint" and "pktable" in node:
                self._referred_to(node["pktable"], words(node.get("pk_attrs", ())), made)
            elif name == "PartitionCmd" and "name" in node:
                self._named_relations("", {"relation": node["name"]}, Action.ALTER)
            elif name == "AlterTableCmd" and node["subtype"] in _INHERITING:
                self._named_relations("", {"relation": node["def"]}, Action.ALTER)
            if name == "AlterTableCmd" and node["subtype"] in _REFERRING_AGAIN:
                self._keys_again(body["relation"])
        if "partbound" in body:  # rows of a default partition are looked at
            for node in body.get("inhRelations", ()):
                self._look_into(*self._meant(node["RangeVar"]))

    def _meant(self, relation: Body) -> tuple[str, str, int]:
        """(schema, name, OID) of a relation that may just not exist."""
        before = dict(self.unresolved)
        name = relation["relname"]
        schema, oid = self.find_relation(relation.get("schemaname", ""), name)
        if self.settings.certain and self.catalog is not None:
            self.unresolved = before
        return schema, name, oid

    def _look_into(
        self, schema: str, name: str, oid: int, attnums: Collection[int] | None = None
    ) -> None:
        """The columns of a relation (None: all of them) decide whether the statement succeeds."""
        self.use_relation(Action.SELECT, schema, name, oid)
        if self.lineage is not None and oid:
            self.consume(
                field
                for field in self.lineage.shape(oid).fields
                if attnums is None or (field.origin is not None and field.origin[1] in attnums)
            )

    def _referred_to(self, parent: Body, names: Sequence[str], made: Body) -> None:
        """A foreign key is made: to these columns of the parent, or to its primary key."""
        if made and _spelled(parent) == _spelled(made):
            return  # to itself: where it is made is where its name is looked for first
        schema, name, oid = self._meant(parent)
        if not oid and name == made.get("relname"):
            return
        relation = None if self.catalog is None else self.catalog.relations.get(oid)
        if self.catalog is None or relation is None:
            self._look_into(schema, name, oid)
            return
        attnums = {c.attnum for c in relation.columns if c.name in names}
        primary = self.catalog.primary_keys.get(oid)
        self._look_into(schema, name, oid, attnums if names else primary)

    def _keys_again(self, altered: Body) -> None:
        """Foreign keys of a relation, and to it, that are checked anew."""
        _, _, oid = self._meant(altered)
        if self.catalog is None or not oid:
            return
        for key in self.catalog.foreign_keys:
            for own, other, columns in (
                (key.child, key.parent, key.parent_columns),
                (key.parent, key.child, key.columns),
            ):
                found = self.catalog.relations.get(other)
                if own == oid and other != oid and found is not None:
                    self._look_into(found.schema, found.name, other, columns)

    # What the ledger comes to.

    def outputs(self, result: Result) -> tuple[OutputColumn, ...]:
        return tuple(
            OutputColumn(field.name, field.origin, field.sources, field.plain, field.loose)
            for field in result.fields
        )

    def note_hidden(self) -> None:
        """What it runs beside what it names: functions that computed the generated columns it
        reads, and casts that it may use."""
        if self.lineage is None:
            return
        for oid, attnum in list(self.read):
            if oid not in self.lineage.catalog.relations:
                continue
            for number, hidden in self.lineage.shape(oid).generating.items():
                if attnum in (WHOLE_ROW, number):
                    self.meet(hidden)
        if self.populates:
            for _, oid, _, _ in list(self.uses):
                relation = self.lineage.catalog.relations.get(oid)
                for column in () if relation is None else relation.columns:
                    self.meet(self.lineage.unseen.type(column.type_oid))
        self.meet(self.lineage.unseen.anywhere)
        if self.lineage.catalog.casts:
            self.meet(self.lineage.unseen.casts(self.types_met, self.takes_parameters))

    def hidden(self) -> Hidden:
        """All that it calls, for who keeps it with something else."""
        self.note_hidden()
        functions = (*self.functions, *self.functions_below)
        if not (functions or self.calls or self.reads_inside or self.keeps):
            return NOTHING_HIDDEN
        return Hidden(
            functions, tuple(self.calls), frozenset(self.reads_inside), frozenset(self.keeps)
        )

    def note_secret_columns(self) -> None:
        """Relations of which only some columns are secret: pg_stat_activity.query."""
        if self.lineage is None:
            return
        for _, oid, schema, name in self.uses:
            secret = SECRET_COLUMNS.get(name)
            if secret is None or schema != "pg_catalog":
                continue
            read = {self.lineage.column_name(o, n) for o, n in self.read if o == oid}
            if secret & read or (oid, WHOLE_ROW) in self.read:
                self.secret_columns = Flag.READS_SYSTEM_SECRETS not in self.flags
        if self.secret_columns:
            self.flags.add(Flag.READS_SYSTEM_SECRETS)


Rule = Callable[[Analyst, Body], Result]

_RULES: Mapping[str, Rule] = {
    "CallStmt": Analyst._call,
    "CopyStmt": Analyst._copy,
    "CreateTableAsStmt": Analyst._create_as,
    "DeclareCursorStmt": Analyst._declare,
    "DoStmt": Analyst._do,
    "ExecuteStmt": Analyst._execute,
    "ExplainStmt": Analyst._explain,
    "LockStmt": Analyst._lock,
    "PrepareStmt": Analyst._prepare,
    "TransactionStmt": Analyst._transaction,
    "VariableSetStmt": Analyst._set,
    "ViewStmt": Analyst._view,
}

CLASSIFIED = (
    frozenset(_RULES)
    | frozenset(classify.DEFINITIONS)
    | frozenset(classify.SESSION)
    | {"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"}
)
"""Every statement node that is understood."""


def _word(argument: Node) -> str:
    """An option's value, where it is a word."""
    return str((argument or {}).get("String", {}).get("sval", ""))


_SHOWN_AS = {"datestyle": "DateStyle", "timezone": "TimeZone", "intervalstyle": "IntervalStyle"}


_RESETTING = frozenset(("VAR_RESET", "VAR_RESET_ALL", "VAR_SET_DEFAULT"))
CURSOR_OPT_HOLD = 0x20
"""Of DeclareCursorStmt.options (nodes/parsenodes.h): WITH HOLD."""


def _setting_shown(name: str) -> str:
    """SHOW names its column as the setting is spelt in the server."""
    return _SHOWN_AS.get(name.lower(), name.lower())


def _leftmost(select: Body) -> Body:
    """INTO stands in the first arm of a set operation."""
    while "larg" in select and "intoClause" not in select:
        select = select["larg"]
    return select


def _object_name(node: Node) -> list[str]:
    if "List" in node:
        return words(node["List"]["items"])
    if "String" in node:
        return [node["String"]["sval"]]
    if "TypeName" in node:
        return words(node["TypeName"]["names"])
    return words(node.get("ObjectWithArgs", {}).get("objname", ()))


_EMPTY_TEMPLATES = frozenset({"template0", "template1"})
_INHERITING = frozenset({"AT_AddInherit", "AT_DropInherit"})
_REFERRING_AGAIN = frozenset(
    {
        "AT_ValidateConstraint",
        "AT_AlterConstraint",
        "AT_AlterColumnType",
        "AT_SetExpression",
        "AT_AttachPartition",
    }
)
"""What makes foreign keys be checked for rows that are there."""

# Where a definition names relations: the field that holds RangeVars, bare or in a list.
_RANGE_FIELDS: Mapping[str, Sequence[str]] = {
    "GrantStmt": ("objects",),
    "TruncateStmt": ("relations",),
    "LockStmt": ("relations",),
    "VacuumStmt": ("rels",),
    "CommentStmt": (),
    "CreatePublicationStmt": ("pubobjects",),
    "AlterPublicationStmt": ("pubobjects",),
    "CreateStatsStmt": ("relations",),
    "CreatePolicyStmt": ("table",),
    "AlterPolicyStmt": ("table",),
    "AlterSeqStmt": ("sequence",),
}


def _ranges(kind: str, body: Body) -> Iterator[Body]:
    """The RangeVars a definition names."""
    if kind == "CreateForeignTableStmt":
        body = body["base"]
    if kind in ("CommentStmt", "SecLabelStmt"):
        yield from _commented(body)
    for name in _RANGE_FIELDS.get(kind, ("relation",)):
        value = body.get(name)
        for node in value if isinstance(value, list) else [value] if value else []:
            if "relname" in node:
                yield node
            for inner in ("RangeVar", "VacuumRelation", "PublicationObjSpec"):
                found = node.get(inner) if isinstance(node, dict) else None
                if found is None:
                    continue
                found = found.get("relation", found)
                found = found.get("pubtable", {}).get("relation", found)
                if "relname" in found:
                    yield found


def _commented(body: Body) -> Iterator[Body]:
    """COMMENT ON and SECURITY LABEL name their object as a list of strings."""
    kind, node = body.get("objtype"), body.get("object", {})
    name = _object_name(node)
    if kind in classify.OF_RELATION_OBJECTS:
        name = name[:-1]
    elif kind not in classify.RELATION_OBJECTS:
        return
    if name:
        yield {"schemaname": name[-2] if len(name) > 1 else "", "relname": name[-1]}


def _spelled(relation: Body) -> tuple[str, str]:
    return relation.get("schemaname", ""), relation["relname"]
