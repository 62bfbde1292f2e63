"""Servers of this folder's tests: PostgreSQL 18 without TLS, the machine's own with TLS and every
way to log in, and an installation in front of each.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import clusters
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend import stage
from tests.endtoend.books import LOG_LINE_PREFIX, Books
from tests.endtoend.stage import Estate

WAYS_IN = (
    "hostssl all by_certificate 127.0.0.1/32 cert",
    "host all by_md5 127.0.0.1/32 md5",
    "host all by_password 127.0.0.1/32 password",
    "host all app 127.0.0.1/32 scram-sha-256",
)


@pytest.fixture(scope="session")
def vault(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 18, no TLS."""
    with EmbeddedPostgres(server_folder / "e18", 18) as server:
        stage.furnish(server)
        yield server


@pytest.fixture(scope="session")
def vault_tls(server_folder: Path, authority: Authority) -> Iterator[EmbeddedPostgres]:
    """The machine's PostgreSQL with TLS; roles that log in by certificate, md5, password, SCRAM."""
    bin_dir = clusters.installed_postgres()
    if bin_dir is None:
        pytest.skip("no PostgreSQL with TLS on this machine: apt-get install postgresql")
    tls = authority.issue("vault", "127.0.0.1", "localhost")
    settings = {"log_connections": "on"}
    folder = server_folder / "etls"
    with EmbeddedPostgres(
        folder, bin_dir=bin_dir, tls=tls, hba=WAYS_IN, settings=settings
    ) as server:
        stage.furnish(
            server,
            "CREATE ROLE by_certificate LOGIN",
            "SET password_encryption = 'md5'; CREATE ROLE by_md5 LOGIN PASSWORD 'by_md5-password'",
            "by_password",
        )
        yield server


@pytest.fixture(scope="session")
def logging_vault(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 18 that logs every statement it is sent."""
    settings = {
        "max_connections": "400", "log_statement": "all", "log_line_prefix": LOG_LINE_PREFIX,
    }  # fmt: skip
    with EmbeddedPostgres(server_folder / "elog", 18, settings=settings) as server:
        stage.furnish(server)
        yield server


@pytest.fixture(scope="session")
def kept_books(logging_vault: EmbeddedPostgres) -> Books:
    return Books(logging_vault.log)


@pytest.fixture
def books(kept_books: Books) -> Iterator[Books]:
    """Balanced after each test, with everything that came before it."""
    yield kept_books
    kept_books.balance()


@pytest.fixture
def estate(tmp_path: Path, vault: EmbeddedPostgres, authority: Authority) -> Callable[[], Estate]:
    """Makes an installation in front of PostgreSQL 18; change its configuration, then serve it."""
    return lambda: Estate(tmp_path / "estate", vault, authority)
