"""What a worker's totals were at times, for averages over a period that is over.

Made by `services`, told the time by `worker`, asked by `shows`. Rule: as pgbouncer's averages (its
manual, "SHOW STATS"): over the last whole period, or since the start until there is one.
"""

from collections.abc import Callable
from typing import NamedTuple

from appliance.telemetry.metrics import Metrics

PERIOD_SECONDS = 60.0
"""pgbouncer's `stats_period`."""


class Totals(NamedTuple):
    queries: int = 0
    """Those allowed."""
    received: int = 0
    sent: int = 0
    finished: int = 0
    """Queries that `query_micros` is the time of."""
    query_micros: int = 0
    wait_micros: int = 0


class Averages(NamedTuple):
    queries: int
    """As all here but for `query_micros`: per second."""
    received: int
    sent: int
    query_micros: int
    """Per query."""
    wait_micros: int


def totals(metrics: Metrics, waited: float) -> Totals:
    """`waited`: seconds that clients waited for connections."""
    took = metrics.statement_seconds
    return Totals(
        queries=metrics.statements_allowed,
        received=metrics.bytes_to_upstream,
        sent=metrics.bytes_to_client,
        finished=sum(took.counts),
        query_micros=round(took.seconds * 1e6),
        wait_micros=round(waited * 1e6),
    )


class Periods:
    """Times are monotonic seconds."""

    def __init__(self, totals: Callable[[], Totals], now: float) -> None:
        self.totals = totals
        self._before: tuple[float, Totals] | None = None
        """Where the last whole period began."""
        self._begun = now, Totals()
        """Where the one that runs did."""

    def tick(self, now: float) -> None:
        if now - self._begun[0] >= PERIOD_SECONDS:
            self._before, self._begun = self._begun, (now, self.totals())

    def averages(self, now: float) -> Averages:
        (since, old), (until, new) = self._begun, (now, self.totals())
        if self._before is not None:
            (since, old), (until, new) = self._before, self._begun
        seconds = until - since
        grown = Totals(*(more - less for more, less in zip(new, old, strict=True)))

        def per_second(count: int) -> int:
            return int(count / seconds) if seconds > 0 else 0

        return Averages(
            queries=per_second(grown.queries),
            received=per_second(grown.received),
            sent=per_second(grown.sent),
            query_micros=grown.query_micros // grown.finished if grown.finished else 0,
            wait_micros=per_second(grown.wait_micros),
        )
