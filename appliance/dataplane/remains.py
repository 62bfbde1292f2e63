"""What is left of a session that ended: let go of as a whole, once nothing of it is under way.

Made by `conductor` at its session's end. Its parts refer to each other in circles, and Python's
cycle collector, which would find them, is asked seldom: the memory of a worker that many clients
come to and leave would grow by each of them. Rule: nothing is taken apart that a task, a turn or
the client's connection may still come back to.
"""

import asyncio
from typing import Protocol

MOMENT_SECONDS = 0.002
"""Who leaves often comes back at once, and is served before what is left is taken apart."""
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

    def __init__(self, session: Session) -> None:
        self._session: Session | None = session
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_later(MOMENT_SECONDS, self._look)
        self._looked = False

    def stir(self) -> None:
        """Something may be over."""
        if self._session is not None and self._looked:
            self._next.cancel()
            self._next = self._loop.call_later(MOMENT_SECONDS, self._look)
            self._looked = False

    def _look(self) -> None:
        session = self._session
        if session is None:
            return
        if session.lingers:
            self._next = self._loop.call_later(LOOK_AGAIN_SECONDS, self._look)
            self._looked = True
        else:
            self._session = None
            session.take_apart()
