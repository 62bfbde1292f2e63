"""Stories as lines of a table for a terminal. Called by `cli/audit` and the demo's tour; pure.

Rule: nothing from a record reaches the terminal but printable characters.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec

from appliance.audit.query import Story
from appliance.audit.record import (
    AdminActed,
    ChangeUnstored,
    ClassificationProposed,
    ConfigurationChanged,
    ControlStarted,
    ControlStopped,
    DryRunBegun,
    DryRunEnded,
    Entry,
    GrantProposed,
    GrantRuled,
    LoginFailed,
    PolicyChanged,
    PolicyVersionActivated,
    PolicyVersionRefused,
    PolicyVersionStored,
    RequestEscalated,
    RequestMade,
    RequestRuled,
    RequestUsed,
    RequestVoted,
    SegmentOpened,
    SessionClosed,
    SessionOpened,
    SignedIn,
    SignedOut,
    SignInFailed,
    SpoolRecovered,
    StatementDecided,
    StatementFinished,
    TrailDoubted,
    WorkerStarted,
    WorkerStopped,
)

SESSIONS_MAX = 10_000
_CHANGED = re.compile(r"(?:INSERT \d+|UPDATE|DELETE|MERGE|COPY) (\d+)")
"""CommandComplete's tag (PostgreSQL protocol, message formats) of what changes rows."""


class People:
    """Whose the sessions of one output are, as far as its earlier lines have told."""

    def __init__(self) -> None:
        self._sessions: dict[str, str] = {}

    def who(self, story: Story) -> str:
        """`principal`, `agent>person`, `?claimed`, or '' when it is not known."""
        record = story.record
        match record:
            case StatementDecided() | SessionOpened() | RequestMade():
                behalf = record.on_behalf_of
                name = f"{record.principal}>{behalf}" if behalf else record.principal
                self._remember(record.session, name)
                return name
            case SessionClosed():
                return self._sessions.pop(record.session, "")
            case LoginFailed() | SignInFailed():
                return f"?{record.claimed}"
            case RequestVoted() | GrantProposed() | SignedIn() | SignedOut() | AdminActed():
                return record.person
            case RequestRuled() | GrantRuled() | PolicyVersionActivated() | PolicyVersionRefused():
                return record.by
            case _:
                return ""

    def _remember(self, session: str, name: str) -> None:
        self._sessions.setdefault(session, name)
        if len(self._sessions) > SESSIONS_MAX:  # `tail --follow` runs for months
            del self._sessions[next(iter(self._sessions))]


class Layout(msgspec.Struct, frozen=True):
    """Column widths in characters; what is left of `width` is the text's."""

    width: int = 120
    reference: int = 9
    who: int = 15
    effect: int = 6
    rule: int = 18
    rows: int = 7
    masked: int = 6

    @property
    def text(self) -> int:
        taken = 14 + self.reference + self.who + self.effect + self.rule + self.rows + self.masked
        return max(20, self.width - taken - 7)


def layout_for(stories: Iterable[Story], width: int) -> Layout:
    """A layout no wider than these stories need."""
    who, rule, reference = [3], [4], [3]
    people = People()
    for story in stories:
        who.append(len(people.who(story)))
        rule.append(len(story.rule))
        reference.append(len(story.reference))
    return Layout(
        width=width, reference=max(reference), who=min(18, max(who)), rule=min(24, max(rule))
    )


def heading(layout: Layout) -> str:
    cells = ("REF", "TIME (UTC)", "WHO", "EFFECT", "RULE", "WHAT", "ROWS", "MASKED")
    return _join(layout, cells)


def line(story: Story, layout: Layout, people: People | None = None) -> str:
    """REF TIME WHO EFFECT RULE WHAT ROWS MASKED, cut and padded to the layout. With one `people`
    for a whole output, the end of a session says whose it was."""
    time = datetime.fromtimestamp(story.record.time, UTC).strftime("%m-%d %H:%M:%S")
    rows, masked = _sums(story)
    return _join(
        layout,
        (
            story.reference,
            time,
            (people or People()).who(story),
            story.effect,
            story.rule,
            what(story),
            rows,
            masked,
        ),
    )


