"""What a worker's audit folder holds when a spool opens it, and its repair after a crash.

Called by `spool` only, with the folder's lock held. The rule: nothing is ever thrown away. Bytes
that are no whole line are moved to a `.torn` file beside their segment; damage further up is left
for `verify`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from appliance.audit import checkpoint
from appliance.audit.chain import Line, Link, claimed_hash, parse_line
from appliance.model.limits import KIB, MIB

WINDOW_BYTES = 256 * KIB


class Tail(msgspec.Struct, frozen=True):
    """The end of one segment: its last sound line, and how many bytes lie up to its LF."""

    line: Line | None
    whole_bytes: int
    torn_bytes: int


class Survey(msgspec.Struct, frozen=True):
    """Where the chain is to go on."""

    link: Link
    previous: str
    """Last segment's name, '' for none."""
    unsealed: tuple[str, ...]
    torn_segment: str
    torn_bytes: int
    torn_lines: int
    """Line ends among the torn bytes. A torn write has none: more means damage."""
    signed: int
    """Highest sequence number that is signed for; above `link.seq` when records are gone."""


def survey_folder(folder: Path) -> Survey:
    """Repairs the newest segment's tail and says where to go on. Raises OSError."""
    link, previous, torn_segment, torn_bytes, torn_lines = Link(), "", "", 0, 0
    names = checkpoint.segment_order(path.name for path in folder.iterdir())
    for name in names[::-1]:
        tail = find_tail(folder / name)
        sealed = seal_path(folder / name).exists()
        if tail.torn_bytes and not sealed:
            cut_torn(folder / name, tail)
        kept = (folder / name).with_suffix(".torn")
        if kept.exists() and not sealed:  # also from an open that failed before it could say so
            torn = kept.read_bytes()
            torn_segment = name
            torn_bytes += len(torn)
            torn_lines += torn.count(b"\n")
        if tail.line is not None:
            link, previous = tail.line.link, name
            break
        if not sealed:
            (folder / name).unlink()  # only its first line was torn; the bytes are in `.torn`
            names.remove(name)
    signed = max((c.last for c in _signed(folder, names)), default=0)
    unsealed = tuple(n for n in names if not seal_path(folder / n).exists())
    return Survey(link, previous, unsealed, torn_segment, torn_bytes, torn_lines, signed)


def find_tail(path: Path) -> Tail:
    """The last sound line of a segment, looked for from its end. Raises OSError."""
    size = path.stat().st_size
    window = WINDOW_BYTES
    with path.open("rb") as file:
        while True:
            start = max(0, size - window)
            file.seek(start)
            tail = _last_sound(file.read(size - start), start)
            if tail is not None:
                return Tail(tail[0], tail[1], size - tail[1])
            if start == 0:
                return Tail(None, 0, size)
            window *= 4


def _last_sound(chunk: bytes, start: int) -> tuple[Line, int] | None:
    """(line, end offset in the file) of the last sound line wholly inside `chunk`, which begins at
    `start`, together with the line before it."""
    end = chunk.rfind(b"\n")
    while end >= 0:
        begin = chunk.rfind(b"\n", 0, end) + 1
        if begin == 0 and start > 0:
            return None  # its beginning lies before the window
        earlier = chunk.rfind(b"\n", 0, max(0, begin - 1)) + 1
        if earlier == 0 and start > 0:
            return None
        line = parse_line(chunk[begin : end + 1], claimed_hash(chunk[earlier:begin]))
        if line is not None and line.sound:
            return line, start + end + 1
        end = begin - 1
    return None


def cut_torn(path: Path, tail: Tail) -> None:
    """Moves what follows the last sound line into `.torn`."""
    with path.open("r+b") as segment:
        segment.seek(tail.whole_bytes)
        keep_torn(path, segment.read())
        segment.truncate(tail.whole_bytes)


def keep_torn(path: Path, torn: bytes) -> None:
    """Into the `.torn` file beside a segment (appended: it can be torn twice)."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    with os.fdopen(os.open(path.with_suffix(".torn"), flags, 0o600), "wb") as kept:
        kept.write(torn)
        kept.flush()
        os.fsync(kept.fileno())


def _signed(folder: Path, names: list[str]) -> Iterator[checkpoint.Checkpoint]:
    """Every readable checkpoint that may speak of the chain's end. Their signatures are `verify`'s
    business."""
    candidates = [folder / "head.json"]
    for name in names[-1:]:
        candidates += [(folder / name).with_suffix(".checkpoints"), seal_path(folder / name)]
    for path in candidates:
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    yield checkpoint.read(line)
                except ValueError:
                    continue


def seal_path(segment: Path) -> Path:
    return segment.with_suffix(".seal")


def measure(path: Path) -> tuple[int, Link, int]:
    """(first sequence number, last link, lines) of a segment, for sealing it. Raises OSError."""
    tail = find_tail(path)
    match = checkpoint.SEGMENT_NAME.fullmatch(path.name)
    if tail.line is None or match is None:
        return 0, Link(), 0
    lines = 0
    with path.open("rb") as file:
        while chunk := file.read(1 * MIB):
            lines += chunk.count(b"\n")
    return int(match.group(2)), tail.line.link, lines
