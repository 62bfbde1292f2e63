"""Sign-ins of browsers: an opaque cookie, filed under its digest, idle and absolute expiry.

Used by `authn` (every request), `api/sign_in` and `api/signed_in`. Rules: each sign-in gets a new
cookie and ends the session that the browser had before (no fixation); what is stored cannot be
used as a cookie.
"""

from collections.abc import Callable

import msgspec

from appliance.console.credentials import Entropy, digest, new_secret
from appliance.console.people import Identity
from appliance.console.shelf import Item, Shelf, written

KIND = "session"
TOUCH_SECONDS = 30.0
"""How exactly the last use is kept: a write per request would be one too many."""


class SignedIn(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session as stored. Times are unix seconds."""

    identity: Identity
    began: float
    seen: float
    ends: float
    """Whatever happens."""
    address: str = ""
    agent: str = ""
    """The browser's own word."""


class SignInSessions:
    """`idle` and `longest` in seconds."""

    def __init__(
        self,
        shelf: Shelf,
        now: Callable[[], float],
        entropy: Entropy,
        idle: float,
        longest: float,
    ) -> None:
        self._shelf = shelf
        self._now = now
        self._entropy = entropy
        self._idle = idle
        self._longest = longest

    async def begin(self, identity: Identity, address: str, agent: str, before: str) -> str:
        """The new cookie. `before`: the cookie the browser came with, '' for none."""
        if before:
            await self.end(digest(before))
        now, cookie = self._now(), new_secret(self._entropy)
        session = SignedIn(identity, now, now, now + self._longest, address, agent[:200])
        await self._shelf.put(self._item(digest(cookie), session))
        return cookie

    async def find(self, cookie: str, use: bool = True) -> SignedIn | None:
        """The session; None when there is none (any more). `use`: it was used now."""
        key, now = digest(cookie), self._now()
        item = await self._shelf.get(KIND, key)
        if item is None or now >= item.expires:
            return None
        session = msgspec.json.decode(item.body, type=SignedIn)
        if not use or now - session.seen < TOUCH_SECONDS:
            return session
        touched = msgspec.structs.replace(session, seen=now)
        # When it fails, somebody else touched or ended it: either is right.
        await self._shelf.replace(self._item(key, touched), item.body)
        return touched

    async def alive(self, cookie: str) -> bool:
        """Without counting as a use."""
        item = await self._shelf.get(KIND, digest(cookie))
        return item is not None and self._now() < item.expires

    async def end(self, key: str) -> SignedIn | None:
        item = await self._shelf.take(KIND, key)
        return None if item is None else msgspec.json.decode(item.body, type=SignedIn)

    async def of(self, owner: str | None) -> list[tuple[str, SignedIn]]:
        """(key, session) of one person, or of everybody."""
        now = self._now()
        return [
            (item.key, msgspec.json.decode(item.body, type=SignedIn))
            for item in await self._shelf.of(KIND, owner)
            if now < item.expires
        ]

    def _item(self, key: str, session: SignedIn) -> Item:
        expires = min(session.ends, session.seen + self._idle)
        return Item(KIND, key, session.identity.owner, written(session), expires)
