"""What approvers see of the values that a PostgreSQL Bind carries.

Asked by `parking`, through the session's state. Rule: none of them where the statement touches
relations with classified columns.
"""

from appliance.approval.request import Parameter
from appliance.session.flow import Verdict
from appliance.session.inflight import Bound
from appliance.wire.postgres import messages as m

SHOWN_CHARS_MAX = 200
"""Of one parameter's value."""
PARAMETERS_SHOWN_MAX = 100


def shown_parameters(bound: Bound, verdict: Verdict) -> tuple[Parameter, ...]:
    """Values of a Bind in text form, unless the statement touches relations with classified
    columns: then they may be such values."""
    if bound.body is None:
        return ()
    hidden = touches_classified(verdict)
    codes, values = m.bind_values(bound.body)
    shown = []
    for index, value in enumerate(values[:PARAMETERS_SHOWN_MAX]):
        type_name = str(bound.types[index]) if index < len(bound.types) else ""
        text = None
        if value is not None and not hidden:
            text = shown_value(value, codes[index], type_name)
        shown.append(Parameter(type_name, text, value is None))
    return tuple(shown)


def touches_classified(verdict: Verdict) -> bool:
    """Whether values that are bound to it may be such as masks are about."""
    classified = {oid for oid, _ in (*verdict.decision.owed, *verdict.sensitive)}
    uses = (u for s in verdict.facts.statements for u in (*s.relations, *s.beneath))
    return any(use.oid in classified for use in uses)


def shown_value(value: bytes, code: int, type_name: str) -> str | None:
    """A parameter's value for people; None where its binary form is not one of the plain ones."""
    if code == 0 or type_name in _TEXTS:
        return value.decode("utf-8", "replace")[:SHOWN_CHARS_MAX]
    if type_name in _INTEGERS and len(value) == _INTEGERS[type_name]:
        return str(int.from_bytes(value, "big", signed=True))
    if type_name == _BOOLEAN and value in (b"\0", b"\1"):
        return "true" if value == b"\1" else "false"
    return None


# OIDs of pg_type.dat.
_INTEGERS = {"21": 2, "23": 4, "20": 8}
_TEXTS = ("25", "1043", "1042", "19")
_BOOLEAN = "16"
