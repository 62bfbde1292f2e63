"""Where records are read from: the interface that `verify` and `query` are given.

`spool/trail_folder` implements it over a folder; tests implement it over a dictionary.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol


class Trail(Protocol):
    """The audit folders of all workers. Implementations raise OSError for what cannot be read."""

    def workers(self) -> Sequence[int]: ...

    def names(self, worker: int) -> Sequence[str]:
        """File names in a worker's folder, in any order."""

    def content(self, worker: int, name: str) -> bytes | None:
        """A small file (seal, checkpoints, head), None when there is none."""

    def lines(self, worker: int, segment: str) -> Iterator[bytes]:
        """A segment's lines with their LF. Only the last may lack it, and only when no live spool
        is still writing it."""


def with_suffix(segment: str, suffix: str) -> str:
    """The name of a segment's seal (`seal`), `checkpoints` or `torn` file."""
    return segment.removesuffix("ndjson") + suffix
