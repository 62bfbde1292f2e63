"""The steps of a login, said by a pure conversation and carried out by `dataplane/conversing`.

A conversation is a generator: it yields a step and is sent the answer. So what a protocol says at
login is written without a socket, and tested without one. Steps that prove an identity raise
`Refused` inside the driver, never in here: a conversation that goes on has been believed.
"""

import enum
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import msgspec

from appliance.model.principal import AuthMethod


class Receive(msgspec.Struct, frozen=True):
    """-> exactly `count` bytes, taken from the stream."""

    count: int


class Send(msgspec.Struct, frozen=True):
    octets: bytes


class Secure(msgspec.Struct, frozen=True):
    """TLS from here on, with nothing before it: bytes that are there already end the connection."""


class Compute(msgspec.Struct, frozen=True):
    """-> what `work` returns: it takes long, and is done beside the event loop."""

    work: Callable[[], Any]


class Meet(msgspec.Struct, frozen=True):
    """What the database behind us says of itself. -> `Met`, None if it cannot be asked."""


class Met(msgspec.Struct, frozen=True):
    """Before any login."""

    version: str
    capabilities: int
    """Bits of its protocol."""


class BegunAgain(NamedTuple):
    """How a client asked to log in again over the connection of its session."""

    words: bytes
    sequence: int
    settings: dict[str, str]
    """As `Identify` had them the time before."""


class Asks(enum.Enum):
    """What a client is asked for."""

    CERTIFICATE = "certificate"
    PASSWORD = "password"  # noqa: S105 - a kind of proof
    TOKEN = "token"  # noqa: S105 - a kind of proof


class Identify(msgspec.Struct, frozen=True):
    """Who the client says it is. -> `Asks`. `settings` is what it wants of its session."""

    user: str
    database: str
    application: str
    settings: dict[str, str]


class Certificate(msgspec.Struct, frozen=True):
    """The certificate that TLS verified is the proof."""


class Token(msgspec.Struct, frozen=True):
    """`text` is the proof."""

    text: bytes


class Password(msgspec.Struct, frozen=True):
    """`text` is the proof, as it is: it came over TLS, or encrypted."""

    text: bytes
    method: AuthMethod


class Recall(msgspec.Struct, frozen=True):
    """-> what was remembered of this user's password, None = nothing."""


class Remember(msgspec.Struct, frozen=True):
    """Keep this in memory for the user's next login: it was made from a password that proved."""

    digest: bytes


class Stored(msgspec.Struct, frozen=True):
    """-> what the users file holds for this user under `scheme`, None = nothing."""

    scheme: str


class Proved(msgspec.Struct, frozen=True):
    """The client proved that it knows what `Recall` or `Stored` answered."""

    method: AuthMethod


class Disproved(msgspec.Struct, frozen=True):
    """It did not. The login ends here; `rule` is for the audit trail."""

    rule: str


ClientStep = (
    Receive
    | Send
    | Secure
    | Compute
    | Meet
    | Identify
    | Certificate
    | Token
    | Password
    | Recall
    | Remember
    | Stored
    | Proved
    | Disproved
)
UpstreamStep = Receive | Send | Secure | Compute

ClientSteps = Generator[ClientStep, Any, Any]
UpstreamSteps = Generator[UpstreamStep, Any, Any]


class UpstreamRejected(Exception):
    """A database answered with an error; `fields`: C (SQLSTATE), M (message), and what else its
    protocol has.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields.get("C", ""))
        self.fields = fields


class Unacceptable(Exception):
    """A database that we do not go on with. `reason` has no address and no secret in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
