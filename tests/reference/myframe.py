"""Plain-Python twin of `_speedups.myframe`, on a whole stream: what must come out, however it is
cut into chunks."""

PAYLOAD_MAX = 0xFFFFFF


def packets(payload: bytes, sequence: int) -> bytes:
    out = b""
    while True:
        piece, payload = payload[:PAYLOAD_MAX], payload[PAYLOAD_MAX:]
        out += len(piece).to_bytes(3, "little") + bytes((sequence & 255,)) + piece
        sequence += 1
        if len(piece) < PAYLOAD_MAX:
            return out
