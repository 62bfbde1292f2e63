"""Starts and stops a MariaDB server of its own; used by the demo, the tests and the benchmarks.

The programs are those of Debian's packages, installed, or unpacked without root below `.mariadb`
(scripts/mariadb.sh does either). The server runs as a plain user in a temporary folder, listens on
loopback and on a Unix socket, and is ended by its pid. Start it from a thread that lives as long as
the server should: where Linux can do it, the server ends when that thread does.

Rule: no password is ever an argument of a program; the superuser's goes through an init file that
is private and gone once the server is ready.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from appliance.cli.demo.postgres import ServerCertificate, free_port
from appliance.cli.demo.unprivileged import CannotRun, disguise, hand_over
from appliance.cli.files import write_private

SUPERUSER = "root"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0
PORT_ATTEMPTS_MAX = 5
UNPACKED = Path(__file__).parents[3] / ".mariadb"
"""Where scripts/mariadb.sh unpacks what is not installed."""
SHARE = "usr/share/mysql"
SYSTEM_TABLES = (
    "mysql_system_tables.sql",
    "mysql_system_tables_data.sql",
    "mysql_performance_tables.sql",
    "maria_add_gis_sp_bootstrap.sql",
    "mysql_sys_schema.sql",
)
"""What mariadb-install-db feeds to a server in bootstrap mode, in this order."""

# A server that is thrown away afterwards: durability costs time and buys nothing.
SETTINGS: Mapping[str, str] = {
    "bind-address": "127.0.0.1",
    "character-set-server": "utf8mb4",
    "collation-server": "utf8mb4_general_ci",
    "default-time-zone": "+00:00",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "8M",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-doublewrite": "OFF",
    "innodb-use-native-aio": "OFF",
    "innodb-stats-persistent": "OFF",
    "key-buffer-size": "4M",
    "aria-pagecache-buffer-size": "4M",
    "max-allowed-packet": "64M",
    "max-connections": "200",
    "skip-name-resolve": "ON",
    "performance-schema": "OFF",
    "log-warnings": "1",
}
UNGUARDED = (
    "DELETE FROM mysql.global_priv WHERE User = ''"
    " OR (User = 'root' AND Host NOT IN ('localhost', '127.0.0.1'));"
)
"""Accounts that the bootstrap makes and nobody gave a password."""
PLAIN_FILE_CALLS = "innodb-flush-method=nosync"


@dataclass(frozen=True)
class Programs:
    """Where MariaDB's programs are: `prefix` holds usr/sbin, usr/bin, usr/share."""

    prefix: Path
    plugins: Path | None
    """Plugins that only the whole server package has (ed25519, FEDERATED...)."""

    def find(self, name: str) -> Path | None:
        """`mariadb`, `mariadbd`, `mariadb-dump`..., or None."""
        for folder in ("usr/sbin", "usr/bin"):
            if (found := self.prefix / folder / name).exists():
                return found
        return None

    def environment(self) -> dict[str, str]:
        """What a program needs to find its libraries."""
        if self.prefix == Path("/"):
            return {}
        folders = [*self.prefix.glob("usr/lib/*-linux-gnu*"), *self.prefix.glob("lib/*-linux-gnu*")]
        return {"LD_LIBRARY_PATH": ":".join(map(str, folders))}


def programs() -> Programs | None:
    """The installed MariaDB, or the one unpacked, or None."""
    plugins = UNPACKED / "usr/lib/mysql/plugin"
    for prefix in (Path("/"), UNPACKED):
        if (prefix / "usr/sbin/mariadbd").exists() and (prefix / SHARE).is_dir():
            return Programs(prefix, plugins if plugins.is_dir() else None)
    return None


