"""How often somebody may try: recent attempts per key, kept on the shelf, so that they count for
every process and appliance on one store, and over a restart.

Used for sign-ins (per address, per name) and for codes people type. Rule: an attempt is counted
before it is made; keys are digests; what is kept ends with the time that it counts for.
"""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

import msgspec

from appliance.console.credentials import digest
from appliance.console.shelf import Item, Shelf, written

KIND = "attempts"
TRIES_MAX = 5
"""Others may count an attempt of the same key at the same moment."""
SUBSCRIBER_BITS = 64
"""Of an IPv6 address: whoever has one has all that begin alike (RFC 6177)."""

_decoder = msgspec.json.Decoder(list[float])


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
    """At most `attempts` per `seconds` and key. `what`: one name for each pace on a shelf. Methods
    raise `desk.Unavailable`."""

    def __init__(
        self, shelf: Shelf, what: str, attempts: int, seconds: float, now: Callable[[], float]
    ) -> None:
        self._shelf = shelf
        self._what = what
        self._attempts = attempts
        self._seconds = seconds
        self._now = now

    async def attempt(self, key: str) -> int:
        """Counts one; 0 = it may be made. Otherwise whole seconds until the next may be, and
        nothing is counted."""
        for _ in range(TRIES_MAX):
            item = await self._shelf.get(KIND, self._key(key))
            now = self._now()
            times = [] if item is None else _decoder.decode(item.body)
            times = [time for time in times if time > now - self._seconds]
            if len(times) >= self._attempts:
                return max(1, int(times[0] + self._seconds - now) + 1)
            body = written([*times, now])
            counted = Item(KIND, self._key(key), "", body, now + self._seconds)
            if item is None:
                await self._shelf.put(counted)
                return 0
            if await self._shelf.replace(counted, item.body):
                return 0
        return 1

    async def forget(self, key: str) -> None:
        await self._shelf.take(KIND, self._key(key))

    def _key(self, key: str) -> str:
        return digest(f"{self._what} {key}")
