"""What a session's hit path is taught, as far as it is the same for every protocol.

`hits` and `exchange_hits` teach on top of it. Rules: only what the machine itself sent, recorded
and described is taught; what is taught holds under one epoch and is forgotten with it.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar

from _speedups.hitcycle import Hit
from _speedups.hitpath import AnyHitPath
from appliance.audit.encode import behind_sequence
from appliance.audit.record import ProtocolKind
from appliance.session import flow
from appliance.session.inflight import ResultLock
from appliance.session.lessons import Key
from appliance.session.records import Recorder

HITS_MAX = 128
"""Texts of one session that the path is taught."""
DESCRIPTIONS_MAX = 4
"""Result descriptions (text, binary, ...) of one of them."""

Path = TypeVar("Path", bound=AnyHitPath)


class Teacher(Generic[Path]):
    """One session's. Without a `path` (in tests of the machine alone) it does nothing."""

    def __init__(self, recorder: Recorder) -> None:
        self.path: Path | None = None
        self._recorder = recorder

    def query(
        self, text: bytes, verdict: flow.Verdict, folded: bytes | None, seen: bool
    ) -> Hit | None:
        """A Query was sent. `folded`: the text without the constants at which nothing looked, if
        that is all its verdict rests on. `seen`: it came before.
        """
        if self.path is None or not (seen or folded) or not self._teachable(text, verdict):
            return None
        key, known = (text, self.path.exact) if folded is None else (folded, self.path.alike)
        hit = known.get(key)
        if hit is None or hit.verdict is not verdict:
            alike = hit is not None and hit.verdict.facts is verdict.facts
            if folded is not None and hit is not None and alike and hit.epoch == verdict.epoch:
                self._locate(hit)
                return hit  # the same verdict, but for the parts of its record
            hit = self._made(verdict, key)
            hit.key = Key(key, folded is not None)
            self._make_room()
            known[key] = hit
        if hit.query_tail is None:
            tail = self._tail(ProtocolKind.SIMPLE, verdict)
            hit.query_tail = tail
            if folded is not None:
                hit.query_tail, hit.query_tail_rest = around_digest(tail, text)
            if verdict.rewritten:
                hit.sent = self._asking(verdict.rewritten)
        self._locate(hit)
        return hit

    def _teachable(self, text: bytes, verdict: flow.Verdict) -> bool:
        return teachable(verdict)

    def _asking(self, text: bytes) -> bytes:
        """What is sent in place of the client's message."""
        raise NotImplementedError

    def _locate(self, hit: Hit) -> None:
        """Where the database was when it was sent."""

    def _made(self, verdict: flow.Verdict, key: bytes) -> Hit:
        """`key`: the text, or what is the same of all that are alike."""
        raise NotImplementedError

    def _make_room(self) -> None:
        assert self.path is not None
        if len(self.path.exact) + len(self.path.alike) >= HITS_MAX:
            self.path.exact.clear()
            self.path.alike.clear()

    def _tail(
        self,
        protocol: ProtocolKind,
        verdict: flow.Verdict,
        prepared: bytes = b"",
        parameters: int = 0,
        types: Sequence[int] = (),
    ) -> bytes:
        record = self._recorder.sample(
            protocol, verdict.memo[0], prepared, parameters, tuple(types)
        )
        return behind_sequence(record)

    def disarm(self) -> None:
        if self.path is not None:
            self.path.disarm()


def totals(own: tuple[int, int, int, int], path: AnyHitPath) -> tuple[int, int, int, int]:
    """(rows, bytes to the client, cells masked, sensitive cells unmasked) of machine and path."""
    return (
        own[0] + path.total_rows,
        own[1] + path.total_bytes_out,
        own[2] + path.total_cells_masked,
        own[3] + path.total_sensitive_unmasked,
    )


def lockable(hit: Hit, lock: ResultLock) -> bool:
    """Whether rows of what was sent may pass under this lock from here on."""
    return lock.rows_expected and hit.bound and len(hit.locks) < DESCRIPTIONS_MAX


def around_digest(tail: bytes, text: bytes) -> tuple[bytes, bytes]:
    """Cuts the digest and the length of the text out of a record's tail, and gives what stands
    around them once they are the first of the statement's fields: what comes behind them is the
    same for every execution, and is hashed once.
    """
    opening, digest, length = b'"statement":{', b'"text_digest":"', b'","text_bytes":%d' % len(text)
    begin = tail.index(opening) + len(opening)
    cut = tail.index(digest, begin)
    end = tail.index(length, cut) + len(length)
    before = tail[begin:cut].rstrip(b",")
    return tail[:begin] + digest, (b"," + before if before else b"") + tail[end:]


def teachable(verdict: flow.Verdict) -> bool:
    """Whether every later execution of the text, as long as the epoch lasts, is like this one: one
    statement that only reads or changes rows, decided once and for all, without limits.
    """
    return verdict.plain and verdict.sweeping is None and is_settled(verdict)


def is_settled(verdict: flow.Verdict) -> bool:
    """Whether it is one statement, decided once and for all, without limits."""
    decision = verdict.decision
    return (
        verdict.refusal is None
        and decision.cacheable
        and decision.row_limit is None
        and decision.statement_timeout_ms is None
        and decision.rows_written_max is None
        and decision.would_be is None
        and len(verdict.facts.statements) == 1
        and not verdict.facts.statements[0].sets_variables
        and all(plan.prepared is None for plan in verdict.plans)
    )
