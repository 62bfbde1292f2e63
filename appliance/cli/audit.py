"""`sallyport audit tail | search | show | verify`: reads the trail, needs no running appliance;
with `--url` it asks one.

Wired into the command line by `cli/main` (`audit_app`). What is heavy is imported where it is used.
Exit status: 0 fine, 1 the trail does not hold, 2 it could not be read; with `--url` as
`cli/approvals`.
"""

import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from appliance.cli.remote import asking

if TYPE_CHECKING:
    from appliance.audit.lines import Layout, People
    from appliance.audit.query import Story
    from appliance.audit.verify import Report
    from appliance.spool.trail_folder import FolderTrail, Follower

audit_app = App(name="audit", help="Read, search and verify the audit trail.")

Output = Literal["table", "json", "ndjson"]
Folder = Annotated[
    Path,
    Parameter(name="--data", env_var="SALLYPORT_DATA", help="The appliance's data folder."),
]
Where = Annotated[
    str,
    Parameter(
        name="--url",
        help="Ask the appliance there instead of reading files; `login` = where one is signed in.",
    ),
]
DEFAULT_FOLDER = Path("/var/lib/sallyport")
WIDTH = 120
POLL_SECONDS = 0.25
ASK_SECONDS = 2.0
_RELATIVE = re.compile(r"(\d+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COLOURS = {"deny": 31, "refuse": 31, "hold": 33, "allow": 32}


@audit_app.command
@asking
def tail(
    *,
    data: Folder = DEFAULT_FOLDER,
    n: Annotated[int, Parameter(name=["-n", "--lines"])] = 20,
    follow: Annotated[bool, Parameter(name=["-f", "--follow"])] = False,
    everything: Annotated[bool, Parameter(name=["-a", "--all"])] = False,
    url: Where = "",
    output: Output = "table",
) -> int:
    """Show the newest records.

    Parameters
    ----------
    n
        How many.
    follow
        Go on with new ones until interrupted.
    everything
        Also statements that were only prepared.
    output
        table, json (one array) or ndjson.
    """
    from appliance.audit.query import Criteria, recent
    from appliance.spool.trail_folder import Follower

    if url:
        return _tail_elsewhere(url, max(1, n), follow, everything, output)
    trail = _trail(data)
    if trail is None:
        return 2
    criteria = Criteria(prepared=everything)
    if not follow:
        _print(recent(trail, criteria, max(0, n)), output)
        return 0
    follower = Follower(trail, criteria)  # before the newest are read: none is missed in between
    stories = recent(trail, criteria, max(0, n))
    people = _print(stories, "ndjson" if output == "json" else output, follow=True)
    _follow(follower, {s.reference for s in stories if s.finished}, output, people)
    return 0


def _tail_elsewhere(url: str, n: int, follow: bool, everything: bool, output: Output) -> int:
    """Of a running appliance, asked again and again when one follows. Raises Failed."""
    from appliance.audit.lines import Layout
    from appliance.cli.elsewhere import stories

    newest = stories(url, n, prepared=everything)
    people = _print(newest, "ndjson" if follow and output == "json" else output, follow=follow)
    shown = {story.reference: bool(story.finished) for story in newest}
    layout = Layout(_width())
    while follow:
        time.sleep(ASK_SECONDS)
        since = newest[-1].record.time - ASK_SECONDS if newest else time.time() - ASK_SECONDS
        for story in stories(url, FOLLOWED_MAX, since=since, prepared=everything):
            if shown.get(story.reference) is None:
                shown[story.reference] = bool(story.finished)
                newest = [story]
                if output == "table":
                    _print_line(story, layout, people)
                else:
                    print(_document(story), flush=True)
    return 0


FOLLOWED_MAX = 500
"""Records asked for at once."""


def _follow(follower: "Follower", shown: set[str], output: Output, people: "People") -> None:
    """Prints stories as they complete, until interrupted."""
    from appliance.audit.lines import Layout

    layout = Layout(_width())
    try:
        while True:
            for story in follower.read():
                if story.reference in shown:
                    continue
                if output == "table":
                    _print_line(story, layout, people)
                else:
                    print(_document(story), flush=True)
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        return


@audit_app.command
@asking
def search(
    *,
    data: Folder = DEFAULT_FOLDER,
    principal: str = "",
    target: str = "",
    action: str = "",
    rule: str = "",
    effect: Literal["allow", "deny", "hold", "refuse"] | None = None,
    since: str = "",
    until: str = "",
    text: str = "",
    session: str = "",
    limit: int = 1000,
    url: Where = "",
    output: Output = "table",
) -> int:
    """Find records; all conditions must hold.

    Parameters
    ----------
    principal
        Who, or on whose behalf, or whom a failed login claimed to be.
    target
        Name of the governed database.
    action
        What the statement does: select, delete, drop, copy_to, ...
    rule
        Id of a policy rule or guard that matched or owed a mask.
    effect
        allow, deny, hold, or refuse (allowed by policy, impossible to let through safely).
    since
        A time (ISO 8601, UTC unless it says otherwise) or an age: 15m, 2h, 7d.
    until
        Likewise.
    text
        Part of the redacted SQL, in any case.
    session
        A session's id.
    limit
        The newest so many.
    output
        table, json (one array) or ndjson.
    """
    from appliance.audit.query import Criteria
    from appliance.audit.query import search as search_trail

    try:
        begin, end = _moment(since), _moment(until)
    except ValueError as error:
        return _complain(str(error))
    criteria = Criteria(principal, target, action, rule, effect or "", text, session, begin, end)
    if url:
        from appliance.cli.elsewhere import stories as ask_for

        asked = {name: getattr(criteria, name) for name in criteria.__struct_fields__}
        stories = ask_for(url, limit, **asked)
    else:
        trail = _trail(data)
        if trail is None:
            return 2
        stories = search_trail(trail, criteria, limit)
    _print(stories, output)
    if len(stories) == limit:
        print(f"only the newest {limit} are shown; see --limit", file=sys.stderr)
    return 0


@audit_app.command
@asking
def show(reference: str, /, *, data: Folder = DEFAULT_FOLDER, url: Where = "") -> int:
    """Show one statement in full: decision, end and session.

    Parameters
    ----------
    reference
        The REF column (worker:number), a record's id, or a session's id for all of that session.
    """
    from appliance.audit.query import find
    from appliance.audit.record import SessionOpened

    if url:
        from appliance.cli.elsewhere import named

        for story in named(url, reference):
            print(_document(story, indent=True))
        return 0
    trail = _trail(data)
    if trail is None:
        return 2
    stories = find(trail, reference)
    if not stories:
        return _complain(f"no record has the reference {reference!r}")
    if len(stories) == 1 and stories[0].record.session:
        opening = find(trail, stories[0].record.session)
        stories += [s for s in opening if isinstance(s.record, SessionOpened)][:1]
    for story in stories:
        print(_document(story, indent=True))
    return 0


@audit_app.command
@asking
def verify(
    folder: Path | None = None,
    /,
    *,
    data: Folder = DEFAULT_FOLDER,
    public_key: Path | None = None,
    witness: tuple[Path, ...] = (),
    archived: bool = False,
    control: Annotated[str, Parameter(name="--control")] = "",
    url: Where = "",
    output: Literal["table", "json"] = "table",
) -> int:
    """Prove that no record was altered, removed, inserted, reordered or cut off.

    Works offline. Exit code 0: complete and unaltered; 1: it is not; 2: it could not be checked.

    Parameters
    ----------
    folder
        The audit folder, or a data folder that holds one; the data folder's when not given.
    public_key
        PEM file of the auditor's own copy of the public key (several keys may follow one another).
        Without it the key beside the trail is used, which proves nothing against its keeper.
    witness
        A copy of a worker's head.json kept elsewhere: the trail must still reach that far.
    archived
        Older segments were moved away: let chains begin later than with record 1.
    control
        URL of the control process (`login` = where one is signed in): the trail must reach as far
        as that has seen each chain come, and no chain may be gone. Without --public-key, the keys
        that it has seen count, too: also those from before a change of keys.
    url
        What the appliance there says of its own trail, which proves nothing against its keeper.
    output
        table or json.
    """
    from appliance.audit import checkpoint
    from appliance.audit.verify import verify_trail
    from appliance.cli.elsewhere import seen_at
    from appliance.control.witness import key_file as keys_of
    from appliance.control.witness import witnesses as witnesses_of

    if url:
        from appliance.cli.elsewhere import proof

        return _told_report(proof(url), output, own_key=False)
    trail = _trail(data, folder)
    if trail is None:
        return 2
    key_file = public_key or trail.folder.parent / "keys" / "audit-ed25519.pub"
    try:
        pem = key_file.read_bytes()
        witnesses = [checkpoint.read(path.read_bytes()) for path in witness]
        if control:  # asked before the trail is read: a live chain only grows
            seen = seen_at(control)
            witnesses += witnesses_of(seen)
            pem = pem if public_key else keys_of(seen, pem)
        keys = checkpoint.public_keys(pem)
        report = verify_trail(trail, keys, witnesses, archived)
    except (OSError, ValueError) as error:
        return _complain(f"cannot check: {error}")
    return _told_report(report, output, own_key=public_key is not None)


def _told_report(report: "Report", output: str, own_key: bool) -> int:
    """Printed -> the exit status."""
    import msgspec

    if output == "json":
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        _print_report(report, own_key)
    return report.exit_code


def _print_report(report: "Report", own_key: bool) -> None:
    from appliance.audit.lines import printable

    for chain in report.chains:
        print(
            f"worker {chain.worker}: {chain.records} records in {chain.segments} segments "
            f"({chain.sealed} sealed), signed up to record {chain.signed} of {chain.last}"
        )
    print(
        f"statements: {report.decided} decided, {report.finished} finished, "
        f"{report.unfinished} without an end on record"
    )
    print(f"keys: {', '.join(report.keys)}{'' if own_key else ' (from beside the trail)'}")
    for finding in report.findings:
        place = f" {finding.segment}" if finding.segment else ""
        place += f" line {finding.line}" if finding.line else ""
        kind = "ERROR" if finding.error else "note "
        text = f"{kind} {finding.code}: worker {finding.worker}{place}: {finding.text}"
        print(printable(text))
    more = report.errors + report.notes - len(report.findings)
    if more:
        print(f"... and {more} more")
    verdict = f"FAILED: {report.errors} errors" if report.errors else "OK: complete and unaltered"
    print(verdict)


def _trail(data: Path, folder: Path | None = None) -> "FolderTrail | None":
    from appliance.spool.trail_folder import FolderTrail

    root = folder or data
    chosen = root / "audit" if (root / "audit").is_dir() else root
    if not chosen.is_dir():
        _complain(f"there is no folder {chosen}; see --data or SALLYPORT_DATA")
        return None
    if folder is None and chosen == root:
        _complain(f"there is no audit trail in {root}; see --data or SALLYPORT_DATA")
        return None
    return FolderTrail(chosen)


def _complain(text: str) -> int:
    from appliance.audit.lines import printable

    print(f"sallyport audit: {printable(text)}", file=sys.stderr)
    return 2


def _moment(text: str) -> float | None:
    """Unix seconds of an ISO 8601 time or an age; None for ''. Raises ValueError."""
    if not text:
        return None
    age = _RELATIVE.fullmatch(text)
    if age:
        return time.time() - int(age.group(1)) * _SECONDS[age.group(2)]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is neither a time (2026-01-31T12:00) nor an age (2h)") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _print(stories: "list[Story]", output: Output, follow: bool = False) -> "People":
    """Returns whose sessions the lines told of, for lines that follow."""
    from appliance.audit.lines import Layout, People, heading, layout_for

    people = People()
    if output == "json":
        print("[" + ",\n".join(_document(s) for s in stories) + "]")
    elif output == "ndjson":
        for story in stories:
            print(_document(story), flush=True)
    else:
        layout = Layout(_width()) if follow else layout_for(stories, _width())
        print(heading(layout), flush=True)
        for story in stories:
            _print_line(story, layout, people)
    return people


def _print_line(story: "Story", layout: "Layout", people: "People") -> None:
    from appliance.audit.lines import line

    text = line(story, layout, people)
    if sys.stdout.isatty():
        text = f"\x1b[{_COLOURS.get(story.effect, 2)}m{text}\x1b[0m"
    print(text, flush=True)


def _width() -> int:
    import shutil

    return max(100, shutil.get_terminal_size((WIDTH, 40)).columns) if sys.stdout.isatty() else WIDTH


def _document(story: "Story", indent: bool = False) -> str:
    """One story as JSON: reference, record, finish (null when there is none)."""
    import msgspec

    encoded = msgspec.json.encode(
        {"reference": story.reference, "record": story.record, "finished": story.finished}
    )
    return (msgspec.json.format(encoded) if indent else encoded).decode()
