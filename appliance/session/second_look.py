"""What looks its names up only when it runs is looked at once more when it has: whether what it
rests on is still as it was judged, over a connection of the appliance's own (`CheckFooting`).

Part of `machine`; `decisions` says of which executions (`Execution.rests`). The first word of each
of its results waits, with all that follows it, until that is known: by then the server has looked
its names up and has locked what they mean, and whatever it could see there the other connection
sees, too. What the client sends behind it waits as well, so that nothing ends the transaction that
holds these locks, or makes what was written last. If it is not as it was judged, and would not be
decided as it was by what is there now, nothing of it leaves, and the session ends.
"""

from collections.abc import Callable

from appliance.model.errors import InvariantBroken, Refused
from appliance.model.facts import Action
from appliance.model.spare import Fifo
from appliance.model.stands import Stands
from appliance.session import told
from appliance.session.effects import CheckFooting
from appliance.session.inflight import Execution
from appliance.session.questions import BLOCK_NAME
from appliance.session.state import HEADER, Run, SessionState
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind

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


def outlasts(failed: Expected) -> bool:
    """Whether a plan that nothing has looked at may be left behind by a statement that failed here
    (`Backend.plans_doubted`)."""
    subject = failed.subject
    late = isinstance(subject, Execution) and subject.rests is not None and subject.adopts
    return failed.kind is Kind.BIND or late


class SecondLook:
    """One session's."""

    __slots__ = (
        "_asked", "_chunks", "_decides_alike", "_first", "_sent", "_simple", "_state", "_tell",
    )  # fmt: skip

    def __init__(
        self,
        state: SessionState,
        tell: Callable[[bytes, bytes], None],
        decides_alike: Callable[[Execution], bool],
    ) -> None:
        """`tell`: as `Questions.tell`. `decides_alike`: whether the catalog as it is by now lets it
        run as it was sent."""
        self._state = state
        self._tell = tell
        self._decides_alike = decides_alike
        self._first: Run | None = None
        self._asked: Execution | None = None
        self._chunks: Fifo[bytes] = Fifo()
        self._sent: Expected | None = None
        self._simple = False

    # --- what is sent -----------------------------------------------------------------------------

    @property
    def holds_client(self) -> bool:
        """Whether the client's next message has to wait. What it copies in does not."""
        return self._sent is not None and not self._state.is_copying

    def begin(self, expected: Expected) -> None:
        """In front of a Query: several statements outside a transaction get one of ours, which ends
        when all of them were looked at."""
        execution, state = expected.subject, self._state
        if execution.rests is None or len(execution.verdict.facts.statements) == 1:
            return
        idle = state.status == ord("I") and not (state.client_in_pipeline or len(state.expected))
        expected.goes_on = idle and Action.TRANSACTION not in execution.verdict.facts.actions
        if expected.goes_on:
            self._tell(BLOCK_NAME, b"BEGIN")

    def sent(self, expected: Expected, *, simple: bool = False) -> bool:
        """An execution was sent. -> whether it is to be looked at again. `simple`: it stands for a
        Query, and what ends that is sent here."""
        execution = expected.subject
        if not isinstance(execution, Execution) or execution.rests is None:
            return False
        if execution.rows_max is not None:
            return True  # `blast` waits until all of it is done
        self._sent, self._simple = expected, simple
        if expected.kind is Kind.EXECUTE:
            self._state.turn.upstream.append(m.FLUSH_FRAME)
        return True

    def release(self) -> None:
        """Replies came in: once its names are known to have meant what they should, or it has
        failed, the client's messages go on. A text of several statements has to be over."""
        state, sent = self._state, self._sent
        if sent is None or self.waits:
            return
        there, execution = sent in state.expected, sent.subject
        if there and (sent.kind is Kind.QUERY or execution.looked < 0):
            return
        self._sent = None
        if sent.goes_on:
            self._tell(BLOCK_NAME, b"COMMIT" if state.status == ord("T") else b"ROLLBACK")
            state.send(m.SYNC_FRAME, Expected(Kind.SYNC))
        elif self._simple:
            if not state.expected.skipping:
                name = refusals.QUERY_NAME
                state.send(m.close(m.PORTAL, name), Expected(Kind.CLOSE, injected=True))
            state.expected.skipping = False
            state.send(m.SYNC_FRAME, Expected(Kind.SYNC))

    # --- what comes back --------------------------------------------------------------------------

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
        self._first, self._asked = (kind, part, count, bytes(content)), execution
        self._chunks.appendleft(rest)
        self._state.turn.requests.append(
            CheckFooting(execution.rests, execution.since, refresh=True)
        )

    def keep(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def told(self, stands: Stands) -> Run:
        """What waited first. Raises Refused when it may not be shown."""
        first, execution = self._first, self._asked
        if first is None or execution is None:
            raise InvariantBroken("an answer nobody waits for")
        self._first = self._asked = None
        kind, part, count, content = first
        if stands is Stands.AS_JUDGED:
            return first
        # What nobody could look at may have a stranger among its parts, if it can have any.
        looked = stands is Stands.OTHERWISE or (stands is Stands.UNKNOWN and not execution.adopts)
        if looked and self._decides_alike(execution):
            return first
        if kind != m.ERROR_RESPONSE:
            raise Refused(told.reshaped_under(len(execution.verdict.facts.statements) > 1))
        return kind, part, count, refusals.withhold_values(content[HEADER:], kind)

    def next_chunk(self) -> bytes | None:
        """What waited behind it, in order, as long as nothing waits again."""
        return self._chunks.popleft() if self._chunks and not self.waits else None
