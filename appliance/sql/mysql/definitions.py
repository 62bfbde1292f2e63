"""CREATE, ALTER, DROP and other statements on the schema, accounts and code, into the ledger.
Called by `utility`.

All of them end the transaction that is open (an implicit commit,
https://dev.mysql.com/doc/refman/8.0/en/implicit-commit.html). Its rule: which relations are
concerned is told from the words in their places; a word in a place where none was expected makes
the statement one that is not understood.
"""

from collections.abc import Callable, Mapping, Sequence

from appliance.model.catalog import Relation
from appliance.model.facts import Action, Flag
from appliance.sql.mysql.cursor import Cursor, Name
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.queries import read_query
from appliance.sql.mysql.tree import tree_of
from appliance.sql.mysql.words import NAME, STRING, Word, object_of

_ELSEWHERE = frozenset(
    ["FEDERATED", "FEDERATEDX", "CONNECT", "SPIDER", "S3", "SPHINX", "OQGRAPH", "CASSANDRA", "NDB",
     "NDBCLUSTER", "MROONGA", "HIVE", "COLUMNSTORE"]
)  # fmt: skip
"""Engines that fetch rows from another server, from files, or from other tables."""
_ELSEWHERE_OPTIONS = frozenset(
    ["TABLE_TYPE", "FILE_NAME", "TABNAME", "DBNAME", "SRCDEF", "OPTION_LIST", "WRAPPER"]
)
_MERGING = frozenset({"MERGE", "MRG_MYISAM"})

_ACTIONS: Mapping[str, Action] = {
    "CREATE": Action.CREATE,
    "ALTER": Action.ALTER,
    "DROP": Action.DROP,
}
_KINDS: Mapping[str, str] = {
    "CREATE": "CreateStmt",
    "ALTER": "AlterTableStmt",
    "DROP": "DropStmt",
}

_OTHER: Mapping[str, Action | None] = {
    "DATABASE": None,
    "SCHEMA": None,
    "SEQUENCE": None,
    "SPATIAL": None,
    "SERVER": Action.FOREIGN_SERVER,
    "USER": Action.ROLE,
    "ROLE": Action.ROLE,
    "TABLESPACE": Action.ALTER_SYSTEM,
    "LOGFILE": Action.ALTER_SYSTEM,
    "INSTANCE": Action.ALTER_SYSTEM,
    "RESOURCE": Action.ALTER_SYSTEM,
    "LIBRARY": Action.CREATE_FUNCTION,
    "PROCEDURE": Action.CREATE_FUNCTION,
    "FUNCTION": Action.CREATE_FUNCTION,
    "TRIGGER": Action.CREATE_FUNCTION,
    "EVENT": Action.CREATE_FUNCTION,
    "PACKAGE": Action.CREATE_FUNCTION,
}
"""Kinds of things beside tables, views and indexes; None = the action is the statement's own."""

_CODE = frozenset({"PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"})


def define(ledger: Ledger, words: Sequence[Word]) -> None:
    """CREATE, ALTER and DROP."""
    verb = words[0].upper
    ledger.kind = _KINDS[verb]
    _begin(ledger)
    kind, index = object_of(list(words))
    cursor = Cursor(words, index)
    if kind in ("TABLE", "TABLES"):
        _TABLES[verb](ledger, words, cursor)
    elif kind in ("VIEW", "VIEWS"):
        _view(ledger, verb, words, cursor)
    elif kind == "INDEX":
        _index(ledger, verb, cursor)
    elif kind == "PREPARE" and verb == "DROP":
        raise AssertionError("DROP PREPARE is no definition")
    elif kind in _OTHER:
        _other(ledger, verb, kind, cursor)
    else:
        ledger.act(_ACTIONS[verb])
        ledger.not_seen(f"a kind of {verb} is not understood")


def _begin(ledger: Ledger) -> None:
    ledger.flags.update((Flag.WRITES, Flag.CHANGES_SCHEMA))
    ledger.ends_transaction = True


def _confused(ledger: Ledger) -> None:
    ledger.not_seen("the statement is not understood")


# Tables.


