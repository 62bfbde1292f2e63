"""The client leg by password: SCRAM and SCRAM-PLUS, TLS in its modes, protocol versions, and what
somebody without the password learns."""

import contextlib
import random
import socket
import ssl
import struct
import time
from collections.abc import Iterator

import psycopg
import pytest

from appliance.wire.postgres.startup import SSL_REQUEST
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import Estate, Running, listener, one, wait_for
from tests.wireclient import Closed, WireClient, error, query
from tests.wireclient import startup as startup_packet


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("passwords"), vault, authority)
    estate.configuration["listeners"] = [
        listener("plain"),
        listener("allow", tls=estate.tls("allow")),
        listener("require", tls=estate.tls("require")),
        listener("nowhere", target="gone"),
        listener("wrong", target="wrong"),
    ]
    estate.configuration["targets"] += [
        estate.target("gone", port=1),
        estate.target(
            "wrong",
            roles=[
                {
                    "principals": ["*"],
                    "user": "app",
                    "credential": estate.secret("wrong", "not-the-password-sesame-zq"),
                }
            ],
        ),
    ]
    with estate.serve() as running:
        yield running


@pytest.fixture(scope="module")
def ca(authority: Authority) -> str:
    return str(authority.certificate)


# --- SCRAM --------------------------------------------------------------------------------------


def test_scram_without_tls(proxy: Running) -> None:
    with proxy.connect("alice", "alice-password", "plain", require_auth="scram-sha-256") as alice:
        assert one(alice, "SELECT 40 + 2") == 42
        assert one(alice, "SELECT session_user") == "app"
    opened = proxy.recorded("session_opened", principal="alice")
    assert opened["auth"] == "scram-sha-256"
    assert opened["upstream_user"] == "app"
    assert opened["groups"] == ["analysts"]
    assert opened["client"]["listener"] == "plain"
    assert opened["client"]["tls"] is False


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("name", ["allow", "require"])
def test_channel_binding(proxy: Running, ca: str, name: str, negotiation: str) -> None:
    with proxy.connect(
        "alice",
        "alice-password",
        name,
        sslmode="verify-full",
        sslrootcert=ca,
        sslnegotiation=negotiation,
        channel_binding="require",
        require_auth="scram-sha-256",
    ) as alice:
        assert one(alice, "SELECT 1") == 1
        assert alice.pgconn.ssl_in_use
    opened = proxy.records("session_opened")[-1]
    assert opened["auth"] == "scram-sha-256-plus"
    assert opened["client"]["tls"] is True


def test_scram_over_tls_without_channel_binding(proxy: Running, ca: str) -> None:
    with proxy.connect(
        "alice", "alice-password", "require", sslmode="require", channel_binding="disable"
    ) as alice:
        assert one(alice, "SELECT 1") == 1
    assert proxy.records("session_opened")[-1]["auth"] == "scram-sha-256"


def test_no_channel_binding_without_tls(proxy: Running) -> None:
    words = proxy.refusal("alice", "alice-password", listener="plain", channel_binding="require")
    assert "channel binding" in words


FAILURES = [("alice", "wrong"), ("nobody", "wrong"), ("mallory", "mallory-password")]


def test_who_exists_is_not_told(proxy: Running) -> None:
    """A wrong password, an unknown and a disabled user: the same words, the same steps."""
    told: dict[tuple[str, str], tuple[str, dict[str, str]]] = {}
    for user, password in FAILURES:
        with WireClient("127.0.0.1", proxy.ports["plain"]) as client:
            client.send(startup_packet({"user": user, "database": "vault"}))
            with pytest.raises(Closed) as closed:
                client.authenticate(password)
            messages = closed.value.rest
            told[user, password] = ("".join(m.kind for m in messages), error(messages))
    assert len({steps for steps, _ in told.values()}) == 1
    fields = [words for _, words in told.values()]
    assert fields[0] == fields[1] == fields[2]
    assert fields[0]["C"] == "28P01"
    assert fields[0]["S"] == "FATAL"
    assert "identity." not in str(fields[0])


