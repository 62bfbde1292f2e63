"""Names of prepared statements and portals as the upstream knows them.

Called by `session/machine`. Rule: the maps change only when the upstream confirms (ParseComplete,
BindComplete, CloseComplete), yet a pipelining client may use a name before that. So a name has a
confirmed value, and above it the values that are on their way, oldest first; an error abandons
those that the upstream will skip.
"""

from collections import deque
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Names(Generic[Value]):
    """Name -> value, confirmed and on its way. None on its way means that it is being closed."""

    __slots__ = ("_confirmed", "_pending")

    def __init__(self) -> None:
        self._confirmed: dict[bytes, Value] = {}
        self._pending: dict[bytes, deque[Value | None]] = {}

    def __len__(self) -> int:
        return len(self._confirmed) + len(self._pending)

    @property
    def settled(self) -> dict[bytes, Value]:
        """All that is confirmed: the very map, not a copy of it."""
        return self._confirmed

    def lookup(self, name: bytes) -> Value | None:
        """What `name` will mean to a message sent now."""
        pending = self._pending.get(name)
        if pending:
            return pending[-1]
        return self._confirmed.get(name)

    def confirmed(self, name: bytes) -> Value | None:
        """What `name` means to the upstream as of its last reply."""
        return self._confirmed.get(name)

    def names(self) -> frozenset[bytes]:
        """All that mean something now, or will."""
        return frozenset(self._confirmed) | frozenset(self._pending)

    def begin(self, name: bytes, value: Value | None) -> None:
        self._pending.setdefault(name, deque()).append(value)

    def confirm(self, name: bytes) -> None:
        """The oldest pending value of `name` took effect."""
        value = self._next(name)
        if value is None:
            self._confirmed.pop(name, None)
        else:
            self._confirmed[name] = value

    def abandon(self, name: bytes) -> None:
        """The upstream skipped the oldest pending change of `name`."""
        self._next(name)

    def _next(self, name: bytes) -> Value | None:
        pending = self._pending[name]
        value = pending.popleft()
        if not pending:
            del self._pending[name]
        return value

    def forget(self, name: bytes) -> None:
        self._confirmed.pop(name, None)

    def forget_confirmed(self) -> None:
        """What ends with a transaction (portals) or with DISCARD ALL and DEALLOCATE ALL
        (statements).
        """
        self._confirmed.clear()