def _create_table(ledger: Ledger, words: Sequence[Word], cursor: Cursor) -> None:
    temporary = any(word.upper == "TEMPORARY" for word in words[: cursor.index])
    replaces = any(word.upper == "REPLACE" for word in words[: cursor.index])
    ledger.if_not_exists = cursor.exists()
    name = cursor.name()
    if name is None:
        _confused(ledger)
        return
    if temporary:
        ledger.act(Action.CREATE_TEMPORARY)
        ledger.use_temporary(Action.CREATE_TEMPORARY, *name)
        ledger.note_temporary(*name)
        ledger.require_unshadowed(*name)
        ledger.ends_transaction = False
    else:
        ledger.act(Action.CREATE)
        ledger.use(Action.CREATE, *name)
    if replaces:
        ledger.act(Action.DROP)
        if temporary:
            ledger.use_temporary(Action.DROP, *name)
        else:
            ledger.use(Action.DROP, *name)
    if cursor.skip("LIKE") or cursor.skip("(", "LIKE"):
        like = cursor.name()
        if like is None:
            _confused(ledger)
        else:
            relation = ledger.use(Action.SHOW, *like)
            # A table of an engine that reads elsewhere is made with the rows it shows.
            if relation is not None and relation.kind == "r" and relation.undoable:
                ledger.kind = "CreateLikeStmt"
        return
    start = _query_start(words, cursor.index)
    _require_no_query(ledger, words[cursor.index : start])
    if start is not None:
        ledger.kind = "CreateTableAsStmt"
        _stored_query(ledger, words[start:])
    _referenced(ledger, words[cursor.index : start])
    _options(ledger, words[cursor.index : start])


def _query_start(words: Sequence[Word], index: int) -> int | None:
    """Where the query of CREATE TABLE ... [AS] begins: the first SELECT, WITH, VALUES or TABLE
    outside parentheses or right behind one outside of all."""
    depth = 0
    for place in range(index, len(words)):
        word = words[place]
        if depth == 0 and word.upper in ("SELECT", "WITH", "VALUES", "TABLE"):
            if (
                word.upper == "WITH"
                and words[place + 1 : place + 2]
                and words[place + 1].upper
                in (
                    "SYSTEM",  # WITH SYSTEM VERSIONING
                    "PARSER",
                )
            ):
                continue
            return place
        if depth == 0 and word.upper == "(":
            following = words[place + 1].upper if place + 1 < len(words) else ""
            if following in ("SELECT", "WITH", "("):
                return place
        depth += {"(": 1, ")": -1}.get(word.upper, 0)
    return None


def stored_query(words: Sequence[Word]) -> int | None:
    """Where the query of a CREATE TABLE begins; None when there is none."""
    kind, index = object_of(list(words))
    cursor = Cursor(words, index)
    cursor.exists()
    if kind != "TABLE" or cursor.name() is None:
        return None
    return _query_start(words, cursor.index)


_WITH_WORDS = frozenset({"SYSTEM", "PARSER", "TABLE", "VALIDATION"})
"""What follows WITH where it begins no query."""


def _require_no_query(ledger: Ledger, words: Sequence[Word]) -> None:
    """No query may stand where none was looked for."""
    for index, word in enumerate(words):
        following = words[index + 1].upper if index + 1 < len(words) else ""
        if word.kind == NAME and (
            word.upper == "SELECT" or (word.upper == "WITH" and following not in _WITH_WORDS)
        ):
            _confused(ledger)
            return


def _stored_query(ledger: Ledger, words: Sequence[Word]) -> None:
    """A query whose result is kept, or expanded again later: all of its columns are used."""
    tree = tree_of(words)
    result = read_query(ledger, tree)
    ledger.reader.consume(result.fields)
    if not result.known:
        ledger.puzzle("what the stored query gives is not known")


def _referenced(ledger: Ledger, words: Sequence[Word]) -> None:
    """Relations that a foreign key refers to."""
    for index, word in enumerate(words):
        if word.upper == "REFERENCES":
            name = Cursor(words, index + 1).name()
            if name is not None:
                ledger.use(Action.ALTER, *name)


