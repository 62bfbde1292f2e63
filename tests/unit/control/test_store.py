"""Both stores: what survives, what is refused, and what happens when the database goes away."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.control import migrations
from appliance.control.desk import Change, Unavailable
from appliance.control.migrations import MIGRATIONS, NewerStore
from appliance.control.store import Sheet, Store, StoreUnavailable
from appliance.control.store_postgres import PostgresStore, PostgresTransaction, Server
from appliance.control.store_sqlite import SqliteStore
from tests.desk import BOB, Desks, asked, desks_of, new_schema

WAIT_SECONDS = 10.0


async def test_what_was_stored_is_there_after_opening_again(new_store: Callable[[], Store]) -> None:
    async with desks_of(new_store()) as desks:
        made = await desks.held.ask(asked(sql="select '\0 ü \U0001f600'"), waits=True)
        await desks.approvals.vote(BOB, made.asked.id, True)
        found = await desks.approvals.requests(BOB)
    async with desks_of(new_store()) as desks:
        assert await desks.approvals.requests(BOB) == found
        assert found[0].asked == made.asked


async def test_a_block_that_raises_changes_nothing(desks: Desks) -> None:
    sheet = Sheet("kind", "id", "body")
    with pytest.raises(RuntimeError):
        async with desks.store.transaction() as tx:
            await tx.put_sheet(sheet)
            raise RuntimeError
    async with desks.store.transaction() as tx:
        assert await tx.sheet("kind", "id") is None
        await tx.put_sheet(sheet)


async def test_a_block_that_is_cancelled_changes_nothing(desks: Desks) -> None:
    begun = asyncio.Event()

    async def block() -> None:
        async with desks.store.transaction() as tx:
            await tx.put_sheet(Sheet("kind", "id", "body"))
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await begun.wait()
    task.cancel()
    await asyncio.wait((task,))
    async with desks.store.transaction() as tx:
        assert await tx.sheet("kind", "id") is None


async def test_the_shelf_keeps_replaces_and_forgets(desks: Desks) -> None:
    now = desks.clock.now
    sheets = [Sheet("t", "a", "1", "alice", now + 10), Sheet("t", "b", "2", "bob")]
    async with desks.store.transaction() as tx:
        for sheet in (Sheet("t", "a", "0", "carol"), *sheets, Sheet("other", "a", "3")):
            await tx.put_sheet(sheet)
        assert await tx.sheets("t", "", 10) == sheets[::-1]
        assert await tx.sheets("t", "alice", 10) == sheets[:1]
        assert await tx.remove_sheet("t", "b")
        assert not await tx.remove_sheet("t", "b")
    desks.clock.advance(11)
    await desks.expiry.round()
    async with desks.store.transaction() as tx:
        assert await tx.sheet("t", "a") is None
        assert await tx.sheet("other", "a") == Sheet("other", "a", "3")


async def test_a_store_of_a_newer_version_is_refused(
    new_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desks_of(new_store()):
        pass
    newer = (*MIGRATIONS, ("CREATE TABLE another (id TEXT)",))
    monkeypatch.setattr(migrations, "MIGRATIONS", newer)
    async with desks_of(new_store()) as desks:  # what is missing, and only that
        await desks.held.ask(asked(), waits=True)
    monkeypatch.undo()
    store = new_store()
    with pytest.raises(NewerStore, match=f"version {len(newer)}"):
        await store.open()
    await store.close()


async def test_a_migration_that_fails_leaves_nothing_behind(
    new_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (*MIGRATIONS, ("CREATE TABLE half (id TEXT)", "CREATE TABLE half (id TEXT)"))
    monkeypatch.setattr(migrations, "MIGRATIONS", broken)
    store = new_store()
    with pytest.raises(StoreUnavailable):
        await store.open()
    await store.close()
    monkeypatch.undo()
    async with desks_of(new_store()) as desks:
        assert await desks.approvals.requests(BOB) == []


async def test_a_closed_store_says_so(new_store: Callable[[], Store]) -> None:
    async with desks_of(new_store()) as desks:
        pass
    with pytest.raises((Unavailable, RuntimeError)):
        await desks.approvals.requests(BOB)


def modes(folder: Path) -> set[int]:
    return {one.stat().st_mode & 0o777 for one in folder.glob("control.sqlite*")}


async def test_the_sqlite_file_is_ours_alone_and_durable(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    store = SqliteStore(path)
    async with desks_of(store) as desks:
        await desks.held.ask(asked(), waits=True)
        assert modes(tmp_path) == {0o600}
        for name, value in (("journal_mode", "wal"), ("synchronous", 2)):
            [[found]] = await store._run(f"PRAGMA {name}")
            assert found == value


async def test_a_damaged_row_is_refused_not_guessed(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "control.sqlite")
    async with desks_of(store) as desks:
        await desks.held.ask(asked(), waits=True)
        await store._run("UPDATE requests SET state = 'half'")
        with pytest.raises(Unavailable):
            await desks.approvals.requests(BOB)


def server_of(postgres: EmbeddedPostgres, port: int = 0) -> Server:
    return Server(
        f"postgresql://postgres@127.0.0.1:{port or postgres.port}/postgres", postgres.password
    )


async def test_postgres_gone_and_back(postgres: EmbeddedPostgres) -> None:
    new = new_schema(postgres)
    store = new()
    async with desks_of(store) as desks:
        await heard(store)
        missed, made_elsewhere = asyncio.Event(), asyncio.Event()

        def told(change: Change) -> None:
            if change.kind == "missed":
                missed.set()
            if change.kind == "request_made":
                made_elsewhere.set()

        store.listen(told)
        made = await desks.held.ask(asked(), waits=True)
        await cut(postgres)
        async with asyncio.timeout(WAIT_SECONDS):
            await missed.wait()
        await heard(store)
        for _ in range(20):  # connections of the pool that were cut are noticed one by one
            try:
                ruled = await desks.approvals.vote(BOB, made.asked.id, True)
                break
            except Unavailable:
                continue
        assert ruled.ended_by == "bob"
        async with desks_of(new(), node="node-2") as other:
            await other.held.ask(asked(), waits=True)
            async with asyncio.timeout(WAIT_SECONDS):
                await made_elsewhere.wait()


async def heard(store: Any) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        await store.hearing.wait()


async def cut(postgres: EmbeddedPostgres) -> None:
    """Ends every connection of a control process."""
    connection = await asyncpg.connect(postgres.uri())
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'sallyport-control'"
    )
    await connection.close()


async def test_a_commit_that_fails_is_taken_back_in_the_trail(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desks_of(new_schema(postgres)()) as desks:
        made = await desks.held.ask(asked(), waits=True)
        write = desks.trail.write

        async def write_and_cut(records: Any) -> None:
            await write(records)
            await cut(postgres)

        monkeypatch.setattr(desks.trail, "write", write_and_cut)
        with pytest.raises(Unavailable):
            await desks.approvals.vote(BOB, made.asked.id, True)
        assert desks.trail.events()[-1] == "change_unstored"
        voted, ruled, unstored = desks.trail.records[-3:]
        assert unstored.records == (voted.id, ruled.id)  # type: ignore[attr-defined]


async def test_a_connection_cut_before_the_driver_noticed_is_a_store_that_is_away(
    postgres: EmbeddedPostgres,
) -> None:
    class Cut:
        async def fetch(self, *_: object) -> None:
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation")

    transaction = PostgresTransaction(PostgresStore(server_of(postgres)), Cut())
    with pytest.raises(StoreUnavailable):
        await transaction.serialise("anything")


async def test_where_there_is_no_postgres(postgres: EmbeddedPostgres) -> None:
    store = PostgresStore(server_of(postgres, port=1))
    with pytest.raises(StoreUnavailable):
        await store.open()
    wrong = PostgresStore(server_of(postgres)._replace(password="wrong"))
    with pytest.raises(StoreUnavailable) as told:
        await wrong.open()
    assert "wrong" not in str(told.value)
    with pytest.raises(ValueError):
        PostgresStore(server_of(postgres), 'x"; DROP')


async def test_many_appliances_start_at_once(postgres: EmbeddedPostgres) -> None:
    new = new_schema(postgres)
    stores = [new() for _ in range(5)]
    await asyncio.gather(*(store.open() for store in stores))
    await asyncio.gather(*(store.close() for store in stores))


async def test_commits_are_durable_whatever_the_server_does_else(
    postgres: EmbeddedPostgres,
) -> None:
    store = new_schema(postgres)()
    async with desks_of(store):
        async with store.transaction() as tx:
            rows = await tx._run("SHOW synchronous_commit")  # type: ignore[attr-defined]
        assert [list(row) for row in rows] == [["on"]]


async def test_a_sqlite_commit_that_fails_is_taken_back_in_the_trail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(tmp_path / "control.sqlite")
    async with desks_of(store) as desks:
        made = await desks.held.ask(asked(), waits=True)
        execute = store._execute

        def failing(sql: str, *arguments: object) -> Any:
            if sql == "COMMIT":
                raise sqlite3.OperationalError("disk I/O error")
            return execute(sql, *arguments)

        monkeypatch.setattr(store, "_execute", failing)
        with pytest.raises(Unavailable):
            await desks.approvals.vote(BOB, made.asked.id, True)
        monkeypatch.undo()
        assert desks.trail.events()[-1] == "change_unstored"
        assert await desks.approvals.request(BOB, made.asked.id) == made
