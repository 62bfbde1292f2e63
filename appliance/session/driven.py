"""What a conductor asks of a session's machine, whatever protocol it speaks: `session/machine` and
`session/exchange` both are one.

Rule: a method that returns a `Turn` is given the time; nothing in here waits.
"""

from typing import Protocol

from _speedups.hitpath import AnyHitPath
from _speedups.rowflow import RowFlow
from appliance.link.approvals import Known, Ruled, Used
from appliance.model.facts import Facts
from appliance.model.refusal import Refusal
from appliance.model.stands import Stands
from appliance.policy.snapshot import Snapshot
from appliance.session.backend import Left
from appliance.session.dialect import Forms, SessionLineage
from appliance.session.effects import Bytes, Turn
from appliance.session.inflight import Execution
from appliance.session.state import Parked


class Machine(Protocol):
    """One session between login and end. The docstrings are in `session/machine`."""

    @property
    def hit_path(self) -> AnyHitPath | None:
        """Its own, attached to both ends by the conductor; None: it takes every chunk itself."""

    @property
    def flow(self) -> RowFlow | None:
        """Rows that may go on without the machine; None: it passes on each chunk itself."""

    def let_flow(self) -> None:
        """What is due may go on by `flow` until the machine is asked something again."""

    def learns(self, chunk: Bytes, now: float) -> bool:
        """Whether the hit path, which did not take this chunk of the client's, knows it by now."""

    def take_over(self) -> None: ...
    def aside(self, kind: int, frame: bytes) -> bytes: ...
    def proviso_failed(self) -> None:
        """What the hit path had sent was not run: it comes again, for the machine to look."""

    def turned(self, opened: int | None) -> None:
        """The hit path has begun a transaction, with this `Lease.value` before; None: ended one."""

    def take_apart(self) -> None:
        """The session has ended, and nothing is asked of this any more."""

    @property
    def waiting(self) -> bool: ...
    @property
    def full(self) -> bool: ...
    @property
    def holds_back(self) -> bool:
        """Whether replies of the upstream are kept, and no more should come."""

    @property
    def idle(self) -> bool: ...
    @property
    def busy(self) -> bool: ...
    @property
    def reusable(self) -> bool: ...
    @property
    def left(self) -> Left: ...
    @property
    def changing(self) -> bool: ...
    @property
    def told_fatal(self) -> bool: ...
    @property
    def in_transaction(self) -> bool: ...
    @property
    def executing(self) -> int: ...
    @property
    def statements(self) -> int: ...
    @property
    def statement_shown(self) -> str: ...
    @property
    def totals(self) -> tuple[int, int, int, int]: ...
    @property
    def parameters(self) -> dict[str, str]: ...
    @property
    def parked(self) -> Parked | None: ...
    @property
    def analysis_lineage(self) -> SessionLineage | None: ...

    def client_received(self, chunk: Bytes, now: float) -> Turn: ...
    def upstream_received(self, chunk: Bytes, now: float) -> Turn: ...
    def analysed(self, facts: Facts, now: float, forms: Forms | None = None) -> Turn: ...
    def catalog_ready(self, now: float) -> Turn: ...
    def timed_out(self, execution: Execution, now: float) -> Turn: ...
    def approval_known(self, known: Known, now: float) -> Turn: ...
    def approval_ruled(self, ruled: Ruled, now: float) -> Turn: ...
    def approval_used(self, used: Used, now: float) -> Turn: ...
    def approval_failed(self, reason: str, now: float) -> Turn: ...
    def give_up_waiting(self, why: str, now: float) -> Turn: ...
    def remind(self, now: float) -> Turn: ...
    def other_ended(self, found: bool, now: float) -> Turn:
        """Answer to EndOther: whether there was such a session."""

    def footing_told(self, stands: Stands, now: float) -> Turn:
        """Answer to CheckFooting."""

    def disconnected(self, now: float) -> Turn: ...
    def refuse_turn(self, turn: Turn) -> None: ...
    def take_policy(self, snapshot: Snapshot) -> None: ...

    def last_words(self, sqlstate: str, message: str, hint: str = "") -> bytes:
        """The last thing the client reads: an error of its protocol, in the place of whatever it
        waits for.
        """

    def last_refusal(self, refusal: Refusal) -> bytes:
        """The same, for a refusal that ends the session."""