def _options(ledger: Ledger, words: Sequence[Word]) -> None:
    """Options through which a table holds what is elsewhere."""
    cursor = Cursor(words)
    while not cursor.done:
        word = cursor.take()
        if word.upper in ("ENGINE", "TYPE"):
            cursor.skip("=")
            engine = cursor.word.text.upper()
            if engine in _ELSEWHERE:
                ledger.act(Action.FOREIGN_SERVER)
            elif engine in _MERGING:
                ledger.not_seen("a table made of others shows their rows under its own name")
        elif word.upper == "CONNECTION" and (cursor.upper == "=" or cursor.word.kind == STRING):
            ledger.act(Action.FOREIGN_SERVER)
        elif word.upper in _ELSEWHERE_OPTIONS and cursor.upper == "=":
            ledger.act(Action.FOREIGN_SERVER)  # of CONNECT, which may be the default engine
        elif word.upper in ("DATA", "INDEX") and cursor.upper == "DIRECTORY":
            ledger.act(Action.SERVER_FILE)
        elif word.upper == "UNION" and cursor.upper in ("=", "("):
            ledger.not_seen("a table made of others shows their rows under its own name")


def _alter_table(ledger: Ledger, words: Sequence[Word], cursor: Cursor) -> None:
    ledger.act(Action.ALTER)
    cursor.exists()
    name = cursor.name()
    if name is None:
        _confused(ledger)
        return
    ledger.use(Action.ALTER, *name)
    start = cursor.index
    _require_no_query(ledger, words[start:])
    _referenced(ledger, words[start:])
    _options(ledger, words[start:])
    for index in range(start, len(words)):
        moved = Cursor(words, index)
        if moved.skip("WITH", "TABLE") or moved.skip("FROM", "TABLE"):
            other = moved.name()
            if other is not None:
                ledger.use(Action.ALTER, *other)
        elif _renames(moved):
            other = moved.name()
            if other is not None:
                ledger.act(Action.CREATE)
                ledger.use(Action.CREATE, *other)
                ledger.note_temporary(*other)
        elif moved.skip("DROP", "PARTITION") or moved.skip("TRUNCATE", "PARTITION"):
            ledger.act(Action.TRUNCATE)
            ledger.use(Action.TRUNCATE, *name)
        elif moved.skip("DISCARD", "TABLESPACE") or moved.skip("IMPORT", "TABLESPACE"):
            ledger.act(Action.SERVER_FILE)


def _renames(cursor: Cursor) -> bool:
    """RENAME [TO|AS|=] name; RENAME COLUMN, INDEX and KEY are about parts."""
    if not cursor.skip("RENAME") or cursor.upper in ("COLUMN", "INDEX", "KEY"):
        return False
    if cursor.upper in ("TO", "AS", "="):
        cursor.take()
    return True


def _drop_table(ledger: Ledger, words: Sequence[Word], cursor: Cursor) -> None:
    temporary = any(word.upper == "TEMPORARY" for word in words[: cursor.index])
    ledger.act(Action.DROP)
    cursor.exists()
    names = cursor.names()
    cursor.skip_any(frozenset({"RESTRICT", "CASCADE", "WAIT", "NOWAIT"}))
    if not names:
        _confused(ledger)
    for name in names:
        if temporary:
            ledger.use_temporary(Action.DROP, *name)
            ledger.ends_transaction = False
        else:
            ledger.use(Action.DROP, *name)


_TABLES: Mapping[str, Callable[[Ledger, Sequence[Word], Cursor], None]] = {
    "CREATE": _create_table,
    "ALTER": _alter_table,
    "DROP": _drop_table,
}


# Views, indexes and all else.


def _view(ledger: Ledger, verb: str, words: Sequence[Word], cursor: Cursor) -> None:
    action = _ACTIONS[verb]
    ledger.act(action)
    ledger.if_not_exists = cursor.exists() and verb == "CREATE"
    if verb == "DROP":
        names = cursor.names()
        for name in names:
            ledger.use(action, *name)
        if not names:
            _confused(ledger)
        return
    view = cursor.name()
    if view is None:
        _confused(ledger)
        return
    relation = ledger.use(action, *view)
    if relation is not None and verb == "CREATE":
        ledger.act(Action.ALTER)  # OR REPLACE: what it was is gone
        ledger.use(Action.ALTER, *view)
    cursor.until("AS")
    if not cursor.skip("AS"):
        _confused(ledger)
        return
    ledger.kind = "ViewStmt"
    _stored_query(ledger, _without_check(cursor.rest()))


