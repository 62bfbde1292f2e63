"""The supervisor's link to the control process: what the policy files say goes there, which policy
is active comes back, and the control process's figures.

Used by `policy_duty`; the other end is `policy_telling`, the language `link/approvals`. Rules: only
the newest word of control counts; it reconnects for ever; while it is down nothing is proposed, and
whoever would propose hears so.
"""

import asyncio
import contextlib
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from appliance.link.approvals import (
    FRAME_BYTES_MAX,
    SUPERVISOR,
    VERSION,
    Active,
    Applied,
    ControlMessage,
    Greet,
    Propose,
    Proposed,
    Standing,
    Welcome,
    control_messages,
)
from appliance.link.codec import LinkBroken, encode_message
from appliance.link.messages import PolicyDocument
from appliance.telemetry.log import Log
from appliance.telemetry.metrics import Number

RECONNECT_SECONDS = (0.1, 0.1, 0.2, 0.2, 0.5, 1.0)
"""Pauses between tries, the last one from then on."""
GREET_SECONDS_MAX = 5.0
AWAY_SECONDS_MAX = 8.0
"""How long a proposal waits for control to come (back): it starts anew with every reload."""
PROPOSE_SECONDS_MAX = 90.0
"""Longer than test cases may take."""
SILENT_SECONDS_MAX = 20.0
"""Control says something every second."""
RECEIVE_BYTES = 256 * 1024
NO_CONTROL = "the control process is away, so a new policy cannot be stored"

log = Log("supervisor")


class Proposal(Exception):
    """It was not taken. The text is for the administrator."""


class PolicyLink:
    """See the module's docstring."""

    def __init__(self, path: Path, node: str, linked: Callable[[], None]) -> None:
        """`linked` is called at the beginning of every connection."""
        self._path = path
        self._node = node
        self._linked = linked
        self._writer: asyncio.StreamWriter | None = None
        self._up = asyncio.Event()
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Proposed]] = {}
        self.active: Active | None = None
        """The newest word, from whichever connection."""
        self.heard = asyncio.Event()
        """Set with a new `active`."""
        self.standing = 0
        """Serial that the store was found to have a moment ago; 0 = none, or nobody knows."""
        self.figures: Mapping[str, Number] | None = None
        """Of the control process; None while it is away."""

    @property
    def connected(self) -> bool:
        return self._writer is not None

    async def propose(
        self,
        documents: Sequence[PolicyDocument],
        tests: Sequence[PolicyDocument],
        token_keys: Sequence[str],
    ) -> Proposed:
        """Control's answer. Raises Proposal where there is none."""
        try:
            async with asyncio.timeout(AWAY_SECONDS_MAX):
                await self._up.wait()
        except TimeoutError:
            raise Proposal(NO_CONTROL) from None
        number = next(self._numbers)
        answer: asyncio.Future[Proposed] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        try:
            self._say(Propose(number, tuple(documents), tuple(tests), tuple(token_keys)))
            async with asyncio.timeout(PROPOSE_SECONDS_MAX):
                return await answer
        except LinkBroken:
            raise Proposal("policy and test cases are too long together") from None
        except TimeoutError:
            raise Proposal("the control process does not answer") from None
        finally:
            self._answers.pop(number, None)

    def applied(self, serial: int, error: str = "") -> None:
        """Tells what became of an Active; nobody hears it while control is away, and then it asks
        again."""
        self._say(Applied(serial, error))

    def _say(self, message: Propose | Applied) -> None:
        """Raises LinkBroken for what is longer than a frame may be."""
        framed = encode_message(message, FRAME_BYTES_MAX)
        if self._writer is not None:
            self._writer.write(framed)

    async def run(self) -> None:
        """For ever."""
        tries = 0
        while True:
            try:
                await self._connected()
            except (OSError, LinkBroken, TimeoutError) as error:
                if self.figures is not None:
                    log.warning("control_away", reason=type(error).__name__)
                    tries = 0
            finally:
                self._lose()
            await asyncio.sleep(RECONNECT_SECONDS[min(tries, len(RECONNECT_SECONDS) - 1)])
            tries += 1

    def _lose(self) -> None:
        self._up.clear()
        self._writer, self.figures, self.standing = None, None, 0
        for answer in self._answers.values():
            if not answer.done():
                answer.set_result(Proposed(0, error=NO_CONTROL))

    async def _connected(self) -> None:
        """From a connection to its end. Raises what ends it."""
        reader, writer = await asyncio.open_unix_connection(str(self._path))
        try:
            messages = control_messages()
            writer.write(encode_message(Greet(VERSION, self._node, SUPERVISOR, os.getpid())))
            async with asyncio.timeout(GREET_SECONDS_MAX):
                first, *arrived = await _some(reader, messages.feed)
            if not isinstance(first, Welcome) or first.version != VERSION:
                raise LinkBroken("another version")
            self._writer = writer
            self._up.set()
            self._linked()
            while True:
                for message in arrived:
                    self._take(message)
                async with asyncio.timeout(SILENT_SECONDS_MAX):
                    arrived = await _some(reader, messages.feed)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _take(self, message: ControlMessage) -> None:
        match message:
            case Active():
                self.active = message
                self.heard.set()
            case Proposed(number=number):
                answer = self._answers.get(number)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case Standing():
                self.standing, self.figures = message.serial, message.figures
            case _:
                raise LinkBroken("that is not for a supervisor")


async def _some(
    reader: asyncio.StreamReader, feed: Callable[[bytes], list[ControlMessage]]
) -> list[ControlMessage]:
    """At least one message. Raises LinkBroken at the end of the stream."""
    while chunk := await reader.read(RECEIVE_BYTES):
        if found := feed(chunk):
            return found
    raise LinkBroken("closed")
