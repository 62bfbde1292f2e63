"""Random and mutated bytes through every extension, until a time is up; prints what it did.

Run by test_sanitize.py in a process of its own, with the sanitize flavour first on the path:
    python tests/fuzz/torture.py SECONDS SEED
Inputs that may come as any buffer come as array.array: its memory ends exactly where the bytes end,
so that reading one byte too many is an error to AddressSanitizer. Now and then the result is
compared with the reference twin.
"""

import array
import contextlib
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from _speedups import mylex
from _speedups.hitcycle import Pace
from _speedups.maskops import MaskOp
from _speedups.myframe import PACKET, SKIPPED, PacketSplitter, packets, renumbered
from _speedups.myrows import RowMasker as MyMasker
from _speedups.pgframe import GATHER, STREAM, FrameSplitter
from _speedups.pgrows import RowMasker
from _speedups.rowflow import RowFlow
from _speedups.sqlfolds import Folds
from _speedups.sqllex import fold, measure, redact
from _speedups.sqltokens import tokens
from tests.fuzz.hit_torture import CHUNKS, Conversation
from tests.fuzz.my_hit_torture import MyConversation
from tests.reference import maskops as reference_ops
from tests.reference import myrows as reference_myrows
from tests.reference import pgframe as reference_frames
from tests.reference import pgrows as reference_rows

