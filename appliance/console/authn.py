"""From a request to whoever is behind it: API token, token of an identity provider, or cookie.

Called by `dispatch` for every route. Rules: a request with an Authorization header is judged by
that alone; a cookie counts for unsafe methods only with its session's CSRF token and from our own
pages; what does not hold is nobody, never somebody else.
"""

from http import HTTPStatus

import msgspec
from starlette.requests import Request

from appliance.console.credentials import (
    SECRET_CHARACTERS_MAX,
    TOKEN_PREFIX,
    csrf_token,
    digest,
    same,
)
from appliance.console.people import Identity, identity_of, person_of, roles_of
from appliance.console.problems import Problem
from appliance.console.services import Services
from appliance.console.standing import Standing, is_secure
from appliance.console.table import Caller, Proof
from appliance.model.errors import Refused

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"
BEARER_CHARACTERS_MAX = 16 * 1024


def cookie_name(standing: Standing) -> str:
    """`__Host-`: the browser takes it only with Secure, from this very host (RFC 6265bis)."""
    return "__Host-sallyport" if is_secure(standing.control) else "sallyport"


async def caller_of(request: Request, services: Services) -> Caller | None:
    """Who it is, None for nobody. Raises Problem (401) for an Authorization that does not hold."""
    header = request.headers.get("authorization")
    if header is not None:
        return await _bearer(header, services)
    cookie = request.cookies.get(cookie_name(services.current()), "")
    if not cookie or len(cookie) > SECRET_CHARACTERS_MAX:
        return None
    # A page that brings itself up to date (htmx says so) is nobody's use: an open tab is left idle.
    session = await services.sessions.find(cookie, use="hx-request" not in request.headers)
    if session is None:
        return None
    return await _caller(session.identity, Proof.COOKIE, cookie, services, "console")


async def _bearer(header: str, services: Services) -> Caller:
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    found = None
    if scheme.lower() == "bearer" and 0 < len(secret) <= BEARER_CHARACTERS_MAX:
        if secret.startswith(TOKEN_PREFIX):
            found = await _by_api_token(secret, services)
        else:
            found = await _by_issuer(secret, services)
    if found is None:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "this token is not (or no longer) good",
            {"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    return found


async def _by_api_token(secret: str, services: Services) -> Caller | None:
    if len(secret) > SECRET_CHARACTERS_MAX:
        return None
    token = await services.tokens.find(secret)
    if token is None:
        return None
    found = await _caller(token.identity, Proof.API_TOKEN, secret, services, token.via)
    if found is None:
        return None
    roles = found.person.roles & frozenset(token.roles)
    return found._replace(person=msgspec.structs.replace(found.person, roles=roles))


async def _by_issuer(secret: str, services: Services) -> Caller | None:
    """A token as agents log in to databases with: so they can ask after their own requests."""
    try:
        principal, provider = await services.providers.verified(secret, services.now())
    except Refused:
        return None
    identity = identity_of(principal, provider)
    return await _caller(identity, Proof.OIDC_TOKEN, secret, services, "api")


async def _caller(
    identity: Identity, proof: Proof, secret: str, services: Services, via: str
) -> Caller | None:
    standing = services.current()
    now = identity
    if proof is not Proof.OIDC_TOKEN:  # which says itself who it is
        found = await services.people.present(identity, standing.directory)
        if found is None:
            return None
        now = found
    person = person_of(now, standing.control, via)
    return Caller(person, now, proof, secret, digest(secret))


async def still(caller: Caller, services: Services) -> bool:
    """Whether a caller may go on, with all the roles they came with: asked now and then by what
    lasts (event streams)."""
    standing = services.current()
    if caller.proof is not Proof.OIDC_TOKEN:
        now = await services.people.present(caller.identity, standing.directory)
        if now is None or not caller.person.roles <= roles_of(now.groups, standing.control.roles):
            return False
    match caller.proof:
        case Proof.COOKIE:
            return await services.sessions.alive(caller.secret)
        case Proof.API_TOKEN:
            return await services.tokens.alive(caller.secret)
        case Proof.OIDC_TOKEN:
            try:
                await services.providers.verified(caller.secret, services.now())
            except Refused:
                return False
            return True


def check_origin(request: Request, standing: Standing) -> None:
    """Of an unsafe request: refuses what a browser says comes from another site. Raises Problem.

    Sec-Fetch-Site (W3C Fetch Metadata) and Origin (RFC 6454, 7) are set by the browser itself.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None and site not in {"same-origin", "none"}:
        raise Problem(HTTPStatus.FORBIDDEN, "this request came from another site")
    if origin is not None and not _is_ours(origin, request, standing):
        raise Problem(HTTPStatus.FORBIDDEN, "this request came from another site")


def _is_ours(origin: str, request: Request, standing: Standing) -> bool:
    host = request.headers.get("host", "")
    scheme = "https" if is_secure(standing.control) else request.url.scheme
    return origin == f"{scheme}://{host}"


def check_csrf(request: Request, caller: Caller, field: str) -> None:
    """`field`: what the form says, '' for none. Raises Problem."""
    said = request.headers.get(CSRF_HEADER, "") or field
    if not same(said, csrf_token(caller.secret)):
        raise Problem(HTTPStatus.FORBIDDEN, "the CSRF token is missing or not this session's")
