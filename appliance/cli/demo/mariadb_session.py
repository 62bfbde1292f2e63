"""A session with MariaDB for the tour, on PyMySQL, and what MariaDB's own programs get beside it.

PyMySQL has no binary rows; `_Binary` speaks the three commands that prepared statements need with
its packets ("COM_STMT_PREPARE", "COM_STMT_EXECUTE", "Binary Protocol Resultset").
"""

import contextlib
import datetime
import re
import ssl
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CLIENT, COMMAND, FIELD_TYPE
from pymysql.protocol import FieldDescriptorPacket, MysqlPacket

from appliance.cli.demo.seen import ROWS_MAX, Act, Seen, Session, Told, shown

SECONDS_MAX = 20
DUMP_OPTIONS = (
    "--compact",
    "--skip-extended-insert",
    "--skip-lock-tables",
    "--no-create-info",
)
IN_TRANSACTION = 1  # SERVER_STATUS_IN_TRANS
REFUSED = re.compile(r"(?P<words>.*?); (?P<said>code: [a-z_]+.*)", re.DOTALL)
"""One text: for people, then what programs look for (see README)."""
DUMPED = re.compile(r"^INSERT INTO `\w+` VALUES \((.*)\);$")


@dataclass(frozen=True)
class Account:
    """Where somebody connects to, and as whom."""

    user: str
    password: str
    port: int
    database: str
    ca: Path | None
    """None: without TLS, for the database itself."""
    options: Path
    """A private file for MariaDB's own programs, so that no password is an argument."""
    programs: Mapping[str, Path] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"

    def option_file(self) -> str:
        """What `options` holds. Quoted as MariaDB reads it ("Option File Syntax")."""
        lines = ["[client]", f"host={self.host}", f"port={self.port}", f'user="{self.user}"']
        lines.append(f'password="{self.password}"')
        if self.ca is not None:
            lines += [f'ssl-ca="{self.ca}"', "ssl-verify-server-cert"]
        lines += ["[mysql]", f"database={self.database}"]  # the others take no such option
        return "\n".join([*lines, ""])


class MariaSession:
    """See `seen.Session`."""

    TELLS_WHILE_WAITING = False

    def __init__(self, account: Account) -> None:
        self._account = account
        self._connection = _connect(account)

    def query(self, text: str) -> Seen:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(text)
                while cursor.nextset():
                    pass
                return _result(cursor)
        except pymysql.MySQLError as error:
            return _refusal(error)

    def prepared(self, text: str, runs: Sequence[int]) -> Seen:
        try:
            return self._connection.run_prepared(text, runs)
        except pymysql.MySQLError as error:
            return _refusal(error)

    def run_program(self, name: str, arguments: Sequence[str]) -> tuple[str, str]:
        """One of MariaDB's programs as the same user -> what it printed, what it complained of."""
        done = subprocess.run(
            [
                self._account.programs[name],
                f"--defaults-file={self._account.options}",
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **self._account.environment},
        )
        return done.stdout, done.stderr.strip()

    def complaint(self) -> str:
        if not self._connection.open:
            return "the connection was closed"
        inside = self._connection.server_status & IN_TRANSACTION
        return "in a transaction, expected none" if inside else ""

    @contextlib.contextmanager
    def hearing(self, tell: Callable[[Told], None]) -> Iterator[None]:
        """There is nothing to hear."""
        yield

    def cancel(self) -> None:
        with (
            contextlib.suppress(pymysql.MySQLError),
            contextlib.closing(_connect(self._account)) as it,
        ):
            it.query(f"KILL QUERY {self._connection.thread_id()}")

    def close(self) -> None:
        self._connection.close()


@contextlib.contextmanager
def session(account: Account) -> Iterator[MariaSession]:
    """Raises pymysql.MySQLError when there is no getting in."""
    with contextlib.closing(MariaSession(account)) as opened:
        yield opened


def listed(text: str) -> Act:
    """A query by the `mariadb` program, rows one after the other as they come."""

    def act(session: Session) -> Seen:
        assert isinstance(session, MariaSession)
        printed, complaint = session.run_program(
            "mariadb", ["--batch", "--quick", f"--execute={text}", "shop"]
        )
        if complaint:
            return Seen(sqlstate="?????", message=complaint)
        heading, *lines = (line.split("\t") for line in printed.splitlines())
        return Seen(tuple(heading), tuple(map(tuple, lines)), f"{len(lines)} rows")

    return act


