"""Carries out a row of the table for a request: who is it, may they, what do they say, then act.

Used by `app`. Rule: the order is fixed, and nothing of a route runs before its row let the caller
in. Whatever is not foreseen is a 500 whose text says nothing, and a line in the log.
"""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from appliance.audit.record import new_id
from appliance.console import authn, problems
from appliance.console.problems import Problem
from appliance.console.services import Services
from appliance.console.table import Call, Caller, Proof, Row, may
from appliance.control.desk import DeskError
from appliance.telemetry.log import Log

FIELDS_MAX = 100
QUERY_BYTES_MAX = 8 * 1024
BODY_SECONDS = 10.0
"""For a body to arrive."""
JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"

log = Log("console")

ProblemPage = Callable[[Problem, Request, Caller | None, str], Response]


def endpoint(
    row: Row, services: Services, page: ProblemPage | None
) -> Callable[[Request], Awaitable[Response]]:
    """`page`: shows a problem to a browser."""

    async def answer(request: Request) -> Response:
        caller: list[Caller | None] = [None]
        try:
            async with asyncio.timeout(row.seconds_max):
                return await _answer(row, request, services, caller)
        except TimeoutError:
            problem = Problem(HTTPStatus.SERVICE_UNAVAILABLE, "this took too long")
        except ClientDisconnect:
            problem = Problem(HTTPStatus.BAD_REQUEST, "the request ended early")
        except DeskError as error:
            problem = problems.of_desk(error)
        except Problem as raised:
            problem = raised
        except Exception as error:
            problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR)
            place = _place(error)
            log.error("route_failed", route=row.path, kind=type(error).__name__, place=place)
        told = _told(row, problem, request, services, caller[0], page)
        if request.method not in authn.SAFE:  # a body that is still to come would keep its place
            told.headers["Connection"] = "close"
        return told

    return answer


def _place(error: Exception) -> str:
    """file:line where it was raised; the text may hold anything."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"


def _told(
    row: Row,
    problem: Problem,
    request: Request,
    services: Services,
    caller: Caller | None,
    page: ProblemPage | None,
) -> Response:
    id = new_id(services.now(), services.entropy(10))
    if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("route_unavailable", route=row.path, status=problem.status.value, problem=id)
    if row.page and problem.status is HTTPStatus.UNAUTHORIZED and request.method == "GET":
        return RedirectResponse(f"/sign-in?next={quote(_place_asked(request))}", 303)
    if page is not None and (row.page or _from_form(row, request)):
        return page(problem, request, caller, id)
    return problems.response(problem, id)


def _place_asked(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")


def _from_form(row: Row, request: Request) -> bool:
    return row.form and request.headers.get("content-type", "").startswith(FORM_TYPE)


async def _answer(
    row: Row, request: Request, services: Services, found: list[Caller | None]
) -> Response:
    _check_host(request, services)
    caller = None if row.elsewhere else await authn.caller_of(request, services)
    found[0] = caller
    unsafe = request.method not in authn.SAFE
    if unsafe and not row.elsewhere and "authorization" not in request.headers:
        authn.check_origin(request, services.current())
    person = None if caller is None else caller.person
    if not may(row.who, person):
        raise _refusal(person is not None)
    raw = await _body(request, row.body_max) if unsafe else b""
    is_form, fields = _fields(row, request, raw)
    if unsafe and caller is not None and caller.proof is Proof.COOKIE and row.csrf:
        authn.check_csrf(request, caller, fields.pop(authn.CSRF_FIELD, ""))
    fields.pop(authn.CSRF_FIELD, None)
    body = _decoded(row, request, raw, is_form, fields)
    answer = await row.act(
        Call(request, services, caller, body, _query(row, request), raw, is_form)
    )
    return answer if isinstance(answer, Response) else json_response(answer, row.status)


def _refusal(known: bool) -> Problem:
    if known:
        return Problem(HTTPStatus.FORBIDDEN, "your roles do not allow this")
    return Problem(
        HTTPStatus.UNAUTHORIZED, "sign in, or send an API token", {"WWW-Authenticate": "Bearer"}
    )


def json_response(answer: object, status: int = 200) -> Response:
    if answer is None:
        return Response(status_code=204 if status == 200 else status)
    return Response(msgspec.json.encode(answer), status, media_type=JSON_TYPE)


def _check_host(request: Request, services: Services) -> None:
    """One Host, of plain characters: nothing else gets near a link or a comparison."""
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not hosts[0] or not set(hosts[0].lower()) <= HOST_CHARACTERS:
        raise Problem(HTTPStatus.BAD_REQUEST, "a request names one host")
    if len(request.url.query) > QUERY_BYTES_MAX:
        raise Problem(HTTPStatus.REQUEST_URI_TOO_LONG)


HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_:[]")


async def _body(request: Request, bytes_max: int) -> bytes:
    length = request.headers.get("content-length", "0")
    too_large = Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {bytes_max} bytes", {"Connection": "close"}
    )
    if not length.isascii() or not length.isdigit() or int(length[:12]) > bytes_max:
        raise too_large
    pieces, size = [], 0
    async with asyncio.timeout(BODY_SECONDS):
        async for piece in request.stream():
            size += len(piece)
            if size > bytes_max:
                raise too_large
            pieces.append(piece)
    return b"".join(pieces)


def _fields(row: Row, request: Request, raw: bytes) -> tuple[bool, dict[str, str]]:
    """Whether the body is a page's form, and its fields."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not row.form or kind != FORM_TYPE:
        return False, {}
    try:
        pairs = parse_qsl(
            raw.decode(),
            keep_blank_values=True,
            strict_parsing=bool(raw),
            max_num_fields=FIELDS_MAX,
        )
    except ValueError:
        raise Problem(HTTPStatus.BAD_REQUEST, "the form cannot be read") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Problem(HTTPStatus.BAD_REQUEST, "a field of the form is sent twice")
    return True, fields


def _decoded(
    row: Row, request: Request, raw: bytes, is_form: bool, fields: dict[str, str]
) -> object:
    if row.takes is None or row.raw:
        return None
    try:
        if is_form:
            return msgspec.convert(fields, row.takes, strict=False)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON_TYPE:
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {JSON_TYPE}")
        return msgspec.json.decode(raw, type=row.takes)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _said(error)) from None


def _query(row: Row, request: Request) -> object:
    if row.query is None:
        return None
    fields: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name in fields:
            raise Problem(HTTPStatus.BAD_REQUEST, "a part of the query is sent twice")
        fields[name] = text
    # A page's filter form sends what was left empty, too.
    fields = {name: text for name, text in fields.items() if text}
    try:
        return msgspec.convert(fields, row.query, strict=False)
    except msgspec.ValidationError as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, _said(error)) from None


def _said(error: Exception) -> str:
    """msgspec's words name fields and types; what they quote of the content is left out."""
    if isinstance(error, msgspec.ValidationError):
        text = str(error)
        return text if "Invalid enum value" not in text else "a value is not one of those allowed"
    return "the body cannot be read"
