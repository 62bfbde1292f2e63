"""What a MySQL server says, for tests: payloads built field by field from the documentation."""

import struct

from appliance.wire.mysql.fields import lenenc, lenenc_bytes

VARCHAR, LONG, LONGLONG = 0xFD, 0x03, 0x08
UTF8MB4 = 45


def ok(
    affected: int = 0, status: int = 2, words: bytes = b"", header: int = 0, tracked: bool = False
) -> bytes:
    head = bytes((header,)) + lenenc(affected) + b"\0" + struct.pack("<HH", status, 0)
    if tracked:
        return head + (lenenc_bytes(words) if words else b"")
    return head + words


def eof(status: int = 2) -> bytes:
    return b"\xfe" + struct.pack("<HH", 0, status)


def error(number: int = 1064, sqlstate: bytes = b"42000", words: bytes = b"no") -> bytes:
    return b"\xff" + struct.pack("<H", number) + b"#" + sqlstate + words


def column(
    name: str,
    table: str = "",
    schema: str = "shop",
    kind: int = VARCHAR,
    flags: int = 0,
    length: int = 1020,
    org_name: str | None = None,
) -> bytes:
    """Of a table's column, or (`table` '') computed."""
    names = (
        "def",
        schema if table else "",
        table,
        table,
        name,
        (name if org_name is None else org_name) if table else "",
    )
    fixed = struct.pack("<HIBHB", UTF8MB4, length, kind, flags, 0)
    return b"".join(lenenc_bytes(n.encode()) for n in names) + b"\x0c" + fixed + b"\0\0"


def text_row(*cells: str | None) -> bytes:
    return b"".join(b"\xfb" if cell is None else lenenc_bytes(cell.encode()) for cell in cells)


def prepared(statement: int, columns: int, parameters: int) -> bytes:
    return b"\0" + struct.pack("<IHHBH", statement, columns, parameters, 0, 0)
