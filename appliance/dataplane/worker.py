"""A worker process: the data path on one core.

Started by `control/supervisor` as `python -m appliance.dataplane.worker --spec-fd N` (see
`link/messages`). Rule: it runs exactly the documents it was given; what it cannot take on reload it
refuses and keeps the old.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import msgspec
import uvloop

from _speedups.chunks import Poller, poll_with
from appliance import __version__
from appliance.audit.record import (
    ConfigurationChanged,
    PolicyChanged,
    Record,
    WorkerStarted,
    WorkerStopped,
)
from appliance.config.load import parse
from appliance.config.schema import Configuration, PolicyMode
from appliance.dataplane.admin import Session
from appliance.dataplane.analyzer import Analyzer
from appliance.dataplane.approvals import ApprovalLink
from appliance.dataplane.cancels import Cancels
from appliance.dataplane.catalogs import Catalogs
from appliance.dataplane.conductor import Conductor
from appliance.dataplane.listener import ClientListener
from appliance.dataplane.loop_work import work_of
from appliance.dataplane.protocols import PROTOCOLS, spoken_at
from appliance.dataplane.services import Governance, Services, govern, keep_keys
from appliance.dataplane.tally import add_sums
from appliance.host.parentage import die_with_parent, keep_only
from appliance.identity.password_key import new_private_key
from appliance.link.approvals import CONTROL_SOCKET_NAME, SESSIONS_MAX, EndSession
from appliance.link.codec import encode_message
from appliance.link.messages import (
    HEARTBEAT_SECONDS,
    Documents,
    Drain,
    Fatal,
    Heartbeat,
    Ready,
    Reload,
    Reloaded,
    Stop,
    WorkerMessage,
    WorkerSpec,
    decode_spec,
    supervisor_messages,
)
from appliance.model.errors import InvariantBroken
from appliance.policy.compile import compile_documents, nothing_allowed
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer
from appliance.telemetry import log as logs
from appliance.telemetry.log import Log
from appliance.telemetry.metrics import Metrics

log = Log("worker")
COLLECT_AFTER = (50_000, 5, 5)
"""Objects made and not freed before the youngest generation is looked at; rounds of one before the
next older. All are looked at when about 1.25 million have come to stay, a few hundred MiB."""
PASSWORD_KEY_NAME = "login-rsa.pem"  # noqa: S105 - a file name
MOCK_SECRET_NAME = "login-mock.key"  # noqa: S105 - a file name


class Worker:
    """One process's life."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._spec = spec
        self._metrics = Metrics()
        self._control = socket.socket(fileno=spec.control_fd)
        self._inbox = supervisor_messages()
        self._sessions: set[Session] = set()
        self._listeners: list[ClientListener] = []
        self._ended = asyncio.Event()
        self._draining = False
        self._generation = spec.documents.generation
        self._services: Services
        self._catalogs: Catalogs
        self._cancels: Cancels
        self._reason = "terminated"
        self._told_sessions = False

    async def run(self) -> None:
        governance = govern_documents(self._spec.documents)
        configuration = governance.configuration
        keys = configuration.data / "keys"
        signer = load_or_create_signer(keys)
        spool = Spool(
            configuration.data / "audit",
            self._spec.index,
            signer,
            configuration.durability.value,
            journal=True,
        )
        analyzers = {
            name: Analyzer(configuration.limits, self._metrics, protocol.analysis)
            for name, protocol in PROTOCOLS.items()
        }
        self._services = Services(
            governance,
            spool,
            analyzers,
            self._metrics,
            _kept(keys / MOCK_SECRET_NAME, lambda: secrets.token_bytes(32)),
            lru_cache(maxsize=1)(lambda: _kept(keys / PASSWORD_KEY_NAME, new_private_key)),
        )
        self._services.worker = self._spec.index
        loop = asyncio.get_running_loop()
        poller = Poller(self._services.round.ledger, self._services.round.settle, work_of(loop))
        loop.add_reader(poller, poller.serve)
        poll_with(poller)
        self._catalogs = Catalogs(
            self._metrics,
            configuration.limits.catalog_refresh_ms,
            configuration.data / "catalogs",
        )
        self._cancels = Cancels(Path(self._spec.run_dir), self._spec.index, self._spec.workers)
        self._cancels.on_schema_change = self._catalogs.told_by
        self._cancels.open()
        self._link_approvals(configuration)
        await self._start_analyzers(configuration)
        self._services.owe(self._started(governance))
        self._open_listeners()
        self._control.setblocking(False)
        asyncio.get_running_loop().add_reader(self._control, self._heard)
        collect_seldom()
        await self._say(Ready(os.getpid(), self._generation, governance.snapshot.version))
        beating = asyncio.create_task(self._beat())
        await self._ended.wait()
        beating.cancel()
        await self._close()

    @property
    def _linked(self) -> int:
        """Links to the control process that are up."""
        link = self._services.approvals
        return int(link is not None and link.connected)

    async def _start_analyzers(self, configuration: Configuration) -> None:
        """Of the dialects that there are targets of."""
        for dialect in {target.dialect for target in configuration.targets}:
            await self._services.analyzers[dialect].start()

    def _link_approvals(self, configuration: Configuration) -> None:
        control = configuration.control
        if control is None:
            return
        path = control.socket or Path(self._spec.control_socket or self._default_socket)
        link = ApprovalLink(Path(path), control.node, self._spec.index, self._end_session)
        self._services.approvals = link
        link.start()

    @property
    def _default_socket(self) -> Path:
        return Path(self._spec.run_dir) / CONTROL_SOCKET_NAME

    def _end_session(self, message: EndSession) -> None:
        """An administrator's wish."""
        for conductor in list(self._sessions):
            if isinstance(conductor, Conductor) and conductor.session == message.session:
                conductor.end_by(message.by, message.reason)

    def _tell_sessions(self) -> None:
        """To the control process, as long as there is something to tell."""
        link = self._services.approvals
        if link is None or not link.connected:
            return
        told = [c.told for c in self._sessions if isinstance(c, Conductor) and not c.ended]
        if told or self._told_sessions:
            if len(told) > SESSIONS_MAX:
                told.sort(key=lambda seen: seen.state == "idle")
            link.tell_sessions(told[:SESSIONS_MAX])
        self._told_sessions = bool(told)

    def _open_listeners(self) -> None:
        configuration = self._services.governance.configuration
        if any(spoken_at(one, configuration).encrypts_passwords for one in configuration.listeners):
            self._services.private_key()  # made before anybody waits for it
        for one in self._spec.listening:
            listener = ClientListener(
                one.listener,
                socket.socket(fileno=one.fd),
                self._services,
                self._cancels,
                self._catalogs,
                self._sessions,
            )
            listener.open()
            self._listeners.append(listener)

    def _started(self, governance: Governance) -> Record:
        now = time.time()
        return WorkerStarted(
            id=self._services.new_id(now),
            time=now,
            worker=self._spec.index,
            pid=os.getpid(),
            version=__version__,
            policy_version=governance.snapshot.version,
            configuration_digest=governance.digest,
        )

    # --- the supervisor ---------------------------------------------------------------------------

    async def _say(self, message: WorkerMessage) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone: so are we, in a moment
            await asyncio.get_running_loop().sock_sendall(self._control, encode_message(message))

    def _heard(self) -> None:
        try:
            chunk = self._control.recv(65_536)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if not chunk:
            self._finish("terminated")
            return
        for message in self._inbox.feed(chunk):
            match message:
                case Reload():
                    asyncio.get_running_loop().create_task(self._reload(message.documents))
                case Drain():
                    self._drain()
                case Stop():
                    self._finish("terminated")

    async def _reload(self, documents: Documents) -> None:
        old = self._services.governance
        now = time.time()
        digest = sha256(documents.configuration).hexdigest()
        try:
            new = govern_documents(documents)
            keep_keys(old.key_sources, new.key_sources)
        except (ValueError, OSError) as error:
            reason = type(error).__name__
            self._services.owe(
                ConfigurationChanged(
                    id=self._services.new_id(now),
                    time=now,
                    digest=digest,
                    previous=old.digest,
                    accepted=False,
                    reason=reason,
                )
            )
            await self._say(Reloaded(documents.generation, old.snapshot.version, str(error)))
            return
        self._services.governance = new
        await self._start_analyzers(new.configuration)
        self._services.pools.drain()
        self._services.alarm.pace.change(new.configuration.limits.samples_per_second)
        self._generation = documents.generation
        for conductor in list(self._sessions):
            conductor.take_policy(new.snapshot)
            conductor.take_directory(new.directory)
        self._services.owe(
            ConfigurationChanged(
                id=self._services.new_id(now), time=now, digest=new.digest, previous=old.digest
            ),
            PolicyChanged(
                id=self._services.new_id(now),
                time=now,
                version=new.snapshot.version,
                previous=old.snapshot.version,
                documents=tuple(document.name for document in documents.policies),
            ),
        )
        await self._say(Reloaded(documents.generation, new.snapshot.version))

    async def _beat(self) -> None:
        loop = asyncio.get_running_loop()
        expected = loop.time()
        while True:
            self._metrics.loop_lag_seconds = max(0.0, loop.time() - expected)
            await self._say(self._heartbeat())
            self._services.spool.tick(time.time())
            self._tell_sessions()
            if self._draining:
                self._go_on_draining()
            expected = loop.time() + HEARTBEAT_SECONDS
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _heartbeat(self) -> Heartbeat:
        metrics, spool, cache = self._metrics, self._services.spool, self._services.cache
        metrics.sessions = len(self._sessions)
        metrics.control_links = self._linked
        hits = add_sums(metrics, self._services.round.ledger)
        cache.verdicts_found += hits
        self._services.periods.tick(time.monotonic())
        metrics.audit_records, metrics.audit_bytes = spool.records, spool.octets
        metrics.audit_failures = spool.failures
        metrics.cancels_routed = self._cancels.routed
        metrics.cancels_unknown = self._cancels.unknown
        metrics.analyses_cached = cache.verdicts_found + cache.verdicts_alike + cache.facts_found
        metrics.analyses_inline = cache.analysed_inline
        metrics.analysis_failures_syntax = cache.failed_syntax
        metrics.analysis_failures_limit = cache.failed_limit
        metrics.decisions_cached = cache.verdicts_found + cache.verdicts_alike
        metrics.decisions_evaluated = cache.decided
        return Heartbeat(
            sessions=len(self._sessions),
            stats=metrics.snapshot(),
            audit_writable=spool.available,
            targets=dict(self._services.targets_reached),
            draining=self._draining,
        )

    # --- the end ----------------------------------------------------------------------------------

    def _drain(self) -> None:
        if self._draining:
            return
        self._draining = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self._go_on_draining()

    def _go_on_draining(self) -> None:
        """Again with each beat: a client that was logging in may have become a session."""
        for conductor in list(self._sessions):
            conductor.drain()
        if not self._sessions:
            self._finish("drained")

    def _finish(self, reason: str) -> None:
        self._reason = reason
        self._ended.set()

    async def _close(self) -> None:
        for listener in self._listeners:
            listener.close()
        cut = len(self._sessions)
        for conductor in list(self._sessions):
            conductor.stop()
        await asyncio.sleep(0.05)  # lets the last words and cancels leave
        if self._services.approvals is not None:
            await self._services.approvals.close()
        await self._services.pools.close()
        await self._catalogs.close()
        for analyzer in self._services.analyzers.values():
            await analyzer.stop()
        self._services.alarm.close()
        self._cancels.close()
        now = time.time()
        self._services.owe(
            WorkerStopped(
                id=self._services.new_id(now),
                time=now,
                worker=self._spec.index,
                reason=self._reason,
                sessions=cut,
            )
        )
        self._services.spool.close()


