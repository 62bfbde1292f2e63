"""A database's schema at one moment, keyed by OID and attribute number; built by
`dataplane/catalogs`, read by `sql`, `policy` and `masking`.

A relation, column or function that is not in here is *unknown*, and unknown means refuse for
whoever owes a mask.
"""

from collections.abc import Mapping

import msgspec

ColumnKey = tuple[int, int]
"""(pg_class.oid, pg_attribute.attnum): the only identity of a column that a rename does not change.
"""


_STATISTICS = """avg_width correlation dependencies elem_count_histogram expr histogram_bounds
    most_common_base_freqs most_common_elem_freqs most_common_elems most_common_freqs
    most_common_val_nulls most_common_vals n_distinct null_frac range_bounds_histogram
    range_empty_frac range_length_histogram"""
_SAMPLED = frozenset(_STATISTICS.split())
"""What the planner's statistics say of the values in a column."""

SECRET_COLUMNS: Mapping[str, frozenset[str]] = {
    "pg_authid": frozenset({"rolpassword"}),
    "pg_shadow": frozenset({"passwd"}),
    "pg_stats": _SAMPLED,
    "pg_stats_ext": _SAMPLED,
    "pg_stats_ext_exprs": _SAMPLED,
    "pg_stat_activity": frozenset({"query", "application_name"}),  # text other sessions chose
    "pg_prepared_xacts": frozenset({"gid"}),  # likewise
    "pg_stat_replication": frozenset({"application_name"}),
    "pg_stat_wal_receiver": frozenset({"conninfo"}),
    "pg_subscription": frozenset({"subconninfo"}),
    "pg_user_mapping": frozenset({"umoptions"}),
    "pg_user_mappings": frozenset({"umoptions"}),
}
"""Relations of pg_catalog of which only these columns are secret. For whoever owes masks they are
NULL, as if masked by policy; the rest of such a relation is what monitoring and dumps read."""

_HOT = frozenset({"n_tup_hot_upd", "n_tup_newpage_upd"})
"""Whether an update left every indexed column as it was, and the new row fitted its page."""
_WRITTEN = _HOT | {"n_tup_ins", "n_tup_upd", "n_tup_del"}
"""In the open transaction, of TOAST tables too: how long what it replaced was."""
_POSITIONS = frozenset(
    [
        "sent_lsn",
        "write_lsn",
        "flush_lsn",
        "replay_lsn",
        "restart_lsn",
        "confirmed_flush_lsn",
        "received_lsn",
        "latest_end_lsn",
        "written_lsn",
        "flushed_lsn",
        "receive_start_lsn",
    ]
)
_VOLUMES = frozenset(
    [
        "wal_records",
        "wal_fpi",
        "wal_bytes",
        "wal_buffers_full",
        "wal_write",
        "wal_sync",
        "writes",
        "write_bytes",
        "extends",
        "extend_bytes",
        "fpi",
    ]
)
"""How much was written follows what was there: an update's log record leaves out what it shares
with the old row."""

TELLING_COLUMNS: Mapping[str, frozenset[str]] = {
    "pg_attribute": frozenset({"attmissingval"}),  # the value of a column that was added later
    **dict.fromkeys(("pg_stat_all_tables", "pg_stat_sys_tables", "pg_stat_user_tables"), _HOT),
    **dict.fromkeys(
        ("pg_stat_xact_all_tables", "pg_stat_xact_sys_tables", "pg_stat_xact_user_tables"), _WRITTEN
    ),
    "pg_stat_wal": _VOLUMES,
    "pg_stat_database": frozenset({"temp_files", "temp_bytes"}),  # what was sorted on the way
    "pg_stat_io": _VOLUMES,
    "pg_stat_replication": _POSITIONS,
    "pg_stat_wal_receiver": _POSITIONS,
    "pg_replication_slots": _POSITIONS,
    "pg_stat_subscription": _POSITIONS,
}
"""No secrets, but they tell of values in tables: NULL like `SECRET_COLUMNS` for whoever owes masks,
and nothing to anybody else."""

_VALUES = frozenset({"VARIABLE_VALUE"})
_SENT = frozenset({"BYTES_SENT"})
TELLING_ELSEWHERE: Mapping[tuple[str, str], frozenset[str]] = {
    ("information_schema", "STATISTICS"): frozenset({"CARDINALITY"}),  # distinct values of an index
    # How much the server sent, which is how long the values were that are masked on their way.
    ("information_schema", "SESSION_STATUS"): _VALUES,
    ("information_schema", "GLOBAL_STATUS"): _VALUES,
    ("performance_schema", "session_status"): _VALUES,
    ("performance_schema", "global_status"): _VALUES,
    ("information_schema", "CLIENT_STATISTICS"): _SENT,
    ("information_schema", "USER_STATISTICS"): _SENT,
}
"""The same of catalogs that are not pg_catalog: (schema, relation) as the catalog has them."""


