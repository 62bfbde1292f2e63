"""Slack: what is posted, to a stand-in of its Web API; what comes back, signed as Slack signs."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from appliance.approval.request import Request, State
from appliance.config.control import Control, Roles
from appliance.config.credentials import Secret
from appliance.control.notify.notice import Event, Notice, of_request
from appliance.control.notify.outgoing import client
from appliance.control.notify.people import People
from appliance.control.notify.sink import NotDelivered, Undeliverable
from appliance.control.notify.slack import SlackApi, SlackSink
from appliance.control.notify.slack_blocks import code_block, escaped, message
from appliance.control.notify.slack_interactions import Answer, Interactions
from appliance.identity.verifiers import Directory, User
from tests.desk import BOB, START, Desks, asked
from tests.unit.control.notify.standins import (
    URL,
    HttpServer,
    Scripted,
    Seen,
    becomes,
    dispatching,
    http,
)

TOKEN = Secret(b"xoxb-not-a-real-one")
SIGNING = b"8f742231b10e8888abcd99yyyzzz85a5"


class WebApi:
    """Slack's side: keeps messages, answers as Slack does; `wrong` answers come first."""

    def __init__(self, *wrong: bytes) -> None:
        self.wrong = list(wrong)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, seen: Seen) -> bytes:
        assert seen.headers["authorization"] == "Bearer xoxb-not-a-real-one"
        assert seen.headers["content-type"].startswith("application/json")
        method = seen.line.split()[1].removeprefix("/api/")
        self.calls.append((method, json.loads(seen.body)))
        if self.wrong:
            return self.wrong.pop(0)
        answer = {"ok": True, "channel": "C123", "ts": f"17.{len(self.calls):06d}"}
        return http(200, json.dumps(answer).encode())

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]


def refused(word: str) -> bytes:
    return http(200, json.dumps({"ok": False, "error": word}).encode())


def api(server: HttpServer) -> SlackApi:
    return SlackApi(f"{server.url}/api", TOKEN, client())


def notice(**different: Any) -> Notice:
    return next(
        of_request(Request(asked=asked(**different), state=State.PENDING, expires=START + 300), URL)
    )


def texts(content: Any) -> list[dict[str, Any]]:
    """Every text object, wherever it is."""
    if isinstance(content, dict):
        own = [content] if content.get("type") in ("plain_text", "mrkdwn") else []
        return own + [one for value in content.values() for one in texts(value)]
    if isinstance(content, list):
        return [one for value in content for one in texts(value)]
    return []


async def test_one_message_that_changes(desks: Desks) -> None:
    slack = WebApi()
    async with (
        HttpServer(slack) as server,
        dispatching(desks, SlackSink(api(server), "#approvals")),
    ):
        request = await desks.held.ask(asked(), True)
        await becomes(lambda: len(slack.calls) == 1)
        await desks.approvals.vote(BOB, request.asked.id, True, "fine")
        await becomes(lambda: len(slack.calls) == 2)
    (first, posted), (second, changed) = slack.calls
    assert (first, second) == ("chat.postMessage", "chat.update")
    assert posted["channel"] == "#approvals"
    assert (changed["channel"], changed["ts"]) == ("C123", "17.000001")
    labels = [b["text"]["text"] for b in posted["blocks"][-1]["elements"]]
    assert labels == ["Approve", "Deny", "Open"]
    (link,) = changed["blocks"][-1]["elements"]
    assert link["url"] == f"{URL}/requests/{request.asked.id}"
    shown = json.dumps(posted)
    for part in ("copilot", "on behalf of alice", "shop/shop (staging)", "Expected effect"):
        assert part in shown
    assert "status = ? WHERE id = ?" in shown and "'sent'" not in shown
    assert "Approved by bob: fine" in json.dumps(changed)


async def test_rate_limits_are_kept(desks: Desks) -> None:
    slack = WebApi(http(429, Retry_After="30"), refused("not_in_channel"))
    sink = Scripted("other")
    async with (
        HttpServer(slack) as server,
        dispatching(desks, SlackSink(api(server), "C"), sink) as clock,
    ):
        await desks.held.ask(asked(), True)
        await sink.until(1)
        await becomes(lambda: len(slack.calls) == 1)
        begun = clock.now()
        await clock.pass_until(lambda: len(slack.calls) == 2)
        assert clock.now() - begun >= 30
        await clock.pass_until(lambda: len(slack.calls) == 3)


@pytest.mark.parametrize(
    ("answer", "raises", "says"),
    [
        (refused("invalid_auth"), NotDelivered, "invalid_auth"),
        (refused("invalid_blocks"), Undeliverable, "invalid_blocks"),
        (refused("x\r\ny xoxb-secret"), NotDelivered, "unknown"),
        (http(200, b"<html>"), NotDelivered, "not Slack's"),
        (http(302, Location="http://127.0.0.1:1/"), NotDelivered, "302"),
        (http(500), NotDelivered, "500"),
        (http(200, b'{"ok": true}'), NotDelivered, "no message"),
    ],
)
async def test_answers(answer: bytes, raises: type[Exception], says: str) -> None:
    async with HttpServer(WebApi(answer)) as server:
        sink = SlackSink(api(server), "C")
        with pytest.raises(raises, match=says):
            await sink.deliver(notice(), "")
        await sink.close()


