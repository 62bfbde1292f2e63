"""Proves a trail complete and unaltered, with nothing but the files and a public key.

Called by `cli/audit` and by tests; pure. What it proves and how:
- every line's own hash, every link to the line before it, every sequence number, across segments:
  an altered, removed, inserted, duplicated or reordered record (`chain`);
- every seal, checkpoint and head signature, and that the lines they speak of are there: records cut
  off at an end, a chain rewritten as a whole, segments gone or brought from elsewhere
  (`checkpoint`); checkpoints that are gone where a head says there were some are noted: a later
  signature still proves the records, and a crash can leave a segment without;
- that chains mentioned by others exist (SegmentOpened.workers_seen, WorkerStarted);
- that each StatementFinished has its StatementDecided, and that the lines are there of which brief
  lines (`brief`) speak.

What no trail can prove by itself: records after the last signature (at most some seconds of the
open segment), and that a whole trail was not put back to an earlier state together with the head
file of that time. Give `witnesses`, copies of head.json kept elsewhere, for the latter.
"""

from collections.abc import Mapping, Sequence

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from appliance.audit import checkpoint
from appliance.audit.chain import Line, Link, parse_line
from appliance.audit.checkpoint import Checkpoint
from appliance.audit.pairing import Glimpse, Pairing
from appliance.audit.trail import Trail, with_suffix

FINDINGS_MAX = 1_000

Keys = Mapping[str, Ed25519PublicKey]


class Finding(msgspec.Struct, frozen=True):
    """Something to report. `error` False: a note, nothing is wrong with the trail."""

    error: bool
    code: str
    worker: int
    text: str
    segment: str = ""
    line: int = 0
    """1-based line of the segment, 0 for none."""


class ChainReport(msgspec.Struct):
    """One worker's chain."""

    worker: int
    segments: int = 0
    sealed: int = 0
    records: int = 0
    last: int = 0
    """Highest sequence number."""
    signed: int = 0
    """Highest sequence number covered by a good signature."""


class Report(msgspec.Struct):
    """The result. `errors` and `notes` count all, `findings` keeps the first FINDINGS_MAX."""

    chains: list[ChainReport] = []
    findings: list[Finding] = []
    errors: int = 0
    notes: int = 0
    decided: int = 0
    finished: int = 0
    unfinished: int = 0
    keys: list[str] = []

    @property
    def records(self) -> int:
        return sum(chain.records for chain in self.chains)

    @property
    def exit_code(self) -> int:
        """0: complete and unaltered as far as signed; 1: not."""
        return 1 if self.errors else 0

    def add(self, finding: Finding) -> None:
        if finding.error:
            self.errors += 1
        else:
            self.notes += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)


def verify_trail(
    trail: Trail,
    keys: Keys,
    witnesses: Sequence[Checkpoint] = (),
    archived: bool = False,
) -> Report:
    """`archived`: a chain may begin later than its first record (older segments were moved
    away)."""
    report = Report(keys=sorted(keys))
    workers = sorted(trail.workers())
    seen: set[int] = {witness.worker for witness in witnesses}
    for worker in workers:
        proof = ChainProof(trail, worker, keys, report, archived)
        proof.run([w for w in witnesses if w.worker == worker])
        seen |= proof.pairing.workers
    for worker in sorted(seen - set(workers)):
        text = f"the chain of worker {worker} is gone; other chains or witnesses know of it"
        report.add(Finding(True, "chain_missing", worker, text))
    if not workers:
        report.add(Finding(True, "empty", 0, "there is no chain in this folder"))
    return report


