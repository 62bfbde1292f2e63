"""Statements of our own on a connection of our own: COM_QUERY and its text result set, one after
another ("Text Protocol").

Driven by `dataplane/conversing`: catalogs, what a session's settings are, cancelling. Rule: an
answer is read to its end, within a bound, or the connection is of no use any more.
"""

from collections.abc import Generator
from typing import Any, Protocol

from appliance.model.errors import ProtocolViolation
from appliance.wire.conversation import UpstreamRejected, UpstreamStep
from appliance.wire.mysql import auth, words
from appliance.wire.mysql.fields import Reader
from appliance.wire.mysql.line import Line
from appliance.wire.mysql.startup import Capability

QUERY = 0x03
RESET_CONNECTION = 0x1F
CHANGE_USER = 0x11
QUIT = b"\x01\0\0\0\x01"
"""COM_QUIT, framed: the last thing a server is told."""
ANSWER_PACKET_BYTES_MAX = 64 * 1024 * 1024
COLUMNS_MAX = 4_096
NULL = 0xFB
LOCAL_FILE = 0xFB
END_OF_ROWS = 0xFE
LONG_VALUE_BYTES = 0xFFFFFF
"""A row that begins with 0xFE has a first value of so many bytes; an EOF packet, or the OK packet
in its place, has fewer."""

NO_SUCH_THREAD = "1094"

Row = tuple[str | None, ...]


def query(text: bytes, capabilities: int) -> Generator[UpstreamStep, Any, list[Row]]:
    """Rows of one statement, values as text; none for a statement that returns none. Raises
    UpstreamRejected for an error, ProtocolViolation for what is no answer.
    """
    line = Line("upstream", ANSWER_PACKET_BYTES_MAX)
    attributes = b"\0\x01" if capabilities & Capability.QUERY_ATTRIBUTES else b""
    yield from line.send(bytes((QUERY,)) + attributes + text)
    payload = yield from line.read()
    kind = payload[0] if payload else -1
    if kind == auth.OK:
        return []
    if kind == auth.ERROR:
        raise UpstreamRejected(words.parse_error(payload))
    if kind in (-1, LOCAL_FILE):
        raise ProtocolViolation("upstream", "not the answer of a statement of ours")
    count = _whole(payload)
    if not 0 < count <= COLUMNS_MAX:
        raise ProtocolViolation("upstream", "impossible number of columns")
    for _ in range(count):
        yield from line.read()
    if not capabilities & Capability.DEPRECATE_EOF:
        yield from line.read()
    return (yield from _rows(line, count))


def _whole(payload: bytes) -> int:
    reader = Reader(payload, "upstream")
    count = reader.lenenc()
    reader.end()
    return count


def _rows(line: Line, count: int) -> Generator[UpstreamStep, Any, list[Row]]:
    rows: list[Row] = []
    while True:
        payload = yield from line.read()
        if payload[:1] == bytes((auth.ERROR,)):
            raise UpstreamRejected(words.parse_error(payload))
        if payload[:1] == bytes((END_OF_ROWS,)) and len(payload) < LONG_VALUE_BYTES:
            return rows
        rows.append(_row(payload, count))


def _row(payload: bytes, count: int) -> Row:
    reader = Reader(payload, "upstream")
    values: list[str | None] = []
    for _ in range(count):
        if reader.left and reader.body[reader.offset] == NULL:
            reader.u8()
            values.append(None)
        else:
            values.append(reader.lenenc_bytes().decode("utf-8", "replace"))
    reader.end()
    return tuple(values)


def plain(command: bytes) -> Generator[UpstreamStep, Any, None]:
    """A command that is answered with OK, as COM_RESET_CONNECTION."""
    line = Line("upstream", ANSWER_PACKET_BYTES_MAX)
    yield from line.send(command)
    payload = yield from line.read()
    if payload[:1] == bytes((auth.ERROR,)):
        raise UpstreamRejected(words.parse_error(payload))
    if payload[:1] != bytes((auth.OK,)):
        raise ProtocolViolation("upstream", "not the answer of a command of ours")


def cancelling(thread: int, capabilities: int) -> Generator[UpstreamStep, Any, None]:
    """Ends what another session of the same user runs. Nothing runs there: no error either."""
    try:
        yield from query(b"KILL QUERY %d" % thread, capabilities)
    except UpstreamRejected as error:
        if error.fields.get("N") != NO_SUCH_THREAD:
            raise


class Capable(Protocol):
    """What a login established, as far as statements depend on it."""

    @property
    def capabilities(self) -> int: ...


def rows_of(established: Capable, text: bytes) -> Generator[UpstreamStep, Any, list[Row]]:
    """`query`, as `dataplane/upstream_steps` has it."""
    return query(text, established.capabilities)


def cancel(established: Capable, thread: int) -> Generator[UpstreamStep, Any, None]:
    """`cancelling`, as `dataplane/upstream_steps` has it."""
    return cancelling(thread, established.capabilities)


def forget(_established: Capable) -> Generator[UpstreamStep, Any, None]:
    """What a session holds is let go (COM_RESET_CONNECTION): its transaction, locks, temporary
    tables, prepared statements, variables."""
    return plain(bytes((RESET_CONNECTION,)))
