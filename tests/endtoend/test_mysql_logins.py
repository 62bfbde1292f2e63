"""The ways into a governed MariaDB: each method of proof with independent clients, with TLS and
without, and what is refused.
"""

import asyncio
import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncmy
import pymysql
import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.identity.native import native_digest
from appliance.identity.verifiers import User
from tests import mariadb as servers
from tests.clusters import Authority
from tests.endtoend.stage import Estate, Issuer, Running, listener, verifier, wait_for

DATABASE, ROLE, ROLE_PASSWORD = "vault", "keeper", "what only sallyport knows"


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory,
    mariadb: EmbeddedMariaDB,
    authority: Authority,
    issuer: Issuer,
) -> Iterator[Running]:
    servers.run(
        mariadb,
        f"CREATE DATABASE IF NOT EXISTS {DATABASE}",
        f"CREATE OR REPLACE USER {ROLE}@'%' IDENTIFIED BY '{ROLE_PASSWORD}'",
        f"GRANT ALL ON {DATABASE}.* TO {ROLE}@'%'",
    )
    estate = Estate(tmp_path_factory.mktemp("logins"), mariadb, authority, issuer)  # type: ignore[arg-type]
    role = {"principals": ["*"], "user": ROLE, "credential": estate.secret("role", ROLE_PASSWORD)}
    plain = {"dialect": "mysql", "roles": [role], "tls": {"mode": "require"}}
    estate.configuration["targets"] = [estate.target("vault", **plain)]
    clients = {"client_ca": str(authority.certificate), "client_certificates": "optional"}
    estate.configuration["listeners"] = [
        listener("plain"),
        listener("both", tls=estate.tls("allow"), authentication=["scram", "oidc"]),
        listener("tls", tls=estate.tls("require")),
        listener("old", authentication=["scram", "native"], server_version="5.7.44-log"),
        listener(
            "certificates",
            tls=estate.tls("require", **clients),
            authentication=["certificate", "scram"],
        ),
    ]
    estate.configuration["identities"]["certificates"] = [
        {"field": "subject_cn", "pattern": r"svc-(?P<name>.+)", "kind": "service"}
    ]
    estate.users(
        User(
            name="alice",
            groups=("analysts",),
            verifier=verifier("alice-password"),
            native_digest=native_digest(b"alice-password"),
        ),
        User(name="bob", verifier=verifier("bob-password")),
        User(name="mallory", verifier=verifier("mallory-password"), disabled=True),
    )
    with estate.serve() as running:
        yield running


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.certificate))


def connect(
    proxy: Running, user: str, password: str, where: str = "plain", **options: Any
) -> "pymysql.connections.Connection[Any]":
    given = {"database": DATABASE, "ssl_disabled": "ssl" not in options, **options}
    return pymysql.connect(
        host="127.0.0.1", port=proxy.ports[where], user=user, password=password, **given
    )


