"""A governed MariaDB for real clients: TLS on both legs, verified, and a policy with masks.

Every test runs twice: straight at the server, which shows that it asks for nothing unusual, and
through Sallyport as somebody who owes masks. What differs is what masks make of `people.email`.
"""

import secrets
import shutil
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.cli.files import write_private
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from tests import mariadb as servers
from tests.clusters import Authority, sallyport_serve

DATABASE, COPY = "bazaar", "bazaar_copy"
PERSON, PASSWORD = "dora", "what dora knows"
ROLE, ROLE_PASSWORD = "bazaar_app", "what only sallyport knows"
MASKED = "****"
SCHEMA = (Path(__file__).parent / "bazaar.sql").read_text("utf-8")

POLICY = {
    "version": 1,
    "known_relations": ["*.bazaar.scratch_*", "*.bazaar_copy.*"],
    "rules": [
        {"id": "everything", "effect": "allow", "actions": ["everything"]},
        {
            "id": "addresses",
            "effect": "mask",
            "principals": {"names": [PERSON]},
            "resources": ["*.bazaar.people.email"],
            "mask": {"method": "redact"},
        },
    ],
}


@dataclass(frozen=True)
class Side:
    """One way to the same database."""

    through: bool
    host: str
    port: int
    user: str
    password: str
    ca: Path

    def email(self, number: int) -> str:
        """What this side shows of that person."""
        return MASKED if self.through else f"person{number}@bazaar.invalid"

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    @property
    def environment(self) -> dict[str, str]:
        """For programs: the password is never an argument."""
        return {"MYSQL_PWD": self.password, "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    @property
    def options(self) -> list[str]:
        """Of MariaDB's own programs."""
        return [
            "--no-defaults",
            f"--host={self.host}",
            f"--port={self.port}",
            f"--user={self.user}",
            f"--ssl-ca={self.ca}",
            "--ssl-verify-server-cert",
        ]


@pytest.fixture(scope="session")
def bazaar(
    server_folder: Path, authority: Authority, mariadb: EmbeddedMariaDB
) -> Iterator[dict[str, Side]]:
    """Both sides, for as long as the session lasts."""
    load(mariadb)
    folder = server_folder / "bazaar"
    folder.mkdir()
    config = _write(folder, authority, mariadb.port)
    ca = authority.certificate
    direct = Side(False, "127.0.0.1", mariadb.port, ROLE, ROLE_PASSWORD, ca)
    with sallyport_serve(config, folder) as running:
        through = Side(True, running.host, running.port, PERSON, PASSWORD, ca)
        yield {"direct": direct, "through": through}
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["direct", "through"])
def side(request: pytest.FixtureRequest, bazaar: dict[str, Side]) -> Side:
    found: Side = bazaar[request.param]
    return found


def load(server: EmbeddedMariaDB) -> None:
    """The sample database and the account that Sallyport, and the direct side, work as."""
    statements = [text for text in SCHEMA.split(";\n") if text.strip()]
    servers.run(
        server,
        f"DROP DATABASE IF EXISTS {DATABASE}",
        f"DROP DATABASE IF EXISTS {COPY}",
        f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4",
        f"CREATE DATABASE {COPY} CHARACTER SET utf8mb4",
        f"CREATE OR REPLACE USER {ROLE}@'127.0.0.1' IDENTIFIED BY '{ROLE_PASSWORD}'",
        f"GRANT ALL ON {DATABASE}.* TO {ROLE}@'127.0.0.1'",
        f"GRANT ALL ON {COPY}.* TO {ROLE}@'127.0.0.1'",
    )
    servers.run(server, *statements, database=DATABASE)


def _write(folder: Path, authority: Authority, database_port: int) -> Path:
    leaf = authority.issue("bazaar-proxy", "127.0.0.1", "localhost")
    write_private(folder / "credential", ROLE_PASSWORD.encode())
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    verifier = make_verifier(PASSWORD, secrets.token_bytes(16)).render()
    directory = Directory([User(name=PERSON, verifier=verifier)])
    write_private(folder / "users.yaml", render_users(directory).encode())
    configuration = {
        "data": "data",
        "workers": 1,
        "log_level": "warning",
        "listeners": [
            {
                "name": "bazaar",
                "address": "127.0.0.1:0",
                "target": "bazaar",
                "tls": {"certificate": str(leaf.certificate), "key": str(leaf.key)},
            }
        ],
        "targets": [
            {
                "name": "bazaar",
                "dialect": "mysql",
                "host": "127.0.0.1",
                "port": database_port,
                "tls": {"mode": "verify-full", "ca": str(authority.certificate)},
                "roles": [{"principals": [PERSON], "user": ROLE, "credential": "file:credential"}],
            }
        ],
        "identities": {"users": "users.yaml"},
        "policy": {"files": ["policy.yaml"]},
    }
    path = folder / "sallyport.yaml"
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    return path
