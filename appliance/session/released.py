"""What an approval makes of a held verdict: its released form, under the number of rows that was
approved.

Used by `parking` and `decisions`. Rule: an approval only ever narrows what policy would let pass.
"""

import msgspec

from appliance.session import told
from appliance.session.counted import may_write, uncounted
from appliance.session.flow import Granted, Verdict

APPROVED_ROWS = "builtin:approved-rows"


def bounds_writes(verdict: Verdict) -> bool:
    """Whether it writes, and policy lets it write no more than what is approved."""
    hold = verdict.decision.hold
    margin = None if hold is None else hold.rows_margin
    return margin is not None and any(map(may_write, verdict.facts.statements))


def under(released: Verdict, grant: Granted) -> Verdict:
    """A released verdict under its grant, and under the number of rows that this is for. Without
    one that policy asks for, or where they cannot be counted, it is a refusal."""
    if grant.rows_max is None:
        refusal = told.granted_unbounded(grant.request) if bounds_writes(released) else None
        return msgspec.structs.replace(released, granted=grant, refusal=refusal, memo=[])
    decision = released.decision
    if decision.rows_written_max is None or grant.rows_max < decision.rows_written_max:
        decision = msgspec.structs.replace(
            decision, rows_written_max=grant.rows_max, rows_written_rule=APPROVED_ROWS
        )
    refusal = uncounted(released.facts, decision)
    return msgspec.structs.replace(
        released, decision=decision, granted=grant, refusal=refusal, memo=[]
    )
