"""What exactly an approval holds for: one digest over every ingredient.

Used by `session` when a statement is held or sent again. Rule: two statements share a digest only
if they are the same bytes, from the same principal, on the same database, under the same settings,
with the same parameters. Each part is hashed with its length before it, so that no two lists of
parts give the same bytes.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256

from appliance.model.principal import Principal

MATTERING = (
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "standard_conforming_strings",
)
"""Reported settings (PostgreSQL, "Asynchronous Operations") that change what a literal means."""


def digest(
    *,
    text: bytes,
    parameters: bytes | None,
    parameter_types: Iterable[int],
    principal: Principal,
    target: str,
    database: str,
    settings: str,
    chosen: str,
    reported: Mapping[str, str],
) -> str:
    """SHA-256, hex. `parameters`: formats and values of a Bind message as they stand in it, None
    for a Query. `settings`: digest of what names depend on (`SessionSettings.digest`).
    `chosen`: of what else the session has set (`session/chosen`). `reported`: the session's
    settings as the database reported them.
    """
    parts = [
        b"statement 2",
        text,
        b"-" if parameters is None else b"+" + parameters,
        b",".join(b"%d" % oid for oid in parameter_types),
        principal.source.encode(),
        principal.name.encode(),
        principal.kind.value.encode(),
        b"-" if principal.on_behalf_of is None else b"+" + principal.on_behalf_of.encode(),
        target.encode(),
        database.encode(),
        settings.encode("utf-8", "surrogatepass"),
        chosen.encode(),
        *(f"{name}={reported.get(name, '')}".encode() for name in MATTERING),
    ]
    hashed = sha256()
    for part in parts:
        hashed.update(len(part).to_bytes(8, "big"))
        hashed.update(part)
    return hashed.hexdigest()
