"""The audit records of one session, made from what the machine knows.

Called by `session/machine`. Rule: parts that depend on the text and the decision only are made once
per verdict.
"""

from collections.abc import Callable

from _speedups.hitcycle import Count
from appliance.audit import compose
from appliance.audit.record import (
    DecisionPart,
    DryRunBegun,
    DryRunEnded,
    Outcome,
    ProtocolKind,
    StatementDecided,
    StatementFinished,
    StatementPart,
)
from appliance.audit.redact import clean_name
from appliance.model.catalog import Catalog
from appliance.model.principal import Principal
from appliance.model.refusal import Refusal
from appliance.session.flow import Granted, Verdict
from appliance.session.inflight import Execution

NewId = Callable[[float], str]


class Recorder:
    """Makes StatementDecided and StatementFinished for one session."""

    __slots__ = ("_database", "_new_id", "_principal", "_target", "sequence", "session")

    def __init__(
        self, session: str, principal: Principal, target: str, database: str, new_id: NewId
    ) -> None:
        self.session = session
        self._principal = principal
        self._target = target
        self._database = database
        self._new_id = new_id
        self.sequence = Count()
        """How many statements were decided; counted on by the hit path, too."""

    @property
    def whose(self) -> tuple[str, str, str]:
        """(target, database, principal)."""
        return self._target, self._database, self._principal.name

    @property
    def statements(self) -> int:
        return self.sequence.value

    def reference(self, now: float) -> str:
        return self._new_id(now)

    def decided(
        self,
        record_id: str,
        now: float,
        protocol: ProtocolKind,
        parts: tuple[StatementPart, DecisionPart],
        refusal: Refusal | None,
        prepared: bytes = b"",
        parameters: int = 0,
        parameter_types: tuple[int, ...] = (),
        granted: Granted | None = None,
    ) -> StatementDecided:
        self.sequence.value += 1
        principal = self._principal
        return StatementDecided(
            id=record_id,
            time=now,
            session=self.session,
            sequence=self.sequence.value,
            principal=principal.name,
            kind=principal.kind,
            on_behalf_of=principal.on_behalf_of,
            target=self._target,
            database=self._database,
            protocol=protocol,
            statement=parts[0],
            decision=parts[1],
            refusal=None if refusal is None else compose.refusal_part(refusal),
            prepared=clean_name(prepared.decode("utf-8", "replace")) if prepared else "",
            parameters=parameters,
            parameter_types=parameter_types,
            request="" if granted is None else granted.request,
            approved_by="" if granted is None else clean_name(granted.by),
        )

    def sample(
        self,
        protocol: ProtocolKind,
        parts: tuple[StatementPart, DecisionPart],
        prepared: bytes,
        parameters: int,
        parameter_types: tuple[int, ...],
    ) -> StatementDecided:
        """The record of a statement that is let through, but for its id, time and number."""
        self.sequence.value -= 1
        return self.decided("", 0.0, protocol, parts, None, prepared, parameters, parameter_types)

    def decided_unread(
        self,
        record_id: str,
        now: float,
        protocol: ProtocolKind,
        shown: str,
        length: int,
        refusal: Refusal,
    ) -> StatementDecided:
        """For a message that was refused without being read."""
        parts = (compose.unread_part(shown, "", length), compose.UNDECIDED)
        return self.decided(record_id, now, protocol, parts, refusal)

    def dry_run_begun(self, now: float, request: str, statement: StatementPart) -> DryRunBegun:
        principal = self._principal
        return DryRunBegun(
            id=self._new_id(now),
            time=now,
            session=self.session,
            request=request,
            principal=principal.name,
            kind=principal.kind,
            on_behalf_of=principal.on_behalf_of,
            target=self._target,
            database=self._database,
            statement=statement,
        )

    def dry_run_ended(
        self, begun: str, now: float, outcome: Outcome, rows: int = 0, sqlstate: str = ""
    ) -> DryRunEnded:
        return DryRunEnded(
            id=self._new_id(now),
            time=now,
            session=self.session,
            begun=begun,
            outcome=outcome,
            rows=rows,
            sqlstate=sqlstate,
        )

    def finished(self, execution: Execution, now: float, outcome: Outcome) -> StatementFinished:
        return StatementFinished(
            id=self._new_id(now),
            time=now,
            session=self.session,
            decided=execution.record_id,
            outcome=outcome,
            rows=execution.rows,
            bytes_out=execution.bytes_out,
            cells_masked=execution.cells_masked,
            sensitive_unmasked_cells=execution.sensitive_unmasked,
            duration_ms=round((now - execution.started) * 1000, 3),
            sqlstate=execution.sqlstate,
            command_tag=execution.tag,
        )

    def errand_finished(
        self, decided: str, begun: float, *, now: float, outcome: Outcome
    ) -> StatementFinished:
        """Of a command that the appliance itself carried out."""
        return StatementFinished(
            id=self._new_id(now),
            time=now,
            session=self.session,
            decided=decided,
            outcome=outcome,
            duration_ms=round((now - begun) * 1000, 3),
        )


def parts_of(
    text: bytes, verdict: Verdict, catalog: Catalog | None
) -> tuple[StatementPart, DecisionPart]:
    return (
        compose.statement_part(text, verdict.facts, sent=verdict.rewritten),
        compose.decision_part(verdict.decision, catalog),
    )
