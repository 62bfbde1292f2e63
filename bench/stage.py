"""The servers under measurement, on loopback and below one folder: a PostgreSQL, and in front of it
pgbouncer, HAProxy and the Sallyports of `sallyports`; some of them again in front of a canned
backend. Used by `bench.__main__`; everything ends with the `with` block.
"""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from appliance.cli.demo.child import Child
from appliance.cli.demo.embedded import ServerCertificate, free_port
from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.cli.demo.unprivileged import disguise
from bench.proc import tree
from tests.clusters import Authority, Sallyport, installed_program, sallyport_try

USER, PASSWORD, DATABASE = "bench", "bench-password", "bench"
SCALE = 5
BULK_ROWS = 1_000_000
POLICY = Path(__file__).with_name("governed.yaml")
START_SECONDS_MAX = 10.0
SETTINGS = {
    "max_connections": "400",
    "shared_buffers": "256MB",
    "synchronize_seqscans": "off",  # `canned` knows the first row of a scan
}

BULK_TABLE = f"""
CREATE TABLE bulk AS SELECT n AS id, 'name ' || n AS name, 'user' || n || '@example.com' AS email,
  'user' || n || '@example.com' AS mail, 'city ' || n % 100 AS city, n * 7 % 1000 AS amount,
  date '2020-01-01' + n % 1000 AS day FROM generate_series(1, {BULK_ROWS}) n;
VACUUM ANALYZE bulk
"""


@dataclass(frozen=True)
class Target:
    """One way to the database. `roots` are the pids whose trees are the proxy, () for the database
    itself. `kind`: queries, canned (in front of `bench.canned`), shared (many clients on
    SHARED_CONNECTIONS of them)."""

    name: str
    port: int
    roots: tuple[int, ...]
    kind: str = "queries"
    tls: bool = False
    prepared: bool = True
    """pgbouncer before 1.21 gives the statements of one client to another in transaction mode."""
    again: "Callable[[], AbstractContextManager[Target]] | None" = None
    """Starts another one like it, for as long as the `with` block lasts."""

    def pids(self) -> list[int]:
        return [pid for root in self.roots for pid in tree(root)]


SHARED_CONNECTIONS = 8


