"""A client's payload -> what it wants (`wire.exchange.Command`).

Called by `codec` for every command. Rule: the first byte is looked up in one table, and what is not
in it is refused; a command is read to its last byte. Numbers: "Command Phase" and its pages.
"""

from collections.abc import Callable

from appliance.model.errors import ProtocolViolation
from appliance.model.refusal import Refusal, RefusalCode
from appliance.wire.exchange import LAST_PREPARED, Command, Wish
from appliance.wire.mysql.fields import Reader
from appliance.wire.mysql.prepared import skip_named
from appliance.wire.mysql.startup import Capability

QUIT, INIT_DB, QUERY, FIELD_LIST = 0x01, 0x02, 0x03, 0x04
STATISTICS, PROCESS_INFO, PROCESS_KILL, PING, CHANGE_USER = 0x09, 0x0A, 0x0C, 0x0E, 0x11
STMT_PREPARE, STMT_EXECUTE, STMT_SEND_LONG_DATA = 0x16, 0x17, 0x18
STMT_CLOSE, STMT_RESET, SET_OPTION, STMT_FETCH, RESET_CONNECTION = 0x19, 0x1A, 0x1B, 0x1C, 0x1F

_QUERY_ATTRIBUTES = int(Capability.QUERY_ATTRIBUTES)
READ_ONLY_CURSOR = 0x01
_LAST = 0xFFFFFFFF
"""MariaDB's clients send an execution right behind its PREPARE, whose number they do not know yet
(MariaDB knowledge base, "COM_STMT_EXECUTE")."""
COUNT_AVAILABLE = 0x08
"""Query attributes: the count of parameters stands in an execution."""

_NAMES = {
    0x00: "COM_SLEEP",
    0x05: "COM_CREATE_DB",
    0x06: "COM_DROP_DB",
    0x07: "COM_REFRESH",
    0x08: "COM_SHUTDOWN",
    0x0B: "COM_CONNECT",
    0x0D: "COM_DEBUG",
    0x0F: "COM_TIME",
    0x10: "COM_DELAYED_INSERT",
    0x12: "COM_BINLOG_DUMP",
    0x13: "COM_TABLE_DUMP",
    0x14: "COM_CONNECT_OUT",
    0x15: "COM_REGISTER_SLAVE",
    0x1D: "COM_DAEMON",
    0x1E: "COM_BINLOG_DUMP_GTID",
    0x20: "COM_CLONE",
    0xFA: "COM_STMT_BULK_EXECUTE",
    0xFE: "COM_MULTI",
}


def parse_command(payload: bytes, capabilities: int) -> Command:
    """Raises ProtocolViolation for one that is malformed."""
    if not payload:
        raise ProtocolViolation("client", "an empty command")
    reader = Reader(payload, "client")
    reading = _TABLE.get(reader.u8())
    return _unknown(payload) if reading is None else reading(payload, reader, capabilities)


def _unknown(payload: bytes) -> Command:
    name = _NAMES.get(payload[0], f"command {payload[0]:#04x}")
    refusal = Refusal(
        RefusalCode.UNKNOWN_MESSAGE,
        f"{name} is not let through",
        "use SQL statements",
        rule="builtin:unknown-message",
        sqlstate="0A000",
    )
    return Command(Wish.REFUSED, payload, refusal=refusal, shown=f"({name})", length=len(payload))


def _query(payload: bytes, reader: Reader, capabilities: int) -> Command:
    if capabilities & _QUERY_ATTRIBUTES:
        count = reader.lenenc()
        if reader.lenenc() != 1:
            raise ProtocolViolation("client", "more than one set of query attributes")
        if count:
            skip_named(reader, count)
    return Command(Wish.QUERY, payload, text=reader.rest())


def with_text(command: Command, text: bytes) -> bytes:
    """The payload of a query or prepare with another text."""
    return command.payload[: len(command.payload) - len(command.text)] + text


