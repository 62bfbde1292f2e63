"""Desks over both stores."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from appliance.control.store import Store
from appliance.control.store_sqlite import SqliteStore
from tests.desk import Desks, desks_of, new_schema


@pytest.fixture(params=["sqlite", "postgresql"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Store]:
    """Makes stores on the same place: with SQLite one after another, with PostgreSQL as many at a
    time as there are appliances."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "control.sqlite")
    return new_schema(request.getfixturevalue("postgres"))


@pytest.fixture
async def desks(new_store: Callable[[], Store]) -> AsyncIterator[Desks]:
    """Approvals over a new store."""
    async with desks_of(new_store()) as made:
        yield made
