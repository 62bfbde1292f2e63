"""Random and mutated conversations through the hit path, with something in place of the machine
that lets go of whatever the path gives up. Used by torture.py.

What must hold beside memory: no raw cell of a statement whose rows are masked reaches the client,
and nothing goes upstream before its records are written.
"""

import os
import random
import secrets
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from _speedups.auditchain import ChainEnd
from _speedups.chunks import Chunks, share
from _speedups.hitcycle import Count, Hit, HitLedger, Pace
from _speedups.leases import Lease
from _speedups.pghits import HitPath
from _speedups.pgrows import RowMasker
from _speedups.sqllex import fold

RAW = b"raw cell"
EPOCH = ("policy", "catalog", "settings")
BEGIN, COMMIT = b"BEGIN", b"COMMIT"
TEXT, ALIKE = b"SELECT x FROM t", b"SELECT x FROM t WHERE id = 1 AND n = 'a'"


def frame(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body


BIND = frame(b"B", b"\0p\0" + bytes(2) + b"\0\1\0\0\0\1" + b"7" + bytes(2))
UNNAMED = frame(b"B", b"\0\0" + bytes(2) + b"\0\1\0\0\0\1" + b"7" + bytes(2))
PARSE = frame(b"P", b"\0" + TEXT + b"\0\0\0")
DESCRIBE, EXECUTE, SYNC = frame(b"D", b"P\0"), frame(b"E", bytes(5)), frame(b"S")
PROVISO = frame(b"B", b"still\0still\0" + bytes(6)) + frame(b"E", b"still" + bytes(5))
HELD = (frame(b"C", b"Sq\0"), b"q", frame(b"B", b"q\0q\0" + bytes(6)), DESCRIBE + EXECUTE + SYNC)
SHAPE = frame(b"T", b"\0\1x\0" + bytes(18))
ROW = frame(b"D", b"\0\1" + len(RAW).to_bytes(4) + RAW)
ANSWERS = {
    "x": frame(b"3"), "p": frame(b"1"), "P": frame(b"1"), "b": frame(b"2"), "B": frame(b"2"),
    "g": frame(b"2"), "r": frame(b"D", b"\0\1\0\0\0\1="), "c": frame(b"C", b"SELECT 1\0"),
    "t": SHAPE, "T": SHAPE, "Z": frame(b"Z", b"I"),
}  # fmt: skip
FAILED = frame(b"E", b"SERROR\0C42704\0Mno\0\0")
TURNS = frame(b"Q", BEGIN + b"\0"), frame(b"Q", COMMIT + b"\0")
CHUNKS = (
    frame(b"Q", TEXT + b"\0"), frame(b"Q", ALIKE + b"\0"),
    frame(b"Q", b"SELECT x FROM t WHERE id = 77777 AND n = 'bcd'\0"),
    BIND + EXECUTE + SYNC, BIND + DESCRIBE + EXECUTE + SYNC,
    PARSE + UNNAMED + EXECUTE + SYNC, PARSE + UNNAMED + DESCRIBE + EXECUTE + SYNC,
)  # fmt: skip


class Wire(Chunks):
    """An end of a connection whose transport keeps what is written to it."""

    def __init__(self) -> None:
        self.written = b""
        self.transport = cast(Any, SimpleNamespace(write=self._write))

    def _write(self, content: bytes) -> None:
        self.written += content

    def chunk(self, chunk: memoryview) -> None:
        """Not taken."""

    def say(self, content: bytes) -> None:
        self.get_buffer(-1)[: len(content)] = content
        self.buffer_updated(len(content))


class Conversation:
    """One session with the path, its trail in a file that takes all, or nothing."""

    def __init__(self, choices: random.Random, mutated: Callable[[bytes], bytes]) -> None:
        self._random, self._mutated = choices, mutated
        self._bound, self._provisional = choices.random() < 0.7, choices.random() < 0.5
        self._empty = False
        self._opened = choices.choice((None, None, 0, 1))
        """Under which lease the client's transaction began; None: it has none."""
        self._lease: Lease | None = None
        self._ends: tuple[socket.socket, ...] = ()
        if choices.random() < 0.5:
            self._lease, self._ends = Lease(), socket.socketpair()
        self._ledger = HitLedger(
            lambda: None, lambda: None, secrets.token_bytes, tuple(map(float, range(16)))
        )
        self._path: Any = None
        self._begin()
        self._path.owner = self
        self._client, self._upstream = Wire(), Wire()
        self._path.attach(self._client, self._upstream)

    def _begin(self) -> None:
        """The path, taught and armed."""
        pace = Pace()
        pace.due = float("inf")
        confirmed: dict[bytes, Any] = {}
        self._path = HitPath(
            self._ledger, Count(), Count(), pace, confirmed, "s1", HELD, 4096
        )  # fmt: skip
        self._arm()  # (what was taught before would be forgotten)
        hit = self._taught()
        confirmed[b"p"] = hit.prepared = SimpleNamespace(hit=hit)
        folded = fold(ALIKE)
        assert folded is not None
        self._path.exact[TEXT] = hit
        for text in (BEGIN, COMMIT):
            turn = Hit(object(), tuple(map(str, EPOCH)), False, False)  # type: ignore[arg-type]
            turn.query_tail, turn.amid = b',"a":1', True
            turn.turns = ord("T" if text == BEGIN else "I")
            self._path.exact[text] = turn
        alike = self._taught()
        alike.query_tail, alike.query_tail_rest = b',"sql":"', b',"rest":1'
        self._path.alike[folded[0]] = alike
        self._path.lease = self._lease

    def _arm(self) -> None:
        turns = self._random.random() < 0.9
        self._path.arm(EPOCH, "0-1", PROVISO, True, True, self._opened, turns)

    def _taught(self) -> Hit:
        hit = Hit(object(), tuple(map(str, EPOCH)), self._bound, self._provisional)  # type: ignore[arg-type]
        hit.query_tail = hit.execute_tail = b',"a":"' + b"t" * self._random.randrange(900) + b'"'
        hit.parse_tail, hit.types, hit.parameters, hit.position = b',"p":1', bytes(2), 1, "0-1"
        if self._random.random() < 0.3:
            hit.text, hit.sent, hit.parse = b"SELECT y", frame(b"Q", b"SELECT y\0"), PARSE
        hit.leased, hit.repeatable, hit.brief = 1, self._random.random() < 0.9, True
        hit.amid = self._random.random() < 0.9
        hit.described(SHAPE, RowMasker([("fixed", b"****")]), 1, None)
        return hit

    def takes(self, chunk: bytes) -> bool:
        taken = bool(self._path.client(chunk, 1.0))
        if taken:
            self._path.drop()
        return taken

    # asked by the path

    def fall_back(self, rest: bytes) -> None:
        self._give_up()

    def behind(self, chunk: bytes) -> None:
        self._give_up()

    def proviso_failed(self, chunk: bytes) -> None:
        assert not self._path.underway

    def turned(self, opened: int | None) -> None:
        self._opened = opened

    def unrecorded(self, chunk: bytes) -> None:
        assert not self._path.underway

    def aside(self, kind: int, content: bytes) -> bytes:
        return b"!" if self._random.random() < 0.5 else b""

    def settled(self) -> None:
        """Nobody waits."""

    def catch_up(self) -> None:
        """Nothing was kept."""

    def cut(self, error: Exception) -> None:
        assert isinstance(error, ValueError)
        self._give_up()

    def _give_up(self) -> None:
        if self._path.underway:
            self._path.hand_over()

    # the world

    def go_on(self, steps: int) -> None:
        end = ChainEnd()
        end.size_max = 1 << 40
        end.reach = 1 << 14
        self._ledger.write_to(end, lambda number, finished, refused: None)
        for _ in range(steps):
            end.descriptor = os.open(
                "/dev/full" if self._random.random() < 0.05 else "/dev/null", os.O_WRONLY
            )
            descriptor = end.descriptor
            self._statement()
            os.close(descriptor)
            self._arm()
        self._ledger.take_finished()
        self._ledger.take_sums()
        for end_of in self._ends:
            end_of.close()

    def _statement(self) -> None:
        path = self._path
        chunk = self._chosen()
        if self._random.random() < 0.4:
            chunk = self._mutated(chunk)
        self._upstream.written = self._client.written = b""
        if self._lease is not None:
            self._lease.value, self._lease.descriptor = 1, self._ends[0].fileno()
        self._client.say(chunk)
        if not self._ledger.due:
            return
        assert not self._upstream.written
        letters, lines = path.steps_left.decode(), path.lines
        assert len(lines) == 1 + (path.saved[:1] == b"P")
        turns = isinstance(path, HitPath) and path.hit.turns
        if turns:
            assert (self._opened is None) == (turns == ord("T"))
        elif self._opened is not None and isinstance(path, HitPath):
            assert not self._provisional or (path.under and self._opened)
        self._ledger.write_due()
        assert bool(self._upstream.written) == path.underway
        broken = path.underway and getattr(path, "under", 0) and self._random.random() < 0.4
        if broken and self._lease is not None:
            self._lease.value = self._random.choice((0, 2))
        self._empty = bool(turns)
        answer = self._answer(letters)
        if turns:
            answer = answer[:-1] + bytes((turns if self._random.random() < 0.9 else ord("E"),))
        for piece in self._pieces(answer):
            if path.underway:
                self._upstream.say(piece)
        if self._bound:
            assert RAW not in self._client.written
        if broken:  # what other statements of the client are told of, and nothing of this one
            assert not self._client.written.strip(b"!")
        if path.underway:
            path.hand_over()

    def _chosen(self) -> bytes:
        return self._random.choice((*CHUNKS, *TURNS))

    def _answer(self, letters: str) -> bytes:
        answer = b""
        for letter in letters:
            if letter in "EQ":
                if not self._empty:
                    answer += (SHAPE if letter == "Q" else b"") + ROW * self._random.randrange(4)
                answer += frame(b"C", b"SELECT 3\0")
            elif letter in "pPbBgr" and self._random.random() < 0.05:
                return answer + FAILED + frame(b"Z", b"I" if self._opened is None else b"E")
            elif letter == "Z" and self._opened is not None:
                answer += frame(b"Z", b"T")
            else:
                answer += ANSWERS[letter]
            if self._random.random() < 0.03:
                answer += frame(b"N", b"SNOTICE\0\0")
        return self._mutated(answer) if self._random.random() < 0.3 else answer

    def _pieces(self, content: bytes) -> list[bytes]:
        if self._random.random() < 0.6:
            return [content]
        edges = sorted(self._random.choices(range(len(content) + 1), k=3))
        parts = zip([0, *edges], [*edges, len(content)], strict=True)
        return [content[begin:end] for begin, end in parts if begin < end]


share(bytearray(1 << 16))
