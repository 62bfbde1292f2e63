"""Signatures and segment names."""

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from appliance.audit import checkpoint
from appliance.audit.checkpoint import Checkpoint, Ed25519Signer

CLAIM = Checkpoint("seal", 3, "20260921T000000Z-000000000001.ndjson", 1, 9, 9, "ab" * 32, 5, "")


def test_the_signed_bytes_are_as_documented(signer: Ed25519Signer) -> None:
    made = checkpoint.read(checkpoint.sign(CLAIM, signer))
    text = (
        "sallyport-audit-v1 seal\nworker 3\nsegment 20260921T000000Z-000000000001.ndjson\n"
        f"first 1\nlast 9\nrecords 9\nhead {'ab' * 32}\ntime 5\nkey {signer.key_id}\n"
    )
    key = serialization.load_pem_public_key(signer.public_pem())
    assert isinstance(key, Ed25519PublicKey)
    key.verify(bytes.fromhex(made.signature), text.encode())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("kind", "head"), ("worker", 4), ("segment", "x"), ("first", 2), ("last", 8)],
        *[("records", 8), ("head", "cd" * 32), ("time_ms", 6), ("signature", "00" * 64)],
        ("key", "ed25519:0"),
    ],
)
def test_every_field_is_signed(signer: Ed25519Signer, field: str, value: object) -> None:
    keys = checkpoint.public_keys(signer.public_pem())
    made = checkpoint.read(checkpoint.sign(CLAIM, signer))
    assert checkpoint.is_signed(made, keys)
    assert not checkpoint.is_signed(msgspec.structs.replace(made, **{field: value}), keys)


def test_another_key_does_not_do(signer: Ed25519Signer, other_signer: Ed25519Signer) -> None:
    made = checkpoint.read(checkpoint.sign(CLAIM, other_signer))
    assert not checkpoint.is_signed(made, checkpoint.public_keys(signer.public_pem()))


def test_only_canonical_bytes_are_read(signer: Ed25519Signer) -> None:
    line = checkpoint.sign(CLAIM, signer)
    made = checkpoint.read(line)
    upper = msgspec.structs.replace(made, signature=made.signature.upper())
    for other in (b" " + line, line[:-1], line.replace(b",", b", "), msgspec.json.encode(upper)):
        with pytest.raises(ValueError):
            checkpoint.read(other if other.endswith(b"\n") or other == line[:-1] else other + b"\n")


def test_wrong_key_files_are_refused() -> None:
    rsa = generate_private_key(65537, 2048)
    with pytest.raises(ValueError, match="not an Ed25519"):
        Ed25519Signer(
            rsa.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    public = rsa.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(ValueError, match="not an Ed25519"):
        checkpoint.public_keys(public)
    with pytest.raises(ValueError, match="no public key"):
        checkpoint.public_keys(b"")


def test_segments_are_ordered_by_number_not_by_clock() -> None:
    late, early = "20270101T000000Z-000000000001.ndjson", "20260101T000000Z-000000000009.ndjson"
    assert checkpoint.segment_order([early, "head.json", late, "x.seal"]) == [late, early]
    assert checkpoint.segment_name("20270101T000000Z", 1) == late
