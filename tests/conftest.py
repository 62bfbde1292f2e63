"""Fixtures every test may use; servers start once per test process (xdist worker), on demand."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.cli.demo import mariadb as mariadb_programs
from appliance.cli.demo import postgres_shop
from appliance.cli.demo import shop as shop_database
from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.cli.demo.unprivileged import CannotRun
from tests import clusters
from tests import mariadb as mariadb_servers
from tests.clusters import Authority, Sallyport

ROLE_PASSWORDS = {role: f"{role}-password" for role in shop_database.ROLES}


@dataclass(frozen=True)
class Shop:
    """The sample database on a running server."""

    server: EmbeddedPostgres

    def uri(self, role: str = "app_dba") -> str:
        """Straight to the database as `role`, or as `postgres`, the superuser."""
        password = ROLE_PASSWORDS.get(role, self.server.password)
        return self.server.uri(role, password, shop_database.DATABASE)


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    """Short path (Unix sockets) that goes away with the session."""
    folder = Path(tempfile.mkdtemp(prefix="sp-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """Embedded PostgreSQL 18 without TLS."""
    yield from _run(EmbeddedPostgres(server_folder / "p18", 18))


@pytest.fixture(scope="session")
def postgres16(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """Embedded PostgreSQL 16 without TLS."""
    yield from _run(EmbeddedPostgres(server_folder / "p16", 16))


@pytest.fixture(scope="session")
def authority(server_folder: Path) -> Authority:
    """A CA for both legs of the proxy."""
    return Authority.create(server_folder / "ca")


@pytest.fixture(scope="session")
def postgres_tls(server_folder: Path, authority: Authority) -> Iterator[EmbeddedPostgres]:
    """The machine's own PostgreSQL with TLS on, certificate for 127.0.0.1 and localhost."""
    bin_dir = clusters.installed_postgres()
    if bin_dir is None:
        pytest.skip("no PostgreSQL with TLS on this machine: apt-get install postgresql")
    tls = authority.issue("database", "127.0.0.1", "localhost")
    settings = {"max_prepared_transactions": "4"}
    yield from _run(
        EmbeddedPostgres(server_folder / "tls", bin_dir=bin_dir, tls=tls, settings=settings)
    )


def _run(server: EmbeddedPostgres) -> Iterator[EmbeddedPostgres]:
    try:
        server.start()
    except CannotRun as error:
        pytest.fail(str(error))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb(server_folder: Path, authority: Authority) -> Iterator[EmbeddedMariaDB]:
    """MariaDB with TLS on (offered, not demanded), certificate for 127.0.0.1 and localhost."""
    if mariadb_programs.programs() is None:
        pytest.skip("no MariaDB on this machine: scripts/mariadb.sh")
    tls = mariadb_servers.server_certificate(authority)
    with mariadb_servers.running(server_folder / "my", tls=tls) as server:
        yield server


@pytest.fixture(scope="session")
def shop(postgres: EmbeddedPostgres) -> Shop:
    """The sample database on PostgreSQL 18; a test that changes it uses a transaction or a copy."""
    postgres_shop.load(postgres.uri(), ROLE_PASSWORDS)
    return Shop(postgres)


@pytest.fixture
def sallyport_try(tmp_path: Path) -> Callable[..., AbstractContextManager[Sallyport]]:
    """`with sallyport_try(uri, *options) as proxy:` runs `sallyport try` until the block ends."""

    def run(uri: str, *options: str | Path) -> AbstractContextManager[Sallyport]:
        return clusters.sallyport_try(uri, tmp_path, *options)

    return run


@pytest.fixture
def sallyport_serve(tmp_path: Path) -> Callable[..., AbstractContextManager[Sallyport]]:
    """`with sallyport_serve(config, *options) as proxy:` runs `sallyport serve --config`."""

    def run(config: Path, *options: str | Path) -> AbstractContextManager[Sallyport]:
        return clusters.sallyport_serve(config, tmp_path, *options)

    return run


@pytest.fixture(scope="session")
def psql() -> Path:
    """A psql that can do TLS."""
    return _program("psql", "postgresql-client")


@pytest.fixture(scope="session")
def pgbench() -> Path:
    return _program("pgbench", "postgresql")


@pytest.fixture(scope="session")
def pgbouncer() -> Path:
    return _program("pgbouncer", "pgbouncer")


def _program(name: str, package: str) -> Path:
    found = clusters.installed_program(name)
    if found is None:
        pytest.skip(f"no {name} on this machine: apt-get install {package}")
    return found
