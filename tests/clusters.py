"""Servers that tests start: PostgreSQL in its variants and Sallyport, on free loopback ports.

Used by `conftest.py` fixtures and directly by tests that need a server of their own. Everything
started here is ended by its pid, and dies with the test process where Linux can do it.
"""

import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from appliance.cli.authority import issue, make_authority
from appliance.cli.demo.child import Child, ready_fields
from appliance.cli.demo.embedded import ServerCertificate
from appliance.cli.demo.postgres import EmbeddedPostgres

SALLYPORT = Path(sys.executable).with_name("sallyport")
READY_SECONDS_MAX = 120.0  # of a machine that does other things as well


def installed_postgres() -> Path | None:
    """Programs of the newest PostgreSQL the machine itself has (built with TLS), or None."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    return found[-1].parent if found else None


def installed_program(name: str) -> Path | None:
    """psql, pgbench, pg_dump, pg_restore, pgbouncer... of the machine (TLS-capable), or None."""
    bin_dir = installed_postgres()
    if bin_dir is not None and (bin_dir / name).exists():
        return bin_dir / name
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin:/sbin")
    return Path(found) if found else None


@dataclass(frozen=True)
class Authority:
    """A throw-away CA whose files are in `folder`."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> "Authority":
        make_authority(folder, "Test CA", days=2)
        return cls(folder)

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    def issue(self, name: str, *names: str, client: bool = False) -> ServerCertificate:
        """A leaf with subject `name` and these subject alternative names."""
        leaf = issue(self.folder, name, names, client, days=2)
        return ServerCertificate(leaf.certificate, leaf.key, self.certificate)


# --- Sallyport ---------------------------------------------------------------------------------


@dataclass
class Sallyport:
    """A running appliance. `fields` is what its ready line says: admin=..., data=..., ..."""

    child: Child
    host: str
    port: int
    fields: dict[str, str]

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def data(self) -> Path:
        return Path(self.fields["data"])

    @property
    def admin(self) -> str:
        """host:port of /healthz, /readyz, /metrics."""
        return self.fields["admin"]

    def uri(self, user: str, password: str, database: str, **parameters: str) -> str:
        query = f"?{urlencode(parameters)}" if parameters else ""
        who = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{who}@{self.host}:{self.port}/{quote(database)}{query}"

    def text(self) -> str:
        """Everything it wrote so far."""
        return self.child.text()

    def worker_pids(self) -> list[int]:
        """Its direct children, oldest first."""
        listing = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in listing.split()]


@contextlib.contextmanager
def sallyport(folder: Path, *arguments: str | Path, **environment: str) -> Iterator[Sallyport]:
    """`sallyport ARGUMENTS...`, ready; ended by SIGTERM, which must give exit status 0."""
    if not SALLYPORT.exists():
        raise AssertionError("no sallyport command beside this Python: run `make setup`")
    command = [SALLYPORT, *arguments]
    child = Child(command, folder / "sallyport.out", {"NO_COLOR": "1", **environment})
    try:
        yield Sallyport(child, *ready_fields(child.wait_line("ready ", READY_SECONDS_MAX)))
    except BaseException:
        child.stop()
        raise
    status = child.stop()
    assert status == 0, f"exit status {status} after SIGTERM:\n{child.text()[-4000:]}"


@contextlib.contextmanager
def sallyport_try(uri: str, folder: Path, *arguments: str | Path) -> Iterator[Sallyport]:
    """`sallyport try` in front of the database `uri`, on a free port, data below `folder`."""
    fixed = ("--listen", "127.0.0.1:0", "--data", folder / "data")
    with sallyport(folder, "try", uri, *fixed, *arguments) as running:
        yield running


@contextlib.contextmanager
def sallyport_serve(config: Path, folder: Path, *arguments: str | Path) -> Iterator[Sallyport]:
    """`sallyport serve --config`."""
    with sallyport(folder, "serve", "--config", config, *arguments) as running:
        yield running


__all__ = [
    "Authority",
    "EmbeddedPostgres",
    "Sallyport",
    "ServerCertificate",
    "installed_postgres",
    "installed_program",
    "sallyport",
    "sallyport_serve",
    "sallyport_try",
]
