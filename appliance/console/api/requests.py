"""/api/v1/requests: what is held, and what people say to it."""

from typing import Annotated

import msgspec

from appliance.approval.request import Request, State
from appliance.console.people import BREAK_GLASS
from appliance.console.table import Call, Open, Row

LIMIT_MAX = 500
ROOT = "/api/v1/requests"

Reason = Annotated[str, msgspec.Meta(max_length=2_000)]


class RequestsWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which requests: all conditions must hold."""

    state: State | None = None
    principal: str = ""
    before: str = ""
    """Only ids older than this one: the last id of the page before."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX)] = 100


class Requests(msgspec.Struct, frozen=True):
    """Newest first."""

    requests: list[Request]
    more: bool
    """There may be older ones."""


class Said(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words that go with a decision."""

    reason: Reason = ""


class Ballot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A vote. A denial needs a reason."""

    approve: bool
    reason: Reason = ""


async def listed(call: Call) -> Requests:
    wanted = call.query(RequestsWanted)
    found = await call.services.desk.requests(
        call.person,
        state=wanted.state,
        principal=wanted.principal,
        before=wanted.before,
        limit=wanted.limit,
    )
    return Requests(found, len(found) == wanted.limit)


async def shown(call: Call) -> Request:
    return await call.services.desk.request(call.person, call.path("id"))


async def vote(call: Call) -> Request:
    ballot = call.body(Ballot)
    return await call.services.desk.vote(
        call.person, call.path("id"), ballot.approve, ballot.reason
    )


async def break_glass(call: Call) -> Request:
    reason = call.body(Said).reason
    return await call.services.desk.break_glass(call.person, call.path("id"), reason)


async def withdraw(call: Call) -> Request:
    return await call.services.desk.withdraw(call.person, call.path("id"))


APPROVERS = frozenset({"approver"})
GLASS_BREAKERS = frozenset({BREAK_GLASS})
"""A role, so that a token made for less cannot; the desk asks for the groups besides."""

ROWS = (
    Row(
        *("GET", ROOT, listed, Open.SIGNED_IN, "List requests; without a role, one's own."),
        query=RequestsWanted,
        gives=Requests,
    ),
    Row(
        *("GET", ROOT + "/{id}", shown, Open.SIGNED_IN, "One request: what a ticket polls."),
        gives=Request,
    ),
    Row(
        *("POST", ROOT + "/{id}/vote", vote, APPROVERS, "Approve or deny."),
        takes=Ballot,
        gives=Request,
    ),
    Row(
        *("POST", ROOT + "/{id}/break-glass", break_glass, GLASS_BREAKERS),
        "Approve a request of one's own in an emergency.",
        takes=Said,
        gives=Request,
    ),
    Row(
        *("POST", ROOT + "/{id}/withdraw", withdraw, Open.SIGNED_IN, "Withdraw one's own request."),
        gives=Request,
    ),
)
