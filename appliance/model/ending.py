"""A client's wish to end another session of its own, or what that runs."""

from typing import NamedTuple


class Ending(NamedTuple):
    number: int
    """By which clients know the session."""
    statement_only: bool
