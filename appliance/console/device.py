"""The device flow for the command line (RFC 8628): a code that somebody signed in confirms.

Used by `api/device`. Rules: the device's own code is filed under its digest; what a person types
is short, lives for minutes, and guesses are paced by the route; the token is made when the device
fetches it, once, and can do what the person may.
"""

import enum
from collections.abc import Callable

import msgspec

from appliance.console.credentials import Entropy, digest, new_secret
from appliance.console.people import Identity
from appliance.console.shelf import Item, Shelf, written

KIND = "device"
CODE_KIND = "device_code"
LIFETIME = 600.0
INTERVAL = 5
"""Seconds that a device waits between two questions."""
ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""RFC 8628, 6.1: no vowels, so no words; nothing that looks alike."""
CODE_LENGTH = 8


class Answer(enum.Enum):
    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"


class Asking(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device that waits, as stored. Times are unix seconds."""

    code: str
    address: str
    asked: float
    expires: float
    client: str = ""
    """The program's own word."""
    polled: float = 0.0
    denied: bool = False
    identity: Identity | None = None
    """Who confirmed it."""
    roles: tuple[str, ...] = ()
    """Theirs at that moment."""


class Devices:
    def __init__(self, shelf: Shelf, now: Callable[[], float], entropy: Entropy) -> None:
        self._shelf = shelf
        self._now = now
        self._entropy = entropy

    async def ask(self, address: str, client: str) -> tuple[str, str]:
        """(the device's secret code, the code for a person)."""
        now, secret = self._now(), new_secret(self._entropy)
        code = self._code()
        asking = Asking(code, address, now, now + LIFETIME, client[:100])
        await self._shelf.put(Item(CODE_KIND, code, "", digest(secret), asking.expires))
        await self._shelf.put(_item(digest(secret), asking))
        return secret, shown(code)

    def _code(self) -> str:
        """Evenly distributed: bytes beyond the last whole multiple are thrown away."""
        found = ""
        limit = 256 - 256 % len(ALPHABET)
        while len(found) < CODE_LENGTH:
            usable = [byte for byte in self._entropy(16) if byte < limit]
            found += "".join(ALPHABET[byte % len(ALPHABET)] for byte in usable)
        return found[:CODE_LENGTH]

    async def find(self, typed: str) -> Asking | None:
        """By what a person typed; None when there is no such (any more), or it was answered."""
        found = await self._found(typed)
        return None if found is None else found[1]

    async def answer(
        self, typed: str, approve: bool, identity: Identity, roles: frozenset[str]
    ) -> Asking | None:
        """None when there is nothing to answer."""
        found = await self._found(typed)
        if found is None:
            return None
        item, asking = found
        answered = msgspec.structs.replace(
            asking, denied=not approve, identity=identity, roles=tuple(sorted(roles))
        )
        if not await self._shelf.replace(_item(item.key, answered), item.body):
            return None
        await self._shelf.take(CODE_KIND, asking.code)
        return answered

    async def _found(self, typed: str) -> tuple[Item, Asking] | None:
        code = bare(typed)
        if len(code) != CODE_LENGTH:
            return None
        pointer = await self._shelf.get(CODE_KIND, code)
        if pointer is None or self._now() >= pointer.expires:
            return None
        item = await self._shelf.get(KIND, pointer.body)
        if item is None:
            return None
        asking = msgspec.json.decode(item.body, type=Asking)
        return None if asking.identity is not None else (item, asking)

    async def fetch(self, secret: str) -> Asking | Answer:
        """What the device gets when it asks. An Asking (confirmed) is given out once."""
        key, now = digest(secret), self._now()
        item = await self._shelf.get(KIND, key)
        if item is None or now >= item.expires:
            return Answer.EXPIRED
        asking = msgspec.json.decode(item.body, type=Asking)
        if asking.identity is None:
            polled = msgspec.structs.replace(asking, polled=now)
            await self._shelf.replace(_item(key, polled), item.body)
            early = now - asking.polled < INTERVAL - 0.5
            return Answer.SLOW_DOWN if early else Answer.PENDING
        taken = await self._shelf.take(KIND, key)
        if taken is None:
            return Answer.EXPIRED
        return Answer.DENIED if asking.denied else asking


def shown(code: str) -> str:
    """XXXX-XXXX"""
    return f"{code[:4]}-{code[4:]}"


def bare(typed: str) -> str:
    """As it is filed: people add hyphens and spaces, and write small."""
    return "".join(c for c in typed[:32].upper() if c in ALPHABET)


def _item(key: str, asking: Asking) -> Item:
    return Item(KIND, key, "", written(asking), asking.expires)
