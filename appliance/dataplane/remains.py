"""What is left of a session that ended: let go of as a whole, once nothing of it is under way.

Made by `conductor` at its session's end. Its parts refer to each other in circles, and Python's
cycle collector, which would find them, is asked seldom: the memory of a worker that many clients
come to and leave would grow by each of them. Rule: nothing is taken apart that a task, a turn or
the client's connection may still come back to.
"""

import asyncio
from typing import Protocol

from appliance.dataplane.lulls import Lulls

LOOK_AGAIN_SECONDS = 1.0
"""Most is over in a moment; tasks that were cancelled may take longer."""


class Session(Protocol):
    """The conductor, as far as it is needed here."""

    @property
    def lingers(self) -> bool:
        """Something may still come back to it."""

    def take_apart(self) -> None:
        """It is asked for nothing any more."""


class Remains:
    """Of one session."""

    def __init__(self, session: Session, lulls: Lulls) -> None:
        self._session: Session | None = session
        self._lulls = lulls
        self._again: asyncio.TimerHandle | None = None
        lulls.leave(self._look)

    def stir(self) -> None:
        """Something may be over."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
            self._lulls.leave(self._look)

    def _look(self) -> None:
        session, self._again = self._session, None
        if session is None:
            return
        if session.lingers:
            loop = asyncio.get_running_loop()
            self._again = loop.call_later(LOOK_AGAIN_SECONDS, self._look)
        else:
            self._session = None
            session.take_apart()
