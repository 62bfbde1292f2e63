"""Notices in a Slack channel: one message per request or grant, changed as things happen to it.

A sink of `dispatch`, over Slack's Web API (https://docs.slack.dev/apis/web-api/):
`chat.postMessage` once, then `chat.update`; what is loud is said again in its thread. What people
do with the buttons is the work of `slack_interactions`. The reference that the outbox keeps is
`<channel> <ts>`.

Slack has no idempotency key: a process that dies between Slack's answer and our note of it posts
again. Each message carries the notice's id in its metadata.
"""

from collections.abc import Mapping
from typing import Any

import httpx
import msgspec

from appliance.config.credentials import Secret
from appliance.control.notify.notice import LOUD, Notice
from appliance.control.notify.outgoing import post
from appliance.control.notify.sink import NotDelivered, Undeliverable
from appliance.control.notify.slack_blocks import loud, message

REFUSED = frozenset(
    (
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_arguments",
        "msg_too_long",
        "msg_blocks_too_long",
        "no_text",
        "metadata_too_large",
        "cant_update_message",
        "edit_window_closed",
    )
)
"""Errors that are about the message itself. All others (a bot not invited, a token withdrawn) may
be mended by somebody, so they are tried again."""
GONE = frozenset(("message_not_found", "thread_not_found"))


class Said(msgspec.Struct):
    """What we read of an answer."""

    ok: bool
    error: str = ""
    channel: str = ""
    ts: str = ""


class SlackRefused(Exception):
    """`ok: false`. `error`: Slack's word for it."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class SlackApi:
    """Calls of the Web API."""

    def __init__(self, url: str, token: Secret, through: httpx.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._through = through

    async def call(self, method: str, content: Mapping[str, Any]) -> Said:
        """Raises NotDelivered, SlackRefused."""
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Authorization": f"Bearer {self._token.reveal().decode('latin-1')}",
        }
        body = msgspec.json.encode(content)
        status, answer = await post(self._through, f"{self._url}/{method}", body, headers)
        if status != 200:
            raise NotDelivered(f"answered {status}")
        try:
            said = msgspec.json.decode(answer, type=Said)
        except msgspec.MsgspecError as error:
            raise NotDelivered("the answer is not Slack's") from error
        if not said.ok:
            word = said.error if said.error.isidentifier() else "unknown"
            raise SlackRefused(word[:60])
        return said

    async def close(self) -> None:
        await self._through.aclose()


class SlackSink:
    name = "slack"
    for_people = True

    def __init__(self, api: SlackApi, channel: str) -> None:
        self._api = api
        self._channel = channel

    async def deliver(self, notice: Notice, reference: str) -> str:
        try:
            reference = await self._show(notice, reference)
            if notice.event in LOUD:
                channel, _, thread = reference.partition(" ")
                reply = {"channel": channel, "thread_ts": thread, **loud(notice)}
                await self._api.call("chat.postMessage", reply)
        except SlackRefused as refused:
            if refused.error in REFUSED:
                raise Undeliverable(refused.error) from refused
            raise NotDelivered(refused.error) from refused
        return reference

    async def close(self) -> None:
        await self._api.close()

    async def _show(self, notice: Notice, reference: str) -> str:
        content = {
            **message(notice),
            "unfurl_links": False,
            "metadata": {"event_type": "sallyport_notice", "event_payload": {"id": notice.id}},
        }
        if reference:
            channel, _, ts = reference.partition(" ")
            try:
                await self._api.call("chat.update", {"channel": channel, "ts": ts, **content})
            except SlackRefused as refused:
                if refused.error not in GONE:
                    raise
            else:
                return reference
        said = await self._api.call("chat.postMessage", {"channel": self._channel, **content})
        if not said.channel or not said.ts:
            raise NotDelivered("the answer names no message")
        return f"{said.channel} {said.ts}"
