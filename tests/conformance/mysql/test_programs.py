"""Programs: MariaDB's own, mysql-connector-python in a process of its own, mysql2 on Node."""

import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from appliance.cli.demo.mariadb import UNPACKED, EmbeddedMariaDB
from tests import mariadb as servers
from tests.conformance.mysql.conftest import COPY, DATABASE, Side

SECONDS_MAX = 120


def run(
    side: Side, server: EmbeddedMariaDB, program: str, *arguments: str, given: str = ""
) -> subprocess.CompletedProcess[str]:
    environment = {**side.environment, **server.programs.environment()}
    return subprocess.run(
        [server.tool(program), *side.options, *arguments],
        input=given,
        capture_output=True,
        text=True,
        errors="surrogateescape",  # a dump holds bytes as they are
        env=environment,
        timeout=SECONDS_MAX,
        check=False,
    )


def test_mariadb_cli(side: Side, mariadb: EmbeddedMariaDB) -> None:
    asked = "SELECT id, email FROM people ORDER BY id; SELECT COUNT(*) FROM sales; SELECT nothing"
    done = run(side, mariadb, "mariadb", "--batch", DATABASE, given=asked)
    lines = done.stdout.splitlines()
    assert lines[:4] == ["id\temail", *(f"{n}\t{side.email(n)}" for n in (1, 2, 3))]
    assert lines[4:6] == ["COUNT(*)", "4"]
    assert done.returncode == 1 and "ERROR 1" in done.stderr


def test_mariadb_cli_looks_around(side: Side, mariadb: EmbeddedMariaDB) -> None:
    """\\s, USE, SHOW, DESCRIBE, and the words it completes with (COM_FIELD_LIST)."""
    asked = "status\nuse bazaar\nshow tables;\ndescribe people;\nshow create table goods\\G\n"
    done = run(side, mariadb, "mariadb", "--auto-rehash", given=asked)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Cipher in use is" in done.stdout
    assert "sales" in done.stdout and "varchar(80)" in done.stdout
    assert "CREATE TABLE `goods`" in done.stdout