@dataclass(frozen=True)
class Stage:
    """`loader` is the program that makes the load (pgbench, sysbench)."""

    targets: list[Target]
    loader: Path
    server_pid: int
    versions: dict[str, str]
    scheme: str = "postgresql"

    def uri(self, target: Target) -> str:
        return f"{self.scheme}://{USER}:{PASSWORD}@127.0.0.1:{target.port}/{DATABASE}"


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Starts all; `direct` is the first target, what is not installed is left out."""
    folder.chmod(0o755)
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(EmbeddedPostgres(folder / "pg", settings=SETTINGS))
        pgbench = installed_program("pgbench") or postgres.tool("pgbench")
        load(postgres, pgbench)
        uri = postgres.uri(USER, PASSWORD, DATABASE)
        canned = stack.enter_context(_canned(uri, folder))
        authority = Authority.create(folder / "authority")
        certificate = authority.issue("localhost", "localhost", "127.0.0.1")
        fronts = Fronts(folder, certificate, _verifier(postgres))
        targets = [
            Target("direct", postgres.port, ()),
            Target("direct-canned", canned, (), "canned"),
        ]
        versions = {
            "postgresql": version_of(postgres.tool("postgres")),
            "pgbench": version_of(pgbench),
        }
        program = installed_program("pgbouncer")
        if program is not None:
            versions["pgbouncer"] = version_of(program)
            for name, mode, port, kind in (
                ("pgbouncer", "session", postgres.port, "queries"),
                ("pgbouncer-tx", "transaction", postgres.port, "queries"),
                ("pgbouncer-shared", "transaction", postgres.port, "shared"),
                ("pgbouncer-canned", "session", canned, "canned"),
            ):
                targets.append(
                    stack.enter_context(fronts.pgbouncer(program, name, mode, port, kind))
                )
        program = installed_program("haproxy")
        if program is not None:
            versions["haproxy"] = version_of(program)
            targets.append(stack.enter_context(fronts.haproxy(program, postgres.port)))
        for one in sallyports(postgres.port, canned, fronts.tls_options()):
            started = _sallyport(folder, one.name, one.kind, one.to, *one.options)
            targets.append(stack.enter_context(started))
        yield Stage(targets, pgbench, postgres.pid, versions)


class Planned(NamedTuple):
    """A `sallyport try` with these options, in front of what listens on port `to`."""

    name: str
    kind: str
    to: int
    options: tuple[str | Path, ...]


def sallyports(database: int, canned: int, tls: tuple[str | Path, ...]) -> list[Planned]:
    """By the ports of what they stand in front of: permissive, governed by leases, and governed
    with a question for each statement; of these the first two in front of the canned backend, too
    (the second of them once more, with two workers), and with many clients on few connections."""
    found = []
    for name, policy, check in (
        ("permissive", "permissive", "statement"),
        ("governed", str(POLICY), "lease"),
        ("asking", str(POLICY), "statement"),
    ):
        options = ("--policy", policy, "--pooling", "session", *tls, "--schema-check", check)
        found.append(Planned(name, "queries", database, options))
        if name != "asking":
            found.append(Planned(f"{name}-canned", "canned", canned, options))
        if name == "governed":
            two = (*options, "--workers", "2")
            found.append(Planned(f"{name}-canned-two", "many", canned, two))
    for name, policy in (("permissive", "permissive"), ("governed", str(POLICY))):
        shared = ("--policy", policy, "--pooling", f"transaction:{SHARED_CONNECTIONS}")
        found.append(Planned(f"{name}-shared", "shared", database, shared))
    return found


@contextlib.contextmanager
def _sallyport(
    folder: Path, name: str, kind: str, to: int, *options: str | Path
) -> Iterator[Target]:
    """`sallyport try` in front of what listens on port `to`."""
    uri = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{to}/{DATABASE}"
    own = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
    again = partial(_sallyport, folder, name, kind, to, *options)
    tls = "--tls-key" in options
    running: Sallyport
    with sallyport_try(uri, own, *options) as running:
        yield Target(name, running.port, (running.pid,), kind, tls=tls, again=again)


def load(postgres: EmbeddedPostgres, pgbench: Path) -> None:
    psql = [str(postgres.tool("psql")), postgres.uri(), "-qXc"]
    subprocess.run([*psql, f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'"], check=True)
    subprocess.run([*psql, f"CREATE DATABASE {DATABASE} OWNER {USER}"], check=True)
    subprocess.run([*psql, f"GRANT pg_maintain TO {USER}"], check=False)  # for leases; from 17 on
    uri = postgres.uri(USER, PASSWORD, DATABASE)
    subprocess.run(
        [pgbench, "-i", "-q", "-s", str(SCALE), uri], check=True, capture_output=True, timeout=120
    )
    bulk = [
        str(postgres.tool("psql")),
        uri,
        "-qX",
        *(f"-c{part}" for part in BULK_TABLE.split(";")),
    ]
    subprocess.run(bulk, check=True, timeout=120)
    # Catalogs that are due for cleaning keep leases away for some minutes of the first hour.
    subprocess.run([psql[0], postgres.uri(database=DATABASE), "-qXc", "VACUUM ANALYZE"], check=True)


def _verifier(postgres: EmbeddedPostgres) -> str:
    asked = f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'"
    command = [str(postgres.tool("psql")), postgres.uri(), "-qXAtc", asked]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def version_of(program: Path) -> str:
    """As the program says it; "?" when it says none."""
    done = subprocess.run([program, "-v"], check=False, capture_output=True, text=True)
    if done.returncode:
        done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout)
    return found.group(0) if found else "?"


@contextlib.contextmanager
def _canned(uri: str, folder: Path) -> Iterator[int]:
    """-> the port of `bench.canned`."""
    with Child([sys.executable, "-m", "bench.canned", uri], folder / "canned.out") as child:
        yield int(child.wait_line("port ").split()[1])


class Fronts:
    """Proxies of others. `verifier`: of the database's user, for pgbouncer."""

    def __init__(self, folder: Path, certificate: ServerCertificate, verifier: str = "") -> None:
        self._folder = folder
        self._certificate = certificate
        self._verifier = verifier

    @contextlib.contextmanager
    def pgbouncer(
        self, program: Path, name: str, mode: str, to: int, kind: str
    ) -> Iterator[Target]:
        port = free_port()
        own = self._own(name)
        # The database's own verifier, as with auth_query: with the password in the file pgbouncer
        # would compute the 4096 rounds of SCRAM anew for each login.
        (own / "users.txt").write_text(f'"{USER}" "{self._verifier}"\n')
        for source, copy in (
            (self._certificate.certificate, "crt"),
            (self._certificate.key, "key"),
        ):
            (own / copy).write_bytes(source.read_bytes())
        (own / "pgbouncer.ini").write_text(
            f"""[databases]
{DATABASE} = host=127.0.0.1 port={to} dbname={DATABASE}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {own / "users.txt"}
pool_mode = {mode}
default_pool_size = {SHARED_CONNECTIONS if kind == "shared" else 200}
max_client_conn = 2500
ignore_startup_parameters = extra_float_digits
client_tls_sslmode = allow
client_tls_cert_file = {own / "crt"}
client_tls_key_file = {own / "key"}
"""
        )
        self._give_away(own)
        command = disguise().command(program, own / "pgbouncer.ini")
        again = partial(self.pgbouncer, program, name, mode, to, kind)
        with Child(command, own.with_suffix(".out")) as child:
            _wait_port(port, child)
            prepared = mode == "session"
            yield Target(name, port, (child.pid,), kind, tls=True, prepared=prepared, again=again)

    @contextlib.contextmanager
    def haproxy(self, program: Path, to: int) -> Iterator[Target]:
        """TCP both ways, one thread."""
        port = free_port()
        own = self._own("haproxy")
        (own / "haproxy.cfg").write_text(
            f"""global
  maxconn 2000
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen database
  bind 127.0.0.1:{port}
  server database 127.0.0.1:{to}
"""
        )
        self._give_away(own)
        command = disguise().command(program, "-db", "-f", own / "haproxy.cfg")
        with Child(command, own.with_suffix(".out")) as child:
            _wait_port(port, child)
            again = partial(self.haproxy, program, to)
            yield Target("haproxy", port, (child.pid,), again=again)

    def tls_options(self) -> tuple[str | Path, ...]:
        """Of `sallyport try`."""
        leaf = self._certificate
        return ("--tls-certificate", leaf.certificate, "--tls-key", leaf.key)

    def _own(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._folder))

    def _give_away(self, own: Path) -> None:
        uid = disguise().uid
        if uid is not None:
            for each in (own, *own.iterdir()):
                shutil.chown(each, uid)


def _wait_port(port: int, child: Child) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise TimeoutError(f"nobody listens:\n{child.text()}")
