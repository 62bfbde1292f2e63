"""The pool's bookkeeping, against a server of a few lines: what is kept, for how long, for whom."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from appliance.config.schema import (
    Pooling,
    PoolingMode,
    Role,
    SchemaCheck,
    TargetConfig,
    TargetTls,
)
from appliance.config.schema import TargetTlsMode as TlsMode
from appliance.dataplane import claiming, cleaning, lulls, pool
from appliance.dataplane.connections import Login, UpstreamUnreachable
from appliance.dataplane.keeping import PostgresKeeping
from appliance.dataplane.lulls import Lulls
from appliance.dataplane.pool import Kept, Pools
from appliance.session.announce import UNUSED
from appliance.session.backend import Left
from appliance.session.settings import LEASED_PINNING, PINNING
from appliance.telemetry.metrics import Metrics
from appliance.wire.postgres import messages as m

KEEPING = PostgresKeeping()
IDLE, OPEN = ord("I"), ord("T")
STEPS = {b"P": m.PARSE_COMPLETE, b"B": m.BIND_COMPLETE, b"C": m.CLOSE_COMPLETE}
ANNOUNCED = {"application_name": "ann/1", "sallyport.principal": "ann"}
LOGIN = Login("app", b"secret")


class Server:
    """Says yes to everything. What a test changes of it holds for what comes after."""

    def __init__(self) -> None:
        self.opened = 0
        self.texts: list[str] = []
        self.leftovers = ("f", "app", "app", "none", "")
        self.standing = "as it was"
        self.unfit = ""
        self.pinned = ("app, public", "none", "app", "171 f", "4711")
        self.claims = False
        self.claimed: str | None = "="
        """Its first word to who claims a connection, None: not a word."""
        self.closing = False
        """It closes a connection that is claimed."""
        self.failing = ""
        """Words of a text that is answered with an error."""
        self.reported: dict[str, str] = {}
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        length = int.from_bytes(await reader.readexactly(4), "big")
        await reader.readexactly(length - 4)
        self.opened += 1
        writer.write(m.authentication(m.AUTH_OK))
        writer.write(m.parameter_status("application_name", UNUSED))
        writer.write(m.parameter_status("TimeZone", "UTC"))
        writer.write(m.backend_key_data(self.opened, b"1234") + m.ready_for_query(IDLE))
        try:
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(int.from_bytes(head[1:], "big") - 4)
                if head[:1] == b"X":
                    break
                if head[:1] == b"Q":
                    writer.write(self.answer(body[:-1].decode()))
                elif (step := self.step(head[:1], body)) is None:
                    break
                else:
                    writer.write(step)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    def step(self, kind: bytes, body: bytes) -> bytes | None:
        """Of a claim; None: it closes the connection."""
        if kind == b"B":
            self.claims = claiming.CLAIM_NAME in body
        if kind != b"E":
            return {b"S": m.ready_for_query(IDLE)}.get(kind) or m.frame(STEPS[kind], b"")
        done = m.frame(m.COMMAND_COMPLETE, b"OK\0")
        if self.claims and self.claimed is not None:
            name = m.parameter_status("application_name", "ann/1")
            done = name + row(self.claimed, "ann/1", "ann", "", "", *self.pinned[:3]) + done
        return None if self.claims and self.closing else done

    def told(self, text: str) -> tuple[str, ...]:
        if LEASED_PINNING.columns in text:
            return self.pinned
        return self.pinned[:3] if PINNING.columns in text else ()

    def answer(self, text: str) -> bytes:
        self.texts.append(text)
        said = b"".join(m.parameter_status(*each) for each in self.reported.items())
        if self.failing and self.failing in text:
            fields = {"S": "ERROR", "V": "ERROR", "C": "57014", "M": "no"}
            return m.error_fields(m.ERROR_RESPONSE, fields) + m.ready_for_query(IDLE)
        if text == cleaning.LEFTOVERS.decode():
            said += row(*self.leftovers)
        elif "pg_conf_load_time" in text:
            said += row(self.standing, self.unfit)
        elif text == "DISCARD ALL":
            said += m.parameter_status("application_name", UNUSED)
        elif text.startswith("SELECT pg_catalog.set_config('application_name'"):
            said += m.parameter_status("application_name", "ann/1")
            said += row("ann/1", "ann", *self.told(text))
        return said + m.frame(m.COMMAND_COMPLETE, b"OK\0") + m.ready_for_query(IDLE)


def row(*values: str) -> bytes:
    cells = b"".join(len(v).to_bytes(4, "big") + v.encode() for v in values)
    return m.frame(m.DATA_ROW, len(values).to_bytes(2, "big") + cells)


class Stand:
    """A worker's pools and the server behind them."""

    def __init__(self, server: Server, port: int) -> None:
        self.server = server
        self.port = port
        self.lulls = Lulls()
        self.pools = Pools(Metrics(), self.lulls)
        self.taken: list[Kept] = []

    def target(
        self, schema_check: SchemaCheck = SchemaCheck.STATEMENT, **pooling: Any
    ) -> TargetConfig:
        return TargetConfig(
            name="shop",
            host="127.0.0.1",
            port=self.port,
            tls=TargetTls(mode=TlsMode.DISABLE),
            roles=(Role(principals=("*",), user="app"),),
            schema_check=schema_check,
            pooling=Pooling(**{"mode": PoolingMode.SESSION} | pooling),
        )

    async def take(
        self,
        login: Login = LOGIN,
        settings: dict[str, str] | None = None,
        database: str = "shop",
        announced: dict[str, str] = ANNOUNCED,
        **pooling: Any,
    ) -> Kept:
        found = self.pools.pool(
            self.target(**pooling), login, database, settings or {}, announced, KEEPING
        )
        assert found is not None
        kept = await found.obtain(announced)
        assert kept is not None
        self.taken.append(kept)
        return kept

    @staticmethod
    async def give(kept: Kept, status: int = IDLE, *cancels: "asyncio.Task[bool]") -> bool:
        """-> whether it lies in its pool afterwards."""
        if not kept.give_back(Left(status != IDLE, {**kept.upstream.parameters}), cancels):
            return False
        await asyncio.wait(tuple(kept.pool.cleaning))
        return kept in kept.pool.idle


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    stand = Stand(server, listening.sockets[0].getsockname()[1])
    yield stand
    await stand.pools.close()
    for kept in stand.taken:
        kept.upstream.side.abort()
    for writer in server.writers:
        writer.close()
    listening.close()
    await asyncio.sleep(0.01)


