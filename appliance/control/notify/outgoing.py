"""HTTP that we send: bounded, without redirects, proxies or cookies.

Used by `webhook` and `slack`. Rule: an answer is read up to a bound and no further; errors name the
kind of trouble, never an address with its path, a header or what the other end said.
"""

import logging
import ssl
from pathlib import Path

import httpx

from appliance.control.notify.retry import retry_after
from appliance.control.notify.sink import NotDelivered

ANSWER_BYTES_MAX = 256 * 1024
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
CONNECTIONS_MAX = 8

# It logs whole URLs, and a webhook's path may be its secret.
logging.getLogger("httpx").setLevel(logging.WARNING)


def client(ca: Path | None = None) -> httpx.AsyncClient:
    """`ca`: PEM authorities, None = the system's. Raises OSError."""
    return httpx.AsyncClient(
        verify=ssl.create_default_context(cafile=None if ca is None else str(ca)),
        timeout=TIMEOUT,
        trust_env=False,
        follow_redirects=False,
        limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
    )


async def post(
    through: httpx.AsyncClient, url: str, body: bytes, headers: dict[str, str]
) -> tuple[int, bytes]:
    """(status, at most ANSWER_BYTES_MAX of the answer). Raises NotDelivered, also for 429 and 503
    with their Retry-After."""
    sent = {"User-Agent": "Sallyport", "Accept-Encoding": "identity", **headers}
    answer = b""
    try:
        async with through.stream("POST", url, content=body, headers=sent) as response:
            status = response.status_code
            if status in (429, 503):
                raise NotDelivered(
                    f"answered {status}", retry_after(response.headers.get("retry-after"))
                )
            async for piece in response.aiter_raw(16_384):
                answer += piece
                if len(answer) > ANSWER_BYTES_MAX:
                    raise NotDelivered("the answer is too long")
    except httpx.HTTPError as error:
        raise NotDelivered(type(error).__name__) from error
    return status, answer
