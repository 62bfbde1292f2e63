"""One throw-away MariaDB with the corpus's schema, and `sallyport serve` in front of it.

Used by the command line and by tests/corpus. Everything is below one temporary folder and ended by
its pid when the block ends. Rule: open it in a thread that lives as long as it should.
"""

import contextlib
import dataclasses
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from appliance.cli.demo.child import Child
from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.cli.files import write_private
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from tests import mariadb as servers
from tests.clusters import SALLYPORT, Authority
from tests.redteam import policies
from tests.redteam.mysql.place import ADMINISTRATOR, FOLDER, Place

READY_SECONDS_MAX = 120.0
SETTINGS = {
    "performance-schema": "ON",  # statement history
    "performance-schema-consumer-events-statements-current": "ON",
    "performance-schema-consumer-events-statements-history": "ON",
    "performance-schema-consumer-events-statements-history-long": "ON",
    "log-output": "TABLE",  # general_log and slow_log can be read by SQL
    "general-log": "ON",
    "event-scheduler": "ON",
    "secure-file-priv": "",
    "local-infile": "ON",
    "userstat": "ON",
}


@dataclass(frozen=True)
class Wanted:
    """What to set up."""

    mask: str = "redact"
    owes: Collection[str] = ("rt_analyst", "rt_dba", "rt_other")
    everything: bool = False
    unique_writes: str = "allow"


@dataclass(frozen=True)
class Stage:
    """What runs: the same server measured directly, under masks, and under the guards' rules."""

    folder: Path
    direct: Place
    masked: Place
    guarded: Place

    @property
    def log(self) -> Path:
        return self.folder / "sallyport.log"


@contextlib.contextmanager
def server() -> Iterator[Place]:
    """The server and its schema alone: what is measured is the server itself."""
    with _folder() as folder, _served(folder) as (place, _):
        yield place


@contextlib.contextmanager
def stage(wanted: Wanted) -> Iterator[Stage]:
    """With Sallyport. Raises CannotRun (MariaDB) or NotReady (Sallyport)."""
    with _folder() as folder, _served(folder) as (place, authority):
        config = _write(folder, authority, place, wanted)
        command: list[str | Path] = [SALLYPORT, "serve", "--config", config]
        with Child(command, folder / "sallyport.log", {"NO_COLOR": "1"}) as child:
            ports = _ports(child)
            yield Stage(
                folder,
                place,
                *(
                    dataclasses.replace(place, address=("127.0.0.1", ports[name]))
                    for name in (policies.MASKED, policies.GUARDED)
                ),
            )


@contextlib.contextmanager
def _served(folder: Path) -> Iterator[tuple[Place, Authority]]:
    authority = Authority.create(folder / "ca")
    tls = servers.server_certificate(authority)
    with servers.running(folder / "my", tls=tls, settings=SETTINGS) as running:
        place = _place(running)
        place.prepare()
        yield place, authority


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sp-rm-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(running: EmbeddedMariaDB) -> Place:
    policy = policies.load(FOLDER / "policy.json")
    logins = {role: name for role, (name, _) in policy["roles"].items()}
    logins["plain"] = policies.PLAIN_USER
    return Place(running, ("127.0.0.1", running.port), policies.logins(policy), logins)


def _write(folder: Path, authority: Authority, place: Place, wanted: Wanted) -> Path:
    """Configuration, users, policy; the path of the first."""
    known = [
        User(
            name=name,
            groups=(policies.OWING,) if name in wanted.owes else (),
            verifier=make_verifier(password, secrets.token_bytes(16)).render(),
        )
        for name, password in place.users.items()
    ]
    write_private(folder / "users.yaml", render_users(Directory(tuple(known))).encode())
    write_private(folder / "token.secret", secrets.token_hex(32).encode())
    for name, password in place.users.items():
        write_private(folder / f"{name}.secret", password.encode())
    policy = policies.load(FOLDER / "policy.json")
    mask = policies.mask_of(wanted.mask, wanted.unique_writes)
    document = policies.policy_document(policy, mask, wanted.everything)
    document["trusted_functions"] = _trusted(place, policy)
    (folder / "policy.yaml").write_text(
        yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    )
    config = folder / "sallyport.yaml"
    config.write_text(yaml.safe_dump(_configuration(authority, place.users, place.server.port)))
    return config


def _trusted(place: Place, policy: policies.Document) -> list[policies.Document]:
    """The routines policy.json calls trusted, with the digests they have now."""
    named = [*policy["trusted_functions"], *policy["trusted_procedures"]]
    uri = f"mysql://{ADMINISTRATOR}@127.0.0.1:{place.server.port}/?sslmode=require"
    printed = subprocess.run(
        [SALLYPORT, "policy", "trust", uri, *named],
        env={**os.environ, "MYSQL_PWD": place.users[ADMINISTRATOR], "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=READY_SECONDS_MAX,
        check=False,
    )
    if printed.returncode:
        raise RuntimeError(f"policy trust: {printed.stdout}{printed.stderr}")
    found: list[policies.Document] = yaml.safe_load(printed.stdout)["trusted_functions"]
    return found


def _configuration(authority: Authority, users: Mapping[str, str], port: int) -> dict[str, Any]:
    """policies.configuration for this family, with TLS on both legs."""
    document = policies.configuration(port, tuple(users))
    leaf = authority.issue("proxy", "127.0.0.1", "localhost")
    for listener in document["listeners"]:
        listener["tls"] = {"certificate": str(leaf.certificate), "key": str(leaf.key)}
    for target in document["targets"]:
        target["dialect"] = "mysql"
        target["tls"] = {"mode": "verify-full", "ca": str(authority.certificate)}
    return document


def _ports(child: Child) -> dict[str, int]:
    """Listener -> port, from one ready line each."""
    ports: dict[str, int] = {}
    for name in (policies.MASKED, policies.GUARDED):
        child.wait_line("ready ", READY_SECONDS_MAX)
        pattern = rf"^ready \S+ \S+:(\d+) listener={name} .*\n"
        while (found := re.search(pattern, child.text(), re.MULTILINE)) is None:
            child.wait_line("ready ", READY_SECONDS_MAX)
        ports[name] = int(found[1])
    return ports
