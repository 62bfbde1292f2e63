"""What is told about a request, a standing grant or the policy, and what has happened to one.

`dispatch` derives notices from what the store holds, keeps them in the outbox and gives them to
sinks. Pure. Rules: a notice carries the redacted statement, never `sql`, never parameters; its id
is made of what happened to what, so that however often and by whichever appliance it is derived, it
is the same notice.
"""

import enum
from collections.abc import Iterator

import msgspec

from appliance.approval.request import Request, State, Vote
from appliance.approval.ruling import outcome
from appliance.approval.standing import GrantState, Scope, StandingGrant
from appliance.audit.redact import clean_name, clean_text
from appliance.control.desk import Activation
from appliance.model.approval import Need

STATEMENT_BYTES_MAX = 16 * 1024
REASON_CHARS_MAX = 2_000
TOUCHED_MAX = 50


class Event(enum.Enum):
    """What happened. The values are what webhooks call `type`."""

    MADE = "request.made"
    ESCALATED = "request.escalated"
    APPROVED = "request.approved"
    BREAK_GLASS = "request.break_glass"
    DENIED = "request.denied"
    EXPIRED = "request.expired"
    WITHDRAWN = "request.withdrawn"
    USED = "request.used"
    GRANT_PROPOSED = "grant.proposed"
    GRANT_APPROVED = "grant.approved"
    GRANT_DENIED = "grant.denied"
    GRANT_REVOKED = "grant.revoked"
    POLICY_CHANGED = "policy.changed"
    POLICY_ROLLED_BACK = "policy.rolled_back"
    POLICY_TAKEN_BACK = "policy.taken_back"


RANKS = {event: rank * 1_000 for rank, event in enumerate(Event)}

LOUD = frozenset((Event.BREAK_GLASS, Event.ESCALATED))
"""People are told again, not only shown a changed message."""

ALARMS = frozenset((Event.BREAK_GLASS, Event.POLICY_ROLLED_BACK, Event.POLICY_TAKEN_BACK))
"""Everybody who can be told is."""


UNVOTED = frozenset((State.APPROVED, State.USED, State.DENIED))
"""Without votes, these come from a standing grant, or from its revocation."""


class ToldVote(msgspec.Struct, frozen=True):
    person: str
    approve: bool
    reason: str
    break_glass: bool


class ToldRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Times are unix seconds; rows None = not known."""

    principal: str
    kind: str
    on_behalf_of: str | None
    application: str
    address: str
    target: str
    environment: str
    database: str
    statement: str
    """Redacted."""
    touched: tuple[str, ...]
    """E.g. `update shop.orders (status)`."""
    complete: bool
    flags: tuple[str, ...]
    reasons: tuple[str, ...]
    rows_estimated: int | None
    rows_counted: int | None
    rows_allowed: int | None = None
    effect_note: str
    in_transaction: bool
    needs: tuple[Need, ...]
    escalate_groups: tuple[str, ...]
    escalated: bool
    votes: tuple[ToldVote, ...]
    uses: int
    used: int
    expires: float


class ToldGrant(msgspec.Struct, frozen=True, kw_only=True):
    scope: Scope
    proposed_by: str
    reason: str
    until: float


class ToldPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Which policy everybody goes by since then."""

    version: str
    previous: str
    cause: str
    """files, activated, rolled_back, taken_back"""
    node: str
    via: str


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    """Idempotency key: `<subject>.<what happened>`."""
    event: Event
    time: float
    """When it happened, unix seconds."""
    subject: str
    """Id of the request or grant; `policy` and a number."""
    url: str
    """Where people see and decide it."""
    state: str
    """Of the subject when the notice was made."""
    by: str = ""
    """Who did it; '' = nobody (it expired, its client is gone)."""
    reason: str = ""
    useful_until: float | None = None
    """After this it is no use to a person, for it asks for a decision; None = always of use."""
    request: ToldRequest | None = None
    grant: ToldGrant | None = None
    policy: ToldPolicy | None = None

    @property
    def rank(self) -> int:
        """Order among the notices of one subject."""
        return RANKS[self.event] + (self.request.used if self.request is not None else 0)


def of_request(request: Request, url: str) -> Iterator[Notice]:
    """Everything that has happened to it, in order. `url`: of the console, without a slash.

    Nothing for a request that a standing grant let pass: nobody had to do anything.
    """
    ruled = outcome(request, request.votes)
    if ruled is State.PENDING and (request.used or request.state in UNVOTED):
        return
    asked, state = request.asked, request.state
    open_until = request.expires if state is State.PENDING else (request.ended or 0.0)
    yield _told(request, url, Event.MADE, asked.time, by=asked.principal, until=open_until)
    if request.escalated:
        when = asked.time + asked.terms.escalate_seconds
        yield _told(request, url, Event.ESCALATED, when, until=open_until)
    ended = request.ended or asked.time
    if ruled is not State.PENDING:
        vote, event = _deciding(request, ruled)
        yield _told(request, url, event, vote.time, by=vote.person, reason=vote.reason)
    if state is State.EXPIRED:
        yield _told(request, url, Event.EXPIRED, ended)
    if state is State.WITHDRAWN:
        yield _told(request, url, Event.WITHDRAWN, ended, by=request.ended_by)
    if request.used:
        yield _told(
            request, url, Event.USED, ended, by=asked.principal, which=f"used.{request.used}"
        )


