"""One row per route: method, path, who may, what it takes and gives. And the call a route gets.

Rows are written beside their routes (`api/*`, `pages`), joined by `routes`, carried out by
`dispatch`, published by `openapi`. Rule: a route without a row does not exist, and a row says who
may.
"""

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request

from appliance.approval.request import Person
from appliance.console.people import Identity
from appliance.console.services import Services
from appliance.control.rights import ROLES as SEEING

BODY_BYTES_MAX = 64 * 1024
SECONDS_MAX = 30.0

T = TypeVar("T")


class Open(enum.Enum):
    """Routes that are not about roles."""

    ANYBODY = "anybody"
    SIGNED_IN = "signed_in"
    """With whatever roles, or none: what they see is theirs."""


Who = Open | frozenset[str]
"""A set: whoever has at least one of these roles."""
ANY_ROLE = SEEING
"""Whoever has one sees what concerns others, too: not `break_glass`."""


class Proof(enum.Enum):
    """How a caller showed who they are."""

    COOKIE = "cookie"
    API_TOKEN = "token"  # noqa: S105 - the name of a kind of proof
    OIDC_TOKEN = "oidc"  # noqa: S105


class Caller(NamedTuple):
    """Whoever is behind a request."""

    person: Person
    identity: Identity
    proof: Proof
    secret: str
    """Cookie or token: to look again whether it still holds. Never shown, logged or stored."""
    key: str
    """Digest of `secret`: names the session or token."""


class Call:
    """One request as a route sees it."""

    def __init__(
        self,
        request: Request,
        services: Services,
        caller: Caller | None,
        body: object = None,
        query: object = None,
        raw: bytes = b"",
        form: bool = False,
    ) -> None:
        self.request = request
        self.services = services
        self.caller = caller
        self.raw = raw
        """The body as it came."""
        self.is_form = form
        """It came from a page's form: the answer is for a browser."""
        self._body = body
        self._query = query

    @property
    def known(self) -> Caller:
        """For rows that ask for somebody."""
        assert self.caller is not None
        return self.caller

    @property
    def person(self) -> Person:
        return self.known.person

    @property
    def address(self) -> str:
        return self.request.client.host if self.request.client is not None else ""

    def body(self, kind: type[T]) -> T:
        assert isinstance(self._body, kind)
        return self._body

    def query(self, kind: type[T]) -> T:
        assert isinstance(self._query, kind)
        return self._query

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])


Act = Callable[[Call], Awaitable[object]]
"""A struct (or list of them) is answered as JSON, a Response as it is."""


class Row(NamedTuple):
    """See the module's docstring."""

    method: str
    path: str
    act: Act
    who: Who
    summary: str
    takes: type[msgspec.Struct] | None = None
    """Body: JSON, or with `form` also a page's form."""
    gives: Any = None
    """Type of the answer, for the published description; None = no JSON."""
    query: type[msgspec.Struct] | None = None
    status: int = 200
    form: bool = False
    raw: bool = False
    """The route reads `Call.raw` by itself, and checks where it came from."""
    page: bool = False
    """For browsers: whoever is not signed in is sent to the sign-in page."""
    elsewhere: bool = False
    """May be called by other programs without cookies (device flow, Slack): no check of where a
    request came from, and cookies are not looked at."""
    csrf: bool = True
    """False for signing in, where whatever session a browser comes with does not count: where the
    request came from is checked all the same."""
    body_max: int = BODY_BYTES_MAX
    seconds_max: float = SECONDS_MAX
    media_type: str = "application/json"


def may(who: Who, person: Person | None) -> bool:
    """Whether a row is open to this person (None = nobody)."""
    if who is Open.ANYBODY:
        return True
    if person is None:
        return False
    return who is Open.SIGNED_IN or (
        isinstance(who, frozenset) and not who.isdisjoint(person.roles)
    )


def one_place(rows: tuple[Row, ...], later: tuple[Row, ...]) -> tuple[Row, ...]:
    """`later` rows replace those of the same method and path."""
    chosen: Mapping[tuple[str, str], Row] = {(r.method, r.path): r for r in (*rows, *later)}
    return tuple(chosen.values())
