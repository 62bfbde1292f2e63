"""When the rows of a result are looked at for unclassified data: a few times a second per worker.

One `SamplePace` is shared by all sessions of a worker; `from_upstream` asks it once per run of rows
and then only passes on what it queued for the client anyway (`effects.SampleRows`), so everything
that costs time happens after the bytes have left. The hit path, which looks at nothing, leaves one
statement at a time to the machine while a result is due. Rule: never the control; a result that is
not looked at is sent just the same.
"""

from collections.abc import Hashable

from _speedups.hitcycle import Dull, Pace

DESCRIPTION_BYTES_MAX = 4_096
"""A longer RowDescription is not kept: its result is not looked at."""
SPARED = 8
"""How many descriptions are read, where one result would be looked at."""
DULLS_MAX = 1_024
"""Kinds of statements that sessions share what is known of."""


class SamplePace(Pace):
    """`due`: unix seconds from when on the next run of rows is looked at; infinite = never."""

    __slots__ = ("_dulls", "_seconds", "description_bytes_max")

    def __init__(self, per_second: int) -> None:
        self._seconds = 0.0
        self._dulls: dict[Hashable, Dull] = {}
        self.description_bytes_max = 0
        """A RowDescription no longer than this is kept with what it describes."""
        self.change(per_second)

    def change(self, per_second: int) -> None:
        """0 turns it off."""
        self._seconds = 1 / per_second if per_second else float("inf")
        self.due = 0.0 if per_second else float("inf")
        self.seconds = self._seconds / SPARED
        self.description_bytes_max = DESCRIPTION_BYTES_MAX if per_second else 0

    def dull_of(self, kind: Hashable) -> Dull:
        """The same for all statements of one kind, whatever session they are in: once there was
        nothing to look at in one, the others are spared."""
        dull = self._dulls.get(kind)
        if dull is None:
            if len(self._dulls) >= DULLS_MAX:
                del self._dulls[next(iter(self._dulls))]
            dull = self._dulls[kind] = Dull()
        return dull

    @property
    def on(self) -> bool:
        return self.due != float("inf")

    def taken(self, now: float) -> None:
        self.due = now + self._seconds

    def spared(self, now: float) -> None:
        """There was nothing to look at: another result may have its turn earlier."""
        self.due = now + self.seconds
