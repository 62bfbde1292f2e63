"""FrameSplitter: the same frames however the stream was cut, and no belief in claimed lengths."""

import gc
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups import pgframe
from _speedups.pgframe import (
    BODY,
    GATHER,
    GATHER_OR_STREAM,
    HEAD,
    STREAM,
    TAIL,
    WHOLE,
    FrameSplitter,
)
from tests.reference import pgframe as reference
from tests.unit.speedups.streams import PLACES, cut, frame, frames_of, read

MIB = 1 << 20
CEILING = 64
RULES = {
    "G": (GATHER, CEILING, False),
    "g": (GATHER, CEILING, True),
    "O": (GATHER_OR_STREAM, CEILING, False),
    "o": (GATHER_OR_STREAM, CEILING, True),
    "S": (STREAM, CEILING, False),
    "s": (STREAM, CEILING, True),
}


def ruled(splitter: Any) -> Any:
    for type, rule in RULES.items():
        splitter.rule(ord(type), *rule)
    return splitter


FRAMES = st.builds(frame, st.sampled_from("GgOoSs"), st.binary(max_size=CEILING - 4)) | st.builds(
    frame, st.sampled_from("OoSs"), st.integers(0, 5000).map(bytes)
)
STREAMS = st.lists(FRAMES, max_size=12).map(b"".join)


@given(stream=STREAMS, places=PLACES)
def test_every_cutting_gives_the_same_frames(stream: bytes, places: list[int]) -> None:
    whole, error = read(ruled(FrameSplitter("client")), [stream])
    assert error == ""
    assert b"".join(run[3] for run in whole) == stream
    drips, _ = read(ruled(FrameSplitter("client")), [bytes([byte]) for byte in stream])
    pieces, _ = read(ruled(FrameSplitter("client")), cut(stream, places))
    assert frames_of(whole) == frames_of(drips) == frames_of(pieces)


@given(
    stream=STREAMS | st.binary(max_size=200),
    harm=st.lists(st.tuples(st.integers(0, 1 << 14), st.integers(0, 255)), max_size=3),
    places=PLACES,
)
def test_agrees_with_the_reference_run_by_run(
    stream: bytes, harm: list[tuple[int, int]], places: list[int]
) -> None:
    damaged = bytearray(stream)
    for place, byte in harm:
        if damaged:
            damaged[place % len(damaged)] = byte
    chunks = cut(bytes(damaged), places)
    ours, twin = ruled(FrameSplitter("client")), ruled(reference.FrameSplitter("client"))
    assert read(ours, chunks) == read(twin, chunks)
    assert (ours.pending, ours.midframe) == (twin.pending, twin.midframe)


@pytest.mark.parametrize("mode", [GATHER, GATHER_OR_STREAM, STREAM])
@pytest.mark.parametrize(
    ("length", "fault"),
    [(length, "length below 4") for length in range(4)]
    + [(length, "frame too long") for length in (0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)],
)
def test_lengths_no_frame_has(mode: int, length: int, fault: str) -> None:
    header = b"X" + length.to_bytes(4)
    for chunks in ([header + b"abc"], [header[:3], header[3:]]):
        splitter = FrameSplitter("client")
        splitter.rule(ord("X"), mode, 0x3FFFFFFF)
        assert read(splitter, chunks) == ([], fault)


def test_a_fault_comes_after_the_frames_before_it_and_stays() -> None:
    splitter = ruled(FrameSplitter("client"))
    runs, fault = read(splitter, [frame("g") * 3 + b"?" + bytes(100)])
    assert (runs, fault) == ([(ord("g"), WHOLE, 3, frame("g") * 3)], "unknown type")
    for _ in range(2):
        with pytest.raises(ValueError, match="unknown type"):
            splitter.next_run()


def test_an_unknown_type_is_told_by_its_first_byte() -> None:
    assert read(ruled(FrameSplitter("client")), [b"?"]) == ([], "unknown type")


