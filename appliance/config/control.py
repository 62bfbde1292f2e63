"""The configuration's section `control`: approvals, the store behind them, API, console, notices.

Part of `schema`. Rule: no secret in the file, only references to secrets.
"""

import enum
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, field

from appliance.config.section import LOOPBACK, Name, Pattern, Section, trustworthy
from appliance.config.values import Address, CredentialReference

Groups = tuple[str, ...]
SQLITE = "sqlite"
MAIL_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~\-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,252}[A-Za-z0-9])?"
)
"""RFC 5321's dot-string and domain, ASCII: nothing that a header could take for more than one
address."""


class Run(enum.Enum):
    SUPERVISED = "supervised"
    SEPARATE = "separate"


class Namesakes(enum.Enum):
    """One name in two sources of identity: the users file, client certificates, providers."""

    UNSURE = "unsure"
    SAME = "same"
    DIFFERENT = "different"


class ConsoleTls(Section, frozen=True, kw_only=True):
    certificate: Annotated[Path, Meta(description="PEM chain shown to browsers, leaf first.")]
    key: Annotated[Path, Meta(description="PEM private key of `certificate`.")]


ROLE_NAMES = ("viewer", "approver", "admin", "auditor", "break_glass")


class Roles(Section, frozen=True, kw_only=True):
    """Groups whose members have a role; a role that names no group is nobody's."""

    viewer: Annotated[
        Groups, Meta(description="See requests, sessions, policy and masking map.")
    ] = ()
    approver: Annotated[Groups, Meta(description="Decide on requests of others.")] = ()
    admin: Annotated[
        Groups, Meta(description="End sessions, revoke grants and API tokens of others.")
    ] = ()
    auditor: Annotated[Groups, Meta(description="Read the audit trail.")] = ()
    break_glass: Annotated[
        Groups, Meta(description="May approve requests of their own, with a reason, loudly.")
    ] = ()

    def of(self, groups: Iterable[str]) -> frozenset[str]:
        """Names of the roles that members of these groups have."""
        held = set(groups)
        return frozenset(name for name in ROLE_NAMES if not held.isdisjoint(getattr(self, name)))


class ConsoleOidc(Section, frozen=True, kw_only=True):
    """Signing in at an identity provider: authorization code with PKCE (RFC 7636) for browsers."""

    name: Annotated[Name, Meta(description="What the button says.")]
    issuer: Annotated[
        Pattern, Meta(description="One of `identities.oidc`: its claims say who somebody is.")
    ]
    discovery_url: Annotated[
        str,
        Meta(description="The provider's OpenID configuration (OpenID Connect Discovery, 4)."),
    ]
    client_id: Annotated[Pattern, Meta(description="As registered at the provider.")]
    client_secret: Annotated[
        CredentialReference | None, Meta(description="null = a public client.")
    ] = None
    scopes: Annotated[tuple[str, ...], Meta(description="Asked for.")] = ("openid", "profile")

    def __post_init__(self) -> None:
        if not trustworthy(self.discovery_url):
            raise ValueError("`.discovery_url` must be https (plain http only on loopback)")


class SignIn(Section, frozen=True, kw_only=True):
    local: Annotated[
        bool, Meta(description="With name and password of the users file (`identities.users`).")
    ] = True
    oidc: Annotated[tuple[ConsoleOidc, ...], Meta(description="Identity providers.")] = ()
    session_minutes: Annotated[
        int, Meta(ge=5, le=1_440, description="A sign-in ends so long after its last use.")
    ] = 60
    session_hours_max: Annotated[
        int, Meta(ge=1, le=168, description="A sign-in ends after this in any case.")
    ] = 12


class Webhook(Section, frozen=True, kw_only=True):
    name: Annotated[Name, Meta(description="For logs; what was not delivered is kept under it.")]
    url: Annotated[str, Meta(description="Where a JSON body is posted.")]
    secret: Annotated[
        CredentialReference,
        Meta(
            description=(
                "Signs each notice (Standard Webhooks: HMAC-SHA-256 over id, time and body)."
                " whsec_ and base64, or any text of 24 bytes or more."
            )
        ),
    ]
    former_secret: Annotated[
        CredentialReference | None,
        Meta(description="Signs, too, while receivers change over to `secret`."),
    ] = None
    ca: Annotated[Path | None, Meta(description="PEM authorities; the system's if left out.")] = (
        None
    )

    def __post_init__(self) -> None:
        if not trustworthy(self.url):
            raise ValueError("`.url` must be https (plain http only on loopback)")


class Slack(Section, frozen=True, kw_only=True):
    token: Annotated[CredentialReference, Meta(description="Bot token (xoxb-...).")]
    signing_secret: Annotated[
        CredentialReference, Meta(description="Checks what Slack sends to /slack/interactions.")
    ]
    channel: Annotated[Pattern, Meta(description="Id or name of the channel.")]
    api_url: Annotated[str, Meta(description="Web API.")] = "https://slack.com/api"
    people: Annotated[
        dict[str, str],
        Meta(
            description=(
                "Slack user id -> name in the users file, whose groups count at the moment of the"
                " vote. Others follow the link and sign in."
            )
        ),
    ] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not trustworthy(self.api_url):
            raise ValueError("`.api_url` must be https (plain http only on loopback)")


