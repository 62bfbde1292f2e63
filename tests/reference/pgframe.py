"""Plain-Python twin of `_speedups.pgframe`, as short as it can be: the oracle of its tests."""

from dataclasses import dataclass

WHOLE, HEAD, BODY, TAIL = 0, 1, 2, 3
GATHER, GATHER_OR_STREAM, STREAM = 0, 1, 2
LENGTH_MAX = 0x3FFFFFFF

Run = tuple[int, int, int, bytes]


@dataclass(frozen=True)
class Rule:
    mode: int
    ceiling: int
    batch: bool


class FrameSplitter:
    """Same interface; slices of one bytes object, no state but what has not been given out."""

    def __init__(self, side: str) -> None:
        self.side = side
        self._rules: dict[int, Rule] = {}
        self._carry = b""  # of an unfinished gathered frame
        self._chunk = b""
        self._stream: tuple[int, int] | None = None  # type, bytes to come
        self._fault = ""

    @property
    def pending(self) -> int:
        return len(self._carry)

    @property
    def midframe(self) -> bool:
        return self._stream is not None

    def rule(self, type: int, mode: int, ceiling: int, batch: bool = False) -> None:
        self._rules[type] = Rule(mode, ceiling, batch)

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        assert not self._chunk
        self._chunk = bytes(chunk)

    def next_run(self) -> Run | None:
        if self._fault:
            raise ValueError(self._fault)
        if not self._chunk:
            return None
        if self._stream:
            return self._streamed()
        return self._begun() if self._carry else self._fresh()

    def _take(self, size: int) -> bytes:
        taken, self._chunk = self._chunk[:size], self._chunk[size:]
        return taken

    def _streamed(self) -> Run:
        assert self._stream
        type, missing = self._stream
        piece = self._take(missing)
        missing -= len(piece)
        self._stream = (type, missing) if missing else None
        return type, BODY if missing else TAIL, 0, piece

    def _size(self, header: bytes) -> int | None:
        """Bytes of the frame that begins here, None when that cannot be told yet."""
        rule = self._rules.get(header[0])
        if rule is None:
            raise self._fail("unknown type")
        if len(header) < 5:
            return None
        length = int.from_bytes(header[1:5])
        if length < 4:
            raise self._fail("length below 4")
        if length > LENGTH_MAX or (rule.mode == GATHER and length > rule.ceiling):
            raise self._fail("frame too long")
        return length + 1

    def _fail(self, fault: str) -> ValueError:
        self._fault, self._chunk = fault, b""
        return ValueError(fault)

    def _is_streamed(self, type: int, size: int) -> bool:
        rule = self._rules[type]
        if size == 5:
            return False
        return rule.mode == STREAM or (rule.mode == GATHER_OR_STREAM and size - 1 > rule.ceiling)

    def _fresh(self) -> Run | None:
        type, size = self._chunk[0], self._size(self._chunk)
        if size is None or (size > len(self._chunk) and not self._is_streamed(type, size)):
            self._carry = self._take(len(self._chunk))
            return None
        if size > len(self._chunk):
            head = self._take(len(self._chunk))
            self._stream = type, size - len(head)
            return type, HEAD, 1, head
        frames = [self._take(size)]
        while self._rules[type].batch and self._chunk[:1] == bytes([type]):
            if len(self._chunk) < 5:
                break
            length = int.from_bytes(self._chunk[1:5])
            rule = self._rules[type]
            if not 4 <= length < len(self._chunk):
                break
            if rule.mode == GATHER and length > rule.ceiling:
                break
            frames.append(self._take(length + 1))
        return type, WHOLE, len(frames), b"".join(frames)

    def _begun(self) -> Run | None:
        if len(self._carry) < 5:
            self._carry += self._take(5 - len(self._carry))
        size = self._size(self._carry)
        if size is None:
            return None
        type = self._carry[0]
        if self._is_streamed(type, size):
            head, self._carry = self._carry, b""
            self._stream = type, size - 5
            return type, HEAD, 1, head
        self._carry += self._take(size - len(self._carry))
        if len(self._carry) < size:
            return None
        whole, self._carry = self._carry, b""
        return type, WHOLE, 1, whole
