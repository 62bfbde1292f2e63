"""A session of a protocol in which one command is answered before the next, between login and end:
client bytes in, upstream bytes in, a `Turn` out.

Sans-IO; driven by `dataplane/conductor` like `machine`, through `driven.Machine`. It never knows
which protocol it speaks: a `Codec` (`wire/exchange`) makes commands and replies of bytes. It keeps
three things true:
- at most one command is with the upstream, so each reply has exactly one meaning;
- a statement is forwarded only after its record was put in the turn (record before forward);
- rows are forwarded only under a `ResultLock` made for that very result (plan before row).

What a client sends ahead waits in order, bounded because the conductor stops reading a client that
is `full`.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from appliance.audit.record import Outcome
from appliance.model.circles import take_apart
from appliance.model.errors import InvariantBroken
from appliance.model.facts import Facts
from appliance.model.limits import QUEUED_BYTES_MAX
from appliance.model.refusal import Refusal
from appliance.model.stands import Stands
from appliance.policy.snapshot import Snapshot
from appliance.session.backend import Left
from appliance.session.dialect import Forms, SessionLineage
from appliance.session.effects import Bytes, CancelStatement, Turn
from appliance.session.exchange_blast import ExchangeBlast
from appliance.session.exchange_commands import ExchangeCommands
from appliance.session.exchange_decisions import ExchangeDecisions
from appliance.session.exchange_fence import ExchangeFences
from appliance.session.exchange_footing import ExchangeFooting
from appliance.session.exchange_replies import ExchangeReplies
from appliance.session.exchange_state import ExchangeState, Question, Running
from appliance.session.hit_teaching import totals
from appliance.session.inflight import Execution
from appliance.session.parked_turns import ParkedTurns
from appliance.session.parking import Parking
from appliance.session.state import Parked
from appliance.wire.exchange import Command, Reply, Wish

if TYPE_CHECKING:
    from appliance.session.exchange_hits import CommandPath

ROWS_DUE = b"R"
"""`steps_left` of a hit path when columns have been described."""
_NEXT = Command(Wish.PASSED, b"")


class Exchange(ParkedTurns):
    """One session. Every input method returns the Turn it caused; times are unix seconds, given."""

    def __init__(self, state: ExchangeState) -> None:
        self._state = state
        self._decisions = ExchangeDecisions(state)
        blast, fences = ExchangeBlast(state), ExchangeFences(state)
        self._footing = ExchangeFooting(state)
        self._client = ExchangeCommands(state, self._decisions, blast, fences)
        self._upstream = ExchangeReplies(
            state, self._decisions, blast, fences, self._footing, self._client.run
        )
        self._in_turn = False

    def take_apart(self) -> None:
        take_apart(self._decisions, self._state)

    # --- what the conductor asks ---

    @property
    def waiting(self) -> bool:
        return self._state.waiting is not None

    @property
    def full(self) -> bool:
        return self._state.queued_bytes >= QUEUED_BYTES_MAX

    @property
    def hit_path(self) -> "CommandPath | None":
        return self._state.hits.path

    @property
    def flow(self) -> None:
        return None

    def let_flow(self) -> None:
        pass

    @property
    def _hitting(self) -> bool:
        path = self._state.hits.path
        return path is not None and path.underway

    @property
    def holds_back(self) -> bool:
        return self._footing.holds_back

    @property
    def idle(self) -> bool:
        state = self._state
        under_way = state.current is not None or self._asking or self._hitting
        return not under_way and state.status == ord("I")

    @property
    def _asking(self) -> bool:
        state = self._state
        return state.running is not None or state.waiting is not None or state.errand is not None

    @property
    def busy(self) -> bool:
        return self._state.running is not None or self._hitting

    @property
    def reusable(self) -> bool:
        state = self._state
        return not (
            state.current is not None
            or self._asking
            or self._hitting
            or state.codec.midway
            or state.told_fatal
        )

    @property
    def left(self) -> Left:
        return Left(self.in_transaction, self.parameters)

    @property
    def changing(self) -> bool:
        return self._state.changing

    @property
    def told_fatal(self) -> bool:
        return self._state.told_fatal

    @property
    def in_transaction(self) -> bool:
        return self._state.status != ord("I")

    @property
    def executing(self) -> int:
        running = self._state.running
        return int(running is not None and running.execution is not None) + self._hitting

    @property
    def statements(self) -> int:
        return self._state.recorder.statements

    @property
    def statement_shown(self) -> str:
        if self._state.parked is not None:
            return self._state.parked.asked.redacted
        running = self._state.running
        if running is None or running.execution is None:
            return ""
        return running.execution.verdict.facts.redacted

    @property
    def totals(self) -> tuple[int, int, int, int]:
        state, path = self._state, self._state.hits.path
        own = (state.rows, state.bytes_out, state.cells_masked, state.sensitive_unmasked)
        return own if path is None else totals(own, path)

    @property
    def parameters(self) -> dict[str, str]:
        return self._state.settings.parameters

    @property
    def parked(self) -> Parked | None:
        return self._state.parked

    @property
    def analysis_lineage(self) -> SessionLineage | None:
        judge = self._state.judge
        return judge.catalog.lineage if judge.needs_catalog else None

    def take_policy(self, snapshot: Snapshot) -> None:
        self._state.judge.snapshot = snapshot
        self._state.hits.disarm()

    def learns(self, chunk: Bytes, now: float) -> bool:
        return False  # who locks what is read finds out with the first question what others know

    def take_over(self) -> None:
        """The cycle that the hit path has under way is this machine's from here on."""
        state, path = self._state, self._state.hits.path
        assert path is not None and path.hit is not None
        (command,) = state.codec.client_fed(path.saved)
        statement = state.statements[path.statement] if path.extended else None
        amid_rows, sequence = path.steps_left == ROWS_DUE, path.sequence_due
        execution = state.hits.take_over()
        state.hits.disarm()
        verdict = execution.verdict
        state.current = command
        state.codec.begin(command)
        state.codec.send(command)  # what went upstream for it; its replies are to come
        state.running = Running(command, verdict, execution, statement)
        if amid_rows:
            state.codec.amid_rows(sequence)
            state.choose_row_mode(execution)

    def aside(self, kind: int, frame: bytes) -> bytes:
        raise InvariantBroken("nothing comes unasked in this protocol")

    def proviso_failed(self) -> None:
        raise InvariantBroken("no proviso is sent in this protocol")

    def turned(self, opened: int | None) -> None:
        raise InvariantBroken("transactions are this machine's")

    def last_words(self, sqlstate: str, message: str, hint: str = "") -> bytes:
        self._rest()
        return self._state.codec.last_words(sqlstate, message, hint)

    def last_refusal(self, refusal: Refusal) -> bytes:
        self._rest()
        return self._state.codec.refused(refusal)

    def _rest(self) -> None:
        """Where nothing is under way, last words answer whatever comes next."""
        if self._hitting:
            self.take_over()
        if self._state.current is None:
            self._state.codec.begin(_NEXT)

    # --- what happens ---

    def client_received(self, chunk: Bytes, now: float) -> Turn:
        self._begin(now)
        state = self._state
        for command in state.codec.client_fed(chunk):
            if state.ending:
                break
            state.queue.append(command)
            state.queued_bytes += len(command.payload)
        return self._end()

    def upstream_received(self, chunk: Bytes, now: float) -> Turn:
        self._begin(now)
        self._take(self._footing.received(chunk))
        return self._end()

    def _take(self, replies: Iterator[Reply]) -> None:
        for reply in replies:
            self._upstream.take(reply)
            if self._footing.waits:
                self._footing.keep(replies)
                return

    def footing_told(self, stands: Stands, now: float) -> Turn:
        self._begin(now)
        holds = stands is Stands.AS_JUDGED
        if self._state.waiting is not None:
            self._decisions.looked_before(holds)
            return self._end()
        self._upstream.looked_after(holds)
        for replies in self._footing.waited():
            self._take(replies)
        return self._end()

    def analysed(self, facts: Facts, now: float, forms: Forms | None = None) -> Turn:
        self._begin(now)
        self._decisions.analysed(facts, forms)
        return self._end()

    def catalog_ready(self, now: float) -> Turn:
        self._begin(now)
        self._decisions.examine(self._decisions.take_waiting())
        return self._end()

    def timed_out(self, execution: Execution, now: float) -> Turn:
        self._begin(now)
        running = self._state.running
        if running is not None and running.execution is execution:
            execution.timed_out = True
            self._state.turn.requests.append(CancelStatement())
        return self._end()

    # --- approvals ---

    def _resumed(self) -> Turn:
        return self._end()

    @property
    def _parking(self) -> Parking[Question]:
        return self._decisions.parking

    # --- ends ---

    def refuse_turn(self, turn: Turn) -> None:
        """The records of `turn` could not be appended: each statement in it is replaced by an idle
        command, whose reply becomes its refusal.
        """
        for index, refuse, _record in turn.gated:
            turn.upstream[index] = refuse(b"")

    def other_ended(self, found: bool, now: float) -> Turn:
        self._begin(now)
        self._client.other_ended(found)
        return self._end()

    def disconnected(self, now: float) -> Turn:
        """A peer is gone: what was under way is finished in the records. When that is because a
        turn ended in an exception, its records are owed still, though nothing of it was forwarded.
        """
        if self._hitting:
            self.take_over()
        broken_off = self._state.turn if self._in_turn else Turn()
        withheld = {record.id for _, _, record in broken_off.gated}
        self._begin(now)
        state, running = self._state, self._state.running
        self._parking.disconnected()
        state.turn.records += broken_off.records
        under_way = [s.cursor for s in state.statements.values() if s.cursor is not None]
        if running is not None and running.execution is not None and running.refusal is None:
            under_way.append(running.execution)
        if state.errand is not None:
            state.end_errand(Outcome.DISCONNECTED)
        for execution in dict.fromkeys(under_way):
            never = execution.record_id in withheld
            state.finish(execution, Outcome.WITHHELD if never else Outcome.DISCONNECTED)
        self._in_turn = False
        return state.turn

    def _begin(self, now: float) -> None:
        self._state.now = now
        self._state.turn, self._in_turn = Turn(), True

    def _arm(self) -> None:
        """Lets the hit path act alone where nothing is under way and all is known."""
        state = self._state
        settings = state.settings.current
        quiet = (
            not (settings.temporaries or settings.temp_relations)
            and state.current is None
            and not self._asking
            and not state.queue
            and not (state.ending or state.changing or state.told_fatal)
            and not (state.codec.midway or state.codec.client_midway)
        )
        epoch = self._decisions.epoch() if quiet else ("", "", "")
        if not epoch[0]:
            state.hits.disarm()
            return
        state.hits.arm(
            epoch,
            state.judge.catalog.shapes,
            state.settings.lexing,
            state.codec.standing,
        )

    def _end(self) -> Turn:
        """Goes on with what waits behind a command that is answered."""
        state = self._state
        while state.queue and state.current is None and not self._asking and not state.ending:
            command = state.queue.popleft()
            state.queued_bytes -= len(command.payload)
            state.repeated = 0
            self._client.run(command)
        self._in_turn = False
        if state.hits.path is not None:
            self._arm()
        return state.turn
