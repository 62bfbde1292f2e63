"""Reads a trail for people and programs: records joined into stories, filtered, newest last.

Called by `cli/audit`; pure over a `Trail`. A *story* is one record, for a statement together with
its finish. Unreadable lines are skipped and counted here; judging them is `verify`'s work.
"""

import heapq
from collections.abc import Callable, Iterator

import msgspec

from appliance.audit import checkpoint
from appliance.audit.brief import Completer
from appliance.audit.record import (
    AdminActed,
    DryRunBegun,
    Entry,
    GrantProposed,
    GrantRuled,
    LoginFailed,
    PolicyVersionActivated,
    PolicyVersionRefused,
    PolicyVersionStored,
    ProtocolKind,
    RequestMade,
    RequestRuled,
    RequestVoted,
    SegmentOpened,
    SessionClosed,
    SessionOpened,
    SignedIn,
    SignedOut,
    SignInFailed,
    StatementDecided,
    StatementFinished,
)
from appliance.audit.trail import Trail


class Story(msgspec.Struct):
    """`reference` is `worker:sequence number`, short enough to type."""

    worker: int
    seq: int
    record: Entry
    finished: StatementFinished | None = None

    @property
    def reference(self) -> str:
        return f"{self.worker}:{self.seq}"

    @property
    def effect(self) -> str:
        """allow, deny, hold; `refuse`: policy allowed it, the appliance could not do it."""
        record = self.record
        if not isinstance(record, StatementDecided):
            return "deny" if isinstance(record, LoginFailed | SignInFailed) else ""
        effect = record.decision.effect.value
        return "refuse" if record.refusal is not None and effect == "allow" else effect

    @property
    def rule(self) -> str:
        """The rule that settled it, else the refusal's code, else the first rule that applied."""
        record = self.record
        if not isinstance(record, StatementDecided):
            return ""
        if record.refusal is not None:
            return record.refusal.rule or record.refusal.code.value
        applied = [r for r in record.decision.rules if not r.observed]
        settled = [r.rule for r in applied if r.effect == record.decision.effect.value]
        return settled[0] if settled else next((r.rule for r in applied), "")


