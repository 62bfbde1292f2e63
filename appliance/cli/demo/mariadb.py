"""A MariaDB server of our own; used by the demo, the tests and the benchmarks.

The programs are those of Debian's packages, installed, or unpacked without root below `.mariadb`
(scripts/mariadb.sh does either). How it lives and ends: `embedded`. The superuser's password goes
through an init file that is private and gone once the server is ready.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from appliance.cli.demo.embedded import EmbeddedServer, ServerCertificate
from appliance.cli.demo.unprivileged import CannotRun, hand_over
from appliance.cli.files import write_private

SUPERUSER = "root"
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


class EmbeddedMariaDB(EmbeddedServer):
    """One MariaDB. `settings` are options of mariadbd without their dashes. The superuser may come
    from 127.0.0.1 and over the socket, always with `password`."""

    PRODUCT = "MariaDB"
    LOG_NAME = "mariadb.log"
    PORT_TAKEN = "Address already in use"
    STOP = signal.SIGTERM
    START_SECONDS_MAX = 60.0

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
        super().__init__(folder, port=port, settings={**SETTINGS, **(settings or {})}, tls=tls)
        self.programs = found

    @property
    def tables(self) -> Path:
        """The server's data directory."""
        return self._place / "mysql"

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self._place / "socket"

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

    # --- before it runs ---------------------------------------------------------------------------

    @property
    def _place(self) -> Path:
        """`folder`, or a stage that another uid may enter."""
        return self._stage or self.folder

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._disguise.uid is not None and self._stage is None:
            self._stage = Path(tempfile.mkdtemp(prefix="sallyport-my-"))
        self._keep_password()
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

    def _program(self) -> Sequence[str | Path]:
        options = [f"--{name}={value}" for name, value in self._settings.items()]
        if self.tls is not None:
            options += [f"--ssl-{one}={self._place / f'server.{end}'}" for one, end in CERTIFICATE]
            if self.tls.authority is not None:
                options.append(f"--ssl-ca={self._place / 'authority.crt'}")
        return self._command(
            f"--port={self.port}",
            f"--socket={self.socket}",
            f"--pid-file={self._place / 'pid'}",
            f"--init-file={self._place / 'init.sql'}",
            "--skip-log-bin",
            *options,
        )

    def _says_ready(self) -> bool:
        """It says `ready for connections` once the init file has been run and it listens."""
        if "ready for connections" not in self.log.read_text(errors="replace"):
            return False
        (self._place / "init.sql").unlink()
        return True


CERTIFICATE = (("cert", "crt"), ("key", "key"))
