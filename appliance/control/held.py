"""What becomes of held statements: asked for, used, withdrawn, expired, escalated.

Called by `links` for workers and by `expiry` for the clock; people's side is `approvals`. Rules:
only `use` lets a statement run, once for each time it returns; an approval is found again only for
the very same binding, principal and terms; one that a waiting client asked for is that client's
alone until it was used.
"""

import re
from typing import NamedTuple

import msgspec

from appliance.approval.extent import released_rows
from appliance.approval.request import Asked, Request, State, Vote
from appliance.approval.ruling import outcome
from appliance.approval.standing import GrantState, StandingGrant, covers
from appliance.audit.record import RequestEscalated, RequestMade, RequestRuled, RequestUsed
from appliance.audit.redact import clean_name, clean_names, clean_text
from appliance.control.changes import Changes, Work
from appliance.control.desk import Conflict, DeskError, Unknown
from appliance.control.grants import GRANTS_MAX
from appliance.control.store import Kept
from appliance.model.limits import MIB

PENDING_MAX = 5_000
PENDING_OF_PRINCIPAL_MAX = 500
PENDING_BYTES_OF_PRINCIPAL_MAX = 64 * MIB
ASKED_BYTES_MAX = 8 * MIB

_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_BINDING = re.compile(r"[0-9a-f]{64}")


class Crowded(DeskError):
    """There are as many requests as there may be."""


class Release(NamedTuple):
    """A use that was given."""

    request: Request
    rows_max: int | None
    """Rows that it may write; None = the approval says nothing of that."""


class Held:
    """Requests, as workers and the clock see them. All methods raise DeskError's kinds."""

    def __init__(self, changes: Changes, node: str, distinct: bool = False) -> None:
        """`distinct`: namesakes from different sources are different people (`people`)."""
        self._changes = changes
        self._distinct = distinct
        self._node = node

    async def ask(self, asked: Asked, waits: bool) -> Request:
        """The request under which this is kept from now on: a new one, or one made before."""
        asked = msgspec.structs.replace(asked, node=self._node)
        size = _checked(asked)
        async with self._changes.work() as work:
            await work.tx.serialise(asked.binding)
            known = await work.tx.request(asked.id)
            if known is not None:
                kept = known.request.asked
                if (kept.binding, kept.who) != (asked.binding, asked.who):
                    raise Conflict("this id belongs to another request")
                return await unless_expired(work, known)
            again = await _found_again(work, asked, waits)
            if again is not None:
                return again
            await _check_crowd(work, asked, size)
            return await _kept_anew(work, asked, waits, size, self._distinct)

    async def use(self, id: str, binding: str, session: str, attempt: str = "") -> Release:
        """Takes one use. When it returns, that statement may run, once. The same `attempt` again
        (because the answer got lost) is the same use. Raises Unknown or Conflict."""
        async with self._changes.work() as work:
            if attempt and await work.tx.used_before(id, attempt):
                return await _same_use(work, id, binding)
            kept = await work.tx.use(id, binding, work.now)
            if kept is None:
                if attempt and await work.tx.used_before(id, attempt):
                    return await _same_use(work, id, binding)
                raise await _useless(work, id, binding)
            request = kept.request
            if attempt:
                await work.tx.note_use(id, attempt, session, work.now)
            work.record(
                RequestUsed(
                    id=work.id(),
                    time=work.now,
                    session=session,
                    request=id,
                    binding=binding,
                    by=request.ended_by,
                    used=request.used,
                    uses=request.asked.terms.uses,
                    node=self._node,
                )
            )
            work.tell("request_used", id, request.state.value)
            return await _released(work, kept)

    async def withdraw(self, id: str, reason: str) -> None:
        """Whoever waited is gone. Does nothing to a ticket's request, to one that was used, or to
        one that ended."""
        async with self._changes.work() as work:
            kept = await work.tx.request(id)
            if kept is None or not kept.waits or kept.request.used:
                return
            if kept.request.state in (State.PENDING, State.APPROVED):
                await end(work, kept.request, State.WITHDRAWN, reason=clean_name(reason, 100))

    async def waiting(self) -> list[str]:
        """Requests of this appliance that a client waits for, as far as the store knows."""
        async with self._changes.reading() as tx:
            return await tx.waiting(self._node)

    async def decided(self, ids: list[str]) -> list[Request]:
        """Of these, the ones that are not pending (any more)."""
        async with self._changes.reading() as tx:
            return await tx.decided(ids)

    async def due(self, now: float, limit: int) -> list[str]:
        async with self._changes.reading() as tx:
            return await tx.due(now, limit)

    async def lapse(self, id: str) -> None:
        """Carries out what the clock says of one request: expiry, or escalation."""
        async with self._changes.work() as work:
            kept = await work.tx.request(id)
            if kept is None or kept.request.state not in (State.PENDING, State.APPROVED):
                return
            request = kept.request
            if work.now >= request.expires:
                await unless_expired(work, kept)
            elif request.state is State.PENDING and not request.escalated:
                await _escalate(work, request)


