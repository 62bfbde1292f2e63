"""`sallyport grants ...`: what somebody may do for a while without asking each time.

Wired into the command line by `cli/main`. Exit status: as `cli/approvals`.
"""

import re
import time
from datetime import datetime
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from appliance.cli import remote
from appliance.cli.approvals import Reason, remote_time
from appliance.cli.login import Url
from appliance.cli.remote import USAGE, Failed, Output, Remote, asking, segment

grants_app = App(name="grants", help="Propose, decide and revoke standing grants.")

ROOT = "/api/v1/grants"
Several = Parameter(negative="", consume_multiple=True)
AGE = re.compile(r"(\d{1,6})([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@grants_app.command(name="list")
@asking
def listed(
    *,
    state: Literal["proposed", "active", "denied", "revoked", "expired"] | None = None,
    limit: int = 100,
    url: Url = "",
    output: Output = "table",
) -> int:
    """List standing grants, newest first."""
    found = Remote(remote.chosen(url)).get(ROOT, state=state, limit=limit)["grants"]
    if output == "json":
        remote.show_json(found)
        return 0
    remote.show_table(
        ("ID", "STATE", "WHO", "MAY", "ON", "UNTIL", "PROPOSED BY"), [_line(one) for one in found]
    )
    return 0


@grants_app.command
@asking
def propose(
    *,
    principal: Annotated[list[str], Several],
    target: Annotated[list[str], Several],
    action: Annotated[list[str], Several],
    resource: Annotated[list[str], Several],
    until: str,
    reason: Annotated[
        str, Parameter(name=["--reason", "-r"], help="What it is for; who agrees reads it.")
    ],
    database: Annotated[list[str] | None, Several] = None,
    rows_max: int | None = None,
    url: Url = "",
    output: Output = "table",
) -> int:
    """Propose a standing grant; somebody else has to agree.

    Parameters
    ----------
    principal
        Who may, patterns (*, ?); several may be given.
    target
        On which governed databases.
    action
        E.g. update; `select` too, for what a WHERE reads.
    resource
        schema.relation or schema.relation.column.
    until
        A time (2026-01-31T18:00, local unless it says otherwise) or how long from now: 90m, 8h.
    database
        Any when left out.
    rows_max
        Requests expected to touch more rows are outside.
    """
    scope: dict[str, Any] = {
        "principals": principal,
        "targets": target,
        "actions": action,
        "resources": resource,
    }
    if database:
        scope["databases"] = database
    if rows_max is not None:
        scope["rows_max"] = rows_max
    body = {"scope": scope, "until": moment(until), "reason": reason}
    _show(Remote(remote.chosen(url)).post(ROOT, body), output)
    return 0


@grants_app.command
@asking
def approve(id: str, /, *, reason: Reason = "", url: Url = "", output: Output = "table") -> int:
    """Agree to a proposed grant."""
    return _decide(id, "rule", {"approve": True, "reason": reason}, url, output)


@grants_app.command
@asking
def deny(id: str, /, *, reason: Reason, url: Url = "", output: Output = "table") -> int:
    """Turn a proposed grant down."""
    return _decide(id, "rule", {"approve": False, "reason": reason}, url, output)


@grants_app.command
@asking
def revoke(id: str, /, *, reason: Reason = "", url: Url = "", output: Output = "table") -> int:
    """End a grant now, for the next statement of live sessions, too."""
    return _decide(id, "revoke", {"reason": reason}, url, output)


def moment(text: str) -> float:
    """Unix seconds. Raises Failed."""
    if age := AGE.fullmatch(text):
        return time.time() + int(age[1]) * SECONDS[age[2]]
    try:
        return datetime.fromisoformat(text).astimezone().timestamp()
    except (ValueError, OverflowError):
        raise Failed(USAGE, f"--until {text}: a time (2026-01-31T18:00) or 90m, 8h, 2d") from None


def _decide(id: str, what: str, body: object, url: str, output: Output) -> int:
    _show(Remote(remote.chosen(url)).post(f"{ROOT}/{segment(id)}/{what}", body), output)
    return 0


def _show(grant: dict[str, Any], output: Output) -> None:
    if output == "json":
        remote.show_json(grant)
        return
    heading = ("id", "state", "who", "may", "on", "until", "proposed by")
    for name, value in zip(heading, _line(grant), strict=True):
        print(f"{name + ':':<13} {remote.plain(value)}")


def _line(grant: dict[str, Any]) -> tuple[object, ...]:
    scope = grant["scope"]
    return (
        grant["id"],
        grant.get("state", "proposed"),
        ",".join(scope["principals"]),
        f"{','.join(scope['actions'])} {','.join(scope['resources'])}",
        ",".join(scope["targets"]),
        remote_time(grant["until"]),
        grant["proposed_by"],
    )
