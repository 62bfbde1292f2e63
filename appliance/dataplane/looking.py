"""A question that is asked again and again, whose answer is nearly always the same.

Made by `schema_lease`. It is asked, and its answer compared, as bytes and by callbacks of the event
loop alone: 20 times a second a task, its timeout and a parsed answer are seen in a worker's CPU.
Rules: nothing but the very answer that is expected counts; one that is owed is not waited for when
something else is to be done, but its connection is ended, so that nothing takes it for its own.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from _speedups.leases import since_boot
from appliance.dataplane.transport import Side

ANSWER_BYTES_MAX = 4096


class Repeated(NamedTuple):
    """`question`: its message; `is_whole`, `is_expected`: of the bytes of an answer."""

    question: bytes
    is_whole: Callable[[bytes], bool]
    is_expected: Callable[[bytes], bool]


class Looking:
    """One connection's, from `go_on` until that returns."""

    def __init__(
        self,
        side: Side,
        repeated: Repeated,
        seconds: float,
        seconds_max: float,
        seen: Callable[[float], bool],
    ) -> None:
        """Every `seconds`; `seen(asked)`: the expected was answered to what was asked then (by
        `since_boot`). -> whether to go on."""
        self._side, self._repeated, self._seen = side, repeated, seen
        self._seconds, self._seconds_max = seconds, seconds_max
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None
        self._asked = 0.0
        """When what is not answered yet was; 0 = all is."""
        self._answer = b""

    async def go_on(self) -> None:
        """Returns when something else is answered, at `end`, and when `seen` has enough. Raises
        TimeoutError where nothing is answered for `seconds_max`."""
        self._side.attach(self._heard, self._changed, ANSWER_BYTES_MAX)
        self._side.read(True)
        self._later()
        try:
            await self._over
        finally:
            if self._timer is not None:
                self._timer.cancel()
            self._side.detach()
            if self._asked:
                self._side.abort()

    def end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    def _later(self) -> None:
        self._timer = self._loop.call_later(self._seconds, self._ask)

    def _ask(self) -> None:
        if self._over.done():
            return
        self._later()
        if not self._asked:
            self._answer, self._asked = b"", since_boot()
            self._side.write(self._repeated.question)
        elif since_boot() > self._asked + self._seconds_max:
            self._over.set_exception(TimeoutError())

    def _heard(self, chunk: memoryview) -> None:
        self._answer += chunk
        if not self._repeated.is_whole(self._answer):
            if len(self._answer) > ANSWER_BYTES_MAX:
                self.end()
            return
        asked, self._asked = self._asked, 0.0
        expected = asked and self._repeated.is_expected(self._answer)
        if not (expected and self._seen(asked)):
            self.end()

    def _changed(self) -> None:
        if self._side.ended:
            self.end()
