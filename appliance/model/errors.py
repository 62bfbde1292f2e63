"""The three exception families. The conductor catches them once and closes both sides; client text
never comes from `str(exc)`.
"""

from appliance.model.refusal import Refusal


class ProtocolViolation(Exception):
    """A peer broke its protocol. `side` is 'client' or 'upstream'."""

    def __init__(self, side: str, reason: str) -> None:
        super().__init__(f"{side}: {reason}")
        self.side = side
        self.reason = reason


class Refused(Exception):
    """Something cannot be let through; carries what the client is told."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code.value)
        self.refusal = refusal


class InvariantBroken(Exception):
    """One of DESIGN's invariants would be broken by going on: a bug of ours, never the client's
    fault.
    """
