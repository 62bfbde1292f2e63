"""What a client is told at login and at the end of its session, as error packets
("Protocol::ERR_Packet").

Called by `client_login`, and through `dataplane/protocols` by `listener` and `conductor`. Rule: the
SQLSTATEs that the appliance speaks of everywhere are mapped to the error numbers by which MySQL's
clients know the same thing (MySQL documentation, "Server Error Message Reference").
"""

import struct

from appliance.model.refusal import Refusal
from appliance.wire.mysql.fields import Reader

ERROR = 0xFF
UNKNOWN = 1105  # ER_UNKNOWN_ERROR, HY000
GONE = "08006"
"""The database is gone, or closed the connection: a server that does says nothing, and by that (CR
2006 and 2013) clients know when to connect again."""
_NUMBERS: dict[str, tuple[int, str]] = {
    "28000": (1045, "28000"),  # ER_ACCESS_DENIED_ERROR
    "28P01": (1045, "28000"),
    "3D000": (1049, "42000"),  # ER_BAD_DB_ERROR
    "42501": (1227, "42000"),  # ER_SPECIFIC_ACCESS_DENIED_ERROR
    "53300": (1040, "08004"),  # ER_CON_COUNT_ERROR
    "08P01": (1835, "HY000"),  # ER_MALFORMED_PACKET
    "08001": (1429, "HY000"),  # ER_CONNECT_TO_FOREIGN_DATA_SOURCE
    "70100": (1927, "70100"),  # ER_CONNECTION_KILLED
    "57P01": (1053, "08S01"),  # ER_SERVER_SHUTDOWN
    "57P05": (1159, "08S01"),  # ER_NET_READ_INTERRUPTED
    "57014": (1317, "70100"),  # ER_QUERY_INTERRUPTED
    "42601": (1064, "42000"),  # ER_PARSE_ERROR
    "42P01": (1146, "42S02"),  # ER_NO_SUCH_TABLE
    "42703": (1054, "42S22"),  # ER_BAD_FIELD_ERROR
    "42883": (1305, "42000"),  # ER_SP_DOES_NOT_EXIST
    "3F000": (1049, "42000"),
    "0A000": (1235, "42000"),  # ER_NOT_SUPPORTED_YET
    "42704": (1094, "HY000"),  # ER_NO_SUCH_THREAD
    "26000": (1243, "HY000"),  # ER_UNKNOWN_STMT_HANDLER
    "53400": (1461, "42000"),  # ER_MAX_PREPARED_STMT_COUNT_REACHED
    "54000": (1226, "42000"),  # ER_USER_LIMIT_REACHED
    "54001": (1153, "08S01"),  # ER_NET_PACKET_TOO_LARGE
    "40001": (1213, "40001"),  # ER_LOCK_DEADLOCK: programs try again
}


def number(sqlstate: str) -> tuple[int, str]:
    """The appliance's SQLSTATE -> (error number, SQLSTATE) as MySQL has them."""
    return _NUMBERS.get(sqlstate, (UNKNOWN, "HY000"))


def error_payload(code: int, sqlstate: str, message: str) -> bytes:
    """`sqlstate` "" for an error in place of a greeting: it has none there."""
    marked = b"#" + sqlstate.encode("ascii", "replace").ljust(5)[:5] if sqlstate else b""
    return struct.pack("<BH", ERROR, code) + marked + message.encode()[:MESSAGE_BYTES_MAX]


MESSAGE_BYTES_MAX = 2_048


def last_words(sqlstate: str, message: str, hint: str = "") -> bytes:
    """Payload of the last packet before a connection ends."""
    code, state = number(sqlstate)
    return error_payload(code, state, f"{message}; {hint}" if hint else message)


def refused_words(refusal: Refusal) -> bytes:
    """The same for a refusal. There is one text: for people first, then what programs look for."""
    code, state = number(refusal.sqlstate)
    said = [refusal.message.removesuffix(".")]
    if refusal.remedy:
        said.append(refusal.remedy)
    said.append(f"code: {refusal.code.value}")
    if refusal.rule:
        said.append(f"rule: {refusal.rule}")
    if refusal.reference:
        said.append(f"quote {refusal.reference}")
    if refusal.detail:
        said.append(refusal.detail)
    return error_payload(code, state, "; ".join(said))


def parse_error(payload: bytes) -> dict[str, str]:
    """A database's error: C (SQLSTATE), M (message), N (number)."""
    reader = Reader(payload, "upstream")
    reader.u8()
    code = reader.u16()
    state = "HY000"
    if payload[3:4] == b"#":
        state = reader.take(6)[1:].decode("ascii", "replace")
    return {"C": state, "M": reader.rest().decode("utf-8", "replace"), "N": str(code)}
