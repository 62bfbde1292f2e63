"""From a RowDescription to a ResultLock: the plan of the statement meets what the server itself
reports.

Called by `session/machine` for every result of a principal who owes masks, before its first row.
Rule: a disagreement is never repaired; `masking/attribution.bind` raises and the session ends (the
statement has already run).
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from _speedups.pgrows import RowMasker
from appliance.masking.attribution import DescribedColumn, bind
from appliance.masking.formats import cell_op
from appliance.model.errors import Refused
from appliance.model.refusal import Refusal, RefusalCode
from appliance.session.dialect import SessionLineage
from appliance.session.flow import Judge, Verdict
from appliance.session.inflight import ResultLock
from appliance.session.named import NamedPlans
from appliance.wire.postgres.messages import ColumnDescription, parse_row_description

LOCKS_KEPT_MAX = 16
KEPT_DESCRIPTION_BYTES_MAX = 1_024


class ResultLocks:
    """`keys`: token-mask keys by name."""

    def __init__(self, judge: Judge, keys: Mapping[str, bytes], named: NamedPlans) -> None:
        self._judge = judge
        self._keys = keys
        self.named = named
        self._kept: OrderedDict[
            tuple[bytes, int], tuple[Verdict, SessionLineage | None, ResultLock]
        ] = OrderedDict()

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
        key, lineage = (description, index), self._lineage(verdict)
        known = self._kept.get(key)
        if known is not None and known[0] is verdict and known[1] is lineage:
            return known[2]
        made = self._make(verdict, index, parse_row_description(description))
        if len(description) <= KEPT_DESCRIPTION_BYTES_MAX and all(
            plan.prepared is None for plan in verdict.plans
        ):
            self._kept[key] = (verdict, lineage, made)
            if len(self._kept) > LOCKS_KEPT_MAX:
                self._kept.popitem(last=False)
        return made

    def _make(
        self, verdict: Verdict, index: int, columns: Sequence[ColumnDescription]
    ) -> ResultLock:
        if not verdict.restricted:
            raw = sum((c.table_oid, c.attnum) in verdict.sensitive for c in columns)
            return ResultLock(None, sensitive_columns=raw)
        lineage = self._lineage(verdict)
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
        described = [
            DescribedColumn(
                c.name.decode("utf-8", "replace"),
                c.table_oid,
                c.attnum,
                c.type_oid,
                c.format,
                c.typmod,
            )
            for c in columns
        ]
        masks = bind(plan, described, verdict.decision.owed, lineage)
        if not any(masks):
            return ResultLock(None)
        ops = [
            None
            if mask is None
            else cell_op(mask, column.type_oid, column.format, self._keys, column.typmod)
            for mask, column in zip(masks, described, strict=True)
        ]
        return ResultLock(RowMasker(ops), masked_columns=sum(op is not None for op in ops))
