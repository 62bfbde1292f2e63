"""What looks its names up only when it runs is looked at once more when it has: whether what it
rests on is still as it was judged, over a connection of the appliance's own (`CheckFooting`).

Part of `machine`; `decisions` says of which executions (`Execution.rests`). The first word of each
of its results waits, with all that follows it, until that is known: by then the server has looked
its names up and has locked what they mean, and whatever it could see there the other connection
sees, too. If it is not as it was judged, nothing of it leaves, and the session ends.
"""

from collections import deque

from appliance.model.errors import InvariantBroken, Refused
from appliance.session import told
from appliance.session.effects import CheckFooting
from appliance.session.inflight import Execution
from appliance.session.state import HEADER, Run, SessionState
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Kind

_FIRST_WORDS = frozenset(
    (
        m.ROW_DESCRIPTION,
        m.DATA_ROW,
        m.COPY_OUT_RESPONSE,
        m.COMMAND_COMPLETE,
        m.PORTAL_SUSPENDED,
        m.ERROR_RESPONSE,
    )
)


class SecondLook:
    """One session's."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._first: Run | None = None
        self._chunks: deque[bytes] = deque()

    @property
    def waits(self) -> bool:
        """Replies wait, and no more should come."""
        return self._first is not None

    def is_due(self, run: Run) -> bool:
        """Whether this begins what has to wait."""
        if run[0] not in _FIRST_WORDS:
            return False
        head = self._state.expected.head
        if head is None or head.kind not in (Kind.EXECUTE, Kind.QUERY) or head.error:
            return False
        execution = head.subject
        if not isinstance(execution, Execution) or execution.rests is None:
            return False
        index, count = execution.statement_index, len(execution.verdict.facts.statements)
        return execution.looked < index < count

    def ask(self, first: Run, rest: bytes) -> None:
        """`rest`: what has come behind it."""
        head = self._state.expected.head
        execution = None if head is None else head.subject
        assert isinstance(execution, Execution)
        execution.looked = execution.statement_index
        kind, part, count, content = first
        self._first = (kind, part, count, bytes(content))
        self._chunks.appendleft(rest)
        self._state.turn.requests.append(CheckFooting(execution.rests))

    def keep(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def told(self, holds: bool) -> Run:
        """What waited first. Raises Refused when it may not be shown."""
        first, self._first = self._first, None
        if first is None:
            raise InvariantBroken("an answer nobody waits for")
        kind, part, count, content = first
        if holds:
            return first
        if kind != m.ERROR_RESPONSE:
            raise Refused(told.reshaped_past())
        return kind, part, count, refusals.withhold_values(content[HEADER:], kind)

    def next_chunk(self) -> bytes | None:
        """What waited behind it, in order, as long as nothing waits again."""
        return self._chunks.popleft() if self._chunks and not self.waits else None
