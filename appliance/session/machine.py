"""The PostgreSQL session between login and end: client bytes in, upstream bytes in, a `Turn` out.

Sans-IO. Driven by `dataplane/conductor`, one call per chunk. It keeps three things true:
- every message that earns a reply stands in `expected`, so each reply has exactly one meaning;
- a statement is forwarded only after its record was put in the turn (record before forward);
- rows are forwarded only under a `ResultLock` made for that very portal or query (plan before row).

What cannot be decided at once makes the machine *wait* (`decisions`): the client's further messages
stay in order, bounded because the conductor stops reading a client that waits.
"""

from collections.abc import Mapping
from typing import NamedTuple

from _speedups.pgframe import WHOLE
from _speedups.pghits import HitPath
from _speedups.rowflow import RowFlow
from appliance.audit.record import Outcome
from appliance.model.circles import take_apart
from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.facts import Facts
from appliance.model.limits import QUEUED_BYTES_MAX
from appliance.model.refusal import Refusal
from appliance.model.stands import Stands
from appliance.policy.snapshot import Snapshot
from appliance.session import told
from appliance.session.backend import NAMED_MAX, UNASKED_MAX, Backend, Left
from appliance.session.blast import Blast
from appliance.session.decisions import Decisions
from appliance.session.dialect import Forms, SessionLineage
from appliance.session.effects import ArmTimeout, Bytes, CancelStatement, Turn
from appliance.session.flowing import let_flow
from appliance.session.from_client import FromClient
from appliance.session.from_upstream import FromUpstream
from appliance.session.hit_teaching import totals
from appliance.session.inflight import Execution
from appliance.session.learning import Learning
from appliance.session.own_statements import OWN, PASSING_NAMES, STILL_NAME
from appliance.session.parked_turns import ParkedTurns
from appliance.session.parking import Parking
from appliance.session.second_look import SecondLook
from appliance.session.state import Parked, Question, SessionState
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from appliance.wire.postgres.expected import Expected, Kind


class Taken(NamedTuple):
    """What a connection is to the session that gets it."""

    shown: Mapping[str, str]
    """Settings as the server reported them."""
    same: bool
    """It is the one that the session had before, and nobody has used it since."""
    told: tuple[str, ...] = ()
    """What it answered to a `settings` Pinning when it became the session's, if it is not the
    same."""


