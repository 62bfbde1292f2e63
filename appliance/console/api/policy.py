"""/api/v1/policy, /api/v1/masking, /api/v1/metrics: what holds, whom it concerns, how it goes."""

from http import HTTPStatus
from typing import Annotated

import msgspec

from appliance.console.metering import Metrics
from appliance.console.problems import Problem
from appliance.console.studies import Explained, MaskingMap, PolicyShown
from appliance.console.table import ANY_ROLE, Call, Row
from appliance.control.desk import Activation, Applied, PolicyText, PolicyVersion
from appliance.control.policies import LISTED_MAX
from appliance.identity.names import acceptable_name
from appliance.model.principal import Principal, PrincipalKind

ROOT = "/api/v1/policy"
SQL_CHARACTERS_MAX = 48 * 1024
ADMINS = frozenset({"admin"})


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


class Versions(msgspec.Struct, frozen=True):
    """Newest first."""

    versions: list[PolicyVersion]


class History(msgspec.Struct, frozen=True):
    """`activations`: newest first; the first one holds. `applied`: what each appliance said."""

    activations: list[Activation]
    applied: list[Applied]


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    limit: Annotated[int, msgspec.Meta(ge=1, le=LISTED_MAX)] = 100


class Reasoned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(max_length=2_000)]


class RollBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(max_length=2_000)]
    active: str
    """Id of the version that is to be left: if another one is active by now, nothing happens."""


async def versions(call: Call) -> Versions:
    limit = call.query(Counted).limit
    return Versions(await call.services.policies.versions(call.person, limit))


async def one_version(call: Call) -> PolicyText:
    return await call.services.policies.version(call.person, call.path("id"))


async def history(call: Call) -> History:
    limit = call.query(Counted).limit
    return History(*await call.services.policies.history(call.person, limit))


async def activate(call: Call) -> Activation:
    """Recorded by the versions' keeper, as is a rollback."""
    reason = call.body(Reasoned).reason
    return await call.services.policies.activate(call.person, call.path("id"), reason)


async def roll_back(call: Call) -> Activation:
    wanted = call.body(RollBack)
    return await call.services.policies.roll_back(call.person, wanted.reason, wanted.active)


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
        *("GET", ROOT + "/versions", versions, ANY_ROLE, "Every policy that was ever brought."),
        query=Counted,
        gives=Versions,
    ),
    Row(
        *("GET", ROOT + "/versions/{id}", one_version, ANY_ROLE, "One of them, with its text."),
        gives=PolicyText,
    ),
    Row(
        *("GET", ROOT + "/history", history, ANY_ROLE, "What was active when, and by whom."),
        query=Counted,
        gives=History,
    ),
    Row(
        *("POST", ROOT + "/versions/{id}/activate", activate, ADMINS, "Make a version active."),
        takes=Reasoned,
        gives=Activation,
        seconds_max=60.0,
    ),
    Row(
        *("POST", ROOT + "/rollback", roll_back, ADMINS, "Go back to the version before."),
        takes=RollBack,
        gives=Activation,
        seconds_max=60.0,
    ),
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
