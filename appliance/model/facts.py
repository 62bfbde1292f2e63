"""What a text would do, as found by `sql/`: actions on resources, lineage of outputs, functions,
flags. Policy-free.

`Facts` is for one client text (a simple Query may hold several statements), `StatementFacts` for
each statement in it.
"""

import enum

import msgspec

from appliance.model.catalog import ColumnKey


class Confidence(enum.Enum):
    """EXACT: every name resolved, every node known. PARTIAL: parsed, but something was not resolved
    (see `unresolved`). OPAQUE: not parsed, or its meaning cannot be seen (DO, dynamic SQL).
    """

    EXACT = "exact"
    PARTIAL = "partial"
    OPAQUE = "opaque"


class Action(enum.Enum):
    """What a statement does to a resource. Policy rules name these values."""

    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"
    MERGE = "merge"
    TRUNCATE = "truncate"
    COPY_TO = "copy_to"  # COPY ... TO STDOUT
    COPY_FROM = "copy_from"  # COPY ... FROM STDIN
    COPY_FILE = "copy_file"  # COPY to or from a server-side file
    COPY_PROGRAM = "copy_program"
    CREATE = "create"
    CREATE_TEMPORARY = "create_temporary"
    CREATE_FUNCTION = "create_function"  # also procedures, triggers, rules, operators, casts
    CREATE_EXTENSION = "create_extension"
    ALTER = "alter"
    DROP = "drop"
    COMMENT = "comment"
    GRANT = "grant"  # also REVOKE, ALTER DEFAULT PRIVILEGES, REASSIGN OWNED
    ROLE = "role"  # CREATE/ALTER/DROP ROLE|USER|GROUP
    SET_ROLE = "set_role"  # SET ROLE, SET SESSION AUTHORIZATION, set_config('role', ...)
    SET = "set"
    SHOW = "show"
    ALTER_SYSTEM = "alter_system"  # ALTER SYSTEM, ALTER DATABASE/ROLE ... SET, pg_reload_conf()
    LOAD = "load"
    DO = "do"
    CALL = "call"
    DYNAMIC_SQL = "dynamic_sql"  # query_to_xml() and other functions that run SQL from a string
    EXECUTE_FUNCTION = "execute_function"  # a function that is not on the allow-list
    LOCK = "lock"
    LARGE_OBJECT = "large_object"
    SERVER_FILE = "server_file"  # pg_read_file() and friends
    FOREIGN_SERVER = "foreign_server"  # dblink, foreign servers, tables and user mappings
    SIGNAL_BACKEND = "signal_backend"  # pg_terminate_backend(), pg_cancel_backend(), ...
    REPLICATION = "replication"  # slots, publications, subscriptions, logical decoding
    ADVISORY_LOCK = "advisory_lock"
    SEQUENCE = "sequence"  # nextval, setval, currval, lastval
    TRANSACTION = "transaction"
    TWO_PHASE = "two_phase"  # PREPARE TRANSACTION, COMMIT/ROLLBACK PREPARED
    PREPARE = "prepare"
    EXECUTE = "execute"
    DEALLOCATE = "deallocate"
    CURSOR = "cursor"  # DECLARE, FETCH, MOVE, CLOSE
    DISCARD = "discard"
    LISTEN = "listen"  # LISTEN, UNLISTEN
    NOTIFY = "notify"
    EXPLAIN = "explain"
    MAINTAIN = (
        "maintain"  # VACUUM, ANALYZE, REINDEX, CLUSTER, REFRESH MATERIALIZED VIEW, CHECKPOINT
    )
    OPAQUE = "opaque"  # not understood; only a rule that names it can allow it


class Flag(enum.Enum):
    """Properties of a statement that guards look at."""

    NO_WHERE = "no_where"  # an UPDATE or DELETE with no WHERE
    TRIVIAL_WHERE = "trivial_where"  # a WHERE that is always true, or names no column of the target
    UNBOUNDED = "unbounded"  # multiplies tables, recurses without end, locks every row of a table
    DYNAMIC = "dynamic"  # runs SQL that the text does not show
    EXPLAIN_ANALYZE = "explain_analyze"
    CHANGES_SETTINGS = (
        "changes_settings"  # may change search_path, role or another setting names depend on
    )
    READS_SYSTEM_SECRETS = (
        "reads_system_secrets"  # pg_authid, pg_statistic, activity query texts, ...
    )
    READS_DIAGNOSTICS = "reads_diagnostics"  # what the server said of earlier statements
    WRITES = "writes"
    CHANGES_SCHEMA = "changes_schema"  # DDL: catalogs must be read anew afterwards


