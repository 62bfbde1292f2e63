"""SCRAM against RFC 7677's example, against scramp as an oracle both ways, and against liars."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scramp import ScramClient as OracleClient  # type: ignore[import-untyped]
from scramp import ScramException, ScramMechanism

from appliance.identity import scram
from appliance.identity.scram import (
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    SaltedPasswords,
    ScramClient,
    ScramServer,
    Verifier,
    make_verifier,
    mock_verifier,
    salted_password,
)
from appliance.model.errors import ProtocolViolation, Refused
from appliance.model.refusal import RefusalCode

SALT = bytes(range(16))
CLIENT_NONCE = b"c" * 18
SERVER_NONCE = b"s" * 18
BINDING = hashlib.sha256(b"certificate").digest()
VERIFIER = make_verifier("pencil", SALT)


def exchange(server: ScramServer, client: ScramClient, password: str) -> None:
    salt, iterations = client.challenge(server.first(client.first()))
    client.verify(server.final(client.final(salted_password(password, salt, iterations))))


@pytest.mark.parametrize(
    ("mechanism", "server_binding", "client_binding", "offered_plus"),
    [
        (SCRAM_SHA_256, None, None, False),  # plaintext
        (SCRAM_SHA_256, None, BINDING, False),  # TLS, 'y': the server really has no -PLUS
        (SCRAM_SHA_256, BINDING, None, True),  # TLS, a client that cannot bind
        (SCRAM_SHA_256_PLUS, BINDING, BINDING, True),
    ],
)
def test_our_two_sides_agree(
    mechanism: str, server_binding: bytes | None, client_binding: bytes | None, offered_plus: bool
) -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE, mechanism=mechanism, binding=server_binding)
    client = ScramClient(
        CLIENT_NONCE, mechanism=mechanism, binding=client_binding, offered_plus=offered_plus
    )
    assert not client.finished
    exchange(server, client, "pencil")
    assert client.finished


def test_rfc_7677_example() -> None:
    """The proof and signature of RFC 7677, section 3, from the messages given there."""
    client_first = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    server_first = (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    salted = salted_password("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    client = ScramClient(CLIENT_NONCE)
    client.first()
    # The RFC's nonces are not base64 of 18 bytes, so they are put in by hand.
    client._nonce = b"rOprNGfwEbeRWgbNEkqO"
    client._client_first_bare = client_first[3:]
    client.challenge(server_first)
    assert client.final(salted) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    client.verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")


@pytest.mark.parametrize("password", ["pencil", "pä$$wörd 日本", "I\u00adX", "\u2168", "a b"])
def test_scramp_client_logs_in_to_us(password: str) -> None:
    verifier = make_verifier(password, SALT)
    client = OracleClient([SCRAM_SHA_256], "user", password)
    server = ScramServer(verifier, SERVER_NONCE)
    client.set_server_first(server.first(client.get_client_first().encode()).decode())
    client.set_server_final(server.final(client.get_client_final().encode()).decode())


def test_scramp_client_logs_in_to_us_with_channel_binding() -> None:
    client = OracleClient(
        [SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
        "user",
        "pencil",
        channel_binding=("tls-server-end-point", BINDING),
    )
    assert client.mechanism_name == SCRAM_SHA_256_PLUS
    server = ScramServer(VERIFIER, SERVER_NONCE, mechanism=SCRAM_SHA_256_PLUS, binding=BINDING)
    client.set_server_first(server.first(client.get_client_first().encode()).decode())
    client.set_server_final(server.final(client.get_client_final().encode()).decode())


@pytest.mark.parametrize("plus", [False, True])
def test_we_log_in_to_a_scramp_server(plus: bool) -> None:
    name = SCRAM_SHA_256_PLUS if plus else SCRAM_SHA_256
    mechanism = ScramMechanism(name)
    stored = mechanism.make_auth_info("pencil", iteration_count=4096)
    binding = ("tls-server-end-point", BINDING) if plus else None
    server = mechanism.make_server(lambda user: stored, channel_binding=binding)
    client = ScramClient(
        CLIENT_NONCE, mechanism=name, binding=BINDING if plus else None, offered_plus=plus
    )
    # scramp wants a user name where libpq (and we) send none
    first = client.first().replace(b"n=,", b"n=user,")
    client._client_first_bare = client._client_first_bare.replace(b"n=,", b"n=user,")
    server.set_client_first(first.decode())
    salt, iterations = client.challenge(server.get_server_first().encode())
    server.set_client_final(client.final(salted_password("pencil", salt, iterations)).decode())
    client.verify(server.get_server_final().encode())


def test_oracle_really_checks() -> None:
    client = OracleClient([SCRAM_SHA_256], "user", "pencil")
    server = ScramServer(make_verifier("other", SALT), SERVER_NONCE, doomed=False)
    client.set_server_first(server.first(client.get_client_first().encode()).decode())
    with pytest.raises(Refused):
        server.final(client.get_client_final().encode())
    with pytest.raises(ScramException):
        client.set_server_final("v=" + base64.b64encode(b"x" * 32).decode())


def test_verifier_is_postgresqls() -> None:
    text = VERIFIER.render()
    assert text.startswith("SCRAM-SHA-256$4096:" + base64.b64encode(SALT).decode() + "$")
    assert Verifier.parse(text) == VERIFIER
    assert "Stored" not in repr(VERIFIER)
    assert text not in repr(VERIFIER)
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", SALT, 4096)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert VERIFIER.stored_key == hashlib.sha256(client_key).digest()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "md5d41d8cd98f00b204e9800998ecf8427e",
        "SCRAM-SHA-256$0:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$-1:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$99999999999:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$4096:AAAA$AAAA:AAAA",
        "SCRAM-SHA-256$4096:not base64$AAAA:AAAA",
        VERIFIER.render() + "=",
    ],
)
def test_bad_verifiers(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not"):
        Verifier.parse(text)


def test_wrong_password_is_refused() -> None:
    server, client = ScramServer(VERIFIER, SERVER_NONCE), ScramClient(CLIENT_NONCE)
    with pytest.raises(Refused) as caught:
        exchange(server, client, "pencil2")
    assert caught.value.refusal.code is RefusalCode.AUTHENTICATION
    assert caught.value.refusal.sqlstate == "28P01"


def test_doomed_server_refuses_even_the_right_password() -> None:
    with pytest.raises(Refused):
        exchange(
            ScramServer(VERIFIER, SERVER_NONCE, doomed=True), ScramClient(CLIENT_NONCE), "pencil"
        )


def test_mock_looks_like_a_real_one_and_stays_the_same() -> None:
    one, again = mock_verifier("nobody", b"secret"), mock_verifier("nobody", b"secret")
    assert one == again
    assert len(one.salt) == len(SALT)
    assert one.iterations == VERIFIER.iterations
    assert mock_verifier("nobody", b"other").salt != one.salt
    assert mock_verifier("somebody", b"secret").salt != one.salt


def test_downgrade_is_refused() -> None:
    """The client says 'y' (I could bind, you cannot) although we offered -PLUS."""
    server = ScramServer(VERIFIER, SERVER_NONCE, binding=BINDING)
    with pytest.raises(Refused) as caught:
        server.first(ScramClient(CLIENT_NONCE, binding=BINDING, offered_plus=False).first())
    assert caught.value.refusal.rule == "identity.scram.downgrade"


def test_another_channel_is_refused() -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE, mechanism=SCRAM_SHA_256_PLUS, binding=BINDING)
    client = ScramClient(
        CLIENT_NONCE, mechanism=SCRAM_SHA_256_PLUS, binding=b"x" * 32, offered_plus=True
    )
    with pytest.raises(Refused) as caught:
        exchange(server, client, "pencil")
    assert caught.value.refusal.rule == "identity.scram.channel_binding"


@pytest.mark.parametrize(
    ("mechanism", "message"),
    [
        (SCRAM_SHA_256, b""),
        (SCRAM_SHA_256, b"n,,"),
        (SCRAM_SHA_256, b"n,,n=user"),
        (SCRAM_SHA_256, b"n,,n=user,r="),
        (SCRAM_SHA_256, b"n,,n=user,r=caf\xc3\xa9"),
        (SCRAM_SHA_256, b"n,,m=future,n=user,r=abc"),
        (SCRAM_SHA_256, b"n,a=admin,n=user,r=abc"),
        (SCRAM_SHA_256, b"x,,n=user,r=abc"),
        (SCRAM_SHA_256, b"p=tls-server-end-point,,n=user,r=abc"),
        (SCRAM_SHA_256_PLUS, b"n,,n=user,r=abc"),
        (SCRAM_SHA_256_PLUS, b"y,,n=user,r=abc"),
        (SCRAM_SHA_256_PLUS, b"p=tls-unique,,n=user,r=abc"),
    ],
)
def test_bad_client_first(mechanism: str, message: bytes) -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE, mechanism=mechanism, binding=BINDING)
    with pytest.raises(ProtocolViolation) as caught:
        server.first(message)
    assert caught.value.side == "client"


@pytest.mark.parametrize("mechanism", ["PLAIN", "", "scram-sha-256", SCRAM_SHA_256_PLUS])
def test_mechanism_that_was_not_offered(mechanism: str) -> None:
    with pytest.raises(ProtocolViolation):
        ScramServer(VERIFIER, SERVER_NONCE, mechanism=mechanism)


def test_bad_client_final() -> None:
    for tampered in (
        lambda m: b"",
        lambda m: m.replace(b"r=", b"r=x"),
        lambda m: m[:-1] + b"!",
        lambda m: m.split(b",p=")[0],
        lambda m: m.split(b",p=")[0] + b",p=AAAA",
        lambda m: m.replace(b"c=", b"C="),
    ):
        server, client = ScramServer(VERIFIER, SERVER_NONCE), ScramClient(CLIENT_NONCE)
        salt, iterations = client.challenge(server.first(client.first()))
        message = client.final(salted_password("pencil", salt, iterations))
        with pytest.raises(ProtocolViolation):
            server.final(tampered(message))


def test_messages_out_of_order() -> None:
    server, client = ScramServer(VERIFIER, SERVER_NONCE), ScramClient(CLIENT_NONCE)
    with pytest.raises(ProtocolViolation):
        server.final(b"c=biws,r=x,p=y")
    with pytest.raises(ProtocolViolation):
        client.verify(b"v=x")
    exchange(server, client, "pencil")
    with pytest.raises(ProtocolViolation):
        server.first(b"n,,n=,r=abc")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"e=other-error",
        b"r=%s,s=AAAA,i=4096",  # our nonce, not extended
        b"r=%sx,s=AAAA,i=0",
        b"r=%sx,s=AAAA,i=-5",
        b"r=%sx,s=AAAA,i=10000001",
        b"r=%sx,s=AAAA,i=99999999999999999999",
        b"r=%sx,s=,i=4096",
        b"r=%sx,s=!,i=4096",
        b"r=%sx,i=4096,s=AAAA",
        b"r=someone-else,s=AAAA,i=4096",
        b"m=x,r=%sx,s=AAAA,i=4096",
        b"r=%sx,s=" + base64.b64encode(b"s" * 1025) + b",i=4096",
    ],
)
def test_hostile_upstream(message: bytes) -> None:
    client = ScramClient(CLIENT_NONCE)
    client.first()
    with pytest.raises(ProtocolViolation) as caught:
        client.challenge(message.replace(b"%s", base64.b64encode(CLIENT_NONCE)))
    assert caught.value.side == "upstream"


def test_impostor_upstream_that_does_not_know_the_password() -> None:
    server, client = ScramServer(VERIFIER, SERVER_NONCE), ScramClient(CLIENT_NONCE)
    salt, iterations = client.challenge(server.first(client.first()))
    client.final(salted_password("pencil", salt, iterations))
    with pytest.raises(ProtocolViolation):
        client.verify(b"v=" + base64.b64encode(b"\0" * 32))
    assert not client.finished


def test_choice_of_mechanism() -> None:
    both = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256]
    assert scram.choose_mechanism(both, BINDING, tls=True) == SCRAM_SHA_256_PLUS
    assert scram.choose_mechanism(both, None, tls=True) == SCRAM_SHA_256
    assert scram.choose_mechanism([SCRAM_SHA_256], BINDING, tls=True) == SCRAM_SHA_256
    for offered, tls in ((both, False), (["OAUTHBEARER"], True), ([], True)):
        with pytest.raises(ProtocolViolation):
            scram.choose_mechanism(offered, None, tls=tls)


def test_password_as_it_is() -> None:
    assert scram.verify_password(VERIFIER, "pencil")
    assert not scram.verify_password(VERIFIER, "Pencil")


def test_salted_passwords_are_bounded() -> None:
    memory = SaltedPasswords(entries_max=2)
    for salt in (b"1", b"2", b"3"):
        memory.put(b"pw", salt, 4096, b"result" + salt)
    assert len(memory) == 2
    assert memory.get(b"pw", b"1", 4096) is None
    assert memory.get(b"pw", b"3", 4096) == b"result3"
    assert memory.get(b"pw", b"3", 4097) is None
    assert memory.get(b"other", b"3", 4096) is None
    assert "result" not in repr(memory)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_from_a_client_are_refused_or_answered(message: bytes) -> None:
    server = ScramServer(VERIFIER, SERVER_NONCE, binding=BINDING)
    try:
        assert server.first(message).startswith(b"r=")
    except (ProtocolViolation, Refused):
        return
    with pytest.raises((ProtocolViolation, Refused)):
        server.final(message)