async def unless_expired(work: Work, kept: Kept) -> Request:
    """The request, as expired when its time is over."""
    request = kept.request
    if request.state in (State.PENDING, State.APPROVED) and work.now >= request.expires:
        return await end(work, request, State.EXPIRED)
    return request


async def end(
    work: Work, request: Request, state: State, by: str = "", reason: str = ""
) -> Request:
    """Ends a request otherwise than by votes."""
    ended = msgspec.structs.replace(
        request, state=state, ended=work.now, ended_by=by, reason=reason
    )
    await work.tx.put_request(ended)
    record_ruling(work, ended)
    return ended


def record_ruling(work: Work, request: Request, break_glass: bool = False) -> None:
    work.record(
        RequestRuled(
            id=work.id(),
            time=work.now,
            session=request.asked.session,
            request=request.asked.id,
            state=request.state.value,
            by=request.ended_by,
            reason=request.reason,
            break_glass=break_glass,
        )
    )
    work.tell("request_ruled", request.asked.id, request.state.value)


def _checked(asked: Asked) -> int:
    """Its size in bytes. Raises Conflict."""
    if not _ID.fullmatch(asked.id) or not _BINDING.fullmatch(asked.binding):
        raise Conflict("this is no request's id or binding")
    size = len(msgspec.msgpack.encode(asked))
    if size > ASKED_BYTES_MAX:
        raise Conflict(f"nobody can review a statement of {size // MIB} MiB")
    return size


async def _found_again(work: Work, asked: Asked, waits: bool) -> Request | None:
    """An earlier request for the very same statement that this one may go by."""
    answer = None
    for kept in await work.tx.alike(asked.binding, asked.principal):
        request = kept.request
        if request.asked.terms != asked.terms:  # policy asks for something else by now
            continue
        if work.now >= request.expires:  # a matter for `lapse`: here nothing is locked
            continue
        if request.state is State.APPROVED and (not kept.waits or request.used):
            return request
        if request.state is not State.APPROVED and not (kept.waits or waits):
            answer = request  # the last word: a no is not asked about again until its time is over
    return answer


async def _check_crowd(work: Work, asked: Asked, size: int) -> None:
    crowd = await work.tx.crowd(asked.who)
    if crowd.requests >= PENDING_MAX:
        raise Crowded("too many statements wait for a decision already")
    if (
        crowd.of_principal >= PENDING_OF_PRINCIPAL_MAX
        or crowd.bytes_of_principal + size > PENDING_BYTES_OF_PRINCIPAL_MAX
    ):
        raise Crowded("too many statements of yours wait for a decision already")


