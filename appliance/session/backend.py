"""What one database connection holds that is ours: statements prepared on it, positions of the
server's log that were read on it.

Made by `state` for a session with a connection of its own; where connections are shared, the pool
keeps one beside each and gives both to the next session. Rules: a key is the exact text and types,
for statements that were prepared under the settings that every session begins with: the server
reads constants, for one, when it prepares, by DateStyle, TimeZone and others as they are then;
names are ours and used once; what may be there no longer is not in here.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.session.unchanged import Unchanged
from appliance.wire.postgres import refusals

PREPARED_MAX = 250
"""Statements of clients that are kept prepared on one connection; the one unused longest goes."""
CLOSING_MAX = 4
"""How many are closed in front of one that is prepared."""

UNASKED_MAX = 32
"""Then our own statements are not kept any longer: that they may stay costs the server a third of a
millisecond each time, to prepare and plan them some ten."""

UNPROVED_MAX = 100
"""Portals that are told apart; with more, all plans are in doubt."""

Key = tuple[bytes, tuple[int, ...], bool, object]
"""(text as it is sent, types of its parameters as the client gave them, whether who sent it owes
masks, None; or the client's one statement whose it is alone)"""


NAMED_MAX = 64
"""Statements of a session's own that are closed one by one when it leaves a connection."""


class Left(NamedTuple):
    """How a session left its connection."""

    in_transaction: bool
    parameters: Mapping[str, str]
    """Settings as reported last."""
    own: frozenset[bytes] = frozenset()
    """Names of statements (`own_statements.OWN`) that the next session may go on to use."""
    named: tuple[bytes, ...] = ()
    """Of all others that may be prepared."""


class Backend:
    """See the module's docstring."""

    __slots__ = (
        "_closing",
        "_last",
        "_prepared",
        "_private",
        "own",
        "plans_doubted",
        "sole",
        "unasked",
        "unchanged",
        "unnamed",
        "unproved",
    )

    def __init__(self) -> None:
        self.own: set[bytes] = set()
        """Names of our own prepared statements."""
        self.unasked = 0
        """How many sessions in a row have come and made no use of them."""
        self.unchanged = Unchanged()
        self.unnamed: Any = None
        """The client's statement (`inflight.Prepared`) that is the unnamed one, if that is known.
        """
        self.plans_doubted = False
        """Something was planned here, and did not come to be looked at: the server may use the plan
        again for what is prepared, though nothing that it was made of has changed since."""
        self.unproved: dict[object, None] = {}
        """Portals (`inflight.Portal`) of which the same may be so."""
        self.sole = True
        """Since it was opened, or cleaned of everything, one session alone has used it."""
        self._prepared: OrderedDict[Key, bytes] = OrderedDict()
        self._private: list[Key] = []
        self._closing: list[bytes] = []
        self._last = 0

    @property
    def plans_in_doubt(self) -> bool:
        return self.plans_doubted or bool(self.unproved)

    def leave_unproved(self, portal: object) -> None:
        """It is about to be bound, and planned."""
        if len(self.unproved) >= UNPROVED_MAX:
            self.plans_doubted = True
            self.unproved.clear()
        self.unproved[portal] = None

    def proved(self, portal: object) -> None:
        """It was looked at."""
        self.unproved.pop(portal, None)

    def plans_discarded(self) -> None:
        self.plans_doubted = False
        self.unproved.clear()

    def name_of(self, key: Key) -> bytes | None:
        """Under which name it is prepared here."""
        name = self._prepared.get(key)
        if name is not None:
            self._prepared.move_to_end(key)
        return name

    def prepare(self, key: Key) -> bytes:
        """It is being prepared. -> its name."""
        self._last += 1
        if key[3] is not None:
            self._private.append(key)
        name = self._prepared[key] = refusals.RESERVED + b"%d" % self._last
        if len(self._prepared) > PREPARED_MAX:
            self._closing.append(self._prepared.popitem(last=False)[1])
        return name

    def forget(self, key: Key) -> None:
        """It is not there, or of no use."""
        name = self._prepared.pop(key, None)
        if name is not None:
            self._closing.append(name)

    @property
    def private(self) -> bool:
        """Whether statements of one session alone are prepared here."""
        return bool(self._private)

    def forget_private(self) -> None:
        for key in self._private:
            self.forget(key)
        self._private.clear()

    def closing(self) -> list[bytes]:
        """Names to be closed now."""
        taken, self._closing = self._closing[:CLOSING_MAX], self._closing[CLOSING_MAX:]
        return taken

    def forget_all(self) -> None:
        """All were deallocated, or will be if what was sent succeeds."""
        self._closing.extend(self._prepared.values())
        self._prepared.clear()
        self._private.clear()

    def __len__(self) -> int:
        return len(self._prepared)
