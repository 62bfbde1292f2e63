"""What a session's hit path asks for when it cannot go on alone (see `_speedups/hitpath`).

Made by `conductor`, one per session that has such a path. Rule: what the path gives up goes to the
machine, with all that is known of it, and in the order in which it came.
"""

from collections.abc import Callable
from typing import Protocol

from _speedups.hitpath import AnyHitPath
from appliance.dataplane.rounds import Round
from appliance.dataplane.transport import Side
from appliance.model.errors import ProtocolViolation
from appliance.session.driven import Machine


class Session(Protocol):
    """The conductor, as far as it is needed here."""

    ended: bool

    def from_client(self, chunk: memoryview) -> None:
        """For the machine."""

    def from_upstream(self, chunk: memoryview) -> None:
        """For the machine."""

    def update_reading(self) -> None:
        """Which side is read may have changed."""

    def settled(self) -> None:
        """Nothing may be under way any more."""

    def cut(self, error: BaseException) -> None:
        """Both sides end."""


class Hitting:
    """Attached to both ends from the start."""

    __slots__ = ("_client", "_kept", "_machine", "_path", "_round", "_session", "settled")

    def __init__(
        self, session: Session, machine: Machine, path: AnyHitPath, client: Side, round_: Round
    ) -> None:
        self._session = session
        self._machine = machine
        self._path = path
        self._client = client
        self._round = round_
        self._kept = b""
        """What the client sent while its statement's proviso is not answered."""
        self.settled: Callable[[], None] = session.settled

    def attach(self, upstream: Side) -> None:
        self._path.owner = self
        self._path.attach(self._client, upstream)
        self._client.hasten()
        upstream.hasten()

    def close(self) -> None:
        """Every chunk is the machine's from now on, but for what is under way."""
        self._path.closed = True
        self._path.disarm()

    def detach(self) -> None:
        self._path.detach()

    @property
    def keeps(self) -> bool:
        """The client has sent more than can be looked at."""
        return bool(self._kept)

    def learns(self, chunk: memoryview, now: float) -> bool:
        """Whether the path has taken a chunk after all that it did not know."""
        return self._machine.learns(chunk, now) and self._path.offer(bytes(chunk))

    # --- asked by the path ------------------------------------------------------------------------

    def fall_back(self, rest: bytes) -> None:
        """The database's answer is not what was due, or not all of it: from here on the machine
        reads it.
        """
        self._take_over()
        if rest:
            self._session.from_upstream(memoryview(rest))

    def behind(self, chunk: bytes) -> None:
        """The client sent more while a cycle is under way. While the database has not said whether
        it runs at all, what it comes to is not known.
        """
        if self._path.in_question or self._kept:
            self._kept += chunk
            self._path.crowded = True
            self._client.read(False)
            return
        self._take_over()
        self._session.from_client(memoryview(chunk))

    def _take_over(self) -> None:
        if self._path.unsent:
            self._round.settle()
        if self._path.underway and not self._session.ended:
            self._machine.take_over()

    def catch_up(self) -> None:
        """What was sent behind can be looked at."""
        self._path.crowded = False
        self._take_over()
        kept, self._kept = self._kept, b""
        self._session.from_client(memoryview(kept))
        self._session.update_reading()

    def proviso_failed(self, chunk: bytes) -> None:
        """What the statement rests on may have changed, and it was not run: the machine looks."""
        self._machine.proviso_failed()
        self._session.from_client(memoryview(chunk))

    def unrecorded(self, chunk: bytes) -> None:
        """Its records cannot be written, and nothing of it was forwarded: the machine refuses."""
        self._session.from_client(memoryview(chunk))
        if self._path.crowded and not self._session.ended:
            self.catch_up()

    def turned(self, opened: int | None) -> None:
        self._machine.turned(opened)

    def aside(self, kind: int, frame: bytes) -> bytes:
        return self._machine.aside(kind, frame)

    def cut(self, error: BaseException) -> None:
        violation = isinstance(error, ValueError)
        self._session.cut(ProtocolViolation("upstream", str(error)) if violation else error)
