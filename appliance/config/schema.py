"""The configuration file, typed: what may be written, what it means, what it is when left out.

`load` makes a `Configuration` from YAML; workers, control and the command line read it;
`jsonschema` publishes it for editors. Rule: no secret in the file (only references to secrets),
every field documented, unknown keys are errors.
"""

import enum
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from appliance.config.control import Control
from appliance.config.section import Name, Pattern, Section, trustworthy
from appliance.config.spoken import SPOKEN, SpokenName, described, ports
from appliance.config.values import Address, CredentialReference
from appliance.model.limits import Limits
from appliance.model.principal import PrincipalKind, Target

Port = Annotated[int, Meta(ge=1, le=65_535)]
VersionText = Annotated[str, Meta(min_length=1, max_length=63, pattern=r"^[ -~]+$")]


class ListenerTlsMode(enum.Enum):
    DISABLE = "disable"
    ALLOW = "allow"
    REQUIRE = "require"


class ClientCertificates(enum.Enum):
    NONE = "none"
    OPTIONAL = "optional"
    REQUIRE = "require"


class Authentication(enum.Enum):
    SCRAM = "scram"
    NATIVE = "native"
    CERTIFICATE = "certificate"
    OIDC = "oidc"


class TargetTlsMode(enum.Enum):
    """The ladder of libpq's sslmode (PostgreSQL documentation, table 32.1)."""

    DISABLE = "disable"
    ALLOW = "allow"
    PREFER = "prefer"
    REQUIRE = "require"
    VERIFY_CA = "verify-ca"
    VERIFY_FULL = "verify-full"


class Announce(enum.Enum):
    BOTH = "both"
    VARIABLE = "variable"


class SchemaCheck(enum.Enum):
    STATEMENT = "statement"
    POLL = "poll"
    LEASE = "lease"


class PoolingMode(enum.Enum):
    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


class PolicyMode(enum.Enum):
    ENFORCE = "enforce"
    OBSERVE = "observe"


class Durability(enum.Enum):
    OS = "os"
    DISK = "disk"


