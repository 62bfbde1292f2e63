"""Standing grants: what somebody may do for a while without asking each time.

"copilot may UPDATE orders.status on staging until 18:00". Kept and used by `control` alone: a
request that one covers is approved by it, so taking it back works from the next statement on. Rule:
it covers a request only if everything that the statement touches lies inside it, and nothing about
the statement is unknown.
"""

import enum
from fnmatch import fnmatchcase

import msgspec

from appliance.approval.people import Who
from appliance.approval.request import Asked, Touched


class GrantState(enum.Enum):
    PROPOSED = "proposed"  # waits for somebody to agree
    ACTIVE = "active"
    DENIED = "denied"
    REVOKED = "revoked"
    EXPIRED = "expired"


class Scope(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a standing grant lets pass. Shell-like patterns, case-sensitive; each has to match."""

    principals: tuple[str, ...]
    targets: tuple[str, ...]
    actions: tuple[str, ...]
    """E.g. update; a touch with another action is outside. `select` is what a WHERE needs."""
    resources: tuple[str, ...]
    """schema.relation or schema.relation.column patterns. One without a column is for all of them.
    """
    databases: tuple[str, ...] = ("*",)
    sources: tuple[str, ...] = ("*",)
    """What has to know the principals: the users file, an identity provider, ..."""
    rows_max: int | None = None
    """Requests whose expected effect is larger, or not known, are outside."""


class StandingGrant(msgspec.Struct, frozen=True, kw_only=True):
    """One, and what happened to it. Times are unix seconds."""

    id: str
    scope: Scope
    state: GrantState
    reason: str = ""
    proposed_by: str
    proposed: float
    until: float
    decided_by: str = ""
    decided: float | None = None
    decided_groups: tuple[str, ...] = ()
    """Theirs, when they agreed: it approves only what their vote alone could."""
    proposed_source: str = ""
    """What knows the proposer; likewise below."""
    decided_source: str = ""
    revoked_by: str = ""
    revoked: float | None = None
    used: int = 0

    @property
    def proposer(self) -> Who:
        return Who(self.proposed_source, self.proposed_by)

    @property
    def decider(self) -> Who:
        return Who(self.decided_source, self.decided_by)


def covers(grant: StandingGrant, asked: Asked, now: float) -> bool:
    """Whether everything about this request lies inside the grant."""
    scope = grant.scope
    if grant.state is not GrantState.ACTIVE or now >= grant.until or not asked.complete:
        return False
    if asked.functions or not asked.touched:
        return False
    if not (
        _fits(scope.principals, asked.principal)
        and _fits(scope.sources, asked.source)
        and _fits(scope.targets, asked.target)
        and _fits(scope.databases, asked.database)
    ):
        return False
    if scope.rows_max is not None and not _within(asked, scope.rows_max):
        return False
    return all(_inside(scope, touched) for touched in asked.touched)


def _within(asked: Asked, rows_max: int) -> bool:
    rows = asked.effect.rows
    return rows is not None and rows <= rows_max


def _inside(scope: Scope, touched: Touched) -> bool:
    if touched.action not in scope.actions or not touched.name:
        return False
    relation = f"{touched.schema}.{touched.name}"
    if any(_names_relation(p) and fnmatchcase(relation, p) for p in scope.resources):
        return True
    columns = touched.columns
    if not columns or "*" in columns:
        return False
    return all(
        any(not _names_relation(p) and _column_fits(p, relation, c) for p in scope.resources)
        for c in columns
    )


def _names_relation(pattern: str) -> bool:
    return pattern.count(".") == 1


def _column_fits(pattern: str, relation: str, column: str) -> bool:
    head, _, tail = pattern.rpartition(".")
    return fnmatchcase(relation, head) and fnmatchcase(column, tail)


def _fits(patterns: tuple[str, ...], text: str) -> bool:
    return any(fnmatchcase(text, pattern) for pattern in patterns)
