"""What policy demands before a held statement may run: who has to agree, how long, which terms.

Made by `policy/evaluate` from the hold rules that matched; read by `session` (which holds),
`approval` (which counts votes) and `control` (which keeps requests). Rule: where several rules hold
one text, each has to be satisfied, and of their terms the strictest are taken.
"""

import enum

import msgspec


class OnHold(enum.Enum):
    """What the client gets while nobody has decided yet."""

    WAIT = "wait"  # the statement waits where it is
    TICKET = "ticket"  # it is refused at once; sent again after an approval, it runs


class Need(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one hold rule asks for."""

    rule: str
    approvals: int = 1
    """Distinct people who have to agree."""
    groups: tuple[str, ...] = ()
    """Each of them in one of these; () = anybody with the role approver."""


class HoldTerms(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that the hold rules which matched one text say together."""

    needs: tuple[Need, ...] = ()
    on_hold: OnHold = OnHold.WAIT
    wait_seconds: int = 300
    """How long a request waits for a decision."""
    grant_seconds: int = 600
    """How long an approval may be used once it is given."""
    uses: int = 1
    """How often."""
    in_transaction: bool = True
    """Whether a statement may be held while a transaction of the client's, and its locks, are
    open."""
    human_may_approve: bool = False
    """Whether the human whom the principal acts for may agree."""
    escalate_seconds: int = 0
    """After how long without a decision `escalate_groups` are told and may agree, too; 0 = never.
    """
    escalate_groups: tuple[str, ...] = ()
    rows_margin: int | None = None
    """Per cent: what is released may write as many rows as approvers were shown and so many more,
    or it is rolled back; None = as many as it likes."""
    dry_run: bool = False
    """Whether it is run once and rolled back, to count its rows, where that leaves nothing."""


def joined(one: HoldTerms | None, other: HoldTerms | None) -> HoldTerms | None:
    """The terms that satisfy both."""
    if one is None or other is None:
        return one if other is None else other
    ticket = OnHold.TICKET in (one.on_hold, other.on_hold)
    escalating = [t for t in (one, other) if t.escalate_seconds]
    margins = [t.rows_margin for t in (one, other) if t.rows_margin is not None]
    later = max(escalating, key=lambda t: t.escalate_seconds, default=one)
    return HoldTerms(
        needs=tuple(dict.fromkeys(one.needs + other.needs)),
        on_hold=OnHold.TICKET if ticket else OnHold.WAIT,
        wait_seconds=min(one.wait_seconds, other.wait_seconds),
        grant_seconds=min(one.grant_seconds, other.grant_seconds),
        uses=min(one.uses, other.uses),
        in_transaction=one.in_transaction and other.in_transaction,
        human_may_approve=one.human_may_approve and other.human_may_approve,
        escalate_seconds=later.escalate_seconds if len(escalating) == 2 else 0,
        escalate_groups=tuple(g for g in one.escalate_groups if g in other.escalate_groups),
        rows_margin=min(margins, default=None),
        dry_run=one.dry_run or other.dry_run,
    )
