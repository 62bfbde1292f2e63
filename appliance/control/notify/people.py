"""Who a Slack user is here: a name in the users file, with the groups and roles it has now.

Used by `slack_interactions` at each click. Rules: who is not mapped, not in the file or disabled
there is nobody; what the file says at the moment of the vote counts; whoever is known to an
identity provider only cannot vote from Slack, because nobody vouches for their groups there.
"""

import asyncio
from collections.abc import Callable, Mapping

from appliance.approval.request import Person
from appliance.config.control import Control, Namesakes
from appliance.identity.verifiers import Directory
from appliance.model.principal import LOCAL


class People:
    def __init__(
        self, people: Mapping[str, str], control: Control, read: Callable[[], Directory]
    ) -> None:
        """`people`: Slack user id -> name. `read`: the users file, blocking; raises OSError,
        ValueError."""
        self._people = people
        self._control = control
        self._read = read

    async def person(self, user: str) -> Person | None:
        """None = may do nothing. Raises what `read` raises."""
        name = self._people.get(user)
        if name is None:
            return None
        principal = (await asyncio.to_thread(self._read)).principal(name)
        if principal is None:
            return None
        return Person(
            name=principal.name,
            kind=principal.kind,
            groups=principal.groups,
            on_behalf_of=principal.on_behalf_of,
            roles=self._control.roles.of(principal.groups),
            via="slack",
            source="" if self._control.namesakes is Namesakes.SAME else LOCAL,
            distinct=self._control.namesakes is Namesakes.DIFFERENT,
        )
