"""Results of a million rows and six columns, one of which may be masked; one client, or many."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, median
from typing import Protocol

from bench.proc import cpu_seconds
from bench.stage import BULK_ROWS, Stage, Target
from bench.wire import BulkClient

COLUMNS = {
    "masked": "id, name, email, city, amount, day",
    "plain": "id, name, mail, city, amount, day",
}

ROW_BYTES_MIN = 40


class Client(Protocol):
    """One connection; `text` is run to its end. -> bytes received. Raises RuntimeError."""

    def simple(self, text: str) -> int: ...
    def binary(self, text: str) -> int: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Bulk:
    """`form`: text, binary or copy. `canned`: from a backend that costs next to nothing."""

    form: str
    columns: str
    connect: Callable[[str], Client]
    canned: bool = False

    @property
    def name(self) -> str:
        return f"{'canned' if self.canned else 'bulk'}-{self.form}-{self.columns}"

    def wants(self, target: Target) -> bool:
        return target.kind == ("canned" if self.canned else "queries")

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]:
        """One result after another until `seconds` are over, each of a session of its own: medians
        (CPU: of all together). A session's first statement is not measured: a database that nobody
        used for a minute has its catalog loaded for it."""
        until, measured = time.monotonic() + seconds, list[dict[str, float]]()
        while not measured or time.monotonic() < until:
            measured.append(self._one(stage, target))
        found = {name: median(one[name] for one in measured) for name in measured[0]}
        if "cpu_us" in found:
            found["cpu_us"] = fmean(one["cpu_us"] for one in measured)
        return found

    def _one(self, stage: Stage, target: Target) -> dict[str, float]:
        limit = f" LIMIT {BULK_ROWS} /*canned*/" if self.canned else ""
        columns = COLUMNS[self.columns]
        text = f"SELECT {columns} FROM bulk{limit}"
        client = self.connect(stage.uri(target))
        try:
            client.simple(f"SELECT {columns} FROM bulk LIMIT 1")
            before, began = cpu_seconds(target.pids()), time.monotonic()
            if self.form == "copy":
                received = client.simple(f"COPY ({text}) TO STDOUT")
            else:
                received = client.binary(text) if self.form == "binary" else client.simple(text)
            passed = time.monotonic() - began
            _require_whole(received, f"{self.name} on {target.name}")
            found = {"rows_s": BULK_ROWS / passed, "mib_s": received / passed / 2**20}
            if target.roots:
                found["cpu_us"] = (cpu_seconds(target.pids()) - before) / BULK_ROWS * 1e6
            return found
        finally:
            client.close()


def _require_whole(received: int, what: str) -> None:
    """Raises RuntimeError."""
    if received < BULK_ROWS * ROW_BYTES_MIN:
        raise RuntimeError(f"{what}: a result was not whole")


@dataclass(frozen=True)
class Many:
    """So many clients at once, each with a masked result from the backend that costs next to
    nothing: what one worker carries, and what two.
    """

    clients: int
    name: str = "canned-many"

    def wants(self, target: Target) -> bool:
        return target.kind == "many" or target.name == "governed-canned"

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]:
        """Raises RuntimeError when a result was not whole."""
        del seconds
        text = f"SELECT {COLUMNS['masked']} FROM bulk LIMIT {BULK_ROWS} /*canned*/"
        clients = [BulkClient(stage.uri(target), discards=True) for _ in range(self.clients)]
        for each in clients:
            each.simple(f"SELECT {COLUMNS['masked']} FROM bulk LIMIT 1")  # as in `Bulk`
        done: list[int] = []
        threads = [
            threading.Thread(target=lambda each=each: done.append(each.simple(text)))
            for each in clients
        ]
        before, began = cpu_seconds(target.pids()), time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        passed = time.monotonic() - began
        for each in clients:
            each.close()
        if len(done) != self.clients:
            raise RuntimeError(f"{self.name} on {target.name}: a result was not whole")
        _require_whole(min(done), f"{self.name} on {target.name}")
        rows = BULK_ROWS * self.clients
        spent = cpu_seconds(target.pids()) - before
        return {"rows_s": rows / passed, "cpu_us": spent / rows * 1e6}
