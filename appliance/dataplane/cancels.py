"""Cancel keys: minted for clients, mapped to the upstream's own, routed to whichever worker has the
session.

Used by `listener` (a CancelRequest arrives), `login` (a key is minted) and `conductor` (a session
ends). Rule: the upstream's secret never leaves; the process id is the upstream's, because tools
compare it with pg_backend_pid(). A cancel that this worker does not know is told to the others over
datagram sockets in the private run folder.
"""

import asyncio
import contextlib
import hmac
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

SECRET_BYTES_30 = 4
SECRET_BYTES_32 = 32
DATAGRAM_BYTES_MAX = 1024


class _Routed(msgspec.Struct, frozen=True):
    pid: int
    secret: bytes


class Cancels:
    """One per worker."""

    def __init__(self, folder: Path, worker: int, workers: int) -> None:
        self._folder = folder
        self._worker = worker
        self._workers = workers
        self._sessions: dict[int, list[tuple[bytes, Callable[[], None]]]] = {}
        self._socket: socket.socket | None = None
        self.routed = 0
        self.unknown = 0

    def _path(self, worker: int) -> str:
        return str(self._folder / f"cancel-{worker}.sock")

    def open(self) -> None:
        """Starts hearing from the other workers. Raises OSError."""
        own = Path(self._path(self._worker))
        own.unlink(missing_ok=True)
        endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        endpoint.setblocking(False)
        endpoint.bind(str(own))
        self._socket = endpoint
        asyncio.get_running_loop().add_reader(endpoint, self._heard)

    def close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
            Path(self._path(self._worker)).unlink(missing_ok=True)

    def mint(self, pid: int, minor: int, cancel: Callable[[], None]) -> bytes:
        """A new secret for a client; `cancel` is called when it comes back."""
        secret = secrets.token_bytes(SECRET_BYTES_32 if minor >= 2 else SECRET_BYTES_30)
        self._sessions.setdefault(pid, []).append((secret, cancel))
        return secret

    def forget(self, pid: int, secret: bytes) -> None:
        left = [entry for entry in self._sessions.get(pid, ()) if entry[0] != secret]
        if left:
            self._sessions[pid] = left
        else:
            self._sessions.pop(pid, None)

    def request(self, pid: int, secret: bytes) -> None:
        """A client's CancelRequest."""
        if self._apply(pid, secret) or self._socket is None:
            return
        message = msgspec.msgpack.encode(_Routed(pid, secret))
        for worker in range(self._workers):
            if worker != self._worker:
                with contextlib.suppress(OSError):  # a worker that restarts has no sessions
                    self._socket.sendto(message, self._path(worker))
        if self._workers == 1:
            self.unknown += 1

    def _apply(self, pid: int, secret: bytes) -> bool:
        for known, cancel in self._sessions.get(pid, ()):
            if hmac.compare_digest(known, secret):
                self.routed += 1
                cancel()
                return True
        return False

    def _heard(self) -> None:
        assert self._socket is not None
        for _ in range(64):
            try:
                message = self._socket.recv(DATAGRAM_BYTES_MAX)
            except OSError:
                return
            try:
                routed = msgspec.msgpack.decode(message, type=_Routed)
            except msgspec.MsgspecError:
                self.unknown += 1
                continue
            if not self._apply(routed.pid, routed.secret):
                self.unknown += 1