async def test_a_deleted_message_is_posted_anew_and_what_is_loud_is_said_again() -> None:
    slack = WebApi(refused("message_not_found"))
    loud = msgspec.structs.replace(notice(), event=Event.BREAK_GLASS, by="alice", reason="fire")
    async with HttpServer(slack) as server:
        sink = SlackSink(api(server), "C")
        assert await sink.deliver(loud, "C123 17.9") == "C123 17.000002"
        await sink.close()
    assert slack.methods() == ["chat.update", "chat.postMessage", "chat.postMessage"]
    reply = slack.calls[2][1]
    assert reply["thread_ts"] == "17.000002" and reply["reply_broadcast"] is True
    assert reply["text"].startswith("<!channel> BREAK-GLASS") and "fire" in reply["text"]


def test_nothing_that_a_client_chose_is_markup() -> None:
    evil = "```<!channel> <http://x|Approve> & *bold* \u202e"
    told = notice(principal=evil, redacted=f"SELECT 1 -- {evil}", reasons=(evil,), target=evil)
    content = message(told)
    assert "<!" not in content["text"] and "```" not in content["text"]
    (marked,) = [one for one in texts(content) if one["type"] == "mrkdwn"]
    assert marked["text"].count("```") == 2 and "<" not in marked["text"] and marked["verbatim"]
    assert "\u202e" not in json.dumps(content, ensure_ascii=False)


@pytest.mark.parametrize("character", ["a", "&", "<", "`", "\U0001f600"])
@pytest.mark.parametrize("length", [0, 599, 600, 601, 2_993, 2_994, 2_995, 20_000])
def test_texts_stay_within_slack_s_limits(character: str, length: int) -> None:
    block = code_block(character * length)
    assert len(block) <= 3_000 and block.startswith("```") and block.endswith("```")
    assert not block.rstrip("`").endswith(("&", "&a", "&am", "&amp", "&l", "&lt"))
    assert escaped("&" * 3, 20) == "&amp;&amp;&amp;"
    told = notice(principal=character * length, redacted=character * length, reasons=("r",) * 99)
    content = message(told)
    assert len(content["blocks"]) <= 50 and len(content["blocks"][0]["text"]["text"]) <= 150
    assert all(len(one["text"]) <= 3_000 for one in texts(content))
    assert all(len(b.get("fields", ())) <= 10 for b in content["blocks"])


# What comes back.

DIRECTORY = Directory(
    [
        User(name="bob", groups=("approvers",)),
        User(name="alice", groups=("approvers",)),
        User(name="gone", groups=("approvers",), disabled=True),
        User(name="plain"),
    ]
)
MAPPED = {"U1": "bob", "U2": "alice", "U3": "gone", "U4": "plain", "U5": "not in the file"}


def endpoint(desks: Desks, server: HttpServer, **more: Any) -> Interactions:
    control = Control(roles=Roles(approver=("approvers",)))
    people = People(MAPPED, control, more.pop("read", lambda: DIRECTORY))
    return Interactions(
        more.pop("desk", desks.approvals), people, api(server), Secret(SIGNING), desks.clock, **more
    )


def clicked(action: str, request: str, user: str = "U1") -> bytes:
    payload = {
        "type": "block_actions",
        "user": {"id": user, "username": "whoever"},
        "api_app_id": "A1",
        "trigger_id": "13.37",
        "channel": {"id": "C123", "name": "approvals"},
        "response_url": "https://hooks.slack.com/actions/x",
        "actions": [{"action_id": action, "block_id": "b", "value": request, "type": "button"}],
    }
    return urlencode({"payload": json.dumps(payload)}).encode()


def submitted(request: str, reason: str | None, user: str = "U1") -> bytes:
    view = {
        "callback_id": "sallyport_denial",
        "private_metadata": request,
        "state": {"values": {"reason": {"reason": {"type": "plain_text_input", "value": reason}}}},
    }
    payload = {"type": "view_submission", "user": {"id": user}, "view": view}
    return urlencode({"payload": json.dumps(payload)}).encode()


def signed(body: bytes, at: float = START, secret: bytes = SIGNING) -> dict[str, str]:
    """As Slack does it, from its documentation."""
    time = str(int(at))
    mac = hmac.new(secret, b"v0:" + time.encode() + b":" + body, hashlib.sha256).hexdigest()
    return {"x-slack-request-timestamp": time, "x-slack-signature": f"v0={mac}"}


async def post(one: Interactions, body: bytes) -> Answer:
    return await one.interaction(signed(body), body)


async def test_an_approval(desks: Desks) -> None:
    request = await desks.held.ask(asked(), True)
    slack = WebApi()
    async with HttpServer(slack) as server:
        one = endpoint(desks, server)
        assert await post(one, clicked("sallyport_approve", request.asked.id)) == (200, {})
    found = await desks.approvals.request(BOB, request.asked.id)
    assert found.state is State.APPROVED
    assert (found.votes[0].person, found.votes[0].via) == ("bob", "slack")
    assert not slack.calls


