"""Ed25519 signatures over a chain's head: seals, checkpoints, heads.

Signed is this byte string (ASCII, every line ended by LF, values without spaces):

    sallyport-audit-v1 KIND
    worker W
    segment NAME
    first F
    last L
    records R
    head H
    time T
    key K

- KIND `seal`: the segment NAME is complete. Kept in NAME with `.seal` in place of `.ndjson`.
  `checkpoint`: NAME held at least this; one JSON line each in `.checkpoints`, ascending.
  `head`: worker W's chain had come this far; only the newest is kept, in `head.json` of the
  worker's folder, so that who cuts a chain's end has no older one to put in its place (a copy kept
  elsewhere, a *witness*, proves it against somebody who did keep one).
- F, L: sequence numbers of the segment's first line and of the last one covered; R: lines from F to
  L; H: the `hash` of line L; T: Unix milliseconds.
- K: `ed25519:` and the first 32 hex digits of SHA-256 of the 32 raw public key bytes.

The files hold one JSON object with these fields and `signature` (RFC 8032, 128 hex digits). Pure.
"""

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from appliance.audit.chain import Link

SEAL, CHECKPOINT, HEAD = "seal", "checkpoint", "head"
SEGMENT_NAME = re.compile(r"(\d{8}T\d{6}Z)-(\d{12,19})\.ndjson")
_SIGNATURE = re.compile(r"[0-9a-f]{128}")
_PEM_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class Signer(Protocol):
    """Whoever holds the private key: this process, or later an HSM."""

    @property
    def key_id(self) -> str: ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""


class Checkpoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signed statement about a chain."""

    kind: str
    worker: int
    segment: str
    first: int
    last: int
    records: int
    head: str
    time_ms: int
    key: str
    signature: str = ""

    @property
    def link(self) -> Link:
        return Link(self.last, self.head)


class Ed25519Signer:
    """A Signer over a PEM private key (PKCS #8, not encrypted)."""

    def __init__(self, pem: bytes) -> None:
        key = serialization.load_pem_private_key(pem, None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("the audit key is not an Ed25519 private key")
        self._key = key
        self._key_id = key_id(key.public_key())

    @property
    def key_id(self) -> str:
        return self._key_id

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    def public_pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM: what an auditor is given."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


def key_id(key: Ed25519PublicKey) -> str:
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return "ed25519:" + sha256(raw).hexdigest()[:32]


def public_keys(pem: bytes) -> dict[str, Ed25519PublicKey]:
    """Every public key in a PEM file (several after a key change), by key id. Raises ValueError."""
    found: dict[str, Ed25519PublicKey] = {}
    for block in _PEM_BLOCK.findall(pem):
        key = serialization.load_pem_public_key(block + b"\n")
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("not an Ed25519 public key")
        found[key_id(key)] = key
    if not found:
        raise ValueError("no public key in this file")
    return found


def message(checkpoint: Checkpoint) -> bytes:
    """The signed byte string."""
    return (
        f"sallyport-audit-v1 {checkpoint.kind}\n"
        f"worker {checkpoint.worker}\n"
        f"segment {checkpoint.segment}\n"
        f"first {checkpoint.first}\n"
        f"last {checkpoint.last}\n"
        f"records {checkpoint.records}\n"
        f"head {checkpoint.head}\n"
        f"time {checkpoint.time_ms}\n"
        f"key {checkpoint.key}\n"
    ).encode("ascii")


def sign(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The signed JSON line (LF included); `key` and `signature` are filled in."""
    unsigned = msgspec.structs.replace(checkpoint, key=signer.key_id, signature="")
    signature = signer.sign(message(unsigned)).hex()
    return msgspec.json.encode(msgspec.structs.replace(unsigned, signature=signature)) + b"\n"


def read(line: bytes) -> Checkpoint:
    """Raises ValueError for anything that is not the exact bytes `sign` would write."""
    checkpoint = msgspec.json.decode(line, type=Checkpoint)
    canonical = msgspec.json.encode(checkpoint) + b"\n"
    if canonical != line or _SIGNATURE.fullmatch(checkpoint.signature) is None:
        raise ValueError("not in canonical form")
    return checkpoint


def is_signed(checkpoint: Checkpoint, keys: Mapping[str, Ed25519PublicKey]) -> bool:
    """Whether one of `keys`, the one it names, signed it."""
    key = keys.get(checkpoint.key)
    if key is None:
        return False
    try:
        key.verify(bytes.fromhex(checkpoint.signature), message(checkpoint))
    except (InvalidSignature, ValueError):
        return False
    return True


def segment_name(started: str, first_seq: int) -> str:
    """`started` as YYYYMMDDTHHMMSSZ (UTC)."""
    return f"{started}-{first_seq:012d}.ndjson"


def segment_order(names: Iterable[str]) -> list[str]:
    """Segment names among `names` by their first sequence number (a clock may have gone
    backwards)."""
    matches = [match for match in map(SEGMENT_NAME.fullmatch, names) if match]
    return [m.string for m in sorted(matches, key=lambda m: (int(m.group(2)), m.group(1)))]
