"""What programs ask about a schema, for a person who owes masks under the shipped preset
read-only-masked: answered, and as the database answers directly. On PostgreSQL 18 and the machine's
own.

The files in `introspection/` hold what programs that are not here ask; psql, pg_dump, SQLAlchemy
and asyncpg are run themselves.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy

from tests import clusters
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend import stage

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent / "introspection"
FILES = ("jdbc", "django", "orms", "tools")
POLICY = (ROOT / "config/policies/read-only-masked.yaml").read_bytes()

PSQL = (FOLDER / "psql.txt").read_text().splitlines()

SECRETS = {
    "SELECT query, application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()": (
        "another session's statement holds that session's literals"
    ),
    "SELECT a.* FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()": "the same by a star",
    "SELECT umoptions FROM pg_user_mappings": "passwords of other servers",
}
"""What is answered otherwise than directly, and why: the columns arrive as NULL."""


@dataclass(frozen=True)
class Looked:
    """A database and the way to it through Sallyport."""

    running: stage.Running
    server: EmbeddedPostgres

    def uri(self, through: bool) -> str:
        port = self.running.ports["main"] if through else self.server.port
        who = "alice:alice-password" if through else "app:app-password"
        return f"postgresql://{who}@127.0.0.1:{port}/vault?sslmode=disable&gssencmode=disable"


@pytest.fixture(scope="module", params=["18", "installed"])
def looked(
    request: pytest.FixtureRequest, server_folder: Path, authority: Authority
) -> Iterator[Looked]:
    bin_dir = None if request.param == "18" else clusters.installed_postgres()
    if request.param == "installed" and bin_dir is None:
        pytest.skip("no PostgreSQL on this machine: apt-get install postgresql")
    settings = {"wal_level": "logical"}
    folder = server_folder / f"looked-{request.param}"
    with EmbeddedPostgres(folder, 18, bin_dir=bin_dir, settings=settings) as server:
        with psycopg.connect(server.uri(), autocommit=True) as root:
            root.execute("CREATE ROLE app LOGIN PASSWORD 'app-password'")
            root.execute("CREATE DATABASE vault")
        with psycopg.connect(server.uri(database="vault"), autocommit=True) as root:
            root.execute((FOLDER / "schema.sql").read_bytes())
            root.execute("CREATE USER MAPPING FOR app SERVER far OPTIONS (password 'secret')")
        estate = stage.Estate(server_folder / f"estate-{request.param}", server, authority)
        estate.write("policy.yaml", POLICY)
        estate.configuration["targets"] = [estate.target("vault", announce="variable")]
        with estate.serve() as running:
            yield Looked(running, server)


def queries(name: str) -> list[str]:
    text = re.sub(r"^--.*\n", "", (FOLDER / f"{name}.sql").read_text(), flags=re.MULTILINE)
    return [query.strip() for query in re.split(r";\n+", text) if query.strip()]


def answer(connection: psycopg.Connection[Any], query: str, binary: bool) -> Any:
    """Rows, column names and types, or the server's own error."""
    try:
        cursor = connection.cursor(binary=binary)
        cursor.execute(query.encode(), prepare=False)
    except psycopg.Error as error:
        return error.sqlstate, str(error.diag.message_primary)
    if cursor.description is None:
        return cursor.statusmessage
    columns = [(column.name, column.type_code) for column in cursor.description]
    return columns, cursor.fetchall(), cursor.statusmessage


NO_BINARY_FORM = "42883"
"""What the server says of types such as aclitem."""


def is_error(found: Any) -> bool:
    return isinstance(found[0], str) and len(found[0]) == 5


@pytest.mark.parametrize("name", FILES)
def test_every_question_has_the_same_answer(looked: Looked, name: str) -> None:
    """In text, and in binary; the person owes masks on columns of that very schema."""
    asked = queries(name)
    with (
        psycopg.connect(looked.uri(True), autocommit=True) as through,
        psycopg.connect(looked.uri(False), autocommit=True) as direct,
    ):
        assert through.execute("SELECT email FROM customers LIMIT 1").fetchone() != (
            "mail1@example.com",
        )
        for query in asked:
            masked = "FROM customers" in query and "SELECT *" in query
            for binary in (False, True):
                expected = answer(direct, query, binary)
                found = answer(through, query, binary)
                if masked or (binary and expected[0] == NO_BINARY_FORM):
                    expected, found = expected[:1], found[:1]
                else:
                    assert not is_error(expected), (query, expected)
                assert found == expected, query
    assert len(asked) >= 14


