"""The servers under measurement, on loopback and below one folder: a PostgreSQL, and in front of it
pgbouncer and Sallyport twice. Used by `bench.__main__`; everything ends with the `with` block.
"""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.cli.demo.child import Child
from appliance.cli.demo.postgres import EmbeddedPostgres, free_port
from appliance.cli.demo.unprivileged import disguise
from bench.proc import tree
from tests.clusters import Sallyport, installed_program, sallyport_try

USER, PASSWORD, DATABASE = "bench", "bench-password", "bench"
SCALE = 5
POLICY = Path(__file__).with_name("governed.yaml")
START_SECONDS_MAX = 10.0


@dataclass(frozen=True)
class Target:
    """One way to the database. `pid` is the root of its processes, 0 for the database itself."""

    name: str
    port: int
    pid: int

    def pids(self) -> list[int]:
        return tree(self.pid) if self.pid else []


@dataclass(frozen=True)
class Stage:
    targets: list[Target]
    pgbench: Path
    versions: dict[str, str]


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Starts all; `direct` is the first target, pgbouncer is left out where it is not installed."""
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(folder / "pg"))
        pgbench = installed_program("pgbench") or postgres.tool("pgbench")
        _load(postgres, pgbench)
        targets = [Target("direct", postgres.port, 0)]
        versions = {"postgresql": _version(postgres.tool("postgres")), "pgbench": _version(pgbench)}
        program = installed_program("pgbouncer")
        if program is not None:
            targets.append(stack.enter_context(_pgbouncer(program, postgres, folder)))
            versions["pgbouncer"] = _version(program)
        uri = postgres.uri(USER, PASSWORD, DATABASE)
        for name, policy in (("permissive", "permissive"), ("governed", str(POLICY))):
            own = folder / name
            running: Sallyport = stack.enter_context(sallyport_try(uri, own, "--policy", policy))
            targets.append(Target(name, running.port, running.pid))
        yield Stage(targets, pgbench, versions)


def _load(postgres: EmbeddedPostgres, pgbench: Path) -> None:
    psql = [str(postgres.tool("psql")), postgres.uri(), "-qXc"]
    subprocess.run([*psql, f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"], check=True)
    subprocess.run([*psql, f"CREATE DATABASE {DATABASE} OWNER {USER}"], check=True)
    uri = postgres.uri(USER, PASSWORD, DATABASE)
    subprocess.run(
        [pgbench, "-i", "-q", "-s", str(SCALE), uri], check=True, capture_output=True, timeout=120
    )


def _version(program: Path) -> str:
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    return done.stdout.splitlines()[0].split(" (")[-1].rstrip(")").split()[-1]


@contextlib.contextmanager
def _pgbouncer(program: Path, postgres: EmbeddedPostgres, folder: Path) -> Iterator[Target]:
    own = folder / "pgbouncer"
    own.mkdir()
    port = free_port()
    (own / "users.txt").write_text(f'"{USER}" "{PASSWORD}"\n')
    (own / "pgbouncer.ini").write_text(
        f"""[databases]
{DATABASE} = host=127.0.0.1 port={postgres.port} dbname={DATABASE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {own / "users.txt"}
pool_mode = session
default_pool_size = 100
ignore_startup_parameters = extra_float_digits
"""
    )
    uid = disguise().uid
    if uid is not None:
        shutil.chown(own, uid)
        folder.chmod(0o755)
    command = disguise().command(program, own / "pgbouncer.ini")
    with Child(command, folder / "pgbouncer.out") as child:
        _wait_port(port, child)
        yield Target("pgbouncer", port, child.pid)


def _wait_port(port: int, child: Child) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"pgbouncer does not listen:\n{child.text()}")
