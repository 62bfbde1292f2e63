"""The store in a SQLite file: for one appliance.

Opened by the control process. Rules: one connection, used by one thread, so that the event loop
never waits for the disk; write-ahead log with synchronous=FULL: what was committed survives a power
cut (https://www.sqlite.org/pragma.html#pragma_synchronous).
"""

import asyncio
import contextlib
import os
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from appliance.control import migrations
from appliance.control.desk import Change
from appliance.control.store import StoreUnavailable, Transaction
from appliance.control.store_sql import Dialect, Row, SqlTransaction

MEMORY = ":memory:"
BUSY_SECONDS_MAX = 5.0
WAIT_SECONDS_MAX = 10.0
"""For transactions before this one."""
_PARAMETER = re.compile(r"\$(\d+)")

Result = TypeVar("Result")


class SqliteTransaction(SqlTransaction):
    async def serialise(self, name: str) -> None:
        """There is one transaction at a time anyway."""

    async def announce(self, change: Change) -> None:
        """There is nobody else."""


class SqliteStore:
    """See `store.Store`."""

    name = "sqlite"

    def __init__(self, path: Path | str) -> None:
        """`path`: the file, made when absent; MEMORY for tests."""
        self._path = str(path)
        self._thread = ThreadPoolExecutor(1, "control-store")
        self._turn = asyncio.Lock()
        self._connection: sqlite3.Connection | None = None
        self._texts: dict[str, str] = {}

    async def open(self) -> None:
        await self._in_thread(self._open)

    async def close(self) -> None:
        async with self._turn:
            await self._in_thread(self._close)
        self._thread.shutdown(wait=False)

    def listen(self, told: Callable[[Change], None]) -> None:
        """Nobody else writes to this store."""

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await self._turn.acquire()
        except TimeoutError as error:
            raise StoreUnavailable("the store is too busy") from error
        try:
            await self._in_thread(self._execute, "BEGIN IMMEDIATE")
            yield SqliteTransaction(self._run, Dialect(lock=""))
            await self._in_thread(self._execute, "COMMIT")
        finally:
            # Also when a commit failed or its waiter was cancelled: after a commit it does nothing.
            self._thread.submit(self._roll_back)
            self._turn.release()

    async def _run(self, sql: str, *arguments: object) -> Sequence[Row]:
        return await self._in_thread(self._execute, sql, *arguments)

    async def _in_thread(self, job: Callable[..., Result], *arguments: object) -> Result:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, job, *arguments)
        except sqlite3.Error as error:
            raise StoreUnavailable(type(error).__name__ + f" ({error})") from error

    # In the thread.

    def _open(self) -> None:
        if self._path != MEMORY:
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=BUSY_SECONDS_MAX, isolation_level=None, check_same_thread=True
        )
        self._connection = connection
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._migrate(connection)
            connection.execute("COMMIT")
        finally:
            self._roll_back()

    def _migrate(self, connection: sqlite3.Connection) -> None:
        connection.execute(migrations.VERSION_TABLE)
        row = connection.execute("SELECT max(version) FROM schema_version").fetchone()
        found = row[0] or 0
        for number, statements in enumerate(migrations.missing(found), found + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute("INSERT INTO schema_version (version) VALUES (?)", (number,))

    def _execute(self, sql: str, *arguments: object) -> Sequence[Row]:
        if self._connection is None:
            raise StoreUnavailable("the store is closed")
        text = self._texts.get(sql)
        if text is None:
            text = self._texts[sql] = _PARAMETER.sub(r"?\1", sql)
        cursor = self._connection.execute(text, arguments)
        return cursor.fetchall()

    def _roll_back(self) -> None:
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
