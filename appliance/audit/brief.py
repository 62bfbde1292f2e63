"""Brief lines: a record that says only in what it differs from one that stands in full not long
before it, exactly enough for an independent reader to be written from this page.

The hit path writes them (`_speedups/auditrecords`) for statements that a session repeats. Their
hash, which is over all that they say and the line before them, is `chain`'s matter. Two kinds:

    {"seq":N,"like":K,"id":"E","us":D,"nth":S,"hash":"H"}
    {"seq":N,"like":K,"id":"E","us":D,"nth":S,"text_digest":"X","text_bytes":B,"hash":"H"}

is the statement_decided of line N-K, which is whole, once more, but for: `time`, D microseconds
later; `id`, the new time in milliseconds as 12 hexadecimal digits and E; `sequence`, S; and where
they are said, the statement's `text_digest` and `text_bytes`.

    {"seq":N,"ends":K,"us":D,"rows":R,...,"command_tag":"T","hash":"H"}

is the statement_finished of the statement that line N-K, whole or brief, decided: `session` as
there, `decided` its id, `id` that and an `e`, `time` D microseconds later, `duration_ms` D/1000,
`outcome` completed, `rows`, `bytes_out`, `cells_masked` and `sensitive_unmasked_cells` as said, 0
where they are not; `command_tag` as said, `SELECT R` where it is not.

Times are to the microsecond. Line N-K is in the same file, at most AUDIT_REACH_LINES_MAX lines
back; so a segment alone tells all that its lines mean.
Called by `query` and `verify`, each with all lines of a segment in order. Pure. Rule: a record is
whole or not there; nothing is shown in place of what is not known.
"""

from typing import Generic, TypeVar

import msgspec

from appliance.audit.encode import decode_record
from appliance.audit.record import (
    Entry,
    Outcome,
    SegmentOpened,
    StatementDecided,
    StatementFinished,
)
from appliance.model.limits import AUDIT_REACH_LINES_MAX

_OPENINGS = (b'"like":', b'"ends":')
_SEQ_BYTES = len(b'{"seq":')

Kept = TypeVar("Kept")


class Incomplete(ValueError):
    """A line is like one, or ends one, that is not there."""


class Brief(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A brief line, either kind."""

    seq: int
    like: int = 0
    ends: int = 0
    us: int
    id: str = ""
    nth: int = 0
    text_digest: str = ""
    text_bytes: int = 0
    rows: int = 0
    bytes_out: int = 0
    cells_masked: int = 0
    sensitive_unmasked_cells: int = 0
    command_tag: str | None = None
    hash: str

    def later(self, time: float) -> float:
        """That much after `time` (Unix seconds)."""
        return (micros(time) + self.us) / 1e6

    def new_id(self, time: float) -> str:
        """Of one like a record of that time."""
        return f"{(micros(time) + self.us) // 1000:012x}{self.id}"


_decode = msgspec.json.Decoder(Brief).decode


def micros(time: float) -> int:
    return round(time * 1e6)


def end_of(decided: str) -> str:
    """The id of the finish of the statement with this id."""
    return f"{decided}e"


def split_number(line: bytes) -> tuple[int, bool]:
    """(sequence number, whether the line is brief). Raises ValueError."""
    comma = line.index(b",")
    return int(line[_SEQ_BYTES:comma]), line[comma + 1 : comma + 8] in _OPENINGS


def read_brief(line: bytes) -> Brief:
    """Raises ValueError."""
    brief = _decode(line)
    if bool(brief.like) == bool(brief.ends) or min(brief.like, brief.ends, brief.us) < 0:
        raise ValueError("neither like a line nor the end of one")
    return brief


class Recent(Generic[Kept]):
    """What decisions in a segment say, for as long as brief lines may speak of them."""

    def __init__(self) -> None:
        self._kept: dict[int, Kept] = {}

    def forget(self) -> None:
        """Another segment begins."""
        self._kept.clear()

    def keep(self, seq: int, said: Kept) -> None:
        self._kept[seq] = said
        while (oldest := next(iter(self._kept))) < seq - AUDIT_REACH_LINES_MAX:
            del self._kept[oldest]

    def meant(self, brief: Brief) -> Kept:
        """Of the line of which it speaks. Raises Incomplete."""
        back = brief.like or brief.ends
        said = self._kept.get(brief.seq - back) if back <= AUDIT_REACH_LINES_MAX else None
        if said is None:
            raise Incomplete(f"line {brief.seq} speaks of one that is not there")
        return said


class Completer:
    """The lines of one chain, in order -> whole records."""

    def __init__(self) -> None:
        self._recent: Recent[tuple[StatementDecided, bool]] = Recent()
        """With each: whether its line is whole."""

    def record(self, line: bytes) -> tuple[int, Entry]:
        """(sequence number, record). Raises ValueError for what is not one of ours, Incomplete for
        what is told by another line that is not there."""
        seq, is_brief = split_number(line)
        record = self._complete(read_brief(line)) if is_brief else decode_record(line)
        if isinstance(record, SegmentOpened):
            self._recent.forget()
        elif isinstance(record, StatementDecided):
            self._recent.keep(seq, (record, not is_brief))
        return seq, record

    def _complete(self, brief: Brief) -> StatementDecided | StatementFinished:
        other, whole = self._recent.meant(brief)
        if brief.ends:
            return _finish(brief, other)
        if not whole or other.refusal is not None:
            raise Incomplete(f"line {brief.seq - brief.like} is none that another can be like")
        statement = other.statement
        if brief.text_digest:
            own = {"text_digest": brief.text_digest, "text_bytes": brief.text_bytes}
            statement = msgspec.structs.replace(statement, **own)
        return msgspec.structs.replace(
            other,
            id=brief.new_id(other.time),
            time=brief.later(other.time),
            sequence=brief.nth,
            statement=statement,
        )


def _finish(brief: Brief, decided: StatementDecided) -> StatementFinished:
    tag = brief.command_tag
    return StatementFinished(
        id=end_of(decided.id),
        time=brief.later(decided.time),
        session=decided.session,
        decided=decided.id,
        outcome=Outcome.COMPLETED,
        rows=brief.rows,
        bytes_out=brief.bytes_out,
        cells_masked=brief.cells_masked,
        sensitive_unmasked_cells=brief.sensitive_unmasked_cells,
        duration_ms=brief.us / 1000,
        command_tag=f"SELECT {brief.rows}" if tag is None else tag,
    )
