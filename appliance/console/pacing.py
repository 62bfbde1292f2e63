"""How often somebody may try: a bounded memory of recent attempts per key.

Used for sign-ins (per address, per name) and for codes people type. Rule: what it remembers is
bounded; when it is full, the longest untouched key is forgotten.
"""

from collections import OrderedDict, deque
from collections.abc import Callable

KEYS_MAX = 20_000


class Pace:
    """At most `attempts` per `seconds` and key."""

    def __init__(self, attempts: int, seconds: float, now: Callable[[], float]) -> None:
        self._attempts = attempts
        self._seconds = seconds
        self._now = now
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, key: str) -> int:
        """Whole seconds until another attempt may be made, 0 = now."""
        times = self._seen.get(key)
        if times is None:
            return 0
        now = self._now()
        while times and times[0] <= now - self._seconds:
            times.popleft()
        if len(times) < self._attempts:
            return 0
        return max(1, int(times[0] + self._seconds - now) + 1)

    def count(self, key: str) -> None:
        """An attempt was made."""
        times = self._seen.setdefault(key, deque(maxlen=self._attempts))
        times.append(self._now())
        self._seen.move_to_end(key)
        while len(self._seen) > KEYS_MAX:
            self._seen.popitem(last=False)

    def forget(self, key: str) -> None:
        self._seen.pop(key, None)
