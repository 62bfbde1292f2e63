"""Carries out the steps of a login that is written as a conversation (`wire/conversation`), over a
connection.

Used by `arriving_steps` (clients) and `upstream_steps` (databases). Rule: one step at a time, and
what arrives before TLS is not carried over into it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from appliance.dataplane.transport import Side
from appliance.model.errors import InvariantBroken
from appliance.wire.conversation import Compute, Receive, Secure, Send

_threads = asyncio.Semaphore(2)

PIECE_BYTES_MAX = 65_536


async def converse(
    side: Side,
    steps: Generator[Any, Any, Any],
    secure: Callable[[], Awaitable[None]],
) -> Any:
    """What `steps` returns. `secure` begins TLS. Raises what the steps or the connection raise."""
    answer: Any = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return end.value
        if isinstance(step, Receive):
            answer = await taken(side, step.count)
        else:
            answer = await carried_out(side, step, secure)


async def carried_out(
    side: Side,
    step: Any,
    secure: Callable[[], Awaitable[None]],
) -> Any:
    """Any step that is about the connection, but for `Receive`."""
    match step:
        case Send(octets=octets):
            side.write(octets)
            return None
        case Secure():
            await secure()
            return None
        case Compute(work=work):
            async with _threads:
                return await asyncio.to_thread(work)
    raise InvariantBroken("a step that nobody carries out")


async def taken(side: Side, count: int) -> bytes:
    """Exactly so many bytes; long ones piece by piece, since little is kept unread during a login
    (`transport.PENDING_BYTES_MAX`)."""
    if count <= PIECE_BYTES_MAX:
        await side.at_least(count)
        return side.take(count)
    pieces: list[bytes] = []
    while count:
        while not side.pending:
            await side.receive()
        piece = side.take(min(count, side.pending))
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