def _prepare(payload: bytes, reader: Reader, _capabilities: int) -> Command:
    return Command(Wish.PREPARE, payload, text=reader.rest())


def _execute(payload: bytes, reader: Reader, _capabilities: int) -> Command:
    statement, flags, times = reader.u32(), reader.u8(), reader.u32()
    if times != 1 or flags & ~(READ_ONLY_CURSOR | COUNT_AVAILABLE):
        return _unknown(payload)
    return Command(
        Wish.EXECUTE,
        payload,
        statement=LAST_PREPARED if statement == _LAST else statement,
        bound=reader.rest(),
        cursor=bool(flags & READ_ONLY_CURSOR),
        unseen=bool(flags & COUNT_AVAILABLE),
    )


def _long_value(payload: bytes, reader: Reader, _capabilities: int) -> Command:
    statement = reader.u32()
    reader.u16()  # which parameter
    return Command(Wish.LONG_VALUE, payload, statement=statement)


def _fetch(payload: bytes, reader: Reader, _capabilities: int) -> Command:
    statement = reader.u32()
    reader.u32()  # how many
    reader.end()
    return Command(Wish.FETCH, payload, statement=statement)


def _of_statement(wish: Wish) -> Callable[[bytes, Reader, int], Command]:
    def reading(payload: bytes, reader: Reader, _capabilities: int) -> Command:
        statement = reader.u32()
        reader.end()
        return Command(wish, payload, statement=statement)

    return reading


def _init_db(payload: bytes, reader: Reader, _capabilities: int) -> Command:
    return Command(Wish.SAID, payload, text=b"USE " + quoted(reader.rest()))


def _field_list(payload: bytes, reader: Reader, _capabilities: int) -> Command:
    """A wildcard chooses columns: judged are all of the table."""
    table = reader.nul_bytes()
    reader.rest()
    return Command(Wish.SAID, payload, text=b"SHOW COLUMNS FROM " + quoted(table))


def _process_info(payload: bytes, reader: Reader, _capabilities: int) -> Command:
    reader.end()
    return Command(Wish.SAID, payload, text=b"SHOW PROCESSLIST")


def _kill(payload: bytes, reader: Reader, _capabilities: int) -> Command:
    number = reader.u32()
    reader.end()
    return Command(Wish.SAID, payload, text=b"KILL %d" % number)


def _set_option(payload: bytes, reader: Reader, _capabilities: int) -> Command:
    """0 and 1: several statements in one text, or not."""
    option = reader.u16()
    reader.end()
    return Command(Wish.PASSED, payload) if option in (0, 1) else _unknown(payload)


def _bare(wish: Wish) -> Callable[[bytes, Reader, int], Command]:
    def reading(payload: bytes, reader: Reader, _capabilities: int) -> Command:
        reader.end()
        return Command(wish, payload)

    return reading


def _change_user(payload: bytes, _reader: Reader, _capabilities: int) -> Command:
    return Command(Wish.LOG_IN_ANEW, payload)


def quoted(name: bytes) -> bytes:
    return b"`" + name.replace(b"`", b"``") + b"`"


_TABLE: dict[int, Callable[[bytes, Reader, int], Command]] = {
    QUIT: _bare(Wish.END),
    INIT_DB: _init_db,
    QUERY: _query,
    FIELD_LIST: _field_list,
    STATISTICS: _bare(Wish.PASSED),
    PROCESS_INFO: _process_info,
    PROCESS_KILL: _kill,
    PING: _bare(Wish.PASSED),
    CHANGE_USER: _change_user,
    STMT_PREPARE: _prepare,
    STMT_EXECUTE: _execute,
    STMT_SEND_LONG_DATA: _long_value,
    STMT_CLOSE: _of_statement(Wish.CLOSE),
    STMT_RESET: _of_statement(Wish.RESET),
    SET_OPTION: _set_option,
    STMT_FETCH: _fetch,
    RESET_CONNECTION: _bare(Wish.RESET_SESSION),
}
