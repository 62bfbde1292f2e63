"""What each method computes, against PyMySQL's and mysql-connector's own; and login packets of any
bytes, which are read or are violations."""

import contextlib
import hashlib
from typing import Any

import pymysql._auth as theirs
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from appliance.identity.native import native_digest, parse_native_digest
from appliance.identity.password_key import new_private_key
from appliance.model.errors import ProtocolViolation
from appliance.wire.mysql import auth, startup
from appliance.wire.mysql.ed25519 import signature
from appliance.wire.mysql.fields import Reader, lenenc, lenenc_bytes
from appliance.wire.mysql.startup import OURS, Greeting, Response

NONCE = bytes(range(1, 21))
PASSWORDS = [b"x", b"geheim", "pässwörd€".encode(), b"a" * 200]


@pytest.mark.parametrize("password", PASSWORDS)
def test_native_is_what_clients_say(password: bytes) -> None:
    theirs_says = theirs.scramble_native_password(password, NONCE)
    assert auth.native_answer(password, NONCE) == theirs_says
    stored = parse_native_digest(native_digest(password))
    assert stored == hashlib.sha1(hashlib.sha1(password).digest()).digest()
    assert auth.native_proves(stored, NONCE, theirs_says)
    assert not auth.native_proves(stored, NONCE[::-1], theirs_says)
    assert not auth.native_proves(stored, NONCE, theirs_says[:-1])


@pytest.mark.parametrize("password", PASSWORDS)
def test_caching_sha2_is_what_clients_say(password: bytes) -> None:
    theirs_says = theirs.scramble_caching_sha2(password, NONCE)
    assert auth.sha2_answer(password, NONCE) == theirs_says
    remembered = auth.sha2_digest(password)
    assert auth.sha2_proves(remembered, NONCE, theirs_says)
    assert not auth.sha2_proves(remembered, NONCE[::-1], theirs_says)
    assert not auth.sha2_proves(auth.sha2_digest(b"other"), NONCE, theirs_says)
    assert not auth.sha2_proves(remembered, NONCE, b"")


def test_caching_sha2_is_what_the_connector_says() -> None:
    plugin = pytest.importorskip("mysql.connector.plugins.caching_sha2_password")
    made = plugin.MySQLCachingSHA2PasswordAuthPlugin("ann", "geheim")
    assert auth.sha2_answer(b"geheim", NONCE) == made.auth_response(NONCE)


@pytest.mark.parametrize("password", PASSWORDS[:3])
def test_a_password_under_our_key(password: bytes) -> None:
    """A client that takes every key encrypts for ours, and we for every server's."""
    key = new_private_key()
    text = auth.public_key_text(key)
    for encrypted in (
        theirs.sha2_rsa_encrypt(password, NONCE, text),
        auth.encrypted(text, password, NONCE),
    ):
        assert auth.decrypted(key, encrypted, NONCE) == password + b"\0"
    assert auth.decrypted(key, b"\0" * 256, NONCE) is None
    assert auth.decrypted(key, b"", NONCE) is None


@pytest.mark.parametrize("text", [b"", b"-----BEGIN PUBLIC KEY-----\n", b"x" * 500])
def test_keys_that_are_none(text: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        auth.encrypted(text, b"geheim", NONCE)


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64))
def test_ed25519_is_rfc_8032s_where_both_mean_the_same(secret: bytes, message: bytes) -> None:
    assert signature(secret, message) == Ed25519PrivateKey.from_private_bytes(secret).sign(message)


def test_a_nonce_is_fit_for_c_strings() -> None:
    made = auth.nonce_of(bytes(range(0, 256, 13)) + bytes(20))
    assert len(made) == 20 and not {0, ord("$")} & set(made) and max(made) < 128


# --- packets --------------------------------------------------------------------------------------


@given(st.integers(0, (1 << 64) - 1))
def test_lengths_are_read_as_they_were_written(value: int) -> None:
    reader = Reader(lenenc(value), "client")
    assert reader.lenenc() == value
    reader.end()


@pytest.mark.parametrize("octets", [b"", b"\xfb", b"\xff", b"\xfc\1", b"\xfd\1\2", b"\xfe" * 8])
def test_truncated_lengths_are_violations(octets: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        Reader(octets, "client").lenenc()


PARSERS: list[Any] = [
    startup.parse_response,
    startup.parse_greeting,
    lambda octets: startup.parse_change_user(b"\x11" + octets, int(OURS), 45),
    auth.parse_switch,
]


@pytest.mark.parametrize("parse", PARSERS)
@given(octets=st.binary(max_size=200))
def test_any_bytes_are_read_or_are_violations(parse: Any, octets: bytes) -> None:
    with contextlib.suppress(ProtocolViolation):
        parse(octets)


RESPONSE = Response(
    int(OURS), 1 << 24, 45, "ann", b"\1" * 32, "shop", auth.CACHING_SHA2, {"a": "b"}
)
GREETING = Greeting("8.4.0", 7, NONCE, int(OURS), 255, 2, auth.CACHING_SHA2)


@given(st.integers(0, 300), st.integers(0, 255))
def test_one_wrong_byte(at: int, octet: int) -> None:
    for whole, parse in (
        (startup.response_payload(RESPONSE), startup.parse_response),
        (startup.greeting_payload(GREETING), startup.parse_greeting),
    ):
        changed = bytearray(whole)
        changed[at % len(changed)] = octet
        with contextlib.suppress(ProtocolViolation):
            parse(bytes(changed))


def test_round_trips() -> None:
    assert startup.parse_response(startup.response_payload(RESPONSE)) == RESPONSE
    assert startup.parse_greeting(startup.greeting_payload(GREETING)) == GREETING


@pytest.mark.parametrize("tail", [b"", b"\x2d\0", b"\x2d\0caching_sha2_password\0"])
def test_a_change_of_user_may_be_short(tail: bytes) -> None:
    asked = startup.parse_change_user(b"\x11ann\0\x02ab" + b"shop\0" + tail, int(OURS), 33)
    assert (asked.user, asked.database, asked.answer) == ("ann", "shop", b"ab")
    assert asked.collation == (45 if tail else 33)


def test_many_attributes_are_not_kept() -> None:
    pairs = b"".join(lenenc_bytes(b"n%d" % n) + lenenc_bytes(b"v") for n in range(1_000))
    bare = startup.response_payload(
        Response(int(OURS), 0, 45, "ann", b"", "shop", auth.CACHING_SHA2, {})
    )
    assert bare.endswith(b"\0")  # no attributes: a length of 0
    asked = startup.parse_response(bare[:-1] + lenenc_bytes(pairs))
    assert len(asked.attributes) == startup.ATTRIBUTES_MAX
