"""What the supervisor does about the policy where there is a control process: proposes what the
files say, runs what control says, and goes on with the last of it while control is away.

Made by `supervisor`. Rules: workers start with the policy kept from last time, if there is one,
never with files that control has not agreed to since; whatever comes is validated here once more
and taken by all workers or by none; when nobody has confirmed it for `hours_max`, everything is
refused until somebody does.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from appliance.control import kept_policy
from appliance.control.documents import Validated, validate
from appliance.control.kept_policy import KeptPolicy
from appliance.control.policy_link import PolicyLink, Proposal
from appliance.link.approvals import Proposed
from appliance.link.messages import PolicyDocument
from appliance.policy.compile import digest_of
from appliance.telemetry.log import Log

LOOK_SECONDS = 1.0
CONFIRM_SECONDS = 300.0
"""How exactly it is kept when control was last heard."""
HOUR = 3_600.0
_REFUSING = b"""\
version: 1
rules:
  - id: policy-not-confirmed
    effect: deny
    actions: [everything]
    message: %s
"""
UNCONFIRMED = b"no control process has confirmed the policy for too long; tell an administrator"
UNAGREED = b"the first policy was not taken, so there is none; tell an administrator"

log = Log("supervisor")

Spread = Callable[[Validated], Awaitable[str]]
"""Has all workers take documents, or none; why not, '' when they did."""


class PolicyDuty:
    """See the module's docstring."""

    def __init__(
        self,
        files: Validated,
        place: tuple[Path, str],
        hours_max: float,
        current: Callable[[], Validated],
        spread: Spread,
        changed: Callable[[], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`files`: as they were read; `place`: control's socket and this appliance's name;
        `hours_max` 0 = for ever."""
        self.link = PolicyLink(*place, self._on_link)
        self.serial = 0
        """Of what workers go by; 0 = what the files say, because control has never said."""
        self.stale = False
        self._refused = 0
        """Serial of what workers did not take: once is enough, control says what is to be instead.
        """
        self._files = files
        self._folder = files.configuration.data
        self._seconds_max = hours_max * HOUR
        self._current = current
        self._spread = spread
        self._changed = changed
        self._now = now
        self._changing = asyncio.Lock()
        self._introduction: asyncio.Task[None] | None = None
        self._introduced = False
        self._told = ""
        """Digest of what control was last told that the files say, and has judged."""
        self._confirmed = 0.0
        self._kept_at = 0.0

    def first(self) -> Validated:
        """What workers start with. Raises ValueError for a kept policy that cannot be run."""
        kept = kept_policy.read(self._folder)
        if kept is None:
            return self._files
        self.serial, self._confirmed, self._told = kept.serial, kept.confirmed, kept.files
        documents = self._with(kept.documents, self._files)
        self.stale = self._overdue
        return self._with(_refusing(UNCONFIRMED), self._files) if self.stale else documents

    @property
    def settled(self) -> bool:
        """Whether workers go by what control said last, after it has heard of the files."""
        word = self.link.active
        current = word is None or word.serial in (self.serial, self._refused)
        return self._introduced and current and not self.stale

    async def run(self) -> None:
        """For ever."""
        linking = asyncio.create_task(self.link.run(), name="policy-link")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self.link.heard.wait()
                self.link.heard.clear()
                async with self._changing:
                    await self._follow()
                    await self._confirm()
        finally:
            linking.cancel()
            await asyncio.wait((linking,))

    # What the files say.

    def _on_link(self) -> None:
        """Control hears what the files say with every connection: the same again is nothing new."""
        if self._introduction is None or self._introduction.done():
            self._introduction = asyncio.create_task(self._introduce(), name="policy-introduction")

    async def _introduce(self) -> None:
        async with self._changing:
            try:
                answer = await self._propose(self._files)
            except Proposal as error:
                log.warning("policy_files_not_proposed", reason=str(error))
                return
            if answer.error:
                log.error("policy_files_not_taken", reason=answer.error)
            if answer.refused and not self.serial and self.link.active is None:
                await self._take(_refusing(UNAGREED))
            if self.serial and not self.stale:
                self._keep(self._now())
        self._introduced = True
        self._changed()

    async def _propose(self, files: Validated) -> Proposed:
        """Raises Proposal."""
        keys = tuple(files.configuration.token_keys)
        answer = await self.link.propose(files.documents.policies, files.tests, keys)
        if not answer.error or answer.refused:
            self._told = _digest(files.documents.policies)
        return answer

    async def reload(self, new: Validated) -> str:
        """Takes a new configuration, and its policy if control agrees. Why not, '' for done."""
        async with self._changing:
            try:
                answer = await self._propose(new)
                self._files = new
            except Proposal as error:
                if _digest(new.documents.policies) != self._told:
                    return str(error)
                answer = Proposed(0)
            if answer.error:
                return answer.error
            if answer.serial == 0 and self.serial:
                try:
                    new = self._with(self._current().documents.policies, new)
                except ValueError as error:
                    return f"the policy in force does not go with it: {error}"
            refusal = await self._spread(new)
            if answer.serial:
                self._settle(answer.serial, refusal)
            return refusal

    # What control says.

    async def _follow(self) -> None:
        word = self.link.active
        if word is None or word.serial == self._refused:
            return
        revived = self.stale and self.link.standing == word.serial
        if word.serial == self.serial and not revived:
            return
        self._settle(word.serial, await self._take(word.documents))

    async def _take(self, documents: tuple[PolicyDocument, ...]) -> str:
        """Why not, '' when all workers have."""
        now = self._current()
        if documents == now.documents.policies:
            return ""
        if not documents:
            return "an empty policy is none"
        try:
            new = self._with(documents, now)
        except ValueError as error:
            return str(error)
        return await self._spread(new)

    def _settle(self, serial: int, refusal: str) -> None:
        """Tells control, keeps what workers go by now."""
        if refusal:
            log.error("policy_refused", serial=serial, reason=refusal)
            self._refused = serial
        else:
            self.serial, self.stale = serial, False
            self._keep(self._now())
            log.info("policy_taken", serial=serial, policy=self._current().policy_version)
        self.link.applied(serial, refusal)
        self._changed()

    def _with(self, policies: tuple[PolicyDocument, ...], other: Validated) -> Validated:
        """Another policy under the same configuration. Raises ValueError."""
        return validate(msgspec.structs.replace(other.documents, policies=policies))

    # For how long.

    async def _confirm(self) -> None:
        now = self._now()
        if self.serial and self.link.standing == self.serial:
            if now - self._kept_at >= CONFIRM_SECONDS:
                self._keep(now)
            return
        if self._overdue and not self.stale:
            log.error("policy_not_confirmed", hours=self._seconds_max / HOUR)
            self.stale = not await self._take(_refusing(UNCONFIRMED))

    @property
    def _overdue(self) -> bool:
        silent = self._now() - self._confirmed
        return bool(self.serial and self._seconds_max) and silent > self._seconds_max

    def _keep(self, now: float) -> None:
        documents = self._current().documents.policies
        self._confirmed = self._kept_at = now
        kept = KeptPolicy(self.serial, _digest(documents), documents, now, self._told)
        try:
            kept_policy.write(self._folder, kept)
        except OSError as error:
            log.error("policy_not_kept", reason=error.strerror or type(error).__name__)


def _digest(documents: tuple[PolicyDocument, ...]) -> str:
    return digest_of([(one.name, one.text) for one in documents])


def _refusing(why: bytes) -> tuple[PolicyDocument, ...]:
    return (PolicyDocument("none", _REFUSING % why),)
