"""The desk over the store: what people (and programs in their name) do about approvals.

Made by `main`; used by the console, notifications and tests through `desk.Desk`. The workers' side
of the same requests is `held`. Rules: see `desk`; who may decide is `approval/ruling`'s to say.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

import msgspec

from appliance.approval.people import Who, called
from appliance.approval.request import Person, Request, State, Vote
from appliance.approval.ruling import objection, outcome
from appliance.approval.standing import GrantState, Scope, StandingGrant
from appliance.audit.record import AdminActed, RequestVoted
from appliance.control.changes import Changes, Work
from appliance.control.desk import Change, Conflict, LiveSession, NotAllowed, Unknown
from appliance.control.grants import Grants
from appliance.control.held import end, record_ruling, unless_expired
from appliance.control.rights import (
    ADMIN,
    as_seen,
    concerns,
    could_be_kept,
    is_of,
    may_break_glass,
    said,
    sees_everything,
)

LISTED_MAX = 500
NO_REQUEST = "there is no such request"


class LiveSessions(Protocol):
    """Who is connected; `links` knows."""

    def live(self) -> list[LiveSession]: ...

    async def end(self, session: str, by: str, reason: str) -> bool:
        """Tells the session's worker. False when there is no such session (any more)."""


class OtherSessions(Protocol):
    """Who is connected to other appliances on this store; `neighbours` knows."""

    async def live(self) -> list[LiveSession]: ...

    async def end(self, session: str, node: str, by: str, reason: str) -> bool:
        """Whether that appliance has carried it out."""


class Nobody:
    """Before any worker has come."""

    def live(self) -> list[LiveSession]:
        return []

    async def end(self, session: str, by: str, reason: str) -> bool:
        return False


class Approvals:
    """See `desk.Desk`."""

    def __init__(
        self,
        changes: Changes,
        break_glass: Iterable[str] = (),
        sessions: LiveSessions | None = None,
        others: OtherSessions | None = None,
    ) -> None:
        """`break_glass`: groups whose members may approve requests of their own."""
        self._changes = changes
        self._grants = Grants(changes)
        self._break_glass = frozenset(break_glass)
        self._sessions: LiveSessions = sessions or Nobody()
        self._others = others

    # Requests.

    async def requests(
        self,
        person: Person,
        *,
        state: State | None = None,
        principal: str = "",
        before: str = "",
        limit: int = 100,
    ) -> list[Request]:
        if not could_be_kept(principal, before, *person.who, person.on_behalf_of or ""):
            return []
        async with self._changes.reading() as tx:
            everything = sees_everything(person)
            found = await tx.requests(
                state=state,
                principal=principal,
                concerning=None if everything else person.who,
                acting_for="" if everything else person.on_behalf_of or "",
                before=before,
                limit=max(1, min(limit, LISTED_MAX)),
            )
        return [as_seen(request, person) for request in found]

    async def request(self, person: Person, id: str) -> Request:
        if not could_be_kept(id):
            raise Unknown(NO_REQUEST)
        async with self._changes.reading() as tx:
            request = await tx.look(id)
        if request is None or not _sees(person, request):
            raise Unknown(NO_REQUEST)
        return as_seen(request, person)

    async def vote(self, person: Person, id: str, approve: bool, reason: str = "") -> Request:
        reason = said(reason)
        if not approve and not reason:
            raise Conflict("a denial needs a reason")
        async with self._changes.work() as work:
            request = await self._pending(work, person, id)
            if request.state is State.PENDING:
                if words := objection(request, person):
                    raise NotAllowed(words)
                ballot = _ballot(person, approve, work.now, reason)
                return await _count(work, request, ballot)
        raise Conflict(f"this request is {request.state.value}")

    async def break_glass(self, person: Person, id: str, reason: str) -> Request:
        reason = said(reason)
        if not reason:
            raise Conflict("an emergency needs a reason")
        async with self._changes.work() as work:
            request = await self._pending(work, person, id)
            if request.state is State.PENDING:
                if words := may_break_glass(request.asked, person, self._break_glass):
                    raise NotAllowed(words)
                ballot = _ballot(person, True, work.now, reason, break_glass=True)
                return as_seen(await _count(work, request, ballot), person)
        raise Conflict(f"this request is {request.state.value}")

    async def withdraw(self, person: Person, id: str) -> Request:
        async with self._changes.work() as work:
            request = await self._pending(work, person, id)
            if request.state in (State.PENDING, State.APPROVED):
                if not concerns(request.asked, person):
                    raise NotAllowed("only whoever asked can withdraw a request")
                ended = await end(work, request, State.WITHDRAWN, by=person.name)
                return as_seen(ended, person)
        raise Conflict(f"this request is {request.state.value}")

    async def _pending(self, work: Work, person: Person, id: str) -> Request:
        """Whatever its state is now. Raises Unknown."""
        kept = await work.tx.request(id) if could_be_kept(id) else None
        if kept is None or not _sees(person, kept.request):
            raise Unknown(NO_REQUEST)
        return await unless_expired(work, kept)

    # Standing grants.

    async def grants(
        self, person: Person, *, state: GrantState | None = None, limit: int = 100
    ) -> list[StandingGrant]:
        return await self._grants.listed(person, state, max(1, min(limit, LISTED_MAX)))

    async def propose_grant(
        self, person: Person, scope: Scope, until: float, reason: str
    ) -> StandingGrant:
        return await self._grants.propose(person, scope, until, reason)

    async def rule_grant(
        self, person: Person, id: str, approve: bool, reason: str = ""
    ) -> StandingGrant:
        return await self._grants.rule(person, id, approve, reason)

    async def revoke_grant(self, person: Person, id: str, reason: str = "") -> StandingGrant:
        return await self._grants.revoke(person, id, reason)

    # Sessions.

    async def sessions(self, person: Person) -> list[LiveSession]:
        live = [*self._sessions.live(), *await self._elsewhere()]
        if sees_everything(person):
            return live
        return [one for one in live if _is_of(one, person)]

    async def end_session(self, person: Person, session: str, reason: str = "") -> None:
        if ADMIN not in person.roles:
            raise NotAllowed("your account does not have the role admin")
        reason = said(reason)
        own = any(one.seen.id == session for one in self._sessions.live())
        nodes = [one.node for one in await self._elsewhere() if one.seen.id == session]
        if not (own or nodes):
            raise Unknown("there is no such session")
        async with self._changes.work() as work:
            work.record(
                AdminActed(
                    id=work.id(),
                    time=work.now,
                    session=session,
                    person=person.name,
                    source=person.source,
                    action="session_ended",
                    reason=reason,
                    via=person.via,
                )
            )
            work.tell("session", session)
        if own:
            ended = await self._sessions.end(session, person.name, reason)
        else:
            assert self._others is not None
            ended = await self._others.end(session, nodes[0], person.name, reason)
        if not ended:
            raise Conflict("the session's worker cannot be reached")

    async def _elsewhere(self) -> list[LiveSession]:
        return [] if self._others is None else await self._others.live()

    def watch(self) -> AsyncIterator[Change]:
        return self._changes.watch()


