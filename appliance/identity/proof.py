"""Which proof a client is asked for at login; and that the name it came with is the name it proved.

Called by the session machine when it has the startup packet and knows about TLS. Rule: the choice
depends only on the listener, the connection and the *form* of the name, never on whether such a
user exists.
"""

import enum

from appliance.config.schema import Authentication, Listener, OidcProvider
from appliance.identity.claims import asks_for_token
from appliance.identity.failures import login_refused
from appliance.identity.verifiers import Directory
from appliance.model.principal import Principal


class Challenge(enum.Enum):
    CERTIFICATE = "certificate"  # already proved by TLS: map it, ask nothing
    SCRAM = "scram"
    TOKEN = "token"  # noqa: S105 - AuthenticationCleartextPassword; the answer is a JWT


def challenge_for(
    user: str,
    listener: Listener,
    providers: tuple[OidcProvider, ...],
    *,
    tls: bool,
    certificate: bool,
) -> Challenge:
    """`certificate`: the client has shown one and TLS has verified it. Raises Refused when
    nothing is left to ask."""
    accepted = listener.authentication
    if Authentication.CERTIFICATE in accepted and certificate:
        return Challenge.CERTIFICATE
    scram = Authentication.SCRAM in accepted
    if Authentication.OIDC in accepted and tls and (not scram or asks_for_token(user, providers)):
        return Challenge.TOKEN
    if scram:
        return Challenge.SCRAM
    raise login_refused("identity.proof.none_left")


def proved(user: str, principal: Principal, directory: Directory) -> Principal:
    """After a certificate or token: the login name must be the principal's, and a local user of
    that name must not be disabled. Raises Refused."""
    if user != principal.name:
        raise login_refused("identity.proof.name")
    local = directory.find(principal.name)
    if local is not None and local.disabled:
        raise login_refused("identity.proof.disabled")
    return principal


def still_proved(principal: Principal, local: bool, directory: Directory) -> bool:
    """Whether a session's principal could come in like that under a changed users file. `local`:
    it was a local user's password; who came by token or certificate must just not be disabled.
    A new password alone ends no session.
    """
    user = directory.find(principal.name)
    if user is None:
        return not local
    return not user.disabled and (not local or user.principal() == principal)