async def test_a_denial_asks_for_its_reason_first(desks: Desks) -> None:
    request = await desks.held.ask(asked(), True)
    slack = WebApi()
    async with HttpServer(slack) as server:
        one = endpoint(desks, server)
        assert (await post(one, clicked("sallyport_deny", request.asked.id)))[0] == 200
        ((method, opened),) = slack.calls
        assert (method, opened["trigger_id"]) == ("views.open", "13.37")
        assert opened["view"]["private_metadata"] == request.asked.id
        status, answer = await post(one, submitted(request.asked.id, None))
        assert (status, answer["response_action"]) == (200, "errors")
        assert await post(one, submitted(request.asked.id, "not today")) == (200, {})
    found = await desks.approvals.request(BOB, request.asked.id)
    assert (found.state, found.reason) == (State.DENIED, "not today")


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("U2", "on your behalf"),
        ("U3", "may not decide here"),
        ("U4", "no such request"),
        ("U5", "may not decide here"),
        ("U9", "may not decide here"),
    ],
)
async def test_who_may_not_is_told_alone(desks: Desks, user: str, says: str) -> None:
    request = await desks.held.ask(asked(), True)
    slack = WebApi()
    async with HttpServer(slack) as server:
        one = endpoint(desks, server)
        body = clicked("sallyport_approve", request.asked.id, user)
        assert await post(one, body) == (200, {})
    ((method, told),) = slack.calls
    assert method == "chat.postEphemeral" and says in told["text"]
    assert (told["channel"], told["user"]) == ("C123", user)
    found = await desks.approvals.request(BOB, request.asked.id)
    assert found.state is State.PENDING and not found.votes


async def test_the_requester_may_not_approve_their_own(desks: Desks) -> None:
    own = await desks.held.ask(asked(principal="bob", on_behalf_of=None), True)
    slack = WebApi()
    async with HttpServer(slack) as server:
        await post(endpoint(desks, server), clicked("sallyport_approve", own.asked.id))
    assert "of their own" in slack.calls[0][1]["text"]
    assert (await desks.approvals.request(BOB, own.asked.id)).state is State.PENDING


Change = Callable[[dict[str, str], bytes], tuple[dict[str, str], bytes]]


@pytest.mark.parametrize(
    "change",
    [
        lambda h, b: ({}, b),
        lambda h, b: (signed(b, START - 301), b),
        lambda h, b: (signed(b, START + 301), b),
        lambda h, b: (signed(b, secret=b"another"), b),
        lambda h, b: (h, b + b"&x=1"),
        lambda h, b: ({**h, "x-slack-request-timestamp": str(int(START) - 1)}, b),
        lambda h, b: ({**h, "x-slack-request-timestamp": "\u0661\u0662"}, b),
        lambda h, b: ({**h, "x-slack-signature": "v0="}, b),
        lambda h, b: ({**h, "x-slack-signature": "\xff"}, b),
    ],
)
async def test_what_is_not_slack_s_is_refused(desks: Desks, change: Change) -> None:
    request = await desks.held.ask(asked(), True)
    body = clicked("sallyport_approve", request.asked.id)
    async with HttpServer(WebApi()) as server:
        one = endpoint(desks, server)
        assert await one.interaction(*change(signed(body), body)) == (401, {})
    assert (await desks.approvals.request(BOB, request.asked.id)).state is State.PENDING


@pytest.mark.parametrize("body", [b"", b"payload=", b"payload={}", b"x=1", b"\xff", b"payload=[1]"])
async def test_signed_nonsense(desks: Desks, body: bytes) -> None:
    async with HttpServer(WebApi()) as server:
        assert await post(endpoint(desks, server), body) == (400, {})


async def test_slack_has_its_answer_while_a_slow_vote_goes_on(desks: Desks) -> None:
    request = await desks.held.ask(asked(), True)
    go = asyncio.Event()

    class Slow:
        async def vote(self, *arguments: Any) -> Request:
            await go.wait()
            return await desks.approvals.vote(*arguments)

    async with HttpServer(WebApi()) as server:
        one = endpoint(desks, server, desk=Slow(), answer_seconds=0.01)
        assert await post(one, clicked("sallyport_approve", request.asked.id)) == (200, {})
        assert (await desks.approvals.request(BOB, request.asked.id)).state is State.PENDING
        go.set()
        await one.close()
    assert (await desks.approvals.request(BOB, request.asked.id)).state is State.APPROVED


async def test_a_users_file_that_cannot_be_read_lets_nobody_vote(desks: Desks) -> None:
    def broken() -> Directory:
        raise OSError("gone")

    request = await desks.held.ask(asked(), True)
    slack = WebApi()
    async with HttpServer(slack) as server:
        one = endpoint(desks, server, read=broken)
        await post(one, clicked("sallyport_approve", request.asked.id))
    assert "cannot be read" in slack.calls[0][1]["text"]
    assert (await desks.approvals.request(BOB, request.asked.id)).state is State.PENDING
