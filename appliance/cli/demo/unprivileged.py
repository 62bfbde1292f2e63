"""How a root user runs a database server, which refuses root; called by `embedded`.

Two ways, tried in this order: a user namespace in which root is somebody else (files stay root's),
or, where namespaces are forbidden, another uid that gets copies of what it must read. A plain user
needs neither.
"""

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
NOBODY = 65534


class CannotRun(RuntimeError):
    """A database server cannot be run here; the text says what to do."""


@dataclass(frozen=True)
class Disguise:
    """`prefix` goes before a server's program; `uid` is set when files must be handed to it."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None

    def command(self, *arguments: str | Path) -> list[str]:
        return [*self.prefix, *map(str, arguments)]

    def mortal(self, *arguments: str | Path, signal: str = "INT") -> list[str]:
        """The same, sent `signal` when its starter's thread ends (PostgreSQL: INT)."""
        if shutil.which("setpriv") is None:
            return self.command(*arguments)
        if self.uid is not None:
            return [*self.prefix, f"--pdeathsig={signal}", *map(str, arguments)]
        return [*self.prefix, "setpriv", f"--pdeathsig={signal}", *map(str, arguments)]


@functools.cache
def disguise() -> Disguise:
    """What this process needs to start a server; CannotRun when nothing works."""
    if os.geteuid() != 0:
        return Disguise()
    if _works([*NAMESPACE, "true"]):
        return Disguise(NAMESPACE)
    as_nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    if _works([*as_nobody, "true"]):
        return Disguise(as_nobody, NOBODY)
    raise CannotRun(
        "Database servers do not run as root, and neither `unshare --user` nor `setpriv` works "
        "here: run this as another user"
    )


def _works(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def reachable_copy(bin_dir: Path, stage: Path, uid: int) -> Path:
    """`bin_dir`, or a copy below `stage` when `uid` may not run it (a venv in root's home)."""
    probe = Disguise(("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"))
    if _works(probe.command(bin_dir / "postgres", "--version")):
        return bin_dir
    installation = bin_dir.parent
    package = installation.parent
    copy = stage / package.name / installation.name
    if not copy.exists():
        shutil.copytree(installation, copy, symlinks=True)
        bundled = package.with_name(package.name + ".libs")  # found by a relative rpath
        if bundled.is_dir():
            shutil.copytree(bundled, stage / bundled.name, symlinks=True)
    return copy / bin_dir.name


def hand_over(folder: Path, uid: int) -> None:
    """Give `folder` and all in it to `uid`."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)
