"""Eight clients ping while a ninth sends 24 KB texts that nobody has seen before."""

import random
import threading
from dataclasses import dataclass

from bench.cases.load import Pgbench
from bench.stage import Stage, Target
from tests.wireclient import WireClient

TEXT_BYTES = 24 * 1024


@dataclass(frozen=True)
class Misses:
    name: str = "misses"

    def wants(self, target: Target) -> bool:
        return target.kind == "queries"

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]:
        sender = _Sender(stage.uri(target))
        ping = Pgbench(self.name, "simple", 8, "SELECT 1;\n")
        with sender:
            found = ping.run(stage, target, max(2, seconds))
        return found | {"misses": sender.sent}


class _Sender(threading.Thread):
    """Sends such texts one after the other, until the block ends."""

    def __init__(self, uri: str) -> None:
        super().__init__(daemon=True)
        self._client = WireClient.login(uri)
        self._over = threading.Event()
        self._error: BaseException | None = None
        self.sent = 0

    def run(self) -> None:
        try:
            while not self._over.is_set():
                kinds = {one.kind for one in self._client.query(_unseen())}
                if "E" in kinds or "Z" not in kinds:
                    raise RuntimeError("a long text failed")
                self.sent += 1
        except BaseException as error:
            self._error = error

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self._client.socket.close()
        if self._error is not None:
            raise self._error


def _unseen() -> str:
    wanted: list[str] = []
    length = 0
    while length < TEXT_BYTES:
        wanted.append(str(random.randrange(10**9)))
        length += len(wanted[-1]) + 1
    return f"SELECT bid FROM pgbench_accounts WHERE aid = 1 AND bid IN ({','.join(wanted)})"
