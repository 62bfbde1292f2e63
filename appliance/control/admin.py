"""The admin listener: /healthz, /readyz, /metrics and /version over plain HTTP/1.1, GET only.

Opened by `control/supervisor` (loopback unless configured otherwise). No authentication, so nothing
here is secret and nothing changes anything. Rule: a request has HEAD_BYTES_MAX bytes and
REQUEST_SECONDS_MAX to arrive, one per connection, CONNECTIONS_MAX at a time.

Routes: 200 or 503 for the first two (readiness lists its checks as JSON); Prometheus text; the
version as JSON.
"""

import asyncio
import re
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import NamedTuple

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

import appliance
from appliance.control.exposition import Report, exposition
from appliance.control.sockets import SocketError
from appliance.telemetry.log import Log

__all__ = ["AdminListener", "Report"]

HEAD_BYTES_MAX = 8 * 1024
REQUEST_SECONDS_MAX = 5.0
CONNECTIONS_MAX = 64

# RFC 9112, section 3: method SP request-target SP HTTP-version; only origin-form targets.
REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[\x21-\x7e]{0,1024}) HTTP/1\.[01]")
# RFC 9110, section 5.1: a field line begins with a token and a colon; no obsolete folding.
FIELD_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")

log = Log("admin")


class Reply(NamedTuple):
    status: HTTPStatus
    content_type: str
    body: bytes


def requested(head: bytes) -> tuple[bytes, bytes] | None:
    """(method, path) of a request head that ends in an empty line; None when it is not HTTP/1.1."""
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = REQUEST_LINE.fullmatch(line)
    if match is None or not all(FIELD_LINE.fullmatch(field) for field in fields):
        return None
    return match[1], match[2].partition(b"?")[0]


def answer(head: bytes, report: Callable[[], Report]) -> Reply:
    """The reply to one request head."""
    request = requested(head)
    if request is None:
        return _text(HTTPStatus.BAD_REQUEST)
    method, path = request
    route = {
        b"/healthz": _healthz,
        b"/readyz": _readyz,
        b"/metrics": _metrics,
        b"/version": _version,
    }.get(path)
    if route is None:
        return _text(HTTPStatus.NOT_FOUND)
    if method not in (b"GET", b"HEAD"):
        return _text(HTTPStatus.METHOD_NOT_ALLOWED)
    reply = route(report())
    return reply._replace(body=b"") if method == b"HEAD" else reply


def _text(status: HTTPStatus) -> Reply:
    return Reply(status, "text/plain; charset=utf-8", f"{status.phrase}\n".encode())


def _healthz(_: Report) -> Reply:
    return _text(HTTPStatus.OK)


def _readyz(report: Report) -> Reply:
    ready = all(report.checks.values())
    content = {"ready": ready, "checks": report.checks, "targets": report.targets}
    if report.control is not None:  # told, not demanded: without it, only what is held is refused
        content["control"] = report.control
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    return Reply(status, "application/json", msgspec.json.encode(content) + b"\n")


def _metrics(report: Report) -> Reply:
    return Reply(HTTPStatus.OK, CONTENT_TYPE_LATEST, exposition(report))


def _version(report: Report) -> Reply:
    content = {"version": appliance.__version__, "generation": report.generation}
    return Reply(HTTPStatus.OK, "application/json", msgspec.json.encode(content) + b"\n")


def encoded(reply: Reply) -> bytes:
    """Reply as HTTP/1.1; the connection ends after it."""
    allow = "Allow: GET, HEAD\r\n" if reply.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    head = (
        f"HTTP/1.1 {reply.status.value} {reply.status.phrase}\r\n"
        f"Content-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{allow}"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + reply.body


class AdminListener:
    """The listening socket; an async context manager."""

    def __init__(self, host: str, port: int, report: Callable[[], Report]) -> None:
        self._host = host
        self._port = port
        self._report = report
        self._conversations: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port in use (for a configured port of 0)."""
        assert self._listening is not None
        return int(self._listening.sockets[0].getsockname()[1])

    async def __aenter__(self) -> "AdminListener":
        """Raises SocketError."""
        try:
            self._listening = await asyncio.start_server(
                self._converse, self._host or None, self._port, limit=HEAD_BYTES_MAX
            )
        except OSError as error:
            raise SocketError(
                f"admin: cannot listen on {self._host} port {self._port}: {error.strerror}"
            ) from error
        log.info("admin_listening", host=self._host, port=self.port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._listening is not None
        self._listening.close()
        for conversation in self._conversations:
            conversation.cancel()
        if self._conversations:
            await asyncio.wait(self._conversations)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversation = asyncio.current_task()
        assert conversation is not None
        if len(self._conversations) >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        self._conversations.add(conversation)
        try:
            async with asyncio.timeout(REQUEST_SECONDS_MAX):
                writer.write(encoded(await self._reply(reader)))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # Too slow, gone, or we are ending. The task ends here, so a cancellation may, too.
            writer.transport.abort()
        finally:
            self._conversations.discard(conversation)
            writer.close()

    async def _reply(self, reader: asyncio.StreamReader) -> Reply:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _text(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return answer(head, self._report)
