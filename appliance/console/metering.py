"""Figures for the console's dashboards: the admin listener's exposition, sampled into a short
history.

Run by `console/serve` beside the app, read by `api/metrics`. Rule: it holds numbers only, as many
as HISTORY_MAX moments of the families of `telemetry/metrics`; when the listener cannot be reached
it says so and keeps the old ones.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from appliance.console.standing import Current
from appliance.telemetry.metrics import PREFIX

SAMPLE_SECONDS = 10.0
HISTORY_MAX = 360
ANSWER_BYTES_MAX = 1024 * 1024
SERIES_MAX = 400
SECONDS_MAX = 3.0


class Sample(msgspec.Struct, frozen=True):
    time: float
    """Unix seconds."""
    values: dict[str, float]
    """Sample name with its labels, as `sallyport_statements_total{effect="deny"}`."""


class Metrics(msgspec.Struct, frozen=True):
    reachable: bool
    reason: str
    """Why there are no (new) figures, '' when there are."""
    now: dict[str, float]
    history: tuple[Sample, ...]
    """Oldest first, about one every 10 s, of the last hour; buckets of histograms left out."""


class Metering:
    def __init__(self, current: Current, now: Callable[[], float]) -> None:
        self._current = current
        self._now = now
        self._history: deque[Sample] = deque(maxlen=HISTORY_MAX)
        self._last: dict[str, float] = {}
        self._reason = "not asked yet"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.sample()
            await asyncio.sleep(SAMPLE_SECONDS)

    async def sample(self) -> None:
        """Once."""
        admin = self._current().configuration.admin
        if admin is None or admin.port == 0:
            self._reason = "the configuration has no `admin` listener with a fixed port"
            return
        host = admin.host or "127.0.0.1"
        shown = f"[{host}]" if ":" in host else host
        try:
            text = await _fetched(f"http://{shown}:{admin.port}/metrics")
            values = figures(text)
        except (httpx.HTTPError, OSError, ValueError) as error:
            self._reason = f"the admin listener cannot be read ({type(error).__name__})"
            return
        self._reason, self._last = "", values
        kept = {name: value for name, value in values.items() if "_bucket{" not in name}
        self._history.append(Sample(self._now(), kept))

    def metrics(self) -> Metrics:
        return Metrics(not self._reason, self._reason, self._last, tuple(self._history))


async def _fetched(url: str) -> str:
    async with (
        httpx.AsyncClient(timeout=SECONDS_MAX, follow_redirects=False, trust_env=False) as client,
        client.stream("GET", url) as answer,
    ):
        content = b""
        async for piece in answer.aiter_bytes():
            content += piece
            if answer.status_code != 200 or len(content) > ANSWER_BYTES_MAX:
                raise ValueError("not an exposition")
        return content.decode()


def figures(text: str) -> dict[str, float]:
    """Our own families of an exposition. Raises ValueError for anything else than one."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.name.startswith(PREFIX) or sample.name.endswith("_created"):
                continue
            labels = ",".join(f'{name}="{sample.labels[name]}"' for name in sorted(sample.labels))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = float(sample.value)
            if len(found) > SERIES_MAX:
                raise ValueError("too many series")
    return found
