"""One write for the audit records of all sessions in one round of the event loop.

`conductor` posts every turn that has records; at the end of the round, before the loop (or a
`Poller`, within one of its callbacks) waits for the network again, all of them are appended at once
and then the turns are delivered. Rule: a turn is delivered after its records are appended (DESIGN
invariant 1), and turns of one session in the order in which they were made. Where the one write
fails, each turn is recorded alone, so that one session's failure is not another's.
"""

import asyncio
import secrets
from collections import deque
from typing import Protocol

from _speedups.hitcycle import HitLedger
from _speedups.hitpath import AnyHitPath
from appliance.model.errors import InvariantBroken
from appliance.session.effects import Turn
from appliance.spool.spool import Spool, SpoolUnavailable
from appliance.telemetry.metrics import SECONDS_BOUNDS

FINISHED_SECONDS_MAX = 0.02
"""Records of what has finished wait for the next ones that something depends on, but no longer."""


class Session(Protocol):
    """Whoever posts turns."""

    def settle(self, turn: Turn, recorded: bool) -> None:
        """Deliver `turn`; when not `recorded`, record it first, or refuse what is in it. Never
        raises.
        """


class Round:
    """The turns of the present round; one per worker."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.ledger = HitLedger(self._wake, self._wake_later, secrets.token_bytes, SECONDS_BOUNDS)
        spool.finished = self.ledger.take_finished
        self.ledger.write_to(spool.end, spool.unwritten)
        self._held: list[tuple[Session, Turn]] = []
        self._ready: deque[tuple[Session, Turn, bool]] = deque()

    def post(self, session: Session, turn: Turn) -> None:
        if self.ledger.within:
            self.ledger.wanted = True
        elif not self._held:
            self._wake()
        self._held.append((session, turn))
        self.ledger.turns = True

    def _wake(self) -> None:
        asyncio.get_running_loop().call_soon(self.settle)

    def _wake_later(self) -> None:
        asyncio.get_running_loop().call_later(FINISHED_SECONDS_MAX, self._settle_finished)

    def _settle_finished(self) -> None:
        self.ledger.woken()
        if self.ledger.finished:
            self._spool.owe(())

    def settle(self) -> None:
        """Records and delivers what is held. May be called at any time, from a delivery, too: a
        session that ends settles first.
        """
        held, self._held = self._held, []
        self.ledger.turns = False
        if held:
            recorded = len(held) > 1 and self._record(held)
            self._ready.extend((session, turn, recorded) for session, turn in held)
        while self._ready:
            session, turn, recorded = self._ready.popleft()
            session.settle(turn, recorded)
        if not self.ledger.write_due():
            self._settle_hits(self.ledger.take_due())

    def _settle_hits(self, due: list[AnyHitPath]) -> None:
        """Behind the turns: what a session's machine made in this round came before. The long way,
        when something is in the way of the short one.
        """
        lines = [line for path in due for line in path.lines]
        try:
            self._spool.append(lines)
        except (SpoolUnavailable, InvariantBroken):
            for path in due:
                path.owner.unrecorded(path.drop())
        else:
            for path in due:
                path.send_recorded()

    def _record(self, held: list[tuple[Session, Turn]]) -> bool:
        try:
            self._spool.append([record for _, turn in held for record in turn.records])
        except (SpoolUnavailable, InvariantBroken):
            return False
        return True
