"""A worker's side of its analyzer processes: texts go over, facts come back, and the asking
connection waits.

Used by `dataplane/conductor` for statements over INLINE_ANALYSIS_BYTES_MAX. Rule: whatever becomes
of a child (crash, hang, not starting), every request gets Facts in bounded time, and what could
not be analysed is opaque: one `Unparsed` statement that only a refusal can follow. Texts of one
child are analysed one after the other, and their owners take turns: whoever asks for much waits
behind those who ask for little. Very long texts have a child of their own, so that the others wait
for none of these.
"""

import asyncio
import os
import socket
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from _speedups import sqllex
from appliance.link.analysis import (
    ANALYSIS_FRAME_BYTES_MAX,
    Analyse,
    AnalyzerAnswer,
    Answer,
    CatalogName,
    Failed,
    Forget,
    Hello,
    Learn,
    analyzer_answers,
)
from appliance.link.codec import LinkBroken, encode_message
from appliance.link.spawning import module_command, module_environment
from appliance.model.catalog import Catalog, ColumnKey, SessionSettings
from appliance.model.decision import Mask
from appliance.model.facts import Action, Confidence, Facts, ParseFailure, StatementFacts
from appliance.model.limits import KIB, MIB, Limits
from appliance.telemetry.log import Log
from appliance.telemetry.metrics import Metrics

CHILD_MODULE = "appliance.dataplane.analyzer_child"
MEMORY_BYTES_MAX = 2048 * MIB
WAITING_MAX = 256
"""Requests in the queue; one more is answered with a failure at once."""
OWNER_WAITING_MAX = WAITING_MAX // 4
"""Requests of one owner in the queue, so that no one owner fills it."""
WAITING_DEADLINES_MAX = 4
"""A request waits and runs for at most this many times `limits.analysis_ms_max`."""
LONG_TEXT_BYTES_MIN = 64 * KIB
"""From here on a text is analysed where it holds up none that is shorter."""
CATALOGS_KEPT_MAX = 4
START_SECONDS_MAX = 30.0
BACKOFF_SECONDS: Final = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Pause before a start, by how many starts in a row have failed."""
RECEIVE_BYTES = 256 * 1024

log = Log("analyzer")


class Analysis(NamedTuple):
    """What a child runs, by 'module:name'."""

    dialect: str
    """A `session.dialect.Dialect`."""
    lineage: str
    """catalog -> what that dialect resolves names against."""
    redact: Callable[[bytes], bytes]
    """The audit trail shows the text of a failed analysis, too."""


POSTGRES = Analysis(
    "appliance.session.postgres:POSTGRES", "appliance.sql.lineage:CatalogLineage", sqllex.redact
)


class Lineage(Protocol):
    """What is needed of `sql.lineage.CatalogLineage`; the child makes its own from the catalog."""

    @property
    def catalog(self) -> Catalog: ...


def _failed(request: "_Request", code: str, message: str, redacted: bytes) -> Facts:
    """Facts of a text that could not be analysed: opaque, so nothing but a refusal can follow."""
    unparsed = StatementFacts(
        kind="Unparsed",
        actions=(Action.OPAQUE,),
        outputs_known=False,
        unresolved=(message,),
        confidence=Confidence.OPAQUE,
        span=(0, len(request.text)),
    )
    return Facts(
        statements=(unparsed,),
        failure=ParseFailure(code=code, message=message),
        settings_digest=request.settings.digest(),
        catalog_version="" if request.catalog is None else request.catalog.version,
        redacted=redacted.decode("utf-8", "replace"),
    )


Examined = tuple[Facts, Sequence[tuple[bytes, str]]]
"""Facts, and per statement (text over masked relations, why there is none)."""


class _Request:
    """One text and who waits for it."""

    __slots__ = ("answer", "catalog", "owed", "owner", "settings", "text")

    def __init__(
        self,
        text: bytes,
        catalog: Catalog | None,
        settings: SessionSettings,
        owner: str,
        owed: Mapping[ColumnKey, Mask],
    ) -> None:
        self.owner = owner
        self.owed = owed
        self.text = text
        self.catalog = catalog
        self.settings = settings
        self.answer: asyncio.Future[Examined] = asyncio.get_running_loop().create_future()


class _Queue:
    """Requests that wait: owners take turns, first come first served within one."""

    def __init__(self) -> None:
        self._owners: OrderedDict[str, deque[_Request]] = OrderedDict()
        """Never an empty deque; whose turn is next stands first, but for the one served last."""
        self._count = 0
        self._served = ""

    def __len__(self) -> int:
        return self._count

    def has_room(self, owner: str) -> bool:
        own = len(self._owners.get(owner, ()))
        return self._count < WAITING_MAX and own < OWNER_WAITING_MAX

    def put(self, request: _Request) -> None:
        self._owners.setdefault(request.owner, deque()).append(request)
        self._count += 1

    def take(self) -> _Request:
        """Only when there is one. The owner served last goes behind everybody now, not when it was
        served: who came meanwhile does not wait for a second one of the same owner.
        """
        if self._served in self._owners:
            self._owners.move_to_end(self._served)
        request = next(iter(self._owners.values()))[0]
        self._served = request.owner
        self.discard(request)
        return request

    def discard(self, request: _Request) -> None:
        """Nothing if it does not wait any more."""
        own = self._owners.get(request.owner)
        if own is None or request not in own:
            return
        own.remove(request)
        self._count -= 1
        if not own:
            del self._owners[request.owner]


class ChildLost(Exception):
    """The child's end of the link is gone, or it speaks nonsense. Never leaves this module."""


