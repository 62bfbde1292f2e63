"""The second lock: the server's own description of a result against the plan."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.masking.attribution import DescribedColumn, bind
from appliance.masking.plan import UNRESTRICTED, MaskPlan, PlannedColumn
from appliance.model.catalog import Column, ColumnKey, Relation
from appliance.model.decision import Mask, MaskMethod
from appliance.model.errors import Refused
from tests.unit.policy.building import (
    CUSTOMER_ID,
    CUSTOMERS,
    EMAIL,
    EMPLOYEES,
    MAIL,
    NAME,
    PHONE,
    FakeLineage,
)

REDACT = Mask(MaskMethod.REDACT, rule="m")
OWED = {EMAIL: REDACT, PHONE: REDACT}
LINEAGE = FakeLineage()


def described(*origins: ColumnKey | None) -> list[DescribedColumn]:
    return [DescribedColumn("c", *(origin or (0, 0)), 25, 0) for origin in origins]


def expecting(*columns: tuple[ColumnKey | None, Mask | None], known: bool = True) -> MaskPlan:
    planned = tuple(PlannedColumn("c", origin, mask) for origin, mask in columns)
    return MaskPlan(False, kind="SelectStmt", columns=planned, columns_known=known)


def refusal_code(plan: MaskPlan, *origins: ColumnKey | None) -> str:
    with pytest.raises(Refused) as caught:
        bind(plan, described(*origins), OWED, LINEAGE)
    return caught.value.refusal.code.value


def test_masks_go_where_the_server_confirms_them() -> None:
    plan = expecting((CUSTOMER_ID, None), (EMAIL, REDACT), (None, None), (EMAIL, REDACT))
    columns = described(CUSTOMER_ID, EMAIL, None, EMAIL)
    assert bind(plan, columns, OWED, LINEAGE) == (None, REDACT, None, REDACT)


def test_a_view_column_that_is_masked_by_its_source() -> None:
    assert bind(expecting((MAIL, REDACT)), described(MAIL), OWED, LINEAGE) == (REDACT,)


def test_what_show_reads_of_the_servers_own_relations_is_masked_unless_spared() -> None:
    catalog = LINEAGE.catalog
    statistics = Relation(
        700, "information_schema", "STATISTICS", "v", (Column(1, "CARDINALITY", 20),)
    )
    catalog = msgspec.structs.replace(catalog, relations={**catalog.relations, 700: statistics})
    lineage = FakeLineage()
    lineage.catalog = catalog
    cardinality, null = (700, 1), Mask(MaskMethod.NULL, rule="builtin")
    owed = {**OWED, cardinality: null}

    def shown(**more: object) -> tuple[Mask | None, ...]:
        plan = MaskPlan(False, kind="VariableShowStmt", columns_known=False, **more)  # type: ignore[arg-type]
        return bind(plan, described(cardinality, None), owed, lineage)

    assert shown() == shown(shows=frozenset({CUSTOMERS})) == (null, None)
    assert shown(shows=frozenset({EMPLOYEES})) == (None, None)  # nothing of it is masked
    assert shown(spared=frozenset({cardinality})) == (None, None)


def test_who_owes_nothing_is_not_checked() -> None:
    assert bind(UNRESTRICTED, described(EMAIL, None), {}, None) == (None, None)


def test_the_number_of_columns_must_agree() -> None:
    assert refusal_code(expecting((NAME, None)), NAME, NAME) == "stale"
    assert refusal_code(expecting((NAME, None))) == "stale"


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        ((EMAIL, REDACT), NAME),  # a column was renamed under us
        ((EMAIL, REDACT), None),
        ((EMAIL, REDACT), PHONE),
        ((NAME, None), EMAIL),
        ((NAME, None), None),
        ((NAME, None), CUSTOMER_ID),
        ((None, None), EMAIL),
        ((None, None), NAME),
        ((None, REDACT), None),
    ],
)
def test_every_disagreement_is_refused(
    expected: tuple[ColumnKey | None, Mask | None], actual: ColumnKey | None
) -> None:
    assert refusal_code(expecting(expected), actual) == "stale"


def test_a_masked_column_that_nobody_predicted() -> None:
    """Both locks agree on the place and no mask was planned: an error of ours, not a leak."""
    assert refusal_code(expecting((EMAIL, None)), EMAIL) == "masked_column_used"
    assert refusal_code(expecting((MAIL, None)), MAIL) == "masked_column_used"


def test_a_relation_that_the_catalog_does_not_know() -> None:
    assert refusal_code(expecting(((99, 1), None)), (99, 1)) == "unresolved"


def test_whole_rows_and_system_columns() -> None:
    whole = [DescribedColumn("r", CUSTOMERS, 0, 1, 0)]
    with pytest.raises(Refused):
        bind(expecting((None, None)), whole, OWED, LINEAGE)
    other = [DescribedColumn("r", EMPLOYEES, 0, 1, 0)]
    assert bind(expecting((None, None)), other, OWED, LINEAGE) == (None,)
    ctid = [DescribedColumn("ctid", CUSTOMERS, -1, 27, 0)]
    for origin in (None, (CUSTOMERS, -1)):
        assert bind(expecting((origin, None)), ctid, OWED, LINEAGE) == (None,)


def test_without_a_catalog_nothing_is_bound() -> None:
    with pytest.raises(Refused) as caught:
        bind(expecting(), [], OWED, None)
    assert caught.value.refusal.code.value == "catalog_unavailable"


class TestUnknownColumns:
    def plan(self, kind: str) -> MaskPlan:
        return MaskPlan(False, kind=kind, columns_known=False)

    @pytest.mark.parametrize("kind", ["ExplainStmt", "VariableShowStmt"])
    def test_the_servers_own_words(self, kind: str) -> None:
        assert bind(self.plan(kind), described(None), OWED, LINEAGE) == (None,)
        assert refusal_code(self.plan(kind), EMAIL) == "masked_column_used"

    @pytest.mark.parametrize("kind", ["ExecuteStmt", "FetchStmt", "SomethingNew"])
    def test_anything_else_must_be_plain_and_unmasked(self, kind: str) -> None:
        assert bind(self.plan(kind), described(NAME), OWED, LINEAGE) == (None,)
        assert bind(self.plan(kind), [], OWED, LINEAGE) == ()
        assert refusal_code(self.plan(kind), None) == "unresolved"
        assert refusal_code(self.plan(kind), NAME, EMAIL) == "masked_column_used"
        assert refusal_code(self.plan(kind), MAIL) == "masked_column_used"
        assert refusal_code(self.plan(kind), (99, 1)) == "unresolved"

    def test_a_trusted_procedure_gives_its_own_values(self) -> None:
        """Only trusted ones have a plan; a column with an origin is still held against the
        masks."""
        assert bind(self.plan("CallStmt"), described(None, None), OWED, LINEAGE) == (None, None)
        assert refusal_code(self.plan("CallStmt"), EMAIL) == "masked_column_used"


ORIGINS = st.sampled_from([None, CUSTOMER_ID, NAME, EMAIL, PHONE, MAIL, (99, 1)])
MASKS = st.sampled_from([None, REDACT])


@given(st.lists(st.tuples(ORIGINS, MASKS), max_size=4), st.lists(ORIGINS, max_size=4))
def test_no_masked_column_passes_without_its_mask(
    planned: list[tuple[ColumnKey | None, Mask | None]], actual: list[ColumnKey | None]
) -> None:
    """Whatever was planned: bind() refuses, or every column that holds masked values has a mask."""
    for plan in (expecting(*planned), expecting(*planned, known=False)):
        try:
            masks = bind(plan, described(*actual), OWED, LINEAGE)
        except Refused:
            continue
        for origin, mask in zip(actual, masks, strict=True):
            hidden = origin in {EMAIL, PHONE, MAIL} or origin == (99, 1)
            assert not hidden or mask is not None
