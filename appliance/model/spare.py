"""Containers that cost next to nothing while they are empty, which is most of a session's life.

Used where each session has one: there may be thousands that do nothing. An empty
`collections.deque` has 760 bytes (room for the first 64), an empty set has 216.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")


EMPTY: frozenset[Any] = frozenset()
"""`frozenset()` would be a new one each time. What begins with it is changed by assignment."""


class Fifo(Generic[Item]):
    """First in, first out; a deque while something is in it."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: deque[Item] | None = None

    def __len__(self) -> int:
        return 0 if self._held is None else len(self._held)

    def __iter__(self) -> Iterator[Item]:
        return iter(()) if self._held is None else iter(self._held)

    @property
    def head(self) -> Item | None:
        return None if self._held is None else self._held[0]

    def append(self, item: Item) -> None:
        if self._held is None:
            self._held = deque((item,))
        else:
            self._held.append(item)

    def appendleft(self, item: Item) -> None:
        if self._held is None:
            self._held = deque((item,))
        else:
            self._held.appendleft(item)

    def popleft(self) -> Item:
        """Raises IndexError when it is empty."""
        if self._held is None:
            raise IndexError("nothing is in the queue")
        item = self._held.popleft()
        if not self._held:
            self._held = None
        return item
