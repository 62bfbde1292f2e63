"""What the audit records of a turn mean for the metrics.

Called by `conductor` for every record that was written. Rule: numbers come from what is recorded,
so that /metrics and the trail never tell two stories.
"""

from collections.abc import Iterable

from _speedups.hitcycle import HitLedger
from appliance.audit.record import ProtocolKind, Record, StatementDecided, StatementFinished
from appliance.model.decision import Effect
from appliance.telemetry.metrics import Metrics


def count(metrics: Metrics, records: Iterable[Record]) -> None:
    """A prepared statement counts when it is executed; at Parse only if it was refused there."""
    for record in records:
        if isinstance(record, StatementFinished):
            _finished(metrics, record)
        elif isinstance(record, StatementDecided):
            _decided(metrics, record)


def add_sums(metrics: Metrics, ledger: HitLedger) -> int:
    """What the hit paths counted since the last call. -> how many statements that was."""
    sums = ledger.take_sums()
    metrics.statements_allowed += sums["statements"]
    metrics.statements_running += sums["running"]
    metrics.rows += sums["rows"]
    metrics.cells_masked += sums["cells_masked"]
    metrics.cells_sensitive_unmasked += sums["sensitive_unmasked"]
    metrics.parses_spared += sums["parses_spared"]
    metrics.bytes_to_client += sums["bytes_to_client"]
    metrics.bytes_to_upstream += sums["bytes_to_upstream"]
    metrics.statement_seconds.add(sums["counts"], sums["seconds"])
    return int(sums["statements"])


def _decided(metrics: Metrics, record: StatementDecided) -> None:
    if record.refusal is not None:
        effect = record.decision.effect
        if effect is Effect.DENY:
            metrics.statements_denied += 1
        elif effect is Effect.HOLD:
            metrics.statements_held += 1
        else:
            metrics.statements_refused += 1
    elif record.protocol is not ProtocolKind.PARSE:
        metrics.statements_allowed += 1
        metrics.statements_running += 1
        if record.decision.would_be is not None:
            metrics.statements_would_be_denied += 1


def _finished(metrics: Metrics, record: StatementFinished) -> None:
    metrics.statements_running -= 1
    metrics.rows += record.rows
    metrics.cells_masked += record.cells_masked
    metrics.cells_sensitive_unmasked += record.sensitive_unmasked_cells
    metrics.statement_seconds.observe(record.duration_ms / 1000)
