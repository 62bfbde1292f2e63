"""`sallyport approvals ...`: what is held, and what people say to it.

Wired into the command line by `cli/main`. Exit status: 0 done, 1 failed, 2 usage, 3 not allowed, 4
not found, 5 it was decided already (or cannot be as it is), 6 unreachable.
"""

import sys
import time
from typing import Annotated, Any, Literal

import msgspec
from cyclopts import App, Parameter

from appliance.cli import remote
from appliance.cli.login import Url
from appliance.cli.remote import Failed, Output, Remote, asking, plain, segment

approvals_app = App(name="approvals", help="See and decide what waits for an approval.")

ROOT = "/api/v1/requests"
StateName = Literal["pending", "approved", "denied", "expired", "withdrawn", "used"]
Reason = Annotated[str, Parameter(name=["--reason", "-r"], help="Words for whoever asked.")]


@approvals_app.command(name="list")
@asking
def listed(
    *,
    state: Annotated[StateName | None, Parameter(help="pending when left out.")] = None,
    everything: Annotated[bool, Parameter(name=["--all", "-a"], negative="")] = False,
    principal: str = "",
    limit: int = 100,
    url: Url = "",
    output: Output = "table",
) -> int:
    """List requests, newest first.

    Parameters
    ----------
    everything
        In whatever state.
    principal
        Only those of this one.
    """
    wanted = state or ("" if everything else "pending")
    server = Remote(remote.chosen(url))
    found = server.get(ROOT, state=wanted, principal=principal, limit=limit)["requests"]
    if output == "json":
        remote.show_json(found)
        return 0
    remote.show_table(
        ("ID", "STATE", "WHO", "TARGET", "EXPIRES", "STATEMENT"), [_line(one) for one in found]
    )
    return 0


@approvals_app.command
@asking
def show(id: str, /, *, url: Url = "", output: Output = "table") -> int:
    """Show a request in full."""
    _show(Remote(remote.chosen(url)).get(f"{ROOT}/{segment(id)}"), output)
    return 0


@approvals_app.command
@asking
def approve(id: str, /, *, reason: Reason = "", url: Url = "", output: Output = "table") -> int:
    """Let a statement run."""
    return _decide(id, "vote", {"approve": True, "reason": reason}, url, output)


@approvals_app.command
@asking
def deny(id: str, /, *, reason: Reason, url: Url = "", output: Output = "table") -> int:
    """Refuse it; whoever asked is told the reason."""
    return _decide(id, "vote", {"approve": False, "reason": reason}, url, output)


@approvals_app.command
@asking
def break_glass(id: str, /, *, reason: Reason, url: Url = "", output: Output = "table") -> int:
    """Approve a request of your own in an emergency: everybody is told, and it is recorded."""
    return _decide(id, "break-glass", {"reason": reason}, url, output)


@approvals_app.command
@asking
def withdraw(id: str, /, *, url: Url = "", output: Output = "table") -> int:
    """Take back a request of your own."""
    return _decide(id, "withdraw", None, url, output)


@approvals_app.command
@asking
def watch(
    *,
    url: Url = "",
    output: Annotated[Output, Parameter(help="json: one object a line.")] = "table",
    seconds: Annotated[float, Parameter(help="Stop after so long; 0 = never.")] = 0.0,
) -> int:
    """Print requests as they come and as they are decided, until interrupted."""
    server = Remote(remote.chosen(url))
    ends = time.monotonic() + seconds if seconds else float("inf")
    told: set[tuple[str, str]] = set()
    for change in server.events():
        if change["kind"] == "missed":
            for one in reversed(server.get(ROOT, state="pending")["requests"]):
                _tell(one, output, told)
        elif change["kind"].startswith("request_"):
            try:
                _tell(server.get(f"{ROOT}/{segment(change['id'])}"), output, told)
            except Failed as error:
                if error.status != remote.NOT_FOUND:
                    raise
        if time.monotonic() >= ends:
            break
    return 0


def _tell(request: dict[str, Any], output: Output, told: set[tuple[str, str]]) -> None:
    key = (request["asked"]["id"], _state(request))
    if key in told:
        return
    told.add(key)
    if output == "json":
        print(msgspec.json.encode(request).decode(), flush=True)
    else:
        print("  ".join(plain(cell) for cell in _line(request)), flush=True)


