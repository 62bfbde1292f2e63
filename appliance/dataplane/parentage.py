"""Ties a process's life to its parent's. Called first thing by the worker and by its analyzer
child.

Rule: no orphan goes on serving: a worker without its supervisor could not be stopped or reloaded by
anybody.
"""

import ctypes
import os
import signal

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