class RelationUse(msgspec.Struct, frozen=True):
    """One relation a statement touches and how. `oid` 0 and empty `schema` when the name was not
    resolved.
    """

    action: Action
    schema: str
    name: str
    oid: int = 0
    columns: tuple[str, ...] = ()
    """Columns read (SELECT) or written (INSERT, UPDATE); ('*',) for a whole row; () when none in
    particular.
    """


class FunctionUse(msgspec.Struct, frozen=True):
    """A function call that is not on the allow-list of harmless built-ins (operators and casts
    included).
    """

    schema: str
    """As resolved, '' when written unqualified and not resolved."""
    name: str
    candidates: tuple[int, ...] = ()
    """OIDs of every function the call may mean that is not known to be harmless, all of them
    outside pg_catalog. Empty when some are not known or are built in: then nobody's trust makes it
    harmless."""
    stateless: bool = False
    """It leaves nothing in the session, whatever it does with values and rows: a trigger's function
    that was read (`sql/plpgsql`)."""


class OutputColumn(msgspec.Struct, frozen=True):
    """One column of the statement's result."""

    name: str
    origin: ColumnKey | None = None
    """What the server should report in RowDescription (table OID, attribute number); None = 0, 0
    (computed).
    """
    sources: tuple[ColumnKey, ...] = ()
    """Base-table columns the value comes from, views expanded; for a plain reference through views
    this is one key.
    """
    plain: bool = False
    """True when the value *is* the source column's value, unchanged, so that masking it on the wire
    is exact.
    """
    loose: tuple[ColumnKey, ...] = ()
    """What the server may report as well: which side a merged column of a join refers to is not
    always known."""


class PreparedUse(msgspec.Struct, frozen=True):
    """SQL-level PREPARE / EXECUTE / DEALLOCATE / DECLARE / FETCH / CLOSE, which share names with
    the protocol's statements and portals.
    """

    verb: str
    """prepare, execute, deallocate, declare, fetch, close"""
    name: str
    """'' = ALL"""


class SparingCheck(msgspec.Struct, frozen=True):
    """A question for the database: would a write change every row there is? `sql` is a SELECT of
    one boolean that holds the statement's own words; it changes nothing."""

    sql: str
    parameters: tuple[int, ...] = ()
    """The client's parameters that stand in it as $1, $2, ..."""


