"""What the users file holds for old clients that prove a password by its double SHA-1.

Made by `cli/user` when asked to, checked by the protocol that speaks it. Rule: it is SHA1(SHA1(p)),
quickly searched by whoever reads it, so it is there only for users who need it.
"""

import hashlib
import re

NATIVE_DIGEST = re.compile(r"\*[0-9A-Fa-f]{40}")
"""As databases that know the method write it, too."""


def native_digest(password: bytes) -> str:
    """The text form."""
    once = hashlib.sha1(password, usedforsecurity=False).digest()
    return f"*{hashlib.sha1(once, usedforsecurity=False).hexdigest().upper()}"


def parse_native_digest(text: str) -> bytes:
    """20 bytes. Raises ValueError, without the text."""
    if not NATIVE_DIGEST.fullmatch(text):
        raise ValueError("is not * and 40 hexadecimal digits")
    return bytes.fromhex(text[1:])