def test_gathered_beyond_the_ceiling_is_refused_before_its_body() -> None:
    length = (CEILING + 1).to_bytes(4)
    assert read(ruled(FrameSplitter("client")), [b"G", length]) == ([], "frame too long")


@pytest.mark.parametrize("mode", [GATHER, GATHER_OR_STREAM, STREAM])
def test_memory_follows_the_bytes_received_not_the_length_claimed(mode: int) -> None:
    process = psutil.Process()
    splitters = []
    before = process.memory_info().rss
    for _ in range(200):
        splitter = FrameSplitter("client")
        splitter.rule(ord("X"), mode, 0x3FFFFFFF)
        assert read(splitter, [b"X" + 0x3FFFFFFF.to_bytes(4), b"abc"])[1] == ""
        splitters.append(splitter)
    assert process.memory_info().rss - before < 16 * MIB
    assert {splitter.pending for splitter in splitters} <= {0, 8}


def test_a_long_streamed_frame_is_never_held() -> None:
    process = psutil.Process()
    splitter = FrameSplitter("upstream")
    splitter.rule(ord("d"), STREAM, 4)
    chunk = bytes(MIB)
    before = process.memory_info().rss
    runs, _ = read_counts(splitter, [b"d" + (200 * MIB + 4).to_bytes(4), *[chunk] * 200])
    assert runs == [(HEAD, 5), *[(BODY, MIB)] * 199, (TAIL, MIB)]
    assert process.memory_info().rss - before < 16 * MIB
    assert not splitter.midframe


def read_counts(splitter: FrameSplitter, chunks: list[bytes]) -> tuple[list[tuple[int, int]], int]:
    runs = []
    for chunk in chunks:
        splitter.feed(chunk)
        while (run := splitter.next_run()) is not None:
            runs.append((run[1], len(run[3])))
    return runs, splitter.pending


def test_a_gathered_frame_grows_over_chunks() -> None:
    splitter = FrameSplitter("upstream")
    splitter.rule(ord("D"), GATHER, 8 * MIB)
    whole = frame("D", bytes(range(256)) * 8192)
    runs, error = read(splitter, cut(whole, range(0, len(whole), 65_537)))
    assert (runs, error) == ([(ord("D"), WHOLE, 1, whole)], "")
    assert splitter.pending == 0


def test_batches_join_only_whole_frames_of_one_type() -> None:
    stream = frame("g", b"a") * 3 + frame("G") * 2 + frame("g") + frame("g", b"cut")[:6]
    runs, _ = read(ruled(FrameSplitter("client")), [stream])
    assert [(chr(type), count) for type, _, count, _ in runs] == [
        ("g", 3), ("G", 1), ("G", 1), ("g", 1)
    ]  # fmt: skip


def test_runs_of_any_size_are_the_bytes_that_were_fed() -> None:
    for size in (0, 100, 2043, 2044, 5000, 100_000):
        stream = frame("S", bytes(index % 251 for index in range(size)))
        for chunk in (stream, bytearray(stream), memoryview(stream), memoryview(bytearray(stream))):
            assert read(ruled(FrameSplitter("client")), [chunk])[0][0][3] == stream


def test_a_view_outlives_its_chunk() -> None:
    splitter = ruled(FrameSplitter("client"))
    stream = frame("S", b"x" * 5000) + frame("S", b"y" * 5000)
    splitter.feed(stream[:])
    first = splitter.next_run()
    while splitter.next_run() is not None:
        pass
    splitter.feed(frame("G"))
    assert first is not None
    assert bytes(first[3]) == frame("S", b"x" * 5000)


def test_a_frame_begun_keeps_its_mode() -> None:
    splitter = FrameSplitter("client")
    splitter.rule(ord("X"), GATHER, CEILING)
    assert read(splitter, [frame("X", b"12345")[:7]]) == ([], "")
    splitter.rule(ord("X"), STREAM, CEILING)
    assert read(splitter, [b"345"])[0] == [(ord("X"), WHOLE, 1, frame("X", b"12345"))]
    assert [run[1] for run in read(splitter, [frame("X", b"12345")[:7], b"345"])[0]] == [HEAD, TAIL]


