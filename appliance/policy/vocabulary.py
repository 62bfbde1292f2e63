"""Names that a policy document may use for actions, and what each stands for.

Read by `compile` (names -> sets) and by `evaluate` (which actions have no resource of their own).
`opaque` is in no group but `everything`: text that was not understood is allowed only by a rule
that says so.
"""

from collections.abc import Mapping

from appliance.model.facts import Action

READ = frozenset({Action.SELECT, Action.COPY_TO, Action.EXPLAIN, Action.SHOW})
SESSION = frozenset(
    {
        Action.TRANSACTION,
        Action.SET,
        Action.SHOW,
        Action.PREPARE,
        Action.EXECUTE,
        Action.DEALLOCATE,
        Action.CURSOR,
        Action.DISCARD,
        Action.LISTEN,
        Action.EXPLAIN,
    }
)
WRITE = frozenset(
    {
        Action.INSERT,
        Action.UPDATE,
        Action.DELETE,
        Action.MERGE,
        Action.COPY_FROM,
        Action.SEQUENCE,
        Action.LOCK,
        Action.ADVISORY_LOCK,
        Action.NOTIFY,
    }
)
DDL = frozenset(
    {
        Action.CREATE,
        Action.CREATE_TEMPORARY,
        Action.CREATE_FUNCTION,
        Action.ALTER,
        Action.DROP,
        Action.TRUNCATE,
        Action.COMMENT,
        Action.MAINTAIN,
    }
)
ADMIN = frozenset(
    {
        Action.GRANT,
        Action.ROLE,
        Action.SET_ROLE,
        Action.ALTER_SYSTEM,
        Action.LOAD,
        Action.CREATE_EXTENSION,
        Action.SIGNAL_BACKEND,
        Action.REPLICATION,
        Action.FOREIGN_SERVER,
        Action.TWO_PHASE,
        Action.MAINTAIN,
    }
)
DANGEROUS = frozenset(
    {
        Action.COPY_FILE,
        Action.COPY_PROGRAM,
        Action.SERVER_FILE,
        Action.LARGE_OBJECT,
        Action.DO,
        Action.DYNAMIC_SQL,
        Action.FOREIGN_SERVER,
        Action.ALTER_SYSTEM,
        Action.LOAD,
        Action.CREATE_EXTENSION,
        Action.CREATE_FUNCTION,
        Action.ROLE,
        Action.SET_ROLE,
        Action.GRANT,
        Action.SIGNAL_BACKEND,
        Action.REPLICATION,
    }
)
CALLS = frozenset({Action.CALL, Action.EXECUTE_FUNCTION})
EVERYTHING = frozenset(Action)
ANY = EVERYTHING - {Action.OPAQUE}

GROUPS: Mapping[str, frozenset[Action]] = {
    "read": READ,
    "session": SESSION,
    "write": WRITE,
    "ddl": DDL,
    "admin": ADMIN,
    "dangerous": DANGEROUS,
    "calls": CALLS,
    "any": ANY,
    "everything": EVERYTHING,
}
"""Group name -> actions. Every action but `opaque` is in at least one group besides `any`."""

NO_RESOURCE = SESSION | {Action.SELECT, Action.COPY_TO, Action.ADVISORY_LOCK, Action.NOTIFY}
"""Actions that touch no resource when the facts name none for them (`SELECT 1`, `BEGIN`). Any other
action without a relation (DO, CREATE SCHEMA, ...) may touch every resource of the database."""

CARRIED = frozenset({Action.COPY_TO, Action.EXPLAIN})
"""Actions on a query: where the facts name no relation for them, they touch what the query does."""

WRITES_ROWS = frozenset(
    {Action.INSERT, Action.UPDATE, Action.DELETE, Action.MERGE, Action.COPY_FROM}
)
"""Actions of which the database tells how many rows they affected."""

WRITES_UNSEEN = frozenset(
    {
        Action.DO,
        Action.CALL,
        Action.DYNAMIC_SQL,
        Action.EXECUTE_FUNCTION,
        Action.EXECUTE,
        Action.COPY_FILE,
        Action.COPY_PROGRAM,
        Action.OPAQUE,
    }
)
"""Actions that may write rows of which the text or the database's answer does not tell."""

READING = frozenset({Action.SELECT, Action.EXPLAIN})
"""Actions for which the columns that a use of a relation names are all that it concerns."""


def actions_named(name: str) -> frozenset[Action] | None:
    """The actions that a name in a rule stands for: a group's, one action, or None when unknown."""
    group = GROUPS.get(name)
    if group is not None:
        return group
    try:
        return frozenset({Action(name)})
    except ValueError:
        return None


ACTION_NAMES: tuple[str, ...] = (*GROUPS, *(action.value for action in Action))
