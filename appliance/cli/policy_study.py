"""One text studied for `sallyport policy explain | test`: facts, decision, mask plans; nothing is
run.

The same calls in the same order as a session makes them, so that what is explained is what happens.
"""

from typing import Any

import msgspec

from appliance.masking.plan import MaskPlan, column_name, plan
from appliance.model.catalog import Catalog, SessionSettings
from appliance.model.decision import Decision, Effect
from appliance.model.errors import Refused
from appliance.model.facts import Facts
from appliance.model.limits import Limits
from appliance.model.principal import Client, Principal, Target
from appliance.model.refusal import Refusal
from appliance.policy.snapshot import Snapshot
from appliance.session.flow import refusal_of
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
    """One per statement; fewer when a statement is refused."""
    refusal: Refusal | None
    masked: tuple[str, ...]
    """schema.relation.column of every result column that would be masked."""
    owed: tuple[str, ...]
    """schema.relation.column of every masked column that the text touches."""

    @property
    def outcome(self) -> str:
        """allow, hold or deny; deny also when masking refuses what policy allows."""
        if self.decision.effect is Effect.ALLOW and self.refusal is not None:
            return Effect.DENY.value
        return self.decision.effect.value


def study(snapshot: Snapshot, question: Question, catalog: Catalog | None) -> Study:
    """Decide a text as a session would."""
    lineage = None if catalog is None else CatalogLineage(catalog)
    settings = SessionSettings(database=question.database, role=question.principal.name)
    facts = analyse(question.sql.encode(), lineage, settings, Limits())
    entitlements = snapshot.entitlements(
        question.principal, question.target, catalog, question.database, lineage=lineage
    )
    decision = snapshot.decide(
        facts,
        question.principal,
        question.client,
        question.target,
        question.database,
        entitlements,
        question.now,
    )
    plans: list[MaskPlan] = []
    refused = refusal_of(facts, decision)
    try:
        for index in range(0 if refused else len(facts.statements)):
            plans.append(  # noqa: PERF401 - plans made before a refusal are shown
                plan(facts, index, decision, decision.owed, lineage)
            )
    except Refused as error:
        refused = error.refusal
    return Study(
        facts=facts,
        decision=decision,
        plans=tuple(plans),
        refusal=refused,
        masked=_masked(plans, catalog),
        owed=tuple(column_name(catalog, key) for key in sorted(decision.masks)) if catalog else (),
    )


def _masked(plans: list[MaskPlan], catalog: Catalog | None) -> tuple[str, ...]:
    if catalog is None:
        return ()
    keys = {
        column.origin
        for each in plans
        for column in each.columns
        if column.mask is not None and column.origin is not None
    }
    return tuple(column_name(catalog, key) for key in sorted(keys))


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
        "row_limit": decision.row_limit,
        "statement_timeout_ms": decision.statement_timeout_ms,
        "policy_version": decision.policy_version,
        "confidence": found.facts.confidence.value,
        "failure": msgspec.to_builtins(found.facts.failure),
        "statements": [_statement(found, i) for i in range(len(found.facts.statements))],
    }


def _statement(found: Study, index: int) -> dict[str, Any]:
    facts = found.facts.statements[index]
    columns = found.plans[index].columns if index < len(found.plans) else ()
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
        "columns": [
            {
                "name": column.name,
                "mask": None if column.mask is None else column.mask.method.value,
                "rule": None if column.mask is None else column.mask.rule,
            }
            for column in columns
        ],
    }