def of_grant(grant: StandingGrant, url: str) -> Iterator[Notice]:
    """Everything that has happened to it, in order."""
    proposed = grant.state is GrantState.PROPOSED
    until = grant.until if proposed else (grant.decided or grant.proposed)
    yield _told_grant(
        grant, url, Event.GRANT_PROPOSED, grant.proposed, grant.proposed_by, until=until
    )
    if grant.decided is not None:
        denied = grant.state is GrantState.DENIED
        event = Event.GRANT_DENIED if denied else Event.GRANT_APPROVED
        yield _told_grant(grant, url, event, grant.decided, grant.decided_by)
    if grant.revoked is not None:
        yield _told_grant(grant, url, Event.GRANT_REVOKED, grant.revoked, grant.revoked_by)


def of_policy(made: Activation, url: str) -> Notice:
    """That another version is active."""
    event = {
        "rolled_back": Event.POLICY_ROLLED_BACK,
        "taken_back": Event.POLICY_TAKEN_BACK,
    }.get(made.cause, Event.POLICY_CHANGED)
    subject = f"policy.{made.serial}"
    return Notice(
        id=f"{subject}.{event.value.partition('.')[2]}",
        event=event,
        time=made.time,
        subject=subject,
        url=f"{url}/policy/versions/{made.version}",
        state=made.cause,
        by=clean_name(made.by),
        reason=shown(made.reason, REASON_CHARS_MAX),
        policy=ToldPolicy(
            version=made.version,
            previous=made.previous,
            cause=made.cause,
            node=clean_name(made.node),
            via=clean_name(made.via),
        ),
    )


def _deciding(request: Request, ruled: State) -> tuple[Vote, Event]:
    """The vote that decided, and what to call it."""
    votes = request.votes
    if ruled is State.DENIED:
        return next(v for v in votes if not v.approve), Event.DENIED
    broken = next((v for v in votes if v.break_glass), None)
    if broken is not None:
        return broken, Event.BREAK_GLASS
    return votes[-1], Event.APPROVED


def _told(
    request: Request,
    url: str,
    event: Event,
    time: float,
    *,
    by: str = "",
    reason: str = "",
    until: float | None = None,
    which: str = "",
) -> Notice:
    asked = request.asked
    return Notice(
        id=f"{asked.id}.{which or event.value.partition('.')[2]}",
        event=event,
        time=time,
        subject=asked.id,
        url=f"{url}/requests/{asked.id}",
        state=request.state.value,
        by=clean_name(by),
        reason=shown(reason, REASON_CHARS_MAX),
        useful_until=until,
        request=_request(request),
    )


def _request(request: Request) -> ToldRequest:
    asked, terms, effect = request.asked, request.asked.terms, request.asked.effect
    return ToldRequest(
        principal=clean_name(asked.principal),
        kind=asked.kind.value,
        on_behalf_of=None if asked.on_behalf_of is None else clean_name(asked.on_behalf_of),
        application=clean_name(asked.application),
        address=clean_name(asked.address),
        target=clean_name(asked.target),
        environment=clean_name(asked.environment),
        database=clean_name(asked.database),
        statement=shown(asked.redacted, STATEMENT_BYTES_MAX),
        touched=tuple(_touched(request)),
        complete=asked.complete,
        flags=asked.flags[:TOUCHED_MAX],
        reasons=tuple(shown(reason, REASON_CHARS_MAX) for reason in asked.reasons[:TOUCHED_MAX]),
        rows_estimated=effect.rows_estimated,
        rows_counted=effect.rows_counted,
        rows_allowed=effect.rows_allowed,
        effect_note=shown(effect.note, REASON_CHARS_MAX),
        in_transaction=asked.in_transaction,
        needs=terms.needs,
        escalate_groups=terms.escalate_groups,
        escalated=request.escalated,
        votes=tuple(
            ToldVote(v.person, v.approve, shown(v.reason, REASON_CHARS_MAX), v.break_glass)
            for v in request.votes
        ),
        uses=terms.uses,
        used=request.used,
        expires=request.expires,
    )


def _touched(request: Request) -> Iterator[str]:
    for one in request.asked.touched[:TOUCHED_MAX]:
        resource = ".".join(part for part in (one.schema, one.name) if part)
        columns = f" ({', '.join(one.columns)})" if one.columns else ""
        yield clean_name(f"{one.action} {resource}{columns}".strip())


def _told_grant(
    grant: StandingGrant,
    url: str,
    event: Event,
    time: float,
    by: str,
    *,
    until: float | None = None,
) -> Notice:
    return Notice(
        id=f"{grant.id}.{event.value.partition('.')[2]}",
        event=event,
        time=time,
        subject=grant.id,
        url=f"{url}/grants",
        state=grant.state.value,
        by=clean_name(by),
        useful_until=until,
        grant=ToldGrant(
            scope=grant.scope,
            proposed_by=clean_name(grant.proposed_by),
            reason=shown(grant.reason, REASON_CHARS_MAX),
            until=grant.until,
        ),
    )


def shown(text: str, bytes_max: int) -> str:
    """Text for people: cut, and without what would turn its reading round or hide parts of it
    (controls, bidirectional overrides)."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
    return clean_text(text, bytes_max)