class LogLevel(enum.Enum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class TokenAlgorithm(enum.Enum):
    """Public-key signatures only: with a shared-secret algorithm a public key could sign (RFC 8725,
    2.1).
    """

    RS256 = "RS256"
    RS384 = "RS384"
    RS512 = "RS512"
    PS256 = "PS256"
    PS384 = "PS384"
    PS512 = "PS512"
    ES256 = "ES256"
    ES384 = "ES384"
    ES512 = "ES512"
    EDDSA = "EdDSA"
    ED25519 = "Ed25519"


class ListenerTls(Section, frozen=True, kw_only=True):
    mode: Annotated[
        ListenerTlsMode,
        Meta(
            description=(
                "disable: plaintext only; allow: the client chooses; require: a plaintext"
                " startup is refused."
            )
        ),
    ] = ListenerTlsMode.REQUIRE
    certificate: Annotated[
        Path | None, Meta(description="PEM chain shown to clients, leaf first.")
    ] = None
    key: Annotated[Path | None, Meta(description="PEM private key of `certificate`.")] = None
    client_ca: Annotated[
        Path | None, Meta(description="PEM authorities that client certificates must come from.")
    ] = None
    client_certificates: Annotated[
        ClientCertificates,
        Meta(description="Whether a client certificate is not asked for, may, or must be shown."),
    ] = ClientCertificates.NONE

    def __post_init__(self) -> None:
        if self.mode is ListenerTlsMode.DISABLE:
            if self.certificate or self.key or self.client_ca:
                raise ValueError("`.mode` is disable, but a certificate, key or client_ca is given")
            if self.client_certificates is not ClientCertificates.NONE:
                raise ValueError("`.client_certificates` need TLS, and `mode` is disable")
            return
        if self.certificate is None or self.key is None:
            raise ValueError(
                "`.certificate` and `key` are needed to accept TLS | write both, or "
                "`tls: {mode: disable}`"
            )
        if (self.client_ca is None) != (self.client_certificates is ClientCertificates.NONE):
            raise ValueError("`.client_ca` and `client_certificates: optional|require` go together")


class Listener(Section, frozen=True, kw_only=True):
    name: Annotated[Name, Meta(description="Shown in audit records and metrics; unique.")]
    address: Annotated[Address, Meta(description="host:port, [v6]:port, or :port for all.")]
    protocol: Annotated[
        SpokenName | None,
        Meta(description="What clients speak here: that of its targets, also when left out."),
    ] = None
    server_version: Annotated[
        VersionText | None,
        Meta(description=described("", "server_version")),
    ] = None
    target: Annotated[
        str | None, Meta(description="The target every connection goes to. Or `targets`.")
    ] = None
    targets: Annotated[
        dict[str, str],
        Meta(description="Database name a client asks for -> target; '*' stands for all others."),
    ] = msgspec.field(default_factory=dict)
    tls: Annotated[ListenerTls, Meta(description="TLS with clients.")] = msgspec.field(
        default_factory=ListenerTls
    )
    authentication: Annotated[
        tuple[Authentication, ...],
        Meta(
            min_length=1,
            description=described(
                "Proofs of identity accepted: scram (users file), certificate, oidc (token as"
                " password), native (a weak digest, for old clients).",
                "authentication",
            ),
        ),
    ] = (Authentication.SCRAM,)

    def __post_init__(self) -> None:
        if (self.target is None) == (not self.targets):
            raise ValueError("`.target` or `targets` (one of them) says where connections go")
        if len(set(self.authentication)) != len(self.authentication):
            raise ValueError("`.authentication` names a method twice")
        if Authentication.CERTIFICATE in self.authentication and (
            self.tls.client_certificates is ClientCertificates.NONE
        ):
            raise ValueError(
                "`.authentication` has certificate, but tls.client_certificates is none"
                " | set `tls.client_certificates: optional` (or require) and `tls.client_ca`"
            )
        if Authentication.NATIVE in self.authentication and (
            Authentication.SCRAM not in self.authentication
        ):
            raise ValueError("`.authentication` has native, which is only taken beside scram")
        if Authentication.OIDC in self.authentication and self.tls.mode is ListenerTlsMode.DISABLE:
            raise ValueError("`.authentication` has oidc, and a token is never taken without TLS")

    def target_for(self, database: str) -> str | None:
        """Name of the target a client that asks for `database` goes to; None = refuse."""
        if self.target is not None:
            return self.target
        return self.targets.get(database, self.targets.get("*"))


class TargetTls(Section, frozen=True, kw_only=True):
    mode: Annotated[
        TargetTlsMode,
        Meta(
            description=(
                "libpq's ladder: disable, allow, prefer, require, verify-ca, verify-full (default)."
            )
        ),
    ] = TargetTlsMode.VERIFY_FULL
    ca: Annotated[
        Path | None,
        Meta(
            description="PEM authorities of the database's certificate; the system's when left out."
        ),
    ] = None
    server_name: Annotated[
        str | None,
        Meta(description="Name to check in the certificate (and SNI) instead of `host`."),
    ] = None
    certificate: Annotated[
        Path | None, Meta(description="PEM certificate that Sallyport shows to the database.")
    ] = None
    key: Annotated[Path | None, Meta(description="PEM private key of `certificate`.")] = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`.certificate` and `key` go together")


class Role(Section, frozen=True, kw_only=True):
    """One line of a target's `roles`: who works as which database user. The first that fits is
    taken.

    Fits when the name fits `principals` or a group fits `groups`, and `kinds` and `databases` (when
    given) fit as well.
    """

    principals: Annotated[
        tuple[Pattern, ...], Meta(description="Principal names; * and ? as in a shell.")
    ] = ()
    groups: Annotated[
        tuple[Pattern, ...], Meta(description="Groups; any one is enough; * and ? as in a shell.")
    ] = ()
    kinds: Annotated[
        tuple[PrincipalKind, ...], Meta(description="Only these kinds of principal; empty = all.")
    ] = ()
    databases: Annotated[
        tuple[str, ...], Meta(description="Only for these databases; empty = all.")
    ] = ()
    user: Annotated[
        str, Meta(min_length=1, max_length=63, description="Database user to log in as.")
    ]
    credential: Annotated[
        CredentialReference | None,
        Meta(description="Where its password is: file:/path, env:NAME or credential:NAME."),
    ] = None
    certificate: Annotated[
        Path | None, Meta(description="PEM certificate of this user, instead of tls.certificate.")
    ] = None
    key: Annotated[Path | None, Meta(description="PEM private key of `certificate`.")] = None

    def __post_init__(self) -> None:
        if not self.principals and not self.groups:
            raise ValueError(
                "`.principals` and `groups` are both empty, so nobody fits | write "
                "`principals: ['*']` for everybody"
            )
        if "\0" in self.user:
            raise ValueError("`.user` holds a NUL byte")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("`.certificate` and `key` go together")


class CatalogReader(Section, frozen=True, kw_only=True):
    """Who reads a target's catalog: tables, views and routines that statements are judged by."""

    user: Annotated[
        str, Meta(min_length=1, max_length=63, description="Database user to log in as.")
    ]
    credential: Annotated[
        CredentialReference | None,
        Meta(description="Where its password is: file:/path, env:NAME or credential:NAME."),
    ] = None


class Pooling(Section, frozen=True, kw_only=True):
    """Whether connections to a database outlive the client sessions they served. All numbers are
    per worker.
    """

    mode: Annotated[
        PoolingMode,
        Meta(
            description=(
                "none: every client session has a new connection; session: one that a session left"
                " is cleaned, verified and given to the next session of the same database user,"
                " password, database and startup settings; transaction (PostgreSQL): such sessions"
                " share connections, and have one during transactions, and as long as something of"
                " theirs may be left in it (LISTEN, SET, temporary tables, session locks, code that"
                " nobody vouched for)."
            )
        ),
    ] = PoolingMode.NONE
    servers_max: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="Mode transaction: connections per user, database and startup settings.",
        ),
    ] = 20
    wait_s_max: Annotated[
        int,
        Meta(
            ge=1,
            le=3_600,
            description="Mode transaction: a session that waits longer for one of these is ended.",
        ),
    ] = 60
    idle_per_key_max: Annotated[
        int,
        Meta(ge=1, le=10_000, description="Kept unused per user, database and startup settings."),
    ] = 20
    idle_max: Annotated[
        int, Meta(ge=1, le=10_000, description="Kept unused in all; the one unused longest goes.")
    ] = 100
    idle_s_max: Annotated[
        int, Meta(ge=1, le=86_400, description="Closed when unused for so many seconds.")
    ] = 60
    lifetime_s_max: Annotated[
        int,
        Meta(
            ge=1,
            le=86_400,
            description=(
                "Not given to another session when older (a tenth less for some, so that not all"
                " end at once). A changed password or a C function's leftovers last no longer."
            ),
        ),
    ] = 600
    spare: Annotated[
        int,
        Meta(ge=0, le=100, description="Opened in advance for a key that was asked for before."),
    ] = 0
    extensions: Annotated[
        tuple[str, ...],
        Meta(
            description=(
                "Extensions you vouch for: they keep nothing in a session that DISCARD ALL leaves."
                " A database with any other than these and PostgreSQL's own harmless ones is not"
                " pooled."
            )
        ),
    ] = ()

    def __post_init__(self) -> None:
        if self.spare > self.idle_per_key_max:
            raise ValueError("`.spare` is more than `idle_per_key_max` keeps")
        if self.idle_per_key_max > self.idle_max:
            raise ValueError("`.idle_per_key_max` is more than `idle_max` keeps in all")


