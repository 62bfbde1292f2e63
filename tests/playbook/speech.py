"""Messages of both peers, as conversations write them."""

from collections.abc import Sequence

from appliance.wire.postgres import messages as m
from tests.playbook.world import BODY, EMAIL, ID, INT4, NAME, NOTE_ID, TEXT

SYNC, FLUSH, TERMINATE = m.SYNC_FRAME, m.FLUSH_FRAME, m.TERMINATE_FRAME
IDLE, IN_TRANSACTION, FAILED = (m.ready_for_query(status) for status in b"ITE")
PARSED, BOUND, CLOSED, NO_DATA, SUSPENDED, EMPTY = (
    m.frame(kind, b"")
    for kind in (
        m.PARSE_COMPLETE,
        m.BIND_COMPLETE,
        m.CLOSE_COMPLETE,
        m.NO_DATA,
        m.PORTAL_SUSPENDED,
        m.EMPTY_QUERY_RESPONSE,
    )
)
COPY_IN, COPY_OUT = (
    m.frame(kind, b"\0\0\1\0\0") for kind in (m.COPY_IN_RESPONSE, m.COPY_OUT_RESPONSE)
)
COPY_DONE = m.frame(m.COPY_DONE, b"")

Origin = tuple[str, tuple[int, int], int]
"""(name, (table OID, attribute number), type OID)."""
ID_COLUMN: Origin = ("id", ID, INT4)
NAME_COLUMN: Origin = ("name", NAME, TEXT)
EMAIL_COLUMN: Origin = ("email", EMAIL, TEXT)
NOTE_ID_COLUMN: Origin = ("id", NOTE_ID, INT4)
BODY_COLUMN: Origin = ("body", BODY, TEXT)


def computed(name: str, type_oid: int = INT4) -> Origin:
    return name, (0, 0), type_oid


def query(text: str) -> bytes:
    return m.query(text.encode())


def parse(text: str, name: str = "") -> bytes:
    return m.parse(name.encode(), text.encode())


def bind(statement: str = "", portal: str = "") -> bytes:
    return m.bind_unparameterised(portal.encode(), statement.encode())


def describe_portal(name: str = "") -> bytes:
    return m.describe(m.PORTAL, name.encode())


def describe_statement(name: str = "") -> bytes:
    return m.describe(m.STATEMENT, name.encode())


def execute(portal: str = "", limit: int = 0) -> bytes:
    return m.execute(portal.encode(), limit)


def close_statement(name: str) -> bytes:
    return m.close(m.STATEMENT, name.encode())


def close_portal(name: str) -> bytes:
    return m.close(m.PORTAL, name.encode())


def copy_data(content: bytes) -> bytes:
    return m.frame(m.COPY_DATA, content)


def copy_fail(why: str) -> bytes:
    return m.frame(m.COPY_FAIL, m.cstring(why))


def described(*columns: Origin) -> bytes:
    """RowDescription, all in text format."""
    body = len(columns).to_bytes(2, "big")
    for name, (table, attribute), type_oid in columns:
        body += m.cstring(name) + table.to_bytes(4, "big") + attribute.to_bytes(2, "big")
        body += type_oid.to_bytes(4, "big") + b"\xff\xff\xff\xff\xff\xff" + b"\0\0"
    return m.frame(m.ROW_DESCRIPTION, body)


def parameters(*types: int) -> bytes:
    body = len(types).to_bytes(2, "big") + b"".join(oid.to_bytes(4, "big") for oid in types)
    return m.frame(m.PARAMETER_DESCRIPTION, body)


def row(*cells: str | None) -> bytes:
    body = len(cells).to_bytes(2, "big")
    for cell in cells:
        raw = b"" if cell is None else cell.encode()
        body += (-1 if cell is None else len(raw)).to_bytes(4, "big", signed=True) + raw
    return m.frame(m.DATA_ROW, body)


def rows(*values: Sequence[str | None]) -> bytes:
    return b"".join(row(*cells) for cells in values)


def complete(tag: str) -> bytes:
    return m.frame(m.COMMAND_COMPLETE, m.cstring(tag))


def failure(sqlstate: str, message: str, severity: str = "ERROR", **more: str) -> bytes:
    fields = {"S": severity, "V": severity, "C": sqlstate, "M": message, **more}
    return m.error_fields(m.ERROR_RESPONSE, fields)


def remark(message: str, severity: str = "NOTICE", **more: str) -> bytes:
    """A NoticeResponse."""
    fields = {"S": severity, "V": severity, "C": "00000", "M": message, **more}
    return m.error_fields(m.NOTICE_RESPONSE, fields)


def notification(payload: str) -> bytes:
    return m.frame(m.NOTIFICATION_RESPONSE, b"\0\0\0\7" + m.cstring("channel") + m.cstring(payload))


SYNTAX_ERROR = failure("42601", 'syntax error at or near "sallyport"')
"""What the database says to a rejected statement."""
NO_SUCH_PORTAL = failure("34000", 'portal "sallyport: refused" does not exist')
NO_SUCH_STATEMENT = failure("26000", 'prepared statement "sallyport: refused" does not exist')