@pytest.mark.parametrize("command", PSQL)
def test_psql(looked: Looked, psql: Path, command: str) -> None:
    outputs = [
        subprocess.run(
            [psql, looked.uri(through), "-X", "-c", command],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PAGER": "cat", "LC_ALL": "C.UTF-8"},
        )
        for through in (False, True)
    ]
    direct, through = ((o.returncode, o.stdout, o.stderr) for o in outputs)
    if "does not exist" in direct[2]:  # psql is older than this server
        direct, through = direct[:2], through[:2]
    assert through == direct
    assert direct[0] or direct[1]


def test_pg_dump_of_the_schema(looked: Looked) -> None:
    """Without foreign servers: for each it computes on `umoptions`, which is a secret."""
    dump = clusters.installed_program("pg_dump")
    if dump is None or "looked-18" in str(looked.server.folder):
        pytest.skip("the machine's pg_dump is older than this server")
    outputs = []
    for through in (False, True):
        done = subprocess.run(
            [dump, "-s", "-n", "public", "-n", "hr", looked.uri(through)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        text = "\n".join(x for x in done.stdout.splitlines() if not x.startswith("\\"))
        outputs.append((done.returncode, text, done.stderr))
    assert outputs[0] == outputs[1]
    assert outputs[0][0] == 0
    assert "CREATE VIEW public.v_deep" in outputs[0][1]


def inspected(uri: str) -> list[Any]:
    """Everything that SQLAlchemy's inspector can be asked."""
    engine = sqlalchemy.create_engine(uri.replace("postgresql:", "postgresql+psycopg:", 1))
    found: list[Any] = []
    with engine.connect() as connection:
        inspector: Any = sqlalchemy.inspect(connection)
        found += [inspector.get_schema_names(), inspector.default_schema_name]
        found += [inspector.get_enums(schema="*"), inspector.get_domains(schema="*")]
        found += [inspector.get_foreign_table_names(), inspector.get_sequence_names()]
        found += [inspector.get_sorted_table_and_fkc_names(), inspector.get_temp_table_names()]
        for schema in ("public", "hr"):
            for names in ("table", "view", "materialized_view"):
                found.append(getattr(inspector, f"get_{names}_names")(schema))
            for part in (
                "columns",
                "pk_constraint",
                "foreign_keys",
                "indexes",
                "unique_constraints",
                "check_constraints",
                "table_comment",
                "table_options",
            ):
                kind = sqlalchemy.engine.reflection.ObjectKind.ANY
                found.append(getattr(inspector, f"get_multi_{part}")(schema, kind=kind))
        found.append(inspector.get_view_definition("v_deep"))
        found.append([inspector.has_table("customers"), inspector.has_sequence("counter")])
        metadata = sqlalchemy.MetaData()
        metadata.reflect(connection, views=True)
        found.append(sorted(metadata.tables))
    engine.dispose()
    return found


@pytest.mark.filterwarnings("ignore:Did not recognize type")
@pytest.mark.filterwarnings("ignore:Type object")
def test_sqlalchemy(looked: Looked) -> None:
    through, direct = inspected(looked.uri(True)), inspected(looked.uri(False))
    assert str(through) == str(direct)
    assert "customers" in str(direct)


async def test_asyncpg_reads_types(looked: Looked) -> None:
    """Composite, enum, domain and array types are looked up by a recursive query of its own."""
    answers = []
    for through in (False, True):
        connection = await asyncpg.connect(looked.uri(through).split("?")[0], ssl=False)
        try:
            rows = await connection.fetch(
                "SELECT status, ARRAY[status] AS both, ROW(1, 'x')::contact_info AS pair, "
                "'DE'::country_code AS where_to, int4range(1, 5) AS span FROM orders"
            )
            statement = await connection.prepare("SELECT id, name FROM customers WHERE id = $1")
            answers.append(
                [
                    [tuple(row) for row in rows],
                    [a.type.name for a in statement.get_attributes()],
                    await connection.fetchval("SELECT NULL::order_status[]"),
                ]
            )
        finally:
            await connection.close()
    assert answers[0] == answers[1]


@pytest.mark.parametrize("query", SECRETS)
def test_secrets_are_null(looked: Looked, query: str) -> None:
    with psycopg.connect(looked.uri(True), autocommit=True) as through:
        cursor = through.execute(query.encode())
        assert cursor.description is not None
        names = [column.name for column in cursor.description]
        for row in cursor.fetchall():
            shown = dict(zip(names, row, strict=True))
            for name in ("query", "application_name", "umoptions"):
                assert shown.get(name) is None
            assert shown.get("pid", 1)
