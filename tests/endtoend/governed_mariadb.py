"""Alice in front of a MariaDB: an installation in which she owes masks, and whoever works past it.

Used by tests of this folder that change a schema past the appliance, or ask what alice can do.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pymysql

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.identity.verifiers import User
from tests import mariadb as servers
from tests.clusters import Authority
from tests.endtoend.stage import Estate, Running, listener, verifier

PASSWORD = "what only sallyport knows"
Cursor = Any


@contextlib.contextmanager
def governed(
    folder: Path,
    mariadb: EmbeddedMariaDB,
    authority: Authority,
    database: str,
    schema: Sequence[str],
    policy: str,
    control: dict[str, str] | None = None,
    **limits: int,
) -> Iterator[Running]:
    """`schema` is made first; alice works as `app`, the catalog is read by somebody else.
    `control`: where approvals come from."""
    servers.run(
        mariadb,
        *schema,
        f"CREATE OR REPLACE USER app@'%' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT ALL ON {database}.* TO app@'%'",
        f"CREATE OR REPLACE USER reader@'%' IDENTIFIED BY '{PASSWORD}'",
        "GRANT SELECT, SHOW VIEW, TRIGGER ON *.* TO reader@'%'",
    )
    made = Estate(folder, mariadb, authority)  # type: ignore[arg-type]
    made.write("policy.yaml", policy)
    credential = made.secret("role", PASSWORD)
    roles = [{"principals": ["*"], "user": "app", "credential": credential}]
    reader = {"user": "reader", "credential": credential}
    made.configuration["targets"] = [
        made.target("vault", dialect="mysql", roles=roles, catalog=reader)
    ]
    made.configuration["listeners"] = [listener("main")]
    made.configuration["limits"] = limits
    if control is not None:
        made.configuration["control"] = control
    made.users(User(name="alice", groups=("dba",), verifier=verifier("alice-password")))
    with made.serve() as running:
        yield running


@contextlib.contextmanager
def direct_cursor(mariadb: EmbeddedMariaDB, schema: Sequence[str]) -> Iterator[Cursor]:
    """Of the superuser, past the appliance, on the schema made anew."""
    connection = servers.connect(mariadb)
    with contextlib.closing(connection), connection.cursor() as cursor:
        for text in schema:
            cursor.execute(text)
        yield cursor


@contextlib.contextmanager
def alice_at(proxy: Running, database: str) -> Iterator[Cursor]:
    connection = pymysql.connect(
        host="127.0.0.1",
        port=proxy.ports["main"],
        user="alice",
        password="alice-password",
        database=database,
        autocommit=True,
        client_flag=pymysql.constants.CLIENT.MULTI_STATEMENTS,
    )
    with connection, connection.cursor() as cursor:
        yield cursor


def told(cursor: Cursor, text: str) -> str:
    """What comes of it: rows, or an error, in words."""
    try:
        cursor.execute(text)
        return str(cursor.fetchall())
    except pymysql.err.MySQLError as error:
        return f"refused: {error}"
