"""What the tests of this folder work on: a database with secrets, policies, a server that logs.

Used by `conftest.py` here; the canaries are what must never reach a masked client.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from appliance.cli.demo.postgres import EmbeddedPostgres
from tests import clusters
from tests.clusters import Sallyport
from tests.wireclient import VERSION_30, WireClient

ROLE, PASSWORD, DATABASE = "analyst", "analyst-password", "vault"
CANARIES = ("123-45-6789", "ada@example.org", "987-65-4321", "bob@example.net", "31337", "41414")
CARGO = "9f8e7d"

SCHEMA = f"""
CREATE TABLE customers (
    id int PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL UNIQUE,
    ssn text CHECK (ssn ~ '-'),
    score int,
    country text NOT NULL DEFAULT 'DE'
);
INSERT INTO customers VALUES (1, 'Ada', 'ada@example.org', '123-45-6789', 31337),
                             (2, 'Bob', 'bob@example.net', '987-65-4321', 41414),
                             (3, 'Eve', 'eve@example.com', NULL, NULL);
CREATE TABLE notes (id int PRIMARY KEY, body text);
INSERT INTO notes SELECT n, 'note ' || n FROM generate_series(1, 100) n;
CREATE TABLE doomed (id int);
INSERT INTO doomed VALUES (1);
GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE};
GRANT ALL ON SCHEMA public TO {ROLE};
ALTER TABLE doomed OWNER TO {ROLE};
"""

MASKED = """
version: 1
mode: enforce
classifications:
  email: [vault.public.customers.email]
  ssn: [vault.public.customers.ssn]
  score: [vault.public.customers.score]
rules:
  - {id: work, effect: allow, actions: [read, session, write, create_temporary, calls]}
  - {id: no-drop, effect: deny, actions: [drop, truncate], message: Nothing is dropped here.}
  - id: no-whole-table-writes
    effect: deny
    actions: [update, delete]
    flags: [no_where, trivial_where]
  - {id: mask-email, effect: mask, classifications: [email], mask: {method: email}}
  - {id: mask-ssn, effect: mask, classifications: [ssn], mask: {method: keep_last, keep: 4}}
  - {id: mask-score, effect: mask, classifications: [score], mask: {method: truncate_number, step: 10000}}
"""
"""For somebody who owes masks on three columns of `customers`, one of them an int."""

GUARDED = """
version: 1
mode: enforce
rules:
  - {id: work, effect: allow, actions: [read, session, write, create_temporary, calls, create]}
  - {id: no-drop, effect: deny, actions: [drop, truncate], message: Nothing is dropped here.}
"""
"""For somebody who owes no mask, but may not drop."""


class Cluster:
    """A PostgreSQL that logs every statement, with the database `vault`."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self.reset()

    def reset(self) -> None:
        with psycopg.connect(self.server.uri(), autocommit=True) as root:
            root.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
            if not root.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ROLE,)).fetchone():
                root.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
            root.execute(f"CREATE DATABASE {DATABASE}")
        with psycopg.connect(self.server.uri(database=DATABASE), autocommit=True) as vault:
            vault.execute(SCHEMA)

    @property
    def uri(self) -> str:
        """As the analyst, straight."""
        return self.server.uri(ROLE, PASSWORD, DATABASE)

    def ask(self, text: str, *values: object) -> list[tuple[object, ...]]:
        """As the superuser, past the proxy."""
        with psycopg.connect(self.server.uri(database=DATABASE), autocommit=True) as root:
            return root.execute(text, values).fetchall()

    def logged(self) -> str:
        return self.server.log.read_text(errors="replace")


@dataclass
class Proxy:
    """A running Sallyport in front of the vault."""

    running: Sallyport
    cluster: Cluster

    @property
    def uri(self) -> str:
        return self.running.uri(ROLE, PASSWORD, DATABASE)

    def login(self, version: int = VERSION_30, **settings: str) -> WireClient:
        return WireClient.login(self.uri, version, **settings)

    def workers(self) -> list[int]:
        """Pids of the worker processes (not their analyzers)."""
        return self.running.worker_pids()


@contextmanager
def proxy(cluster: Cluster, folder: Path, policy: str, *options: str | Path) -> Iterator[Proxy]:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "policy.yaml"
    file.write_text(policy)
    with clusters.sallyport_try(cluster.uri, folder, "--policy", file, *options) as running:
        yield Proxy(running, cluster)


def clean(*pieces: bytes | str) -> None:
    """Fails when a canary is in what a client got."""
    for piece in pieces:
        text = piece.decode("latin-1") if isinstance(piece, bytes) else piece
        for canary in CANARIES:
            assert canary not in text, f"{canary} leaked in {text[:300]!r}"