ColumnName = tuple[str, str, str]
"""(schema, relation, column)."""


class Column(msgspec.Struct, frozen=True):
    attnum: int
    name: str
    type_oid: int
    typmod: int = -1
    generated: str = ""
    """pg_attribute.attgenerated: '' or 's' (stored) or 'v' (virtual)."""
    expression: str = ""
    """Text of the generation expression, '' when not generated."""
    not_null: bool = False
    """pg_attribute.attnotnull."""
    type_text: str = ""
    """format_type() with an empty search_path; of a domain's underlying type."""
    collation: str = ""
    """`schema.name`, quoted, of a collation other than the default one; '' otherwise."""
    charset: str = ""
    """Character set of its texts, where each column has its own."""
    invisible: bool = False
    """Left out by `*`."""
    defaulted: bool = False
    """A row that is written without it gets a value other than NULL in it: a default, the next
    number."""


class Relation(msgspec.Struct, frozen=True):
    oid: int
    schema: str
    name: str
    kind: str
    """pg_class.relkind: r table, p partitioned table, v view, m materialised view, f foreign table,
    S sequence, c composite type, t toast.
    """
    columns: tuple[Column, ...]
    parents: tuple[int, ...] = ()
    """pg_inherits: parents of a partition or an inheritance child."""
    definition: str = ""
    """pg_get_viewdef() of a view or materialised view, '' otherwise. Names in it are resolved with
    an empty search_path (the loader sets it), so they are qualified.
    """
    persistence: str = "p"
    """pg_class.relpersistence: p permanent, u unlogged, t temporary."""
    has_triggers: bool = False
    has_rules: bool = False
    """Whether it has rules other than the one that makes a view a view."""
    written: tuple[str, ...] = ()
    """Expressions evaluated when a row is written: defaults, generated columns, checks, indexes,
    partition keys, conditions of triggers (these as CREATE TRIGGER); only those that may call
    something. '' for one that is too long to be looked at."""
    defaults: frozenset[str] = frozenset()
    """Those of `written` that give a column its value when a row is written without one; of an
    identity column `nextval()`."""
    triggers: tuple[int, ...] = ()
    """OIDs of the functions of its triggers; of those built in, 0 for one of which it is not known
    what it does."""
    policies: tuple[str, ...] = ()
    """Expressions of its row security policies, when row security is on."""
    cascades: tuple[int, ...] = ()
    """OIDs of relations in which a foreign key changes rows when one here is changed."""
    row_type_oid: int = 0
    """pg_class.reltype."""
    secured: bool = False
    """pg_class.relrowsecurity: which rows there are depends on who reads."""
    barrier: bool = False
    """A view with security_barrier."""
    stamp: str = ""
    """`sql/stamps.RELATION` when it was read; '' for what initdb made."""
    reads: tuple[int, ...] = ()
    """Relations that a temporary view's definition names (it has no `definition`)."""
    owner: str = ""
    """Name of the role; '' where relations have none."""
    undoable: bool = True
    """Whether a transaction's rollback undoes what was written to it."""
    runs: tuple[int, ...] = ()
    """Functions that it calls and that are not built in, as functions or operators."""

    def column(self, name: str) -> Column | None:
        for column in self.columns:
            if column.name == name:
                return column
        return None


class Function(msgspec.Struct, frozen=True):
    """A function outside pg_catalog (those are known by `sql/functions`)."""

    oid: int
    schema: str
    name: str
    kind: str
    """pg_proc.prokind: f function, p procedure, a aggregate, w window."""
    language: str
    arguments: str
    """oidvectortypes(proargtypes): types of its input arguments, qualified unless built in. With
    schema and name the identity of a function."""
    returns_oid: int = 0
    digest: str = ""
    """SHA-256, in hex, of its owner and pg_get_functiondef(): body, language, volatility, SECURITY,
    SET. Of an aggregate, of its parts' definitions and its start values. Computed by the server."""
    extension: str = ""
    """Name of the extension it belongs to, '' for none."""
    columns: tuple[str, ...] = ()
    """Names of OUT, INOUT and TABLE arguments in order, '' for one without a name."""
    constructor: bool = False
    """Made by CREATE TYPE ... AS RANGE: the server's own code, which only computes."""


class FunctionBody(msgspec.Struct, frozen=True):
    """What an SQL function runs, or a trigger's function in PL/pgSQL."""

    text: str
    """pg_proc.prosrc; pg_get_functiondef() of one whose body is part of the definition (BEGIN
    ATOMIC, RETURN)."""
    bound: bool
    """Of the latter kind: names were bound when it was created, and are printed qualified."""
    settings: tuple[str, ...] = ()
    """pg_proc.proconfig: name=value each."""
    arguments: tuple[str, ...] = ()
    """Names of its arguments, '' for one without."""
    defaults: str = ""
    """Default values of its last arguments, separated by commas."""
    types: tuple[int, ...] = ()
    """OIDs of its arguments' types."""
    language: str = "sql"


