"""/api/v1/policy, /api/v1/masking, /api/v1/metrics: what holds, whom it concerns, how it goes."""

from http import HTTPStatus
from typing import Annotated

import msgspec

from appliance.console.metering import Metrics
from appliance.console.problems import Problem
from appliance.console.studies import Explained, MaskingMap, PolicyShown
from appliance.console.table import ANY_ROLE, Call, Row
from appliance.identity.names import acceptable_name
from appliance.model.principal import Principal, PrincipalKind

ROOT = "/api/v1/policy"
SQL_CHARACTERS_MAX = 48 * 1024


class ExplainWanted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A statement, and as whom. `groups` None: those that the users file says."""

    sql: Annotated[str, msgspec.Meta(max_length=SQL_CHARACTERS_MAX)]
    principal: str
    target: str
    database: str
    groups: tuple[str, ...] | None = None
    kind: PrincipalKind | None = None
    on_behalf_of: str | None = None
    address: str = "127.0.0.1"
    application: str = ""


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    target: str
    database: str


class TargetShown(msgspec.Struct, frozen=True):
    """A governed database. `databases` () = any may be asked for."""

    name: str
    environment: str
    labels: dict[str, str]
    databases: tuple[str, ...]


class Targets(msgspec.Struct, frozen=True):
    targets: list[TargetShown]


async def shown(call: Call) -> PolicyShown:
    return call.services.studies.policy()


def principal_of(call: Call, wanted: ExplainWanted) -> Principal:
    """As the users file has it, where the question does not say otherwise."""
    user = call.services.current().directory.find(wanted.principal)
    known = Principal(wanted.principal) if user is None else user.principal()
    principal = Principal(
        wanted.principal,
        wanted.kind or known.kind,
        known.groups if wanted.groups is None else wanted.groups,
        wanted.on_behalf_of or known.on_behalf_of,
    )
    names = (principal.name, *principal.groups, principal.on_behalf_of or "-")
    if not all(acceptable_name(name) for name in names):
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "names: 1 to 256 printable characters")
    return principal


async def explain(call: Call) -> Explained:
    wanted = call.body(ExplainWanted)
    return await call.services.studies.explain(
        principal_of(call, wanted),
        wanted.sql,
        wanted.target,
        wanted.database,
        wanted.address,
        wanted.application,
    )


async def masking(call: Call) -> MaskingMap:
    place = call.query(Place)
    return await call.services.studies.masking(place.target, place.database)


async def targets(call: Call) -> Targets:
    found = [
        TargetShown(
            one.name,
            one.environment,
            one.labels,
            () if one.databases == "*" else tuple(one.databases),
        )
        for one in call.services.current().configuration.targets
    ]
    return Targets(found)


async def metrics(call: Call) -> Metrics:
    return call.services.metering.metrics()


ROWS = (
    Row("GET", ROOT, shown, ANY_ROLE, "The policy's documents and version.", gives=PolicyShown),
    Row(
        *("POST", ROOT + "/explain", explain, ANY_ROLE, "What would become of a statement."),
        takes=ExplainWanted,
        gives=Explained,
        seconds_max=120.0,
    ),
    Row(
        *("GET", "/api/v1/masking", masking, ANY_ROLE, "Classified columns and who sees them raw."),
        query=Place,
        gives=MaskingMap,
        seconds_max=120.0,
    ),
    Row("GET", "/api/v1/targets", targets, ANY_ROLE, "The governed databases.", gives=Targets),
    Row("GET", "/api/v1/metrics", metrics, ANY_ROLE, "Figures and their history.", gives=Metrics),
)
