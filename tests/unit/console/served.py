"""The staged console on a real port, in a thread of its own, for clients that block."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from appliance.config.values import Address
from appliance.console.web import Web
from tests.unit.console.stage import Stage, open_stage

Result = TypeVar("Result")


class Served:
    """`url`, and the stage, to be touched through `run` only."""

    def __init__(self, url: str, stage: Stage, loop: asyncio.AbstractEventLoop) -> None:
        self.url = url
        self.stage = stage
        self._loop = loop

    def run(self, job: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(job, self._loop).result(20)


@contextlib.contextmanager
def served(folder: Path, **terms: Any) -> Iterator[Served]:
    begun: list[Served] = []
    failed: list[BaseException] = []
    ready, ending = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with open_stage(folder, url="http://127.0.0.1:1") as stage:
            listening = socket.create_server(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            standing = stage.standing[-1]
            control = msgspec.structs.replace(
                standing.control, url=url, listen=Address(url.removeprefix("http://")), **terms
            )
            stage.standing.append(standing._replace(control=control))
            async with Web(stage.app, control, [listening]):
                begun.append(Served(url, stage, asyncio.get_running_loop()))
                ready.set()
                await ending.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:  # told by the other thread
            failed.append(error)
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(20) and not failed, failed
        yield begun[0]
    finally:
        if begun:
            begun[0]._loop.call_soon_threadsafe(ending.set)
        thread.join(20)
    assert not failed, failed
