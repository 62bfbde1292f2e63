"""What `deparse` prints, read by real servers, the oldest and the newest at hand: the same columns
and rows as the client's own text, or the same error.

The strongest test of the dialect: no text is printed that a server reads another way.
"""

from collections.abc import Iterator

import psycopg
import pytest

from appliance.cli.demo.postgres import SUPERUSER, EmbeddedPostgres
from appliance.sql.deparse import Undeparsable, deparse
from tests.unit.sql.conftest import SCHEMA
from tests.unit.sql.test_deparse import corpus, lines, parsed

DATABASE = "deparsed"


@pytest.fixture(scope="module", params=["postgres_tls", "postgres"])
def connection(request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A database with the objects of schema.sql, on the machine's own PostgreSQL and on 18."""
    server: EmbeddedPostgres = request.getfixturevalue(request.param)
    with psycopg.connect(
        server.uri(SUPERUSER, server.password, "postgres"), autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {DATABASE}")
        with psycopg.connect(
            server.uri(SUPERUSER, server.password, DATABASE), autocommit=True
        ) as connection:
            connection.execute(SCHEMA.read_bytes())
            yield connection
        admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def printed(text: str, version: int) -> str:
    kind, body, *_ = parsed(text)
    return deparse(kind, body, version)


def failure_of(result: psycopg.pq.PGresult) -> tuple[bytes | None, bytes | None]:
    field = psycopg.pq.DiagnosticField
    return result.error_field(field.SQLSTATE), result.error_field(field.MESSAGE_PRIMARY)


def answer(connection: psycopg.Connection, text: str) -> tuple[object, ...]:
    """Column names, types and rows, all as the server writes them; its error when it was built
    without XML."""
    result = connection.pgconn.exec_(text.encode())
    if result.error_message:
        state, message = failure_of(result)
        assert message == b"unsupported XML feature", (text, message)
        return state, message
    columns = [(result.fname(column), result.ftype(column)) for column in range(result.nfields)]
    rows = [
        [result.get_value(row, column) for column in range(result.nfields)]
        for row in range(result.ntuples)
    ]
    return columns, rows


@pytest.mark.parametrize("text", lines("deparse_rows.sql"))
def test_the_same_rows(connection: psycopg.Connection, text: str) -> None:
    version = connection.info.server_version
    assert answer(connection, text) == answer(connection, printed(text, version))


def understanding(connection: psycopg.Connection, text: str) -> tuple[object, ...]:
    """What the server makes of a statement without running it: its parameters and columns with
    their origins, or its error."""
    failure = connection.pgconn.prepare(b"", text.encode())
    if failure.error_message:
        return failure_of(failure)
    result = connection.pgconn.describe_prepared(b"")
    return (
        [result.param_type(place) for place in range(result.nparams)],
        [
            (
                result.fname(c),
                result.ftype(c),
                result.fmod(c),
                result.ftable(c),
                result.ftablecol(c),
            )
            for c in range(result.nfields)
        ],
    )


def test_the_server_understands_the_same(connection: psycopg.Connection) -> None:
    version = connection.info.server_version
    names = ("deparse_cases.sql", "forms.sql", "forms_18.sql")
    texts = [*corpus(), *(text for name in names for text in lines(name))]
    compared = 0
    for text in texts:
        try:
            again = printed(text, version)
        except Undeparsable:
            continue
        assert understanding(connection, again) == understanding(connection, text), (text, again)
        compared += 1
    assert compared > 800
