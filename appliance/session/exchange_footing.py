"""Whether what a statement rests on is as it was judged, in an exchange session: asked by another
connection of the appliance's (`CheckFooting`), when the statement has opened what it names.

Part of `exchange`. A result that is described waits, with all that follows it, until that is known;
so nothing of it has left when it is not as it was judged. Rule: what follows is kept in bytes of
our own, and soon no more of it is read (`holds_back`).
"""

from collections import deque
from collections.abc import Iterator

from appliance.model.errors import InvariantBroken
from appliance.session.effects import Bytes, CheckFooting
from appliance.session.exchange_rests import Rests, rests_of
from appliance.session.exchange_state import ExchangeState, Running
from appliance.wire.exchange import Described, Reply

KEPT_BYTES_MAX = 256 * 1024
"""Of replies that wait, before no more are read."""


class ExchangeFooting:
    """One session's."""

    def __init__(self, state: ExchangeState) -> None:
        self._state = state
        self._doubted: tuple[Running, Described] | None = None
        self._replies: Iterator[Reply] | None = None
        self._chunks: deque[bytes] = deque()
        self._kept = 0

    @property
    def waits(self) -> bool:
        """Replies wait."""
        return self._doubted is not None

    @property
    def holds_back(self) -> bool:
        return self._kept > KEPT_BYTES_MAX

    # --- what is asked ----------------------------------------------------------------------------

    def doubts(self, running: Running) -> bool:
        """Whether a result that was just described has to wait."""
        execution = running.execution
        rests = None if execution is None else rests_of(execution.verdict)
        if rests is None or not self._state.vouches:
            return False
        return not self.is_held(rests)

    def is_held(self, rests: Rests) -> bool:
        """Whether the open transaction keeps all of it as it was found before."""
        if self._state.tables_held:
            return True
        steady = rests.steady
        return steady is not None and steady <= self._state.steady

    def ask(self, running: Running, reply: Described) -> None:
        assert running.execution is not None
        self._doubted = running, reply
        self._state.turn.requests.append(CheckFooting(running.execution.verdict.footing))

    def answered(self, holds: bool) -> tuple[Running, Described]:
        """What waited."""
        if self._doubted is None:
            raise InvariantBroken("an answer nobody waits for")
        found, self._doubted = self._doubted, None
        execution = found[0].execution
        rests = None if execution is None else rests_of(execution.verdict)
        if holds and rests is not None and rests.steady and self._state.status == ord("T"):
            self._state.steady |= rests.steady
        return found

    # --- replies that wait ------------------------------------------------------------------------

    def received(self, chunk: Bytes) -> Iterator[Reply]:
        """The replies that may be looked at now; what waits is kept."""
        state = self._state
        running = state.running
        if self.waits:
            self._chunks.append(bytes(chunk))
            self._kept += len(chunk)
            return iter(())
        may_wait = state.vouches and running is not None and running.execution is not None
        if may_wait and running is not None and running.execution is not None:
            may_wait = rests_of(running.execution.verdict) is not None
        return state.codec.upstream_fed(bytes(chunk) if may_wait else chunk)

    def keep(self, replies: Iterator[Reply]) -> None:
        """What is left of them waits."""
        self._replies = replies

    def waited(self) -> Iterator[Iterator[Reply]]:
        """All that waits, as long as nothing makes it wait again."""
        replies, self._replies = self._replies, None
        if replies is not None:
            yield replies
        while self._chunks and not self.waits:
            chunk = self._chunks.popleft()
            self._kept -= len(chunk)
            yield self._state.codec.upstream_fed(chunk)