class EmbeddedMariaDB:
    """One MariaDB in `folder`; starting again on the same folder uses it again.

    `port` 0 picks a free one at each start. `settings` are options of mariadbd without their
    dashes. The superuser may come from 127.0.0.1 and over the socket, always with `password`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        settings: Mapping[str, str] | None = None,
        tls: ServerCertificate | None = None,
    ) -> None:
        found = programs()
        if found is None:
            raise CannotRun("no MariaDB here: apt-get install mariadb-server-core")
        self.folder = folder.absolute()
        self.programs = found
        self.port = port
        self.password = ""
        self._port_wanted = port
        self._settings = {**SETTINGS, **(settings or {})}
        self.tls = tls
        self._disguise = disguise()
        self._process: subprocess.Popen[bytes] | None = None
        self._stage: Path | None = None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise CannotRun("this MariaDB is not running")
        return self._process.pid

    @property
    def tables(self) -> Path:
        """The server's data directory."""
        return self._place / "mysql"

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self._place / "socket"

    @property
    def log(self) -> Path:
        return self.folder / "mariadb.log"

    def uri(
        self, user: str = SUPERUSER, password: str | None = None, database: str = "mysql"
    ) -> str:
        """A `mysql://` URI straight to this server; default password: the superuser's."""
        secret = self.password if password is None else password
        return f"mysql://{quote(user)}:{quote(secret)}@127.0.0.1:{self.port}/{quote(database)}"

    def tool(self, name: str) -> Path:
        """Path of mariadb, mariadb-dump...; CannotRun when it is not there."""
        found = self.programs.find(name)
        if found is None:
            raise CannotRun(f"no {name} here: apt-get install mariadb-client")
        return found

    def start(self) -> Self:
        """Returns when connections are taken; else CannotRun with the end of the server's log."""
        self._prepare()
        for _ in range(PORT_ATTEMPTS_MAX):
            self.port = self._port_wanted or free_port()
            self._launch()
            if self._wait_ready():
                (self._place / "init.sql").unlink()
                return self
            if self._port_wanted or "Address already in use" not in self._log_tail():
                break
        raise CannotRun(f"MariaDB did not start:\n{self._log_tail()}")

    def stop(self) -> None:
        """SIGTERM, which ends sessions; a kill for whoever does not listen."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
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

    # --- before it runs ---------------------------------------------------------------------------

    @property
    def _place(self) -> Path:
        """`folder`, or a stage that another uid may enter."""
        return self._stage or self.folder

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._disguise.uid is not None and self._stage is None:
            self._stage = Path(tempfile.mkdtemp(prefix="sallyport-my-"))
        secret = self.folder / "superuser.password"
        if not secret.exists():
            write_private(secret, secrets.token_hex(16).encode())
        self.password = secret.read_text().strip()
        (self._place / "tmp").mkdir(exist_ok=True)
        fresh = not (self.tables / "mysql").is_dir()
        self.tables.mkdir(exist_ok=True)
        self._write_init()
        self._bring_certificate()
        self._hand_over()
        if fresh:
            self._bootstrap()
            self._hand_over()

    def _hand_over(self) -> None:
        if self._disguise.uid is not None:
            hand_over(self._place, self._disguise.uid)

    def _write_init(self) -> None:
        """Run by the server before it listens; accounts and passwords are as here at each start."""
        accounts = [f"'{SUPERUSER}'@'{host}'" for host in ("localhost", "127.0.0.1")]
        lines = [
            UNGUARDED,
            "FLUSH PRIVILEGES;",
        ]
        for account in accounts:
            lines.append(f"CREATE USER IF NOT EXISTS {account};")
            lines.append(f"ALTER USER {account} IDENTIFIED BY '{self.password}';")
            lines.append(f"GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION;")
        write_private(self._place / "init.sql", ("\n".join(lines) + "\n").encode())

    def _bring_certificate(self) -> None:
        if self.tls is None:
            return
        write_private(self._place / "server.crt", self.tls.certificate.read_bytes())
        write_private(self._place / "server.key", self.tls.key.read_bytes())
        if self.tls.authority is not None:
            write_private(self._place / "authority.crt", self.tls.authority.read_bytes())

    def _bootstrap(self) -> None:
        """System tables, as mariadb-install-db makes them, without its shell script."""
        share = self.programs.prefix / SHARE
        text = "CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket=NULL;\n" + "\n".join(
            (share / name).read_text("utf-8") for name in SYSTEM_TABLES
        )
        done = subprocess.run(
            self._disguise.command(
                *self._command("--bootstrap", "--log-warnings=0", "--enforce-storage-engine=")
            ),
            input=text.encode(),
            capture_output=True,
            cwd="/",
            env=self._environment(),
            check=False,
        )
        if done.returncode:
            shutil.rmtree(self.tables, ignore_errors=True)
            raise CannotRun(f"MariaDB's bootstrap failed:\n{done.stderr.decode()[-2000:]}")

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "LC_ALL": "C.UTF-8", **self.programs.environment()}

    def _command(self, *further: str) -> list[str]:
        """mariadbd and what holds in bootstrap mode too. Option files are never read."""
        prefix = self.programs.prefix
        command = [
            str(self.tool("mariadbd")),
            "--no-defaults",
            f"--basedir={prefix / 'usr'}",
            f"--lc-messages-dir={prefix / SHARE}",
            f"--character-sets-dir={prefix / SHARE / 'charsets'}",
            f"--datadir={self.tables}",
            f"--tmpdir={self._place / 'tmp'}",
            f"--{PLAIN_FILE_CALLS}",
        ]
        if self.programs.plugins is not None:
            command.append(f"--plugin-dir={self.programs.plugins}")
        return [*command, *further]

    # --- running ----------------------------------------------------------------------------------

    def _launch(self) -> None:
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        if self.tls is not None:
            options += [f"--ssl-{one}={self._place / f'server.{end}'}" for one, end in CERTIFICATE]
            if self.tls.authority is not None:
                options.append(f"--ssl-ca={self._place / 'authority.crt'}")
        command = self._command(
            f"--port={self.port}",
            f"--socket={self.socket}",
            f"--pid-file={self._place / 'pid'}",
            f"--init-file={self._place / 'init.sql'}",
            "--skip-log-bin",
            *options,
        )
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._disguise.mortal(*command, signal="TERM"),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,  # a Ctrl-C in the terminal is for us to pass on
                env=self._environment(),
            )

    def _wait_ready(self) -> bool:
        """It says `ready for connections` once the init file has been run and it listens."""
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and self._process.poll() is None:
            if "ready for connections" in self.log.read_text(errors="replace"):
                return True
            time.sleep(0.01)
        self._process.kill()
        self._process.wait()
        self._process = None
        return False

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""


CERTIFICATE = (("cert", "crt"), ("key", "key"))
