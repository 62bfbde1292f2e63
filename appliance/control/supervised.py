"""The control process's end of its link to the supervisor, which treats it like a worker.

Used by `main`. Rule: a reload is answered and then ends the process, for it to be started again
with the new documents: there is one way to take documents, and everything that has to survive a
restart survives a kill.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from appliance.link.codec import encode_message
from appliance.link.messages import (
    HEARTBEAT_SECONDS,
    Drain,
    Fatal,
    Heartbeat,
    Ready,
    Reload,
    Reloaded,
    Stop,
    WorkerMessage,
    supervisor_messages,
)
from appliance.telemetry.metrics import Number

RECEIVE_BYTES = 256 * 1024


class Supervised:
    """The socketpair to the supervisor."""

    def __init__(self, link: socket.socket, generation: int) -> None:
        self._link = link
        self._generation = generation
        link.setblocking(False)

    async def say_ready(self) -> None:
        await self._say(Ready(os.getpid(), self._generation, ""))

    async def beat(
        self, audit_writable: Callable[[], bool], figures: Callable[[], dict[str, Number]]
    ) -> None:
        """For ever."""
        while True:
            await self._say(Heartbeat(0, stats=figures(), audit_writable=audit_writable()))
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def obey(self, end: Callable[[str], None]) -> None:
        """Until the supervisor is gone. `end` is called with the reason to end for."""
        messages = supervisor_messages()
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while chunk := await loop.sock_recv(self._link, RECEIVE_BYTES):
                for message in messages.feed(chunk):
                    match message:
                        case Reload(documents=documents):
                            await self._say(Reloaded(documents.generation))
                            end("reloaded")
                        case Drain() | Stop():
                            end("terminated")
        end("terminated")

    def say_failed(self, reason: str) -> None:
        """Last words, when the event loop is gone."""
        with contextlib.suppress(OSError):
            self._link.sendall(encode_message(Fatal(reason)))

    async def _say(self, message: WorkerMessage) -> None:
        with contextlib.suppress(OSError):  # the supervisor is gone: so are we, in a moment
            await asyncio.get_running_loop().sock_sendall(self._link, encode_message(message))
