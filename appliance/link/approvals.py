"""What workers and the control process tell each other about approvals and live sessions, and the
supervisor and the control process about the policy in force.

Framed by `link/codec` over a Unix stream socket that the control process listens on
(`dataplane/approvals` and `control/policy_link` connect, `control/links` accepts). Rules: versioned
(another VERSION is refused at the greeting); every message may be sent again after a reconnect, ids
make that harmless; only `Used(ok=True)`, which control sends after it has stored the use durably,
lets a statement run.

Life of a wait: Ask -> Known(pending) -> ... -> Ruled(approved) -> Use -> Used(ok). A reconnecting
worker sends Ask again for all that still wait. A ticket: Ask -> Known(pending), and the session
refuses; the same statement later: Ask (same binding, new id) -> Known(approved, with the first
request's id) -> Use -> Used.

The supervisor greets as SUPERVISOR, and proposes what its policy files say: Propose -> Proposed.
Control says which version is active, at the greeting and whenever that changes: Active -> Applied.
Once a second it says that this still holds: Standing, with its own figures. What an Active brings
has been validated by control; the supervisor validates it again before any worker hears of it.
"""

import msgspec

from appliance.approval.request import Asked, State
from appliance.link.codec import MessageReader
from appliance.link.messages import PolicyDocument

VERSION = 3
SUPERVISOR = -1
"""As `Greet.worker`: the supervisor, which runs the workers."""
POLICY_BYTES_MAX = 8 * 1024 * 1024
"""All documents of a policy together, and all of its test cases: an Active has to fit a frame."""
CONTROL_SOCKET_NAME = "control.sock"
"""In the run folder, where the configuration names no other."""
FRAME_BYTES_MAX = 16 * 1024 * 1024
"""Ceiling of one message; the largest is an Ask with its statement (`limits.statement_bytes_max`).
"""
SESSIONS_MAX = 2_000
"""Sessions told in one `Sessions`; of more, the busiest."""


class Greet(msgspec.Struct, frozen=True, tag=True):
    """A worker's first words."""

    version: int
    node: str
    worker: int
    """Its index, or SUPERVISOR."""
    pid: int


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A statement is held. `waits`: the client waits where it is (else it gets a ticket)."""

    asked: Asked
    waits: bool = True


class Withdraw(msgspec.Struct, frozen=True, tag=True):
    """Whoever asked waits no longer."""

    id: str
    reason: str
    """cancelled, disconnected, drained, session_ended, expired"""


class Use(msgspec.Struct, frozen=True, tag=True):
    """The statement is about to run. `binding` has to be the request's."""

    id: str
    binding: str
    session: str
    attempt: str = ""
    """Unique to this one attempt to run it: sent again after a reconnect it is the same use. '' =
    never sent again."""


class SessionSeen(msgspec.Struct, frozen=True, omit_defaults=True):
    """One live session. `statement` is redacted."""

    id: str
    principal: str
    kind: str
    target: str
    database: str
    address: str
    since: float
    on_behalf_of: str | None = None
    application: str = ""
    upstream_user: str = ""
    state: str = "idle"
    """idle, active, transaction, held"""
    statement: str = ""
    statements: int = 0
    rows: int = 0
    held: str = ""
    """Id of the request it waits for."""
    source: str = ""
    """What knows the principal."""


class Sessions(msgspec.Struct, frozen=True, tag=True):
    """All of a worker's sessions, about once a second while there are any or any ended."""

    sessions: tuple[SessionSeen, ...]


class Propose(msgspec.Struct, frozen=True, tag=True):
    """What the supervisor's policy files say, validated by it. What they said before changes
    nothing."""

    number: int
    """Names the answer."""
    documents: tuple[PolicyDocument, ...]
    tests: tuple[PolicyDocument, ...] = ()
    """Cases in YAML (`policy.tests`)."""
    token_keys: tuple[str, ...] = ()
    """Names of the keys that the configuration has for token masks."""


class Applied(msgspec.Struct, frozen=True, tag=True):
    """What became of an Active: '' = all workers go by it, else why they do not."""

    serial: int
    error: str = ""


WorkerApprovalMessage = Greet | Ask | Withdraw | Use | Sessions | Propose | Applied


class Welcome(msgspec.Struct, frozen=True, tag=True):
    """Control's answer to Greet. Without it the link is closed."""

    version: int


class Known(msgspec.Struct, frozen=True, tag=True):
    """Answer to Ask, after it was stored. `id` is the asker's; `request` the id it is kept under,
    another one when the same binding was asked for before.
    """

    id: str
    request: str
    state: State
    url: str = ""
    """Where people decide, '' if there is no console."""
    poll: str = ""
    """Where a program can ask for the state."""
    expires: float = 0.0
    reason: str = ""
    by: str = ""


class Ruled(msgspec.Struct, frozen=True, tag=True):
    """A pending request was decided, expired, or ended otherwise. Sent to whoever waits for it."""

    request: str
    state: State
    by: str = ""
    reason: str = ""


class Used(msgspec.Struct, frozen=True, tag=True):
    """Answer to Use: ok = stored, the statement may run now, once."""

    request: str
    ok: bool
    session: str = ""
    by: str = ""
    """Who approved, for the audit record."""
    reason: str = ""
    rows_max: int | None = None
    """Rows that it may write, by what was approved; None = that says nothing."""


class EndSession(msgspec.Struct, frozen=True, tag=True):
    """An administrator ends a session."""

    session: str
    by: str
    reason: str = ""


class Unstored(msgspec.Struct, frozen=True, tag=True):
    """Answer to Ask or Use that could not be kept: refused, try again later."""

    id: str
    reason: str


class Active(msgspec.Struct, frozen=True, tag=True):
    """The policy that everybody goes by from now on. `serial` grows with each."""

    serial: int
    documents: tuple[PolicyDocument, ...]


class Proposed(msgspec.Struct, frozen=True, tag=True):
    """Answer to Propose. The Active that follows from it was said before."""

    number: int
    serial: int = 0
    """Of its activation; 0 = it changed nothing."""
    error: str = ""
    """Why it was not taken, for the administrator."""
    refused: bool = False
    """It never will be, as it is: it does not validate, or its tests fail."""


class Standing(msgspec.Struct, frozen=True, tag=True):
    """Said once a second. `serial` is what the store says is active now, 0 = nothing, or it could
    not be asked."""

    serial: int
    figures: dict[str, int | float] = {}
    """`telemetry.control_metrics.ControlMetrics.snapshot()`."""


ControlMessage = (
    Welcome | Known | Ruled | Used | EndSession | Unstored | Active | Proposed | Standing
)


def worker_messages() -> MessageReader[WorkerApprovalMessage]:
    """Reader for control's end."""
    return MessageReader(WorkerApprovalMessage, FRAME_BYTES_MAX)  # type: ignore[arg-type]


def control_messages() -> MessageReader[ControlMessage]:
    """Reader for a worker's end."""
    return MessageReader(ControlMessage, FRAME_BYTES_MAX)  # type: ignore[arg-type]