LENGTHS = (0, 1, 2, 3, 4, 5, 6, 0x3FFFFFFF, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = [
    *("'", '"', "$", "$$", "$a$", "--", "/*", "*/", "\\", "E'", "U&'", 'U&"', "B'", "x'", "N'"),
    *("1", "1.", ".5", "1e", "0x", "0xf", "1_", "(", ")", "[", "]", ",", ";", "::", "..", " "),
    *("\n", "\r", "+", "-", "<", "@", "case ", "end", "union", "select", "a", "é", "\0", "as."),
]
KINDS = (*reference_myrows.SIZES, *reference_myrows.TIMES, *reference_myrows.COUNTED, 6)
UNITS = ("year", "month", "day")
VALUES = (
    b"joe@example.com", b"2024-02-29", b"0044-03-15 BC", b"2024-02-29 12:13:14.567+05:30",
    b"-12345.6789", b"9223372036854775807", b"-9223372036854775808", b"1.5e+300", b"1e-45", b"NaN",
    b"infinity", b"-Infinity", "ünï€𝄞".encode(), b"9" * 300, bytes(8), b"\xff" * 8, b"\x7f" * 4,
    b"\0\3\0\2\0\0\0\4\0\1\x27\x0f\x27\x0f", b"\0\1\x7f\xff\0\0\0\0\0\1", b"",
    b"\0\1\0\x32\0\0\0\0\0\1", b"\0\1\0\x3f\x40\0\0\0\x27\x0f",
)  # fmt: skip


def exact(content: bytes) -> Any:
    made = array.array("B", (0,)) * len(content)  # made of bytes it would have room for more
    memoryview(made)[:] = content
    assert sys.getsizeof(made) == sys.getsizeof(array.array("B")) + len(content)
    return made


class Torture:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.counts: Counter[str] = Counter()

    def mutated(self, content: bytes) -> bytes:
        """Some bytes changed, lengths forged, parts cut out or doubled; or nothing at all."""
        harmed = bytearray(content)
        for _ in range(self.random.choice((0, 0, 1, 1, 2, 5))):
            if not harmed:
                break
            place = self.random.randrange(len(harmed))
            match self.random.randrange(5):
                case 0:
                    harmed[place] = self.random.randrange(256)
                case 1:
                    harmed[place : place + 4] = self.random.choice(LENGTHS).to_bytes(4)
                case 2:
                    del harmed[place : place + self.random.randrange(1, 20)]
                case 3:
                    harmed[place:place] = harmed[place : place + self.random.randrange(1, 50)]
                case 4:
                    harmed[place] ^= 1 << self.random.randrange(8)
        return bytes(harmed)

    def value(self) -> bytes:
        match self.random.randrange(4):
            case 0:
                return self.random.randbytes(self.random.choice((0, 1, 2, 4, 8, 12, 40, 300)))
            case 1:
                return self.mutated(self.random.choice(VALUES))
            case 2:
                return self.random.choice(VALUES)
            case _:
                return b"".join(self.random.choices(VALUES, k=2))

    def op(self) -> tuple[Any, ...]:
        name = self.random.choice(list(reference_ops.OPS))
        if name in ("null", "email"):
            return (name,)
        if name == "fixed":
            return (name, self.value())
        if name == "token":
            return (name, self.value() or b"k")
        if name.startswith("keep"):
            return (name, self.random.randrange(12))
        if name.startswith(("date", "timestamp")):
            return (name, self.random.choice(UNITS))
        return (name, self.random.choice((1, 2, 7, 10, 1000, 10_000, 12_345_678_901, 10**15)))

    def pieces(self, content: bytes) -> list[bytes]:
        if self.random.random() < 0.1:
            return [content[place : place + 1] for place in range(len(content))]
        edges = sorted(self.random.choices(range(len(content) + 1), k=self.random.randrange(6)))
        return [
            content[start:end]
            for start, end in zip([0, *edges], [*edges, len(content)], strict=True)
        ]

    def frames(self) -> None:
        ours, twin = FrameSplitter("client"), reference_frames.FrameSplitter("client")
        for type in b"ABCDEF":
            mode, ceiling = self.random.randrange(3), self.random.choice((4, 20, 3000))
            rule = (mode, ceiling, self.random.random() < 0.5)
            ours.rule(type, *rule)
            twin.rule(type, *rule)
        stream = b"".join(
            self.random.choice(b"ABCDEF").to_bytes()
            + (size + 4).to_bytes(4)
            + self.random.randbytes(size)
            for size in self.random.choices(
                (0, 1, 5, 16, 100, 2500, 5000), k=self.random.randrange(9)
            )
        )
        chunks = self.pieces(self.mutated(stream))
        expected = drain(twin, chunks, bytes) if self.random.random() < 0.2 else None
        found = drain(ours, chunks, exact)
        assert expected is None or found == expected, (chunks, found, expected)

    def rows(self) -> None:
        ops = [
            self.op() if self.random.random() < 0.7 else None
            for _ in range(self.random.randrange(6))
        ]
        count = self.random.randrange(5)
        run = b"".join(
            reference_rows.row(*(self.value() if self.random.random() < 0.9 else None for _ in ops))
            for _ in range(count)
        )
        agree(ops, self.mutated(run), count)

    def short_rows(self) -> None:
        """Cells are about as long as the blocks that are copied at once, their masks short."""
        ops = self.random.choices((None, ("null",), ("fixed", b"****")), k=self.random.randrange(6))
        count = self.random.randrange(40)
        run = b"".join(
            reference_rows.row(*(self.block() if self.random.random() < 0.9 else None for _ in ops))
            for _ in range(count)
        )
        agree(ops, self.mutated(run), count)

    def block(self) -> bytes:
        return bytes(max(64 * self.random.randrange(4) + self.random.randrange(-8, 5), 0))

    def flow(self) -> None:
        """What is given of what is taken is its rows, masked, whatever the cuts."""
        ops = [self.op() if self.random.random() < 0.7 else None for _ in range(3)]
        rows = b"".join(
            reference_rows.row(*(self.value() if self.random.random() < 0.9 else None for _ in ops))
            for _ in range(self.random.randrange(6))
        )
        whole = self.random.random() < 0.7
        frames, pace = FrameSplitter("upstream"), Pace()
        frames.rule(ord("D"), GATHER if whole else STREAM, 3000, True)
        pace.due = math.inf
        counts = SimpleNamespace(rows=0, bytes_out=0, cells_masked=0, sensitive_unmasked=0)
        flow = RowFlow(frames, pace, counts)
        flow.begin(counts, RowMasker(ops) if whole else None, 0, False)
        taken = given = b""
        for chunk in self.pieces(self.mutated(rows)):
            found, done = flow.passed(exact(chunk), 1.0)
            taken, given = taken + chunk[:done], given + found
            if done < len(chunk):
                break
        if not whole:
            assert given == taken, (rows, given, taken)
            return
        taken = taken[: len(taken) - frames.pending]
        masker = reference_rows.RowMasker(ops)
        assert masker.mask(taken, counts.rows // 2) == given, (ops, taken, given)

    def packets(self) -> None:
        """Cut anyhow, the same packets and rows come out, or the same error."""
        sizes = self.random.choices((0, 1, 2, 5, 40, 300), k=self.random.randrange(9))
        stream = b"".join(
            packets(self.random.randbytes(size), sequence) for sequence, size in enumerate(sizes)
        )
        stream = self.mutated(stream)
        mode, most = self.random.randrange(3), self.random.randrange(4)
        skips = self.random.random() < 0.5
        told = []
        for chunks in ([stream], self.pieces(stream)):
            splitter = PacketSplitter("client", 100, skips)
            splitter.read_as(mode, 100, most)
            runs, error = [], ""
            try:
                for chunk in chunks:
                    splitter.feed(exact(chunk))
                    while (run := splitter.next_run()) is not None:
                        runs.append((*run[:3], bytes(run[3])))
            except ValueError as failed:
                error = str(failed)
            told.append((rebuilt(runs), error))
        assert told[0] == told[1], (stream, mode, most, skips, told)
        rows = self.mutated(stream)
        with contextlib.suppress(ValueError):
            renumbered(exact(rows), self.random.randrange(9), self.random.randrange(256))

    def mysql_rows(self) -> None:
        binary = self.random.random() < 0.5
        kinds = [
            (self.random.choice(KINDS), self.random.random() < 0.5, self.random.randrange(8))
            for _ in range(self.random.randrange(1, 9))
        ]
        ops = [self.op() if self.random.random() < 0.7 else None for _ in kinds]
        count = self.random.randrange(4)
        run = b""
        for index in range(count):
            row = self.mysql_row(kinds, binary)
            run += packets(row, index)
        run, first = self.mutated(run), self.random.randrange(256)
        ours, twin = MyMasker(ops, kinds, binary), reference_myrows.RowMasker(ops, kinds, binary)
        found, expected = (
            masked(ours, exact(run), count, first), masked(twin, run, count, first),
        )  # fmt: skip
        assert found == expected, (ops, kinds, binary, run, found, expected)
        with contextlib.suppress(ValueError):
            ours.mask_giant(exact(run))

    def mysql_row(self, kinds: list[tuple[int, bool, int]], binary: bool) -> bytes:
        nulls, cells = bytearray((len(kinds) + 9) // 8), b""
        for index, (kind, _, _) in enumerate(kinds, 2):
            if self.random.random() < 0.1:
                nulls[index // 8] |= 1 << (index % 8)
                cells += b"" if binary else b"\xfb"
            elif binary and kind in reference_myrows.SIZES:
                cells += self.random.randbytes(reference_myrows.SIZES[kind])
            elif binary and kind in reference_myrows.TIMES:
                size = self.random.choice((0, 4, 7, 8, 11, 12))
                cells += bytes((size,)) + self.random.randbytes(size)
            else:
                value = self.value()
                cells += reference_myrows.lenenc(len(value)) + value
        return b"\0" + bytes(nulls) + cells if binary else cells

    def cells(self) -> None:
        op, value = self.op(), self.value()
        found, expected = MaskOp(op).apply(value), reference_ops.mask_value(op, value)
        assert found == expected, (op, value, found, expected)

    def texts(self) -> None:
        text = "".join(self.random.choices(WORDS, k=self.random.randrange(40))).encode()
        text = self.mutated(text)
        standard = self.random.random() < 0.5
        measure(text, standard)
        redacted = redact(text, standard)
        folded = fold(text)
        assert folded is None or len(folded[0]) <= 2 * len(text)
        folds = Folds()
        folds.key(text)
        near = self.mutated(text)
        recalled, again = folds.recalled(near), fold(near)
        assert recalled is None or (again is not None and again[0] == recalled), (text, near)
        literals = {"string", "number", "comment"}
        assert not {kind for kind, _, _ in tokens(redacted)} & literals, (text, redacted)

    def mysql_texts(self) -> None:
        words = [*WORDS, "`", "#", "/*!", "/*!50000 ", "/*!80000 ", "/*M!", "/*+", "@", "@@", "?"]
        text = self.mutated(
            "".join(self.random.choices(words, k=self.random.randrange(40))).encode()
        )
        modes = self.random.randrange(4)
        server = self.random.choice((0, 50744, 80036, 101106))
        bare = mylex.unwrap(text, modes, server, server >= 100_000)
        assert isinstance(bare, int) or len(bare) == len(text), (text, bare)
        mylex.measure(text, modes)
        folded = mylex.fold(text, modes)
        assert folded is None or len(folded[0]) <= 2 * len(text)
        redacted = mylex.redact(text, modes)
        literals = {mylex.KIND_NAMES.index(kind) for kind in ("string", "number", "hint")}
        assert not {kind for kind, _, _ in mylex.tokens(redacted, modes)} & literals, (text, modes)

    def hits(self) -> None:
        Conversation(self.random, self.mutated).go_on(10)

    def mysql_hits(self) -> None:
        MyConversation(self.random, self.mutated).go_on(10)

    def run(self, seconds: float) -> None:
        chores: list[Callable[[], None]] = [
            *(self.frames, self.rows, self.short_rows, self.flow, self.cells, self.texts),
            *(self.hits, self.mysql_texts, self.packets, self.mysql_rows, self.mysql_hits),
        ]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for chore in chores:
                for _ in range(20):
                    chore()
                self.counts[chore.__name__] += 20


def rebuilt(runs: list[tuple[int, int, int, bytes]]) -> list[tuple[int, bytes]]:
    """What came, whatever the cuts: payloads (-1 of a row's bytes, which may come in pieces)."""
    told: list[tuple[int, bytes]] = []
    for kind, sequence, _, content in runs:
        if kind in (PACKET, SKIPPED):
            told.append((sequence, content))
        elif told and told[-1][0] == -1:
            told[-1] = (-1, told[-1][1] + content)
        else:
            told.append((-1, content))
    return told


def masked(masker: Any, run: Any, count: int, sequence: int) -> tuple[Any, int]:
    try:
        return masker.mask(run, count, sequence), masker.cells_masked
    except ValueError as error:
        return str(error), masker.cells_masked


def drain(splitter: Any, chunks: list[bytes], wrapped: Callable[[bytes], Any]) -> tuple[Any, ...]:
    runs = []
    try:
        for chunk in chunks:
            splitter.feed(wrapped(chunk))
            while (run := splitter.next_run()) is not None:
                runs.append((*run[:3], bytes(run[3])))
    except ValueError as error:
        return runs, str(error)
    return runs, splitter.pending, splitter.midframe


def agree(ops: list[tuple[Any, ...] | None], run: bytes, count: int) -> None:
    expected = outcome(reference_rows.RowMasker(ops), run, count)
    found = outcome(RowMasker(ops), exact(run), count)
    assert found == expected, (ops, run, found, expected)


def outcome(masker: Any, run: Any, count: int) -> tuple[Any, ...]:
    try:
        masked: Any = masker.mask(run, count)
    except ValueError as error:
        masked = str(error)
    return masked, masker.rows, masker.cells_masked, masker.bytes_out


if __name__ == "__main__":
    for each in CHUNKS:
        assert Conversation(random.Random(1), lambda content: content).takes(each)
    spoken = MyConversation(random.Random(1), lambda content: content)
    for each in spoken.chunks():
        assert spoken.takes(each)
    torture = Torture(int(sys.argv[2]))
    torture.run(float(sys.argv[1]))
    print(dict(torture.counts))
