"""A client that costs next to nothing: it counts what comes until the server is ready again."""

from tests.wireclient import WireClient, message, query, string

READY = b"Z\0\0\0\5I"
BUFFER_BYTES = 1 << 20


class BulkClient:
    """Whole results of a connection that is logged in, without looking at their rows."""

    def __init__(self, uri: str) -> None:
        self._client = WireClient.login(uri, seconds=120.0)
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
            count = client.socket.recv_into(view)
            if not count:
                raise RuntimeError("the server went away")
            total += count
            tail = (tail + bytes(view[max(0, count - 64) : count]))[-64:]
        if b"C\0\0\0" not in tail:
            raise RuntimeError(f"not completed: {tail!r}")
        return total

    def close(self) -> None:
        self._client.socket.close()


SYNC = message("S")
