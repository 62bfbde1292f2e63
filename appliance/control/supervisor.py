"""The service's first process: holds the sockets, runs the workers, reloads, drains, and reports.
No data path here.

Started by `sallyport serve` and `sallyport try` through `run_service`. Rules: what was validated
last is what runs; a worker that dies comes back; SIGTERM finishes what is running and exits 0, a
second one (or SIGINT) at once.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

from appliance.config.control import Control as ControlSection
from appliance.config.control import Run
from appliance.control import kept_policy, sdnotify
from appliance.control.admin import AdminListener, Report
from appliance.control.documents import Check, Validated, read, unchangeable
from appliance.control.policy_duty import PolicyDuty
from appliance.control.rendezvous import DataLock, FolderError, RunFolder
from appliance.control.sockets import (
    Bound,
    ListeningSockets,
    OneSocket,
    SocketError,
    Wanted,
    inherited,
)
from appliance.control.workers import Slot, Terms, WorkerState
from appliance.link.approvals import CONTROL_SOCKET_NAME
from appliance.link.messages import Documents
from appliance.model.limits import CONTROL_CHAIN, WORKERS_MAX
from appliance.telemetry import log as logs
from appliance.telemetry.log import Log
from appliance.telemetry.metrics import Number, add_up

WORKER_MODULE = "appliance.dataplane.worker"
CONTROL_MODULE = "appliance.control.main"
FIRST_STARTS_MAX = 5
"""Before the service was ever ready, a worker that fails so often ends it; afterwards nothing does.
"""
STOP_SECONDS_MAX = 3.0
STATUS_SECONDS = 1.0
CONTROL_NAME = "control"
"""What the control process's listener (API, console) is called among them, and in logs."""
ADMIN_NAME = "admin"
"""What the admin listener is called among the places told by `on_ready`."""

log = Log("supervisor")


class Service(NamedTuple):
    """What `run_service` runs."""

    first: Validated
    source: Path | None = None
    """File to read anew on SIGHUP; None (`sallyport try`) = there is nothing to reload."""
    workers: int = 0
    """0 = as the configuration says."""
    checks: Sequence[Check] = ()
    on_ready: Callable[[tuple[Bound, ...]], None] | None = None
    """Called once, when every worker is ready, with the addresses clients can connect to (and the
    admin listener's, as ADMIN_NAME)."""
    log_json: bool = False
    worker_module: str = WORKER_MODULE
    control_module: str = CONTROL_MODULE


class StartFailed(ValueError):
    """The service cannot be started. The text is for the administrator."""


def run_service(service: Service) -> int:
    """Runs until a signal ends it. Returns the exit status: 0, or 1 when it could not start (the
    reason is in the log).
    """
    logs.configure(json=service.log_json, level=service.first.configuration.log_level.value)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            return runner.run(Supervisor(service).run())
        except (StartFailed, SocketError, FolderError) as error:
            log.error("not_started", reason=str(error))
            return 1


def worker_count(asked: int, configured: int) -> int:
    """How many workers: as asked, else as configured, else one per processor we may use."""
    return min(WORKERS_MAX, asked or configured or len(os.sched_getaffinity(0)))