def _decide(id: str, what: str, body: object, url: str, output: Output) -> int:
    server = Remote(remote.chosen(url))
    _show(server.post(f"{ROOT}/{segment(id)}/{what}", body), output)
    return 0


def _line(request: dict[str, Any]) -> tuple[object, ...]:
    asked = request["asked"]
    return (
        asked["id"],
        _state(request),
        who(asked),
        asked["target"],
        remote_time(request["expires"]),
        " ".join(asked["sql"].split())[:80],
    )


def _state(request: dict[str, Any]) -> str:
    return str(request.get("state", "pending"))


def who(asked: dict[str, Any]) -> str:
    """Of a request or a session."""
    behalf = asked.get("on_behalf_of")
    return f"{asked['principal']} for {behalf}" if behalf else str(asked["principal"])


def remote_time(seconds: float | None) -> str:
    """Local time of unix seconds."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else "-"


def _show(request: dict[str, Any], output: Output) -> None:
    if output == "json":
        remote.show_json(request)
        return
    asked = request["asked"]
    votes = [
        f"{vote['person']} {'approved' if vote['approve'] else 'denied'}"
        + (" (break glass)" if vote.get("break_glass") else "")
        + (f": {vote['reason']}" if vote.get("reason") else "")
        for vote in request.get("votes", ())
    ]
    effect = asked.get("effect", {})
    needs = asked["terms"].get("needs", ())
    lines = [
        ("request", asked["id"]),
        ("state", _state(request)),
        ("expires", remote_time(request["expires"])),
        ("who", f"{who(asked)} ({asked['kind']}) from {asked.get('address', '')}"),
        ("client", asked.get("application", "")),
        ("where", f"{asked['target']} {asked.get('environment', '')} / {asked['database']}"),
        ("rules", ", ".join(need["rule"] for need in needs)),
        ("who agrees", "; ".join(_need(need) for need in needs)),
        ("reasons", "; ".join(asked.get("reasons", ()))),
        ("rows expected", effect.get("rows_counted", effect.get("rows_estimated", "unknown"))),
        ("rows at most", effect.get("rows_allowed")),
        ("about rows", effect.get("note", "")),
        ("does", "; ".join(_touch(touch) for touch in asked.get("touched", ()))),
        ("flags", ", ".join(flag.replace("_", " ") for flag in asked.get("flags", ()))),
        ("careful", _careful(asked)),
        ("votes", "; ".join(votes)),
        ("ended by", request.get("ended_by", "")),
        ("reason", request.get("reason", "")),
    ]
    for name, value in lines:
        if value not in ("", None):
            print(f"{name + ':':<15} {_one_line(value)}")
    print("statement:")
    for line in plain(asked["sql"]).split("\n"):  # indented: what it says is none of our lines
        print(f"  {line}")
    if asked.get("parameters"):
        print("parameters:")
    for number, one in enumerate(asked.get("parameters", ()), 1):
        print(f"  ${number} = {_value(one)}")
    sys.stdout.flush()


def _one_line(value: object) -> str:
    return plain(str(value).replace("\n", "?"))


def _value(parameter: dict[str, Any]) -> str:
    if parameter.get("null"):
        return "NULL"
    shown = parameter.get("shown")
    return "(hidden: the approval holds for this very value)" if shown is None else _quoted(shown)


def _quoted(text: str) -> str:
    """As one line, whose end is seen."""
    return "'" + plain(text.replace("'", "''").replace("\n", "\\n")) + "'"


def _need(need: dict[str, Any]) -> str:
    groups = " or ".join(need.get("groups", ()))
    return f"{need.get('approvals', 1)} from {groups or 'any approver'}"


def _touch(touch: dict[str, Any]) -> str:
    named = ".".join(part for part in (touch.get("schema"), touch.get("name")) if part)
    columns = ", ".join(touch.get("columns", ()))
    return " ".join((touch["action"], named, f"({columns})" if columns else "")).strip()


def _careful(asked: dict[str, Any]) -> str:
    """Why it may do more than is listed, '' = it does not."""
    if asked.get("complete", True):
        return ""
    called = ", ".join(asked.get("functions", ()))
    return f"it calls functions that are not known: {called}" if called else "not all is understood"
