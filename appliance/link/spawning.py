"""How one process of the appliance starts another: the command line and environment, nothing else.

Called by `control/supervisor` (workers) and `dataplane/analyzer` (analyzer children). Rule: a child
imports the very same package as its parent, never one that lies in the folder it happens to be run
in.
"""

import sys
from collections.abc import Mapping

PACKAGE_ROOT = __file__.rsplit("/", 3)[0]


def module_command(module: str, *arguments: str) -> list[str]:
    """Argument vector that runs `module` with this interpreter (-P: without the current folder)."""
    return [sys.executable, "-P", "-m", module, *arguments]


def module_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with this package's root first on PYTHONPATH."""
    paths = [PACKAGE_ROOT]
    paths += [path for path in [environment.get("PYTHONPATH", "")] if path]
    return {**environment, "PYTHONPATH": ":".join(paths)}
