"""What the trail hears of a turn whose records may not have reached the disk: none of it ran.

Used by `conductor`, where policy wants records durable before anything is forwarded.
"""

from collections.abc import Callable, Iterator

from appliance.audit.record import DryRunBegun, DryRunEnded, Outcome, ProtocolKind, Record
from appliance.audit.record import StatementFinished as Finished
from appliance.session.effects import Turn


def withheld(
    turn: Turn, session: str, now: float, new_id: Callable[[float], str]
) -> Iterator[Record]:
    """One ending for each record of something that would have run."""
    never = Outcome.WITHHELD
    for _, _, record in turn.gated:
        if isinstance(record, DryRunBegun):
            yield DryRunEnded(
                id=new_id(now), time=now, session=session, begun=record.id, outcome=never
            )
        elif record.protocol is not ProtocolKind.PARSE:
            yield Finished(
                id=new_id(now), time=now, session=session, decided=record.id, outcome=never
            )
