"""What one statement comes to: actions, relations, functions, flags, settings, and why something
was not understood. Filled by `calls`, `queries`, `writes` and `utility`; read by `analysis`.
"""

from collections.abc import Collection, Iterable, Mapping

from sqlglot import exp

from appliance.model.catalog import ColumnKey, Relation, SessionSettings
from appliance.model.facts import (
    Action,
    Flag,
    FunctionUse,
    OutputColumn,
    PreparedUse,
    RelationUse,
)
from appliance.sql.mysql.lineage import MyLineage
from appliance.sql.mysql.names import Found, find_relation
from appliance.sql.mysql.reading import Reader, Result
from appliance.sql.mysql.secrets import is_secret, is_system
from appliance.sql.names import TEMPORARY_SCHEMA

_EVENTS: Mapping[Action, frozenset[str]] = {
    Action.INSERT: frozenset({"insert"}),
    Action.UPDATE: frozenset({"update"}),
    Action.DELETE: frozenset({"delete"}),
    Action.TRUNCATE: frozenset({"none"}),
    Action.COPY_FROM: frozenset({"insert"}),
    Action.COPY_FILE: frozenset({"insert"}),
}
"""What makes triggers run; an action that is not here makes all of them."""

Use = tuple[Action, int, str, str]
"""Action, OID, database, name."""

_READING = frozenset({Action.SELECT, Action.EXPLAIN})
_PERHAPS_ABSENT = frozenset({Action.CREATE, Action.DROP, Action.GRANT})


