"""The keeper of a schema lease: when it says that nothing can have changed, and when it lets go."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

from _speedups.leases import Lease, since_boot
from appliance.dataplane import schema_lease
from appliance.dataplane.connections import Upstream, UpstreamRefused
from appliance.dataplane.looking import Repeated
from appliance.dataplane.schema_lease import SchemaHold, SchemaLease
from appliance.model.principal import Principal
from appliance.session.lessons import Key, Learner, Lesson
from appliance.telemetry.metrics import Metrics

SECONDS_MAX = 10.0
PARTS = 3
HOLD = SchemaHold(
    prepare=("prepare",),
    own_number="number",
    server="server",
    begin="begin",
    take="take",
    parts=PARTS,
    end="end",
    watch="watch {pid}",
    writers="writers",
    still_writing="still {numbers}",
    neglected="neglected",
    remedy="ask nicely",
    repeated=lambda text, row: Repeated(
        text.encode(),
        lambda answer: answer.endswith(b"."),
        lambda answer: answer == f"{'/'.join(row)}.".encode(),
    ),
)


class Side:
    """Of a connection to `Server`, as far as the keeper uses `transport.Side`."""

    def __init__(self, server: "Server") -> None:
        self.ours, self.theirs = socket.socketpair()
        self.transport = self
        self.ended = False
        self._server = server
        self._receiver: Callable[[bytes], None] | None = None
        self._on_change: Callable[[], None] = lambda: None

    def get_extra_info(self, _name: str) -> socket.socket:
        return self.ours

    def attach(
        self, receiver: Callable[[bytes], None], on_change: Callable[[], None], _high: int
    ) -> None:
        self._receiver, self._on_change = receiver, on_change

    def detach(self) -> None:
        self._receiver = None

    def read(self, _wanted: bool) -> None:
        """It is."""

    def told_why(self) -> None:
        """The server ends it: its last words come first, and what it held is let go of then."""
        self.theirs.send(b"FATAL")
        self._server.guards.remove(self)

    def heard(self) -> None:
        self.ours.recv(100)
        if self._receiver is not None:
            self._receiver(b"FATAL")

    def write(self, content: bytes) -> None:
        if content.startswith(b"watch "):
            self._server.repeated += 1
            if not self._server.stalls:
                asyncio.get_running_loop().call_soon(self._answer, content.decode())
            return
        if self in self._server.guards:
            self._server.guards.remove(self)

    def _answer(self, text: str) -> None:
        """In two pieces."""
        waiting, held = self._server.watched(text)
        for piece in (f"{waiting}/".encode(), f"{held}.".encode()):
            if self._receiver is not None and not self.ended:
                self._receiver(piece)

    def close(self) -> None:
        self.ended = True

    abort = close


class Server:
    def __init__(self) -> None:
        self.sides: list[Side] = []
        self.guards: list[Side] = []
        self.waiting = 0
        self.writers: list[str] = []
        self.refusal = ""
        self.neglected = 0
        self.own_number = ""
        """In place of the true one."""
        self.stalls = False
        self.asked: list[str] = []
        self.repeated = 0
        """How often it was asked the short way."""

    def watched(self, text: str) -> tuple[str, str]:
        held = int(text[6:]) - 1 in map(self.sides.index, self.guards)
        return str(self.waiting), str(PARTS * held)

    async def connect(self) -> Upstream:
        self.sides.append(Side(self))
        return cast(Upstream, NamedUpstream(self.sides[-1]))

    async def query(self, upstream: Upstream, text: str) -> list[Any]:
        side = cast(Side, upstream.side)
        if side.ended:
            raise ConnectionResetError
        await asyncio.sleep(0)
        self.asked.append(text)
        if text == "take":
            if self.refusal:
                raise UpstreamRefused({"C": self.refusal})
            self.guards.append(side)
        elif text == "end" and side in self.guards:
            self.guards.remove(side)
        elif text == "number" and self.own_number:
            return [(self.own_number,)]
        elif text == "number":
            return [(str(self.sides.index(side) + 1),)]
        elif text == "server":
            return [("server 1",)]
        elif text.startswith("watch "):
            if self.stalls:
                await asyncio.sleep(3600)
            return [self.watched(text)]
        elif text == "writers":
            return [(number,) for number in self.writers]
        elif text.startswith("still "):
            return [(str(len({*text[6:].split(",")} & {*self.writers})),)]
        elif text == "neglected":
            return [(str(self.neglected),)]
        return []


class NamedUpstream(NamedTuple):
    side: Side


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_lease, "LOOK_SECONDS", 0.002)
    monkeypatch.setattr(schema_lease, "PAUSE_SECONDS_MIN", 0.005)
    monkeypatch.setattr(schema_lease, "PAUSE_SECONDS_MAX", 0.02)


@contextlib.asynccontextmanager
async def kept(server: Server, used: bool = True) -> AsyncIterator[SchemaLease]:
    made = SchemaLease(HOLD, server.connect, server.query, b"quit", Metrics())
    made.want()

    async def missing() -> None:
        """Somebody would use it all the time."""
        while used:
            made.lease.missed += 1
            made.lease.used += 1
            await asyncio.sleep(0.001)

    misser = asyncio.create_task(missing())
    try:
        yield made
    finally:
        misser.cancel()
        made.close()
        for side in server.sides:
            side.ours.close()
            side.theirs.close()


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while not what():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)


def holds(lease: Lease) -> bool:
    return bool(lease.value) and lease.live()


def run(test: Callable[[Server], Any]) -> None:
    asyncio.run(test(Server()))


def test_it_is_held_and_let_go_of_for_whoever_waits() -> None:
    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            first = made.lease.value
            server.waiting = 1
            await until(lambda: not server.guards)
            assert not made.lease.value
            server.waiting = 0
            await until(lambda: holds(made.lease))
            assert made.lease.value > first
            assert len(server.sides) == 2

    run(test)


def test_most_looks_are_short() -> None:
    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            value, long = made.lease.value, server.asked.count("watch 2")
            await until(lambda: server.repeated > 30)
            assert made.lease.value == value
            assert made.lease.until > since_boot()
            assert server.asked.count("watch 2") < long + 10
            server.waiting = 1
            await until(lambda: not made.lease.value)

    run(test)


def test_who_owes_a_look_when_it_steps_aside_is_asked_nothing_more() -> None:
    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            server.stalls = True
            asked = server.repeated
            await until(lambda: server.repeated > asked)
            (watcher,) = [side for side in server.sides if side not in server.guards]
            made.step_aside()
            server.stalls = False
            await until(lambda: holds(made.lease))
            assert watcher.ended

    run(test)


def test_what_others_were_writing_has_to_be_over() -> None:
    async def test(server: Server) -> None:
        server.writers = ["7", "8"]
        async with kept(server) as made:
            await until(lambda: "still 7,8" in server.asked)
            server.writers = ["8", "9"]
            looks = len(server.asked)
            await until(lambda: len(server.asked) > looks + 10)
            assert server.guards
            assert not made.lease.value
            server.writers = ["9"]  # it began when nothing could be changed any more
            await until(lambda: holds(made.lease))

    run(test)


def test_who_waits_while_others_still_write_is_not_kept_waiting() -> None:
    async def test(server: Server) -> None:
        server.writers = ["7"]
        async with kept(server) as made:
            await until(lambda: "still 7" in server.asked)
            server.waiting = 1
            await until(lambda: not server.guards)
            assert not made.lease.value

    run(test)


def test_a_guard_that_was_ended_holds_nothing_before_anybody_has_heard() -> None:
    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            value, (guard,) = made.lease.value, server.guards
            guard.told_why()
            assert made.lease.value == value
            assert not made.lease.live()
            guard.heard()
            assert not made.lease.value

    run(test)


def test_guards_relieve_each_other_without_a_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_lease, "GUARD_SECONDS", 0.01)

    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            value, (first,) = made.lease.value, server.guards
            await until(lambda: server.guards and server.guards != [first])
            await until(lambda: server.guards == [first])
            assert made.lease.value == value
            assert made.lease.live()
            assert len(server.sides) == 3

    run(test)


def test_a_guard_that_cannot_be_watched_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even what the one before it was watched by."""
    monkeypatch.setattr(schema_lease, "GUARD_SECONDS", 0.01)
    refused = 0

    def guard(lease: Lease) -> None:
        nonlocal refused
        if made_before and not refused:
            refused += 1
            raise OSError(errno.ENOSPC, "too many are watched")

    made_before: list[int] = []
    monkeypatch.setattr(schema_lease, "guard", guard)

    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            made_before.append(made.lease.descriptor)
            watched = os.fstat(made.lease.descriptor).st_ino
            await until(lambda: refused and holds(made.lease))
            assert descriptors_of(watched) == [server.sides[1].ours.fileno()]

    run(test)


