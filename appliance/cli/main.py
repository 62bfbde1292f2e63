"""`sallyport`: the entry point. One noun per file; each is imported only when it is asked for.

Rule: `sallyport --help` and `--version` answer at once, so they are written without importing
anything heavy.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from appliance import __version__

if TYPE_CHECKING:
    from cyclopts import App


BROKEN_PIPE = 141
"""Exit status as shells say it of a program that SIGPIPE ended."""


class Command(NamedTuple):
    """Where a command's code is: `attribute` is a cyclopts App of that name, or a function."""

    module: str
    attribute: str
    help: str


COMMANDS: dict[str, Command] = {
    "try": Command("appliance.cli.try_", "try_", "Put a governed listener in front of a database."),
    "serve": Command(
        "appliance.cli.serve", "serve", "Run the appliance from a configuration file."
    ),
    "control": Command(
        "appliance.cli.control", "control", "Run approvals, API and console by themselves."
    ),
    "check-config": Command("appliance.cli.config", "check_config", "Check a configuration file."),
    "config": Command(
        "appliance.cli.config", "config_app", "Print the configuration's JSON Schema."
    ),
    "user": Command("appliance.cli.user", "user_app", "Add, list, disable and remove local users."),
    "pki": Command("appliance.cli.pki", "pki_app", "Make a small certificate authority."),
    "policy": Command("appliance.cli.policy", "policy_app", "Check, test and explain policies."),
    "classify": Command(
        "appliance.cli.classify", "classify_app", "Find unclassified personal data and secrets."
    ),
    "audit": Command("appliance.cli.audit", "audit_app", "Read and verify the audit trail."),
    "login": Command("appliance.cli.login", "login", "Sign in at the control process."),
    "logout": Command("appliance.cli.login", "logout", "Revoke the sign-in and forget it."),
    "whoami": Command("appliance.cli.login", "whoami", "Say who one is signed in as."),
    "approvals": Command(
        "appliance.cli.approvals", "approvals_app", "See and decide what waits for an approval."
    ),
    "sessions": Command(
        "appliance.cli.sessions", "sessions_app", "See and end live database sessions."
    ),
    "grants": Command(
        "appliance.cli.grants", "grants_app", "Propose, decide and revoke standing grants."
    ),
    "completion": Command("appliance.cli.completion", "completion", "Complete for a shell."),
    "demo": Command(
        "appliance.cli.demo.main", "demo_app", "Run the demo: database, proxy, guided tour."
    ),
}


def overview() -> str:
    width = max(map(len, [*COMMANDS, "version"])) + 2
    lines = [f"  {name:<{width}}{command.help}" for name, command in COMMANDS.items()]
    lines.append(f"  {'version':<{width}}Print the version.")
    return "\n".join(
        [
            "Usage: sallyport COMMAND [OPTIONS]",
            "",
            "An identity-aware database proxy: every statement is identified, decided,",
            "recorded and only then forwarded; sensitive columns are masked on the way back.",
            "",
            "Commands:",
            *lines,
            "",
            "`sallyport COMMAND --help` tells more of each.",
        ]
    )


def main(arguments: list[str] | None = None) -> NoReturn:
    """Exit status 0, or 1 for a failure, or 2 for a command line that is not understood."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(overview())
        sys.exit(0)
    if arguments[0] in {"--version", "version"}:
        print(f"sallyport {__version__}")
        sys.exit(0)
    name = arguments[0]
    if name not in COMMANDS:
        refuse(name)
    try:
        try:
            root_with(name)(arguments)  # exits with what the command returns
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    sys.exit(0)


def root_with(*names: str) -> "App":
    """The cyclopts application with just these commands in it."""
    from cyclopts import App

    root = App(name="sallyport", version=__version__)
    for name in names:
        command = COMMANDS[name]
        found = getattr(importlib.import_module(command.module), command.attribute)
        root.command(found, name=name)
    return root


def refuse(name: str) -> NoReturn:
    import difflib

    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    print(f"sallyport: there is no command {name!r}.{hint}\n\n{overview()}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
