"""One throw-away MariaDB with the corpus's schema, and `sallyport serve` in front of it.

Used by the command line and by tests/corpus. Everything is below one temporary folder and ended by
its pid when the block ends. Rule: open it in a thread that lives as long as it should.
"""

import contextlib
import secrets
import shutil
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from tests import mariadb as servers
from tests.clusters import Authority
from tests.redteam import policies
from tests.redteam.mysql.place import FOLDER, Place

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


@contextlib.contextmanager
def server() -> Iterator[Place]:
    """The server and its schema alone: what is measured is the server itself."""
    with _folder() as folder:
        authority = Authority.create(folder / "ca")
        tls = servers.server_certificate(authority)
        with servers.running(folder / "my", tls=tls, settings=SETTINGS) as running:
            place = _place(running)
            place.prepare()
            yield place


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


def token() -> bytes:
    return secrets.token_hex(32).encode()
