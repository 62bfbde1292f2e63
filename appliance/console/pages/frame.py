"""What every page is made with: who asks, what it is drawn from, and the templates.

Used by all pages. Rules: templates escape whatever they are given, and name what would not show
(`statement.visible`); every page is whole without scripts; a live one is fetched again as it is and
morphed, so that there is no second way to draw it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request as Http
from starlette.responses import HTMLResponse, RedirectResponse

from appliance.console.credentials import csrf_token
from appliance.console.pages import assets, statement, words
from appliance.console.table import ANY_ROLE, Act, Call, Caller, Open, Proof, Row, Who, may

THEMES = ("auto", "light", "dark")
THEME_COOKIE = "theme"
NO_STORE = {"cache-control": "no-store"}

_TABS: tuple[tuple[str, str, str, Who], ...] = (
    ("requests", "/requests", "Approvals", Open.SIGNED_IN),
    ("grants", "/grants", "Grants", ANY_ROLE),
    ("sessions", "/sessions", "Sessions", ANY_ROLE),
    ("dashboard", "/dashboard", "Dashboard", ANY_ROLE),
    ("audit", "/audit", "Audit", frozenset({"auditor"})),
    ("policy", "/policy", "Policy", ANY_ROLE),
    ("masking", "/masking", "Masking", ANY_ROLE),
)


def get(path: str, act: Act, who: Who, seconds_max: float = 30.0) -> Row:
    """A row for a page that is looked at."""
    return Row("GET", path, act, who, "", page=True, seconds_max=seconds_max)


def post(
    path: str, act: Act, who: Who, takes: type[Any] | None = None, seconds_max: float = 30.0
) -> Row:
    """A row for a page's form. `takes`: a struct of strings."""
    return Row(
        "POST", path, act, who, "", takes or Nothing, page=True, form=True, seconds_max=seconds_max
    )


class Nothing(msgspec.Struct, frozen=True):
    """A form without fields."""


def draw(
    call: Call, template: str, tab: str = "", status: int = 200, /, **shown: Any
) -> HTMLResponse:
    """A page. `shown` is what its template speaks of."""
    return drawn(call.request, call.caller, call.services.now(), template, tab, status, shown)


def drawn(
    http: Http,
    caller: Caller | None,
    at: float,
    template: str,
    tab: str,
    status: int,
    shown: Mapping[str, Any],
) -> HTMLResponse:
    """`at`: unix seconds."""
    who = None if caller is None else caller.person
    by_cookie = caller is not None and caller.proof is Proof.COOKIE
    text = (
        _templates()
        .get_template(template)
        .render(
            tab=tab,
            tabs=[row[:3] for row in _TABS if who is not None and may(row[3], who)],
            person=who,
            csrf=csrf_token(caller.secret) if caller is not None and by_cookie else "",
            theme=theme(http),
            here=_here(http),
            streams=who is not None and may(ANY_ROLE, who),
            now=at,
            ago=lambda time: words.ago(time, at),
            left=lambda time: words.left(time, at),
            **shown,
        )
    )
    return HTMLResponse(text, status, headers=NO_STORE)


def theme(http: Http) -> str:
    chosen = http.cookies.get(THEME_COOKIE, "auto")
    return chosen if chosen in THEMES else "auto"


def _here(http: Http) -> str:
    return http.url.path + (f"?{http.url.query}" if http.url.query else "")


def asked(call: Call, name: str, otherwise: str = "") -> str:
    """A part of the query, bounded."""
    return call.request.query_params.get(name, otherwise).strip()[:1000]


def back_to(path: str) -> RedirectResponse:
    """After a change: a plain GET, so that reloading repeats nothing."""
    return RedirectResponse(path, 303, headers=NO_STORE)


def commas(text: str) -> tuple[str, ...]:
    """`a, b` -> (a, b)"""
    return tuple(part for piece in text.replace("\n", ",").split(",") if (part := piece.strip()))


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("appliance.console", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_final,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "exact": exact,
        "sql": statement.highlighted,
        "count": words.count,
        "span": words.span,
        "stamp": words.stamp,
        "listed": words.listed,
        "ms": words.milliseconds,
    }
    made.globals |= {
        "asset": assets.url,
        "plural": words.plural,
        "hides_something": statement.hides_something,
        "needs_layout": statement.needs_layout,
        "SHOWN_MAX": statement.SHOWN_MAX,
    }
    return made


def _final(value: object) -> object:
    """Every `{{ }}` of every template passes here before it is escaped."""
    if value is None:
        return ""
    return value if isinstance(value, Markup) else statement.visible(str(value))


def exact(text: str) -> Markup:
    """As it is, for what a form gives back (white space too)."""
    return escape(text.encode("utf-8", "replace").decode())
