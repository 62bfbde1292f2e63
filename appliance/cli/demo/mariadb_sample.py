"""The demo on a MariaDB of Debian's, installed or unpacked (scripts/mariadb.sh), with PyMySQL and
MariaDB's own programs.
"""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from appliance.cli.demo import mariadb_session
from appliance.cli.demo.mariadb import SUPERUSER, EmbeddedMariaDB
from appliance.cli.demo.mariadb_session import Account, dumped, listed
from appliance.cli.demo.mariadb_shop import load
from appliance.cli.demo.sample import Sample, Way
from appliance.cli.demo.seen import Session, as_stored, masked
from appliance.cli.demo.shop import DATABASE, OWNER
from appliance.cli.demo.steps import EMAIL, Words, masked_step, steps
from appliance.cli.files import write_private

PROGRAMS = ("mariadb", "mariadb-dump")
DUE = "SELECT id, status, total FROM orders WHERE placed_on = '2025-03-01'"
WORDS = Words(
    product="MariaDB",
    prepared="SELECT id, date_of_birth, balance FROM customers WHERE id = ?",
    prepared_shown="SELECT id, date_of_birth, balance FROM customers WHERE id = ?",
    in_bulk=(
        masked_step(
            "A dump of what is masked",
            "mariadb-dump, which asks for much: the bulk road is watched as well.",
            "SELECT /*!40001 SQL_NO_CACHE */ * FROM `customers`",
            masked(email=EMAIL),
            dumped("customers", "id name email"),
        ),
        masked_step(
            "In bulk, what is not",
            "The `mariadb` program. Nothing is owed here, so it flows.",
            DUE,
            as_stored,
            listed(DUE),
        ),
    ),
    way_out="SELECT load_file('/etc/passwd')",
    tags=("OK", "OK, 1 row", "OK", "OK", "OK"),
)


class MariaSample(Sample):
    """See `sample`."""

    DIALECT = "mysql"
    PORT = 3307
    TARGET: ClassVar[Mapping[str, object]] = {
        "catalog": {"user": OWNER, "credential": f"file:secrets/{OWNER}"}
    }
    STEPS = steps(WORDS)
    ESTIMATES = False
    NO_CLIENT = "No mariadb? apt-get install mariadb-client; any driver with TLS will do."
    HOST = "127.0.0.1"
    """MariaDB's programs take `localhost` for the Unix socket."""

    server: EmbeddedMariaDB

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = EmbeddedMariaDB(folder / "mariadb")

    def load(self, passwords: Mapping[str, str]) -> None:
        superuser = {"user": SUPERUSER, "password": self.server.password}
        load({**superuser, "host": self.HOST, "port": self.server.port}, passwords)

    def superuser_uri(self) -> str:
        return self.server.uri(database=DATABASE)

    def uri(self, way: Way) -> str:
        if way.ca is None:
            return self.server.uri(way.user, way.secret, DATABASE)
        who = f"{way.user}:{quote(way.secret, safe='')}"
        return f"mysql://{who}@{self.HOST}:{way.port}/{DATABASE}?ssl-ca={quote(str(way.ca))}"

    def session(self, way: Way) -> AbstractContextManager[Session]:
        return mariadb_session.session(self._account(way))

    def policy(self, text: str) -> str:
        """Policies name MySQL's databases where PostgreSQL has schemas; the first part is the one
        that a session has logged in to."""
        names = {"shop.public.": "*.shop.", '"shop.pg_catalog.*", ': "", "shop.info": "*.info"}
        for theirs, ours in names.items():
            text = text.replace(theirs, ours)
        return text

    def shell(self, name: str, sql: str = "") -> str:
        return f'mariadb --defaults-file="${name.upper()}_CNF"' + (f' -e "{sql}"' if sql else "")

    def environment(self, ways: Mapping[str, Way]) -> Sequence[str]:
        lines = [
            f"export {name.upper()}_CNF={shlex.quote(str(self._account(way).options))}"
            for name, way in ways.items()
        ]
        if self.server.programs.environment():  # unpacked, not installed
            where = f"LD_LIBRARY_PATH={self.server.programs.environment()['LD_LIBRARY_PATH']}"
            program = shlex.quote(str(self.server.tool("mariadb")))
            lines.append(f'mariadb() {{ {shlex.quote(where)} {program} "$@"; }}')
        return lines

    def _account(self, way: Way) -> Account:
        account = Account(
            user=way.user,
            password=way.secret,
            port=way.port,
            database=DATABASE,
            ca=way.ca,
            options=self.folder / f"{way.user}.cnf",
            programs={name: self.server.tool(name) for name in PROGRAMS},
            environment=self.server.programs.environment(),
            host=self.HOST,
        )
        write_private(account.options, account.option_file().encode())
        return account


SAMPLE = MariaSample
