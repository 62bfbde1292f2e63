"""Teaches an exchange session's hit path what the machine decided, says when it may act alone, and
takes over from it; `hits` is its like for PostgreSQL.

Kept by `exchange_state`; `exchange_commands` and `exchange_replies` teach, `exchange` arms and
takes over. Rule: the path is armed only while nothing is under way and the session's settings are
known; what only the machine can deal with (cursors, long values, what asks for words of the
database) is never taught.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from _speedups.hitcycle import Hit
from _speedups.hitpath import AnyHitPath
from _speedups.leases import Lease
from appliance.audit.record import ProtocolKind
from appliance.session import changes, flow, said_again
from appliance.session.exchange_rests import rests_of
from appliance.session.hit_teaching import Teacher, lockable, teachable
from appliance.session.inflight import Execution, ResultLock
from appliance.session.records import Recorder
from appliance.wire.exchange import Bytes

_STAY, _SUSPECT, _WIPED = 0, 1, 2


if TYPE_CHECKING:

    class CommandPath(AnyHitPath):
        """The hit path of a protocol of commands; `protocols` names who makes one."""

        words_suspect: bool
        sequence_due: int
        statement: int

        def arm(self, epoch: tuple[str, str, str], lexing: int, standing: int) -> None: ...
        def knows(self, statement: int, hit: Hit, bound: bytes, parameters: int) -> None: ...
        def forgets(self, statement: int) -> None: ...
        def forgets_all(self) -> None: ...
        def asking(self, text: bytes) -> bytes: ...
        def described(
            self,
            hit: Hit,
            description: bytes,
            masker: Any,
            columns: int,
            lock: Any,
            shown: bytes | None,
        ) -> None: ...


class ExchangeHits(Teacher["CommandPath"]):
    """One session's."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._shapes = 0
        self.lease_of: Callable[[Any], Lease | None] = lambda _footing: None
        """What has to be held for what a text rests on; None: it cannot be."""
        self.vouches = True
        """What texts rest on has to be looked after, or held."""

    # --- teaching ---------------------------------------------------------------------------------

    def queried(
        self, text: bytes, verdict: flow.Verdict, folded: bytes | None, seen: bool
    ) -> Hit | None:
        """A text was sent. `folded` and `seen` as in `query`."""
        return self.query(text, verdict, folded, seen) if self._alone(verdict) else None

    def executed(
        self, statement: int, verdict: flow.Verdict, bound: bytes, parameters: int
    ) -> Hit | None:
        """A prepared statement was executed, without a cursor or long values."""
        if self.path is None or not teachable(verdict) or not self._alone(verdict):
            return None
        hit = self._made(verdict)
        self._locate(hit)
        hit.execute_tail = self._tail(
            ProtocolKind.EXECUTE, verdict, str(statement).encode(), parameters
        )
        self.path.knows(statement, hit, bound, parameters)
        return hit

    def forgets(self, statement: int) -> None:
        """The next execution of a statement is the machine's."""
        if self.path is not None:
            self.path.forgets(statement)

    def forgets_all(self) -> None:
        if self.path is not None:
            self.path.forgets_all()

    def described(
        self, execution: Execution, content: bytes, lock: ResultLock | None, shown: Bytes
    ) -> None:
        """What was sent earned this description, and this lock for it; `shown` to the client."""
        hit = execution.hit
        if self.path is None or hit is None or lock is None or execution.statement_index:
            return
        if lockable(hit, lock):
            reworded = bytes(shown) if any(lock.hidden) else None
            self.path.described(hit, content, lock.masker, lock.sensitive_columns, lock, reworded)

    def _locate(self, hit: Hit) -> None:
        rests = rests_of(hit.verdict)
        if rests is not None and self.vouches:
            hit.lease = self.lease_of(rests) or Lease()  # (one that is never held)

    def _alone(self, verdict: flow.Verdict) -> bool:
        """Whether it rests on nothing that would have to be looked at each time, and leaves nothing
        that has to be followed."""
        if said_again.asks(verdict.facts) or changes.calls_code(verdict.facts):
            return False
        rests = rests_of(verdict)
        if rests is None or not self.vouches:
            return True
        return not rests.first and self.lease_of(rests) is not None

    def _asking(self, text: bytes) -> bytes:
        assert self.path is not None
        return self.path.asking(text)

    def _made(self, verdict: flow.Verdict, key: bytes = b"") -> Hit:
        bound = verdict.restricted or bool(verdict.sensitive)
        hit = Hit(verdict, verdict.epoch, bound, False)
        hit.words = _words(verdict)
        return hit

    # --- acting alone -----------------------------------------------------------------------------

    def arm(self, epoch: tuple[str, str, str], shapes: int, lexing: int, standing: int) -> None:
        """The session is quiet. `shapes`: the catalog's count of schema changes; `lexing` and
        `standing` as in `Tracker` and `Codec`."""
        assert self.path is not None
        self._shapes = shapes
        self.path.arm(epoch, lexing, standing)

    # --- taking over ------------------------------------------------------------------------------

    def take_over(self) -> Execution:
        """The statement that is under way. The path is idle afterwards."""
        path = self.path
        assert path is not None and path.hit is not None
        execution = Execution(path.record_id.decode(), path.hit.verdict, path.started)
        execution.shapes = self._shapes
        execution.hit = path.hit
        execution.rows = execution.result_rows = path.rows
        execution.bytes_out = path.bytes_out
        execution.cells_masked = path.cells_masked
        execution.sensitive_unmasked = path.sensitive_unmasked
        if path.lock is not None:
            execution.lock = path.lock[2]
        path.hand_over()
        return execution


def _words(verdict: flow.Verdict) -> int:
    """`Hit.words` of a statement."""
    if said_again.after(verdict, False):
        return _SUSPECT
    return _STAY if said_again.after(verdict, True) else _WIPED
