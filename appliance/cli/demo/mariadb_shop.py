"""Makes the sample database on MariaDB. Called by the demo and its tests.

Rule: `superuser` is the way in of somebody who may make users and databases.
"""

import contextlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import pymysql

from appliance.cli.demo.shop import DATABASE, OWNER, ROLES, SEED, Row, Size, contents, script

SCRIPT = "mariadb_shop.sql"
ROWS_MAX = 500
"""In one INSERT."""


def load(
    superuser: Mapping[str, Any],
    passwords: Mapping[str, str],
    size: Size | None = None,
    seed: int = SEED,
) -> None:
    """Create users, database and contents anew; `passwords` by user name (see ROLES), `superuser`
    as PyMySQL takes it. Raises pymysql.MySQLError when the server refuses."""
    tables, rest = script(SCRIPT)
    with contextlib.closing(pymysql.connect(**superuser)) as server, server.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        cursor.execute(f"USE {DATABASE}")
        for role in ROLES:
            account = f"'{role}'@'127.0.0.1'"
            cursor.execute(f"CREATE OR REPLACE USER {account} IDENTIFIED BY %s", [passwords[role]])
        cursor.execute(f"GRANT ALL ON {DATABASE}.* TO '{OWNER}'@'127.0.0.1'")
        _run(cursor, tables)
        for table, rows in contents(size or Size(), seed).items():
            _fill(cursor, table, rows)
        _run(cursor, rest)
        server.commit()


def _run(cursor: Any, text: str) -> None:
    for statement in text.split(";\n"):
        if statement.strip():
            cursor.execute(statement)


def _fill(cursor: Any, table: str, rows: Iterable[Row]) -> None:
    # `table` is one of the keys of contents(), never anybody's word.
    cells = [tuple(map(_cell, row)) for row in rows]
    marks = f"({', '.join(['%s'] * len(cells[0]))})"
    for start in range(0, len(cells), ROWS_MAX):
        part = cells[start : start + ROWS_MAX]
        values = [cell for row in part for cell in row]
        text = f"INSERT INTO {table} VALUES {', '.join([marks] * len(part))}"  # noqa: S608
        cursor.execute(text, values)


def _cell(value: object) -> object:
    """JSON for what MariaDB has no type for; moments without their zone, which is UTC."""
    if isinstance(value, dict | list):
        return json.dumps(value)
    return value.replace(tzinfo=None) if isinstance(value, datetime) else value
