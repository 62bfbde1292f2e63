"""Makes frames, cuts streams, and reads a splitter to its end; for the tests beside it."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Protocol

from hypothesis import strategies as st

Run = tuple[int, int, int, bytes]


class Splitter(Protocol):
    def rule(self, type: int, mode: int, ceiling: int, batch: bool = False) -> None: ...
    def feed(self, chunk: bytes | bytearray | memoryview) -> None: ...
    def next_run(self) -> tuple[int, int, int, memoryview | bytes] | None: ...


def frame(type: str, body: bytes = b"") -> bytes:
    return type.encode() + (len(body) + 4).to_bytes(4) + body


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream cut at the given places (taken modulo its length); no empty pieces."""
    edges = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def read(
    splitter: Splitter, chunks: Sequence[bytes | bytearray | memoryview]
) -> tuple[list[Run], str]:
    """Every run until the end or the first error, and that error's text."""
    runs: list[Run] = []
    try:
        for chunk in chunks:
            splitter.feed(chunk)
            while (run := splitter.next_run()) is not None:
                runs.append((*run[:3], bytes(run[3])))
    except ValueError as error:
        return runs, str(error)
    return runs, ""


def frames_of(runs: Iterable[Run]) -> list[bytes]:
    """The frames that came out, whole or not, in order: what must not depend on the cuts."""
    frames: list[bytes] = []
    for _, kind, _, content in runs:
        if kind == 0:
            while content:
                size = int.from_bytes(content[1:5]) + 1
                frames.append(content[:size])
                content = content[size:]
        elif kind == 1:
            frames.append(content)
        else:
            frames[-1] += content
    return frames


PLACES = st.lists(st.integers(0, 1 << 16), max_size=12)
