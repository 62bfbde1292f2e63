"""One write for the audit records of all sessions in one round of the event loop.

`conductor` posts every turn that has records; at the end of the round, before the loop waits for
the network again, all of them are appended at once and then the turns are delivered. Rule: a turn
is delivered after its records are appended (DESIGN invariant 1), and turns of one session in the
order in which they were made. Where the one write fails, each turn is recorded alone, so that one
session's failure is not another's.
"""

import asyncio
from collections import deque
from typing import Protocol

from appliance.dataplane.spool import Spool, SpoolUnavailable
from appliance.model.errors import InvariantBroken
from appliance.session.effects import Turn


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
        self._held: list[tuple[Session, Turn]] = []
        self._ready: deque[tuple[Session, Turn, bool]] = deque()

    def post(self, session: Session, turn: Turn) -> None:
        if not self._held:
            asyncio.get_running_loop().call_soon(self.settle)
        self._held.append((session, turn))

    def settle(self) -> None:
        """Records and delivers what is held. May be called at any time, from a delivery, too: a
        session that ends settles first.
        """
        held, self._held = self._held, []
        if held:
            recorded = len(held) > 1 and self._record(held)
            self._ready.extend((session, turn, recorded) for session, turn in held)
        while self._ready:
            session, turn, recorded = self._ready.popleft()
            session.settle(turn, recorded)

    def _record(self, held: list[tuple[Session, Turn]]) -> bool:
        try:
            self._spool.append([record for _, turn in held for record in turn.records])
        except (SpoolUnavailable, InvariantBroken):
            return False
        return True
