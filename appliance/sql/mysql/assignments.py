"""SET, USE and what else changes a session's state, into the ledger. Called by `utility`.

Sources: https://dev.mysql.com/doc/refman/8.0/en/set-statement.html,
https://mariadb.com/kb/en/set/, https://mariadb.com/kb/en/set-statement/.
"""

from collections.abc import Sequence

from appliance.model.facts import Action, Flag
from appliance.sql.mysql.cursor import Cursor
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.queries import read_expressions
from appliance.sql.mysql.words import NAME, NUMBER, QUOTED_NAME, STRING, VARIABLE, Word

SET = "VariableSetStmt"

DATABASE = "database"
"""The name under which `settings` holds what USE changes."""

MEANING = frozenset(
    """sql_mode character_set_client character_set_connection character_set_database
    character_set_results collation_connection collation_database names character_set database
    old_mode lc_time_names default_week_format div_precision_increment group_concat_max_len
    sql_select_limit sql_auto_is_null time_zone autocommit block_encryption_mode
    explicit_defaults_for_timestamp tx_isolation transaction_isolation tx_read_only
    transaction_read_only session_track_schema session_track_system_variables
    session_track_state_change""".split()  # noqa: SIM905
)
"""Settings that change what a later text means, how it is lexed or answered."""

_SERVERS_OWN = frozenset(
    """sql_log_bin sql_log_off gtid_next gtid_domain_id gtid_seq_no server_id
    pseudo_slave_mode pseudo_replica_mode pseudo_thread_id skip_replication binlog_format
    binlog_row_image wsrep_on wsrep_osu_method""".split()  # noqa: SIM905
)
"""What of a session's settings concerns replication and the server's logs."""

_SYSTEM_SCOPES = frozenset({"GLOBAL", "PERSIST", "PERSIST_ONLY"})
_SCOPES = frozenset({"SESSION", "LOCAL"}) | _SYSTEM_SCOPES


def use_database(ledger: Ledger, words: Sequence[Word]) -> None:
    ledger.kind = SET
    name = Cursor(words, 1).name()
    if name is None or len(words) != 2:
        ledger.not_seen("USE is not understood")
        return
    ledger.act(Action.SET)
    ledger.flags.add(Flag.CHANGES_SETTINGS)
    ledger.set(DATABASE, name[1])


def set_statement(ledger: Ledger, words: Sequence[Word]) -> None:
    """SET in all its forms but SET STATEMENT ... FOR, which `utility` reads."""
    ledger.kind = SET
    cursor = Cursor(words, 1)
    first = cursor.upper
    following = words[2].upper if len(words) > 2 else ""
    if first == "PASSWORD" and following in ("=", ":=", "FOR", "TO"):
        ledger.act(Action.ROLE)
    elif first == "ROLE" and following not in ("=", ":="):
        ledger.act(Action.SET_ROLE)
        ledger.flags.add(Flag.CHANGES_SETTINGS)
        ledger.set("role", "")
    elif first == "DEFAULT" and following == "ROLE":
        ledger.act(Action.ROLE)
    elif first == "RESOURCE" and following == "GROUP":
        ledger.act(Action.ALTER_SYSTEM)
    elif first == "TRANSACTION" or (first in _SCOPES and following == "TRANSACTION"):
        ledger.act(Action.ALTER_SYSTEM if first in _SYSTEM_SCOPES else Action.TRANSACTION)
        ledger.kind = "TransactionStmt"
        ledger.isolates = True
    else:
        ledger.act(Action.SET)
        _assignments(ledger, cursor)


def _assignments(ledger: Ledger, cursor: Cursor) -> None:
    understood = _assignment(ledger, cursor)
    while understood and cursor.skip(","):
        understood = _assignment(ledger, cursor)
    if not understood or not cursor.done:
        ledger.not_seen("SET is not understood")


