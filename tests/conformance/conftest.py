"""A governed database for real clients: TLS on both legs, a policy with masks that concern none of
what they do, PostgreSQL of the machine with the sample database behind it."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from appliance.cli.demo import postgres_shop
from appliance.cli.demo import shop as shop_database
from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.cli.files import write_private
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from tests.clusters import Authority, sallyport_serve

PERSON, PASSWORD = "dora", "what dora knows"
"""Owes a mask, so that nothing that cannot be understood gets through."""
TRUSTED = "paul"
"""Same password, owes none."""
ROLE = shop_database.OWNER
ROLE_PASSWORD = "what only sallyport knows"

POLICY = {
    "version": 1,
    "known_relations": ["*.public.scratch_*"],
    "rules": [
        {"id": "everything", "effect": "allow", "actions": ["everything"]},
        {
            "id": "keys",
            "effect": "mask",
            "principals": {"names": [PERSON]},
            "resources": ["*.public.api_keys.api_key"],
            "mask": {"method": "redact"},
        },
    ],
}


@dataclass(frozen=True)
class Governed:
    """Two ways to the same database: `uri` through Sallyport, `direct` round it."""

    host: str
    port: int
    ca: Path
    database_port: int
    superuser: str

    def uri(
        self, database: str = shop_database.DATABASE, person: str = PERSON, **parameters: str
    ) -> str:
        return self._uri(person, PASSWORD, self.host, self.port, database, parameters)

    def direct(self, database: str = shop_database.DATABASE, **parameters: str) -> str:
        return self._uri(ROLE, ROLE_PASSWORD, "127.0.0.1", self.database_port, database, parameters)

    def _uri(
        self,
        user: str,
        password: str,
        host: str,
        port: int,
        database: str,
        parameters: dict[str, str],
    ) -> str:
        given = {"sslmode": "verify-full", "sslrootcert": str(self.ca), **parameters}
        query = "&".join(f"{name}={value}" for name, value in given.items())
        quoted = password.replace(" ", "%20")
        return f"postgresql://{user}:{quoted}@{host}:{port}/{database}?{query}"


@pytest.fixture(scope="session")
def governed(
    server_folder: Path, authority: Authority, postgres_tls: EmbeddedPostgres
) -> Iterator[Governed]:
    """Sallyport in front of the sample database, for as long as the session lasts."""
    passwords = dict.fromkeys(shop_database.ROLES, ROLE_PASSWORD)
    postgres_shop.load(postgres_tls.uri(), passwords)
    folder = server_folder / "governed"
    folder.mkdir()
    config = _write(folder, authority, postgres_tls.port)
    with sallyport_serve(config, folder) as running:
        yield Governed(
            running.host,
            running.port,
            authority.certificate,
            postgres_tls.port,
            postgres_tls.uri(database=shop_database.DATABASE),
        )


def _write(folder: Path, authority: Authority, database_port: int) -> Path:
    leaf = authority.issue("proxy", "127.0.0.1", "localhost")
    write_private(folder / "credential", ROLE_PASSWORD.encode())
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    verifier = make_verifier(PASSWORD, secrets.token_bytes(16)).render()
    directory = Directory([User(name=name, verifier=verifier) for name in (PERSON, TRUSTED)])
    write_private(folder / "users.yaml", render_users(directory).encode())
    configuration = {
        "data": "data",
        "workers": 1,
        "log_level": "warning",
        "listeners": [
            {
                "name": "postgresql",
                "address": "127.0.0.1:0",
                "target": "shop",
                "tls": {"certificate": str(leaf.certificate), "key": str(leaf.key)},
            }
        ],
        "targets": [
            {
                "name": "shop",
                "host": "127.0.0.1",
                "port": database_port,
                "tls": {"mode": "verify-full", "ca": str(authority.certificate)},
                "announce": "variable",
                "roles": [
                    {"principals": [PERSON, TRUSTED], "user": ROLE, "credential": "file:credential"}
                ],
            }
        ],
        "identities": {"users": "users.yaml"},
        "policy": {"files": ["policy.yaml"]},
    }
    path = folder / "sallyport.yaml"
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    return path
