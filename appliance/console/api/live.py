"""/api/v1/sessions and /api/v1/events: who is connected now, and what changes while one looks."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from http import HTTPStatus

import msgspec
from starlette.responses import Response, StreamingResponse

from appliance.console.api.requests import Said
from appliance.console.authn import still
from appliance.console.pacing import whence
from appliance.console.problems import Problem
from appliance.console.table import ANY_ROLE, Call, Open, Row
from appliance.control.desk import Change, LiveSession

BEAT_SECONDS = 15.0
"""Between two signs of life; as often it is looked whether the reader still may."""
STREAMS_MAX = 200
STREAMS_OF_ONE_MAX = 12
"""Of one person: tabs, and a command line that watches."""
STREAMS_OF_ADDRESS_MAX = 60
RETRY = b"retry: 2000\n\n"

_streams = 0
_of: Counter[str] = Counter()
"""Streams by person and by address."""


class LiveSessions(msgspec.Struct, frozen=True):
    sessions: list[LiveSession]


async def listed(call: Call) -> LiveSessions:
    return LiveSessions(await call.services.desk.sessions(call.person))


async def end(call: Call) -> None:
    """Recorded by the desk."""
    await call.services.desk.end_session(call.person, call.path("id"), call.body(Said).reason)


async def events(call: Call) -> Response:
    """Server-sent events (HTML Living Standard, 9.2): one `change` per Change, as JSON."""
    person, address = _counted(call)
    crowded = _of[person] >= STREAMS_OF_ONE_MAX or _of[address] >= STREAMS_OF_ADDRESS_MAX
    if _streams >= STREAMS_MAX or crowded:
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, "too many readers", {"Retry-After": "10"})
    return StreamingResponse(stream(call), media_type="text/event-stream")


def _counted(call: Call) -> tuple[str, str]:
    """What a stream counts for."""
    return f"person {call.known.identity.owner}", f"address {whence(call.address)}"


async def stream(call: Call) -> AsyncGenerator[bytes, None]:
    """Until the reader leaves, may no longer, or the desk ends."""
    global _streams
    _streams += 1
    counted = _counted(call)
    _of.update(counted)
    changes = call.services.desk.watch()
    following: asyncio.Task[Change] | None = None
    clock = asyncio.get_running_loop().time
    beat = clock() + BEAT_SECONDS
    try:
        yield RETRY
        while True:
            following = following or asyncio.ensure_future(_next(changes))
            done, _ = await asyncio.wait({following}, timeout=max(0.0, beat - clock()))
            if clock() >= beat:  # also where changes never pause for so long
                if not await still(call.known, call.services):
                    return
                beat = clock() + BEAT_SECONDS
                yield b": still here\n\n"
            if not done:
                continue
            try:
                change = following.result()
            except StopAsyncIteration:
                return
            following = None
            yield b"event: change\ndata: " + msgspec.json.encode(change) + b"\n\n"
    finally:
        _streams -= 1
        _of.subtract(counted)
        for key in [key for key in counted if _of[key] <= 0]:
            del _of[key]
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        close = getattr(changes, "aclose", None)
        if close is not None:
            await close()


async def _next(changes: AsyncIterator[Change]) -> Change:
    return await anext(changes)


ROWS = (
    Row(
        *("GET", "/api/v1/sessions", listed, Open.SIGNED_IN, "Live database sessions."),
        gives=LiveSessions,
    ),
    Row(
        *("POST", "/api/v1/sessions/{id}/end", end, frozenset({"admin"}), "End a session now."),
        takes=Said,
        status=204,
    ),
    Row(
        *("GET", "/api/v1/events", events, ANY_ROLE, "Changes as they happen (server-sent)."),
        media_type="text/event-stream",
    ),
)
