"""What a text of an exchange session rests on, as far as the session has to know.

Made by the dialect (`Dialect.footing`), asked by the parts of `exchange`.
"""

from collections.abc import Hashable
from typing import Protocol

from appliance.session import flow


class Rests(Protocol):
    """What is needed of a dialect's footing."""

    @property
    def first(self) -> bool:
        """It has to be asked about before the statement is sent."""

    @property
    def steady(self) -> frozenset[Hashable] | None:
        """What stays as it is for the rest of a transaction that has opened it; None: more than
        that is rested on."""


def rests_of(verdict: flow.Verdict) -> Rests | None:
    found: Rests | None = verdict.footing  # type: ignore[assignment]
    return found
