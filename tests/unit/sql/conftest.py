"""A database with the objects of schema.sql, its catalog as `reader` reads it, and short ways to
analyse a text."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.pq import ExecStatus

from appliance.cli.demo.postgres import SUPERUSER, EmbeddedPostgres
from appliance.model.catalog import Catalog, ColumnKey, SessionSettings
from appliance.model.facts import Facts, StatementFacts
from appliance.model.limits import Limits
from appliance.sql import reader
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage

SCHEMA = Path(__file__).with_name("schema.sql")
DATABASE = "facts"


def read_catalog(
    connection: psycopg.Connection, database: str = DATABASE, *, inside: bool = False
) -> Catalog:
    """Runs QUERIES as `dataplane/catalogs` does: simple protocol, everything as text. `inside`: in
    the transaction that is open already, whose changes are not committed."""
    rows: dict[str, list[tuple[str | None, ...]]] = {}
    for name, text in reader.QUERIES.items():
        if inside and name in ("begin", "end"):
            continue
        result = connection.pgconn.exec_(text.encode())
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise AssertionError(f"{name}: {result.error_message.decode()}")
        rows[name] = [
            tuple(
                None if (cell := result.get_value(row, column)) is None else cell.decode()
                for column in range(result.nfields)
            )
            for row in range(result.ntuples)
        ]
    return reader.build_catalog("test", database, rows)


@dataclass(frozen=True)
class Database:
    """One server's database with schema.sql in it."""

    uri: str
    lineage: CatalogLineage
    settings: SessionSettings

    @property
    def catalog(self) -> Catalog:
        return self.lineage.catalog

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(self.uri, autocommit=True)

    def facts(self, text: str, settings: SessionSettings | None = None) -> Facts:
        return analyse(text.encode(), self.lineage, settings or self.settings, Limits())

    def one(self, text: str, settings: SessionSettings | None = None) -> StatementFacts:
        (statement,) = self.facts(text, settings).statements
        return statement

    def key(self, name: str) -> ColumnKey:
        """'clients.email' or 'hr.staff.salary' -> (OID, attnum)."""
        *schema, table, column = name.split(".")
        relation = self.catalog.relation_named(schema[0] if schema else "public", table)
        assert relation is not None, name
        found = relation.column(column)
        assert found is not None, name
        return relation.oid, found.attnum

    def names(self, keys: frozenset[ColumnKey] | tuple[ColumnKey, ...]) -> set[str]:
        """Keys -> 'clients.email' (the schema is left out)."""
        return {
            f"{self.catalog.relations[oid].name}.{self.lineage.column_name(oid, attnum)}"
            for oid, attnum in keys
        }


def _make(server: EmbeddedPostgres) -> Database:
    with psycopg.connect(
        server.uri(SUPERUSER, server.password, "postgres"), autocommit=True
    ) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    uri = server.uri(SUPERUSER, server.password, DATABASE)
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(SCHEMA.read_bytes())
        catalog = read_catalog(connection)
    settings = SessionSettings(database=DATABASE, role=SUPERUSER)
    return Database(uri, CatalogLineage(catalog), settings)


@pytest.fixture(scope="session")
def database(postgres: EmbeddedPostgres) -> Database:
    """On PostgreSQL 18."""
    return _make(postgres)


@pytest.fixture(scope="session")
def database16(postgres16: EmbeddedPostgres) -> Database:
    return _make(postgres16)


@pytest.fixture(scope="session", params=["16", "18"])
def any_database(request: pytest.FixtureRequest) -> Database:
    found: Database = request.getfixturevalue("database16" if request.param == "16" else "database")
    return found


@pytest.fixture
def connection(any_database: Database) -> Iterator[psycopg.Connection]:
    with any_database.connect() as connection:
        yield connection


@pytest.fixture(scope="session")
def blind() -> Callable[[str], Facts]:
    """Analysis when the catalog is not there."""
    settings = SessionSettings(database=DATABASE)
    return lambda text: analyse(text.encode(), None, settings, Limits())
