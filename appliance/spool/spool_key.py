"""The audit trail's signing key on disk: made at first start, read at every other.

Called by whoever opens spools. Several workers may start at once on a fresh folder: exactly one key
wins.
"""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from appliance.audit.checkpoint import Ed25519Signer

PRIVATE_NAME = "audit-ed25519.pem"
PUBLIC_NAME = "audit-ed25519.pub"


def load_or_create_signer(keys: Path) -> Ed25519Signer:
    """The signer of `keys`/audit-ed25519.pem (0600), with the public key beside it for auditors.

    Raises OSError, and ValueError for a file that holds another kind of key.
    """
    keys.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = keys / PRIVATE_NAME
    if not private.exists():
        _create(private)
    signer = Ed25519Signer(private.read_bytes())
    public = keys / PUBLIC_NAME
    if not public.exists() or public.read_bytes() != signer.public_pem():
        _place(public, signer.public_pem(), 0o644)
    return signer


def _create(private: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    staged = _stage(private, pem, 0o600)
    try:
        os.link(staged, private)  # unlike rename, never replaces a key that another worker made
    except FileExistsError:
        return
    finally:
        staged.unlink()


def _place(path: Path, content: bytes, mode: int) -> None:
    _stage(path, content, mode).replace(path)


def _stage(path: Path, content: bytes, mode: int) -> Path:
    """A file of its own beside `path`, on the disk before it gets its name."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return staged
