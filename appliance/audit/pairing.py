"""What `verify` needs to see inside records: which statement each finish belongs to, what others
know.

Lenient about fields it does not know: a newer writer's records are still proved.
"""

from collections.abc import Iterator

import msgspec

from appliance.audit.brief import Brief, Incomplete, Recent, end_of, read_brief, split_number

INCOMPLETE = "incomplete"
"""The event of a line that says little without another, which is not there."""


class Glimpse(msgspec.Struct, frozen=True):
    """The fields of any record that matter to a proof."""

    event: str
    id: str
    time: float = 0.0
    session: str = ""
    decided: str = ""
    begun: str = ""
    protocol: str = ""
    refusal: dict[str, object] | None = None
    worker: int = -1
    segment: str = ""
    previous: str = ""
    workers_seen: tuple[int, ...] = ()
    cause: str = ""
    torn_bytes: int = 0
    torn_lines: int = 0
    lost_from: int = 0
    lost_to: int = 0
    dropped: int = 0


_decode = msgspec.json.Decoder(Glimpse).decode


class Pairing:
    """One chain's statements. `take` yields (is an error, code, text)."""

    def __init__(self) -> None:
        self.open: dict[str, int] = {}
        """Forwarded statements without a finish so far: id -> sequence number of the record."""
        self.workers: set[int] = set()
        self.decided = 0
        self.finished = 0
        self._optional: dict[str, set[str]] = {}
        """Session -> ids that need no finish (refused, only prepared) but may have one."""
        self._recent: Recent[tuple[Glimpse, bool]] = Recent()
        """Decisions; with each: whether its line is whole."""

    def read(self, line: bytes) -> Glimpse | None:
        """None: it is no record."""
        try:
            seq, is_brief = split_number(line)
            glimpse = self._complete(read_brief(line)) if is_brief else _decode(line)
        except Incomplete:
            return Glimpse(INCOMPLETE, "")
        except ValueError:
            return None
        if glimpse.event == "segment_opened":
            self._recent.forget()
        elif glimpse.event == "statement_decided":
            self._recent.keep(seq, (glimpse, not is_brief))
        return glimpse

    def _complete(self, brief: Brief) -> Glimpse:
        """As `brief.Completer` does. Raises Incomplete."""
        other, whole = self._recent.meant(brief)
        if brief.ends:
            identifier = end_of(other.id)
            return Glimpse(
                "statement_finished", identifier, session=other.session, decided=other.id
            )
        if not whole or other.refusal is not None:
            raise Incomplete
        identifier, time = brief.new_id(other.time), brief.later(other.time)
        return msgspec.structs.replace(other, id=identifier, time=time)

    def take(self, glimpse: Glimpse, seq: int) -> Iterator[tuple[bool, str, str]]:
        match glimpse.event:
            case "statement_decided":
                self.decided += 1
                if glimpse.refusal is not None or glimpse.protocol == "parse":
                    self._optional.setdefault(glimpse.session, set()).add(glimpse.id)
                else:
                    self.open[glimpse.id] = seq
            case "statement_finished":
                self.finished += 1
                if not self._finish(glimpse):
                    yield True, "orphan_finish", f"record {seq} finishes a statement never decided"
            case "dry_run_begun":
                self.open[glimpse.id] = seq
            case "dry_run_ended":
                if self.open.pop(glimpse.begun, None) is None:
                    yield True, "orphan_finish", f"record {seq} ends a dry run that never began"
            case "incomplete":
                yield True, "incomplete", f"record {seq} is told by another, which is not there"
            case "session_closed":
                self._optional.pop(glimpse.session, None)
            case "segment_opened":
                self.workers.update(glimpse.workers_seen)
            case "worker_started":
                self.workers.add(glimpse.worker)
            case "spool_recovered":
                yield from _recovery(glimpse, seq)

    def _finish(self, glimpse: Glimpse) -> bool:
        if self.open.pop(glimpse.decided, None) is not None:
            return True
        optional = self._optional.get(glimpse.session)
        if optional is None or glimpse.decided not in optional:
            return False
        optional.remove(glimpse.decided)
        return True


def _recovery(glimpse: Glimpse, seq: int) -> Iterator[tuple[bool, str, str]]:
    if glimpse.lost_to:
        lost = f"{glimpse.lost_from} to {glimpse.lost_to}"
        yield True, "lost", f"records {lost} were gone at a start (see record {seq})"
    if glimpse.torn_lines:
        text = f"{glimpse.torn_lines} damaged lines were set aside at a start (see record {seq})"
        yield True, "damaged", text
    elif glimpse.torn_bytes:
        yield False, "torn", f"{glimpse.torn_bytes} bytes of a torn line were cut off after a crash"
    if glimpse.cause not in {"torn_tail", "records_lost"}:
        yield False, "outage", f"the trail could not be written for a while ({glimpse.cause})"
    if glimpse.dropped:
        yield True, "dropped", f"{glimpse.dropped} after-the-fact records were lost in an outage"
