"""PacketSplitter: packets come out the same however the stream is cut, and in no other order."""

import gc
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups.myframe import (
    GIANT,
    MORE,
    PACKET,
    PACKETS,
    ROWS,
    ROWS_STREAMED,
    ROWS_WHOLE,
    SKIPPED,
    START,
    PacketSplitter,
    packets,
    renumbered,
)
from tests.reference import myframe as reference
from tests.unit.speedups.streams import PLACES, Run, cut

PAYLOAD_MAX = 0xFFFFFF
EOF = b"\xfe\0\0\2\0"


def read(splitter: PacketSplitter, chunks: list[bytes]) -> tuple[list[Run], str]:
    runs: list[Run] = []
    try:
        for chunk in chunks:
            splitter.feed(chunk)
            while (run := splitter.next_run()) is not None:
                runs.append((*run[:3], bytes(run[3])))
    except ValueError as error:
        return runs, str(error)
    return runs, ""


def stream(payloads: list[bytes], sequence: int = 0) -> bytes:
    out = b""
    for payload in payloads:
        out += packets(payload, sequence)
        sequence += len(payload) // PAYLOAD_MAX + 1
    return out


@given(payloads=st.lists(st.binary(max_size=60), max_size=12), places=PLACES)
def test_payloads_come_out_whole(payloads: list[bytes], places: list[int]) -> None:
    runs, error = read(PacketSplitter("upstream", 100), cut(stream(payloads), places))
    assert error == ""
    assert [run[3] for run in runs] == payloads
    assert [run[1] for run in runs] == [index % 256 for index in range(len(payloads))]
    assert {run[0] for run in runs} <= {PACKET}


def rebuilt(runs: list[Run]) -> bytes:
    """What a client that is sent all that came out would have read."""
    out = b""
    for kind, sequence, _count, content in runs:
        out += packets(content, sequence) if kind == PACKET else content
    return out


@given(
    rows=st.lists(st.binary(min_size=1, max_size=60).filter(lambda b: b[0] < 0xFE), max_size=20),
    places=PLACES,
    whole=st.booleans(),
)
def test_rows_up_to_their_end(rows: list[bytes], places: list[int], whole: bool) -> None:
    splitter = PacketSplitter("upstream", 100)
    splitter.read_as(ROWS_WHOLE if whole else ROWS_STREAMED, 100)
    sent = stream([*rows, EOF])
    runs, error = read(splitter, cut(sent, places))
    assert error == ""
    assert rebuilt(runs) == sent
    assert runs[-1][0] == PACKET and runs[-1][3] == EOF
    counted = sum(count for kind, _, count, _ in runs if kind == ROWS)
    begun = sum(kind == START for kind, *_ in runs)
    assert counted + begun == len(rows)
    if whole:
        assert begun == 0


def test_a_run_holds_all_rows_of_a_chunk() -> None:
    splitter = PacketSplitter("upstream", 100)
    splitter.read_as(ROWS_WHOLE, 100)
    runs, _ = read(splitter, [stream([b"\x01a"] * 300 + [EOF])])
    assert [(kind, sequence, count) for kind, sequence, count, _ in runs] == [
        (ROWS, 0, 300),
        (PACKET, 300 % 256, 1),
    ]


@pytest.mark.parametrize("length", [PAYLOAD_MAX - 1, PAYLOAD_MAX, PAYLOAD_MAX + 1])
@pytest.mark.parametrize("step", [1 << 18, 1 << 25])
def test_payloads_around_the_longest_packet(length: int, step: int) -> None:
    payload = b"\x03" + bytes(length - 1)
    sent = stream([payload, b"\x0e"])
    assert packets(payload, 0) == reference.packets(payload, 0)
    chunks = [sent[at : at + step] for at in range(0, len(sent), step)]
    runs, error = read(PacketSplitter("client", 1 << 25), chunks)
    assert error == ""
    assert [run[3] for run in runs] == [payload, b"\x0e"]
    assert runs[0][1] == (0 if length < PAYLOAD_MAX else 1)


