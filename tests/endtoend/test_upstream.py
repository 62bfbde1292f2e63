"""The upstream leg: the TLS ladder, the ways to log in to a database, and that the role is never
the client's choice."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from appliance.identity.verifiers import User
from appliance.wire.postgres.startup import SSL_REQUEST
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import Estate, Running, listener, one, verifier

LADDER: dict[str, tuple[dict[str, Any], str]] = {
    # name -> (tls of the target, '' when it connects or what the client is told)
    "disable": ({"mode": "disable"}, ""),
    "allow": ({"mode": "allow"}, ""),
    "prefer": ({"mode": "prefer"}, ""),
    "require": ({"mode": "require"}, ""),
    "require-any-ca": ({"mode": "require", "ca": "OTHER"}, ""),
    "verify-ca": ({"mode": "verify-ca", "ca": "OWN"}, ""),
    "verify-ca-other": ({"mode": "verify-ca", "ca": "OTHER"}, "certificate is not acceptable"),
    "verify-ca-name": ({"mode": "verify-ca", "ca": "OWN", "server_name": "else.example"}, ""),
    "verify-full": ({"mode": "verify-full", "ca": "OWN"}, ""),
    "verify-full-name": (
        {"mode": "verify-full", "ca": "OWN", "server_name": "else.example"},
        "certificate is not acceptable",
    ),
    "verify-full-named": ({"mode": "verify-full", "ca": "OWN", "server_name": "localhost"}, ""),
    "verify-full-other": ({"mode": "verify-full", "ca": "OTHER"}, "certificate is not acceptable"),
    "verify-full-system": ({"mode": "verify-full"}, "certificate is not acceptable"),
}
PLAINTEXT = {
    # towards a server that has no TLS
    "none-disable": ({"mode": "disable"}, ""),
    "none-allow": ({"mode": "allow"}, ""),
    "none-prefer": ({"mode": "prefer"}, ""),
    "none-require": ({"mode": "require"}, "does not offer TLS"),
    "none-verify-full": ({"mode": "verify-full"}, "does not offer TLS"),
}
WAYS = {
    # role -> (tls, what the client is told)
    "md5": ("by_md5", {"mode": "disable"}, ""),
    "md5-tls": ("by_md5", {"mode": "require"}, ""),
    "password-tls": ("by_password", {"mode": "require"}, ""),
    "password-plain": ("by_password", {"mode": "disable"}, "cleartext password without TLS"),
}


@pytest.fixture(scope="module")
def impostor(vault_tls: EmbeddedPostgres, authority: Authority) -> Iterator["Impostor"]:
    relay = Impostor(vault_tls.port, authority)
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    vault_tls: EmbeddedPostgres,
    authority: Authority,
    impostor: "Impostor",
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("upstream")
    other = Authority.create(folder / "other")
    estate = Estate(folder / "estate", vault_tls, authority)
    authorities = {"OWN": str(authority.certificate), "OTHER": str(other.certificate)}
    targets = [
        estate.target(name, tls={key: authorities.get(value, value) for key, value in tls.items()})
        for name, (tls, _) in LADDER.items()
    ]
    targets += [
        estate.target(name, port=vault.port, tls=tls) for name, (tls, _) in PLAINTEXT.items()
    ]
    for name, (role, tls, _) in WAYS.items():
        credential = estate.secret(role, f"{role}-password")
        one_role = {"principals": ["*"], "user": role, "credential": credential}
        targets.append(estate.target(name, tls=tls, roles=[one_role]))
    certificate, key = estate.certificate("by_certificate", client=True)
    shown = {"certificate": certificate, "key": key}
    bare = {"principals": ["*"], "user": "by_certificate"}
    targets += [
        estate.target("certificate", tls={"mode": "require"}, roles=[{**bare, **shown}]),
        estate.target("certificate-of-target", tls={"mode": "require", **shown}, roles=[bare]),
        estate.target("certificate-missing", tls={"mode": "require"}, roles=[bare]),
        estate.target("impostor", port=impostor.port, tls={"mode": "require"}),
        estate.target("nobody", roles=[{"principals": ["carol"], "user": "app"}]),
        estate.target("mapped", tls={"mode": "require"}, roles=roles(estate)),
    ]
    estate.users(
        User(name="alice", groups=("analysts",), verifier=verifier("alice-password")),
        User(name="bob", groups=("dba",), verifier=verifier("bob-password")),
        User(name="by_password", verifier=verifier("by_password-password")),
    )
    estate.configuration["targets"] = targets
    estate.configuration["listeners"] = [listener(t["name"], target=t["name"]) for t in targets]
    with estate.serve() as running:
        yield running


def roles(estate: Estate) -> list[dict[str, Any]]:
    return [
        {"groups": ["dba"], "user": "by_md5", "credential": "file:by_md5.secret"},
        {"groups": ["analysts"], "user": "app", "credential": "file:app.secret"},
    ]


def enter(proxy: Running, name: str, user: str = "alice") -> psycopg.Connection[tuple[Any, ...]]:
    return proxy.connect(user, f"{user}-password", name)


def check(proxy: Running, name: str, told: str) -> None:
    if told:
        assert told in proxy.refusal("alice", "alice-password", listener=name)
        return
    with enter(proxy, name) as alice:
        tls = one(alice, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert tls == (name not in ("disable", "md5") and not name.startswith("none"))


@pytest.mark.parametrize("name", LADDER)
def test_the_ladder(proxy: Running, name: str) -> None:
    check(proxy, name, LADDER[name][1])


@pytest.mark.parametrize("name", PLAINTEXT)
def test_a_server_without_tls(proxy: Running, name: str) -> None:
    check(proxy, name, PLAINTEXT[name][1])


@pytest.mark.parametrize("name", WAYS)
def test_ways_to_log_in(proxy: Running, vault_tls: EmbeddedPostgres, name: str) -> None:
    role, _, told = WAYS[name]
    check(proxy, name, told)
    if not told:
        method = "password" if role == "by_password" else "md5"
        line = f'connection authenticated: identity="{role}" method={method}'
        assert line in vault_tls.log.read_text()


@pytest.mark.parametrize("name", ["certificate", "certificate-of-target"])
def test_by_certificate(proxy: Running, name: str) -> None:
    with enter(proxy, name) as alice:
        assert one(alice, "SELECT session_user") == "by_certificate"
        subject = one(alice, "SELECT client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert subject == "/CN=by_certificate"


def test_without_the_certificate(proxy: Running) -> None:
    words = proxy.refusal("alice", "alice-password", listener="certificate-missing")
    assert "the database refused the role mapped to you" in words


def test_scram_is_bound_to_the_channel(proxy: Running, vault_tls: EmbeddedPostgres) -> None:
    """`require` looks at no certificate, and yet somebody between us and the database gets
    nowhere: SCRAM-SHA-256-PLUS is chosen, and the server sees another channel."""
    with enter(proxy, "require") as alice:
        assert one(alice, "SELECT 1") == 1
    before = vault_tls.log.read_text().count("SCRAM channel binding check failed")
    words = proxy.refusal("alice", "alice-password", listener="impostor")
    assert "the database refused the role mapped to you" in words
    assert vault_tls.log.read_text().count("SCRAM channel binding check failed") == before + 1


@pytest.mark.parametrize("name", ["disable", "require", "verify-full", "certificate"])
def test_a_cancel_request_goes_the_same_way(proxy: Running, name: str) -> None:
    with enter(proxy, name) as alice:
        timer = threading.Timer(0.3, alice.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            alice.execute("SELECT pg_sleep(20)")
        timer.join()
        assert one(alice, "SELECT 1") == 1


# --- the role -----------------------------------------------------------------------------------


def test_identity_chooses_the_role(proxy: Running) -> None:
    with enter(proxy, "mapped") as alice, enter(proxy, "mapped", "bob") as bob:
        assert one(alice, "SELECT session_user || ' ' || current_user") == "app app"
        assert one(bob, "SELECT session_user || ' ' || current_user") == "by_md5 by_md5"


def test_nobody_is_mapped_by_name(proxy: Running) -> None:
    """A principal who is called like a database role does not become it."""
    words = proxy.refusal("by_password", "by_password-password", listener="mapped")
    assert "no database role is mapped to you" in words
    failed = proxy.records("login_failed")[-1]
    assert failed["reason"] == "identity.mapping"
    assert failed["target"] == "mapped"
    assert "no database role" in proxy.refusal("alice", "alice-password", listener="nobody")


@pytest.mark.parametrize(
    "text",
    [
        "SET SESSION AUTHORIZATION postgres",
        "SET LOCAL SESSION AUTHORIZATION 'by_md5'",
        "SET session_authorization = 'by_md5'",
        "SELECT set_config('session_authorization', 'by_md5', false)",
        "SET ROLE by_md5",
        "SELECT set_config('role', 'by_md5', false)",
        "RESET SESSION AUTHORIZATION",
    ],
)
def test_the_client_does_not(proxy: Running, text: str) -> None:
    with enter(proxy, "mapped") as alice:
        with contextlib.suppress(psycopg.Error):
            alice.execute(text)  # type: ignore[arg-type]
        assert one(alice, "SELECT session_user || ' ' || current_user") == "app app"


class Impostor:
    """TLS to both sides, in between: what a client sees is a certificate of its own."""

    def __init__(self, port: int, authority: Authority) -> None:
        leaf = authority.issue("impostor", "127.0.0.1")
        self._inwards = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inwards.load_cert_chain(leaf.certificate, leaf.key)
        self._outwards = ssl.create_default_context()
        self._outwards.check_hostname, self._outwards.verify_mode = False, ssl.CERT_NONE
        self._behind = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                self._between(client)

    def _between(self, client: socket.socket) -> None:
        """One connection at a time, question and answer in turns: all that a login needs."""
        client.settimeout(5)
        client.recv(8)
        client.sendall(b"S")
        near = self._inwards.wrap_socket(client, server_side=True)
        plain = socket.create_connection(("127.0.0.1", self._behind), timeout=5)
        plain.sendall(SSL_REQUEST)
        plain.recv(1)
        with near, self._outwards.wrap_socket(plain) as far:
            while asked := near.recv(65_536):
                far.sendall(asked)
                answer = far.recv(65_536)
                if not answer:
                    return
                near.sendall(answer)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()