class Criteria(msgspec.Struct, frozen=True):
    """What a story must be like; None and '' match everything."""

    principal: str = ""
    target: str = ""
    action: str = ""
    rule: str = ""
    effect: str = ""
    text: str = ""
    session: str = ""
    since: float | None = None
    until: float | None = None
    prepared: bool = True
    """False leaves out statements that were only prepared (Parse) and not refused."""

    def matches(self, story: Story) -> bool:
        record = story.record
        if isinstance(record, SegmentOpened):
            return False
        return (
            (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
            and (not self.session or record.session == self.session)
            and (not self.principal or self.principal in _people(record))
            and (not self.target or getattr(record, "target", "") == self.target)
            and (not self.effect or story.effect == self.effect)
            and self._matches_statement(record)
        )

    def _matches_statement(self, record: Entry) -> bool:
        if not isinstance(record, StatementDecided):
            return not (self.action or self.rule or self.text)
        if not self.prepared and record.protocol is ProtocolKind.PARSE and record.refusal is None:
            return False
        statement = record.statement
        return (
            (not self.action or any(a.value == self.action for a in statement.actions))
            and (not self.rule or self.rule in _rules(record))
            and (not self.text or self.text.casefold() in statement.sql.casefold())
        )


def _people(record: Entry) -> tuple[str, ...]:
    match record:
        case StatementDecided() | DryRunBegun() | SessionOpened() | RequestMade():
            return (record.principal, record.on_behalf_of or "")
        case LoginFailed() | SignInFailed():
            return (record.claimed,)
        case RequestVoted() | GrantProposed() | SignedIn() | SignedOut() | AdminActed():
            return (record.person,)
        case RequestRuled() | GrantRuled():
            return tuple(record.by.split(", "))
        case PolicyVersionStored() | PolicyVersionActivated() | PolicyVersionRefused():
            return (record.by,)
        case _:
            return ()


def _rules(record: StatementDecided) -> set[str]:
    named = {r.rule for r in record.decision.rules} | {m.rule for m in record.decision.masks}
    return named if record.refusal is None else named | {record.refusal.rule}


class Reader:
    """Joins one worker's lines, in order, into stories."""

    def __init__(self, worker: int, criteria: Criteria) -> None:
        self._worker = worker
        self._criteria = criteria
        self._waiting: dict[str, Story] = {}
        self._completer = Completer()
        self.unreadable = 0

    def feed(self, line: bytes) -> Iterator[Story]:
        """Stories that `line` completes. Lines are to be fed from the first one of a segment on."""
        numbered = _numbered(self._completer, line)
        if numbered is None:
            self.unreadable += 1
            return
        seq, record = numbered
        if isinstance(record, StatementFinished):
            story = self._waiting.pop(record.decided, None)
            if story is not None:
                story.finished = record
                yield story
            return
        story = Story(self._worker, seq, record)
        if not self._criteria.matches(story):
            return
        if _awaits_finish(record):
            self._waiting[record.id] = story
        else:
            yield story
        if isinstance(record, SessionClosed):
            yield from self._give_up(record.session)

    def _give_up(self, session: str) -> Iterator[Story]:
        ended = [i for i, s in self._waiting.items() if s.record.session == session]
        for identifier in ended:
            yield self._waiting.pop(identifier)

    def rest(self) -> Iterator[Story]:
        """Statements without a finish so far."""
        yield from self._waiting.values()
        self._waiting = {}


def _awaits_finish(record: Entry) -> bool:
    if not isinstance(record, StatementDecided):
        return False
    return record.refusal is None and record.protocol is not ProtocolKind.PARSE


def search(
    trail: Trail,
    criteria: Criteria,
    count_max: int,
    wanted: Callable[[Entry], bool] = lambda record: True,
) -> list[Story]:
    """The newest `count_max` stories that match and whose record is `wanted`, oldest first."""
    found = (
        story
        for worker in trail.workers()
        for story in _stories(trail, worker, criteria, _segments(trail, worker))
        if wanted(story.record)
    )
    return _in_order(heapq.nlargest(count_max, found, key=lambda s: s.record.time))


def recent(trail: Trail, criteria: Criteria, count: int) -> list[Story]:
    """Like `search`, reading only as many segments as it takes, newest first."""
    found: list[Story] = []
    for worker in trail.workers():
        segments = _segments(trail, worker)
        stories: list[Story] = []
        start, step = len(segments), 1
        while start > 0 and len(stories) < count:
            start, step = max(0, start - step), step * 2
            stories = list(_stories(trail, worker, criteria, segments[start:]))
        found += stories
    return _in_order(heapq.nlargest(count, found, key=lambda s: s.record.time))


def find(trail: Trail, reference: str) -> list[Story]:
    """A record by `worker:seq` or id, or all records of a session id. A finish's reference or id
    finds the statement it ended."""
    found: list[Story] = []
    for worker in trail.workers():
        for story in _stories(trail, worker, Criteria(), _segments(trail, worker)):
            finish = "" if story.finished is None else story.finished.id
            if reference in {story.reference, story.record.id, finish, story.record.session}:
                found.append(story)
    return _in_order(found) or _finished_by(trail, reference)


def _finished_by(trail: Trail, reference: str) -> list[Story]:
    """The statement that the finish with this reference or id ended."""
    for worker in trail.workers():
        completer = Completer()
        for segment in _segments(trail, worker):
            for line in trail.lines(worker, segment):
                numbered = _numbered(completer, line)
                if numbered is None or not isinstance(numbered[1], StatementFinished):
                    continue
                seq, finish = numbered[0], numbered[1]
                if reference in {f"{worker}:{seq}", finish.id}:
                    return _ended(trail, worker, finish)
    return []


def _ended(trail: Trail, worker: int, finish: StatementFinished) -> list[Story]:
    for story in _stories(trail, worker, Criteria(), _segments(trail, worker)):
        if story.record.id == finish.decided:
            story.finished = story.finished or finish
            return [story]
    return []


def _numbered(completer: Completer, line: bytes) -> tuple[int, Entry] | None:
    """A line's sequence number and record; None when it cannot be read."""
    try:
        return completer.record(line)
    except ValueError:
        return None


def _stories(trail: Trail, worker: int, criteria: Criteria, segments: list[str]) -> Iterator[Story]:
    reader = Reader(worker, criteria)
    for segment in segments:
        for line in trail.lines(worker, segment):
            yield from reader.feed(line)
    yield from reader.rest()


def _segments(trail: Trail, worker: int) -> list[str]:
    return checkpoint.segment_order(trail.names(worker))


def _in_order(stories: list[Story]) -> list[Story]:
    return sorted(stories, key=lambda s: (s.record.time, s.worker, s.seq))
