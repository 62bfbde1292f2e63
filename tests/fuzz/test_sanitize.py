"""The extensions under AddressSanitizer and UBSan, fed random and mutated bytes for a bounded time.

SALLYPORT_FUZZ_SECONDS (15) is the time, SALLYPORT_FUZZ_SEED repeats a run that failed.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("SALLYPORT_FUZZ_SECONDS", "15"))
BUILD_SECONDS_MAX = 600


def library(name: str) -> str:
    """Where gcc has a sanitizer's run-time library; gcc answers with the bare name if nowhere."""
    return subprocess.run(
        ["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `_speedups` in the sanitize flavour, apart from the checkout's own."""
    folder = tmp_path_factory.mktemp("sanitize")
    shutil.copy(ROOT / "setup.py", folder)
    shutil.copytree(
        ROOT / "_speedups", folder / "_speedups", ignore=shutil.ignore_patterns("*.so", "*.c")
    )
    built = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, "SALLYPORT_FLAVOUR": "sanitize", "SALLYPORT_BUILD": ""},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def run(sanitized: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{library('libasan.so')} {library('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:exitcode=99",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYTHONMALLOC": "malloc",  # else small objects share arenas that ASan cannot see into
        "PYTHONPATH": os.pathsep.join((str(sanitized), str(ROOT))),
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=sanitized,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS + 120,
        check=False,
    )


def test_torture_finds_nothing(sanitized: Path) -> None:
    seed = os.environ.get("SALLYPORT_FUZZ_SEED") or str(random.randrange(1 << 32))
    done = run(sanitized, str(ROOT / "tests/fuzz/torture.py"), str(SECONDS), seed)
    report = f"SALLYPORT_FUZZ_SEED={seed}\n{done.stdout}\n{done.stderr[-8000:]}"
    assert done.returncode == 0, report
    assert "Sanitizer" not in done.stderr, report
    assert "runtime error" not in done.stderr, report
    assert done.stdout.startswith("{"), report


def test_it_is_the_sanitized_build_that_runs(sanitized: Path) -> None:
    """And a read beyond the end would be seen: the alarm itself is tried."""
    where = run(sanitized, "-c", "import _speedups.pgframe as m; print(m.__file__)")
    assert where.stdout.startswith(str(sanitized)), where.stdout + where.stderr
    overread = (
        "import ctypes; b = (ctypes.c_char * 64)(); ctypes.memmove(b, ctypes.addressof(b), 96)"
    )
    alarm = run(sanitized, "-c", overread)
    assert alarm.returncode == 99, alarm.stdout + alarm.stderr
    assert "AddressSanitizer" in alarm.stderr
