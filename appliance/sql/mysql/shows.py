"""SHOW and DESCRIBE into the ledger. Called by `utility`.

Its rule: what a kind of SHOW shows is listed here, or the statement is not understood; conditions
of SHOW may call harmless functions and read nothing.

Sources: https://dev.mysql.com/doc/refman/8.0/en/show.html, https://mariadb.com/kb/en/show/.
"""

import re
from collections.abc import Mapping, Sequence

from appliance.model.catalog import TELLING_ELSEWHERE
from appliance.model.facts import Action, Flag
from appliance.sql.mysql.cursor import Cursor
from appliance.sql.mysql.functions import HARMLESS
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.reading import Result
from appliance.sql.mysql.scope import folded
from appliance.sql.mysql.words import NAME, QUOTED_NAME, STRING, Word

TELLING_STATUS = "bytes_sent"
_PLAIN_PATTERN = re.compile(r"[A-Za-z0-9_%]+")
"""Without escapes and letters that a collation takes for others."""
SHOWN = "VariableShowStmt"
"""The kind of statements whose result the server words itself."""

_WORDS = frozenset({"FULL", "EXTENDED", "GLOBAL", "SESSION", "LOCAL", "STORAGE", "OPEN", "ALL"})

_SCHEMA = """AUTHORS CHARACTER CHARSET COLLATION CONTRIBUTORS DATABASES ENGINES EVENTS
    PLUGINS PRIVILEGES SCHEMAS STATUS TABLES TRIGGERS VARIABLES TABLE LOCALES
    TABLE_STATISTICS INDEX_STATISTICS CLIENT_STATISTICS USER_STATISTICS PARSE_TREE"""
HARMLESS_KINDS = frozenset(_SCHEMA.split())
"""SHOW of these tells of the schema and of settings."""
_STATUS_ONLY = frozenset({"FUNCTION", "PROCEDURE", "PACKAGE"})
SECRET_KINDS: Mapping[str, str] = {
    "PROCESSLIST": "other sessions' statements",
    "PROFILES": "statements",
    "PROFILE": "statements",
    "ENGINE": "an engine's status, which quotes statements and rows",
    "GRANTS": "privileges with hashes of passwords",
    "EXPLAIN": "another session's plan",
    "ANALYZE": "another session's plan",
}
"""Kinds of SHOW that quote values, statements of others, or secrets."""
REPLICATION_KINDS = frozenset(
    ["BINLOG", "RELAYLOG", "BINARY", "MASTER", "SLAVE", "REPLICA", "REPLICAS", "SLAVES"]
)
_OF_RELATION = frozenset({"COLUMNS", "FIELDS", "INDEX", "INDEXES", "KEYS"})
_CREATED_RELATIONS = frozenset({"TABLE", "VIEW", "SEQUENCE"})
_CREATED_OTHERS = frozenset(
    ["DATABASE", "SCHEMA", "PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"]
)


