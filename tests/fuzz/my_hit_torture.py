"""`hit_torture` for MySQL: random and mutated conversations through its hit path; for torture.py.

What must hold beside memory is the same.
"""

import struct

from _speedups.hitcycle import Count, Hit
from _speedups.myframe import packets
from _speedups.myhits import MyHitPath
from _speedups.mylex import fold
from _speedups.myrows import RowMasker
from tests.fuzz.hit_torture import ALIKE, EPOCH, RAW, TEXT, Conversation

VARCHAR, LONGLONG, DEFINITION = 0xFD, 0x08, b"\x03def" + bytes(20)
BOUND = b"\0\1" + struct.pack("<H", LONGLONG)
EXECUTE = b"\x17" + struct.pack("<IBI", 1, 0, 1)
SPREAD = (b"SELECT x FROM t WHERE id = 77777 AND n = 'bcd'", ALIKE, TEXT)
ENDS = (2, 2, 2, 2, 3, 8 | 2, 0x40 | 2, 0x4002)
"""Status flags."""


class MyConversation(Conversation):
    """One session with the path."""

    def _begin(self) -> None:
        self._attributes, self._deprecated, tracked = (
            self._random.random() < 0.5 for _ in range(3)
        )
        self._binary = False
        self._path = MyHitPath(
            self._ledger,
            *(Count(), Count(), "s1", 4096, self._attributes, self._deprecated, tracked),
        )
        self._arm()
        folded = fold(ALIKE)
        assert folded is not None
        self._path.exact[TEXT] = self._taught()
        alike = self._taught()
        alike.query_tail, alike.query_tail_rest, alike.sent = b',"sql":"', b',"rest":1', None
        self._path.alike[folded[0]] = alike
        self._path.knows(1, self._taught(), BOUND + bytes(8), 1)

    def _arm(self) -> None:
        self._path.arm(EPOCH, 0, 2)

    def _taught(self) -> Hit:
        hit = Hit(object(), tuple(map(str, EPOCH)), self._bound, False)  # type: ignore[arg-type]
        hit.query_tail = hit.execute_tail = b',"a":"' + b"t" * self._random.randrange(900) + b'"'
        if self._random.random() < 0.3:
            hit.sent = self._path.asking(b"SELECT y")
        for binary in (False, True):
            masker = RowMasker([("fixed", b"****")], [(VARCHAR, False, 0)], binary)
            shown = self._described(b"shown") if self._random.random() < 0.5 else None
            described = self._described(bytes((binary,)))
            self._path.described(hit, described, masker, 1, None, shown)
        return hit

    def _described(self, mark: bytes) -> bytes:
        payloads = [b"\1", DEFINITION + mark]
        if not self._deprecated:
            payloads.append(self._end(2))
        return b"".join(packets(payload, n) for n, payload in enumerate(payloads, 1))

    def _end(self, status: int) -> bytes:
        if self._deprecated:
            return b"\xfe\0\0" + struct.pack("<HH", status, 0)
        return b"\xfe" + struct.pack("<HH", 0, status)

    def chunks(self) -> list[bytes]:
        opening = b"\3\0\1" if self._attributes else b"\3"
        texts = [packets(opening + text, 0) for text in SPREAD]
        return [*texts, packets(EXECUTE + BOUND + bytes(8), 0)]

    def _chosen(self) -> bytes:
        chunk = self._random.choice(self.chunks())
        self._binary = chunk[4] == 0x17
        return chunk

    def _answer(self, letters: str) -> bytes:
        assert letters == "HR"
        if self._random.random() < 0.1:
            payload = self._random.choice(
                (
                    b"\0\1\0" + struct.pack("<HH", self._random.choice(ENDS), 0),
                    b"\xff\x28\4#42000" + RAW if not self._bound else b"\xff\x28\4#42000no",
                )
            )
            return self._spoiled(packets(payload, 1))
        answer = self._described(bytes((self._binary,)))
        number = 3 if self._deprecated else 4
        cell = bytes((len(RAW),)) + RAW
        for _ in range(self._random.choice((0, 1, 2, 3, 300))):
            answer += packets(b"\0\0" + cell if self._binary else cell, number & 0xFF)
            number += 1
        return self._spoiled(answer + packets(self._end(self._random.choice(ENDS)), number & 0xFF))

    def _spoiled(self, answer: bytes) -> bytes:
        return self._mutated(answer) if self._random.random() < 0.3 else answer