def test_an_unknown_users_salt_stays(proxy: Running) -> None:
    """Two attempts see one salt, as they would of a user that exists; another name has another."""
    salts = {name: {salt_of(proxy, name) for _ in range(2)} for name in ("nobody", "none", "alice")}
    assert all(len(found) == 1 for found in salts.values())
    assert len(set.union(*salts.values())) == 3


def salt_of(proxy: Running, user: str) -> str:
    with WireClient("127.0.0.1", proxy.ports["plain"]) as client:
        client.send(startup_packet({"user": user, "database": "vault"}))
        client.read()
        first = b"n,,n=,r=abcdefghijklmnopqrstuvwx"
        body = b"SCRAM-SHA-256\0" + struct.pack("!I", len(first)) + first
        client.send(b"p" + struct.pack("!I", len(body) + 4) + body)
        return str(client.read().body[4:].decode().split(",")[1])


def test_failed_logins_are_recorded(proxy: Running) -> None:
    proxy.refusal("burglar", "wrong", listener="plain", application_name="crowbar")
    (failed,) = proxy.records("login_failed", claimed="burglar")
    assert failed["reason"] == "identity.scram.proof"
    assert failed["client"]["address"] == "127.0.0.1"
    assert failed["client"]["application"] == "crowbar"
    assert failed["auth"] == "scram-sha-256"
    assert failed["database"] == "vault"
    assert proxy.metric_reaches(1, "logins_total", outcome="failed") >= 1


# --- TLS ----------------------------------------------------------------------------------------


def test_a_plaintext_startup_where_tls_is_required(proxy: Running) -> None:
    words = proxy.refusal("alice", "alice-password", listener="require")
    assert "encrypted connections only" in words
    assert "sslmode=require" in words


def test_plaintext_where_tls_is_allowed(proxy: Running) -> None:
    with proxy.connect("alice", "alice-password", "allow") as alice:
        assert not alice.pgconn.ssl_in_use


def test_tls_where_there_is_none(proxy: Running) -> None:
    words = proxy.refusal("alice", "alice-password", listener="plain", sslmode="require")
    assert "does not support SSL" in words
    with proxy.connect("alice", "alice-password", "plain", sslmode="prefer") as alice:
        assert not alice.pgconn.ssl_in_use


def test_direct_tls_without_the_protocols_name(proxy: Running) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    said = startup_packet({"user": "alice", "database": "vault"})
    assert heard(proxy, context, said) == b""
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert heard(proxy, context, b"GET / HTTP/1.1\r\n\r\n") == b""
    context.set_alpn_protocols(["postgresql"])
    assert heard(proxy, context, said).startswith(b"R")


def heard(proxy: Running, context: ssl.SSLContext, said: bytes) -> bytes:
    """The first answer over direct TLS; b"" when the connection ended."""
    plain = socket.create_connection(("127.0.0.1", proxy.ports["require"]), timeout=5)
    with plain, contextlib.suppress(OSError), context.wrap_socket(plain) as client:
        client.sendall(said)
        return client.recv(4096)
    return b""


def test_old_tls_is_not_spoken(proxy: Running) -> None:
    words = proxy.refusal(
        "alice",
        "alice-password",
        listener="require",
        sslmode="require",
        ssl_min_protocol_version="TLSv1",
        ssl_max_protocol_version="TLSv1.1",
    )
    assert "SSL error" in words or "closed" in words


def test_plaintext_slipped_in_behind_sslrequest(proxy: Running) -> None:
    """CVE-2021-23214: bytes an attacker puts before the handshake must not be taken for the
    client's."""
    with socket.create_connection(("127.0.0.1", proxy.ports["require"]), timeout=5) as client:
        startup = startup_packet({"user": "alice", "database": "vault"})
        client.sendall(SSL_REQUEST + startup)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := client.recv(4096):
                answer += piece
        assert not answer.startswith(b"S")
        assert b"plaintext bytes behind SSLRequest" in answer


