"""What a connection costs that is logged in and does nothing."""

import contextlib
import time
from dataclasses import dataclass

from bench.proc import private_bytes
from bench.stage import Stage, Target
from tests.wireclient import WireClient


@dataclass(frozen=True)
class Idle:
    """`idle_bytes`: private memory of the proxy's processes, per connection."""

    connections: int
    name: str = "idle"

    def wants(self, target: Target) -> bool:
        return target.kind == "queries" and bool(target.roots)

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]:
        del seconds
        WireClient.login(stage.uri(target)).socket.close()  # what only the first one costs
        before = private_bytes(target.pids())
        with contextlib.ExitStack() as open_ones:
            for _ in range(self.connections):
                client = WireClient.login(stage.uri(target))
                open_ones.callback(client.socket.close)
            time.sleep(0.5)
            grown = private_bytes(target.pids()) - before
        time.sleep(0.5)  # let the server see them go
        return {"idle_bytes": max(1.0, grown / self.connections)}
