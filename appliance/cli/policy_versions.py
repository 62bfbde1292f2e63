"""`sallyport policy versions | show | activate | rollback`: the policies that the control process
keeps, and which of them is active.

Part of `policy` (`policy_app`), which imports it. Exit status: as `cli/approvals`.
"""

import difflib
import sys
from typing import Annotated, Any

from cyclopts import Parameter

from appliance.cli import remote
from appliance.cli.approvals import remote_time
from appliance.cli.login import Url
from appliance.cli.remote import Output, Remote, asking, plain, segment

ROOT = "/api/v1/policy"
Reason = Annotated[str, Parameter(name=["--reason", "-r"], help="Why; goes into the audit trail.")]
SHORT = 16
"""Digits of a version that are shown; statements' records say as many."""


@asking
def versions(*, limit: int = 50, url: Url = "", output: Output = "table") -> int:
    """List every policy that was ever brought, newest first, and what was active when."""
    server = Remote(remote.chosen(url))
    found = server.get(f"{ROOT}/versions", limit=limit)["versions"]
    history = server.get(f"{ROOT}/history", limit=limit)
    if output == "json":
        remote.show_json({"versions": found, **history})
        return 0
    remote.show_table(
        ("VERSION", "", "BROUGHT", "BY", "TESTS", "LAST ACTIVE"), [_line(one) for one in found]
    )
    for one in history["applied"]:
        if one["error"]:
            print(f"{plain(one['node'])} does not go by it: {plain(one['error'])}")
    return 0


def _line(one: dict[str, Any]) -> tuple[object, ...]:
    tested, activated = one["tested"], one["activated"]
    cases, failed = tested.get("cases", 0), tested.get("failed", 0)
    last = "never"
    if activated is not None:
        last = f"{remote_time(activated['time'])} {activated['cause']} by {activated['by']}"
    return (
        one["id"][:SHORT],
        "active" if one["active"] else "",
        remote_time(one["made"]),
        one["brought_by"],
        f"{cases - failed}/{cases}" if cases else "-",
        last,
    )


def show_version(url: str, id: str, against: str, output: str) -> int:
    """One version, or what it changes against another. Raises Failed."""
    server = Remote(remote.chosen(url))
    found = server.get(f"{ROOT}/versions/{segment(id)}")
    if output == "json":
        remote.show_json(found)
        return 0
    if against:
        _print_difference(server.get(f"{ROOT}/versions/{segment(against)}"), found)
        return 0
    version = found["version"]
    state = ", active" if version["active"] else ""
    print(f"# version {version['id']}{state}, brought by {plain(version['brought_by'])}")
    for name, text in found["documents"]:
        print(f"# {plain(name)}")
        sys.stdout.write(plain(text).rstrip("\n") + "\n")
    return 0


def _print_difference(before: dict[str, Any], after: dict[str, Any]) -> None:
    old, new = dict(before["documents"]), dict(after["documents"])
    for name in dict.fromkeys((*old, *new)):
        lines = difflib.unified_diff(
            *(old.get(name, "").splitlines(), new.get(name, "").splitlines()),
            f"{before['version']['id'][:SHORT]} {name}",
            f"{after['version']['id'][:SHORT]} {name}",
            lineterm="",
        )
        for line in lines:
            print(plain(line))


@asking
def activate(id: str, /, *, reason: Reason, url: Url = "", output: Output = "table") -> int:
    """Make a version the active one, for everybody, now.

    Parameters
    ----------
    id
        As `policy versions` shows it; 8 digits or more.
    """
    path = f"{ROOT}/versions/{segment(id)}/activate"
    made = Remote(remote.chosen(url)).post(path, {"reason": reason})
    return _told(made, output)


@asking
def rollback(*, reason: Reason, url: Url = "", output: Output = "table") -> int:
    """Make the version before active again. Recorded as a rollback, under your name."""
    server = Remote(remote.chosen(url))
    history = server.get(f"{ROOT}/history", limit=1)["activations"]
    active = history[0]["version"] if history else ""
    made = server.post(f"{ROOT}/rollback", {"reason": reason, "active": active})
    return _told(made, output)


def _told(made: dict[str, Any], output: str) -> int:
    if output == "json":
        remote.show_json(made)
    else:
        before = made["previous"][:SHORT] or "none"
        print(f"active: {made['version'][:SHORT]} (before: {before})")
    return 0
