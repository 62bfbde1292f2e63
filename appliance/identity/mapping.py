"""Principal + target -> the database user to work as, and what the database is told about who it
is.

Called by the session machine after login and before the upstream connection. Nothing here comes
from the client: the user it asked for names the principal, never the database user (DESIGN
invariant 5).
"""

from collections.abc import Mapping

import msgspec

from appliance.config.schema import Announce, Role, TargetConfig, fits
from appliance.config.values import CredentialReference, FilePath
from appliance.model.errors import Refused
from appliance.model.limits import IDENTIFIER_BYTES_MAX
from appliance.model.principal import Principal
from appliance.model.refusal import Refusal, RefusalCode

PRINCIPAL_VARIABLE = "sallyport.principal"
SESSION_VARIABLE = "sallyport.session"
BEHALF_VARIABLE = "sallyport.on_behalf_of"
RESERVED_PREFIX = "sallyport."
"""A client may set no variable of this namespace, and not application_name where it is
announced."""


class UpstreamIdentity(msgspec.Struct, frozen=True):
    """How to log in to the database for one principal."""

    user: str
    credential: CredentialReference | None
    """Where the password is; None = certificate or trust only."""
    certificate: FilePath | None
    key: FilePath | None
    role: int
    """Index of the line in the target's `roles`, for explanations."""


def upstream_identity(
    principal: Principal, target: TargetConfig, database: str
) -> UpstreamIdentity:
    """The first role that fits. Raises Refused (SQLSTATE 28000, or 3D000 for the database)."""
    if not target.allows_database(database):
        raise refused("this database is not offered here", "identity.database", "3D000")
    for index, role in enumerate(target.roles):
        if role_fits(role, principal, database):
            return UpstreamIdentity(
                role.user,
                role.credential,
                role.certificate or target.tls.certificate,
                role.key or target.tls.key,
                index,
            )
    raise refused("no database role is mapped to you on this target", "identity.mapping", "28000")


def role_fits(role: Role, principal: Principal, database: str) -> bool:
    if role.kinds and principal.kind not in role.kinds:
        return False
    if role.databases and database not in role.databases:
        return False
    return any(fits(pattern, principal.name) for pattern in role.principals) or any(
        fits(pattern, group) for pattern in role.groups for group in principal.groups
    )


def refused(message: str, rule: str, sqlstate: str) -> Refused:
    return Refused(
        Refusal(
            code=RefusalCode.DENIED,
            message=message,
            remedy="ask whoever keeps Sallyport's configuration for access",
            rule=rule,
            sqlstate=sqlstate,
        )
    )


def announcement(
    principal: Principal, session: str, application: str, announce: Announce
) -> Mapping[str, str]:
    """Startup parameters that tell the database who it is. `application`: the client's own
    application_name.

    application_name is cut at 63 bytes and made ASCII by PostgreSQL, so the exact name is in the
    variables too.
    """
    said = {PRINCIPAL_VARIABLE: principal.name, SESSION_VARIABLE: session}
    if principal.on_behalf_of is not None:
        said[BEHALF_VARIABLE] = principal.on_behalf_of
    if announce is Announce.VARIABLE:
        return {**said, "application_name": application} if application else said
    return {**said, "application_name": application_name(principal, session, application)}


def application_name(principal: Principal, session: str, application: str) -> str:
    """`principal/session application`, at most 63 bytes of printable ASCII: the client's part is
    cut first, then the principal's, never the session's. A slash, quote or space in a name becomes
    '?', so the parts stay apart."""
    name = "".join(
        c if c.isascii() and c.isprintable() and c not in "/ " else "?" for c in principal.name
    )
    room = max(IDENTIFIER_BYTES_MAX - len(session) - 1, 1)
    shown = "".join(c if c.isascii() and c.isprintable() else "?" for c in application)
    return f"{name[:room]}/{session} {shown}"[:IDENTIFIER_BYTES_MAX].rstrip()
