"""Approvals: the inbox, one request, what is decided on it. See `frame` for the rules.

Rights are the desk's to check; what is offered here follows `ruling.objection`, which it uses too.
"""

import msgspec
from starlette.responses import PlainTextResponse, Response

from appliance.approval.request import Person, Request, State
from appliance.approval.ruling import APPROVER, agreeing, missing, objection
from appliance.console.api.requests import APPROVERS, GLASS_BREAKERS, Reason, Said
from appliance.console.pages.frame import NO_STORE, asked, back_to, draw, get, post
from appliance.console.people import BREAK_GLASS
from appliance.console.table import Call, Open
from appliance.control.desk import Conflict, DeskError, NotAllowed
from appliance.control.rights import concerns, sees_values

LISTED = 100
_VIEWS = ("pending", "mine", "decided", "all")


async def inbox(call: Call) -> Response:
    """Pending first, then what was decided lately; `view`, `principal`, `state` narrow it."""
    who = call.person
    view = asked(call, "view", "pending")
    principal = asked(call, "principal")
    before = asked(call, "before")
    view = view if view in _VIEWS else "pending"
    state = State.PENDING if view == "pending" else None
    found = await call.services.desk.requests(
        who,
        state=state,
        principal=who.name if view == "mine" else principal,
        before=before,
        limit=LISTED,
    )
    more = found[-1].asked.id if len(found) >= LISTED else ""
    if view == "decided":
        found = [one for one in found if one.state is not State.PENDING]
    recent: list[Request] = []
    if view == "pending" and not principal:
        recent = await call.services.desk.requests(who, limit=8)
        recent = [one for one in recent if one.state is not State.PENDING][:5]
    return draw(
        call,
        "requests.html",
        "requests",
        view=view,
        views=_VIEWS,
        principal=principal,
        found=sorted(found, key=lambda one: _order(one, who)),
        recent=recent,
        more=more,
        mine=lambda one: not objection(one, who),
        missing=_missing_count,
        figures=APPROVER in who.roles,
    )


def _order(one: Request, who: Person) -> tuple[int, int, float]:
    """Pending before all others, among them what this person can decide, soonest to end first."""
    if one.state is State.PENDING:
        return (0, bool(objection(one, who)), one.expires)
    return (1, 0, -one.asked.time)


def _missing_count(one: Request) -> int:
    return sum(count for _, count in missing(one.asked, one.votes, one))


async def one_request(call: Call) -> Response:
    found = await call.services.desk.request(call.person, call.path("id"))
    return await _drawn(call, found)


async def _drawn(
    call: Call, found: Request, status: int = 200, mistake: str = "", reason: str = ""
) -> Response:
    who, id = call.person, found.asked.id
    waiting = await call.services.desk.requests(who, state=State.PENDING, limit=LISTED)
    order = [one.asked.id for one in sorted(waiting, key=lambda one: _order(one, who))]
    place = order.index(id) if id in order else -1
    others = [one for one in order if one != id]
    return draw(
        call,
        "request.html",
        "requests",
        status,
        request=found,
        asked=found.asked,
        pending=found.state is State.PENDING,
        objection=objection(found, who),
        own=concerns(found.asked, who),
        may_break_glass=_may_break_glass(call, found),
        needs=[(need, agreeing(need, found.votes, found)) for need in found.asked.terms.needs],
        mistake=mistake,
        reason=reason,
        previous=order[place - 1] if place > 0 else "",
        following=order[place + 1] if 0 <= place < len(order) - 1 else next(iter(others), ""),
        over=call.services.now() >= found.expires,
        bare=not sees_values(found.asked, who),
        figures=APPROVER in who.roles,
    )


def _may_break_glass(call: Call, found: Request) -> bool:
    who = call.person
    own = concerns(found.asked, who)
    return own and found.state is State.PENDING and BREAK_GLASS in who.roles


class Verdict(msgspec.Struct, frozen=True):
    """What was said to a request or a proposed grant."""

    verdict: str = ""
    """approve, deny"""
    reason: Reason = ""


async def vote(call: Call) -> Response:
    given = call.body(Verdict)
    id, reason, verdict = call.path("id"), given.reason.strip(), given.verdict
    mistake = ""
    if verdict not in {"approve", "deny"}:
        mistake = "Choose to approve or to deny."
    elif verdict == "deny" and not reason:
        mistake = "Say why it is denied: the person who asked reads it."
    if not mistake:
        try:
            await call.services.desk.vote(call.person, id, verdict == "approve", reason)
        except (Conflict, NotAllowed) as error:
            mistake = _sentence(error)
    if mistake:
        return await _again(call, mistake, reason)
    return back_to(f"/requests/{id}")


async def break_glass(call: Call) -> Response:
    reason = call.body(Said).reason.strip()
    if not reason:
        return await _again(call, "Breaking the glass takes a reason.")
    try:
        await call.services.desk.break_glass(call.person, call.path("id"), reason)
    except (Conflict, NotAllowed) as error:
        return await _again(call, _sentence(error), reason)
    return back_to(f"/requests/{call.path('id')}")


async def withdraw(call: Call) -> Response:
    await call.services.desk.withdraw(call.person, call.path("id"))
    return back_to(f"/requests/{call.path('id')}")


async def _again(call: Call, mistake: str, reason: str = "") -> Response:
    found = await call.services.desk.request(call.person, call.path("id"))
    return await _drawn(call, found, 422, mistake, reason)


def _sentence(error: DeskError) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}." if text else "That could not be done."


async def statement_text(call: Call) -> Response:
    """The whole statement, exactly, as plain text."""
    found = await call.services.desk.request(call.person, call.path("id"))
    return PlainTextResponse(
        found.asked.sql.encode("utf-8", "replace"),
        headers=NO_STORE,
    )


ROWS = (
    get("/requests", inbox, Open.SIGNED_IN),
    get("/requests/{id}", one_request, Open.SIGNED_IN),
    get("/requests/{id}/statement.sql", statement_text, Open.SIGNED_IN),
    post("/requests/{id}/vote", vote, APPROVERS, Verdict),
    post("/requests/{id}/break-glass", break_glass, GLASS_BREAKERS, Said),
    post("/requests/{id}/withdraw", withdraw, Open.SIGNED_IN),
)
