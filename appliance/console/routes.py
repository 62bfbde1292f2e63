"""The table of all routes, in one place: what is not here does not exist.

Read by `app` (to serve), `openapi` (to publish) and the tests (each row is tried as everybody).
"""

from starlette.responses import Response

from appliance.console import openapi, plain
from appliance.console.api import (
    access,
    audit,
    device,
    grants,
    live,
    policy,
    requests,
    sign_in,
    slack,
)
from appliance.console.dispatch import json_response
from appliance.console.pages import PAGES
from appliance.console.table import Call, Open, Row, one_place


async def published(call: Call) -> Response:
    del call
    return json_response(openapi.description(TABLE))


async def alive(call: Call) -> Response:
    """Whether the control process answers: for load balancers, says nothing else."""
    del call
    return Response("ok\n", media_type="text/plain")


OWN = (
    Row("GET", "/api/v1/openapi.json", published, Open.ANYBODY, "This description."),
    Row("GET", "/healthz", alive, Open.ANYBODY, "Whether this answers.", media_type="text/plain"),
)

TABLE: tuple[Row, ...] = one_place(
    (
        *OWN,
        *requests.ROWS,
        *grants.ROWS,
        *live.ROWS,
        *audit.ROWS,
        *policy.ROWS,
        *access.ROWS,
        *sign_in.ROWS,
        *device.ROWS,
        *slack.ROWS,
        *plain.ROWS,
    ),
    PAGES,
)
