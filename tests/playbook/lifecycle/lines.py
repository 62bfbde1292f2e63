"""What a database says in the playbooks, in short words."""

import struct

from tests.playbook.lifecycle.book import CUSTOMERS, INT4, TEXT
from tests.wireclient import message, string

PARSED, BOUND, CLOSED = message("1"), message("2"), message("3")
NO_DATA, SUSPENDED, EMPTY = message("n"), message("s"), message("I")
READY, IN_TRANSACTION, FAILED = message("Z", b"I"), message("Z", b"T"), message("Z", b"E")
COPY_IN = message("G", b"\0\0\1\0\0")
COPY_OUT = message("H", b"\0\0\1\0\0")
COPY_ENDS = message("c")


def complete(tag: str) -> bytes:
    return message("C", string(tag))


def described(*columns: tuple[str, int, int, int], form: int = 0) -> bytes:
    """RowDescription of (name, table OID, attribute number, type OID)."""
    body = struct.pack("!H", len(columns))
    for name, table, attribute, kind in columns:
        body += string(name) + struct.pack("!IhIhih", table, attribute, kind, -1, -1, form)
    return message("T", body)


def row(*values: bytes | None) -> bytes:
    body = struct.pack("!H", len(values))
    for value in values:
        body += b"\xff\xff\xff\xff" if value is None else struct.pack("!I", len(value)) + value
    return message("D", body)


def failed(sqlstate: str, text: str = "no", **fields: str) -> bytes:
    parts = {"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": text, **fields}
    return message("E", b"".join(k.encode() + string(v) for k, v in parts.items()) + b"\0")


SSN = ("ssn", CUSTOMERS, 3, TEXT)
NAME = ("name", CUSTOMERS, 2, TEXT)
ONE = ("?column?", 0, 0, INT4)
