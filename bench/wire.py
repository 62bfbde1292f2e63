"""A client that costs next to nothing: it counts what comes until the server is ready again."""

import fcntl
import socket
import termios
from array import array

from tests.wireclient import WireClient, message, query, string

READY = b"Z\0\0\0\5I"
BUFFER_BYTES = 1 << 20
TAIL_BYTES, DISCARDED_BYTES_MIN = 64, 1 << 14


class BulkClient:
    """Whole results of a connection that is logged in, without looking at their rows. `discards`:
    the kernel does not even hand them over, so that many clients cost little."""

    def __init__(self, uri: str, discards: bool = False) -> None:
        self._client = WireClient.login(uri, seconds=120.0)
        self._discards = discards
        self._buffer = bytearray(BUFFER_BYTES)

    def simple(self, text: str) -> int:
        """-> bytes received. Raises RuntimeError when the last message was no success."""
        return self._run(query(text))

    def binary(self, text: str) -> int:
        """By the extended protocol, every column in binary format."""
        parse = message("P", b"\0" + string(text) + b"\0\0")
        bind = message("B", b"\0\0" + b"\0\0\0\0" + b"\0\1\0\1")
        return self._run(parse, bind, message("D", b"P\0"), message("E", b"\0" + bytes(4)), SYNC)

    def _run(self, *pieces: bytes) -> int:
        client, view = self._client, memoryview(self._buffer)
        client.send(*pieces)
        total, tail = 0, b""
        while not tail.endswith(READY):
            total += self._discard() if self._discards else 0
            count = client.socket.recv_into(view)
            if not count:
                raise RuntimeError("the server went away")
            total += count
            tail = (tail + bytes(view[max(0, count - TAIL_BYTES) : count]))[-TAIL_BYTES:]
        if b"C\0\0\0" not in tail:
            raise RuntimeError(f"not completed: {tail!r}")
        return total

    def _discard(self) -> int:
        """All that is there but the end, in which the last message may be ("tcp(7)", MSG_TRUNC).
        -> bytes"""
        found = array("i", [0])
        fcntl.ioctl(self._client.socket, termios.FIONREAD, found)
        if found[0] < DISCARDED_BYTES_MIN:
            return 0
        more = found[0] - TAIL_BYTES
        return self._client.socket.recv_into(
            self._buffer, min(more, BUFFER_BYTES), socket.MSG_TRUNC
        )

    def close(self) -> None:
        self._client.socket.close()


SYNC = message("S")
