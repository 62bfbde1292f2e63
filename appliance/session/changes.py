"""What a text changes, or may change, in what is known about its session and its database.

Asked by `from_client` before a text is forwarded and by `from_upstream` when it has run. Rule: what
is not understood may change anything.
"""

from collections.abc import Collection, Iterable

from appliance.model.catalog import SessionSettings
from appliance.model.decision import Trust
from appliance.model.facts import Action, Facts, Flag, FunctionUse, StatementFacts
from appliance.sql.functions import TELLING
from appliance.sql.names import TEMPORARY_SCHEMA, search_path

_CODE = frozenset(
    (
        Action.DO,
        Action.CALL,
        Action.DYNAMIC_SQL,
        Action.EXECUTE_FUNCTION,
        Action.EXECUTE,
        Action.OPAQUE,
    )
)
_UNSETTLING = _CODE | {
    Action.SET,
    Action.SET_ROLE,
    Action.DISCARD,
    Action.ALTER_SYSTEM,
    Action.ROLE,
}

STATELESS = TELLING | {"pg_sleep", "pg_sleep_for", "pg_sleep_until"}
"""Built-in functions that are not on the list of harmless ones, but leave nothing behind."""


def runs_code(facts: Facts, trust: Trust) -> bool:
    """Whether anything may run, named in it or beneath it (triggers, functions of views, defaults
    and checks), of which it is not known what it does to the session."""
    return any(
        not _CODE.isdisjoint(s.actions)
        or not all(leaves_nothing(use, trust) for use in s.functions_below)
        for s in facts.statements
    )


def leaves_nothing(use: FunctionUse, trust: Trust) -> bool:
    """Of a function that is not known to be harmless: one of which as much is known, or one that is
    vouched for."""
    if use.stateless:
        return True
    if use.candidates:
        return trust.functions.issuperset(use.candidates)
    return use.schema in ("", "pg_catalog") and use.name in STATELESS


def unsettles(facts: Facts) -> bool:
    """Whether it may, by what its text says, change a setting that the meaning of names depends
    on."""
    return any(
        Flag.CHANGES_SETTINGS in s.flags or not _UNSETTLING.isdisjoint(s.actions)
        for s in facts.statements
    )


def settled_before(facts: Facts, index: int, executed: bool = True) -> bool:
    """Whether nothing before statement `index` of the text may change a setting that its names
    depend on. `executed`: what an EXECUTE runs may, too. (A transaction's end that takes a setting
    back in the middle of a text is refused elsewhere.)
    """
    unsettling = _UNSETTLING if executed else _UNSETTLING - {Action.EXECUTE}
    return not any(
        Flag.CHANGES_SETTINGS in s.flags or not unsettling.isdisjoint(s.actions)
        for s in facts.statements[:index]
    )


def runs_more(facts: Facts) -> bool:
    """Whether more of the code may run that earlier statements of the transaction began with: of
    deferred triggers, or behind a cursor."""
    return not {Action.TRANSACTION, Action.CURSOR}.isdisjoint(facts.actions)


_LEXING = frozenset(
    (
        "standard_conforming_strings",
        "client_encoding",
        "names",
        "backslash_quote",
        "role",
        "session_authorization",
        "all",
        "",
    )
)


"""Settings that change how texts are read, or may bring others along ('' = any)."""


def unsettles_lexing(facts: Facts) -> bool:
    """Whether it may change how the server reads the texts that come after it. (Not what runs
    beneath it: strings end in one place whatever is set, `sql/escapes`; and a change of
    client_encoding is not known before the server is ready.)"""
    for statement in facts.statements:
        if any(name in _LEXING for name, _ in statement.settings):
            return True
        named = bool(statement.settings) and set(statement.actions) <= _SETTING_ONLY
        if not named and (
            Flag.CHANGES_SETTINGS in statement.flags
            or not _UNSETTLING.isdisjoint(statement.actions)
        ):
            return True
    return False


def unsettles_reports(facts: Facts) -> bool:
    """Whether it may, by what its text says, change a setting that the server reports (with its
    next ReadyForQuery)."""
    return unsettles(facts) or any(s.settings or s.ends_transaction for s in facts.statements)


_SETTING_ONLY = frozenset((Action.SET, Action.SELECT, Action.SHOW))


def reshapes(facts: Facts) -> bool:
    """Whether it may change the schema."""
    return any(
        Flag.CHANGES_SCHEMA in s.flags or not _CODE.isdisjoint(s.actions) for s in facts.statements
    )


def isolates_next(facts: Facts, before: bool) -> bool:
    """Whether the session has said (`before`: had said) what its next transaction is to be like,
    and has had none since."""
    for statement in facts.statements:
        if statement.isolates:
            before = True
        elif statement.relations or Action.TRANSACTION in statement.actions:
            before = False
    return before


_TEMPORARY_ONLY = frozenset((Action.CREATE_TEMPORARY, Action.SELECT))


def changes_schema(facts: Facts) -> bool:
    """Whether it surely changes what names mean to others (temporary relations do not)."""
    return any(
        Flag.CHANGES_SCHEMA in s.flags
        and not _TEMPORARY_ONLY.issuperset(s.actions)
        and not _only_own(s)
        for s in facts.statements
    )


