"""What `dispatch` asks of a sink: one way that notices go out.

Implemented by `webhook`, `slack` and `mail`. Rules: a delivery ends by itself or by cancellation,
and leaves nothing running; errors carry no secret and nothing that the other end said.
"""

from typing import Protocol

from appliance.control.notify.notice import Notice


class NotDelivered(Exception):
    """Perhaps later. `str()` is for logs. `after`: seconds that the receiver asked to wait."""

    def __init__(self, cause: str, after: float | None = None) -> None:
        super().__init__(cause)
        self.after = after


class Undeliverable(Exception):
    """Trying again would change nothing."""


class Sink(Protocol):
    @property
    def name(self) -> str:
        """Unique, and the same after a restart: what is undelivered is kept under it."""
        ...

    @property
    def for_people(self) -> bool:
        """Whether what asks for a decision is left out once there is nothing left to decide."""
        ...

    async def deliver(self, notice: Notice, reference: str) -> str:
        """Raises NotDelivered or Undeliverable. `reference`: what the last delivery about the same
        subject returned, '' = this is the first; '' returned = as before."""
        ...

    async def close(self) -> None: ...
