"""The admin database: what pgbouncer's console shows, for those who may look, recorded."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from appliance.identity.verifiers import User
from tests.clusters import Authority, EmbeddedPostgres, installed_program
from tests.endtoend.stage import DATABASE, PASSWORD, ROLE, Estate, Running, verifier, wait_for

SHOWS = ("POOLS", "CLIENTS", "SERVERS", "STATS", "DATABASES", "VERSION")


@pytest.fixture(scope="module")
def estate(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Estate:
    made = Estate(tmp_path_factory.mktemp("admin"), vault, authority)
    made.configuration["admin_database"] = {"groups": ["operators"]}
    made.configuration["targets"][0]["pooling"] = {"mode": "session"}
    made.users(
        User(name="alice", groups=("analysts",), verifier=verifier("alice-password")),
        User(name="olga", groups=("operators",), verifier=verifier("olga-password")),
    )
    return made


@pytest.fixture(scope="module")
def running(estate: Estate) -> Iterator[Running]:
    with estate.serve() as served:
        yield served


def shown(running: Running, text: str) -> list[dict[str, Any]]:
    row_factory = psycopg.rows.dict_row
    with running.connect("olga", "olga-password", dbname="sallyport") as c:
        return c.cursor(row_factory=row_factory).execute(text).fetchall()


def test_every_table_with_psql(running: Running) -> None:
    psql = installed_program("psql")
    if psql is None:
        pytest.skip("no psql on this machine: apt-get install postgresql-client")
    place = f"host=127.0.0.1 port={running.ports['main']} user=olga dbname=sallyport"
    for what in (*SHOWS, "HELP"):
        done = subprocess.run(
            [psql, place, "-Xc", f"show {what};"],
            env={**os.environ, "PGPASSWORD": "olga-password", "PGSSLMODE": "disable"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 and (done.stdout or done.stderr), done.stderr
        assert "ERROR" not in done.stderr
        assert what != "HELP" or "SHOW HELP|CLIENTS|DATABASES" in done.stderr


def test_what_is_shown(running: Running) -> None:
    """A session in use and a connection in its pool, with their names and none of their texts."""
    with contextlib.closing(running.connect("alice", "alice-password")) as first:
        idle = first.info.backend_pid
        with running.connect("alice", "alice-password", application_name="report") as second:
            first.close()
            second.execute("BEGIN")
            second.execute("SELECT 'a secret'")
            used = second.info.backend_pid
            wait_for(
                lambda: {"idle", "active"} == {r["state"] for r in shown(running, "SHOW SERVERS")},
                "one in use and one in its pool",
            )
            servers = {r["remote_pid"]: r for r in shown(running, "SHOW SERVERS")}
            assert servers[idle]["state"] == "idle" and not servers[idle]["link"]
            assert servers[used]["state"] == "active"
            assert {r["user"] for r in servers.values()} == {ROLE}
            clients = {r["user"]: r for r in shown(running, "SHOW CLIENTS")}
            assert set(clients) == {"alice", "olga"}
            assert {r["state"] for r in clients.values()} == {"active"}
            assert clients["alice"]["application_name"] == "report"
            assert clients["alice"]["ptr"] == servers[used]["link"]
            assert clients["alice"]["link"] == servers[used]["ptr"]
            assert clients["olga"]["database"] == "sallyport" and not clients["olga"]["link"]
            pool = shown(running, "SHOW POOLS")[0]
            counted = ("cl_active", "sv_active", "sv_idle", "pool_mode", "database", "user")
            assert [pool[name] for name in counted] == [1, 1, 1, "session", DATABASE, ROLE]
            database = shown(running, "SHOW DATABASES")[0]
            assert (database["name"], database["current_connections"]) == ("vault", 2)
            stats = shown(running, "SHOW STATS")[0]
            assert stats["total_query_count"] >= 2 and stats["total_received"] > 0
            everything = str([shown(running, f"SHOW {what}") for what in SHOWS])
            assert "secret" not in everything and PASSWORD not in everything


def test_nothing_else_is_answered(running: Running) -> None:
    with running.connect("olga", "olga-password", dbname="sallyport") as c:
        for text in (
            "RELOAD",
            "SELECT 1",
            "SHOW users",
            "SHOW POOLS; SHOW POOLS",
            "KILL vault",
            "",
        ):
            with pytest.raises(psycopg.errors.SyntaxError):
                c.execute(text)
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="simple query protocol"):
            c.execute("SHOW POOLS", binary=True)
        assert c.execute("SHOW VERSION").fetchone()
        with pytest.raises(psycopg.errors.SyntaxError):
            c.execute("SHOW POOLS -- " + "x" * 5000)


def test_only_for_its_groups(running: Running) -> None:
    assert "administrators" in running.refusal("alice", "alice-password", dbname="sallyport")
    assert "administrators" not in running.refusal("alice", "wrong", dbname="sallyport")
    failed = running.recorded("login_failed", claimed="alice", database="sallyport")
    assert failed["client"]["listener"] == "main"


def test_recorded_like_every_session(running: Running) -> None:
    with running.connect("olga", "olga-password", dbname="sallyport") as c:
        c.execute("SHOW POOLS")
        with pytest.raises(psycopg.errors.SyntaxError):
            c.execute("SELECT 'personal'")
    opened = running.recorded("session_opened", principal="olga")
    closed = running.recorded("session_closed", session=opened["session"])
    assert (closed["reason"], closed["statements"]) == ("client_closed", 2)
    decided = running.records("statement_decided", session=opened["session"])
    assert [d["statement"]["sql"] for d in decided] == [
        "SHOW POOLS",
        "(no SHOW of the admin database)",
    ]
    assert [d["decision"]["effect"] for d in decided] == ["allow", "deny"]
    assert "refusal" in decided[1] and "refusal" not in decided[0]
    finished = running.records("statement_finished", session=opened["session"])
    assert [f["decided"] for f in finished] == [decided[0]["id"]]
    assert "personal" not in str(running.records(session=opened["session"]))


def test_who_no_longer_administers_is_sent_away(estate: Estate, running: Running) -> None:
    """(The last one here: it takes the group away.)"""
    c = running.connect("olga", "olga-password", dbname="sallyport")
    c.execute("SHOW VERSION")
    estate.configuration["admin_database"]["groups"] = ["others"]
    estate.save()
    assert running.reload()
    with pytest.raises(psycopg.OperationalError):
        c.execute("SHOW VERSION")
    c.close()
    assert running.recorded("session_closed", reason="revoked")
    assert "administrators" in running.refusal("olga", "olga-password", dbname="sallyport")