class Ledger:
    """One statement's."""

    def __init__(self, lineage: MyLineage | None, settings: SessionSettings, server: int) -> None:
        self.lineage = lineage
        self.settings = settings
        self.server = server
        """The server's version (`words`), 0 = not known."""
        self.reader = Reader(lineage, settings)
        self.kind = ""
        self.actions: dict[Action, None] = {}
        self.uses: dict[Use, dict[str, None]] = {}
        self.beneath: dict[Use, dict[str, None]] = {}
        self.writes = 0
        self.functions: dict[FunctionUse, None] = {}
        self.functions_below: dict[FunctionUse, None] = {}
        self.calls: dict[FunctionUse, None] = {}
        self.names_called: set[str] = set()
        self.flags: set[Flag] = set()
        self.settings_changed: dict[tuple[str, str], None] = {}
        self.settings_plain = True
        """What they become is told by the text alone."""
        self.decides: set[ColumnKey] = set()
        """Columns whose values decide what the server says of a write, though none uses them."""
        self.spared: set[ColumnKey] = set()
        """See `StatementFacts.spared`."""
        self.prepared: PreparedUse | None = None
        self.opaque = False
        self.ends_transaction = False
        self.isolates = False
        self.if_not_exists = False
        self.temporaries: dict[tuple[str, str], None] = {}
        self.failure = ""
        """Why it could not be parsed, for a person; '' when it could."""
        self.result = Result(())
        self.tree: exp.Expr | None = None
        """Of a query or a statement that writes rows."""
        self.depth = 0
        """1 inside a text that is itself a string of another one."""

    # Noting.

    def act(self, *actions: Action) -> None:
        for action in actions:
            self.actions[action] = None

    def puzzle(self, why: str) -> None:
        self.reader.puzzle(why)

    def not_seen(self, why: str) -> None:
        """What it does cannot be told from its text."""
        self.opaque = True
        self.act(Action.OPAQUE)
        self.puzzle(why)

    def secret(self) -> None:
        self.flags.add(Flag.READS_SYSTEM_SECRETS)

    def find(self, database: str, name: str) -> Found:
        return find_relation(self.lineage, self.settings, database, name)

    def use(
        self, action: Action, database: str, name: str, columns: Iterable[str] = ()
    ) -> Relation | None:
        """Notes a relation by its name; gives it, when it is known. What is not there yet, or need
        not be, is no puzzle."""
        found = self.find(database, name)
        if found.relation is None:
            if action not in _PERHAPS_ABSENT:
                self.puzzle(found.why)
            self.uses.setdefault((action, 0, found.database, name), {})
            return None
        self.use_known(action, found.relation, columns)
        return found.relation

    def use_known(self, action: Action, relation: Relation, columns: Iterable[str] = ()) -> None:
        schema = TEMPORARY_SCHEMA if relation.persistence == "t" else relation.schema
        key = (action, relation.oid, schema, relation.name)
        self.uses.setdefault(key, {}).update(dict.fromkeys(columns))

    def use_temporary(self, action: Action, database: str, name: str) -> None:
        """A temporary table of the session, by the name of PostgreSQL's schema for such: a policy
        means the same by it everywhere."""
        own = self._own_temporary(database, name)
        self.uses.setdefault((action, 0 if own is None else own.oid, TEMPORARY_SCHEMA, name), {})

    def _own_temporary(self, database: str, name: str) -> Relation | None:
        for own in self.settings.temporaries:
            if (own.schema, own.name) == (database or self.settings.database, name):
                return own
        return None

    def note_temporary(self, database: str, name: str) -> None:
        """Behind this statement the name may be that of a temporary table."""
        if not database and not self.settings.certain:
            self.puzzle(f"relation {name}: the database is not certain")
        self.temporaries[database or self.settings.database, name] = None

    def require_unshadowed(self, database: str, name: str) -> None:
        """A temporary table would hide a lasting relation from whoever names it, but not from
        views: what a name means would be hard to tell."""
        lineage, database = self.lineage, database or self.settings.database
        if lineage is not None and lineage.has_lasting(database, name):
            self.puzzle(
                f"{database}.{name} is a lasting relation, and a temporary one would hide it"
            )

    def write_beneath(self, action: Action, relation: Relation, columns: Collection[str]) -> None:
        """The triggers of what is written, and the tables below a view whose rows change with
        it."""
        self._triggers(action, relation)
        if self.lineage is None or relation.kind != "v":
            return
        catalog = self.lineage.catalog
        for field in self.lineage.shape(relation.oid).fields:
            for oid, attnum in field.sources:
                below = catalog.relations.get(oid)
                if below is None or below.kind == "v":
                    continue
                self._triggers(action, below)
                key = (action, below.oid, below.schema, below.name)
                held = self.beneath.setdefault(key, {})
                if field.name in columns or "*" in columns or not columns:
                    held[self.lineage.column_name(oid, attnum)] = None

    def _triggers(self, action: Action, relation: Relation) -> None:
        """Triggers are code: harmless only when somebody vouched for it."""
        if not relation.has_triggers or self.lineage is None:
            return
        events = _EVENTS.get(action, frozenset())
        known = {
            function.oid: function
            for functions in self.lineage.catalog.functions.values()
            for function in functions
            if function.oid in relation.triggers
        }
        if not known:
            name = f"triggers of {relation.schema}.{relation.name}"
            self.functions_below[FunctionUse("", name)] = None
        for oid, function in known.items():
            if not events or function.arguments in events:
                call = FunctionUse(function.schema, function.name, (oid,))
                self.functions_below[call] = self.calls[call] = None

    def note_written(self, relation: Relation) -> None:
        """Rows of the server's own tables are accounts, privileges and code."""
        if is_system(relation.schema):
            self.act(Action.ALTER_SYSTEM)
            self.flags.add(Flag.CHANGES_SCHEMA)

    def set(self, name: str, value: str) -> None:
        self.settings_changed[name.lower(), value] = None

    # Reading.

    def relation_uses(self) -> tuple[RelationUse, ...]:
        """With the columns that are read of each."""
        read: dict[int, dict[str, None]] = {}
        if self.lineage is not None:
            for oid, attnum in sorted(self.reader.referred):
                read.setdefault(oid, {})[self.lineage.column_name(oid, attnum)] = None
        found = []
        for (action, oid, schema, name), columns in self.uses.items():
            also = read.get(oid, {}) if action in _READING and oid else {}
            found.append(RelationUse(action, schema, name, oid, tuple({**columns, **also})))
        return tuple(found)

    def note_secrets(self) -> None:
        """Reading the server's own relations, by what is read of them."""
        for use in (*self.relation_uses(), *self.uses_beneath()):
            columns = use.columns if use.oid else ("*",)
            if is_secret(use.schema, use.name, columns):
                self.secret()

    def uses_beneath(self) -> tuple[RelationUse, ...]:
        return tuple(
            RelationUse(action, schema, name, oid, tuple(columns))
            for (action, oid, schema, name), columns in self.beneath.items()
            if (action, oid, schema, name) not in self.uses
        )

    def outputs(self) -> tuple[OutputColumn, ...]:
        return tuple(
            OutputColumn(f.name, f.origin, f.sources, f.plain, f.loose) for f in self.result.fields
        )
