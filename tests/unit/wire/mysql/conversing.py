"""Both ends of a login, without a socket: what one says is what the other reads."""

from collections.abc import Callable, Generator
from typing import Any

from appliance.wire.conversation import Compute, Receive, Secure, Send


class End:
    """One conversation, stepped as far as what has arrived lets it. `answers` answers the steps
    that are not about bytes."""

    def __init__(
        self, steps: Generator[Any, Any, Any], answers: Callable[[Any], Any] = lambda step: None
    ) -> None:
        self._steps = steps
        self._answers = answers
        self._inbox = bytearray()
        self.said = bytearray()
        """What it has to say to the other end."""
        self.secured = False
        self.ended = False
        self.result: Any = None
        self._step: Any = None
        self._advance(None)

    def hear(self, octets: bytes) -> None:
        self._inbox += octets
        while isinstance(self._step, Receive) and len(self._inbox) >= self._step.count:
            taken = bytes(self._inbox[: self._step.count])
            del self._inbox[: self._step.count]
            self._advance(taken)

    def _advance(self, answer: Any) -> None:
        while True:
            try:
                step = self._step = self._steps.send(answer)
            except StopIteration as end:
                self.ended, self.result, self._step = True, end.value, None
                return
            answer = None
            if isinstance(step, Receive | Secure):
                return
            if isinstance(step, Send):
                self.said += step.octets
            elif isinstance(step, Compute):
                answer = step.work()
            else:
                answer = self._answers(step)

    @property
    def waits_for_tls(self) -> bool:
        return isinstance(self._step, Secure)

    def secure(self) -> None:
        assert not self._inbox, "bytes before TLS"
        self.secured = True
        self._advance(None)

    def speak(self) -> bytes:
        said = bytes(self.said)
        self.said.clear()
        return said


def talk(one: End, other: End, piece: int = 0) -> None:
    """Until neither has anything to say; `piece` bytes at a time, 0 = all at once."""
    while True:
        said, heard = one.speak(), other.speak()
        if not said and not heard:
            if not (one.waits_for_tls and other.waits_for_tls):
                return
            one.secure()
            other.secure()
        for octets, end in ((said, other), (heard, one)):
            size = piece or max(len(octets), 1)
            for at in range(0, len(octets), size):
                end.hear(octets[at : at + size])


def packets(octets: bytes) -> list[tuple[int, bytes]]:
    """(sequence id, payload) of each."""
    found = []
    while octets:
        length = int.from_bytes(octets[:3], "little")
        found.append((octets[3], octets[4 : 4 + length]))
        octets = octets[4 + length :]
    return found
