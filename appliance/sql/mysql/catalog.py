"""What to ask a MySQL or MariaDB server for its catalog: information_schema, all databases at once.

The catalog's loader runs PREPARE, then QUERIES in order, on a connection of its own and hands the
rows, as text, to `catalog_rows.build_catalog`; it polls EPOCH_QUERY to learn that they must be run
again, which is also how a change made past the appliance is noticed. Any account may run them; each
sees what it has privileges for (a view's definition needs SHOW VIEW), and what is not seen is not
known.

Rules: one epoch query covers everything the catalog is made of; every answer has a bound; texts of
generated columns, checks and views are asked for as the server prints them, under an empty
sql_mode.
"""

# ruff: noqa: S608 - every part of these texts is a constant of this module.

from collections.abc import Mapping

ROWS_MAX = 250_000
"""Rows of one query; a server with more has no catalog here."""
TEXT_CHARACTERS_MAX = 64_000
"""Longer definitions and expressions come as '' and are not understood."""

HASTY = ("SET SESSION lock_wait_timeout = 0",)
"""Waits for no metadata lock (MariaDB; MySQL takes 1 s for it)."""
LOCK_WAIT_TIMEOUT = "1205"

PREPARE = (
    "SET SESSION sql_mode = ''",
    "SET SESSION TRANSACTION READ ONLY",
    "SET NAMES utf8mb4",
)

_SYSTEM = "('information_schema', 'performance_schema', 'mysql', 'sys')"
_INFO = "information_schema"
_SERVERS_OWN = "('information_schema', 'performance_schema')"


def _text(column: str) -> str:
    return f"IF(CHAR_LENGTH({column}) > {TEXT_CHARACTERS_MAX}, '', {column})"


def _mine(column: str) -> str:
    return f"{column} NOT IN {_SYSTEM}"


_PARTS: Mapping[str, tuple[str, str, str]] = {
    "relations": (
        "TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE, '')",
        f"{_INFO}.TABLES",
        "TRUE",
    ),
    "columns": (
        "TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, COLUMN_TYPE, IS_NULLABLE,"
        " COALESCE(CHARACTER_SET_NAME, ''), COALESCE(COLLATION_NAME, ''), EXTRA,"
        f" COALESCE({_text('GENERATION_EXPRESSION')}, ''), ORDINAL_POSITION,"
        " IF(COLUMN_DEFAULT <> 'NULL' OR EXTRA LIKE '%auto_increment%', '1', '')",
        f"{_INFO}.COLUMNS",
        "TRUE",
    ),
    "views": (
        f"TABLE_SCHEMA, TABLE_NAME, {_text('VIEW_DEFINITION')}, SECURITY_TYPE, DEFINER",
        f"{_INFO}.VIEWS",
        _mine("TABLE_SCHEMA"),
    ),
    "triggers": (
        "EVENT_OBJECT_SCHEMA, EVENT_OBJECT_TABLE, TRIGGER_NAME, EVENT_MANIPULATION,"
        " ACTION_TIMING, ACTION_STATEMENT, DEFINER",
        f"{_INFO}.TRIGGERS",
        _mine("EVENT_OBJECT_SCHEMA"),
    ),
    "routines": (
        "ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE, COALESCE(DTD_IDENTIFIER, ''),"
        " SHA2(CONCAT_WS('\\n', DEFINER, SECURITY_TYPE, SQL_MODE, SQL_DATA_ACCESS,"
        " COALESCE(ROUTINE_DEFINITION, '')), 256)",
        f"{_INFO}.ROUTINES",
        _mine("ROUTINE_SCHEMA"),
    ),
    "arguments": (
        "SPECIFIC_SCHEMA, SPECIFIC_NAME, ROUTINE_TYPE, ORDINAL_POSITION, DTD_IDENTIFIER",
        f"{_INFO}.PARAMETERS",
        f"ORDINAL_POSITION > 0 AND {_mine('SPECIFIC_SCHEMA')}",
    ),
    "indexes": (
        "TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE, COALESCE(COLUMN_NAME, ''), SEQ_IN_INDEX",
        f"{_INFO}.STATISTICS",
        _mine("TABLE_SCHEMA"),
    ),
    "foreign_keys": (
        "k.CONSTRAINT_SCHEMA, k.CONSTRAINT_NAME, k.TABLE_SCHEMA, k.TABLE_NAME, k.COLUMN_NAME,"
        " k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME, k.REFERENCED_COLUMN_NAME,"
        " r.DELETE_RULE, r.UPDATE_RULE, k.ORDINAL_POSITION",
        f"{_INFO}.KEY_COLUMN_USAGE k JOIN {_INFO}.REFERENTIAL_CONSTRAINTS r"
        " ON r.CONSTRAINT_SCHEMA = k.CONSTRAINT_SCHEMA AND r.CONSTRAINT_NAME = k.CONSTRAINT_NAME"
        " AND r.TABLE_NAME = k.TABLE_NAME",
        f"k.REFERENCED_TABLE_NAME IS NOT NULL AND {_mine('k.TABLE_SCHEMA')}",
    ),
    "checks": (
        f"t.TABLE_SCHEMA, t.TABLE_NAME, c.CONSTRAINT_NAME, {_text('c.CHECK_CLAUSE')}",
        f"{_INFO}.CHECK_CONSTRAINTS c JOIN {_INFO}.TABLE_CONSTRAINTS t"
        " ON t.CONSTRAINT_SCHEMA = c.CONSTRAINT_SCHEMA AND t.CONSTRAINT_NAME = c.CONSTRAINT_NAME"
        " AND t.CONSTRAINT_TYPE = 'CHECK'",
        _mine("t.TABLE_SCHEMA"),
    ),
}
"""Query -> what it selects, from where, of which rows."""


