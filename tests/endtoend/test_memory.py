"""A worker is as large after many sessions as after a few: nothing is left of one that ended.

Its parts refer to each other in circles, which counting references does not free, and Python's
cycle collector comes seldom: what is not taken apart at a session's end adds up.
"""

import contextlib
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pymysql
import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.identity.verifiers import User
from appliance.policy.presets import PERMISSIVE
from tests import mariadb as servers
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import Estate, Running, listener, verifier

FIRST, SESSIONS = 60, 200
GROWTH_KIB_MAX = 1000
"""5 KiB a session. It was 25 with plaintext and 75 with TLS."""
IDLE = 40
IDLE_KIB_MAX = 14
"""Each has a connection to the database of its own. It was 22."""
ALICE = ("alice", "alice-password")
POLICY = """
version: 1
rules:
  - {id: all, effect: allow, actions: [everything]}
  - {id: no-drop, effect: deny, actions: [drop], message: Nothing is dropped here.}
  - id: no-ssn
    effect: mask
    resources: ["*.public.people.ssn"]
    mask: {method: redact}
"""
SSL_REQUEST = b"\0\0\0\x08\x04\xd2\x16\x2f"
Way = Callable[[Running], None]


def anonymous_kib(proxy: Running) -> int:
    """Of the one worker; neither files nor what it shares with its parent."""
    (worker,) = [
        pid
        for pid in proxy.worker_pids()
        if b"dataplane.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    found = re.search(r"^RssAnon:\s+(\d+)", Path(f"/proc/{worker}/status").read_text(), re.M)
    assert found is not None
    return int(found[1])


def require_no_growth(proxy: Running, way: Way) -> None:
    for _ in range(FIRST):
        way(proxy)
    before = anonymous_kib(proxy)
    for _ in range(SESSIONS):
        way(proxy)
    assert anonymous_kib(proxy) - before < GROWTH_KIB_MAX


# --- PostgreSQL -----------------------------------------------------------------------------------


def a_session(proxy: Running, **parameters: Any) -> None:
    with proxy.connect(*ALICE, **parameters) as connection:
        assert connection.execute("SELECT ssn FROM people WHERE id = 1").fetchone() is not None


def a_tls_session(proxy: Running) -> None:
    a_session(proxy, sslmode="require")


def a_refused_statement(proxy: Running) -> None:
    with proxy.connect(*ALICE) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("DROP TABLE notes")


def a_client_that_says_no_goodbye(proxy: Running) -> None:
    connection = proxy.connect(*ALICE)
    connection.execute("SELECT 1")
    with socket.socket(fileno=connection.pgconn.socket) as stolen:
        stolen.shutdown(socket.SHUT_RDWR)
        stolen.detach()
    connection.close()


def a_wrong_password(proxy: Running) -> None:
    proxy.refusal("alice", "not alice's")


def a_probe(proxy: Running) -> None:
    """As a load balancer looks whether somebody listens."""
    socket.create_connection(("127.0.0.1", proxy.ports["main"])).close()


def a_handshake_that_ends_early(proxy: Running) -> None:
    with socket.create_connection(("127.0.0.1", proxy.ports["main"])) as probe:
        probe.sendall(SSL_REQUEST)
        assert probe.recv(1) == b"S"
        probe.sendall(b"\x16\x03\x01")


def tls_and_nothing_more(proxy: Running) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", proxy.ports["main"])) as probe:
        probe.sendall(SSL_REQUEST)
        assert probe.recv(1) == b"S"
        context.wrap_socket(probe).close()


@pytest.fixture(scope="module", params=["session", "transaction", "none"])
def postgres(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    authority: Authority,
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("memory"), vault, authority)
    estate.write("policy.yaml", POLICY)
    estate.configuration["listeners"] = [listener("main", tls=estate.tls("allow"))]
    estate.configuration["targets"] = [estate.target("vault", pooling={"mode": request.param})]
    with estate.serve() as running:
        yield running


@pytest.mark.parametrize("way", [a_session, a_tls_session, a_client_that_says_no_goodbye])
def test_sessions(postgres: Running, way: Way) -> None:
    require_no_growth(postgres, way)


@pytest.mark.parametrize("postgres", ["session"], indirect=True)
@pytest.mark.parametrize(
    "way",
    [
        a_refused_statement,
        a_wrong_password,
        a_probe,
        a_handshake_that_ends_early,
        tls_and_nothing_more,
    ],
)
def test_what_did_not_come_far(postgres: Running, way: Way) -> None:
    require_no_growth(postgres, way)


@pytest.mark.parametrize("postgres", ["session"], indirect=True)
def test_sessions_that_do_nothing(postgres: Running) -> None:
    for _ in range(FIRST):
        a_session(postgres)
    with contextlib.ExitStack() as first, contextlib.ExitStack() as more:
        for _ in range(IDLE):
            first.enter_context(postgres.connect(*ALICE))
        before = anonymous_kib(postgres)
        for _ in range(IDLE):
            more.enter_context(postgres.connect(*ALICE))
        assert anonymous_kib(postgres) - before < IDLE * IDLE_KIB_MAX


# --- MariaDB --------------------------------------------------------------------------------------


def my_session(proxy: Running, **parameters: Any) -> "pymysql.Connection[Any]":
    return pymysql.connect(
        host="127.0.0.1",
        port=proxy.ports["main"],
        user="alice",
        password="alice-password",
        database="kept",
        **parameters,
    )


def a_plain_mysql_session(proxy: Running) -> None:
    with contextlib.closing(my_session(proxy, ssl_disabled=True)) as connection:
        connection.cursor().execute("SELECT 1")


def a_mysql_session_by_tls(proxy: Running) -> None:
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    with contextlib.closing(my_session(proxy, ssl=insecure)) as connection:
        connection.cursor().execute("SELECT 1")


@pytest.fixture(scope="module")
def mysql(
    tmp_path_factory: pytest.TempPathFactory, mariadb: EmbeddedMariaDB, authority: Authority
) -> Iterator[Running]:
    servers.run(
        mariadb,
        "CREATE DATABASE IF NOT EXISTS kept",
        "CREATE OR REPLACE USER keeper@'%' IDENTIFIED BY 'keeper-password'",
        "GRANT ALL ON kept.* TO keeper@'%'",
    )
    estate = Estate(tmp_path_factory.mktemp("memory"), mariadb, authority)  # type: ignore[arg-type]
    estate.write("policy.yaml", PERMISSIVE)
    credential = estate.secret("role", "keeper-password")
    role = {"principals": ["*"], "user": "keeper", "credential": credential}
    pooling = {"mode": "session"}
    target = estate.target("vault", dialect="mysql", roles=[role], pooling=pooling)
    estate.configuration["targets"] = [target]
    estate.configuration["listeners"] = [listener("main", tls=estate.tls("allow"))]
    estate.users(User(name="alice", verifier=verifier("alice-password")))
    with estate.serve() as running:
        yield running


@pytest.mark.parametrize("way", [a_plain_mysql_session, a_mysql_session_by_tls])
def test_sessions_on_mariadb(mysql: Running, way: Way) -> None:
    require_no_growth(mysql, way)
