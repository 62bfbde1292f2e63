"""Where sign-ins, API tokens and other short-lived credentials are kept: a small keyed shelf.

Used by `sessions`, `tokens`, `device`, `oidc`; kept in the store that approvals are in. Rules: a
key is the SHA-256 of a secret, never the secret; what has expired is as good as gone, whether it
was swept or not; `take` gives an item to one caller only.
"""

from typing import Protocol

import msgspec


class Item(msgspec.Struct, frozen=True):
    """One thing on the shelf."""

    kind: str
    key: str
    """Unique within the kind: hex digest, or a name."""
    owner: str
    """Whose it is, '' for nobody's yet."""
    body: str
    """What the owner of this kind wrote (JSON)."""
    expires: float
    """Unix seconds."""


class Shelf(Protocol):
    """All methods raise `desk.Unavailable` when the store cannot be reached. `get`, `take` and
    `of` know nothing of time: their caller compares `expires`."""

    async def put(self, item: Item) -> None:
        """Replaces one of the same kind and key."""
        ...

    async def get(self, kind: str, key: str) -> Item | None: ...

    async def take(self, kind: str, key: str) -> Item | None:
        """Removes it; of several callers at once one gets it."""
        ...

    async def replace(self, item: Item, before: str) -> bool:
        """Only if its body still is `before`; False = it is not, nothing was changed."""
        ...

    async def of(self, kind: str, owner: str | None = None, limit: int = 1000) -> list[Item]:
        """Those of an owner, or (None) everybody's."""
        ...


def written(content: object) -> str:
    """JSON text of a struct."""
    return msgspec.json.encode(content).decode()
