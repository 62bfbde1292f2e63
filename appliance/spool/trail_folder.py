"""The audit trail in a folder, as `audit/verify` and `audit/query` read it.

Called by `cli/audit` and `console/trails`. Reads while spools write: what their journals hold is
read as if it were in the segment already, and a last line without its end is looked at once more
before it counts as torn.
"""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from appliance.audit import checkpoint
from appliance.audit.query import Criteria, Reader, Story
from appliance.audit.trail import with_suffix
from appliance.spool.journal import look

_WORKER = re.compile(r"w(\d+)")
_NUMBERED = re.compile(r"\d{8}T\d{6}Z-(\d{12,19})\.")
SECOND_LOOK_SECONDS = 0.05


class FolderTrail:
    """Implements `audit.trail.Trail` over `<data>/audit`. Raises OSError."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def workers(self) -> Sequence[int]:
        matches = (_WORKER.fullmatch(p.name) for p in self.folder.iterdir() if p.is_dir())
        return sorted(int(match.group(1)) for match in matches if match)

    def names(self, worker: int) -> Sequence[str]:
        """One moment's: reading a folder while files are made in it may show a newer one and miss
        an older. What a first reading shows as newest, a second shows with all before it."""
        newest = max(map(_number, self._list(worker)), default=0)
        return [name for name in self._list(worker) if _number(name) <= newest]

    def content(self, worker: int, name: str) -> bytes | None:
        try:
            return (self._worker(worker) / name).read_bytes()
        except FileNotFoundError:
            return None

    def lines(self, worker: int, segment: str) -> Iterator[bytes]:
        sealed = (self._worker(worker) / with_suffix(segment, "seal")).exists()
        offset, waited = 0, sealed
        with (self._worker(worker) / segment).open("rb") as file:
            while True:
                line = file.readline()
                if not line.endswith(b"\n") and not sealed:
                    held = self._held(worker, segment, offset)
                    if held:
                        yield from held.splitlines(keepends=True)
                        return
                    if line and not waited:
                        time.sleep(SECOND_LOOK_SECONDS)  # perhaps a write is on its way
                        waited = True
                    file.seek(offset)  # what was held may be there now
                    line = file.readline()
                if not line:
                    return
                yield line
                offset += len(line)
                waited = sealed

    def follow(self, worker: int, segment: str, offset: int) -> tuple[list[bytes], int]:
        """Whole lines of a segment from byte `offset` on, and the offset after them."""
        try:
            with (self._worker(worker) / segment).open("rb") as file:
                file.seek(offset)
                chunk = file.read()
        except FileNotFoundError:  # moved to an archive meanwhile
            return [], offset
        whole = chunk[: chunk.rfind(b"\n") + 1]
        whole += self._held(worker, segment, offset + len(whole))
        return whole.splitlines(keepends=True), offset + len(whole)

    def _held(self, worker: int, segment: str, offset: int) -> bytes:
        held = look(self._worker(worker))
        return b"" if held is None else held.behind(segment, offset)

    def _list(self, worker: int) -> list[str]:
        return [path.name for path in self._worker(worker).iterdir()]

    def _worker(self, worker: int) -> Path:
        return self.folder / f"w{worker}"


def _number(name: str) -> int:
    """First sequence number of the segment that a file belongs to, 0 for none."""
    match = _NUMBERED.match(name)
    return int(match.group(1)) if match else 0


class Follower:
    """New stories since it was made.

    Each worker's newest segment is read from its beginning: a finish finds a statement from before.
    """

    def __init__(self, trail: FolderTrail, criteria: Criteria) -> None:
        self._trail = trail
        self._criteria = criteria
        self._readers: dict[int, Reader] = {}
        self._places: dict[int, tuple[str, int]] = {}
        for worker in trail.workers():
            segments = checkpoint.segment_order(trail.names(worker))
            if segments:
                self._places[worker] = (segments[-1], 0)
        for _ in self.read():
            pass  # what was there already

    def read(self) -> Iterator[Story]:
        for worker in self._trail.workers():
            reader = self._readers.setdefault(worker, Reader(worker, self._criteria))
            segments = checkpoint.segment_order(self._trail.names(worker))
            segment, offset = self._places.get(worker, (segments[0] if segments else "", 0))
            while segment:
                lines, offset = self._trail.follow(worker, segment, offset)
                self._places[worker] = (segment, offset)
                for line in lines:
                    yield from reader.feed(line)
                known = segment in segments
                later = segments[segments.index(segment) + 1 :] if known else segments
                segment, offset = (later[0], 0) if later else ("", 0)
