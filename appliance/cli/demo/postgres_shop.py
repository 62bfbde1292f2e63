"""Makes the sample database on PostgreSQL. Called by the demo, the tests and the benchmarks."""

from collections.abc import Iterable, Mapping

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from appliance.cli.demo.shop import DATABASE, OWNER, ROLES, SEED, Row, Size, contents, script

SCRIPT = "postgres_shop.sql"


def load(
    superuser_uri: str, passwords: Mapping[str, str], size: Size | None = None, seed: int = SEED
) -> None:
    """Create roles, database and contents anew; `passwords` by role name (see ROLES).
    Raises psycopg.Error when the server refuses.
    """
    with psycopg.connect(superuser_uri, autocommit=True) as server:
        server.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(DATABASE))
        )
        for role in ROLES:
            _make_role(server, role, passwords[role])
        server.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(DATABASE), sql.Identifier(OWNER)
            )
        )
    with psycopg.connect(superuser_uri, dbname=DATABASE) as shop:
        shop.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(OWNER)))
        shop.execute("SET search_path = public")
        tables, rest = script(SCRIPT)
        shop.execute(tables.encode())
        for table, rows in contents(size or Size(), seed).items():
            _copy(shop, table, rows)
        shop.execute(rest.encode())
        shop.commit()
        shop.execute("RESET ROLE")
        shop.execute("ANALYZE")


def _make_role(server: psycopg.Connection[Row], role: str, password: str) -> None:
    name = sql.Identifier(role)
    if not server.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount:
        server.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
    server.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(password)))


def _copy(shop: psycopg.Connection[Row], table: str, rows: Iterable[Row]) -> None:
    # `table` is one of the keys of contents(), never anybody's word.
    with shop.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
        for row in rows:
            copy.write_row([Jsonb(cell) if isinstance(cell, dict) else cell for cell in row])
