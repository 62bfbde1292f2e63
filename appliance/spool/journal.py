"""The journal of a worker's audit trail: lines that belong to its newest segment and are not in
that file yet.

`spool` gives it to `_speedups/auditchain.ChainEnd`, which holds lines in it for some milliseconds
while statements come in quick succession, so that one write takes many. It is a mapped file
(mmap(2), MAP_SHARED): what was stored there is with the kernel, like what was written, and survives
whatever ends the process. A power loss takes either (`durability: os`).

`<folder>/w<worker>/journal`, all of it allocated before it is used. Numbers are of 8 bytes,
little-endian:

    0   b"SPJRNL1\\n"
    8   turn: another one whenever lines left it
    16  base: the place in the segment where its first byte belongs
    24  length: so many bytes of whole lines, from 4096 on, are held; 0 = none
    32  the segment's name, 64 bytes, filled up with zeros
    4096  lines (`audit/chain`)

The rule: length is stored behind the lines, and set to 0 once they are in the segment. So the
segment with the lines put at `base` is the same, whether or how far they are there already. There
is none where a worker ended in order.
"""

import errno
import mmap
import os
import struct
from pathlib import Path

import msgspec

from appliance.audit import checkpoint
from appliance.audit.chain import Link, claimed_hash, parse_line
from appliance.model.limits import KIB
from appliance.spool.spool_tail import cut_torn, find_tail, keep_torn, seal_path

NAME = "journal"
LINES_AT = 4 * KIB
BYTES = LINES_AT + 256 * KIB
LOOKS_MAX = 1_000
_MAGIC = b"SPJRNL1\n"
_HEADER = struct.Struct("<8sQQQ64s")
_WINDOW_BYTES = 64 * KIB


class Held(msgspec.Struct, frozen=True):
    """What a journal holds."""

    segment: str
    base: int
    lines: bytes

    @property
    def end(self) -> int:
        return self.base + len(self.lines)

    def behind(self, segment: str, offset: int) -> bytes:
        """What belongs at `offset` of that segment and further on, '' for nothing."""
        if segment != self.segment or not self.base <= offset <= self.end:
            return b""
        return self.lines[offset - self.base :]


class Journal:
    """One that holds nothing, mapped to be written to."""

    def __init__(self, folder: Path) -> None:
        """Makes it, or empties the one that is there. Raises OSError."""
        self._path = folder / NAME
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        try:
            empty = _HEADER.pack(_MAGIC, 0, 0, 0, b"").ljust(BYTES, b"\0")
            os.ftruncate(self._descriptor, BYTES)
            if os.pwrite(self._descriptor, empty, 0) != BYTES:  # a hole could not be filled later
                raise OSError(errno.ENOSPC, "the journal was cut short")
            self.room = mmap.mmap(self._descriptor, BYTES)
            self.room.madvise(mmap.MADV_DONTFORK)
        except OSError:
            os.close(self._descriptor)
            raise

    @property
    def gone(self) -> bool:
        """The file was deleted, or another stands in its place."""
        try:
            return not os.path.samestat(os.fstat(self._descriptor), self._path.stat())
        except FileNotFoundError:
            return True

    def close(self, keep: bool) -> None:
        """Once nobody uses its room. `keep`: it holds something."""
        self.room.close()
        if not keep and not self.gone:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def look(folder: Path) -> Held | None:
    """What the journal of a worker holds at this moment, while its spool goes on writing; None =
    nothing. Raises OSError."""
    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        for _ in range(LOOKS_MAX):
            before = os.pread(descriptor, _HEADER.size, 0)
            if len(before) < _HEADER.size:
                return None
            magic, turn, base, length, name = _HEADER.unpack(before)
            if magic != _MAGIC or not 0 < length <= BYTES - LINES_AT:
                return None
            lines = os.pread(descriptor, length, LINES_AT)
            after = _HEADER.unpack(os.pread(descriptor, _HEADER.size, 0))
            if (turn, base, name) == (after[1], after[2], after[4]):
                return Held(name.rstrip(b"\0").decode("ascii", "replace"), base, lines)
    finally:
        os.close(descriptor)
    raise OSError(errno.EAGAIN, "the journal is written too fast to be read")


def put_back(folder: Path) -> None:
    """To be called with the folder's lock held, before it is surveyed: puts what the journal holds
    where it belongs. What does not belong there (a power loss can take either file back to an
    earlier state) is kept beside it, in its `.torn` file. Raises OSError."""
    held = look(folder)
    if held is None:
        return
    segment = folder / held.segment
    named = checkpoint.SEGMENT_NAME.fullmatch(held.segment) is not None
    put = _put(segment, held) if named and segment.is_file() else 0
    if put < len(held.lines):
        keep_torn(segment if named else folder / NAME, held.lines[put:])
    with (folder / NAME).open("r+b") as file:
        turn = _HEADER.unpack(file.read(_HEADER.size))[1]
        file.seek(0)
        file.write(_HEADER.pack(_MAGIC, (turn + 1) % (1 << 64), 0, 0, b""))


def _put(segment: Path, held: Held) -> int:
    """-> how many bytes of the lines are in the segment now."""
    if held.base > segment.stat().st_size:
        return 0
    lines = held.lines[: _sound(segment, held)]
    newest = checkpoint.segment_order(path.name for path in segment.parent.iterdir())[-1]
    open_ = segment.name == newest and not seal_path(segment).exists()
    for repaired in (False, True):
        with segment.open("r+b") as file:
            file.seek(held.base)
            there = file.read()
            if there.startswith(lines):
                return len(lines)
            if not open_:
                return 0  # the chain went on without them
            if lines.startswith(there):
                file.write(lines[len(there) :])
                return len(lines)
        if not repaired:
            cut_torn(segment, find_tail(segment))
    return 0


def _sound(segment: Path, held: Held) -> int:
    """Of how many bytes of the lines the chain goes on behind what stands before them."""
    before = _line_before(segment, held.base)
    line = parse_line(before, "") if before else None
    if line is None:
        return 0
    link = Link(line.seq, claimed_hash(before))
    length = 0
    for raw in held.lines.splitlines(keepends=True):
        line = parse_line(raw, link.head)
        if line is None or not line.sound or (line.seq, line.prev) != (link.seq + 1, link.head):
            break
        link = line.link
        length += len(raw)
    return length


def _line_before(segment: Path, end: int) -> bytes:
    """The line that ends at `end`, '' when none does."""
    window = _WINDOW_BYTES
    with segment.open("rb") as file:
        while True:
            start = max(0, end - window)
            file.seek(start)
            chunk = file.read(end - start)
            if len(chunk) < end - start or not chunk.endswith(b"\n"):
                return b""
            begin = chunk.rfind(b"\n", 0, -1) + 1
            if begin or not start:
                return chunk[begin:]
            window *= 4
