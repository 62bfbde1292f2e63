"""Statements that are no query and write no rows by themselves, into the ledger: told from their
words. Called by `statements`.

Its rule: the first word decides, and one that is not in the table is OPAQUE, so that only a rule
naming that can allow it. Lists of statements:
https://dev.mysql.com/doc/refman/8.0/en/sql-statements.html,
https://mariadb.com/kb/en/sql-statements/.
"""

from collections.abc import Callable, Mapping, Sequence

from appliance.model.facts import Action, Flag, FunctionUse, PreparedUse
from appliance.sql.mysql import assignments, definitions, shows
from appliance.sql.mysql.cursor import Cursor
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.queries import read_expressions
from appliance.sql.mysql.reading import Result
from appliance.sql.mysql.words import STRING, VARIABLE, Word

UNKNOWN_RESULT = Result((), False)

Rule = Callable[[Ledger, Sequence[Word]], None]


def read_utility(ledger: Ledger, words: Sequence[Word]) -> None:
    first = words[0].upper
    if len(words) > 1 and (words[1].upper == ":" and words[0].upper):
        _compound(ledger, words)
        return
    rule = RULES.get(first)
    if rule is None:
        ledger.kind = "Unparsed"
        ledger.result = UNKNOWN_RESULT
        if first not in ELSEWHERE:
            ledger.failure = "no statement begins with this word"
        ledger.not_read("this kind of statement is not understood")
        return
    rule(ledger, words)


def _acts(kind: str, *actions: Action, commits: bool = False) -> Rule:
    """A statement that is its action and names no relation."""

    def rule(ledger: Ledger, words: Sequence[Word]) -> None:
        ledger.kind = kind
        ledger.act(*actions)
        ledger.ends_transaction = commits
        ledger.result = UNKNOWN_RESULT

    return rule


# Transactions.


def _begin(ledger: Ledger, words: Sequence[Word]) -> None:
    if words[0].upper == "BEGIN" and len(words) > 1 and words[1].upper != "WORK":
        _compound(ledger, words)
        return
    if words[0].upper == "START" and (len(words) < 2 or words[1].upper != "TRANSACTION"):
        _replication(ledger, words)
        return
    _transaction(ledger, words)
    ledger.ends_transaction = True  # of one that is open
    ledger.isolates = len(words) > 2