@pytest.mark.parametrize("length", [PAYLOAD_MAX - 1, PAYLOAD_MAX, PAYLOAD_MAX + 1])
@pytest.mark.parametrize("first", [0x01, 0xFE])
def test_rows_around_the_longest_packet(length: int, first: int) -> None:
    """A row that fills its packet may begin with 0xFE: the length of a long first value."""
    row = bytes((first,)) + bytes(length - 1)
    if first == 0xFE and length < PAYLOAD_MAX:
        return  # that is no row
    sent = stream([row, EOF])
    chunks = [sent[at : at + 100_000] for at in range(0, len(sent), 100_000)]
    for mode, giant in ((ROWS_WHOLE, True), (ROWS_STREAMED, False)):
        splitter = PacketSplitter("upstream", 100)
        splitter.read_as(mode, 1 << 25)
        runs, error = read(splitter, chunks)
        assert error == ""
        if giant and length >= PAYLOAD_MAX:
            assert (runs[0][0], runs[0][2], runs[0][3]) == (GIANT, 2, row)
        elif giant:
            assert (runs[0][0], runs[0][3]) == (ROWS, packets(row, 0))
        else:
            assert rebuilt(runs) == sent
            assert runs[-2][2] == 1  # it is known that the row has ended
            assert all(kind in (START, MORE) and not ends for kind, _, ends, _ in runs[:-2])
        assert runs[-1][3] == EOF


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_wrong_sequence_number_ends_the_stream(at: int) -> None:
    sent = [packets(b"\x01a", index + (index >= at)) for index in range(3)]
    for mode, chunks in itertools.product((PACKETS, ROWS_WHOLE, ROWS_STREAMED), (sent, None)):
        splitter = PacketSplitter("upstream", 100)
        splitter.read_as(mode, 100)
        runs, error = read(splitter, chunks or [b"".join(sent)])
        assert error == "packet out of order"
        assert sum(count for _, _, count, _ in runs) == at
        with pytest.raises(ValueError, match="out of order"):
            splitter.next_run()


def test_a_continued_packet_out_of_order() -> None:
    sent = packets(bytes(PAYLOAD_MAX), 0)
    broken = sent[:-1] + b"\x07"
    assert read(PacketSplitter("client", 1 << 25), [broken])[1] == "packet out of order"


@given(places=PLACES, skips=st.booleans())
def test_what_is_too_long_is_not_kept(places: list[int], skips: bool) -> None:
    splitter = PacketSplitter("client", 100, skips)
    runs, error = read(splitter, cut(stream([b"\x03" + b"x" * 200, b"\x0e"]), places))
    if not skips:
        assert error == "packet too long"
        assert runs == []
        return
    assert [run[0] for run in runs] == [SKIPPED, PACKET]
    assert runs[0][3].startswith(b"\x03xxx") and len(runs[0][3]) <= 100
    assert runs[1][3] == b"\x0e"


def test_nothing_is_believed_of_a_claimed_length() -> None:
    """A header that claims 16 MB costs nothing."""
    splitter = PacketSplitter("client", 1 << 25)
    runs, error = read(splitter, [b"\xfe\xff\xff\0\x03"])
    assert (runs, error) == ([], "")
    assert splitter.midway


@pytest.mark.parametrize("mode", [ROWS_WHOLE, ROWS_STREAMED])
def test_an_empty_packet_is_no_row(mode: int) -> None:
    splitter = PacketSplitter("upstream", 100)
    splitter.read_as(mode, 100)
    assert read(splitter, [b"\0\0\0\0"])[1] == "empty packet"
    splitter = PacketSplitter("upstream", 100)
    splitter.read_as(mode, 100)
    assert read(splitter, [b"\0", b"\0\0", b"\0"])[1] == "empty packet"


@given(st.lists(st.binary(min_size=1, max_size=30), max_size=9), st.integers(0, 255))
def test_numbered_anew(rows: list[bytes], sequence: int) -> None:
    assert renumbered(stream(rows, 7), len(rows), sequence) == stream(rows, sequence)


@pytest.mark.parametrize("rows", [b"\x01\0\0", b"\x05\0\0\0abc", b"\x01\0\0\0ab"])
def test_only_whole_packets_are_numbered(rows: bytes) -> None:
    with pytest.raises(ValueError, match="out of step"):
        renumbered(rows, 1, 0)


def test_one_that_is_collected_amid_a_chunk() -> None:
    """Its session was a cycle, and ended in an exception: the buffer goes before the memoryview."""

    class Session:
        pass

    for _ in range(20):
        session: Any = Session()
        session.itself, session.splitter = session, PacketSplitter("client", 100)
        session.splitter.feed(memoryview(bytearray(stream([b"\x0e", b"\x0e"]))))
        assert session.splitter.next_run() is not None
        del session
    gc.collect()


@pytest.mark.parametrize("step", [1, 4, 70_000, 1 << 25])
@pytest.mark.parametrize("mode", [ROWS_WHOLE, ROWS_STREAMED])
def test_what_ends_rows_has_a_bound_of_its_own(mode: int, step: int) -> None:
    """Whatever rows may be, and however it is cut."""
    for payload, error in ((b"\xff" + bytes(300), ""), (b"\xff" + bytes(1 << 20), "too long")):
        if len(payload) > 300_000 and step < 5:
            continue
        splitter = PacketSplitter("upstream", 100)
        splitter.read_as(mode, 100)
        sent = stream([payload])
        chunks = [sent[at : at + step] for at in range(0, len(sent), step)]
        runs, said = read(splitter, chunks)
        assert said.endswith(error) and bool(said) == bool(error)
        assert [run[3] for run in runs] == ([] if error else [payload])
