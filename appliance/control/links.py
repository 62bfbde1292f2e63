"""Workers' links to the control process: what they ask is answered, what is decided they hear.

Run by `main`; the other end is `dataplane/approvals`, the language `link/approvals`. Rules: only a
process of our own user (or root) is listened to; everything is bounded, and a worker that does not
read is cut off; an answer is sent only after what it says is stored; who waited and is gone for
GRACE_SECONDS, because its worker or we were restarted, has withdrawn.
"""

import asyncio
import contextlib
import os
import socket
import stat
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

from appliance.approval.request import ENDED, Request, State
from appliance.control.changes import Changes
from appliance.control.desk import Change, DeskError, LiveSession, Unavailable
from appliance.control.held import Held
from appliance.control.policies import KIND as POLICY_CHANGE
from appliance.control.policy_telling import PolicyTelling
from appliance.control.sockets import SocketError
from appliance.link.approvals import (
    FRAME_BYTES_MAX,
    SESSIONS_MAX,
    SUPERVISOR,
    VERSION,
    Applied,
    Ask,
    ControlMessage,
    EndSession,
    Greet,
    Known,
    Propose,
    Ruled,
    Sessions,
    SessionSeen,
    Unstored,
    Use,
    Used,
    Welcome,
    Withdraw,
    WorkerApprovalMessage,
    worker_messages,
)
from appliance.link.codec import LinkBroken, encode_message
from appliance.model.limits import MIB
from appliance.telemetry.log import Log

LINKS_MAX = 512
GREET_SECONDS_MAX = 5.0
AT_ONCE_MAX = 64
"""Messages of one link that are worked on; then it is not read."""
UNREAD_BYTES_MAX = 16 * MIB
"""Written for a worker that does not take it; then it is cut off."""
GRACE_SECONDS = 10.0
SWEEP_SECONDS = 1.0
"""How often what waits is compared with the store, should an announcement have been lost."""
RECEIVE_BYTES = 256 * 1024

log = Log("control")


class Peer:
    """One worker's link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.node = ""
        self.worker = 0
        self.pid = 0
        """Of the process that connected, says the kernel."""
        self.sessions: tuple[SessionSeen, ...] = ()
        self.reader = reader
        self._writer = writer
        self.room = asyncio.Semaphore(AT_ONCE_MAX)
        self.tasks: dict[str, asyncio.Task[None]] = {}
        """The last one that works on a request, by its id: one after another for each."""

    def say(self, message: ControlMessage) -> None:
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > UNREAD_BYTES_MAX:
            log.error("worker_does_not_listen", worker=self.worker)
            self._writer.transport.abort()
            return
        self._writer.write(encode_message(message, FRAME_BYTES_MAX))

    async def said(self) -> None:
        """Returns when the worker's kernel has nearly all of it. Raises OSError."""
        await self._writer.drain()

    def close(self) -> None:
        self._writer.close()


Oversee = Callable[[Callable[[ControlMessage], None], int], PolicyTelling | None]
"""(how to say something, process id of the other end) -> who speaks with that supervisor; None: it
is not ours."""