def _transaction(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = "TransactionStmt"
    ledger.act(Action.TRANSACTION)


def _end(ledger: Ledger, words: Sequence[Word]) -> None:
    _transaction(ledger, words)
    ledger.ends_transaction = not Cursor(words).has("TO")  # ROLLBACK TO SAVEPOINT


def _two_phase(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = "TransactionStmt"
    ledger.act(Action.TWO_PHASE)
    ledger.ends_transaction = True
    ledger.result = UNKNOWN_RESULT


def _lock(ledger: Ledger, words: Sequence[Word]) -> None:
    """LOCK TABLES t [AS a] READ [LOCAL] | WRITE, ...; what READ LOCAL takes is what mysqldump asks
    for to read."""
    ledger.kind = "LockStmt"
    ledger.ends_transaction = True
    cursor = Cursor(words, 1)
    if not (cursor.skip("TABLES") or cursor.skip("TABLE")):
        ledger.act(Action.ALTER_SYSTEM)  # LOCK INSTANCE FOR BACKUP
        return
    while (name := cursor.name()) is not None:
        mode = [word.upper for word in cursor.until(",")]
        action = Action.SELECT if mode[-2:] == ["READ", "LOCAL"] else Action.LOCK
        ledger.act(action)
        ledger.use(action, *name)
        if not cursor.skip(","):
            break
    if not cursor.done:
        ledger.not_read("LOCK TABLES is not understood")


# Code that the text does not show.


def _compound(ledger: Ledger, words: Sequence[Word]) -> None:
    """BEGIN NOT ATOMIC, IF, LOOP and such outside a routine (MariaDB)."""
    ledger.kind = "DoStmt"
    ledger.act(Action.DO)
    ledger.flags.update((Flag.DYNAMIC, Flag.WRITES, Flag.CHANGES_SETTINGS))
    ledger.ends_transaction = True
    ledger.result = UNKNOWN_RESULT
    ledger.not_seen("what a block of statements does is not seen")


def _do(ledger: Ledger, words: Sequence[Word]) -> None:
    """DO of MySQL computes expressions and gives nothing back."""
    ledger.kind = "ComputeStmt"
    ledger.act(Action.SELECT)
    read_expressions(ledger, words[1:])


def _call(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = "CallStmt"
    ledger.act(Action.CALL)
    ledger.flags.update((Flag.DYNAMIC, Flag.WRITES, Flag.CHANGES_SETTINGS))
    ledger.ends_transaction = True
    ledger.result = UNKNOWN_RESULT
    cursor = Cursor(words, 1)
    name = cursor.name()
    if name is None:
        ledger.not_read("CALL is not understood")
        return
    schema, candidates = _procedures(ledger, *name)
    call = FunctionUse(schema, name[1], candidates)
    ledger.functions[call] = None
    if candidates:
        ledger.calls[call] = None
    if cursor.skip("("):
        read_expressions(ledger, cursor.rest()[:-1])


def _procedures(ledger: Ledger, database: str, name: str) -> tuple[str, tuple[int, ...]]:
    schema = database or ledger.settings.database
    if ledger.lineage is None:
        return schema, ()
    return schema, tuple(
        function.oid
        for (owner, called), functions in ledger.lineage.catalog.functions.items()
        if owner.lower() == schema.lower() and called.lower() == name.lower()
        for function in functions
        if function.kind == "p"
    )


def _prepare(ledger: Ledger, words: Sequence[Word]) -> None:
    """PREPARE s FROM 'text' | @variable: `statements` adds what a constant text does."""
    ledger.kind = "PrepareDynamicStmt"
    ledger.act(Action.PREPARE, Action.DYNAMIC_SQL)
    ledger.flags.add(Flag.DYNAMIC)
    if len(words) > 1:
        ledger.prepared = PreparedUse("prepare", words[1].text)
    ledger.not_seen("what is prepared from a string is not seen")


def _execute(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = "ExecuteStmt"
    ledger.act(Action.EXECUTE, Action.DYNAMIC_SQL)
    ledger.flags.update((Flag.DYNAMIC, Flag.WRITES, Flag.CHANGES_SETTINGS))
    ledger.ends_transaction = True
    ledger.result = UNKNOWN_RESULT
    if len(words) > 1 and words[1].upper != "IMMEDIATE":
        ledger.prepared = PreparedUse("execute", words[1].text)
    ledger.not_seen("what is run from a string is not seen")


def _deallocate(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = "DeallocateStmt"
    ledger.act(Action.DEALLOCATE)
    ledger.prepared = PreparedUse("deallocate", words[-1].text)


def _drop(ledger: Ledger, words: Sequence[Word]) -> None:
    if len(words) > 1 and words[1].upper == "PREPARE":
        _deallocate(ledger, words)
    else:
        definitions.define(ledger, words)


# Rows by other ways.


def _handler(ledger: Ledger, words: Sequence[Word]) -> None:
    """HANDLER t OPEN | READ | CLOSE: rows that no query names."""
    ledger.kind = "HandlerStmt"
    ledger.act(Action.SELECT)
    ledger.result = UNKNOWN_RESULT
    name = Cursor(words, 1).name()
    if name is not None:
        ledger.use(Action.SELECT, *name)
    ledger.not_seen("what HANDLER reads is not seen")


def _load(ledger: Ledger, words: Sequence[Word]) -> None:
    """LOAD DATA and LOAD XML; LOAD INDEX INTO CACHE."""
    cursor = Cursor(words, 1)
    if cursor.skip("INDEX"):
        _maintain(ledger, words)
        return
    ledger.kind = "CopyStmt"
    ledger.flags.add(Flag.WRITES)
    local = Cursor(words[:_LOAD_WORDS_MAX]).has("LOCAL")
    action = Action.COPY_FROM if local else Action.COPY_FILE
    ledger.act(action)
    cursor.until("INTO")
    name = None
    if cursor.skip("INTO"):
        cursor.skip("TABLE")
        name = cursor.name()
    if name is None:
        ledger.not_read("LOAD is not understood")
        return
    definitions.written(ledger, action, name)
    if cursor.has("REPLACE") or Cursor(words[: cursor.index]).has("REPLACE"):
        ledger.act(Action.DELETE)
        ledger.use(Action.DELETE, *name)
    if cursor.has("SET"):
        ledger.not_seen("expressions of LOAD are not understood")


_LOAD_WORDS_MAX = 5
"""LOAD DATA CONCURRENT LOCAL INFILE"""


# The server.


def _maintain(ledger: Ledger, words: Sequence[Word]) -> None:
    """ANALYZE, CHECK, CHECKSUM, OPTIMIZE, REPAIR TABLE; FLUSH; CACHE INDEX."""
    ledger.kind = "MaintainStmt"
    ledger.act(Action.MAINTAIN)
    ledger.result = UNKNOWN_RESULT
    ledger.ends_transaction = words[0].upper not in ("CHECKSUM",)
    cursor = Cursor(words, 1)
    cursor.skip_any(frozenset({"NO_WRITE_TO_BINLOG", "LOCAL"}))
    if cursor.skip("TABLE") or cursor.skip("TABLES"):
        for name in cursor.names():
            relation = ledger.use(Action.MAINTAIN, *name)
            if words[0].upper == "CHECKSUM" and relation is not None and ledger.lineage:
                # A number that is made of every cell.
                ledger.reader.consume(ledger.lineage.shape(relation.oid).fields)
        if words[0].upper == "FLUSH" and cursor.has("LOCK", "EXPORT"):
            ledger.act(Action.LOCK)


def _flush(ledger: Ledger, words: Sequence[Word]) -> None:
    _maintain(ledger, words)


def _reset(ledger: Ledger, words: Sequence[Word]) -> None:
    """RESET MASTER, SLAVE, REPLICA, BINARY LOGS; QUERY CACHE; PERSIST."""
    ledger.kind = "ResetStmt"
    cursor = Cursor(words, 1)
    if cursor.has("PERSIST"):
        ledger.act(Action.ALTER_SYSTEM)
    elif cursor.has("CACHE"):
        ledger.act(Action.MAINTAIN)
    else:
        ledger.act(Action.REPLICATION)


def _replication(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = "ReplicationStmt"
    ledger.act(Action.REPLICATION)
    ledger.result = UNKNOWN_RESULT
    if words[0].upper == "BINLOG":
        ledger.flags.add(Flag.WRITES)
        ledger.not_seen("what an event of a log changes is not seen")


def _kill(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = "KillStmt"
    ledger.act(Action.SIGNAL_BACKEND)
    cursor = Cursor(words, 1)
    cursor.skip_any(frozenset({"HARD", "SOFT", "CONNECTION", "QUERY", "ID"}))
    rest = cursor.rest()
    if len(rest) != 1 and not (rest and rest[0].upper == "USER"):
        read_expressions(ledger, rest)


def _grant(ledger: Ledger, words: Sequence[Word]) -> None:
    """GRANT and REVOKE of privileges ON something, or of roles."""
    ledger.kind = "GrantStmt"
    ledger.flags.update((Flag.WRITES, Flag.CHANGES_SCHEMA))
    ledger.ends_transaction = True
    cursor = Cursor(words, 1)
    cursor.until("ON", "TO", "FROM")
    ledger.act(Action.GRANT if cursor.upper == "ON" or cursor.has("ON") else Action.ROLE)
    if not cursor.skip("ON"):
        return
    cursor.skip("TABLE")
    name = cursor.name()
    if name is not None and cursor.upper in ("TO", "FROM"):
        ledger.use(Action.GRANT, *name)


def _diagnostics(ledger: Ledger, words: Sequence[Word]) -> None:
    """GET DIAGNOSTICS: the words of errors, which quote values."""
    ledger.kind = shows.SHOWN
    ledger.act(Action.SHOW)
    ledger.flags.add(Flag.READS_DIAGNOSTICS)
    if not Cursor(words).has("DIAGNOSTICS"):
        ledger.not_read("this kind of statement is not understood")


def _help(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = shows.SHOWN
    ledger.act(Action.SHOW)
    ledger.result = UNKNOWN_RESULT
    if len(words) != 2 or words[1].kind == VARIABLE:
        ledger.not_read("HELP is not understood")


def _import(ledger: Ledger, words: Sequence[Word]) -> None:
    """IMPORT TABLE FROM 'file'."""
    ledger.kind = "CopyStmt"
    ledger.act(Action.SERVER_FILE, Action.CREATE)
    ledger.flags.update((Flag.WRITES, Flag.CHANGES_SCHEMA))
    ledger.ends_transaction = True


def prepared_text(words: Sequence[Word]) -> str | None:
    """The constant text of PREPARE s FROM '...' or EXECUTE IMMEDIATE '...'; None for another."""
    texts = [word for word in words if word.kind == STRING]
    last = words[-1]
    return last.text if len(texts) == 1 and last.kind == STRING else None


_LOADING = _acts("LoadStmt", Action.LOAD, commits=True)
_SERVER = _acts("AlterSystemStmt", Action.ALTER_SYSTEM, commits=True)

ELSEWHERE = frozenset(("SIGNAL", "RESIGNAL", "RETURN", "OPEN", "FETCH", "CLOSE"))
"""Servers know statements that begin with these, though none but the first two outside routines."""

RULES: Mapping[str, Rule] = {
    "ALTER": definitions.define,
    "CREATE": definitions.define,
    "DROP": _drop,
    "RENAME": definitions.rename,
    "TRUNCATE": definitions.truncate,
    "SHOW": shows.show,
    "SET": assignments.set_statement,
    "USE": assignments.use_database,
    "BEGIN": _begin,
    "START": _begin,
    "COMMIT": _end,
    "ROLLBACK": _end,
    "SAVEPOINT": _transaction,
    "RELEASE": _transaction,
    "XA": _two_phase,
    "LOCK": _lock,
    "UNLOCK": _acts("TransactionStmt", Action.TRANSACTION, commits=True),
    "DO": _do,
    "CALL": _call,
    "PREPARE": _prepare,
    "EXECUTE": _execute,
    "DEALLOCATE": _deallocate,
    **dict.fromkeys(("IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR", "DECLARE"), _compound),
    "HANDLER": _handler,
    "LOAD": _load,
    "IMPORT": _import,
    **dict.fromkeys(("CHECK", "CHECKSUM", "OPTIMIZE", "REPAIR", "CACHE"), _maintain),
    "ANALYZE": _maintain,  # of a table; of a statement it is EXPLAIN's
    "FLUSH": _flush,
    "RESET": _reset,
    **dict.fromkeys(("BINLOG", "CHANGE", "PURGE", "STOP", "CLONE"), _replication),
    "KILL": _kill,
    "GRANT": _grant,
    "REVOKE": _grant,
    "INSTALL": _LOADING,
    "UNINSTALL": _LOADING,
    "SHUTDOWN": _SERVER,
    "RESTART": _SERVER,
    "BACKUP": _SERVER,
    "GET": _diagnostics,
    "HELP": _help,
}
