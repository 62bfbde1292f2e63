"""One worker's place in the service: starts it, listens to it, starts it again when it dies. For
ever.

`control/supervisor` has one `Slot` per worker, and one for the control process. A slot's index
outlives the processes in it. Rule: a worker is either heard from or killed; a dead one comes back
after a pause that grows to BACKOFF_SECONDS_MAX.
"""

import asyncio
import enum
import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from appliance.control.sockets import ListeningSockets, SocketError
from appliance.link.codec import LinkBroken, encode_message
from appliance.link.messages import (
    HEARTBEAT_MISSED_SECONDS_MAX,
    HEARTBEAT_SECONDS,
    START_SECONDS_MAX,
    Documents,
    Drain,
    Fatal,
    Heartbeat,
    Ready,
    Reload,
    Reloaded,
    Stop,
    SupervisorMessage,
    WorkerMessage,
    WorkerSpec,
    encode_spec,
    worker_messages,
)
from appliance.link.spawning import module_command, module_environment
from appliance.telemetry.log import Log
from appliance.telemetry.metrics import Number, add_up, lasting

BACKOFF_SECONDS_MIN = 0.1
BACKOFF_SECONDS_MAX = 10.0
RELEASE_PAUSE_SECONDS = 1.0
"""A worker that stays away longer gives its sockets back, so that no client waits in their backlog.
"""
STEADY_SECONDS = 30.0
"""A worker that was ready for so long starts a new count of failures."""
RELOAD_SECONDS_MAX = 20.0
EXIT_SECONDS_MAX = 3.0
LAST_LOOK_SECONDS = 0.1
"""Behind a pause of ours, what a worker said meanwhile is read before it is judged."""
RECEIVE_BYTES = 256 * 1024

log = Log("supervisor")


class WorkerState(enum.Enum):
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"  # died; starts again after a pause
    ENDED = "ended"


class Terms(NamedTuple):
    """What is the same for every slot."""

    module: str
    workers: int
    run_dir: Path
    environment: Mapping[str, str]
    log_json: bool
    log_level: str
    sockets: ListeningSockets
    control_socket: str
    """Where the control process listens for workers."""
    documents: Callable[[], Documents]
    """The documents accepted last."""
    changed: Callable[[], None]
    """Called whenever a slot's state or beat changes."""