PIECES = [(SSL_REQUEST,), (SSL_REQUEST[:3], SSL_REQUEST[3:])]


@pytest.mark.parametrize("pieces", PIECES, ids=["whole", "in pieces"])
def test_sslrequest_in_pieces(proxy: Running, pieces: tuple[bytes, ...]) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with asked_for_tls(proxy, pieces) as plain, context.wrap_socket(plain) as client:
        client.sendall(startup_packet({"user": "alice", "database": "vault"}))
        assert client.recv(4096).startswith(b"R")


@pytest.mark.parametrize("pieces", PIECES, ids=["whole", "in pieces"])
def test_plaintext_slipped_in_behind_the_answer(proxy: Running, pieces: tuple[bytes, ...]) -> None:
    """The same, by one who waits for it."""
    with asked_for_tls(proxy, pieces) as client:
        client.sendall(startup_packet({"user": "alice", "database": "vault"}))
        answer = b""
        with contextlib.suppress(OSError):
            while piece := client.recv(4096):
                answer += piece
        assert not answer.startswith((b"R", b"E", b"v"))


@pytest.mark.parametrize("pieces", PIECES, ids=["whole", "in pieces"])
def test_tls_asked_for_again_within_tls(proxy: Running, pieces: tuple[bytes, ...]) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with asked_for_tls(proxy, pieces) as plain, context.wrap_socket(plain) as client:
        client.sendall(SSL_REQUEST)
        assert b"08P01" in client.recv(4096)


@contextlib.contextmanager
def asked_for_tls(proxy: Running, pieces: tuple[bytes, ...]) -> Iterator[socket.socket]:
    """A connection that was told S."""
    with socket.create_connection(("127.0.0.1", proxy.ports["require"]), timeout=5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0.05)  # so that each is a packet
        assert client.recv(1) == b"S"
        yield client


# --- versions, cancel keys ----------------------------------------------------------------------


@pytest.mark.parametrize(("version", "key_bytes"), [("3.0", 4), ("3.2", 32)])
def test_protocol_versions(proxy: Running, version: str, key_bytes: int) -> None:
    if psycopg.pq.version() < 180000:
        pytest.skip("this libpq speaks 3.0 only")
    with proxy.connect(
        "alice",
        "alice-password",
        "plain",
        min_protocol_version=version,
        max_protocol_version=version,
    ) as alice:
        assert alice.pgconn.protocol_version == 3
        assert one(alice, "SELECT 1") == 1
        cancel_with_key(alice)
    minor = 0x30000 + int(version[2:])
    with WireClient.login(uri(proxy), minor) as client:
        assert len(client.key) == key_bytes


def cancel_with_key(client: psycopg.Connection[tuple[object, ...]]) -> None:
    """libpq sends the key it was given, and the statement it runs ends."""
    client.pgconn.send_query(b"SELECT pg_sleep(20)")
    time.sleep(0.2)  # a cancel request that comes before its statement is nobody's
    client.cancel_safe(timeout=5)
    result = client.pgconn.get_result()
    assert result is not None
    assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57014"
    while client.pgconn.get_result() is not None:
        pass


def test_a_newer_version_is_talked_down(proxy: Running) -> None:
    """libpq 18 with `latest` gets 3.2; a client of the future is told 3.2 (NegotiateProtocol
    Version)."""
    with WireClient("127.0.0.1", proxy.ports["plain"]) as client:
        client.send(
            startup_packet(
                {"user": "alice", "database": "vault", "_pq_.glitter": "on"}, (3 << 16) | 9
            )
        )
        negotiated = client.read()
        assert negotiated.kind == "v"
        assert struct.unpack("!II", negotiated.body[:8]) in ((2, 1), (0x30002, 1))
        assert b"_pq_.glitter\0" in negotiated.body


