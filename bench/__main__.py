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
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
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
NOTHING, INTERRUPTED = 2, 130
"""Exit statuses."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    """-> the exit status. What an interruption finds of whole rounds is written, but elsewhere."""
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
        samples: list[Sample] = []
        try:
            _measure(standing, measured, options, samples)
            if not samples:
                print(f"nothing was measured; {options.out} stays as it is", file=sys.stderr)
                return NOTHING
            figures = _told(Results(_in_order(samples, measured), measured.peer))
            if measured.micro and not (options.quick or options.no_micro):
                figures |= _micro()
            summary = [f"{key}: {_shown(figures[key])}" for key in SUMMARY if key in figures]
            print("\n".join(summary), flush=True)
        except KeyboardInterrupt:
            _write_partial(options.out, standing, measured, samples, load_before)
            raise
        _write(options.out, standing, figures, _in_order(samples, measured), load_before)
    print(f"\n-> {options.out}")
    return 0


def _told(results: Results) -> dict[str, Figure]:
    print(table(results) + "\n", flush=True)
    return results.figures()


def _micro() -> dict[str, Figure]:
    found = micro.run()
    print("microseconds:\n" + "\n".join(f"{k}: {_shown(f)}" for k, f in found.items()))
    return found


def _shown(figure: Figure) -> str:
    return f"{figure['median']:.2f} ({figure['low']:.2f}–{figure['high']:.2f})"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=_count, help=f"of each case and target (default {ROUNDS})")
    parser.add_argument("--seconds", type=_count, help=f"of one run (default {SECONDS})")
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
    options = parser.parse_args(arguments)
    measured = DATABASES[options.db]
    for what, asked, known in (
        ("case", options.case, [case.name for case in measured.cases]),
        ("target", options.target, measured.targets),
    ):
        if unknown := set(asked or ()) - set(known):
            parser.error(f"no {what} {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    options.out = options.out or RESULTS / measured.latest
    options.rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    options.seconds = options.seconds or (QUICK_SECONDS if options.quick else SECONDS)
    return options


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is no number from 1 on")
    return int(text)


def _measure(
    standing: Stage, measured: Measured, options: argparse.Namespace, samples: list[Sample]
) -> None:
    """Adds to `samples`, a whole round at a time."""
    cases = [case for case in measured.cases if not options.case or case.name in options.case]
    began = time.monotonic()
    for number in range(options.rounds):
        found: list[Sample] = []
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
                measures = case.run(standing, target, options.seconds)
                found.append(Sample(case.name, target.name, number, measures))
        samples += found
        passed = time.monotonic() - began
        print(f"round {number + 1} of {options.rounds}, {passed:.0f} s", file=sys.stderr)


def _in_order(samples: Sequence[Sample], measured: Measured) -> list[Sample]:
    """Case by case, as they are listed."""
    order = {case.name: index for index, case in enumerate(measured.cases)}
    return sorted(samples, key=lambda sample: order[sample.case])


def _write_partial(
    out: Path, standing: Stage, measured: Measured, samples: Sequence[Sample], load_before: float
) -> None:
    """Whole rounds of a run that did not come to its end, beside where they would have been."""
    if not samples:
        print("interrupted before a round was whole: nothing is written", file=sys.stderr)
        return
    path = out.with_suffix(".partial.json")
    ordered = _in_order(samples, measured)
    figures = Results(ordered, measured.peer).figures()
    _write(path, standing, figures, ordered, load_before, interrupted=True)
    whole = len({sample.round for sample in samples})
    print(f"interrupted after {whole} whole rounds -> {path}", file=sys.stderr)


def _write(
    path: Path,
    standing: Stage,
    figures: dict[str, Figure],
    samples: list[Sample],
    load_before: float,
    interrupted: bool = False,
) -> None:
    document: dict[str, object] = {"interrupted": True} if interrupted else {}
    document |= {
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