class TargetConfig(Section, frozen=True, kw_only=True):
    name: Annotated[Name, Meta(description="What listeners, policy and audit call it; unique.")]
    host: Annotated[str, Meta(min_length=1, description="Host name or IP address.")]
    port: Annotated[Port, Meta(description=f"TCP port; when left out: {ports()}.")] = 0
    dialect: Annotated[SpokenName, Meta(description=described("Kind of database.", "dialect"))] = (
        "postgresql"
    )
    environment: Annotated[
        str, Meta(description="E.g. production, staging; policy rules can select on it.")
    ] = ""
    labels: Annotated[
        dict[str, str], Meta(description="Free labels; policy rules can select on them.")
    ] = msgspec.field(default_factory=dict)
    tls: Annotated[TargetTls, Meta(description="TLS with the database.")] = msgspec.field(
        default_factory=TargetTls
    )
    databases: Annotated[
        tuple[str, ...] | Literal["*"],
        Meta(
            description=described(
                "Databases that may be asked for: a list, or '*' for any.", "databases"
            )
        ),
    ] = "*"
    roles: Annotated[
        tuple[Role, ...],
        Meta(min_length=1, description="Who works as which database user; the first that fits."),
    ]
    catalog: Annotated[
        CatalogReader | None,
        Meta(
            description=described(
                "Who reads the catalog; when left out, the database user of whoever comes first.",
                "catalog",
            )
        ),
    ] = None
    announce: Annotated[
        Announce,
        Meta(
            description=(
                "How the database learns who it is: both = application_name and the "
                "session variables"
                " sallyport.principal and sallyport.session; variable = the variables only,"
                " application_name stays the client's."
            )
        ),
    ] = Announce.BOTH
    pooling: Annotated[Pooling, Meta(description="Reuse of connections.")] = msgspec.field(
        default_factory=Pooling
    )
    schema_check: Annotated[
        SchemaCheck,
        Meta(
            description=described(
                "How schema changes made past the appliance are noticed.", "schema_check"
            )
        ),
    ] = SchemaCheck.STATEMENT

    def __post_init__(self) -> None:
        if any(c in self.host for c in "/@ \0\t\n"):
            raise ValueError("`.host` is a host name or an IP address, without port or user")
        if not self.port:
            msgspec.structs.force_setattr(self, "port", SPOKEN[self.dialect].port)

    def allows_database(self, database: str) -> bool:
        """'' is asked for by sessions that begin without a database, where a protocol has them."""
        return self.databases == "*" or not database or database in self.databases

    def as_target(self) -> Target:
        """What policy sees of it."""
        return Target(
            name=self.name,
            dialect=self.dialect,
            environment=self.environment,
            labels=tuple(sorted(self.labels.items())),
        )


