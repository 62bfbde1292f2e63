"""A worker's end of the link to the control process: who waits for which approval.

One per worker, made by `worker`; conductors ask, use and withdraw through it. Rules: only
`Used(ok)` releases a statement; while the link stays down nothing new can be held (it is refused),
what waits goes on waiting and is asked again after a reconnect; a use whose answer got lost is said
again as the same attempt, which control gives once. Every answer has a deadline.
"""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from appliance.approval.request import ENDED, Asked, State
from appliance.link.approvals import (
    FRAME_BYTES_MAX,
    VERSION,
    Ask,
    ControlMessage,
    EndSession,
    Greet,
    Known,
    Ruled,
    Sessions,
    SessionSeen,
    Unstored,
    Use,
    Used,
    Welcome,
    Withdraw,
    WorkerApprovalMessage,
    control_messages,
)
from appliance.link.codec import LinkBroken, encode_message
from appliance.telemetry.log import Log

AWAY_SECONDS_MAX = 3.0
"""How long somebody who asks waits for control to come up, or back."""
ANSWER_SECONDS_MAX = 10.0
"""For Known and Used: control stores before it answers."""
STARTING_TRIES = 8
"""How often control may not be there yet before that is said; some seconds."""
ATTEMPT_BYTES = 16
RECONNECT_SECONDS = (0.1, 0.2, 0.5, 1.0)
"""Pauses between tries, the last one from then on."""
RECEIVE_BYTES = 256 * 1024
UNSENT_BYTES_MAX = 64 * 1024 * 1024
"""Bytes that control has not taken yet above which nothing more is asked."""

log = Log("approvals")


class Failed(NamedTuple):
    """In place of an answer."""

    reason: str


Answer = Known | Ruled | Used | Failed


class Waiter(Protocol):
    """A session with a held statement; at most one each."""

    def approval(self, answer: Answer) -> None: ...


class _Wait:
    """What one session waits for."""

    __slots__ = ("asked", "deadline", "request", "use", "waiter", "waits")

    def __init__(self, waiter: Waiter, asked: Asked, waits: bool) -> None:
        self.waiter = waiter
        self.asked = asked
        self.waits = waits
        self.request = ""
        """Under which control keeps it, when that is known."""
        self.use: Use | None = None
        """What was said to use it; the same again after a reconnect."""
        self.deadline: asyncio.TimerHandle | None = None


