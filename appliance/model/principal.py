"""Who is asking: the verified identity behind a session, and what is known of the client that
carries it.
"""

import enum

import msgspec


class PrincipalKind(enum.Enum):
    HUMAN = "human"
    SERVICE = "service"
    AGENT = "agent"


class AuthMethod(enum.Enum):
    """How an identity was proved; recorded with every session."""

    SCRAM_SHA_256 = "scram-sha-256"
    SCRAM_SHA_256_PLUS = "scram-sha-256-plus"
    CERTIFICATE = "certificate"
    OIDC = "oidc"
    CACHING_SHA2 = "caching-sha2"
    NATIVE_PASSWORD = "native-password"  # noqa: S105 - a method's name


LOCAL = "users file"
"""Source of whoever is in it. No provider can be called that: their names have no space."""
CERTIFICATES = "client certificates"
"""Likewise of whoever a client certificate names."""


class Principal(msgspec.Struct, frozen=True):
    """A verified identity. `on_behalf_of` names the human an agent acts for, when a verified claim
    says so.
    """

    name: str
    kind: PrincipalKind = PrincipalKind.HUMAN
    groups: tuple[str, ...] = ()
    on_behalf_of: str | None = None
    source: str = ""
    """What knows this name: LOCAL, CERTIFICATES, or an identity provider's; '' = not said. Two of
    one name from different sources are two. Whoever it acts for is of the same source."""


class Client(msgspec.Struct, frozen=True):
    """The connection a principal came over. `application` is the client's own word, everything else
    is observed.
    """

    address: str
    port: int
    listener: str
    tls: bool
    application: str = ""


class Target(msgspec.Struct, frozen=True):
    """A governed database as policy sees it."""

    name: str
    dialect: str = "postgresql"
    environment: str = ""
    labels: tuple[tuple[str, str], ...] = ()