async def _kept_anew(work: Work, asked: Asked, waits: bool, size: int, distinct: bool) -> Request:
    asked_at = min(asked.time, work.now)
    expires = asked_at + asked.terms.wait_seconds
    request = Request(asked=asked, state=State.PENDING, expires=expires)
    grant = None
    if work.now >= expires:  # it waited for us for too long
        request = msgspec.structs.replace(request, state=State.EXPIRED, ended=work.now)
    else:
        grant = await _covering(work, request, distinct)
        if grant is not None:
            request = _by_grant(work, request, grant)
    escalates = None
    if asked.terms.escalate_seconds:
        escalates = asked_at + asked.terms.escalate_seconds
    await work.tx.add_request(Kept(request, waits, grant.id if grant else ""), size, escalates)
    work.record(_made(work, asked, waits))
    work.tell("request_made", asked.id, request.state.value)
    if request.state is not State.PENDING:
        record_ruling(work, request)
    return request


def _made(work: Work, asked: Asked, waits: bool) -> RequestMade:
    return RequestMade(
        id=work.id(),
        time=work.now,
        session=asked.session,
        request=asked.id,
        principal=clean_name(asked.principal),
        kind=asked.kind,
        target=asked.target,
        database=clean_name(asked.database),
        sql=clean_text(asked.redacted),
        binding=asked.binding,
        node=asked.node,
        on_behalf_of=asked.on_behalf_of,
        source=asked.source,
        rules=clean_names(need.rule for need in asked.terms.needs),
        waits=waits,
        policy_version=asked.policy_version,
    )


async def _covering(work: Work, request: Request, distinct: bool) -> StandingGrant | None:
    """A standing grant that approves this, with one use of it counted."""
    active = await work.tx.grants(state=GrantState.ACTIVE, proposed_by="", limit=GRANTS_MAX)
    for grant in active:
        if (
            covers(grant, request.asked, work.now)
            and agrees(grant, request, distinct)
            and await work.tx.use_grant(grant.id, work.now)
        ):
            return grant
    return None


def agrees(grant: StandingGrant, request: Request, distinct: bool = False) -> bool:
    """Whether whoever agreed to the grant could have approved this request, alone."""
    asked = request.asked
    decider = grant.decider
    mine = decider.may_be_same(asked.who, distinct) or (
        asked.may_be_for(decider, distinct) and not asked.terms.human_may_approve
    )
    vote = Vote(grant.decided_by, True, grant.decided or 0.0, groups=grant.decided_groups)
    return not mine and outcome(request, (vote,)) is State.APPROVED


def _by_grant(work: Work, request: Request, grant: StandingGrant) -> Request:
    return msgspec.structs.replace(
        request,
        state=State.APPROVED,
        expires=min(work.now + request.asked.terms.grant_seconds, grant.until),
        ended=work.now,
        ended_by=f"grant:{grant.id}",
        reason=grant.reason,
    )


async def _escalate(work: Work, request: Request) -> None:
    terms = request.asked.terms
    if not terms.escalate_seconds or work.now < request.asked.time + terms.escalate_seconds:
        return
    await work.tx.put_request(msgspec.structs.replace(request, escalated=True))
    work.record(
        RequestEscalated(
            id=work.id(),
            time=work.now,
            session=request.asked.session,
            request=request.asked.id,
            groups=terms.escalate_groups,
        )
    )
    work.tell("request_escalated", request.asked.id, request.state.value)


async def _same_use(work: Work, id: str, binding: str) -> Release:
    kept = await work.tx.request(id)
    if kept is None or kept.request.asked.binding != binding:
        raise Conflict("the approval is for another statement")
    return await _released(work, kept)


async def _released(work: Work, kept: Kept) -> Release:
    """Under the limit of the standing grant that approved it, too. (Were that gone, so would be
    what it approved.)"""
    grant = await work.tx.grant(kept.grant) if kept.grant else None
    of_grant = None if grant is None else grant.scope.rows_max
    return Release(kept.request, released_rows(kept.request, of_grant))


async def _useless(work: Work, id: str, binding: str) -> DeskError:
    """Why there was nothing to use."""
    request = await work.tx.look(id)
    if request is None:
        return Unknown("there is no such request")
    if request.asked.binding != binding:
        return Conflict("the approval is for another statement")
    if request.state is State.APPROVED:
        return Conflict("the approval has expired")
    return Conflict(f"the request is {request.state.value}")
