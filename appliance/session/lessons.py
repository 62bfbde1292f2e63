"""What hit paths of one session are taught by another's.

Kept by `dataplane/schema_lease`, one per database and worker: `hits` tells, `learning` hears. A
session's first statements would else be asked about one by one, though the database has just said
the same of them to a session before it.

Rules: a lesson is of what a machine recorded, sent and had described; where that has to be asked
about, it is of what was found as judged under this very lease. It is for sessions of the same
principal with the same settings, whose own judge comes to the very same verdict; it is gone with
the lease, and with the policy and the catalog that it was judged by.
"""

from typing import NamedTuple

from appliance.model.principal import Principal
from appliance.session import flow
from appliance.session.inflight import ResultLock
from appliance.session.settings import SettingsTracker

LESSONS_MAX = 1_024
"""Where there are too many, the principal with most loses one: whoever sends ever new texts, or
sets ever new paths, drives out its own."""
BELIEVED_MAX = 1_024
"""A session with a longer search_path is like no other."""


class Learner(NamedTuple):
    """Whose sessions a lesson is for."""

    principal: Principal
    believed: str
    """`SettingsTracker.believed`: search_path and who acts, as the server told them."""


def learner_of(principal: Principal, settings: SettingsTracker) -> Learner | None:
    """None: the session is like no other."""
    believed = settings.believed
    known = settings.certain and settings.pinned and not settings.has_temporaries
    if not known or len(believed) > BELIEVED_MAX:
        return None
    return Learner(principal, believed)


class Key(NamedTuple):
    """Of a text."""

    text: bytes
    folded: bool
    """It is what is the same of all that are alike (`sqllex.fold`)."""


class Extended(NamedTuple):
    """Of a text that came as Parse, Bind and Execute of what has no name; see `hitcycle.Hit`."""

    types: bytes
    parameters: int
    parse: bytes | None
    parse_tail: bytes
    execute_tail: bytes


class Lesson(NamedTuple):
    """Of one text; see `hitcycle.Hit`."""

    verdict: flow.Verdict
    leased: int
    """0: nothing about it is asked."""
    brief: bool
    repeatable: bool
    locks: tuple[tuple[bytes, ResultLock], ...]
    """RowDescription frames that it has earned, and what their rows come under."""
    made_with: tuple[object, object]
    """`ResultLocks.made_with` of these."""
    query_tail: bytes | None
    query_tail_rest: bytes | None
    sent: bytes | None
    extended: Extended | None


class Lessons:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._known: dict[Principal, dict[tuple[str, Key], Lesson]] = {}
        self._count = 0
        self._policy = self._catalog = ""
        """Versions of those that these were judged by."""
        self.heard = 0

    def get(self, learner: Learner, key: Key) -> Lesson | None:
        known = self._known.get(learner.principal)
        return None if known is None else known.get((learner.believed, key))

    def any_for(self, learner: Learner) -> bool:
        """Whether there are any for this principal."""
        return learner.principal in self._known

    def tell(self, learner: Learner, key: Key, lesson: Lesson) -> None:
        policy, catalog, _ = lesson.verdict.epoch
        catalog = catalog or self._catalog  # '': of somebody for whom it is not read
        if (policy, catalog) != (self._policy, self._catalog):
            self.clear()  # of no use any more, and they would keep the ones before in memory
            self._policy, self._catalog = policy, catalog
        own = self._known.setdefault(learner.principal, {})
        place = learner.believed, key
        self._count += place not in own
        own[place] = lesson
        if self._count > LESSONS_MAX:
            self._drop_one(max(self._known, key=lambda who: len(self._known[who])))

    def _drop_one(self, principal: Principal) -> None:
        """The one that was told first."""
        known = self._known[principal]
        del known[next(iter(known))]
        self._count -= 1
        if not known:
            del self._known[principal]

    def clear(self) -> None:
        self._known.clear()
        self._count = 0

    def take_heard(self) -> int:
        """How often a session was taught one since the last call."""
        heard, self.heard = self.heard, 0
        return heard
