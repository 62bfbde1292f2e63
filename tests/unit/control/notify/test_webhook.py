"""Signed webhooks against a server that checks them by itself."""

import base64
import hashlib
import hmac
import json

import pytest

from appliance.approval.request import Request, State
from appliance.control.notify.notice import Notice, of_request
from appliance.control.notify.outgoing import ANSWER_BYTES_MAX, client
from appliance.control.notify.sink import NotDelivered, Undeliverable
from appliance.control.notify.webhook import WebhookSink, signature, signing_key
from tests.desk import START, Desks, asked
from tests.unit.control.notify.standins import URL, HttpServer, Scripted, Seen, dispatching, http

SECRET = b"0123456789abcdef0123456789abcdef"
FORMER = b"fedcba9876543210fedcba9876543210"


def notice() -> Notice:
    return next(of_request(Request(asked=asked(), state=State.PENDING, expires=START + 300), URL))


def genuine(seen: Seen, secret: bytes) -> bool:
    """As a receiver would check it, from the specification."""
    head = seen.headers
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + seen.body
    want = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return any(
        hmac.compare_digest(one, f"v1,{want}") for one in head["webhook-signature"].split(" ")
    )


def sink(url: str, now: float = START) -> WebhookSink:
    return WebhookSink("siem", url, [SECRET, FORMER], client(), lambda: now)


def test_the_specification_s_own_example() -> None:
    key = signing_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    given = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert given == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("text", [b"tiny-one", b"whsec_%%%", b"whsec_c2hvcnQ="])
def test_bad_secrets_are_refused_without_being_shown(text: bytes) -> None:
    with pytest.raises(ValueError, match="secret") as caught:
        signing_key(text)
    assert text.decode() not in str(caught.value)


async def test_what_arrives() -> None:
    async with HttpServer(http(204)) as server:
        one, told = sink(f"{server.url}/hook?x=1"), notice()
        assert await one.deliver(told, "") == ""
        await one.close()
    (seen,) = server.seen
    assert seen.line == "POST /hook?x=1 HTTP/1.1"
    assert genuine(seen, SECRET) and genuine(seen, FORMER) and not genuine(seen, b"x" * 32)
    assert seen.headers["webhook-id"] == told.id
    assert seen.headers["webhook-timestamp"] == str(int(START))
    content = json.loads(seen.body)
    assert content["type"] == "request.made"
    assert content["timestamp"].startswith("2026-09-21T")
    assert content["data"]["request"]["statement"].endswith("status = ? WHERE id = ?")
    assert content["data"]["url"] == told.url
    assert b"'sent'" not in seen.body  # the literal


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http(500), "500"),
        (http(404), "404"),
        (http(302, Location="http://127.0.0.1:1/"), "302"),
        (b"", "RemoteProtocolError"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "RemoteProtocolError"),
        (b"SSH-2.0-x\r\n\r\n", "RemoteProtocolError"),
        (http(200, b"x" * (ANSWER_BYTES_MAX + 1)), "too long"),
    ],
)
async def test_what_is_no_receipt(answer: bytes, says: str) -> None:
    async with HttpServer(answer) as server:
        one = sink(server.url)
        with pytest.raises(NotDelivered, match=says) as caught:
            await one.deliver(notice(), "")
        await one.close()
    assert len(server.seen) == 1  # no redirect was followed
    assert server.url not in str(caught.value)


async def test_retry_after_and_gone() -> None:
    async with HttpServer(http(429, Retry_After="17"), http(410)) as server:
        one = sink(server.url)
        with pytest.raises(NotDelivered) as caught:
            await one.deliver(notice(), "")
        assert caught.value.after == 17
        with pytest.raises(Undeliverable):
            await one.deliver(notice(), "")
        await one.close()


async def test_nobody_listens() -> None:
    async with HttpServer(http(200)) as server:
        url = server.url
    one = sink(url)
    with pytest.raises(NotDelivered, match="ConnectError"):
        await one.deliver(notice(), "")
    await one.close()


async def test_delivered_in_the_end_under_one_id(desks: Desks) -> None:
    hanging = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    async with HttpServer(http(503), hanging, http(307), "hang", http(200)) as server:
        one, other = sink(server.url), Scripted("other")
        async with dispatching(desks, one, other) as clock:
            await desks.held.ask(asked(), True)
            await other.until(1)  # whatever the first does
            await clock.pass_until(lambda: len(server.seen) == 5)
    assert len({seen.headers["webhook-id"] for seen in server.seen}) == 1
    assert len({seen.body for seen in server.seen}) == 1
    assert all(genuine(seen, SECRET) for seen in server.seen)
