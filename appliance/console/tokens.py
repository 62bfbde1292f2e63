"""API tokens of people and services: `spt_...`, shown once, filed under their digest.

Used by `authn`, `api/tokens` and the device flow. Rules: a token can do no more than it was made
for and no more than its owner may now; it always expires; it cannot make further tokens.
"""

from collections.abc import Callable, Iterable

import msgspec

from appliance.console.credentials import TOKEN_PREFIX, Entropy, digest, new_secret
from appliance.console.people import Identity
from appliance.console.sessions import TOUCH_SECONDS
from appliance.console.shelf import Item, Shelf, written

KIND = "token"
TOKENS_PER_OWNER_MAX = 100
DAYS_MAX = 366


class ApiToken(msgspec.Struct, frozen=True, omit_defaults=True):
    """A token as stored. Times are unix seconds."""

    label: str
    identity: Identity
    roles: tuple[str, ...]
    """Of these, it has those that the owner has at the time."""
    made: float
    expires: float
    used: float = 0.0
    """Last use, to half a minute; 0 = never."""
    via: str = "api"


class TooMany(Exception):
    """The owner has as many tokens as anybody may."""


class ApiTokens:
    def __init__(self, shelf: Shelf, now: Callable[[], float], entropy: Entropy) -> None:
        self._shelf = shelf
        self._now = now
        self._entropy = entropy

    async def make(
        self,
        identity: Identity,
        label: str,
        roles: Iterable[str],
        seconds: float,
        via: str = "api",
    ) -> tuple[str, str, ApiToken]:
        """(the token itself, its key, what is stored). Raises TooMany."""
        if len(await self.of(identity.owner)) >= TOKENS_PER_OWNER_MAX:
            raise TooMany
        now = self._now()
        secret = TOKEN_PREFIX + new_secret(self._entropy)
        token = ApiToken(label, identity, tuple(sorted(roles)), now, now + seconds, via=via)
        await self._shelf.put(_item(digest(secret), token))
        return secret, digest(secret), token

    async def find(self, secret: str) -> ApiToken | None:
        key, now = digest(secret), self._now()
        item = await self._shelf.get(KIND, key)
        if item is None or now >= item.expires:
            return None
        token = msgspec.json.decode(item.body, type=ApiToken)
        if now - token.used >= TOUCH_SECONDS:
            touched = msgspec.structs.replace(token, used=now)
            await self._shelf.replace(_item(key, touched), item.body)
        return token

    async def alive(self, secret: str) -> bool:
        item = await self._shelf.get(KIND, digest(secret))
        return item is not None and self._now() < item.expires

    async def shown(self, key: str) -> ApiToken | None:
        item = await self._shelf.get(KIND, key)
        return None if item is None else msgspec.json.decode(item.body, type=ApiToken)

    async def revoke(self, key: str) -> bool:
        return await self._shelf.take(KIND, key) is not None

    async def of(self, owner: str | None) -> list[tuple[str, ApiToken]]:
        """(key, token) of one person, or of everybody."""
        now = self._now()
        return [
            (item.key, msgspec.json.decode(item.body, type=ApiToken))
            for item in await self._shelf.of(KIND, owner)
            if now < item.expires
        ]


def _item(key: str, token: ApiToken) -> Item:
    return Item(KIND, key, token.identity.owner, written(token), token.expires)
