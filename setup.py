"""Builds one extension per `.pyx` of `_speedups` (see ARCHITECTURE.md).

SALLYPORT_FLAVOUR is release (what ships), sanitize (ASan and UBSan, any finding ends the process;
tests/fuzz runs it) or trace (line tracing, for coverage of the .pyx files). The last two leave
their C files below build/, so that they never mix with those of a release.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

FLAVOURS: dict[str, tuple[list[str], list[str], dict[str, object]]] = {
    "release": (["-O3", "-fno-strict-aliasing"], [], {}),
    "sanitize": (
        [
            "-O1",
            "-g",
            "-fno-omit-frame-pointer",
            "-fsanitize=address,undefined",
            "-fno-sanitize-recover=all",
        ],
        ["-fsanitize=address,undefined"],
        {},
    ),
    "trace": (["-O1", "-g", "-DCYTHON_TRACE_NOGIL=1"], [], {"linetrace": True}),
}

flavour = os.environ.get("SALLYPORT_FLAVOUR", "release")
compile_args, link_args, directives = FLAVOURS[flavour]
# `skip` is for scripts/setup.sh, which has built them in place by the time it installs the package.
skipped = os.environ.get("SALLYPORT_BUILD") == "skip"
sources = [] if skipped else sorted(Path("_speedups").glob("*.pyx"))

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"_speedups.{source.stem}",
                [str(source)],
                extra_compile_args=compile_args,
                extra_link_args=link_args,
            )
            for source in sources
        ],
        compiler_directives={
            "language_level": "3",
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
            **directives,
        },
        build_dir=None if flavour == "release" else f"build/{flavour}",
        nthreads=int(os.environ.get("SALLYPORT_BUILD_JOBS", "2")),
    )
    if sources
    else [],
)
