"""What hit paths of one session are taught by another's, while the schema is held.

Kept by `dataplane/schema_lease`, one per database and worker: `hits` tells, `learning` hears. A
session's first statements would else be asked about one by one, though the database has just said
the same of them to a session before it.

Rules: a lesson is of what a machine asked about, found as it was judged under this very lease,
recorded, sent and had described; it is for sessions of the same principal with the same settings,
whose own judge comes to the very same verdict; it is gone with the lease.
"""

from typing import NamedTuple

from appliance.model.principal import Principal
from appliance.session import flow
from appliance.session.inflight import ResultLock
from appliance.session.settings import SettingsTracker

LEARNERS_MAX = 256
"""Principals and settings of which lessons are kept."""
LESSONS_MAX = 128
"""Texts of each: whoever sends ever new ones drives out its own."""


class Learner(NamedTuple):
    """Whose sessions a lesson is for."""

    principal: Principal
    believed: str
    """`SettingsTracker.believed`: search_path and who acts, as the server told them."""


def learner_of(principal: Principal, settings: SettingsTracker) -> Learner | None:
    """None: the session is like no other."""
    if settings.has_temporaries or not settings.certain:
        return None
    return Learner(principal, settings.believed)


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
        self._known: dict[Learner, dict[Key, Lesson]] = {}
        self.heard = 0

    def of(self, learner: Learner) -> dict[Key, Lesson]:
        """Not to be changed."""
        return self._known.get(learner, _NONE)

    def tell(self, learner: Learner, key: Key, lesson: Lesson) -> None:
        known = self._known.get(learner)
        if known is None:
            if len(self._known) >= LEARNERS_MAX:
                del self._known[next(iter(self._known))]
            known = self._known[learner] = {}
        elif len(known) >= LESSONS_MAX and key not in known:
            del known[next(iter(known))]
        known[key] = lesson

    def clear(self) -> None:
        self._known.clear()

    def take_heard(self) -> int:
        """How often a session was taught one since the last call."""
        heard, self.heard = self.heard, 0
        return heard


_NONE: dict[Key, Lesson] = {}
