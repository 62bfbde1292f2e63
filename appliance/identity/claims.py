"""Bearer tokens (JWT, RFC 7519, RFC 8725): checked, and their claims made into a principal.

Called by the session machine with the password a client sent over TLS. Two steps: `peek` (nothing
trusted yet, says which issuer and key), then `verify` with that issuer's keys and the time.
Everything wrong is the same refusal.
"""

import base64
import binascii
from typing import Any

import msgspec
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry, deserialize_compact

from appliance.config.schema import OidcProvider, fits
from appliance.identity.failures import login_refused
from appliance.identity.names import GROUPS_MAX, acceptable_name
from appliance.identity.token_keys import TokenKeys
from appliance.model.limits import AUTH_MESSAGE_BYTES_MAX
from appliance.model.principal import Principal, PrincipalKind

TYPES = {None, "jwt", "at+jwt", "application/jwt", "application/at+jwt"}
"""`typ` headers of ID and access tokens; others (logout+jwt, dpop+jwt, ...) mean something else
(RFC 8725, 3.11)."""


class Peeked(msgspec.Struct, frozen=True):
    """What a token says of itself, unproved: good for choosing keys, for nothing else."""

    issuer: str
    algorithm: str
    kid: str | None


class VerifiedToken(msgspec.Struct, frozen=True):
    principal: Principal
    expires: float
    """Unix seconds, the token's `exp`."""
    token_id: str = ""
    """`jti`, for the audit trail; '' when there is none."""


class Registry(JWSRegistry):
    """joserfc's, with room for certificates in the header, and exactly the algorithms given."""

    max_header_length = 8_192

    def get_alg(self, name: str) -> Any:
        if not self.allowed or name not in self.allowed or name not in self.algorithms:
            raise login_refused("identity.token.algorithm")
        return self.algorithms[name]


def peek(token: str) -> Peeked:
    """Raises Refused for what is not a signed JWT."""
    parts = token.split(".")
    if len(token) > AUTH_MESSAGE_BYTES_MAX or len(parts) != 3 or not token.isascii():
        raise login_refused("identity.token.form")
    header, claims = json_part(parts[0]), json_part(parts[1])
    kind, kid = header.get("typ"), header.get("kid")
    algorithm, issuer = header.get("alg"), claims.get("iss")
    if not isinstance(algorithm, str) or not isinstance(issuer, str) or "b64" in header:
        raise login_refused("identity.token.form")
    if (kind.lower() if isinstance(kind, str) else kind) not in TYPES:
        raise login_refused("identity.token.type")
    if kid is not None and not isinstance(kid, str):
        raise login_refused("identity.token.form")
    return Peeked(issuer, algorithm, kid)


def provider_of(peeked: Peeked, providers: tuple[OidcProvider, ...]) -> OidcProvider:
    """The configured issuer whose name is exactly the token's, with a pinned algorithm. Raises
    Refused."""
    for provider in providers:
        if provider.issuer == peeked.issuer:
            if peeked.algorithm not in {algorithm.value for algorithm in provider.algorithms}:
                raise login_refused("identity.token.algorithm")
            return provider
    raise login_refused("identity.token.issuer")


def verify(token: str, provider: OidcProvider, keys: TokenKeys, now: float) -> VerifiedToken:
    """Signature, then issuer, audience and times, then the principal. `now`: unix seconds. Raises
    Refused."""
    peeked = peek(token)
    provider_of(peeked, (provider,))
    key = keys.find(peeked.kid, peeked.algorithm)
    if key is None:
        raise login_refused("identity.token.key")
    registry = Registry(
        algorithms=[algorithm.value for algorithm in provider.algorithms], strict_check_header=False
    )
    try:
        payload = deserialize_compact(token, key, registry=registry).payload
        claims = msgspec.json.decode(payload or b"")
    except (JoseError, ValueError, msgspec.DecodeError):
        raise login_refused("identity.token.signature") from None
    if not isinstance(claims, dict):
        raise login_refused("identity.token.form")
    expires = check_claims(claims, provider, now)
    token_id = claims.get("jti")
    return VerifiedToken(
        principal_of(claims, provider), expires, token_id if isinstance(token_id, str) else ""
    )


