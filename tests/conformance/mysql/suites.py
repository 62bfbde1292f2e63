"""Drivers' own test suites, straight at a MariaDB and through Sallyport, permissive: same list?

    python -m tests.conformance.mysql.suites pymysql=FOLDER asyncmy=FOLDER

FOLDER is a checkout of that driver's source (its suite is not among what pip installs, and none of
it is here). A copy of it is run by pytest; what passes directly must pass through. JSON on stdout:
for each suite the counts on both sides and what differs; exit status 1 when anything differs.
"""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.cli.files import write_private
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User, render_users
from tests import mariadb as servers
from tests.clusters import sallyport_serve

USER, PASSWORD = "suite", "what the suite knows"
SUITE_SECONDS_MAX = 900
Results = dict[str, str]


def main() -> int:
    wanted = dict(argument.split("=", 1) for argument in sys.argv[1:])
    if not wanted or not wanted.keys() <= LAID.keys():
        print(__doc__, file=sys.stderr)
        return 2
    report: dict[str, Any] = {}
    with _sides() as (server, ports):
        for name, source in wanted.items():
            found = {}
            for side, port in ports.items():
                _fresh(server)
                found[side] = run(name, Path(source), port)
            report[name] = compared(found["direct"], found["through"])
    print(json.dumps(report, indent=1, ensure_ascii=False))
    return int(any(one["differ"] for one in report.values()))


def compared(direct: Results, through: Results) -> dict[str, Any]:
    names = direct.keys() | through.keys()
    return {
        "direct": _counts(direct),
        "through": _counts(through),
        "differ": {
            name: [direct.get(name, "missing"), through.get(name, "missing")]
            for name in sorted(names)
            if direct.get(name, "missing").split(":")[0]
            != through.get(name, "missing").split(":")[0]
        },
    }


def _counts(results: Results) -> dict[str, int]:
    kinds = [result.split(":")[0] for result in results.values()]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def run(name: str, source: Path, port: int) -> Results:
    """Test -> passed, failed, error or skipped."""
    with tempfile.TemporaryDirectory(prefix="sp-suite-") as text:
        folder = Path(text)
        tests = LAID[name](source, folder, port)
        report = folder / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        for scope in ("fixture", "test"):
            command += ["-o", f"asyncio_default_{scope}_loop_scope=session"]
        command += ["-o", "asyncio_mode=auto", f"--junitxml={report}", "-W", "ignore", str(tests)]
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdout=sys.stderr,
            timeout=SUITE_SECONDS_MAX,
            check=False,
        )
        return _results(report)


def _results(report: Path) -> Results:
    found: Results = {}
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kind = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        said = "passed" if kind is None else f"{kind.tag}: {(kind.get('message') or '')[:300]}"
        found[f"{case.get('classname')}.{case.get('name')}"] = said
    return found


# --- suites ---------------------------------------------------------------------------------------


def _lay_pymysql(source: Path, folder: Path, port: int) -> Path:
    shutil.copytree(source / "pymysql", folder / "pymysql")
    common = {"host": "127.0.0.1", "port": port, "user": USER, "password": PASSWORD}
    databases = [
        {**common, "database": "test1", "use_unicode": True, "local_infile": True},
        {**common, "database": "test2"},
    ]
    tests = folder / "pymysql" / "tests"
    (tests / "databases.json").write_text(json.dumps(databases))
    return tests


def _lay_asyncmy(source: Path, folder: Path, port: int) -> Path:
    shutil.copytree(source / "tests", folder / "tests")
    text = (source / "conftest.py").read_text("utf-8")
    text = re.sub(r"port=\d+", f"port={port}", text)
    text = re.sub(r"user=\"[^\"]*\"", f'user="{USER}"', text)
    text = re.sub(r"password=[^\n]*,\n", f'password="{PASSWORD}",\n', text)
    (folder / "conftest.py").write_text(text, "utf-8")
    return folder / "tests"


LAID: dict[str, Callable[[Path, Path, int], Path]] = {
    "pymysql": _lay_pymysql,
    "asyncmy": _lay_asyncmy,
}


# --- sides ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _sides() -> Iterator[tuple[EmbeddedMariaDB, dict[str, int]]]:
    with tempfile.TemporaryDirectory(prefix="sp-suites-") as text:
        folder = Path(text)
        with servers.running(folder / "my", settings={"local-infile": "ON"}) as server:
            servers.run(
                server,
                f"CREATE USER {USER}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'",
                f"GRANT ALL ON *.* TO {USER}@'127.0.0.1' WITH GRANT OPTION",
            )
            with sallyport_serve(_write(folder, server.port), folder) as running:
                yield server, {"direct": server.port, "through": running.port}


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
    sys.exit(main())
