"""What a protocol's login is to the rest of the appliance: the client's half of `login.Attempt`.

`protocols` names one implementation per protocol: `arriving_postgres`, and `arriving_steps` for
those that are written as a conversation (`wire/conversation`). Rule: who a client is is decided by
`proving`, whatever protocol it speaks.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import msgspec

from appliance.config.schema import Listener
from appliance.dataplane.cancels import Cancels, Endable
from appliance.dataplane.connections import Upstream
from appliance.dataplane.services import Services
from appliance.dataplane.transport import Side
from appliance.identity.mapping import RESERVED_PREFIX
from appliance.model.principal import AuthMethod, Principal
from appliance.model.refusal import Refusal, RefusalCode
from appliance.session.announce import Announcement

REFUSED_SETTINGS_RULE = "builtin:startup-settings"


class Again(NamedTuple):
    """A client that had a session, and logs in as somebody."""

    words: bytes
    sequence: int
    """See `effects.LogInAnew`."""
    settings: dict[str, str]
    """Those of its login before."""


class Door(NamedTuple):
    """Where a client came in."""

    side: Side
    listener: Listener
    services: Services
    cancels: Cancels
    again: Again | None = None


class Asked(msgspec.Struct, frozen=True):
    """What a client wants, before it has proved anything."""

    user: str
    database: str
    application: str
    settings: dict[str, str]
    """For the session with the database, in the protocol's own words."""


class Believed(NamedTuple):
    """A proved identity. `expires`: unix seconds after which the proof no longer holds."""

    principal: Principal
    method: AuthMethod
    expires: float | None = None


class Cancelled(Exception):
    """The connection was a cancel request; it has been passed on."""


class Arriving(Protocol):
    """One client on its way in. `asked`, then `believed`, then `welcome` or last words."""

    @property
    def method(self) -> AuthMethod | None:
        """How the client is proving itself, as far as it has come."""

    async def asked(self) -> Asked:
        """Raises Refused, ProtocolViolation, Cancelled, OSError."""

    async def believed(self) -> Believed:
        """Raises Refused, ProtocolViolation, OSError."""

    def welcome(
        self, upstream: Upstream, announcement: Announcement, session: Endable
    ) -> tuple[bytes, Sequence[tuple[int, bytes]]]:
        """The session begins. -> (what the client is told, the keys by which it may cancel)."""

    def administering(self, shown: dict[str, str]) -> bytes | None:
        """The session begins, with the admin database; None: this protocol does not speak to it."""

    def farewell(self, sqlstate: str, message: str, hint: str = "") -> bytes:
        """The last thing the client reads."""

    def refused(self, refusal: Refusal) -> bytes:
        """The same, for a refusal."""

    def passed_on(self, fields: dict[str, str]) -> bytes:
        """The same, in the words of the database that refused our login."""


def tls_required() -> Refusal:
    return Refusal(
        RefusalCode.AUTHENTICATION,
        "this listener takes encrypted connections only",
        "connect with TLS (sslmode=require or stronger)",
        rule="tls_required",
        sqlstate="28000",
    )


def startup_refused(message: str) -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        message,
        "leave it out of the connection string",
        rule=REFUSED_SETTINGS_RULE,
        sqlstate="42501",
    )


def reserved(setting: str) -> bool:
    """Whether a setting of this name says who works: no client may bring it."""
    return setting.startswith(RESERVED_PREFIX)
