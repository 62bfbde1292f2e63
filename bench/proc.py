"""What processes use, as Linux says (proc(5)): CPU time and resident memory, whole trees."""

import contextlib
import mmap
import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

TICK_SECONDS = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def tree(pid: int) -> list[int]:
    """`pid` and everything below it."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """utime + stime of all their threads, also of those that ended."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks * TICK_SECONDS


def resident_bytes(pids: Iterable[int]) -> int:
    """Sum of RSS; pages that forked processes share are counted in each."""
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES for pid in pids)


def private_bytes(pids: Iterable[int]) -> int:
    """Memory that is theirs alone (smaps_rollup: Private_*), summed."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_"):
                total += int(line.split()[1]) * 1024
    return total


def touch_memory(share: float) -> tuple[int, float]:
    """Writes to each page of so much of the available memory, and lets go of it. A virtual machine
    may get its memory at the first use of a page. -> (bytes, seconds)."""
    found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    pages = int(int(found.group(1)) * 1024 * share) // PAGE_BYTES if found else 0
    began = time.monotonic()
    if pages:
        with mmap.mmap(-1, pages * PAGE_BYTES) as memory:
            for page in range(pages):
                memory[page * PAGE_BYTES] = 1
    return pages * PAGE_BYTES, time.monotonic() - began
