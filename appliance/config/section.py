"""What the sections of the configuration file share.

Used by `schema` and `control`, which describe them. Pure.
"""

from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

Name = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}$", description="Letters, digits, . _ and -."),
]
Pattern = Annotated[str, Meta(min_length=1, max_length=256)]
LOOPBACK = {"127.0.0.1", "::1", "localhost"}


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every section of the file shares: immutable, and unknown keys are errors."""


def trustworthy(url: str) -> bool:
    """https with a host, or http to this very machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # a port out of range raises
    except ValueError:
        return False
    if parts.username or parts.password or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)
