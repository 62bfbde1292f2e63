"""/slack/interactions: what people do with the buttons in Slack.

The notices' end of it (`control/notify`) checks who sent it: a signature over the body.
"""

from http import HTTPStatus

from starlette.responses import Response

from appliance.console.dispatch import json_response
from appliance.console.problems import Problem
from appliance.console.table import Call, Open, Row

BODY_BYTES_MAX = 512 * 1024


async def interaction(call: Call) -> Response:
    taken = call.services.slack
    if taken is None:
        raise Problem(HTTPStatus.NOT_FOUND, "Slack is not configured")
    headers = {name.lower(): value for name, value in call.request.headers.items()}
    status, content = await taken(headers, call.raw)
    return json_response(content, status)


ROWS = (
    Row(
        *("POST", "/slack/interactions", interaction, Open.ANYBODY),
        "Slack's buttons (signed by Slack).",
        raw=True,
        elsewhere=True,
        body_max=BODY_BYTES_MAX,
    ),
)
