"""The ASGI application of API and console, made from what the control process has.

Made by `serve` (and by tests, over a desk of their own). Rule: every route is a row of the table;
nothing is mounted beside it but static files.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from appliance.audit.record import new_id
from appliance.console import plain, problems
from appliance.console.credentials import Entropy, real_entropy
from appliance.console.device import Devices
from appliance.console.dispatch import endpoint
from appliance.console.headers import SafeHeaders
from appliance.console.metering import Metering
from appliance.console.oidc import Providers
from appliance.console.pacing import Pace
from appliance.console.pages import MOUNTS, PROBLEM_PAGE
from appliance.console.passwords import Passwords
from appliance.console.people import Acquaintances
from appliance.console.problems import Problem
from appliance.console.recording import Recording
from appliance.console.routes import TABLE
from appliance.console.services import Services, Slack
from appliance.console.sessions import SignInSessions
from appliance.console.shelf import Shelf
from appliance.console.standing import Current, is_secure
from appliance.console.studies import Studies
from appliance.console.table import Row
from appliance.console.tokens import ApiTokens
from appliance.console.trails import Trails
from appliance.control.desk import Desk, Policies, TrailSeen

CODES_PER_PERSON = (20, 300.0)


def services_of(
    current: Current,
    desk: Desk,
    policies: Policies,
    seen: Callable[[], Awaitable[TrailSeen]],
    shelf: Shelf,
    recorder: Recording,
    now: Callable[[], float],
    entropy: Entropy = real_entropy,
    slack: Slack | None = None,
) -> Services:
    standing = current()
    terms = standing.control.sign_in
    return Services(
        current=current,
        desk=desk,
        policies=policies,
        recorder=recorder,
        sessions=SignInSessions(
            shelf, now, entropy, terms.session_minutes * 60.0, terms.session_hours_max * 3_600.0
        ),
        tokens=ApiTokens(shelf, now, entropy),
        people=Acquaintances(shelf, now),
        devices=Devices(shelf, now, entropy),
        passwords=Passwords(shelf, entropy(32), now),
        providers=Providers(shelf, current, now, entropy),
        trails=Trails(standing.configuration.data, now, seen),
        studies=Studies(current, now),
        metering=Metering(current, now),
        codes=Pace(shelf, "code", *CODES_PER_PERSON, now),
        slack=slack,
        now=now,
        entropy=entropy,
    )


def make_app(
    services: Services,
    table: tuple[Row, ...] = TABLE,
    more: tuple[BaseRoute, ...] = MOUNTS,
) -> ASGIApp:
    """`more`: static files."""
    page = PROBLEM_PAGE or plain.problem_page

    async def unknown(request: Request, error: Exception) -> Response:
        """No row: a wrong path (404) or method (405)."""
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        id = new_id(services.now(), services.entropy(10))
        problem = Problem(status, headers=error.headers)
        if request.url.path.startswith("/api/") or request.method not in {"GET", "HEAD"}:
            return problems.response(problem, id)
        return page(problem, request, None, id)

    routes = [
        Route(row.path, endpoint(row, services, page), methods=[row.method], name=_name(row))
        for row in table
    ]
    app = Starlette(routes=[*routes, *more], exception_handlers={HTTPException: unknown})
    app.router.redirect_slashes = False
    return SafeHeaders(app, lambda: is_secure(services.current().control))


def _name(row: Row) -> str:
    return f"{row.method} {row.path}"
