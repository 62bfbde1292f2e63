"""The second lock: what the server says of a result's columns, held against the plan.

`session` calls `bind` for every RowDescription of a governed statement before a row goes to the
client; the masks it returns are what `formats` turns into operations.
PostgreSQL reports for each column the table's OID and the attribute number, 0 and 0 when the column
is computed (https://www.postgresql.org/docs/current/protocol-message-formats.html, RowDescription).

Its rule: any disagreement with the plan is a refusal, and a masked column that nobody predicted is
one.
"""

from collections.abc import Mapping, Sequence
from typing import NoReturn

import msgspec

from appliance.masking.plan import Lineage, MaskPlan, PlannedColumn, column_name
from appliance.model.catalog import TELLING_ELSEWHERE, ColumnKey
from appliance.model.decision import Mask
from appliance.model.errors import Refused
from appliance.model.refusal import Refusal, RefusalCode

GUARD_ATTRIBUTION = "guard.attribution"
TEXT_ONLY_KINDS = frozenset({"ExplainStmt", "VariableShowStmt"})
"""Statements whose result the server words itself and in which every column is computed."""
TRUSTED_CALL = "CallStmt"
"""Its result is the OUT arguments of a procedure, planned only when the procedure is trusted."""


class DescribedColumn(msgspec.Struct, frozen=True):
    """One field of a RowDescription."""

    name: str
    table_oid: int
    """0 when the column is not a reference to one column of a relation."""
    attnum: int
    """0 likewise; negative for a system column such as ctid."""
    type_oid: int
    format: int
    """0 text, 1 binary; unknown (0) when a statement and not a portal was described."""
    typmod: int = -1


def bind(
    plan: MaskPlan,
    columns: Sequence[DescribedColumn],
    owed: Mapping[ColumnKey, Mask],
    lineage: Lineage | None,
) -> tuple[Mask | None, ...]:
    """The mask of each described column, or None. Raises Refused on any disagreement."""
    if plan.unrestricted:
        return (None,) * len(columns)
    if lineage is None:
        _refuse(RefusalCode.CATALOG_UNAVAILABLE, "the catalog is not known at the moment")
    if plan.at_source:
        return _arrived_masked(plan, columns, owed, lineage)
    if not plan.columns_known:
        return tuple(_shown(plan, column, owed, lineage) for column in columns)
    if len(columns) != len(plan.columns):
        _disagree(f"{len(columns)} columns came where {len(plan.columns)} were expected")
    return tuple(
        _bound(planned, column, owed, lineage)
        for planned, column in zip(plan.columns, columns, strict=True)
    )


def _arrived_masked(
    plan: MaskPlan,
    columns: Sequence[DescribedColumn],
    owed: Mapping[ColumnKey, Mask],
    lineage: Lineage,
) -> tuple[None, ...]:
    """Of a rewritten statement: masked cells are computed ones, so a masked column's own origin
    means that the rewrite was passed by."""
    if plan.columns_known and len(columns) != len(plan.columns):
        _disagree(f"{len(columns)} columns came where {len(plan.columns)} were expected")
    for column in columns:
        _require_unmasked(_origin(column, owed), owed, lineage)
    return (None,) * len(columns)


def _bound(
    planned: PlannedColumn,
    column: DescribedColumn,
    owed: Mapping[ColumnKey, Mask],
    lineage: Lineage,
) -> Mask | None:
    actual = _origin(column, owed)
    expected = planned.origin
    if expected is not None and expected[1] <= 0:
        expected = None
    if actual != expected and (actual not in planned.loose or planned.mask is not None):
        _disagree("a column comes from another place than expected")
    if planned.mask is not None:
        if actual is None:
            _disagree("a masked column can not be told by its origin")
        return planned.mask
    _require_unmasked(actual, owed, lineage)
    return None


def _origin(column: DescribedColumn, owed: Mapping[ColumnKey, Mask]) -> ColumnKey | None:
    """The column's origin; None for what is computed and for system columns, which hold no value.

    Attribute 0 of a table is its whole row: refused when the table has a masked column.
    """
    if column.table_oid == 0:
        return None
    if column.attnum == 0 and any(oid == column.table_oid for oid, _ in owed):
        _disagree("a whole row with masked columns came")
    return (column.table_oid, column.attnum) if column.attnum > 0 else None


def _require_unmasked(
    actual: ColumnKey | None, owed: Mapping[ColumnKey, Mask], lineage: Lineage
) -> None:
    """Refuse a column that is owed a mask, or comes from one that is, and carries none."""
    if actual is None:
        return
    origins = lineage.of(actual)
    if not origins.known:
        _refuse(RefusalCode.UNRESOLVED, "a column of the result comes from an unknown place")
    hidden = ({actual} | origins.sources) & owed.keys()
    for key in sorted(hidden):
        _refuse(
            RefusalCode.MASKED_COLUMN_USED,
            f"{column_name(lineage.catalog, key)} is masked for you and came where it was not "
            "expected",
            owed[key].rule,
        )


def _shown(
    plan: MaskPlan, column: DescribedColumn, owed: Mapping[ColumnKey, Mask], lineage: Lineage
) -> Mask | None:
    """Of a result that the facts do not tell. What SHOW reads of the server's own relations tells
    of the relation that it is about, and of nothing else."""
    actual = _origin(column, owed)
    relation = None if actual is None else lineage.catalog.relations.get(actual[0])
    telling = relation is not None and (relation.schema, relation.name) in TELLING_ELSEWHERE
    if plan.kind in TEXT_ONLY_KINDS and actual is not None and telling:
        about_others = plan.shows and not any(oid in plan.shows for oid, _ in owed)
        return None if about_others or actual in plan.spared else owed.get(actual)
    _require_harmless(plan, column, owed, lineage)
    return None


def _require_harmless(
    plan: MaskPlan, column: DescribedColumn, owed: Mapping[ColumnKey, Mask], lineage: Lineage
) -> None:
    """A column of a result that the facts do not tell: only what provably carries no masked
    value."""
    actual = _origin(column, owed)
    if actual is not None:
        _require_unmasked(actual, owed, lineage)
    elif plan.kind not in TEXT_ONLY_KINDS and plan.kind != TRUSTED_CALL:
        _refuse(
            RefusalCode.UNRESOLVED,
            "what the columns of this result are computed from is not known",
        )


def _disagree(what: str) -> NoReturn:
    _refuse(RefusalCode.STALE, f"the result is not the one that was checked: {what}")


def _refuse(code: RefusalCode, message: str, rule: str = GUARD_ATTRIBUTION) -> NoReturn:
    remedy = "Prepare and run the statement again; if it stays, ask your administrator."
    raise Refused(Refusal(code=code, message=message, remedy=remedy, rule=rule))
