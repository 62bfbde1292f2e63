"""The admin listener: routes, strictness, bounds, and text that Prometheus reads."""

import asyncio
import json
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import appliance
from appliance.control import admin
from appliance.control.admin import (
    CONNECTIONS_MAX,
    HEAD_BYTES_MAX,
    AdminListener,
    answer,
    requested,
)
from appliance.control.exposition import Report, exposition, resident_bytes
from appliance.control.sockets import SocketError
from appliance.telemetry.metrics import CATALOGUE, Metrics


def report(**changes: object) -> Report:
    metrics = Metrics()
    metrics.statements_denied = 3
    metrics.login_seconds.observe(0.02)
    made = Report(
        checks={"policy": True, "workers": True},
        totals=metrics.snapshot(),
        processes={"supervisor": 1},
        workers_ready=2,
        workers=2,
        restarts=1,
        reloads={"ok": 4, "failed": 0},
        generation=5,
        targets={"shop": True},
    )
    return msgspec.structs.replace(made, **changes)


@pytest.fixture
async def listener() -> AsyncIterator[AdminListener]:
    async with AdminListener("127.0.0.1", 0, report) as opened:
        yield opened


async def exchange(listener: AdminListener, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(request)
    try:
        async with asyncio.timeout(5):
            return await reader.read()
    finally:
        writer.close()


async def test_over_the_socket(listener: AdminListener) -> None:
    got = await exchange(listener, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close" in got
    head, _, body = got.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


async def test_byte_by_byte(listener: AdminListener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    for byte in b"GET /version HTTP/1.0\r\n\r\n":
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    got = await reader.read()
    assert appliance.__version__.encode() in got
    writer.close()


async def test_too_long_a_head_is_refused(listener: AdminListener) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET / HTTP/1.1\r\nX: " + b"y" * (HEAD_BYTES_MAX + 10))
    assert (await reader.readexactly(12)) == b"HTTP/1.1 431"
    writer.close()


async def cut(reader: asyncio.StreamReader) -> bool:
    """Whether the other side closes or resets without a byte."""
    async with asyncio.timeout(2):
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True


async def test_the_slow_and_the_silent_are_cut(
    listener: AdminListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "REQUEST_SECONDS_MAX", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET /healthz")
    assert await cut(reader)
    writer.close()


async def test_connections_are_bounded(listener: AdminListener) -> None:
    opened = [
        await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(CONNECTIONS_MAX)
    ]
    await asyncio.sleep(0.05)
    reader, one_more = await asyncio.open_connection("127.0.0.1", listener.port)
    assert await cut(reader)
    for writer in (one_more, *(writer for _, writer in opened)):
        writer.close()
    await asyncio.sleep(0.05)
    assert b"200 OK" in await exchange(listener, b"GET /healthz HTTP/1.1\r\n\r\n")


async def test_closing_ends_conversations() -> None:
    async with AdminListener("127.0.0.1", 0, report) as opened:
        reader, writer = await asyncio.open_connection("127.0.0.1", opened.port)
        await asyncio.sleep(0.05)
    assert await cut(reader)
    writer.close()


async def test_a_taken_port(listener: AdminListener) -> None:
    with pytest.raises(SocketError, match="cannot listen"):
        async with AdminListener("127.0.0.1", listener.port, report):
            raise AssertionError("opened twice")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", 200),
        (b"GET /healthz?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 200),
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"GET /nothing HTTP/1.1\r\n\r\n", 404),
        (b"GET healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET  /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/2.0\r\n\r\n", 400),
        (b"GET /healthz\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n folded\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
    ],
)
def test_strictness(head: bytes, status: int) -> None:
    assert answer(head, report).status == status


def test_head_has_no_body() -> None:
    assert answer(b"HEAD /healthz HTTP/1.1\r\n\r\n", report).body == b""


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_understood(head: bytes) -> None:
    found = requested(head + b"\r\n\r\n")
    assert found is None or found[1].startswith(b"/")


def test_readiness_is_all_or_nothing() -> None:
    head = b"GET /readyz HTTP/1.1\r\n\r\n"
    assert answer(head, report).status == 200
    missing = answer(head, lambda: report(checks={"policy": True, "audit": False}))
    assert missing.status == 503
    assert json.loads(missing.body)["checks"] == {"policy": True, "audit": False}


def test_metrics_are_what_prometheus_reads() -> None:
    text = exposition(report()).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert len(families) >= len({series.family.name for series in CATALOGUE.values()})
    for family in families.values():
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
    denied = [
        sample.value
        for sample in families["sallyport_statements"].samples
        if sample.labels == {"effect": "deny"}
    ]
    assert denied == [3]
    logins = families["sallyport_login_duration_seconds"].samples
    assert [s.value for s in logins if s.name.endswith("_count")] == [1]
    assert "sallyport_worker_restarts_total 1.0" in text
    assert 'sallyport_reloads_total{outcome="ok"} 4.0' in text


def test_a_process_that_is_gone_uses_no_memory() -> None:
    assert resident_bytes(2**22 + 1) == 0