class StatementFacts(msgspec.Struct, frozen=True):
    """One statement."""

    kind: str
    """The parse tree's node name, e.g. SelectStmt; 'Unparsed' when opaque."""
    actions: tuple[Action, ...]
    """Every action in it, at any depth, deduplicated, the statement's own first."""
    relations: tuple[RelationUse, ...] = ()
    beneath: tuple[RelationUse, ...] = ()
    """Relations whose rows a write changes without naming them: the tables below a view, partitions
    and children, and the parents they belong to. What a policy allows is what is named; what it
    denies or holds is these, too."""
    writes: int = 0
    """How many INSERT, UPDATE, DELETE and MERGE it is made of, at any depth."""
    carried: tuple[str, ...] = ()
    """Relations whose rows foreign keys change or remove along with those it writes."""
    functions: tuple[FunctionUse, ...] = ()
    functions_below: tuple[FunctionUse, ...] = ()
    """Like `functions`: called by the definitions of what it touches (views), not by its text."""
    reads_inside: frozenset[ColumnKey] = frozenset()
    """Columns read by the bodies of SQL functions that it calls, which are harmless but for that:
    nothing that is done to this statement changes what they read. (OID, 0) of the relations that
    they name."""
    decides: frozenset[ColumnKey] = frozenset()
    """Base columns that decide whether a write succeeds, though their values are not used: those of
    which an UPDATE sets an element or a field, and those that row security looks up elsewhere when
    a row is inserted."""
    spared: frozenset[ColumnKey] = frozenset()
    """Columns that its result may come from, of which it shows only what tells nothing."""
    calls: tuple[FunctionUse, ...] = ()
    """Every function outside pg_catalog that it may call, directly or below, harmless ones
    included, with all OIDs the name may mean: what it depends on."""
    names_called: frozenset[str] = frozenset()
    """Functions and operators written without a schema, built-in ones included: a new one of that
    name in the search path may change what the text means. Types by whatever name."""
    outputs: tuple[OutputColumn, ...] = ()
    """Result columns, stars expanded; empty when it returns no rows. See `outputs_known`."""
    outputs_known: bool = True
    consumed: frozenset[ColumnKey] = frozenset()
    """Base-table columns (views expanded) used anywhere but as a plain output column: predicates,
    expressions, ORDER BY, DISTINCT, set operations, joins, whole rows, written elsewhere... Their
    value can influence what the client sees.
    """
    flags: frozenset[Flag] = frozenset()
    unresolved: tuple[str, ...] = ()
    """Why confidence is not EXACT, in words for a person, without literals."""
    unread: bool = False
    """Its grammar is not known here: it is opaque for that reason."""
    prepared: PreparedUse | None = None
    confidence: Confidence = Confidence.EXACT
    span: tuple[int, int] = (0, 0)
    """Byte offset and length in the client's text (UTF-8)."""
    setting: tuple[str, str] | None = None
    """(name, constant value) of a SET with a constant, lower-case name; value '' for RESET / SET TO
    DEFAULT / not constant.
    """
    settings: tuple[tuple[str, str], ...] = ()
    """Every setting it changes, set_config() calls included, in no order; a name of '' = not
    constant, so any setting.
    """
    settings_local: bool = False
    """All of `settings` end with the transaction (SET LOCAL), for sure."""
    settings_plain: bool = False
    """What `settings` become is told by the text and its parameters alone."""
    sets_variables: bool = False
    """It may give the session's user variables (`@x`) values."""
    ends_transaction: bool = False
    """COMMIT, ROLLBACK and their like, not of a savepoint."""
    unlocks: bool = False
    """It may let go of locks that were taken before its text: a transaction ends, or what came
    since a savepoint of an earlier text is taken back."""
    isolates: bool = False
    """It may say how its transaction is isolated, which nothing may be read before."""
    if_not_exists: bool = False
    """It makes something unless there is one of that name, which then is somebody else's."""
    temporaries: tuple[tuple[str, str], ...] = ()
    """(database, name) of what may be a temporary relation when it has run, where such are in
    databases; '' = the database is not known."""
    unread_constants: tuple[int, ...] = ()
    """Byte offsets of its integers and strings, when these facts would be the same whatever their
    values (`sql/constants`); () when they may not be."""

    checks: tuple[SparingCheck, ...] = ()
    """Writes of which only the database knows whether they spare any row: when the answer is true,
    the statement is one with `trivial_where`."""
    keeps: frozenset[str] = frozenset()
    """What it leaves in its session behind its transaction: `settings`, `identity` (the role, and
    what else RESET ALL leaves), `advisory` (locks), `seed`, `cursor` (WITH HOLD), by itself or by
    what it calls. LISTEN, temporary relations and PREPARE are told by `actions`, code that is not
    known by `functions`."""
    lets_go: frozenset[str] = frozenset()
    """Of `keeps`, and `listen` and `prepared`, what its session surely has no more behind it;
    `everything`: of DISCARD ALL."""
    single_columns: bool = False
    """`reads_system_secrets` stands for single columns only (`catalog.SECRET_COLUMNS`), which are
    masked for whoever owes masks."""


class ParseFailure(msgspec.Struct, frozen=True):
    """Why a text could not be parsed. `message` is libpg_query's, `cursor` its 1-based character
    position or 0.
    """

    code: str
    """syntax, too_long, too_deep, nul_byte, encoding, modes, timeout, busy, crashed,
    too_many_comments"""
    message: str
    cursor: int = 0


class Facts(msgspec.Struct, frozen=True):
    """Everything `sql/` found in one client text."""

    statements: tuple[StatementFacts, ...]
    """Empty for an empty query; one `Unparsed` entry when `failure` is set."""
    fingerprint: str = ""
    """Groups lines for people; never keys a decision (DESIGN invariant 7)."""
    failure: ParseFailure | None = None
    settings_digest: str = ""
    catalog_version: str = ""
    redacted: str = ""
    """The text with every literal replaced, for the audit trail."""

    @property
    def confidence(self) -> Confidence:
        if any(s.confidence is Confidence.OPAQUE for s in self.statements):
            return Confidence.OPAQUE
        if any(s.confidence is Confidence.PARTIAL for s in self.statements):
            return Confidence.PARTIAL
        return Confidence.EXACT

    @property
    def actions(self) -> tuple[Action, ...]:
        return tuple(dict.fromkeys(a for s in self.statements for a in s.actions))
