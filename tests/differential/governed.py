"""Sallyport in front of a server with principals who owe given masks, on plaintext loopback.

Used by the masked twin's tests and by the noninterference fuzzer. A principal is a policy's name:
`masks[principal]` maps `schema.relation.column` to the mask it owes; everything else is allowed, so
that nothing but masking stands between it and the database.
"""

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from appliance.cli.files import write_private
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from tests.clusters import Sallyport, sallyport_serve
from tests.wireclient import WireClient

PASSWORD = "what everybody here knows"
TOKEN_KEY = b"a key that only this test has, of 32"

MaskSpec = Mapping[str, Any]
Masks = Mapping[str, MaskSpec]
"""schema.relation.column, quoted as a policy's resources are -> the mask, as a policy writes it."""


@dataclass(frozen=True)
class Governed:
    """A running Sallyport over the server at `port`, where `role` logs in with `password`."""

    proxy: Sallyport
    port: int
    role: str
    password: str

    def through(self, principal: str, database: str) -> WireClient:
        return WireClient.login(self.proxy.uri(principal, PASSWORD, database))

    def direct(self, database: str) -> WireClient:
        uri = f"postgresql://{self.role}:{self.password}@127.0.0.1:{self.port}/{database}"
        return WireClient.login(uri)


@contextlib.contextmanager
def governed(
    folder: Path,
    port: int,
    role: str,
    password: str,
    masks: Mapping[str, Masks],
    trusted: Sequence[Mapping[str, str]] = (),
) -> Iterator[Governed]:
    """Runs until the block ends. `trusted`: the policy's trusted functions."""
    folder.mkdir(parents=True, exist_ok=True)
    write_private(folder / "role.secret", password.encode())
    write_private(folder / "token.secret", TOKEN_KEY)
    verifier = make_verifier(PASSWORD, secrets.token_bytes(16)).render()
    users = Directory([User(name=name, verifier=verifier) for name in masks])
    write_private(folder / "users.yaml", render_users(users).encode())
    policy = {
        "version": 1,
        "trusted_functions": [dict(function) for function in trusted],
        "rules": [
            {"id": "all", "effect": "allow", "actions": ["everything"]},
            *_mask_rules(masks),
        ],
    }
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy, allow_unicode=True))
    config = folder / "sallyport.yaml"
    config.write_text(yaml.safe_dump(_configuration(port, role)))
    with sallyport_serve(config, folder) as proxy:
        yield Governed(proxy, port, role, password)


def _mask_rules(masks: Mapping[str, Masks]) -> list[dict[str, Any]]:
    rules = []
    for principal, columns in masks.items():
        for number, (column, mask) in enumerate(columns.items()):
            rules.append(
                {
                    "id": f"{principal}-{number}",
                    "effect": "mask",
                    "principals": {"names": [principal]},
                    "resources": [f"*.{column}"],
                    "mask": dict(mask),
                }
            )
    return rules


def _configuration(port: int, role: str) -> dict[str, Any]:
    return {
        "version": 1,
        "data": "data",
        "workers": 1,
        "log_level": "warning",
        "admin": "127.0.0.1:0",
        "listeners": [
            {
                "name": "main",
                "address": "127.0.0.1:0",
                "target": "raw",
                "tls": {"mode": "disable"},
            }
        ],
        "targets": [
            {
                "name": "raw",
                "host": "127.0.0.1",
                "port": port,
                "tls": {"mode": "disable"},
                "announce": "variable",
                "roles": [{"principals": ["*"], "user": role, "credential": "file:role.secret"}],
            }
        ],
        "identities": {"users": "users.yaml"},
        "policy": {"files": ["policy.yaml"]},
        "token_keys": {"default": "file:token.secret"},
    }


def dotted(schema: str, relation: str, column: str) -> str:
    """The three names as a policy's glob that means exactly them."""
    return ".".join(map(_quoted, (schema, relation, column)))


def _quoted(name: str) -> str:
    plain = name.isascii() and name.replace("_", "").isalnum()
    return name if plain else '"' + name.replace('"', '""') + '"'
