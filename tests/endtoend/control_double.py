"""A stand-in for the control process that says what a test tells it to, and nothing by itself.

Speaks `link/approvals` on a Unix socket, from a thread. Tests ask what the worker said (`took`) and
answer by hand; the real control process has tests of its own.
"""

import contextlib
import queue
import socket
import threading
import time
from pathlib import Path
from typing import TypeVar

from appliance.approval.request import State
from appliance.link.approvals import (
    SUPERVISOR,
    VERSION,
    Active,
    Applied,
    Ask,
    ControlMessage,
    EndSession,
    Greet,
    Known,
    Propose,
    Proposed,
    Ruled,
    Sessions,
    Use,
    Used,
    Welcome,
    WorkerApprovalMessage,
    worker_messages,
)
from appliance.link.codec import encode_message
from appliance.link.messages import PolicyDocument

Message = TypeVar("Message")
SECONDS_MAX = 20.0


class ControlDouble:
    """`url` is put into every Known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.url = "https://sallyport.example/requests/"
        self.sessions: Sessions | None = None
        self._said: queue.Queue[WorkerApprovalMessage] = queue.Queue()
        self._connection: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self.greeted = threading.Event()
        self._active: tuple[PolicyDocument, ...] = ()
        self._serial = 0
        self.start()

    def start(self) -> None:
        """Comes (back) up."""
        self.path.unlink(missing_ok=True)
        self._listening: socket.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(self.path))
        self._listening.listen()
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def kill(self) -> None:
        """Gone at once, as by SIGKILL."""
        self.greeted.clear()
        for one in (self._listening, *self._connections):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._connections.clear()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        messages = worker_messages()
        while True:
            try:
                chunk = connection.recv(65_536)
            except OSError:
                return
            if not chunk:
                return
            for message in messages.feed(chunk):
                if isinstance(message, Greet) and message.worker == SUPERVISOR:
                    _send(connection, Welcome(VERSION))
                elif isinstance(message, Propose):
                    self._agree(connection, message)
                elif isinstance(message, Applied):
                    continue
                elif isinstance(message, Greet):
                    self._connection = connection
                    self.say(Welcome(VERSION))
                    self.greeted.set()
                elif isinstance(message, Sessions):
                    self.sessions = message
                else:
                    self._said.put(message)

    def _agree(self, connection: socket.socket, proposal: Propose) -> None:
        """Whatever the supervisor's policy files say is active."""
        if proposal.documents == self._active:
            _send(connection, Proposed(proposal.number))
            return
        self._active = proposal.documents
        self._serial += 1
        _send(connection, Active(self._serial, self._active))
        _send(connection, Proposed(proposal.number, self._serial))

    def say(self, message: ControlMessage) -> None:
        assert self._connection is not None
        _send(self._connection, message)

    def took(self, kind: type[Message], seconds: float = SECONDS_MAX) -> Message:
        """The worker's next message, which must be of this kind."""
        message = self._said.get(timeout=seconds)
        assert isinstance(message, kind), message
        return message

    def forget(self) -> None:
        """What nobody has taken."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._said.get_nowait()

    def quiet(self, seconds: float = 0.3) -> bool:
        """Whether the worker says nothing for a while."""
        with contextlib.suppress(queue.Empty):
            self._said.put(self._said.get(timeout=seconds))
            return False
        return True

    # --- what control does, in whole steps --------------------------------------------------------

    def hold(self, state: State = State.PENDING, seconds: float = 60) -> Ask:
        """Takes the next request and says that it is kept, under its own id."""
        ask = self.took(Ask)
        self.known(ask, state, seconds=seconds)
        return ask

    def known(
        self, ask: Ask, state: State = State.PENDING, request: str = "", seconds: float = 60
    ) -> None:
        request = request or ask.asked.id
        url = self.url + request
        self.say(Known(ask.asked.id, request, state, url, url, time.time() + seconds))

    def rule(self, ask: Ask, state: State, by: str = "bob", reason: str = "") -> None:
        self.say(Ruled(ask.asked.id, state, by, reason))

    def approve(self, ask: Ask) -> Use:
        """Up to the use, which is stored."""
        self.rule(ask, State.APPROVED)
        return self.let(ask)

    def let(self, ask: Ask, ok: bool = True, reason: str = "") -> Use:
        use = self.took(Use)
        assert use.binding == ask.asked.binding
        self.say(Used(use.id, ok, use.session, "bob", reason))
        return use

    def end(self, session: str) -> None:
        self.say(EndSession(session, "root", "enough"))


def _send(connection: socket.socket, message: ControlMessage) -> None:
    connection.sendall(encode_message(message))
