"""The ways in which the tour's steps send SQL, with an ordinary driver (psycopg on libpq)."""

import psycopg

from appliance.cli.demo.seen import REFUSED, Act, Connection, Seen, refusal, result


def query(text: str) -> Act:
    """The simple protocol, as psql does."""

    def act(connection: Connection) -> Seen:
        try:
            return result(connection.execute(text.encode()))
        except psycopg.Error as error:
            return refusal(error)

    return act


def prepared_binary(text: str, *runs: int) -> Act:
    """A server-side prepared statement with one parameter, executed for each of `runs`, results in
    binary."""

    def act(connection: Connection) -> Seen:
        gathered: list[tuple[str | None, ...]] = []
        last = Seen()
        try:
            with connection.cursor(binary=True) as cursor:
                for parameter in runs:
                    last = result(cursor.execute(text.encode(), [parameter], prepare=True))
                    gathered += last.rows
        except psycopg.Error as error:
            return refusal(error)
        return Seen(last.columns, tuple(gathered), last.tag)

    return act


def copy_out(text: str, columns: str) -> Act:
    """COPY ... TO STDOUT; its lines as rows of `columns`."""

    def act(connection: Connection) -> Seen:
        try:
            with connection.cursor() as cursor:
                with cursor.copy(text.encode()) as copy:
                    lines = b"".join(bytes(block) for block in copy).decode().splitlines()
                tag = cursor.statusmessage or ""
        except psycopg.Error as error:
            return refusal(error)
        cells = tuple(tuple(line.split("\t")) for line in lines)
        return Seen(tuple(columns.split()), cells, tag)

    return act


def transcript(*texts: str) -> Act:
    """Several texts one after the other, whatever becomes of each; one row per text: its command
    tag, REFUSED, or an error's SQLSTATE."""

    def act(connection: Connection) -> Seen:
        outcomes: list[tuple[str]] = []
        for text in texts:
            seen = query(text)(connection)
            outcomes.append((REFUSED if seen.sqlstate == "42501" else seen.sqlstate or seen.tag,))
        return Seen(("what came back",), tuple(outcomes))

    return act
