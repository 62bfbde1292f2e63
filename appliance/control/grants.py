"""Standing grants: proposed, agreed to, revoked, expired.

Part of the desk (`approvals` passes these calls on); `held` looks for one that covers a request.
Rules: nobody agrees to a grant that they proposed or that is for themselves; a revocation also ends
what the grant has approved and nobody has used yet.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import msgspec

from appliance.approval.people import Who
from appliance.approval.request import Person, State
from appliance.approval.ruling import APPROVER
from appliance.approval.standing import GrantState, Scope, StandingGrant
from appliance.audit.record import GrantProposed, GrantRuled, RequestRuled
from appliance.control.changes import Changes, Work
from appliance.control.desk import Conflict, NotAllowed, Unknown
from appliance.control.rights import ADMIN, could_be_kept, said, sees_everything
from appliance.model.principal import PrincipalKind

GRANTS_MAX = 1_000
"""Proposed or active at a time."""
PROPOSED_MAX = 50
"""Of one person's that nobody has decided on."""
LASTS_SECONDS_MAX = 90 * 86_400
PATTERNS_MAX = 100
PATTERN_CHARS_MAX = 256


class Grants:
    """See `desk.Desk`, whose methods these are."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    async def listed(
        self, person: Person, state: GrantState | None, limit: int
    ) -> list[StandingGrant]:
        async with self._changes.reading() as tx:
            found = await tx.grants(state=state, proposed_by="", limit=GRANTS_MAX)
        return [grant for grant in found if _sees(person, grant)][:limit]

    async def propose(
        self, person: Person, scope: Scope, until: float, reason: str
    ) -> StandingGrant:
        reason = said(reason)
        _check_scope(scope)
        if person.kind is not PrincipalKind.HUMAN and scope.principals != (person.name,):
            raise NotAllowed("programs can propose grants for themselves only")
        if not reason:
            raise Conflict("a grant needs a reason")
        async with self._changes.work() as work:
            if not work.now < until <= work.now + LASTS_SECONDS_MAX:
                raise Conflict(f"a grant ends within {LASTS_SECONDS_MAX // 86_400} days")
            await work.tx.serialise("grants")
            await _check_crowd(work, person)
            grant = StandingGrant(
                id=work.id(),
                scope=scope,
                state=GrantState.PROPOSED,
                reason=reason,
                proposed_by=person.name,
                proposed_source=person.source,
                proposed=work.now,
                until=until,
            )
            await work.tx.add_grant(grant)
            work.record(_proposed(work, grant, person))
            work.tell("grant_proposed", grant.id, grant.state.value)
        return grant

    async def rule(self, person: Person, id: str, approve: bool, reason: str) -> StandingGrant:
        reason = said(reason)
        if not approve and not reason:
            raise Conflict("a denial needs a reason")
        async with self._changes.work() as work:
            grant = await self._known(work, person, id)
            if grant.state is not GrantState.PROPOSED or work.now >= grant.until:
                raise Conflict(f"this grant is {_now(grant, work.now).value}")
            if words := _objection(grant, person):
                raise NotAllowed(words)
            ruled = msgspec.structs.replace(
                grant,
                state=GrantState.ACTIVE if approve else GrantState.DENIED,
                decided_by=person.name,
                decided_source=person.source,
                decided=work.now,
                decided_groups=person.groups,
            )
            await work.tx.put_grant(ruled)
            _record(work, ruled, person, reason)
            work.tell("grant_ruled", id, ruled.state.value)
        return ruled

    async def revoke(self, person: Person, id: str, reason: str) -> StandingGrant:
        reason = said(reason)
        async with self._changes.work() as work:
            grant = await self._known(work, person, id)
            own = any(person.who.is_same(who) for who in (grant.proposer, grant.decider))
            if not own and not person.roles & {ADMIN, APPROVER}:
                raise NotAllowed("only its proposer, approvers and administrators can revoke it")
            if grant.state not in (GrantState.PROPOSED, GrantState.ACTIVE):
                raise Conflict(f"this grant is {grant.state.value}")
            revoked = msgspec.structs.replace(
                grant, state=GrantState.REVOKED, revoked_by=person.name, revoked=work.now
            )
            await work.tx.put_grant(revoked)
            _record(work, revoked, person, reason)
            work.tell("grant_revoked", id, revoked.state.value)
            await _end_requests(work, id, person.name, "the standing grant was revoked")
        return revoked

    async def due(self, now: float, limit: int) -> list[str]:
        async with self._changes.reading() as tx:
            return await tx.grants_due(now, limit)

    async def lapse(self, id: str) -> None:
        """Carries out that a grant has expired."""
        async with self._changes.work() as work:
            grant = await work.tx.grant(id)
            if grant is None or _now(grant, work.now) is grant.state:
                return
            expired = msgspec.structs.replace(grant, state=GrantState.EXPIRED)
            await work.tx.put_grant(expired)
            _record(work, expired)
            work.tell("grant_ruled", id, expired.state.value)

    async def _known(self, work: Work, person: Person, id: str) -> StandingGrant:
        grant = await work.tx.grant(id) if could_be_kept(id) else None
        if grant is None or not _sees(person, grant):
            raise Unknown("there is no such grant")
        return grant


def _sees(person: Person, grant: StandingGrant) -> bool:
    return (
        sees_everything(person) or person.who.is_same(grant.proposer) or _is_for(grant, person.who)
    )


def _is_for(grant: StandingGrant, who: Who) -> bool:
    scope = grant.scope
    named = any(fnmatchcase(who.name, pattern) for pattern in scope.principals)
    return named and (
        not who.source or any(fnmatchcase(who.source, pattern) for pattern in scope.sources)
    )


def _objection(grant: StandingGrant, person: Person) -> str:
    """Why this person may not decide on it, '' if they may."""
    if person.kind is not PrincipalKind.HUMAN:
        return "only people can decide on grants"
    if APPROVER not in person.roles:
        return "your account does not have the role approver"
    if person.who.may_be_same(grant.proposer, person.distinct):
        return "nobody decides on a grant of their own"
    # Without being sure, for whatever source it is: '' fits every one.
    if _is_for(grant, person.who if person.distinct else Who("", person.name)):
        return "this grant would be for you, too, so somebody else has to decide"
    return ""


def _now(grant: StandingGrant, now: float) -> GrantState:
    live = grant.state in (GrantState.PROPOSED, GrantState.ACTIVE)
    return GrantState.EXPIRED if live and now >= grant.until else grant.state


async def _check_crowd(work: Work, person: Person) -> None:
    proposed = await work.tx.grants(state=GrantState.PROPOSED, proposed_by="", limit=GRANTS_MAX)
    active = await work.tx.grants(state=GrantState.ACTIVE, proposed_by="", limit=GRANTS_MAX)
    own = sum(person.who.is_same(grant.proposer) for grant in proposed)
    if len(proposed) + len(active) >= GRANTS_MAX or own >= PROPOSED_MAX:
        raise Conflict("there are too many standing grants already")


def _check_scope(scope: Scope) -> None:
    """Raises Conflict."""
    named: Sequence[tuple[str, tuple[str, ...]]] = (
        ("principals", scope.principals),
        ("targets", scope.targets),
        ("actions", scope.actions),
        ("resources", scope.resources),
        ("databases", scope.databases),
        ("sources", scope.sources),
    )
    for name, patterns in named:
        if not 0 < len(patterns) <= PATTERNS_MAX:
            raise Conflict(f"a grant needs 1 to {PATTERNS_MAX} {name}")
        if not all(0 < len(p) <= PATTERN_CHARS_MAX and p.isprintable() for p in patterns):
            raise Conflict(f"one of the {name} is empty, too long or not printable")
    if not all(1 <= pattern.count(".") <= 2 for pattern in scope.resources):
        raise Conflict("resources are schema.relation or schema.relation.column")
    if scope.rows_max is not None and scope.rows_max < 0:
        raise Conflict("rows_max is below 0")


async def _end_requests(work: Work, grant: str, by: str, reason: str) -> None:
    for request in await work.tx.approved_by(grant):
        ended = msgspec.structs.replace(
            request, state=State.DENIED, ended=work.now, ended_by=by, reason=reason
        )
        await work.tx.put_request(ended)
        work.record(
            RequestRuled(
                id=work.id(),
                time=work.now,
                session=request.asked.session,
                request=request.asked.id,
                state=ended.state.value,
                by=by,
                reason=reason,
            )
        )
        work.tell("request_ruled", request.asked.id, ended.state.value)


def _proposed(work: Work, grant: StandingGrant, person: Person) -> GrantProposed:
    scope = grant.scope
    return GrantProposed(
        id=work.id(),
        time=work.now,
        grant=grant.id,
        person=person.name,
        source=person.source,
        sources=scope.sources,
        principals=scope.principals,
        targets=scope.targets,
        databases=scope.databases,
        actions=scope.actions,
        resources=scope.resources,
        until=grant.until,
        rows_max=scope.rows_max,
        reason=grant.reason,
        via=person.via,
    )


def _record(
    work: Work, grant: StandingGrant, person: Person | None = None, reason: str = ""
) -> None:
    """`person` None: nobody, its time is over."""
    work.record(
        GrantRuled(
            id=work.id(),
            time=work.now,
            grant=grant.id,
            state=grant.state.value,
            by="" if person is None else person.name,
            source="" if person is None else person.source,
            reason=reason,
            via="" if person is None else person.via,
        )
    )