def test_a_rule_taken_away_makes_the_type_unknown() -> None:
    splitter = ruled(FrameSplitter("client"))
    splitter.forget(ord("G"))
    assert read(splitter, [frame("G")]) == ([], "unknown type")


def test_chunks_must_be_read_to_their_end() -> None:
    splitter = ruled(FrameSplitter("client"))
    splitter.feed(frame("G") * 2)
    assert splitter.next_run() is not None
    with pytest.raises(RuntimeError):
        splitter.feed(b"G")


OUT_OF_RANGE = [
    (256, 0, 4),
    (128, 0, 4),
    (-1, 0, 4),
    (1, 3, 4),
    (1, -1, 4),
    (1, 0, 3),
    (1, 0, 1 << 30),
]


@pytest.mark.parametrize("rule", OUT_OF_RANGE)
def test_rules_out_of_range(rule: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError):
        FrameSplitter("client").rule(*rule)


def test_rules_that_are_shared_stay_as_they_are() -> None:
    rules = ruled(FrameSplitter("client"))
    one, other = FrameSplitter("client", rules), FrameSplitter("client")
    stream = b"G" + (4).to_bytes(4, "big")
    assert not read(one, [stream])[1]
    assert read(other, [stream])[1] == "unknown type"
    later = FrameSplitter("client")
    later.follow(rules)
    assert not read(later, [stream])[1]
    for each in (rules, one, later):
        with pytest.raises(RuntimeError, match="shared"):
            each.rule(ord("G"), STREAM, 100)
        with pytest.raises(RuntimeError, match="shared"):
            each.forget(ord("G"))
    with pytest.raises(TypeError):
        later.follow(None)  # type: ignore[arg-type]  # None would be a null pointer in C


@pytest.mark.parametrize("kind", [0x80, 0x80 + ord("D"), 0xFF])
def test_a_type_beyond_ascii_is_unknown(kind: int) -> None:
    """Not that of the letter with its lower bits."""
    for pieces in ([bytes([kind]) + frame("D")[1:]], [bytes([kind]), frame("D")[1:]]):
        splitter = ruled(FrameSplitter("client"))
        with pytest.raises(ValueError, match="unknown type"):
            for piece in pieces:
                splitter.feed(piece)
                while splitter.next_run() is not None:
                    pass


def test_constants_are_those_of_the_reference() -> None:
    for name in ("WHOLE", "HEAD", "BODY", "TAIL", "GATHER", "GATHER_OR_STREAM", "STREAM"):
        assert getattr(pgframe, name) == getattr(reference, name)


def test_one_that_is_collected_amid_a_chunk() -> None:
    """Its session was a cycle, and ended in an exception: the buffer goes before the memoryview."""

    class Session:
        pass

    for _ in range(20):
        session: Any = Session()
        session.itself, session.splitter = session, FrameSplitter("client")
        session.splitter.rule(ord("A"), 0, 100)
        session.splitter.feed(memoryview(bytearray(frame("A", b"x") + frame("A", b"y"))))
        assert session.splitter.next_run() is not None
        del session
    gc.collect()


def test_what_is_left_of_a_chunk_can_be_taken_and_fed_again() -> None:
    splitter: Any = FrameSplitter("client")
    splitter.rule(ord("Q"), GATHER, 100)
    one, two, half = b"Q\x00\x00\x00\x05a", b"Q\x00\x00\x00\x05b", b"Q\x00\x00"
    chunk = bytearray(one + two + half)
    splitter.feed(chunk)
    assert splitter.next_run()[3] == one
    rest = splitter.take_rest()
    chunk[:] = b"\xee" * len(chunk)
    assert rest == two + half and splitter.take_rest() == b""
    splitter.feed(rest)
    assert splitter.next_run()[3] == two and splitter.next_run() is None
    assert splitter.pending == len(half)
