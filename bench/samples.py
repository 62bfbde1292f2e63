"""What one run of one case against one target gave. Pure data; everything in bench/ speaks it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """`measures` by name, e.g. tps, p50_us, p99_us, cpu_us (of the proxy, per query), rows_s."""

    case: str
    target: str
    round: int
    measures: dict[str, float]
