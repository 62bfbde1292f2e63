"""tls-server-end-point: the value the standard library's own TLS stack of a peer would compute."""

import datetime
import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from appliance.identity.binding import tls_server_end_point

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def certificate(key: Key, algorithm: hashes.SHA256 | hashes.SHA384 | None) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x")])
    day = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(day)
        .not_valid_after(day + datetime.timedelta(days=1))
        .sign(key, algorithm)
        .public_bytes(Encoding.DER)
    )


def test_hash_follows_the_signature() -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    for algorithm, name in ((hashes.SHA256(), "sha256"), (hashes.SHA384(), "sha384")):
        der = certificate(curve, algorithm)
        assert tls_server_end_point(der) == hashlib.new(name, der).digest()


def test_none_for_ed25519() -> None:
    assert tls_server_end_point(certificate(ed25519.Ed25519PrivateKey.generate(), None)) is None


def test_sha1_becomes_sha256() -> None:
    """A real SHA-1 certificate: new ones can no longer be signed, so one is kept here."""
    old = x509.load_pem_x509_certificate((Path(__file__).parent / "sha1.pem").read_bytes())
    assert isinstance(old.signature_hash_algorithm, hashes.SHA1)
    der = old.public_bytes(Encoding.DER)
    assert tls_server_end_point(der) == hashlib.sha256(der).digest()


def test_not_a_certificate() -> None:
    with pytest.raises(ValueError, match=r".+"):
        tls_server_end_point(b"no")
