"""What a query takes in user space, in instructions: `python -m bench.instructions`.

A figure with little noise, where seconds have much: pgbench -S runs through a worker under
callgrind (valgrind), which counts while all is warm. What the kernel does is not in it. Hashing
stands by itself, since valgrind does without the processor's own instructions for it. What comes
20 times a second weighs more than in earnest, as all else is slower: only what the poller does
counts.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from appliance.cli.demo.child import Child, ready_fields
from appliance.cli.demo.postgres import EmbeddedPostgres
from bench.proc import tree
from bench.stage import DATABASE, PASSWORD, POLICY, SETTINGS, USER, load
from tests.clusters import installed_program

MODES = ("simple", "extended", "prepared")
TARGETS = {  # as in `bench.stage`
    "permissive": ["--policy", "permissive", "--schema-check", "statement"],
    "governed": ["--policy", str(POLICY), "--schema-check", "lease"],
}
WARM_SECONDS = 12
START_SECONDS_MAX = 120.0
MORE_SECONDS_MAX = 60.0
"""For what is slow under valgrind, beside what was asked for."""
QUERIES_MIN = 10_000
"""With fewer, what comes every second is most of a figure."""
HASHING = "SHA256_Transform"
QUERY = "finish_record"
"""Called once for each."""
SERVING = ("Poller", "serve")
WRAPPER = """#!/bin/bash
case "$*" in
*appliance.dataplane.worker*)
    exec {valgrind} --tool=callgrind --instr-atstart=no --callgrind-out-file={out}.%p \\
        {python} "$@" ;;
esac
exec -a "$0" {python} "$@"
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--mode", action="append", choices=MODES, default=[])
    parser.add_argument("--target", choices=tuple(TARGETS), default="governed")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=8, help="how long is counted")
    parser.add_argument("--top", type=int, default=0, help="functions to show")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing (Debian: apt-get install valgrind)")
    with tempfile.TemporaryDirectory(prefix="sallyport-bench-") as folder:
        place = Path(folder)
        place.chmod(0o755)
        with _counted(place, TARGETS[options.target]) as counted:
            for mode in options.mode or MODES:
                found = counted.count(mode, options.clients, options.seconds)
                print(told(mode, found), flush=True)
                for name, own in found.own.most_common(options.top):
                    print(f"  {own / found.queries:8,.0f}  {name}")


@dataclass
class Profile:
    """Of one dump of callgrind. `own`: instructions of each function; `within`: with what it
    calls; `calls`: how often it was called."""

    own: Counter[str] = field(default_factory=Counter)
    within: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)

    @classmethod
    def read(cls, path: Path) -> "Profile":
        """Format: https://valgrind.org/docs/manual/cl-format.html"""
        profile, names = cls(), dict[str, str]()

        def named(written: str) -> str:
            number, _, name = written.partition(" ")
            return names.setdefault(number, name or number)

        function = called = ""
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("fn="):
                function, called = named(line[3:]), ""
            elif line.startswith("cfn="):
                called = named(line[4:])
            elif line.startswith("calls="):
                profile.calls[called] += int(line[6:].split()[0])
            elif line[:1].isdigit() or line[:1] in ("+", "-", "*"):
                cost = int(line.split()[1])
                if called:
                    profile.within[called] += cost
                else:
                    profile.own[function] += cost
                called = ""
        return profile

    @property
    def queries(self) -> int:
        return sum(number for name, number in self.calls.items() if QUERY in name)

    def of(self, name: str) -> float:
        return self.own[name] / self.queries

    @property
    def served(self) -> float:
        """Of all that the poller does, a query."""
        found = (self.within[name] for name in self.within if all(word in name for word in SERVING))
        return max(found) / self.queries


def told(mode: str, profile: Profile) -> str:
    """The line of one mode; says so where it was too short for a figure."""
    line = (
        f"{mode:9}{profile.served - profile.of(HASHING):7,.0f} instructions a query, "
        f"{profile.of(HASHING):,.0f} more for hashing"
    )
    if profile.queries >= QUERIES_MIN:
        return f"{line} ({profile.queries} queries)"
    return (
        f"{line} (only {profile.queries} queries: mostly what happens every second; "
        "more --seconds, or a quieter hour)"
    )


@dataclass(frozen=True)
class Counted:
    """`pid` is the worker's, `port` the appliance's."""

    folder: Path
    pgbench: Path
    port: int
    pid: int

    def count(self, mode: str, clients: int, seconds: int) -> Profile:
        """Raises RuntimeError where there is nothing to count."""
        loading = threading.Thread(target=self._load, args=(mode, clients, seconds))
        loading.start()
        try:
            time.sleep(WARM_SECONDS)
            self._control("-i", "on")
            time.sleep(seconds)
            self._control("-i", "off")
            self._control("-d")
        finally:
            loading.join()
        dumps = sorted(self.folder.glob(f"out.{self.pid}.*"), key=lambda path: path.stat().st_mtime)
        profile = Profile.read(dumps[-1]) if dumps else Profile()
        if not profile.queries:
            raise RuntimeError(f"{mode}: no query was counted")
        return profile

    def _control(self, *arguments: str) -> None:
        subprocess.run(
            ["callgrind_control", *arguments, str(self.pid)],
            check=True,
            capture_output=True,
            timeout=MORE_SECONDS_MAX,
        )

    def _load(self, mode: str, clients: int, seconds: int) -> None:
        length = WARM_SECONDS + 2 * seconds
        how = ["-n", "-S", "-M", mode, "-c", str(clients), "-j", "1", "-T", str(length)]
        subprocess.run(
            [self.pgbench, *how, "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, DATABASE],
            check=True,
            capture_output=True,
            timeout=length + MORE_SECONDS_MAX,
            env={**os.environ, "PGPASSWORD": PASSWORD, "PGSSLMODE": "disable"},
        )


@contextlib.contextmanager
def _counted(folder: Path, target: list[str]) -> Iterator[Counted]:
    """A PostgreSQL, and in front of it an appliance whose worker is under callgrind."""
    with EmbeddedPostgres(folder / "pg", settings=SETTINGS) as postgres:
        pgbench = installed_program("pgbench") or postgres.tool("pgbench")
        load(postgres, pgbench)
        uri = postgres.uri(USER, PASSWORD, DATABASE)
        command: list[str | Path] = [*_wrapped_sallyport(folder), "try", uri]
        command += ["--listen", "127.0.0.1:0", "--data", folder / "data", "--pooling", "session"]
        command += target
        with Child(command, folder / "sallyport.out", {"NO_COLOR": "1"}) as child:
            _, port, _ = ready_fields(child.wait_line("ready ", START_SECONDS_MAX))
            under = [pid for pid in tree(child.pid) if _is_under_valgrind(pid)]
            yield Counted(folder, pgbench, port, under[0])


def _wrapped_sallyport(folder: Path) -> list[Path]:
    """Runs `sallyport` in a twin of this environment, whose interpreter starts workers under
    callgrind."""
    twin = folder / "environment"
    (twin / "bin").mkdir(parents=True)
    (twin / "lib").symlink_to(Path(sys.prefix) / "lib")
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", twin)
    wrapper = twin / "bin" / "python"
    valgrind, out = shutil.which("valgrind"), folder / "out"
    wrapper.write_text(WRAPPER.format(valgrind=valgrind, out=out, python=sys.executable))
    wrapper.chmod(0o755)
    return [wrapper, Path(sys.executable).with_name("sallyport")]


def _is_under_valgrind(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "callgrind" in Path(f"/proc/{pid}/exe").readlink().name
    return False


if __name__ == "__main__":
    main()
