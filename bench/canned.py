"""`python -m bench.canned URI`: a PostgreSQL that answers one kind of query as fast as sockets can.

It relays to the real server, but a text that ends in `LIMIT 1000000 /*canned*/` goes there with
`LIMIT 1`, and the row that comes back (by COPY, too) is sent on a million times (its first
thousand, again and again), out of memory. So logins, catalogs and every message but the rows are
the real server's. Prints `port N`.
"""

import contextlib
import os
import socket
import sys
import threading
from urllib.parse import urlsplit

from bench.stage import BULK_ROWS
from tests.wireclient import WireClient, message, query, string

MARK, SENT = b"LIMIT 1000000 /*canned*/", b"LIMIT 1       /*canned*/"
BLOCK_ROWS, RUN_ROWS = 1_000, 50_000
COLUMNS = 6
BLOCK = f"SELECT id, name, mail, city, amount, day FROM bulk WHERE id <= {BLOCK_ROWS} ORDER BY id"


class Canned:
    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        self._server = (parts.hostname or "", parts.port or 5432)
        client = WireClient.login(uri)
        binary = message("B", b"\0\0" + bytes(4) + b"\0\1\0\1")
        extended = (message("P", b"\0" + string(BLOCK) + bytes(2)), binary)
        blocks = [
            [message(kind, row.body) for row in client.ask(*pieces) if row.kind == kind]
            for kind, pieces in (
                ("D", (query(BLOCK),)),
                ("D", (*extended, message("E", bytes(5)), message("S"))),
                ("d", (query(f"COPY ({BLOCK}) TO STDOUT"),)),
            )
        ]
        client.socket.close()
        self._runs = {rows[0]: _in_memory(b"".join(rows)) for rows in blocks}

    def serve(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            print(f"port {listening.getsockname()[1]}", flush=True)
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(self._server)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                armed = threading.Event()
                for work in (self._there, self._back):
                    threading.Thread(target=work, args=(client, server, armed), daemon=True).start()

    def _there(self, client: socket.socket, server: socket.socket, armed: threading.Event) -> None:
        while chunk := _received(client):
            if MARK in chunk:
                armed.set()
                chunk = chunk.replace(MARK, SENT)
            server.sendall(chunk)
        _end(server)

    def _back(self, client: socket.socket, server: socket.socket, armed: threading.Event) -> None:
        kept = b""
        while chunk := _received(server):
            kept += chunk
            if armed.is_set():
                kept = self._multiplied(client, kept, armed)
            if not armed.is_set():
                client.sendall(kept)
                kept = b""
        _end(client)

    def _multiplied(self, client: socket.socket, content: bytes, armed: threading.Event) -> bytes:
        """Sends whole messages on, the awaited row a million times; -> the rest."""
        while len(content) >= 5:
            length = int.from_bytes(content[1:5], "big") + 1
            if len(content) < length:
                break
            frame, content = content[:length], content[length:]
            run = self._runs.get(frame)
            if run is not None:
                for _ in range(BULK_ROWS // RUN_ROWS):
                    _send_file(client, *run)
                armed.clear()
                return counted(content)
            client.sendall(frame)
            if frame[:1] == b"E":
                armed.clear()
                return content
        return content


def counted(ending: bytes) -> bytes:
    """What follows the row, as if there had been a million of it."""
    for tag in (b"SELECT", b"COPY"):
        one, all_of_them = (tag + b" %d\0" % rows for rows in (1, BULK_ROWS))
        ending = ending.replace(_tagged(one), _tagged(all_of_them))
    return ending


def _tagged(tag: bytes) -> bytes:
    return message("C", tag)


def _in_memory(block: bytes) -> tuple[int, int]:
    """(a file in memory, its size): a run of blocks, which the kernel sends without a copy."""
    file = os.memfd_create("rows")
    size = 0
    for _ in range(RUN_ROWS // BLOCK_ROWS):
        size += os.write(file, block)
    return file, size


def _send_file(to: socket.socket, file: int, size: int) -> None:
    sent = 0
    while sent < size:
        sent += os.sendfile(to.fileno(), file, sent, size - sent)


def _received(side: socket.socket) -> bytes:
    try:
        return side.recv(1 << 16)
    except OSError:
        return b""


def _end(side: socket.socket) -> None:
    with contextlib.suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    Canned(sys.argv[1]).serve()
