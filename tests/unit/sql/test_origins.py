"""Predicted columns against the server's own RowDescription: names, origins, and what is said to be
plain.

The strongest test of `queries`: wherever a column is said to be plain, or to come from nowhere, the
server agrees.
"""

from pathlib import Path

import psycopg
import pytest

from appliance.model.facts import Confidence
from tests.unit.sql.conftest import Database

HERE = Path(__file__).parent


def forms(name: str) -> list[str]:
    """The statements of a file, one a line."""
    lines = (HERE / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("--")]


def described(
    connection: psycopg.Connection, text: str
) -> list[tuple[str, tuple[int, int] | None]]:
    """What the server says of a statement's columns, without running it."""
    connection.pgconn.prepare(b"", text.encode())
    result = connection.pgconn.describe_prepared(b"")
    if result.error_message:
        raise AssertionError(result.error_message.decode())
    columns = []
    for column in range(result.nfields):
        name = result.fname(column)
        origin = (result.ftable(column), result.ftablecol(column))
        columns.append(((name or b"").decode(), origin if origin[0] else None))
    return columns


def signed(origin: tuple[int, int] | None) -> tuple[int, int] | None:
    """libpq gives a system column's number as it came."""
    return (
        None
        if origin is None
        else (origin[0], origin[1] - 65536 if origin[1] > 32767 else origin[1])
    )


def _check(database: Database, connection: psycopg.Connection, text: str) -> None:
    facts = database.one(text)
    actual = [(name, signed(origin)) for name, origin in described(connection, text)]
    predicted = [(column.name, column.origin) for column in facts.outputs]
    assert facts.unresolved == ()
    assert facts.outputs_known
    assert predicted == actual
    for column in facts.outputs:
        if column.plain and column.origin is not None and column.origin[1] > 0:
            assert len(column.sources) >= 1
        if not column.plain:
            assert set(column.sources) <= facts.consumed


@pytest.mark.parametrize("text", forms("forms.sql"))
def test_origins_are_the_servers(
    any_database: Database, connection: psycopg.Connection, text: str
) -> None:
    _check(any_database, connection, text)


@pytest.mark.parametrize("text", forms("forms_18.sql"))
def test_origins_are_the_servers_on_18(database: Database, text: str) -> None:
    with database.connect() as connection:
        _check(database, connection, text)


def test_there_are_enough_forms() -> None:
    assert len(forms("forms.sql")) > 200


def test_everything_above_is_exact_but_user_functions(database: Database) -> None:
    for text in forms("forms.sql"):
        assert database.one(text).confidence is Confidence.EXACT, text
