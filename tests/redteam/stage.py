"""One throw-away PostgreSQL with the corpus's schema, and `sallyport serve` in front of it.

`runs` opens as many as it has jobs, `serve` opens one and shows it to others. Everything is below
one temporary folder and ended by its pid when the block ends. Rule: open it in a thread that lives
as long as it should, the servers die with that thread.
"""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import yaml

from appliance.cli.demo.child import Child
from appliance.cli.files import write_private
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from tests.clusters import SALLYPORT
from tests.redteam import corpus, policies
from tests.redteam.servers import Server, ThrowAway, schema_for

DATABASE, TEMPLATE = "rt_work", "rt_tmpl"
ADMINISTRATOR = "rt_dba"
SETUP_SECONDS_MAX = 120
MEMORY = Path("/dev/shm")
MEMORY_FREE_MIN = 4 << 30
"""Each item re-creates its database: worth memory where there is enough of it."""


@dataclass(frozen=True)
class Wanted:
    """What to set up."""

    server: Server
    mask: str = "redact"
    owes: Collection[str] = ("rt_analyst", "rt_dba", "rt_other")
    everything: bool = False
    unique_writes: str = "allow"


@dataclass(frozen=True)
class Stage:
    """What runs. `runner` is the corpus's runner beside the schema that this server can take."""

    folder: Path
    means: corpus.Means
    direct_port: int
    ports: dict[str, int]
    users: dict[str, str]
    owes: tuple[str, ...]
    runner: Path
    left_out: tuple[str, ...]
    """What the server lacks."""

    @property
    def log(self) -> Path:
        return self.folder / "sallyport.log"


@contextlib.contextmanager
def stage(wanted: Wanted) -> Iterator[Stage]:
    """Raises CannotRun (PostgreSQL), NotReady (Sallyport) or RuntimeError (the schema)."""
    policy = policies.load(corpus.FOLDER / "policy.json")
    with _folder() as folder, ThrowAway(wanted.server, folder / "pg") as postgres:
        means = postgres.means()
        runner, left_out = _runner(folder, means)
        users = policies.logins(policy)
        _load(postgres, runner, users)
        owes = tuple(user for user in users if user in wanted.owes)
        mask = policies.mask_of(wanted.mask, wanted.unique_writes)
        document = policies.policy_document(policy, mask, wanted.everything)
        document["trusted_functions"] = _trusted(postgres.port, users, policy)
        config = _write(folder, postgres.port, users, owes, document)
        command: list[str | Path] = [SALLYPORT, "serve", "--config", config]
        with Child(command, folder / "sallyport.log", {"NO_COLOR": "1"}) as child:
            yield Stage(
                folder,
                means,
                postgres.port,
                _ports(child),
                users,
                owes,
                runner,
                left_out,
            )


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """In memory where there is room."""
    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_FREE_MIN
    where = MEMORY if roomy and os.access(MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="sp-rt-", dir=where))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _trusted(
    port: int, users: dict[str, str], policy: policies.Document
) -> list[policies.Document]:
    """The functions policy.json calls trusted, with the digests they have now."""
    named = [*policy["trusted_functions"], *policy["trusted_procedures"]]
    uri = f"postgresql://{ADMINISTRATOR}@127.0.0.1:{port}/{TEMPLATE}?sslmode=disable"
    printed = subprocess.run(
        [SALLYPORT, "policy", "trust", uri, *named],
        env={**os.environ, "PGPASSWORD": users[ADMINISTRATOR], "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=SETUP_SECONDS_MAX,
        check=True,
    )
    found = yaml.safe_load(printed.stdout)
    return [
        {key: value for key, value in entry.items() if key != "targets"}
        for entry in found["trusted_functions"]
    ]


def _runner(folder: Path, means: corpus.Means) -> tuple[Path, tuple[str, ...]]:
    """The runner reads the files beside it."""
    place = folder / "corpus"
    place.mkdir()
    for name in ("run.py", "canaries.json"):
        shutil.copyfile(corpus.FOLDER / name, place / name)
    original = (corpus.FOLDER / "schema.sql").read_text("utf-8")
    schema, left_out = schema_for(original, means)
    (place / "schema.sql").write_text(schema, "utf-8")
    return place / "run.py", left_out


def _load(postgres: ThrowAway, runner: Path, users: dict[str, str]) -> None:
    """Roles, the template by the runner's own `setup`, and the user who owes nothing."""
    with psycopg.connect(postgres.uri(), autocommit=True) as root:
        root.execute(
            f"CREATE ROLE {ADMINISTRATOR} LOGIN SUPERUSER REPLICATION"
            f" PASSWORD '{users[ADMINISTRATOR]}'"
        )
        command = [sys.executable, str(runner), "setup", "--port", str(postgres.port)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SETUP_SECONDS_MAX, check=False
        )
        if done.returncode:
            raise RuntimeError(f"the schema could not be set up:\n{done.stdout}{done.stderr}")
        root.execute(
            f"CREATE ROLE {policies.PLAIN_USER} LOGIN IN ROLE rt_analyst"
            f" PASSWORD '{users[policies.PLAIN_USER]}'"
        )


def _write(
    folder: Path,
    port: int,
    users: dict[str, str],
    owes: Collection[str],
    policy: policies.Document,
) -> Path:
    known = [
        User(
            name=name,
            groups=(policies.OWING,) if name in owes else (),
            verifier=make_verifier(password, secrets.token_bytes(16)).render(),
        )
        for name, password in users.items()
    ]
    write_private(folder / "users.yaml", render_users(Directory(tuple(known))).encode())
    write_private(folder / "token.secret", secrets.token_hex(32).encode())
    for name, password in users.items():
        write_private(folder / f"{name}.secret", password.encode())
    (folder / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False, allow_unicode=True))
    config = folder / "sallyport.yaml"
    config.write_text(yaml.safe_dump(policies.configuration(port, tuple(users)), sort_keys=False))
    return config


def _ports(child: Child) -> dict[str, int]:
    """Listener -> port, from one ready line each."""
    ports: dict[str, int] = {}
    for name in (policies.MASKED, policies.GUARDED):
        child.wait_line("ready ")
        pattern = rf"^ready postgresql \S+:(\d+) listener={name} .*\n"
        while (found := re.search(pattern, child.text(), re.MULTILINE)) is None:
            child.wait_line("ready ")
        ports[name] = int(found[1])
    return ports
