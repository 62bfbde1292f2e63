"""Cancel keys: minted for clients, mapped to the upstream's own, routed to whichever worker has the
session.

Used by `listener` (a CancelRequest arrives), `login` (a key is minted) and `conductor` (a session
ends). Rule: the upstream's secret never leaves; the process id is the upstream's, because tools
compare it with pg_backend_pid(). A cancel that this worker does not know is told to the others over
datagram sockets in the private run folder. Clients take the end of the cancel connection as "it is
delivered" and send their next statement, so a request ends only when the database has taken it.
"""

import asyncio
import hmac
import secrets
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from appliance.model.ending import Ending
from appliance.model.principal import Principal

SECRET_BYTES_30 = 4
SECRET_BYTES_32 = 32
DATAGRAM_BYTES_MAX = 1024


DELIVERY_SECONDS_MAX = 5.0
ANNOUNCE_SECONDS_MAX = 2.0


class _Asked(msgspec.Struct, frozen=True, tag="asked"):
    """Of another worker: cancel this, and say when it is done."""

    pid: int
    secret: bytes
    asker: int
    ticket: int


class _Answered(msgspec.Struct, frozen=True, tag="answered"):
    """Delivered, or not a session of that worker."""

    ticket: int
    delivered: bool


class SchemaChange(msgspec.Struct, frozen=True, tag="schema"):
    """A session of this worker begins, or has ended, a schema change (see `catalogs`)."""

    target: str
    database: str
    session: str
    begun: bool
    asker: int = -1
    ticket: int = 0
    """Where to answer that it was heard, 0 = nowhere."""


class _Ticket:
    """A request told to other workers: over when one delivered it or all have answered."""

    def __init__(self, asked: int, *, cancel: bool = True) -> None:
        self.left = asked
        self.cancel = cancel
        self.delivered = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()


Cancel = Callable[[], "asyncio.Task[bool] | None"]
"""Starts the delivery; the task ends when the database has taken it. None: nothing to cancel."""


def own_key(principal: Principal, statement_only: bool) -> bytes:
    """In place of a secret: who may end a session, or what it runs. Workers alone make it."""
    what = "statement" if statement_only else "session"
    return f"{what} of {principal.source}: {principal.name}".encode()


class Endable(Protocol):
    """A session, to whoever may end it or what it runs."""

    def cancel(self) -> "asyncio.Task[bool] | None": ...
    def ended_by_own(self) -> None: ...


