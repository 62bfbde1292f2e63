"""One statement of any kind into a ledger. `analysis` makes one ledger per statement and reads it.

Queries and statements that write rows have a tree; all else is told from its words (`utility`). A
query whose tree cannot be had is classified by its words and is opaque.
"""

from collections.abc import Mapping, Sequence

from sqlglot import exp

from appliance.model.facts import Action, Flag
from appliance.sql.mysql.cursor import Cursor
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.queries import cut_into, read_query
from appliance.sql.mysql.reading import Result
from appliance.sql.mysql.shows import describe
from appliance.sql.mysql.tree import Unreadable, tree_of
from appliance.sql.mysql.utility import prepared_text, read_utility
from appliance.sql.mysql.words import NAME, QUOTED_NAME, Word, split, words_of
from appliance.sql.mysql.writes import read_write

QUERIES = frozenset({"SELECT", "WITH", "VALUES", "TABLE", "("})
WRITES = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE"})
_KINDS: Mapping[type[exp.Expr], str] = {
    exp.Insert: "InsertStmt",
    exp.Update: "UpdateStmt",
    exp.Delete: "DeleteStmt",
}

_EXECUTING = frozenset({Action.SELECT, Action.INSERT, Action.UPDATE, Action.DELETE})
"""What EXPLAIN without ANALYZE does not do."""

_HARMLESS_SETTINGS = frozenset(
    """max_statement_time max_execution_time lock_wait_timeout innodb_lock_wait_timeout
    sort_buffer_size join_buffer_size read_buffer_size tmp_table_size max_heap_table_size
    optimizer_switch optimizer_search_depth net_write_timeout net_read_timeout""".split()  # noqa: SIM905
)
"""What SET STATEMENT may change without changing what the statement means."""


def read_statement(ledger: Ledger, words: Sequence[Word]) -> None:
    """Notes all that a statement does, its kind and the columns it returns."""
    first = words[0].upper
    try:
        if first in QUERIES:
            _query(ledger, words)
        elif first in WRITES:
            _with_tree(ledger, words)
        elif first in ("EXPLAIN", "DESCRIBE", "DESC") or (
            first == "ANALYZE" and not _is_maintenance(words)
        ):
            _explain(ledger, words)
        elif first == "SET" and len(words) > 1 and words[1].upper == "STATEMENT":
            _set_statement(ledger, words)
        else:
            read_utility(ledger, words)
            _constant_text(ledger, words)
    except Unreadable as error:
        ledger.failure = str(error)
        _unreadable(ledger, words)


def _is_maintenance(words: Sequence[Word]) -> bool:
    if words[0].upper != "ANALYZE":
        return False
    return len(words) > 1 and words[1].upper in ("TABLE", "TABLES", "LOCAL", "NO_WRITE_TO_BINLOG")


# Queries and writes.


def _query(ledger: Ledger, words: Sequence[Word]) -> None:
    into = cut_into(words)
    if into is None:
        _with_tree(ledger, words)
        return
    _with_tree(ledger, into.rest)
    ledger.kind = "SelectIntoStmt"
    ledger.reader.consume(ledger.result.fields)
    if not ledger.result.known:
        ledger.puzzle("what is put into a file or a variable is not known")
    ledger.result = Result(())
    if into.file:
        ledger.act(Action.COPY_FILE)


def _with_tree(ledger: Ledger, words: Sequence[Word]) -> None:
    tree = tree_of(words)
    ledger.tree = tree
    kind = _KINDS.get(type(tree))
    if kind is not None:
        ledger.kind = kind
        ledger.result = read_write(ledger, tree)
        return
    ledger.kind = "SelectStmt"
    ledger.act(Action.SELECT)
    ledger.result = read_query(ledger, tree)


# Statements around a statement.


def _explain(ledger: Ledger, words: Sequence[Word]) -> None:
    """EXPLAIN [EXTENDED | PARTITIONS | FORMAT = x | ANALYZE] statement, ANALYZE [FORMAT = x]
    statement, EXPLAIN FOR CONNECTION n, EXPLAIN table."""
    cursor = Cursor(words, 1)
    runs = words[0].upper == "ANALYZE"
    while cursor.upper in ("EXTENDED", "PARTITIONS", "ANALYZE", "FORMAT"):
        option = cursor.take().upper
        runs = runs or option == "ANALYZE"
        if option == "FORMAT":
            if not cursor.skip("="):
                raise Unreadable("EXPLAIN could not be parsed")
            cursor.take()
    ledger.act(Action.EXPLAIN)
    if cursor.skip("FOR"):
        ledger.kind = "ExplainStmt"
        ledger.result = Result((), False)
        ledger.secret()  # another session's statement
        return
    if cursor.upper not in QUERIES and cursor.upper not in WRITES:
        ledger.actions = {}
        describe(ledger, words[cursor.index - 1 :])
        return
    _explained(ledger, cursor.rest(), runs)
    ledger.kind = "ExplainStmt"
    ledger.result = Result((), False)


