"""A session with PostgreSQL for the tour, on psycopg (libpq)."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psycopg
from psycopg.errors import Diagnostic
from psycopg.pq import TransactionStatus

from appliance.cli.demo.seen import ROWS_MAX, Act, Seen, Session, Told, shown

CONNECT_SECONDS_MAX = 15
CANCEL_SECONDS_MAX = 20.0


class PostgresSession:
    """See `seen.Session`."""

    TELLS_WHILE_WAITING = True

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        self._connection = connection

    def query(self, text: str) -> Seen:
        try:
            return _result(self._connection.execute(text.encode()))
        except psycopg.Error as error:
            return _refusal(error)

    def prepared(self, text: str, runs: Sequence[int]) -> Seen:
        gathered: list[tuple[str | None, ...]] = []
        last = Seen()
        try:
            with self._connection.cursor(binary=True) as cursor:
                for parameter in runs:
                    last = _result(cursor.execute(text.encode(), [parameter], prepare=True))
                    gathered += last.rows
        except psycopg.Error as error:
            return _refusal(error)
        return Seen(last.columns, tuple(gathered), last.tag)

    def copied(self, text: str, columns: Sequence[str]) -> Seen:
        """COPY ... TO STDOUT; its lines as rows of `columns`."""
        try:
            with self._connection.cursor() as cursor:
                with cursor.copy(text.encode()) as copy:
                    lines = b"".join(bytes(block) for block in copy).decode().splitlines()
                tag = cursor.statusmessage or ""
        except psycopg.Error as error:
            return _refusal(error)
        return Seen(tuple(columns), tuple(tuple(line.split("\t")) for line in lines), tag)

    def complaint(self) -> str:
        if self._connection.closed:
            return "the connection was closed"
        status = self._connection.info.transaction_status
        idle = status is TransactionStatus.IDLE
        return "" if idle else f"transaction state {status.name}, expected IDLE"

    @contextlib.contextmanager
    def hearing(self, tell: Callable[[Told], None]) -> Iterator[None]:
        def hear(notice: Diagnostic) -> None:
            tell(Told("NOTICE", notice.message_primary or "", hint=notice.message_hint or ""))

        self._connection.add_notice_handler(hear)
        try:
            yield
        finally:
            self._connection.remove_notice_handler(hear)

    def cancel(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=CANCEL_SECONDS_MAX)


@contextlib.contextmanager
def session(uri: str) -> Iterator[PostgresSession]:
    """Raises psycopg.Error when there is no getting in."""
    with psycopg.connect(
        uri, autocommit=True, application_name="tour", connect_timeout=CONNECT_SECONDS_MAX
    ) as connection:
        yield PostgresSession(connection)


def copy_out(text: str, columns: str) -> Act:
    """COPY ... TO STDOUT, which only PostgreSQL has."""

    def act(session: Session) -> Seen:
        assert isinstance(session, PostgresSession)
        return session.copied(text, columns.split())

    return act


def _result(cursor: psycopg.Cursor[Any]) -> Seen:
    """What a cursor holds after its statement."""
    tag = cursor.statusmessage or ""
    if cursor.description is None:
        return Seen(tag=tag)
    columns = tuple(column.name for column in cursor.description)
    rows = cursor.fetchmany(ROWS_MAX)
    return Seen(columns, tuple(tuple(shown(value) for value in row) for row in rows), tag)


def _refusal(error: psycopg.Error) -> Seen:
    """What an error tells the client."""
    words = error.diag
    return Seen(
        sqlstate=error.sqlstate or "?????",
        message=words.message_primary or str(error),
        detail=words.message_detail or "",
        hint=words.message_hint or "",
    )
