"""A read that stands in a transaction of ours, in an exchange session, so that nothing that it has
opened changes before it was looked at.

Part of `exchange`; `exchange_footing` does the looking. Outside a transaction a short read is over
when its result comes, and what it rested on may change, and change back, before anybody has looked.
A transaction keeps what it has opened as it is until it ends. Rules: only what reads alone is
fenced, and only where the client has no transaction; the client reads every reply as if there were
none of ours, and its last one when ours has ended.
"""

from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.session import told
from appliance.session.exchange_blast import KEEP, OPEN, UNDO
from appliance.session.exchange_rests import rests_of
from appliance.session.exchange_state import ExchangeState, Fence, Running, Step
from appliance.wire.exchange import Described, Done, Ended, Failed, Reply, Wish

_FENCED = frozenset((Wish.QUERY, Wish.EXECUTE))
ENDINGS_MAX = 2
"""How often our transaction is ended: a cancel request may hit the first."""


class ExchangeFences:
    """The part of one session's machine that puts them up."""

    def __init__(self, state: ExchangeState) -> None:
        self._state = state

    def is_due(self, running: Running) -> bool:
        """Whether a statement needs one: what it rests on is looked at when it has opened that."""
        state, execution, command = self._state, running.execution, running.command
        rests = None if execution is None else rests_of(execution.verdict)
        if rests is None or rests.first or not state.vouches or command is None:
            return False
        if command.wish not in _FENCED or command.cursor:
            return False
        alone = state.status == ord("I") and state.codec.autocommits
        return alone and not (state.locked or state.tables_held)  # (beginning one would unlock)

    def is_missed(self, running: Running) -> bool:
        """Whether it was sent without one that it should have had: under a lease that is not held
        any more, by the hit path."""
        return running.fence is None and self.is_due(running)

    def begin(self, running: Running, rewritten: bytes) -> None:
        """Its record is in the turn."""
        state = self._state
        running.fence = Fence(rewritten)
        state.gate(running, told.unrecorded())
        state.running = running
        state.turn.upstream.append(state.codec.ask(OPEN))

    def take(self, running: Running, fence: Fence, reply: Reply) -> Reply | None:
        """-> the reply to the client's command, if this is one that can be gone on with."""
        match fence.step:
            case Step.OPENING:
                return self._opened(running, fence, reply)
            case Step.RUNNING:
                return self._ran(fence, reply)
        return self._ended(running, fence, reply)

    def _opened(self, running: Running, fence: Fence, reply: Reply) -> Reply | None:
        if isinstance(reply, Failed):
            running.fence = None
            return reply
        if not isinstance(reply, Done) or reply.more or running.command is None:
            raise ProtocolViolation("upstream", "not the answer to the beginning of a transaction")
        fence.step = Step.RUNNING
        codec = self._state.codec
        self._state.turn.upstream.append(codec.send(running.command, fence.rewritten or None))
        return None

    def _ran(self, fence: Fence, reply: Reply) -> Reply | None:
        if isinstance(reply, Failed) or (isinstance(reply, Done | Ended) and not reply.more):
            fence.held, fence.step = reply, Step.ENDING
            self._end(fence, UNDO if isinstance(reply, Failed) else KEEP)
            return None
        if isinstance(reply, Described | Done | Ended):
            return self._state.codec.unfenced(reply)
        return reply

    def _end(self, fence: Fence, text: bytes) -> None:
        fence.endings += 1
        self._state.turn.upstream.append(self._state.codec.ask(text))

    def _ended(self, running: Running, fence: Fence, reply: Reply) -> Reply | None:
        if isinstance(reply, Failed) and fence.endings < ENDINGS_MAX:
            self._end(fence, UNDO)
            return None
        if not isinstance(reply, Done) or reply.more or reply.in_transaction:
            raise ProtocolViolation("upstream", "a transaction of ours does not end")
        held, running.fence = fence.held, None
        if held is None:
            raise InvariantBroken("a transaction of ours that ended by itself")
        return self._state.codec.unfenced(held) if isinstance(held, Done | Ended) else held
