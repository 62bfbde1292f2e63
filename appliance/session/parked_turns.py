"""What a machine is told about the statement of its session that waits for an approval: the same in
every protocol.

Base of `machine` and `exchange`; `parking` does the work. Rule: each input is a turn of its own,
after which what waited behind the statement goes on.
"""

from abc import ABC, abstractmethod
from typing import Any

from appliance.link.approvals import Known, Ruled, Used
from appliance.session.effects import Turn
from appliance.session.parking import Parking
from appliance.session.state import Parked


class ParkedTurns(ABC):
    """See `driven.Machine`; times are unix seconds, given."""

    @property
    @abstractmethod
    def parked(self) -> Parked | None:
        """The statement that waits for an approval."""

    @property
    @abstractmethod
    def _parking(self) -> Parking[Any]: ...

    @abstractmethod
    def _begin(self, now: float) -> None: ...

    @abstractmethod
    def _resumed(self) -> Turn:
        """Ends the turn, with what waited behind."""

    def approval_known(self, known: Known, now: float) -> Turn:
        """Answer to AskApproval: it is stored."""
        self._begin(now)
        self._parking.known(known)
        return self._resumed()

    def approval_ruled(self, ruled: Ruled, now: float) -> Turn:
        """Somebody decided on what this session waits for, or it ended otherwise."""
        self._begin(now)
        self._parking.ruled(ruled.request, ruled.state, ruled.by, ruled.reason)
        return self._resumed()

    def approval_used(self, used: Used, now: float) -> Turn:
        """Answer to UseApproval."""
        self._begin(now)
        self._parking.used(used)
        return self._resumed()

    def approval_failed(self, reason: str, now: float) -> Turn:
        """AskApproval or UseApproval could not be done."""
        self._begin(now)
        self._parking.failed(reason)
        return self._resumed()

    def give_up_waiting(self, why: str, now: float) -> Turn:
        """The statement that waits for an approval waits no longer: cancelled, drained, expired."""
        self._begin(now)
        self._parking.give_up(why)
        return self._resumed()

    def remind(self, now: float) -> Turn:
        """Tells the client that its statement still waits."""
        self._begin(now)
        self._parking.remind()
        return self._resumed()
