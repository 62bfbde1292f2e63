"""`python -m bench`: what Sallyport costs, against the database itself and another proxy (for
PostgreSQL pgbouncer, for MariaDB HAProxy).

All targets run in one process tree on one machine; within every round and case they are measured in
shuffled order, so that a busy moment hits all alike. Prints a Markdown table, writes JSON.
"""

import argparse
import datetime
import json
import os
import platform
import random
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from bench import micro
from bench.databases import DATABASES, Measured
from bench.figures import SUMMARY, Figure, Results, judged
from bench.proc import touch_memory
from bench.samples import Sample
from bench.stage import Stage
from bench.table import table

RESULTS = Path(__file__).with_name("results")
ROUNDS, SECONDS = 15, 1
QUICK_ROUNDS, QUICK_SECONDS = 1, 1
OTHERS_EVERY = 5
"""Rounds; what no summarising key is made of is measured in one of so many, unless it is asked for.
"""
MEMORY_SHARE = 0.85
"""Of what is available, for --touch-memory."""


def main() -> int:
    options = _options()
    measured = DATABASES[options.db]
    if options.touch_memory:
        size, seconds = touch_memory(MEMORY_SHARE)
        print(f"{size / 2**30:.1f} GiB of memory written to in {seconds:.0f} s", file=sys.stderr)
    with (
        tempfile.TemporaryDirectory(prefix="sp-bench-") as folder,
        measured.stage(Path(folder)) as standing,
    ):
        for program in measured.programs:
            if program not in {target.name for target in standing.targets}:
                print(f"{program} is not installed here (apt-get install {program}): left out\n")
        load_before = os.getloadavg()[0]
        samples = _measure(standing, measured, options)
        results = Results(samples, measured.peer)
        print(table(results) + "\n", flush=True)
        figures = results.figures()
        if measured.micro and not (options.quick or options.no_micro):
            found = micro.run()
            print("microseconds:\n" + "\n".join(f"{k}: {_shown(f)}" for k, f in found.items()))
            figures |= found
        summary = [f"{key}: {_shown(figures[key])}" for key in SUMMARY if key in figures]
        print("\n".join(summary), flush=True)
        _write(options.out, standing, figures, samples, load_before)
    print(f"\n-> {options.out}")
    return 0


def _shown(figure: Figure) -> str:
    return f"{figure['median']:.2f} ({figure['low']:.2f}–{figure['high']:.2f})"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help=f"of each case and target (default {ROUNDS})")
    parser.add_argument("--seconds", type=int, help=f"of one run (default {SECONDS})")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work at all")
    parser.add_argument(
        "--keys", action="store_true", help="only what the summarising keys are made of"
    )
    parser.add_argument("--no-micro", action="store_true", help="without the micro-benchmarks")
    parser.add_argument(
        "--touch-memory",
        action="store_true",
        help="write to free memory first: on a virtual machine a page's first use may cost 10 µs",
    )
    parser.add_argument("--db", choices=sorted(DATABASES), default="postgresql")
    parser.add_argument("--case", action="append", help="only these (S-prepared-c8, ...)")
    parser.add_argument("--target", action="append", help="only these (direct, pgbouncer, ...)")
    parser.add_argument("--out", type=Path, help="JSON (default results/latest[-mysql].json)")
    options = parser.parse_args()
    known = [case.name for case in DATABASES[options.db].cases]
    if unknown := set(options.case or ()) - set(known):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    options.out = options.out or RESULTS / DATABASES[options.db].latest
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    return options


def _measure(standing: Stage, measured: Measured, options: argparse.Namespace) -> list[Sample]:
    samples = []
    cases = [case for case in measured.cases if not options.case or case.name in options.case]
    began = time.monotonic()
    for number in range(options.rounds):
        for case in cases:
            targets = [target for target in standing.targets if case.wants(target)]
            targets = [t for t in targets if not options.target or t.name in options.target]
            thinned = number % OTHERS_EVERY and not (options.case or options.target)
            if options.keys or thinned:
                targets = [t for t in targets if judged(case.name, t.name, measured.peer)]
            random.shuffle(targets)
            for target in targets:
                if not number:  # catalogs are loaded, connections to the database are open
                    case.run(standing, target, 1)
                found = case.run(standing, target, options.seconds)
                samples.append(Sample(case.name, target.name, number, found))
        passed = time.monotonic() - began
        print(f"round {number + 1} of {options.rounds}, {passed:.0f} s", file=sys.stderr)
    order = {case.name: index for index, case in enumerate(cases)}
    return sorted(samples, key=lambda sample: order[sample.case])


def _write(
    path: Path,
    standing: Stage,
    figures: dict[str, Figure],
    samples: list[Sample],
    load_before: float,
) -> None:
    document = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "processor": _processor(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_before": load_before,
            "load_after": os.getloadavg()[0],
        },
        "versions": standing.versions,
        "figures": figures,
        "rounds": [asdict(sample) for sample in samples],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
