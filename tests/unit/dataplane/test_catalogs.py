"""Reading a catalog while somebody changes it."""

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from appliance.dataplane import catalogs
from appliance.dataplane.catalogs import CACHE_LOOKUP_FAILED, MET_MAX, DatabaseCatalog
from appliance.dataplane.connections import UpstreamRefused
from appliance.dataplane.protocols import POSTGRESQL
from appliance.model.catalog import Catalog
from appliance.sql.reader import EPOCH_QUERY
from appliance.telemetry.metrics import Metrics

DEFINITIONS = "functions that print themselves"


class Server:
    """Gives a catalog, but for the first `met` times that its definitions are asked for."""

    def __init__(self, met: int, sqlstate: str = CACHE_LOOKUP_FAILED) -> None:
        self.met = met
        self.sqlstate = sqlstate
        self.connections = 0

    async def open_upstream(self, *_parts: object) -> Any:
        self.connections += 1
        return SimpleNamespace(side=SimpleNamespace(ended=False, close=lambda: None))

    async def query(self, _upstream: object, text: str) -> list[tuple[str | None, ...]]:
        if text == DEFINITIONS and self.met:
            self.met -= 1
            raise UpstreamRefused({"C": self.sqlstate})
        return [("e1",)] if text == EPOCH_QUERY else []


def refreshed(server: Server, patched: pytest.MonkeyPatch) -> DatabaseCatalog:
    empty = Catalog("t", "d", "v1", 180000, ("public",), {}, {}, {})
    spoken = msgspec.structs.replace(
        POSTGRESQL,
        open_upstream=server.open_upstream,
        query=server.query,
        catalog=msgspec.structs.replace(
            POSTGRESQL.catalog,
            queries={"functions": DEFINITIONS},
            build=lambda *_parts: empty,
        ),
    )
    patched.setattr(catalogs, "protocol_of", lambda _target: spoken)

    async def once() -> DatabaseCatalog:
        made: Any = SimpleNamespace(name="t")
        database = DatabaseCatalog(made, "d", made, Metrics(), 60_000)
        await database.refresh()
        return database

    return asyncio.run(once())


def test_what_was_dropped_meanwhile_is_read_around(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(met=MET_MAX)
    database = refreshed(server, monkeypatch)
    assert database.failure == "" and database.kept is not None
    assert server.connections == MET_MAX + 1  # a transaction that failed is not gone on with


def test_what_cannot_be_read_is_not_asked_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    database = refreshed(Server(met=MET_MAX + 1), monkeypatch)
    assert CACHE_LOOKUP_FAILED in database.failure and database.kept is None


def test_other_errors_are_failures_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(met=1, sqlstate="42501")
    assert "42501" in refreshed(server, monkeypatch).failure and server.connections == 1


def test_only_while_nobody_else_changes_the_schema_is_it_clear_who_made_what(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = refreshed(Server(met=0), monkeypatch)
    believed: list[str] = []
    monkeypatch.setattr(database.baseline, "note_clean", lambda *_: believed.append("noted"))
    monkeypatch.setattr(database.baseline, "doubt_clean", lambda: believed.append("doubted"))

    async def changes() -> None:
        database.begin_change("masked", masked=True)
        database.note_clean([("public", "own")], "ann")
        database.settle_change("masked")
        assert believed == ["noted"]
        database.begin_change("another")
        database.note_clean([("public", "own")], "ann")
        database.settle_change("another")
        database.settle_change("another")
        assert believed == ["noted", "doubted", "doubted"]
        database.note_clean([("public", "own")], "ann")
        assert believed[-1] == "noted"

    asyncio.run(changes())
