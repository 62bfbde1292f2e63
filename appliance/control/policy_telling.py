"""Control's end of the supervisor's link: hears what the policy files say, tells what is active,
and once a second that this still holds.

One per link, made by `links` when somebody greets as the supervisor. Rule: what is said to be
active has been read from the store just then; if that cannot be read, nothing is said to stand.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from appliance.control.desk import DeskError
from appliance.control.policies import PolicyVersions
from appliance.link.approvals import (
    Active,
    Applied,
    ControlMessage,
    Propose,
    Proposed,
    Standing,
    WorkerApprovalMessage,
)
from appliance.link.codec import LinkBroken
from appliance.telemetry.log import Log
from appliance.telemetry.metrics import Number

STANDING_SECONDS = 1.0

log = Log("control")


class PolicyTelling:
    """See the module's docstring."""

    def __init__(
        self,
        versions: PolicyVersions,
        figures: Callable[[], Mapping[str, Number]],
        say: Callable[[ControlMessage], None],
    ) -> None:
        self._versions = versions
        self._figures = figures
        self._say = say
        self._told = 0
        """Serial said last."""
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()

    def look(self) -> None:
        """Something was activated, perhaps."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._versions.overseen(True)
        try:
            while True:
                self._wake.clear()
                await self._tell()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(STANDING_SECONDS):
                        await self._wake.wait()
        finally:
            self._versions.overseen(False)

    async def _tell(self) -> None:
        serial = 0
        try:
            async with self._turn:
                serial = await self._versions.serial()
                if serial != self._told:
                    await self._tell_active()
        except DeskError as error:
            serial = 0
            log.warning("policy_not_read", reason=str(error))
        self._say(Standing(serial, dict(self._figures())))

    async def _tell_active(self) -> None:
        active = await self._versions.in_force()
        if active is not None and active.serial != self._told:
            self._say(Active(active.serial, active.documents))
            self._told = active.serial

    async def take(self, message: WorkerApprovalMessage) -> None:
        """What the supervisor says. Raises LinkBroken."""
        match message:
            case Propose():
                await self._propose(message)
            case Applied(serial=serial, error=error):
                try:
                    await self._versions.applied(serial, error)
                except DeskError as failure:
                    log.warning("policy_state_not_kept", reason=str(failure))
            case _:
                raise LinkBroken("a supervisor does not say that")

    async def _propose(self, message: Propose) -> None:
        try:
            brought = await self._versions.propose(
                message.documents, message.tests, message.token_keys
            )
            async with self._turn:
                await self._tell_active()
        except DeskError as error:
            self._say(Proposed(message.number, error=str(error)))
            return
        self._say(Proposed(message.number, brought.serial, brought.error, brought.refused))