class _Child:
    """One child process and what it has learnt."""

    def __init__(
        self, os_process: asyncio.subprocess.Process, reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        self.os_process = os_process
        self._reader = reader
        self._writer = writer
        self._messages = analyzer_answers()
        self._arrived: deque[AnalyzerAnswer] = deque()
        self._catalogs: OrderedDict[CatalogName, None] = OrderedDict()
        self._number = 0

    @property
    def alive(self) -> bool:
        return self.os_process.returncode is None and not self._reader.at_eof()

    async def greeted(self) -> None:
        """Returns when the child is ready. Raises ChildLost."""
        if not isinstance(await self._next(), Hello):
            raise ChildLost("no greeting")

    async def analyse(self, request: _Request, cpu_seconds: int) -> Answer | Failed:
        """Raises ChildLost."""
        self._number += 1
        name = self._teach(request.catalog) if request.catalog is not None else None
        self._send(
            Analyse(
                number=self._number,
                text=request.text,
                settings=request.settings,
                catalog=name,
                owed=tuple((*key, mask) for key, mask in request.owed.items()),
                cpu_seconds=cpu_seconds,
            )
        )
        await self._drained()
        answer = await self._next()
        if isinstance(answer, Hello) or answer.number != self._number:
            raise ChildLost("answered another request")
        return answer

    def _teach(self, catalog: Catalog) -> CatalogName:
        """Sends a catalog that the child does not hold; drops the one unused for longest."""
        name = (catalog.target, catalog.database, catalog.version)
        if name in self._catalogs:
            self._catalogs.move_to_end(name)
            return name
        if len(self._catalogs) >= CATALOGS_KEPT_MAX:
            self._send(Forget(name=self._catalogs.popitem(last=False)[0]))
        self._send(Learn(catalog=catalog))
        self._catalogs[name] = None
        return name

    def _send(self, message: Learn | Forget | Analyse) -> None:
        self._writer.write(encode_message(message, ANALYSIS_FRAME_BYTES_MAX))

    async def _drained(self) -> None:
        try:
            await self._writer.drain()
        except OSError as error:
            raise ChildLost("link closed") from error

    async def _next(self) -> AnalyzerAnswer:
        try:
            while not self._arrived:
                chunk = await self._reader.read(RECEIVE_BYTES)
                if not chunk:
                    raise ChildLost("link closed")
                self._arrived.extend(self._messages.feed(chunk))
        except (OSError, LinkBroken) as error:
            raise ChildLost(type(error).__name__) from error
        return self._arrived.popleft()

    async def end(self) -> None:
        """Kills the process (by its id) and reaps it."""
        self._writer.close()
        if self.os_process.returncode is None:
            self.os_process.kill()
        await self.os_process.wait()


class _Lane:
    """One child process, its queue, and its restarts."""

    def __init__(
        self, limits: Limits, metrics: Metrics, analysis: Analysis, memory_bytes_max: int
    ) -> None:
        self._limits = limits
        self._metrics = metrics
        self._redact = analysis.redact
        self._analysis = analysis
        self._memory_bytes_max = memory_bytes_max
        self._seconds_max = limits.analysis_ms_max / 1000
        self._waiting = _Queue()
        self._counted = 0
        self._work = asyncio.Event()
        self._child: _Child | None = None
        self._running: asyncio.Task[None] | None = None
        self._failed_starts = 0
        self._started_once = False

    async def start(self) -> None:
        """See `Analyzer.start`."""
        if self._running is not None:
            return
        await self._begin_child()
        self.run()

    @property
    def running(self) -> bool:
        """It was started, and not stopped."""
        return self._running is not None

    def run(self) -> None:
        """The same without waiting for the child. Does nothing when it has been started."""
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="analyzer")

    async def stop(self) -> None:
        """See `Analyzer.stop`."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            self._running = None
        await self._end_child()
        while self._waiting:
            self._fail(self._waiting.take(), "crashed", "the analyzer was stopped")

    async def examine(
        self,
        text: bytes,
        lineage: Lineage | None,
        settings: SessionSettings,
        owner: str,
        owed: Mapping[ColumnKey, Mask],
    ) -> Examined:
        """See `Analyzer.examine`."""
        catalog = None if lineage is None else lineage.catalog
        request = _Request(text, catalog, settings, owner, owed)
        if not self._waiting.has_room(owner):
            return self._failure(request, "busy", "too many statements wait for analysis"), ()
        self._waiting.put(request)
        self._count()
        self._work.set()
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._seconds_max * WAITING_DEADLINES_MAX):
                return await request.answer
        except TimeoutError:
            return self._failure(request, "busy", "the analysis did not begin in time"), ()
        finally:
            self._waiting.discard(request)  # who gave up takes no place
            self._count()
            self._metrics.analysis_seconds.observe(asyncio.get_running_loop().time() - begun)

    def _count(self) -> None:
        self._metrics.analyzer_queue += len(self._waiting) - self._counted
        self._counted = len(self._waiting)

    async def _run(self) -> None:
        while True:
            if self._child is None or not self._child.alive:
                await self._end_child()
                await self._begin_child()
                continue
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
                continue
            request = self._waiting.take()
            self._count()
            if not request.answer.done():
                await self._serve(self._child, request)

    async def _serve(self, child: _Child, request: _Request) -> None:
        try:
            async with asyncio.timeout(self._seconds_max):
                answer = await child.analyse(request, int(self._seconds_max) + 1)
        except TimeoutError:
            self._fail(request, "timeout", "the analysis took too long")
            await self._lost("timeout")
        except ChildLost:
            self._fail(request, "crashed", "the analysis failed")
            await self._lost("crashed")
        except asyncio.CancelledError:
            self._fail(request, "crashed", "the analyzer was stopped")
            raise
        else:
            self._deliver(request, answer)

    def _deliver(self, request: _Request, answer: Answer | Failed) -> None:
        if isinstance(answer, Failed):
            log.error("analysis_raised", exception=answer.reason)
            self._fail(request, "crashed", "the analysis failed")
            return
        self._metrics.analyses_child += 1
        if not request.answer.done():
            request.answer.set_result((answer.facts, answer.forms))

    def _fail(self, request: _Request, code: str, message: str) -> None:
        if not request.answer.done():
            request.answer.set_result((self._failure(request, code, message), ()))

    def _failure(self, request: _Request, code: str, message: str) -> Facts:
        if code in ("timeout", "busy"):
            self._metrics.analysis_failures_timeout += 1
        else:
            self._metrics.analysis_failures_crashed += 1
        return _failed(request, code, message, self._redact(request.text))

    async def _lost(self, reason: str) -> None:
        child = self._child
        await self._end_child()
        code = child.os_process.returncode if child is not None else None
        log.warning("analyzer_lost", reason=reason, status=code)

    async def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()

    async def _begin_child(self) -> None:
        """One try. On failure the next one waits longer, for ever."""
        pause = BACKOFF_SECONDS[min(self._failed_starts, len(BACKOFF_SECONDS) - 1)]
        await asyncio.sleep(pause)
        if self._started_once:
            self._metrics.analyzer_restarts += 1
        self._started_once = True
        child: _Child | None = None
        try:
            child = await self._spawned()
            async with asyncio.timeout(START_SECONDS_MAX):
                await child.greeted()
        except (OSError, TimeoutError, ChildLost) as error:
            self._failed_starts += 1
            log.error(
                "analyzer_not_started", reason=type(error).__name__, tries=self._failed_starts
            )
            if child is not None:
                await child.end()
            return
        except asyncio.CancelledError:
            if child is not None:
                await child.end()
            raise
        self._failed_starts = 0
        self._child = child

    async def _spawned(self) -> _Child:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                os_process = await asyncio.create_subprocess_exec(
                    *self._command(theirs.fileno()),
                    pass_fds=(theirs.fileno(),),
                    env=module_environment(os.environ),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                )
        except OSError:
            ours.close()
            raise
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        return _Child(os_process, reader, writer)

    def _command(self, fd: int) -> list[str]:
        return module_command(
            CHILD_MODULE,
            f"--fd={fd}",
            f"--parent={os.getpid()}",
            f"--memory-bytes-max={self._memory_bytes_max}",
            f"--statement-bytes-max={self._limits.statement_bytes_max}",
            f"--dialect={self._analysis.dialect}",
            f"--lineage={self._analysis.lineage}",
        )


class Analyzer:
    """Two child processes, of which that for very long texts starts with the first of these.

    `analysis`: of which dialect; one analyzer reads one.
    """

    def __init__(
        self,
        limits: Limits,
        metrics: Metrics,
        analysis: Analysis = POSTGRES,
        *,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
    ) -> None:
        self._short = _Lane(limits, metrics, analysis, memory_bytes_max)
        self._long = _Lane(limits, metrics, analysis, memory_bytes_max)

    async def start(self) -> None:
        """Starts the child and returns when it is ready, or failed to start the first time (it is
        tried again for as long as this lives; statements that need it are refused meanwhile).
        Does nothing when it has been started.
        """
        await self._short.start()

    async def stop(self) -> None:
        """Ends the children; whoever waits gets a failure."""
        await self._short.stop()
        await self._long.stop()

    async def analyse(
        self, text: bytes, lineage: Lineage | None, settings: SessionSettings, owner: str = ""
    ) -> Facts:
        """Facts of `text`, with failure code crashed, timeout or busy if none. Never raises.

        `owner`: who asks, the principal's name; all of an owner's connections share one turn.
        """
        return (await self.examine(text, lineage, settings, owner, {}))[0]

    async def examine(
        self,
        text: bytes,
        lineage: Lineage | None,
        settings: SessionSettings,
        owner: str,
        owed: Mapping[ColumnKey, Mask],
    ) -> Examined:
        """Like `analyse`, with the statements' forms for these masks (none when it failed)."""
        lane = self._short
        if len(text) >= LONG_TEXT_BYTES_MIN and lane.running:
            lane = self._long
            lane.run()
        return await lane.examine(text, lineage, settings, owner, owed)
