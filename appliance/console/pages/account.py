"""Signing in, one's own tokens and signed-in browsers, a device's code, and the colours.

See `frame`. What is done here is done by the routes of the API (`api/access`, `api/device`,
`api/sign_in`); these pages are their forms.
"""

from http import HTTPStatus
from typing import Annotated

import msgspec
from starlette.responses import Response

from appliance.console.api import access
from appliance.console.api import device as api_device
from appliance.console.api.access import Everybody, TokenShown, TokenWanted
from appliance.console.api.device import CodeShown, CodeWanted, Confirmation
from appliance.console.api.sign_in import inside
from appliance.console.pages.frame import THEME_COOKIE, THEMES, asked, back_to, draw, get, post
from appliance.console.people import ROLES
from appliance.console.problems import Problem
from appliance.console.standing import is_secure
from appliance.console.table import Call, Open
from appliance.console.tokens import DAYS_MAX

THEME_SECONDS = 366 * 86_400


async def first(call: Call) -> Response:
    del call
    return back_to("/requests")


async def sign_in(call: Call) -> Response:
    """The form is `api/sign_in`'s to answer."""
    terms = call.services.current().control.sign_in
    return draw(
        call,
        "sign_in.html",
        next=inside(asked(call, "next", "/")),
        failed=bool(asked(call, "failed")),
        local=terms.local,
        providers=[one.name for one in terms.oidc],
    )


async def account(call: Call) -> Response:
    return await _account(call)


async def _account(
    call: Call, status: int = 200, mistake: str = "", made: TokenShown | None = None
) -> Response:
    own = _within(call, query=Everybody())
    return draw(
        call,
        "account.html",
        "account",
        status,
        tokens=(await access.tokens(own)).tokens,
        sign_ins=(await access.sign_ins(own)).sign_ins,
        roles=[role for role in ROLES if role in call.person.roles],
        days_max=DAYS_MAX,
        mistake=mistake,
        made=made,
    )


class TokenForm(msgspec.Struct, frozen=True):
    """A checkbox that is not ticked is not sent."""

    label: Annotated[str, msgspec.Meta(max_length=100)] = ""
    days: Annotated[str, msgspec.Meta(max_length=4)] = "30"
    viewer: str = ""
    approver: str = ""
    admin: str = ""
    auditor: str = ""
    break_glass: str = ""


async def make_token(call: Call) -> Response:
    """Shows the token, once, in the answer to the form: it is never in an address."""
    given = call.body(TokenForm)
    days = int(given.days) if given.days.isascii() and given.days.isdigit() else 0
    label = given.label.strip()
    if not label or not 1 <= days <= DAYS_MAX:
        return await _account(call, 422, f"Say what it is for, and for 1 to {DAYS_MAX} days.")
    roles = tuple(role for role in ROLES if getattr(given, role))
    try:
        made = await access.make(_within(call, TokenWanted(label, roles, days)))
    except Problem as problem:
        return await _account(call, problem.status.value, f"It was not made: {problem.detail}.")
    return await _account(call, made=made)


async def revoke_token(call: Call) -> Response:
    await access.revoke(call)
    return back_to("/account")


async def end_sign_in(call: Call) -> Response:
    await access.end(call)
    return back_to("/account")


async def device(call: Call) -> Response:
    """Asks for the code, then shows who wants it and asks once more: codes are phished."""
    code = asked(call, "user_code")
    if not code:
        return _device(call)
    try:
        found = await api_device.code(_within(call, query=CodeWanted(code)))
    except Problem as problem:
        if problem.status is not HTTPStatus.NOT_FOUND:
            raise
        return _device(call, 404, code, mistake="There is no such code, or it is used up.")
    return _device(call, 200, code, found)


def _device(
    call: Call,
    status: int = 200,
    code: str = "",
    found: CodeShown | None = None,
    mistake: str = "",
    done: str = "",
) -> Response:
    return draw(
        call, "device.html", "account", status, code=code, found=found, mistake=mistake, done=done
    )


class DeviceForm(msgspec.Struct, frozen=True):
    user_code: str = ""
    verdict: str = ""
    """approve, deny"""


async def answer_device(call: Call) -> Response:
    given = call.body(DeviceForm)
    if given.verdict not in {"approve", "deny"}:
        return _device(call, 422, given.user_code, mistake="Choose one.")
    approve = given.verdict == "approve"
    try:
        await api_device.confirm(_within(call, Confirmation(given.user_code, approve)))
    except Problem as problem:
        if problem.status is not HTTPStatus.NOT_FOUND:
            raise
        return _device(call, 404, mistake="There is no such code, or it is used up.")
    return _device(call, done=given.verdict)


class ThemeForm(msgspec.Struct, frozen=True):
    theme: str = "auto"
    next: str = "/"


async def theme(call: Call) -> Response:
    given = call.body(ThemeForm)
    answer = back_to(inside(given.next))
    if given.theme in THEMES:
        answer.set_cookie(
            THEME_COOKIE,
            given.theme,
            max_age=THEME_SECONDS,
            secure=is_secure(call.services.current().control),
            httponly=True,
            samesite="lax",
        )
    return answer


def _within(call: Call, body: object = None, query: object = None) -> Call:
    """The same call as a route of the API sees it."""
    return Call(call.request, call.services, call.caller, body, query)


ROWS = (
    get("/", first, Open.SIGNED_IN),
    get("/sign-in", sign_in, Open.ANYBODY),
    get("/account", account, Open.SIGNED_IN),
    post("/account/tokens", make_token, Open.SIGNED_IN, TokenForm),
    post("/account/tokens/{id}/revoke", revoke_token, Open.SIGNED_IN),
    post("/account/sign-ins/{id}/end", end_sign_in, Open.SIGNED_IN),
    get("/device", device, Open.SIGNED_IN),
    post("/device", answer_device, Open.SIGNED_IN, DeviceForm),
    post("/theme", theme, Open.SIGNED_IN, ThemeForm),
)