class OidcProvider(Section, frozen=True, kw_only=True):
    """One issuer of tokens; which one a token belongs to is decided by its `iss` claim."""

    name: Annotated[Name, Meta(description="Shown in audit records; unique.")]
    issuer: Annotated[
        str, Meta(min_length=1, description="The `iss` claim, compared exactly, and never guessed.")
    ]
    audience: Annotated[
        tuple[str, ...], Meta(min_length=1, description="One of these must be in the `aud` claim.")
    ]
    jwks_file: Annotated[Path | None, Meta(description="JWK set on disk. Or `jwks_url`.")] = None
    jwks_url: Annotated[
        str | None, Meta(description="JWK set over https (http for loopback addresses only).")
    ] = None
    jwks_ca: Annotated[
        Path | None, Meta(description="PEM authorities for jwks_url; the system's when left out.")
    ] = None
    jwks_refresh_s: Annotated[
        int, Meta(ge=10, le=86_400, description="Age after which the set is fetched again.")
    ] = 300
    algorithms: Annotated[
        tuple[TokenAlgorithm, ...],
        Meta(min_length=1, description="Signature algorithms accepted; public-key ones only."),
    ] = (TokenAlgorithm.RS256, TokenAlgorithm.ES256)
    username_claim: Annotated[
        Pattern, Meta(description="Claim (dots reach into objects) that names the principal.")
    ] = "sub"
    username_prefix: Annotated[
        str, Meta(description="Put before the name, to keep issuers apart.")
    ] = ""
    groups_claim: Annotated[
        Pattern, Meta(description="Claim with the groups: a list of texts, or one text.")
    ] = "groups"
    groups_prefix: Annotated[str, Meta(description="Put before every group.")] = ""
    act_claim: Annotated[
        Pattern | None,
        Meta(
            description=(
                "RFC 8693 actor: its `sub` becomes the principal (an agent), acting "
                "on behalf of the token's subject."
                " null = a token with an actor is refused."
            )
        ),
    ] = "act"
    on_behalf_of_claim: Annotated[
        Pattern | None, Meta(description="Claim that names the human the principal acts for.")
    ] = "on_behalf_of"
    kind: Annotated[
        PrincipalKind, Meta(description="Kind of principal when nothing else says so.")
    ] = PrincipalKind.HUMAN
    kind_claim: Annotated[
        Pattern | None, Meta(description="Claim that `kinds` is looked up with.")
    ] = None
    kinds: Annotated[
        dict[str, PrincipalKind],
        Meta(description="Value of `kind_claim` -> kind; a value not listed is refused."),
    ] = msgspec.field(default_factory=dict)
    login_names: Annotated[
        tuple[Pattern, ...],
        Meta(
            description=(
                "Beside scram on one listener: user names that are asked for a token "
                "instead of a password."
                " Names are decided by this pattern alone, so that nobody can find "
                "out which local users exist."
            )
        ),
    ] = ("*@*",)
    leeway_s: Annotated[
        int, Meta(ge=0, le=300, description="Clock difference tolerated in exp, nbf and iat.")
    ] = 30
    lifetime_s_max: Annotated[
        int, Meta(ge=60, description="Tokens made to live longer (exp - iat) are refused.")
    ] = 86_400

    def __post_init__(self) -> None:
        if (self.jwks_file is None) == (self.jwks_url is None):
            raise ValueError("`.jwks_file` or `jwks_url` (one of them) says where the keys are")
        if (self.kind_claim is None) != (not self.kinds):
            raise ValueError("`.kind_claim` and `kinds` go together")
        if self.jwks_url is not None and not trustworthy(self.jwks_url):
            raise ValueError("`.jwks_url` must be https (plain http only on loopback)")


