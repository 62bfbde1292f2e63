"""Length-prefixed frames over a stream: how worker, supervisor and analyzer processes talk.
Sans-IO.

Called by `control/supervisor`, `dataplane/worker` and `dataplane/analyzer`; each owns its socket
and gives bytes here. Rule: a frame's length is checked against the ceiling before anything of it is
kept, and the buffer grows with the bytes received, never with the length claimed.

A frame is a 4-byte big-endian length (of what follows) and then one msgpack document.
"""

from typing import Generic, TypeVar

import msgspec

LENGTH_BYTES = 4
LINK_FRAME_BYTES_MAX = 64 * 1024 * 1024
"""Ceiling of a worker <-> supervisor message; the largest is a Reload, which carries every policy
document.
"""

Message = TypeVar("Message")


class LinkBroken(ValueError):
    """The other process sent something that is no frame of ours. The link cannot be used any
    further.
    """


def frame(payload: bytes, ceiling: int = LINK_FRAME_BYTES_MAX) -> bytes:
    """`payload` with its length before it. Raises LinkBroken when it is longer than `ceiling`
    bytes.
    """
    if len(payload) > ceiling:
        raise LinkBroken(f"a frame of {len(payload)} bytes is above the ceiling of {ceiling}")
    return len(payload).to_bytes(LENGTH_BYTES, "big") + payload


class FrameReader:
    """One direction of a link: chunks in, whole frames (without their length) out."""

    def __init__(self, ceiling: int = LINK_FRAME_BYTES_MAX) -> None:
        self._ceiling = ceiling
        self._held = bytearray()

    @property
    def midframe(self) -> bool:
        """Whether a frame has begun that is not whole: at end of stream this means that the sender
        died.
        """
        return bool(self._held)

    def feed(self, chunk: bytes | memoryview) -> list[bytes]:
        """Every frame that `chunk` completes, in order. Raises LinkBroken on a length above the
        ceiling.
        """
        held = self._held
        held += chunk
        frames: list[bytes] = []
        start = 0
        while len(held) - start >= LENGTH_BYTES:
            length = int.from_bytes(held[start : start + LENGTH_BYTES], "big")
            if length > self._ceiling:
                raise LinkBroken(f"a frame of {length} bytes is above the ceiling")
            end = start + LENGTH_BYTES + length
            if len(held) < end:
                break
            frames.append(bytes(memoryview(held)[start + LENGTH_BYTES : end]))
            start = end
        if start:
            del held[:start]
        return frames


class MessageReader(Generic[Message]):
    """A FrameReader whose frames are decoded as `kind` (a struct or a union of tagged structs)."""

    def __init__(self, kind: type[Message], ceiling: int = LINK_FRAME_BYTES_MAX) -> None:
        self._frames = FrameReader(ceiling)
        self._decoder: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(kind)

    @property
    def midframe(self) -> bool:
        return self._frames.midframe

    def feed(self, chunk: bytes | memoryview) -> list[Message]:
        """Every message that `chunk` completes. Raises LinkBroken on a bad length or an unknown
        message.
        """
        try:
            return [self._decoder.decode(payload) for payload in self._frames.feed(chunk)]
        except msgspec.MsgspecError as error:
            raise LinkBroken(f"not a message of this link: {error}") from error


def encode_message(message: object, ceiling: int = LINK_FRAME_BYTES_MAX) -> bytes:
    """One message, framed. Raises LinkBroken when it is above the ceiling."""
    return frame(msgspec.msgpack.encode(message), ceiling)
