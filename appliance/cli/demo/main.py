"""`sallyport demo`: stage, tour, and then it stays up for whoever wants to look around.

Wired into the command line by `cli/main` (`demo_app`). Ctrl-C or SIGTERM ends all it started.
"""

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from appliance.config.spoken import SpokenName

if TYPE_CHECKING:
    from appliance.cli.demo.page import Page
    from appliance.cli.demo.stage import Stage

demo_app = App(name="demo", help="A governed sample database and a guided tour.")

DEFAULT_FOLDER = Path(".demo")
UPDATE = "UPDATE orders SET status = 'paid' WHERE id = 7"
WHO = {
    "alice": "an analyst: masked",
    "bob": "a DBA in the group privacy: raw",
    "copilot": "an AI agent for alice; its password is a token",
    "direct": "round Sallyport, to compare",
}
ENDING = (signal.SIGINT, signal.SIGTERM)


@demo_app.default
def demo(
    *,
    database: SpokenName = "postgresql",
    folder: Annotated[Path, Parameter(name="--folder")] = DEFAULT_FOLDER,
    listen: str = "",
    tour_only: bool = False,
    tour: bool = True,
) -> int:
    """Start a server with a sample database and Sallyport in front of it; show it.

    Exit status 1 when a step of the tour did not show what it should, or nothing could be started.

    Parameters
    ----------
    database
        Of which kind; one that is not embedded has to be installed, or unpacked, here.
    folder
        Where everything is made; what an earlier demo left there is replaced.
    listen
        host:port for clients. Without it the usual port on 127.0.0.1, or a free one.
    tour_only
        End after the tour.
    tour
        With --no-tour: start everything, show nothing.
    """
    from appliance.cli.demo.child import NotReady
    from appliance.cli.demo.page import Page
    from appliance.cli.demo.stage import StageTaken, stage
    from appliance.cli.demo.unprivileged import CannotRun

    for number in ENDING:
        signal.signal(number, _interrupt)
    page = Page()
    started = time.monotonic()
    try:
        with stage(folder, database, listen) as built:
            page.line(f"Up after {time.monotonic() - started:.1f} s, all in {built.folder}")
            failures = _tour(built, page) if tour or tour_only else []
            if not tour_only:
                _stay(built, page)
            return 1 if failures else 0
    except (StageTaken, CannotRun, NotReady) as error:
        print(f"sallyport demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        page.line("\nEnded; nothing is left running.")
        return 0


def _tour(built: "Stage", page: "Page") -> list[str]:
    from appliance.cli.demo.tour import steps, walk

    failures = walk(built, page)
    page.verdict(failures, steps(built))
    return failures


def _stay(built: "Stage", page: "Page") -> None:
    """Says how to go on by hand, then waits for Ctrl-C."""
    env, command = _shown(built.folder / "env"), _shown(_command())
    page.box(
        "Now you (Ctrl-C ends everything)",
        [
            f". {env}",
            *(f"{built.sample.shell(name)}    # {who}" for name, who in WHO.items()),
            f"{command} audit tail --follow   # in another terminal",
            "",
            *_approving(built, command),
            "",
            f"Configuration: {_shown(built.config)}, policy: {_shown(built.policy)}",
            f"Change the policy, `kill -HUP {built.pid}`, ask again.",
            built.sample.NO_CLIENT,
        ],
    )
    while True:
        signal.pause()


def _approving(built: "Stage", command: str) -> list[str]:
    """How to be asked, and to decide: on the command line and in a browser."""
    from appliance.cli.demo.approvals import AGENT
    from appliance.cli.demo.stage import APPROVER

    approver, viewer = built.people[APPROVER], built.people["alice"]
    return [
        f"{built.sample.shell(AGENT, UPDATE)}   # waits for:",
        f"{command} approvals list    # as {APPROVER}, whose token env exports",
        f"{command} approvals approve ID",
        "",
        f"Console: {built.login.url}   (your browser does not know the demo's authority and warns)",
        f"    {approver.name:6} {approver.secret}   decides, ends sessions, reads the trail",
        f"    {viewer.name:6} {viewer.secret}   looks on",
    ]


def _command() -> Path:
    from appliance.cli.demo.stage import SALLYPORT

    return SALLYPORT


def _shown(path: Path) -> str:
    """Relative to where the user is, when it is below."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """The first signal ends the demo; later ones must not break its clearing up (which is
    bounded)."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
