"""RowFlow: however a result is cut, the client gets what the machine would have passed on, and the
machine finds its stream where it would have been.
"""

import math
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups.hitcycle import Pace
from _speedups.pgframe import GATHER, STREAM, WHOLE, FrameSplitter
from _speedups.pgrows import RowMasker
from _speedups.rowflow import RowFlow
from tests.reference.pgrows import row

ROW, TAG = ord("D"), b"C\0\0\0\x0dSELECT 1\0"
CEILING = 4096
OPS: list[tuple[Any, ...] | None] = [None, ("fixed", b"***"), None]
ROWS = [
    row(b"1", b"joe", None),
    row(None, None, None),
    row(b"x" * 300, b"y" * 70, b""),
    row(b"", b"a@b.de", b"z" * 20),
]
ODD = [
    b"N\0\0\0\x05\0",
    b"D\0\0\0\x03",
    b"D\x7f\0\0\0\0",
    row(b"1", b"2"),
    b"D\0\0\0\x13\0\3\0\0\0\1a\0\0\0\1b\0\0\0\0x",
    b"D\0\0\0\x13\0\3\0\0\0\1a\0\0\0\x20bc\0\0",
]


class Counts(SimpleNamespace):
    def __init__(self) -> None:
        super().__init__(rows=0, bytes_out=0, cells_masked=0, sensitive_unmasked=0)


class Receiver:
    """A splitter as the machine has it, and what it passes on; with a flow, that comes first."""

    def __init__(self, masked: bool, flows: bool) -> None:
        self.frames = FrameSplitter("upstream")
        self.frames.rule(ROW, GATHER if masked else STREAM, CEILING if masked else 1 << 29, True)
        self.frames.rule(ord("C"), GATHER, CEILING)
        self.masker = RowMasker(OPS) if masked else None
        self.counts, self.sums, self.pace = Counts(), Counts(), Pace()
        self.pace.due = math.inf
        self.flow = RowFlow(self.frames, self.pace, self.sums)
        self.flows = flows
        self.sampled = True
        self.got = b""
        self.said = ""
        self.machines = 0
        """Chunks, or parts of them, that were not the flow's."""

    def feed(self, chunk: bytes) -> None:
        if self.said:
            return  # the session has ended
        if self.flows:
            self.flow.begin(self.counts, self.masker, 2, self.sampled)
            given, done = self.flow.passed(chunk, 1.0)
            self.got += given
            chunk = chunk[done:]
            if not chunk:
                return
            self.flow.end()
        self.machines += 1
        try:
            self._cut(chunk)
        except ValueError as error:
            self.said = str(error)

    def _cut(self, chunk: bytes) -> None:
        self.frames.feed(chunk)
        while (run := self.frames.next_run()) is not None:
            kind, part, count, content = run[0], run[1], run[2], bytes(run[3])
            if kind != ROW:
                self.got += content
                continue
            self.counts.rows += count
            self.sums.rows += count
            self.counts.sensitive_unmasked += 2 * count
            if self.masker is not None:
                assert part == WHOLE
                before = self.masker.cells_masked
                content = self.masker.mask(content, count)
                self.counts.cells_masked += self.masker.cells_masked - before
            self.counts.bytes_out += len(content)
            self.got += content


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    return [stream[begin:end] for begin, end in pairwise(at)]


@given(
    rows=st.lists(st.sampled_from(ROWS), max_size=12),
    end=st.sampled_from([b"", TAG, *ODD]),
    cuts=st.lists(st.integers(0, 4000), max_size=8),
    masked=st.booleans(),
)
def test_agrees_with_the_machines_way(
    rows: list[bytes], end: bytes, cuts: list[int], masked: bool
) -> None:
    stream = b"".join(rows) + end + TAG
    plain, flowing = Receiver(masked, False), Receiver(masked, True)
    for piece in pieces(stream, cuts):
        plain.feed(piece)
        flowing.feed(piece)
    assert flowing.said == plain.said
    if not plain.said:
        assert flowing.got == plain.got
        assert flowing.counts == plain.counts
        assert flowing.sums.rows == plain.sums.rows
        assert flowing.frames.pending == plain.frames.pending
        assert flowing.frames.midframe == plain.frames.midframe
    else:  # the run that the bad row is in does not leave; what a cut made a run of its own may
        assert plain.got.startswith(flowing.got) or flowing.got.startswith(plain.got)
        assert len(flowing.got) <= len(expected(rows, end, masked))


def expected(rows: list[bytes], end: bytes, masked: bool) -> bytes:
    """All that may ever leave: the good rows, masked, and in pieces what is not looked into."""
    if not masked:
        return b"".join(rows) + end + TAG
    return RowMasker(OPS).mask(b"".join(rows), len(rows))


@pytest.mark.parametrize("size", [0, 60, 140, 200])
def test_what_stands_in_memory_behind_a_chunk_is_not_part_of_it(size: int) -> None:
    rows = [row(b"x" * size, b"joe", b"%03d" % number) for number in range(60)]
    there = memoryview(b"".join(rows))
    for cut in range(len(there) - 300, len(there) + 1):
        receiver = Receiver(True, True)
        receiver.feed(bytes(there) * 2)  # there is room for more than this
        given, done = receiver.flow.passed(there[:cut], 1.0)
        whole = cut // len(rows[0])
        assert given == RowMasker(OPS).mask(b"".join(rows[:whole]), whole)
        assert done == cut
        assert receiver.counts.rows == 120 + whole
        assert receiver.frames.pending == cut % len(rows[0])


@pytest.mark.parametrize("masked", [True, False])
def test_a_long_result_is_the_flows_alone(masked: bool) -> None:
    receiver = Receiver(masked, True)
    stream = b"".join(ROWS * 50)
    for begin in range(0, len(stream), 999):
        receiver.feed(stream[begin : begin + 999])
    assert receiver.counts.rows == 200
    headers_cut = sum(  # of what flows in pieces, a header that is cut is the machine's
        0 < (cut - begin) < 5
        for cut in range(999, len(stream), 999)
        for begin in frame_begins(stream)
    )
    assert receiver.machines <= (0 if masked else 2 * headers_cut)
    whole = RowMasker(OPS).mask(stream, 200) if masked else stream
    assert receiver.got == whole
    assert receiver.counts.bytes_out == receiver.sums.bytes_out == len(whole)
    assert receiver.counts.cells_masked == receiver.sums.cells_masked == 150 * masked
    assert receiver.counts.sensitive_unmasked == 400


def frame_begins(stream: bytes) -> list[int]:
    found, at = [], 0
    while at < len(stream):
        found.append(at)
        at += 1 + int.from_bytes(stream[at + 1 : at + 5], "big")
    return found


def test_rows_that_are_wanted_for_a_sample_are_the_machines() -> None:
    receiver = Receiver(True, True)
    receiver.pace.due = 0.5
    receiver.feed(ROWS[0])
    assert receiver.machines == 1
    receiver.sampled = False
    receiver.feed(ROWS[0])
    assert receiver.machines == 1
    assert receiver.counts.rows == 2


def test_a_closed_flow_is_not_asked() -> None:
    flow = Receiver(False, True).flow
    assert not flow.open
    flow.begin(Counts(), None, 0, False)
    assert flow.open
    flow.end()
    assert not flow.open
