"""The console's pages: server-rendered, readable and usable without scripts.

`PAGES` are rows of the table of routes, `PROBLEM_PAGE` shows what went wrong, `MOUNTS` are the
static files. One module per subject; `frame` is what they share.
"""

import time

from starlette.requests import Request
from starlette.responses import Response

from appliance.console.dispatch import ProblemPage
from appliance.console.pages import (
    account,
    assets,
    audit,
    dashboard,
    grants,
    policy,
    policy_versions,
    requests,
    sessions,
)
from appliance.console.pages.frame import drawn
from appliance.console.problems import Problem
from appliance.console.table import Caller, Row

PAGES: tuple[Row, ...] = (
    *account.ROWS,
    *requests.ROWS,
    *grants.ROWS,
    *sessions.ROWS,
    *audit.ROWS,
    *policy.ROWS,
    *policy_versions.ROWS,
    *dashboard.ROWS,
)

MOUNTS = (assets.mount(),)


def problem_page(problem: Problem, request: Request, caller: Caller | None, id: str) -> Response:
    """A page that says what could not be done. `id`: the log knows it."""
    shown = {"problem": problem, "text": problem.detail, "reference": id}
    status = problem.status.value
    answer = drawn(request, caller, time.time(), "problem.html", "", status, shown)
    answer.headers.update(problem.headers)
    return answer


PROBLEM_PAGE: ProblemPage | None = problem_page
