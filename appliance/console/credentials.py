"""Secrets that we hand out (cookies, API tokens, codes): made, named by their digest, compared.

Used by `sessions`, `tokens`, `device`, `oidc`. Rule: only a digest is ever stored; the secret is in
one response and nowhere else.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable

SECRET_BYTES = 32
TOKEN_PREFIX = "spt_"  # noqa: S105 - how our tokens begin, so that scanners find them
SECRET_CHARACTERS_MAX = 128

Entropy = Callable[[int], bytes]
"""So many random bytes."""

real_entropy: Entropy = secrets.token_bytes


def new_secret(entropy: Entropy) -> str:
    """256 bits, URL-safe."""
    return unpadded(entropy(SECRET_BYTES))


def unpadded(raw: bytes) -> str:
    """Base64url without padding (RFC 4648, 5; RFC 7636, appendix A)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def digest(secret: str) -> str:
    """What a secret is filed under."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def csrf_token(cookie: str) -> str:
    """Of a session: who can read its cookie could send it anyway, who cannot does not know this."""
    return unpadded(hmac.digest(cookie.encode("utf-8", "surrogatepass"), b"csrf 1", "sha256"))


def same(one: str, other: str) -> bool:
    """Whether two texts are equal, in constant time."""
    return hmac.compare_digest(
        one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass")
    )
