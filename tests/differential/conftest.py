"""The corpus's database, its twins, and Sallyport in front of the raw one."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.model.decision import Mask, MaskMethod
from tests import clusters
from tests.differential import twin
from tests.differential.governed import TOKEN_KEY, Governed, Masks, dotted, governed

CORPUS = Path(__file__).parent.parent / "corpus" / "postgres"
RAW = "raw"
ANALYST, ANALYST_PASSWORD = "rt_analyst", "rt_analyst_pw"

_MIXED: Mapping[str, Mapping[str, Any]] = {
    "public.customers.email": {"method": "email"},
    "public.customers.ssn": {"method": "keep_last", "keep": 4},
    "public.customers.card_number": {"method": "keep_last", "keep": 4},
    "public.customers.notes": {"method": "fixed", "value": "hidden"},
    "public.customers.dob": {"method": "truncate_date", "unit": "year"},
    "public.customers.balance": {"method": "truncate_number", "step": 1_000_000},
    "public.customers.email_lc": {"method": "keep_first", "keep": 2},
    "public.customers.notes_tsv": {"method": "null"},
    "hr.employees.salary": {"method": "truncate_number", "step": 10_000_000},
    "hr.employees.bonus": {"method": "truncate_number", "step": 1000},
    "hr.employees.bank_account": {"method": "keep_last", "keep": 4},
    "public.payments.card_pan": {"method": "keep_last", "keep": 4},
    "public.people.nickname": {"method": "fixed", "value": "somebody"},
    "public.patients.nickname": {"method": "fixed", "value": "somebody"},
    "public.documents.body": {"method": "keep_first", "keep": 5},
    "public.secrets.api_key": {"method": "null"},
}
"""Of the sensitive columns; the others are redacted."""


@dataclass(frozen=True)
class Stage:
    """Each policy's principal and twin database carry the policy's name."""

    governed: Governed
    policies: Sequence[str]


def raw_of(policy: str) -> str:
    """The raw database beside the twin of this name: both take the same statements."""
    return f"{RAW}_{policy}"


def cases(name: str) -> list[dict[str, Any]]:
    """Lines of a corpus file."""
    text = (CORPUS / f"{name}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


def sensitive_columns() -> list[tuple[str, str, str]]:
    policy = json.loads((CORPUS / "policy.json").read_text("utf-8"))
    return [
        (*path.split(".", 1), column)
        for path, columns in policy["sensitive"].items()
        for column in columns
        if not path.startswith("pg_catalog.")
    ]


def policies() -> dict[str, Masks]:
    names = [dotted(*column) for column in sensitive_columns()]
    return {
        "nulls": {name: {"method": "null"} for name in names},
        "mixed": {name: _MIXED.get(name, {"method": "redact"}) for name in names},
    }


def as_mask(spec: Mapping[str, Any]) -> Mask:
    return Mask(**{**spec, "method": MaskMethod(spec["method"])})


@pytest.fixture(scope="session")
def stage(server_folder: Path) -> Iterator[Stage]:
    """PostgreSQL of the machine (its contrib modules are in the schema), one twin per policy."""
    bin_dir = clusters.installed_postgres()
    if bin_dir is None or not clusters.installed_program("psql"):
        pytest.skip("no PostgreSQL with contrib on this machine: apt-get install postgresql")
    with EmbeddedPostgres(server_folder / "twins", bin_dir=bin_dir) as server:
        _load(server)
        chosen = policies()
        for policy, masks in chosen.items():
            _make_twin(server, policy, masks)
        trusted = _trusted(server)
        folder = server_folder / "twins-proxy"
        with governed(folder, server.port, ANALYST, ANALYST_PASSWORD, chosen, trusted) as running:
            yield Stage(running, tuple(chosen))


def _load(server: EmbeddedPostgres) -> None:
    with psycopg.connect(server.uri(), autocommit=True) as root:
        root.execute(f"CREATE DATABASE {RAW}")
    with psycopg.connect(server.uri(database=RAW), autocommit=True) as raw:
        raw.execute((CORPUS / "schema.sql").read_text("utf-8").encode())
        twin.settle(raw)


def _make_twin(server: EmbeddedPostgres, policy: str, masks: Masks) -> None:
    with psycopg.connect(server.uri(), autocommit=True) as root:
        for database in (raw_of(policy), policy):
            root.execute(f"CREATE DATABASE {database} TEMPLATE {RAW}".encode())
            # Database privileges are not copied with a template.
            root.execute(
                f"GRANT TEMP, CREATE, CONNECT ON DATABASE {database} TO {ANALYST}".encode()
            )
    wanted = {column: as_mask(masks[dotted(*column)]) for column in sensitive_columns()}
    with psycopg.connect(server.uri(database=policy), autocommit=True) as connection:
        twin.mask_database(connection, wanted, {"default": TOKEN_KEY})


def _trusted(server: EmbeddedPostgres) -> list[dict[str, str]]:
    policy = json.loads((CORPUS / "policy.json").read_text("utf-8"))
    wanted = [*policy["trusted_functions"], *policy["trusted_procedures"]]
    uri = f"postgresql://postgres@127.0.0.1:{server.port}/{RAW}"
    printed = subprocess.run(
        [clusters.SALLYPORT, "policy", "trust", uri, *wanted],
        env={**os.environ, "PGPASSWORD": server.password},
        check=True,
        capture_output=True,
    ).stdout
    entries = yaml.safe_load(printed)["trusted_functions"]
    # Fresh copies of the database hold the same functions.
    return [{key: entry[key] for key in ("function", "digest")} for entry in entries]
