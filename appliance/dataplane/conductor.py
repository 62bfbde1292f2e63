"""Carries out what one session's machine asks for: the only place where its effects touch the
world.

Made by `login`, one per session. It keeps the order that the invariants rest on: a turn's records
are appended (and, where configured, on the disk) before any of its bytes goes upstream. It catches
once: whatever goes wrong in the machine ends the session on both sides.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Any

from appliance.audit.record import Record
from appliance.config.schema import TargetConfig
from appliance.dataplane import farewells
from appliance.dataplane.approvals import Answer
from appliance.dataplane.aside import Asker
from appliance.dataplane.cancelling import Cancelling
from appliance.dataplane.cancels import Cancels, SchemaChange
from appliance.dataplane.catalogs import DatabaseCatalog
from appliance.dataplane.connections import NO_SIDE, Login, Upstream
from appliance.dataplane.gate import Gate
from appliance.dataplane.hitting import Hitting
from appliance.dataplane.holding import Holding, seen_of, told_of
from appliance.dataplane.lending import Lender
from appliance.dataplane.pool import UNCLEAN, Kept
from appliance.dataplane.protocols import SpokenProtocol
from appliance.dataplane.remains import Remains
from appliance.dataplane.retiring import Retiring
from appliance.dataplane.services import Services
from appliance.dataplane.sharing import Sharing
from appliance.dataplane.shows import Seen
from appliance.dataplane.tally import count
from appliance.dataplane.time_limits import TimeLimits
from appliance.dataplane.transport import Side
from appliance.identity.verifiers import Directory
from appliance.link.approvals import SessionSeen
from appliance.model.circles import take_apart
from appliance.model.ending import Ending
from appliance.model.errors import Refused
from appliance.model.form import Form
from appliance.model.principal import Client, Principal
from appliance.model.stands import Stands
from appliance.policy.snapshot import Snapshot
from appliance.session.dialect import Forms
from appliance.session.driven import Machine
from appliance.session.effects import (
    AnalyseText,
    ArmTimeout,
    AskApproval,
    BeginSchemaChange,
    Bytes,
    CancelStatement,
    CheckFooting,
    EndOther,
    EndSession,
    LogInAnew,
    NoteCleanRelations,
    NoteSchemaChange,
    PinConnection,
    RefreshCatalog,
    Request,
    SampleRows,
    SettleSchemaChange,
    Turn,
    UseApproval,
    WithdrawApproval,
)
from appliance.session.machine import SessionMachine
from appliance.spool.spool import SpoolUnavailable
from appliance.telemetry.log import Log

HALF_CLOSED_SECONDS_MAX = 2.0
"""A client that sent its end of stream still gets the replies it waits for, this long."""

CHANGED_USER = "changed_user"
_CLEAN_ENDS = ("client_closed", "client_lost", CHANGED_USER)

_log = Log("session")


class Conductor:
    """One session: its machine, its two sides, its end."""

    __slots__ = (
        "_cancelling", "_cancels", "_client", "_draining", "_gate", "_held", "_hitting",
        "_holding", "_leaving", "_limits", "_login", "_loop", "_machine", "_moved_on",
        "_protocol", "_remains", "_retiring", "_services", "_tasks", "_timers", "_upstream",
        "asked", "begun", "cancel_keys", "catalog", "client", "database", "ended", "expires",
        "kept", "local", "on_end", "on_login", "principal", "requested", "session", "sharing",
        "target", "upstream_pid", "upstream_user",
    )  # fmt: skip

    def __init__(
        self,
        machine: Machine,
        client: Side,
        upstream: Upstream,
        target: TargetConfig,
        services: Services,
        cancels: Cancels,
        session: str,
        protocol: SpokenProtocol,
        login: Login,
    ) -> None:
        self._machine, self._client = machine, client
        self._upstream, self.upstream_pid = upstream.side, upstream.pid
        self.target = target
        self._services, self._cancels, self.session = services, cancels, session
        self.begun = self.requested = services.now()
        """`requested`: when the client sent something last, but for what its hit path took."""
        self._loop = asyncio.get_running_loop()
        self._tasks: dict[asyncio.Task[None], None] = {}
        self._timers: list[asyncio.TimerHandle] = []
        self._limits = TimeLimits(self._timed_out)
        self._held = 0
        """Turns of ours that wait for the end of the event loop's round."""
        self._gate = Gate(
            machine, services, session, self._spawn, self._send, self._count, self._opened
        )
        self._holding = Holding(self, machine, services)
        self._draining = False
        self._leaving = ""
        """Why the session ends as soon as it can, '' while it goes on."""
        self.kept: Kept | None = None
        """The pooled connection that the upstream is, if it is one."""
        self._protocol, self._login = protocol, login
        self.sharing: Sharing | None = None
        """Where the upstream comes and goes."""
        self._cancelling = Cancelling(protocol, target, login, upstream, self)
        self.ended = self._moved_on = False
        self._remains: Remains | None = None
        self.on_end: Callable[[Any], None] | None = None
        self.on_login: Callable[[Conductor, Side, LogInAnew], None] | None = None
        """Takes the client's connection over when it is to log in again."""
        self.asked: dict[str, str] = {}
        self.cancel_keys: Sequence[tuple[int, bytes]] = ()
        self.expires: float | None = None
        """Unix seconds after which the proof of identity no longer holds; set before `start`."""
        self.client: Client | None = None
        self.upstream_user = self.database = ""
        self.principal: Principal | None = None
        self.local = False
        """By the users file, with a password of its own: what changes there holds at once."""
        self._retiring = Retiring(self, machine)
        self.catalog: DatabaseCatalog | None = None
        self._hitting: Hitting | None = None
        if machine.hit_path is not None:
            self._hitting = Hitting(self, machine, machine.hit_path, client, services.round)

    def share(self, lender: Lender, kept: Kept | None, announced: Mapping[str, str]) -> None:
        """Before `start`: the upstream is lent, or there is none yet."""
        assert isinstance(self._machine, SessionMachine)
        self.sharing = Sharing(self, self._machine, self._client, lender, kept, announced)
        if kept is None:
            self.use(None)

    def use(self, kept: Kept | None) -> None:
        """See `sharing`."""
        self._let_rows_go(False)
        if kept is None:
            self._upstream, self.upstream_pid = NO_SIDE, 0
            return
        upstream = kept.upstream
        self._upstream, self.upstream_pid = upstream.side, upstream.pid
        if not self._cancelling.concerns(upstream):
            self._cancelling = Cancelling(self._protocol, self.target, self._login, upstream, self)
        high = self._services.governance.configuration.limits.write_buffer_high_bytes
        self._upstream.attach(self.from_upstream, self._changed, high)
        if self._hitting is not None and not self.ended:
            self._hitting.attach(self._upstream)
        self._let_rows_go(not self.ended)

    def _let_rows_go(self, on: bool) -> None:
        """From the upstream there is to the client, without the machine, as far as it lets them."""
        flow = self._machine.flow
        if flow is not None and self._upstream is not NO_SIDE:
            self._upstream.rows_to(*(self._client, flow) if on else (None, None))

    def _send(self, pieces: list[Bytes]) -> int:
        return self._upstream.write_all(pieces)

    @property
    def written(self) -> bool:
        """See `sharing`."""
        return not (self._held or self._gate.closed or self._cancelling.underway)

    def now(self) -> float:
        return self._services.now()

    def start(self) -> None:
        """From here on both sides' chunks come to us."""
        high = self._services.governance.configuration.limits.write_buffer_high_bytes
        if self.catalog is not None:
            self.catalog.begin()
        if self.expires is not None:
            self.after(self.expires - self._services.now(), self._retiring.expire)
        if self.sharing is None or self.sharing.kept is not None:
            self._upstream.attach(self.from_upstream, self._changed, high)
        if self._hitting is not None and not self.ended:
            self._hitting.attach(self._upstream)
        self._let_rows_go(not self.ended)
        self._client.attach(self.from_client, self._changed, high)

    # --- bytes in ---------------------------------------------------------------------------------

    def from_client(self, chunk: memoryview) -> None:
        if self.ended:
            return
        if self.sharing is not None and self.sharing.keeps(chunk):
            self.update_reading()
            return
        begun, self.requested = perf_counter(), self._services.now()
        try:
            if self._hitting is not None and self._hitting.learns(chunk, self.requested):
                return
            self._services.metrics.bytes_to_upstream += len(chunk)
            turn = self._machine.client_received(chunk, self.requested)
            turn.begun = begun
            self.carry_on(turn)
        except Exception as error:  # the one place: whatever it is, both sides end
            self.cut(error)

    def from_upstream(self, chunk: memoryview) -> None:
        if self.ended:
            return
        try:
            self.carry_on(self._machine.upstream_received(chunk, self._services.now()))
            if self._machine.flow is not None and not (self._held or self.ended):
                self._machine.let_flow()
        except Exception as error:  # the one place: whatever it is, both sides end
            self.cut(error)
        self.settled()

    def settled(self) -> None:
        """Something ended that a drain or a retirement may wait for."""
        if self.ended:
            return
        if self._draining and self._machine.idle:
            self._end_politely()
        self._retiring.settled()
        if self.sharing is not None:
            self.sharing.settled()

    # --- effects out ------------------------------------------------------------------------------

    def carry_on(self, turn: Turn) -> None:
        """At once, unless it has records, which are written with those of other sessions."""
        if turn.records or self._held:
            self._held += 1
            self._services.round.post(self, turn)
        else:
            self._deliver(turn)

    def settle(self, turn: Turn, recorded: bool) -> None:
        """See `rounds`."""
        self._held -= 1
        try:
            if recorded:
                self._count(turn.records)
            elif turn.records:
                self._record(turn)
            if not self.ended:
                self._deliver(turn)
        except Exception as error:  # as where bytes come in
            self.cut(error)
        if self.sharing is not None:
            self.sharing.settled()

    def _record(self, turn: Turn) -> None:
        try:
            self._services.spool.append(turn.records)
        except SpoolUnavailable:
            self._refuse(turn)
        else:
            self._count(turn.records)

    def _deliver(self, turn: Turn) -> None:
        if turn.client:
            written = self._client.write_all(turn.client)
            self._services.metrics.bytes_to_client += written
        if turn.upstream:
            self._gate.pass_on(turn)
        for request in turn.requests:
            self._do(request)
        self.update_reading()

    def _refuse(self, turn: Turn) -> None:
        """Nothing that is not recorded is forwarded; what already happened is owed to the trail."""
        unrecorded = {id(record) for _, _, record in turn.gated}
        self._machine.refuse_turn(turn)
        owed = [r for r in turn.records if id(r) not in unrecorded]
        self._services.spool.owe(owed)
        self._count(owed)
        self._services.metrics.statements_refused += len(unrecorded)

    def _count(self, records: list[Record]) -> None:
        count(self._services.metrics, records)
        self._limits.heed(records)

    def _do(self, request: Request) -> None:
        match request:
            case AnalyseText():
                self._spawn(self._analyse(request))
            case RefreshCatalog():
                self._spawn(self._refresh(request.reload))
            case BeginSchemaChange(masked=masked):
                self._tell_change(True, masked)
            case SettleSchemaChange():
                self._tell_change(False)
            case NoteSchemaChange():
                if self.catalog is not None:
                    self.catalog.note_change()
            case NoteCleanRelations(names=names):
                if self.catalog is not None:
                    self.catalog.note_clean(names, self.upstream_user)
            case ArmTimeout():
                self._limits.arm(request)
            case CancelStatement():
                self.cancel()
            case EndOther(ending=ending):
                self._spawn(self._end_other(ending))
            case CheckFooting():
                self._spawn(self._look_after(request))
            case SampleRows():
                if self.catalog is not None:
                    self._services.alarm.sample(request, self.target, self.catalog)
            case AskApproval() | UseApproval() | WithdrawApproval():
                self._holding.carry_out(request)
                if isinstance(request, AskApproval):
                    self._asked()
            case PinConnection():
                self._spawn(self._pin())
            case EndSession():
                self._farewell(request.reason)
            case LogInAnew():
                self._end(CHANGED_USER, request)

    # --- approvals --------------------------------------------------------------------------------

    def approval(self, answer: Answer) -> None:
        """What came of what was asked (`dataplane/approvals`)."""
        if self.ended:
            return
        try:
            self.carry_on(self._holding.answered(answer))
        except Exception as error:  # as where bytes come in
            self.cut(error)
        self.settled()

    def _asked(self) -> None:
        """A statement waits from now on, unless nobody is there for it, or soon will not be."""
        if self._leaving:
            self._end(self._leaving)
        elif self._retiring.begun or self._draining:
            why = "session_ended" if self._retiring.begun else "drained"
            self._loop.call_soon(self._give_up_waiting, why)
        else:
            self._holding.remind_later(self._remind)

    def _give_up_waiting(self, why: str) -> None:
        if not self.ended and self._machine.parked is not None:
            self.carry_on(self._machine.give_up_waiting(why, self._services.now()))
            self.settled()

    def _remind(self) -> None:
        """Now and then while a statement waits; ends its wait when its time is over."""
        if self.ended or self._machine.parked is None:
            return
        if self._holding.overdue:
            self._give_up_waiting("expired")
            return
        self.carry_on(self._machine.remind(self._services.now()))
        self._holding.remind_later(self._remind)

    def end_by(self, person: str, reason: str) -> None:
        """An administrator ends this session."""
        if self.ended:
            return
        self._services.round.settle()
        said = f"ended by {person}" + (f": {reason}" if reason else "")
        self.part("ended_by_administrator", farewells.stopping(self._machine, said))

    def _tell_change(self, begun: bool, masked: bool = False) -> None:
        """To every session on this database, in this worker and the others; what begins it goes
        upstream when all have heard it (see `gate`).
        """
        if self.catalog is None:
            return
        told = SchemaChange(self.target.name, self.catalog.database, self.session, begun)
        if begun:
            self.catalog.begin_change(self.session, masked=masked)
            self._gate.announce(self._cancels.announce(told))
        else:
            self.catalog.settle_change(self.session)
            self._cancels.tell(told)

    def _timed_out(self, armed: ArmTimeout) -> None:
        if not self.ended:
            self.carry_on(self._machine.timed_out(armed.execution, self._services.now()))

    def _spawn(self, coroutine) -> asyncio.Task[None]:  # type: ignore[no-untyped-def]
        task: asyncio.Task[None] = self._loop.create_task(coroutine)
        self._tasks[task] = None
        task.add_done_callback(self._spawned_ended)
        return task

    def _spawned_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.pop(task, None)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.cut(error)

    async def _analyse(self, request: AnalyseText) -> None:
        lineage = None if self.catalog is None else self._machine.analysis_lineage
        owner = "" if self.principal is None else self.principal.name
        facts, made = await self._services.analyzers[self._protocol.name].examine(
            request.text, lineage, request.settings, owner, request.owed
        )
        self._services.cache.note_failure(facts)
        forms = Forms(request.owed, [Form(*each) for each in made])
        if not self.ended:
            self.carry_on(self._machine.analysed(facts, self._services.now(), forms))

    async def _refresh(self, reload: bool) -> None:
        if self.catalog is not None:
            await self.catalog.quiet(self.session)
            await self.catalog.refresh(reload=reload)
        if not self.ended:
            self.carry_on(self._machine.catalog_ready(self._services.now()))

    async def _pin(self) -> None:
        assert self.sharing is not None
        try:
            await self.sharing.pin(tuple(self._cancelling.underway))
        except UNCLEAN:
            self._upstream_gone()

    async def _look_after(self, request: CheckFooting) -> None:
        stands = Stands.OTHERWISE
        if self.catalog is not None:
            asker = Asker(self.upstream_pid, request.since)
            stands = await self.catalog.stands(request.footing, asker, refresh=request.refresh)
        if self.ended:
            return
        self.carry_on(self._machine.footing_told(stands, self._services.now()))
        self.settled()

    # --- pressure ---------------------------------------------------------------------------------

    def update_reading(self) -> None:
        """A peer that does not take what we have for it stops the other from sending more."""
        if self.ended:
            return
        self._client.read(
            not (
                self._upstream.writing_paused
                or self._machine.full
                or self._gate.closed
                or self._retiring.begun
                or (self._hitting is not None and self._hitting.keeps)
                or (self.sharing is not None and self.sharing.crowded)
            )
        )
        self._upstream.read(not (self._client.writing_paused or self._machine.holds_back))

    def _opened(self) -> None:
        """Nothing waits for the disk, or for others, any longer."""
        self.update_reading()
        if self.sharing is not None:
            self.sharing.settled()

    def _changed(self) -> None:
        """A side paused, resumed, sent its end of stream or was lost."""
        if self.ended:
            if self._remains is not None:
                self._remains.stir()
            return
        if self._upstream.ended or self._client.ended:
            self._services.round.settle()
        if self._upstream.ended:
            self._upstream_gone()
        elif self._client.lost:
            self._end("client_lost")
        elif self._client.ended:
            self._farewell("client_lost")
        else:
            self.update_reading()

    def _farewell(self, reason: str) -> None:
        """The client said its last: what is still under way gets a moment, then it is cancelled."""
        if self._leaving:
            return
        self._leaving = reason
        self._close_path()
        if self._machine.parked is not None:
            self._end(reason)  # who is gone cannot be told, so nothing may run for them any more
        elif self._machine.busy or self._machine.waiting:
            self._timers.append(self._loop.call_later(HALF_CLOSED_SECONDS_MAX, self._end, reason))
            self._draining = True
        else:
            self._end(reason)

    def without_upstream(self, error: Exception) -> None:
        """See `sharing`."""
        if not self.ended:
            self.part("no_upstream", farewells.none_free(self._machine, error))

    def _upstream_gone(self) -> None:
        if self._leaving:
            self._end(self._leaving)
            return
        if not self._machine.told_fatal:
            self._client.write(farewells.upstream_gone(self._machine))
        self._services.metrics.connections_cut_upstream += 1
        self._end("upstream_closed")

    # --- cancel, end ------------------------------------------------------------------------------

    def cancel(self) -> asyncio.Task[bool] | None:
        """The client's CancelRequest (or our own wish), passed on with the upstream's key. The task
        ends when it is delivered.
        """
        if self._machine.parked is not None:
            self._give_up_waiting("cancelled")
            return None
        if self.ended or (self.sharing is not None and not self._machine.busy):
            return None  # (it would hit whoever has the connection next)
        task = self._cancelling.send()
        if self.sharing is not None:
            task.add_done_callback(lambda _: self.settled())
        return task

    async def _end_other(self, ending: Ending) -> None:
        """Of this principal's own, wherever it is."""
        found = await self._cancels.end_own(ending, self.principal)
        if not self.ended:
            self.carry_on(self._machine.other_ended(found, self._services.now()))

    def ended_by_own(self) -> None:
        """Another session of the same principal wants this one to end."""
        if not self.ended:
            self._services.round.settle()
            self.part("ended_by_own", self._machine.last_words("70100", "connection was killed"))

    def cut(self, error: BaseException) -> None:
        """The one place that ends a session because something is wrong."""
        self._services.round.settle()
        if self.ended:
            return
        if isinstance(error, Refused) and self.catalog is not None:
            self.catalog.note_change()  # it may be the catalog that is behind
        reason, message = farewells.of_error(error, self._machine, self._services, self.session)
        self._client.write(message)
        self._end(reason)

    @property
    def seen(self) -> Seen:
        """As the admin database shows it."""
        sides, cancels = (self._client, self._upstream), (self._cancels, self._cancelling)
        return seen_of(self, self._machine, *sides, *cancels)

    @property
    def told(self) -> SessionSeen:
        """As the control process shows it."""
        return told_of(self.seen, self._machine, self.principal)

    def take_policy(self, snapshot: Snapshot) -> None:
        """From the next statement on, this policy decides; prepared statements are judged again."""
        self._machine.take_policy(snapshot)

    def drain(self) -> None:
        """Ends the session as soon as nothing is under way."""
        self._draining = True
        self.begin_nothing_new("drained")
        if not self.ended and self._machine.idle:
            self._end_politely()

    def _close_path(self) -> None:
        if self._hitting is not None:
            self._hitting.close()

    def _end_politely(self) -> None:
        self._services.round.settle()
        if self.ended or not self._machine.idle:
            return
        if self._leaving:
            self._end(self._leaving)
            return
        self.part("drained", farewells.stopping(self._machine, "connect again"))

    def take_directory(self, directory: Directory) -> None:
        """Ends the session of somebody who could not log in as this principal now."""
        self._retiring.take_directory(directory, self.principal, self.local)

    def begin_nothing_new(self, why: str) -> None:
        """See `retiring`."""
        self._close_path()
        self._give_up_waiting(why)

    def part(self, reason: str, last_words: bytes) -> None:
        """Both sides end, once what is held is settled."""
        self._services.round.settle()
        if not self.ended:
            self._client.write(last_words)
            self._end(reason)

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """See `retiring`."""
        self._timers.append(self._loop.call_later(max(seconds, 0.0), action))

    def stop(self) -> None:
        """At once."""
        self._services.round.settle()
        if not self.ended:
            self.part("stopped", farewells.stopping(self._machine))

    def _end(self, reason: str, anew: LogInAnew | None = None) -> None:
        self._services.round.settle()
        if self.ended:
            return
        busy, executing = self._machine.busy, self._machine.executing
        now = self._services.now()
        turn = self._machine.disconnected(now)
        self.ended = True
        self._holding.remind_no_more()
        for request in turn.requests:
            if isinstance(request, WithdrawApproval):
                self._holding.carry_out(request)
        if self._hitting is not None:
            self._hitting.detach()
        self._let_rows_go(False)
        self._limits.cancel()
        for timer in self._timers:
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._count(turn.records)
        self._services.owe(
            *turn.records,
            farewells.closed(self._machine, self._services, self.session, reason, self.begun),
        )
        metrics = self._services.metrics
        metrics.pauses_client += self._client.pauses
        metrics.pauses_upstream += self._upstream.pauses
        if not self._gave_back(reason):
            self._leave_upstream(reason, busy, executing)
        if anew is None or self.on_login is None:
            self._client.close()
        else:
            self._client.detach()
            self.on_login(self, self._client, anew)
            self._moved_on = True
        for key in self.cancel_keys:
            self._cancels.forget(*key)
        if self.catalog is not None:
            if self._machine.changing:
                self._tell_change(False)
            self.catalog.end()
        if self.on_end is not None:
            self.on_end(self)
        self._remains = Remains(self, self._services.lulls)

    @property
    def lingers(self) -> bool:
        """See `remains`."""
        there = not (self._client.lost or self._moved_on)
        return bool(there or self._tasks or self._held or self._cancelling.busy)

    def take_apart(self) -> None:
        """See `remains`. It knows that it has ended, for whoever is late."""
        services, hitting = self._services, self._hitting
        self._machine.take_apart()
        take_apart(self, *[] if hitting is None else [hitting])
        self.ended, self._services, self._remains = True, services, None

    def _gave_back(self, reason: str) -> bool:
        """Whether the connection to the database goes back to its pool."""
        machine, kept = self._machine, self.kept
        sound = reason in _CLEAN_ENDS and not (self._upstream.ended or self._gate.closed)
        if self.sharing is not None:
            return self.sharing.end(sound, tuple(self._cancelling.underway))
        if kept is None:
            return False
        if sound and machine.reusable:
            return kept.give_back(machine.left, tuple(self._cancelling.underway))
        kept.lost()
        return False

    def _leave_upstream(self, reason: str, busy: bool, executing: int) -> None:
        if busy and not self._upstream.ended:
            self._cancelling.send(executing)  # unless told, the server works on for nobody
            self._upstream.abort()
            return
        if reason != "client_closed" or self.kept is not None or self.sharing is not None:
            self._upstream.write(self._protocol.terminate)
        self._upstream.close()