class Slot:
    """The worker with a given index."""

    def __init__(self, index: int, terms: Terms) -> None:
        self.index = index
        self.state = WorkerState.STARTING
        self.beat = Heartbeat(sessions=0)
        self.generation = 0
        self.policy_version = ""
        self.restarts = 0
        self.failures = 0
        """Ends in a row without a steady time between."""
        self.reason = ""
        """Why the last one ended, for people."""
        self.refused_to_start = False
        """Whether the last one said itself that it cannot start."""
        self._terms = terms
        self._retired: dict[str, Number] = {}
        self._os_process: asyncio.subprocess.Process | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reloading: asyncio.Future[Reloaded] | None = None
        self._ending = asyncio.Event()
        self._silent_seconds = 0.0
        self._ready_at: float | None = None

    @property
    def pid(self) -> int | None:
        return None if self._os_process is None else self._os_process.pid

    def totals(self) -> dict[str, Number]:
        """Counts of every process this slot has had."""
        return add_up([self._retired, self.beat.stats])

    async def run(self) -> None:
        """Until `drain` or `stop`, and the process is gone."""
        while not self._ending.is_set():
            await self._one_life()
            if self._ending.is_set():
                break
            await self._pause()
        self._set_state(WorkerState.ENDED)

    def drain(self, seconds: float) -> None:
        """Asks the worker to finish; it is not started again."""
        self._ending.set()
        self._send(Drain(seconds=seconds))

    def stop(self) -> None:
        """Asks the worker to exit now; it is not started again."""
        self._ending.set()
        self._send(Stop())

    def kill(self) -> None:
        if self._os_process is not None and self._os_process.returncode is None:
            self._os_process.kill()

    async def reload(self, documents: Documents) -> str:
        """'' when the worker took them (or will, because it is starting), else why it did not.

        A worker that does not answer is killed and starts anew, with the documents accepted by
        then.
        """
        if self.state is not WorkerState.READY:
            return ""
        answer: asyncio.Future[Reloaded] = asyncio.get_running_loop().create_future()
        self._reloading = answer
        self._send(Reload(documents=documents))
        try:
            async with asyncio.timeout(RELOAD_SECONDS_MAX):
                return (await answer).error
        except TimeoutError:
            log.error("reload_unanswered", worker=self.index)
            self.kill()
            return ""
        finally:
            self._reloading = None

    async def _one_life(self) -> None:
        self._set_state(WorkerState.STARTING)
        self._silent_seconds, self._ready_at, self.reason = 0.0, None, ""
        self.refused_to_start = False
        try:
            self._terms.sockets.open(self.index)
            reader = await self._spawn()
        except (OSError, SocketError) as error:
            self.reason = f"not started: {error}"
            log.error("worker_not_started", worker=self.index, reason=str(error))
            return
        if self._ending.is_set():
            self._send(Stop())
        watching = asyncio.create_task(self._watch())
        try:
            await self._listen(reader)
        finally:
            watching.cancel()
            await self._bury()

    async def _spawn(self) -> asyncio.StreamReader:
        ours, theirs = socket.socketpair()
        spec_fd = os.memfd_create("sallyport-spec")
        try:
            spec = self._spec(theirs.fileno())
            with os.fdopen(os.dup(spec_fd), "wb") as written:
                written.write(encode_spec(spec))
            os.lseek(spec_fd, 0, os.SEEK_SET)
            self._os_process = await asyncio.create_subprocess_exec(
                *module_command(self._terms.module, "--spec-fd", str(spec_fd)),
                pass_fds=(spec_fd, theirs.fileno(), *(one.fd for one in spec.listening)),
                env=module_environment(self._terms.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # a terminal's Ctrl-C is for the supervisor alone
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(spec_fd)
        reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        log.info("worker_started", worker=self.index, child=self._os_process.pid)
        return reader

    def _spec(self, control_fd: int) -> WorkerSpec:
        return WorkerSpec(
            index=self.index,
            workers=self._terms.workers,
            incarnation=self.restarts,
            supervisor_pid=os.getpid(),
            control_fd=control_fd,
            listening=self._terms.sockets.of(self.index),
            run_dir=str(self._terms.run_dir),
            documents=self._terms.documents(),
            control_socket=self._terms.control_socket,
            log_format="json" if self._terms.log_json else "text",
            log_level=self._terms.log_level,
        )

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Until the link or the process ends (a grandchild may keep the link's other end open)."""
        assert self._os_process is not None
        reading = asyncio.create_task(self._read(reader))
        ended = asyncio.create_task(self._os_process.wait())
        await asyncio.wait((reading, ended), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((reading,), timeout=0.5)  # its last words
        for task in (reading, ended):
            task.cancel()
        await asyncio.wait((reading, ended))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        messages = worker_messages()
        try:
            while chunk := await reader.read(RECEIVE_BYTES):
                self._silent_seconds = 0.0
                for message in messages.feed(chunk):
                    self._take(message)
        except ConnectionError:  # it died with messages of ours unread
            return
        except LinkBroken as error:
            self.reason = f"link broken: {error}"
            log.error("worker_link_broken", worker=self.index, reason=str(error))
            self.kill()

    def _take(self, message: WorkerMessage) -> None:
        match message:
            case Ready():
                self._take_ready(message)
            case Heartbeat():
                self.beat = message
                self._terms.changed()
            case Reloaded():
                if not message.error:
                    self.generation = message.generation
                    self.policy_version = message.policy_version
                if self._reloading is not None and not self._reloading.done():
                    self._reloading.set_result(message)
                elif message.error:  # started with older documents and does not take the newer
                    self.reason = f"reload refused: {message.error}"
                    self.kill()
            case Fatal():
                self.reason = message.reason
                self.refused_to_start = self.state is WorkerState.STARTING
                log.error("worker_failed", worker=self.index, reason=message.reason)

    def _take_ready(self, message: Ready) -> None:
        self.generation = message.generation
        self.policy_version = message.policy_version
        self._ready_at = asyncio.get_running_loop().time()
        self._set_state(WorkerState.READY)
        current = self._terms.documents()
        if current.generation != message.generation:  # a reload happened while it started
            self._send(Reload(documents=current))

    async def _watch(self) -> None:
        """Counts silence in our own ticks: a pause of ours is not taken for the worker's."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self._silent_seconds += HEARTBEAT_SECONDS
            starting = self._ready_at is None
            limit = START_SECONDS_MAX if starting else HEARTBEAT_MISSED_SECONDS_MAX
            if self._silent_seconds >= limit:
                await asyncio.sleep(LAST_LOOK_SECONDS)
            if self._silent_seconds >= limit:
                self.reason = "did not start in time" if starting else "stopped answering"
                log.error("worker_silent", worker=self.index, reason=self.reason)
                self.kill()
                return

    async def _bury(self) -> None:
        """Sees to it that the process is gone, and keeps what it counted."""
        os_process = self._os_process
        assert os_process is not None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        try:
            async with asyncio.timeout(EXIT_SECONDS_MAX):
                await os_process.wait()
        except TimeoutError:
            self.kill()
            await os_process.wait()
        self._retired = add_up([self._retired, lasting(self.beat.stats)])
        self.beat = Heartbeat(sessions=0)
        if self._reloading is not None and not self._reloading.done():
            self._reloading.set_result(Reloaded(generation=0))
        self.reason = self.reason or f"ended with status {os_process.returncode}"
        level = log.info if self._ending.is_set() else log.warning
        level("worker_ended", worker=self.index, child=os_process.pid, status=os_process.returncode)
        self._os_process = None

    async def _pause(self) -> None:
        now = asyncio.get_running_loop().time()
        steady = self._ready_at is not None and now - self._ready_at >= STEADY_SECONDS
        self.failures = 1 if steady else self.failures + 1
        self.restarts += 1
        self._set_state(WorkerState.WAITING)
        seconds = min(BACKOFF_SECONDS_MAX, BACKOFF_SECONDS_MIN * 2 ** (self.failures - 1))
        if seconds > RELEASE_PAUSE_SECONDS:
            self._terms.sockets.release(self.index)
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return

    def _set_state(self, state: WorkerState) -> None:
        self.state = state
        self._terms.changed()

    def _send(self, message: SupervisorMessage) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode_message(message))
