"""Connections of one pool that are lent for a transaction at a time ("transaction pooling").

Made by `pool` for pools of that mode, used by `sharing`, one per session. A session that has got a
connection keeps it attached until somebody else needs it: it is taken away between two of its
transactions, never amid one. Rules: the next session gets it only when the server itself has said,
in answer to a *claim*, that nothing of the one before is left (`claiming`), and that it is
announced as the next one; what cannot be told closes it. Who waits is served in the order of
asking, and has a deadline.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from time import time
from typing import TYPE_CHECKING, Protocol

from appliance.dataplane import claiming
from appliance.dataplane.connections import UpstreamRefused, UpstreamUnreachable
from appliance.model.errors import ProtocolViolation
from appliance.session.machine import Taken
from appliance.telemetry.log import Log

if TYPE_CHECKING:
    from appliance.dataplane.pool import Kept, Pool

HIGH_BYTES = 65_536
LOOK_AGAIN_SECONDS = 1.0
"""A footprint older than that is asked for again when a connection is claimed."""
OPEN_SECONDS_MAX = 10.0
LEFT_ALONE_SECONDS = 0.2
"""A connection that its session used so lately is taken away only if there can be no other."""
FAILED_OPENING = (UpstreamRefused, UpstreamUnreachable, ProtocolViolation, OSError)

_log = Log("pool")


class Borrower(Protocol):
    """A session that needs a connection now and then."""

    naming: claiming.Naming
    """How it is announced to the database."""
    waits_since: float
    """When it asked for the one that it waits for; loop time."""

    def lent(self, kept: "Kept", taken: Taken) -> None:
        """It has one."""

    def denied(self, error: Exception) -> None:
        """It gets none."""

    def yields(self) -> bool:
        """Whether the one that it has can be taken away now: then it is no longer attached."""

    def parked(self) -> bool:
        """Whether it keeps the one that it has while people decide on what it sent."""

    def touched(self) -> float:
        """When it was used last, unix seconds."""


class NotShared(Exception):
    """Connections of this role cannot be shared."""


NOT_AS_LOGGED_IN = "a new connection did not answer as one does"


GONE = object()
"""The session that used a connection last, when it has ended."""


class Lender:
    """The connections of one pool, and who waits for one."""

    def __init__(self, pool: "Pool") -> None:
        self._pool = pool
        self.attached: OrderedDict[Kept, Borrower] = OrderedDict()
        """The one taken longest ago first."""
        self.waiting: deque[Borrower] = deque()
        self.borrowers = 0
        """Sessions that may ask."""
        self._claims: dict[Kept, claiming.Claim] = {}

    @property
    def verifying(self) -> int:
        """Connections that are verified for their next sessions."""
        return len(self._claims)

    def waited(self, seconds: float) -> None:
        """A session's wait is over, whatever came of it."""
        self._pool.waited(seconds)

    def naming(self, announced: Mapping[str, str]) -> claiming.Naming:
        """How a session that is announced so is named to the connections here."""
        return claiming.Naming(announced, self._pool.key.login.user)

    # --- asked by sessions ------------------------------------------------------------------------

    def request(self, borrower: Borrower) -> None:
        """It is told by `lent` or `denied`, perhaps at once."""
        borrower.waits_since = self._pool.now()
        self._pool.asked = borrower.waits_since
        if self.waiting or not self._found(borrower):
            self.waiting.append(borrower)

    def forget(self, borrower: Borrower) -> None:
        """It waits no longer."""
        if borrower in self.waiting:
            self.waiting.remove(borrower)
        for claim in self._claims.values():
            if claim.borrower is borrower:
                claim.abandoned = True

    def free(self, kept: "Kept", borrower: Borrower) -> None:
        """A session needs its connection no longer for now; it stays attached if nobody waits."""
        if self.waiting and self.attached.get(kept) is borrower and borrower.yields():
            self._take_off(kept)
            self._claim(kept, self.waiting.popleft())

    def detach(self, kept: "Kept") -> None:
        """The session that has it ends, or has it for itself."""
        self.attached.pop(kept, None)

    def has_room(self) -> None:
        """A connection is gone, or there is an idle one: who waits may get one."""
        while self.waiting and self._found(self.waiting[0], steals=False):
            self.waiting.popleft()

    # --- finding one ------------------------------------------------------------------------------

    def _found(self, borrower: Borrower, *, steals: bool = True) -> bool:
        pool = self._pool
        if pool.idle:
            kept = pool.idle.pop()
            pool.used.add(kept)
            self._claim(kept, borrower)
            return True
        if steals and self._taken_away(borrower, time() - LEFT_ALONE_SECONDS):
            return True
        if self._count < pool.pooling.servers_max:
            pool.opening += 1
            pool.spawn(self._open(borrower))
            return True
        return steals and self._taken_away(borrower, None)

    @property
    def _count(self) -> int:
        """Connections, but for those that wait for people: that can take hours, and how many
        statements may do so has a limit of its own."""
        return self._pool.count - sum(owner.parked() for owner in self.attached.values())

    def _taken_away(self, borrower: Borrower, before: float | None) -> bool:
        """`before`: only one that was used last before that."""
        for kept, owner in self.attached.items():
            if before is not None and owner.touched() > before:
                continue
            if owner.yields():
                self._take_off(kept)
                self._claim(kept, borrower)
                return True
        return False

    def _take_off(self, kept: "Kept") -> None:
        del self.attached[kept]

    async def _open(self, borrower: Borrower) -> None:
        pool = self._pool
        try:
            async with asyncio.timeout(OPEN_SECONDS_MAX):
                kept = await pool.opened()
        except FAILED_OPENING as error:
            pool.opening -= 1
            borrower.denied(error)
            return
        except BaseException:
            pool.opening -= 1
            raise
        pool.opening -= 1
        pool.used.add(kept)
        if kept.standing:
            self._claim(kept, borrower, new=True)
        else:
            pool.close_one(kept)
            borrower.denied(NotShared())

    # --- claims -----------------------------------------------------------------------------------

    def _claim(self, kept: "Kept", borrower: Borrower, *, new: bool = False) -> None:
        """Has the connection verified and named for its next session. `new`: opened for it; if that
        one fails, so would the next."""
        pool, side, now = self._pool, kept.upstream.side, self._pool.now()
        if kept.last is borrower:
            self._hand(kept, borrower, Taken({}, True))
            return
        looks = kept.standing if now - kept.looked > LOOK_AGAIN_SECONDS else None
        if now > kept.until or side.ended:
            self._close_and_go_on(kept, borrower)
            return
        if kept.last is not None:
            kept.backend.sole = False
        kept.last = GONE  # whoever comes back to it is not who it is named for from here on
        claim = claiming.Claim(kept, borrower, pool.pooling.extensions, looks, self._claimed)
        claim.new = new
        self._claims[kept] = claim
        claim.begin(HIGH_BYTES)

    def _claimed(self, claim: claiming.Claim, failed: str) -> None:
        kept, borrower = claim.kept, claim.borrower
        if self._claims.pop(kept, None) is None:
            return
        if failed:
            _log.info("not_kept", target=self._pool.key.target, reason=failed)
            if claim.new and failed != claiming.SLOW:
                self._new_one_failed(claim, failed)
            elif self._overdue(borrower, self._pool.now()):
                self._pool.close_one(kept)
                borrower.denied(TimeoutError())
            else:
                self._close_and_go_on(kept, borrower)
            return
        if claim.looks:
            kept.looked = self._pool.now()
        if claim.abandoned:
            self.idle(kept)
            return
        self._pool.metrics.upstream_reused += 1
        kept.upstream = kept.upstream._replace(parameters=claim.shown)
        kept.told = claim.told
        self._hand(kept, borrower, Taken(claim.shown, False, claim.told))

    def _new_one_failed(self, claim: claiming.Claim, failed: str) -> None:
        """Who waits for it is told: opening others could go on without end."""
        pool = self._pool
        pool.close_one(claim.kept)
        if failed == claiming.LOST:
            claim.borrower.denied(UpstreamUnreachable("it closed a new connection"))
        else:
            pool.found_unfit(NOT_AS_LOGGED_IN, pool.now())
            claim.borrower.denied(NotShared())

    def _overdue(self, borrower: Borrower, now: float) -> bool:
        return now - borrower.waits_since > self._pool.pooling.wait_s_max

    def _hand(self, kept: "Kept", borrower: Borrower, taken: Taken) -> None:
        kept.last = borrower
        self.attached[kept] = borrower
        borrower.lent(kept, taken)

    def _close_and_go_on(self, kept: "Kept", borrower: Borrower) -> None:
        self._pool.close_one(kept)
        if not self._found(borrower):
            self.waiting.appendleft(borrower)

    def idle(self, kept: "Kept") -> None:
        """A connection that nobody has: for who waits, or put by."""
        if self.waiting:
            self._pool.used.add(kept)
            self._claim(kept, self.waiting.popleft())
        elif self._count > self._pool.pooling.servers_max:
            self._pool.close_one(kept)
        else:
            self._pool.put_by(kept)

    # --- now and then -----------------------------------------------------------------------------

    def sweep(self, now: float) -> None:
        """Who has waited too long is told; what is too old, or long unused, is taken off."""
        for claim in tuple(self._claims.values()):
            claim.overdue(now)
        while self.waiting and self._overdue(self.waiting[0], now):
            self.waiting.popleft().denied(TimeoutError())
        stale = time() - self._pool.pooling.idle_s_max
        for kept, owner in list(self.attached.items()):
            if (now > kept.until or owner.touched() < stale) and owner.yields():
                self._take_off(kept)
                self._pool.close_one(kept)
        self.has_room()


class _Arrival:
    """A client on its way in, in place of the session that it will have."""

    def __init__(self, lender: Lender, announced: Mapping[str, str]) -> None:
        self._lender = lender
        self.naming = lender.naming(announced)
        self.waits_since = 0.0
        self.found: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()

    def lent(self, kept: "Kept", taken: Taken) -> None:
        del taken
        if self.found.done():
            self._lender.detach(kept)
            kept.lost()
            kept.upstream.side.abort()
        else:
            self.found.set_result(kept)

    def denied(self, error: Exception) -> None:
        if not self.found.done():
            self.found.set_exception(error)

    def yields(self) -> bool:
        return False

    def parked(self) -> bool:
        return False

    def touched(self) -> float:
        return 0.0


async def first(lender: Lender, announced: Mapping[str, str]) -> "Kept | None":
    """The connection that a session begins with: claimed, and attached to nobody yet. None: it is
    to have one of its own. Raises as `Pool.obtain` does."""
    arrival = _Arrival(lender, announced)
    lender.request(arrival)
    try:
        kept = await arrival.found
    except NotShared:
        return None
    except BaseException:
        lender.forget(arrival)
        raise
    lender.detach(kept)
    return kept
