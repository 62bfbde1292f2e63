"""A notice in words: one line that says it all, and labelled facts. Shared by Slack and mail.

Pure. Rule: plain text without markup; whoever shows it escapes it for its own format.
"""

import datetime
from collections.abc import Iterator

from appliance.control.notify.notice import Event, Notice, ToldGrant, ToldPolicy, ToldRequest

VERBS = {
    Event.MADE: "Approval needed",
    Event.ESCALATED: "Still waiting, escalated",
    Event.APPROVED: "Approved",
    Event.BREAK_GLASS: "BREAK-GLASS",
    Event.DENIED: "Denied",
    Event.EXPIRED: "Expired",
    Event.WITHDRAWN: "Withdrawn",
    Event.USED: "Used",
    Event.GRANT_PROPOSED: "Standing grant proposed",
    Event.GRANT_APPROVED: "Standing grant approved",
    Event.GRANT_DENIED: "Standing grant denied",
    Event.GRANT_REVOKED: "Standing grant revoked",
    Event.POLICY_CHANGED: "Policy changed",
    Event.POLICY_ROLLED_BACK: "POLICY ROLLED BACK",
    Event.POLICY_TAKEN_BACK: "POLICY TAKEN BACK",
}
LINE_CHARS_MAX = 150
"""Slack's header block holds no more."""
LIST_MAX = 8
SHORT = 16
"""Digits of a policy version that are shown."""


def topic(notice: Notice) -> str:
    """What it is about; the same for all notices of one subject (mail threads by it)."""
    if notice.request is not None:
        told = notice.request
        what = told.touched[0] if told.touched else "statement"
        more = f" and {len(told.touched) - 1} more" if len(told.touched) > 1 else ""
        return f"{told.principal}: {what}{more} on {place(told)}"
    if notice.policy is not None:
        return f"version {notice.policy.version[:SHORT]} is active"
    assert notice.grant is not None
    scope = notice.grant.scope
    who, where = listed(scope.principals), listed(scope.targets)
    return f"{who}: {listed(scope.actions)} {listed(scope.resources)} on {where}"


def headline(notice: Notice) -> str:
    return cut(f"{VERBS[notice.event]}: {topic(notice)}", LINE_CHARS_MAX)


def outcome(notice: Notice) -> str:
    """What happened, by whom and why, in a sentence."""
    by = f" by {notice.by}" if notice.by else ""
    reason = f": {notice.reason}" if notice.reason else ""
    sentences = {
        Event.MADE: "A statement is held until it is decided.",
        Event.ESCALATED: "Nobody has decided; more groups may now.",
        Event.APPROVED: f"Approved{by}{reason}",
        Event.BREAK_GLASS: f"Emergency: {notice.by} approved a request of their own{reason}",
        Event.DENIED: f"Denied{by}{reason}",
        Event.EXPIRED: "Nobody decided, or nobody used the approval, in time.",
        Event.WITHDRAWN: f"Withdrawn{by}: the client cancelled or is gone.",
        Event.USED: "The approved statement was run.",
        Event.POLICY_ROLLED_BACK: f"An older policy is active again{by}{reason}",
        Event.POLICY_TAKEN_BACK: f"Workers refused a policy, the one before is active{reason}",
    }
    return sentences.get(notice.event, f"{VERBS[notice.event]}{by}{reason}")


def facts(notice: Notice) -> Iterator[tuple[str, str]]:
    """(label, value) in the order in which somebody who decides wants them. The statement is not
    among them."""
    if notice.request is not None:
        yield from request_facts(notice.request)
    if notice.grant is not None:
        yield from grant_facts(notice.grant)
    if notice.policy is not None:
        yield from policy_facts(notice.policy)


def policy_facts(told: ToldPolicy) -> Iterator[tuple[str, str]]:
    yield "Active", told.version[:SHORT]
    yield "Before", told.previous[:SHORT] or "none"
    yield "Through", " ".join(filter(None, (told.via, told.node)))


def request_facts(told: ToldRequest) -> Iterator[tuple[str, str]]:
    behalf = f", on behalf of {told.on_behalf_of}" if told.on_behalf_of else ""
    yield "Who", f"{told.principal} ({told.kind}){behalf}"
    yield "Where", place(told)
    yield "Expected effect", effect(told)
    if told.touched:
        unknown = "" if told.complete else "; it may do more than can be seen"
        yield "Touches", listed(told.touched, "; ") + unknown
    if told.flags:
        yield "Marked", listed(told.flags)
    if told.reasons:
        yield "Held because", listed(told.reasons, "; ")
    needs = [f"{need.approvals} of {listed(need.groups) or 'approvers'}" for need in told.needs]
    if needs:
        yield "Needs", listed(needs, "; ")
    if told.in_transaction:
        yield "Transaction", "open: it keeps its locks while it waits"
    client = " ".join(part for part in (told.application, told.address) if part)
    if client:
        yield "Client", client
    yield "Until", when(told.expires)


def grant_facts(told: ToldGrant) -> Iterator[tuple[str, str]]:
    scope = told.scope
    yield "Who", listed(scope.principals)
    yield "Where", f"{listed(scope.targets)} (databases {listed(scope.databases)})"
    yield "May", f"{listed(scope.actions)} {listed(scope.resources)}"
    if scope.rows_max is not None:
        yield "Rows", f"at most {scope.rows_max}"
    yield "Proposed by", told.proposed_by
    if told.reason:
        yield "Reason", told.reason
    yield "Until", when(told.until)


def place(told: ToldRequest) -> str:
    environment = f" ({told.environment})" if told.environment else ""
    return f"{told.target}/{told.database}{environment}"


def effect(told: ToldRequest) -> str:
    note = f" ({told.effect_note})" if told.effect_note else ""
    if told.rows_allowed is not None:
        note = f"; at most {told.rows_allowed:,}, or it is rolled back{note}"
    if told.rows_counted is not None:
        return f"{told.rows_counted:,} rows, counted{note}"
    if told.rows_estimated is not None:
        return f"about {told.rows_estimated:,} rows, the planner's guess{note}"
    return f"not known{note}"


def when(time: float) -> str:
    return f"{datetime.datetime.fromtimestamp(time, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def listed(items: tuple[str, ...] | list[str], between: str = ", ") -> str:
    kept = between.join(items[:LIST_MAX])
    return kept if len(items) <= LIST_MAX else f"{kept}{between}and {len(items) - LIST_MAX} more"


def cut(text: str, chars_max: int) -> str:
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"
