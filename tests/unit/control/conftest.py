"""Desks over both stores."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.desk import Desks, sqlite_desks


@pytest.fixture
async def desks(tmp_path: Path) -> AsyncIterator[Desks]:
    """Approvals over a SQLite file."""
    async with sqlite_desks(tmp_path / "control.sqlite") as made:
        yield made
