"""`when:` conditions: CEL (https://cel.dev), type-checked when the policy loads, evaluated by
`evaluate`.

A condition is total in its outcome: True, False, or an error that the caller turns into a denial.
Variables are declared one by one with dotted names, so that `principal.nme` is an error at load
time.
"""

import datetime
import functools
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cel_expr_python import cel

from appliance.model.facts import Flag, StatementFacts
from appliance.model.principal import Client, Principal, Target

_STRING: Final = cel.Type.STRING
_STRINGS: Final = cel.Type.List(cel.Type.STRING)

STANDING_VARIABLES: Final[Mapping[str, Any]] = {
    "principal.name": _STRING,
    "principal.kind": _STRING,
    "principal.groups": _STRINGS,
    "principal.on_behalf_of": _STRING,
    "client.address": _STRING,
    "client.application": _STRING,
    "client.tls": cel.Type.BOOL,
    "client.listener": _STRING,
    "target.name": _STRING,
    "target.environment": _STRING,
    "target.labels": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
    "database": _STRING,
}
"""What does not change while a session lasts. `principal.on_behalf_of` is '' when nobody."""

TIME_VARIABLES: Final[Mapping[str, Any]] = {
    "now": cel.Type.TIMESTAMP,
    "time.hour": cel.Type.INT,
    "time.minute": cel.Type.INT,
    "time.weekday": cel.Type.INT,
}
"""UTC. `time.weekday` is ISO 8601's: 1 is Monday, 7 is Sunday."""

STATEMENT_VARIABLES: Final[Mapping[str, Any]] = {
    "statement.kind": _STRING,
    "statement.actions": _STRINGS,
    "statement.tables": _STRINGS,
    "statement.functions": _STRINGS,
    "statement.flags": _STRINGS,
    "statement.confidence": _STRING,
    "statement.has_where": cel.Type.BOOL,
}
"""`statement.tables` and `.functions` are `schema.name`; `has_where` is false for an UPDATE or
DELETE that has no WHERE and true otherwise."""

NETWORK_CACHE_ENTRIES_MAX = 4_096

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@functools.lru_cache(maxsize=NETWORK_CACHE_ENTRIES_MAX)
def address_of(text: str) -> Address:
    """A client's address; IPv4 in IPv6 (`::ffff:10.0.0.1`) counts as IPv4. Raises ValueError."""
    address = ipaddress.ip_address(text)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


@functools.lru_cache(maxsize=NETWORK_CACHE_ENTRIES_MAX)
def network_of(text: str) -> Network:
    """A network in CIDR notation. Raises ValueError when host bits are set."""
    return ipaddress.ip_network(text)


def in_networks(address: str, networks: Sequence[str]) -> bool:
    """Whether an address lies in one of the networks. Raises ValueError for what is neither."""
    place = address_of(address)
    return any(place in network_of(str(network)) for network in networks)


def _environment(*variables: Mapping[str, Any]) -> Any:
    merged = {name: kind for group in variables for name, kind in group.items()}
    overload = cel.Overload(
        id="string_in_networks_list_string",
        return_type=cel.Type.BOOL,
        parameters=[_STRING, _STRINGS],
        is_member=True,
        impl=in_networks,
    )
    return cel.NewEnv(variables=merged, functions=[cel.FunctionDecl("in_networks", [overload])])


_FULL = _environment(STANDING_VARIABLES, TIME_VARIABLES, STATEMENT_VARIABLES)
_WITHOUT_TIME = _environment(STANDING_VARIABLES, STATEMENT_VARIABLES)
_WITHOUT_STATEMENT = _environment(STANDING_VARIABLES, TIME_VARIABLES)


class ConditionError(ValueError):
    """A condition that does not compile or is not of type bool; the message is for a person."""


class ConditionFailed(Exception):
    """A condition had no answer (missing map key, division by zero, bad address)."""


def _compiles(environment: Any, text: str) -> bool:
    try:
        environment.compile(text)
    except RuntimeError:
        return False
    return True


class Condition:
    """One compiled `when:`."""

    __slots__ = ("_expression", "text", "uses_statement", "uses_time")

    def __init__(self, text: str) -> None:
        """Raises ConditionError."""
        self.text = text
        try:
            self._expression = _FULL.compile(text)
        except RuntimeError as error:
            raise ConditionError(_first_line(str(error))) from None
        kind = self._expression.return_type()
        if kind != cel.Type.BOOL:
            raise ConditionError(f"is of type {kind.name()}, expected BOOL")
        # What it may look at is found by compiling without it: no second parser of CEL to be wrong.
        self.uses_time = not _compiles(_WITHOUT_TIME, text)
        self.uses_statement = not _compiles(_WITHOUT_STATEMENT, text)

    def holds(self, activation: Any) -> bool:
        """Raises ConditionFailed when there is no answer."""
        value = self._expression.eval(activation)
        if value.type() != cel.Type.BOOL:
            raise ConditionFailed(self.text)
        return bool(value.value())


def _first_line(message: str) -> str:
    line = message.partition("\n")[0]
    return (
        line.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ").replace("<input>:", "at ")
    )


def standing_values(
    principal: Principal, client: Client, target: Target, database: str
) -> dict[str, Any]:
    return {
        "principal.name": principal.name,
        "principal.kind": principal.kind.value,
        "principal.groups": list(principal.groups),
        "principal.on_behalf_of": principal.on_behalf_of or "",
        "client.address": client.address,
        "client.application": client.application,
        "client.tls": client.tls,
        "client.listener": client.listener,
        "target.name": target.name,
        "target.environment": target.environment,
        "target.labels": dict(target.labels),
        "database": database,
    }


def time_values(now: float) -> dict[str, Any]:
    """`now`: unix seconds."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    return {
        "now": moment,
        "time.hour": moment.hour,
        "time.minute": moment.minute,
        "time.weekday": moment.isoweekday(),
    }


def statement_values(statement: StatementFacts) -> dict[str, Any]:
    return {
        "statement.kind": statement.kind,
        "statement.actions": [action.value for action in statement.actions],
        "statement.tables": [_dotted(use.schema, use.name) for use in statement.relations],
        "statement.functions": [_dotted(use.schema, use.name) for use in statement.functions],
        "statement.flags": sorted(flag.value for flag in statement.flags),
        "statement.confidence": statement.confidence.value,
        "statement.has_where": Flag.NO_WHERE not in statement.flags,
    }


def _dotted(schema: str, name: str) -> str:
    return f"{schema}.{name}" if schema else name


def activation(values: Mapping[str, Any]) -> Any:
    """What `Condition.holds` reads its variables from."""
    return _FULL.Activation(values)
