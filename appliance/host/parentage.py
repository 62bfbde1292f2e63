"""Ties a process's life to its parent's. Called first thing by workers, their analyzer children
and the control process.

Rule: no orphan goes on serving: a worker without its supervisor could not be stopped or reloaded by
anybody.
"""

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2)
PR_SET_NO_NEW_PRIVS = 38


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when `parent` (a process id) ends; exits when it has
    already.

    Also gives up gaining privileges by exec, for good.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        raise SystemExit(0)


def keep_only(descriptors: Collection[int]) -> None:
    """Closes every descriptor but the standard three and these.

    uvloop's subprocesses inherit whatever is inheritable as soon as `pass_fds` is used, so a child
    makes sure itself that it holds none of its parent's sockets.
    """
    for entry in list(Path("/proc/self/fd").iterdir()):
        if int(entry.name) > 2 and int(entry.name) not in descriptors:
            with contextlib.suppress(OSError):  # the one that listed the folder is gone by now
                os.close(int(entry.name))
