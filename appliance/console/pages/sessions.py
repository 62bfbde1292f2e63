"""Live sessions: who, on whose behalf, from where, what now; and ending one. See `frame`."""

from starlette.responses import Response

from appliance.console.api.requests import Said
from appliance.console.pages.frame import asked, back_to, draw, get, post
from appliance.console.table import ANY_ROLE, Call
from appliance.control.desk import LiveSession

_ORDER = {"held": 0, "active": 1, "transaction": 2, "idle": 3}


async def sessions(call: Call) -> Response:
    """What waits or works first; `q` narrows it by anybody's name, target or application."""
    found = await call.services.desk.sessions(call.person)
    wanted = asked(call, "q")
    shown = [one for one in found if _speaks_of(one, wanted.casefold())]
    return draw(
        call,
        "sessions.html",
        "sessions",
        q=wanted,
        found=sorted(shown, key=lambda one: (_ORDER.get(one.seen.state, 4), -one.seen.since)),
        total=len(found),
        may_end="admin" in call.person.roles,
        ended=asked(call, "ended"),
    )


def _speaks_of(one: LiveSession, wanted: str) -> bool:
    seen = one.seen
    named = (seen.principal, seen.on_behalf_of or "", seen.target, seen.database, seen.id)
    client = (seen.application, seen.address, seen.state)
    return not wanted or any(wanted in text.casefold() for text in named + client)


async def end(call: Call) -> Response:
    reason = call.body(Said).reason.strip()
    await call.services.desk.end_session(call.person, call.path("id"), reason)
    return back_to("/sessions?ended=1")


ROWS = (
    get("/sessions", sessions, ANY_ROLE),
    post("/sessions/{id}/end", end, frozenset({"admin"}), Said),
)
