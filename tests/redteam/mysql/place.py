"""Where items are sent, who sends them, and how the databases become what they were.

Used by every run. `reset` runs schema.sql again, straight at the server, when the item before may
have changed something; it also ends what users left behind (sessions, accounts, global settings).
"""

import contextlib
import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
from pymysql.constants import CLIENT

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from tests import mariadb as servers
from tests.redteam.mysql.wire import Session

FOLDER = Path(__file__).parents[2] / "corpus" / "mysql"
DATABASE = "crm"
DATABASES = ("crm", "hr", "decoy", "reporting", "scratch")
ADMINISTRATOR = "rt_dba"
GLOBALS = ("general_log", "slow_query_log", "log_output", "event_scheduler", "sql_mode")
SETTLE_SECONDS, SETTLE_TRIES_MAX = 0.05, 200
Item = dict[str, Any]


def read(path: Path) -> list[Item]:
    """One JSON object a line."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def write(path: Path, items: list[Item]) -> None:
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), "utf-8")


def canaries() -> dict[str, str]:
    found: dict[str, str] = json.loads((FOLDER / "canaries.json").read_text("utf-8"))
    return found


@dataclass
class Place:
    """One server and what is measured: `address` is the target's, itself or a proxy before it."""

    server: EmbeddedMariaDB
    address: tuple[str, int]
    users: Mapping[str, str]
    """Name -> password, the same on both sides."""
    logins: Mapping[str, str]
    """Role of the corpus (analyst, super, other) -> user."""
    seconds: float = 6.0
    known: dict[str, str] = field(default_factory=canaries)
    dirty: bool = False
    times: int = 1
    """How often a statement that reads is said on its connection: what was decided once is known
    afterwards."""
    globals: dict[str, str] = field(default_factory=dict)

    @property
    def direct(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.port

    @property
    def scratch(self) -> Path:
        """A folder the server may write."""
        return self.server.socket.parent / "tmp"

    def substitute(self, text: str) -> str:
        """`{{CAN:email1}}`, `{{PORT}}`, `{{USER}}`, `{{PASSWORD}}`, `{{FOLDER}}`, `{{TABLES}}`."""
        user = self.logins["analyst"]
        text = re.sub(r"\{\{CAN:(\w+)\}\}", lambda found: self.known[found[1]], text)
        for name, value in (
            ("PORT", str(self.server.port)),
            ("USER", user),
            ("PASSWORD", self.users[user]),
            ("FOLDER", str(self.scratch)),
            ("TABLES", str(self.server.tables)),
        ):
            text = text.replace("{{" + name + "}}", value)
        return text

    def open(self, login: str = "analyst", *, direct: bool = False, **options: Any) -> Session:
        user = self.logins.get(login, login)
        where = self.direct if direct else self.address
        options.setdefault("database", DATABASE)
        return Session(where, user, self.users[user], seconds=self.seconds, **options)

    # --- as it was --------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Accounts, then the schema. Once for each server."""
        with contextlib.closing(servers.connect(self.server)) as root:
            cursor = root.cursor()
            for user, password in self.users.items():
                for statement in accounts(user, password):
                    cursor.execute(statement)
            for name in GLOBALS:
                cursor.execute(f"SELECT @@GLOBAL.{name}")
                self.globals[name] = str(cursor.fetchone()[0])
        self._load()

    def reset(self) -> None:
        """Nothing unless something may have changed."""
        if self.dirty:
            self._end_sessions()
            self._load()
            self._settle()
            self.dirty = False

    def _end_sessions(self) -> None:
        """Those of the corpus's users on the server; a proxy's pooled ones are idle and stay."""
        with contextlib.closing(servers.connect(self.server)) as root:
            cursor = root.cursor()
            for name, value in self.globals.items():
                cursor.execute(f"SET GLOBAL {name} = {_literal(value)}")
            cursor.execute(
                "SELECT id FROM information_schema.PROCESSLIST WHERE user LIKE 'rt\\_%'"
                " AND command <> 'Sleep'"
            )
            for (number,) in cursor.fetchall():
                with contextlib.suppress(pymysql.err.MySQLError):
                    cursor.execute(f"KILL {number}")
            cursor.execute("SELECT user, host FROM mysql.user WHERE user LIKE 'rt\\_tmp%'")
            for user, host in cursor.fetchall():
                cursor.execute(f"DROP USER '{user}'@'{host}'")
        for path in self.scratch.glob("rt_*"):
            path.unlink()

    def _settle(self) -> None:
        """Until what is measured knows the schema as it is now: a new table tells."""
        if self.address == self.direct:
            return
        marker = f"crm.marker_{secrets.token_hex(4)}"
        servers.run(self.server, f"CREATE TABLE {marker} (known INT)")
        with contextlib.closing(self.open("plain")) as session:
            for _ in range(SETTLE_TRIES_MAX):
                if not session.query(f"SELECT known FROM {marker}".encode()).errors:
                    break
                time.sleep(SETTLE_SECONDS)
            else:
                raise RuntimeError("what is measured does not learn of a new table")
        servers.run(self.server, f"DROP TABLE {marker}")

    def _load(self) -> None:
        text = (FOLDER / "schema.sql").read_text("utf-8")
        options = {"client_flag": CLIENT.MULTI_STATEMENTS, "read_timeout": 60}
        with contextlib.closing(servers.connect(self.server, **options)) as root:
            cursor = root.cursor()
            cursor.execute("SET SESSION lock_wait_timeout = 5")
            cursor.execute(text)
            while cursor.nextset():
                pass


def accounts(user: str, password: str) -> list[str]:
    """Statements that make `user`; the administrator may do everything but be root."""
    account = f"'{user}'@'127.0.0.1'"
    made = [f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}'"]
    if user == ADMINISTRATOR:
        return [*made, f"GRANT ALL PRIVILEGES ON *.* TO {account} WITH GRANT OPTION"]
    rights = [f"GRANT ALL PRIVILEGES ON {name}.* TO {account}" for name in DATABASES]
    return [
        *made,
        *rights,
        f"GRANT PROCESS, FILE ON *.* TO {account}",
        f"GRANT SELECT ON mysql.* TO {account}",
        f"GRANT SELECT ON performance_schema.* TO {account}",
    ]


def _literal(value: str) -> str:
    return value if value.isdigit() else "'" + value.replace("'", "''") + "'"
