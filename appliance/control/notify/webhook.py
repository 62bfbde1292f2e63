"""Notices as signed JSON, posted to a URL: Standard Webhooks
(https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).

A sink of `dispatch`. Headers: `webhook-id` (the same at every attempt: receivers tell repetitions
by it), `webhook-timestamp` (unix seconds of this attempt) and `webhook-signature`: `v1,` and the
base64 of HMAC-SHA-256 over `id.timestamp.body`, one per secret, separated by spaces. Receivers
should refuse timestamps more than REPLAY_SECONDS away from their clock. Any 2xx is a receipt; 410
ends that delivery; everything else, redirects included, is tried again.

Body: `{"type": "request.made", "timestamp": RFC 3339, "data": {...}}`; `data` is `notice.Notice`
without `event`.
"""

import base64
import binascii
import datetime
import hashlib
import hmac
from collections.abc import Callable, Sequence

import httpx
import msgspec

from appliance.control.notify.notice import Notice
from appliance.control.notify.outgoing import post
from appliance.control.notify.sink import NotDelivered, Undeliverable

REPLAY_SECONDS = 300
SECRET_BYTES_MIN = 24
"""The specification's least."""
PREFIX = "whsec_"


class WebhookSink:
    for_people = False

    def __init__(
        self,
        name: str,
        url: str,
        secrets: Sequence[bytes],
        through: httpx.AsyncClient,
        now: Callable[[], float],
    ) -> None:
        """`secrets`: as `signing_key` makes them; one signature each."""
        self.name = f"webhook {name}"
        self._url = url
        self._secrets = tuple(secrets)
        self._through = through
        self._now = now

    async def deliver(self, notice: Notice, reference: str) -> str:
        body = encoded(notice)
        time = int(self._now())
        signatures = [signature(secret, notice.id, time, body) for secret in self._secrets]
        headers = {
            "Content-Type": "application/json",
            "webhook-id": notice.id,
            "webhook-timestamp": str(time),
            "webhook-signature": " ".join(signatures),
        }
        status, _ = await post(self._through, self._url, body, headers)
        if status == 410:
            raise Undeliverable("answered 410: gone")
        if not 200 <= status < 300:
            raise NotDelivered(f"answered {status}")
        return ""

    async def close(self) -> None:
        await self._through.aclose()


def encoded(notice: Notice) -> bytes:
    told = msgspec.to_builtins(notice)
    del told["event"]
    when = datetime.datetime.fromtimestamp(notice.time, datetime.UTC)
    return msgspec.json.encode({"type": notice.event.value, "timestamp": when, "data": told})


def signature(secret: bytes, id: str, time: int, body: bytes) -> str:
    signed = hmac.digest(secret, f"{id}.{time}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed).decode()


def signing_key(text: bytes) -> bytes:
    """The bytes of a secret: what follows `whsec_`, from base64, or the text itself. Raises
    ValueError (without the text)."""
    key = text
    if text.startswith(PREFIX.encode()):
        try:
            key = base64.b64decode(text.removeprefix(PREFIX.encode()), validate=True)
        except binascii.Error:
            raise ValueError("a webhook's secret: what follows whsec_ is not base64") from None
    if len(key) < SECRET_BYTES_MIN:
        raise ValueError(f"a webhook's secret is shorter than {SECRET_BYTES_MIN} bytes")
    return key
