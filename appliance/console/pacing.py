"""How often somebody may try: a bounded memory of recent attempts per key.

Used for sign-ins (per address, per name) and for codes people type. Rule: what it remembers is
bounded; when it is full, the longest untouched key is forgotten.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

KEYS_MAX = 20_000
SUBSCRIBER_BITS = 64
"""Of an IPv6 address: whoever has one has all that begin alike (RFC 6177)."""


def whence(address: str) -> str:
    """What attempts from an address are counted under: the address, of IPv6 its network."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((found, SUBSCRIBER_BITS), strict=False))


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
