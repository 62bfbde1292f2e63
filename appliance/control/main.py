"""The control process: approvals, grants, live sessions; and whatever layers above serve with it.

Started by the supervisor as `python -m MODULE --spec-fd N`, or by itself with `--config FILE`
(`sallyport control`). `console/serve` composes it with API and console; as a module of its own it
serves workers alone. Rules: everything durable is in the store and the trail, so it may be killed
at any moment and started again; a reload ends it, and it starts anew with the new documents.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec
import uvloop

from appliance import __version__
from appliance.audit.record import ControlStarted, ControlStopped
from appliance.config.control import SQLITE, Namesakes
from appliance.config.control import Control as ControlSection
from appliance.config.load import parse
from appliance.config.schema import Configuration
from appliance.control.approvals import Approvals
from appliance.control.changes import Changes
from appliance.control.documents import read
from appliance.control.expiry import Expiry
from appliance.control.figures import Figures
from appliance.control.grants import Grants
from appliance.control.held import Held
from appliance.control.links import Links
from appliance.control.neighbours import Neighbours
from appliance.control.opening import open_recorder, open_store
from appliance.control.policies import Examine, PolicyVersions
from appliance.control.policy_telling import PolicyTelling
from appliance.control.sockets import ListeningSockets, Wanted
from appliance.control.store import Store, StoreUnavailable
from appliance.control.supervised import Supervised
from appliance.control.trail import Minting, SpoolRecorder
from appliance.control.witness import Witness
from appliance.host.parentage import die_with_parent, keep_only
from appliance.link.approvals import ControlMessage
from appliance.link.messages import Documents, WorkerSpec, decode_spec
from appliance.spool.spool import Spool
from appliance.telemetry import log as logs
from appliance.telemetry.log import Log

TICK_SECONDS = 1.0
SERVICES_SECONDS_MAX = 2.0
"""For services to end when they are told to."""
CONTROL_NAME = "control"

log = Log("control")


class Control(NamedTuple):
    """What a service that runs in the control process may use."""

    documents: Documents
    configuration: Configuration
    section: ControlSection
    desk: Approvals
    store: Store
    recorder: SpoolRecorder
    minting: Minting
    node: str
    """Name of this appliance."""
    url: str
    """How people reach the console, without a slash at its end."""
    listening: tuple[socket.socket, ...]
    """For API and console: bound, listening, non-blocking; one per address."""
    policies: PolicyVersions
    witness: Witness


Serves = Callable[[Control], Awaitable[None]]
"""Runs until it is cancelled. If it ends otherwise, the process does."""


class Start(NamedTuple):
    """What a control process is started with."""

    documents: Documents
    socket: Path
    """Where workers connect."""
    listening: tuple[socket.socket, ...]
    services: Sequence[Serves] = ()
    examine: Examine | None = None
    """Runs a policy's test cases."""
    supervisor: int | None = None
    """Its process id; None: it is started by somebody else, and whoever greets as it is."""


class Life:
    """One control process, from its start to its end."""

    def __init__(self, start: Start) -> None:
        """Raises ValueError for documents that it cannot run."""
        documents = start.documents
        path = documents.configuration_path
        folder = Path(path).parent if path else None
        self._start = start
        self._configuration = parse(documents.configuration.decode(), folder=folder, file=path)
        if self._configuration.control is None:
            raise ValueError("the configuration has no section `control`")
        self._section = self._configuration.control
        self._ended = asyncio.Event()
        self._reason = "terminated"
        self._spool: Spool
        self.figures = Figures()

    @property
    def audit_writable(self) -> bool:
        return self._spool.available

    def end(self, reason: str) -> None:
        self._reason = reason
        self._ended.set()

    async def run(self, ready: Callable[[], Awaitable[None]]) -> None:
        """Until `end` is called. Raises ValueError, OSError or StoreUnavailable where it cannot
        start, and whatever a service failed with."""
        section, configuration = self._section, self._configuration
        node = section.node or socket.gethostname()
        self._spool, recorder = open_recorder(configuration, self.figures.count)
        store = open_store(section, configuration.data)
        minting = Minting()
        changes = Changes(store, recorder, minting)
        held = Held(changes, node, distinct=section.namesakes is Namesakes.DIFFERENT)
        versions = PolicyVersions(
            changes,
            node,
            source="" if store.name == SQLITE else node,
            token_keys=tuple(configuration.token_keys),
            examine=self._start.examine,
        )
        links = Links(
            self._start.socket, held, changes, self._url(), partial(self._oversee, versions)
        )
        neighbours = None if store.name == SQLITE else Neighbours(changes, links, node)
        desk = Approvals(changes, section.roles.break_glass, links, neighbours)
        control = Control(
            self._start.documents,
            configuration,
            section,
            desk,
            store,
            recorder,
            minting,
            node,
            self._url(),
            self._start.listening,
            versions,
            witness := Witness(changes, configuration.data, node, self._doubt),
        )
        expiry = Expiry(changes, held, Grants(changes), minting.now)
        async with contextlib.AsyncExitStack() as open_until_the_end:
            open_until_the_end.callback(self._spool.close)
            open_until_the_end.push_async_callback(store.close)
            await store.open()
            open_until_the_end.push_async_callback(links.close)
            await links.open()
            self._record_start(control)
            await ready()
            looking = self.figures.run(store, lambda: links.linked)
            duties = [links.run(), expiry.run(), self._tick(), looking, witness.run()]
            if neighbours is not None:
                duties.append(neighbours.run())
            try:
                await self._until_ended(duties, [serve(control) for serve in self._start.services])
            except BaseException:
                self._reason = "failed"
                raise
            finally:
                self._record_end(control)

    def _doubt(self, chains: int) -> None:
        self.figures.metrics.chains_doubted = chains

    def _oversee(
        self, versions: PolicyVersions, say: Callable[[ControlMessage], None], pid: int
    ) -> PolicyTelling | None:
        if self._start.supervisor not in (None, pid):
            return None
        return PolicyTelling(versions, self.figures.metrics.snapshot, say)

    async def _until_ended(
        self, duties: Sequence[Awaitable[None]], services: Sequence[Awaitable[None]]
    ) -> None:
        tasks = [asyncio.ensure_future(one) for one in (*duties, *services)]
        ending = asyncio.ensure_future(self._wait_for_end())
        await asyncio.wait((ending, *tasks), return_when=asyncio.FIRST_COMPLETED)
        failed = [task for task in tasks if task.done()]
        for task in (ending, *tasks):
            task.cancel()
        await asyncio.wait((ending, *tasks), timeout=SERVICES_SECONDS_MAX)
        for task in failed:
            task.result()
            raise RuntimeError("a service ended by itself")

    async def _wait_for_end(self) -> None:
        await self._ended.wait()

    def _record_start(self, control: Control) -> None:
        started = ControlStarted(
            id=control.minting.id(),
            time=control.minting.now(),
            node=control.node,
            pid=os.getpid(),
            version=__version__,
            store=control.store.name,
            configuration_digest=sha256(self._start.documents.configuration).hexdigest(),
        )
        control.recorder.owe([started])
        log.info("control_ready", store=control.store.name, url=control.url)

    def _record_end(self, control: Control) -> None:
        id, now = control.minting.id(), control.minting.now()
        stopped = ControlStopped(id=id, time=now, node=control.node, reason=self._reason)
        control.recorder.owe([stopped])

    def _url(self) -> str:
        """As configured, or where we listen."""
        if self._section.url:
            return self._section.url.rstrip("/")
        host, port = self._start.listening[0].getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        return f"{'http' if self._section.tls is None else 'https'}://{shown}:{port}"

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._spool.tick(time.time())


