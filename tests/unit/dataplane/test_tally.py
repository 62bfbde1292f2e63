"""The metrics say what the records say."""

import pytest

from appliance.audit.record import (
    DecisionPart,
    Outcome,
    ProtocolKind,
    RefusalPart,
    StatementDecided,
    StatementFinished,
    StatementPart,
)
from appliance.dataplane.tally import count
from appliance.model.decision import Effect
from appliance.model.principal import PrincipalKind
from appliance.model.refusal import RefusalCode
from appliance.telemetry.metrics import Metrics


def decided(
    effect: Effect,
    refused: bool,
    protocol: ProtocolKind = ProtocolKind.SIMPLE,
    would_be: Effect | None = None,
) -> StatementDecided:
    return StatementDecided(
        id="1",
        time=1.0,
        sequence=1,
        principal="p",
        kind=PrincipalKind.HUMAN,
        target="t",
        database="d",
        protocol=protocol,
        statement=StatementPart("SELECT", "0", 6),
        decision=DecisionPart(effect, would_be=would_be),
        refusal=RefusalPart(RefusalCode.DENIED) if refused else None,
    )


@pytest.mark.parametrize(
    ("record", "attribute"),
    [
        (decided(Effect.ALLOW, False), "statements_allowed"),
        (decided(Effect.ALLOW, True), "statements_refused"),
        (decided(Effect.DENY, True), "statements_denied"),
        (decided(Effect.HOLD, True), "statements_held"),
        (decided(Effect.ALLOW, False, would_be=Effect.DENY), "statements_would_be_denied"),
        (decided(Effect.DENY, True, ProtocolKind.PARSE), "statements_denied"),
    ],
)
def test_each_counts_once(record: StatementDecided, attribute: str) -> None:
    metrics = Metrics()
    count(metrics, [record])
    assert getattr(metrics, attribute) == 1
    outcomes = ("allowed", "denied", "held", "refused")
    assert sum(getattr(metrics, f"statements_{name}") for name in outcomes) == 1


def test_preparing_is_not_running() -> None:
    metrics = Metrics()
    count(metrics, [decided(Effect.ALLOW, False, ProtocolKind.PARSE)])
    assert metrics == Metrics()


def test_what_finished() -> None:
    metrics = Metrics()
    finished = StatementFinished(
        id="2",
        time=2.0,
        decided="1",
        outcome=Outcome.COMPLETED,
        rows=3,
        cells_masked=2,
        sensitive_unmasked_cells=1,
        duration_ms=20.0,
    )
    count(metrics, [decided(Effect.ALLOW, False), finished])
    assert metrics.statements_running == 0
    assert (metrics.rows, metrics.cells_masked, metrics.cells_sensitive_unmasked) == (3, 2, 1)
    assert metrics.statement_seconds.seconds == pytest.approx(0.02)