async def test_the_same_connection_again(stand: Stand) -> None:
    first = await stand.take()
    assert first.upstream.parameters["application_name"] == "ann/1"
    assert await stand.give(first)
    assert "ROLLBACK" not in stand.server.texts
    assert await stand.take() is first
    assert stand.server.opened == 1
    assert await stand.give(first, OPEN)
    assert stand.server.texts.count("ROLLBACK") == 1
    assert stand.server.texts[-1] != "ROLLBACK"
    metrics = stand.pools.metrics
    assert (metrics.upstream_reused, metrics.upstream_kept, metrics.upstream_unkept) == (1, 2, 0)


@pytest.mark.parametrize("end", ["a lull", "somebody wants it", "the worker stops"])
async def test_cleaning_waits_for_a_lull(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(lulls, "LULL_SECONDS_MAX", 60.0)
    first, second = [await stand.take() for _ in range(2)]
    assert await stand.give(first, OPEN)  # others may wait for its locks
    assert await stand.take() is first
    discarded = stand.server.texts.count("DISCARD ALL")
    assert second.give_back(Left(False, {**second.upstream.parameters}))
    await asyncio.sleep(0.05)
    assert stand.server.texts.count("DISCARD ALL") == discarded
    assert second not in second.pool.idle and second not in second.pool.used
    if end == "a lull":
        stand.lulls.begin()
        await asyncio.wait(second.pool.cleaning)
        assert list(second.pool.idle) == [second]
    elif end == "somebody wants it":
        assert await stand.take() is second
        assert stand.server.opened == 2
    else:
        await stand.pools.close()  # does not wait for it, and leaves none open
        side = second.upstream.side
        assert side.transport is None or side.transport.is_closing()


async def test_no_lull_is_waited_for_longer_than_so(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lulls, "LULL_SECONDS_MAX", 0.02)
    kept = await stand.take()
    assert kept.give_back(Left(False, {**kept.upstream.parameters}))
    await asyncio.wait(kept.pool.cleaning, timeout=5.0)
    assert list(kept.pool.idle) == [kept]


async def test_settings_are_pinned(stand: Stand) -> None:
    asking = await stand.take(Login("others", b"secret"))
    assert asking.told == stand.server.pinned[:3]
    lending = await stand.take(Login("lends", b"secret"), mode=PoolingMode.TRANSACTION)
    assert lending.told == stand.server.pinned[:3]
    leased = await stand.take(schema_check=SchemaCheck.LEASE)
    assert leased.told == stand.server.pinned
    assert await stand.give(leased)
    stand.server.pinned = ("app", "none", "app", "172 f", "4711")
    assert await stand.take(schema_check=SchemaCheck.LEASE) is leased
    assert leased.told == ("app", "none", "app", "172 f", "4711")


@pytest.mark.parametrize("word", [None, ""])
async def test_new_connections_that_cannot_be_claimed(stand: Stand, word: str | None) -> None:
    stand.server.claimed = word
    found = stand.pools.pool(
        stand.target(mode=PoolingMode.TRANSACTION), LOGIN, "shop", {}, ANNOUNCED, KEEPING
    )
    assert found is not None
    assert await found.obtain(ANNOUNCED) is None  # one of its own
    assert stand.server.opened == 1 and found.unfit and not found.used


async def test_new_connections_that_are_closed(stand: Stand) -> None:
    stand.server.closing = True
    with pytest.raises(UpstreamUnreachable, match="closed a new connection"):
        await stand.take(mode=PoolingMode.TRANSACTION)
    assert stand.server.opened == 1


async def test_settings_that_are_not_told(stand: Stand) -> None:
    first = await stand.take(schema_check=SchemaCheck.LEASE)
    assert await stand.give(first)
    found = first.pool
    stand.server.pinned = ()
    assert await found.obtain(ANNOUNCED) is None  # neither the old one nor a new one
    assert first not in found.used and found.unfit


@pytest.mark.parametrize(
    "other",
    [
        {"login": Login("app", b"changed")},
        {"login": Login("other", b"secret")},
        {"login": Login("app", b"secret", ("a.crt", "a.key"))},
        {"settings": {"timezone": "Asia/Tokyo"}},
        {"settings": {"client_encoding": "LATIN1"}},
        {"database": "else"},
        {"announced": {**ANNOUNCED, "sallyport.on_behalf_of": "bob"}},
    ],
)
async def test_never_with_another_key(stand: Stand, other: dict[str, Any]) -> None:
    first = await stand.take()
    assert await stand.give(first)
    assert await stand.take(**other) is not first


async def _said(server: Server) -> None:
    server.leftovers = ("t", "app", "app", "none", "")


async def _role(server: Server) -> None:
    server.leftovers = ("f", "app", "other", "other", "")


async def _reported(server: Server) -> None:
    server.reported = {"TimeZone": "Asia/Tokyo"}


async def _failed(server: Server) -> None:
    server.failing = "DISCARD"


@pytest.mark.parametrize("change", [_said, _role, _reported, _failed])
async def test_what_is_not_clean_is_closed(
    stand: Stand, change: Callable[[Server], Awaitable[None]]
) -> None:
    first = await stand.take()
    await change(stand.server)
    assert not await stand.give(first)
    assert stand.pools.metrics.upstream_unkept == 1


async def test_another_footprint(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "LOOK_AGAIN_SECONDS", -1.0)
    first = await stand.take()
    assert await stand.give(first)
    stand.server.standing = "a setting of the role was changed"
    second = await stand.take()
    assert second is not first
    stand.server.standing = "and again"
    assert not await stand.give(second)


async def test_unfit_keys_have_connections_of_their_own(stand: Stand) -> None:
    stand.server.unfit = "a superuser"
    first = await stand.take()
    assert not first.standing and not await stand.give(first)
    assert stand.pools.pool(stand.target(), LOGIN, "shop", {}, ANNOUNCED, KEEPING) is None


async def test_names_that_a_set_would_convert(stand: Stand) -> None:
    named = {**ANNOUNCED, "sallyport.principal": "anné"}
    assert stand.pools.pool(stand.target(), LOGIN, "shop", {}, named, KEEPING) is None
    assert stand.pools.pool(stand.target(), LOGIN, "shop", {}, ANNOUNCED, KEEPING) is not None


async def test_cancels_are_over_before_anything_else(stand: Stand) -> None:
    sent: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def cancel() -> bool:
        return await sent

    first = await stand.take()
    said = len(stand.server.texts)
    assert first.give_back(Left(False, first.upstream.parameters), (asyncio.create_task(cancel()),))
    await asyncio.sleep(0.05)
    assert len(stand.server.texts) == said and not first.pool.idle
    other = await stand.take()
    assert other is not first
    sent.set_result(True)
    await asyncio.wait(tuple(first.pool.cleaning))
    assert first in first.pool.idle


async def test_a_cancel_that_may_still_come(stand: Stand) -> None:
    async def lost() -> bool:
        return False

    async def broken() -> bool:
        raise OSError

    for cancel in (lost, broken):
        assert not await stand.give(await stand.take(), IDLE, asyncio.create_task(cancel()))


async def test_bounds(stand: Stand) -> None:
    taken = [await stand.take(idle_per_key_max=2, idle_max=3) for _ in range(3)]
    assert [await stand.give(kept) for kept in taken] == [True, True, False]
    others = [await stand.take(database="b", idle_per_key_max=2, idle_max=3) for _ in range(2)]
    assert [await stand.give(kept) for kept in others] == [True, True]
    assert [kept in kept.pool.idle for kept in (*taken, *others)] == [
        False, True, False, True, True,
    ]  # fmt: skip


async def test_age(stand: Stand) -> None:
    first = await stand.take(lifetime_s_max=100)
    assert 90 <= first.until - first.opened <= 100
    assert await stand.give(first)
    first.pool.sweep(first.idle_since + 59)
    assert first in first.pool.idle
    first.pool.sweep(first.idle_since + 61)
    assert first not in first.pool.idle
    second = await stand.take(lifetime_s_max=100)
    second.until = second.opened
    assert not await stand.give(second)
    third = await stand.take(lifetime_s_max=100)
    assert await stand.give(third)
    third.until = third.opened
    assert await stand.take(lifetime_s_max=100) is not third


async def test_an_idle_one_that_says_something_is_closed(stand: Stand) -> None:
    first = await stand.take()
    assert await stand.give(first)
    stand.server.writers[0].write(m.parameter_status("TimeZone", "UTC"))
    await asyncio.sleep(0.05)
    assert first not in first.pool.idle
    second = await stand.take()
    assert second is not first and await stand.give(second)
    stand.server.writers[1].close()
    await asyncio.sleep(0.05)
    assert second not in second.pool.idle


async def test_a_dead_one_is_passed_over(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "TAKE_SECONDS_MAX", 0.1)
    first = await stand.take()
    assert await stand.give(first)
    answer, stand.server.answer = stand.server.answer, lambda _: b""  # type: ignore[method-assign]
    taking = asyncio.create_task(stand.take())
    await asyncio.sleep(0.05)
    stand.server.answer = answer  # type: ignore[method-assign]
    assert await taking is not first


async def test_dead_ones_are_not_tried_one_after_the_other(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "TAKE_SECONDS_MAX", 0.2)
    monkeypatch.setattr(pool, "CLEAN_SECONDS_MAX", 0.5)
    dead = [await stand.take() for _ in range(8)]
    for kept in dead:
        assert await stand.give(kept)
    answer, stand.server.answer = stand.server.answer, lambda _: b""  # type: ignore[method-assign]
    asyncio.get_running_loop().call_later(0.1, setattr, stand.server, "answer", answer)
    begun = time.monotonic()
    found = await stand.take()
    assert found not in dead and time.monotonic() - begun < 0.6
    alive = await stand.take()  # those that answer are there to be used
    assert alive in dead[:7]
    assert time.monotonic() - begun < 1


async def test_drained(stand: Stand) -> None:
    idle, used = await stand.take(), await stand.take()
    assert await stand.give(idle)
    stand.pools.drain()
    assert not idle.pool.idle and not await stand.give(used)
    assert (await stand.take()).pool is not idle.pool


async def test_spares(stand: Stand) -> None:
    first = await stand.take(spare=1)
    await asyncio.sleep(0.1)
    assert len(first.pool.idle) == 1 and stand.server.opened == 2
    second = await stand.take(spare=1)
    assert second.pool is first.pool
    await asyncio.sleep(0.1)
    assert stand.server.opened == 3
    assert stand.pools.metrics.upstream_reused == 1


async def test_a_pool_that_is_drained_leaves_the_one_that_came_after_it(stand: Stand) -> None:
    """A reload closes the pools there are; sessions go on, and new ones get others."""
    first = await stand.take()
    stand.pools.drain()
    second = await stand.take()
    assert second.pool is not first.pool
    assert not await stand.give(first)
    await asyncio.sleep(0)
    stand.pools._sweep()
    third = await stand.take()
    assert third.pool is second.pool


async def test_a_cancel_request_is_over_before_a_connection_is_soles(stand: Stand) -> None:
    kept = await stand.take()

    async def request(delivered: bool) -> bool:
        await asyncio.sleep(0.05)
        stand.server.texts.append("cancelled")
        return delivered

    late = asyncio.create_task(request(True))
    await kept.pool.make_sole(kept, ANNOUNCED, {**kept.upstream.parameters}, (late,))
    assert stand.server.texts.index("cancelled") < stand.server.texts.index("DISCARD ALL")
    lost = asyncio.create_task(request(False))
    other = await kept.pool.make_sole(kept, ANNOUNCED, {**kept.upstream.parameters}, (lost,))
    stand.taken.append(other)
    assert other is not kept and kept not in kept.pool.used  # it may be cancelled still


async def test_a_session_gets_another_for_its_own_where_the_server_has_changed(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = await stand.take()
    arguments = (ANNOUNCED, {**kept.upstream.parameters}, ())
    assert await kept.pool.make_sole(kept, *arguments) is kept
    stand.server.standing, stand.server.pinned = (
        "reloaded",
        ("else", "none", "app", "172 f", "4711"),
    )
    other = await kept.pool.make_sole(kept, *arguments)
    stand.taken.append(other)
    assert other is not kept and other.told == ("else", "none", "app")
    assert kept.pool.used == {other} and not kept.pool.opening
    stand.server.failing = "set_config"
    with pytest.raises(cleaning.Unclean, match="settings"):
        await kept.pool.make_sole(other, *arguments)
    assert not kept.pool.used and not kept.pool.opening


def test_names_that_an_encoding_could_change_are_nobodys_to_share(stand: Stand) -> None:
    """In a client_encoding whose second bytes are quotes or backslashes a literal of ours would end
    early: such a session announces itself in the startup packet of a connection of its own."""
    for name in ("ann/\u3003\\'", "\u8868'", "ann\xe9"):
        announced = {"application_name": name}
        assert stand.pools.pool(stand.target(), LOGIN, "shop", {}, announced, KEEPING) is None


async def test_a_connection_that_waits_for_a_cancel_request_is_counted(stand: Stand) -> None:
    over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def delivered() -> bool:
        return await over

    first = await stand.take()
    giving = asyncio.create_task(stand.give(first, IDLE, asyncio.create_task(delivered())))
    await asyncio.sleep(0.02)
    assert first.pool.being_cancelled == len(first.pool.cleaning) == 1
    over.set_result(True)
    assert await giving
    assert first.pool.being_cancelled == 0


async def test_pools_are_forgotten(stand: Stand) -> None:
    first = await stand.take(spare=1)
    now = stand.pools.now()
    assert not first.pool.forgotten(now + 1)
    await asyncio.sleep(0.1)
    first.lost()
    first.pool.sweep(now + 10_000)
    assert first.pool.forgotten(now + 10_000)


async def test_no_server(stand: Stand) -> None:
    target = stand.target()
    stand.port = 1
    found = stand.pools.pool(stand.target(), LOGIN, "shop", {}, ANNOUNCED, KEEPING)
    assert found is not None and target != stand.target()
    with pytest.raises(UpstreamUnreachable):
        await found.obtain(ANNOUNCED)
    assert not found.used and not found.opening


def test_texts() -> None:
    assert cleaning.set_texts({"a.b": "o'x\\"}) == (b"SET a.b TO E'o''x\\\\'",)
    named = cleaning.naming_query({"a.b": "o'x\\", "c": "d"}, None)
    assert named == (
        b"SELECT pg_catalog.set_config('a.b', E'o''x\\\\', false),"
        b" pg_catalog.set_config('c', E'd', false)"
    )
    for pinning in (PINNING, LEASED_PINNING):
        pinned = cleaning.naming_query({"a.b": "o'x\\", "c": "d"}, pinning)
        assert pinned == named + f", {pinning.columns}".encode()
    assert b"postgis" in cleaning.footprint_query(["postgis"])
    assert rb"""o''x\"y""" in cleaning.footprint_query(["o'x\"y"])
