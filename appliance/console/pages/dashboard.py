"""Figures: what was decided, how long it took, what left, by whom. See `frame`.

Charts are drawn by scripts from the tables on the page, so the figures are there without them.
They come from the workers' counters as `metering` sampled them; who did how much comes from the
trail and is for auditors.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec
from starlette.responses import Response

from appliance.console.metering import Sample
from appliance.console.pages.frame import draw, get
from appliance.console.table import ANY_ROLE, Call
from appliance.console.trails import Summary, Sums
from appliance.control.desk import Unavailable
from appliance.telemetry.metrics import PREFIX

SLICES = 60
"""Bars of a chart at most."""
TOP = 12
DAY = 86_400.0

_COUNTED = {
    "allowed": 'statements_total{effect="allow"}',
    "denied": 'statements_total{effect="deny"}',
    "held": 'statements_total{effect="hold"}',
    "refused": 'statements_total{effect="refuse"}',
    "rows": "rows_total",
    "cells_masked": "cells_masked_total",
    "cells_raw": "cells_sensitive_unmasked_total",
}


class Slice(msgspec.Struct, frozen=True, omit_defaults=True):
    """What happened between two moments. Milliseconds are means; None = nothing to go by."""

    start: float
    """Unix seconds."""
    allowed: int = 0
    denied: int = 0
    held: int = 0
    refused: int = 0
    rows: int = 0
    cells_masked: int = 0
    cells_raw: int = 0
    duration_ms: float | None = None
    """Of a statement, from its text to the end of its reply: the database's time included."""
    added_ms: float | None = None
    """From a client's bytes to their forwarding: decided, recorded."""
    analysis_ms: float | None = None
    """Of turning a text into facts, where nothing was known of it."""
    lag_ms: float | None = None
    """The longest that a worker's event loop was late."""


async def dashboard(call: Call) -> Response:
    found = call.services.metering.metrics()
    cut = slices(found.history)
    summary, mistake = None, ""
    if "auditor" in call.person.roles:
        try:
            summary = await call.services.trails.summary(call.services.now() - DAY)
        except Unavailable as error:
            mistake = str(error)
    return draw(
        call,
        "dashboard.html",
        "dashboard",
        slices=cut,
        sums={name: sum(getattr(one, name) for one in cut) for name in _COUNTED},
        totals={name: int(found.now.get(PREFIX + key, 0)) for name, key in _COUNTED.items()},
        added=_added(found.history),
        sessions=int(found.now.get(PREFIX + "sessions", 0)),
        reason=found.reason,
        summary=summary,
        top=_top(summary),
        mistake=mistake,
    )


def slices(history: Sequence[Sample]) -> tuple[Slice, ...]:
    """Of samples, oldest first, about SLICES of them."""
    step = max(1, -(-len(history) // SLICES))
    taken = list(history[::-1][::step][::-1])
    return tuple(_between(one, other) for one, other in pairwise(taken))


def _between(one: Sample, other: Sample) -> Slice:
    grown = {name: int(_growth(one, other, key)) for name, key in _COUNTED.items()}
    lag = other.values.get(PREFIX + "loop_lag_seconds")
    return Slice(
        start=one.time,
        duration_ms=_mean_ms(one, other, "statement_duration_seconds"),
        added_ms=_mean_ms(one, other, "added_latency_seconds"),
        analysis_ms=_mean_ms(one, other, "analysis_duration_seconds"),
        lag_ms=None if lag is None else round(lag * 1000, 3),
        **grown,
    )


def _growth(one: Sample, other: Sample, key: str) -> float:
    """A counter that began anew counts from zero."""
    before, after = one.values.get(PREFIX + key, 0.0), other.values.get(PREFIX + key, 0.0)
    return after - before if after >= before else after


def _mean_ms(one: Sample, other: Sample, family: str) -> float | None:
    count = _growth(one, other, f"{family}_count")
    seconds = _growth(one, other, f"{family}_sum")
    return round(seconds / count * 1000, 3) if count > 0 else None


def _added(history: Sequence[Sample]) -> Mapping[str, float | None]:
    """What statements waited for us over the whole history, in means."""
    if len(history) < 2:
        return {"added_ms": None, "analysis_ms": None, "lag_ms": None, "known": None}
    one, other = history[0], history[-1]
    places = {p: _growth(one, other, f'analyses_total{{place="{p}"}}') for p in _PLACES}
    lags = [v for s in history if (v := s.values.get(PREFIX + "loop_lag_seconds")) is not None]
    texts = sum(places.values())
    return {
        "added_ms": _mean_ms(one, other, "added_latency_seconds"),
        "analysis_ms": _mean_ms(one, other, "analysis_duration_seconds"),
        "lag_ms": max(lags) * 1000 if lags else None,
        "known": places["cache"] / texts if texts else None,
    }


_PLACES = ("cache", "worker", "analyzer")


def _top(summary: Summary | None) -> list[tuple[str, Sums]]:
    found: dict[str, Sums] = {} if summary is None else summary.principals
    return sorted(found.items(), key=lambda item: -item[1].statements)[:TOP]


ROWS = (get("/dashboard", dashboard, ANY_ROLE, 120.0),)
