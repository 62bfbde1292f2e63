"""Drivers' own test suites, straight at a MariaDB and through Sallyport, permissive: same list?

    python -m tests.conformance.mysql.suites pymysql=FOLDER asyncmy=FOLDER

See `tests.conformance.suites`.
"""

import contextlib
import json
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.cli.files import write_private
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from tests import mariadb as servers
from tests.clusters import sallyport_serve
from tests.conformance import suites
from tests.conformance.suites import Laid, Sides

USER, PASSWORD = "suite", "what the suite knows"
QUIET = ("-p", "no:xdist", "-o", "asyncio_mode=auto", "-W", "ignore")
LOOPS = tuple(
    word
    for scope in ("fixture", "test")
    for word in ("-o", f"asyncio_default_{scope}_loop_scope=session")
)


# --- suites ---------------------------------------------------------------------------------------


def _lay_pymysql(source: Path, folder: Path, port: int) -> Laid:
    shutil.copytree(source / "pymysql", folder / "pymysql")
    common = {"host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD}
    databases = [
        {**common, "database": "test1", "use_unicode": True, "local_infile": True},
        {**common, "database": "test2"},
    ]
    tests = folder / "pymysql" / "tests"
    (tests / "databases.json").write_text(json.dumps(databases))
    return Laid((*QUIET, *LOOPS, str(tests)))


def _lay_asyncmy(source: Path, folder: Path, port: int) -> Laid:
    shutil.copytree(source / "tests", folder / "tests")
    text = (source / "conftest.py").read_text("utf-8")
    text = re.sub(r"port=\d+", f"port={port}", text)
    text = re.sub(r"user=\"[^\"]*\"", f'user="{USER}"', text)
    text = re.sub(r"password=[^\n]*,\n", f'password="{PASSWORD}",\n', text)
    (folder / "conftest.py").write_text(text, "utf-8")
    return Laid((*QUIET, *LOOPS, str(folder / "tests")))


# --- sides ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _sides() -> Iterator[Sides]:
    with tempfile.TemporaryDirectory(prefix="sp-suites-") as text:
        folder = Path(text)
        with servers.running(folder / "my", settings={"local-infile": "ON"}) as server:
            servers.run(
                server,
                f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
                f"GRANT ALL ON *.* TO {USER}@'127.0.0.1' WITH GRANT OPTION",
            )
            with sallyport_serve(_write(folder, server.port), folder) as running:
                ports = {"direct": server.port, "through": running.port}
                yield Sides(ports, lambda _: _fresh(server))


def _fresh(server: EmbeddedMariaDB) -> None:
    """Nothing of the run before."""
    for name in ("test1", "test2", "test"):
        servers.run(server, f"DROP DATABASE IF EXISTS {name}", f"CREATE DATABASE {name}")


def _write(folder: Path, port: int) -> Path:
    write_private(folder / "credential", PASSWORD.encode())
    verifier = make_verifier(PASSWORD, secrets.token_bytes(16)).render()
    users = Directory([User(name=USER, verifier=verifier)])
    write_private(folder / "users.yaml", render_users(users).encode())
    rules = [{"id": "everything", "effect": "allow", "actions": ["everything"]}]
    (folder / "policy.yaml").write_text(yaml.safe_dump({"version": 1, "rules": rules}))
    plain = {"mode": "disable"}
    role = {"principals": [USER], "user": USER, "credential": "file:credential"}
    configuration = {
        "data": "data",
        "workers": 1,
        "log_level": "warning",
        "listeners": [{"name": "s", "address": "127.0.0.1:0", "target": "s", "tls": plain}],
        "targets": [
            {
                "name": "s",
                "dialect": "mysql",
                "host": "127.0.0.1",
                "port": port,
                "tls": plain,
                "roles": [role],
            }
        ],
        "identities": {"users": "users.yaml"},
        "policy": {"files": ["policy.yaml"]},
    }
    path = folder / "sallyport.yaml"
    path.write_text(yaml.safe_dump(configuration, sort_keys=False))
    return path


if __name__ == "__main__":
    known = {"pymysql": _lay_pymysql, "asyncmy": _lay_asyncmy}
    sys.exit(suites.main(__doc__ or "", known, _sides()))
