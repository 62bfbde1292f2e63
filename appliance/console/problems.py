"""What a caller is told when something cannot be done: problem details (RFC 9457).

Raised by routes, made into responses by `console/dispatch`. Rule: `detail` is ours or a DeskError's
words, never an exception's text; each has an id that the log has as well.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from starlette.responses import Response

from appliance.control.desk import Conflict, DeskError, NotAllowed, Unavailable, Unknown

MEDIA_TYPE = "application/problem+json"


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457, 3.1."""

    title: str
    status: int
    type: str = "about:blank"
    detail: str = ""
    instance: str = ""
    """urn:sallyport:problem:<id>; the appliance's log knows it."""


class Problem(Exception):
    """Ends a request with this status. `detail` is for the caller."""

    def __init__(
        self, status: HTTPStatus, detail: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status.value} {detail}")
        self.status = status
        self.detail = detail
        self.headers = dict(headers or {})


def of_desk(error: DeskError) -> Problem:
    """The status that says what kind of error it is."""
    kinds = (
        (Unknown, HTTPStatus.NOT_FOUND),
        (NotAllowed, HTTPStatus.FORBIDDEN),
        (Conflict, HTTPStatus.CONFLICT),
        (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    status = next((s for kind, s in kinds if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)
    return Problem(status, str(error), {"Retry-After": "5"} if status == 503 else None)


def response(problem: Problem, id: str) -> Response:
    told = ProblemDetails(
        title=problem.status.phrase,
        status=problem.status.value,
        detail=problem.detail,
        instance=f"urn:sallyport:problem:{id}",
    )
    return Response(
        msgspec.json.encode(told), problem.status.value, problem.headers, media_type=MEDIA_TYPE
    )
