"""One text studied for `sallyport policy explain | test` and the console: facts, decision, mask
plans; nothing is run.

The judge of sessions judges it, so that what is explained is what happens.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from appliance.masking.plan import MaskPlan, column_name
from appliance.model.catalog import Catalog, ColumnKey, SessionSettings
from appliance.model.decision import Decision, Effect, Mask
from appliance.model.facts import Facts, OutputColumn
from appliance.model.limits import Limits
from appliance.model.principal import Client, Principal, Target
from appliance.model.refusal import Refusal
from appliance.policy.snapshot import Snapshot
from appliance.session.cache import Cache
from appliance.session.dialect import Forms, all_forms
from appliance.session.flow import Judge, Verdict
from appliance.session.postgres import POSTGRES
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage


class Question(msgspec.Struct, frozen=True):
    """Who asks what, where and when."""

    sql: str
    principal: Principal
    client: Client
    target: Target
    database: str
    now: float
    """Unix seconds."""


class Study(msgspec.Struct, frozen=True):
    """What would happen. `refusal` is None when the text would be forwarded."""

    facts: Facts
    decision: Decision
    plans: tuple[MaskPlan, ...]
    """One per statement; none when the text is refused."""
    refusal: Refusal | None
    masked: tuple[str, ...]
    """schema.relation.column of every column that would be masked, on its way back or at the
    source."""
    owed: tuple[str, ...]
    """schema.relation.column of every masked column that the text touches."""
    at_source: tuple[str, ...] = ()
    """Of those, what a statement sees masked already."""
    sent: str = ""
    """What the database is sent in place of the text when it is masked at the source; '' = the
    text itself."""
    sweeping: Refusal | None = None
    """What the answer is when the database says that the text's writes spare no row."""

    @property
    def outcome(self) -> str:
        """allow, hold or deny; deny also when masking refuses what policy allows."""
        if self.decision.effect is Effect.ALLOW and self.refusal is not None:
            return Effect.DENY.value
        return self.decision.effect.value

    def masks(self, index: int) -> list[tuple[str, Mask | None, bool]]:
        """Of every result column of a statement: its name, its mask (the first of those it is
        computed from), and whether that is applied at the source."""
        plan = self.plans[index]
        if not plan.at_source:
            return [(column.name, column.mask, False) for column in plan.columns]
        return [
            (output.name, _mask_below(output, self.decision), True)
            for output in self.facts.statements[index].outputs
        ]


class _Read:
    """The catalog of a database as a session sees one that is read and does not change."""

    shapes = 0
    failure = "none is given"

    def __init__(self, lineage: CatalogLineage | None) -> None:
        self.lineage = self.kept = lineage

    def changing_for(self, session: str) -> bool:
        del session
        return False

    def reshaped_by_others(self, since: int, session: str) -> bool:
        del since, session
        return False


def study(snapshot: Snapshot, question: Question, catalog: Catalog | None) -> Study:
    """Decide a text as a session would."""
    lineage = None if catalog is None else CatalogLineage(catalog)
    verdict = _verdict(snapshot, question, lineage)
    sweeping = None if verdict.sweeping is None else verdict.sweeping.refusal
    at_source = {key for each in verdict.plans if each.at_source for key in each.touches}
    return Study(
        facts=verdict.facts,
        decision=verdict.decision,
        plans=verdict.plans,
        refusal=verdict.refusal,
        masked=_names(_arriving(verdict.plans) | at_source, catalog),
        owed=_names(verdict.decision.masks, catalog),
        at_source=_names(at_source, catalog),
        sent=verdict.rewritten.decode(),
        sweeping=sweeping,
    )


def _verdict(snapshot: Snapshot, question: Question, lineage: CatalogLineage | None) -> Verdict:
    limits = Limits()
    judge = Judge(
        snapshot,
        question.principal,
        question.client,
        question.target,
        question.database,
        _Read(lineage),
        limits,
        Cache(entries_max=8),
        POSTGRES,
    )
    text = question.sql.encode()
    settings = SessionSettings(database=question.database, role=question.principal.name)
    facts = analyse(text, lineage, settings, limits)
    owed, forms = judge.entitlements.owed, None
    if lineage is not None and owed:
        forms = Forms(owed, all_forms(POSTGRES, text, facts, lineage, settings, owed, limits))
    return judge.judge(text, facts, settings, question.now, keep=False, forms=forms)


def _arriving(plans: tuple[MaskPlan, ...]) -> set[ColumnKey]:
    """Columns that are masked on their way back."""
    return {
        column.origin
        for each in plans
        for column in each.columns
        if column.mask is not None and column.origin is not None
    }


def _mask_below(output: OutputColumn, decision: Decision) -> Mask | None:
    return next((m for key in sorted(output.sources) if (m := decision.owed.get(key))), None)


def _names(keys: Iterable[ColumnKey], catalog: Catalog | None) -> tuple[str, ...]:
    return () if catalog is None else tuple(column_name(catalog, key) for key in sorted(keys))


def as_json(found: Study) -> dict[str, Any]:
    """What `--output json` prints."""
    decision = found.decision
    return {
        "outcome": found.outcome,
        "refusal": None if found.refusal is None else msgspec.to_builtins(found.refusal),
        "would_be": decision.would_be.value if decision.would_be else None,
        "reasons": msgspec.to_builtins(decision.reasons),
        "masked": list(found.masked),
        "touches": list(found.owed),
        "sent": found.sent or None,
        "row_limit": decision.row_limit,
        "statement_timeout_ms": decision.statement_timeout_ms,
        "rows_written_max": decision.rows_written_max,
        "policy_version": decision.policy_version,
        "confidence": found.facts.confidence.value,
        "failure": msgspec.to_builtins(found.facts.failure),
        "statements": [_statement(found, i) for i in range(len(found.facts.statements))],
    }


def _statement(found: Study, index: int) -> dict[str, Any]:
    facts = found.facts.statements[index]
    planned = index < len(found.plans)
    return {
        "kind": facts.kind,
        "actions": [action.value for action in facts.actions],
        "relations": [
            {
                "action": use.action.value,
                "relation": f"{use.schema}.{use.name}" if use.schema else use.name,
                "columns": list(use.columns),
            }
            for use in facts.relations
        ],
        "functions": [f"{call.schema}.{call.name}".strip(".") for call in facts.functions],
        "flags": sorted(flag.value for flag in facts.flags),
        "confidence": facts.confidence.value,
        "unresolved": list(facts.unresolved),
        "masked_at_source": planned and found.plans[index].at_source,
        "columns": [
            {
                "name": name,
                "mask": None if mask is None else mask.method.value,
                "rule": None if mask is None else mask.rule,
            }
            for name, mask, _ in (found.masks(index) if planned else ())
        ],
    }
