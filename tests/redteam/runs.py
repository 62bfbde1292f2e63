"""Runs of the corpus's runner against stages, and their reports put together.

Used by the command line and by tests/corpus. A run over several stages (one job each) gives each a
share of the items; the parts' reports are added up. Rule: what is reported is what the runner said.
"""

import contextlib
import json
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.redteam import corpus, policies
from tests.redteam.stage import Stage, Wanted, stage

RUN_SECONDS_MAX = 3600
Report = dict[str, Any]


@dataclass(frozen=True)
class Pass:
    """One corpus, sent by one kind of principal."""

    kind: str
    corpus: Path
    plain: bool = False
    """As the user who owes no mask."""
    modes: str = ""
    """Client modes, comma-separated; '' = each item's own."""
    only: Collection[str] = ()
    direct: bool = False
    """Straight to PostgreSQL: does the attack leak at all, is the comparison fair."""
    hold_seconds: float | None = None

    @property
    def name(self) -> str:
        who = " (owes nothing)" if self.plain else " (owes masks)" if self.kind == "benign" else ""
        return f"{self.kind}{who}"


@dataclass(frozen=True)
class Outcome:
    """What came of a pass."""

    report: Report
    details: Report
    """Per item, as the runner writes them; empty for benign."""
    skipped: Mapping[str, str]
    """Id -> what the server lacks."""
    status: int
    """The runner's exit status: 0 when nothing leaked, differed or was missed."""


class RunnerFailed(RuntimeError):
    """The runner itself went wrong; the text holds the end of what it said."""


@contextlib.contextmanager
def stages(wanted: Wanted, jobs: int) -> Iterator[list[Stage]]:
    """As many alike as there are jobs."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(stage(wanted)) for _ in range(jobs)]


def run(todo: Pass, on: Sequence[Stage]) -> Outcome:
    """`todo` over these stages at the same time. Raises RunnerFailed."""
    items = corpus.selected(corpus.read(todo.corpus), todo.only)
    able, skipped = corpus.split(items, on[0].means)
    started = [
        _start(todo, place, corpus.share(able, number, len(on))) for number, place in enumerate(on)
    ]
    try:
        outcomes = [_finished(*one) for one in started]
    finally:
        for process, _ in started:
            process.kill()
            process.wait()
    return Outcome(
        merged([report for report, _, _ in outcomes]),
        merged([details for _, details, _ in outcomes]),
        skipped,
        max(status for _, _, status in outcomes),
    )


def _start(
    todo: Pass, place: Stage, items: list[corpus.Item]
) -> tuple[subprocess.Popen[str], Path]:
    folder = place.runner.parent
    share = folder / todo.corpus.name
    corpus.write(share, items)
    details = folder / "details.json"
    details.unlink(missing_ok=True)
    listener = policies.GUARDED if todo.kind == "guard" else policies.MASKED
    port = place.direct_port if todo.direct else place.ports[listener]
    command = [sys.executable, str(place.runner), todo.kind, "--file", str(share)]
    command += ["--port", str(port), "--direct-port", str(place.direct_port)]
    command += ["--details", str(details)]
    if todo.plain:
        password = place.users[policies.PLAIN_USER]
        command += ["--user", policies.PLAIN_USER, "--password", password]
    if todo.modes:
        command += ["--modes", todo.modes]
    if todo.hold_seconds is not None:
        command += ["--hold-timeout", str(todo.hold_seconds)]
    with (folder / "runner.out").open("w") as out, (folder / "runner.err").open("w") as err:
        return subprocess.Popen(command, stdout=out, stderr=err, text=True), folder


def _finished(process: subprocess.Popen[str], folder: Path) -> tuple[Report, Report, int]:
    """(report, details, exit status)."""
    try:
        status = process.wait(RUN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        raise RunnerFailed(f"the runner took longer than {RUN_SECONDS_MAX} s") from None
    said = (folder / "runner.out").read_text("utf-8")
    try:
        report: Report = json.loads(said)
    except ValueError:
        complaint = (folder / "runner.err").read_text("utf-8")
        raise RunnerFailed(f"status {status}:\n{said[-2000:]}{complaint[-2000:]}") from None
    details = folder / "details.json"
    return report, json.loads(details.read_text("utf-8")) if details.exists() else {}, status


def merged(reports: Sequence[Any]) -> Any:
    """Reports of parts as one: numbers added (seconds: the longest), lists and maps joined."""
    first = reports[0]
    if len(reports) == 1:
        return first
    if isinstance(first, dict):
        names = dict.fromkeys(name for report in reports for name in report)
        return {
            name: _merged_field(name, [report[name] for report in reports if name in report])
            for name in names
        }
    if isinstance(first, list):
        return [entry for report in reports for entry in report]
    if isinstance(first, bool | str) or first is None:
        return first
    return sum(reports)


def _merged_field(name: str, values: list[Any]) -> Any:
    return max(values) if name == "seconds" else merged(values)
