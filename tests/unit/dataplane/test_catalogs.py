"""Reading a catalog while somebody changes it."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from appliance.config.schema import SchemaCheck
from appliance.dataplane import catalogs
from appliance.dataplane.cancels import SchemaChange
from appliance.dataplane.catalogs import CACHE_LOOKUP_FAILED, MET_MAX, DatabaseCatalog
from appliance.dataplane.connections import Login, UpstreamRefused
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


def catalog_of(server: Any, patched: pytest.MonkeyPatch, **source: Any) -> DatabaseCatalog:
    """Read from `server`, which stands in for PostgreSQL. `source`: what of its catalog is read
    otherwise."""
    empty = Catalog("t", "d", "v1", 180000, ("public",), {}, {}, {})
    read = {"queries": {"functions": DEFINITIONS}, "build": lambda *_parts: empty, **source}
    spoken = msgspec.structs.replace(
        POSTGRESQL,
        open_upstream=server.open_upstream,
        query=server.query,
        catalog=msgspec.structs.replace(POSTGRESQL.catalog, **read),
    )
    patched.setattr(catalogs, "protocol_of", lambda _target: spoken)
    made: Any = SimpleNamespace(name="t", schema_check=SchemaCheck.STATEMENT)
    return DatabaseCatalog(made, "d", made, Metrics(), 60_000)


def refreshed(server: Any, patched: pytest.MonkeyPatch, **source: Any) -> DatabaseCatalog:
    database = catalog_of(server, patched, **source)
    asyncio.run(database.refresh())
    return database


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


class Ending:
    """A server that ends connections with their database, which is gone for a while."""

    def __init__(self, patched: pytest.MonkeyPatch) -> None:
        self.connections = 0
        self.dropped_at = 0
        """Connections up to this one are ended."""
        self.gone = 0
        """How many attempts to connect still find no database."""
        self.database = catalog_of(self, patched)
        self.asked: Callable[[], None] = lambda: None

    async def open_upstream(self, *_parts: object) -> Any:
        await asyncio.sleep(0)
        if self.gone:
            self.gone -= 1
            raise UpstreamRefused({"C": "3D000"})
        self.connections += 1
        side = SimpleNamespace(ended=False, close=lambda: None, abort=lambda: None)
        side.number = self.connections
        return SimpleNamespace(side=side)

    async def query(self, upstream: Any, text: str) -> list[tuple[str | None, ...]]:
        self.asked()
        await asyncio.sleep(0)
        if upstream.side.number <= self.dropped_at:
            raise ConnectionResetError("the database closed the connection")
        return [("e1",)] if text == EPOCH_QUERY else []


def test_a_kept_connection_that_was_ended_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Ending(monkeypatch)

    async def dropped_and_made_again() -> None:
        server.database.begin()
        await server.database.refresh()
        server.dropped_at = 1
        await server.database.refresh()
        assert server.database.failure == "" and server.connections == 2
        assert server.database.lineage is not None
        await server.database.close()

    asyncio.run(dropped_and_made_again())


def test_a_new_connection_that_is_ended_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Ending(monkeypatch)
    server.dropped_at = 9
    asyncio.run(server.database.refresh())
    assert server.database.failure != "" and server.connections == 1
    assert server.database.lineage is None


def test_a_load_that_failed_is_not_the_answer_to_who_asked_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Ending(monkeypatch)

    async def made_again_meanwhile() -> None:
        server.gone = 1
        polled = asyncio.create_task(server.database.refresh())
        await asyncio.sleep(0)
        await asyncio.gather(polled, server.database.refresh())

    asyncio.run(made_again_meanwhile())
    assert server.database.failure == "" and server.connections == 1


def test_who_comes_while_the_last_idle_poll_reads_has_a_catalog(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(catalogs, "IDLE_SECONDS_MAX", 0.01)
    server = Ending(monkeypatch)
    database = server.database
    database._refresh_seconds = 0.02

    async def somebody_comes() -> None:
        database.begin()
        await database.refresh()
        database.end()
        server.asked = lambda: None if database.sessions else database.begin()
        await asyncio.sleep(0.1)
        assert database.sessions == 1
        await database.refresh()
        assert database.lineage is not None
        await database.close()

    asyncio.run(somebody_comes())


class Moving:
    """A server whose epoch is another one for the first answers, and whose queries are not
    answered at once."""

    def __init__(self, *epochs: str) -> None:
        self.epochs = list(epochs)
        self.loads = 0

    async def open_upstream(self, *_parts: object) -> Any:
        side = SimpleNamespace(ended=False, close=lambda: None, abort=lambda: None)
        return SimpleNamespace(side=side)

    async def query(self, _upstream: object, text: str) -> list[tuple[str | None, ...]]:
        if text == EPOCH_QUERY:
            return [(self.epochs.pop(0) if len(self.epochs) > 1 else self.epochs[0],)]
        self.loads += text == DEFINITIONS
        return []

    def refreshed(self, patched: pytest.MonkeyPatch, build: Any = None) -> DatabaseCatalog:
        queries = {"epoch": EPOCH_QUERY, "functions": DEFINITIONS}
        built = {} if build is None else {"build": build}
        return refreshed(self, patched, queries=queries, at_once=False, **built)


def test_a_catalog_is_of_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Moving("a", "a", "b", "b", "b")
    database = server.refreshed(monkeypatch)
    assert server.loads == 2 and database.failure == "" and database.kept is not None


def test_one_that_came_back_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The epoch among the queries is another one than those around them."""
    server = Moving("a", "b", "a", "a", "a")
    assert server.refreshed(monkeypatch).failure == "" and server.loads == 2


def test_one_that_never_holds_still_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Moving(*(str(n) for n in range(50))).refreshed(monkeypatch)
    assert database.failure == "it took too long" and database.kept is None


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("x")])
def test_rows_that_make_no_catalog_are_a_failure(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def build(*_parts: object) -> Catalog:
        raise error

    database = Moving("a").refreshed(monkeypatch, build)
    assert database.failure == type(error).__name__ and database.kept is None


def test_each_user_has_a_catalog_of_its_own_where_rights_decide() -> None:
    async def made() -> None:
        every = catalogs.Catalogs(Metrics(), 60_000)

        def of(user: str, reader: object = None, dialect: str = "mysql") -> DatabaseCatalog:
            target: Any = SimpleNamespace(
                name="t", dialect=dialect, catalog=reader, schema_check=SchemaCheck.STATEMENT
            )
            return every.of(target, "d", Login(user, None))

        one, other = of("one"), of("other")
        assert of("one") is one and one is not other
        assert of("one", reader=object()) is of("other", reader=object())
        assert of("one", dialect="postgresql") is of("other", dialect="postgresql")
        one.begin_change("s")
        assert other.changing_for("another") and other.shapes == 1
        other.settle_change("s")
        assert not one.changing_for("another") and one.shapes == 2
        every.told_by(SchemaChange("t", "", "far", True))
        assert one.changing_for("s") and other.changing_for("s")

    asyncio.run(made())


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