class GuardedType(msgspec.Struct, frozen=True):
    """A type whose values do not come to be without functions or conditions outside pg_catalog:
    a domain with checks, a base type, or a composite, array or range of such ones."""

    oid: int
    schema: str
    name: str
    parts: tuple[int, ...] = ()
    """OIDs of the types it is made of."""
    functions: tuple[int, ...] = ()
    """OIDs of functions outside pg_catalog that read, write, or compare its values."""
    checks: tuple[str, ...] = ()
    """A domain's conditions and default."""


class UserCast(msgspec.Struct, frozen=True):
    """A cast made by CREATE CAST that calls a function, of no extension known to only compute."""

    from_type: int
    to_type: int
    function: int
    """0 for one of pg_catalog that is not on the allow-list."""


class ForeignKey(msgspec.Struct, frozen=True):
    """Columns of `child` refer to columns of `parent`."""

    child: int
    columns: tuple[int, ...]
    parent: int
    parent_columns: tuple[int, ...]
    on_delete: str
    """pg_constraint.confdeltype: a no action, r restrict, c cascade, n set null, d set default."""
    on_update: str
    defaulted: tuple[int, ...] = ()
    """Those of `columns` that get a value when a row is written without one."""


class Comparison(msgspec.Struct, frozen=True):
    """What the outcome of a write to a relation depends on, as a check, an index, a generated
    column or a trigger makes it. All are attribute numbers; where a column is made of others
    (`Catalog.made_of`), they are listed with it."""

    columns: tuple[int, ...] = ()
    """Looked at together when a row is changed in one of them."""
    always: bool = False
    """They are looked at whatever is changed in a row, with an outcome that is not known."""
    others: tuple[int, ...] = ()
    """Those of `columns` whose new value is held against other rows in a way that tells more of
    these than that there is one like it."""
    before: tuple[int, ...] = ()
    """Those of `columns` that are looked at as they were before a change."""
    changes: tuple[int, ...] = ()
    """Looked at for whether a write changes them."""
    deleted: tuple[int, ...] = ()
    """Looked at when a row is deleted."""
    unique: tuple[int, ...] = ()
    """Held against other rows, whole: whether there is one like it."""
    nulls_alike: bool = False
    """A NULL in `unique` is like another."""
    moves: tuple[int, ...] = ()
    """A row in which one of these changes may move to another partition."""
    gathered: tuple[int, ...] = ()
    """Looked at when the relation is analysed or refreshed: an expression over them may fail, or a
    unique index of a materialised view."""