def _sees(person: Person, request: Request) -> bool:
    return sees_everything(person) or concerns(request.asked, person)


def _is_of(one: LiveSession, person: Person) -> bool:
    seen = one.seen
    return is_of(Who(seen.source, seen.principal), seen.on_behalf_of, person)


def _ballot(
    person: Person, approve: bool, now: float, reason: str, break_glass: bool = False
) -> Vote:
    return Vote(
        person.name,
        approve,
        now,
        reason,
        person.via,
        person.groups,
        break_glass,
        person.source,
    )


async def _count(work: Work, request: Request, ballot: Vote) -> Request:
    """The request with one more vote, decided if that decides it."""
    votes = (*request.votes, ballot)
    state = outcome(request, votes)
    changed = msgspec.structs.replace(request, votes=votes, state=state)
    if state is not State.PENDING:
        approved = state is State.APPROVED
        by = called([v.who for v in votes if v.approve is approved])
        until = work.now + request.asked.terms.grant_seconds
        changed = msgspec.structs.replace(
            changed,
            expires=until if approved else request.expires,
            ended=work.now,
            ended_by=by,
            reason=ballot.reason,
        )
    await work.tx.put_request(changed)
    work.record(
        RequestVoted(
            id=work.id(),
            time=work.now,
            session=request.asked.session,
            request=request.asked.id,
            person=ballot.person,
            source=ballot.source,
            approve=ballot.approve,
            groups=ballot.groups,
            reason=ballot.reason,
            via=ballot.via,
            break_glass=ballot.break_glass,
        )
    )
    if state is State.PENDING:
        work.tell("request_voted", request.asked.id, state.value)
    else:
        record_ruling(work, changed, ballot.break_glass)
    return changed
