"""Links to workers, with a client that speaks bytes: answers after storing, pushes, bounds."""

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from appliance.approval.request import State
from appliance.control import links as links_module
from appliance.control.desk import Conflict, NotAllowed, Unknown
from appliance.control.links import Links
from appliance.control.sockets import SocketError
from appliance.control.store import Store
from appliance.link.approvals import (
    FRAME_BYTES_MAX,
    VERSION,
    Ask,
    EndSession,
    Greet,
    Known,
    Ruled,
    Sessions,
    SessionSeen,
    Unstored,
    Use,
    Used,
    Welcome,
    Withdraw,
    control_messages,
)
from appliance.link.codec import encode_message
from tests.desk import ALICE, BOB, DAN, EVE, Desks, asked, desks_of, terms

Kind = TypeVar("Kind")
WAIT_SECONDS = 10.0


class Worker:
    """The other end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._messages = control_messages()
        self._arrived: list[Any] = []

    def say(self, *messages: object) -> None:
        self.writer.write(b"".join(encode_message(m, FRAME_BYTES_MAX) for m in messages))

    async def hear(self, kind: type[Kind]) -> Kind:
        while not self._arrived:
            async with asyncio.timeout(WAIT_SECONDS):
                chunk = await self.reader.read(65_536)
            assert chunk, "the link was closed"
            self._arrived += self._messages.feed(chunk)
        message = self._arrived.pop(0)
        assert isinstance(message, kind), message
        return message

    async def closed(self) -> bool:
        async with asyncio.timeout(WAIT_SECONDS):
            with contextlib.suppress(ConnectionError):
                while await self.reader.read(65_536):
                    pass
        return True

    def leave(self) -> None:
        self.writer.transport.abort()


_connected: list[Worker] = []


async def connect(path: Path) -> Worker:
    worker = Worker(*await asyncio.open_unix_connection(str(path)))
    _connected.append(worker)
    return worker


@pytest.fixture(autouse=True)
async def all_leave() -> AsyncIterator[None]:
    yield
    for worker in _connected:
        worker.leave()
        with contextlib.suppress(OSError):
            await worker.writer.wait_closed()
    _connected.clear()


async def worker_at(path: Path, number: int = 0) -> Worker:
    worker = await connect(path)
    worker.say(Greet(VERSION, "node-1", number, os.getpid()))
    assert (await worker.hear(Welcome)).version == VERSION
    return worker


@contextlib.asynccontextmanager
async def served(desks: Desks, path: Path) -> AsyncIterator[Links]:
    links = Links(path, desks.held, desks.changes, "http://console")
    await links.open()
    running = asyncio.create_task(links.run())
    try:
        yield links
    finally:
        running.cancel()
        await asyncio.wait((running,))
        await links.close()


@pytest.fixture
def path(server_folder: Path, tmp_path: Path) -> Path:
    """Short enough for a socket."""
    return server_folder / f"{tmp_path.name[:40]}{os.getpid()}.sock"


@pytest.fixture
async def links(desks: Desks, path: Path) -> AsyncIterator[Links]:
    async with served(desks, path) as running:
        yield running


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not await true():  # noqa: ASYNC110 - what is waited for is on the other end
            await asyncio.sleep(0.01)


async def eventually(desks: Desks, id: str, state: State) -> None:
    async def reached() -> bool:
        return (await desks.approvals.request(BOB, id)).state is state

    await until(reached)


async def test_a_held_statement_is_asked_for_ruled_and_used(
    desks: Desks, links: Links, path: Path
) -> None:
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600  # noqa: PTH116 - nothing waits here
    worker = await worker_at(path)
    one = asked()
    worker.say(Ask(one))
    known = await worker.hear(Known)
    assert (known.id, known.request, known.state) == (one.id, one.id, State.PENDING)
    assert known.url == f"http://console/requests/{one.id}"
    assert known.poll == f"http://console/api/v1/requests/{one.id}"
    await desks.approvals.vote(BOB, one.id, True, "fine")
    assert await worker.hear(Ruled) == Ruled(one.id, State.APPROVED, "bob", "fine")
    worker.say(Use(one.id, one.binding, one.session))
    assert await worker.hear(Used) == Used(one.id, True, one.session, "bob")
    worker.say(Use(one.id, one.binding, one.session))
    again = await worker.hear(Used)
    assert (again.ok, again.reason) == (False, "the request is used")
    worker.leave()


async def test_order_within_a_request_is_kept(desks: Desks, links: Links, path: Path) -> None:
    worker = await worker_at(path)
    one = asked()
    worker.say(Ask(one), Withdraw(one.id, "cancelled"), Ask(one), Use(one.id, one.binding, "s"))
    assert (await worker.hear(Known)).state is State.PENDING
    assert (await worker.hear(Known)).state is State.WITHDRAWN
    assert (await worker.hear(Used)).ok is False
    worker.leave()


async def test_many_at_once_are_all_answered(desks: Desks, links: Links, path: Path) -> None:
    worker = await worker_at(path)
    many = {one.id: one for one in (asked() for _ in range(200))}
    worker.say(*(Ask(one) for one in many.values()))
    answered = {(await worker.hear(Known)).id for _ in many}
    assert answered == set(many)
    for id in list(many)[:20]:
        await desks.approvals.vote(BOB, id, True)
    assert {(await worker.hear(Ruled)).request for _ in range(20)} == set(list(many)[:20])
    worker.leave()


async def test_a_worker_that_comes_back_hears_what_happened_meanwhile(
    desks: Desks, links: Links, path: Path
) -> None:
    worker = await worker_at(path)
    one = asked()
    worker.say(Ask(one))
    await worker.hear(Known)
    worker.leave()
    await desks.approvals.vote(BOB, one.id, True)
    worker = await worker_at(path)
    worker.say(Ask(one))
    assert (await worker.hear(Known)).state is State.APPROVED
    worker.say(Use(one.id, one.binding, one.session))
    assert (await worker.hear(Used)).ok
    worker.leave()


async def test_who_does_not_come_back_has_withdrawn(
    desks: Desks, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "GRACE_SECONDS", 0.3)
    monkeypatch.setattr(links_module, "SWEEP_SECONDS", 0.05)
    before = await desks.held.ask(asked(), waits=True)  # of a life of ours before this one
    async with served(desks, path):
        worker = await worker_at(path)
        waiting, ticket, approved = asked(), asked(), asked()
        worker.say(Ask(waiting), Ask(ticket, waits=False), Ask(approved))
        for _ in range(3):
            await worker.hear(Known)
        await desks.approvals.vote(BOB, approved.id, True)
        await worker.hear(Ruled)
        worker.leave()
        for id in (before.asked.id, waiting.id, approved.id):
            await eventually(desks, id, State.WITHDRAWN)
        assert (await desks.approvals.request(BOB, ticket.id)).state is State.PENDING
        with pytest.raises(Conflict):
            await desks.held.use(approved.id, approved.binding, "session")


async def test_expiry_and_revocation_are_pushed(desks: Desks, links: Links, path: Path) -> None:
    worker = await worker_at(path)
    one = asked(terms=terms(wait_seconds=60))
    worker.say(Ask(one))
    await worker.hear(Known)
    desks.clock.advance(61)
    await desks.expiry.round()
    assert (await worker.hear(Ruled)).state is State.EXPIRED
    worker.leave()


async def test_nothing_is_answered_that_was_not_recorded(
    desks: Desks, links: Links, path: Path
) -> None:
    worker = await worker_at(path)
    one, other = asked(), asked()
    worker.say(Ask(one))
    await worker.hear(Known)
    await desks.approvals.vote(BOB, one.id, True)
    await worker.hear(Ruled)
    desks.trail.broken = True
    worker.say(Ask(other))
    assert (await worker.hear(Unstored)).id == other.id
    worker.say(Use(one.id, one.binding, one.session))
    assert (await worker.hear(Unstored)).id == one.id
    desks.trail.broken = False
    worker.say(Use(one.id, one.binding, one.session))
    assert (await worker.hear(Used)).ok
    worker.leave()


async def test_live_sessions_are_seen_and_ended(
    desks: Desks, links: Links, path: Path, new_store: Callable[[], Store]
) -> None:
    desk = desks.approvals
    desk._sessions = links  # as `main` makes it
    worker = await worker_at(path, 3)
    seen = SessionSeen("s1", "copilot", "agent", "shop", "shop", "127.0.0.1", 1.0, "alice")
    worker.say(Sessions((seen, SessionSeen("s2", "etl", "service", "shop", "shop", "", 1.0))))

    async def seen_are(count: int) -> bool:
        return len(await desk.sessions(EVE)) == count

    await until(lambda: seen_are(2))
    [own] = await desk.sessions(ALICE)
    assert (own.node, own.worker, own.seen) == ("node-1", 3, seen)
    with pytest.raises(NotAllowed):
        await desk.end_session(BOB, "s1")
    with pytest.raises(Unknown):
        await desk.end_session(DAN, "s3")
    await desk.end_session(DAN, "s1", "runaway")
    assert await worker.hear(EndSession) == EndSession("s1", "dan", "runaway")
    assert desks.trail.events() == ["admin_acted"]
    worker.leave()
    await until(lambda: seen_are(0))


@pytest.mark.parametrize(
    "first",
    [
        encode_message(Greet(VERSION + 1, "n", 0, 1)),
        encode_message(Withdraw("x", "y")),
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x01\xc1",
    ],
)
async def test_what_is_no_greeting_ends_the_link(links: Links, path: Path, first: bytes) -> None:
    worker = await connect(path)
    worker.writer.write(first)
    assert await worker.closed()
    assert (await worker_at(path)) is not None


async def test_there_is_an_end_to_links_and_to_silence(
    links: Links, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "GREET_SECONDS_MAX", 0.2)
    assert await (await connect(path)).closed()
    monkeypatch.setattr(links_module, "LINKS_MAX", 1)
    worker = await worker_at(path)
    assert await (await connect(path)).closed()
    worker.leave()


async def test_another_user_is_not_listened_to(
    links: Links, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module.struct, "unpack", lambda *_: (1, 12_345, 1))
    worker = await connect(path)
    worker.say(Greet(VERSION, "node-1", 0, 1))
    assert await worker.closed()


async def test_one_socket_one_process(desks: Desks, links: Links, path: Path) -> None:
    second = Links(path, desks.held, desks.changes)
    with pytest.raises(SocketError, match="another control process"):
        await second.open()
    stale = path.with_suffix(".old")
    links_module._bound(stale).close()
    async with served(desks, stale):
        await worker_at(stale)
    plain = path.with_suffix(".txt")
    plain.write_text("mine")
    with pytest.raises(SocketError, match="no socket"):
        await Links(plain, desks.held, desks.changes).open()


@pytest.mark.parametrize("new_store", ["postgresql"], indirect=True)
@pytest.mark.parametrize("deaf", [False, True])
async def test_what_another_appliance_decides_is_heard_within_a_second(
    new_store: Callable[[], Store], path: Path, deaf: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its announcement is lost."""
    async with desks_of(new_store()) as here, desks_of(new_store(), node="node-2") as there:
        for desks in (here, there):
            async with asyncio.timeout(WAIT_SECONDS):
                await desks.store.hearing.wait()  # type: ignore[attr-defined]
        if deaf:
            here.store._told.clear()  # type: ignore[attr-defined]
        async with served(here, path):
            worker = await worker_at(path)
            one = asked()
            worker.say(Ask(one))
            await worker.hear(Known)
            assert [r.asked for r in await there.approvals.requests(BOB)] == [one]
            watching = asyncio.ensure_future(anext(here.approvals.watch()))
            await asyncio.sleep(0)
            began = asyncio.get_running_loop().time()
            await there.approvals.vote(BOB, one.id, True)
            assert (await worker.hear(Ruled)).by == "bob"
            took = asyncio.get_running_loop().time() - began
            assert took < (1.5 if deaf else 0.5)
            if not deaf:
                assert (await watching).kind == "request_ruled"
            watching.cancel()
            worker.say(Use(one.id, one.binding, one.session))
            assert (await worker.hear(Used)).ok
            with pytest.raises(Conflict):
                await there.held.use(one.id, one.binding, "another")
            worker.leave()


@pytest.mark.parametrize("new_store", ["postgresql"], indirect=True)
async def test_uses_on_two_appliances_at_once(new_store: Callable[[], Store]) -> None:
    async with desks_of(new_store()) as here, desks_of(new_store(), node="node-2") as there:
        for _ in range(5):
            made = await here.held.ask(asked(), waits=False)
            await there.approvals.vote(BOB, made.asked.id, True)
            uses = [d.held.use(made.asked.id, made.asked.binding, "s") for d in (here, there) * 3]
            results = await asyncio.gather(*uses, return_exceptions=True)
            assert sum(not isinstance(result, BaseException) for result in results) == 1
