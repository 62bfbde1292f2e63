"""Authentication: the packets of it, and what each method computes.

Called by `client_login` and `upstream_login`. Sources: MySQL documentation, "Authentication Phase"
and its pages on mysql_native_password, caching_sha2_password and sha256_password; MariaDB
documentation on ed25519 (the arithmetic is in `ed25519`). Rule: functions get passwords and digests
and keep nothing; comparisons take the same time whatever they find.
"""

import hashlib
import hmac
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from appliance.model.errors import ProtocolViolation
from appliance.wire.mysql.fields import Reader, nul_bytes
from appliance.wire.mysql.startup import NONCE_BYTES

NATIVE = "mysql_native_password"
CACHING_SHA2 = "caching_sha2_password"
SHA256 = "sha256_password"
CLEAR = "mysql_clear_password"
ED25519 = "client_ed25519"

OK, MORE, SWITCH, ERROR = 0x00, 0x01, 0xFE, 0xFF
FAST_DONE, FULL_WANTED = 0x03, 0x04
"""What follows AuthMoreData in caching_sha2_password."""
CACHING_SHA2_KEY_WANTED = b"\x02"
SHA256_KEY_WANTED = b"\x01"
RSA_BITS = 2_048
RSA_BITS_MAX = 8_192
"""What an upstream may make us compute with."""

_OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)  # noqa: S303 - the protocol's


def more(octets: bytes) -> bytes:
    """Protocol::AuthMoreData."""
    return bytes((MORE,)) + octets


def switch(plugin: str, nonce: bytes) -> bytes:
    """Protocol::AuthSwitchRequest. Its data ends with a NUL byte, like a greeting's."""
    return bytes((SWITCH,)) + nul_bytes(plugin.encode()) + nonce + b"\0"


def parse_switch(payload: bytes) -> tuple[str, bytes]:
    """-> (plugin, nonce). Raises ProtocolViolation, also for the switch to the passwords of before
    4.1, which is one byte long.
    """
    reader = Reader(payload, "upstream")
    reader.u8()
    plugin = reader.nul_bytes().decode("ascii", "replace")
    nonce = reader.rest()
    if len(nonce) > 256:
        raise ProtocolViolation("upstream", "a nonce of impossible length")
    return plugin, nonce[:-1] if nonce[-1:] == b"\0" else nonce


def nonce_of(entropy: bytes) -> bytes:
    """A nonce out of 20 random bytes: none is NUL (strings end there), none is $ (which separates
    fields in the server's own store)."""
    if len(entropy) < NONCE_BYTES:
        raise ValueError("a nonce takes 20 random bytes")
    shaped = (byte % 127 + 1 for byte in entropy[:NONCE_BYTES])
    return bytes(byte + 1 if byte == ord("$") else byte for byte in shaped)


def xor(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


# --- mysql_native_password ------------------------------------------------------------------------


def _sha1(octets: bytes) -> bytes:
    return hashlib.sha1(octets, usedforsecurity=False).digest()


def native_answer(password: bytes, nonce: bytes) -> bytes:
    """SHA1(password) XOR SHA1(nonce + SHA1(SHA1(password))); nothing for no password."""
    if not password:
        return b""
    first = _sha1(password)
    return xor(first, _sha1(nonce + _sha1(first)))


def native_proves(stored: bytes, nonce: bytes, answer: bytes) -> bool:
    """Whether `answer` was made of a password for which a server stores `stored`,
    SHA1(SHA1(it))."""
    if len(answer) != 20:
        return False
    return hmac.compare_digest(_sha1(xor(answer, _sha1(nonce + stored))), stored)


# --- caching_sha2_password ------------------------------------------------------------------------


def _sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()


def sha2_digest(password: bytes) -> bytes:
    """What a server remembers for fast logins: SHA256(SHA256(password)). In memory only: it is too
    quickly computed to be stored."""
    return _sha256(_sha256(password))


def sha2_answer(password: bytes, nonce: bytes) -> bytes:
    """SHA256(password) XOR SHA256(SHA256(SHA256(password)) + nonce)."""
    if not password:
        return b""
    first = _sha256(password)
    return xor(first, _sha256(_sha256(first) + nonce))


def sha2_proves(remembered: bytes, nonce: bytes, answer: bytes) -> bool:
    if len(answer) != 32:
        return False
    return hmac.compare_digest(_sha256(xor(answer, _sha256(remembered + nonce))), remembered)


# --- a password under RSA (caching_sha2_password, sha256_password without TLS) --------------------


@lru_cache(maxsize=8)
def public_key_text(private_pem: bytes) -> bytes:
    """The PEM text that a client is sent when it asks for the key."""
    public = _private(private_pem).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def encrypted(public_pem: bytes, password: bytes, nonce: bytes) -> bytes:
    """The NUL-ended password, XORed with the nonce over and over, under the server's public key.
    Raises ProtocolViolation for a key that is none.
    """
    try:
        key = load_pem_public_key(public_pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ProtocolViolation("upstream", "its public key cannot be read") from None
    if not isinstance(key, RSAPublicKey) or not RSA_BITS <= key.key_size <= RSA_BITS_MAX:
        raise ProtocolViolation("upstream", "its public key is not an RSA key of 2048 bits or more")
    shaped = _repeated_xor(password + b"\0", nonce)
    if len(shaped) > key.key_size // 8 - 42:  # RFC 8017, 7.1.1
        raise ProtocolViolation("upstream", "its public key is too short for the password")
    return key.encrypt(shaped, _OAEP)


def decrypted(private_pem: bytes, answer: bytes, nonce: bytes) -> bytes | None:
    """The password, with the NUL byte behind it; None when it cannot be told."""
    try:
        shaped = _private(private_pem).decrypt(answer, _OAEP)
    except ValueError:
        return None
    return _repeated_xor(shaped, nonce)


@lru_cache(maxsize=8)
def _private(pem: bytes) -> RSAPrivateKey:
    key = load_pem_private_key(pem, None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("not an RSA key")
    return key


def _repeated_xor(octets: bytes, nonce: bytes) -> bytes:
    if not nonce:
        raise ProtocolViolation("upstream", "a nonce without bytes")
    repeated = nonce * (len(octets) // len(nonce) + 1)
    return xor(octets, repeated[: len(octets)])


def without_end(password: bytes) -> bytes:
    """A cleartext password as clients send it, without the NUL byte that ends it. Raises
    ProtocolViolation when there is another inside."""
    bare = password[:-1] if password[-1:] == b"\0" else password
    if b"\0" in bare:
        raise ProtocolViolation("client", "a NUL byte inside a password")
    return bare
