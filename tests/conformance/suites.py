"""Drivers' own test suites, straight at a server and through Sallyport, permissive: same list?

Which suites, and what stands on both sides, is told by whoever calls `main`: `postgres_suites` and
`mysql/suites`. None of a driver's tests is here: FOLDER is a checkout of its source.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

SUITE_SECONDS_MAX = 900
Results = dict[str, str]
"""Test -> passed, failure, error or skipped, the last three with what was said."""


@dataclass(frozen=True)
class Laid:
    """A suite made ready to run in `folder`: pytest's arguments, and the environment it wants."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sides:
    ports: Mapping[str, int]
    """Of `direct` and `through`, on 127.0.0.1."""
    fresh: Callable[[str], None]
    """Leaves nothing of the run before; told the suite's name."""


Lay = Callable[[Path, Path, int], Laid]
"""(the suite's source, an empty folder, the port it shall use)."""


def main(usage: str, known: Mapping[str, Lay], sides: AbstractContextManager[Sides]) -> int:
    """NAME=FOLDER[:PYTHON] in the arguments of the process; PYTHON has what that suite needs.

    JSON on stdout: for each suite the counts on both sides and what differs; exit status 1 when
    anything differs, 2 when it is not called rightly.
    """
    wanted = dict(argument.partition("=")[::2] for argument in sys.argv[1:])
    if not wanted or not wanted.keys() <= known.keys():
        print(usage, file=sys.stderr)
        return 2
    report: dict[str, Any] = {}
    with sides as both:
        for name, place in wanted.items():
            source, _, python = place.partition(":")
            found = {}
            for side, port in both.ports.items():
                both.fresh(name)
                found[side] = _run(known[name], Path(source), port, python or sys.executable)
            report[name] = compared(found["direct"], found["through"])
    print(json.dumps(report, indent=1, ensure_ascii=False))
    return int(any(one["differ"] for one in report.values()))


def compared(direct: Results, through: Results) -> dict[str, Any]:
    names = direct.keys() | through.keys()
    return {
        "direct": _counts(direct),
        "through": _counts(through),
        "differ": {
            name: [direct.get(name, "missing"), through.get(name, "missing")]
            for name in sorted(names)
            if direct.get(name, "missing").split(":")[0]
            != through.get(name, "missing").split(":")[0]
        },
    }


def _counts(results: Results) -> dict[str, int]:
    kinds = [result.split(":")[0] for result in results.values()]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def _run(lay: Lay, source: Path, port: int, python: str) -> Results:
    with tempfile.TemporaryDirectory(prefix="sp-suite-") as text:
        folder = Path(text)
        laid = lay(source, folder, port)
        report = folder / "report.xml"
        kept = ("-o", f"cache_dir={folder / 'cache'}", f"--junitxml={report}")
        command = [python, "-m", "pytest", "-q", *kept]
        subprocess.run(
            [*command, *laid.arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder), **laid.environment},
            stdout=sys.stderr,
            timeout=SUITE_SECONDS_MAX,
            check=False,
        )
        return _results(report)


def _results(report: Path) -> Results:
    found: Results = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kind = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        said = "passed" if kind is None else f"{kind.tag}: {(kind.get('message') or '')[:300]}"
        found[f"{case.get('classname')}.{case.get('name')}"] = said
    return found