def show(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = SHOWN
    ledger.act(Action.SHOW)
    ledger.result = Result((), False)
    cursor = Cursor(words, 1)
    cursor.skip_any(_WORDS)
    if len(words) > 3 and words[-3].upper == "STATUS" and words[-2].upper == "LIKE":
        _spare_status(ledger, words[-1])
    if cursor.skip("COUNT", "(", "*", ")"):  # of warnings or errors
        return
    kind = cursor.take().upper
    if kind == "CREATE":
        _created(ledger, cursor)
    elif kind in _OF_RELATION:
        _of_relation(ledger, cursor)
    elif kind in REPLICATION_KINDS:
        ledger.act(Action.REPLICATION)
        if kind in ("BINLOG", "RELAYLOG"):
            ledger.secret()  # events hold rows
    elif kind in ("WARNINGS", "ERRORS"):
        ledger.flags.add(Flag.READS_DIAGNOSTICS)  # they quote values
    elif kind in SECRET_KINDS:
        ledger.secret()
    elif kind in _STATUS_ONLY:
        if not cursor.has("STATUS", "CODE"):
            ledger.not_seen("a kind of SHOW is not understood")
    elif kind not in HARMLESS_KINDS:
        ledger.not_seen("a kind of SHOW is not understood")
    _condition(ledger, cursor, kind)


def _created(ledger: Ledger, cursor: Cursor) -> None:
    kind = cursor.take().upper
    cursor.exists()
    if kind in _CREATED_RELATIONS:
        name = cursor.name()
        if name is None:
            ledger.not_seen("a kind of SHOW is not understood")
            return
        relation = ledger.use(Action.SHOW, *name)
        if relation is not None and relation.kind == "f":
            ledger.secret()  # where it is fetched from, password included
    elif kind in _CREATED_OTHERS:
        return
    elif kind in ("USER", "SERVER"):
        ledger.secret()  # passwords, or their hashes
    else:
        ledger.not_seen("a kind of SHOW is not understood")


def _of_relation(ledger: Ledger, cursor: Cursor) -> None:
    if not (cursor.skip("FROM") or cursor.skip("IN")):
        ledger.not_seen("a kind of SHOW is not understood")
        return
    name = cursor.name()
    if name is None:
        ledger.not_seen("a kind of SHOW is not understood")
        return
    if (cursor.skip("FROM") or cursor.skip("IN")) and (database := cursor.name()) is not None:
        name = database[1], name[1]
    ledger.use(Action.SHOW, *name)


def _condition(ledger: Ledger, cursor: Cursor, kind: str) -> None:
    """WHERE of SHOW may hold a whole query."""
    cursor.until("WHERE")
    words = cursor.rest()
    _use_telling(ledger, words, {"value": "VARIABLE_VALUE"} if kind == "STATUS" else {})
    for index, word in enumerate(words):
        following = words[index + 1].upper if index + 1 < len(words) else ""
        if word.upper in ("SELECT", "WITH", "TABLE", "INTO", "PROCEDURE"):
            ledger.not_seen("SHOW with a query in its condition is not understood")
        elif following == "(" and word.kind in (NAME, QUOTED_NAME):
            known = word.upper in _OPERATORS or word.text.lower() in HARMLESS
            qualified = index > 0 and words[index - 1].upper == "."
            if not known or qualified:
                ledger.not_seen("SHOW with a call in its condition is not understood")


def _spare_status(ledger: Ledger, pattern: Word) -> None:
    """SHOW STATUS LIKE a pattern that the one telling variable does not fit shows nothing of it."""
    text = pattern.text
    if pattern.kind != STRING or not _PLAIN_PATTERN.fullmatch(text):
        return
    parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in text.lower())
    if re.fullmatch("".join(parts), TELLING_STATUS):
        return
    for (database, name), columns in TELLING_ELSEWHERE.items():
        relation = ledger.find(database, name).relation
        if relation is not None and "VARIABLE_VALUE" in columns:
            ledger.spared.update(
                (relation.oid, column.attnum)
                for column in relation.columns
                if column.name in columns
            )


def _use_telling(ledger: Ledger, words: Sequence[Word], shown_as: Mapping[str, str]) -> None:
    """A condition on what SHOW reads of the server's own relations uses it. `shown_as`: names that
    SHOW gives to columns."""
    written = [folded(word.text) for word in words if word.kind in (NAME, QUOTED_NAME)]
    named = {folded(shown_as.get(name, name)) for name in written}
    for (database, name), columns in TELLING_ELSEWHERE.items():
        relation = ledger.find(database, name).relation
        if relation is None:
            continue
        for column in relation.columns:
            if column.name in columns and folded(column.name) in named:
                ledger.reader.consumed.add((relation.oid, column.attnum))


_OPERATORS = frozenset({"WHERE", "AND", "OR", "NOT", "IN", "XOR", "LIKE", "BETWEEN", "REGEXP"})


def describe(ledger: Ledger, words: Sequence[Word]) -> None:
    """DESCRIBE t, DESC t, EXPLAIN t: a relation's columns."""
    ledger.kind = SHOWN
    ledger.act(Action.SHOW)
    ledger.result = Result((), False)
    name = Cursor(words, 1).name()
    if name is None:
        ledger.not_seen("what is described is not understood")
        return
    ledger.use(Action.SHOW, *name)