def _only_own(statement: StatementFacts) -> bool:
    """All that it names are temporary relations of the session's own."""
    own = all(use.schema == TEMPORARY_SCHEMA for use in statement.relations)
    return own and bool(statement.relations)


_HOLDING = frozenset(
    (
        "SelectStmt",
        "InsertStmt",
        "UpdateStmt",
        "DeleteStmt",
        "MergeStmt",
        "CopyStmt",
        "ExplainStmt",
        "DeclareCursorStmt",
        "PrepareStmt",
        "ExecuteStmt",
        "CreateTableAsStmt",
        "ViewStmt",
        "TransactionStmt",
        "VariableSetStmt",
        "VariableShowStmt",
    )
)


_ENCODING = frozenset({"client_encoding", "all", ""})
"""Settings that may be what SET client_encoding sets; '' is one that is not known."""


def converts(facts: Facts) -> bool:
    """Whether a text of several statements may change the encoding that its results come in."""
    return len(facts.statements) > 1 and any(
        name in _ENCODING for statement in facts.statements for name, _ in statement.settings
    )


def holds(facts: Facts) -> bool:
    """Whether what it rests on is locked first, in the transaction that it will run in. Maintenance
    and DDL (VACUUM, CREATE INDEX CONCURRENTLY) may need one of their own, and COPY FROM STDIN would
    swallow the Sync that ends it; they show no rows. Several statements in one text share a
    transaction, and what needs its own is none of them.
    """
    if len(facts.statements) > 1:
        return True
    return Action.COPY_FROM not in facts.actions and all(
        statement.kind in _HOLDING for statement in facts.statements
    )


def only_locks(facts: Facts) -> bool:
    return all(statement.kind == "LockStmt" for statement in facts.statements)


def holds_tables(facts: Facts) -> bool:
    """Whether it leaves tables locked by name when it has completed."""
    return len(facts.statements) == 1 and only_locks(facts) and names_relations(facts)


_KEEPING = frozenset(
    (Action.SELECT, Action.INSERT, Action.UPDATE, Action.DELETE, Action.ALTER, Action.SET)
)


def keeps_tables(facts: Facts) -> bool:
    """Whether tables that were locked by name surely are still, behind it."""
    kept = all(
        _KEEPING.issuperset(s.actions) and s.kind != "LockStmt" and Flag.DYNAMIC not in s.flags
        for s in facts.statements
    )
    return kept and not calls_code(facts)


def names_relations(facts: Facts) -> bool:
    return any(statement.relations for statement in facts.statements)


def names_unknown(facts: Facts) -> bool:
    return any(not use.oid for statement in facts.statements for use in statement.relations)


def looks_up_late(facts: Facts) -> bool:
    """Whether the server looks names up, or plans, only when it runs (COPY, EXECUTE, DECLARE,
    CREATE TABLE AS and EXPLAIN are commands, which it reads on then), or when what stands before it
    has run."""
    return (
        len(facts.statements) > 1
        or Action.COPY_TO in facts.actions
        or not _PLANNED_LATE.isdisjoint(facts.actions)
        or any(
            s.prepared is not None and s.prepared.verb in ("execute", "declare")
            for s in facts.statements
        )
    )


_PLANNED_LATE = frozenset((Action.CREATE, Action.CREATE_TEMPORARY, Action.EXPLAIN))
_STORING = frozenset(
    (Action.INSERT, Action.UPDATE, Action.MERGE, Action.CREATE, Action.CREATE_TEMPORARY)
)


def fetches(facts: Facts) -> bool:
    return any(s.prepared is not None and s.prepared.verb == "fetch" for s in facts.statements)


def stores_what_it_reads(statement: StatementFacts) -> bool:
    """Whether it may put what it reads elsewhere, or what functions give, into a relation."""
    reads = any(use.action is Action.SELECT for use in statement.relations)
    calls = statement.functions or statement.functions_below or statement.calls
    return not _STORING.isdisjoint(statement.actions) and bool(reads or calls)


def _rests_on_names(statement: StatementFacts) -> bool:
    """Whether what it was judged by has names, those in bodies of functions included."""
    called = statement.functions or statement.functions_below or statement.calls
    inside = called or statement.reads_inside
    return bool(statement.relations or inside or statement.prepared is not None)


def goes_on_unlocked(facts: Facts) -> bool:
    """Whether anything is named after the end of a transaction in the same text, or after locks
    were taken back that may be those in front of it."""
    unlocked = False
    for statement in facts.statements:
        if unlocked and _rests_on_names(statement):
            return True
        unlocked |= statement.unlocks
    return False


_AT_ONCE = frozenset({"TransactionStmt", "VariableSetStmt", "VariableShowStmt"})


def names_behind_work(facts: Facts) -> bool:
    """Whether anything is named behind a statement of the same text that may take any time."""
    worked = False
    for statement in facts.statements:
        if worked and _rests_on_names(statement):
            return True
        worked |= statement.kind not in _AT_ONCE
    return False


