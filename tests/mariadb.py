"""MariaDB servers for tests: with TLS, with the plugins there are, on a free loopback port.

Used by the fixtures in `conftest.py` and by whatever needs a server of its own. Statements here go
to the server itself, with PyMySQL, as its superuser unless told otherwise.
"""

import contextlib
import shutil
import ssl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pymysql

from appliance.cli.demo.embedded import ServerCertificate
from appliance.cli.demo.mariadb import SUPERUSER, EmbeddedMariaDB, programs
from tests.clusters import Authority

PLUGINS = ("auth_ed25519", "ha_federatedx")
"""Loaded where they were unpacked; see `plugins`."""
Row = tuple[Any, ...]


def plugins() -> tuple[str, ...]:
    """Of PLUGINS, those that are here."""
    found = programs()
    folder = None if found is None else found.plugins
    return tuple(name for name in PLUGINS if folder and (folder / f"{name}.so").exists())


def mariadb_server(
    folder: Path,
    tls: ServerCertificate | None = None,
    settings: Mapping[str, str] | None = None,
) -> EmbeddedMariaDB:
    """A server in `folder`, not started. `settings` are options of mariadbd without dashes."""
    loaded = {"plugin-load-add": ";".join(plugins())} if plugins() else {}
    return EmbeddedMariaDB(folder, tls=tls, settings={**loaded, **(settings or {})})


def server_certificate(authority: Authority) -> ServerCertificate:
    """For 127.0.0.1 and localhost; makes the server know client certificates of this CA too."""
    return authority.issue("mariadb", "127.0.0.1", "localhost")


def connect(
    server: EmbeddedMariaDB,
    user: str = SUPERUSER,
    password: str | None = None,
    database: str | None = None,
    **options: Any,
) -> "pymysql.connections.Connection[Any]":
    """PyMySQL straight to `server`, autocommit, without verification of its certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    secure = {"ssl": context} if server.tls else {}
    given = {"autocommit": True, "charset": "utf8mb4", **secure, **options}
    return pymysql.connect(
        host="127.0.0.1",
        port=server.port,
        user=user,
        password=server.password if password is None else password,
        database=database,
        **given,
    )


def run(
    server: EmbeddedMariaDB, *statements: str, database: str | None = None
) -> Sequence[Sequence[Row]]:
    """Each statement as the superuser; the rows of each."""
    answers: list[Sequence[Row]] = []
    with contextlib.closing(connect(server, database=database)) as connection:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
            answers.append(cursor.fetchall())
    return answers


@contextlib.contextmanager
def running(folder: Path, **options: Any) -> Iterator[EmbeddedMariaDB]:
    """A server of `mariadb_server`, gone with its files when the block ends."""
    server = mariadb_server(folder, **options)
    try:
        yield server.start()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
