"""/api/v1/audit: searches of the trail, one record, and whether the chain is whole."""

from http import HTTPStatus
from typing import Annotated

import msgspec

from appliance.audit.query import Criteria, Story
from appliance.audit.record import Entry, StatementFinished
from appliance.console.problems import Problem
from appliance.console.table import Call, Row
from appliance.console.trails import LIMIT_MAX, Proof, Summary
from appliance.control.desk import TrailSeen

ROOT = "/api/v1/audit"
AUDITORS = frozenset({"auditor"})


class RecordsWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which records: all conditions must hold."""

    principal: str = ""
    """Who, or on whose behalf, or whom a failed login claimed to be."""
    target: str = ""
    action: str = ""
    rule: str = ""
    effect: str = ""
    """allow, deny, hold, refuse"""
    text: str = ""
    """Part of the redacted SQL, in any case."""
    session: str = ""
    since: float | None = None
    """Unix seconds."""
    until: float | None = None
    prepared: bool = False
    """Also statements that were only prepared."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=LIMIT_MAX)] = 100


class Record(msgspec.Struct, frozen=True):
    """A record, for a statement together with what it came to."""

    reference: str
    """worker:number"""
    effect: str
    rule: str
    record: Entry
    finished: StatementFinished | None = None


class Records(msgspec.Struct, frozen=True):
    """Newest first."""

    records: list[Record]
    more: bool


class SummaryWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    since: float
    """Unix seconds."""


def as_record(story: Story) -> Record:
    return Record(story.reference, story.effect, story.rule, story.record, story.finished)


async def search(call: Call) -> Records:
    wanted = call.query(RecordsWanted)
    criteria = Criteria(
        principal=wanted.principal,
        target=wanted.target,
        action=wanted.action,
        rule=wanted.rule,
        effect=wanted.effect,
        text=wanted.text,
        session=wanted.session,
        since=wanted.since,
        until=wanted.until,
        prepared=wanted.prepared,
    )
    found = await call.services.trails.search(criteria, wanted.limit)
    return Records([as_record(s) for s in reversed(found)], len(found) == wanted.limit)


async def shown(call: Call) -> Records:
    found = await call.services.trails.find(call.path("reference"))
    if not found:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such record")
    return Records([as_record(story) for story in reversed(found)], False)


async def proof(call: Call) -> Proof:
    return await call.services.trails.proof()


async def seen(call: Call) -> TrailSeen:
    return await call.services.trails.seen()


async def summary(call: Call) -> Summary:
    return await call.services.trails.summary(call.query(SummaryWanted).since)


ROWS = (
    Row(
        *("GET", ROOT + "/records", search, AUDITORS, "Search the audit trail."),
        query=RecordsWanted,
        gives=Records,
        seconds_max=120.0,
    ),
    Row(
        *("GET", ROOT + "/records/{reference}", shown, AUDITORS),
        "One record by reference or id, or all of a session.",
        gives=Records,
        seconds_max=120.0,
    ),
    Row(
        *("GET", ROOT + "/chain", proof, AUDITORS, "Whether the trail is complete and unaltered."),
        gives=Proof,
        seconds_max=300.0,
    ),
    Row(
        *("GET", ROOT + "/seen", seen, AUDITORS, "Signed heads of every chain that control saw."),
        gives=TrailSeen,
    ),
    Row(
        *("GET", ROOT + "/summary", summary, AUDITORS, "Who did how much, by decision."),
        query=SummaryWanted,
        gives=Summary,
        seconds_max=120.0,
    ),
)
