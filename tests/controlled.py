"""A control process of its own, and workers that are not there: for tests that kill it.

`Controlled` runs `python -m appliance.control.main --config` (no API, no console); `Linked` speaks
the workers' language to it.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypeVar

from appliance.audit import checkpoint
from appliance.audit.verify import Report, verify_trail
from appliance.link.approvals import (
    FRAME_BYTES_MAX,
    VERSION,
    Greet,
    Welcome,
    control_messages,
)
from appliance.link.codec import encode_message
from appliance.spool.trail_folder import FolderTrail

Kind = TypeVar("Kind")
SECONDS_MAX = 30.0

CONFIGURATION = """
data: {folder}/data
listeners:
  - {{name: main, address: "127.0.0.1:0", target: shop, tls: {{mode: disable}}}}
targets:
  - {{name: shop, host: localhost, roles: [{{principals: ['*'], user: app}}]}}
control:
  run: separate
  listen: 127.0.0.1:0
  node: node-1
  socket: {folder}/control.sock
"""


class Linked:
    """A worker's end of a link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._messages = control_messages()
        self._arrived: list[Any] = []

    def say(self, *messages: object) -> None:
        """Whatever is not taken any more is lost."""
        if not self.writer.is_closing():
            framed = b"".join(encode_message(m, FRAME_BYTES_MAX) for m in messages)
            self.writer.write(framed)

    async def next(self) -> Any:
        """Any message; None at the link's end."""
        while not self._arrived:
            async with asyncio.timeout(SECONDS_MAX):
                try:
                    chunk = await self.reader.read(65_536)
                except ConnectionError:
                    return None
            if not chunk:
                return None
            self._arrived += self._messages.feed(chunk)
        return self._arrived.pop(0)

    async def hear(self, kind: type[Kind]) -> Kind:
        message = await self.next()
        assert isinstance(message, kind), message
        return message

    async def leave(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class Controlled:
    """The process, and what it is started with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.configuration = folder / "sallyport.yaml"
        self.configuration.write_text(CONFIGURATION.format(folder=folder))
        self.socket = folder / "control.sock"
        self.store = folder / "data" / "control.sqlite"
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "appliance.control.main"),
            *("--config", str(self.configuration)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._child.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            assert (await self._child.stdout.readline()).startswith(b"ready control ")

    async def kill(self) -> None:
        assert self._child is not None
        self._child.kill()
        await self._child.wait()

    async def end(self) -> int:
        """By SIGTERM; the exit status."""
        assert self._child is not None
        self._child.terminate()
        async with asyncio.timeout(SECONDS_MAX):
            return await self._child.wait()

    @contextlib.asynccontextmanager
    async def linked(self, worker: int = 0) -> AsyncIterator[Linked]:
        link = Linked(*await asyncio.open_unix_connection(str(self.socket)))
        link.say(Greet(VERSION, "node-1", worker, os.getpid()))
        try:
            assert (await link.hear(Welcome)).version == VERSION
            yield link
        finally:
            await link.leave()

    def proof(self) -> Report:
        """Of its audit trail."""
        data = self.folder / "data"
        keys = checkpoint.public_keys((data / "keys" / "audit-ed25519.pub").read_bytes())
        return verify_trail(FolderTrail(data / "audit"), keys)


@contextlib.asynccontextmanager
async def controlled(folder: Path) -> AsyncIterator[Controlled]:
    """Not started yet; killed at the end if it runs still."""
    process = Controlled(folder)
    try:
        yield process
    finally:
        if process._child is not None and process._child.returncode is None:
            await process.kill()
