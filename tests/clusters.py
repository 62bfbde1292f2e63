"""Servers that tests start: PostgreSQL in its variants and Sallyport itself, on free loopback ports.

Used by `conftest.py` fixtures and directly by tests that need a server of their own. Everything
started here is ended by its pid, and dies with the test process where Linux can do it.
"""

import contextlib
import ipaddress
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote, urlencode

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.cli.demo.child import Child, ready_fields
from appliance.cli.demo.postgres import EmbeddedPostgres, ServerCertificate

SALLYPORT = Path(sys.executable).with_name("sallyport")


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


# --- certificates ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A throw-away CA for tests; `certificate` is its PEM file."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    itself: x509.Certificate

    @classmethod
    def create(cls, folder: Path, name: str = "Test CA") -> "Authority":
        folder.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _draft(subject, subject, key).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        authority = cls(folder, key, builder.sign(key, hashes.SHA256()))
        authority.certificate.write_bytes(authority.itself.public_bytes(serialization.Encoding.PEM))
        return authority

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    def issue(
        self, name: str, *hosts: str, client: bool = False, emails: tuple[str, ...] = ()
    ) -> ServerCertificate:
        """A leaf for a server of `hosts` (names and addresses) or for the client `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = (
            _draft(subject, self.itself.subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        )
        names: list[x509.GeneralName] = [*map(_host, hosts), *map(x509.RFC822Name, emails)]
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        paths = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        leaf = builder.sign(self.key, hashes.SHA256())
        paths[0].write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        paths[1].touch(0o600)
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return ServerCertificate(paths[0], paths[1], self.certificate)


def _draft(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


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
        yield Sallyport(child, *ready_fields(child.wait_line("ready ")))
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