def dumped(table: str, columns: str) -> Act:
    """The contents of a table by mariadb-dump; the first of its `columns`, all of them text or
    numbers without commas."""

    def act(session: Session) -> Seen:
        assert isinstance(session, MariaSession)
        printed, complaint = session.run_program(
            "mariadb-dump",
            [*DUMP_OPTIONS, "shop", table],
        )
        if complaint:
            return Seen(sqlstate="?????", message=complaint)
        names = tuple(columns.split())
        found = [DUMPED.match(line) for line in printed.splitlines()]
        cells = [tuple(one[1].split(",")[: len(names)]) for one in found if one]
        rows = tuple(tuple(cell.strip("'") for cell in row) for row in cells)
        return Seen(names, rows, f"{len(rows)} rows")

    return act


def _connect(account: Account) -> "_Binary":
    secure: dict[str, Any] = {}
    if account.ca is not None:
        secure["ssl"] = ssl.create_default_context(cafile=str(account.ca))
    return _Binary(
        host=account.host,
        port=account.port,
        user=account.user,
        password=account.password,
        database=account.database,
        autocommit=True,
        charset="utf8mb4",
        connect_timeout=SECONDS_MAX,
        client_flag=CLIENT.MULTI_STATEMENTS,
        program_name="tour",
        **secure,
    )


def _result(cursor: Any) -> Seen:
    if cursor.description is None:
        changed = f", {cursor.rowcount} row{'s' * (cursor.rowcount != 1)}"
        return Seen(tag=f"OK{changed if cursor.rowcount else ''}")
    columns = tuple(column[0] for column in cursor.description)
    rows = cursor.fetchmany(ROWS_MAX)
    return Seen(columns, tuple(tuple(map(shown, row)) for row in rows), f"{len(rows)} rows")


def _refusal(error: pymysql.MySQLError) -> Seen:
    number, text = (*error.args, "", "")[:2]
    state = f"{number} {getattr(error, 'sqlstate', None) or ''}".strip()
    found = REFUSED.fullmatch(str(text))
    if found is None:
        return Seen(sqlstate=state, message=str(text))
    said, ticket, json = found["said"].partition("; {")
    detail = f"{{{json}" if ticket else said.partition("; quote")[0]
    return Seen(sqlstate=state, message=found["words"], detail=detail)


class _Binary(pymysql.connections.Connection):  # type: ignore[misc]  # it has no types
    """PyMySQL's connection, and prepared statements."""

    def run_prepared(self, text: str, runs: Sequence[int]) -> Seen:
        """One parameter, sent as a BIGINT; the rows of all runs."""
        self._execute_command(COMMAND.COM_STMT_PREPARE, text)
        _, statement, columns, parameters = struct.unpack("<BIHH", self._read_packet().read(9))
        for count in (parameters, columns):
            self._descriptions(count)
        names: tuple[str, ...] = ()
        rows: list[tuple[str | None, ...]] = []
        for parameter in runs:
            body = struct.pack(
                "<IBIBBBBq", statement, 0, 1, 0, 1, FIELD_TYPE.LONGLONG, 0, parameter
            )
            self._execute_command(COMMAND.COM_STMT_EXECUTE, body)
            fields = self._descriptions(self._read_packet().read_length_encoded_integer())
            names = tuple(one.name for one in fields)
            while not (packet := self._read_packet()).is_eof_packet():
                rows.append(_binary_row(packet, fields))
        self._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", statement))
        return Seen(names, tuple(rows), f"{len(rows)} rows")

    def _descriptions(self, count: int) -> list[FieldDescriptorPacket]:
        found = [self._read_packet(FieldDescriptorPacket) for _ in range(count)]
        if count:
            self._read_packet()  # EOF
        return found


def _binary_row(
    packet: MysqlPacket, fields: Sequence[FieldDescriptorPacket]
) -> tuple[str | None, ...]:
    """Of integers, dates and what comes as text; others are not in the tour."""
    packet.read(1)
    nulls = int.from_bytes(packet.read((len(fields) + 9) // 8), "little") >> 2
    return tuple(
        None if nulls >> place & 1 else _binary_cell(packet, one)
        for place, one in enumerate(fields)
    )


def _binary_cell(packet: MysqlPacket, field: FieldDescriptorPacket) -> str:
    if field.type_code == FIELD_TYPE.LONG:
        return str(struct.unpack("<i", packet.read(4))[0])
    if field.type_code == FIELD_TYPE.DATE:
        return str(datetime.date(*struct.unpack("<HBB", packet.read(packet.read_uint8()))))
    return str(packet.read_length_coded_string().decode())