def collect_seldom() -> None:
    """Python's cycle collector stops everybody for as long as it looks at what is alive. Parse
    trees, records and turns have no cycles, and what an ended session was is taken apart
    (`remains`): counting references frees them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def govern_documents(documents: Documents) -> Governance:
    """Raises ValueError or OSError."""
    path = documents.configuration_path
    folder = Path(path).parent if path else None
    configuration = parse(documents.configuration.decode(), folder=folder, file=path)
    pairs = [(document.name, document.text) for document in documents.policies]
    observe = configuration.policy.mode is PolicyMode.OBSERVE
    snapshot = compile_documents(pairs, observe=observe) if pairs else nothing_allowed()
    return govern(
        configuration, documents.configuration, snapshot, log_warning, users=documents.users
    )


def log_warning(text: str) -> None:
    log.warning("warning", reason=text)


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """One secret for all workers; whoever comes first makes it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    staged = path.with_suffix(f".{os.getpid()}")
    if not path.exists():
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(make())
        with contextlib.suppress(FileExistsError):
            os.link(staged, path)
        staged.unlink()
    return path.read_bytes()


def _read_spec(descriptor: int) -> WorkerSpec:
    with os.fdopen(descriptor, "rb") as stream:
        return decode_spec(stream.read())


def main() -> int:
    parser = argparse.ArgumentParser(prog="appliance.dataplane.worker")
    parser.add_argument("--spec-fd", type=int, required=True)
    arguments = parser.parse_args()
    spec = _read_spec(arguments.spec_fd)
    die_with_parent(spec.supervisor_pid)
    keep_only({spec.control_fd, *(one.fd for one in spec.listening)})
    logs.configure(json=spec.log_format == "json", level=spec.log_level)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_live(spec))
        except (ValueError, OSError, InvariantBroken, msgspec.MsgspecError) as error:
            log.error("worker failed", reason=str(error))
            control = socket.socket(fileno=spec.control_fd)
            with contextlib.suppress(OSError):
                control.sendall(encode_message(Fatal(str(error))))
            return 1
    return 0


async def _live(spec: WorkerSpec) -> None:
    await Worker(spec).run()


if __name__ == "__main__":
    sys.exit(main())