class ChainProof:
    """The proof of one worker's chain."""

    def __init__(
        self, trail: Trail, worker: int, keys: Keys, report: Report, archived: bool
    ) -> None:
        self.pairing = Pairing()
        self._trail = trail
        self._worker = worker
        self._keys = keys
        self._report = report
        self._archived = archived
        self._chain = ChainReport(worker)
        self._link: Link | None = Link()
        self._last = 0
        self._before = ""
        """The hash that the line before this one claims to have; '' = none can be seen."""
        self._damaged = 0
        """Unreadable lines since the last good one: each may stand for one record."""
        self._segment = ""
        self._number = 0
        self._head = 0
        """How far head.json reaches."""
        self._claims: dict[int, list[Checkpoint]] = {}
        """Signed statements whose line has not come yet, by sequence number."""

    def run(self, witnesses: Sequence[Checkpoint]) -> None:
        self._report.chains.append(self._chain)
        self._read_heads(witnesses)  # before the lines: a live chain only grows
        names = list(self._trail.names(self._worker))
        segments = checkpoint.segment_order(names)
        self._find_orphans(names, segments)
        before = ""
        for place, segment in enumerate(segments):
            self._prove_segment(segment, before, newest=place == len(segments) - 1)
            before = segment
        self._number = 0
        for claims in self._claims.values():
            for claim in claims:
                text = f"record {claim.last}, signed for by a {claim.kind}, is gone or altered"
                self._error("truncated", text)
        self._chain.last = self._last
        self._conclude()

    def _error(self, code: str, text: str) -> None:
        self._report.add(Finding(True, code, self._worker, text, self._segment, self._number))

    def _note(self, code: str, text: str) -> None:
        self._report.add(Finding(False, code, self._worker, text, self._segment, self._number))

    # Signed statements.

    def _read_heads(self, witnesses: Sequence[Checkpoint]) -> None:
        content = self._trail.content(self._worker, "head.json")
        if content is None:
            self._error("head_missing", "without head.json a cut at the chain's end may not show")
        else:
            head = self._claim(content, checkpoint.HEAD, "head.json")
            self._head = 0 if head is None else head.last
        for witness in witnesses:
            self._accept(witness, checkpoint.HEAD, "a witness")

    def _claim(self, line: bytes, kind: str, name: str) -> Checkpoint | None:
        try:
            claim = checkpoint.read(line)
        except ValueError:
            self._error("bad_signature", f"{name} is damaged")
            return None
        return self._accept(claim, kind, name)

    def _accept(self, claim: Checkpoint, kind: str, name: str) -> Checkpoint | None:
        if not checkpoint.is_signed(claim, self._keys):
            known = "" if claim.key in self._keys else f" (key {claim.key} was not given)"
            self._error("bad_signature", f"the signature of {name} is not good{known}")
            return None
        in_place = kind == checkpoint.HEAD or claim.segment == self._segment
        if claim.kind != kind or claim.worker != self._worker or not in_place:
            self._error(
                "segment_foreign",
                f"{name} holds a {claim.kind} for worker {claim.worker}, segment {claim.segment}",
            )
            return None
        self._claims.setdefault(claim.last, []).append(claim)
        return claim

    def _settle(self, line: Line) -> None:
        """A sound line at the chain's end: whatever was signed for it must be true."""
        for claim in self._claims.pop(line.seq, ()):
            here = claim.segment == self._segment
            if claim.head != line.hash:
                text = f"record {line.seq} is not the one that a {claim.kind} signs for"
                self._error("rewritten", text)
            elif here and claim.records != self._number:
                code = "removed" if claim.records > self._number else "inserted"
                text = f"a {claim.kind} signs for {claim.records} lines up to record {line.seq}"
                self._error(code, f"{text}, there are {self._number}")
            else:
                self._chain.signed = max(self._chain.signed, line.seq)

    # Segments.

    def _find_orphans(self, names: Sequence[str], segments: Sequence[str]) -> None:
        known = set(segments)
        for name in sorted(names):
            stem, _, suffix = name.rpartition(".")
            if suffix in {"seal", "checkpoints"} and f"{stem}.ndjson" not in known:
                self._error("segment_missing", f"{name} is there, its segment is gone")
            elif suffix == "torn":
                self._note("torn_kept", f"{name} keeps bytes cut off after a crash")
            elif suffix == "ndjson" and name not in known:
                self._error("segment_foreign", f"{name} is no name that a spool gives")

    def _prove_segment(self, segment: str, before: str, newest: bool) -> None:
        self._segment, self._number = segment, 0
        self._chain.segments += 1
        seal = self._read_seal(segment)
        self._read_checkpoints(segment)
        for raw in self._trail.lines(self._worker, segment):
            self._number += 1
            self._prove_line(raw, before)
        if not self._number:
            self._error("altered", "the segment is empty")
        if seal is None and self._trail.content(self._worker, with_suffix(segment, "seal")) is None:
            self._judge_open(newest)
        elif seal is not None and (seal.records, seal.last) != (self._number, self._last):
            self._judge_sealed(seal)

    def _read_checkpoints(self, segment: str) -> None:
        """A spool signs for a segment's first lines before its head says that it got there."""
        name = with_suffix(segment, "checkpoints")
        content = self._trail.content(self._worker, name) or b""
        for line in content.splitlines(keepends=True):
            self._claim(line, checkpoint.CHECKPOINT, "a checkpoint")
        match = checkpoint.SEGMENT_NAME.fullmatch(segment)
        if not content and match is not None and int(match.group(2)) <= self._head:
            self._note(
                "signatures_missing",
                f"head.json says that this segment was signed for, but {name} is gone or empty "
                "(deleted, or a crash just after the segment began)",
            )

    def _read_seal(self, segment: str) -> Checkpoint | None:
        content = self._trail.content(self._worker, with_suffix(segment, "seal"))
        if content is None:
            return None
        self._chain.sealed += 1
        return self._claim(content, checkpoint.SEAL, "the seal")

    def _judge_open(self, newest: bool) -> None:
        if newest:
            self._note("open", f"open segment, {self._number} records so far")
        elif self._last > self._head:  # a spool seals a segment before its head passes it
            self._note("unsealed_yet", "full, its seal is not written yet")
        else:
            self._error("unsealed", "the seal of a finished segment is gone")

    def _judge_sealed(self, seal: Checkpoint) -> None:
        short = self._number < seal.records
        text = f"the seal signs for {seal.records} lines up to record {seal.last}"
        there = f"there are {self._number} up to record {self._last}"
        self._error("truncated" if short else "inserted", f"{text}, {there}")

    # Lines.

    def _prove_line(self, raw: bytes, before: str) -> None:
        self._chain.records += 1
        line = parse_line(raw, self._before)
        if line is None or not (line.sound or self._cannot_tell(line)):
            self._damaged += 1
            self._link = None
            self._before = "" if line is None else line.hash
            if not raw.endswith(b"\n"):
                text = "the last line is not whole (the next start of its worker repairs that)"
                self._error("torn_tail", text)
            elif line is None:
                self._error("altered", "this line is no record")
            else:
                self._error("altered", f"record {line.seq} is not what was written")
            return
        glimpse = self.pairing.read(raw)
        if glimpse is None:
            self._error("altered", f"record {line.seq} cannot be read")
            return
        in_order = self._prove_link(line)
        self._prove_opening(glimpse, line, before)
        if in_order:
            self._link, self._last, self._damaged = line.link, line.seq, 0
            self._before = line.hash
            self._settle(line)
        for error, code, text in self.pairing.take(glimpse, line.seq):
            (self._error if error else self._note)(code, text)

    def _cannot_tell(self, line: Line) -> bool:
        """Whether the hash of a line says nothing, since the line before it is not there; that is
        found as such."""
        expected = self._last + self._damaged + 1
        return line.brief and not (self._before and line.seq == expected)

    def _prove_link(self, line: Line) -> bool:
        """False for a line that stands after where it belongs."""
        link, last = self._link, self._last
        if line.seq <= last:
            code = "duplicated" if link is not None and line.link == link else "reordered"
            self._error(code, f"record {line.seq} stands after record {last}")
            return False
        if link is not None and line.seq == last + 1 and line.prev == link.head:
            return True
        if last == 0:
            return self._prove_beginning(line)
        missing = line.seq - last - 1 - self._damaged
        if missing > 0:
            self._error("removed", f"{missing} records are gone before record {line.seq}")
        elif link is not None and line.prev != link.head:
            self._error("inserted", f"record {line.seq} was not written after the line before it")
        return True

    def _prove_beginning(self, line: Line) -> bool:
        if self._archived:
            for seq in [seq for seq in self._claims if seq < line.seq]:
                del self._claims[seq]
        elif not self._damaged or line.seq != 1 + self._damaged:
            self._error("segment_missing", f"the chain begins with record {line.seq}, not with 1")
        return True

    def _prove_opening(self, glimpse: Glimpse, line: Line, before: str) -> None:
        """The first line of a segment says which one it is and what came before."""
        opens = glimpse.event == "segment_opened"
        if self._number != 1:
            if opens:
                self._error("inserted", f"record {line.seq} begins a segment inside of one")
            return
        match = checkpoint.SEGMENT_NAME.fullmatch(self._segment)
        named = match is not None and int(match.group(2)) == line.seq
        if not opens or glimpse.segment != self._segment or not named:
            self._error("segment_foreign", "its first line belongs to another segment")
        elif glimpse.worker != self._worker:
            self._error("segment_foreign", f"it was written by worker {glimpse.worker}")
        elif glimpse.previous != before and (before or not self._archived):
            text = f"{glimpse.previous or 'no segment'} should stand before it"
            self._error("segment_missing", text)

    def _conclude(self) -> None:
        report, pairing = self._report, self.pairing
        report.decided += pairing.decided
        report.finished += pairing.finished
        report.unfinished += len(pairing.open)
        beyond = self._last - self._chain.signed
        if beyond > 0 and self._chain.signed:
            self._note("unsigned", f"the last {beyond} records are chained but not yet signed for")
        elif beyond > 0:
            self._error("unsigned", "nothing signs for this chain")
        if pairing.open:
            first = next(iter(pairing.open.values()))
            self._note(
                "unfinished",
                f"{len(pairing.open)} statements have no end on record (running, or a crash); the "
                f"first is record {first}",
            )
