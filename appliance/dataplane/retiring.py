"""A session whose proof of identity no longer holds: its token expired, or its account was changed.

Owned by `conductor`. Rule: nothing new begins; what runs may finish, for a while.
"""

from collections.abc import Callable
from typing import Protocol

from appliance.identity.proof import still_proved
from appliance.identity.verifiers import Directory
from appliance.model.principal import Principal
from appliance.session.driven import Machine

SECONDS_MAX = 30.0
"""A statement that runs when its session's token expires or its user is removed may finish, for so
long.
"""


class Session(Protocol):
    """The conductor, as far as it is needed here."""

    ended: bool

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """While the session lives."""

    def begin_nothing_new(self, why: str) -> None:
        """What waits, waits no longer; what the client sends from here on is the machine's."""

    def update_reading(self) -> None:
        """Which side is read may have changed."""

    def part(self, reason: str, last_words: bytes) -> None:
        """Both sides end."""


class Retiring:
    """See the module's docstring."""

    __slots__ = ("_machine", "_said", "_session")

    def __init__(self, session: Session, machine: Machine) -> None:
        self._session = session
        self._machine = machine
        self._said: tuple[str, bytes] | None = None
        """Why the session ends, and the client's last words to read."""

    @property
    def begun(self) -> bool:
        return self._said is not None

    def take_directory(
        self, directory: Directory, principal: Principal | None, local: bool
    ) -> None:
        """Ends the session of somebody who could not log in as this principal now. `local`: by the
        users file, with a password of its own."""
        if principal is None or still_proved(principal, local, directory):
            return
        self._begin(
            "revoked", "this login is no longer valid: the account was changed", "connect again"
        )

    def expire(self) -> None:
        self._begin(
            "expired",
            "the token this session was opened with has expired",
            "get a new token and connect again",
        )

    def settled(self) -> None:
        """Something ended that this may wait for."""
        if self._said and not (self._session.ended or self._machine.busy or self._machine.waiting):
            self._end()

    def _begin(self, reason: str, message: str, hint: str) -> None:
        session, machine = self._session, self._machine
        if session.ended or self._said:
            return
        self._said = (reason, machine.last_words("28000", message, hint))
        session.begin_nothing_new("session_ended")
        if machine.busy or machine.waiting:
            session.after(SECONDS_MAX, self._end)
            session.update_reading()
        else:
            self._end()

    def _end(self) -> None:
        if self._said:
            self._session.part(*self._said)