_LOCKED_STILL = _HOLDING | {
    "FetchStmt",
    "ClosePortalStmt",
    "DeallocateStmt",
    "LockStmt",
    "ListenStmt",
    "UnlistenStmt",
    "NotifyStmt",
    "ConstraintsSetStmt",
}


def unlocks(facts: Facts) -> bool:
    """Whether what was locked before it may not be behind it: a transaction ends, goes back to a
    savepoint, or is perhaps left for some of the statement's own (VACUUM, CREATE INDEX
    CONCURRENTLY).
    """
    return any(s.unlocks or s.kind not in _LOCKED_STILL for s in facts.statements)


def goes_on_after_change(facts: Facts) -> bool:
    """Whether relations are read or written after the same text has changed what names mean: they
    were judged before that.
    """
    changed = False
    for statement in facts.statements:
        if changed and _rests_on_names(statement) and statement.kind in _HOLDING:
            return True
        changed |= (
            Flag.CHANGES_SCHEMA in statement.flags
            and not _TEMPORARY_ONLY.issuperset(statement.actions)
            and not _only_own(statement)
        )
    return False


_SHIFTING_TEMPORARIES = frozenset(
    (
        Action.CREATE_TEMPORARY,
        Action.CREATE,
        Action.ALTER,
        Action.DROP,
        Action.DISCARD,
        Action.TWO_PHASE,
        Action.DO,
        Action.CALL,
        Action.DYNAMIC_SQL,
        Action.EXECUTE_FUNCTION,
        Action.EXECUTE,
        Action.OPAQUE,
    )
)


def shifts_temporaries(facts: Facts) -> bool:
    """Whether it may make, change or drop temporary relations of its session."""
    return not _SHIFTING_TEMPORARIES.isdisjoint(facts.actions)


_PLAIN = frozenset((Action.SELECT, Action.INSERT, Action.DELETE))


def is_plain(facts: Facts) -> bool:
    """Whether it only reads or changes rows: no setting, schema, transaction or name is touched.

    UPDATE is not among the actions: one of pg_settings is a SET.
    """
    return (
        facts.failure is None
        and all(
            _PLAIN.issuperset(s.actions) and s.prepared is None and not s.settings
            for s in facts.statements
        )
        and not (unsettles(facts) or unsettles_lexing(facts) or reshapes(facts))
    )


def is_repeatable(facts: Facts) -> bool:
    """Whether it may run twice without anybody being the wiser: it reads rows, and nothing else."""
    return (
        facts.failure is None
        and all(
            s.kind == "SelectStmt" and set(s.actions) <= {Action.SELECT} for s in facts.statements
        )
        and is_plain(facts)
        and not calls_code(facts)
    )


def temporary_names(facts: Facts) -> frozenset[str]:
    """Temporary relations it creates."""
    return frozenset(
        use.name
        for statement in facts.statements
        for use in statement.relations
        if use.action is Action.CREATE_TEMPORARY
    )


def is_described_first(facts: Facts) -> bool:
    """Whether a Query's result is described before it is computed: only a plain SELECT's is; what
    writes, or is run by a command, is done by then (pquery.c, PortalRun)."""
    return all(s.kind == "SelectStmt" and _WRITING.isdisjoint(s.actions) for s in facts.statements)


_WRITING = frozenset((Action.INSERT, Action.UPDATE, Action.DELETE, Action.MERGE))


def forgets(facts: Facts) -> bool:
    """Whether statements that were prepared may be gone behind it."""
    return not {Action.DEALLOCATE, Action.DISCARD}.isdisjoint(facts.actions)


def calls_code(facts: Facts) -> bool:
    """Whether it may call functions that are not built in."""
    return any(s.functions or s.functions_below or s.calls for s in facts.statements)


def temporaries(facts: Facts) -> frozenset[tuple[str, str]]:
    """(database, name) of temporary relations that it may make, where each has a database."""
    return frozenset(name for statement in facts.statements for name in statement.temporaries)


_SHIFTING = frozenset((Action.CREATE, Action.ALTER, Action.DROP))


def shifted_names(facts: Facts) -> frozenset[str]:
    """Relations it makes, alters or drops."""
    return frozenset(
        use.name
        for statement in facts.statements
        for use in statement.relations
        if use.action in _SHIFTING
    )


def made_relations(
    statements: Iterable[StatementFacts], settings: SessionSettings, schemas: Collection[str]
) -> frozenset[tuple[str, str]]:
    """(schema, name) of the lasting relations that they surely make, once they have completed.
    `schemas`: those that exist."""
    path = (schema for schema in search_path(settings) if schema in schemas)
    first = next((schema for schema in path if schema != "pg_catalog"), "")
    return frozenset(
        (use.schema or first, use.name)
        for statement in statements
        if statement.kind in _MAKING and not statement.if_not_exists
        for use in statement.relations
        if use.action is Action.CREATE and (use.schema or (first and settings.certain))
    )


_MAKING = frozenset(("CreateStmt", "CreateLikeStmt", "CreateTableAsStmt", "SelectStmt"))
"""They fail where there is such a relation already; an index, say, is made on one that is there."""