def what(story: Story) -> str:
    """The redacted SQL on one line, or what else happened."""
    record = story.record
    match record:
        case StatementDecided():
            return " ".join(record.statement.sql.split()) or "(empty)"
        case SessionOpened():
            client = record.client
            tls = " tls" if client.tls else ""
            return (
                f"-- connected to {record.target}/{record.database} as {record.upstream_user} "
                f"({record.auth.value}{tls}, {client.address}, {client.application or '-'})"
            )
        case SessionClosed():
            return f"-- disconnected: {record.reason}, {record.statements} statements"
        case LoginFailed():
            return f"-- login failed: {record.reason} ({record.client.address})"
        case ClassificationProposed():
            return (
                f"-- {record.target}/{record.database}: {record.column} looks like "
                f"{record.classification} in {record.share:.0%} of {record.sampled} sampled "
                "values: classify?"
            )
        case PolicyChanged() | ConfigurationChanged():
            name = "policy" if isinstance(record, PolicyChanged) else "configuration"
            version = record.version if isinstance(record, PolicyChanged) else record.digest[:12]
            return f"-- {name} {version} {'in force' if record.accepted else 'rejected'}"
        case WorkerStarted():
            return f"-- worker {record.worker} started (pid {record.pid}, {record.version})"
        case WorkerStopped():
            return f"-- worker {record.worker} stopped: {record.reason}"
        case SpoolRecovered():
            return f"-- audit trail recovered: {record.cause}"
        case SegmentOpened():
            return f"-- segment {record.segment}"
        case StatementFinished():
            return f"-- finished {record.decided}"
        case _:
            return f"-- {_approval(record) or _administration(record)}"


def _approval(record: Entry) -> str:
    """What a record about a held statement or a standing grant says, '' for any other. Its long
    id comes last, where a narrow line cuts."""
    match record:
        case RequestMade():
            return f"asks for {' '.join(record.sql.split())} (request {record.request})"
        case DryRunBegun():
            sql = " ".join(record.statement.sql.split())
            return f"run and rolled back, to count: {sql} (request {record.request})"
        case DryRunEnded():
            came = record.sqlstate or f"{record.rows} rows"
            return f"rolled back, {record.outcome.value}: {came}"
        case RequestVoted():
            word = "agrees" if record.approve else "against"
            loud = "BROKE THE GLASS" if record.break_glass else word
            return f"{loud}{_because(record.reason)} (request {record.request})"
        case RequestRuled():
            return f"{record.state}{_because(record.reason)} (request {record.request})"
        case RequestEscalated():
            return f"escalated to {', '.join(record.groups) or '-'} (request {record.request})"
        case RequestUsed():
            return f"approval used, {record.used} of {record.uses} (request {record.request})"
        case GrantProposed():
            scope = f"{', '.join(record.actions)} on {', '.join(record.resources)}"
            who = ", ".join(record.principals)
            return f"grant {record.grant} proposed: {who}: {scope}{_because(record.reason)}"
        case GrantRuled():
            return f"grant {record.grant} {record.state}{_because(record.reason)}"
        case _:
            return ""


def _administration(record: Entry) -> str:
    """Likewise for what people and the control process itself did."""
    match record:
        case SignedIn():
            return f"signed in by {record.method} ({record.address or '-'})"
        case SignInFailed():
            return f"sign-in failed: {record.reason} ({record.address or '-'})"
        case SignedOut():
            return f"signed out: {record.reason or 'asked'}"
        case AdminActed():
            return f"{record.action} {record.subject or record.session}{_because(record.reason)}"
        case PolicyVersionStored():
            return f"policy {record.version[:16]} stored ({record.by})"
        case PolicyVersionActivated():
            word = "ROLLED BACK TO" if record.cause == "rolled_back" else "in force:"
            return f"policy {word} {record.version[:16]} ({record.cause}){_because(record.reason)}"
        case PolicyVersionRefused():
            return f"policy {record.version[:16]} refused{_because(record.reason)}"
        case TrailDoubted():
            where = f"chain {record.worker} of {record.node}"
            return f"AUDIT TRAIL DOUBTED: {where}: {record.cause}, seen up to {record.seen}"
        case ControlStarted():
            return f"control started on {record.node} (pid {record.pid}, {record.store})"
        case ControlStopped():
            return f"control stopped on {record.node}: {record.reason}"
        case ChangeUnstored():
            return f"NOT SO, or not known to be: {', '.join(record.records)} ({record.reason})"
        case _:
            return ""


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def printable(text: str) -> str:
    """Without anything that could steer a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _sums(story: Story) -> tuple[str, str]:
    finished = story.finished
    if finished is None:
        return "", ""
    if finished.outcome.value != "completed":
        return finished.sqlstate or finished.outcome.value, str(finished.cells_masked or "")
    return str(finished.rows or _changed(finished.command_tag)), str(finished.cells_masked or "")


def _changed(tag: str) -> int:
    """Rows that a statement changed without returning them."""
    found = _CHANGED.fullmatch(tag)
    return int(found.group(1)) if found else 0


def _join(layout: Layout, cells: tuple[str, ...]) -> str:
    reference, time, who, effect, rule, text, rows, masked = (printable(cell) for cell in cells)
    return " ".join(
        (
            reference.ljust(layout.reference),  # never cut: it is there to be typed
            _fit(time, 14),
            _fit(who, layout.who),
            _fit(effect, layout.effect),
            _fit(rule, layout.rule),
            _fit(text, layout.text),
            _fit(rows, layout.rows, right=True),
            _fit(masked, layout.masked, right=True),
        )
    ).rstrip()


def _fit(text: str, width: int, right: bool = False) -> str:
    if len(text) > width:
        return text[: width - 1] + "…"
    return text.rjust(width) if right else text.ljust(width)