def one(connection: "pymysql.connections.Connection[Any]", text: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(text)
        ((value,),) = cursor.fetchall()
    return value


def opened(proxy: Running) -> dict[str, Any]:
    return proxy.records("session_opened")[-1]


@pytest.mark.parametrize("where", ["plain", "both"])
def test_pymysql_full_and_fast(proxy: Running, authority: Authority, where: str) -> None:
    """The first login takes the password itself, under RSA or TLS; later ones prove less."""
    secure = {"ssl": trusting(authority)} if where == "both" else {}
    for _ in range(3):
        with connect(proxy, "bob", "bob-password", where, **secure) as bob:
            assert one(bob, "SELECT CONCAT(CURRENT_USER(), DATABASE())") == f"{ROLE}@%{DATABASE}"
        record = opened(proxy)
        assert (record["auth"], record["client"]["tls"]) == ("caching-sha2", where == "both")
    assert record["upstream_user"] == ROLE


async def test_asyncmy(proxy: Running, authority: Authority) -> None:
    for options in ({}, {"ssl": trusting(authority)}, {"ssl": trusting(authority)}):
        connection = await asyncmy.connect(
            host="127.0.0.1",
            port=proxy.ports["both"],
            user="bob",
            password="bob-password",
            database=DATABASE,
            **options,
        )
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT 1")
            assert await cursor.fetchall() == ((1,),)
        await connection.ensure_closed()
    await asyncio.sleep(0)


CONNECTOR = """
import sys
import mysql.connector
port, ca, database = int(sys.argv[1]), sys.argv[2], sys.argv[3]
for options in ({"ssl_disabled": True}, {"ssl_ca": ca, "ssl_verify_cert": True}) * 2:
    connection = mysql.connector.connect(
        host="127.0.0.1", port=port, user="bob", password="bob-password", database=database,
        use_pure=True, **options)
    cursor = connection.cursor(prepared=True)
    cursor.execute("SELECT %s + 1", (41,))
    print(cursor.fetchall())
    connection.close()
"""


def test_connector_in_a_process_of_its_own(proxy: Running, authority: Authority) -> None:
    pytest.importorskip("mysql.connector")
    arguments = [str(proxy.ports["both"]), str(authority.certificate), DATABASE]
    answer = subprocess.run(
        [sys.executable, "-c", CONNECTOR, *arguments], capture_output=True, text=True, timeout=60
    )
    assert answer.stdout.split("\n")[:4] == ["[(42,)]"] * 4, answer.stderr


@pytest.mark.parametrize("secure", [True, False])
def test_the_mariadb_command_line(
    proxy: Running, mariadb: EmbeddedMariaDB, authority: Authority, secure: bool, tmp_path: Path
) -> None:
    """libmariadb: it begins with mysql_native_password and is switched."""
    program = mariadb.programs.find("mariadb")
    if program is None:
        pytest.skip("no mariadb client here: apt-get install mariadb-client")
    (tmp_path / "my.cnf").write_text("[client]\npassword=bob-password\n")
    tls = [f"--ssl-ca={authority.certificate}", "--ssl-verify-server-cert"]
    answer = subprocess.run(
        [
            *(program, f"--defaults-extra-file={tmp_path / 'my.cnf'}", "-h", "127.0.0.1"),
            *("-P", str(proxy.ports["both"]), "-u", "bob", *(tls if secure else ["--skip-ssl"])),
            *("-N", "-e", "SELECT 40 + 2", DATABASE),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=mariadb.programs.environment(),
    )
    assert answer.stdout == "42\n", answer.stderr
    assert opened(proxy)["client"]["tls"] == secure
    assert opened(proxy)["client"]["application"] == "mysql"


def refusal(
    proxy: Running, user: str, password: str, where: str, **options: Any
) -> tuple[Any, ...]:
    with pytest.raises(pymysql.err.OperationalError) as caught:
        connect(proxy, user, password, where, **options).close()
    return caught.value.args


def test_every_failed_proof_is_told_alike(proxy: Running, authority: Authority) -> None:
    connect(proxy, "alice", "alice-password").close()  # remembered from here on
    cases = [("alice", "wrong"), ("bob", "wrong"), ("nobody", "x"), ("mallory", "mallory-password")]
    cases += [("alice", ""), ("nobody", "")]
    told = {refusal(proxy, user, password, "plain") for user, password in cases}
    secure = {"ssl": trusting(authority)}
    told |= {refusal(proxy, user, password, "both", **secure) for user, password in cases}
    assert len(told) == 1
    ((number, words),) = told
    assert number == 1045 and "authentication failed" in words
    failed = proxy.records("login_failed")
    assert {record["claimed"] for record in failed} >= {"alice", "nobody", "mallory"}
    assert not any("identity" in str(each) for each in told)


def test_a_changed_password_is_not_remembered(proxy: Running) -> None:
    """What is remembered belongs to a verifier; see `identity/remembered`. Here: a wrong password
    after a right one takes the full way, and fails."""
    connect(proxy, "alice", "alice-password").close()
    assert refusal(proxy, "alice", "bob-password", "plain")[0] == 1045


def test_plaintext_where_tls_is_demanded(proxy: Running, authority: Authority) -> None:
    _number, words = refusal(proxy, "bob", "bob-password", "tls")
    assert "encrypted connections only" in words
    with connect(proxy, "bob", "bob-password", "tls", ssl=trusting(authority)) as bob:
        assert one(bob, "SELECT 1") == 1


def test_what_is_sent_behind_the_request_for_tls_is_tls_or_nothing(
    proxy: Running, authority: Authority
) -> None:
    """A client's first words in one piece with its request must not count as said under TLS."""
    with socket.create_connection(("127.0.0.1", proxy.ports["both"])) as plain:
        head = plain.recv(4)
        plain.recv(int.from_bytes(head[:3], "little"))
        request = (
            (0x00088A00 | 0x8000 | 0x800).to_bytes(4, "little") + bytes(4) + b"\x2d" + bytes(23)
        )
        said = len(request).to_bytes(3, "little") + b"\1" + request
        response = request + b"bob\0\0\0caching_sha2_password\0"
        plain.sendall(said + len(response).to_bytes(3, "little") + b"\2" + response)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := plain.recv(4096):
                answer += piece
    assert answer == b"" or answer[:1] == b"\x15"  # at most a TLS alert
    wait_for(
        lambda: any(r["reason"].startswith("tls:") for r in proxy.records("login_failed")),
        "the record of a failed handshake",
    )


# --- tokens, certificates, old clients ------------------------------------------------------------


def test_a_token_in_place_of_a_password(
    proxy: Running, authority: Authority, issuer: Issuer
) -> None:
    """PyMySQL sends it in the clear only over TLS."""
    token = issuer.token("carol")
    with connect(proxy, "carol", token, "both", ssl=trusting(authority)) as carol:
        assert one(carol, "SELECT 1") == 1
    assert opened(proxy)["auth"] == "oidc"
    other = issuer.token("dave")
    assert refusal(proxy, "carol", other, "both", ssl=trusting(authority))[0] == 1045
    assert refusal(proxy, "carol", "short", "both")[0] == 1045  # without TLS: a password's way


def test_a_token_that_expires_ends_its_session(
    proxy: Running, authority: Authority, issuer: Issuer
) -> None:
    token = issuer.token("carol", seconds=1.5)
    connection = connect(proxy, "carol", token, "both", ssl=trusting(authority))
    closed = wait_for(
        lambda: [r for r in proxy.records("session_closed") if r["reason"] == "expired"],
        "the end of the session",
    )
    assert closed
    with pytest.raises(pymysql.err.Error):
        one(connection, "SELECT 1")
    with contextlib.suppress(pymysql.err.Error):
        connection.close()


def test_a_client_certificate(proxy: Running, authority: Authority) -> None:
    shown = authority.issue("svc-billing", client=True)
    context = trusting(authority)
    context.load_cert_chain(shown.certificate, shown.key)
    with connect(proxy, "billing", "", "certificates", ssl=context) as billing:
        assert one(billing, "SELECT 1") == 1
    assert (opened(proxy)["principal"], opened(proxy)["auth"]) == ("billing", "certificate")
    assert refusal(proxy, "alice", "alice-password", "certificates", ssl=context)[0] == 1045
    with connect(proxy, "bob", "bob-password", "certificates", ssl=trusting(authority)) as bob:
        assert one(bob, "SELECT 1") == 1


def test_old_clients_where_they_are_let_in(proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(proxy, "alice", "alice-password", "old") as alice:
        assert alice.get_server_info() == "5.7.44-log"
        assert opened(proxy)["auth"] == "caching-sha2"
    original = pymysql.connections.Connection._get_server_information

    def only_native(self: Any) -> None:
        original(self)
        self._auth_plugin_name = "mysql_native_password"

    monkeypatch.setattr(pymysql.connections.Connection, "_get_server_information", only_native)
    with connect(proxy, "alice", "alice-password", "old") as alice:
        assert one(alice, "SELECT 1") == 1
    assert opened(proxy)["auth"] == "native-password"
    connect(proxy, "bob", "bob-password", "old").close()  # has no digest: is switched
    assert opened(proxy)["auth"] == "caching-sha2"
    assert refusal(proxy, "alice", "wrong", "old")[0] == 1045
    connect(proxy, "alice", "alice-password", "plain").close()  # not enabled there: is switched
    assert opened(proxy)["auth"] == "caching-sha2"


CHANGED = """
import sys
import mysql.connector
port, ca, database = int(sys.argv[1]), sys.argv[2], sys.argv[3]
secure = {"ssl_ca": ca} if ca else {"ssl_disabled": True}
connection = mysql.connector.connect(
    host="127.0.0.1", port=port, user="alice", password="alice-password", database=database,
    use_pure=True, **secure)
cursor = connection.cursor()
cursor.execute("SET @secret = 1")
connection.cmd_change_user("bob", "bob-password", database)
cursor = connection.cursor()
cursor.execute("SELECT @secret, DATABASE()")
print(cursor.fetchall())
connection.cmd_change_user("bob", "bob-password", database)
cursor = connection.cursor()
cursor.execute("SELECT 1")
print(cursor.fetchall())
try:
    connection.cmd_change_user("alice", "wrong", database)
except mysql.connector.Error as error:
    print(error.errno)
"""


@pytest.mark.parametrize("secure", [True, False])
def test_a_change_of_user_is_a_login(proxy: Running, authority: Authority, secure: bool) -> None:
    """With its own proof, its own session in the trail, and a database session of its own."""
    pytest.importorskip("mysql.connector")
    ca = str(authority.certificate) if secure else ""
    answer = subprocess.run(
        [sys.executable, "-c", CHANGED, str(proxy.ports["both"]), ca, DATABASE],
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = answer.stdout.split("\n")[:3]
    assert told == [f"[(None, '{DATABASE}')]", "[(1,)]", "1045"], answer.stderr
    ended = wait_for(
        lambda: [r for r in proxy.records("session_closed")[-3:] if r["reason"] == "changed_user"],
        "the ends of three sessions",
    )
    assert len(ended) == 3
    assert [r["principal"] for r in proxy.records("session_opened")[-3:]] == ["alice", "bob", "bob"]
    assert proxy.records("login_failed")[-1]["claimed"] == "alice"


def test_a_database_that_is_not_there(proxy: Running) -> None:
    number, _words = refusal(proxy, "bob", "bob-password", "plain", database="nowhere")
    assert number in (1044, 1049)  # the server's own words


def test_the_database_knows_who_works(proxy: Running, mariadb: EmbeddedMariaDB) -> None:
    with connect(proxy, "bob", "bob-password", program_name="report") as bob:
        assert one(bob, "SELECT 1") == 1
        assert opened(proxy)["client"]["application"] == "report"


def test_nothing_secret_is_written(proxy: Running) -> None:
    text = proxy.child.text() + "".join(map(str, proxy.records()))
    for secret in ("alice-password", "bob-password", ROLE_PASSWORD, "eyJ"):
        assert secret not in text
