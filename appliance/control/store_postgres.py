"""The store in PostgreSQL: for several appliances together.

Opened by the control process; needs the extra `postgres` (asyncpg). Rules: READ COMMITTED with row
locks where a decision is made on what was read, and single statements where that is enough; a
commit is durable on the server whatever its default is (`synchronous_commit = on`); changes are
announced by NOTIFY inside the transaction, so they are heard after it committed or not at all; a
listener that was away says so, so that nobody relies on having heard everything.
"""

import asyncio
import contextlib
import re
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import asyncpg
import msgspec

from appliance.control import migrations
from appliance.control.desk import Change
from appliance.control.store import StoreUnavailable, Transaction
from appliance.control.store_sql import Dialect, Row, SqlTransaction, announced, heard
from appliance.telemetry.log import Log

SCHEMA = "sallyport"
CONNECTIONS_MAX = 8
CONNECT_SECONDS_MAX = 5.0
COMMAND_SECONDS_MAX = 10.0
WAIT_SECONDS_MAX = 10.0
"""For a free connection."""
ALIVE_SECONDS = 5.0
"""How often the listening connection is tried."""
RECONNECT_SECONDS_MIN = 0.2
RECONNECT_SECONDS_MAX = 5.0
_SCHEMA_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")

FAILURES = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection cut in the middle, before asyncpg has noticed
    OSError,
    TimeoutError,
)

log = Log("control")


class Server(NamedTuple):
    """Where the store is, and as whom."""

    url: str
    """postgresql://user@host:port/database, without a password."""
    password: str | None = None
    trust: ssl.SSLContext | None = None
    """None = no TLS."""

    def connecting(self, schema: str) -> dict[str, Any]:
        """What `asyncpg.connect` is given."""
        parts = urlsplit(self.url)
        return {
            "host": parts.hostname,
            "port": parts.port or 5432,
            "user": unquote(parts.username or "") or None,
            "database": unquote(parts.path.removeprefix("/")) or None,
            "password": self.password,
            "ssl": self.trust or False,
            "timeout": CONNECT_SECONDS_MAX,
            "command_timeout": COMMAND_SECONDS_MAX,
            "server_settings": {
                "application_name": "sallyport-control",
                "search_path": schema,
                "synchronous_commit": "on",
                "idle_in_transaction_session_timeout": "30000",
                "lock_timeout": "8000",
            },
        }


class PostgresTransaction(SqlTransaction):
    """A block on one connection."""

    def __init__(self, store: "PostgresStore", connection: Any) -> None:
        self._store = store
        self._connection = connection
        super().__init__(self._fetch, Dialect(lock=" FOR UPDATE"))

    async def serialise(self, name: str) -> None:
        await self._fetch("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)

    async def announce(self, change: Change) -> None:
        payload = announced(change, self._store.sender)
        await self._fetch("SELECT pg_notify($1, $2)", self._store.channel, payload)

    async def _fetch(self, sql: str, *arguments: object) -> Sequence[Row]:
        try:
            return await self._connection.fetch(sql, *arguments)  # type: ignore[no-any-return]
        except FAILURES as error:
            raise StoreUnavailable(_reason(error)) from error


class PostgresStore:
    """See `store.Store`."""

    name = "postgresql"

    def __init__(self, server: Server, schema: str = SCHEMA) -> None:
        """`schema`: made when absent; its name is plain."""
        if not _SCHEMA_NAME.fullmatch(schema):
            raise ValueError("not a plain name of a schema")
        self.sender = secrets.token_hex(8)
        self.channel = f"{schema}_changes"
        self._connecting = server.connecting(schema)
        self._schema = schema
        self._pool: Any = None
        self._told: list[Callable[[Change], None]] = []
        self._listening: asyncio.Task[None] | None = None
        self.hearing = asyncio.Event()
        """Set while announcements of others arrive."""

    async def open(self) -> None:
        try:
            self._pool = await asyncpg.create_pool(
                min_size=1, max_size=CONNECTIONS_MAX, **self._connecting
            )
            async with self._pool.acquire(timeout=WAIT_SECONDS_MAX) as connection:
                await self._migrate(connection)
        except FAILURES as error:
            await self.close()
            raise StoreUnavailable(_reason(error)) from error
        self._listening = asyncio.create_task(self._listen(), name="store-listening")

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.wait((self._listening,))
            self._listening = None
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None

    def listen(self, told: Callable[[Change], None]) -> None:
        self._told.append(told)

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        if self._pool is None:
            raise StoreUnavailable("the store is closed")
        try:
            connection = await self._pool.acquire(timeout=WAIT_SECONDS_MAX)
        except FAILURES as error:
            raise StoreUnavailable(_reason(error)) from error
        try:
            block = connection.transaction()
            await self._step(block.start)
            try:
                yield PostgresTransaction(self, connection)
            except BaseException:
                with contextlib.suppress(StoreUnavailable):  # gone: so is the transaction
                    await self._step(block.rollback)
                raise
            await self._step(block.commit)
        finally:
            with contextlib.suppress(*FAILURES):  # a broken one is not given to anybody again
                await self._pool.release(connection)

    async def _step(self, step: Callable[[], Awaitable[Any]]) -> None:
        try:
            await step()  # raises already when called, where the connection is known to be gone
        except FAILURES as error:
            raise StoreUnavailable(_reason(error)) from error

    async def _migrate(self, connection: Any) -> None:
        """All appliances may start at once: one migrates, the others wait and find it done."""
        async with connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"{self._schema} schema"
            )
            there = await connection.fetchval(
                "SELECT 1 FROM pg_namespace WHERE nspname = $1", self._schema
            )
            if not there:  # CREATE ... IF NOT EXISTS would ask for the right to create even then
                await connection.execute(f"CREATE SCHEMA {self._schema}")
            await connection.execute(migrations.VERSION_TABLE)
            found = await connection.fetchval("SELECT max(version) FROM schema_version") or 0
            for number, statements in enumerate(migrations.missing(found), found + 1):
                for statement in statements:
                    await connection.execute(statement)
                await connection.execute("INSERT INTO schema_version VALUES ($1)", number)

    # What others announce.

    async def _listen(self) -> None:
        """For ever: hears, or tries to again."""
        pause, been_away = RECONNECT_SECONDS_MIN, False
        while True:
            try:
                connection = await asyncpg.connect(**self._connecting)
                try:
                    await connection.add_listener(self.channel, self._on_notification)
                    if been_away:
                        self._tell(Change("missed", ""))
                    self.hearing.set()
                    pause = RECONNECT_SECONDS_MIN
                    while True:
                        await asyncio.sleep(ALIVE_SECONDS)
                        await connection.execute("SELECT 1")
                finally:
                    self.hearing.clear()
                    connection.terminate()
            except FAILURES as error:
                log.warning("store_not_heard", reason=_reason(error))
            been_away = True
            await asyncio.sleep(pause)
            pause = min(RECONNECT_SECONDS_MAX, pause * 2)

    def _on_notification(self, _: object, __: int, ___: str, payload: str) -> None:
        try:
            sender, change = heard(payload)
        except msgspec.MsgspecError:
            log.warning("announcement_not_understood")
            self._tell(Change("missed", ""))
            return
        if sender != self.sender:
            self._tell(change)

    def _tell(self, change: Change) -> None:
        for told in self._told:
            told(change)


def _reason(error: BaseException) -> str:
    """Kind and code of a failure, for the log. Not its text: a detail of it may quote a value."""
    code = getattr(error, "sqlstate", None)
    return type(error).__name__ + (f" ({code})" if code else "")