def test_mariadb_cli_runs_a_script(side: Side, mariadb: EmbeddedMariaDB) -> None:
    script = textwrap.dedent(
        """
        START TRANSACTION;
        INSERT INTO scratch_notes (body, number) VALUES ('from a script', 5);
        SELECT number FROM scratch_notes WHERE body = 'from a script';
        ROLLBACK;
        SELECT COUNT(*) FROM scratch_notes WHERE body = 'from a script';
        """
    )
    done = run(side, mariadb, "mariadb", "--batch", "--skip-column-names", DATABASE, given=script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n0\n", "")


def test_dump_and_restore(side: Side, mariadb: EmbeddedMariaDB) -> None:
    """What is dumped can be restored on either way; masked columns come back masked."""
    tables = ["people", "goods", "sales", "kinds"]
    done = run(side, mariadb, "mariadb-dump", "--skip-lock-tables", DATABASE, *tables)
    assert (done.returncode, done.stderr) == (0, "")
    assert ("bazaar.invalid" in done.stdout) is not side.through
    servers.run(
        mariadb, f"DROP DATABASE IF EXISTS {COPY}", f"CREATE DATABASE {COPY} CHARACTER SET utf8mb4"
    )
    restored = run(side, mariadb, "mariadb", COPY, given=done.stdout)
    assert (restored.returncode, restored.stderr) == (0, "")
    emails, kinds, states = servers.run(
        mariadb,
        "SELECT email FROM people ORDER BY id",
        f"SELECT COUNT(*) FROM kinds k JOIN {DATABASE}.kinds o ON k.id = o.id"
        " AND k.words <=> o.words AND k.flag <=> o.flag AND k.moment <=> o.moment"
        " AND k.big <=> o.big AND k.bytes <=> o.bytes AND k.clock <=> o.clock",
        "SELECT GROUP_CONCAT(state ORDER BY id) FROM sales",
        database=COPY,
    )
    assert [email for (email,) in emails] == [side.email(n) for n in (1, 2, 3)]
    assert (kinds, states) == (((2,),), (("paid,open,paid,returned",),))


CONNECTOR = """
import json, sys
import mysql.connector

given = json.load(sys.stdin)
made = mysql.connector.connect(**given, use_pure=True, ssl_verify_identity=True)
answer = {}
cursor = made.cursor()
cursor.execute("SELECT id, email FROM people ORDER BY id")
answer["text"] = cursor.fetchall()
prepared = made.cursor(prepared=True)
prepared.execute("SELECT id, email, born FROM people WHERE id > ? ORDER BY id", (1,))
answer["prepared"] = [[n, email, str(born)] for n, email, born in prepared.fetchall()]
prepared.execute("SELECT tiny, big, exact, twice, words, moment FROM kinds WHERE id = ?", (1,))
answer["kinds"] = [str(value) for value in prepared.fetchone()]
prepared.close()
cursor.execute("INSERT INTO scratch_notes (body) VALUES (%s)", ("from connector",))
answer["made"] = cursor.rowcount
made.rollback()
made.close()
print(json.dumps(answer))
"""


def test_mysql_connector(side: Side) -> None:
    """Not in this process: it must share nothing with what it tests."""
    given = {
        "host": side.host,
        "port": side.port,
        "user": side.user,
        "password": side.password,
        "database": DATABASE,
        "ssl_ca": str(side.ca),
    }
    done = subprocess.run(
        [sys.executable, "-c", CONNECTOR],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["text"] == [[n, side.email(n)] for n in (1, 2, 3)]
    assert answer["prepared"] == [
        [2, side.email(2), "1975-11-30"],
        [3, side.email(3), "1991-07-15"],
    ]
    assert answer["kinds"] == [
        "-128",
        "18446744073709551615",
        "-12345.678901",
        "2.25",
        "Größe 日本 🙂",
        "2024-02-29 23:59:59.123456",
    ]
    assert answer["made"] == 1


MYSQL2 = """
const fs = require('fs');
const mysql = require('mysql2/promise');
(async () => {
  const given = JSON.parse(fs.readFileSync(0, 'utf8'));
  const made = await mysql.createConnection({...given, ssl: {ca: fs.readFileSync(given.ca)}});
  const answer = {};
  [answer.text] = await made.query('SELECT id, email FROM people ORDER BY id');
  [answer.prepared] = await made.execute(
    'SELECT id, email FROM people WHERE id > ? ORDER BY id', [1]);
  [answer.kinds] = await made.execute(
    'SELECT tiny, small, exact, twice, words FROM kinds WHERE id = 1');
  await made.beginTransaction();
  const [done] = await made.execute('INSERT INTO scratch_notes (body) VALUES (?)', ['node']);
  answer.made = done.affectedRows;
  await made.rollback();
  try { await made.query('SELECT nothing FROM nowhere'); } catch (e) { answer.failed = true; }
  await made.end();
  console.log(JSON.stringify(answer));
})().catch((e) => { console.error(e); process.exit(1); });
"""


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where scripts/mariadb.sh put mysql2."""
    folder = UNPACKED / "node_modules"
    if shutil.which("node") is None or not (folder / "mysql2").is_dir():
        pytest.skip("node or mysql2 is not here: scripts/mariadb.sh")
    return folder


def test_mysql2_on_node(side: Side, node_modules: Path) -> None:
    given = {
        "host": side.host,
        "port": side.port,
        "user": side.user,
        "password": side.password,
        "database": DATABASE,
        "ca": str(side.ca),
    }
    done = subprocess.run(
        ["node", "-e", MYSQL2],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        env={**side.environment, "NODE_PATH": str(node_modules)},
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["text"] == [{"id": n, "email": side.email(n)} for n in (1, 2, 3)]
    assert answer["prepared"] == [{"id": n, "email": side.email(n)} for n in (2, 3)]
    assert answer["kinds"] == [
        {
            "tiny": -128,
            "small": 65535,
            "exact": "-12345.678901",
            "twice": 2.25,
            "words": "Größe 日本 🙂",
        }
    ]
    assert (answer["made"], answer["failed"]) == (1, True)
