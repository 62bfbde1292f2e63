"""`python -m tests.redteam.mysql`: what `make redteam DB=mysql` calls.

    all     every corpus on MariaDB: attacks, benign as one who owes masks and as one who owes none,
            harmless statements on masked columns, guard; tables, then JSON
    file    one corpus file, `--kind` attacks, benign, harmless or guard; JSON last, its exit status
    verify  attacks straight at the server: writes into the file how each leaks; guards' effects
    serve   stays up for other runners: one line of JSON on stdout, ended by SIGTERM

Exit status: 0 when nothing leaked, differed or was missed, and nine of ten harmless statements were
answered. Everything but results goes to stderr.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from appliance.cli.demo.child import NotReady
from appliance.cli.demo.unprivileged import CannotRun
from tests.redteam.mysql import attacks, benign, guard, shown
from tests.redteam.mysql.place import FOLDER
from tests.redteam.mysql.stage import Stage, Wanted, server, stage

KINDS = ("attacks", "benign", "harmless", "guard")
OWES = "rt_analyst,rt_dba,rt_other"
ENDING = (signal.SIGTERM, signal.SIGINT)
Report = dict[str, Any]


def main() -> int:
    arguments = _parser().parse_args()
    for number in ENDING:
        signal.signal(number, _interrupt)
    try:
        return int(arguments.command(arguments))
    except (CannotRun, NotReady, RuntimeError, OSError) as error:
        _say(f"redteam: {error}")
        return 2
    except KeyboardInterrupt:
        return 0 if arguments.command is _serve else 130


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Once; clearing up is bounded and must not be broken off."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    every = commands.add_parser("all")
    one = commands.add_parser("file")
    again = commands.add_parser("verify")
    up = commands.add_parser("serve")
    chosen = ((every, _all), (one, _file), (again, _verify), (up, _serve))
    for command, function in chosen:
        command.set_defaults(command=function)
    one.add_argument("--corpus", type=Path, required=True)
    one.add_argument("--kind", choices=KINDS, required=True)
    one.add_argument("--plain", action="store_true", help="as rt_plain, who owes no mask")
    for command in (every, one, again):
        command.add_argument("--only", default="", help="ids, comma-separated")
    for command in (every, one):
        command.add_argument("--modes", default="", help="client modes, comma-separated")
        command.add_argument("--details", type=Path, help="a file for results per attack")
    for command in (every, one, up):
        command.add_argument("--mask", default="redact", help="method of every mask")
        command.add_argument(
            "--unique-writes", choices=("allow", "refuse"), default="allow", help="of every mask"
        )
        command.add_argument("--times", type=int, default=1, help="how often reads are said")
        command.add_argument("--owes", default=OWES, help="who owes the masks")
        command.add_argument(
            "--everything", action="store_true", help="the masks' policy allows every action"
        )
    return parser


def _wanted(arguments: argparse.Namespace) -> Wanted:
    return Wanted(
        arguments.mask,
        tuple(arguments.owes.split(",")),
        bool(arguments.everything),
        arguments.unique_writes,
    )


def _listed(text: str) -> Sequence[str]:
    return tuple(part for part in text.split(",") if part)


# --- runs -----------------------------------------------------------------------------------------


def run(
    kind: str,
    on: Stage,
    path: Path,
    *,
    plain: bool = False,
    modes: Sequence[str] = (),
    only: Sequence[str] = (),
) -> tuple[Report, Report]:
    """(report, per attack)."""
    given: dict[str, Any] = {"modes": modes, "only": only}
    if kind == "attacks":
        return attacks.run(on.masked, path, **given)
    if kind == "benign":
        return benign.run(on.masked, path, login="plain" if plain else "analyst", **given), {}
    if kind == "harmless":
        return benign.harmless(on.masked, path, **given), {}
    return guard.run(on.guarded, path, **given), {}


def _all(arguments: argparse.Namespace) -> int:
    found: dict[str, Report] = {}
    given: dict[str, Any] = {"modes": _listed(arguments.modes), "only": _listed(arguments.only)}
    details: Report = {}
    with stage(_wanted(arguments)) as on:
        on.masked.times = arguments.times
        for name, kind, plain in (
            ("attacks", "attacks", False),
            ("benign", "benign", False),
            ("benign_plain", "benign", True),
            ("harmless", "harmless", False),
            ("guard", "guard", False),
        ):
            path = FOLDER / f"{kind}.jsonl"
            found[name], per_item = run(kind, on, path, plain=plain, **given)
            details.update(per_item)
            print(shown.table(name, kind, found[name]), flush=True)
    print(json.dumps(found, indent=1, ensure_ascii=False))
    _write(arguments.details, details)
    return max(shown.status(kind.removesuffix("_plain"), report) for kind, report in found.items())


def _file(arguments: argparse.Namespace) -> int:
    given: dict[str, Any] = {"modes": _listed(arguments.modes), "only": _listed(arguments.only)}
    with stage(_wanted(arguments)) as on:
        on.masked.times = arguments.times
        report, details = run(arguments.kind, on, arguments.corpus, plain=arguments.plain, **given)
    _say(shown.table(arguments.corpus.name, arguments.kind, report))
    print(json.dumps(report, indent=1, ensure_ascii=False))
    _write(arguments.details, details)
    return shown.status(arguments.kind, report)


def _verify(arguments: argparse.Namespace) -> int:
    with server() as place:
        dry = attacks.verify(place, FOLDER / "attacks.jsonl", _listed(arguments.only))
        idle = {} if arguments.only else guard.idle(place, FOLDER / "guard.jsonl")
    print(json.dumps({"do_not_leak": dry, "do_nothing": idle}, indent=1, ensure_ascii=False))
    return int(bool(dry or idle))


def _write(path: Path | None, details: Report) -> None:
    if path is not None:
        path.write_text(json.dumps(details, indent=0, ensure_ascii=False))


# --- for other runners ----------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    with stage(_wanted(arguments)) as on:
        line = {
            "host": "127.0.0.1",
            "port": on.masked.address[1],
            "guard_port": on.guarded.address[1],
            "direct_host": "127.0.0.1",
            "direct_port": on.direct.address[1],
            "databases": ["crm"],
            "users": dict(on.direct.users),
            "owes": list(arguments.owes.split(",")),
            "superuser": "rt_dba",
            "mask": arguments.mask,
        }
        print(json.dumps(line, ensure_ascii=False), flush=True)
        _say(f"redteam: up, its log is {on.log}; SIGTERM or Ctrl-C ends it")
        while True:
            signal.pause()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
