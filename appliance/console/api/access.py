"""/api/v1/tokens and /api/v1/sign-ins: API tokens and signed-in browsers, one's own and (for
administrators) everybody's.

Rules: a token is in one answer and nowhere else; it gets no role that its maker does not have now;
a token cannot make tokens; somebody else's are the administrators' to revoke, not to see into.
"""

from http import HTTPStatus
from typing import Annotated

import msgspec

from appliance.console.people import ROLES
from appliance.console.problems import Problem
from appliance.console.sessions import SignedIn
from appliance.console.table import Call, Open, Proof, Row
from appliance.console.tokens import DAYS_MAX, ApiToken, TooMany

TOKENS = "/api/v1/tokens"
SIGN_INS = "/api/v1/sign-ins"
ADMIN = "admin"


class Everybody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    everybody: bool = False
    """Not only one's own: for administrators."""


class TokenWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    label: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    """For people: what it is for."""
    roles: tuple[str, ...] | None = None
    """None = all that the maker has."""
    days: Annotated[int, msgspec.Meta(ge=1, le=DAYS_MAX)] = 30


class TokenShown(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    """SHA-256 of the token: good for revoking it, useless for anything else."""
    owner: str
    source: str
    label: str
    roles: tuple[str, ...]
    made: float
    expires: float
    used: float
    """Last use, unix seconds to half a minute; 0 = never."""
    via: str
    token: str = ""
    """The token itself: only in the answer to making it."""


class TokensShown(msgspec.Struct, frozen=True):
    tokens: list[TokenShown]


class SignInShown(msgspec.Struct, frozen=True):
    id: str
    name: str
    source: str
    began: float
    seen: float
    ends: float
    address: str
    agent: str
    current: bool
    """The session of this very request."""


class SignInsShown(msgspec.Struct, frozen=True):
    sign_ins: list[SignInShown]


def _owner(call: Call) -> str | None:
    """Whose are wanted: None = everybody's. Raises Problem."""
    if not call.query(Everybody).everybody:
        return call.known.identity.owner
    if ADMIN not in call.person.roles:
        raise Problem(HTTPStatus.FORBIDDEN, "only administrators see those of others")
    return None


def _shown(key: str, token: ApiToken, secret: str = "") -> TokenShown:
    who = token.identity
    return TokenShown(
        *(key, who.name, who.source, token.label, token.roles),
        *(token.made, token.expires, token.used, token.via, secret),
    )


async def tokens(call: Call) -> TokensShown:
    found = await call.services.tokens.of(_owner(call))
    return TokensShown([_shown(key, token) for key, token in found])


async def make(call: Call) -> TokenShown:
    wanted = call.body(TokenWanted)
    if call.known.proof is not Proof.COOKIE:
        raise Problem(HTTPStatus.FORBIDDEN, "a token cannot make tokens: sign in")
    held = call.person.roles
    roles = held if wanted.roles is None else frozenset(wanted.roles)
    if not roles <= frozenset(ROLES):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"roles are {', '.join(ROLES)}")
    if not roles <= held:
        raise Problem(HTTPStatus.FORBIDDEN, "a token has no role that you do not have")
    label = "".join(c for c in wanted.label if c.isprintable())
    await call.services.recorder.administered(
        call.person, "token_made", call.person.name, f"{label}: {', '.join(sorted(roles))}"
    )
    try:
        secret, key, token = await call.services.tokens.make(
            call.known.identity, label, roles, wanted.days * 86_400.0
        )
    except TooMany:
        raise Problem(HTTPStatus.CONFLICT, "revoke a token first: you have too many") from None
    return _shown(key, token, secret)


async def revoke(call: Call) -> None:
    key = call.path("id")
    token = await call.services.tokens.shown(key)
    mine = token is not None and token.identity.owner == call.known.identity.owner
    if token is None or not (mine or ADMIN in call.person.roles):
        raise Problem(HTTPStatus.NOT_FOUND, "you have no such token")
    await call.services.recorder.administered(
        call.person, "token_revoked", token.identity.name, token.label
    )
    await call.services.tokens.revoke(key)


async def sign_ins(call: Call) -> SignInsShown:
    found = await call.services.sessions.of(_owner(call))
    return SignInsShown([_sign_in(key, one, key == call.known.key) for key, one in found])


def _sign_in(key: str, one: SignedIn, current: bool) -> SignInShown:
    who = one.identity
    return SignInShown(
        *(key, who.name, who.source, one.began, one.seen),
        *(one.ends, one.address, one.agent, current),
    )


async def end(call: Call) -> None:
    key = call.path("id")
    owner = None if ADMIN in call.person.roles else call.known.identity.owner
    found = dict(await call.services.sessions.of(owner)).get(key)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, "there is no such sign-in")
    await call.services.recorder.administered(
        call.person, "sign_in_revoked", found.identity.name, found.address
    )
    await call.services.sessions.end(key)


ROWS = (
    Row(
        *("GET", TOKENS, tokens, Open.SIGNED_IN, "List API tokens."),
        query=Everybody,
        gives=TokensShown,
    ),
    Row(
        *("POST", TOKENS, make, Open.SIGNED_IN, "Make an API token; it is shown once."),
        takes=TokenWanted,
        gives=TokenShown,
        status=201,
    ),
    Row(
        *("DELETE", TOKENS + "/{id}", revoke, Open.SIGNED_IN, "Revoke an API token."),
        status=204,
    ),
    Row(
        *("GET", SIGN_INS, sign_ins, Open.SIGNED_IN, "List signed-in browsers."),
        query=Everybody,
        gives=SignInsShown,
    ),
    Row(
        *("DELETE", SIGN_INS + "/{id}", end, Open.SIGNED_IN, "End a browser's sign-in."),
        status=204,
    ),
)
