"""`when:` conditions: CEL (https://cel.dev), type-checked when the policy loads, evaluated by
`evaluate`.

A condition is total in its outcome: True, False, or an error that the caller turns into a denial.
Variables are declared one by one with dotted names, so that `principal.nme` is an error at load
time.
"""

import datetime
import functools
import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from cel_expr_python import cel

from appliance.model.errors import InvariantBroken
from appliance.model.facts import Flag, FunctionUse, RelationUse, StatementFacts
from appliance.model.principal import Client, Principal, Target

_STRING: Final = cel.Type.STRING
_STRINGS: Final = cel.Type.List(cel.Type.STRING)


class Subject:
    """What a condition is about. `statement` is None only for conditions that do not look at it."""

    __slots__ = ("client", "database", "now", "principal", "statement", "target")

    def __init__(
        self, principal: Principal, client: Client, target: Target, database: str, now: float
    ) -> None:
        self.principal = principal
        self.client = client
        self.target = target
        self.database = database
        self.now = now
        """Unix seconds."""
        self.statement: StatementFacts | None = None

    def moment(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(self.now, datetime.UTC)

    def facts(self) -> StatementFacts:
        if self.statement is None:
            raise InvariantBroken("a condition asks for a statement where there is none")
        return self.statement


Variable = tuple[Any, Callable[[Subject], Any]]
"""CEL type, and how to read the value."""

STANDING_VARIABLES: Final[Mapping[str, Variable]] = {
    "principal.name": (_STRING, lambda s: s.principal.name),
    "principal.kind": (_STRING, lambda s: s.principal.kind.value),
    "principal.groups": (_STRINGS, lambda s: list(s.principal.groups)),
    "principal.on_behalf_of": (_STRING, lambda s: s.principal.on_behalf_of or ""),
    "client.address": (_STRING, lambda s: s.client.address),
    "client.application": (_STRING, lambda s: s.client.application),
    "client.tls": (cel.Type.BOOL, lambda s: s.client.tls),
    "client.listener": (_STRING, lambda s: s.client.listener),
    "target.name": (_STRING, lambda s: s.target.name),
    "target.environment": (_STRING, lambda s: s.target.environment),
    "target.labels": (cel.Type.Map(_STRING, _STRING), lambda s: dict(s.target.labels)),
    "database": (_STRING, lambda s: s.database),
}
"""What does not change while a session lasts. `principal.on_behalf_of` is '' when nobody."""

TIME_VARIABLES: Final[Mapping[str, Variable]] = {
    "now": (cel.Type.TIMESTAMP, Subject.moment),
    "time.hour": (cel.Type.INT, lambda s: s.moment().hour),
    "time.minute": (cel.Type.INT, lambda s: s.moment().minute),
    "time.weekday": (cel.Type.INT, lambda s: s.moment().isoweekday()),
}
"""UTC. `time.weekday` is ISO 8601's: 1 is Monday, 7 is Sunday."""

STATEMENT_VARIABLES: Final[Mapping[str, Variable]] = {
    "statement.kind": (_STRING, lambda s: s.facts().kind),
    "statement.actions": (_STRINGS, lambda s: [action.value for action in s.facts().actions]),
    "statement.tables": (_STRINGS, lambda s: _dotted(s.facts().relations)),
    "statement.functions": (_STRINGS, lambda s: _dotted(s.facts().functions)),
    "statement.flags": (_STRINGS, lambda s: sorted(flag.value for flag in s.facts().flags)),
    "statement.confidence": (_STRING, lambda s: s.facts().confidence.value),
    "statement.has_where": (cel.Type.BOOL, lambda s: Flag.NO_WHERE not in s.facts().flags),
}
"""`statement.tables` and `.functions` are `schema.name`; `has_where` is false for an UPDATE or
DELETE that has no WHERE and true otherwise."""

VARIABLES: Final[Mapping[str, Variable]] = {
    **STANDING_VARIABLES,
    **TIME_VARIABLES,
    **STATEMENT_VARIABLES,
}


def _dotted(uses: Sequence[RelationUse] | Sequence[FunctionUse]) -> list[str]:
    return [f"{use.schema}.{use.name}" if use.schema else use.name for use in uses]


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


def _environment(names: Iterable[str]) -> Any:
    variables = {name: VARIABLES[name][0] for name in names}
    overload = cel.Overload(
        id="string_in_networks_list_string",
        return_type=cel.Type.BOOL,
        parameters=[_STRING, _STRINGS],
        is_member=True,
        impl=in_networks,
    )
    return cel.NewEnv(variables=variables, functions=[cel.FunctionDecl("in_networks", [overload])])


_FULL = _environment(VARIABLES)
_WITHOUT = {name: _environment(VARIABLES.keys() - {name}) for name in VARIABLES}


class ConditionError(ValueError):
    """A condition that does not compile or is not of type bool; the message is for a person."""


class ConditionFailed(Exception):
    """A condition had no answer (missing map key, division by zero, bad address)."""


class Condition:
    """One compiled `when:`."""

    __slots__ = ("_expression", "_read", "text", "uses_statement", "uses_time", "variables")

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
        self.variables = frozenset(name for name in VARIABLES if self._needs(name))
        self.uses_time = not self.variables.isdisjoint(TIME_VARIABLES)
        self.uses_statement = not self.variables.isdisjoint(STATEMENT_VARIABLES)
        self._read = tuple((name, VARIABLES[name][1]) for name in sorted(self.variables))

    def _needs(self, name: str) -> bool:
        """Whether it looks at a variable: found by compiling without it, so that no second parser
        of CEL can be wrong about it."""
        try:
            _WITHOUT[name].compile(self.text)
        except RuntimeError:
            return True
        return False

    def holds(self, subject: Subject) -> bool:
        """Raises ConditionFailed when there is no answer."""
        value = self._expression.eval(data={name: read(subject) for name, read in self._read})
        if value.type() != cel.Type.BOOL:
            raise ConditionFailed(self.text)
        return bool(value.value())


def _first_line(message: str) -> str:
    line = message.partition("\n")[0]
    line = line.removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: ")
    return line.replace("<input>:", "at ")
