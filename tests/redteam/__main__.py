"""`python -m tests.redteam`: what `make redteam` calls.

    all     every public corpus on every PostgreSQL there is, tables, then JSON
    file    one corpus file, from outside or not: `KIND` attacks, benign or guard; the runner's JSON
            is printed last and its exit status is ours
    serve   stays up for other runners: one line of JSON on stdout, ended by SIGTERM

`serve` masks every sensitive column of policy.json by one method (`null` for a masked twin) for
rt_analyst, rt_dba and rt_other, or for whom `--owes` names; rt_plain, a member of rt_analyst, owes
nothing. Users are the same ones, with the same passwords, at the real server's port. Its line:

    host, port            Sallyport, without TLS; any database of the server may be asked for
    guard_port            the same, with the guards' rules and without masks
    direct_host, direct_port   the real server
    databases             rt_work, made anew from the template rt_tmpl by whoever resets it
    users                 name -> password
    owes, owes_nothing    who sees masks, who sees what is there
    superuser             a name among `users` that is a superuser of the real server
    mask, postgresql, left_out (what the server lacks)

Everything but results goes to stderr.
"""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from appliance.cli.demo.child import NotReady
from appliance.cli.demo.unprivileged import CannotRun
from tests.redteam import corpus, policies, servers, tables
from tests.redteam.runs import Outcome, Pass, RunnerFailed, run, stages
from tests.redteam.stage import ADMINISTRATOR, DATABASE, Stage, Wanted, stage

OWES = "rt_analyst,rt_dba,rt_other"
ENDING = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    arguments = _parser().parse_args()
    for number in ENDING:
        signal.signal(number, _interrupt)
    try:
        return int(arguments.command(arguments))
    except (CannotRun, NotReady, RunnerFailed, RuntimeError, OSError) as error:
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
    every.set_defaults(command=_all)
    every.add_argument("--pg", type=int, action="append", help="only this version")
    every.add_argument("--jobs", type=int, default=2, help="servers at a time")
    one = commands.add_parser("file")
    one.set_defaults(command=_file)
    one.add_argument("--corpus", type=Path, required=True)
    one.add_argument("--kind", choices=corpus.KINDS, required=True)
    one.add_argument("--plain", action="store_true", help="as rt_plain, who owes no mask")
    one.add_argument("--direct", action="store_true", help="round Sallyport: does it leak at all")
    up = commands.add_parser("serve")
    up.set_defaults(command=_serve)
    for command in (one, up):
        command.add_argument("--pg", type=int, default=15)
    for command in (every, one):
        command.add_argument("--modes", default="", help="client modes, comma-separated")
        command.add_argument("--only", default="", help="ids, comma-separated")
        command.add_argument("--details", type=Path, help="a file for per-item results")
    for command in (every, one, up):
        command.add_argument("--mask", default="redact", help="method of every mask")
        command.add_argument(
            "--unique-writes", choices=("allow", "refuse"), default="allow", help="of every mask"
        )
        command.add_argument("--owes", default=OWES, help="who owes the masks")
        command.add_argument(
            "--everything", action="store_true", help="the masks' policy allows every action"
        )
    return parser


def _wanted(arguments: argparse.Namespace, server: servers.Server) -> Wanted:
    return Wanted(
        server,
        arguments.mask,
        tuple(arguments.owes.split(",")),
        bool(arguments.everything),
        arguments.unique_writes,
    )


def _only(arguments: argparse.Namespace) -> tuple[str, ...]:
    return tuple(name for name in arguments.only.split(",") if name)


# --- every corpus on every server ----------------------------------------------------------------


def _all(arguments: argparse.Namespace) -> int:
    versions = arguments.pg or list(servers.available())
    if not versions:
        raise CannotRun("no PostgreSQL with contrib modules here: apt-get install postgresql")
    outcomes: dict[str, dict[str, Outcome]] = {}
    for version in versions:
        with stages(_wanted(arguments, servers.chosen(version)), arguments.jobs) as on:
            print(f"\n== PostgreSQL {version} ==")
            if on[0].left_out:
                print(f"It lacks: {', '.join(on[0].left_out)}")
            outcomes[str(version)] = _passes(arguments, on)
    print(json.dumps(_reports(outcomes), indent=1, ensure_ascii=False))
    if arguments.details:
        _write_details(arguments.details, outcomes)
    if said := _ending(outcomes):
        sys.stdout.flush()
        _say(said)
    return max(outcome.status for passes in outcomes.values() for outcome in passes.values())