def _explained(ledger: Ledger, words: Sequence[Word], runs: bool) -> None:
    _with_tree(ledger, words)
    if not ledger.result.known:
        ledger.puzzle("what the explained statement gives is not known")
    # Plans show constants that were read ahead, and how many rows they matched.
    ledger.reader.consume(ledger.result.fields)
    if runs:
        ledger.flags.add(Flag.EXPLAIN_ANALYZE)
        return
    ledger.actions = {a: None for a in ledger.actions if a not in _EXECUTING}
    ledger.flags -= {Flag.WRITES, Flag.NO_WHERE, Flag.TRIVIAL_WHERE, Flag.UNBOUNDED}
    ledger.writes = 0
    ledger.beneath = {}
    uses, ledger.uses = ledger.uses, {}
    for (_, oid, schema, name), columns in uses.items():
        # The server reads rows whose key is a constant, and tells them in a note: to have it
        # explained is to read.
        for action in (Action.EXPLAIN, Action.SELECT):
            ledger.uses.setdefault((action, oid, schema, name), {}).update(columns)
    if ledger.uses:
        ledger.act(Action.SELECT)


def _set_statement(ledger: Ledger, words: Sequence[Word]) -> None:
    """SET STATEMENT name = value, ... FOR statement (MariaDB)."""
    cursor = Cursor(words, 2)
    changed = cursor.until("FOR")
    if not cursor.skip("FOR") or cursor.done:
        raise Unreadable("SET STATEMENT could not be parsed")
    read_statement(ledger, cursor.rest())
    ledger.act(Action.SET)
    if ledger.kind in ("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt"):
        ledger.kind = "SetStatementStmt"
    names = [
        changed[index - 1].text.lower()
        for index, word in enumerate(changed)
        if index and word.upper in ("=", ":=")
    ]
    if not names or not _HARMLESS_SETTINGS.issuperset(names):
        ledger.not_seen("SET STATEMENT changes what the statement means")
    if any(word.upper in ("SELECT", "(") for word in changed):
        ledger.not_seen("SET STATEMENT with a computed value is not understood")


def _constant_text(ledger: Ledger, words: Sequence[Word]) -> None:
    """What PREPARE ... FROM 'text' and EXECUTE IMMEDIATE 'text' would run, for rules on that. What
    else is run from a string is opaque."""
    if Action.DYNAMIC_SQL not in ledger.actions or ledger.depth:
        return
    text = prepared_text(words)
    if text is None:
        return
    try:
        found = split(words_of(text.encode(), 0))
    except (UnicodeError, ValueError):
        return
    for inner in found:
        within = Ledger(ledger.lineage, ledger.settings, ledger.server)
        within.depth = 1
        read_statement(within, inner)
        ledger.act(*within.actions)
        ledger.flags |= within.flags
        for key, columns in within.uses.items():
            ledger.uses.setdefault(key, {}).update(columns)
        ledger.functions.update(within.functions)


# What has no tree.

_FIRST_ACTIONS = {
    "SELECT": Action.SELECT,
    "WITH": Action.SELECT,
    "VALUES": Action.SELECT,
    "TABLE": Action.SELECT,
    "(": Action.SELECT,
    "INSERT": Action.INSERT,
    "REPLACE": Action.INSERT,
    "UPDATE": Action.UPDATE,
    "DELETE": Action.DELETE,
}
_MENTIONED = {
    "OUTFILE": Action.COPY_FILE,
    "DUMPFILE": Action.COPY_FILE,
    "LOAD_FILE": Action.SERVER_FILE,
    "DELETE": Action.DELETE,
    "UPDATE": Action.UPDATE,
    "INSERT": Action.INSERT,
    "REPLACE": Action.INSERT,
}


def _unreadable(ledger: Ledger, words: Sequence[Word]) -> None:
    """A statement without a tree: what its words say, and no less than that."""
    first = words[0].upper
    action = _FIRST_ACTIONS.get(first)
    ledger.kind = ledger.kind or "Unparsed"
    if action is not None:
        ledger.act(action)
    if any(word.upper == "REPLACE" for word in words[:1]):
        ledger.act(Action.DELETE)
    for index, word in enumerate(words[1:], 1):
        mentioned = _MENTIONED.get(word.upper)
        called = index + 1 < len(words) and words[index + 1].upper == "("
        if mentioned is None or (called and word.upper in ("INSERT", "REPLACE")):
            continue  # (these two are functions as well)
        if first == "WITH" or mentioned in (Action.COPY_FILE, Action.SERVER_FILE):
            ledger.act(mentioned)
    if first in ("UPDATE", "DELETE") or not ledger.actions.keys().isdisjoint(
        (Action.UPDATE, Action.DELETE)
    ):
        conditional = any(word.upper == "WHERE" for word in words)
        ledger.flags.add(Flag.TRIVIAL_WHERE if conditional else Flag.NO_WHERE)
        ledger.flags.add(Flag.WRITES)
    if not ledger.actions.keys().isdisjoint((Action.INSERT, Action.COPY_FILE)):
        ledger.flags.add(Flag.WRITES)
    _mentioned_relations(ledger, words, action or Action.SELECT)
    ledger.result = Result((), False)
    ledger.not_read("the statement could not be parsed")


def _mentioned_relations(ledger: Ledger, words: Sequence[Word], action: Action) -> None:
    """Every relation that a name in the statement may be: more than are meant, never fewer."""
    index = 0
    cursor = Cursor(words)
    while index < len(words):
        if words[index].kind in (NAME, QUOTED_NAME):
            cursor.index = index
            name = cursor.name()
            if name is not None and ledger.find(*name).relation is not None:
                relation = ledger.use(action, *name)
                if relation is not None and ledger.lineage is not None:
                    shape = ledger.lineage.shape(relation.oid)
                    ledger.reader.consume(shape.fields)
        index += 1