class MailTls(enum.Enum):
    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


class Mail(Section, frozen=True, kw_only=True):
    server: Annotated[Address, Meta(description="SMTP server, host:port.")]
    tls: Annotated[MailTls, Meta(description="starttls is required, not tried.")] = MailTls.STARTTLS
    ca: Annotated[Path | None, Meta(description="PEM authorities; the system's if left out.")] = (
        None
    )
    user: Annotated[str, Meta(description="'' = no authentication.")] = ""
    password: Annotated[CredentialReference | None, Meta(description="Of `user`.")] = None
    sender: Annotated[Pattern, Meta(description="From address.")]
    recipients: Annotated[
        dict[str, tuple[str, ...]],
        Meta(description="Group of approvers (* = any) -> addresses."),
    ]

    def __post_init__(self) -> None:
        for address in (self.sender, *(one for some in self.recipients.values() for one in some)):
            if not MAIL_ADDRESS.fullmatch(address):
                raise ValueError("`.sender` and `.recipients` are plain addresses, name@domain")
        if bool(self.user) != (self.password is not None):
            raise ValueError("`.user` and `.password` go together")
        if self.user and self.tls is MailTls.NONE and self.server.host not in LOOPBACK:
            raise ValueError("`.tls` is needed where a password is sent")


class Notify(Section, frozen=True, kw_only=True):
    webhooks: Annotated[tuple[Webhook, ...], Meta(description="Generic signed webhooks.")] = ()
    slack: Annotated[Slack | None, Meta(description="Messages with buttons.")] = None
    mail: Annotated[Mail | None, Meta(description="E-mail.")] = None
    hours_max: Annotated[
        int, Meta(ge=1, le=72, description="How long delivery of a notice is tried.")
    ] = 24

    def __post_init__(self) -> None:
        names = [one.name for one in self.webhooks]
        if len(set(names)) != len(names):
            raise ValueError("`.webhooks` have different names")


class Control(Section, frozen=True, kw_only=True):
    """The control process."""

    listen: Annotated[Address, Meta(description="API and console.")] = field(
        default_factory=lambda: Address("127.0.0.1:8480")
    )
    tls: Annotated[ConsoleTls | None, Meta(description="null = plain HTTP, only on loopback.")] = (
        None
    )
    url: Annotated[
        str, Meta(description="How people reach it; begins links in notices. '' = from `listen`.")
    ] = ""
    run: Annotated[
        Run, Meta(description="supervised: `serve` starts it; separate: `sallyport control` does.")
    ] = Run.SUPERVISED
    node: Annotated[
        str, Meta(max_length=63, description="Name of this appliance; '' = the host's.")
    ] = ""
    store: Annotated[
        str,
        Meta(
            description=(
                "sqlite (a file in `data`), or postgresql://user@host:port/database for"
                " several appliances together. No password here."
            )
        ),
    ] = SQLITE
    store_password: Annotated[
        CredentialReference | None, Meta(description="Of the PostgreSQL user.")
    ] = None
    store_ca: Annotated[
        Path | None,
        Meta(description="PEM authorities of the PostgreSQL server; null = no TLS to it."),
    ] = None
    connections_per_address: Annotated[
        int,
        Meta(
            ge=4,
            le=512,
            description=(
                "HTTP connections from one address (IPv6: network) at once, of 512 in all. Raise it"
                " behind a load balancer."
            ),
        ),
    ] = 128
    socket: Annotated[
        Path | None,
        Meta(description="Unix socket that workers reach it by; null = in the run folder."),
    ] = None
    policy_hours_max: Annotated[
        int,
        Meta(
            ge=0,
            le=8_760,
            description=(
                "So long the last policy holds while no control process confirms it; then"
                " everything is refused. 0 = for ever."
            ),
        ),
    ] = 168
    namesakes: Annotated[
        Namesakes,
        Meta(
            description=(
                "Of one name from two sources (users file, certificates, providers). unsure: what"
                " belongs to one is not the other's, and neither decides on requests of the other;"
                " same: they are one person; different: they are two people."
            )
        ),
    ] = Namesakes.UNSURE
    roles: Annotated[Roles, Meta(description="Who may do what.")] = field(default_factory=Roles)
    sign_in: Annotated[SignIn, Meta(description="How people sign in.")] = field(
        default_factory=SignIn
    )
    notify: Annotated[Notify, Meta(description="Who hears of requests.")] = field(
        default_factory=Notify
    )

    def __post_init__(self) -> None:
        if self.store != SQLITE:
            _check_store(self.store)
        if self.run is Run.SEPARATE and self.socket is None:
            raise ValueError("`.socket` is needed where `run` is separate")
        if self.tls is None and self.listen.host not in {"127.0.0.1", "::1", "localhost"}:
            raise ValueError("`.tls` is needed where `listen` is not loopback")
        if self.url and not trustworthy(self.url):
            raise ValueError("`.url` must be https (plain http only on loopback)")


def _check_store(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"postgresql", "postgres"} or not parts.hostname:
        raise ValueError("`.store` is `sqlite` or postgresql://user@host:port/database")
    if parts.password:
        raise ValueError("`.store` holds a password | put it where `store_password` points to")