def _passes(arguments: argparse.Namespace, on: Sequence[Stage]) -> dict[str, Outcome]:
    def public(kind: str, plain: bool = False) -> Pass:
        path = corpus.FOLDER / corpus.PUBLIC[kind]
        return Pass(kind, path, plain, arguments.modes, _only(arguments))

    def own(kind: str) -> Pass:
        path = corpus.FOLDER / corpus.OWN[kind]
        return Pass(kind, path, False, arguments.modes, _only(arguments))

    todo = {
        "attacks": public("attacks"),
        "attacks_own": own("attacks"),
        "benign": public("benign"),
        "benign_own": own("benign"),
        "benign_plain": public("benign", plain=True),
        "guard": public("guard"),
        "guard_own": own("guard"),
    }
    found: dict[str, Outcome] = {}
    for name, one in todo.items():
        found[name] = run(one, on)
        print("\n" + tables.table(one, found[name]), end="", flush=True)
    return found


def _ending(outcomes: dict[str, dict[str, Outcome]]) -> str:
    wrong = {
        f"PostgreSQL {version}, {name}": tables.wrong_ids(outcome.report)
        for version, passes in outcomes.items()
        for name, outcome in passes.items()
    }
    return tables.ending(wrong, corpus.limits(corpus.FOLDER / corpus.OWN["attacks"]))


def _reports(outcomes: dict[str, dict[str, Outcome]]) -> dict[str, object]:
    return {
        version: {
            name: {**outcome.report, "skipped": dict(outcome.skipped)}
            for name, outcome in passes.items()
        }
        for version, passes in outcomes.items()
    }


def _write_details(path: Path, outcomes: dict[str, dict[str, Outcome]]) -> None:
    details = {
        version: {name: outcome.details for name, outcome in passes.items()}
        for version, passes in outcomes.items()
    }
    path.write_text(json.dumps(details, indent=0, ensure_ascii=False))


# --- one file ------------------------------------------------------------------------------------


def _file(arguments: argparse.Namespace) -> int:
    todo = Pass(
        arguments.kind,
        arguments.corpus,
        arguments.plain,
        arguments.modes,
        _only(arguments),
        arguments.direct,
    )
    if not todo.corpus.is_file():
        raise CannotRun(f"no file {todo.corpus}")
    with stages(_wanted(arguments, servers.chosen(arguments.pg)), 1) as on:
        outcome = run(todo, on)
    _say(tables.table(todo, outcome))
    print(json.dumps(outcome.report, indent=1, ensure_ascii=False))
    if arguments.details:
        arguments.details.write_text(json.dumps(outcome.details, indent=0, ensure_ascii=False))
    return outcome.status


# --- for other runners ---------------------------------------------------------------------------


def _serve(arguments: argparse.Namespace) -> int:
    with stage(_wanted(arguments, servers.chosen(arguments.pg))) as place:
        print(json.dumps(announcement(place, arguments.mask), ensure_ascii=False), flush=True)
        _say(f"redteam: up, its log is {place.log}; SIGTERM or Ctrl-C ends it")
        while True:
            signal.pause()


def announcement(place: Stage, mask: str) -> dict[str, object]:
    """The line that `serve` prints."""
    return {
        "host": "127.0.0.1",
        "port": place.ports[policies.MASKED],
        "guard_port": place.ports[policies.GUARDED],
        "direct_host": "127.0.0.1",
        "direct_port": place.direct_port,
        "databases": [DATABASE],
        "users": place.users,
        "owes": list(place.owes),
        "owes_nothing": [user for user in place.users if user not in place.owes],
        "superuser": ADMINISTRATOR,
        "mask": mask,
        "postgresql": place.means.version,
        "left_out": list(place.left_out),
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
