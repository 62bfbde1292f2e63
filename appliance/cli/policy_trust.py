"""`sallyport policy trust`: asks a database for functions and writes the policy entries for them.

Used by `cli/policy`. Rule: the digest is the one the catalog's reader computes, so what is printed
is what a session compares.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import yaml

from appliance.cli.place import Place
from appliance.config.schema import Role, TargetConfig, TargetTls, TargetTlsMode
from appliance.dataplane.connections import Login, UpstreamRefused, UpstreamUnreachable
from appliance.dataplane.protocols import protocol_of
from appliance.model.catalog import Catalog, Function
from appliance.policy.trust import DIGEST_PREFIX, identity_of, identity_text

SECONDS_MAX = 60.0


class NotThere(LookupError):
    """The database has no such function."""

    def __str__(self) -> str:
        return str(self.args[0])


def entries_of(uri: str, wanted: Sequence[str]) -> str:
    """YAML to paste. Raises OSError, ValueError, NotThere."""
    place = Place(uri)
    try:
        catalog = asyncio.run(_read(place))
    except UpstreamRefused as refused:
        raise ValueError(f"the database: {refused.fields.get('M', 'refused')}") from None
    except UpstreamUnreachable as unreachable:
        raise ValueError(unreachable.reason) from None
    found = [function for text in wanted for function in _named(catalog, text)]
    where = {"targets": {"databases": [place.database]}} if place.database else {}
    entries = [
        {
            "function": identity_text(function),
            "digest": DIGEST_PREFIX + function.digest,
            **where,
        }
        for function in dict.fromkeys(found)
    ]
    return yaml.safe_dump({"trusted_functions": entries}, sort_keys=False, width=1000)


async def _read(place: Place) -> Catalog:
    try:
        mode = TargetTlsMode(place.tls["mode"])
    except ValueError:
        raise ValueError(f"sslmode {place.tls['mode']!r} is not one of libpq's") from None
    ca = place.tls.get("ca")
    target = TargetConfig(
        name="trust",
        dialect=place.dialect,
        host=place.host,
        port=place.port,
        tls=TargetTls(mode=mode, ca=None if ca is None else Path(ca)),
        roles=(Role(principals=("*",), user=place.user),),
    )
    protocol = protocol_of(target)
    source = protocol.catalog
    login = Login(place.user, place.password.encode())
    async with asyncio.timeout(SECONDS_MAX):
        settings = {**source.settings, "application_name": "sallyport policy trust"}
        upstream = await protocol.open_upstream(target, login, place.database, settings)
        try:
            for text in source.prepare:
                await protocol.query(upstream, text)
            rows = {
                name: await protocol.query(upstream, text) for name, text in source.queries.items()
            }
        finally:
            upstream.side.close()
    return source.build(target.name, place.database, rows)


def _named(catalog: Catalog, text: str) -> tuple[Function, ...]:
    """One function by its identity, or all overloads of a bare name."""
    schema, name, arguments = identity_of(text if "(" in text else f"{text}()")
    overloads = catalog.functions.get((schema, name), ())
    if "(" in text:
        overloads = tuple(each for each in overloads if each.arguments == arguments)
    if not overloads:
        raise NotThere(f"the database has no function {text}")
    return overloads
