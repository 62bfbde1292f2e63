"""The device flow's endpoints (RFC 8628): `sallyport login --device` asks, somebody who is signed
in confirms, the command line gets an API token.

Rules: the endpoints of the device take no cookie; what a person types is paced per person and per
address; the confirming page says from where it was asked, because codes are phished.
"""

from http import HTTPStatus

import msgspec
from starlette.responses import Response

from appliance.console.device import INTERVAL, LIFETIME, Answer, shown
from appliance.console.dispatch import json_response
from appliance.console.pacing import whence
from appliance.console.people import person_of
from appliance.console.problems import Problem
from appliance.console.standing import public_url
from appliance.console.table import Call, Open, Proof, Row
from appliance.console.tokens import TooMany

GRANT_TYPE = "urn:ietf:params:oauth:grant-type:device_code"


class DeviceWanted(msgspec.Struct, frozen=True):
    client_id: str = ""


class DeviceBegun(msgspec.Struct, frozen=True):
    """RFC 8628, 3.2."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class TokenAsked(msgspec.Struct, frozen=True):
    """RFC 8628, 3.4."""

    grant_type: str
    device_code: str
    client_id: str = ""


class TokenGiven(msgspec.Struct, frozen=True):
    """RFC 6749, 5.1."""

    access_token: str
    token_type: str
    expires_in: int
    name: str
    roles: tuple[str, ...]


class OauthError(msgspec.Struct, frozen=True):
    """RFC 6749, 5.2."""

    error: str


class CodeWanted(msgspec.Struct, frozen=True):
    user_code: str


class CodeShown(msgspec.Struct, frozen=True):
    """What a person looks at before they confirm."""

    user_code: str
    address: str
    client: str
    asked: float
    expires: float


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_code: str
    approve: bool


async def authorize(call: Call) -> DeviceBegun:
    if wait := await call.services.codes.attempt(f"device {whence(call.address)}"):
        raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "later", {"Retry-After": str(wait)})
    client = "".join(c for c in call.body(DeviceWanted).client_id if c.isprintable())
    secret, code = await call.services.devices.ask(call.address, client)
    page = f"{public_url(call.services.current().control)}/device"
    return DeviceBegun(secret, code, page, f"{page}?user_code={code}", int(LIFETIME), INTERVAL)


async def token(call: Call) -> Response:
    asked = call.body(TokenAsked)
    if asked.grant_type != GRANT_TYPE:
        return json_response(OauthError("unsupported_grant_type"), 400)
    found = await call.services.devices.fetch(asked.device_code)
    if isinstance(found, Answer):
        return json_response(OauthError(found.value), 400)
    standing = call.services.current()
    identity = None
    if found.identity is not None:
        identity = await call.services.people.present(found.identity, standing.directory)
    if identity is None:
        return json_response(OauthError(Answer.DENIED.value), 400)
    person = person_of(identity, standing.control, "cli")
    roles = person.roles & frozenset(found.roles)
    await call.services.recorder.signed_in(person, "device", call.address)
    seconds = standing.control.sign_in.session_hours_max * 3_600
    try:
        secret, _, _ = await call.services.tokens.make(
            identity, f"command line at {found.address}", roles, seconds, "cli"
        )
    except TooMany:
        raise Problem(HTTPStatus.CONFLICT, "revoke a token first: there are too many") from None
    return json_response(TokenGiven(secret, "Bearer", seconds, person.name, tuple(sorted(roles))))


async def code(call: Call) -> CodeShown:
    asking = await call.services.devices.find(await _typed(call, call.query(CodeWanted).user_code))
    if asking is None:
        raise _no_code()
    return CodeShown(
        shown(asking.code), asking.address, asking.client, asking.asked, asking.expires
    )


async def confirm(call: Call) -> Response:
    given = call.body(Confirmation)
    if call.known.proof is not Proof.COOKIE:
        raise Problem(HTTPStatus.FORBIDDEN, "a token cannot confirm a device: sign in")
    typed = await _typed(call, given.user_code)
    asking = await call.services.devices.find(typed)
    if asking is None:
        raise _no_code()
    action = "device_approved" if given.approve else "device_denied"
    await call.services.recorder.administered(
        call.person, action, call.person.name, f"asked from {asking.address}"
    )
    answered = await call.services.devices.answer(
        typed, given.approve, call.known.identity, call.person.roles
    )
    if answered is None:
        raise _no_code()
    return Response(status_code=204)


async def _typed(call: Call, typed: str) -> str:
    """Paces guesses, per person and per address. Raises Problem."""
    for key in (f"code {call.known.identity.owner}", f"code {whence(call.address)}"):
        if wait := await call.services.codes.attempt(key):
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, "later", {"Retry-After": str(wait)})
    return typed


def _no_code() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, "there is no such code (any more)")


ROWS = (
    Row(
        *("POST", "/device/authorize", authorize, Open.ANYBODY, "A device asks (RFC 8628, 3.1)."),
        takes=DeviceWanted,
        gives=DeviceBegun,
        form=True,
        elsewhere=True,
    ),
    Row(
        *("POST", "/device/token", token, Open.ANYBODY, "A device waits (RFC 8628, 3.4)."),
        takes=TokenAsked,
        gives=TokenGiven,
        form=True,
        elsewhere=True,
    ),
    Row(
        *("GET", "/api/v1/device", code, Open.SIGNED_IN, "Who asks, by the code they show."),
        query=CodeWanted,
        gives=CodeShown,
    ),
    Row(
        *("POST", "/api/v1/device", confirm, Open.SIGNED_IN, "Confirm a device, or turn it down."),
        takes=Confirmation,
        form=True,
        status=204,
    ),
)