class CertificateField(enum.Enum):
    SUBJECT_CN = "subject_cn"
    SAN_EMAIL = "san_email"
    SAN_URI = "san_uri"
    SAN_DNS = "san_dns"


class CertificateRule(Section, frozen=True, kw_only=True):
    """How a client certificate (already verified by TLS) becomes a principal; the first rule that
    fits is taken.
    """

    field: Annotated[CertificateField, Meta(description="Where the name is.")]
    pattern: Annotated[
        Pattern,
        Meta(
            description=(
                "Regular expression for the whole value; its group `name` is the principal's name."
            )
        ),
    ] = "(?P<name>.+)"
    kind: Annotated[PrincipalKind, Meta(description="Kind of principal.")] = PrincipalKind.HUMAN
    groups: Annotated[tuple[str, ...], Meta(description="Groups everybody by this rule has.")] = ()
    groups_from_ou: Annotated[
        bool, Meta(description="Also take each organisational unit (OU) of the subject as a group.")
    ] = False

    def __post_init__(self) -> None:
        try:
            groups = re.compile(self.pattern).groupindex
        except re.error as error:
            raise ValueError(f"`.pattern` is not a regular expression: {error.msg}") from None
        if "name" not in groups:
            raise ValueError(
                "`.pattern` has no group called name | e.g. `CN-(?P<name>.+)`; or leave it out"
            )


class Identities(Section, frozen=True, kw_only=True):
    users: Annotated[
        Path | None, Meta(description="Users file; made by `sallyport user add`. Verifiers only.")
    ] = None
    oidc: Annotated[tuple[OidcProvider, ...], Meta(description="Issuers of tokens.")] = ()
    certificates: Annotated[
        tuple[CertificateRule, ...], Meta(description="Client certificate -> principal.")
    ] = ()


