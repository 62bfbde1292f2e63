"""Cancel keys: ours, compared whole, told to the other workers."""

import asyncio
from pathlib import Path

from appliance.dataplane.cancels import Cancels


class Session:
    """Counts how often it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        """As a session does that has nothing to deliver."""
        self.cancelled += 1


def test_length_by_protocol(tmp_path: Path) -> None:
    cancels, session = Cancels(tmp_path, 0, 1), Session()
    assert len(cancels.mint(1, 0, session.cancel)) == 4
    assert len(cancels.mint(1, 2, session.cancel)) == 32


async def test_only_the_whole_key(tmp_path: Path) -> None:
    cancels, session, other = Cancels(tmp_path, 0, 1), Session(), Session()
    secret = cancels.mint(7, 2, session.cancel)
    cancels.mint(7, 2, other.cancel)  # pids may be equal on two databases
    for pid, wrong in ((8, secret), (7, secret[:4]), (7, secret + b"\0"), (7, b"")):
        await cancels.request(pid, wrong)
    assert session.cancelled == 0 and cancels.routed == 0
    await cancels.request(7, secret)
    assert (session.cancelled, other.cancelled, cancels.routed) == (1, 0, 1)


async def test_forgotten_with_its_session(tmp_path: Path) -> None:
    cancels, session, other = Cancels(tmp_path, 0, 1), Session(), Session()
    secret, kept = cancels.mint(7, 2, session.cancel), cancels.mint(7, 2, other.cancel)
    cancels.forget(7, secret)
    await cancels.request(7, secret)
    await cancels.request(7, kept)
    assert (session.cancelled, other.cancelled) == (0, 1)


async def test_across_workers(tmp_path: Path) -> None:
    workers = [Cancels(tmp_path, number, 3) for number in range(3)]
    for worker in workers:
        worker.open()
    try:
        session = Session()
        secret = workers[2].mint(7, 0, session.cancel)
        await workers[0].request(7, secret)
        assert (session.cancelled, workers[2].routed) == (1, 1)
        begun = asyncio.get_running_loop().time()
        await workers[0].request(7, b"none")
        assert session.cancelled == 1
        assert asyncio.get_running_loop().time() - begun < 2, "unknown keys wait for nothing"
    finally:
        for worker in workers:
            worker.close()


async def test_clients_that_wait_are_counted_where_the_session_is(tmp_path: Path) -> None:
    workers = [Cancels(tmp_path, number, 2) for number in range(2)]
    for worker in workers:
        worker.open()
    over: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def delivered() -> bool:
        return await over

    delivery = asyncio.create_task(delivered())
    try:
        secret = workers[1].mint(7, 0, lambda: delivery)
        asked = [asyncio.create_task(worker.request(7, secret)) for worker in workers]
        await asyncio.sleep(0.05)
        assert [dict(worker.passing) for worker in workers] == [{}, {(7, secret): 2}]
        over.set_result(True)
        assert await asyncio.gather(*asked) == [True, True]
        await asyncio.sleep(0)
        assert not workers[1].passing
    finally:
        for worker in workers:
            worker.close()


async def test_another_worker_is_away(tmp_path: Path) -> None:
    cancels = Cancels(tmp_path, 0, 2)
    cancels.open()
    try:
        await cancels.request(7, b"nobody")
    finally:
        cancels.close()
    assert list(tmp_path.glob("*.sock")) == []  # noqa: ASYNC240


async def test_nonsense_on_the_socket(tmp_path: Path) -> None:
    one, other = Cancels(tmp_path, 0, 2), Cancels(tmp_path, 1, 2)
    one.open()
    other.open()
    try:
        assert other._socket is not None
        for nonsense in (b"", b"\xff" * 900, b"\x80"):
            other._socket.sendto(nonsense, one._path(0))
        await asyncio.sleep(0.05)
        assert one.routed == 0
        session = Session()
        await other.request(7, one.mint(7, 0, session.cancel))
        assert session.cancelled == 1, "it hears no more"
    finally:
        one.close()
        other.close()
