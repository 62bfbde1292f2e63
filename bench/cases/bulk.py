"""One client, one result of a million rows and six columns, one of which may be masked."""

import time
from dataclasses import dataclass

from bench.proc import cpu_seconds
from bench.stage import BULK_ROWS, Stage, Target
from bench.wire import BulkClient

COLUMNS = {
    "masked": "id, name, email, city, amount, day",
    "plain": "id, name, mail, city, amount, day",
}


@dataclass(frozen=True)
class Bulk:
    """`form`: text, binary or copy. `canned`: from a backend that costs next to nothing."""

    form: str
    columns: str
    canned: bool = False

    @property
    def name(self) -> str:
        return f"{'canned' if self.canned else 'bulk'}-{self.form}-{self.columns}"

    def wants(self, target: Target) -> bool:
        return target.kind == ("canned" if self.canned else "queries")

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]:
        """`seconds` is not asked: a result is as long as it is."""
        del seconds
        limit = f" LIMIT {BULK_ROWS} /*canned*/" if self.canned else ""
        text = f"SELECT {COLUMNS[self.columns]} FROM bulk{limit}"
        client = BulkClient(stage.uri(target))
        try:
            before, began = cpu_seconds(target.pids()), time.monotonic()
            if self.form == "copy":
                received = client.simple(f"COPY ({text}) TO STDOUT")
            else:
                received = client.binary(text) if self.form == "binary" else client.simple(text)
            passed = time.monotonic() - began
            found = {"rows_s": BULK_ROWS / passed, "mib_s": received / passed / 2**20}
            if target.roots:
                found["cpu_us"] = (cpu_seconds(target.pids()) - before) / BULK_ROWS * 1e6
            return found
        finally:
            client.close()
