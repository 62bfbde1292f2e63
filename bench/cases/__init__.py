"""What is measured, one module per kind of load."""

from typing import Protocol

from bench.stage import Stage, Target


class Case(Protocol):
    """One kind of load. `run` gives the measures of one run, or raises."""

    @property
    def name(self) -> str: ...

    def wants(self, target: Target) -> bool:
        """Whether it is run against this target."""

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]: ...