class Cancels:
    """One per worker."""

    def __init__(self, folder: Path, worker: int, workers: int) -> None:
        self._folder = folder
        self._worker = worker
        self._workers = workers
        self._sessions: dict[int, list[tuple[bytes, Cancel]]] = {}
        self._tickets: dict[int, _Ticket] = {}
        self._last_ticket = 0
        self._socket: socket.socket | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self.on_schema_change: Callable[[SchemaChange], None] | None = None
        """Told of those in other workers."""
        self.routed = 0
        self.unknown = 0
        self.passing: Counter[tuple[int, bytes]] = Counter()
        """Clients, of all workers, that wait for a request to be delivered; by the key of theirs
        that is one of this worker's."""

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

    def mint(self, pid: int, minor: int, cancel: Cancel) -> bytes:
        """A new secret for a client; `cancel` is called when it comes back."""
        secret = secrets.token_bytes(SECRET_BYTES_32 if minor >= 2 else SECRET_BYTES_30)
        self.register(pid, secret, cancel)
        return secret

    def register(self, pid: int, secret: bytes, cancel: Cancel) -> None:
        """`cancel` is called when somebody comes with both: for protocols whose clients cancel over
        another session of their own, `secret` says whose and what (`own_key`)."""
        self._sessions.setdefault(pid, []).append((secret, cancel))

    def forget(self, pid: int, secret: bytes) -> None:
        left = [entry for entry in self._sessions.get(pid, ()) if entry[0] != secret]
        if left:
            self._sessions[pid] = left
        else:
            self._sessions.pop(pid, None)

    async def end_own(self, ending: Ending, principal: Principal | None) -> bool:
        """-> whether that session is this principal's."""
        if principal is None:
            return False
        return await self.request(ending.number, own_key(principal, ending.statement_only))

    async def request(self, pid: int, secret: bytes) -> bool:
        """A client's wish: returns when it is delivered, unknown, or time is up. -> whether any
        worker has such a session."""
        known, delivery = self._apply(pid, secret)
        if known:
            if delivery is not None:
                await self._delivered(pid, secret, delivery)
            return True
        self._last_ticket = number = self._last_ticket + 1
        ticket = _Ticket(self._ask(pid, secret, number))
        if not ticket.left:
            self.unknown += 1
            return False
        self._tickets[number] = ticket
        try:
            await asyncio.wait((ticket.over,), timeout=DELIVERY_SECONDS_MAX)
        finally:
            del self._tickets[number]
        return ticket.delivered

    def _ask(self, pid: int, secret: bytes, number: int) -> int:
        """-> how many workers were asked."""
        asked = 0
        message = _Asked(pid, secret, self._worker, number)
        for worker in range(self._workers):
            if worker != self._worker:
                asked += self._tell(worker, message)
        return asked

    def _tell(self, worker: int, message: _Asked | _Answered | SchemaChange) -> bool:
        if self._socket is None:
            return False
        try:
            self._socket.sendto(msgspec.msgpack.encode(message), self._path(worker))
        except OSError:  # a worker that restarts has no sessions and needs no answer
            return False
        return True

    def _apply(self, pid: int, secret: bytes) -> "tuple[bool, asyncio.Task[bool] | None]":
        for known, cancel in self._sessions.get(pid, ()):
            if hmac.compare_digest(known, secret):
                self.routed += 1
                return True, cancel()
        return False, None

    async def _delivered(self, pid: int, secret: bytes, delivery: "asyncio.Task[bool]") -> None:
        """Returns then, or when its client is told anyway."""
        key = pid, secret
        self.passing[key] += 1
        try:
            await asyncio.wait((delivery,), timeout=DELIVERY_SECONDS_MAX)
        finally:
            self.passing[key] -= 1
            if not self.passing[key]:
                del self.passing[key]

    def tell(self, change: SchemaChange) -> int:
        """To all other workers. -> how many."""
        others = (worker for worker in range(self._workers) if worker != self._worker)
        return sum(self._tell(worker, change) for worker in others)

    async def announce(self, change: SchemaChange) -> None:
        """Returns when all other workers have heard it; a hung one is not waited for longer than
        a moment.
        """
        self._last_ticket = number = self._last_ticket + 1
        asked = self.tell(msgspec.structs.replace(change, asker=self._worker, ticket=number))
        if not asked:
            return
        ticket = self._tickets[number] = _Ticket(asked, cancel=False)
        try:
            await asyncio.wait((ticket.over,), timeout=ANNOUNCE_SECONDS_MAX)
        finally:
            del self._tickets[number]

    def _heard(self) -> None:
        for _ in range(64):
            if self._socket is None:
                return
            try:
                received = self._socket.recv(DATAGRAM_BYTES_MAX)
            except OSError:
                return
            try:
                message = msgspec.msgpack.decode(received, type=_Asked | _Answered | SchemaChange)
            except msgspec.MsgspecError:
                self.unknown += 1
                continue
            if isinstance(message, _Asked):
                self._asked(message)
            elif isinstance(message, SchemaChange):
                if self.on_schema_change is not None:
                    self.on_schema_change(message)
                if message.ticket:
                    self._tell(message.asker, _Answered(message.ticket, False))
            else:
                self._answered(message)

    def _asked(self, message: _Asked) -> None:
        known, delivery = self._apply(message.pid, message.secret)
        answer = _Answered(message.ticket, known)
        if delivery is None:
            self._tell(message.asker, answer)
        else:
            delivery.add_done_callback(lambda _: self._tell(message.asker, answer))
            waiting = asyncio.ensure_future(self._delivered(message.pid, message.secret, delivery))
            self._waiting.add(waiting)
            waiting.add_done_callback(self._waiting.discard)

    def _answered(self, message: _Answered) -> None:
        ticket = self._tickets.get(message.ticket)
        if ticket is None or ticket.over.done():
            return
        ticket.left -= 1
        if message.delivered or not ticket.left:
            self.unknown += ticket.cancel and not message.delivered
            ticket.delivered = message.delivered
            ticket.over.set_result(None)