class AdminDatabase(Section, frozen=True, kw_only=True):
    """A database that does not exist: who connects to it may ask, with psql, what a worker does."""

    name: Annotated[Name, Meta(description="What clients ask for, on any listener.")] = "sallyport"
    groups: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Whoever is in one of these groups may look."),
    ]


class Policy(Section, frozen=True, kw_only=True):
    files: Annotated[
        tuple[Path, ...],
        Meta(description="Policy documents, together one policy. None = deny all."),
    ] = ()
    tests: Annotated[
        tuple[Path, ...],
        Meta(
            description=(
                "Test cases (as for `sallyport policy test`): the control process takes no policy"
                " that fails one. Without `control` they are not run."
            )
        ),
    ] = ()
    mode: Annotated[
        PolicyMode,
        Meta(description="observe: evaluated and recorded, nothing refused or masked by policy."),
    ] = PolicyMode.ENFORCE


class Configuration(Section, frozen=True, kw_only=True):
    """The whole file."""

    version: Annotated[Literal[1], Meta(description="Version of this format.")] = 1
    data: Annotated[
        Path, Meta(description="Folder for audit segments and state; must be writable.")
    ] = msgspec.field(default_factory=lambda: Path("/var/lib/sallyport"))
    workers: Annotated[
        int, Meta(ge=0, le=256, description="Worker processes; 0 = one per processor.")
    ] = 0
    durability: Annotated[
        Durability,
        Meta(
            description=(
                "os: audit records are written before a statement is forwarded; disk: and synced."
            )
        ),
    ] = Durability.OS
    log_level: Annotated[LogLevel, Meta(description="Least severe log line that is written.")] = (
        LogLevel.INFO
    )
    admin: Annotated[
        Address | None,
        Meta(description="Address of /healthz, /readyz and /metrics; null = none."),
    ] = None
    listeners: Annotated[
        tuple[Listener, ...], Meta(min_length=1, description="Where clients connect.")
    ]
    targets: Annotated[
        tuple[TargetConfig, ...], Meta(min_length=1, description="The governed databases.")
    ]
    identities: Annotated[Identities, Meta(description="Who may come, and how they prove it.")] = (
        msgspec.field(default_factory=Identities)
    )
    policy: Annotated[Policy, Meta(description="What they may do.")] = msgspec.field(
        default_factory=Policy
    )
    limits: Annotated[Limits, Meta(description="Bounds; the defaults suit most.")] = msgspec.field(
        default_factory=Limits
    )
    admin_database: Annotated[
        AdminDatabase | None,
        Meta(description="SHOW POOLS, CLIENTS, SERVERS, STATS, DATABASES for psql; null = none."),
    ] = None
    control: Annotated[
        Control | None,
        Meta(description="Approvals, console and API; null = what is held is refused."),
    ] = None
    token_keys: Annotated[
        dict[str, CredentialReference],
        Meta(
            description="Keys of the `token` mask: name -> file:/path, env:NAME, credential:NAME."
        ),
    ] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for index, one in enumerate(self.listeners):
            spoken = {target.dialect for target in self.targets_of(one)}
            if one.protocol is not None:
                spoken.add(one.protocol)
            if len(spoken) > 1:
                raise ValueError(
                    f"listener {one.name} ($.listeners[{index}]) would speak "
                    f"{' and '.join(sorted(spoken))} | all its targets have one dialect"
                )

    def targets_of(self, listener: Listener) -> list[TargetConfig]:
        """Those it leads to, in the order of the file."""
        names = {listener.target, *listener.targets.values()}
        return [target for target in self.targets if target.name in names]

    def protocol_of(self, listener: Listener) -> SpokenName:
        """What clients speak there."""
        for target in self.targets_of(listener):
            return target.dialect
        return listener.protocol or "postgresql"

    def target(self, name: str) -> TargetConfig | None:
        return next((t for t in self.targets if t.name == name), None)

    def listener(self, name: str) -> Listener | None:
        return next((one for one in self.listeners if one.name == name), None)


def fits(pattern: str, text: str) -> bool:
    """Shell-like, case-sensitive, on every platform alike."""
    return fnmatchcase(text, pattern)
