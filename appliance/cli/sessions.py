"""`sallyport sessions list | kill`: who is connected now.

Wired into the command line by `cli/main`. Exit status: as `cli/approvals`.
"""

from typing import Annotated

from cyclopts import App, Parameter

from appliance.cli import remote
from appliance.cli.approvals import remote_time, who
from appliance.cli.login import Url
from appliance.cli.remote import Output, Remote, asking, segment

sessions_app = App(name="sessions", help="See and end live database sessions.")


@sessions_app.command(name="list")
@asking
def listed(*, url: Url = "", output: Output = "table") -> int:
    """List live sessions, those of all appliances on one store."""
    found = Remote(remote.chosen(url)).get("/api/v1/sessions")["sessions"]
    if output == "json":
        remote.show_json(found)
        return 0
    rows: list[tuple[object, ...]] = []
    for one in found:
        seen = one["seen"]
        rows.append(
            (
                seen["id"],
                who(seen),
                seen["target"],
                seen["address"],
                remote_time(seen["since"]),
                one.get("node", ""),
                seen.get("state", "idle"),
                seen.get("statement", "")[:80],
            )
        )
    remote.show_table(("ID", "WHO", "TARGET", "FROM", "SINCE", "NODE", "STATE", "STATEMENT"), rows)
    return 0


@sessions_app.command
@asking
def kill(
    id: str,
    /,
    *,
    reason: Annotated[str, Parameter(name=["--reason", "-r"])] = "",
    url: Url = "",
) -> int:
    """End a session now."""
    Remote(remote.chosen(url)).post(f"/api/v1/sessions/{segment(id)}/end", {"reason": reason})
    print(f"ended {remote.plain(id)}")
    return 0
