"""The catalog of a governed database, read over a session of our own for somebody who asks.

Used by `studies` (explaining, masking map) and `cli/classify_scan`. Rule: it logs in as one of the
target's own roles, writes nothing, and every step has a deadline; errors are in words of our own,
because a database's text could quote a value.
"""

import asyncio
import os
from collections.abc import Callable

from appliance.config.credentials import resolve
from appliance.config.schema import Role, TargetConfig
from appliance.dataplane.connections import Login, Upstream, UpstreamRefused, UpstreamUnreachable
from appliance.dataplane.upstreams import open_upstream, simple_query
from appliance.model.errors import ProtocolViolation
from appliance.sql.lineage import CatalogLineage
from appliance.sql.reader import QUERIES, build_catalog

CONNECT_SECONDS_MAX = 15.0
CATALOG_SECONDS_MAX = 60.0

CODES = {
    "57014": "took longer than --seconds",
    "55P03": "is locked by somebody else",
    "42501": "may not be read by this role",
    "28P01": "the database did not accept the password",
    "3D000": "there is no such database",
}

CatalogRows = dict[str, list[tuple[str | None, ...]]]


class CatalogUnreadable(Exception):
    """The database could not be looked at; the text says why and what to do."""


def reason_of(error: BaseException) -> str:
    """In words of our own: an error's text could quote a value."""
    if isinstance(error, UpstreamRefused):
        code = error.fields.get("C", "XX000")
        return CODES.get(code, "the database refused it") + f" (SQLSTATE {code})"
    if isinstance(error, (UpstreamUnreachable, ProtocolViolation)):
        return error.reason
    return "it took too long" if isinstance(error, TimeoutError) else type(error).__name__


def login_of(target: TargetConfig, user: str, warn: Callable[[str], None]) -> Login:
    """The target's role with that database user, else ('') its first. Raises CatalogUnreadable."""
    roles = [role for role in target.roles if not user or role.user == user]
    if not roles:
        known = ", ".join(dict.fromkeys(role.user for role in target.roles))
        raise CatalogUnreadable(
            f"target {target.name} has no role with user {user}; it has: {known}"
        )
    role: Role = roles[0]
    try:
        password = None
        if role.credential is not None:
            password = resolve(role.credential, os.environ, warn).reveal()
    except ValueError as error:
        raise CatalogUnreadable(f"no credential for {role.user}: {error}") from None
    certificate = role.certificate or target.tls.certificate
    key = role.key or target.tls.key
    pair = (str(certificate), str(key)) if certificate and key else None
    return Login(role.user, password, pair)


async def logged_in(
    target: TargetConfig, login: Login, database: str, application: str
) -> Upstream:
    """Raises CatalogUnreadable."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS_MAX):
            return await open_upstream(target, login, database, {"application_name": application})
    except (UpstreamRefused, UpstreamUnreachable, ProtocolViolation, TimeoutError, OSError) as e:
        raise CatalogUnreadable(
            f"cannot log in to {database} as {login.user}: {reason_of(e)}"
        ) from None


async def catalog_rows(upstream: Upstream, database: str, *more: str) -> list[CatalogRows]:
    """What `build_catalog` takes, and (under '') the rows of each further query. Raises
    CatalogUnreadable."""
    try:
        async with asyncio.timeout(CATALOG_SECONDS_MAX):
            await simple_query(upstream, "SET default_transaction_read_only = on")
            await simple_query(upstream, "SET statement_timeout = '50s'")
            await simple_query(upstream, "SET lock_timeout = '3s'")
            rows = {name: await simple_query(upstream, text) for name, text in QUERIES.items()}
            return [rows, *[{"": await simple_query(upstream, text)} for text in more]]
    except (UpstreamRefused, ProtocolViolation, ConnectionError, TimeoutError) as error:
        raise CatalogUnreadable(
            f"the catalog of {database} cannot be read: {reason_of(error)}"
        ) from None


async def read_lineage(
    target: TargetConfig, database: str, warn: Callable[[str], None]
) -> CatalogLineage:
    """Logs in, reads, leaves. Raises CatalogUnreadable."""
    login = login_of(target, "", warn)
    upstream = await logged_in(target, login, database, "sallyport console")
    try:
        (rows,) = await catalog_rows(upstream, database)
    finally:
        upstream.side.close()
    return CatalogLineage(build_catalog(target.name, database, rows))
