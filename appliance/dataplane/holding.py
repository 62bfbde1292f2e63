"""One session's dealings with the control process: its held statement, and how it is shown there.

Owned by `conductor`, which carries out the turns made here. Rule: whatever is answered, the machine
alone decides what it means for the statement.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from appliance.config.schema import TargetConfig
from appliance.dataplane.approvals import Answer, ApprovalLink, Failed, Waiter
from appliance.dataplane.cancelling import Cancelling, mode_of
from appliance.dataplane.cancels import Cancels
from appliance.dataplane.pool import Kept
from appliance.dataplane.services import Services
from appliance.dataplane.sharing import Sharing
from appliance.dataplane.shows import Seen, tls_of
from appliance.dataplane.transport import Side
from appliance.link.approvals import Known, Ruled, SessionSeen, Used
from appliance.model.errors import InvariantBroken
from appliance.model.principal import Client, Principal
from appliance.session.driven import Machine
from appliance.session.effects import AskApproval, Turn, UseApproval, WithdrawApproval

REMIND_SECONDS = 30.0
"""How often a client hears that its statement still waits for an approval."""
LATE_SECONDS = 5.0
"""How long after its time a request is still given for control to end it."""
PAUSE_SECONDS_MIN = 0.1


class Holding:
    """See the module's docstring."""

    __slots__ = ("_machine", "_reminder", "_services", "_since", "_waiter")

    def __init__(self, waiter: Waiter, machine: Machine, services: Services) -> None:
        self._waiter = waiter
        self._machine = machine
        self._services = services
        self._since = 0.0
        """Since when a statement waits (monotonic)."""
        self._reminder: asyncio.TimerHandle | None = None

    @property
    def _link(self) -> ApprovalLink:
        if self._services.approvals is None:
            raise InvariantBroken("an approval that nobody can give")
        return self._services.approvals

    def carry_out(self, request: AskApproval | UseApproval | WithdrawApproval) -> None:
        match request:
            case AskApproval(asked=asked, waits=waits):
                self._since = monotonic()
                self._link.ask(self._waiter, asked, waits)
            case UseApproval(request=held, binding=binding):
                self._link.use(self._waiter, held, binding)
            case WithdrawApproval(reason=reason):
                self._link.withdraw(self._waiter, reason)

    def answered(self, answer: Answer) -> Turn:
        machine, now = self._machine, self._services.now()
        match answer:
            case Known():
                return machine.approval_known(answer, now)
            case Ruled():
                return machine.approval_ruled(answer, now)
            case Used():
                return machine.approval_used(answer, now)
            case Failed(reason=reason):
                return machine.approval_failed(reason, now)

    @property
    def overdue(self) -> bool:
        """Whether the statement has waited long enough, whatever control says."""
        parked = self._machine.parked
        if parked is None:
            return False
        late = parked.expires and self._services.now() > parked.expires + LATE_SECONDS
        return bool(late) or self._left_seconds <= 0

    @property
    def _left_seconds(self) -> float:
        limit = self._services.governance.configuration.limits.hold_ms_max / 1000
        return limit - (monotonic() - self._since)

    def remind_later(self, remind: Callable[[], None]) -> None:
        """One reminder is due at a time, however many statements were held before this one."""
        self.remind_no_more()
        pause = max(PAUSE_SECONDS_MIN, min(REMIND_SECONDS, self._left_seconds))
        self._reminder = asyncio.get_running_loop().call_later(pause, remind)

    def remind_no_more(self) -> None:
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None


def told_of(seen: Seen, machine: Machine, principal: Principal | None) -> SessionSeen:
    """A session as the control process shows it."""
    parked = machine.parked
    states = {"idle in transaction": "transaction", "waiting": "active"}
    rows, _, _, _ = machine.totals
    return SessionSeen(
        id=seen.session,
        principal=seen.principal,
        kind="" if principal is None else principal.kind.value,
        target=seen.target,
        database=seen.database,
        address=seen.client.address,
        since=seen.began,
        on_behalf_of=None if principal is None else principal.on_behalf_of,
        application=seen.client.application,
        upstream_user=seen.user,
        state="held" if parked is not None else states.get(seen.state, seen.state),
        statement=machine.statement_shown,
        statements=machine.statements,
        rows=rows,
        held="" if parked is None else parked.request,
        source="" if principal is None else principal.source,
    )


class Shown(Protocol):
    """The conductor, as far as it is shown."""

    @property
    def session(self) -> str: ...

    principal: Principal | None
    database: str
    client: Client | None
    begun: float
    target: TargetConfig
    upstream_user: str
    upstream_pid: int
    kept: Kept | None
    sharing: Sharing | None
    cancel_keys: Sequence[tuple[int, bytes]]
    requested: float


def seen_of(
    session: Shown,
    machine: Machine,
    client: Side,
    upstream: Side,
    cancels: Cancels,
    cancelling: Cancelling,
) -> Seen:
    """A session as the admin database shows it."""
    sharing, path = session.sharing, machine.hit_path
    requested = max(session.requested, 0.0 if path is None else path.started)
    if sharing is not None and sharing.asked:
        requested = sharing.touched()
    state = "idle in transaction" if machine.in_transaction else "idle"
    if machine.busy or machine.waiting:
        state = "active" if machine.busy else "waiting"
    if sharing is not None and sharing.asked:
        state = "waiting"
    return Seen(
        session=session.session,
        principal="" if session.principal is None else session.principal.name,
        database=session.database,
        state=state,
        client=session.client or Client("", 0, "", False),
        client_tls=tls_of(client.ssl),
        began=session.begun,
        target=session.target.name,
        host=session.target.host,
        port=session.target.port,
        user=session.upstream_user,
        pid=session.upstream_pid,
        upstream_tls=tls_of(upstream.ssl),
        mode=mode_of(session),
        waits=sharing.waits_since if sharing is not None and sharing.asked else 0.0,
        free=sharing is not None and sharing.free,
        held_up=sharing is not None and sharing.held_up(cancelling.underway),
        cancels=sum(cancels.passing[key] for key in session.cancel_keys),
        client_local=client.local,
        upstream_local=upstream.local,
        requested=requested,
    )