class Supervisor:
    """One running service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._current = service.first
        self._count = worker_count(service.workers, service.first.configuration.workers)
        self._slots: list[Slot] = []
        self._running: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._hangup = asyncio.Event()
        self._terminate = asyncio.Event()
        self._hurry = asyncio.Event()
        self._ever_ready = False
        self._reloads = {"ok": 0, "failed": 0}
        self._notifier = sdnotify.Notifier(os.environ)
        self._sockets: ListeningSockets
        self._bound: tuple[Bound, ...] = ()
        self._admin: AdminListener | None = None
        self._control: Slot | None = None
        self._control_sockets: OneSocket | None = None
        self._control_running: asyncio.Task[None] | None = None
        self._duty: PolicyDuty | None = None
        """None: there is no control process, the files' policy is what runs."""

    async def run(self) -> int:
        """Raises StartFailed, SocketError or FolderError before the first readiness; else returns
        0.
        """
        configuration = self._current.configuration
        with contextlib.ExitStack() as held:
            held.callback(self._notifier.close)
            held.callback(DataLock(configuration.data).release)
            run_folder = RunFolder(os.environ, configuration.data)
            held.callback(run_folder.remove)
            self._begin_duty(run_folder.path)
            admin = self._admin = self._open_sockets()
            held.callback(self._sockets.close)
            if self._control_sockets is not None:
                held.callback(self._control_sockets.close)
            sdnotify.forget(os.environ)
            self._listen_for_signals()
            async with admin if admin is not None else contextlib.nullcontext():
                self._start_workers(run_folder.path)
                return await self._serve()

    def _begin_duty(self, run_dir: Path) -> None:
        """Raises StartFailed for an active policy that cannot be run."""
        control, data = self._current.configuration.control, self._current.configuration.data
        if control is None:
            kept_policy.remove(data)
            return
        node = control.node or socket.gethostname()
        self._duty = PolicyDuty(
            self._current,
            (_control_socket(control, run_dir), node),
            control.policy_hours_max,
            lambda: self._current,
            self._spread,
            self._changed.set,
        )
        try:
            self._current = self._duty.first()
        except ValueError as error:
            raise StartFailed(f"the policy that was active cannot be run: {error}") from error

    def _open_sockets(self) -> AdminListener | None:
        configuration = self._current.configuration
        names = [one.name for one in configuration.listeners]
        passed = inherited(os.environ, names)
        wanted = [
            Wanted(one.name, one.address.host, one.address.port) for one in configuration.listeners
        ]
        self._sockets = ListeningSockets(wanted, self._count, passed)
        self._bound = self._sockets.bound()
        control = configuration.control
        if control is not None and control.run is Run.SUPERVISED:
            place = Wanted(CONTROL_NAME, control.listen.host, control.listen.port)
            self._control_sockets = OneSocket(place)
        if configuration.admin is None:
            return None
        return AdminListener(configuration.admin.host, configuration.admin.port, self.report)

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._on_terminate)
        loop.add_signal_handler(signal.SIGINT, self._on_interrupt)
        loop.add_signal_handler(signal.SIGHUP, self._hangup.set)

    def _on_terminate(self) -> None:
        if self._terminate.is_set():
            self._hurry.set()
        self._terminate.set()

    def _on_interrupt(self) -> None:
        self._terminate.set()
        self._hurry.set()

    def _start_workers(self, run_dir: Path) -> None:
        control = self._current.configuration.control
        terms = Terms(
            module=self._service.worker_module,
            workers=self._count,
            control_socket=str(_control_socket(control, run_dir)),
            run_dir=run_dir,
            environment=os.environ,
            log_json=self._service.log_json,
            log_level=self._current.configuration.log_level.value,
            sockets=self._sockets,
            documents=self._documents,
            changed=self._changed.set,
        )
        self._slots = [Slot(index, terms) for index in range(self._count)]
        self._running = [
            asyncio.create_task(slot.run(), name=f"worker-{slot.index}") for slot in self._slots
        ]
        if self._control_sockets is not None:
            terms = terms._replace(
                module=self._service.control_module, sockets=self._control_sockets
            )
            self._control = Slot(CONTROL_CHAIN, terms)
            self._control_running = asyncio.create_task(self._control.run(), name=CONTROL_NAME)

    def _documents(self) -> Documents:
        return self._current.documents

    async def _serve(self) -> int:
        """From the first start to the last worker's end."""
        duties = [
            asyncio.create_task(self._report_changes(), name="status"),
            asyncio.create_task(self._reload_on_hangup(), name="reload"),
        ]
        if self._duty is not None:
            duties.append(asyncio.create_task(self._duty.run(), name="policy"))
        if self._notifier.watchdog_seconds is not None:
            duties.append(asyncio.create_task(self._pat(self._notifier.watchdog_seconds)))
        ending = asyncio.create_task(self._terminate.wait())
        try:
            done, _ = await asyncio.wait(
                (ending, *duties, *self._running), return_when=asyncio.FIRST_COMPLETED
            )
            for task in done - {ending}:
                task.result()  # a duty that ends has failed: its exception ends the service
        finally:
            ending.cancel()
            for duty in duties:
                duty.cancel()
            await self._end_workers()
        return 0

    async def _report_changes(self) -> None:
        """Tells readiness and status. Raises StartFailed when the service will not become ready."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self._ever_ready:
                self._check_first_start()
            if self._begun() and not self._ever_ready:
                self._ever_ready = True
                self._notifier.ready(self._status())
                log.info("ready", workers=self._count, policy=self._current.policy_version)
                if self._service.on_ready is not None:
                    self._service.on_ready(self._places())
            else:
                self._notifier.status(self._status())
            if self._ever_ready:
                await asyncio.sleep(STATUS_SECONDS)

    def _begun(self) -> bool:
        """Whether every worker is ready, and control has been, too, and has said which policy is
        active; or has failed: it is waited for at the start, but no reason not to serve."""
        control, duty = self._control, self._duty
        if not all(slot.state is WorkerState.READY for slot in self._slots):
            return False
        if control is None or duty is None:
            return True
        if control.state is WorkerState.READY:
            return duty.settled
        return control.state is not WorkerState.STARTING

    def _places(self) -> tuple[Bound, ...]:
        places = self._bound
        if self._control_sockets is not None:
            places += self._control_sockets.bound()
        if self._admin is None:
            return places
        host = self._current.configuration.admin
        assert host is not None
        return (*places, Bound(ADMIN_NAME, host.host, self._admin.port))

    def _check_first_start(self) -> None:
        for slot in self._slots:
            if slot.state is not WorkerState.WAITING:
                continue
            if slot.refused_to_start or slot.failures >= FIRST_STARTS_MAX:
                raise StartFailed(f"worker {slot.index} did not start: {slot.reason}")

    def _status(self) -> str:
        ready = sum(slot.state is WorkerState.READY for slot in self._slots)
        sessions = sum(slot.beat.sessions for slot in self._slots)
        policy = self._current.policy_version or "none (all denied)"
        return f"{ready} of {self._count} workers ready, {sessions} sessions, policy {policy}"

    async def _pat(self, seconds: float) -> None:
        while True:
            self._notifier.alive()
            await asyncio.sleep(seconds)

    async def _reload_on_hangup(self) -> None:
        while True:
            await self._hangup.wait()
            self._hangup.clear()
            self._notifier.reloading()
            error = await self._reload()
            self._reloads["failed" if error else "ok"] += 1
            if error:
                log.error("reload_refused", reason=error, kept=self._current.documents.generation)
            else:
                log.info("reloaded", policy=self._current.policy_version)
            self._notifier.ready(self._status() + (f"; reload refused: {error}" if error else ""))

    async def _reload(self) -> str:
        """Takes the file's present content everywhere or nowhere. Returns why not, '' for done."""
        if self._service.source is None:
            return "there is no configuration file to read again"
        old = self._current
        try:
            new = read(self._service.source, old.documents.generation + 1, self._service.checks)
        except ValueError as error:
            return str(error)
        if fixed := unchangeable(old.configuration, new.configuration):
            return f"a restart is needed to change: {fixed}"
        refusal = await (self._spread(new) if self._duty is None else self._duty.reload(new))
        if not refusal and self._control is not None and _matters(old, new):
            await self._control.reload(self._documents())
        return refusal

    async def _spread(self, new: Validated) -> str:
        """All workers take these, or none; why not, '' for done."""
        old = self._current
        generation = old.documents.generation + 1
        new = new._replace(documents=msgspec.structs.replace(new.documents, generation=generation))
        self._current = new  # a worker that starts meanwhile starts with these
        answers = await asyncio.gather(*(slot.reload(new.documents) for slot in self._slots))
        refusals = [answer for answer in answers if answer]
        if not refusals:
            return ""
        generation = new.documents.generation + 1
        again = msgspec.structs.replace(old.documents, generation=generation)
        self._current = old._replace(documents=again)
        await asyncio.gather(*(slot.reload(again) for slot in self._slots))
        return refusals[0]

    async def _end_workers(self) -> None:
        """Drain, then Stop, then kill; each step only when the one before was not enough."""
        seconds = self._current.configuration.limits.drain_ms_max / 1000
        self._notifier.stopping(seconds + 2 * STOP_SECONDS_MAX)
        self._sockets.close()
        if self._ever_ready and not self._hurry.is_set():
            log.info("draining", seconds=seconds)
            for slot in self._slots:
                slot.drain(seconds)
            hurrying = asyncio.create_task(self._hurry.wait())
            everyone = asyncio.gather(*self._running, return_exceptions=True)
            await asyncio.wait(
                (hurrying, everyone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            hurrying.cancel()
        for step in (Slot.stop, Slot.kill):
            for slot in self._slots:
                step(slot)
            await asyncio.wait(self._running, timeout=STOP_SECONDS_MAX)
        await self._end_control()
        log.info("stopped")

    async def _end_control(self) -> None:
        """After the workers, so that it hears their last words."""
        if self._control is None or self._control_running is None:
            return
        for step in (Slot.stop, Slot.kill):
            step(self._control)
            await asyncio.wait((self._control_running,), timeout=STOP_SECONDS_MAX)

    def _control_ready(self) -> bool | None:
        if self._control is not None:
            return self._control.state is WorkerState.READY
        return None if self._duty is None else self._duty.link.connected

    def _control_figures(self) -> Mapping[str, Number] | None:
        """Of the control process, whoever started it."""
        if self._control is not None:
            return self._control.beat.stats
        return None if self._duty is None else self._duty.link.figures

    def report(self) -> Report:
        """What the admin listener shows."""
        targets: dict[str, bool] = {}
        for slot in self._slots:
            for name, reachable in slot.beat.targets.items():
                targets[name] = reachable or targets.get(name, False)
        ready = [slot for slot in self._slots if slot.state is WorkerState.READY]
        control = self._control
        processes = {"supervisor": os.getpid()}
        processes |= {f"worker-{s.index}": s.pid for s in self._slots if s.pid is not None}
        if control is not None and control.pid is not None:
            processes[CONTROL_NAME] = control.pid
        return Report(
            control=self._control_ready(),
            control_figures=self._control_figures(),
            checks={
                "policy": bool(ready)
                and not (self._duty is not None and self._duty.stale)
                and all(slot.generation == self._documents().generation for slot in ready),
                "workers": len(ready) == self._count,
                "audit": all(slot.beat.audit_writable for slot in ready),
                "targets": not targets or any(targets.values()),
                "serving": not self._terminate.is_set(),
            },
            totals=add_up(slot.totals() for slot in self._slots),
            processes=processes,
            workers_ready=len(ready),
            workers=self._count,
            restarts=sum(slot.restarts for slot in self._slots),
            reloads=self._reloads,
            generation=self._documents().generation,
            targets=targets,
        )


def _control_socket(control: ControlSection | None, run_dir: Path) -> Path:
    named = None if control is None else control.socket
    return named or run_dir / CONTROL_SOCKET_NAME


def _matters(old: Validated, new: Validated) -> bool:
    """Whether the control process has to start anew: it follows the policy by itself."""
    before, after = old.documents, new.documents
    return (before.configuration, before.users) != (after.configuration, after.users)