def descriptors_of(inode: int) -> list[int]:
    """Of this process."""
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if os.fstat(int(each.name)).st_ino == inode:
                found.append(int(each.name))
    return found


def test_a_guard_that_was_ended_is_relieved_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it held may have been changed before the other one came."""
    monkeypatch.setattr(schema_lease, "GUARD_SECONDS", 0.01)

    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            value, (first,) = made.lease.value, server.guards
            first.told_why()
            assert not made.lease.live()
            await until(lambda: not made.lease.value)
            first.heard()
            first.close()
            await until(lambda: holds(made.lease))
            assert made.lease.value > value

    run(test)


def test_a_change_of_our_own_is_stepped_aside_for_at_once() -> None:
    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            made.step_aside()
            assert not made.lease.value
            await until(lambda: not server.guards)
            await until(lambda: holds(made.lease))

    run(test)


def test_what_sessions_taught_each_other_is_gone_with_it() -> None:
    learner, key = Learner(Principal("ann"), ""), Key(b"x", False)
    judged = SimpleNamespace(epoch=("policy", "catalog", "settings"))
    lesson = cast(Lesson, SimpleNamespace(verdict=judged))

    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            made.lessons.tell(learner, key, lesson)
            made.step_aside()
            assert not made.lessons.any_for(learner)
            await until(lambda: holds(made.lease))
            made.lessons.tell(learner, key, lesson)
            (guard,) = server.guards
            guard.told_why()
            guard.heard()
            assert not made.lessons.any_for(learner)

    run(test)


def test_a_look_that_is_not_answered_is_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_lease, "TRUST_SECONDS", 0.05)

    async def test(server: Server) -> None:
        async with kept(server) as made:
            await until(lambda: holds(made.lease))
            assert made.lease.until <= since_boot() + 0.05
            server.stalls = True
            await until(lambda: not made.lease.live())
            server.stalls = False
            await until(lambda: holds(made.lease))

    run(test)


@pytest.mark.parametrize("sqlstate", ["42501", "25006"])
def test_where_it_is_not_allowed_it_is_not_tried_all_the_time(sqlstate: str) -> None:
    async def test(server: Server) -> None:
        server.refusal = sqlstate
        async with kept(server) as made:
            await until(lambda: made.refused == sqlstate)
            await asyncio.sleep(0.1)
            assert server.asked.count("take") == 1
            assert not made.lease.value

    run(test)


def test_what_somebody_has_locked_is_waited_for_without_holding_anything() -> None:
    async def test(server: Server) -> None:
        server.refusal = "55P03"
        async with kept(server) as made:
            await until(lambda: server.asked.count("take") > 2)
            assert server.asked.count("end") >= server.asked.count("take") - 1
            server.refusal = ""
            await until(lambda: holds(made.lease))

    run(test)


def test_the_server_gets_to_clean_its_catalogs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_lease, "CARE_SECONDS", 0.05)

    async def test(server: Server) -> None:
        server.neglected = 1
        async with kept(server) as made:
            await until(lambda: "neglected" in server.asked)
            await until(lambda: not server.guards)
            takes = server.asked.count("take")
            await asyncio.sleep(0.1)
            assert server.asked.count("take") == takes
            assert not made.lease.value

    run(test)


def test_what_others_never_finish_is_not_waited_for_with_everything_held(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schema_lease, "WRITERS_SECONDS_MAX", 0.02)

    async def test(server: Server) -> None:
        server.writers = ["7"]
        async with kept(server) as made:
            await until(lambda: server.asked.count("end") > 1)
            assert not made.lease.value

    run(test)


def test_an_error_that_nobody_expected_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schema_lease, "REFUSED_SECONDS", 0.01)

    async def test(server: Server) -> None:
        server.own_number = "none"
        async with kept(server) as made:
            await until(lambda: server.asked.count("number") > 1)
            server.own_number = ""
            await until(lambda: holds(made.lease))

    run(test)


def test_it_is_let_go_of_when_nobody_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_lease, "IDLE_SECONDS", 0.02)

    async def test(server: Server) -> None:
        async with kept(server, used=False) as made:
            await until(lambda: holds(made.lease))
            await until(lambda: not server.guards)
            takes = server.asked.count("take")
            await asyncio.sleep(0.05)
            assert server.asked.count("take") == takes
            made.lease.missed += 1
            await until(lambda: server.asked.count("take") > takes)

    run(test)
