"""The demo on the embedded PostgreSQL, with psycopg and psql."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

from appliance.cli.demo import postgres_session
from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.cli.demo.postgres_session import copy_out
from appliance.cli.demo.postgres_shop import load
from appliance.cli.demo.sample import Sample, Way
from appliance.cli.demo.seen import Session, as_stored, masked
from appliance.cli.demo.shop import DATABASE
from appliance.cli.demo.steps import EMAIL, Words, masked_step, steps

DUE = "COPY (SELECT id, status, total FROM orders WHERE placed_on = '2025-03-01') TO STDOUT"
WORDS = Words(
    product="PostgreSQL",
    prepared="SELECT id, date_of_birth, balance FROM customers WHERE id = %s",
    prepared_shown="SELECT id, date_of_birth, balance FROM customers WHERE id = $1",
    in_bulk=(
        masked_step(
            "COPY of what is masked",
            "The bulk road is watched as well.",
            "COPY customers (id, email) TO STDOUT",
            masked(email=EMAIL),
            copy_out("COPY customers (id, email) TO STDOUT", "id email"),
        ),
        masked_step(
            "COPY of what is not",
            "Nothing is owed here, so it flows.",
            DUE,
            as_stored,
            copy_out(DUE, "id status total"),
        ),
    ),
    way_out="SELECT pg_read_file('/etc/passwd')",
    tags=("BEGIN", "UPDATE 1", "SAVEPOINT", "ROLLBACK", "COMMIT"),
)


class PostgresSample(Sample):
    """See `sample`."""

    DIALECT = "postgresql"
    PORT = 6432
    """What people expect of a pooler or proxy."""
    STEPS = steps(WORDS)
    ESTIMATES = True
    NO_CLIENT = "No psql? apt-get install postgresql-client; any driver with TLS will do."
    HOST = "localhost"

    server: EmbeddedPostgres

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = EmbeddedPostgres(folder / "postgres")

    def load(self, passwords: Mapping[str, str]) -> None:
        load(self.server.uri(), passwords)

    def superuser_uri(self) -> str:
        return self.server.uri(database=DATABASE)

    def uri(self, way: Way) -> str:
        if way.ca is None:
            return self.server.uri(way.user, way.secret, DATABASE)
        who = f"{way.user}:{quote(way.secret, safe='')}"
        checks = f"sslmode=verify-full&sslrootcert={quote(str(way.ca))}"
        return f"postgresql://{who}@{self.HOST}:{way.port}/{DATABASE}?{checks}"

    def session(self, way: Way) -> AbstractContextManager[Session]:
        return postgres_session.session(self.uri(way))

    def policy(self, text: str) -> str:
        return text

    def shell(self, name: str, sql: str = "") -> str:
        return f'psql "${name.upper()}_URI"' + (f' -c "{sql}"' if sql else "")

    def environment(self, ways: Mapping[str, Way]) -> Sequence[str]:
        return ()


SAMPLE = PostgresSample