class SessionMachine(ParkedTurns):
    """One session. Every input method returns the Turn it caused; times are unix seconds, given."""

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._decisions = Decisions(state)
        self._blast = Blast(state)
        tell, alike = self._decisions.questions.tell, self._decisions.resting.decides_alike
        self._second_look = SecondLook(state, tell, alike)
        self._client = FromClient(state, self._decisions, self._blast, self._second_look)
        self._upstream = FromUpstream(state, self._decisions, self._blast)
        self._learning = Learning(state, self._decisions)
        self._queued = 0
        """Bytes in `runs`."""
        self._in_turn = False
        self._lent = False
        """There is no connection."""

    def take_apart(self) -> None:
        take_apart(self._decisions, self._state)

    # --- what the conductor asks ---

    @property
    def waiting(self) -> bool:
        """What the client sends next will not be looked at yet."""
        held_back = self._blast.holds_back or self._second_look.holds_client
        return self._state.waiting is not None or self._inflight_full or held_back

    @property
    def holds_back(self) -> bool:
        return self._second_look.waits

    @property
    def full(self) -> bool:
        """The client is not to be read: enough of what it sent lies here. While little does, it is
        read even if a statement waits, so that its end is noticed.
        """
        return (
            self._queued >= QUEUED_BYTES_MAX
            or len(self._state.expected) >= self._state.limits.inflight_max
        )

    @property
    def _inflight_full(self) -> bool:
        return len(self._state.expected) >= self._state.limits.inflight_max

    @property
    def hit_path(self) -> HitPath | None:
        return self._state.hits.path

    @property
    def _hitting(self) -> bool:
        path = self._state.hits.path
        return path is not None and path.underway

    @property
    def idle(self) -> bool:
        """Nothing is under way and no transaction is open: a drain may end the session here."""
        return (
            not len(self._state.expected)
            and not self._hitting
            and self._state.waiting is None
            and self._state.status == ord("I")
        )

    @property
    def busy(self) -> bool:
        """The upstream may be working for us: worth a cancel when the client is gone."""
        return bool(len(self._state.expected)) or self._hitting

    @property
    def reusable(self) -> bool:
        """The upstream waits for a message, and nothing of this session is on its way to or from
        it; a transaction may be open (see `status`).
        """
        state = self._state
        return not (
            len(state.expected)
            or self._hitting
            or state.waiting is not None
            or state.question is not None
            or state.in_pipeline
            or state.copying_in
            or state.copy_piece_open
            or state.upstream_frames.pending
            or state.upstream_frames.midframe
            or state.told_fatal
        )

    @property
    def lendable(self) -> bool:
        """The session needs no connection until the client or somebody else asks for something:
        nothing is under way, and nothing of it is left in the database session."""
        state = self._state
        return (
            state.shares
            and not (state.pins or self._lent)
            and self.idle
            and self.reusable
            and not (state.runs or state.holding or state.discarding or state.bind_prefix)
            and not (state.ending or state.changing or state.reshaped)
            and not (state.client_frames.pending or state.client_frames.midframe)
        )

    @property
    def leaves_nothing(self) -> bool:
        """Whether the upstream is as the session found it, but for what a claim takes away."""
        state = self._state
        return self.reusable and state.status == ord("I") and not (state.pins or state.soiled)

    @property
    def left(self) -> Left:
        """How the session leaves a connection that was its own."""
        state = self._state
        own, named = frozenset[bytes](), (*PASSING_NAMES, *state.statements.names())
        fit = state.settled_throughout and not state.backend.plans_in_doubt
        wanted = state.backend.unasked <= UNASKED_MAX and not state.shares
        if fit and wanted and len(named) <= NAMED_MAX:
            own = frozenset(state.own_statements & OWN.keys())
        return Left(self.in_transaction, self.parameters, own, tuple(filter(None, named)))

    @property
    def soiled(self) -> bool:
        """Something of the session may be left on its connection."""
        return self._state.soiled

    def share(self) -> None:
        """From the start: its connections are shared, and come by `adopt`."""
        state = self._state
        state.shares = state.judge.shares = True
        state.hits.named = False

    def lend(self) -> None:
        """The connection is given back."""
        state = self._state
        state.hits.disarm()
        unnamed = state.statements.confirmed(b"")
        if unnamed is not None:
            unnamed.hit = None  # the next connection has another unnamed statement, or none
        state.backend.unnamed = None  # another session's may take its place, unseen by a machine
        state.backend, self._lent = Backend(), True

    def adopt(self, backend: Backend, taken: Taken, now: float) -> Turn:
        """There is a connection again."""
        self._begin(now)
        self._lent = False
        self._take(backend)
        if not taken.same:
            self._begin_anew(taken)
        return self._end()

    def _begin_anew(self, taken: Taken) -> None:
        state = self._state
        state.announcement.due = False
        state.settings.handed_over(taken.told)
        for name, value in taken.shown.items():
            if state.settings.parameters.get(name) != value:
                told = m.parameter_status(name, value)
                self._upstream.run((m.PARAMETER_STATUS, WHOLE, 1, told))

    def _take(self, backend: Backend) -> None:
        self._state.backend = backend
        self._state.soiled = False
        self._state.hits.moved(backend.unchanged)

    def pinned(self, backend: Backend, taken: Taken, now: float) -> Turn:
        """Answer to PinConnection: it is clean, and this session's."""
        self._begin(now)
        self._take(backend)
        self._begin_anew(taken)
        waiting = self._decisions.take_waiting()
        self._decisions.examine(waiting)
        self._drain_runs()
        return self._end()

    @property
    def statement_shown(self) -> str:
        """What runs or waits, without its literals; '' when nothing does."""
        if self._state.parked is not None:
            return self._state.parked.asked.redacted
        head = self._state.expected.head
        subject = None if head is None else head.subject
        if isinstance(subject, Execution):
            return subject.verdict.facts.redacted
        return ""

    @property
    def status(self) -> int:
        """Of the transaction, as in ReadyForQuery."""
        return self._state.status

    @property
    def in_transaction(self) -> bool:
        return self._state.status != ord("I")

    @property
    def parameters(self) -> dict[str, str]:
        """Settings as the upstream reported them last."""
        return self._state.settings.parameters

    @property
    def executing(self) -> int:
        """How many statements the upstream was sent and has not finished."""
        own = sum(isinstance(due.subject, Execution) for due in self._state.expected)
        return own + self._hitting

    @property
    def analysis_lineage(self) -> SessionLineage | None:
        """The catalog that a text analysed elsewhere is read against."""
        return self._state.judge.catalog.lineage if self._state.judge.needs_catalog else None

    @property
    def changing(self) -> bool:
        """A schema change of this session is under way."""
        return self._state.changing

    @property
    def told_fatal(self) -> bool:
        return self._state.told_fatal

    @property
    def totals(self) -> tuple[int, int, int, int]:
        """(rows, bytes to the client, cells masked, sensitive cells unmasked) so far."""
        state, path = self._state, self._state.hits.path
        own = (state.rows, state.bytes_out, state.cells_masked, state.sensitive_unmasked)
        return own if path is None else totals(own, path)

    @property
    def statements(self) -> int:
        return self._state.recorder.statements

    def take_policy(self, snapshot: Snapshot) -> None:
        self._state.judge.snapshot = snapshot
        self._state.backend.plans_doubted = True  # perhaps nothing was owed when they were made
        self._state.hits.disarm()

    def take_over(self) -> None:
        """The cycle that the hit path has under way is this machine's from here on."""
        state = self._state
        assert state.hits.path is not None
        self._rebind()
        if state.status == ord("I"):
            state.opened = state.hits.path.opened
        bound = not {"B", "b"} & set(state.hits.path.steps_left.decode())
        lost = state.hits.path.lost
        execution, due = state.hits.take_over()
        state.hits.disarm()
        if lost:
            self.proviso_failed()
            self._decisions.questions.lose(execution)
            return
        state.runs_code(execution.verdict)
        for expected in due:
            if expected.kind is Kind.PARSE and not expected.injected:
                state.statements.begin(expected.name, expected.subject)
            elif expected.kind is Kind.BIND and not expected.injected:
                state.portals.begin(expected.name, expected.subject)
            state.expected.push(expected)
        portal = execution.portal
        if bound and portal is not None and not portal.name:
            state.portals.begin(portal.name, portal)
            state.portals.confirm(portal.name)
        state.choose_row_mode()

    def turned(self, opened: int | None) -> None:
        state = self._state
        if opened is None:
            state.status = ord("I")
            state.portals.forget_confirmed()
        else:
            state.status, state.opened = ord("T"), opened

    def proviso_failed(self) -> None:
        """What was planned for it may outlast it."""
        self._state.backend.plans_doubted = True

    def aside(self, kind: int, frame: bytes) -> bytes:
        """What a notice, notification or parameter that comes amid a cycle of the hit path is to
        the client."""
        state = self._state
        path = state.hits.path
        assert path is not None and path.hit is not None
        head = Expected(Kind.EXECUTE, Execution("", path.hit.verdict, path.started))
        turn, state.turn = state.turn, Turn()
        state.expected.push(head)
        try:
            self._upstream.run((kind, WHOLE, 1, frame))
            return b"".join(state.turn.client)
        finally:
            state.expected.pop(Kind.EXECUTE)
            state.turn = turn
            state.hits.disarm()

    def _arm(self) -> None:
        """Lets the hit path act alone where nothing is under way and all is known."""
        state = self._state
        quiet = (
            not (len(state.expected) or self._lent)
            and state.waiting is None
            and not state.runs
            and (state.status == ord("I") or (state.status == ord("T") and not state.shares))
            and state.settings.planned is None
            and state.settings.temporaries_certain
            and state.settings.lexes_as_standard()
            and not (state.in_pipeline or state.holding or state.ending or state.discarding)
            and not (state.changing or state.reshaped or state.lexing_in_doubt)
            and not state.announcement.due
            and not (state.copying_in or state.expected.skipping or state.bind_prefix)
            and not (state.client_frames.pending or state.client_frames.midframe)
            and not (state.upstream_frames.pending or state.upstream_frames.midframe)
        )
        epoch = self._decisions.epoch() if quiet else ("", "", "")
        if epoch[0]:
            prepared = STILL_NAME in state.own_statements
            settings, shapes = state.settings, state.judge.catalog.shapes
            pinned = settings.pinned and settings.server == state.hits.leased_at() != ""
            direct = settings.process == state.hits.process != ""
            opened = None if state.status == ord("I") else state.opened
            turns = not (state.shares or state.made or state.chosen.open) and settings.ends_alike
            state.hits.arm(epoch, shapes, settings.told, prepared, pinned, direct, opened, turns)
        else:
            state.hits.disarm()

    def learns(self, chunk: Bytes, now: float) -> bool:
        """Whether the hit path, which did not take this chunk of the client's, knows it by now."""
        state = self._state
        path = state.hits.path
        if path is None or state.hits.lessons is None or chunk[0] not in (m.QUERY, m.PARSE):
            return False
        if path.underway or state.shares:
            return False
        state.now = now
        self._arm()  # whatever it was: the machine may have taken over a statement since
        return path.armed and self._learning.hears(bytes(chunk))

    def client_received(self, chunk: Bytes, now: float) -> Turn:
        self._begin(now)
        frames = self._state.client_frames
        try:
            frames.feed(chunk)
            while (run := frames.next_run()) is not None:
                if self._state.runs or self.waiting:
                    self._state.runs.append((run[0], run[1], run[2], bytes(run[3])))
                    self._queued += len(run[3])
                else:
                    self._client.run(run)
        except ValueError as error:
            raise ProtocolViolation("client", str(error)) from None
        return self._end()

    def upstream_received(self, chunk: Bytes, now: float) -> Turn:
        self._begin(now)
        if self._second_look.waits:
            self._second_look.keep(bytes(chunk))
        else:
            self._read_upstream(chunk)
        return self._replied()

    def footing_told(self, stands: Stands, now: float) -> Turn:
        """Answer to CheckFooting."""
        self._begin(now)
        self._upstream.run(self._second_look.told(stands))
        while (chunk := self._second_look.next_chunk()) is not None:
            self._read_upstream(chunk)
        return self._replied()

    def _read_upstream(self, chunk: Bytes) -> None:
        frames = self._state.upstream_frames
        try:
            frames.feed(chunk)
            while (run := frames.next_run()) is not None:
                if self._second_look.is_due(run):
                    self._second_look.ask(run, frames.take_rest())
                    return
                self._upstream.run(run)
        except ValueError as error:
            if self._state.rows_whole and str(error) == "frame too long":
                limit = self._state.limits.masked_row_bytes_max
                raise Refused(told.row_too_long(limit)) from None
            raise ProtocolViolation("upstream", str(error)) from None

    def _replied(self) -> Turn:
        self._blast.release()
        self._second_look.release()
        self._decisions.resume()
        self._drain_runs()
        return self._end()

    def analysed(self, facts: Facts, now: float, forms: Forms | None = None) -> Turn:
        """Answer to AnalyseText."""
        self._begin(now)
        self._decisions.analysed(facts, forms)
        self._drain_runs()
        return self._end()

    def catalog_ready(self, now: float) -> Turn:
        """Answer to RefreshCatalog, whether it succeeded or not (the catalog port says)."""
        self._begin(now)
        waiting = self._decisions.take_waiting()
        self._decisions.examine(waiting)
        self._drain_runs()
        return self._end()

    # --- approvals ---

    @property
    def parked(self) -> Parked | None:
        """The statement that waits for an approval."""
        return self._state.parked

    def _resumed(self) -> Turn:
        self._drain_runs()
        return self._end()

    @property
    def _parking(self) -> Parking[Question]:
        return self._decisions.parking

    def refuse_turn(self, turn: Turn) -> None:
        """The records of `turn` could not be appended: each statement in it is replaced by a
        refused one.
        """
        error = refusals.error_response(self.audit_refusal())
        for index, refuse, _record in turn.gated:
            turn.upstream[index] = refuse(error)

    @staticmethod
    def last_words(sqlstate: str, message: str, hint: str = "") -> bytes:
        return refusals.fatal(sqlstate, message, hint)

    @staticmethod
    def last_refusal(refusal: Refusal) -> bytes:
        return refusals.error_response(refusal, "FATAL")

    @staticmethod
    def audit_refusal() -> Refusal:
        return told.unrecorded()

    def timed_out(self, execution: Execution, now: float) -> Turn:
        """A statement's time (an obligation of policy) is over: cancelled, unless it is done. One
        that waits behind another of its pipeline has its time anew: a cancel would hit the other.
        """
        self._begin(now)
        due = [e.subject for e in self._state.expected if isinstance(e.subject, Execution)]
        if due and due[0] is execution:
            execution.timed_out = True
            self._state.turn.requests.append(CancelStatement())
        elif execution in due:
            timeout_ms = execution.verdict.decision.statement_timeout_ms or 0
            self._state.turn.requests.append(ArmTimeout(execution, timeout_ms))
        return self._end()

    def other_ended(self, found: bool, now: float) -> Turn:
        raise InvariantBroken("no session ends another in this protocol")

    def disconnected(self, now: float) -> Turn:
        """A peer is gone: what was under way is finished in the records.

        When that is because a turn ended in an exception, its records are owed still, though
        nothing of it was forwarded.
        """
        if self._hitting:
            self.take_over()
        broken_off = self._state.turn if self._in_turn else Turn()
        withheld = {record.id for _, _, record in broken_off.gated}
        self._begin(now)
        self._parking.disconnected()
        self._state.turn.records += broken_off.records
        for expected in self._state.expected:
            if isinstance(expected.subject, Execution) and not expected.error:
                never = expected.subject.record_id in withheld
                outcome = Outcome.WITHHELD if never else Outcome.DISCONNECTED
                self._state.finish(expected.subject, outcome)
        return self._end()

    @property
    def flow(self) -> RowFlow:
        return self._state.flow

    def let_flow(self) -> None:
        if not self._second_look.waits:
            let_flow(self._state)

    def _begin(self, now: float) -> None:
        if self._state.flow.open:
            self._state.flow.end()
        self._state.now = now
        self._state.turn, self._in_turn = Turn(), True
        self._rebind()

    def _rebind(self) -> None:
        """Follows what the hit path has done to the unnamed portal of the open transaction."""
        portal = self._state.hits.take_bound()
        if portal is not None:
            self._state.portals.begin(b"", portal)
            self._state.portals.confirm(b"")

    def _end(self) -> Turn:
        self._in_turn = False
        if self._state.hits.path is not None:
            self._arm()
        return self._state.turn

    def _drain_runs(self) -> None:
        while self._state.runs and not self.waiting:
            run = self._state.runs.popleft()
            self._queued -= len(run[3])
            self._client.run(run)
