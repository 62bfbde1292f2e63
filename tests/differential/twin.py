"""Makes a database its own masked twin: every sensitive cell is replaced by its mask.

Used by the tests that take the twin as the oracle of what Sallyport answers over the raw database
(DESIGN 4.1). Masks are computed by the plain-Python twins in `tests/reference/maskops`, from the
text form of each cell; method `null` needs none of that. Rule: whatever would stand in the way of
the masks (NOT NULL, UNIQUE, CHECK, foreign keys) is dropped first, and only where a masked column
is in it; what is computed from masked cells (generated columns that are not sensitive themselves,
materialised views) is computed anew.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from appliance.masking import formats
from appliance.masking.formats import TEXT, cell_op
from appliance.model.decision import Mask
from tests.reference.maskops import mask_value

Connection = psycopg.Connection[tuple[Any, ...]]
Sensitive = Mapping[tuple[str, str, str], Mask]
"""(schema, relation, column) of tables -> the mask. A parent's columns are its children's too."""

_CHILDREN = """
WITH RECURSIVE family(oid, depth) AS (
  SELECT c.oid, 0 FROM pg_class c WHERE c.relnamespace = %s::regnamespace AND c.relname = %s
  UNION SELECT i.inhrelid, depth + 1 FROM pg_inherits i JOIN family ON i.inhparent = family.oid)
SELECT c.oid, n.nspname, c.relname, a.attnum, a.attgenerated <> '' AND a.attinhcount = 0, c.relkind,
  CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
FROM family JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = %s JOIN pg_type t ON t.oid = a.atttypid
ORDER BY depth, c.oid
"""
_CONSTRAINTS = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype <> 't' AND coninhcount = 0
  AND (conrelid = %(oid)s AND %(number)s = ANY (conkey)
    OR confrelid = %(oid)s AND %(number)s = ANY (confkey))
ORDER BY contype = 'p', contype <> 'f'
"""
_MATVIEWS = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'm' ORDER BY c.oid
"""
_TABLES = """
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^(pg_|information_schema)' ORDER BY c.oid
"""


@dataclass(frozen=True)
class _Cell:
    """One sensitive column of one table that holds rows."""

    oid: int
    schema: str
    relation: str
    column: str
    number: int
    generated: bool
    stored: bool
    type_oid: int
    mask: Mask

    @property
    def empty(self) -> bool:
        """Whether the mask is NULL whatever is there: also where the type has no neutral value."""
        return formats.neutral_op(self.mask, self.type_oid, TEXT) == formats.NULL

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.relation)

    @property
    def name(self) -> sql.Identifier:
        return sql.Identifier(self.column)


def mask_database(connection: Connection, sensitive: Sensitive, keys: Mapping[str, bytes]) -> None:
    """`connection`: a superuser's, in autocommit, on the database that shall become the twin."""
    named = [
        cell for column, mask in sensitive.items() for cell in _family(connection, column, mask)
    ]
    cells = list({(cell.oid, cell.number): cell for cell in named}.values())
    _clear_the_way(connection, cells)
    by_table: dict[int, list[_Cell]] = {}
    for cell in cells:
        by_table.setdefault(cell.oid, []).append(cell)
    for members in by_table.values():
        if members[0].stored:
            _replace(connection, members, keys)
    settle(connection)


def settle(connection: Connection) -> None:
    """Materialised views filled again; rows where they would lie in a fresh database, so that plans
    and orders nobody asked for are the same in raw database and twin."""
    for (view,) in connection.execute(_MATVIEWS).fetchall():
        connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.SQL(view)))
    for (table,) in connection.execute(_TABLES).fetchall():
        connection.execute(sql.SQL("VACUUM (FULL, ANALYZE) {}").format(sql.SQL(table)))


def _family(connection: Connection, column: tuple[str, str, str], mask: Mask) -> list[_Cell]:
    schema, relation, name = column
    quoted = sql.Identifier(schema).as_string(connection)
    found = connection.execute(_CHILDREN, (quoted, relation, name)).fetchall()
    assert found, f"there is no {column}"
    return [
        _Cell(oid, space, table, name, number, generated, kind == "r", type_oid, mask)
        for oid, space, table, number, generated, kind, type_oid in found
    ]


def _clear_the_way(connection: Connection, cells: list[_Cell]) -> None:
    for cell in cells:
        if cell.generated:
            _alter(connection, cell, "ALTER {column} DROP EXPRESSION IF EXISTS")
        where = {"oid": cell.oid, "number": cell.number}
        for table, constraint in connection.execute(_CONSTRAINTS, where).fetchall():
            if not _stands(connection, constraint, cell):
                drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {} CASCADE")
                connection.execute(drop.format(sql.SQL(table), sql.Identifier(constraint)))
    for cell in cells:
        if cell.empty:
            _alter(connection, cell, "ALTER {column} DROP NOT NULL")


def _stands(connection: Connection, constraint: str, cell: _Cell) -> bool:
    """Whether NULLs do not hurt it: UNIQUE (and ON CONFLICT rests on it), CHECK, foreign keys."""
    if not cell.empty:
        return False
    kinds = connection.execute(
        "SELECT contype FROM pg_constraint WHERE conname = %s AND conrelid = %s",
        (constraint, cell.oid),
    ).fetchall()
    return bool(kinds) and all(kind in ("u", "f") for (kind,) in kinds)


def _alter(connection: Connection, cell: _Cell, what: str) -> None:
    statement = sql.SQL("ALTER TABLE {table} " + what)
    connection.execute(statement.format(table=cell.table, column=cell.name))


def _replace(connection: Connection, cells: list[_Cell], keys: Mapping[str, bytes]) -> None:
    """All sensitive cells of one table, row by row as they lie."""
    table = cells[0].table
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(cell.name) for cell in cells)
    # character(n) as text loses the blanks that a client is shown.
    for cell in cells:
        assert cell.type_oid != 1042, "the twin of character(n) is not written"
    rows = connection.execute(
        sql.SQL("SELECT ctid::text, {} FROM ONLY {}").format(texts, table)
    ).fetchall()
    types = [_type_text(connection, cell) for cell in cells]
    assigned = sql.SQL(", ").join(
        sql.SQL("{} = %s::text::{}").format(cell.name, sql.SQL(kind))
        for cell, kind in zip(cells, types, strict=True)
    )
    update = sql.SQL("UPDATE ONLY {} SET {} WHERE ctid = %s::text::tid").format(table, assigned)
    with connection.transaction():
        for where, *values in rows:
            masked = [_masked(cell, value, keys) for cell, value in zip(cells, values, strict=True)]
            connection.execute(update, [*masked, where])


def _type_text(connection: Connection, cell: _Cell) -> str:
    row = connection.execute(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = %s AND attnum = %s",
        (cell.oid, cell.number),
    ).fetchone()
    assert row is not None
    return str(row[0])


def _masked(cell: _Cell, value: str | None, keys: Mapping[str, bytes]) -> str | None:
    operation = cell_op(cell.mask, cell.type_oid, TEXT, keys)
    got = mask_value(operation, None if value is None else value.encode())
    return None if got is None else got.decode()