def _without_check(words: Sequence[Word]) -> Sequence[Word]:
    """Without WITH [CASCADED | LOCAL] CHECK OPTION."""
    for size in (4, 3):
        tail = [word.upper for word in words[-size:]]
        if tail[:1] == ["WITH"] and tail[-2:] == ["CHECK", "OPTION"]:
            return words[:-size]
    return words


def _index(ledger: Ledger, verb: str, cursor: Cursor) -> None:
    """CREATE INDEX i ON t, DROP INDEX i ON t. A unique one compares what is there."""
    ledger.kind = "IndexStmt" if verb == "CREATE" else ledger.kind
    cursor.until("ON")
    name = cursor.name() if cursor.skip("ON") else None
    if name is None:
        ledger.act(_ACTIONS[verb])
        _confused(ledger)
        return
    ledger.act(Action.CREATE if verb == "CREATE" else Action.ALTER)
    ledger.use(Action.CREATE if verb == "CREATE" else Action.ALTER, *name)


def _other(ledger: Ledger, verb: str, kind: str, cursor: Cursor) -> None:
    action = _OTHER[kind]
    ledger.act(action or _ACTIONS[verb])
    if action is Action.CREATE_FUNCTION and verb == "DROP":
        ledger.actions = {Action.DROP: None, Action.CREATE_FUNCTION: None}
    if kind == "SEQUENCE":
        cursor.exists()
        for name in cursor.names():
            ledger.use(_ACTIONS[verb], *name)
    if kind in ("SCHEMA", "DATABASE"):
        cursor.exists()
        database = cursor.name()
        if database is not None:
            ledger.uses.setdefault((_ACTIONS[verb], 0, database[1], "*"), {})
    if kind in _CODE and verb != "DROP":
        _code(ledger, kind, cursor)


def _code(ledger: Ledger, kind: str, cursor: Cursor) -> None:
    ledger.flags.add(Flag.DYNAMIC)
    if cursor.has("SONAME"):  # a function out of a shared library
        ledger.act(Action.LOAD)
    if kind == "TRIGGER":
        cursor.until("ON")
        name = cursor.name() if cursor.skip("ON") else None
        if name is not None:
            ledger.use(Action.CREATE_FUNCTION, *name)
    if cursor.has(";"):
        # Whether they are its own statements or others behind it only the server knows.
        ledger.not_seen("statements in the body of a routine are not seen")


def rename(ledger: Ledger, words: Sequence[Word]) -> None:
    """RENAME TABLE a TO b, ...; RENAME USER."""
    ledger.kind = "RenameStmt"
    _begin(ledger)
    cursor = Cursor(words, 1)
    if cursor.skip("USER"):
        ledger.act(Action.ROLE)
        return
    ledger.act(Action.ALTER)
    if not (cursor.skip("TABLE") or cursor.skip("TABLES")):
        _confused(ledger)
        return
    cursor.exists()
    while (name := cursor.name()) is not None:
        ledger.use(Action.ALTER, *name)
        cursor.until("TO")
        other = cursor.name() if cursor.skip("TO") else None
        if other is None:
            _confused(ledger)
            return
        ledger.act(Action.CREATE)
        ledger.use(Action.CREATE, *other)
        ledger.note_temporary(*other)
        if not cursor.skip(","):
            break


def truncate(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = "TruncateStmt"
    ledger.act(Action.TRUNCATE)
    ledger.flags.add(Flag.WRITES)
    ledger.ends_transaction = True
    cursor = Cursor(words, 1)
    cursor.skip("TABLE")
    name = cursor.name()
    if name is None:
        _confused(ledger)
        return
    written(ledger, Action.TRUNCATE, name)


def written(ledger: Ledger, action: Action, name: Name) -> Relation | None:
    relation = ledger.use(action, *name)
    if relation is not None:
        ledger.write_beneath(action, relation, ())
        ledger.note_written(relation)
    return relation
