"""Integers, strings and packet headers as MySQL's protocol writes them ("Integer Types", "String
Types", "MySQL Packets" in its documentation).

Used by every module here. Rule: nothing is read past the end of a packet, and whoever reads a
packet says `end()`: bytes nobody asked for are a ProtocolViolation.
"""

import struct

from appliance.model.errors import InvariantBroken, ProtocolViolation

HEADER_BYTES = 4
PAYLOAD_BYTES_MAX = 0xFFFFFF
"""A packet of this length is continued by the next one."""

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")

Buffer = bytes | bytearray | memoryview


class Reader:
    """Takes fields off one payload, front to back. `side` is who sent it."""

    __slots__ = ("body", "offset", "side")

    def __init__(self, body: Buffer, side: str) -> None:
        self.body = bytes(body)
        self.offset = 0
        self.side = side

    def take(self, count: int) -> bytes:
        end = self.offset + count
        if count < 0 or end > len(self.body):
            raise ProtocolViolation(self.side, "a packet ends amid a field")
        taken = self.body[self.offset : end]
        self.offset = end
        return taken

    def _number(self, layout: struct.Struct) -> int:
        (value,) = layout.unpack(self.take(layout.size))
        return int(value)

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return self._number(_U16)

    def u24(self) -> int:
        return int.from_bytes(self.take(3), "little")

    def u32(self) -> int:
        return self._number(_U32)

    def u64(self) -> int:
        return self._number(_U64)

    def lenenc(self) -> int:
        """A length-encoded integer. 0xFB (NULL of a text row) and 0xFF (an error) are none."""
        first = self.u8()
        if first < 0xFB:
            return first
        if first == 0xFC:
            return self.u16()
        if first == 0xFD:
            return self.u24()
        if first == 0xFE:
            return self.u64()
        raise ProtocolViolation(self.side, "malformed length-encoded integer")

    def lenenc_bytes(self) -> bytes:
        return self.take(self.lenenc())

    def nul_bytes(self) -> bytes:
        """Up to a NUL byte, which is taken too."""
        end = self.body.find(b"\0", self.offset)
        if end < 0:
            raise ProtocolViolation(self.side, "a string without its end")
        taken = self.take(end - self.offset)
        self.offset += 1
        return taken

    def rest(self) -> bytes:
        return self.take(len(self.body) - self.offset)

    @property
    def left(self) -> int:
        return len(self.body) - self.offset

    def end(self) -> None:
        if self.offset != len(self.body):
            raise ProtocolViolation(self.side, "bytes behind the last field of a packet")


def lenenc(value: int) -> bytes:
    if value < 0xFB:
        return bytes((value,))
    if value <= 0xFFFF:
        return b"\xfc" + _U16.pack(value)
    if value <= 0xFFFFFF:
        return b"\xfd" + value.to_bytes(3, "little")
    return b"\xfe" + _U64.pack(value)


def lenenc_bytes(value: bytes) -> bytes:
    return lenenc(len(value)) + value


def nul_bytes(value: bytes) -> bytes:
    if b"\0" in value:
        raise InvariantBroken("a NUL byte inside a string that one ends")
    return value + b"\0"


def packet(sequence: int, payload: bytes) -> bytes:
    """`payload` as one packet, or as several when it is long; their sequence ids begin with
    `sequence`.
    """
    pieces = []
    offset = 0
    while True:
        piece = payload[offset : offset + PAYLOAD_BYTES_MAX]
        pieces.append(len(piece).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + piece)
        offset += len(piece)
        sequence += 1
        if len(piece) < PAYLOAD_BYTES_MAX:
            return b"".join(pieces)
