"""What the tests of this folder work on: a database with secrets, policies, a server that logs.

Used by `conftest.py` here; the canaries are what must never reach a masked client.
"""

import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import yaml

from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.cli.files import write_private
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from tests import clusters
from tests.clusters import Authority, Sallyport
from tests.wireclient import VERSION_30, WireClient, message

ROLE, PASSWORD, DATABASE = "analyst", "analyst-password", "vault"
CANARIES = ("123-45-6789", "ada@example.org", "987-65-4321", "bob@example.net", "31337", "41414")

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
  - id: mask-score
    effect: mask
    classifications: [score]
    mask: {method: truncate_number, step: 10000}
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
            found = root.execute(text, values or None)
            return found.fetchall() if found.description else []

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


# --- with a configuration file -------------------------------------------------------------------


@contextmanager
def tls_proxy(
    cluster: Cluster, folder: Path, authority: Authority, mode: str, policy: str
) -> Iterator[Proxy]:
    """`sallyport serve` with a certificate for localhost; `mode`: allow or require."""
    leaf = authority.issue(f"proxy-{mode}", "localhost", "127.0.0.1")
    tls = {"mode": mode, "certificate": str(leaf.certificate), "key": str(leaf.key)}
    with served(cluster, folder, policy, tls) as running:
        yield running


@contextmanager
def served(
    cluster: Cluster,
    folder: Path,
    policy: str,
    tls: dict[str, str] | None = None,
    **settings: object,
) -> Iterator[Proxy]:
    """`sallyport serve`; `settings` are added to the configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "policy.yaml").write_text(policy)
    write_private(folder / "secret", PASSWORD.encode())
    verifier = make_verifier(PASSWORD, secrets.token_bytes(16)).render()
    users = Directory([User(name=ROLE, groups=("analysts",), verifier=verifier)])
    write_private(folder / "users.yaml", render_users(users).encode())
    listener = {
        "name": "main",
        "address": "127.0.0.1:0",
        "target": "vault",
        "tls": tls or {"mode": "disable"},
    }
    role = {"principals": [ROLE], "user": ROLE, "credential": f"file:{folder / 'secret'}"}
    target = {
        "name": "vault",
        "host": "127.0.0.1",
        "port": cluster.server.port,
        "tls": {"mode": "disable"},
        "roles": [role],
    }
    configuration = {
        "data": str(folder / "data"),
        "workers": 1,
        "admin": "127.0.0.1:0",
        "listeners": [listener],
        "targets": [target],
        "identities": {"users": "users.yaml"},
        "policy": {"files": ["policy.yaml"]},
        **settings,
    }
    file = folder / "sallyport.yaml"
    file.write_text(yaml.safe_dump(configuration))
    with clusters.sallyport_serve(file, folder) as running:
        yield Proxy(running, cluster)


# --- a database that lies ------------------------------------------------------------------------

GREETING = (
    message("R", struct.pack("!I", 0))
    + message("S", b"client_encoding\0UTF8\0")
    + message("S", b"standard_conforming_strings\0on\0")
    + message("K", struct.pack("!II", 4711, 42))
    + message("Z", b"I")
)
"""What a trusting server says after the startup packet."""


class FakeUpstream:
    """Speaks from a script: `greeting` after the startup packet, `answer` to every chunk after it.

    `tls_answer` is what it says to SSLRequest. Everything it was sent is in `heard`.
    """

    def __init__(
        self, greeting: bytes = GREETING, answer: bytes = b"", tls_answer: bytes = b"N"
    ) -> None:
        self.greeting, self.answer, self.tls_answer = greeting, answer, tls_answer
        self.heard = bytearray()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    @property
    def uri(self) -> str:
        port = self._listening.getsockname()[1]
        return f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{port}/{DATABASE}"

    def __enter__(self) -> "FakeUpstream":
        thread = threading.Thread(target=self._accept, daemon=True)
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        for thread in self._threads:
            thread.join(5)

    def hang_up(self) -> None:
        """Ends all connections."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError):
            packet = connection.recv(8)
            if packet[4:] == struct.pack("!I", 80877103):
                connection.sendall(self.tls_answer)
                if self.tls_answer != b"N":
                    while chunk := connection.recv(65536):
                        self.heard += chunk
                    return
                packet = connection.recv(8)
            connection.recv(65536)
            connection.sendall(self.greeting)
            while chunk := connection.recv(65536):
                self.heard += chunk
                if chunk[:1] == b"X":
                    return
                connection.sendall(self.answer)