class Catalog(msgspec.Struct, frozen=True):
    """One immutable snapshot. `version` changes whenever anything in it does."""

    target: str
    database: str
    version: str
    server_version_num: int
    schemas: tuple[str, ...]
    relations: Mapping[int, Relation]
    """By OID. Includes pg_catalog and information_schema."""
    by_name: Mapping[tuple[str, str], int]
    """(schema, relation name) -> OID."""
    functions: Mapping[tuple[str, str], tuple[Function, ...]]
    """(schema, function name) -> overloads, user schemas only."""
    operators: frozenset[tuple[str, str]] = frozenset()
    """(schema, operator name) outside pg_catalog that belong to no extension known to only compute
    on its arguments.
    """
    extension_operators: frozenset[tuple[str, str]] = frozenset()
    """(schema, operator name) outside pg_catalog of such extensions."""
    types: Mapping[tuple[str, str], int] = {}
    """(schema, type name) -> OID outside pg_catalog and not a relation's row type."""
    unlisted_builtins: frozenset[str] = frozenset()
    """Names of functions of pg_catalog that are not on the allow-list."""
    operator_functions: Mapping[tuple[str, str], tuple[int, ...]] = {}
    """(schema, operator name), of those in `operators` -> OIDs of the functions outside pg_catalog
    that they call; 0 for one of pg_catalog that is not on the allow-list."""
    bodies: Mapping[int, FunctionBody] = {}
    """OID of a function in SQL -> what it runs; those that are long or of an extension left out."""
    guarded_types: Mapping[int, GuardedType] = {}
    """By OID, composite types and arrays included."""
    casts: tuple[UserCast, ...] = ()
    type_parts: Mapping[int, tuple[int, ...]] = {}
    """OID of a type outside pg_catalog -> such types that it is made of; empty when `casts` is."""
    compared_by: Mapping[int, tuple[int, ...]] = {}
    """OID of a relation -> functions, not compiled ones, that its indexes and its partition key
    call, for reading and writing."""
    compares: Mapping[int, tuple[int, ...]] = {}
    """OID of a type -> such functions that are called when its values are compared."""
    interpreted: Mapping[str, tuple[int, ...]] = {}
    """Name -> OIDs of the functions of that name which came with the server and are not compiled
    (written in SQL, mostly): they can be replaced."""
    interpreted_within: Mapping[str, tuple[int, ...]] = {}
    """Name of an operator, '' for casts -> OIDs of such functions that it calls."""
    unknown: frozenset[ColumnKey] = frozenset()
    """Columns that appeared since this database was first seen: whoever made them may have put
    masked values into them (`dataplane/baseline`)."""
    former: Mapping[ColumnKey, tuple[ColumnName, ...]] = {}
    """The names under which columns were first seen that have another now, and those of the columns
    of tables that theirs was a part of. Neither a rename nor DETACH takes a mask away."""
    remade: frozenset[int] = frozenset()
    """OIDs of new relations that bear the name under which another was first seen, whether that is
    still there or not."""
    newest: str = ""
    """`sql/stamps.NEWEST` when it was read. '' = this catalog was not read from a server, and there
    is nothing to hold it against."""
    callables: str = ""
    """`sql/stamps.CALLABLES` when it was read."""
    named: Mapping[str, tuple[int, int]] = {}
    """Name -> how many functions and operators outside pg_catalog are called so, and the sum of the
    transactions that made their rows (`sql/stamps.NAMED`)."""

    foreign_keys: tuple[ForeignKey, ...] = ()
    compared: Mapping[int, tuple[Comparison, ...]] = {}
    """By OID of the relation."""
    made_of: Mapping[int, Mapping[int, tuple[int, ...]]] = {}
    """By OID: columns that the server computes from others of the same row (generated ones, and
    those that tsvector_update_trigger() fills) -> these."""
    primary_keys: Mapping[int, tuple[int, ...]] = {}
    """By OID: what a foreign key refers to that names no columns."""
    unique: Mapping[tuple[int, str], tuple[int, ...]] = {}
    """(OID, name of a primary key or a unique constraint) -> its columns."""

    indexes: Mapping[int, Mapping[str, tuple[int, ...]]] = {}
    """By OID: an index's name -> its columns, where statements may name indexes; 0 for a part that
    is an expression."""
    folds_relations: bool = False
    """Names of relations and schemas are compared without regard to case."""

    def relation_named(self, schema: str, name: str) -> Relation | None:
        oid = self.by_name.get((schema, name))
        return None if oid is None else self.relations[oid]


class SessionSettings(msgspec.Struct, frozen=True):
    """The part of a session's state that the meaning of a text depends on. `digest` keys caches."""

    database: str
    search_path: tuple[str, ...] = ("$user", "public")
    role: str = ""
    """current_user, which "$user" in search_path stands for."""
    certain: bool = True
    """False while a statement that may change any of these is on its way or could have changed them
    unseen.
    """
    temp_relations: frozenset[str] = frozenset()
    """Names of relations that this session may have made, and whose columns are not known (never
    removed too early)."""
    temporaries: tuple[Relation, ...] = ()
    """The session's own temporary relations, as the server described them; their schema is
    "pg_temp"."""
    temp_kinds: frozenset[tuple[str, str]] = frozenset()
    """(name, pg_class.relkind) of temporary relations that the session surely has. Of the other
    names in `temp_relations` each may be gone, or a view through which a lasting one is written."""

    converted: bool = False
    """What the database sends is turned into another encoding, which fails on what has no place
    there."""

    modes: tuple[str, ...] = ()
    """Modes under which the server reads a text, in upper case and sorted (`sql_mode`, combined
    modes expanded by the server)."""
    encoding: str = ""
    """In which the server reads a text, in lower case (`character_set_client`); '' = UTF-8."""

    sealed: str = ""
    """`digest()`, computed once by whoever keeps this object for many statements."""

    def may_be_temporary(self, name: str) -> bool:
        """Whether an unqualified name may mean a temporary relation of the session."""
        return name in self.temp_relations or any(own.name == name for own in self.temporaries)

    @property
    def naming(self) -> tuple[tuple[str, ...], str, bool]:
        """What a name without a schema is looked up by, temporary relations aside, and
        `converted`: what a prepared text means beside its letters."""
        return self.search_path, self.role, self.converted

    def digest(self) -> str:
        if self.sealed:
            return self.sealed
        return repr(
            (
                self.database,
                self.search_path,
                self.role,
                self.certain,
                sorted(self.temp_relations),
                self.temporaries,
                sorted(self.temp_kinds),
                self.converted,
                self.modes,
                self.encoding,
            )
        )
