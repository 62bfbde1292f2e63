"""From a described result to a ResultLock: the plan of the statement meets what the server itself
reports.

Called by the machines for every result of a principal who owes masks, before its first row.
Rule: a disagreement is never repaired; `masking/attribution.bind` raises and the session ends (the
statement has already run).
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from appliance.masking.attribution import DescribedColumn, bind
from appliance.model.decision import Mask
from appliance.model.errors import Refused
from appliance.model.refusal import Refusal, RefusalCode
from appliance.session.dialect import SessionLineage
from appliance.session.flow import Judge, Verdict
from appliance.session.inflight import ResultLock
from appliance.session.named import NamedPlans

LOCKS_KEPT_MAX = 16
KEPT_DESCRIPTION_BYTES_MAX = 1_024


class Reading(Protocol):
    """How a protocol describes its results, and what masks their rows. What `columns` makes of a
    description is kept for as long as it is the same, under the same verdict and catalog."""

    def columns(self, description: bytes, lineage: Any) -> Sequence[DescribedColumn]:
        """`lineage`: one of the dialect's own, or None."""

    def masker(
        self,
        masks: Sequence[Mask | None],
        described: Sequence[DescribedColumn],
        description: bytes,
        keys: Mapping[str, bytes],
    ) -> Any: ...


class ResultLocks:
    """`keys`: token-mask keys by name."""

    __slots__ = ("_judge", "_kept", "_keys", "_made_with", "_reading", "named")

    def __init__(
        self, judge: Judge, keys: Mapping[str, bytes], named: NamedPlans, reading: Reading
    ) -> None:
        self._reading = reading
        self._judge = judge
        self._keys = keys
        self.named = named
        self._kept: OrderedDict[tuple[bytes, int], tuple[Verdict, ResultLock]] = OrderedDict()
        self._made_with: SessionLineage | None = None
        """What they were made with; no other catalog is kept for them."""

    @property
    def made_with(self) -> tuple[object, object]:
        """Where these are the same objects, equal verdicts and descriptions have equal locks."""
        return self._made_with, self._keys

    def takes(self, verdict: Verdict, made_with: tuple[object, object]) -> bool:
        """Whether locks of another session, made with these, hold in this one."""
        return made_with[0] is self._lineage(verdict) and made_with[1] is self._keys

    def _lineage(self, verdict: Verdict) -> SessionLineage | None:
        """The current catalog; while it is being compared again, the one the verdict rests on."""
        catalog = self._judge.catalog
        lineage = catalog.lineage
        if lineage is None:
            kept = catalog.kept
            current = kept is not None and kept.catalog.version == verdict.epoch[1]
            lineage = kept if current else None
        return None if lineage is None else lineage.with_temporaries(verdict.temporaries)

    def lock(self, verdict: Verdict, index: int, description: bytes) -> ResultLock:
        """For statement `index` of a text and the body of the RowDescription it earned. Raises
        Refused when what is described is not what was planned.

        The same description under the same verdict and catalog gives the same lock, but for what
        a name stands for (EXECUTE, FETCH).
        """
        lineage = self._lineage(verdict)
        if lineage is not self._made_with:
            self._kept.clear()
            self._made_with = lineage
        key = (description, index)
        known = self._kept.get(key)
        if known is not None and are_alike(known[0], verdict):
            return known[1]
        made = self._make(verdict, index, description)
        if len(description) <= KEPT_DESCRIPTION_BYTES_MAX and all(
            plan.prepared is None for plan in verdict.plans
        ):
            self._kept[key] = (verdict, made)
            if len(self._kept) > LOCKS_KEPT_MAX:
                self._kept.popitem(last=False)
        return made

    def _make(self, verdict: Verdict, index: int, description: bytes) -> ResultLock:
        lineage = self._lineage(verdict)
        if not verdict.restricted:
            columns = self._reading.columns(description, lineage)
            raw = sum((c.table_oid, c.attnum) in verdict.sensitive for c in columns)
            return ResultLock(None, sensitive_columns=raw)
        if lineage is None or index >= len(verdict.plans):
            raise Refused(
                Refusal(
                    RefusalCode.STALE,
                    "a result arrived that no plan was made for",
                    "send the statement again",
                    rule="builtin:plan-before-row",
                )
            )
        plan = verdict.plans[index]
        if plan.kind != "ExplainStmt":  # EXPLAIN EXECUTE shows a plan, not the rows
            plan = self.named.resolve(plan, verdict)
        described = self._reading.columns(description, lineage)
        masks = bind(plan, described, verdict.decision.owed, lineage)
        if not any(masks):
            return ResultLock(None)
        masker = self._reading.masker(masks, described, description, self._keys)
        hidden = tuple(mask is not None for mask in masks)
        return ResultLock(masker, masked_columns=sum(hidden), hidden=hidden)


def are_alike(known: Verdict, verdict: Verdict) -> bool:
    """Whether a lock made under one is one made under the other: they differ, if at all, in the
    constants of their texts (`Judge.recall`)."""
    return known is verdict or (
        known.plans is verdict.plans
        and known.facts is verdict.facts
        and known.decision is verdict.decision
        and known.sensitive is verdict.sensitive
        and known.temporaries is verdict.temporaries
        and known.epoch == verdict.epoch
    )
