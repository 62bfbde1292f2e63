"""What a text leaves behind in its database session, or could find there: whether a session that
shares connections with others needs one of its own for it ("transaction pooling").

Asked by `flow` once per verdict, followed by `pins`. Rule: the list is of what leaves nothing and
looks at nothing of the session; whatever is not on it, or not known, needs a connection of its own.
"""

from appliance.model.decision import Trust
from appliance.model.facts import Action, Confidence, Facts, StatementFacts
from appliance.session import changes
from appliance.sql.lineage import CatalogLineage

CODE = "code"
"""Code that could leave anything, and look at whatever others left."""
LISTEN, TEMPORARY, PREPARED = "listen", "temporary", "prepared"
EVERYTHING = "everything"

_NOTHING: frozenset[str] = frozenset()
_CODE = frozenset((CODE,))

_ROWS_ALONE = frozenset(
    (
        Action.SELECT,
        Action.INSERT,
        Action.UPDATE,
        Action.DELETE,
        Action.MERGE,
        Action.TRUNCATE,
        Action.COPY_TO,
        Action.COPY_FROM,
        Action.SHOW,
        Action.LOCK,
        Action.TRANSACTION,
        Action.EXPLAIN,
    )
)
_FREE = _ROWS_ALONE | {
    Action.CURSOR,
    Action.NOTIFY,
    Action.SEQUENCE,
    # What these leave stands in `StatementFacts.keeps`:
    Action.SET,
    Action.SET_ROLE,
    Action.ADVISORY_LOCK,
    Action.DEALLOCATE,
    Action.DISCARD,
}
_TOLD = {
    Action.LISTEN: LISTEN,
    Action.CREATE_TEMPORARY: TEMPORARY,
    Action.PREPARE: PREPARED,
}
_WRITING = frozenset(
    (
        Action.INSERT,
        Action.UPDATE,
        Action.DELETE,
        Action.MERGE,
        Action.COPY_FROM,
        Action.TRUNCATE,
    )
)


def needs(facts: Facts, lineage: CatalogLineage | None, trust: Trust) -> frozenset[str]:
    """Why this text needs a connection that is its session's alone; empty = it does not.
    `lineage`: what `facts` were made with."""
    if facts.failure is not None:
        return _CODE
    found: frozenset[str] = _NOTHING
    for statement in facts.statements:
        if statement.kind not in _WITHOUT_NAMES and not _known(statement, lineage, trust):
            return _CODE
        if statement.prepared is not None and statement.prepared.verb == "execute":
            return _CODE  # also inside EXPLAIN
        found |= statement.keeps
        for action in statement.actions:
            if action in _FREE or (action is Action.EXECUTE_FUNCTION and lineage is not None):
                continue  # (functions were looked at: all are trusted)
            if action is Action.LISTEN and statement.kind == "UnlistenStmt":
                continue
            reason = _TOLD.get(action)
            if reason is None:
                return _CODE
            found |= {reason}
    return found


_WITHOUT_NAMES = frozenset(
    (
        "TransactionStmt",
        "VariableSetStmt",
        "VariableShowStmt",
        "ListenStmt",
        "UnlistenStmt",
        "NotifyStmt",
        "DiscardStmt",
        "DeallocateStmt",
        "ConstraintsSetStmt",
        "FetchStmt",
        "ClosePortalStmt",
    )
)


def _known(statement: StatementFacts, lineage: CatalogLineage | None, trust: Trust) -> bool:
    """Whether all that runs is known: names, functions, what stands behind relations."""
    if lineage is None or statement.confidence is not Confidence.EXACT:
        return False
    for use in (*statement.functions, *statement.functions_below):
        if not changes.leaves_nothing(use, trust):
            return False
    relations = lineage.catalog.relations
    read = {oid for oid, _ in statement.reads_inside}.union(
        *(lineage.rests_on(use.oid) for use in statement.relations if use.oid in relations)
    )
    if not read.isdisjoint(lineage.catalog.by_name.get(name, 0) for name in _TELLING_OF_OTHERS):
        return False
    for touched in (*statement.relations, *statement.beneath):
        if touched.action in _WRITING:
            relation = relations.get(touched.oid)
            if relation is None or relation.has_rules:
                return False
            if relation.schema == "pg_catalog":  # (UPDATE pg_settings is a SET)
                return False
    return True


_TELLING_OF_OTHERS = tuple(
    ("pg_catalog", name) for name in ("pg_prepared_statements", "pg_backend_memory_contexts")
)
"""Views that show what others left on a connection that is shared."""


def may_touch_settings(facts: Facts) -> bool:
    """Whether a text could have changed a setting, or prepared a statement. What functions do is
    not asked."""
    if facts.failure is not None or changes.unsettles(facts) or changes.unsettles_lexing(facts):
        return True
    return not all(
        _ROWS_ALONE.issuperset(statement.actions)
        and statement.prepared is None
        and not statement.settings
        for statement in facts.statements
    )


def released(facts: Facts) -> frozenset[str]:
    """What its session surely has no more once all of a text has run."""
    found: frozenset[str] = _NOTHING
    for statement in facts.statements:
        found |= statement.lets_go
    return found
