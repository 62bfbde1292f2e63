"""The audit trail's writer: one per worker, appended to before anything is forwarded (DESIGN
invariant 1).

Called by the worker: `append` before a statement is forwarded, then `await durable()` where the
configuration asks for it; `owe` for what already happened; `tick` about once a second; `close` at
the end.
Its rule: when `append` returns, the records lie in the file in whole lines behind an unbroken
chain; when it raises, none of them does and the statement must be refused. No failure needs a
restart: the next append tries again.

Files in `<folder>/w<worker>/` (formats: `audit/chain`, `audit/checkpoint`):
`<start>-<first seq>.ndjson`, `.checkpoints`, `.seal`, perhaps `.torn`; `head.json`; `.lock`;
perhaps `journal`.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from _speedups.auditchain import ChainEnd
from appliance.audit import checkpoint
from appliance.audit.chain import Encoded, Link, link_encoded
from appliance.audit.checkpoint import Checkpoint, Signer
from appliance.audit.encode import encode_body
from appliance.audit.record import Record, SegmentOpened, SpoolRecovered, new_id
from appliance.model.limits import AUDIT_BACKLOG_RECORDS_MAX, AUDIT_REACH_LINES_MAX, MIB
from appliance.spool.journal import LINES_AT, Journal, put_back
from appliance.spool.spool_sync import GroupSync
from appliance.spool.spool_tail import Survey, measure, seal_path, survey_folder

CHECKPOINT_RECORDS = 5_000
CHECKPOINT_SECONDS = 5.0
LATE_SEALS_MAX = (
    1_000  # segments whose seal could not be written; the next open seals what is beyond
)
SYNC_SECONDS_MAX = 10.0
_WORKER_FOLDER = re.compile(r"w(\d+)")

Durability = Literal["os", "disk"]


class SpoolUnavailable(OSError):
    """Records cannot be written now; whatever depended on them must be refused."""


class Spool:
    """One worker's audit trail. Not thread-safe: belongs to the worker's event loop."""

    def __init__(
        self,
        folder: Path,
        worker: int,
        signer: Signer,
        durability: Durability = "os",
        segment_bytes_max: int = 64 * MIB,
        now: Callable[[], float] = time.time,
        journal: bool = False,
    ) -> None:
        """Opens the chain. An unusable disk does not raise: `available` is False and `fault` says
        why. `journal`: what is written behind `end` may be held in one first (`journal`)."""
        self.worker = worker
        self.folder = folder / f"w{worker}"
        self.available = False
        self.fault = ""
        """errno name of what makes it unavailable, '' when it is available."""
        self.end = ChainEnd()
        """Where the chain ends; `rounds` writes behind it while nothing is in the way."""
        self.failures = 0
        """Appends refused, and syncs, checkpoints, seals and rotations that failed."""
        self.dropped = 0
        """Owed records that no longer fitted the backlog."""
        self._signer = signer
        self._durability = durability
        self._segment_bytes_max = segment_bytes_max
        self._now = now
        self.end.size_max = segment_bytes_max
        self.end.reach = AUDIT_REACH_LINES_MAX
        self._segment = ""
        self._first = 0
        self._descriptor = -1
        self._lock = -1
        self._keeps_journal = journal and durability == "os"
        self._journal: Journal | None = None
        self._retired: list[int] = []
        self._folder_changed = False
        self._claims: list[Checkpoint] = []
        self._late: deque[Checkpoint] = deque()
        self._owed: deque[Record | Encoded] = deque()
        self.finished: Callable[[], list[bytes]] = list
        """Gives the encoded records that wait for the next write of any kind."""
        self._fault_refused = 0
        self._fault_dropped = 0
        self._signed_seq = 0
        self._signed_at = 0.0
        self._closed = False
        self._sync = GroupSync(self._sync_job, SYNC_SECONDS_MAX, lambda: self.end.writes)
        with contextlib.suppress(SpoolUnavailable):
            self._guarded(self._open)

    @property
    def records(self) -> int:
        """Written so far."""
        return self.end.records

    @property
    def octets(self) -> int:
        """Written so far."""
        return self.end.written

    # Writing.

    def append(self, records: Sequence[Record | Encoded]) -> None:
        """Writes `records` in one go. Raises SpoolUnavailable (then none of them is in the
        trail)."""
        try:
            self._guarded(lambda: self._append(records))
        except SpoolUnavailable:
            self._fault_refused += 1 if records else 0
            raise
        self._open_short_way()

    def owe(self, records: Sequence[Record | Encoded]) -> None:
        """For what already happened (finished, closed): like `append`, but kept in memory on
        failure.

        Goes out, in order, with the next append that works; beyond AUDIT_BACKLOG_RECORDS_MAX
        records are dropped and counted. Never raises SpoolUnavailable.
        """
        if self.available:
            try:
                self.append(records)
            except SpoolUnavailable:
                pass  # counted; kept below
            else:
                return
        for record in records:  # what cannot be encoded must not block the ones after it
            if not isinstance(record, bytes | tuple):
                encode_body(record)
        self._keep(records)

    def _keep(self, records: Sequence[Record | Encoded]) -> None:
        """For the next append that works."""
        self.end.descriptor = -1
        room = AUDIT_BACKLOG_RECORDS_MAX - len(self._owed)
        self._owed.extend(records[:room])
        lost = max(0, len(records) - room)
        self.dropped += lost
        self._fault_dropped += lost

    def _open_short_way(self) -> None:
        plain = self.available and not self._owed and self._durability == "os"
        self.end.descriptor = self._descriptor if plain and not self._closed else -1

    def unwritten(self, number: int, finished: Sequence[Encoded], refused: bool) -> None:
        """A write behind `end` failed: what depended on it, if anything did, is `refused`;
        `finished` is owed."""
        self._keep(finished)
        self._fault_refused += refused
        self._failed(OSError(number, os.strerror(number)))

    async def durable(self) -> None:
        """Everything appended so far is on the disk ('disk') or with the kernel ('os', at once).

        Raises SpoolUnavailable: then nobody knows whether it is, so do not forward.
        """
        if self._durability == "os":
            return
        descriptor = self._descriptor
        try:
            await self._sync.reach()
        except OSError as error:
            if descriptor == self._descriptor:  # not yet replaced by another waiter's retry
                self._retire()
            raise self._failed(error) from error

    def tick(self, now: float) -> None:
        """Signs a checkpoint when one is due, notices a segment deleted under us, ends an outage.

        `now`: Unix seconds. Never raises SpoolUnavailable.
        """
        if not self.available:
            with contextlib.suppress(SpoolUnavailable):
                self.append(())
            return
        try:
            self._drain()
            if os.fstat(self._descriptor).st_nlink == 0:
                self._retire()
                raise OSError(errno.ENOENT, "the segment was deleted")
            self._begin_journal()  # it may have been deleted, too
        except OSError as error:
            self._failed(error)
            return
        behind = self._link.seq - self._signed_seq
        due = behind >= CHECKPOINT_RECORDS or now - self._signed_at >= CHECKPOINT_SECONDS
        if behind and due:
            self._mark(now)
        self._sign_later()

    def close(self) -> None:
        """Writes what is owed, seals and lets go. What fails here, the next open makes up for."""
        if self._closed:
            return
        with contextlib.suppress(SpoolUnavailable):
            self.append(())
        self._closed = True
        self.available = False
        self._finish_segment()
        self._sign_later()
        self._sync.later()
        self._sync.close()
        self._leave_journal()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # Inside.

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            if self._closed:
                raise OSError(errno.EBADF, "the spool is closed")
            action()
        except OSError as error:
            raise self._failed(error) from error
        self.available, self.fault = True, ""

    @property
    def _link(self) -> Link:
        return Link(self.end.seq, self.end.head.decode())

    @_link.setter
    def _link(self, link: Link) -> None:
        self.end.seq, self.end.head = link.seq, link.head.encode()

    def _failed(self, error: OSError) -> SpoolUnavailable:
        self.end.descriptor = -1
        number = errno.ETIMEDOUT if isinstance(error, TimeoutError) else error.errno or errno.EIO
        self.available = False
        self.fault = errno.errorcode.get(number, str(number))
        self.failures += 1
        return SpoolUnavailable(number, f"audit trail unavailable ({self.fault})")

    def _append(self, records: Sequence[Record | Encoded]) -> None:
        if self._descriptor < 0:
            self._open()
        else:
            self._drain()
            if self.available and self.end.size >= self._segment_bytes_max:
                self._rotate()  # not after a failure: the tail may need cutting first
        finished = self.finished()
        if self._owed or not self.available:
            self._keep(finished)
            finished = []
            records = (*self._recovered(), *self._owed, *records)
        try:
            self._write((*finished, *records))
        except OSError:
            self._keep(finished)
            raise
        self._owed.clear()
        self._fault_refused = self._fault_dropped = 0

    def _recovered(self) -> tuple[Record, ...]:
        if self.available or not self.fault:
            return ()
        return (
            SpoolRecovered(
                id=self._new_id(),
                time=self._now(),
                cause=self.fault,
                segment=self._segment,
                refused=self._fault_refused,
                dropped=self._fault_dropped,
            ),
        )

    def _drain(self) -> None:
        """What the journal holds goes to the file, before anything else does."""
        if self.end.held:
            if self.end.descriptor < 0:  # perhaps because a write failed, and left a part of it
                os.ftruncate(self._descriptor, self.end.size - self.end.held)
            self.end.drain_to(self._descriptor)

    def _write(self, records: Sequence[Record | Encoded]) -> None:
        self._write_encoded(
            [r if isinstance(r, bytes | tuple) else encode_body(r) for r in records]
        )

    def _write_encoded(self, encoded: list[Encoded]) -> None:
        """All or nothing: what a failed write left is cut off, now or before the next write."""
        link, payload = link_encoded(self._link, encoded)
        if not self.available:
            os.ftruncate(self._descriptor, self.end.size)
        written = 0
        try:
            while written < len(payload):
                rest = memoryview(payload)[written:] if written else payload
                count = os.write(self._descriptor, rest)
                if count == 0:
                    raise OSError(errno.EIO, "nothing was written")
                written += count
        except OSError:
            with contextlib.suppress(OSError):  # tried again by the next write
                os.ftruncate(self._descriptor, self.end.size)
            raise
        self._link = link
        self.end.grow(len(encoded), written)

    def _open(self) -> None:
        """Takes the lock, repairs, seals what a crash left open and begins a new segment."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._take_lock()
        put_back(self.folder)
        self._begin_journal()
        survey = survey_folder(self.folder)
        self._link = Link(max(survey.link.seq, survey.signed), survey.link.head)
        self._signed_seq = survey.signed
        self._begin_segment(survey.previous, self._repairs(survey))
        seals = [c for n in survey.unsealed if (c := self._seal_of(n)) is not None]
        self._claims = [*seals, *self._claims]
        self._write_claims(self._take_claims())  # at once: a chain shows from its first line

    def _take_lock(self) -> None:
        """One writer per chain: two would fork it. Held until the process ends."""
        if self._lock >= 0:
            if os.fstat(self._lock).st_nlink:
                return
            os.close(self._lock)  # the folder was removed under us
            self._lock = -1
        lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def _begin_journal(self) -> None:
        """Where there is no room for one, or no file can be mapped, all is written at once; the
        next tick tries again."""
        if not self._keeps_journal:
            return
        if self._journal is None or self._journal.gone:
            self._leave_journal()
            try:
                self._journal = Journal(self.folder)
            except OSError:
                return
        self.end.keep_in(self._journal.room, LINES_AT, self._segment.encode())

    def _leave_journal(self) -> None:
        """What it holds, because it could not be written, the next open puts back."""
        if self._journal is not None:
            journal, self._journal = self._journal, None
            held = self.end.held > 0
            self.end.keep_in(None, 0, b"")
            journal.close(keep=held)

    def _repairs(self, survey: Survey) -> tuple[Record, ...]:
        lost = survey.signed > survey.link.seq
        if not survey.torn_bytes and not lost:
            return ()
        return (
            SpoolRecovered(
                id=self._new_id(),
                time=self._now(),
                cause="records_lost" if lost else "torn_tail",
                segment=survey.torn_segment or survey.previous,
                torn_bytes=survey.torn_bytes,
                torn_lines=survey.torn_lines,
                lost_from=survey.link.seq + 1 if lost else 0,
                lost_to=survey.signed if lost else 0,
            ),
        )

    def _begin_segment(self, previous: str, repairs: tuple[Record, ...]) -> None:
        """A new file with its first line; on failure the old segment, if any, stays in use."""
        now = self._now()
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        name = checkpoint.segment_name(stamp, self._link.seq + 1)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        before = (self._segment, self._first, self.end.size, self.end.lines, self._descriptor)
        descriptor = os.open(self.folder / name, flags, 0o600)
        self._folder_changed = True
        opened = SegmentOpened(
            id=self._new_id(),
            time=now,
            worker=self.worker,
            segment=name,
            previous=previous,
            workers_seen=self._workers_seen(),
        )
        self._segment, self._first, self._descriptor = name, self._link.seq + 1, descriptor
        self.end.begin_file(name.encode())
        try:
            self._write((opened, *repairs))
        except OSError:
            os.close(descriptor)
            (self.folder / name).unlink()
            self.end.begin_file(before[0].encode())
            self._segment, self._first, self.end.size, self.end.lines, self._descriptor = before
            raise
        self._mark(now)

    def _rotate(self) -> None:
        """Begins the next segment, then seals the full one, which stays in use if that fails."""
        full, descriptor = self._sealing(), self._descriptor
        try:
            self._begin_segment(full.segment, ())
        except OSError:
            self.failures += 1  # growing over the size is harmless, refusing is not
            return
        self._claims.insert(0, full)
        self._retired.append(descriptor)
        self._sign_later()
        if self._durability == "os":  # 'disk': by the next round, whose failure somebody hears of
            self._sync.later()

    def _finish_segment(self) -> None:
        """Signs for the current segment as complete and lets it go."""
        if self._descriptor < 0:
            return
        if self.end.held:  # could not be written: the next open puts it back, and seals
            self._retire()
            return
        with contextlib.suppress(OSError):  # a torn tail is the next open's work
            os.ftruncate(self._descriptor, self.end.size)
        self._claims.append(self._sealing())
        if self._link.seq > self._signed_seq:
            self._claims.append(self._current(checkpoint.HEAD))
        self._retire()

    def _retire(self) -> None:
        """The next append opens a new segment (after a survey of the folder)."""
        self.end.descriptor = -1
        if self._descriptor >= 0:
            self._retired.append(self._descriptor)
            self._descriptor = -1

    # Signing.

    def _sealing(self) -> Checkpoint:
        return self._current(checkpoint.SEAL)

    def _current(self, kind: str) -> Checkpoint:
        return self._claim(kind, self._segment, self._first, self._link, self.end.lines)

    def _seal_of(self, name: str) -> Checkpoint | None:
        """The seal for a segment a crash left open; None when it holds no sound line."""
        first, link, lines = measure(self.folder / name)
        return self._claim(checkpoint.SEAL, name, first, link, lines) if lines else None

    def _claim(self, kind: str, name: str, first: int, link: Link, lines: int) -> Checkpoint:
        moment = int(self._now() * 1000)
        return Checkpoint(
            kind, self.worker, name, first, link.seq, lines, link.head, moment, self._signer.key_id
        )

    def _mark(self, now: float) -> None:
        """Queues a checkpoint and a head for where the chain is now."""
        self._claims += [self._current(checkpoint.CHECKPOINT), self._current(checkpoint.HEAD)]
        self._signed_at, self._signed_seq = now, self._link.seq

    def _take_claims(self) -> list[Checkpoint]:
        claims, self._claims = self._claims, []
        return claims

    def _sign_later(self) -> None:
        """Signing and its small files go to the thread: a rename may wait for the disk."""
        late = [self._late.popleft() for _ in range(len(self._late))]
        claims = [*late, *self._take_claims()]
        if claims:
            self._sync.run(lambda: self._write_claims(claims))

    def _write_claims(self, claims: Sequence[Checkpoint]) -> None:
        """Signs and writes each. What fails is late, not lost: `tick` tries again.

        A head never gets ahead of a seal, so that a missing seal behind the head means tampering.
        """
        for claim in claims:
            if claim.kind == checkpoint.HEAD and self._late:
                continue
            try:
                self._write_claim(claim, checkpoint.sign(claim, self._signer))
            except OSError:
                self.failures += 1
                self._signed_seq = 0  # makes the next tick sign anew
                if claim.kind == checkpoint.SEAL and len(self._late) < LATE_SEALS_MAX:
                    self._late.append(claim)

    def _write_claim(self, claim: Checkpoint, line: bytes) -> None:
        segment = self.folder / claim.segment
        if claim.kind == checkpoint.SEAL:
            self._place(seal_path(segment), line)
        elif claim.kind == checkpoint.HEAD:
            self._place(self.folder / "head.json", line)
        else:
            _append_line(segment.with_suffix(".checkpoints"), line)

    def _place(self, path: Path, content: bytes) -> None:
        """Writes a small file whole or not at all."""
        staged = path.with_name(f".{path.name}.staged")
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        staged.replace(path)

    def _sync_job(self) -> Callable[[], None]:
        """Takes its descriptors now, on the event loop. Only these jobs close them, one after
        another."""
        retired, self._retired = self._retired, []
        current = self._descriptor if self._durability == "disk" else -1
        folder = self.folder if self._durability == "disk" and self._folder_changed else None
        self._folder_changed = False

        def job() -> None:
            faults: list[OSError] = []
            for descriptor in (*retired, current):
                if descriptor >= 0:
                    try:
                        os.fdatasync(descriptor)
                    except OSError as error:
                        self.failures += 1
                        faults.append(error)
                    if descriptor != current:
                        os.close(descriptor)
            if folder is not None:
                _sync_folder(folder)
            if faults:
                raise faults[0]

        return job

    def _workers_seen(self) -> tuple[int, ...]:
        matches = (_WORKER_FOLDER.fullmatch(path.name) for path in self.folder.parent.iterdir())
        return tuple(sorted(int(match.group(1)) for match in matches if match))

    def _new_id(self) -> str:
        return new_id(self._now(), secrets.token_bytes(10))


def _append_line(path: Path, line: bytes) -> None:
    """A whole line or none."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        end = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, end)
            raise OSError(errno.ENOSPC, "checkpoint cut short")
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """A new file's name is on the disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
