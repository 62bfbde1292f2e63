"""What a client reads last, and what the trail has of a session's end.

Used by `conductor`. Rule: no exception's own text reaches a client.
"""

from appliance.audit.record import SessionClosed
from appliance.dataplane.services import Services
from appliance.dataplane.whereabouts import where
from appliance.model.errors import ProtocolViolation, Refused
from appliance.session.driven import Machine
from appliance.telemetry.log import Log

_log = Log("session")


def of_error(
    error: BaseException, machine: Machine, services: Services, session: str
) -> tuple[str, bytes]:
    """(reason, last words) of a session that ends because something is wrong; counts it."""
    metrics = services.metrics
    if isinstance(error, ProtocolViolation):
        metrics.connections_cut_violation += 1
        return "violation", machine.last_words("08P01", error.reason)
    if isinstance(error, Refused):
        metrics.connections_cut_plan += 1
        return f"plan:{error.refusal.code.value}", machine.last_refusal(error.refusal)
    metrics.connections_cut_invariant += 1
    _log.error("session cut", session=session, error=where(error))
    return "invariant", machine.last_words(
        "XX000", "the appliance ended this session to stay safe", "tell its administrators"
    )


def upstream_gone(machine: Machine) -> bytes:
    return machine.last_words(
        "08006",
        "the database closed the connection unexpectedly",
        "connect again; whether the last statement took effect is not known",
    )


def none_free(machine: Machine, error: Exception) -> bytes:
    """There is no connection for a session that shares them."""
    if isinstance(error, TimeoutError):
        said = "no connection to the database was free in time"
        return machine.last_words("53300", said, "try again when others have ended")
    return machine.last_words("08006", "the database cannot be reached", "connect again")


def stopping(machine: Machine, hint: str = "") -> bytes:
    said = "terminating connection due to administrator command"
    return machine.last_words("57P01", said, hint)


def closed(
    machine: Machine, services: Services, session: str, reason: str, begun: float
) -> SessionClosed:
    now = services.now()
    rows, bytes_out, _, _ = machine.totals
    return SessionClosed(
        id=services.new_id(now),
        time=now,
        session=session,
        reason=reason,
        statements=machine.statements,
        rows=rows,
        bytes_out=bytes_out,
        duration_ms=round((now - begun) * 1000, 3),
    )
