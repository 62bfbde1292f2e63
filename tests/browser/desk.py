"""A desk in memory for tests of pages: what `Desk` promises, without a store or a trail."""

import asyncio
from collections.abc import AsyncIterator

import msgspec

from appliance.approval import ruling
from appliance.approval.request import Asked, Person, Request, State, Vote
from appliance.approval.standing import GrantState, Scope, StandingGrant
from appliance.control.desk import Change, Conflict, LiveSession, NotAllowed, Unknown
from appliance.control.rights import concerns, sees_everything

replace = msgspec.structs.replace


class MemoryDesk:
    def __init__(self, now) -> None:
        self.now = now
        self.held: dict[str, Request] = {}
        self.standing: dict[str, StandingGrant] = {}
        self.live: dict[str, LiveSession] = {}
        self.ended: list[tuple[str, str, str]] = []
        self._watchers: set[asyncio.Queue[Change]] = set()

    @property
    def watchers(self) -> int:
        return len(self._watchers)

    def tell(self, kind: str, id: str, state: str = "") -> None:
        for watcher in self._watchers:
            watcher.put_nowait(Change(kind, id, state))

    def hold(self, asked: Asked, **more: object) -> Request:
        request = Request(
            asked=asked,
            **{"state": State.PENDING, "expires": asked.time + asked.terms.wait_seconds} | more,
        )
        self.held[asked.id] = request
        self.tell("request_made", asked.id, "pending")
        return request

    async def requests(self, person, *, state=None, principal="", before="", limit=100):
        found = [
            one
            for id, one in sorted(self.held.items(), reverse=True)
            if (state is None or one.state is state)
            and (not principal or principal == one.asked.principal)
            and (not before or id < before)
            and self._sees(person, one)
        ]
        return found[:limit]

    def _sees(self, person: Person, one: Request) -> bool:
        return sees_everything(person) or concerns(one.asked, person)

    async def request(self, person: Person, id: str) -> Request:
        found = self.held.get(id)
        if found is None or not self._sees(person, found):
            raise Unknown("there is no such request")
        return found

    def _put(self, request: Request) -> Request:
        self.held[request.asked.id] = request
        self.tell("request_ruled", request.asked.id, request.state.value)
        return request

    async def vote(self, person: Person, id: str, approve: bool, reason: str = "") -> Request:
        request = await self.request(person, id)
        if objection := ruling.objection(request, person):
            raise NotAllowed(objection)
        vote = Vote(person.name, approve, self.now(), reason, person.via, person.groups)
        return self._cast(request, vote)

    def _cast(self, request: Request, vote: Vote) -> Request:
        votes = (*request.votes, vote)
        state = ruling.outcome(request, votes)
        ended = {} if state is State.PENDING else {"ended": self.now(), "ended_by": vote.person}
        return self._put(replace(request, votes=votes, state=state, reason=vote.reason, **ended))

    async def break_glass(self, person: Person, id: str, reason: str) -> Request:
        request = await self.request(person, id)
        vote = Vote(person.name, True, self.now(), reason, person.via, break_glass=True)
        return self._cast(request, vote)

    async def withdraw(self, person: Person, id: str) -> Request:
        request = await self.request(person, id)
        return self._put(replace(request, state=State.WITHDRAWN, ended=self.now()))

    async def grants(self, person, *, state=None, limit=100):
        found = (one for one in self.standing.values() if state is None or one.state is state)
        return list(found)[:limit]

    async def propose_grant(self, person, scope: Scope, until: float, reason: str):
        id = f"g{len(self.standing)}"
        self.standing[id] = StandingGrant(
            *(), id=id, scope=scope, state=GrantState.PROPOSED, reason=reason,
            proposed_by=person.name, proposed=self.now(), until=until,
        )  # fmt: skip
        self.tell("grant_proposed", id)
        return self.standing[id]

    async def rule_grant(self, person, id: str, approve: bool, reason: str = ""):
        if self.standing[id].state is not GrantState.PROPOSED:
            raise Conflict("this grant was decided already")
        state = GrantState.ACTIVE if approve else GrantState.DENIED
        ruled = replace(self.standing[id], state=state, decided_by=person.name, decided=self.now())
        self.standing[id] = ruled
        self.tell("grant_ruled", id)
        return ruled

    async def revoke_grant(self, person, id: str, reason: str = ""):
        revoked = replace(
            self.standing[id], state=GrantState.REVOKED, revoked_by=person.name, revoked=self.now()
        )
        self.standing[id] = revoked
        self.tell("grant_revoked", id)
        return revoked

    async def sessions(self, person) -> list[LiveSession]:
        return list(self.live.values())

    async def end_session(self, person, session: str, reason: str = "") -> None:
        if self.live.pop(session, None) is None:
            raise Unknown("there is no such session")
        self.ended.append((session, person.name, reason))
        self.tell("session", session)

    async def watch(self) -> AsyncIterator[Change]:
        queue: asyncio.Queue[Change] = asyncio.Queue()
        self._watchers.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._watchers.discard(queue)
