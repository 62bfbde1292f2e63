"""Signing in and out: name and password, the identity provider's round trip, and who one is now.

Rules: every sign-in and every failure is recorded before it is answered; a failure says nothing of
its cause; `next` leads into this console and nowhere else; each sign-in is a new session.
"""

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

import msgspec
from starlette.responses import RedirectResponse, Response

from appliance.console.authn import cookie_name
from appliance.console.credentials import SECRET_CHARACTERS_MAX, csrf_token
from appliance.console.dispatch import json_response
from appliance.console.oidc import ProviderFailed, refused_because
from appliance.console.passwords import TooOften
from appliance.console.people import Identity, person_of
from appliance.console.problems import Problem
from appliance.console.standing import is_secure
from appliance.console.table import Call, Caller, Open, Proof, Row
from appliance.model.errors import Refused
from appliance.telemetry.log import Log

OIDC_SECONDS = 600
CLAIMED_CHARACTERS_MAX = 256
WRONG = "the name or the password is wrong"

log = Log("sign_in")


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A local user's. From a page's form or as JSON."""

    name: Annotated[str, msgspec.Meta(max_length=CLAIMED_CHARACTERS_MAX)]
    password: Annotated[str, msgspec.Meta(max_length=8_192)]
    next: str = "/"

    def __repr__(self) -> str:
        return "Credentials(***)"


class Me(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who one is signed in as."""

    name: str
    kind: str
    source: str
    groups: tuple[str, ...]
    roles: tuple[str, ...]
    proof: str
    """cookie, token, oidc"""
    csrf: str = ""
    """For X-CSRF-Token, when the proof is a cookie."""
    on_behalf_of: str | None = None


class Way(msgspec.Struct, frozen=True):
    name: str
    url: str


class Ways(msgspec.Struct, frozen=True):
    """How people can sign in here."""

    local: bool
    providers: tuple[Way, ...]


class Start(msgspec.Struct, frozen=True):
    next: str = "/"


class Callback(msgspec.Struct, frozen=True):
    """RFC 6749, 4.1.2; RFC 9207. What else a provider adds is left alone."""

    state: str = ""
    code: str = ""
    iss: str = ""
    error: str = ""


def inside(next: str) -> str:
    """A path on this console; '/' for anything else (absolute, other host, control characters)."""
    plain = next.isascii() and next.isprintable() and "\\" not in next and len(next) <= 2_000
    return next if plain and next.startswith("/") and not next.startswith("//") else "/"


def me(caller: Caller) -> Me:
    person = caller.person
    return Me(
        person.name,
        person.kind.value,
        caller.identity.source,
        person.groups,
        tuple(sorted(person.roles)),
        caller.proof.value,
        csrf_token(caller.secret) if caller.proof is Proof.COOKIE else "",
        person.on_behalf_of,
    )


async def whoami(call: Call) -> Me:
    return me(call.known)


async def ways(call: Call) -> Ways:
    sign_in = call.services.current().control.sign_in
    providers = tuple(Way(one.name, f"/sign-in/oidc/{one.name}") for one in sign_in.oidc)
    return Ways(sign_in.local, providers)


async def sign_in(call: Call) -> Response:
    given = call.body(Credentials)
    standing = call.services.current()
    if not standing.control.sign_in.local:
        raise Problem(HTTPStatus.FORBIDDEN, "sign in at your identity provider")
    claimed = printable(given.name)
    try:
        identity = await call.services.passwords.check(
            standing.directory, given.name, given.password, call.address
        )
    except TooOften as error:
        log.warning("sign_in_paced", address=call.address)
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            "too many attempts; wait a little",
            {"Retry-After": str(error.seconds)},
        ) from None
    if identity is None:
        await failed(call, claimed, "password", "bad_credentials")
        if call.is_form:
            return RedirectResponse(f"/sign-in?failed=1&next={quote(inside(given.next))}", 303)
        raise Problem(HTTPStatus.UNAUTHORIZED, WRONG)
    cookie = await begin(call, identity, "password")
    if call.is_form:
        return with_cookie(call, RedirectResponse(inside(given.next), 303), cookie)
    person = person_of(identity, standing.control, "console")
    answer = json_response(me(Caller(person, identity, Proof.COOKIE, cookie, "")))
    return with_cookie(call, answer, cookie)


async def failed(call: Call, claimed: str, how: str, reason: str) -> None:
    await call.services.recorder.sign_in_failed(claimed, how, reason, call.address)