class Links:
    """See the module's docstring; also `approvals.LiveSessions`."""

    def __init__(
        self,
        path: Path,
        held: Held,
        changes: Changes,
        url: str = "",
        oversee: Oversee | None = None,
    ) -> None:
        """`url`: how people reach the console, without a slash at its end; '' if there is none.
        `oversee` None: no supervisor is listened to."""
        self._oversee = oversee
        self._telling: PolicyTelling | None = None
        self._path = path
        self._held = held
        self._url = url
        self._listening: asyncio.Server | None = None
        self._peers: set[Peer] = set()
        self._conversations: set[asyncio.Task[None]] = set()
        self._working: set[asyncio.Task[None]] = set()
        """What is being stored goes on to its end, also when its link is gone."""
        self._waiting: dict[str, tuple[Peer, State]] = {}
        """Requests whose clients wait, and what their worker was told of them last."""
        self._orphans: dict[str, float] = {}
        """Requests whose link is gone -> when they are withdrawn (the loop's time)."""
        self._changed: set[str] = set()
        self._wake = asyncio.Event()
        self._swept = 0.0
        changes.listen(self._on_change)

    async def open(self) -> None:
        """Listens. Raises SocketError, and Unavailable when the store cannot be read."""
        until = asyncio.get_running_loop().time() + GRACE_SECONDS
        self._orphans = dict.fromkeys(await self._held.waiting(), until)
        listening = _bound(self._path)
        self._listening = await asyncio.start_unix_server(self._converse, sock=listening)
        log.info("listening_for_workers", waiting=len(self._orphans))

    async def run(self) -> None:
        """Tells workers what was decided, withdraws what nobody waits for. For ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._wake.wait()
            try:
                await self._tell_rulings()
                await self._withdraw_orphans()
            except DeskError as error:
                log.warning("rulings_postponed", reason=str(error))
                await asyncio.sleep(SWEEP_SECONDS)

    async def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
            with contextlib.suppress(OSError):
                self._path.unlink()
        for task in list(self._conversations):
            task.cancel()
        if tasks := self._conversations | self._working:
            await asyncio.wait(tasks)

    # --- live sessions ----------------------------------------------------------------------------

    @property
    def linked(self) -> int:
        """How many workers have greeted."""
        return len(self._peers)

    def live(self) -> list[LiveSession]:
        return [
            LiveSession(peer.node, peer.worker, seen)
            for peer in sorted(self._peers, key=lambda peer: (peer.node, peer.worker))
            for seen in peer.sessions
        ]

    async def end(self, session: str, by: str, reason: str) -> bool:
        for peer in self._peers:
            if any(seen.id == session for seen in peer.sessions):
                peer.say(EndSession(session, by, reason))
                try:
                    await peer.said()
                except OSError:
                    return False
                return True
        return False

    # --- one link ---------------------------------------------------------------------------------

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation is not None
        peer = Peer(reader, writer)
        self._conversations.add(conversation)
        try:
            peer.pid, uid = _whose(writer)
            if len(self._conversations) <= LINKS_MAX and uid in (0, os.geteuid()):
                await self._serve(peer)
            else:
                log.warning("link_refused")
        except (OSError, LinkBroken, TimeoutError) as error:
            log.warning("link_broken", worker=peer.worker, reason=str(error))
        except asyncio.CancelledError:  # we are ending, and so does this task
            log.debug("link_closed", worker=peer.worker)
        finally:
            self._conversations.discard(conversation)
            self._lose(peer)
            peer.close()

    async def _serve(self, peer: Peer) -> None:
        """From the greeting to the link's end. Raises OSError, LinkBroken, TimeoutError."""
        messages = worker_messages()
        async with asyncio.timeout(GREET_SECONDS_MAX):
            arrived = await _some(peer.reader, messages.feed)
        if not arrived:
            return
        greeting, *arrived = arrived
        if not isinstance(greeting, Greet) or greeting.version != VERSION:
            raise LinkBroken("not greeted in this version")
        peer.node, peer.worker = greeting.node, greeting.worker
        if greeting.worker == SUPERVISOR:
            await self._serve_supervisor(peer, arrived, messages.feed)
            return
        self._peers.add(peer)
        peer.say(Welcome(VERSION))
        log.info("worker_linked", worker=peer.worker, child=greeting.pid)
        while True:
            for message in arrived:
                await self._take(peer, message)
            arrived = await _some(peer.reader, messages.feed)
            if not arrived:
                return

    async def _serve_supervisor(
        self,
        peer: Peer,
        arrived: Iterable[WorkerApprovalMessage],
        feed: Callable[[bytes], list[WorkerApprovalMessage]],
    ) -> None:
        """Likewise. One at a time."""
        telling = self._oversee(peer.say, peer.pid) if self._oversee and not self._telling else None
        if telling is None:
            raise LinkBroken("not our supervisor, or there is one")
        self._telling = telling
        peer.say(Welcome(VERSION))
        log.info("supervisor_linked", child=peer.pid)
        saying = asyncio.create_task(telling.run(), name="policy-telling")
        try:
            while True:
                for message in arrived:
                    await telling.take(message)
                arrived = await _some(peer.reader, feed)
                if not arrived:
                    return
        finally:
            saying.cancel()
            await asyncio.wait((saying,))
            self._telling = None

    def _lose(self, peer: Peer) -> None:
        """Its clients may wait still: its worker gets some time to come back."""
        self._peers.discard(peer)
        until = asyncio.get_running_loop().time() + GRACE_SECONDS
        for id in [id for id, (who, _) in self._waiting.items() if who is peer]:
            del self._waiting[id]
            self._orphans[id] = until

    async def _take(self, peer: Peer, message: WorkerApprovalMessage) -> None:
        match message:
            case Sessions(sessions=sessions):
                if len(sessions) > SESSIONS_MAX:
                    raise LinkBroken("too many sessions")
                peer.sessions = sessions
            case Ask(asked=asked):
                await self._begin(peer, asked.id, message)
            case Use() | Withdraw():
                await self._begin(peer, message.id, message)
            case Greet():
                raise LinkBroken("a second greeting")
            case Propose() | Applied():
                raise LinkBroken("a worker does not say that")

    async def _begin(self, peer: Peer, id: str, message: Ask | Use | Withdraw) -> None:
        """Works on a message beside the others, but after what came before about this request."""
        await peer.room.acquire()
        before = peer.tasks.get(id)
        task = asyncio.create_task(self._after(before, peer, message), name="link-message")
        peer.tasks[id] = task
        self._working.add(task)
        task.add_done_callback(lambda done: self._over(peer, id, done))

    def _over(self, peer: Peer, id: str, done: asyncio.Task[None]) -> None:
        self._working.discard(done)
        peer.room.release()
        if peer.tasks.get(id) is done:
            del peer.tasks[id]
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("link_failed", worker=peer.worker, reason=type(error).__name__)
            peer.close()

    async def _after(
        self, before: asyncio.Task[None] | None, peer: Peer, message: Ask | Use | Withdraw
    ) -> None:
        if before is not None:
            await asyncio.wait((before,))
        match message:
            case Ask():
                await self._ask(peer, message)
            case Use():
                await self._use(peer, message)
            case Withdraw():
                await self._withdraw(message)

    async def _ask(self, peer: Peer, message: Ask) -> None:
        id = message.asked.id
        if message.waits:  # also if we fail now: nobody else is going to end it
            self._orphans.pop(id, None)
            self._waiting[id] = (peer, State.PENDING)
        try:
            request = await self._held.ask(message.asked, message.waits)
        except DeskError as error:
            self._forget(peer, id)
            if message.waits and isinstance(error, Unavailable):  # perhaps it was stored after all
                self._orphans[id] = asyncio.get_running_loop().time() + GRACE_SECONDS
            peer.say(Unstored(id, str(error)))
            return
        if self._waits_for(peer, id):
            self._waiting[id] = (peer, request.state)
        if request.asked.id != id or request.state in ENDED:
            self._forget(peer, id)
        peer.say(self._known(id, request))

    def _forget(self, peer: Peer, id: str) -> None:
        if self._waits_for(peer, id):
            del self._waiting[id]

    def _waits_for(self, peer: Peer, id: str) -> bool:
        """False, too, when the link is gone, or another one has taken over."""
        return id in self._waiting and self._waiting[id][0] is peer

    def _known(self, id: str, request: Request) -> Known:
        kept = request.asked.id
        return Known(
            id=id,
            request=kept,
            state=request.state,
            url=f"{self._url}/requests/{kept}" if self._url else "",
            poll=f"{self._url}/api/v1/requests/{kept}" if self._url else "",
            expires=request.expires,
            reason=request.reason,
            by=request.ended_by,
        )

    async def _use(self, peer: Peer, message: Use) -> None:
        id = message.id
        try:
            release = await self._held.use(id, message.binding, message.session, message.attempt)
        except Unavailable as error:
            peer.say(Unstored(id, str(error)))
            return
        except DeskError as error:
            peer.say(Used(id, ok=False, session=message.session, reason=str(error)))
            return
        self._forget(peer, id)
        by, rows_max = release.request.ended_by, release.rows_max
        peer.say(Used(id, ok=True, session=message.session, by=by, rows_max=rows_max))

    async def _withdraw(self, message: Withdraw) -> None:
        self._waiting.pop(message.id, None)
        try:
            await self._held.withdraw(message.id, message.reason)
        except Unavailable:  # tried again later
            self._orphans[message.id] = asyncio.get_running_loop().time() + SWEEP_SECONDS

    # --- what was decided -------------------------------------------------------------------------

    def _on_change(self, change: Change) -> None:
        if self._telling is not None and change.kind in ("missed", POLICY_CHANGE):
            self._telling.look()
        if change.kind == "missed":
            self._changed.update(self._waiting)
        elif change.kind == "request_ruled" and change.id in self._waiting:
            self._changed.add(change.id)
        else:
            return
        self._wake.set()

    async def _tell_rulings(self) -> None:
        self._wake.clear()
        ids, self._changed = self._changed, set()
        now = asyncio.get_running_loop().time()
        if now - self._swept >= SWEEP_SECONDS:
            self._swept = now
            ids = set(self._waiting)
        for request in await self._held.decided(list(ids)) if ids else ():
            self._tell(request)

    def _tell(self, request: Request) -> None:
        id = request.asked.id
        peer, told = self._waiting.get(id, (None, request.state))
        if peer is None or told is request.state:
            return
        peer.say(Ruled(id, request.state, request.ended_by, request.reason))
        if request.state in ENDED:
            del self._waiting[id]
        else:
            self._waiting[id] = (peer, request.state)

    async def _withdraw_orphans(self) -> None:
        now = asyncio.get_running_loop().time()
        for id in [id for id, until in self._orphans.items() if until <= now]:
            await self._held.withdraw(id, "disconnected")
            self._orphans.pop(id, None)


async def _some(
    reader: asyncio.StreamReader, feed: Callable[[bytes], list[WorkerApprovalMessage]]
) -> Iterable[WorkerApprovalMessage]:
    """At least one message; none at the end of the stream."""
    while chunk := await reader.read(RECEIVE_BYTES):
        if found := feed(chunk):
            return found
    return ()


def _whose(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """Process and user id of the other end (SO_PEERCRED, unix(7))."""
    connected = writer.get_extra_info("socket")
    with socket.socket(fileno=os.dup(connected.fileno())) as again:
        credentials = again.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    return pid, uid


def _bound(path: Path) -> socket.socket:
    """A listening socket that only we can connect to. Raises SocketError."""
    try:
        _remove_stale(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listening.setblocking(False)
        before = os.umask(0o177)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen(LINKS_MAX)
    except OSError as error:
        raise SocketError(f"control: cannot listen on {path}: {error.strerror}") from error
    return listening


def _remove_stale(path: Path) -> None:
    """What a process that is gone left. Raises SocketError when one is there, OSError."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.lstat().st_mode):
        raise SocketError(f"control: {path} is there and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise SocketError(f"control: another control process listens on {path}")
