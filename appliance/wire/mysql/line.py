"""Packets of a login one at a time, with their sequence ids checked and counted.

Used by `client_login`, `upstream_login` and `simple`. Rule: a packet out of order, or longer than
is expected here, ends the connection.
"""

from collections.abc import Generator
from typing import Any

from appliance.model.errors import ProtocolViolation
from appliance.wire.conversation import Receive, Send
from appliance.wire.mysql.fields import HEADER_BYTES, PAYLOAD_BYTES_MAX, packet


class Line:
    """`side` is who is at the other end."""

    def __init__(self, side: str, packet_bytes_max: int) -> None:
        self._side = side
        self._packet_bytes_max = packet_bytes_max
        self.sequence = 0
        """Of the next packet, whoever sends it."""

    def framed(self, payload: bytes) -> bytes:
        """`payload` as the next packet, or packets."""
        framed = packet(self.sequence, payload)
        self.sequence = self.sequence + len(payload) // PAYLOAD_BYTES_MAX + 1 & 0xFF
        return framed

    def send(self, payload: bytes) -> Generator[Send, Any, None]:
        yield Send(self.framed(payload))

    def read(self) -> Generator[Receive, Any, bytes]:
        """The next payload, one packet long or continued by others."""
        whole = bytearray()
        while True:
            head = yield Receive(HEADER_BYTES)
            length = int.from_bytes(head[:3], "little")
            if len(whole) + length > self._packet_bytes_max:
                raise ProtocolViolation(self._side, "packet too long")
            if head[3] != self.sequence:
                raise ProtocolViolation(self._side, "packets out of order")
            self.sequence = self.sequence + 1 & 0xFF
            if length:
                whole += yield Receive(length)
            if length < PAYLOAD_BYTES_MAX:
                return bytes(whole)