async def begin(call: Call, identity: Identity, how: str) -> str:
    """Records it and begins the session -> its cookie."""
    standing = call.services.current()
    person = person_of(identity, standing.control, "console")
    await call.services.recorder.signed_in(person, how, call.address)
    await call.services.people.meet(identity)
    before = call.request.cookies.get(cookie_name(standing), "")[:SECRET_CHARACTERS_MAX]
    agent = printable(call.request.headers.get("user-agent", ""))
    return await call.services.sessions.begin(identity, call.address, agent, before)


def with_cookie(call: Call, answer: Response, cookie: str) -> Response:
    """Lax: a link from a notification finds its reader signed in; unsafe methods need the CSRF
    token besides."""
    standing = call.services.current()
    answer.set_cookie(
        cookie_name(standing),
        cookie,
        max_age=standing.control.sign_in.session_hours_max * 3_600,
        path="/",
        secure=is_secure(standing.control),
        httponly=True,
        samesite="lax",
    )
    return answer


async def sign_out(call: Call) -> Response:
    """Ends the session of the cookie; a token is revoked by its own route."""
    answer = RedirectResponse("/sign-in", 303) if call.is_form else Response(status_code=204)
    if call.known.proof is Proof.COOKIE:
        await call.services.recorder.signed_out(call.person)
        await call.services.sessions.end(call.known.key)
        answer.delete_cookie(
            cookie_name(call.services.current()),
            path="/",
            secure=is_secure(call.services.current().control),
            httponly=True,
            samesite="lax",
        )
    return answer


async def to_provider(call: Call) -> Response:
    name = call.path("provider")
    try:
        begun = await call.services.providers.begin(name, inside(call.query(Start).next))
    except KeyError:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such identity provider") from None
    except ProviderFailed as error:
        raise _unreachable(name, error) from None
    answer = RedirectResponse(begun.url, 303)
    answer.set_cookie(
        _oidc_cookie(call),
        begun.browser,
        max_age=OIDC_SECONDS,
        path="/",
        secure=is_secure(call.services.current().control),
        httponly=True,
        samesite="lax",
    )
    return answer


async def from_provider(call: Call) -> Response:
    name, back = call.path("provider"), call.query(Callback)
    how = f"oidc:{printable(name)[:64]}"
    browser = call.request.cookies.get(_oidc_cookie(call), "")
    if back.error or not back.code or not back.state or not browser:
        await failed(call, "", how, "identity.oidc.denied" if back.error else "identity.oidc.form")
        return RedirectResponse("/sign-in?failed=1", 303)
    try:
        identity, next = await call.services.providers.finish(
            name, back.state, back.code, back.iss, browser
        )
    except KeyError:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such identity provider") from None
    except ProviderFailed as error:
        await failed(call, "", how, "identity.oidc.provider")
        raise _unreachable(name, error) from None
    except Refused as error:
        await failed(call, "", how, refused_because(error))
        return RedirectResponse("/sign-in?failed=1", 303)
    cookie = await begin(call, identity, how)
    answer = with_cookie(call, RedirectResponse(inside(next), 303), cookie)
    answer.delete_cookie(
        _oidc_cookie(call), path="/", secure=is_secure(call.services.current().control)
    )
    return answer


def _unreachable(name: str, error: ProviderFailed) -> Problem:
    log.error("provider_failed", provider=name, reason=str(error))
    return Problem(HTTPStatus.BAD_GATEWAY, "the identity provider did not answer as it should")


def _oidc_cookie(call: Call) -> str:
    return cookie_name(call.services.current()) + "-oidc"


def printable(text: str) -> str:
    """Of a caller's own word: fit for a log or a record."""
    return "".join(c if c.isprintable() else "?" for c in text[:CLAIMED_CHARACTERS_MAX])


ROWS = (
    Row("GET", "/api/v1/me", whoami, Open.SIGNED_IN, "Who one is signed in as.", gives=Me),
    Row("GET", "/api/v1/sign-in", ways, Open.ANYBODY, "How people can sign in.", gives=Ways),
    Row(
        *("POST", "/sign-in", sign_in, Open.ANYBODY, "Sign in with name and password."),
        takes=Credentials,
        gives=Me,
        form=True,
        csrf=False,
    ),
    Row(
        *("POST", "/sign-out", sign_out, Open.SIGNED_IN, "End this session."),
        form=True,
        status=204,
    ),
    Row(
        *("GET", "/sign-in/oidc/{provider}", to_provider, Open.ANYBODY),
        "Begin to sign in at an identity provider.",
        query=Start,
        page=True,
        status=303,
    ),
    Row(
        *("GET", "/sign-in/oidc/{provider}/callback", from_provider, Open.ANYBODY),
        "Where the provider sends people back.",
        query=Callback,
        page=True,
        status=303,
    ),
)
