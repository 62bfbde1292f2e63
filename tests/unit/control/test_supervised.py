"""The control process as the supervisor's child: started, restarted, reloaded, ended, listed."""

import asyncio
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from appliance.approval.request import Asked, State
from appliance.audit.encode import decode_record
from appliance.audit.record import ControlStopped
from appliance.link.approvals import VERSION, Ask, Greet, Known, Welcome
from tests.controlled import Linked
from tests.desk import asked
from tests.unit.control.test_supervisor import Service, until

Result = TypeVar("Result")

SECTION = """
control: {{listen: "127.0.0.1:0", node: node-1, socket: {folder}/c.sock}}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="sp-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    made = Service(folder, workers=1)
    made.write(SECTION.format(folder=folder))
    with made.start() as started:
        yield started


def pid_of(service: Service) -> int:
    """The newest control process's."""
    started = [found for found in service.logged("worker_started") if found["worker"] == 999]
    return int(str(started[-1]["child"]))


def is_ready(service: Service) -> bool:
    return bool(json.loads(service.get("/readyz")[1])["control"])


def linked(folder: Path, talk: Callable[[Linked], Awaitable[Result]]) -> Result:
    """What a worker hears who has one conversation."""

    async def conversation() -> Result:
        link = Linked(*await asyncio.open_unix_connection(str(folder / "c.sock")))
        link.say(Greet(VERSION, "node-1", 0, os.getpid()))
        try:
            await link.hear(Welcome)
            return await talk(link)
        finally:
            await link.leave()

    return asyncio.run(conversation())


def state_of(folder: Path, one: Asked) -> State:
    async def talk(link: Linked) -> State:
        link.say(Ask(one))
        return (await link.hear(Known)).state

    return linked(folder, talk)


def test_killed_it_comes_back_and_the_workers_stay(service: Service, folder: Path) -> None:
    one = asked(time=time.time())
    until(lambda: is_ready(service))
    assert state_of(folder, one) is State.PENDING
    before, workers = pid_of(service), service.worker_pids()
    os.kill(before, signal.SIGKILL)
    until(lambda: pid_of(service) != before and is_ready(service), 20)
    assert state_of(folder, one) is State.PENDING
    assert service.worker_pids() == workers
    assert service.get("/readyz")[0] == 200
    service.signal(signal.SIGTERM)
    assert service.ended() == 0


def test_a_reload_starts_it_anew_where_it_was(service: Service, folder: Path) -> None:
    until(lambda: is_ready(service))
    before = pid_of(service)
    service.write(SECTION.format(folder=folder) + "log_level: debug\n")
    service.signal(signal.SIGHUP)
    until(lambda: service.metric("sallyport_configuration_generation") == 2)
    until(lambda: pid_of(service) != before and is_ready(service), 20)
    urls = {str(found["url"]) for found in service.logged("control_ready")}
    assert len(urls) == 1  # the same port
    service.write(SECTION.format(folder=folder).replace("node-1", "node-2"))
    service.signal(signal.SIGHUP)
    until(lambda: service.logged("reload_refused"))
    assert "control" in str(service.logged("reload_refused")[0]["reason"])


def test_it_ends_well_after_the_workers(service: Service, folder: Path) -> None:
    until(lambda: is_ready(service))
    service.signal(signal.SIGTERM)
    assert service.ended() == 0
    lines = b"".join(
        path.read_bytes() for path in sorted((folder / "d" / "audit" / "w999").glob("*.ndjson"))
    ).splitlines(keepends=True)
    records = [decode_record(line) for line in lines]
    assert [record.reason for record in records if isinstance(record, ControlStopped)] == [
        "terminated"
    ]
    ended = [found["worker"] for found in service.logged("worker_ended")]
    assert ended == [0, 999]


def test_one_that_cannot_start_is_no_reason_to_end_the_service(folder: Path) -> None:
    made = Service(folder, workers=1)
    made.write(SECTION.format(folder=folder))
    (folder / "c.sock").write_text("in the way")
    with made.start() as service:
        assert not is_ready(service)
        assert service.get("/readyz")[0] == 200
        (folder / "c.sock").unlink()
        until(lambda: is_ready(service), 20)
        service.signal(signal.SIGTERM)
        assert service.ended() == 0
