"""At which position of the server's log what a statement rests on was found to be as it was judged:
as long as the log ends there, nothing has changed, and nothing needs to be read again.

Kept by `state`, used by `questions` and `decisions`. Three readings make a position good: at the
first the log ended there; at the second it still did, and nobody held a transaction that may write
(so whatever was committed up to there can be seen by now: a commit moves the log before others see
it); at the third it still does, and everything was found as judged, in a snapshot taken after the
second. Rule: of this very session only, because after a crash the server may use a position again.
"""

from typing import NamedTuple

from appliance.sql.footing import Footing
from appliance.sql.stamps import AS_BEFORE, LOOKED_UP, NO_POSITION, OTHER_SETTINGS, QUIET, WRITES

FOOTINGS_MAX = 1_000


class Answer(NamedTuple):
    """What the server said to a check (`stamps.CHECK_QUERY`)."""

    isolation: str
    looked_up: str
    """What the footing's names mean, OIDs; '' in READ COMMITTED."""
    settled: bool
    """search_path and role are what they are believed to be."""
    writes: bool
    """The session's open transaction has written: perhaps what no other session can see."""
    found: str
    """As in `Footing.expected`; AS_BEFORE: nothing was written since the position asked with."""
    position: str
    quiet: bool
    oldest: int
    """The oldest transaction that was open."""


def read_answer(text: str) -> Answer:
    isolation, _, rest = text.partition("/")
    oldest, _, rest = rest.partition("/")
    position, _, found = rest.partition("/")
    quiet = position.endswith(QUIET)
    writes = isolation.endswith(WRITES)
    isolation = isolation.removesuffix(WRITES)
    settled = not isolation.endswith(OTHER_SETTINGS)
    isolation = isolation.removesuffix(OTHER_SETTINGS)
    isolation, _, looked_up = isolation.partition(LOOKED_UP)
    position = position.removesuffix(QUIET)
    return Answer(isolation, looked_up, settled, writes, found, position, quiet, int(oldest))


class Unchanged:
    """Positions by footing; one per session."""

    __slots__ = ("_good", "_leased", "_settled", "last", "since")

    def __init__(self) -> None:
        self._good: dict[Footing, str] = {}
        self.last = NO_POSITION
        """The position that was seen last."""
        self._settled = False
        """What was committed up to `last` can be seen."""
        self._leased: dict[Footing, int] = {}
        self.since = 0
        """What was not over when a check was answered last has such a number, or a higher one."""

    def position(self, footing: Footing) -> str:
        """What a check of it is asked with."""
        return self._good.get(footing, NO_POSITION)

    def leased(self, footing: Footing) -> int:
        """The `Lease.value` under which it was found as it was judged last; 0: under none."""
        return self._leased.get(footing, 0)

    def found_under(self, footing: Footing, lease: int) -> None:
        """It was found as it was judged, by a question that was sent under this lease and answered
        under it."""
        if len(self._leased) >= FOOTINGS_MAX:
            self._leased.clear()
        self._leased[footing] = lease

    def held(self, footing: Footing, answer: Answer) -> bool:
        """Whether it was as it was judged, in the snapshot that the answer is of; an old one
        teaches nothing.
        """
        if answer.found == AS_BEFORE:
            return answer.position == self._good.get(footing)
        return answer.found == footing.expected

    def holds(self, footing: Footing, answer: Answer) -> bool:
        """Whether it is as it was judged; remembers when."""
        if answer.found == AS_BEFORE:
            return answer.position == self._good.get(footing)
        settled = self._settled and answer.position == self.last
        self._settled = settled or answer.quiet
        self.last = answer.position or NO_POSITION
        if answer.found != footing.expected:
            self._good.pop(footing, None)
            return False
        if settled:
            if len(self._good) >= FOOTINGS_MAX:
                self._good.clear()
            self._good[footing] = answer.position
        return True
