"""Time that is moved by hand, sinks that do as told, and an HTTP server that speaks real HTTP."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

from appliance.control.notify.dispatch import Dispatcher
from appliance.control.notify.notice import Notice
from appliance.control.notify.outbox import Outbox
from appliance.control.notify.sink import Sink
from appliance.control.policies import PolicyVersions
from appliance.control.store import Store
from tests.desk import Desks

URL = "https://sallyport.example"


class HandClock:
    """`tests.desk.Clock` for decisions, and waits that end when it is moved on."""

    def __init__(self, desks: Desks) -> None:
        self._clock = desks.clock
        self._sleepers: dict[asyncio.Event, float] = {}

    def now(self) -> float:
        return self._clock.now

    async def wait(self, happened: asyncio.Event, seconds: float) -> bool:
        woken = asyncio.Event()
        self._sleepers[woken] = self.now() + seconds
        tasks = [asyncio.ensure_future(e.wait()) for e in (happened, woken)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._sleepers[woken]
            for task in tasks:
                task.cancel()
        return happened.is_set()

    def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)
        for woken, until in self._sleepers.items():
            if until <= self.now():
                woken.set()

    async def pass_until(self, true: Callable[[], bool], step: float = 1.0) -> None:
        """Moves on until it is true; at most an hour of this clock."""
        for _ in range(3_600):
            if true():
                return
            self.advance(step)
            for _ in range(5):
                await asyncio.sleep(0.001)
        raise AssertionError("it never became true")


class Scripted:
    """A sink that does what its script says: an exception, "hang", or None = delivered."""

    def __init__(
        self,
        name: str = "one",
        script: Iterable[Exception | str | None] = (),
        for_people: bool = False,
    ) -> None:
        self.name = name
        self.for_people = for_people
        self.script = list(script)
        self.tried: list[Notice] = []
        self.got: list[Notice] = []
        self.references: list[str] = []
        self.closed = False
        self.cancelled = 0

    async def deliver(self, notice: Notice, reference: str) -> str:
        self.tried.append(notice)
        self.references.append(reference)
        step = self.script.pop(0) if self.script else None
        if step == "hang":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if isinstance(step, Exception):
            raise step
        self.got.append(notice)
        return f"thread of {notice.subject}"

    async def close(self) -> None:
        self.closed = True

    def events(self) -> list[str]:
        return [notice.event.value for notice in self.got]

    async def until(self, count: int) -> None:
        await becomes(lambda: len(self.got) >= count)

    async def until_tried(self, count: int) -> None:
        await becomes(lambda: len(self.tried) >= count)


async def becomes(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Lets others work until it is true."""
    for _ in range(int(seconds / 0.005)):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never became true")


@contextlib.asynccontextmanager
async def dispatching(
    desks: Desks, *sinks: Sink, store: Store | None = None, clock: HandClock | None = None
) -> AsyncIterator[HandClock]:
    clock = clock or HandClock(desks)
    dispatcher = Dispatcher(
        desks.approvals,
        Outbox(store or desks.store),
        sinks,
        url=URL,
        policies=PolicyVersions(desks.changes, "node-1"),
        clock=clock,
        chance=lambda: 0.0,
    )
    task = asyncio.create_task(dispatcher.run())
    await asyncio.sleep(0)
    await becomes(lambda: len(dispatcher._since) == len(sinks))
    await asyncio.sleep(0.01)
    try:
        yield clock
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.wait((task,))


class Seen:
    """A request as it came."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *fields = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        self.line = line
        self.headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (field.partition(":") for field in fields)
        }
        self.body = body


class HttpServer:
    """Answers each request with the next of `answers`: bytes as they are, or "hang". The last one
    again and again."""

    def __init__(self, *answers: bytes | str | Callable[[Seen], bytes]) -> None:
        self.answers = list(answers)
        self.seen: list[Seen] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def __aenter__(self) -> "HttpServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(Seen(head, b"").headers.get("content-length", "0"))
            seen = Seen(head, await reader.readexactly(length))
            self.seen.append(seen)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer == "hang":
                await asyncio.Event().wait()
            assert not isinstance(answer, str)
            writer.write(answer(seen) if callable(answer) else answer)
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()


def http(status: int, body: bytes = b"", **headers: str) -> bytes:
    fields = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
    head = (
        f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{fields}\r\n"
    )
    return head.encode() + body
