"""The same as `stage` for MariaDB: a server, and in front of it HAProxy and Sallyport twice.

Used by `bench.databases`.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from bench.stage import BULK_ROWS, DATABASE, PASSWORD, USER, Fronts, Stage, Target, version_of
from tests import mariadb
from tests.clusters import Authority, Sallyport, installed_program, sallyport_try

POLICY = Path(__file__).with_name("governed-mysql.yaml")
POINT_ROWS = 100_000
SETTINGS = {"max-connections": "400", "innodb-buffer-pool-size": "256M"}
BULK_TABLE = f"""
CREATE TABLE bulk ENGINE=InnoDB AS SELECT seq AS id, CONCAT('name ', seq) AS name,
  CONCAT('user', seq, '@example.com') AS email, CONCAT('user', seq, '@example.com') AS mail,
  CONCAT('city ', seq % 100) AS city, seq * 7 % 1000 AS amount,
  DATE '2020-01-01' + INTERVAL seq % 1000 DAY AS day FROM seq_1_to_{BULK_ROWS}
"""


@contextlib.contextmanager
def stage(folder: Path) -> Iterator[Stage]:
    """Starts all; `direct` is the first target, what is not installed is left out."""
    folder.chmod(0o755)
    sysbench = installed_program("sysbench")
    if sysbench is None:
        raise RuntimeError("sysbench is not installed here (apt-get install sysbench)")
    with contextlib.ExitStack() as stack:
        server = mariadb.mariadb_server(folder / "mariadb", settings=SETTINGS)
        stack.callback(server.stop)
        server.start()
        _load(server, sysbench)
        targets = [Target("direct", server.port, ())]
        versions = {
            "mariadb": version_of(server.tool("mariadbd")),
            "sysbench": version_of(sysbench),
        }
        program = installed_program("haproxy")
        if program is not None:
            versions["haproxy"] = version_of(program)
            certificate = Authority.create(folder / "authority").issue("localhost", "127.0.0.1")
            fronts = Fronts(folder, certificate)
            targets.append(stack.enter_context(fronts.haproxy(program, server.port)))
        uri = server.uri(USER, PASSWORD, DATABASE)
        for name, policy in (("permissive", "permissive"), ("governed", str(POLICY))):
            options = ("--policy", policy, "--pooling", "session")
            running: Sallyport = stack.enter_context(sallyport_try(uri, folder / name, *options))
            targets.append(Target(name, running.port, (running.pid,)))
        yield Stage(targets, sysbench, server.pid, versions, "mysql")


def connecting(port: int) -> list[str]:
    """What sysbench has to be told of a server."""
    return [
        "--db-driver=mysql",
        "--mysql-host=127.0.0.1",
        f"--mysql-port={port}",
        f"--mysql-user={USER}",
        f"--mysql-password={PASSWORD}",
        f"--mysql-db={DATABASE}",
        "--tables=1",
        f"--table-size={POINT_ROWS}",
    ]


def _load(server: EmbeddedMariaDB, sysbench: Path) -> None:
    mariadb.run(
        server,
        f"CREATE DATABASE {DATABASE}",
        f"CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'",
        f"GRANT ALL ON {DATABASE}.* TO {USER}@'%'",
        f"USE {DATABASE}",
        BULK_TABLE,
    )
    command = [sysbench, "oltp_point_select", *connecting(server.port), "prepare"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
