"""Writes that may affect so many rows and no more: the number is known before anything can commit
it, and a write of one too many is undone.

Part of `machine`. PostgreSQL says in a command's tag how many rows it affected, and ends the
transaction around it no earlier than at the Sync behind it, or at the client's own COMMIT. So such
a write goes up by the extended protocol with a Flush behind it and nothing else: the client's
further messages stay where they are, in order, until its CommandComplete is in, and what it gives
back is kept. Within the limit all of it goes on as if it had never stopped. Beyond it a message
that the server must reject goes up next, so that the server itself aborts the transaction; its
error is rewritten. Rule: nothing that could commit is sent between a limited write and its tag.
"""

from collections import deque

from appliance.audit.record import Outcome
from appliance.model.errors import InvariantBroken
from appliance.model.refusal import Refusal
from appliance.session.counted import refusal
from appliance.session.effects import Bytes
from appliance.session.inflight import Execution, KeptRows
from appliance.session.released import APPROVED_ROWS
from appliance.session.state import HEADER, SessionState
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind

_COUNTING = frozenset((b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"COPY"))


class Limited:
    """A limited write that is under way."""

    __slots__ = (
        "awaited",
        "complete",
        "description",
        "execution",
        "passed",
        "rows_wanted",
        "settled",
        "simple",
    )

    def __init__(
        self, execution: Execution, awaited: Expected, rows_wanted: int, simple: bool
    ) -> None:
        self.execution = execution
        self.awaited = awaited
        """The reply that the client's further messages wait for."""
        self.rows_wanted = rows_wanted
        """The row count of the client's Execute, 0 = all."""
        self.simple = simple
        """It stands for a Query, so a Sync of ours ends it."""
        self.description = self.complete = b""
        """Of a Query, what the server would say only after the write, and only after its commit."""
        self.passed = False
        """It affected no more than it may."""
        self.settled = False
        """The awaited reply came."""


class Blast:
    """One session's; at most one write is under way."""

    __slots__ = ("_state", "_underway")

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._underway: Limited | None = None

    @property
    def holds_back(self) -> bool:
        """Whether the client's next message has to wait. What it copies in does not."""
        limited = self._underway
        if limited is None or limited.settled:
            return False
        return not self._state.copying_in or self._state.copy_ended

    def send(
        self, message: Bytes, expected: Expected, execution: Execution, *, simple: bool = False
    ) -> None:
        """An Execute. One that is limited runs to its end: rows that the client does not want yet
        stay here, since the tag comes after the last of them.
        """
        portal = execution.portal
        if execution.rows_max is None or portal is None:
            self._state.send(message, expected)
            return
        name, wanted = m.parse_execute(message[HEADER:])
        if portal.kept is None:
            bytes_max = self._state.limits.withheld_rows_bytes_max
            portal.kept = KeptRows(execution.rows_max, bytes_max)
        self._state.send(m.execute(name) if wanted else message, expected)
        self._flush()
        self._underway = Limited(execution, expected, max(wanted, 0), simple)

    def _flush(self) -> None:
        self._state.turn.upstream.append(m.FLUSH_FRAME)

    def copied(self) -> None:
        """The client has ended its COPY: the server is to say what came of it, and no more."""
        if self._underway is not None:
            self._flush()

    def exceeds(self, execution: Execution, tag: bytes) -> bool:
        """The write completed. If it affected more than it may, the server is made to abort its
        transaction, and the client reads why.
        """
        limited, kept = self._of(execution)
        rows = affected(tag)
        why = self._exceeding(execution, rows, kept)
        if why is None:
            return False
        kept.clear()
        execution.sqlstate = why.sqlstate
        self._state.expected.pop(Kind.EXECUTE)
        # Nothing that could commit it was sent, or will be: whatever happens, it is undone.
        self._state.finish(execution, Outcome.ROLLED_BACK)
        limited.awaited = Expected(Kind.EXECUTE, error=refusals.error_response(why))
        self._state.send(refusals.rejected_execute(), limited.awaited)
        self._flush()
        return True

    def _of(self, execution: Execution) -> tuple[Limited, KeptRows]:
        limited = self._underway
        kept = None if execution.portal is None else execution.portal.kept
        if limited is None or limited.execution is not execution or kept is None:
            raise InvariantBroken("a limited write that nobody waits for")
        return limited, kept

    @staticmethod
    def _exceeding(execution: Execution, rows: int | None, kept: KeptRows) -> Refusal | None:
        rows_max, rule = execution.rows_max, execution.verdict.decision.rows_written_rule
        remedy = "narrow the statement down, or ask for an approval of this many rows"
        if rows is None:
            why = f"how many rows this write affected is not known, and {_allowing(execution)}"
        elif rows_max is not None and rows > rows_max:
            why = f"this write affected {rows} rows, and {_allowing(execution)} at most"
        elif kept.over:
            why = "what this write returns is more than is kept while its rows are counted"
            remedy = "return less"
        else:
            return None
        told = refusal(f"{why}: it was rolled back", remedy, rule)
        return Refusal(
            told.code, told.message, told.remedy, rule, execution.record_id, told.sqlstate
        )

    def released(self, execution: Execution) -> tuple[deque[tuple[int, bytes]], bool]:
        """Kept rows that may leave now, and whether the client's Execute ends before the last of
        its portal, as PortalSuspended says: also when it ends with the last.
        """
        limited, kept = self._of(execution)
        limited.passed = True
        rows, count = kept.take(limited.rows_wanted)
        return rows, bool(limited.rows_wanted) and count == limited.rows_wanted

    def describes(self, execution: object, content: bytes) -> bool:
        """Whether a RowDescription stays here until the rows behind it leave: what answers a Query
        says nothing before the write is done."""
        limited = self._underway
        if limited is None or not limited.simple or limited.execution is not execution:
            return False
        limited.description = content
        return True

    def completes(self, execution: Execution, content: bytes) -> bool:
        """Whether a CommandComplete stays here until the commit, which ends a Query, succeeds."""
        limited, _ = self._of(execution)
        limited.complete = content
        return limited.simple

    def described(self, execution: Execution) -> bytes:
        return self._of(execution)[0].description

    def release(self) -> None:
        """Replies came in: once the awaited one is among them, the client's messages go on."""
        limited, state = self._underway, self._state
        if limited is None:
            return
        limited.settled = limited.settled or limited.awaited not in state.expected
        if not limited.settled or (limited.simple and state.copy_piece_open):
            return  # a frame goes up whole
        self._underway = None
        if limited.simple:
            state.expected.skipping = False
            if limited.passed:  # inside the client's transaction it would stay (an error ends it)
                name = refusals.QUERY_NAME
                state.send(m.close(m.PORTAL, name), Expected(Kind.CLOSE, injected=True))
            state.send(m.SYNC_FRAME, Expected(Kind.SYNC, limited.complete))


def _allowing(execution: Execution) -> str:
    decision = execution.verdict.decision
    if decision.rows_written_rule == APPROVED_ROWS:
        return f"{execution.rows_max} were approved"
    return f"policy lets it affect {execution.rows_max}"


def affected(tag: bytes) -> int | None:
    """How many rows a command tag speaks of; None when it does not say."""
    verb, _, number = tag.partition(b" ")
    number = number.rpartition(b" ")[2]  # INSERT has an OID in front of it, always 0 by now
    return int(number) if verb in _COUNTING and number.isdigit() else None
