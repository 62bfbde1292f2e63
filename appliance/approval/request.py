"""One held statement as its approvers see it, and what became of it.

Made by the worker (`dataplane/approvals`), sent over `link/approvals`, kept by `control/store`,
shown by `console` and `cli`. Rules: what an approval lets through is named by `binding` and nothing
else; `sql` and parameters are for approvers' eyes only, whatever goes into logs, notifications and
the audit trail uses `redacted`.
"""

import enum

import msgspec

from appliance.approval.people import Who
from appliance.model.approval import HoldTerms
from appliance.model.principal import LOCAL, PrincipalKind


class State(enum.Enum):
    """Life of a request. Only APPROVED can be used; every other but PENDING is an end."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"  # nobody decided, or nobody used the approval, in time
    WITHDRAWN = "withdrawn"  # the client cancelled or is gone
    USED = "used"  # as often as it may be


ENDED = frozenset((State.DENIED, State.EXPIRED, State.WITHDRAWN, State.USED))


class Touched(msgspec.Struct, frozen=True, omit_defaults=True):
    """An action on a resource. `schema` and `name` are '' for an action that names none."""

    action: str
    schema: str = ""
    name: str = ""
    columns: tuple[str, ...] = ()
    """Read or written; ('*',) = whole rows; () = none in particular."""


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """One bound value, for people. `shown` None = hidden, because the statement touches classified
    columns, or the value is binary."""

    type: str = ""
    """Name or OID of its type as far as the client said, '' = left to the database."""
    shown: str | None = None
    null: bool = False


class Effect(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the database expects the statement to do."""

    rows_estimated: int | None = None
    """The planner's guess of the rows that are written (of a read: returned)."""
    rows_counted: int | None = None
    """Counted, where somebody has counted; the appliance itself only estimates so far."""
    rows_allowed: int | None = None
    """What it may write once it is approved: one that writes more is rolled back. None = no limit
    but policy's."""
    note: str = ""
    """Why there is no figure, or what it leaves out, for people."""

    @property
    def rows(self) -> int | None:
        """The better one of the figures."""
        return self.rows_estimated if self.rows_counted is None else self.rows_counted


class Asked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker asks approval for."""

    id: str
    """Unique; sorts by time (`audit.record.new_id`). Also the id that the client may quote."""
    binding: str
    """SHA-256 (hex) over everything that an approval holds for (`binding.digest`)."""
    time: float
    """Unix seconds."""
    node: str = ""
    """Which appliance."""
    worker: int = 0
    session: str
    principal: str
    kind: PrincipalKind
    groups: tuple[str, ...] = ()
    on_behalf_of: str | None = None
    source: str = ""
    """What knows the principal, and whoever it acts for (`people.Who`)."""
    address: str = ""
    application: str = ""
    """The client's own word."""
    target: str
    environment: str = ""
    database: str
    sql: str
    """The statement, exactly (UTF-8 with surrogate escapes replaced)."""
    redacted: str = ""
    """Without its literals."""
    parameters: tuple[Parameter, ...] = ()
    touched: tuple[Touched, ...] = ()
    complete: bool = True
    """False when the statement may do more than `touched` says (opaque, functions not known)."""
    functions: tuple[str, ...] = ()
    """Called, and not known to be harmless."""
    flags: tuple[str, ...] = ()
    terms: HoldTerms
    reasons: tuple[str, ...] = ()
    """Messages of the rules that hold it."""
    effect: Effect = Effect()
    in_transaction: bool = False
    policy_version: str = ""

    @property
    def who(self) -> Who:
        return Who(self.source, self.principal)

    @property
    def behind(self) -> Who | None:
        """Whom it was asked for."""
        return None if self.on_behalf_of is None else Who(self.source, self.on_behalf_of)

    def may_be_for(self, who: Who, distinct: bool) -> bool:
        """Whether it was, as far as an objection goes. The users file says a name only, which may
        be somebody's whom a provider knows; a token names somebody of its own provider."""
        behind = self.behind
        sure = distinct and self.source != LOCAL
        return behind is not None and who.may_be_same(behind, sure)


class Person(msgspec.Struct, frozen=True, omit_defaults=True):
    """Somebody who acts on the control process: whoever is signed in, or our own clock."""

    name: str
    kind: PrincipalKind = PrincipalKind.HUMAN
    groups: tuple[str, ...] = ()
    on_behalf_of: str | None = None
    roles: frozenset[str] = frozenset()
    """viewer, approver, admin, auditor"""
    via: str = ""
    """console, api, cli, slack"""
    source: str = ""
    """What knows this name; '' = whatever, names are people."""
    distinct: bool = False
    """Whether namesakes from different sources are known to be different people."""

    @property
    def who(self) -> Who:
        return Who(self.source, self.name)


class Vote(msgspec.Struct, frozen=True, omit_defaults=True):
    """One person's word on one request."""

    person: str
    approve: bool
    time: float
    reason: str = ""
    via: str = ""
    groups: tuple[str, ...] = ()
    """The person's, when they voted: what the vote counts for."""
    break_glass: bool = False
    """The requester's own, in an emergency."""
    source: str = ""
    """What knows the person."""

    @property
    def who(self) -> Who:
        return Who(self.source, self.person)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request and everything that happened to it."""

    asked: Asked
    state: State
    """Without a default: a program that polls is told of it while it is pending, too."""
    expires: float
    """Unix seconds: until when it waits for a decision; when approved, until when it may be used.
    """
    votes: tuple[Vote, ...] = ()
    escalated: bool = False
    ended: float | None = None
    """When it was decided or ended otherwise."""
    ended_by: str = ""
    """Who, or which standing grant; '' = nobody (expired, withdrawn)."""
    reason: str = ""
    """The last word given with it, for the requester."""
    used: int = 0

    @property
    def uses_left(self) -> int:
        return max(0, self.asked.terms.uses - self.used) if self.state is State.APPROVED else 0