def check_claims(claims: dict[str, Any], provider: OidcProvider, now: float) -> float:
    """Issuer, audience and times (RFC 7519, 4.1); -> `exp`. Raises Refused."""
    if claims.get("iss") != provider.issuer:
        raise login_refused("identity.token.issuer")
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    if not any(one in provider.audience for one in named if isinstance(one, str)):
        raise login_refused("identity.token.audience")
    expires, issued = numeric(claims, "exp"), numeric(claims, "iat")
    not_before = numeric(claims, "nbf")
    if expires is None or now >= expires + provider.leeway_s:
        raise login_refused("identity.token.expired")
    if any(t is not None and t > now + provider.leeway_s for t in (issued, not_before)):
        raise login_refused("identity.token.not_yet")
    if expires - (issued if issued is not None else now) > provider.lifetime_s_max:
        raise login_refused("identity.token.lifetime")
    return expires


def principal_of(claims: dict[str, Any], provider: OidcProvider) -> Principal:
    """Claims that have been verified -> principal. Raises Refused when something is missing or
    ambiguous.

    With an actor (RFC 8693, 4.1) the outermost `act` is who speaks: its `sub` is the principal, an
    agent unless a kind is mapped, and the token's subject is the human on whose behalf. Groups are
    the token's, in both cases.
    """
    subject = subject_name(claims, provider)
    groups = groups_of(claims, provider)
    claimed = text_claim(claims, provider.on_behalf_of_claim)
    kind = kind_of(claims, provider)
    act = lookup(claims, provider.act_claim) if provider.act_claim else claims.get("act")
    if act is None:
        behalf = None if claimed is None else named(claimed, provider)
        return Principal(subject, kind or provider.kind, groups, behalf, provider.name)
    if provider.act_claim is None or not isinstance(act, dict):
        raise login_refused("identity.token.actor")
    actor = act.get("sub")
    if not isinstance(actor, str):
        raise login_refused("identity.token.actor")
    if claimed is not None and named(claimed, provider) != subject:
        raise login_refused("identity.token.actor")  # two different answers to "for whom?"
    name = named(actor, provider)
    return Principal(name, kind or PrincipalKind.AGENT, groups, subject, provider.name)


def subject_name(claims: dict[str, Any], provider: OidcProvider) -> str:
    name = text_claim(claims, provider.username_claim)
    if name is None:
        raise login_refused("identity.token.name")
    verified = claims.get("email_verified", True)
    if provider.username_claim == "email" and verified is not True and verified != "true":
        raise login_refused("identity.token.email_not_verified")
    return named(name, provider)


def named(name: str, provider: OidcProvider) -> str:
    full = provider.username_prefix + name
    if not name or not acceptable_name(full):
        raise login_refused("identity.token.name")
    return full


def groups_of(claims: dict[str, Any], provider: OidcProvider) -> tuple[str, ...]:
    """Absent = none. Anything but texts is refused: a policy may deny by group, so none can be
    dropped."""
    found = lookup(claims, provider.groups_claim)
    if found is None:
        return ()
    groups = [found] if isinstance(found, str) else found
    if not isinstance(groups, list) or len(groups) > GROUPS_MAX:
        raise login_refused("identity.token.groups")
    full = [provider.groups_prefix + g if isinstance(g, str) else "" for g in groups]
    if not all(acceptable_name(group) for group in full):
        raise login_refused("identity.token.groups")
    return tuple(dict.fromkeys(full))


def kind_of(claims: dict[str, Any], provider: OidcProvider) -> PrincipalKind | None:
    if provider.kind_claim is None:
        return None
    found = text_claim(claims, provider.kind_claim)
    if found is None:
        return None
    if found not in provider.kinds:
        raise login_refused("identity.token.kind")
    return provider.kinds[found]


def asks_for_token(user: str, providers: tuple[OidcProvider, ...]) -> bool:
    """Whether this login name is asked for a token on a listener that takes passwords as well."""
    return any(fits(pattern, user) for provider in providers for pattern in provider.login_names)


def lookup(claims: dict[str, Any], name: str) -> Any:
    """The claim of exactly this name, else one reached by dots (`realm_access.roles`); None when
    absent."""
    if name in claims:
        return claims[name]
    place: Any = claims
    for step in name.split("."):
        if not isinstance(place, dict):
            return None
        place = place.get(step)
    return place


def text_claim(claims: dict[str, Any], name: str | None) -> str | None:
    found = None if name is None else lookup(claims, name)
    if found is not None and not isinstance(found, str):
        raise login_refused("identity.token.form")
    return found


def numeric(claims: dict[str, Any], name: str) -> float | None:
    """A NumericDate. Raises Refused for anything else than a plain number."""
    found = claims.get(name)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise login_refused("identity.token.form")
    return float(found)


def json_part(part: str) -> dict[str, Any]:
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
        found = msgspec.json.decode(raw)
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise login_refused("identity.token.form") from None
    if not isinstance(found, dict):
        raise login_refused("identity.token.form")
    return found
