"""What people do with Slack's buttons: an endpoint that Slack posts to.

`console` mounts it at /slack/interactions and passes header fields and body on. Rules: nothing is
read before the signature was checked
(https://docs.slack.dev/authentication/verifying-requests-from-slack: v0, HMAC-SHA-256 over
`v0:timestamp:body`, at most WINDOW_SECONDS old); Slack has its answer within ANSWER_SECONDS, what
takes longer goes on; whoever clicks is one of `people`, and the desk decides whether they may.
Refusals are told to that person alone.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from appliance.approval.request import State
from appliance.config.credentials import Secret
from appliance.control.desk import Desk, DeskError
from appliance.control.notify.people import People
from appliance.control.notify.sink import NotDelivered
from appliance.control.notify.slack import SlackApi, SlackRefused
from appliance.control.notify.slack_blocks import (
    APPROVE,
    DENY,
    MODAL,
    OPEN,
    REASON,
    REASON_BLOCK,
    denial_modal,
)
from appliance.telemetry.log import Log

WINDOW_SECONDS = 300
ANSWER_SECONDS = 2.0
"""Slack gives up after 3."""
CLOSE_SECONDS = 1.0
BODY_BYTES_MAX = 512 * 1024
UNDER_WAY_MAX = 50
NOBODY = "your Slack account may not decide here; open the request and sign in"

Answer = tuple[int, dict[str, Any]]

log = Log("slack")


class User(msgspec.Struct):
    id: str


class Action(msgspec.Struct):
    action_id: str
    value: str = ""


class Channel(msgspec.Struct):
    id: str = ""


class Value(msgspec.Struct):
    value: str | None = None


class Values(msgspec.Struct):
    values: dict[str, dict[str, Value]] = msgspec.field(default_factory=dict)


class View(msgspec.Struct):
    callback_id: str = ""
    private_metadata: str = ""
    state: Values = msgspec.field(default_factory=Values)


class Interaction(msgspec.Struct):
    """What we read of a payload (block_actions, view_submission)."""

    type: str
    user: User
    actions: tuple[Action, ...] = ()
    channel: Channel = msgspec.field(default_factory=Channel)
    trigger_id: str = ""
    view: View | None = None


_payload = msgspec.json.Decoder(Interaction)


class Interactions:
    def __init__(
        self,
        desk: Desk,
        people: People,
        api: SlackApi,
        signing_secret: Secret,
        now: Callable[[], float],
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._desk = desk
        self._people = people
        self._api = api
        self._secret = signing_secret
        self._now = now
        self._answer_seconds = answer_seconds
        self._under_way: set[asyncio.Task[Answer]] = set()

    async def interaction(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """(status, JSON to answer with). `headers`: lower-case names."""
        if len(body) > BODY_BYTES_MAX:
            return 413, {}
        if not self._genuine(headers, body):
            log.warning("interaction_refused", reason="signature or time")
            return 401, {}
        seen = _read(body)
        if seen is None:
            return 400, {}
        if len(self._under_way) >= UNDER_WAY_MAX:
            return 503, {}
        task = asyncio.ensure_future(self._do(seen))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.wait((task,), timeout=self._answer_seconds)
        if task.done():
            return task.result()
        return 200, {}

    async def close(self) -> None:
        """Waits for what is under way, not for long."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=CLOSE_SECONDS)
            for task in late:
                task.cancel()

    def _genuine(self, headers: Mapping[str, str], body: bytes) -> bool:
        time = headers.get("x-slack-request-timestamp", "")
        given = headers.get("x-slack-signature", "")
        if not (time.isascii() and time.isdigit() and len(time) <= 12):
            return False
        if abs(self._now() - int(time)) > WINDOW_SECONDS:
            return False
        return hmac.compare_digest(
            signature(self._secret.reveal(), time, body).encode(), given.encode("utf-8", "replace")
        )

    async def _do(self, seen: Interaction) -> Answer:
        if seen.type == "view_submission" and seen.view and seen.view.callback_id == MODAL:
            refusal = await self._vote(
                seen.user.id, seen.view.private_metadata, False, _reason(seen.view)
            )
            if not refusal:
                return 200, {}
            return 200, {"response_action": "errors", "errors": {REASON_BLOCK: refusal}}
        if seen.type == "block_actions" and len(seen.actions) == 1:
            refusal = await self._click(seen, seen.actions[0])
            if refusal:
                await self._whisper(seen, refusal)
        return 200, {}

    async def _click(self, seen: Interaction, action: Action) -> str:
        """Why not, '' = done."""
        if action.action_id == APPROVE:
            return await self._vote(seen.user.id, action.value, True, "")
        if action.action_id == DENY:
            modal = {"trigger_id": seen.trigger_id, "view": denial_modal(action.value)}
            try:
                await self._api.call("views.open", modal)
            except (NotDelivered, SlackRefused) as problem:
                log.warning("modal_not_opened", reason=str(problem))
                return "the form for your reason could not be opened; open the request instead"
            return ""
        return "" if action.action_id == OPEN else "this button is not known here"

    async def _vote(self, user: str, request: str, approve: bool, reason: str) -> str:
        """Why not, '' = it counts."""
        try:
            person = await self._people.person(user)
        except (OSError, ValueError) as error:
            log.error("users_not_read", reason=type(error).__name__)
            return "users cannot be read now; open the request instead"
        if person is None:
            log.warning("interaction_refused", reason="unknown person")
            return NOBODY
        try:
            found = await self._desk.vote(person, request, approve, reason)
        except DeskError as error:
            return str(error)
        log.info("voted", request=request, approve=approve, pending=found.state is State.PENDING)
        return ""

    async def _whisper(self, seen: Interaction, refusal: str) -> None:
        """Only this person sees it."""
        content = {"channel": seen.channel.id, "user": seen.user.id, "text": _sentence(refusal)}
        try:
            await self._api.call("chat.postEphemeral", content)
        except (NotDelivered, SlackRefused) as problem:
            log.warning("refusal_not_told", reason=str(problem))


def signature(secret: bytes, time: str, body: bytes) -> str:
    signed = hmac.new(secret, f"v0:{time}:".encode() + body, hashlib.sha256)
    return "v0=" + signed.hexdigest()


def _read(body: bytes) -> Interaction | None:
    try:
        form = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=4)
        (payload,) = form["payload"]
        return _payload.decode(payload)
    except (ValueError, KeyError):  # msgspec's errors and UnicodeDecodeError are ValueErrors
        return None


def _reason(view: View) -> str:
    value = view.state.values.get(REASON_BLOCK, {}).get(REASON)
    return (value.value if value is not None else None) or ""


def _sentence(refusal: str) -> str:
    """Without markup: it may name what somebody chose."""
    for plain, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        refusal = refusal.replace(plain, escape)
    return refusal[:1].upper() + refusal[1:] + "."
