"""What `_speedups/loopwork` has to know of uvloop."""

import asyncio
import os

import uvloop
from uvloop import loop as extension

from _speedups.loopwork import LoopWork


def work_of(loop: asyncio.AbstractEventLoop) -> LoopWork:
    """TypeError: it is no uvloop. ImportError: uvloop has not what is needed of libuv."""
    if not isinstance(loop, uvloop.Loop):  # which uvloop does not look at
        raise TypeError(f"{type(loop).__name__} is no uvloop")
    capsule = extension.libuv_get_loop_t_ptr(loop)  # type: ignore[attr-defined]  # not in its stub
    return LoopWork(loop, capsule, os.fsencode(extension.__file__))
