"""What can be done about approvals, grants and live sessions, whoever asks: one interface.

`control/approvals` implements it over the store; `console` (API and pages), `control/notify` and
tests use it. Rules: every method checks the rights of the `Person` it is given by itself, whatever
a route checked before; every change is an audit record before it is answered.
"""

from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from appliance.approval.request import Person, Request, State
from appliance.approval.standing import GrantState, Scope, StandingGrant
from appliance.link.approvals import SessionSeen


class DeskError(Exception):
    """Something that cannot be done. `str()` is for the person who asked, free of secrets."""


class Unknown(DeskError):
    """There is no such thing (any more)."""


class NotAllowed(DeskError):
    """This person may not."""


class Conflict(DeskError):
    """It cannot be done to it as it is now (decided already, expired, ...)."""


class Unavailable(DeskError):
    """The store cannot be reached; nothing was changed."""


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something happened; whoever shows it should look again."""

    kind: str
    """request_made, request_voted (and not decided yet), request_ruled, request_escalated,
    request_used, grant_proposed, grant_ruled, grant_revoked, session, policy_activated; missed:
    changes of other appliances may have been, so look at everything again"""
    id: str
    """Of the request, grant, session or policy version."""
    state: str = ""


class LiveSession(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session and where it is served."""

    node: str
    worker: int
    seen: SessionSeen


class Tested(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a policy's own test cases when it was brought."""

    cases: int = 0
    failed: int = 0
    failures: tuple[str, ...] = ()
    """Of the first ones, in words."""
    error: str = ""
    """Why they could not be run."""

    @property
    def sound(self) -> bool:
        return not self.failed and not self.error


class Activation(msgspec.Struct, frozen=True, kw_only=True):
    """A policy version became the one that everybody goes by. Times are unix seconds."""

    serial: int
    """1 for the first, and so on."""
    version: str
    previous: str
    """'' for the first one."""
    time: float
    by: str
    cause: str
    """files, activated, rolled_back, taken_back"""
    reason: str = ""
    via: str = ""
    node: str = ""
    """The appliance through which it came."""


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A policy that was brought once, without its text."""

    id: str
    """SHA-256 (hex) over its documents' names and contents."""
    documents: tuple[str, ...]
    """Names."""
    size: int
    """Bytes."""
    made: float
    brought_by: str
    tested: Tested
    active: bool
    activated: Activation | None = None
    """The newest time; None = never."""


class PolicyText(msgspec.Struct, frozen=True, kw_only=True):
    """One version with its documents."""

    version: PolicyVersion
    documents: tuple[tuple[str, str], ...]
    """(name, text)"""


class Applied(msgspec.Struct, frozen=True):
    """What an appliance last said of the active version."""

    node: str
    serial: int
    error: str
    """'' = its workers go by it."""
    time: float


class Policies(Protocol):
    """The policy's versions. Raises DeskError's kinds."""

    async def versions(self, person: Person, limit: int = 100) -> list[PolicyVersion]:
        """Newest first. For whoever has a role."""
        ...

    async def version(self, person: Person, id: str) -> PolicyText:
        """`id` may be cut short to 8 digits or more, if that names one."""
        ...

    async def history(
        self, person: Person, limit: int = 100
    ) -> tuple[list[Activation], list[Applied]]:
        """Activations, newest first, and what each appliance made of the last one."""
        ...

    async def activate(self, person: Person, id: str, reason: str) -> Activation:
        """Role admin, people only, with a reason. Returns when this appliance's workers go by it;
        if they refuse it, the one before is active again, and Conflict says why."""
        ...

    async def roll_back(self, person: Person, reason: str, active: str) -> Activation:
        """Likewise, to the version before. `active`: the one that the person believes to be."""
        ...


class HeadSeen(msgspec.Struct, frozen=True):
    """How far an audit chain had come when control looked at it."""

    node: str
    worker: int
    last: int
    """Sequence number of its last record that was signed for."""
    time: float
    line: str
    """The signed head (`audit.checkpoint`), as it stood in head.json."""


class TrailSeen(msgspec.Struct, frozen=True):
    """What the control process has seen of the trail of `node`, and of other appliances."""

    node: str
    heads: tuple[HeadSeen, ...]
    """By appliance, chain and `last`."""
    keys: tuple[tuple[str, str], ...]
    """(id, PEM) of every public key that this appliance's trail was signed with."""


class Desk(Protocol):
    """See the module's docstring. All methods raise DeskError's kinds and nothing else."""

    async def requests(
        self,
        person: Person,
        *,
        state: State | None = None,
        principal: str = "",
        before: str = "",
        limit: int = 100,
    ) -> list[Request]:
        """Newest first; `before`: ids older than this one. Whoever has no role sees their own."""
        ...

    async def request(self, person: Person, id: str) -> Request: ...

    async def vote(self, person: Person, id: str, approve: bool, reason: str = "") -> Request:
        """Raises NotAllowed with `ruling.objection`'s words. A denial needs a reason."""
        ...

    async def break_glass(self, person: Person, id: str, reason: str) -> Request:
        """The requester, or the human behind it, approves in an emergency: only members of the
        configured groups, only with a reason; loud in the audit trail and in notifications."""
        ...

    async def withdraw(self, person: Person, id: str) -> Request:
        """By the requester, or the human it acts for."""
        ...

    async def grants(
        self, person: Person, *, state: GrantState | None = None, limit: int = 100
    ) -> list[StandingGrant]: ...

    async def propose_grant(
        self, person: Person, scope: Scope, until: float, reason: str
    ) -> StandingGrant:
        """Needs the agreement of another person, who is none of `scope.principals`."""
        ...

    async def rule_grant(
        self, person: Person, id: str, approve: bool, reason: str = ""
    ) -> StandingGrant: ...

    async def revoke_grant(self, person: Person, id: str, reason: str = "") -> StandingGrant: ...

    async def sessions(self, person: Person) -> list[LiveSession]: ...

    async def end_session(self, person: Person, session: str, reason: str = "") -> None:
        """Role admin. Returns when its worker was told."""
        ...

    def watch(self) -> AsyncIterator[Change]:
        """Changes from now on, those of other appliances on the same store included. A watcher that
        falls far behind misses some."""
        ...
