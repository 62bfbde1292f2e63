"""`wire.BulkClient` for MySQL: counts what comes until the packet that ends the rows."""

from typing import Any
from urllib.parse import urlsplit

import pymysql

from bench.wire import BUFFER_BYTES

QUERY, PREPARE, EXECUTE = 0x03, 0x16, 0x17
NOT_ENDED = 0x08 | 0x40
"""SERVER_MORE_RESULTS_EXISTS, SERVER_STATUS_CURSOR_EXISTS: no such end is due."""
END_BYTES = 9
SECONDS_MAX = 120


class MyBulkClient:
    """PyMySQL logs in; then its socket is read without looking at the rows."""

    def __init__(self, uri: str) -> None:
        place = urlsplit(uri)
        self._connection: pymysql.connections.Connection[Any] = pymysql.connect(
            host=place.hostname,
            port=place.port or 0,
            user=place.username,
            password=place.password or "",
            database=place.path.strip("/"),
            read_timeout=SECONDS_MAX,
        )
        self._socket = self._connection._sock  # type: ignore[attr-defined]
        self._buffer = bytearray(BUFFER_BYTES)

    def simple(self, text: str) -> int:
        """-> bytes received. Raises RuntimeError when they do not end as rows do."""
        return self._run(bytes((QUERY,)) + text.encode())

    def binary(self, text: str) -> int:
        """By a prepared statement, which gives rows in binary form."""
        self._send(bytes((PREPARE,)) + text.encode())
        answer = self._connection._read_packet().get_all_data()  # type: ignore[attr-defined]
        for _ in range(int.from_bytes(answer[5:7], "little") + 1):
            self._connection._read_packet()  # type: ignore[attr-defined]
        return self._run(bytes((EXECUTE,)) + answer[1:5] + b"\0" + (1).to_bytes(4, "little"))

    def _send(self, payload: bytes) -> None:
        self._socket.sendall(len(payload).to_bytes(3, "little") + b"\0" + payload)
        self._connection._next_seq_id = 1  # type: ignore[attr-defined]

    def _run(self, payload: bytes) -> int:
        self._send(payload)
        view = memoryview(self._buffer)
        total, tail = 0, b""
        while total < END_BYTES * 3 or not _ends(tail):
            count = self._socket.recv_into(view)
            if not count:
                raise RuntimeError("the server went away")
            total += count
            tail = (tail + bytes(view[max(0, count - END_BYTES) : count]))[-END_BYTES:]
            if total < END_BYTES * 3 and view[4] == 0xFF:
                raise RuntimeError(f"failed: {bytes(view[:count])!r}")
        return total

    def close(self) -> None:
        self._connection.close()


def _ends(tail: bytes) -> bool:
    """The packet behind the last row (PyMySQL does not ask for CLIENT_DEPRECATE_EOF)."""
    return tail[:3] == b"\5\0\0" and tail[4] == 0xFE and not tail[7] & NOT_ENDED