def _assignment(ledger: Ledger, cursor: Cursor) -> bool:
    """One of a list; False when it is not understood."""
    names = _character_sets(ledger, cursor)
    if names is not None:
        return names
    scope = cursor.take().upper if cursor.upper in _SCOPES else ""
    word = cursor.take()
    if word.kind == VARIABLE and word.text != "@@":
        return not scope and _user_variable(ledger, cursor)
    if word.kind == VARIABLE:
        if cursor.upper in _SCOPES and not scope:
            scope = cursor.take().upper
            if not cursor.skip("."):
                return False
        word = cursor.take()
    if word.kind not in (NAME, QUOTED_NAME):
        return False
    name = word.text.lower()
    if cursor.skip("."):  # of a structured variable: hot_cache.key_buffer_size
        name = f"{name}.{cursor.take().text.lower()}"
    if not (cursor.skip("=") or cursor.skip(":=")):
        return False
    value = cursor.until(",")
    if not value:
        return False
    _changed(ledger, name, scope, value)
    return True


def _character_sets(ledger: Ledger, cursor: Cursor) -> bool | None:
    """SET NAMES and SET CHARACTER SET; None when it is neither."""
    if cursor.skip("NAMES"):
        name = "names"
    elif cursor.skip("CHARACTER", "SET") or cursor.skip("CHARSET") or cursor.skip("CHAR", "SET"):
        name = "character_set"
    else:
        return None
    word = cursor.take()
    if word.kind not in (NAME, QUOTED_NAME, STRING):
        return False
    value = word.text.lower()
    if cursor.skip("COLLATE"):
        cursor.take()
    ledger.flags.add(Flag.CHANGES_SETTINGS)
    ledger.set(name, value)
    return True


def _user_variable(ledger: Ledger, cursor: Cursor) -> bool:
    """SET @x = ...: the value stays in the session, where no mask reaches it: it is used."""
    if not (cursor.skip("=") or cursor.skip(":=")):
        return False
    value = cursor.until(",")
    if not value:
        return False
    read_expressions(ledger, value)
    return True


def _changed(ledger: Ledger, name: str, scope: str, value: Sequence[Word]) -> None:
    constant = _constant(value)
    if constant is None and not (len(value) == 1 and value[0].upper in ("DEFAULT", "ON")):
        read_expressions(ledger, value)
        ledger.settings_plain = False
    if scope in _SYSTEM_SCOPES:
        ledger.act(Action.ALTER_SYSTEM)
        return
    if name in MEANING:
        ledger.flags.add(Flag.CHANGES_SETTINGS)
    if name in _SERVERS_OWN:
        ledger.act(Action.REPLICATION)
    if name == "autocommit":
        ledger.ends_transaction = True
    if name in ("tx_isolation", "transaction_isolation", "tx_read_only", "transaction_read_only"):
        ledger.isolates = True
    ledger.set(name, constant or "")


def _constant(value: Sequence[Word]) -> str | None:
    """What a setting is given, when that is one word; None when it is computed. DEFAULT is ''."""
    if len(value) == 2 and value[0].upper == "-" and value[1].kind == NUMBER:
        return f"-{value[1].text}"
    if len(value) != 1:
        return None
    word = value[0]
    if word.upper == "DEFAULT":
        return ""
    return word.text.lower() if word.kind in (NAME, QUOTED_NAME, NUMBER, STRING) else None


_GIVING = frozenset(("SET", "LOAD", "CALL", "EXECUTE", "GET", "FETCH"))


def sets_variables(words: Sequence[Word]) -> bool:
    """Whether a statement may give user variables values: by `:=`, by INTO, or because it is of a
    kind that does where it names one."""
    variables = [i for i, word in enumerate(words) if word.kind == VARIABLE and word.text != "@@"]
    if not variables:
        return False
    return (
        words[0].upper in _GIVING
        or any(word.text == ":=" for word in words)
        or any(words[i - 1].upper == "INTO" for i in variables if i)
    )
