"""Standing grants: those there are, proposing one, agreeing, taking one back. See `frame`.

Rights are the desk's to check; whoever may not is told so in its words.
"""

from datetime import UTC, datetime

import msgspec
from starlette.responses import Response

from appliance.approval.request import Person
from appliance.approval.standing import GrantState, Scope, StandingGrant
from appliance.console.api.requests import APPROVERS, Reason, Said
from appliance.console.pages.frame import back_to, commas, draw, get, post
from appliance.console.pages.requests import Verdict
from appliance.console.table import ANY_ROLE, Call, Open
from appliance.control.desk import Conflict, NotAllowed

HOURS_MAX = 24 * 31
_ORDER = {GrantState.PROPOSED: 0, GrantState.ACTIVE: 1}


class Proposed(msgspec.Struct, frozen=True):
    """The form. Lists are divided by commas."""

    principals: str = ""
    actions: str = "select, update"
    resources: str = ""
    targets: str = ""
    databases: str = "*"
    rows_max: str = ""
    hours: str = "8"
    until: str = ""
    """UTC, as <input type=datetime-local> gives it; '' = `hours` counts."""
    reason: Reason = ""


async def grants(call: Call) -> Response:
    return await _drawn(call)


async def _drawn(
    call: Call, status: int = 200, mistake: str = "", given: Proposed | None = None
) -> Response:
    who = call.person
    found = await call.services.desk.grants(who)
    return draw(
        call,
        "grants.html",
        "grants",
        status,
        found=sorted(found, key=lambda one: (_ORDER.get(one.state, 2), -one.proposed)),
        may_rule=lambda one: _may_rule(one, who),
        may_revoke=lambda one: _may_revoke(one, who),
        mistake=mistake,
        given=given or Proposed(),
    )


def _may_rule(one: StandingGrant, who: Person) -> bool:
    own = who.name == one.proposed_by or who.name in one.scope.principals
    return one.state is GrantState.PROPOSED and "approver" in who.roles and not own


def _may_revoke(one: StandingGrant, who: Person) -> bool:
    if one.state is GrantState.PROPOSED:  # others turn it down
        return who.name == one.proposed_by
    held = not who.roles.isdisjoint(APPROVERS | {"admin"}) or who.name == one.proposed_by
    return one.state is GrantState.ACTIVE and held


async def propose(call: Call) -> Response:
    given = call.body(Proposed)
    try:
        until = _until(given, call.services.now())
        scope = _scope(given)
        if not given.reason.strip():
            raise ValueError("Say what it is for.")
        await call.services.desk.propose_grant(call.person, scope, until, given.reason.strip())
    except (ValueError, Conflict, NotAllowed) as error:
        return await _drawn(call, 422, str(error), given)
    return back_to("/grants")


def _scope(given: Proposed) -> Scope:
    """Raises ValueError with a text for the person."""
    lists = {
        name: commas(getattr(given, name))
        for name in ("principals", "targets", "actions", "resources", "databases")
    }
    for name in ("principals", "targets", "actions", "resources"):
        if not lists[name]:
            raise ValueError(f"Name the {name}.")
    if bad := [one for one in lists["resources"] if one.count(".") not in {1, 2}]:
        raise ValueError(f"{bad[0]}: write schema.relation or schema.relation.column.")
    rows = given.rows_max.strip()
    if rows and not (rows.isascii() and rows.isdigit()):
        raise ValueError("The most rows is a number, or left empty.")
    return Scope(
        principals=lists["principals"],
        targets=lists["targets"],
        actions=tuple(one.lower() for one in lists["actions"]),
        resources=lists["resources"],
        databases=lists["databases"] or ("*",),
        rows_max=int(rows) if rows else None,
    )


def _until(given: Proposed, at: float) -> float:
    """Unix seconds. Raises ValueError with a text for the person."""
    if given.until:
        try:
            end = datetime.fromisoformat(given.until).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise ValueError("The end is a date and a time.") from None
    else:
        hours = given.hours.strip()
        if not (hours.isascii() and hours.isdigit()):
            raise ValueError("Say for how many hours.")
        end = at + int(hours) * 3600
    if not at < end <= at + HOURS_MAX * 3600:
        raise ValueError(f"It ends between now and {HOURS_MAX // 24} days from now.")
    return end


async def rule(call: Call) -> Response:
    given = call.body(Verdict)
    if given.verdict not in {"approve", "deny"}:
        return await _drawn(call, 422, "Choose to agree or to deny.")
    approve = given.verdict == "approve"
    await call.services.desk.rule_grant(call.person, call.path("id"), approve, given.reason.strip())
    return back_to("/grants")


async def revoke(call: Call) -> Response:
    reason = call.body(Said).reason.strip()
    await call.services.desk.revoke_grant(call.person, call.path("id"), reason)
    return back_to("/grants")


ROWS = (
    get("/grants", grants, ANY_ROLE),
    post("/grants", propose, Open.SIGNED_IN, Proposed),
    post("/grants/{id}/rule", rule, APPROVERS, Verdict),
    post("/grants/{id}/revoke", revoke, Open.SIGNED_IN, Said),
)
