"""Every policy that was ever brought: which is active since when and by whom, what differs, and
going back. See `frame`; whatever is done here is `desk.Policies`' to allow and record."""

import difflib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from starlette.responses import Response

from appliance.console.api.policy import ADMINS
from appliance.console.pages.frame import asked, back_to, draw, get, post
from appliance.console.table import ANY_ROLE, Call
from appliance.control.desk import Activation, PolicyText

DIFF_LINES_MAX = 5_000
CAUSES = {
    "files": "from the files",
    "activated": "activated",
    "rolled_back": "rolled back",
    "taken_back": "taken back: workers refused",
}


class Reason(msgspec.Struct, frozen=True):
    reason: str = ""


class RollBack(msgspec.Struct, frozen=True):
    reason: str = ""
    active: str = ""


class DiffLine(NamedTuple):
    """One line of a comparison. `kind`: added, removed, same, place"""

    kind: str
    text: str


async def listed(call: Call) -> Response:
    policies = call.services.policies
    history, applied = await policies.history(call.person)
    return draw(
        call,
        "policy_versions.html",
        "policy",
        versions=await policies.versions(call.person),
        history=history,
        applied=applied,
        current=history[0] if history else None,
        causes=CAUSES,
        by_person=by_person,
        may_change=not ADMINS.isdisjoint(call.person.roles),
        done=asked(call, "done"),
    )


def by_person(activation: Activation) -> bool:
    """Whether somebody chose it against what the files say."""
    return activation.cause in {"activated", "rolled_back"}


async def one(call: Call) -> Response:
    """A version, compared with `against`, or else with the one that is active, or was before it."""
    policies = call.services.policies
    shown = await policies.version(call.person, call.path("id"))
    history, _ = await policies.history(call.person)
    against = asked(call, "against") or _to_compare(shown, history)
    other = await policies.version(call.person, against) if against else None
    lines = [] if other is None else list(compared(other, shown))
    return draw(
        call,
        "policy_version.html",
        "policy",
        shown=shown,
        other=other,
        lines=lines[:DIFF_LINES_MAX],
        left_out=max(0, len(lines) - DIFF_LINES_MAX),
        may_change=not ADMINS.isdisjoint(call.person.roles),
        causes=CAUSES,
    )


def _to_compare(shown: PolicyText, history: list[Activation]) -> str:
    if not history:
        return ""
    current = history[0]
    return current.previous if shown.version.active else current.version


def compared(before: PolicyText, after: PolicyText) -> Iterator[DiffLine]:
    """What has to be changed in `before` to make `after`; no line when they are alike."""
    old, new = dict(before.documents), dict(after.documents)
    for name in dict.fromkeys((*old, *new)):
        found = difflib.unified_diff(
            *(old.get(name, "").splitlines(), new.get(name, "").splitlines()),
            *(name, name),
            lineterm="",
        )
        for place, line in enumerate(found):
            if place < 2:
                if place == 0:
                    yield DiffLine("place", name)
                continue
            yield DiffLine(_KINDS.get(line[:1], "same"), line)


_KINDS = {"+": "added", "-": "removed", "@": "place"}


async def activate(call: Call) -> Response:
    reason = call.body(Reason).reason
    await call.services.policies.activate(call.person, call.path("id"), reason)
    return back_to("/policy/versions?done=activated")


async def roll_back(call: Call) -> Response:
    wanted = call.body(RollBack)
    await call.services.policies.roll_back(call.person, wanted.reason, wanted.active)
    return back_to("/policy/versions?done=rolled_back")


ROWS = (
    get("/policy/versions", listed, ANY_ROLE),
    get("/policy/versions/{id}", one, ANY_ROLE),
    post("/policy/versions/{id}/activate", activate, ADMINS, Reason, 60.0),
    post("/policy/rollback", roll_back, ADMINS, RollBack, 60.0),
)
