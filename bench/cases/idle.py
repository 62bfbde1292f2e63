"""What a connection costs that is logged in and does nothing."""

import contextlib
import time
from dataclasses import dataclass

from bench.proc import private_bytes
from bench.stage import Stage, Target
from tests.wireclient import WireClient

SETTLED_SECONDS = 0.5
"""Behind a login a proxy opens or cleans connections to the database, of which nobody is told."""


@dataclass(frozen=True)
class Idle:
    """`idle_bytes`: private memory of the proxy's processes, per connection."""

    name: str
    connections: int
    kind: str

    def wants(self, target: Target) -> bool:
        return target.kind == self.kind and target.again is not None

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]:
        """Of one that has just started: later, connections use what others left."""
        del seconds
        assert target.again is not None
        with target.again() as fresh, contextlib.ExitStack() as open_ones:
            uri = stage.uri(fresh)
            WireClient.login(uri).socket.close()  # what only the first one costs
            time.sleep(SETTLED_SECONDS)
            before = private_bytes(fresh.pids())
            for _ in range(self.connections):
                client = WireClient.login(uri)
                open_ones.callback(client.socket.close)
            time.sleep(SETTLED_SECONDS)
            grown = private_bytes(fresh.pids()) - before
        return {"idle_bytes": max(1.0, grown / self.connections)}
