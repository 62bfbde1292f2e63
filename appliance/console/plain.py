"""Pages without which nobody could sign in: sign-in, device code, and what went wrong, in plain
HTML.

Used by `routes` where `pages` has none of its own. Rule: everything in them is escaped, they load
nothing.
"""

from html import escape
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from appliance.console.api.sign_in import inside
from appliance.console.credentials import csrf_token
from appliance.console.problems import Problem
from appliance.console.table import Call, Caller, Open, Row


class SignInPage(msgspec.Struct, frozen=True):
    next: str = "/"
    failed: int = 0


class DevicePage(msgspec.Struct, frozen=True):
    user_code: str = ""


def document(title: str, body: str, status: int = 200) -> Response:
    return HTMLResponse(
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)} - Sallyport</title><h1>{escape(title)}</h1>{body}</html>",
        status,
    )


async def sign_in(call: Call) -> Response:
    asked = call.query(SignInPage)
    standing = call.services.current()
    next = escape(inside(asked.next), quote=True)
    body = "<p role=alert>That did not work.</p>" if asked.failed else ""
    if standing.control.sign_in.local:
        body += (
            '<form method=post action="/sign-in"><p><label>Name <input name=name '
            "autocomplete=username required></label><p><label>Password <input name=password "
            "type=password autocomplete=current-password required></label>"
            f'<input type=hidden name=next value="{next}"><p><button>Sign in</button></form>'
        )
    for one in standing.control.sign_in.oidc:
        url = f"/sign-in/oidc/{quote(one.name)}?next={quote(inside(asked.next))}"
        body += f'<p><a href="{escape(url)}">Sign in with {escape(one.name)}</a>'
    return document("Sign in", body)


async def device(call: Call) -> Response:
    csrf = csrf_token(call.known.secret)
    code = escape(call.query(DevicePage).user_code, quote=True)
    body = (
        "<p>A command line asks to act as you. Confirm only what you began yourself."
        '<form method=post action="/api/v1/device">'
        f'<input type=hidden name=csrf value="{csrf}"><p><label>Code <input name=user_code '
        f'value="{code}" required></label><p><button name=approve value=true>Confirm</button> '
        "<button name=approve value=false>Turn down</button></form>"
    )
    return document("Confirm a device", body)


def problem_page(problem: Problem, request: Request, caller: Caller | None, id: str) -> Response:
    del request, caller
    body = f"<p>{escape(problem.detail)}<p>Reference: {escape(id)}<p><a href=/>Back</a>"
    answer = document(problem.status.phrase, body, problem.status.value)
    answer.headers.update(problem.headers)
    return answer


ROWS = (
    Row(
        *("GET", "/sign-in", sign_in, Open.ANYBODY, "Sign-in page."),
        query=SignInPage,
        page=True,
    ),
    Row(
        *("GET", "/device", device, Open.SIGNED_IN, "Page to confirm a device's code."),
        query=DevicePage,
        page=True,
    ),
)
