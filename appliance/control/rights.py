"""Who may see and say what at the desk, as far as roles alone decide it.

Used by `approvals` and `grants`. Rule: whoever has no role sees what is their own.
"""

from collections.abc import Iterable

import msgspec

from appliance.approval.people import Who
from appliance.approval.request import Asked, Effect, Person, Request
from appliance.approval.ruling import APPROVER
from appliance.audit.redact import clean_name
from appliance.model.principal import PrincipalKind

ADMIN = "admin"
ROLES = frozenset(("viewer", "approver", ADMIN, "auditor"))
REASON_CHARS_MAX = 500
NAME_CHARS_MAX = 1_000


def sees_everything(person: Person) -> bool:
    return not ROLES.isdisjoint(person.roles)


def concerns(asked: Asked, person: Person) -> bool:
    """Whether the person asked for it, or it was asked on their behalf."""
    return is_of(asked.who, asked.on_behalf_of, person)


def is_of(principal: Who, on_behalf_of: str | None, person: Person) -> bool:
    """Whether something of this principal is the person's. What an agent did for one human is
    nothing to the same agent when it comes for another."""
    if person.who.is_same(principal):
        return person.on_behalf_of in (None, on_behalf_of)
    return on_behalf_of is not None and person.who.is_same(Who(principal.source, on_behalf_of))


def sees_values(asked: Asked, person: Person) -> bool:
    """Whether literals and parameters are for this person: whoever decides, whoever it concerns."""
    return APPROVER in person.roles or concerns(asked, person)


def as_seen(request: Request, person: Person) -> Request:
    """The request as far as the person sees it: without values, the statement is what the audit
    trail has."""
    asked = request.asked
    if APPROVER not in person.roles:
        # Figures are for who decides: they come before any approval, and tell of rows.
        asked = msgspec.structs.replace(asked, effect=Effect())
        request = msgspec.structs.replace(request, asked=asked)
    if sees_values(asked, person):
        return request
    hidden = tuple(msgspec.structs.replace(one, shown=None) for one in asked.parameters)
    bare = msgspec.structs.replace(asked, sql=asked.redacted, parameters=hidden)
    return msgspec.structs.replace(request, asked=bare)


def may_break_glass(asked: Asked, person: Person, groups: Iterable[str]) -> str:
    """Why not, '' if they may. `groups`: whose members may."""
    if person.kind is not PrincipalKind.HUMAN:
        return "only people can break the glass"
    if not concerns(asked, person):
        return "this is for requests of your own, or of an agent that acts for you"
    if set(groups).isdisjoint(person.groups):
        return "you are in no group that may approve requests of its own in an emergency"
    return ""


def could_be_kept(*texts: str) -> bool:
    """Whether these can be ids or names in the store: PostgreSQL knows no NUL, nor surrogates."""
    return all(text.isprintable() and len(text) <= NAME_CHARS_MAX for text in texts)


def said(reason: str) -> str:
    """What somebody gave as a reason, on one line, printable, bounded: it goes into errors that
    clients read, into notices and the audit trail."""
    return clean_name(" ".join(reason.split()), REASON_CHARS_MAX)
