"""A write that policy lets affect so many rows only, in an exchange session: it runs where it can
be undone, and lasts when it has been counted.

Part of `exchange`; `blast` is its like for PostgreSQL. The write stands in a transaction of ours,
or behind a savepoint in the client's; what the database says it affected decides how that ends.
Rules: what may not be undone is not run (`unlimitable`); the client reads one reply, to its own
command.
"""

import msgspec

from appliance.audit.record import Outcome
from appliance.model.catalog import Catalog, Relation
from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.model.facts import Facts
from appliance.model.refusal import Refusal
from appliance.policy.vocabulary import WRITES_ROWS
from appliance.session import told
from appliance.session.counted import refusal
from appliance.session.exchange_state import ExchangeState, Limited, Running, Step
from appliance.session.inflight import Execution
from appliance.wire.exchange import Done, Failed, Reply

_SAVEPOINT = b"`sallyport: limit`"
OPEN = b"START TRANSACTION"
KEEP, UNDO = b"COMMIT AND NO CHAIN NO RELEASE", b"ROLLBACK AND NO CHAIN NO RELEASE"
OPEN_INSIDE = b"SAVEPOINT " + _SAVEPOINT
KEEP_INSIDE = b"RELEASE SAVEPOINT " + _SAVEPOINT
UNDO_INSIDE = b"ROLLBACK TO SAVEPOINT " + _SAVEPOINT
"""Plain SQL of every database that has transactions."""


class ExchangeBlast:
    """The part of one session's machine that counts writes."""

    def __init__(self, state: ExchangeState) -> None:
        self._state = state

    def begin(self, running: Running, rewritten: bytes, rows_max: int) -> None:
        """Its record is in the turn."""
        state = self._state
        inside = state.status != ord("I") or not state.codec.autocommits
        running.limited = Limited(rows_max, inside, rewritten)
        state.gate(running, told.unrecorded())
        state.running = running
        state.turn.upstream.append(state.codec.ask(OPEN_INSIDE if inside else OPEN))

    def take(self, running: Running, limited: Limited, reply: Reply) -> bool:
        """-> whether the command is answered."""
        execution = running.execution
        if not isinstance(reply, Done | Failed) or execution is None:
            raise InvariantBroken("rows of a limited write")
        if isinstance(reply, Done) and reply.more:
            raise ProtocolViolation("upstream", "more results than are due")
        if limited.step is Step.OPENING:
            return self._opened(running, limited, reply)
        if limited.step is Step.RUNNING:
            return self._ran(limited, execution, reply)
        return self._ended(limited, execution, reply)

    def _opened(self, running: Running, limited: Limited, reply: Done | Failed) -> bool:
        state = self._state
        if isinstance(reply, Failed):
            assert running.execution is not None
            self._fail(running.execution, reply)
            return True
        assert running.command is not None
        limited.step = Step.RUNNING
        state.turn.upstream.append(state.codec.send(running.command, limited.rewritten or None))
        return False

    def _ran(self, limited: Limited, execution: Execution, reply: Done | Failed) -> bool:
        """The server itself has undone a statement that failed."""
        if isinstance(reply, Failed) and limited.inside:
            self._fail(execution, reply)
            return True
        limited.held, limited.step = reply, Step.ENDING
        keep = isinstance(reply, Done) and reply.affected <= limited.rows_max
        if isinstance(reply, Done) and not keep:
            limited.refusal = exceeded(execution, reply.affected, limited.rows_max)
        ending = (KEEP_INSIDE if keep else UNDO_INSIDE) if limited.inside else KEEP
        if not keep and not limited.inside:
            ending = UNDO
        self._state.turn.upstream.append(self._state.codec.ask(ending))
        return False

    def _ended(self, limited: Limited, execution: Execution, reply: Done | Failed) -> bool:
        state, held = self._state, limited.held
        if limited.refusal is not None:
            if isinstance(reply, Failed):
                raise ProtocolViolation("upstream", "a write that could not be undone")
            said = msgspec.structs.replace(limited.refusal, reference=execution.record_id)
            state.to_client(state.codec.refused(said))
            execution.sqlstate = limited.refusal.sqlstate
            state.finish(execution, Outcome.ROLLED_BACK)
        elif isinstance(held, Failed) or isinstance(reply, Failed):
            self._fail(execution, held if isinstance(held, Failed) else reply)
        elif held is not None:
            state.to_client(state.codec.replied(state.codec.settled(held)))
            execution.tag = f"OK {held.affected}"
            state.finish(execution, Outcome.COMPLETED)
        return True

    def _fail(self, execution: Execution, failed: Done | Failed) -> None:
        state = self._state
        if not isinstance(failed, Failed):
            raise InvariantBroken("a failure that is none")
        withheld = execution.verdict.withhold
        state.to_client(state.codec.withheld(failed) if withheld else state.codec.replied(failed))
        execution.sqlstate = failed.sqlstate
        state.finish(execution, Outcome.CANCELLED if failed.interrupted else Outcome.FAILED)


def exceeded(execution: Execution, affected: int, rows_max: int) -> Refusal:
    return refusal(
        f"policy lets a write affect {rows_max} rows at most here, and this one affected"
        f" {affected}: it was rolled back",
        "narrow its condition, or ask the owners of the policy",
        execution.verdict.decision.rows_written_rule,
    )


def unlimitable(facts: Facts, catalog: Catalog | None, locked: bool) -> Refusal | None:
    """Why a write that must be counted cannot be undone, and so is not run; None = it can."""
    if catalog is None or locked:
        return told.uncountable()
    for statement in facts.statements:
        if statement.outputs or not statement.outputs_known:
            return told.uncountable()
        for use in statement.relations:
            relation = catalog.relations.get(use.oid)
            written = use.action in WRITES_ROWS
            if written and (relation is None or not _counts(relation)):
                return told.uncountable()
    return None


def _counts(relation: Relation) -> bool:
    """Whether all that a write to it changes is counted, and undone with it."""
    return relation.kind == "r" and relation.undoable and not relation.has_triggers
