"""Who somebody is on the console, and which roles they have now.

Used by `authn` for every request. Rules: what the users file says now counts, not what it said at
the sign-in: a user who is disabled or gone is nobody, a group taken away takes its role along.
Whoever came from an identity provider has the groups of their last sign-in.
"""

from collections.abc import Callable, Iterable

import msgspec

from appliance.approval.request import Person
from appliance.config.control import ROLE_NAMES, Control, Namesakes, Roles
from appliance.console.shelf import Item, Shelf, written
from appliance.identity.verifiers import Directory
from appliance.model.principal import LOCAL, Principal, PrincipalKind

KIND = "person"
KNOWN_SECONDS = 400 * 86_400.0
"""Longer than any token lasts."""
BREAK_GLASS = "break_glass"
ROLES = ROLE_NAMES
"""What an API token can be given; `break_glass` lets nobody see more than is their own."""


class Identity(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who signed in, as it is stored with a session or token."""

    name: str
    source: str = LOCAL
    """LOCAL for the users file, else the provider's name."""
    kind: PrincipalKind = PrincipalKind.HUMAN
    groups: tuple[str, ...] = ()
    on_behalf_of: str | None = None

    @property
    def owner(self) -> str:
        """Names somebody across sources: two of one name from different sources are two."""
        return f"{self.source}:{self.name}"


def identity_of(principal: Principal, source: str = LOCAL) -> Identity:
    return Identity(
        principal.name, source, principal.kind, principal.groups, principal.on_behalf_of
    )


def roles_of(groups: Iterable[str], roles: Roles) -> frozenset[str]:
    """Roles of whoever is in these groups."""
    return roles.of(groups)


def present(identity: Identity, directory: Directory) -> Identity | None:
    """The same person as of now; None when they may not come any more."""
    if identity.source != LOCAL:
        return identity
    principal = directory.principal(identity.name)
    return None if principal is None else identity_of(principal)


class Acquaintances:
    """What identity providers said of people at their last sign-in: it counts for the sessions and
    tokens that they had before, too."""

    def __init__(self, shelf: Shelf, now: Callable[[], float]) -> None:
        self._shelf = shelf
        self._now = now

    async def meet(self, identity: Identity) -> None:
        if identity.source != LOCAL:
            expires = self._now() + KNOWN_SECONDS
            body = written(identity)
            await self._shelf.put(Item(KIND, identity.owner, identity.owner, body, expires))

    async def present(self, identity: Identity, directory: Directory) -> Identity | None:
        """The same person as of now; None when they may not come any more."""
        if identity.source == LOCAL:
            return present(identity, directory)
        item = await self._shelf.get(KIND, identity.owner)
        return identity if item is None else msgspec.json.decode(item.body, type=Identity)


def person_of(identity: Identity, control: Control, via: str) -> Person:
    """With the roles of now. Where namesakes are one person, whatever knows them is left out."""
    namesakes = control.namesakes
    return Person(
        name=identity.name,
        kind=identity.kind,
        groups=identity.groups,
        on_behalf_of=identity.on_behalf_of,
        roles=roles_of(identity.groups, control.roles),
        via=via,
        source="" if namesakes is Namesakes.SAME else identity.source,
        distinct=namesakes is Namesakes.DIFFERENT,
    )