def run(
    services: Sequence[Serves] = (),
    arguments: Sequence[str] | None = None,
    examine: Examine | None = None,
) -> int:
    """The process's `main`: `--spec-fd N` or `--config FILE`. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="sallyport control")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--spec-fd", type=int)
    source.add_argument("--config", type=Path)
    given = parser.parse_args(arguments)
    if given.spec_fd is not None:
        return run_supervised(given.spec_fd, services, examine)
    return run_separate(given.config, services, examine=examine)


def run_supervised(spec_fd: int, services: Sequence[Serves], examine: Examine | None = None) -> int:
    """As a child of the supervisor, which tells everything."""
    with os.fdopen(spec_fd, "rb") as stream:
        spec = decode_spec(stream.read())
    die_with_parent(spec.supervisor_pid)
    keep_only({spec.control_fd, *(one.fd for one in spec.listening)})
    logs.configure(json=spec.log_format == "json", level=spec.log_level)
    supervisor = Supervised(socket.socket(fileno=spec.control_fd), spec.documents.generation)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_supervised(spec, supervisor, services, examine))
        except FAILURES as error:
            log.error("control_failed", reason=str(error))
            supervisor.say_failed(str(error))
            return 1
    return 0


FAILURES = (ValueError, OSError, RuntimeError, StoreUnavailable, msgspec.MsgspecError)


async def _supervised(
    spec: WorkerSpec, supervisor: Supervised, services: Sequence[Serves], examine: Examine | None
) -> None:
    listening = tuple(socket.socket(fileno=one.fd) for one in spec.listening)
    path, pid = Path(spec.control_socket), spec.supervisor_pid
    life = Life(Start(spec.documents, path, listening, services, examine, pid))
    obeying = asyncio.create_task(supervisor.obey(life.end))
    beating: list[asyncio.Task[None]] = []

    async def ready() -> None:
        await supervisor.say_ready()
        beat = supervisor.beat(lambda: life.audit_writable, life.figures.metrics.snapshot)
        beating.append(asyncio.create_task(beat))

    try:
        await life.run(ready)
    finally:
        for task in (obeying, *beating):
            task.cancel()


def run_separate(
    config: Path,
    services: Sequence[Serves],
    json: bool = False,
    examine: Examine | None = None,
) -> int:
    """As a service of its own, until SIGTERM or SIGINT. Exit status 2 = the configuration is
    wrong."""
    try:
        validated = read(config, generation=1)
    except ValueError as error:
        print(f"sallyport: {error}", file=sys.stderr)
        return 2
    section = validated.configuration.control
    if section is None or section.socket is None:
        print("sallyport: `control.socket` is not configured", file=sys.stderr)
        return 2
    logs.configure(json=json, level=validated.configuration.log_level.value)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            life = _separate(validated.documents, section, section.socket, services, examine)
            runner.run(life)
        except FAILURES as error:
            log.error("control_failed", reason=str(error))
            return 1
    return 0


async def _separate(
    documents: Documents,
    section: ControlSection,
    path: Path,
    services: Sequence[Serves],
    examine: Examine | None,
) -> None:
    sockets = ListeningSockets([Wanted(CONTROL_NAME, section.listen.host, section.listen.port)], 1)
    place = sockets.bound()[0]
    listening = tuple(socket.socket(fileno=os.dup(one.fd)) for one in sockets.of(0))
    life = Life(Start(documents, path, listening, services, examine))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, life.end, "terminated")

    async def ready() -> None:
        print(f"ready control {place.host}:{place.port}", flush=True)

    try:
        await life.run(ready)
    finally:
        sockets.close()


if __name__ == "__main__":
    sys.exit(run())