def _of(name: str, schema: str, relation: str) -> str:
    columns, source, where = _PARTS[name]
    return (
        f"SELECT {columns} FROM {source} WHERE {schema} = {{schema}} AND {relation} = {{name}}"
        f" AND {where} ORDER BY 1, 2, 3 LIMIT {ROWS_MAX}"
    )


RELATION_OF = tuple(
    _of(name, "TABLE_SCHEMA", "TABLE_NAME") for name in ("relations", "columns", "views")
)
TRIGGERS_OF = _of("triggers", "EVENT_OBJECT_SCHEMA", "EVENT_OBJECT_TABLE")
ROUTINES_OF = _of("routines", "ROUTINE_SCHEMA", "ROUTINE_NAME")
"""The same of one relation, or of the routines of one name; `schema` and `name` are to be filled in
as constants."""

_MOVING: Mapping[str, str] = {
    # INNODB reports AUTO_INCREMENT, row counts and times in the same views: only what is asked for
    # above may move an epoch, and not the columns of the server's own views.
    "relations": _mine("TABLE_SCHEMA"),
    "columns": _mine("TABLE_SCHEMA"),
}


def _stamp(name: str) -> str:
    """How many rows there are, and two sums over their digests (120 bits)."""
    columns, source, where = _PARTS[name]
    digest = f"SHA2(CONCAT_WS('\\n', {columns}), 256)"
    where = _MOVING.get(name, where)
    halves = [
        f"COALESCE(SUM(CAST(CONV(SUBSTR({digest}, {start}, 15), 16, 10) AS DECIMAL(20, 0))), 0)"
        for start in (1, 16)
    ]
    return f"(SELECT CONCAT_WS('.', COUNT(*), {', '.join(halves)}) FROM {source} WHERE {where})"


EPOCH_QUERY = (
    "SELECT SHA2(CONCAT_WS('/', VERSION(), @@lower_case_table_names, "
    + ", ".join(_stamp(name) for name in _PARTS)
    + "), 256)"
)
"""One row of one value. It moves whenever anything in the catalog does (the server's own databases
aside, which only an upgrade changes)."""

QUERIES: Mapping[str, str] = {
    "epoch": EPOCH_QUERY,
    "server": "SELECT VERSION(), @@lower_case_table_names",
    "schemas": f"SELECT SCHEMA_NAME FROM {_INFO}.SCHEMATA ORDER BY SCHEMA_NAME",
    **{
        name: f"SELECT {columns} FROM {source} WHERE {where} LIMIT {ROWS_MAX + 1}"
        for name, (columns, source, where) in _PARTS.items()
    },
}
