"""/api/v1/grants: what somebody may do for a while without asking each time."""

from typing import Annotated

import msgspec

from appliance.approval.standing import GrantState, Scope, StandingGrant
from appliance.console.api.requests import APPROVERS, Ballot, Reason, Said
from appliance.console.table import Call, Open, Row

ROOT = "/api/v1/grants"


class GrantsWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    state: GrantState | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100


class Grants(msgspec.Struct, frozen=True):
    grants: list[StandingGrant]


class Proposal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody wants to be let do. Somebody else has to agree."""

    scope: Scope
    until: float
    """Unix seconds."""
    reason: Reason


async def listed(call: Call) -> Grants:
    wanted = call.query(GrantsWanted)
    found = await call.services.desk.grants(call.person, state=wanted.state, limit=wanted.limit)
    return Grants(found)


async def propose(call: Call) -> StandingGrant:
    proposal = call.body(Proposal)
    return await call.services.desk.propose_grant(
        call.person, proposal.scope, proposal.until, proposal.reason
    )


async def rule(call: Call) -> StandingGrant:
    ballot = call.body(Ballot)
    return await call.services.desk.rule_grant(
        call.person, call.path("id"), ballot.approve, ballot.reason
    )


async def revoke(call: Call) -> StandingGrant:
    reason = call.body(Said).reason
    return await call.services.desk.revoke_grant(call.person, call.path("id"), reason)


ROWS = (
    Row(
        *("GET", ROOT, listed, Open.SIGNED_IN, "List standing grants."),
        query=GrantsWanted,
        gives=Grants,
    ),
    Row(
        *("POST", ROOT, propose, Open.SIGNED_IN, "Propose a standing grant."),
        takes=Proposal,
        gives=StandingGrant,
        status=201,
    ),
    Row(
        *("POST", ROOT + "/{id}/rule", rule, APPROVERS, "Agree to a proposed grant, or deny it."),
        takes=Ballot,
        gives=StandingGrant,
    ),
    Row(
        *(
            "POST",
            ROOT + "/{id}/revoke",
            revoke,
            Open.SIGNED_IN,
            "End a grant now; a proposal of one's own, too.",
        ),
        takes=Said,
        gives=StandingGrant,
    ),
)
