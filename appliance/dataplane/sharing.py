"""A session whose database connection comes and goes ("transaction pooling"): when it is given up,
what waits until there is one again.

Owned by `conductor`, known to `lending` as a borrower. Rule: a connection is given up only when the
machine says that nothing is under way or left there, everything of the session was written, and no
cancel request for it is on its way; one that may hold something of the session is cleaned of
everything first (`pool`).
"""

import asyncio
from collections.abc import Collection, Mapping
from time import monotonic, time
from typing import Protocol

from _speedups.pghits import HitPath
from appliance.dataplane.lending import GONE, Lender
from appliance.dataplane.pool import Kept
from appliance.dataplane.transport import Side
from appliance.session.backend import Left
from appliance.session.effects import Turn
from appliance.session.machine import SessionMachine, Taken
from appliance.wire.postgres.messages import TERMINATE_FRAME

WAITING_BYTES_MAX = 65_536
"""A client that sent so much before there is a connection is not read."""


class Session(Protocol):
    """The conductor, as far as it is needed here."""

    ended: bool

    @property
    def written(self) -> bool:
        """Nothing waits to be recorded or written, and no cancel request is on its way."""

    def now(self) -> float: ...
    def use(self, kept: Kept | None) -> None:
        """That is the upstream from here on; None = there is none."""

    def carry_on(self, turn: Turn) -> None:
        """Carries out what the machine wants, as where bytes come in."""

    def from_client(self, chunk: memoryview) -> None:
        """For the machine."""

    def update_reading(self) -> None:
        """Which side is read may have changed."""

    def without_upstream(self, error: Exception) -> None:
        """There is no connection for the client's statement."""

    def cut(self, error: BaseException) -> None:
        """Both sides end."""


class Sharing:
    """See the module's docstring."""

    def __init__(
        self,
        session: Session,
        machine: SessionMachine,
        client: Side,
        lender: Lender,
        kept: Kept | None,
        announced: Mapping[str, str],
    ) -> None:
        """`kept`: the connection that it begins with, None if it begins without one."""
        self._session = session
        self._machine = machine
        self._path: HitPath | None = machine.hit_path
        self._client = client
        self._lender = lender
        self._announced = announced
        self.naming = lender.naming(announced)
        self.waits_since = 0.0
        self.kept = kept
        self.asked = False
        """It waits for a connection."""
        self._asked_at = 0.0
        self._touched = time()
        self._waiting = bytearray()
        """What the client sent meanwhile."""
        lender.borrowers += 1
        machine.share()
        if kept is None:
            machine.lend()
        else:
            kept.last = self
            lender.attached[kept] = self
            machine.adopt(kept.backend, Taken({}, True), session.now())
        if self._path is not None:
            self._path.telling = True

    # --- asked by the conductor -------------------------------------------------------------------

    def keeps(self, chunk: memoryview) -> bool:
        """Whether what the client sent waits until there is a connection."""
        self._touched = time()
        if self.kept is not None:
            return False
        if not self._waiting and chunk == TERMINATE_FRAME:
            return False
        self._waiting += chunk
        if not self.asked:
            self.asked, self._asked_at = True, monotonic()
            self._lender.request(self)
        return True

    @property
    def crowded(self) -> bool:
        return len(self._waiting) > WAITING_BYTES_MAX

    @property
    def free(self) -> bool:
        """Somebody else could have its connection."""
        return self.kept is not None and self._yieldable

    def held_up(self, cancels: Collection[object]) -> bool:
        """They could, were it not for these cancel requests."""
        return self.kept is not None and self._machine.lendable and bool(cancels)

    def settled(self) -> None:
        """Something of the session has ended: somebody else may need the connection."""
        kept = self.kept
        if kept is None or self._session.ended:
            return
        if self._machine.soiled:
            if self._yieldable:
                self._give_back_soiled(kept)
        elif self.parked():
            self._lender.has_room()
        elif self._lender.waiting:
            self._lender.free(kept, self)

    def _give_back_soiled(self, kept: Kept) -> None:
        """The session is pinned no longer, but what it left has to be looked for."""
        left = Left(False, dict(self._machine.parameters))
        self._leave()
        self._lender.detach(kept)
        if not kept.give_back(left):
            kept.pool.close_one(kept)

    async def pin(self, cancels: tuple[asyncio.Task[bool], ...]) -> None:
        """Answers PinConnection. `cancels`: requests for this connection that are under way."""
        kept = self.kept
        assert kept is not None
        if self._path is not None:
            self._path.leave_upstream()
        parameters = self._machine.parameters
        sole = await kept.pool.make_sole(kept, self._announced, parameters, cancels)
        if sole is not kept:
            self._lender.detach(kept)
            sole.last, self._lender.attached[sole] = self, self
            self.kept = sole
        self._session.use(sole)
        taken = Taken(sole.upstream.parameters, False, sole.told)
        self._session.carry_on(self._machine.pinned(sole.backend, taken, self._session.now()))

    def end(self, sound: bool, cancels: tuple[asyncio.Task[bool], ...]) -> bool:
        """The session has ended. `sound`: politely; -> whether its connection needs no end."""
        kept, self.kept = self.kept, None
        self._waited()
        self._lender.borrowers -= 1
        self._lender.forget(self)
        if kept is None:
            return True
        self._lender.detach(kept)
        machine = self._machine
        if sound and machine.leaves_nothing and not cancels:
            kept.last = GONE
            self._lender.idle(kept)
            return True
        if sound and machine.reusable:
            return kept.give_back(machine.left, cancels)
        kept.lost()
        return False

    # --- asked by the lender ----------------------------------------------------------------------

    def lent(self, kept: Kept, taken: Taken) -> None:
        session = self._session
        if session.ended:  # while a connection was opened for it
            self._lender.detach(kept)
            kept.last = GONE
            self._lender.idle(kept)
            return
        self._waited()
        self.kept, self._touched = kept, time()
        try:
            session.use(kept)
            session.carry_on(self._machine.adopt(kept.backend, taken, session.now()))
            chunk, self._waiting = bytes(self._waiting), bytearray()
            if chunk and not (self._path is not None and self._path.offer(chunk)):
                session.from_client(memoryview(chunk))
        except Exception as error:  # as where bytes come in
            session.cut(error)
        session.update_reading()

    def denied(self, error: Exception) -> None:
        self._waited()
        self._session.without_upstream(error)

    def yields(self) -> bool:
        if not self._yieldable or self._machine.soiled:
            return False
        self._leave()
        return True

    def parked(self) -> bool:
        return self._machine.parked is not None

    def touched(self) -> float:
        started = 0.0 if self._path is None else self._path.started
        return max(self._touched, started)

    def _waited(self) -> None:
        if self.asked:
            self.asked = False
            self._lender.waited(monotonic() - self._asked_at)

    @property
    def _yieldable(self) -> bool:
        return not self._session.ended and self._machine.lendable and self._session.written

    def _leave(self) -> None:
        self._machine.lend()
        if self._path is not None:
            self._path.leave_upstream()
        self.kept = None
        self._session.use(None)
