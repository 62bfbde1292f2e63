"""A column named `system_user`, which is a plain name before PostgreSQL 16: read, written, dumped
by whoever owes masks."""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests import clusters
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend import stage
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running

POLICY = """
version: 1
known_relations: ["*.hr.*"]
rules:
  - {id: all, effect: allow, actions: [any]}
  - {id: sparing, effect: deny, actions: [update, delete], flags: [no_where, trivial_where]}
  - id: mask-email
    effect: mask
    principals: {names: [alice]}
    resources: ["*.hr.staff.email"]
    mask: {method: redact}
"""
SCHEMA = f"""
DROP SCHEMA IF EXISTS hr CASCADE;
CREATE SCHEMA hr;
CREATE TABLE hr.staff (id int PRIMARY KEY, system_user text, email text);
INSERT INTO hr.staff VALUES (1, 'ada', 'ada@example.com'), (2, 'bob', 'bob@example.com');
CREATE VIEW hr.names AS SELECT id, system_user, email FROM hr.staff WHERE system_user <> '';
GRANT ALL ON SCHEMA hr TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA hr TO {ROLE};
"""


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    programs = clusters.installed_postgres()
    if programs is None or int(programs.parts[-2]) >= 16:
        pytest.skip("no PostgreSQL before 16 on this machine")
    with EmbeddedPostgres(tmp_path_factory.mktemp("older") / "e", bin_dir=programs) as server:
        stage.furnish(server)
        with psycopg.connect(server.uri(database=DATABASE), autocommit=True) as direct:
            direct.execute(SCHEMA.encode())
        yield server


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, older: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("words"), older, authority)
    estate.write("policy.yaml", POLICY)
    with estate.serve() as running:
        yield running


@pytest.fixture(params=["alice", "bob"])
def session(
    request: pytest.FixtureRequest, proxy: Running
) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    with proxy.connect(request.param, f"{request.param}-password") as connection:
        yield connection


@pytest.mark.parametrize(
    "text",
    [
        "SELECT system_user FROM hr.staff ORDER BY id",
        "SELECT s.system_user FROM hr.staff s ORDER BY id",
        "SELECT system_user FROM hr.names ORDER BY id",
        "SELECT system_user FROM hr.staff WHERE email <> 'x' ORDER BY id",  # at the source
        "SELECT DISTINCT system_user FROM hr.names WHERE upper(email) <> '' ORDER BY 1",
    ],
)
def test_it_is_read(session: psycopg.Connection[tuple[Any, ...]], text: str) -> None:
    assert session.execute(text.encode()).fetchall() == [("ada",), ("bob",)]


def test_it_is_written(session: psycopg.Connection[tuple[Any, ...]]) -> None:
    session.execute("INSERT INTO hr.staff (id, system_user) VALUES (3, 'eve')")
    changed = session.execute("UPDATE hr.staff SET system_user = 'eva' WHERE system_user = 'eve'")
    assert changed.rowcount == 1
    text = "DELETE FROM hr.staff USING (SELECT 'eva' AS n) x WHERE system_user = x.n AND id > 2"
    assert session.execute(text).rowcount == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("DELETE FROM hr.staff WHERE system_user = system_user")


def test_it_is_dumped_with_masks(proxy: Running) -> None:
    dump = clusters.installed_program("pg_dump")
    assert dump is not None
    where = f"host=127.0.0.1 port={proxy.ports['main']} user=alice dbname={DATABASE}"
    done = subprocess.run(
        [dump, "--data-only", "--table", "hr.staff", f"{where} sslmode=disable"],
        env={**os.environ, "PGPASSWORD": "alice-password"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "COPY hr.staff (id, system_user, email) FROM stdin;" in done.stdout
    assert "1\tada\t****" in done.stdout and "example.com" not in done.stdout