def test_a_wrong_cancel_key_does_nothing(proxy: Running) -> None:
    with WireClient.login(uri(proxy), 0x30000) as client:
        client.send(query("SELECT pg_sleep(0.5)"))
        with socket.create_connection(("127.0.0.1", proxy.ports["plain"]), timeout=5) as other:
            other.sendall(struct.pack("!IIII", 16, 80877102, client.pid, 0x01020304))
            assert other.recv(1) == b""
        assert "C" in "".join(m.kind for m in client.until("Z"))


def uri(proxy: Running) -> str:
    return f"postgresql://alice:alice-password@127.0.0.1:{proxy.ports['plain']}/vault"


# --- the upstream's troubles, told to the client ------------------------------------------------


def test_a_database_that_is_not_there(proxy: Running) -> None:
    words = proxy.refusal("alice", "alice-password", listener="nowhere")
    assert "cannot connect to the database" in words
    assert proxy.recorded("login_failed", reason="upstream_unreachable")["target"] == "gone"


def test_a_wrong_upstream_credential(proxy: Running) -> None:
    words = proxy.refusal("alice", "alice-password", listener="wrong")
    assert "the database refused the role mapped to you" in words
    assert "sesame-zq" not in words
    assert "sesame-zq" not in proxy.child.text()
    assert proxy.recorded("login_failed", reason="upstream_refused")["target"] == "wrong"
    assert not [r for r in proxy.records() if "sesame-zq" in str(r)]


def test_a_database_that_does_not_exist(proxy: Running) -> None:
    words = proxy.refusal("alice", "alice-password", listener="plain", dbname="elsewhere")
    assert 'database "elsewhere" does not exist' in words


def test_what_exists_is_told_to_nobody_unproved(proxy: Running) -> None:
    """Neither of databases nor of targets does somebody without a password hear."""
    known = proxy.refusal("alice", "wrong", listener="plain")
    unknown = proxy.refusal("alice", "wrong", listener="plain", dbname="elsewhere")
    assert known == unknown


# --- ill-formed logins --------------------------------------------------------------------------


def test_nonsense_leaves_nothing_behind(proxy: Running) -> None:
    """Startup packets and SASL messages with bytes changed, cut or repeated: each connection ends
    with an error or in silence, and nothing in the worker breaks."""
    dice = random.Random(20_261_122)
    whole = startup_packet({"user": "alice", "database": "vault", "application_name": "x"})
    body = b"SCRAM-SHA-256\0" + struct.pack("!I", 32) + b"n,,n=,r=abcdefghijklmnopqrstuvwx"
    sasl = b"p" + struct.pack("!I", len(body) + 4) + body
    for _ in range(150):
        first = spoilt(dice, whole) if dice.random() < 0.6 else whole
        second = spoilt(dice, sasl) if first == whole else sasl
        with socket.create_connection(("127.0.0.1", proxy.ports["plain"]), timeout=5) as client:
            client.sendall(first + (second if dice.random() < 0.5 else b""))
            with contextlib.suppress(OSError):
                client.sendall(second)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65_536):
                    pass
    proxy.connect("alice", "alice-password", "plain").close()
    wait_for(lambda: proxy.metric("logins_pending") == 0, "the last of them")
    assert proxy.metric("connections_cut_total", reason="invariant") == 0
    assert "login cut" not in proxy.child.text()


def spoilt(dice: random.Random, packet: bytes) -> bytes:
    changed = bytearray(packet)
    for _ in range(dice.randint(1, 4)):
        match dice.randrange(4):
            case 0:
                changed[dice.randrange(len(changed))] = dice.randrange(256)
            case 1:
                del changed[dice.randrange(len(changed)) :]
                changed += b"\0"
            case 2:
                place = dice.randrange(len(changed))
                changed[place:place] = dice.randbytes(dice.randint(1, 40))
            case _:
                changed[:4] = struct.pack("!I", len(changed) + dice.choice((0, 0, 1, -1)))
    return bytes(changed)