class ApprovalLink:
    """See the module's docstring. Belongs to the worker's event loop."""

    def __init__(
        self, path: Path, node: str, worker: int, end: Callable[[EndSession], None]
    ) -> None:
        self._path = path
        self._node = node or socket.gethostname()
        self._worker = worker
        self._end = end
        self._waits: dict[Waiter, _Wait] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._running: asyncio.Task[None] | None = None
        self._reached = False
        """Whether the last connection came to something."""

    @property
    def connected(self) -> bool:
        return self._writer is not None

    @property
    def node(self) -> str:
        return self._node

    def start(self) -> None:
        self._running = asyncio.create_task(self._run(), name="approvals")

    async def close(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            self._running = None

    # --- what sessions want -----------------------------------------------------------------------

    def ask(self, waiter: Waiter, asked: Asked, waits: bool) -> None:
        """The answer is Known or Failed; then, where it `waits`, Ruled."""
        wait = self._waits[waiter] = _Wait(waiter, asked, waits)
        self._expect(wait, Ask(asked, waits))

    def use(self, waiter: Waiter, request: str, binding: str) -> None:
        """The answer is Used or Failed."""
        wait = self._waits.get(waiter)
        if wait is None:
            return
        wait.use = Use(request, binding, wait.asked.session, secrets.token_hex(ATTEMPT_BYTES))
        self._expect(wait, wait.use)

    def withdraw(self, waiter: Waiter, reason: str) -> None:
        """Nobody waits any longer."""
        wait = self._forget(waiter)
        if wait is not None:
            self._say(Withdraw(wait.request or wait.asked.id, reason))

    def _forget(self, waiter: Waiter) -> _Wait | None:
        wait = self._waits.pop(waiter, None)
        if wait is not None and wait.deadline is not None:
            wait.deadline.cancel()
        return wait

    def tell_sessions(self, sessions: Sequence[SessionSeen]) -> None:
        self._say(Sessions(tuple(sessions)))

    def _expect(self, wait: _Wait, message: WorkerApprovalMessage) -> None:
        said = self._say(message)
        seconds = ANSWER_SECONDS_MAX if said else AWAY_SECONDS_MAX
        reason = f"the control process {'does not answer' if said else 'is away'}"
        wait.deadline = asyncio.get_running_loop().call_later(seconds, self._fail, wait, reason)

    def _fail(self, wait: _Wait, reason: str) -> None:
        if self._waits.get(wait.waiter) is wait:
            self.withdraw(wait.waiter, "failed")
            wait.waiter.approval(Failed(reason))

    def _say(self, message: WorkerApprovalMessage) -> bool:
        writer = self._writer
        if writer is None or writer.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            return False
        try:
            writer.write(encode_message(message, FRAME_BYTES_MAX))
        except LinkBroken:
            return False  # longer than a frame may be
        return True

    # --- the link ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        """A supervisor starts workers and control at once: that it is not there yet is no news."""
        tries, reached = 0, False
        while True:
            try:
                await self._connected()
            except (OSError, LinkBroken, TimeoutError) as error:
                reached, tries = reached or self._reached, 0 if self._reached else tries
                if tries == (0 if reached else STARTING_TRIES):
                    log.warning("control_away", reason=type(error).__name__)
                self._reached = False
            await asyncio.sleep(RECONNECT_SECONDS[min(tries, len(RECONNECT_SECONDS) - 1)])
            tries += 1

    async def _connected(self) -> None:
        """From a connection to its end. Raises what ends it."""
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            writer.write(encode_message(Greet(VERSION, self._node, self._worker, os.getpid())))
            messages = control_messages()
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                first = await _some(reader, messages.feed)
            if not isinstance(first[0], Welcome) or first[0].version != VERSION:
                raise LinkBroken("another version")
            self._writer, self._reached = writer, True
            log.info("control_reached", waiting=len(self._waits))
            self._ask_again()
            arrived = first[1:]
            while True:
                for message in arrived:
                    self._take(message)
                arrived = await _some(reader, messages.feed)
        finally:
            self._writer = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _ask_again(self) -> None:
        for wait in list(self._waits.values()):
            self._say(wait.use or Ask(wait.asked, wait.waits))

    def _take(self, message: ControlMessage) -> None:
        match message:
            case Known():
                self._known(message)
            case Ruled(request=request):
                for wait in [w for w in self._waits.values() if w.request == request]:
                    self._ruled(wait, message)
            case Used(request=request, session=session):
                self._used(message, request, session)
            case Unstored(id=id, reason=reason):
                for wait in [w for w in self._waits.values() if id in (w.asked.id, w.request)]:
                    self._fail(wait, reason)
            case EndSession():
                self._end(message)
            case Welcome():
                raise LinkBroken("a second greeting")

    def _known(self, known: Known) -> None:
        for wait in [w for w in self._waits.values() if w.asked.id == known.id]:
            if wait.deadline is not None:
                wait.deadline.cancel()
            again = bool(wait.request)
            wait.request = known.request
            if again:  # after a reconnect: what happened meanwhile
                ruled = Ruled(known.request, known.state, known.by, known.reason)
                self._ruled(wait, ruled)
                continue
            if known.state in ENDED or (known.state is State.PENDING and not wait.waits):
                self._forget(wait.waiter)  # that is all: a refusal, or a ticket
            wait.waiter.approval(known)

    def _ruled(self, wait: _Wait, ruled: Ruled) -> None:
        if ruled.state in ENDED:
            self._forget(wait.waiter)
        wait.waiter.approval(ruled)

    def _used(self, used: Used, request: str, session: str) -> None:
        for wait in list(self._waits.values()):
            if wait.use and wait.request == request and wait.asked.session == session:
                self._forget(wait.waiter)
                wait.waiter.approval(used)


async def _some(
    reader: asyncio.StreamReader, feed: Callable[[bytes], list[ControlMessage]]
) -> list[ControlMessage]:
    """At least one message. Raises LinkBroken at the end of the stream."""
    while True:
        chunk = await reader.read(RECEIVE_BYTES)
        if not chunk:
            raise LinkBroken("closed")
        if found := feed(chunk):
            return found
